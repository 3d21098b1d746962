//! One guess at where the ball is: what was taken for it, how it moves, and how much speaks for it.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::{BallConfig, motion::Motion, particles::Cloud};

/// What a detector took for a ball, px of a picture 1080 high.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its middle.
    pub place: [f64; 2],
    /// Its radius.
    pub radius: f64,
    /// Confidence, 0..1.
    pub score: f64,
}

/// A candidate that was taken, and when.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    /// Number of its frame.
    pub frame: u64,
    /// Its middle.
    pub place: [f64; 2],
    /// Its radius.
    pub radius: f64,
    /// Its confidence.
    pub score: f64,
    /// It took a kick to come here.
    pub kicked: bool,
}

/// How a candidate suits a trail.
#[derive(Clone, Copy, Debug)]
pub struct Fit {
    /// How much likelier it is to be this ball than to be a false one: logarithm of the ratio.
    pub gain: f64,
    /// A kick explains it better than going on.
    pub kicked: bool,
}

/// False candidates in a px² of a frame: about one in a crowd's feet.
const CLUTTER: f64 = 1e-5;
/// Chance that the ball was kicked between two looks.
const KICKS: f64 = 0.05;
/// Speed that a kick adds, px a frame: standard deviation.
pub const KICK_SPEED: f64 = 16.0;
/// Standard deviations of the logarithm of a radius from look to look, and of scores.
const RADIUS_SPREAD: f64 = 0.35;
const SCORE_SPREAD: f64 = 0.15;
/// Chance that a ball in sight is seen.
const SEEN: f64 = 0.6;
/// Most that one place can speak for a trail.
const MOST_GAIN: f64 = 2.0;
/// Frames in which what spoke for a trail fades to a third.
const FADING: f64 = 45.0;
/// Speed from which a trail surely moves, px a frame, and how much a look then speaks for it beside: false balls that
/// stay lie still mostly.
const SURE_SPEED: f64 = 6.0;
const MOVES: f64 = 2.0;

/// See the [module](self).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trail {
    /// How it moves.
    pub motion: Motion,
    /// The same as particles, where that method was chosen and this is the trail that is sent.
    pub cloud: Option<Cloud>,
    /// Radius, smoothed.
    pub radius: f64,
    /// Frames of 1/30 s since it was measured.
    pub missing: f64,
    /// Looks in a row in which it was not seen.
    pub missed: u32,
    /// Looks in a row in which it was seen.
    pub streak: u32,
    /// Times it was seen.
    pub seen: u32,
    /// Times it was seen since its last kick: a kick that nothing bears out may be a false ball.
    pub settled: u32,
    /// How much speaks for it: logarithm of how much likelier it is the ball than a row of false ones; fades.
    pub evidence: f64,
    /// How surprising the last places were: 1 is as expected, more asks for more process noise.
    pub unrest: f64,
    /// Where it was seen, as far back as corrections go.
    pub hits: VecDeque<Hit>,
}

impl Trail {
    /// Begins with a candidate.
    pub fn new(candidate: &Candidate, frame: u64, usual_score: f64, config: &BallConfig) -> Self {
        let Candidate { place, radius, score } = *candidate;
        Self {
            motion: Motion::at(place, config.noise_most),
            cloud: None,
            radius,
            missing: 0.0,
            missed: 0,
            streak: 1,
            seen: 1,
            settled: 1,
            evidence: score_gain(score, usual_score) + range_gain(radius, config),
            unrest: 1.0,
            hits: [Hit { frame, place, radius, score, kicked: false }].into(),
        }
    }

    /// Moves on by some frames.
    pub fn predict(&mut self, frames: f64, config: &BallConfig, seed: u64) {
        let noise = config.process_noise * self.unrest.clamp(1.0, config.process_noise_rise);
        self.motion.predict(frames, noise);
        if let Some(cloud) = &mut self.cloud {
            cloud.predict(frames, noise, seed);
            self.motion = cloud.motion();
        }
        self.missing += frames;
        self.evidence *= (-frames / FADING).exp();
    }

