//! BlazePose's landmark model: 33 joints of the one person in a square, in pixels and in metres, and from two more points
//! the square to look at in the next frame (Bazarevsky et al., 2020; Grishchenko et al., BlazePose GHUM Holistic, 2022).

use sideline_api::{Frame, Resources, Result, tables::JOINTS};
use sideline_inference::{Sampler, Sampling, Session};

use crate::{detector::sigmoid, region::PersonRegion};

/// Side of the input, px.
const SIZE: usize = 256;
/// Rows of the output: the joints, centre and scale point of the next region, four more that are not used.
const ROWS: usize = 39;
/// Hip centre, as the model sees it for the next region.
const CENTRE: usize = 33;
/// A point on the circle that holds the whole person.
const SCALE_POINT: usize = 34;

/// What the model says of a region.
#[derive(Clone, Debug, PartialEq)]
pub struct Landmarks {
    /// That there is a person, 0..1.
    pub score: f32,
    /// x, y, z in pixels of the frame (z: 0 at the hips, negative towards the camera), visibility 0..1.
    pub joints: [[f32; 4]; JOINTS],
    /// x, y, z in metres from between the hips, x and y as on the screen.
    pub world: [[f32; 3]; JOINTS],
    /// Where the person will be looked for in the next frame.
    pub next: PersonRegion,
}

/// The model and its buffers.
pub struct Landmarker {
    session: Session,
    sampler: Sampler,
    tensor: Vec<f32>,
}

impl Landmarker {
    /// Loads a model of models.yml.
    ///
    /// # Errors
    /// When it is missing, broken or another model.
    pub fn new(resources: &Resources, model: &str) -> Result<Self> {
        let session = Session::load(resources, model)?;
        session.expect_inputs(&[("input_1", &[1, SIZE as i64, SIZE as i64, 3])])?;
        session.expect_output("Identity", &[1, (5 * ROWS) as i64])?;
        session.expect_output("Identity_1", &[1, 1])?;
        session.expect_output("Identity_4", &[1, (3 * ROWS) as i64])?;
        // Bilinear also where the person is larger than the input: so the model was trained and is used by MediaPipe.
        let sampler = Sampler::new(Sampling::square(SIZE, 0.0, 1.0));
        Ok(Self { session, tensor: vec![0.0; sampler.len()], sampler })
    }

    /// The joints of the person in a region.
    ///
    /// # Errors
    /// When the frame cannot be sampled or the run fails.
    pub fn see(&mut self, frame: &Frame, region: &PersonRegion) -> Result<Landmarks> {
        self.sampler.sample(frame, &region.square(), &mut self.tensor)?;
        let shape = [1, SIZE as i64, SIZE as i64, 3];
        let outputs = self.session.run(&[(&shape, &self.tensor)])?;
        let score = outputs.get("Identity_1")?[0];
        Ok(decode(outputs.get("Identity")?, score, outputs.get("Identity_4")?, region))
    }
}

/// Decodes what the model gave for a region: `values` [39 x 5], `metres` [39 x 3].
fn decode(values: &[f32], score: f32, metres: &[f32], region: &PersonRegion) -> Landmarks {
    let square = region.square();
    let place = |row: &[f32]| {
        let (x, y) = square.to_frame(row[0] / SIZE as f32 - 0.5, row[1] / SIZE as f32 - 0.5);
        [x, y]
    };
    let row = |i: usize| &values[5 * i..5 * i + 5];
    let mut joints = [[0.0; 4]; JOINTS];
    for (i, joint) in joints.iter_mut().enumerate() {
        let [x, y] = place(row(i));
        *joint = [x, y, row(i)[2] / SIZE as f32 * region.size, sigmoid(row(i)[3])];
    }
    // The model's metres are turned with its input: turn them back.
    let (sin, cos) = region.rotation.sin_cos();
    let mut world = [[0.0; 3]; JOINTS];
    for (joint, m) in world.iter_mut().zip(metres.chunks_exact(3)) {
        *joint = [cos * m[0] - sin * m[1], sin * m[0] + cos * m[1], m[2]];
    }
    Landmarks { score, joints, world, next: PersonRegion::of(place(row(CENTRE)), place(row(SCALE_POINT))) }
}

