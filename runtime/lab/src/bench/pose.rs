//! `sideline-lab bench pose`: time to estimate the joints of one person, from planes to rows, with each landmark model,
//! with one crop per run and with several.

use std::{path::Path, sync::Arc, time::Instant};

use serde::Serialize;
use sideline::program::load_models;
use sideline_api::{Resources, Result};
use sideline_inference::test_frame;
use sideline_pose::{
    Model,
    bench::{CropBench, MAX_CROPS},
};

/// Result for one model.
#[derive(Debug, Serialize)]
pub struct ModelCost {
    /// Model, as a value of the key `model`.
    pub model: &'static str,
    /// Device on which the model ran.
    pub device: &'static str,
    /// Median time per person with one crop per run, milliseconds.
    pub alone_ms: f64,
    /// Median time per person with 1, 2, ... crops per run, milliseconds.
    pub together_ms: Vec<f64>,
    /// Times with several crops per run divided by the time with one.
    pub ratio: Vec<f64>,
}

/// Result for all installed models.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct PoseCost(Vec<ModelCost>);

/// Measures every model with one crop per run and with several alternately, so that changes in the machine's load
/// affect both alike.
///
/// # Errors
/// A model is missing or invalid.
pub fn run() -> Result<PoseCost> {
    let resources = Resources { models: Arc::new(load_models(Path::new("."))), ..Resources::new("bench") };
    let mut costs = Vec::new();
    for model in Model::ALL {
        let mut crops = CropBench::new(&resources, model, test_frame(1280, 720)?)?;
        let mut alone = Vec::new();
        let mut together = vec![Vec::new(); MAX_CROPS];
        let rounds = if model == Model::Heavy { 12 } else { 60 };
        for _ in 0..rounds {
            for people in 1..=MAX_CROPS {
                for (batch, times) in [(1, &mut alone), (people, &mut together[people - 1])] {
                    let start = Instant::now();
                    crops.run(people, batch)?;
                    times.push(start.elapsed().as_secs_f64() * 1e3 / people as f64);
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

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

impl std::fmt::Display for PoseCost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:<23} {:>8}", "milliseconds per person", "alone")?;
        let most = self.0.first().map_or(0, |cost| cost.together_ms.len());
        (1..=most).try_for_each(|n| write!(f, " {:>14}", format!("{n} together")))?;
        for cost in &self.0 {
            write!(f, "\n{:<23} {:>8.2}", format!("{} ({})", cost.model, cost.device), cost.alone_ms)?;
            for (ms, ratio) in cost.together_ms.iter().zip(&cost.ratio) {
                write!(f, " {:>14}", format!("{ms:.2} (x{ratio:.2})"))?;
            }
        }
        Ok(())
    }
}
