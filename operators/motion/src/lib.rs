//! `motion`: poses with identities in; velocities, accelerations and joint angles of each track out.
//!
//! **Which coordinates.** The model's world coordinates: metres, three dimensions. They do not change when the camera
//! pans or zooms, and one unit is the same along every axis; the image's x is measured in frame widths, its y in frame
//! heights, and a table of poses does not say how these relate. A model without world coordinates (MoveNet) gives NaN.
//!
//! **Hip-centred and torso-scaled.** The middle between the hips is taken off every joint, and lengths are divided by
//! the track's torso (middle of the shoulders to middle of the hips: the median of the last two seconds, since a body
//! that bends is not one that shrinks). A child and a heavyweight who move alike have the same values.
//!
//! **Derivatives** are those of a quadratic, fitted by least squares to the joint's samples of the last `window`
//! seconds, at the newest sample ([`sideline_api::fit`]): exact under constant acceleration, without delay, at any frame rate and over
//! skipped frames, since only media time counts.
//!
//! **What is not known is NaN.** A joint seen less surely than `visibility` is lost, and its past with it: what a model
//! says of a joint that is about to vanish is mostly wrong. Back again, its velocity needs two samples and its
//! acceleration three. Every pose with a track gives a row, also when all of it is NaN.
#![forbid(unsafe_code)]

mod angles;
mod person;

pub use angles::ANGLES;
pub use person::Person;

use std::collections::BTreeMap;

use sideline_api::{
    Config, Context, Inputs, Operator, Outputs, PortType, Resources, Result, Spec,
    tables::{Motion, Pose},
};

/// Says how each track moves: velocities, accelerations, joint angles.
#[derive(Clone, Debug, PartialEq, Config)]
pub struct MotionConfig {
    /// Seconds of the past that a derivative is fitted to; never fewer than three samples, where there are three. Higher
    /// is smoother and blurs a fast strike; lower follows it and its noise. `examples/window.rs` measures both.
    #[config(default = 0.1, live, range(0, 1))]
    pub window: f64,
    /// Visibility from which a joint counts as seen. Higher gives fewer wrong values and more NaN.
    #[config(default = 0.5, live, range(0, 1))]
    pub visibility: f32,
    /// Seconds after which an unseen track is forgotten and, seen again, begins anew. Higher bridges longer gaps with a
    /// straight guess; lower gives more NaN.
    #[config(default = 0.5, live, range(0, 60))]
    pub max_gap: f64,
}

/// What is remembered of a stream: its tracks.
pub type People = BTreeMap<u32, Person>;

/// See the documentation of the [crate].
pub struct MotionOperator {
    config: MotionConfig,
}

impl Operator for MotionOperator {
    type Config = MotionConfig;
    type State = People;

    fn spec() -> Spec {
        Spec::operator("motion")
            .required("poses", PortType::table::<Pose>())
            .output("motion", PortType::table::<Motion>())
    }

    fn new(config: MotionConfig, _: &Resources) -> Result<Self> {
        Ok(Self { config })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, people: &mut People, out: &mut Outputs) -> Result<()> {
        let now = cx.header.pts;
        let max_gap = (self.config.max_gap * 1e9) as i64;
        people.retain(|_, person| now - person.seen() <= max_gap);
        let mut rows = vec![];
        for pose in input.rows::<Pose>("poses")?.unwrap_or_default() {
            if pose.track > 0 {
                rows.push(people.entry(pose.track).or_default().see(&pose, now, &self.config));
            }
        }
        out.rows("motion", &rows)
    }

    fn reconfigure(&mut self, config: &MotionConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }
}
