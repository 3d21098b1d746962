//! Landmarks of the people in square regions of a frame, and the sessions that detect them: the crops of a frame are run as a
//! batch.

use sideline_api::{Frame, Resources, Result};
use sideline_inference::{Sampler, Session, TensorSpec};
use sideline_sport::tables::JOINTS;

use crate::{blazepose, model::Model, movenet, region::PersonRegion};

/// Landmarks of one person.
#[derive(Clone, Debug, PartialEq)]
pub struct Landmarks {
    /// Probability that the region contains a person, 0..1.
    pub score: f32,
    /// x, y, z in pixels of the frame (z: 0 at the hips, negative towards the camera), visibility 0..1; NaN for values that
    /// the model does not provide.
    pub joints: [[f32; 4]; JOINTS],
    /// x, y, z in meters from the center of the hips, x and y as on the screen; NaN for values that the model does not provide.
    pub world: [[f32; 3]; JOINTS],
    /// Bounding box of the body, with a margin beyond the joints: x1 y1 x2 y2, px.
    pub bounding_box: [f32; 4],
    /// Region of the person in the next frame.
    pub next_region: PersonRegion,
}

impl Landmarks {
    /// Returns the bounding box clipped to the frame: x1 y1 x2 y2, px.
    pub fn clipped_box(&self, width: f32, height: f32) -> [f32; 4] {
        let [x1, y1, x2, y2] = self.bounding_box;
        [x1.clamp(0.0, width), y1.clamp(0.0, height), x2.clamp(0.0, width), y2.clamp(0.0, height)]
    }

    /// Returns the mean distance between the shoulders, elbows, wrists, hips, knees and ankles (which every model provides) of
    /// two people, as a share of the larger region: a few hundredths if both regions lie on one person.
    pub fn mean_limb_distance(&self, other: &Self) -> f32 {
        let limbs = (11..17).chain(23..29);
        let sum: f32 = limbs
            .map(|i| {
                let (a, b) = (self.joints[i], other.joints[i]);
                (a[0] - b[0]).hypot(a[1] - b[1])
            })
            .sum();
        sum / 12.0 / self.next_region.size.max(other.next_region.size)
    }
}

/// Returns the bounding box of points, extended by `margin` px on each side; inverted if there are no points.
pub(crate) fn bounding_box(points: impl Iterator<Item = [f32; 2]>, margin: f32) -> [f32; 4] {
    let none = [f32::INFINITY, f32::INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY];
    let [x1, y1, x2, y2] = points.fold(none, |c, [x, y]| [c[0].min(x), c[1].min(y), c[2].max(x), c[3].max(y)]);
    [x1 - margin, y1 - margin, x2 + margin, y2 + margin]
}

/// Detector of landmarks. Several copies of the model share the people of a frame, each on its own thread.
pub struct Landmarker {
    copies: Vec<LoadedModel>,
}

/// A loaded model and its buffers.
struct LoadedModel {
    model: Model,
    session: Session,
    sampler: Sampler,
    tensor: Vec<f32>,
}

impl Landmarker {
    /// Loads a model that processes people on the calling thread.
    ///
    /// # Errors
    /// If it is missing, broken, or has other inputs or outputs than expected.
    pub fn new(resources: &Resources, model: Model) -> Result<Self> {
        Self::with_threads(resources, model, 1)
    }

    /// Loads a copy of the model for each of `threads` threads; a single copy on a GPU.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_threads(resources: &Resources, model: Model, threads: usize) -> Result<Self> {
        let mut copies = vec![LoadedModel::load(resources, model)?];
        while copies.len() < threads && copies[0].session.device() == "cpu" {
            copies.push(LoadedModel::load(resources, model)?);
        }
        Ok(Self { copies })
    }

    /// Returns the model.
    pub fn model(&self) -> Model {
        self.copies[0].model
    }

    /// Returns the device that the model runs on: `cpu`, `cuda` or `tensorrt`.
    pub fn device(&self) -> &'static str {
        self.copies[0].session.device()
    }

    /// Detects the landmarks of the person in each region; `None` if there is none, or the model's output is not finite.
    /// People are divided among the threads. Each thread runs up to `batch` crops at once; on TensorRT, which would build an
    /// engine for each batch size, one.
    ///
    /// # Errors
    /// If the frame cannot be sampled or a run fails.
    pub fn detect(&mut self, frame: &Frame, regions: &[PersonRegion], batch: usize) -> Result<Vec<Option<Landmarks>>> {
        let batch = if self.device() == "tensorrt" { 1 } else { batch.max(1) };
        let chunk_len = regions.len().div_ceil(self.copies.len()).max(1);
        let mut chunks = self.copies.iter_mut().zip(regions.chunks(chunk_len));
        let Some((first, first_regions)) = chunks.next() else { return Ok(vec![]) };
        // A thread costs some 50 microseconds, a run milliseconds; for a single person no thread is started.
        std::thread::scope(|scope| {
            let others: Vec<_> =
                chunks.map(|(copy, regions)| scope.spawn(move || copy.detect(frame, regions, batch))).collect();
            let mut landmarks = first.detect(frame, first_regions, batch)?;
            for other in others {
                // Propagates a panic: the runtime catches it and reports the frame.
                landmarks.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
            }
            Ok(landmarks)
        })
    }
}

