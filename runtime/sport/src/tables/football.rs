//! Tables of football: ball, teams, positions on the pitch, events, and the virtual camera.
//!
//! Positions and lengths of a table with a column `unit` are in meters on the pitch (`m`: x along its length from the left
//! goal line, y across it from the far touch line) or, without a calibrated pitch, in pixels of the source frame (`px`).

use sideline_api::table;

/// `unit` of positions in meters on the pitch.
pub const METERS: &str = "m";
/// `unit` of positions in pixels of the source frame.
pub const PIXELS: &str = "px";

table! {
    /// State of the ball: one row in every frame after it was first found.
    pub struct Ball in "ball" {
        /// Center, x, px.
        pub x: f32,
        /// Center, y, px.
        pub y: f32,
        /// Velocity, x, px per second.
        pub vx: f32,
        /// Velocity, y, px per second.
        pub vy: f32,
        /// Acceleration, x, px per second squared.
        pub ax: f32,
        /// Acceleration, y, px per second squared.
        pub ay: f32,
        /// Radius, px.
        pub radius: f32,
        /// Confidence of the associated detection; 0 if the position is predicted.
        pub score: f32,
        /// True if a detection was associated in this frame, false if the position is predicted.
        pub measured: bool,
        /// Frames since the last measurement, including frames without detection.
        pub missing: u32,
        /// Mode of the tracker: `normal`, `recovering`, `chaos`, `locked` or `lost`.
        pub mode: String,
        /// Standard deviation of the position, px.
        pub spread: f32,
    }
}

table! {
    /// Improved estimate of the ball in an earlier frame.
    pub struct Correction in "corrections" {
        /// Frame of the estimate.
        pub at: u64,
        /// Center of the ball, x, px.
        pub x: f32,
        /// Center of the ball, y, px.
        pub y: f32,
        /// Radius, px.
        pub radius: f32,
        /// Kind of the estimate: `filled` for a frame without a measurement, `smoothed` for one with a measurement.
        pub kind: String,
    }
}

table! {
    /// Team and role of a person.
    pub struct Team in "teams" {
        /// Track number.
        pub track: u32,
        /// Team: `team_1` or `team_2`; empty for a referee, and while unknown.
        pub team: String,
        /// Role: `player`, `goalkeeper` or `referee`; empty while unknown.
        pub role: String,
        /// Confidence of the votes of this track, 0..1.
        pub confidence: f32,
        /// Color of the jersey in this frame, sRGB 0..255; NaN if it is not visible.
        pub jersey: [f32; 3],
    }
}

table! {
    /// Position of a person or the ball on the ground.
    pub struct Place in "places" {
        /// Track number; 0 is the ball.
        pub track: u32,
        /// Position of the feet or the ball, x, in `unit`.
        pub x: f32,
        /// Position of the feet or the ball, y, in `unit`.
        pub y: f32,
        /// Unit of the positions: `m` or `px`.
        pub unit: String,
        /// Units per meter at this position: 1 if the unit is m; if it is px, estimated from the height of people in the image.
        pub scale: f32,
        /// True if the position was measured, false if it was predicted.
        pub measured: bool,
        /// True on the pitch, and if no pitch is calibrated.
        pub inside: bool,
    }
}

table! {
    /// Possession of the ball: one row per frame.
    pub struct Possession in "possession" {
        /// Team in possession: `team_1` or `team_2`; empty for none.
        pub team: String,
        /// Track in possession; 0 for none.
        pub track: u32,
        /// State: `controlled`, `contested` (players of both teams within reach), `loose`, `out` (off the pitch) or `unknown`
        /// (no ball).
        pub state: String,
        /// Distance from the ball to the nearest player, meters (estimated if the unit is px); NaN without a ball.
        pub distance: f32,
        /// Share of team_1 in the frames so far in which a team was in possession, 0..1; NaN before the first.
        pub share_1: f32,
        /// Share of team_2 in the frames so far in which a team was in possession, 0..1; NaN before the first.
        pub share_2: f32,
    }
}

