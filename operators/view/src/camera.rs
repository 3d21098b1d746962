//! Motion of the crop: the target is smoothed by a One-Euro filter (Casiez et al. 2012), and a PID controller moves the
//! crop towards it.

use serde::{Deserialize, Serialize};
use sideline_vision::one_euro::{OneEuro, OneEuroParams};

use crate::{
    FrameGeometry, REFERENCE_HEIGHT, ViewConfig,
    aim::{Aim, CameraMotion},
};

/// Distance of the ball from the center, as a share of half the crop, beyond which the crop widens at once.
const SAFE_SHARE: f64 = 0.75;
/// Time constant of that widening, s.
const FAST_WIDENING_S: f64 = 0.12;
/// Speed of the ball at which the dead zone has half its size, px/s.
const DEAD_ZONE_HALVING_SPEED: f64 = 60.0;
/// Bound on the integral of the error, px·frames: beyond it the controller would wind up.
const MAX_ERROR_INTEGRAL: f64 = 200.0;

/// State of the crop; px of a frame 1080 high.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Camera {
    /// Center of the crop.
    center: [f64; 2],
    /// Height of the crop as a share of the widest crop's.
    relative_height: f64,
    /// Target after the dead zone: it moves only where the aim leaves the dead zone around it.
    target: [f64; 2],
    filters: [OneEuro; 2],
    controllers: [PidController; 2],
    /// Output of the controller.
    controlled: [f64; 2],
    /// Output of the first of the two low-pass filters; the second one's is `center`.
    smoothed: [f64; 2],
}

/// PID controller of one axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct PidController {
    /// Integral of the error, px·frames.
    error_integral: f64,
    /// Error of the last frame, px.
    last_error: f64,
}

impl Camera {
    /// Creates a camera with the widest crop, in the center of the frame.
    pub fn new(geometry: &FrameGeometry) -> Self {
        let middle = [geometry.width / 2.0, REFERENCE_HEIGHT / 2.0];
        Self {
            center: middle,
            relative_height: 1.0,
            target: middle,
            filters: middle.map(OneEuro::new),
            controllers: [PidController::default(); 2],
            controlled: middle,
            smoothed: middle,
        }
    }

    /// Returns the center of the crop.
    pub fn center(&self) -> [f64; 2] {
        self.center
    }

    /// Returns width and height of the crop, px.
    pub fn size(&self, geometry: &FrameGeometry) -> [f64; 2] {
        geometry.widest_crop.map(|length| length * self.relative_height)
    }

    /// Moves the crop by one frame of `seconds`.
    pub fn update(&mut self, aim: &Aim, seconds: f64, geometry: &FrameGeometry, config: &ViewConfig) {
        if seconds > 0.0 {
            self.pan(aim, seconds, geometry, config);
            self.zoom(aim, seconds, geometry, config);
        }
        self.clamp_to_frame(geometry);
    }