    /// Variance of a measured place: the stiller the ball, the less a look is believed.
    pub fn noise(&self, stillness: f64, radius: f64, config: &BallConfig) -> f64 {
        let (least, most) = (config.noise_least, config.noise_most.max(config.noise_least));
        // A large ball's edges err by more pixels.
        (least + (most - least) * stillness).max((0.1 * radius).powi(2))
    }

    /// How a candidate suits it; `None` outside the gate.
    pub fn fit(
        &self,
        candidate: &Candidate,
        noise: f64,
        gate: f64,
        usual_score: f64,
        config: &BallConfig,
    ) -> Option<Fit> {
        let [x, y] = self.motion.place();
        let (dx, dy) = (candidate.place[0] - x, candidate.place[1] - y);
        let squared = dx * dx + dy * dy;
        let going_on = self.motion.variance() + noise;
        let reach = KICK_SPEED * self.missing;
        let kicked = going_on + reach * reach / 3.0;
        if squared > gate * gate * kicked {
            return None;
        }
        let log_density = |variance: f64| -squared / (2.0 * variance) - (std::f64::consts::TAU * variance).ln();
        let (on, off) = (log_density(going_on) + (1.0 - KICKS).ln(), log_density(kicked) + KICKS.ln());
        let larger = (candidate.radius / self.radius).ln() / RADIUS_SPREAD;
        let gain = (on.max(off) - CLUTTER.ln()).min(MOST_GAIN) - (larger * larger / 2.0).min(4.0)
            + score_gain(candidate.score, usual_score)
            + range_gain(candidate.radius, config);
        Some(Fit { gain, kicked: off > on })
    }

    /// Takes a candidate for the ball.
    pub fn take(&mut self, candidate: &Candidate, fit: Fit, noise: f64, frame: u64, keep: usize, seed: u64) {
        let [x, y] = self.motion.place();
        let (dx, dy) = (candidate.place[0] - x, candidate.place[1] - y);
        let surprise = (dx * dx + dy * dy) / (2.0 * (self.motion.variance() + noise));
        if fit.kicked {
            self.motion.kick(self.missing, KICK_SPEED);
        }
        self.motion.update(candidate.place, noise);
        if let Some(cloud) = &mut self.cloud {
            cloud.update(candidate.place, noise, &self.motion, fit.kicked, seed);
            self.motion = cloud.motion();
        }
        self.unrest += 0.3 * (surprise.min(20.0) - self.unrest);
        self.radius *= (candidate.radius / self.radius).powf(0.2);
        let [vx, vy] = self.motion.velocity();
        self.settled = if fit.kicked { 0 } else { self.settled + 1 };
        let moves = if fit.kicked { 0.0 } else { ((vx * vx + vy * vy).sqrt() / SURE_SPEED).min(1.0) };
        self.evidence += fit.gain + MOVES * moves;
        self.missing = 0.0;
        self.missed = 0;
        self.streak += 1;
        self.seen += 1;
        let Candidate { place, radius, score } = *candidate;
        self.hits.push_back(Hit { frame, place, radius, score, kicked: fit.kicked });
        while self.hits.len() > keep {
            self.hits.pop_front();
        }
    }

    /// A look at the frame did not show it.
    pub fn miss(&mut self) {
        self.missed += 1;
        self.streak = 0;
        self.evidence += (1.0 - SEEN).ln();
    }
}

/// What a score says, against what candidates usually have: no detector's scores mean the same as another's.
fn score_gain(score: f64, usual: f64) -> f64 {
    ((score - usual) / SCORE_SPREAD).clamp(-1.5, 1.5)
}

/// What a radius outside the range says: the farther, the less likely.
fn range_gain(radius: f64, config: &BallConfig) -> f64 {
    let beside = (config.min_radius / radius).max(radius / config.max_radius).max(1.0).ln() / RADIUS_SPREAD;
    -(beside * beside / 2.0).min(4.0)
}
