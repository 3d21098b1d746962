//! What `sideline bench pose` measures: a person's joints, one crop a run and several, by each model.

use sideline_api::{Frame, Resources, Result};
use sideline_inference::bench::picture;

use crate::{Model, landmarks::Landmarker, region::PersonRegion};

/// Most crops in a run that are measured.
pub const MOST: usize = 4;

/// A model and the crops it looks at.
pub struct Crops {
    landmarker: Landmarker,
    frame: Frame,
    regions: [PersonRegion; MOST],
}

impl Crops {
    /// Loads a model and runs it once with each number of crops, so that no first time is measured.
    ///
    /// # Errors
    /// When it is missing, broken or another model.
    pub fn new(resources: &Resources, model: Model) -> Result<Self> {
        let regions =
            std::array::from_fn(|i| PersonRegion { x: 300.0 + 220.0 * i as f32, y: 360.0, size: 500.0, rotation: 0.2 });
        let mut crops = Self { landmarker: Landmarker::new(resources, model)?, frame: picture(1280, 720)?, regions };
        (1..=MOST).try_for_each(|people| crops.look(people, people))?;
        Ok(crops)
    }

    /// Where the model runs: `cpu`, `cuda` or `tensorrt`.
    pub fn device(&self) -> &'static str {
        self.landmarker.device()
    }

    /// From planes to joints, for so many people, so many of them in a run.
    ///
    /// # Errors
    /// When a run fails.
    pub fn look(&mut self, people: usize, batch: usize) -> Result<()> {
        self.landmarker.see(&self.frame, &self.regions[..people.min(MOST)], batch).map(drop)
    }
}