    fn pan(&mut self, aim: &Aim, seconds: f64, geometry: &FrameGeometry, config: &ViewConfig) {
        let is_calm = matches!(aim.motion, CameraMotion::Locked | CameraMotion::Chaos);
        let cutoffs = OneEuroParams {
            min_cutoff: if is_calm { config.lock_min_cutoff } else { config.smoothing_min_cutoff },
            beta: config.smoothing_beta * aim.cutoff_factor,
            derivative_cutoff: config.d_cutoff,
        };
        let max_step = if aim.motion == CameraMotion::Locked { config.lock_max_step } else { config.max_step };
        let (size, frame_size) = (self.size(geometry), [geometry.width, REFERENCE_HEIGHT]);
        for axis in 0..2 {
            let half = size[axis] / 2.0;
            if let Some(aimed) = aim.target {
                // The dead zone shrinks with the speed of the ball: otherwise a running ball would pull the crop along
                // at the zone's edge.
                let dead_zone = config.dead_zone * half / (1.0 + (aim.speed / DEAD_ZONE_HALVING_SPEED).powi(2));
                let offset = aimed[axis] - self.target[axis];
                self.target[axis] += offset - offset.clamp(-dead_zone, dead_zone);
            }
            // A target that the crop cannot reach must not add to the integral.
            let middle = frame_size[axis] / 2.0;
            let target = self.target[axis].clamp(half.min(middle), (frame_size[axis] - half).max(middle));
            let filtered = self.filters[axis].update(target, seconds, &cutoffs);
            let error = filtered - self.controlled[axis];
            let frames = seconds * 30.0;
            let step =
                if config.use_pid { self.controllers[axis].step(error, frames, max_step, config) } else { error };
            self.controlled[axis] += step.clamp(-max_step * frames, max_step * frames);
            // Two equal low-pass filters in series: the speed changes gradually.
            let duration = config.stability_s * 30.0;
            let decay = if duration > 0.0 { (-2.0 * frames / duration).exp() } else { 0.0 };
            let mut value = self.controlled[axis];
            for stage in [&mut self.smoothed[axis], &mut self.center[axis]] {
                *stage = decay * *stage + (1.0 - decay) * value;
                value = *stage;
            }
        }
    }

    fn zoom(&mut self, aim: &Aim, seconds: f64, geometry: &FrameGeometry, config: &ViewConfig) {
        let min_height = 1.0 / config.max_zoom;
        let fitting_height = |extent: [f64; 2]| {
            let [x, y] = [0, 1].map(|axis| 2.0 * extent[axis] / geometry.widest_crop[axis]);
            x.max(y)
        };
        let wanted = aim
            .extent
            .map_or(1.0, |extent| fitting_height(extent) * (1.0 + config.zoom_padding))
            .clamp(min_height, 1.0);
        let needed = aim.ball.map_or(0.0, |ball| {
            let offset = [0, 1].map(|axis| (ball[axis] - self.center[axis]).abs());
            fitting_height(offset) / SAFE_SHARE
        });
        let (target, time_constant) = match () {
            () if needed > wanted.max(self.relative_height) => (needed.min(1.0), FAST_WIDENING_S),
            () if aim.motion == CameraMotion::Waiting => (1.0, 2.0 * config.zoom_seconds),
            () if wanted > self.relative_height => (wanted, config.zoom_seconds / 2.0),
            () => (wanted.max(needed).min(1.0), config.zoom_seconds),
        };
        self.relative_height += (target - self.relative_height) * (1.0 - (-seconds / time_constant).exp());
    }

    /// Clamps the crop to the frame.
    fn clamp_to_frame(&mut self, geometry: &FrameGeometry) {
        let size = self.size(geometry);
        for (axis, length) in [geometry.width, REFERENCE_HEIGHT].into_iter().enumerate() {
            let half = size[axis] / 2.0;
            // A crop as large as the frame leaves one position; rounding must not invert the bounds.
            self.center[axis] = self.center[axis].clamp(half.min(length / 2.0), (length - half).max(length / 2.0));
        }
    }
}

impl PidController {
    /// Returns the movement for an error, px; `frames` is the time in frames of 1/30 s, `max_step` the bound per frame.
    fn step(&mut self, error: f64, frames: f64, max_step: f64, config: &ViewConfig) -> f64 {
        let proportional_gain = 1.0 - (1.0 - config.pid_p.min(0.999)).powf(frames);
        let derivative = (error - self.last_error) / frames.max(0.1);
        let step = proportional_gain * error
            + (config.pid_i * self.error_integral + config.pid_d * derivative) * frames.min(1.0);
        let bounded = step.clamp(-max_step * frames, max_step * frames);
        // Anti-windup: the integral stops while the output is bounded.
        if bounded == step {
            self.error_integral = (self.error_integral + error * frames).clamp(-MAX_ERROR_INTEGRAL, MAX_ERROR_INTEGRAL);
        }
        self.last_error = error;
        bounded
    }
}
