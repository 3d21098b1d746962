//! `fighters`: tracks in; the names of the two fighters out.
//!
//! All people are observed during a warm-up. Then the pair that is tallest, nearest to each other, most central, most
//! active and longest in sight is named; `fighter_1` is the one on the left at that moment. From then on a name follows
//! its track for as long as the tracker keeps the track. When a new track of similar size appears where a named one
//! vanished, the name is handed over to it. No third person is named while both names are held.
//!
//! With the tracker's `identities` wired, a name also follows a person whom the tracker recognizes by appearance under
//! another number, and is not handed over to a new track that looks different.
//!
//! `fighters` has a row for each track of the frame that holds a name; operators join it to their own tables by track
//! ([`sideline_sport::FighterNames`]).
#![forbid(unsafe_code)]

mod selection;

pub use selection::Selection;

use serde::{Deserialize, Serialize};
use sideline_api::{Config, Context, Inputs, Operator, Outputs, PortType, Resources, Result, Spec};
use sideline_sport::tables::{FighterName, Identity, Track};

/// Selects the two fighters among tracked people and keeps their names.
#[derive(Clone, Debug, PartialEq, Config)]
pub struct FightersConfig {
    /// Number of people to name `fighter_1` and `fighter_2`; 0 gives no names. Lowering it withdraws names.
    #[config(default = 2, live, range(0, 2))]
    pub fighters: u32,
    /// Seconds for which all people are observed before the fighters are named. Higher tells them from bystanders more
    /// reliably; lower names them sooner.
    #[config(default = 1.0, live, range(0, 60))]
    pub warm_up: f32,
}

/// State of one stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FightersState {
    /// Media time of the last frame, ns.
    pts: Option<i64>,
    selection: Selection,
}

/// Fighters operator; see the [crate] documentation.
pub struct Fighters {
    config: FightersConfig,
}

impl Operator for Fighters {
    type Config = FightersConfig;
    type State = FightersState;

    fn spec() -> Spec {
        Spec::operator("fighters")
            .required("tracks", PortType::table::<Track>())
            .optional("identities", PortType::table::<Identity>())
            .output("fighters", PortType::table::<FighterName>())
    }

    fn new(config: FightersConfig, _: &Resources) -> Result<Self> {
        Ok(Self { config })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, state: &mut FightersState, out: &mut Outputs) -> Result<()> {
        let now = cx.header.pts;
        let seconds = state.pts.map_or(0.0, |before| (now - before).max(0) as f64 * 1e-9);
        state.pts = Some(now);
        let tracks = input.rows::<Track>("tracks")?.unwrap_or_default();
        let identities = input.rows::<Identity>("identities")?.unwrap_or_default();
        out.rows("fighters", &state.selection.update(&tracks, &identities, seconds, &self.config))
    }

    fn reconfigure(&mut self, config: &FightersConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }
}
