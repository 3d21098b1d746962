//! `ball`: everything a detector took for the ball in, where the ball is out: one row a frame once it was found.
//!
//! `motion` (or `particles`) says how a ball moves, `trail` how well a candidate suits one guess at where it is, `follower`
//! which guess is sent and how sure it is, `corrections` where it was, known better later. None of them knows of the
//! runtime: this file joins them to it.
//!
//! **Units.** Keys and everything inside are in pixels of a picture 1080 high; inside, time is in frames of 1/30 s; in keys
//! that end in `_s`, and in what comes and goes, in seconds; what comes and goes is in pixels of the source frame. So the keys mean the same for 720p, 4K, 25 and 60 frames a second.
//!
//! **What may not be.** Before the ball was first found there is no row. A frame that no detector looked at (its message is
//! skipped) counts against nothing: the row is predicted. A new connection of a stream begins anew.
#![forbid(unsafe_code)]

mod corrections;
mod follower;
mod motion;
mod particles;
mod trail;

pub use follower::Mode;

use serde::{Deserialize, Serialize};
use sideline_api::{
    Config, Context, Error, Inputs, Operator, Outputs, PortType, Resources, Result, Spec,
    tables::{Ball, Correction, Detection},
};

use corrections::Corrected;
use follower::{Follower, Look};
use trail::Candidate;

/// How the ball's motion is estimated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// A Kalman filter.
    #[default]
    Kalman,
    /// A particle filter.
    Particle,
}

/// Follows the ball through misses and false detections, and fills its gaps.
#[derive(Clone, Debug, PartialEq, Config)]
#[config(check = BallConfig::check)]
pub struct BallConfig {
    /// `kalman`, or `particle`: slower, keeps several places in mind after a kick.
    #[config(default = "kalman")]
    pub method: Method,
    /// Particles of the second method. Higher is more exact and slower.
    #[config(default = 300, range(10, 100_000))]
    pub particles: usize,
    /// Score below which a candidate is passed over. Higher avoids false balls; lower keeps balls that are seen badly.
    #[config(default = 0.05, live, range(0, 1), former = "confidence")]
    pub min_score: f32,
    /// Variance that the acceleration gains in a frame, (px a frame²)². Higher follows turns sooner; lower is smoother and
    /// foresees better.
    #[config(default = 0.01, live, range(0.000_001, 100))]
    pub process_noise: f64,
    /// How many times higher it gets while the ball surprises. 1 holds it.
    #[config(default = 30.0, live, range(1, 10_000))]
    pub process_noise_rise: f64,
    /// Variance of a measured place while the ball moves, px². Higher believes the detector less.
    #[config(default = 3.0, live, range(0.01, 1_000))]
    pub noise_least: f64,
    /// The same for a ball that lies still. Higher holds it stiller.
    #[config(default = 10.0, live, range(0.01, 1_000))]
    pub noise_most: f64,
    /// How many standard deviations from where it is expected, or can have been kicked, a candidate may be. Higher follows
    /// wilder balls and more false ones.
    #[config(default = 3.5, live, range(1, 20))]
    pub gate: f64,
    /// The same until the ball was seen for long enough in a row again.
    #[config(default = 4.5, live, range(1, 20))]
    pub recovering_gate: f64,
    /// Least radius of a ball, px; a smaller one is taken where more speaks for it.
    #[config(default = 5.0, live, range(0.5, 500))]
    pub min_radius: f64,
    /// Greatest radius, px; as with the least.
    #[config(default = 50.0, live, range(1, 1_000))]
    pub max_radius: f64,
    /// Looks in which it must be seen to be found, or found again. Higher avoids false balls; lower finds it sooner.
    #[config(default = 3, live, range(1, 100), former = "confirm")]
    pub confirm_looks: u32,
    /// Looks in a row after which all is normal.
    #[config(default = 15, live, range(1, 1_000))]
    pub normal_after: u32,
    /// Seconds unseen after which the log tells so, and a lock ends.
    #[config(default = 5.0 / RATE, live, range(0, 60), former_frames = "warn_after")]
    pub warn_after_s: f64,
    /// Seconds unseen after which it is lost. Higher foresees longer; lower looks elsewhere sooner.
    #[config(default = 10.0 / RATE, live, range(0.01, 60), former_frames = "lost_after")]
    pub lost_after_s: f64,
    /// Farthest that a ball comes in a frame, px: found farther off while it was not lost it has jumped, which is chaos.
    #[config(default = 120.0, live, range(1, 10_000))]
    pub jump: f64,
    /// Seconds that chaos lasts.
    #[config(default = 4.0, live, range(0, 600), former_frames = "chaos_frames")]
    pub chaos_s: f64,
    /// Farthest from the last place that a candidate is taken in chaos, px.
    #[config(default = 80.0, live, range(1, 10_000))]
    pub chaos_reach: f64,
    /// A ball within this of where it lay lies still, px.
    #[config(default = 5.0, live, range(0.1, 1_000))]
    pub lock_radius: f64,
    /// Seconds after which a ball that lies still is locked.
    #[config(default = 25.0 / RATE, live, range(0.01, 600), former_frames = "lock_frames")]
    pub lock_s: f64,
    /// Farthest from the last place that a candidate is taken while it is locked, px.
    #[config(default = 80.0, live, range(1, 10_000))]
    pub lock_reach: f64,
    /// Frames after which corrections come. Higher knows better; more is kept in mind.
    #[config(default = 30, range(1, 3_000))]
    pub lag: usize,
    /// Longest gap that is filled, seconds.
    #[config(default = 1.0, range(0, 100), former_frames = "fill")]
    pub fill_s: f64,
}

