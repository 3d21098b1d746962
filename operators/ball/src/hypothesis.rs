//! A track hypothesis: a sequence of associated candidates, its motion estimate and its score.
//!
//! The score is the log-likelihood ratio of Blackman (2004): the candidates come from one ball, against the candidates
//! are false alarms.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::{BallConfig, motion::MotionEstimate, particles::ParticleSet};

/// A detection that may be the ball, px of a frame 1080 high.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Center.
    pub center: [f64; 2],
    /// Radius.
    pub radius: f64,
    /// Detection score, 0 to 1.
    pub score: f64,
}

/// A candidate that was associated with a hypothesis.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    /// Number of the frame.
    pub frame: u64,
    /// Center.
    pub position: [f64; 2],
    /// Radius.
    pub radius: f64,
    /// Detection score, 0 to 1.
    pub score: f64,
    /// A kick explains the position better than continued motion.
    pub is_kick: bool,
}

/// Result of scoring a candidate against a hypothesis.
#[derive(Clone, Copy, Debug)]
pub struct Association {
    /// Log-likelihood ratio: the candidate is this ball, against it is a false alarm.
    pub log_likelihood_ratio: f64,
    /// A kick explains the candidate better than continued motion.
    pub is_kick: bool,
}

/// Clutter density: false alarms per px² of a frame. 1e-5 is about one among the feet of a crowd.
const CLUTTER_DENSITY: f64 = 1e-5;
/// Prior probability that the ball was kicked between two processed frames.
const KICK_PROBABILITY: f64 = 0.05;
/// Standard deviation of the speed that a kick adds, px/frame.
pub const KICK_SPEED_STD: f64 = 16.0;
/// Standard deviation of the logarithm of the radius between processed frames.
const LOG_RADIUS_STD: f64 = 0.35;
/// Standard deviation of detection scores.
const SCORE_STD: f64 = 0.15;
/// Detection probability of a visible ball.
const DETECTION_PROBABILITY: f64 = 0.6;
/// Upper bound on the position term of one log-likelihood ratio, so that a single precise match does not dominate the
/// score.
const MAX_POSITION_LLR: f64 = 2.0;
/// Time constant of the score's exponential decay, frames of 1/30 s.
const SCORE_TIME_CONSTANT: f64 = 45.0;
/// Speed from which a hypothesis counts as fully moving, px/frame.
const FULL_MOTION_SPEED: f64 = 6.0;
/// Log-likelihood ratio that a hit of a fully moving hypothesis adds: persistent false alarms mostly lie still.
const FULL_MOTION_LLR: f64 = 2.0;

/// See the [module](self).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hypothesis {
    /// Motion estimate.
    pub motion: MotionEstimate,
    /// Particle set, only with the method `particle` and only in the active hypothesis.
    pub particles: Option<ParticleSet>,
    /// Smoothed radius.
    pub radius: f64,
    /// Frames of 1/30 s since the last hit.
    pub frames_since_hit: f64,
    /// Consecutive processed frames without a hit.
    pub consecutive_misses: u32,
    /// Consecutive processed frames with a hit.
    pub consecutive_hits: u32,
    /// Number of hits.
    pub hit_count: u32,
    /// Number of hits since the last kick: a kick without later hits may be a false alarm.
    pub hits_since_kick: u32,
    /// Track score (Blackman 2004): cumulative log-likelihood ratio against a sequence of false alarms; decays with
    /// time.
    pub score: f64,
    /// Smoothed squared Mahalanobis distance of the innovations, per axis: 1 matches the predicted covariance, more
    /// raises the process noise.
    pub mahalanobis_squared: f64,
    /// Hits, as far back as corrections need them.
    pub hits: VecDeque<Hit>,
}

impl Hypothesis {
    /// Starts a hypothesis with a candidate.
    pub fn new(candidate: &Candidate, frame: u64, mean_score: f64, config: &BallConfig) -> Self {
        let Candidate { center, radius, score } = *candidate;
        Self {
            motion: MotionEstimate::from_position(center, config.noise_most),
            particles: None,
            radius,
            frames_since_hit: 0.0,
            consecutive_misses: 0,
            consecutive_hits: 1,
            hit_count: 1,
            hits_since_kick: 1,
            score: detection_score_llr(score, mean_score) + radius_penalty(radius, config),
            mahalanobis_squared: 1.0,
            hits: [Hit { frame, position: center, radius, score, is_kick: false }].into(),
        }
    }

    /// Predicts the motion `frames` later and lets the score decay.
    pub fn predict(&mut self, frames: f64, config: &BallConfig, seed: u64) {
        let process_noise = config.process_noise * self.mahalanobis_squared.clamp(1.0, config.process_noise_rise);
        self.motion.predict(frames, process_noise);
        if let Some(particles) = &mut self.particles {
            particles.predict(frames, process_noise, seed);
            self.motion = particles.estimate();
        }
        self.frames_since_hit += frames;
        self.score *= (-frames / SCORE_TIME_CONSTANT).exp();
    }

