//! `interaction`: poses with identities in; for each pair distance, closing speed, facing and reach out.
//!
//! **What one camera tells.** Where two people stand to each other is known across the picture alone: how deep each
//! stands in it is not. So distances are lengths across the picture, in torso lengths (the mean of both people's), and
//! are right for people who stand about equally far from the camera, as two who fight do mostly. Somebody far behind
//! another is nearer in this table than on the ground.
//!
//! - `distance` lies between the middles of the hips; `closing_speed` is how fast it shrinks: the slope of a quadratic
//!   fitted to the last `window` seconds ([`sideline_api::fit`]).
//! - `facing` is an angle over the ground, seen from above: the way the chest points (square to the lines of shoulders and
//!   hips, from the model's world coordinates, which do know the depth of one body) against the direction to the other.
//!   A model without world coordinates gives NaN; so does somebody lying on the side, and a pair of which one stands
//!   straight behind the other in the picture. The camera is taken to be level.
//! - `reach` is how far the nearest hand or foot is from the other's trunk or head; 0 when it covers them.
//!
//! **Which pairs.** Once `fighter_1` and `fighter_2` have been seen together, they are the pair, and nobody else: a
//! referee who comes near makes no row. Before, and where nobody is named, every pair of tracks has a row, the nearest
//! `max_pairs` of them. A pair of which one is not seen in a frame has none there.
#![forbid(unsafe_code)]

mod figure;
mod pairs;

pub use pairs::Pairs;

use sideline_api::{
    Config, Context, Inputs, Operator, Outputs, PortType, Resources, Result, Spec,
    tables::{Interaction, Pose},
};

/// Says how two people stand to each other: distance, closing speed, facing, reach.
#[derive(Clone, Debug, PartialEq, Config)]
pub struct InteractionConfig {
    /// Seconds of the past that the closing speed is fitted to; never fewer than three samples, where there are three.
    /// Higher is smoother and blurs a quick step; lower follows it and its noise.
    #[config(default = 0.2, live, range(0, 2))]
    pub window: f64,
    /// Visibility from which a joint counts as seen. Higher gives fewer wrong values and more NaN.
    #[config(default = 0.5, live, range(0, 1))]
    pub visibility: f32,
    /// Seconds after which an unseen pair or person is forgotten. Higher bridges longer gaps with a straight guess; lower
    /// gives more NaN.
    #[config(default = 0.5, live, range(0, 60))]
    pub max_gap: f64,
    /// Most pairs in a frame while nobody is named; the nearest are kept. Higher shows more of a crowd; 0 shows only the
    /// two fighters.
    #[config(default = 3, live, range(0, 1_000))]
    pub max_pairs: usize,
}

/// See the documentation of the [crate].
pub struct InteractionOperator {
    config: InteractionConfig,
}

impl Operator for InteractionOperator {
    type Config = InteractionConfig;
    type State = Pairs;

    fn spec() -> Spec {
        Spec::operator("interaction")
            .required("poses", PortType::table::<Pose>())
            .output("interaction", PortType::table::<Interaction>())
    }

    fn new(config: InteractionConfig, _: &Resources) -> Result<Self> {
        Ok(Self { config })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, pairs: &mut Pairs, out: &mut Outputs) -> Result<()> {
        let poses = input.rows::<Pose>("poses")?.unwrap_or_default();
        out.rows("interaction", &pairs.see(&poses, cx.header.pts, &self.config))
    }

    fn reconfigure(&mut self, config: &InteractionConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }
}
