//! Appearance embedding by MobileNetV2: the spatial mean of its last layer, 1280 values, as a unit vector.

use sideline_api::{Frame, Resources, Result};
use sideline_inference::{Filter, Layout, Region, Sampler, Session, TensorSpec};

use crate::color::normalize;

/// Name of the model in models.yml.
pub const MODEL: &str = "reid_mobilenetv2";

/// Side of the input, pixels. A person's box is resized to it without keeping its aspect ratio, as in the model's
/// package.
const SIZE: usize = 224;
/// Number of values of an embedding.
const LENGTH: usize = 1280;
/// Mean and standard deviation of red, green and blue in ImageNet, 0 to 1: the model was trained on inputs normalized
/// by them.
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];

/// Model session and its input buffer.
pub struct Embedder {
    session: Session,
    sampler: Sampler,
    tensor: Vec<f32>,
}

impl Embedder {
    /// Loads the model.
    ///
    /// # Errors
    /// If the model is missing or broken, or its inputs and outputs differ.
    pub fn new(resources: &Resources) -> Result<Self> {
        let session = Session::load(resources, MODEL)?;
        session.expect_inputs(&[("images", &[1, 3, SIZE as i64, SIZE as i64])])?;
        session.expect_output("embedding", &[1, LENGTH as i64])?;
        let sampler = Sampler::new(TensorSpec {
            width: SIZE,
            height: SIZE,
            layout: Layout::Nchw,
            filter: Filter::Area,
            scale: DEVIATION.map(|deviation| 1.0 / (255.0 * deviation)),
            offset: [0, 1, 2].map(|c| -MEAN[c] / DEVIATION[c]),
        });
        Ok(Self { session, tensor: vec![0.0; sampler.len()], sampler })
    }

    /// Computes the embedding of the picture inside a box (left, top, right, bottom; pixels), clipped to the frame.
    /// Empty if less than a pixel of the box lies in the frame.
    ///
    /// # Errors
    /// If the frame cannot be sampled or the model run fails.
    pub fn embed(&mut self, frame: &Frame, corners: &[f32; 4]) -> Result<Vec<f32>> {
        let (width, height) = (frame.width() as f32, frame.height() as f32);
        let (x1, x2) = (corners[0].clamp(0.0, width), corners[2].clamp(0.0, width));
        let (y1, y2) = (corners[1].clamp(0.0, height), corners[3].clamp(0.0, height));
        if x2 - x1 < 1.0 || y2 - y1 < 1.0 {
            return Ok(Vec::new());
        }
        let region = Region { x: (x1 + x2) / 2.0, y: (y1 + y2) / 2.0, width: x2 - x1, height: y2 - y1, rotation: 0.0 };
        self.sampler.sample(frame, &region, &mut self.tensor)?;
        let shape = [1, 3, SIZE as i64, SIZE as i64];
        let outputs = self.session.run(&[(&shape, &self.tensor)])?;
        let mut vector = outputs.get("embedding")?.to_vec();
        normalize(&mut vector);
        Ok(vector)
    }
}
