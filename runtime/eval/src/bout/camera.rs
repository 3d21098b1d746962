//! A camera, and what a pose model makes of the joints that it sees.

use sideline_api::tables::{JOINTS, Pose};

use super::{
    PoseNoise,
    space::{Point, cross, dot, minus, plus, times, unit},
};
use crate::Random;

const WIDTH: f64 = 1920.0;
const HEIGHT: f64 = 1080.0;
const ASPECT: f64 = WIDTH / HEIGHT;
/// Seconds for which the slow part of a pose model's error lasts.
const LASTING: f64 = 0.25;

/// A camera that looks at the middle of the scene, level with neither roll nor zoom.
#[derive(Clone, Debug)]
pub struct Camera {
    eye: Point,
    right: Point,
    down: Point,
    away: Point,
    /// Focal length, frame heights.
    focal: f64,
}

impl Camera {
    /// Draws a place: any side, about as high as people, 4 to 8 m off.
    pub fn draw(random: &mut Random) -> Self {
        let yaw = random.share() * std::f64::consts::TAU;
        let (far, high) = (random.between(4.5, 8.0), random.between(0.8, 2.4));
        let eye = [-far * yaw.sin(), high, -far * yaw.cos()];
        let away = unit(minus([0.0, 0.95, 0.0], eye));
        let right = unit(cross(away, [0.0, 1.0, 0.0]));
        Self { eye, right, down: cross(away, right), away, focal: random.between(0.27, 0.33) * far }
    }

    /// A direction of the scene as the camera has it: right, down, away.
    fn seen(&self, v: Point) -> Point {
        [dot(self.right, v), dot(self.down, v), dot(self.away, v)]
    }
}

/// What is wrong with a pose model's view of one person, from frame to frame.
#[derive(Clone, Debug)]
pub struct Eye {
    random: Random,
    /// Lasting errors of each joint, standard deviation 1.
    drift: [Point; JOINTS],
    /// Seconds for which a joint is still lost.
    lost: [f64; JOINTS],
}

impl Eye {
    /// For one person.
    pub fn new(mut random: Random) -> Self {
        let drift = [(); JOINTS].map(|()| [(); 3].map(|()| random.normal()));
        Self { random, drift, lost: [0.0; JOINTS] }
    }

    /// The pose of a body (joints in the scene, m), `step` seconds after the last.
    pub fn see(
        &mut self,
        number: usize,
        joints: &[Point; JOINTS],
        camera: &Camera,
        noise: &PoseNoise,
        step: f64,
    ) -> Pose {
        let hips = times(plus(joints[23], joints[24]), 0.5);
        let depth = camera.seen(minus(hips, camera.eye))[2];
        let keep = LASTING / (LASTING + step);
        let fresh = (1.0 - keep * keep).sqrt();
        let random = &mut self.random;
        let (mut places, mut world) = ([[0.0; 4]; JOINTS], [[0.0; 3]; JOINTS]);
        for (joint, at) in joints.iter().enumerate() {
            let mut error = [0.0; 3];
            for (axis, error) in error.iter_mut().enumerate() {
                let drift = &mut self.drift[joint][axis];
                *drift = keep * *drift + fresh * random.normal();
                let deep = if axis == 2 { noise.depth } else { 1.0 };
                *error = deep * (noise.slow * *drift + noise.quick * random.normal());
            }
            if random.share() < noise.lost * step {
                self.lost[joint] = noise.lost_seconds * random.between(0.5, 2.0);
            }
            let gone = self.lost[joint] > 0.0;
            self.lost[joint] -= step;
            let visibility = if gone { random.between(0.05, 0.35) } else { random.between(0.85, 1.0) };
            if gone {
                error = times(plus(error, [0.06, 0.06, 0.06]), 2.0);
            }
            let body = plus(camera.seen(minus(*at, hips)), error);
            let [x, y, z] = plus(camera.seen(minus(hips, camera.eye)), body);
            let scale = camera.focal / z.max(0.5);
            places[joint] = [
                (0.5 + x * scale / ASPECT) as f32,
                (0.5 + y * scale) as f32,
                (body[2] * camera.focal / depth / ASPECT) as f32,
                visibility as f32,
            ];
            world[joint] = body.map(|value| value as f32);
        }
        // The model puts the origin between the hips that it sees.
        let middle: [f32; 3] = std::array::from_fn(|axis| (world[23][axis] + world[24][axis]) / 2.0);
        world.iter_mut().for_each(|joint| joint.iter_mut().zip(middle).for_each(|(value, middle)| *value -= middle));
        let bound = |axis: usize, size: f64, pick: fn(f32, f32) -> f32, worst: f32| {
            places.iter().map(|place| place[axis]).fold(worst, pick) * size as f32
        };
        Pose {
            track: number as u32 + 1,
            fighter: format!("fighter_{}", number + 1),
            x1: bound(0, WIDTH, f32::min, f32::MAX),
            y1: bound(1, HEIGHT, f32::min, f32::MAX),
            x2: bound(0, WIDTH, f32::max, f32::MIN),
            y2: bound(1, HEIGHT, f32::max, f32::MIN),
            score: 0.95,
            model: "generated".into(),
            aspect: ASPECT as f32,
            joints: places,
            world,
        }
    }
}
