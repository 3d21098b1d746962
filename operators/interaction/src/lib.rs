//! `interaction`: poses with identities in; distance, closing speed, facing and reach of each pair out.
//!
//! **One camera.** The relative position of two people is known only across the picture, not in depth. Distances are
//! therefore measured across the picture, in torso lengths (the mean of both people), and are correct for people about
//! equally far from the camera, as two fighters mostly are. A person far behind another appears nearer in this table
//! than on the ground.
//!
//! - `distance` is measured between the midpoints of the hips. `closing_speed` is the rate at which it shrinks: the
//!   slope of a quadratic fitted to the last `window` seconds ([`sideline_vision::savitzky_golay`]).
//! - `facing` is an angle over the ground, seen from above, between the direction of the chest and the direction to the
//!   other person. The chest is perpendicular to the lines of shoulders and hips in the model's world coordinates,
//!   which include the depth of a single body. The angle is NaN for a model without world coordinates, for a person
//!   lying on the side, and for a pair in which one stands straight behind the other in the picture. The camera is
//!   assumed to be level.
//! - `reach` is the distance from the nearest hand or foot to the other's trunk or head; 0 where it covers them.
//!
//! **Pairs.** With `fighters` wired, once `fighter_1` and `fighter_2` have been visible together, they are the only pair: a
//! referee who comes near makes no row. Before that, and without named fighters, every pair of tracks is a candidate and the
//! nearest `max_pairs` have rows. A pair has no row in a frame in which one of the two has no pose.
#![forbid(unsafe_code)]

mod figure;
mod pairs;

pub use pairs::InteractionState;

use sideline_api::{Config, Context, Inputs, Operator, Outputs, PortType, Resources, Result, Spec};
use sideline_sport::{
    FIGHTERS_INPUT, FighterNames,
    tables::{self, FighterName, Pose},
};

/// Measures how two people stand to each other: distance, closing speed, facing, reach.
#[derive(Clone, Debug, PartialEq, Config)]
pub struct InteractionConfig {
    /// Seconds of samples that the closing speed is fitted to; at least three samples are used if available. Higher is
    /// smoother and blurs a quick step; lower follows the step and the noise.
    #[config(default = 0.2, live, range(0, 2))]
    pub window: f64,
    /// Visibility from which a joint is used. Higher gives fewer wrong values and more NaN.
    #[config(default = 0.5, live, range(0, 1))]
    pub visibility: f32,
    /// Seconds without a pose after which the history of a person or pair is discarded. Higher lets a fit span longer
    /// gaps; lower gives more NaN.
    #[config(default = 0.5, live, range(0, 60))]
    pub max_gap: f64,
    /// Maximum number of pairs per frame before fighters are named; the nearest are kept. Higher shows more of a crowd;
    /// 0 shows only the two fighters.
    #[config(default = 3, live, range(0, 1_000))]
    pub max_pairs: usize,
}

/// Interaction operator; see the [crate] documentation.
pub struct Interaction {
    config: InteractionConfig,
}

impl Operator for Interaction {
    type Config = InteractionConfig;
    type State = InteractionState;

    fn spec() -> Spec {
        Spec::operator("interaction")
            .required("poses", PortType::table::<Pose>())
            .optional(FIGHTERS_INPUT, PortType::table::<FighterName>())
            .output("interaction", PortType::table::<tables::Interaction>())
    }

    fn new(config: InteractionConfig, _: &Resources) -> Result<Self> {
        Ok(Self { config })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, state: &mut InteractionState, out: &mut Outputs) -> Result<()> {
        let poses = input.rows::<Pose>("poses")?.unwrap_or_default();
        let names = FighterNames::read(input)?;
        out.rows("interaction", &state.update(&poses, &names, cx.header.pts, &self.config))
    }

    fn reconfigure(&mut self, config: &InteractionConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }
}