    /// Returns the variance of a measured position, px². The stiller the ball (`stillness`, 0 to 1), the less a
    /// measurement counts.
    pub fn measurement_variance(&self, stillness: f64, radius: f64, config: &BallConfig) -> f64 {
        let (moving, at_rest) = (config.noise_least, config.noise_most.max(config.noise_least));
        // The error of the edges grows with the size of the ball.
        (moving + (at_rest - moving) * stillness).max((0.1 * radius).powi(2))
    }

    /// Scores a candidate; `None` outside the gate of `gate` standard deviations. `mean_score` is the average detection
    /// score.
    pub fn evaluate(
        &self,
        candidate: &Candidate,
        variance: f64,
        gate: f64,
        mean_score: f64,
        config: &BallConfig,
    ) -> Option<Association> {
        let [x, y] = self.motion.position();
        let (dx, dy) = (candidate.center[0] - x, candidate.center[1] - y);
        let distance_squared = dx * dx + dy * dy;
        let innovation_variance = self.motion.position_variance() + variance;
        let kick_distance = KICK_SPEED_STD * self.frames_since_hit;
        let kick_variance = innovation_variance + kick_distance * kick_distance / 3.0;
        if distance_squared > gate * gate * kick_variance {
            return None;
        }
        let log_density =
            |variance: f64| -distance_squared / (2.0 * variance) - (std::f64::consts::TAU * variance).ln();
        let continued = log_density(innovation_variance) + (1.0 - KICK_PROBABILITY).ln();
        let kicked = log_density(kick_variance) + KICK_PROBABILITY.ln();
        let radius_deviation = (candidate.radius / self.radius).ln() / LOG_RADIUS_STD;
        let log_likelihood_ratio = (continued.max(kicked) - CLUTTER_DENSITY.ln()).min(MAX_POSITION_LLR)
            - (radius_deviation * radius_deviation / 2.0).min(4.0)
            + detection_score_llr(candidate.score, mean_score)
            + radius_penalty(candidate.radius, config);
        Some(Association { log_likelihood_ratio, is_kick: kicked > continued })
    }

    /// Associates a candidate: updates motion, radius and score, and keeps the last `capacity` hits.
    pub fn associate(
        &mut self,
        candidate: &Candidate,
        association: Association,
        variance: f64,
        frame: u64,
        capacity: usize,
        seed: u64,
    ) {
        let [x, y] = self.motion.position();
        let (dx, dy) = (candidate.center[0] - x, candidate.center[1] - y);
        let mahalanobis_squared = (dx * dx + dy * dy) / (2.0 * (self.motion.position_variance() + variance));
        if association.is_kick {
            self.motion.inflate_for_kick(self.frames_since_hit, KICK_SPEED_STD);
        }
        self.motion.update(candidate.center, variance);
        if let Some(particles) = &mut self.particles {
            particles.update(candidate.center, variance, &self.motion, association.is_kick, seed);
            self.motion = particles.estimate();
        }
        self.mahalanobis_squared += 0.3 * (mahalanobis_squared.min(20.0) - self.mahalanobis_squared);
        self.radius *= (candidate.radius / self.radius).powf(0.2);
        let [vx, vy] = self.motion.velocity();
        self.hits_since_kick = if association.is_kick { 0 } else { self.hits_since_kick + 1 };
        let motion_share =
            if association.is_kick { 0.0 } else { ((vx * vx + vy * vy).sqrt() / FULL_MOTION_SPEED).min(1.0) };
        self.score += association.log_likelihood_ratio + FULL_MOTION_LLR * motion_share;
        self.frames_since_hit = 0.0;
        self.consecutive_misses = 0;
        self.consecutive_hits += 1;
        self.hit_count += 1;
        let Candidate { center, radius, score } = *candidate;
        self.hits.push_back(Hit { frame, position: center, radius, score, is_kick: association.is_kick });
        while self.hits.len() > capacity {
            self.hits.pop_front();
        }
    }

    /// Records a processed frame without a hit.
    pub fn record_miss(&mut self) {
        self.consecutive_misses += 1;
        self.consecutive_hits = 0;
        self.score += (1.0 - DETECTION_PROBABILITY).ln();
    }
}

/// Returns the log-likelihood ratio of a detection score, relative to the mean score: detectors differ in the scale of
/// their scores.
fn detection_score_llr(score: f64, mean: f64) -> f64 {
    ((score - mean) / SCORE_STD).clamp(-1.5, 1.5)
}

/// Returns the penalty of a radius outside the expected range, 0 or less.
fn radius_penalty(radius: f64, config: &BallConfig) -> f64 {
    let deviation = (config.min_radius / radius).max(radius / config.max_radius).max(1.0).ln() / LOG_RADIUS_STD;
    -(deviation * deviation / 2.0).min(4.0)
}
