//! Tables of football: ball, teams, positions on the pitch, events, and the virtual camera.
//!
//! Positions and lengths of a table with a column `unit` are in meters on the pitch (`m`: x along its length from the left
//! goal line, y across it from the far touch line) or, without a calibrated pitch, in pixels of the source frame (`px`).

use sideline_api::{column_enum, table};

column_enum! {
    /// Unit of positions.
    pub enum Unit {
        /// Pixels of the source frame.
        Pixels = "px",
        /// Meters on the pitch.
        Meters = "m",
    }
}

column_enum! {
    /// Mode of the ball's tracker: the reliability of its estimate.
    pub enum BallMode {
        /// Missed in the last frame, or detected in too few consecutive frames: the gate is wider.
        Recovering = "recovering",
        /// Detected in many consecutive frames.
        Normal = "normal",
        /// The position jumped: for a while only candidates near it are accepted.
        Chaos = "chaos",
        /// The ball is at rest.
        Locked = "locked",
        /// Not detected for too long: the search covers the whole frame.
        Lost = "lost",
    }
}

column_enum! {
    /// Kind of an improved estimate of the ball.
    pub enum CorrectionKind {
        /// Estimate for a frame without a measurement.
        Filled = "filled",
        /// Estimate for a frame with a measurement.
        Smoothed = "smoothed",
    }
}

column_enum! {
    /// Name of one of the two teams.
    pub enum TeamName {
        /// No team, or not known.
        None = "",
        /// First team.
        One = "team_1",
        /// Second team.
        Two = "team_2",
    }
}

column_enum! {
    /// Role of a person.
    pub enum Role {
        /// Not known.
        Unknown = "",
        /// Outfield player.
        Player = "player",
        /// Goalkeeper.
        Goalkeeper = "goalkeeper",
        /// Referee or assistant.
        Referee = "referee",
    }
}

column_enum! {
    /// State of the possession.
    pub enum PossessionState {
        /// There is no ball.
        Unknown = "unknown",
        /// One team has the ball.
        Controlled = "controlled",
        /// Players of both teams are within reach.
        Contested = "contested",
        /// No player is within reach.
        Loose = "loose",
        /// The ball is off the pitch.
        Out = "out",
    }
}

column_enum! {
    /// Kind of an event.
    pub enum EventKind {
        /// Ball from one player to another of the same team, or an attempt.
        Pass = "pass",
        /// Ball won from the other team.
        Interception = "interception",
        /// Ball lost.
        Loss = "loss",
        /// Shot at the goal.
        Shot = "shot",
        /// Run with the ball.
        Carry = "carry",
        /// Corner kick; needs a calibrated pitch.
        Corner = "corner",
        /// Throw-in; needs a calibrated pitch.
        ThrowIn = "throw_in",
        /// Goal kick; needs a calibrated pitch.
        GoalKick = "goal_kick",
    }
}

column_enum! {
    /// Direction of play.
    pub enum Direction {
        /// Not known.
        Unknown = "",
        /// Towards the right goal.
        Right = "right",
        /// Towards the left goal.
        Left = "left",
    }
}

column_enum! {
    /// Target of the virtual camera.
    pub enum ViewTarget {
        /// No target: the camera holds still.
        Hold = "hold",
        /// The ball, or its last known position.
        Ball = "ball",
        /// The median position of the players.
        Players = "players",
    }
}

