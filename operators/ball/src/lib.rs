//! `ball`: follows the ball. It reads the detector's ball candidates and writes one row per frame once the ball was
//! found.
//!
//! `motion` and `particles` estimate the motion, `hypothesis` scores candidates against one hypothesis, `tracker`
//! chooses the active hypothesis (track-oriented MHT), and `corrections` smooths earlier positions with later
//! detections. None of these modules depends on the runtime: this file connects them to it.
//!
//! **Units.** Lengths in keys and inside the operator are in pixels of a frame 1080 high; those of inputs and outputs
//! in pixels of the source frame. Times inside the operator are in frames of 1/30 s; those of inputs, outputs and keys
//! that end in `_s` in seconds. So a key has the same meaning for 720p, 4K, 25 and 60 frames a second.
//!
//! **Missing data.** Before the ball is first found there is no row. A frame that the detector did not process (its
//! message is skipped) does not count as a miss: the row is predicted. A new connection of a stream resets the state.
#![forbid(unsafe_code)]

mod corrections;
mod hypothesis;
mod motion;
mod particles;
mod tracker;

use serde::{Deserialize, Serialize};
use sideline_api::{Config, Context, Error, Inputs, Operator, Outputs, PortType, Resources, Result, Spec};
use sideline_sport::tables::{self, Correction, CorrectionKind, Detection};

use corrections::SmoothedPosition;
use hypothesis::Candidate;
use tracker::{Scan, Tracker};

/// State estimator of the ball's motion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Kalman filter.
    #[default]
    Kalman,
    /// Particle filter.
    Particle,
}

/// Tracks the ball through missed and false detections, and fills gaps afterwards.
#[derive(Clone, Debug, PartialEq, Config)]
#[config(check = BallConfig::check)]
pub struct BallConfig {
    /// State estimator: `kalman`, or `particle`, which is slower and keeps several possible positions after a kick.
    #[config(default = "kalman")]
    pub method: Method,
    /// Number of particles with the method `particle`. Higher is more accurate and slower.
    #[config(default = 300, range(10, 100_000))]
    pub particles: usize,
    /// Minimum detection score of a candidate. Higher avoids false balls; lower keeps balls that the detector scores
    /// low.
    #[config(default = 0.05, live, range(0, 1), former = "confidence")]
    pub min_score: f32,
    /// Process noise: variance that the acceleration gains per frame of 1/30 s, (px/frame²)². Higher follows turns
    /// sooner; lower is smoother and predicts better.
    #[config(default = 0.01, live, range(0.000_001, 100))]
    pub process_noise: f64,
    /// Maximum factor on `process_noise` while innovations are larger than predicted. Higher adapts faster to kicks; 1
    /// keeps the process noise constant.
    #[config(default = 30.0, live, range(1, 10_000))]
    pub process_noise_rise: f64,
    /// Measurement noise of a moving ball: variance of a measured position, px². Higher trusts the detector less.
    #[config(default = 3.0, live, range(0.01, 1_000))]
    pub noise_least: f64,
    /// Measurement noise of a ball at rest, px². Higher suppresses more jitter.
    #[config(default = 10.0, live, range(0.01, 1_000))]
    pub noise_most: f64,
    /// Gate: maximum distance of a candidate from the prediction, continued or kicked, standard deviations. Higher
    /// follows more abrupt motion and more false balls.
    #[config(default = 3.5, live, range(1, 20))]
    pub gate: f64,
    /// Gate outside mode `normal`, until the ball was detected in enough consecutive frames, standard deviations.
    /// Higher recovers the ball sooner and accepts more false balls.
    #[config(default = 4.5, live, range(1, 20))]
    pub recovering_gate: f64,
    /// Expected minimum radius of a ball, px. Smaller candidates are penalized, not rejected. Higher penalizes specks
    /// more; lower accepts distant balls.
    #[config(default = 5.0, live, range(0.5, 500))]
    pub min_radius: f64,
    /// Expected maximum radius of a ball, px. Larger candidates are penalized, not rejected. Higher accepts balls close
    /// to the camera; lower penalizes heads more.
    #[config(default = 50.0, live, range(1, 1_000))]
    pub max_radius: f64,
    /// Detections that confirm a ball, when it is first found and after a loss. Higher avoids false balls; lower finds
    /// the ball sooner.
    #[config(default = 3, live, range(1, 100), former = "confirm")]
    pub confirm_hits: u32,
    /// Consecutive detections after which the mode becomes `normal`. Higher keeps the wider gate longer.
    #[config(default = 15, live, range(1, 1_000))]
    pub normal_after: u32,
    /// Time without a detection after which a debug message is logged and mode `locked` ends, s. Higher keeps a hidden
    /// ball locked longer.
    #[config(default = 5.0 / REFERENCE_RATE, live, range(0, 60), former_frames = "warn_after")]
    pub warn_after_s: f64,
    /// Time without a detection after which the ball is lost, s. Higher predicts longer; lower searches the whole frame
    /// sooner.
    #[config(default = 10.0 / REFERENCE_RATE, live, range(0.01, 60), former_frames = "lost_after")]
    pub lost_after_s: f64,
    /// Maximum distance that a ball moves per frame, px. A ball that is found farther away before it was lost starts
    /// mode `chaos`. Higher tolerates longer jumps.
    #[config(default = 120.0, live, range(1, 10_000))]
    pub jump: f64,
    /// Duration of mode `chaos`, s. Higher distrusts distant candidates for longer after a jump.
    #[config(default = 4.0, live, range(0, 600), former_frames = "chaos_frames")]
    pub chaos_s: f64,
    /// Maximum distance of a candidate from the prediction in mode `chaos`, px. Higher follows faster balls; lower
    /// ignores more false ones.
    #[config(default = 80.0, live, range(1, 10_000))]
    pub chaos_reach: f64,
    /// Radius within which a ball counts as at rest, px. Higher tolerates more detector noise; lower notices slow
    /// motion sooner.
    #[config(default = 5.0, live, range(0.1, 1_000))]
    pub lock_radius: f64,
    /// Time at rest after which the mode becomes `locked`, s. Higher locks later.
    #[config(default = 25.0 / REFERENCE_RATE, live, range(0.01, 600), former_frames = "lock_frames")]
    pub lock_s: f64,
    /// Maximum distance of a candidate from the prediction in mode `locked`, px. Higher follows harder kicks; lower
    /// ignores more false balls.
    #[config(default = 80.0, live, range(1, 10_000))]
    pub lock_reach: f64,
    /// Lag of `corrections`, frames. Higher smooths with more later detections and needs more memory.
    #[config(default = 30, range(1, 3_000))]
    pub lag: usize,
    /// Longest gap that `corrections` fill, s. Higher fills more gaps, the long ones less accurately.
    #[config(default = 1.0, range(0, 100), former_frames = "fill")]
    pub fill_s: f64,
}