impl LoadedModel {
    /// Loads the model and checks its inputs and outputs.
    fn load(resources: &Resources, model: Model) -> Result<Self> {
        let session = Session::load(resources, model.catalog_name())?;
        // Bilinear also if the person is larger than the input: the models were trained that way, and their authors use them so.
        let spec = match model {
            Model::Movenet => {
                movenet::check(&session)?;
                TensorSpec::square(movenet::SIZE, -1.0, 1.0)
            }
            Model::Lite | Model::Full | Model::Heavy => {
                blazepose::check(&session)?;
                TensorSpec::square(blazepose::SIZE, 0.0, 1.0)
            }
        };
        Ok(Self { model, session, sampler: Sampler::new(spec), tensor: vec![] })
    }

    /// Detects landmarks in batches.
    fn detect(&mut self, frame: &Frame, regions: &[PersonRegion], batch: usize) -> Result<Vec<Option<Landmarks>>> {
        let mut landmarks = Vec::with_capacity(regions.len());
        for regions in regions.chunks(batch) {
            self.run(frame, regions, &mut landmarks)?;
        }
        Ok(landmarks)
    }

    /// Runs the model on one batch.
    fn run(&mut self, frame: &Frame, regions: &[PersonRegion], landmarks: &mut Vec<Option<Landmarks>>) -> Result<()> {
        let (count, tensor_len) = (regions.len(), self.sampler.len());
        let size = match self.model {
            Model::Movenet => movenet::SIZE,
            Model::Lite | Model::Full | Model::Heavy => blazepose::SIZE,
        };
        self.tensor.resize(self.tensor.len().max(count * tensor_len), 0.0);
        for (region, tensor) in regions.iter().zip(self.tensor.chunks_exact_mut(tensor_len)) {
            // MoveNet expects the frame's orientation; for BlazePose people are rotated upright.
            let region = if self.model == Model::Movenet { region.without_rotation() } else { *region };
            self.sampler.sample(frame, &region.to_region(), tensor)?;
        }
        let shape = [count as i64, size as i64, size as i64, 3];
        let outputs = self.session.run(&[(&shape, &self.tensor[..count * tensor_len])])?;
        match self.model {
            Model::Movenet => movenet::decode_all(&outputs, regions, landmarks),
            Model::Lite | Model::Full | Model::Heavy => blazepose::decode_all(&outputs, regions, landmarks),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn landmarks() -> Landmarks {
        Landmarks {
            score: 1.0,
            joints: std::array::from_fn(|i| [300.0 + 2.0 * i as f32, 144.0, 0.0, 1.0]),
            world: [[0.0; 3]; JOINTS],
            bounding_box: [324.0, 124.0, 428.0, 164.0],
            next_region: PersonRegion { x: 400.0, y: 324.0, size: 500.0, rotation: 0.0 },
        }
    }

    #[test]
    fn the_box_is_clipped_to_the_frame() {
        assert_eq!(landmarks().clipped_box(640.0, 360.0), [324.0, 124.0, 428.0, 164.0]);
        assert_eq!(landmarks().clipped_box(400.0, 130.0), [324.0, 124.0, 400.0, 130.0]);
    }

    #[test]
    fn limb_distance_separates_people_and_uses_the_limbs_only() {
        let one = landmarks();
        let mut beside = one.clone();
        beside.joints.iter_mut().for_each(|joint| joint[0] += 50.0);
        for i in (0..11).chain(17..23).chain(29..JOINTS) {
            beside.joints[i] = [f32::NAN; 4];
        }
        assert_eq!(one.mean_limb_distance(&one), 0.0);
        assert!((one.mean_limb_distance(&beside) - 0.1).abs() < 1e-6);
    }

    #[test]
    fn a_bounding_box_contains_its_points() {
        let points = [[3.0, 8.0], [5.0, 2.0]];
        assert_eq!(bounding_box(points.into_iter(), 1.0), [2.0, 1.0, 6.0, 9.0]);
    }
}