table! {
    /// State of the ball: one row in every frame after it was first found.
    pub struct Ball in "ball" {
        /// Center, x, px.
        #[column(unit = "px")]
        pub x: f32,
        /// Center, y, px.
        #[column(unit = "px")]
        pub y: f32,
        /// Velocity, x, px per second.
        #[column(unit = "px/s")]
        pub vx: f32,
        /// Velocity, y, px per second.
        #[column(unit = "px/s")]
        pub vy: f32,
        /// Acceleration, x, px per second squared.
        #[column(unit = "px/s^2")]
        pub ax: f32,
        /// Acceleration, y, px per second squared.
        #[column(unit = "px/s^2")]
        pub ay: f32,
        /// Radius, px.
        #[column(unit = "px")]
        pub radius: f32,
        /// Confidence of the associated detection; 0 if the position is predicted.
        #[column(unit = "fraction")]
        pub score: f32,
        /// True if a detection was associated in this frame, false if the position is predicted.
        pub measured: bool,
        /// Frames since the last measurement, including frames without detection.
        #[column(unit = "frames")]
        pub missing: u32,
        /// Mode of the tracker.
        pub mode: BallMode,
        /// Standard deviation of the position, px.
        #[column(unit = "px")]
        pub spread: f32,
    }
}

table! {
    /// Improved estimate of the ball in an earlier frame.
    pub struct Correction in "corrections" {
        /// Frame of the estimate.
        #[column(unit = "frame")]
        pub at: u64,
        /// Center of the ball, x, px.
        #[column(unit = "px")]
        pub x: f32,
        /// Center of the ball, y, px.
        #[column(unit = "px")]
        pub y: f32,
        /// Radius, px.
        #[column(unit = "px")]
        pub radius: f32,
        /// Kind of the estimate.
        pub kind: CorrectionKind,
    }
}

table! {
    /// Team and role of a person.
    pub struct Team in "teams" {
        /// Track number.
        pub track: u32,
        /// Team; empty for a referee, and while unknown.
        pub team: TeamName,
        /// Role.
        pub role: Role,
        /// Confidence of the votes of this track, 0..1.
        #[column(unit = "fraction")]
        pub confidence: f32,
        /// Color of the jersey in this frame, sRGB 0..255; NaN if it is not visible.
        #[column(names = [["red", "green", "blue"]])]
        pub jersey: [f32; 3],
    }
}

table! {
    /// Position of a person or the ball on the ground.
    pub struct Place in "places" {
        /// Track number; 0 is the ball.
        pub track: u32,
        /// Position of the feet or the ball, x, in `unit`.
        #[column(unit = "m or px")]
        pub x: f32,
        /// Position of the feet or the ball, y, in `unit`.
        #[column(unit = "m or px")]
        pub y: f32,
        /// Unit of the positions.
        pub unit: Unit,
        /// Units per meter at this position: 1 if the unit is m; if it is px, estimated from the height of people in the image.
        #[column(unit = "units/m")]
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
        /// Team in possession; empty for none.
        pub team: TeamName,
        /// Track in possession; 0 for none.
        pub track: u32,
        /// State of the possession.
        pub state: PossessionState,
        /// Distance from the ball to the nearest player, meters (estimated if the unit is px); NaN without a ball.
        #[column(unit = "m")]
        pub distance: f32,
        /// Share of team_1 in the frames so far in which a team was in possession, 0..1; NaN before the first.
        #[column(unit = "fraction")]
        pub share_1: f32,
        /// Share of team_2 in the frames so far in which a team was in possession, 0..1; NaN before the first.
        #[column(unit = "fraction")]
        pub share_2: f32,
    }
}

table! {
    /// Event of the match. The row comes some frames after the event and gives the event's own frames.
    pub struct Event in "events", carried {
        /// Identifier of the event, the same in all recordings: a UUID of version 5.
        pub id: String,
        /// Kind of the event.
        pub kind: EventKind,
        /// First frame of the event.
        #[column(unit = "frame")]
        pub at: u64,
        /// Last frame of the event.
        #[column(unit = "frame")]
        pub end: u64,
        /// Team of the player.
        pub team: TeamName,
        /// Track of the player.
        pub track: u32,
        /// Track in possession afterwards; 0 for none.
        pub to: u32,
        /// True for a successful event, such as a pass that reaches a teammate.
        pub complete: bool,
        /// Start position, x, in `unit`.
        #[column(unit = "m or px")]
        pub x: f32,
        /// Start position, y, in `unit`.
        #[column(unit = "m or px")]
        pub y: f32,
        /// End position, x, in `unit`.
        #[column(unit = "m or px")]
        pub end_x: f32,
        /// End position, y, in `unit`.
        #[column(unit = "m or px")]
        pub end_y: f32,
        /// Unit of the positions.
        pub unit: Unit,
        /// Confidence, 0..1.
        #[column(unit = "fraction")]
        pub confidence: f32,
    }
}

