//! `motion`: poses with identities in; velocities, accelerations and joint angles of each track out.
//!
//! **Coordinates.** The operator uses the model's world coordinates: three dimensions, in meters. They do not change
//! when the camera pans or zooms, and one unit is the same along every axis. In the picture x is measured in frame
//! widths and y in frame heights. A model without world coordinates (MoveNet) gives NaN.
//!
//! **Hip-centered and torso-scaled.** Joints are relative to the midpoint of the hips, and lengths are divided by the
//! track's torso length (midpoint of the shoulders to midpoint of the hips). The torso length is the median of the last
//! two seconds, because a body that bends does not shrink. A child and a heavyweight who move alike have the same
//! values.
//!
//! **Derivatives.** A quadratic is fitted by least squares to the joint's samples of the last `window` seconds, and
//! differentiated at the newest sample ([`sideline_vision::savitzky_golay`]). The result is exact under constant
//! acceleration, without delay, at any frame rate and over skipped frames, since only media time counts.
//!
//! **Unknown values are NaN.** A joint below `visibility` is treated as missing and its past is discarded, because
//! models are mostly wrong about a joint that is about to vanish. When it is visible again, its velocity needs two
//! samples and its acceleration three. Every pose with a track gives a row, even if all its values are NaN.
#![forbid(unsafe_code)]

mod angles;
mod history;

pub use angles::ANGLES;
pub use history::TrackHistory;

use std::collections::BTreeMap;

use sideline_api::{Config, Context, Inputs, Operator, Outputs, PortType, Resources, Result, Spec};
use sideline_sport::tables::{self, Pose};

/// Computes the motion of each track: velocities, accelerations and joint angles.
#[derive(Clone, Debug, PartialEq, Config)]
pub struct MotionConfig {
    /// Seconds of samples that a derivative is fitted to; at least three samples are used if available. Higher is
    /// smoother and blurs a fast strike; lower follows the strike and the noise. `examples/window.rs` measures both.
    #[config(default = 0.1, live, range(0, 1))]
    pub window: f64,
    /// Visibility from which a joint is used. Higher gives fewer wrong values and more NaN.
    #[config(default = 0.5, live, range(0, 1))]
    pub visibility: f32,
    /// Seconds without a pose after which a track's history is discarded. Higher interpolates over longer gaps; lower
    /// gives more NaN.
    #[config(default = 0.5, live, range(0, 60))]
    pub max_gap: f64,
}

/// State of one stream: the history of each track.
pub type MotionState = BTreeMap<u32, TrackHistory>;

/// Motion operator; see the [crate] documentation.
pub struct Motion {
    config: MotionConfig,
}

impl Operator for Motion {
    type Config = MotionConfig;
    type State = MotionState;

    fn spec() -> Spec {
        Spec::operator("motion")
            .required("poses", PortType::table::<Pose>())
            .output("motion", PortType::table::<tables::Motion>())
    }

    fn new(config: MotionConfig, _: &Resources) -> Result<Self> {
        Ok(Self { config })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, tracks: &mut MotionState, out: &mut Outputs) -> Result<()> {
        let now = cx.header.pts;
        let max_gap = (self.config.max_gap * 1e9) as i64;
        tracks.retain(|_, history| now - history.last_seen() <= max_gap);
        let mut rows = vec![];
        for pose in input.rows::<Pose>("poses")?.unwrap_or_default() {
            if pose.track > 0 {
                rows.push(tracks.entry(pose.track).or_default().update(&pose, now, &self.config));
            }
        }
        out.rows("motion", &rows)
    }

    fn reconfigure(&mut self, config: &MotionConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }
}
