//! `smooth`: poses with identities in, the same poses with less jitter in their joints out.
//!
//! Every coordinate of every joint of a track has its own One-Euro filter (Casiez et al. 2012;
//! [`sideline_vision::one_euro`]), both for the joints in the picture and for those in meters. Speeds are in torso lengths
//! per second, so the keys have the same effect for a child near the camera, a heavyweight far from it, 720p and 4K.
//! Times are media times, so they have the same effect at any frame rate and over skipped frames.
//!
//! **No smearing.** A joint below `visibility` is passed through and its filter is reset: when it is visible again, the
//! filter starts at the new position. The filters of a track without a pose for `max_gap` are reset too. People without
//! an identity are passed through. Boxes, scores and visibilities are not changed.
//!
//! **Lag.** `sideline eval smoothing` measures jitter at rest and lag in strikes, in comparison with other filters. The
//! defaults were chosen with it: on simulated strikes the lag is below a third of a frame.
#![forbid(unsafe_code)]

mod filters;

pub use filters::TrackFilters;

use std::collections::BTreeMap;

use sideline_api::{Config, Context, Inputs, Operator, Outputs, PortType, Resources, Result, Spec};
use sideline_sport::tables::Pose;

/// Removes jitter from joints, with little lag on fast strikes.
#[derive(Clone, Debug, PartialEq, Config)]
pub struct SmoothConfig {
    /// Smooths the poses; false passes them through.
    #[config(default = true, live)]
    pub enabled: bool,
    /// Cutoff frequency of a joint at rest, Hz. Higher lets jitter through; lower keeps the joint still, and slow
    /// movements lag.
    #[config(default = 1.0, live, range(0.01, 100))]
    pub min_cutoff: f64,
    /// Increase of the cutoff frequency with speed, Hz per torso length per second. Higher follows fast movements and
    /// their noise; lower smooths them and lags.
    #[config(default = 5.0, live, range(0, 1_000))]
    pub beta: f64,
    /// Cutoff frequency of the speed estimate, Hz. Higher detects the start of a strike sooner; lower is affected less
    /// by noise.
    #[config(default = 6.0, live, range(0.01, 100))]
    pub d_cutoff: f64,
    /// Visibility from which a joint is smoothed. Higher passes more joints through.
    #[config(default = 0.5, live, range(0, 1))]
    pub visibility: f32,
    /// Seconds without a pose after which a track's filters are reset. Higher smooths over longer gaps; lower starts at
    /// the new position sooner.
    #[config(default = 0.25, live, range(0, 60))]
    pub max_gap: f64,
}

/// State of one stream: the filters of each track.
pub type SmoothState = BTreeMap<u32, TrackFilters>;

/// Smoothing operator; see the [crate] documentation.
pub struct Smooth {
    config: SmoothConfig,
}

impl Operator for Smooth {
    type Config = SmoothConfig;
    type State = SmoothState;

    fn spec() -> Spec {
        Spec::operator("smooth")
            .required("poses", PortType::table::<Pose>())
            .output("smoothed_poses", PortType::table::<Pose>())
    }

    fn new(config: SmoothConfig, _: &Resources) -> Result<Self> {
        Ok(Self { config })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, tracks: &mut SmoothState, out: &mut Outputs) -> Result<()> {
        let mut poses = input.rows::<Pose>("poses")?.unwrap_or_default();
        if self.config.enabled {
            smooth(&mut poses, tracks, cx.header.pts, &self.config);
        } else {
            tracks.clear();
        }
        out.rows("smoothed_poses", &poses)
    }

    fn reconfigure(&mut self, config: &SmoothConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }
}

/// Smooths the poses of one frame in place; `now` is media time, ns.
pub fn smooth(poses: &mut [Pose], tracks: &mut SmoothState, now: i64, config: &SmoothConfig) {
    let max_gap = (config.max_gap * 1e9) as i64;
    tracks.retain(|_, filters| now - filters.last_seen() <= max_gap);
    for pose in poses.iter_mut().filter(|pose| pose.track > 0) {
        tracks.entry(pose.track).or_default().smooth(pose, now, config);
    }
}
