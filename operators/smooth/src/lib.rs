//! `smooth`: poses with identities in, the same poses with steadier joints out.
//!
//! Every coordinate of every joint of a track has a One-Euro filter of its own ([`sideline_api::one_euro`]), for the joints
//! in the picture and for those in metres. Speeds are counted in torso lengths per second, so the keys mean the same for a
//! child near the camera, a heavyweight far from it, 720p and 4K; times are those of the media, so they mean the same at
//! any frame rate and over skipped frames.
//!
//! **Nothing is smeared.** A joint seen less surely than `visibility` passes as it is and its filter is forgotten: seen
//! again, it begins at its new place. So does a track that was not seen for `max_gap`. People without an identity pass as
//! they are. Boxes, scores and visibilities are not touched.
//!
//! **What it costs.** `sideline eval smoothing` measures jitter at rest and lag in strikes, beside other filters; the
//! defaults were chosen with it: on strikes of known course the lag is below a third of a frame.
#![forbid(unsafe_code)]

mod person;

pub use person::Person;

use std::collections::BTreeMap;

use sideline_api::{Config, Context, Inputs, Operator, Outputs, PortType, Resources, Result, Spec, tables::Pose};

/// Takes the jitter off joints, without a lag on fast strikes.
#[derive(Clone, Debug, PartialEq, Config)]
pub struct SmoothConfig {
    /// False passes the poses as they are.
    #[config(default = true, live)]
    pub enabled: bool,
    /// Cutoff of a joint at rest, Hz. Lower holds it stiller and lets slow movements lag; higher lets jitter through.
    #[config(default = 1.0, live, range(0.01, 100))]
    pub min_cutoff: f64,
    /// Hz that the cutoff rises for each torso length a second. Higher follows fast movements more closely, and their
    /// noise; lower smooths them, and lags.
    #[config(default = 5.0, live, range(0, 1_000))]
    pub beta: f64,
    /// Cutoff of the speed itself, Hz. Higher notices the beginning of a strike sooner; lower is misled less by noise.
    #[config(default = 6.0, live, range(0.01, 100))]
    pub d_cutoff: f64,
    /// Visibility from which a joint is smoothed. Higher passes more joints as they are.
    #[config(default = 0.5, live, range(0, 1))]
    pub visibility: f32,
    /// Seconds after which an unseen track begins anew. Higher smooths over longer gaps.
    #[config(default = 0.25, live, range(0, 60))]
    pub max_gap: f64,
}

/// What is remembered of a stream: its tracks.
pub type People = BTreeMap<u32, Person>;

/// See the documentation of the [crate].
pub struct Smooth {
    config: SmoothConfig,
}

impl Operator for Smooth {
    type Config = SmoothConfig;
    type State = People;

    fn spec() -> Spec {
        Spec::operator("smooth")
            .required("poses", PortType::table::<Pose>())
            .output("smoothed_poses", PortType::table::<Pose>())
    }

    fn new(config: SmoothConfig, _: &Resources) -> Result<Self> {
        Ok(Self { config })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, people: &mut People, out: &mut Outputs) -> Result<()> {
        let mut poses = input.rows::<Pose>("poses")?.unwrap_or_default();
        if self.config.enabled {
            smooth(&mut poses, people, cx.header.pts, &self.config);
        } else {
            people.clear();
        }
        out.rows("smoothed_poses", &poses)
    }

    fn reconfigure(&mut self, config: &SmoothConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }
}

/// Smooths the poses of one frame in place; `now` is media time in nanoseconds.
pub fn smooth(poses: &mut [Pose], people: &mut People, now: i64, config: &SmoothConfig) {
    let max_gap = (config.max_gap * 1e9) as i64;
    people.retain(|_, person| now - person.seen() <= max_gap);
    for pose in poses.iter_mut().filter(|pose| pose.track > 0) {
        people.entry(pose.track).or_default().see(pose, now, config);
    }
}
