//! What `sideline bench pose` measures: a person's joints, one crop a run and several, by each model.

use sideline_api::{Color, Encoding, Frame, Matrix, Resources, Result};

use crate::{Model, landmarks::Landmarker, region::PersonRegion};

/// Most crops in a run that are measured.
pub const MOST: usize = 4;

/// A 1280 x 720 picture (I420, BT.709, video range) of slopes and grain: a model takes as long for it as for people.
///
/// # Errors
/// None that is known: the picture is as large as it says.
pub fn picture() -> Result<Frame> {
    let (width, height) = (1280, 720);
    let slope = |at: usize| (at % 400).abs_diff(200) / 2;
    let value = |i: usize| (40 + slope(i % width) + slope(i / width) / 2 + (i * i) % 11) as u8;
    let bytes: Vec<u8> = (0..width * height * 3 / 2).map(value).collect();
    let color = Color { matrix: Matrix::Bt709, full_range: false };
    Frame::from_packed(width as u32, height as u32, Encoding::I420, color, bytes)
}

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
        let mut crops = Self { landmarker: Landmarker::new(resources, model)?, frame: picture()?, regions };
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
