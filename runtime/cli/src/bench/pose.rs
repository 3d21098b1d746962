//! A person's joints, from planes to rows: by each landmark model, one crop a run and several.

use std::path::Path;

use serde::Serialize;
use sideline_api::Result;

/// The figures of one model.
#[derive(Debug, Serialize)]
pub struct ModelCost {
    /// As the key `model` names it.
    pub model: &'static str,
    /// Where it ran.
    pub device: &'static str,
    /// Milliseconds a person with one crop a run: median.
    pub alone_ms: f64,
    /// The same with 1, 2, ... crops in a run.
    pub together_ms: Vec<f64>,
    /// Medians, together / alone.
    pub ratio: Vec<f64>,
}

/// The figures of all models that are installed.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct PoseCost(Vec<ModelCost>);

/// Measures every model, one crop a run and several in turn, so that the machine's moods hit them alike.
///
/// # Errors
/// When a model is missing or broken.
#[cfg(feature = "onnx")]
pub fn run() -> Result<PoseCost> {
    use std::{sync::Arc, time::Instant};

    use sideline_api::{Device, Mode, Resources, clock::WallClock};
    use sideline_pose::{
        Model,
        bench::{Crops, MOST},
    };

    let resources = Resources {
        node: "bench".into(),
        mode: Mode::Complete,
        device: Device::Auto,
        run_dir: std::env::temp_dir(),
        run: "bench".into(),
        inputs: vec![],
        outputs: vec![],
        search: vec![],
        models: Arc::new(crate::house::models(Path::new("."))),
        clock: Arc::new(WallClock),
    };
    let mut costs = Vec::new();
    for model in Model::ALL {
        let mut crops = Crops::new(&resources, model)?;
        let mut alone = Vec::new();
        let mut together = vec![Vec::new(); MOST];
        let rounds = if model == Model::Heavy { 12 } else { 60 };
        for _ in 0..rounds {
            for people in 1..=MOST {
                for (batch, times) in [(1, &mut alone), (people, &mut together[people - 1])] {
                    let began = Instant::now();
                    crops.look(people, batch)?;
                    times.push(began.elapsed().as_secs_f64() * 1e3 / people as f64);
                }
            }
        }
        let alone_ms = median(&mut alone);
        let together_ms: Vec<f64> = together.iter_mut().map(|times| median(times)).collect();
        let ratio = together_ms.iter().map(|ms| ms / alone_ms).collect();
        costs.push(ModelCost { model: model.name(), device: crops.device(), alone_ms, together_ms, ratio });
    }
    Ok(PoseCost(costs))
}

#[cfg(feature = "onnx")]
fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Without models there is nothing to measure.
///
/// # Errors
/// Always.
#[cfg(not(feature = "onnx"))]
pub fn run() -> Result<PoseCost> {
    let _ = Path::new;
    Err(sideline_api::Error::config("this build has no models: build with the feature `onnx`"))
}

impl std::fmt::Display for PoseCost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:<22} {:>8}", "milliseconds a person", "alone")?;
        let most = self.0.first().map_or(0, |cost| cost.together_ms.len());
        (1..=most).try_for_each(|n| write!(f, " {:>14}", format!("{n} together")))?;
        for cost in &self.0 {
            write!(f, "\n{:<22} {:>8.2}", format!("{} ({})", cost.model, cost.device), cost.alone_ms)?;
            for (ms, ratio) in cost.together_ms.iter().zip(&cost.ratio) {
                write!(f, " {:>14}", format!("{ms:.2} (x{ratio:.2})"))?;
            }
        }
        Ok(())
    }
}
