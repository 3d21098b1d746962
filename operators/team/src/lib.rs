//! `team`: frames and tracks in, who plays for whom out.
//!
//! `colour` reads what each torso shows, straight from the planes and without the pitch's colour; `cluster` finds the two
//! groups of colours that explain most people, without labels and anew every second; this file remembers each track's votes.
//!
//! - A view counts where nobody stands in front of or behind the person. Each view votes by its own colour; votes fade
//!   within a second or two, so that a track that changed over to somebody else changes sides.
//! - `team_1` is the team that stands further left when both are first told apart; the names then stay, through new learning.
//! - Whoever is far from both colours plays in neither's jersey: a goalkeeper where that person stands outermost on the side
//!   of a team, else a referee. This is a guess from colour and place, and its `confidence` is never above one half. A
//!   goalkeeper in the jersey of the team is a `player`.
//! - Where no two teams show for a while, everybody is `team_1`, and the log says so once.
#![forbid(unsafe_code)]

pub mod cluster;
pub mod colour;
mod roster;

use sideline_api::{
    Config, Context, Inputs, Operator, Outputs, PortType, Resources, Result, Spec,
    tables::{Team, Track},
};

pub use roster::Roster;

/// Tells two teams, goalkeepers and referees apart by the colours of their jerseys.
#[derive(Clone, Debug, PartialEq, Config)]
pub struct TeamConfig {
    /// Least difference of two teams' colours, in OKLab: black and white differ by 0.6, red and blue by 0.35. Higher takes
    /// jerseys that differ little for one team; lower splits one team by light and shade.
    #[config(default = 0.09, live, range(0.01, 1))]
    pub apart: f32,
    /// Views of a person before they are judged. Higher is surer and later.
    #[config(default = 4, live, range(1, 300))]
    pub views: u32,
    /// Part of a box that may be covered by another's before its view no longer counts. Higher sees more and mixes colours.
    #[config(default = 0.25, live, range(0, 1), former = "overlap")]
    pub max_cover: f32,
    /// Seconds in which a track's votes fade to a third. Higher is steadier; lower forgives the tracker's mistakes sooner.
    #[config(default = 0.75, live, range(0.1, 600))]
    pub memory: f64,
    /// Seconds without two teams after which everybody is taken for one. Higher waits longer for the others to be seen.
    #[config(default = 5.0, live, range(0, 600), former = "patience")]
    pub one_team_after_s: f64,
}

/// See the documentation of the [crate].
pub struct TeamOperator {
    config: TeamConfig,
}

impl Operator for TeamOperator {
    type Config = TeamConfig;
    type State = Roster;

    fn spec() -> Spec {
        Spec::operator("team")
            .required("frames", PortType::Frame)
            .required("tracks", PortType::table::<Track>())
            .output("teams", PortType::table::<Team>())
    }

    fn new(config: TeamConfig, _: &Resources) -> Result<Self> {
        Ok(Self { config })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, roster: &mut Roster, out: &mut Outputs) -> Result<()> {
        let frame = input.frame("frames")?;
        let mut tracks = input.rows::<Track>("tracks")?.unwrap_or_default();
        tracks.retain(|track| track.state != "lost" && track.track > 0);
        let rows = roster.see(frame, &tracks, cx.seconds(), &self.config)?;
        if roster.one_team_first_said() {
            let (node, stream) = (cx.node, &*cx.header.stream);
            tracing::warn!(node, stream, "the jerseys show no two teams: everybody is team_1 until they do");
        }
        out.rows("teams", &rows)
    }

    fn reconfigure(&mut self, config: &TeamConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }
}