impl BallConfig {
    fn check(&self) -> Vec<(&'static str, String)> {
        let mut problems = vec![];
        if self.min_radius >= self.max_radius {
            problems
                .push(("min_radius", format!("{} is not below `max_radius` ({})", self.min_radius, self.max_radius)));
        }
        if self.noise_least > self.noise_most {
            problems.push(("noise_least", format!("{} is above `noise_most` ({})", self.noise_least, self.noise_most)));
        }
        if self.warn_after_s > self.lost_after_s {
            let (warn, lost) = (self.warn_after_s, self.lost_after_s);
            problems.push(("warn_after_s", format!("{warn} is above `lost_after_s` ({lost:.3})")));
        }
        problems
    }

    /// Returns the capacity of the history, frames: those that `corrections` wait for, and as many before to initialize
    /// the smoother.
    fn history_frames(&self) -> usize {
        2 * self.lag + 2
    }
}

/// State of a stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct BallState {
    /// Media time of the last frame, ns.
    pts: Option<i64>,
    /// Height of the frame divided by 1080.
    scale: f64,
    tracker: Tracker,
    is_gap_logged: bool,
}

/// The operator; see the documentation of the [crate].
pub struct Ball {
    config: BallConfig,
    /// The output `corrections` has a consumer.
    emits_corrections: bool,
}

/// Frame rate that internal times refer to, frames/s.
const REFERENCE_RATE: f64 = 30.0;
/// Height of the frame that lengths refer to, px.
const REFERENCE_HEIGHT: f64 = 1080.0;

/// Converts seconds into frames of 1/30 s, the internal unit of time.
pub(crate) fn to_frames(seconds: f64) -> f64 {
    seconds * REFERENCE_RATE
}

impl Operator for Ball {
    type Config = BallConfig;
    type State = BallState;

    fn spec() -> Spec {
        Spec::operator("ball")
            // Only the size is read: it scales all keys.
            .required("frames", PortType::Frame)
            .optional("balls", PortType::table::<Detection>())
            .output("ball", PortType::table::<tables::Ball>())
            .output("corrections", PortType::table::<Correction>())
    }