impl Landmarks {
    /// True when every number is one.
    pub fn is_finite(&self) -> bool {
        self.score.is_finite()
            && self.joints.iter().flatten().all(|value| value.is_finite())
            && self.world.iter().flatten().all(|value| value.is_finite())
    }

    /// Smallest box around all joints with a margin for what lies beyond them (hair, hands, soles), cut to the frame:
    /// x1 y1 x2 y2, px.
    pub fn corners(&self, width: f32, height: f32) -> [f32; 4] {
        let mut corners = [f32::INFINITY, f32::INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY];
        for [x, y, ..] in self.joints {
            corners = [corners[0].min(x), corners[1].min(y), corners[2].max(x), corners[3].max(y)];
        }
        let margin = 0.04 * self.next.size;
        [
            (corners[0] - margin).clamp(0.0, width),
            (corners[1] - margin).clamp(0.0, height),
            (corners[2] + margin).clamp(0.0, width),
            (corners[3] + margin).clamp(0.0, height),
        ]
    }

    /// Mean distance of shoulders, elbows, wrists, hips, knees and ankles to those of another, as a share of the larger
    /// region: a few hundredths when both regions lie on one person.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Joint i at column 100 + i, row 50, in a region that shows two pixels per pixel of the input.
    fn seen(rotation: f32) -> Landmarks {
        let mut values = vec![0.0; 5 * ROWS];
        let mut metres = vec![0.0; 3 * ROWS];
        for i in 0..ROWS {
            values[5 * i..5 * i + 5].copy_from_slice(&[100.0 + i as f32, 50.0, -16.0, 0.0, 0.0]);
            metres[3 * i..3 * i + 3].copy_from_slice(&[0.5, 0.25, 0.125]);
        }
        values[5 * CENTRE..5 * CENTRE + 2].copy_from_slice(&[128.0, 140.0]);
        values[5 * SCALE_POINT..5 * SCALE_POINT + 2].copy_from_slice(&[128.0, 40.0]);
        let region = PersonRegion { x: 400.0, y: 300.0, size: 512.0, rotation };
        decode(&values, 0.75, &metres, &region)
    }

    #[test]
    fn joints_are_placed_in_the_frame() {
        let seen = seen(0.0);
        assert_eq!(seen.score, 0.75);
        assert_eq!(seen.joints[3], [400.0 + 2.0 * (103.0 - 128.0), 300.0 + 2.0 * (50.0 - 128.0), -32.0, 0.5]);
        assert_eq!(seen.world[3], [0.5, 0.25, 0.125]);
        assert_eq!(seen.next, PersonRegion { x: 400.0, y: 324.0, size: 500.0, rotation: 0.0 });
        assert!(seen.is_finite());
    }

    #[test]
    fn a_turned_region_is_turned_back() {
        let angle = std::f32::consts::FRAC_PI_2;
        let seen = seen(angle);
        // What lies left and above in the region lies above and right in the frame.
        let near = |a: f32, b: f32| (a - b).abs() < 1e-3;
        assert!(
            near(seen.joints[0][0], 400.0 + 156.0) && near(seen.joints[0][1], 300.0 - 56.0),
            "{:?}",
            seen.joints[0]
        );
        assert!(near(seen.world[0][0], -0.25) && near(seen.world[0][1], 0.5) && near(seen.world[0][2], 0.125));
        assert!(near(seen.next.rotation, angle) && near(seen.next.size, 500.0));
    }

    #[test]
    fn the_box_holds_the_joints_and_stays_in_the_frame() {
        let corners = seen(0.0).corners(640.0, 360.0);
        assert_eq!(corners, [344.0 - 20.0, 144.0 - 20.0, 408.0 + 20.0, 144.0 + 20.0]);
        assert_eq!(seen(0.0).corners(400.0, 130.0), [324.0, 124.0, 400.0, 130.0]);
    }

    #[test]
    fn distance_tells_one_person_from_two() {
        let one = seen(0.0);
        let mut beside = one.clone();
        beside.joints.iter_mut().for_each(|joint| joint[0] += 50.0);
        assert_eq!(one.distance(&one), 0.0);
        assert!((one.distance(&beside) - 0.1).abs() < 1e-6);
    }
}
