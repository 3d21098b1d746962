//! How the crop gets to where it is to look: smoothed by a One-Euro filter, steered by a PID controller.

use serde::{Deserialize, Serialize};
use sideline_api::one_euro::{Cutoffs, OneEuro};

use crate::{
    HEIGHT, Picture, ViewConfig,
    aim::{Aim, Manner},
};

/// Share of half the crop that the ball may be from its middle before it widens at once, and seconds that this takes.
const SAFE: f64 = 0.75;
const HURRY: f64 = 0.12;
/// Speed at which the dead zone has shrunk to a half, px a second.
const RUNS: f64 = 60.0;
/// Sums of errors beyond this wind the controller up, px.
const WOUND: f64 = 200.0;

/// What is remembered of the crop; px of a picture 1080 high.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Camera {
    /// Middle of the crop.
    place: [f64; 2],
    /// Height of the crop, in shares of the widest.
    share: f64,
    /// What is aimed at: it moves only where the target leaves the dead zone around it.
    aimed: [f64; 2],
    filters: [OneEuro; 2],
    steering: [Steering; 2],
    /// Where the controller would have the crop, and half of the way from there to where it is.
    steered: [f64; 2],
    evened: [f64; 2],
}

/// A PID controller of one axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Steering {
    sum: f64,
    last: f64,
}

impl Camera {
    /// In the middle, and as wide as can be.
    pub fn new(picture: &Picture) -> Self {
        let middle = [picture.width / 2.0, HEIGHT / 2.0];
        Self {
            place: middle,
            share: 1.0,
            aimed: middle,
            filters: middle.map(OneEuro::at),
            steering: [Steering::default(); 2],
            steered: middle,
            evened: middle,
        }
    }

    /// Middle of the crop.
    pub fn place(&self) -> [f64; 2] {
        self.place
    }

    /// Width and height of the crop.
    pub fn size(&self, picture: &Picture) -> [f64; 2] {
        picture.widest.map(|length| length * self.share)
    }

    /// Moves on by a frame of so many seconds.
    pub fn step(&mut self, aim: &Aim, seconds: f64, picture: &Picture, config: &ViewConfig) {
        if seconds > 0.0 {
            self.pan(aim, seconds, picture, config);
            self.zoom(aim, seconds, picture, config);
        }
        self.hold_inside(picture);
    }

    fn pan(&mut self, aim: &Aim, seconds: f64, picture: &Picture, config: &ViewConfig) {
        let calm = matches!(aim.manner, Manner::Still | Manner::Chaos);
        let cutoffs = Cutoffs {
            least: if calm { config.lock_min_cutoff } else { config.smoothing_min_cutoff },
            rise: config.smoothing_beta * aim.haste,
            speed: config.d_cutoff,
        };
        let most = if aim.manner == Manner::Still { config.lock_max_step } else { config.max_step };
        let (size, whole) = (self.size(picture), [picture.width, HEIGHT]);
        for axis in 0..2 {
            let half = size[axis] / 2.0;
            if let Some(target) = aim.target {
                // A ball that runs is followed at its own pace: it would pull the crop behind it at the edge of the zone.
                let slack = config.dead_zone * half / (1.0 + (aim.speed / RUNS).powi(2));
                let off = target[axis] - self.aimed[axis];
                self.aimed[axis] += off - off.clamp(-slack, slack);
            }
            // What lies where the crop cannot go is no error to be summed up.
            let middle = whole[axis] / 2.0;
            let target = self.aimed[axis].clamp(half.min(middle), (whole[axis] - half).max(middle));
            let smooth = self.filters[axis].step(target, seconds, &cutoffs);
            let error = smooth - self.steered[axis];
            let frames = seconds * 30.0;
            let step = if config.use_pid { self.steering[axis].step(error, frames, most, config) } else { error };
            self.steered[axis] += step.clamp(-most * frames, most * frames);
            // Two equal low-passes behind each other: no speed begins or ends at once.
            let evened = config.stability_s * 30.0;
            let keep = if evened > 0.0 { (-2.0 * frames / evened).exp() } else { 0.0 };
            let mut last = self.steered[axis];
            for stage in [&mut self.evened[axis], &mut self.place[axis]] {
                *stage = keep * *stage + (1.0 - keep) * last;
                last = *stage;
            }
        }
    }

    fn zoom(&mut self, aim: &Aim, seconds: f64, picture: &Picture, config: &ViewConfig) {
        let least = 1.0 / config.max_zoom;
        let fits = |reach: [f64; 2]| {
            let [x, y] = [0, 1].map(|axis| 2.0 * reach[axis] / picture.widest[axis]);
            x.max(y)
        };
        let wanted = aim.reach.map_or(1.0, |reach| fits(reach) * (1.0 + config.zoom_padding)).clamp(least, 1.0);
        let needed = aim.ball.map_or(0.0, |ball| {
            let off = [0, 1].map(|axis| (ball[axis] - self.place[axis]).abs());
            fits(off) / SAFE
        });
        let (target, slowness) = match () {
            () if needed > wanted.max(self.share) => (needed.min(1.0), HURRY),
            () if aim.manner == Manner::Wait => (1.0, 2.0 * config.zoom_seconds),
            () if wanted > self.share => (wanted, config.zoom_seconds / 2.0),
            () => (wanted.max(needed).min(1.0), config.zoom_seconds),
        };
        self.share += (target - self.share) * (1.0 - (-seconds / slowness).exp());
    }

    /// Keeps the crop in the picture.
    fn hold_inside(&mut self, picture: &Picture) {
        let size = self.size(picture);
        for (axis, whole) in [picture.width, HEIGHT].into_iter().enumerate() {
            let half = size[axis] / 2.0;
            // A crop as large as the picture leaves one place; rounding must not leave none.
            self.place[axis] = self.place[axis].clamp(half.min(whole / 2.0), (whole - half).max(whole / 2.0));
        }
    }
}

impl Steering {
    /// How far to go for an error, in so many frames of 1/30 s; at most `most` in each.
    fn step(&mut self, error: f64, frames: f64, most: f64, config: &ViewConfig) -> f64 {
        let share = 1.0 - (1.0 - config.pid_p.min(0.999)).powf(frames);
        let change = (error - self.last) / frames.max(0.1);
        let step = share * error + (config.pid_i * self.sum + config.pid_d * change) * frames.min(1.0);
        let bounded = step.clamp(-most * frames, most * frames);
        // Anti-windup: an error that the bound leaves over is not summed up.
        if bounded == step {
            self.sum = (self.sum + error * frames).clamp(-WOUND, WOUND);
        }
        self.last = error;
        bounded
    }
}
