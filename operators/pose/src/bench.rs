//! Parts of `sideline-lab bench pose`: a landmark model on one and on several crops per run. For `sideline-lab` only, which has no
//! access to the operator's internals.

use sideline_api::{Frame, Resources, Result};

use crate::{Model, landmarks::Landmarker, region::PersonRegion};

/// Maximum number of crops per run that is measured.
pub const MAX_CROPS: usize = 4;

/// A model and the crops to run it on.
pub struct CropBench {
    landmarker: Landmarker,
    frame: Frame,
    regions: [PersonRegion; MAX_CROPS],
}

impl CropBench {
    /// Loads a model and runs it once with each number of crops of a frame, of 1280 x 720 pixels, as a warm-up.
    ///
    /// # Errors
    /// If the model is missing, broken, or has other inputs or outputs than expected.
    pub fn new(resources: &Resources, model: Model, frame: Frame) -> Result<Self> {
        let regions =
            std::array::from_fn(|i| PersonRegion { x: 300.0 + 220.0 * i as f32, y: 360.0, size: 500.0, rotation: 0.2 });
        let mut crops = Self { landmarker: Landmarker::new(resources, model)?, frame, regions };
        (1..=MAX_CROPS).try_for_each(|people| crops.run(people, people))?;
        Ok(crops)
    }

    /// Returns the device that the model runs on: `cpu`, `cuda` or `tensorrt`.
    pub fn device(&self) -> &'static str {
        self.landmarker.device()
    }

    /// Detects the landmarks of `people` people, `batch` of them per run, from the planes of the frame.
    ///
    /// # Errors
    /// If a run fails.
    pub fn run(&mut self, people: usize, batch: usize) -> Result<()> {
        self.landmarker.detect(&self.frame, &self.regions[..people.min(MAX_CROPS)], batch).map(drop)
    }
}