table! {
    /// Event of the match. The row comes some frames after the event and gives the event's own frames.
    pub struct Event in "events", carried {
        /// Identifier of the event, the same in all recordings: a UUID of version 5.
        pub id: String,
        /// Kind: `pass`, `interception`, `loss`, `shot` or `carry`; with a calibrated pitch also `corner`, `throw_in` or
        /// `goal_kick`.
        pub kind: String,
        /// First frame of the event.
        pub at: u64,
        /// Last frame of the event.
        pub end: u64,
        /// Team of the player.
        pub team: String,
        /// Track of the player.
        pub track: u32,
        /// Track in possession afterwards; 0 for none.
        pub to: u32,
        /// True for a successful event, such as a pass that reaches a teammate.
        pub complete: bool,
        /// Start position, x, in `unit`.
        pub x: f32,
        /// Start position, y, in `unit`.
        pub y: f32,
        /// End position, x, in `unit`.
        pub end_x: f32,
        /// End position, y, in `unit`.
        pub end_y: f32,
        /// Unit of the positions: `m` or `px`.
        pub unit: String,
        /// Confidence, 0..1.
        pub confidence: f32,
    }
}

table! {
    /// Formation of a team.
    pub struct Formation in "formation", carried {
        /// Team: `team_1` or `team_2`.
        pub team: String,
        /// Number of the period, from 0; the closing message repeats the shape of every period.
        pub period: u32,
        /// Direction of play: `right` or `left`; empty if unknown.
        pub plays: String,
        /// Number of players per line, starting at the own goal, without the goalkeeper: `4-4-2`; empty if too few are visible.
        pub shape: String,
        /// Mean depth of each line, in `unit`, measured from the own goal line, or from the rearmost line without a calibrated
        /// pitch.
        pub lines: Vec<f32>,
        /// Extent across the pitch, between the outermost outfield players, in `unit`.
        pub width: f32,
        /// Extent along the pitch, from the rearmost to the foremost outfield player, in `unit`.
        pub depth: f32,
        /// Centroid of the outfield players, x, in `unit`.
        pub x: f32,
        /// Centroid of the outfield players, y, in `unit`.
        pub y: f32,
        /// Number of visible outfield players.
        pub players: u16,
        /// Unit of the positions: `m` or `px`.
        pub unit: String,
        /// Goodness of fit of the shape, 0..1.
        pub confidence: f32,
    }
}

table! {
    /// Statistics of a player or a team so far.
    pub struct Stat in "stats" {
        /// Team: `team_1` or `team_2`; empty if unknown.
        pub team: String,
        /// Track number; 0 is the whole team.
        pub track: u32,
        /// Share of the frames with possession by a team in which the player or team had the ball, 0..1; NaN before the first.
        pub possession: f32,
        /// Number of passes.
        pub passes: u32,
        /// Number of passes that reached a teammate.
        pub completed: u32,
        /// Number of balls won from the other team.
        pub interceptions: u32,
        /// Number of shots.
        pub shots: u32,
        /// Distance covered, meters (estimated if the unit is px).
        pub distance: f32,
        /// Maximum sustained speed, meters per second.
        pub top_speed: f32,
        /// Distance covered in each speed zone, meters, from standing to sprint; the bounds are the operator's `ZONES`.
        pub zones: [f32; 5],
        /// Time visible, seconds.
        pub seconds: f32,
        /// Unit of the positions from which the meters were computed: `m` or `px`.
        pub unit: String,
    }
}

table! {
    /// View of the virtual camera: one row in every frame.
    pub struct View in "view" {
        /// Center of the crop, x, px.
        pub x: f32,
        /// Center of the crop, y, px.
        pub y: f32,
        /// Width of the crop, px.
        pub width: f32,
        /// Height of the crop, px.
        pub height: f32,
        /// Zoom factor relative to the widest crop that fits, from 1.
        pub zoom: f32,
        /// Target: `ball`, `players`, or `hold` if neither is visible.
        pub follows: String,
        /// Width of the output image of the crop, px.
        pub picture_width: u32,
        /// Height of the output image of the crop, px.
        pub picture_height: u32,
    }
}

impl Team {
    /// Names of the two teams in all tables.
    pub const NAMES: [&str; 2] = ["team_1", "team_2"];

    /// Returns the index of a team in [`Self::NAMES`].
    pub fn index(name: &str) -> Option<usize> {
        Self::NAMES.iter().position(|team| *team == name)
    }
}