table! {
    /// Formation of a team.
    pub struct Formation in "formation", carried {
        /// Team.
        pub team: TeamName,
        /// Number of the period, from 0; the closing message repeats the shape of every period.
        pub period: u32,
        /// Direction of play.
        pub plays: Direction,
        /// Number of players per line, starting at the own goal, without the goalkeeper: `4-4-2`; empty if too few are visible.
        pub shape: String,
        /// Mean depth of each line, in `unit`, measured from the own goal line, or from the rearmost line without a calibrated
        /// pitch.
        #[column(unit = "m or px")]
        pub lines: Vec<f32>,
        /// Extent across the pitch, between the outermost outfield players, in `unit`.
        #[column(unit = "m or px")]
        pub width: f32,
        /// Extent along the pitch, from the rearmost to the foremost outfield player, in `unit`.
        #[column(unit = "m or px")]
        pub depth: f32,
        /// Centroid of the outfield players, x, in `unit`.
        #[column(unit = "m or px")]
        pub x: f32,
        /// Centroid of the outfield players, y, in `unit`.
        #[column(unit = "m or px")]
        pub y: f32,
        /// Number of visible outfield players.
        pub players: u16,
        /// Unit of the positions.
        pub unit: Unit,
        /// Goodness of fit of the shape, 0..1.
        #[column(unit = "fraction")]
        pub confidence: f32,
    }
}

table! {
    /// Statistics of a player or a team so far.
    pub struct Stat in "stats" {
        /// Team; empty if unknown.
        pub team: TeamName,
        /// Track number; 0 is the whole team.
        pub track: u32,
        /// Share of the frames with possession by a team in which the player or team had the ball, 0..1; NaN before the first.
        #[column(unit = "fraction")]
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
        #[column(unit = "m")]
        pub distance: f32,
        /// Maximum sustained speed, meters per second.
        #[column(unit = "m/s")]
        pub top_speed: f32,
        /// Distance covered in each speed zone, meters, from standing to sprint; the bounds are the operator's `ZONES`.
        #[column(unit = "m")]
        pub zones: [f32; 5],
        /// Time visible, seconds.
        #[column(unit = "s")]
        pub seconds: f32,
        /// Unit of the positions from which the meters were computed.
        pub unit: Unit,
    }
}

table! {
    /// View of the virtual camera: one row in every frame.
    pub struct View in "view" {
        /// Center of the crop, x, px.
        #[column(unit = "px")]
        pub x: f32,
        /// Center of the crop, y, px.
        #[column(unit = "px")]
        pub y: f32,
        /// Width of the crop, px.
        #[column(unit = "px")]
        pub width: f32,
        /// Height of the crop, px.
        #[column(unit = "px")]
        pub height: f32,
        /// Zoom factor relative to the widest crop that fits, from 1.
        pub zoom: f32,
        /// Target of the camera.
        pub follows: ViewTarget,
        /// Width of the output image of the crop, px.
        #[column(unit = "px")]
        pub picture_width: u32,
        /// Height of the output image of the crop, px.
        #[column(unit = "px")]
        pub picture_height: u32,
    }
}

impl TeamName {
    /// The two teams.
    pub const TEAMS: [Self; 2] = [Self::One, Self::Two];

    /// Returns the index of the team in [`Self::TEAMS`].
    pub fn index(self) -> Option<usize> {
        Self::TEAMS.iter().position(|team| *team == self)
    }

    /// Returns the team with an index in [`Self::TEAMS`]; none without an index.
    pub fn from_index(index: Option<usize>) -> Self {
        index.and_then(|index| Self::TEAMS.get(index).copied()).unwrap_or_default()
    }
}
