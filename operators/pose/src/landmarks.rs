//! What a model says of the people in squares of a frame, and the running of it: the crops of one frame go through the
//! model together.

use sideline_api::{Frame, Resources, Result, tables::JOINTS};
use sideline_inference::{Sampler, Sampling, Session};

use crate::{blazepose, model::Model, movenet, region::PersonRegion};

/// What a model says of a region.
#[derive(Clone, Debug, PartialEq)]
pub struct Landmarks {
    /// That there is a person, 0..1.
    pub score: f32,
    /// x, y, z in pixels of the frame (z: 0 at the hips, negative towards the camera), visibility 0..1; NaN what the model
    /// does not know.
    pub joints: [[f32; 4]; JOINTS],
    /// x, y, z in metres from between the hips, x and y as on the screen; NaN what the model does not know.
    pub world: [[f32; 3]; JOINTS],
    /// Smallest box around the body, with a margin for what lies beyond the joints: x1 y1 x2 y2, px.
    pub outline: [f32; 4],
    /// Where the person will be looked for in the next frame.
    pub next: PersonRegion,
}

impl Landmarks {
    /// The outline, cut to the frame: x1 y1 x2 y2, px.
    pub fn corners(&self, width: f32, height: f32) -> [f32; 4] {
        let [x1, y1, x2, y2] = self.outline;
        [x1.clamp(0.0, width), y1.clamp(0.0, height), x2.clamp(0.0, width), y2.clamp(0.0, height)]
    }

    /// Mean distance of shoulders, elbows, wrists, hips, knees and ankles, which every model knows, to those of another, as
    /// a share of the larger region: a few hundredths when both regions lie on one person.
    pub fn distance(&self, other: &Self) -> f32 {
        let limbs = (11..17).chain(23..29);
        let sum: f32 = limbs
            .map(|i| {
                let (a, b) = (self.joints[i], other.joints[i]);
                (a[0] - b[0]).hypot(a[1] - b[1])
            })
            .sum();
        sum / 12.0 / self.next.size.max(other.next.size)
    }
}

/// Smallest box around points, `margin` px larger on each side; inside out when there are none.
pub(crate) fn outline(points: impl Iterator<Item = [f32; 2]>, margin: f32) -> [f32; 4] {
    let none = [f32::INFINITY, f32::INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY];
    let [x1, y1, x2, y2] = points.fold(none, |c, [x, y]| [c[0].min(x), c[1].min(y), c[2].max(x), c[3].max(y)]);
    [x1 - margin, y1 - margin, x2 + margin, y2 + margin]
}

/// A model, perhaps several times over: each copy has a thread of its own while there are people for it.
pub struct Landmarker {
    copies: Vec<Loaded>,
}

/// A loaded model and its buffers.
struct Loaded {
    model: Model,
    session: Session,
    sampler: Sampler,
    tensor: Vec<f32>,
}

impl Landmarker {
    /// Loads a model that looks at one person after the other.
    ///
    /// # Errors
    /// When it is missing, broken or another model.
    pub fn new(resources: &Resources, model: Model) -> Result<Self> {
        Self::with_threads(resources, model, 1)
    }

    /// Loads a model for so many threads; on a GPU always for one.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_threads(resources: &Resources, model: Model, threads: usize) -> Result<Self> {
        let mut copies = vec![Loaded::load(resources, model)?];
        while copies.len() < threads && copies[0].session.device() == "cpu" {
            copies.push(Loaded::load(resources, model)?);
        }
        Ok(Self { copies })
    }

    /// Which model it is.
    pub fn model(&self) -> Model {
        self.copies[0].model
    }

    /// Where it runs: `cpu`, `cuda` or `tensorrt`.
    pub fn device(&self) -> &'static str {
        self.copies[0].session.device()
    }

    /// The joints of the person in each region; `None` where the model sees nobody, or gives what is no number. The people
    /// are shared out among the threads. Up to `batch` crops of a share go through the model in one run; on TensorRT, which
    /// would build an engine for each number of them, one.
    ///
    /// # Errors
    /// When the frame cannot be sampled or a run fails.
    pub fn see(&mut self, frame: &Frame, regions: &[PersonRegion], batch: usize) -> Result<Vec<Option<Landmarks>>> {
        let batch = if self.device() == "tensorrt" { 1 } else { batch.max(1) };
        let share = regions.len().div_ceil(self.copies.len()).max(1);
        let mut shares = self.copies.iter_mut().zip(regions.chunks(share));
        let Some((first, own)) = shares.next() else { return Ok(vec![]) };
        // A thread costs some 50 microseconds, a look milliseconds; for a single person none is started.
        std::thread::scope(|scope| {
            let others: Vec<_> =
                shares.map(|(copy, regions)| scope.spawn(move || copy.see(frame, regions, batch))).collect();
            let mut seen = first.see(frame, own, batch)?;
            for other in others {
                // A panic there is one here: the runtime catches it and names the frame.
                seen.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
            }
            Ok(seen)
        })
    }
}