impl Default for BallConfig {
    fn default() -> Self {
        // The keys' own defaults: there is nothing that can be wrong with them.
        Self::from_values(&sideline_api::Values::new()).unwrap_or_else(|problems| unreachable!("{problems:?}"))
    }
}

impl BallConfig {
    fn check(&self) -> Vec<(&'static str, String)> {
        let mut wrong = vec![];
        if self.min_radius >= self.max_radius {
            wrong.push(("min_radius", format!("{} is not below `max_radius` ({})", self.min_radius, self.max_radius)));
        }
        if self.noise_least > self.noise_most {
            wrong.push(("noise_least", format!("{} is above `noise_most` ({})", self.noise_least, self.noise_most)));
        }
        if self.warn_after_s > self.lost_after_s {
            let (warn, lost) = (self.warn_after_s, self.lost_after_s);
            wrong.push(("warn_after_s", format!("{warn} is above `lost_after_s` ({lost:.3})")));
        }
        wrong
    }

    /// Frames that are kept in mind: those that corrections wait for, and as many before to begin the smoother with.
    fn remembered(&self) -> usize {
        2 * self.lag + 2
    }
}

/// What is remembered of a stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Media time of the last frame, ns.
    pts: Option<i64>,
    /// Pixels of the picture in one of 1080.
    scale: f64,
    follower: Follower,
    warned: bool,
}

/// See the documentation of the [crate].
pub struct BallOperator {
    config: BallConfig,
    /// Somebody reads `corrections`.
    corrects: bool,
}

/// Rate and height that keys are written for.
const RATE: f64 = 30.0;
const HEIGHT: f64 = 1080.0;

/// Frames of 1/30 s, in which time is counted inside.
pub(crate) fn frames(seconds: f64) -> f64 {
    seconds * RATE
}

impl Operator for BallOperator {
    type Config = BallConfig;
    type State = Memory;

    fn spec() -> Spec {
        Spec::operator("ball")
            // Only their size is read: the scale of all keys.
            .required("frames", PortType::Frame)
            .optional("balls", PortType::table::<Detection>())
            .output("ball", PortType::table::<Ball>())
            .output("corrections", PortType::table::<Correction>())
    }