    fn new(config: BallConfig, resources: &Resources) -> Result<Self> {
        if !resources.is_wired("balls") {
            return Err(Error::config(
                "input `balls` is not connected; connect a detector's output to it: `balls: detect/balls`",
            ));
        }
        Ok(Self { config, emits_corrections: resources.is_read("corrections") })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, state: &mut BallState, out: &mut Outputs) -> Result<()> {
        let frame = input.frame("frames")?;
        let now = cx.header.pts;
        let elapsed_frames = state.pts.map_or(0.0, |before| (now - before).max(0) as f64 * 1e-9 * REFERENCE_RATE);
        state.pts = Some(now);
        state.scale = f64::from(frame.height()) / REFERENCE_HEIGHT;
        let detections = input.rows::<Detection>("balls")?;
        let candidates = detections.map(|rows| self.read_candidates(&rows, state.scale));
        let scan = Scan {
            frame: cx.header.frame,
            elapsed_frames,
            candidates: candidates.as_deref(),
            width: f64::from(frame.width()) / state.scale,
            seed: cx.seed(),
        };
        state.tracker.update(&scan, &self.config);
        self.log_gap(state);
        out.rows("ball", state.to_row().as_slice())?;
        if self.emits_corrections {
            let corrected = state.tracker.history.smoothed_at_lag(self.config.lag, &self.config);
            out.rows("corrections", &corrections(corrected, state.scale))?;
        }
        Ok(())
    }

    fn reconfigure(&mut self, config: &BallConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }

    fn session_started(&mut self, _: &Context, state: &mut BallState) -> Result<()> {
        // A new connection shows another scene: the state is invalid. Corrections not yet sent are lost with it.
        *state = BallState::default();
        Ok(())
    }

    fn stream_ended(&mut self, _: &Context, _: &Inputs, state: &mut BallState, out: &mut Outputs) -> Result<()> {
        if self.emits_corrections {
            let tail = state.tracker.history.smoothed_tail(self.config.lag, &self.config);
            out.rows("corrections", &corrections(tail, state.scale))?;
        }
        Ok(())
    }
}

impl Ball {
    fn read_candidates(&self, rows: &[Detection], scale: f64) -> Vec<Candidate> {
        let candidate = |row: &Detection| {
            let [x1, y1, x2, y2] = [row.x1, row.y1, row.x2, row.y2].map(|edge| f64::from(edge) / scale);
            let radius = ((x2 - x1) + (y2 - y1)) / 4.0;
            let is_valid = [x1, y1, x2, y2].iter().all(|edge| edge.abs() < 1e6) && x2 > x1 && y2 > y1;
            (is_valid && row.score >= self.config.min_score).then(|| Candidate {
                center: [(x1 + x2) / 2.0, (y1 + y2) / 2.0],
                radius,
                score: f64::from(row.score),
            })
        };
        rows.iter().filter_map(candidate).collect()
    }

    /// Logs once per gap that the ball has not been detected for `warn_after_s`.
    fn log_gap(&self, state: &mut BallState) {
        let frames_since_hit = state.tracker.active.as_ref().map_or(0.0, |active| active.frames_since_hit);
        let is_gap = frames_since_hit > to_frames(self.config.warn_after_s);
        if is_gap && !state.is_gap_logged {
            tracing::debug!("no ball detected");
        }
        state.is_gap_logged = is_gap;
    }
}

impl BallState {
    /// Returns the row of this frame; `None` before the ball is found.
    fn to_row(&self) -> Option<tables::Ball> {
        let active = self.tracker.active.as_ref()?;
        let motion = &active.motion;
        let px = |value: f64| (value * self.scale) as f32;
        let [[x, vx, ax], [y, vy, ay]] = motion.axes;
        Some(tables::Ball {
            x: px(x),
            y: px(y),
            vx: px(vx * REFERENCE_RATE),
            vy: px(vy * REFERENCE_RATE),
            ax: px(ax * REFERENCE_RATE * REFERENCE_RATE),
            ay: px(ay * REFERENCE_RATE * REFERENCE_RATE),
            radius: px(active.radius),
            score: self.tracker.hit_score.unwrap_or(0.0) as f32,
            measured: self.tracker.hit_score.is_some(),
            missing: active.frames_since_hit.round() as u32,
            mode: self.tracker.mode,
            spread: px(motion.position_variance().max(0.0).sqrt()),
        })
    }
}

fn corrections(corrected: impl IntoIterator<Item = SmoothedPosition>, scale: f64) -> Vec<Correction> {
    let row = |SmoothedPosition { frame, position: [x, y], radius, is_filled }| Correction {
        at: frame,
        x: (x * scale) as f32,
        y: (y * scale) as f32,
        radius: (radius * scale) as f32,
        kind: if is_filled { CorrectionKind::Filled } else { CorrectionKind::Smoothed },
    };
    corrected.into_iter().map(row).collect()
}
