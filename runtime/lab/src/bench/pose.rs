//! `sideline-lab bench pose`: time to estimate the joints of one person, from planes to rows, with each landmark model,
//! with one crop per run and with several.

use std::{path::Path, sync::Arc, time::Instant};

use serde::Serialize;
use sideline::program::load_models;
use sideline_api::{Frame, Resources, Result};
use sideline_inference::test_frame;
use sideline_pose::{Model, landmarks::Landmarker, region::PersonRegion};

/// Maximum number of crops per run that is measured.
const MAX_CROPS: usize = 4;

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
        let mut crops = Crops::new(&resources, model, test_frame(1280, 720)?)?;
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
        costs.push(ModelCost { model: model.name(), device: crops.landmarker.device(), alone_ms, together_ms, ratio });
    }
    Ok(PoseCost(costs))
}

/// A model and the crops to run it on.
struct Crops {
    landmarker: Landmarker,
    frame: Frame,
    regions: [PersonRegion; MAX_CROPS],
}

impl Crops {
    /// Loads a model and runs it once with each number of crops of a frame, of 1280 x 720 pixels, as a warm-up.
    fn new(resources: &Resources, model: Model, frame: Frame) -> Result<Self> {
        let regions =
            std::array::from_fn(|i| PersonRegion { x: 300.0 + 220.0 * i as f32, y: 360.0, size: 500.0, rotation: 0.2 });
        let mut crops = Self { landmarker: Landmarker::new(resources, model)?, frame, regions };
        (1..=MAX_CROPS).try_for_each(|people| crops.run(people, people))?;
        Ok(crops)
    }

    /// Detects the landmarks of `people` people, `batch` of them per run, from the planes of the frame.
    fn run(&mut self, people: usize, batch: usize) -> Result<()> {
        self.landmarker.detect(&self.frame, &self.regions[..people], batch).map(drop)
    }
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