impl Loaded {
    fn load(resources: &Resources, model: Model) -> Result<Self> {
        let session = Session::load(resources, model.entry())?;
        // Bilinear also where the person is larger than the input: so the models were trained and are used by their makers.
        let sampling = match model {
            Model::Movenet => {
                movenet::check(&session)?;
                Sampling::square(movenet::SIZE, -1.0, 1.0)
            }
            Model::Lite | Model::Full | Model::Heavy => {
                blazepose::check(&session)?;
                Sampling::square(blazepose::SIZE, 0.0, 1.0)
            }
        };
        Ok(Self { model, session, sampler: Sampler::new(sampling), tensor: vec![] })
    }

    fn see(&mut self, frame: &Frame, regions: &[PersonRegion], batch: usize) -> Result<Vec<Option<Landmarks>>> {
        let mut seen = Vec::with_capacity(regions.len());
        for regions in regions.chunks(batch) {
            self.run(frame, regions, &mut seen)?;
        }
        Ok(seen)
    }

    fn run(&mut self, frame: &Frame, regions: &[PersonRegion], seen: &mut Vec<Option<Landmarks>>) -> Result<()> {
        let (count, each) = (regions.len(), self.sampler.len());
        let size = match self.model {
            Model::Movenet => movenet::SIZE,
            Model::Lite | Model::Full | Model::Heavy => blazepose::SIZE,
        };
        self.tensor.resize(self.tensor.len().max(count * each), 0.0);
        for (region, tensor) in regions.iter().zip(self.tensor.chunks_exact_mut(each)) {
            // MoveNet knows people upright, BlazePose is shown them so.
            let region = if self.model == Model::Movenet { region.upright() } else { *region };
            self.sampler.sample(frame, &region.square(), tensor)?;
        }
        let shape = [count as i64, size as i64, size as i64, 3];
        let outputs = self.session.run(&[(&shape, &self.tensor[..count * each])])?;
        match self.model {
            Model::Movenet => movenet::decode_all(&outputs, regions, seen),
            Model::Lite | Model::Full | Model::Heavy => blazepose::decode_all(&outputs, regions, seen),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Landmarks {
        Landmarks {
            score: 1.0,
            joints: std::array::from_fn(|i| [300.0 + 2.0 * i as f32, 144.0, 0.0, 1.0]),
            world: [[0.0; 3]; JOINTS],
            outline: [324.0, 124.0, 428.0, 164.0],
            next: PersonRegion { x: 400.0, y: 324.0, size: 500.0, rotation: 0.0 },
        }
    }

    #[test]
    fn the_box_stays_in_the_frame() {
        assert_eq!(seen().corners(640.0, 360.0), [324.0, 124.0, 428.0, 164.0]);
        assert_eq!(seen().corners(400.0, 130.0), [324.0, 124.0, 400.0, 130.0]);
    }

    #[test]
    fn distance_tells_one_person_from_two_and_needs_only_the_limbs() {
        let one = seen();
        let mut beside = one.clone();
        beside.joints.iter_mut().for_each(|joint| joint[0] += 50.0);
        for i in (0..11).chain(17..23).chain(29..JOINTS) {
            beside.joints[i] = [f32::NAN; 4];
        }
        assert_eq!(one.distance(&one), 0.0);
        assert!((one.distance(&beside) - 0.1).abs() < 1e-6);
    }

    #[test]
    fn an_outline_holds_its_points() {
        let points = [[3.0, 8.0], [5.0, 2.0]];
        assert_eq!(outline(points.into_iter(), 1.0), [2.0, 1.0, 6.0, 9.0]);
    }
}
