//! Camera of a generated bout, and simulation of a pose model's output for the joints in view.

use sideline_sport::tables::{JOINTS, Pose};

use super::{
    PoseNoise,
    space::{Point, add, cross, dot, mul, normalize, sub},
};
use crate::Random;

/// Size of the image, px.
const WIDTH: f64 = 1920.0;
const HEIGHT: f64 = 1080.0;
const ASPECT: f64 = WIDTH / HEIGHT;
/// Correlation time of the slow part of a pose model's error, seconds.
const ERROR_CORRELATION_S: f64 = 0.25;

/// Camera that looks at the center of the scene, without roll.
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
    /// Draws a position: on any side, 4.5 to 8 m away, 0.8 to 2.4 m high.
    pub fn draw(random: &mut Random) -> Self {
        let yaw = random.uniform() * std::f64::consts::TAU;
        let (distance, height) = (random.between(4.5, 8.0), random.between(0.8, 2.4));
        let eye = [-distance * yaw.sin(), height, -distance * yaw.cos()];
        let away = normalize(sub([0.0, 0.95, 0.0], eye));
        let right = normalize(cross(away, [0.0, 1.0, 0.0]));
        Self { eye, right, down: cross(away, right), away, focal: random.between(0.27, 0.33) * distance }
    }

    /// Converts a vector of the scene to the camera's axes: right, down, away.
    fn to_camera(&self, v: Point) -> Point {
        [dot(self.right, v), dot(self.down, v), dot(self.away, v)]
    }
}

/// Error model of a pose model for one person, with its state from frame to frame.
#[derive(Clone, Debug)]
pub struct PoseSimulator {
    random: Random,
    /// Correlated errors of each joint; standard deviation 1.
    drift: [Point; JOINTS],
    /// Seconds for which a joint is still undetected.
    dropout: [f64; JOINTS],
}

impl PoseSimulator {
    /// Creates the error model of one person.
    pub fn new(mut random: Random) -> Self {
        let drift = [(); JOINTS].map(|()| [(); 3].map(|()| random.normal()));
        Self { random, drift, dropout: [0.0; JOINTS] }
    }

    /// Simulates the pose of a body (joints in the scene, m), `step` seconds after the previous one.
    pub fn observe(
        &mut self,
        number: usize,
        joints: &[Point; JOINTS],
        camera: &Camera,
        noise: &PoseNoise,
        step: f64,
    ) -> Pose {
        let hips = mul(add(joints[23], joints[24]), 0.5);
        let depth = camera.to_camera(sub(hips, camera.eye))[2];
        let keep = ERROR_CORRELATION_S / (ERROR_CORRELATION_S + step);
        let fresh = (1.0 - keep * keep).sqrt();
        let random = &mut self.random;
        let (mut image, mut world) = ([[0.0; 4]; JOINTS], [[0.0; 3]; JOINTS]);
        for (joint, position) in joints.iter().enumerate() {
            let mut error = [0.0; 3];
            for (axis, error) in error.iter_mut().enumerate() {
                let drift = &mut self.drift[joint][axis];
                *drift = keep * *drift + fresh * random.normal();
                let axis_factor = if axis == 2 { noise.depth_factor } else { 1.0 };
                *error = axis_factor * (noise.correlated_m * *drift + noise.white_m * random.normal());
            }
            if random.uniform() < noise.dropouts_per_s * step {
                self.dropout[joint] = noise.dropout_seconds * random.between(0.5, 2.0);
            }
            let is_dropped_out = self.dropout[joint] > 0.0;
            self.dropout[joint] -= step;
            let visibility = if is_dropped_out { random.between(0.05, 0.35) } else { random.between(0.85, 1.0) };
            if is_dropped_out {
                error = mul(add(error, [0.06, 0.06, 0.06]), 2.0);
            }
            let body = add(camera.to_camera(sub(*position, hips)), error);
            let [x, y, z] = add(camera.to_camera(sub(hips, camera.eye)), body);
            let scale = camera.focal / z.max(0.5);
            image[joint] = [
                (0.5 + x * scale / ASPECT) as f32,
                (0.5 + y * scale) as f32,
                (body[2] * camera.focal / depth / ASPECT) as f32,
                visibility as f32,
            ];
            world[joint] = body.map(|value| value as f32);
        }
        // The model's origin is the center of the hips as it sees them.
        let center: [f32; 3] = std::array::from_fn(|axis| (world[23][axis] + world[24][axis]) / 2.0);
        world.iter_mut().for_each(|joint| joint.iter_mut().zip(center).for_each(|(value, center)| *value -= center));
        let bound = |axis: usize, size: f64, select: fn(f32, f32) -> f32, initial: f32| {
            image.iter().map(|joint| joint[axis]).fold(initial, select) * size as f32
        };
        Pose {
            track: number as u32 + 1,
            x1: bound(0, WIDTH, f32::min, f32::MAX),
            y1: bound(1, HEIGHT, f32::min, f32::MAX),
            x2: bound(0, WIDTH, f32::max, f32::MIN),
            y2: bound(1, HEIGHT, f32::max, f32::MIN),
            score: 0.95,
            model: "generated".into(),
            aspect: ASPECT as f32,
            joints: image,
            world,
        }
    }
}
