//! `team`: assigns tracks to teams by jersey color. It reads frames and tracks and writes one row per track.
//!
//! `color` reads the jersey color from the image planes, without the color of the pitch; `cluster` finds the two groups
//! of colors that explain most people, unsupervised and again every half second; `roster` counts the votes of each
//! track.
//!
//! - A sample counts where no other person covers the box. Each sample votes by its own color; votes decay within a
//!   second or two, so that a track that switched to another person changes teams.
//! - `team_1` is the team that stands farther left when both are first separated; the names then stay when the colors
//!   are learned again.
//! - A person far from both colors wears neither jersey: a goalkeeper where that person stands outermost on the side of
//!   a team, else a referee. This is a guess from color and position, so its `confidence` is at most one half. A
//!   goalkeeper in the jersey of the team is a `player`.
//! - Where no two teams are found for a while, every person is in `team_1`, and the log says so once.
#![forbid(unsafe_code)]

pub mod cluster;
pub mod color;
mod roster;

use sideline_api::{Config, Context, Inputs, Operator, Outputs, PortType, Resources, Result, Spec};
use sideline_sport::tables::{self, Track, TrackState};

pub use roster::Roster;

/// Separates two teams, goalkeepers and referees by the colors of their jerseys.
#[derive(Clone, Debug, PartialEq, Config)]
pub struct TeamConfig {
    /// Minimum color distance of two teams in OKLab: black and white differ by 0.6, red and blue by 0.35. Higher merges
    /// teams with similar jerseys; lower splits one team into light and shade.
    #[config(default = 0.09, live, range(0.01, 1))]
    pub apart: f32,
    /// Number of color samples before a track is assigned. Higher is more reliable and slower.
    #[config(default = 4, live, range(1, 300))]
    pub views: u32,
    /// Maximum share of a box that another box covers for its color sample to count. Higher takes more samples and
    /// mixes colors.
    #[config(default = 0.25, live, range(0, 1), former = "overlap")]
    pub max_cover: f32,
    /// Time constant of the decay of a track's votes, s. Higher is steadier; lower recovers from identity switches
    /// sooner.
    #[config(default = 0.75, live, range(0.1, 600))]
    pub memory: f64,
    /// Time without two teams after which every person is in `team_1`, s. Higher waits longer for the second team.
    #[config(default = 5.0, live, range(0, 600), former = "patience")]
    pub one_team_after_s: f64,
}

/// The operator; see the documentation of the [crate].
pub struct Team {
    config: TeamConfig,
}

impl Operator for Team {
    type Config = TeamConfig;
    type State = Roster;

    fn spec() -> Spec {
        Spec::operator("team")
            .required("frames", PortType::Frame)
            .required("tracks", PortType::table::<Track>())
            .output("teams", PortType::table::<tables::Team>())
    }

    fn new(config: TeamConfig, _: &Resources) -> Result<Self> {
        Ok(Self { config })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, roster: &mut Roster, out: &mut Outputs) -> Result<()> {
        let frame = input.frame("frames")?;
        let mut tracks = input.rows::<Track>("tracks")?.unwrap_or_default();
        tracks.retain(|track| track.state != TrackState::Lost && track.track > 0);
        let rows = roster.update(frame, &tracks, cx.seconds(), &self.config)?;
        if roster.take_one_team_notice() {
            let (node, stream) = (cx.node, &*cx.header.stream);
            tracing::warn!(
                node,
                stream,
                "no two teams found by jersey color: every person is in team_1 until there are"
            );
        }
        out.rows("teams", &rows)
    }

    fn reconfigure(&mut self, config: &TeamConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }
}