    fn new(config: BallConfig, resources: &Resources) -> Result<Self> {
        if !resources.is_wired("balls") {
            return Err(Error::config(
                "nothing is wired to `balls`; wire a detector's balls to it: `balls: detect/balls`",
            ));
        }
        Ok(Self { config, corrects: resources.is_read("corrections") })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, memory: &mut Memory, out: &mut Outputs) -> Result<()> {
        let frame = input.frame("frames")?;
        let now = cx.header.pts;
        let frames = memory.pts.map_or(0.0, |before| (now - before).max(0) as f64 * 1e-9 * RATE);
        memory.pts = Some(now);
        memory.scale = f64::from(frame.height()) / HEIGHT;
        let detections = input.rows::<Detection>("balls")?;
        let candidates = detections.map(|rows| self.candidates(&rows, memory.scale));
        let look = Look {
            frame: cx.header.frame,
            frames,
            candidates: candidates.as_deref(),
            width: f64::from(frame.width()) / memory.scale,
            seed: cx.seed(),
        };
        memory.follower.see(&look, &self.config);
        self.tell(cx, memory);
        out.rows("ball", memory.row().as_slice())?;
        if self.corrects {
            let corrected = memory.follower.history.lagging(self.config.lag, &self.config);
            out.rows("corrections", &corrections(corrected, memory.scale))?;
        }
        Ok(())
    }

    fn reconfigure(&mut self, config: &BallConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }

    fn session_started(&mut self, _: &Context, memory: &mut Memory) -> Result<()> {
        // Another picture: nothing that was known of the ball holds. What is left to correct is lost with it.
        *memory = Memory::default();
        Ok(())
    }

    fn stream_ended(&mut self, _: &Context, _: &Inputs, memory: &mut Memory, out: &mut Outputs) -> Result<()> {
        if self.corrects {
            let rest = memory.follower.history.rest(self.config.lag, &self.config);
            out.rows("corrections", &corrections(rest, memory.scale))?;
        }
        Ok(())
    }
}

impl BallOperator {
    fn candidates(&self, rows: &[Detection], scale: f64) -> Vec<Candidate> {
        let candidate = |row: &Detection| {
            let [x1, y1, x2, y2] = [row.x1, row.y1, row.x2, row.y2].map(|edge| f64::from(edge) / scale);
            let radius = ((x2 - x1) + (y2 - y1)) / 4.0;
            let sound = [x1, y1, x2, y2].iter().all(|edge| edge.abs() < 1e6) && x2 > x1 && y2 > y1;
            (sound && row.score >= self.config.min_score).then(|| Candidate {
                place: [(x1 + x2) / 2.0, (y1 + y2) / 2.0],
                radius,
                score: f64::from(row.score),
            })
        };
        rows.iter().filter_map(candidate).collect()
    }

    /// Tells once each time that the ball has not been seen for a while.
    fn tell(&self, cx: &Context, memory: &mut Memory) {
        let missing = memory.follower.trail.as_ref().map_or(0.0, |trail| trail.missing);
        let long = missing > frames(self.config.warn_after_s);
        if long && !memory.warned {
            tracing::debug!(
                node = cx.node,
                stream = &*cx.header.stream,
                frame = cx.header.frame,
                "the ball is not seen"
            );
        }
        memory.warned = long;
    }
}

impl Memory {
    /// The row of this frame.
    fn row(&self) -> Option<Ball> {
        let trail = self.follower.trail.as_ref()?;
        let motion = &trail.motion;
        let px = |value: f64| (value * self.scale) as f32;
        let [[x, vx, ax], [y, vy, ay]] = motion.axes;
        Some(Ball {
            x: px(x),
            y: px(y),
            vx: px(vx * RATE),
            vy: px(vy * RATE),
            ax: px(ax * RATE * RATE),
            ay: px(ay * RATE * RATE),
            radius: px(trail.radius),
            score: self.follower.taken.unwrap_or(0.0) as f32,
            measured: self.follower.taken.is_some(),
            missing: trail.missing.round() as u32,
            mode: self.follower.mode.name().into(),
            spread: px(motion.variance().max(0.0).sqrt()),
        })
    }
}

fn corrections(corrected: impl IntoIterator<Item = Corrected>, scale: f64) -> Vec<Correction> {
    let row = |Corrected { frame, place: [x, y], radius, filled }| Correction {
        at: frame,
        x: (x * scale) as f32,
        y: (y * scale) as f32,
        radius: (radius * scale) as f32,
        kind: if filled { "filled" } else { "smoothed" }.into(),
    };
    corrected.into_iter().map(row).collect()
}
