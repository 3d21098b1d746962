//! Tables of football: the ball, teams, places on the pitch, what happens, and the virtual camera.
//!
//! Where a table has a `unit`, its places and lengths are in metres on the pitch (`m`: x along its length from the left goal
//! line, y across it from the far touch line) or, where no pitch was calibrated, in pixels of the source frame (`px`).

use crate::table;

/// What a `unit` is called that is metres on the pitch.
pub const METRES: &str = "m";
/// What a `unit` is called that is pixels of the source frame.
pub const PIXELS: &str = "px";

table! {
    /// Where the ball is: one row in every frame once it was found, none before.
    pub struct Ball in "ball" {
        /// Its middle, px.
        pub x: f32,
        /// Its middle, px.
        pub y: f32,
        /// Velocity, px per second.
        pub vx: f32,
        /// Velocity, px per second.
        pub vy: f32,
        /// Acceleration, px per second squared.
        pub ax: f32,
        /// Acceleration, px per second squared.
        pub ay: f32,
        /// Radius, px.
        pub radius: f32,
        /// Confidence of the detection that was taken; 0 where the place is predicted.
        pub score: f32,
        /// True where a detection was taken in this frame, false where the place is predicted.
        pub measured: bool,
        /// Frames since it was measured; frames that no detector looked at count too.
        pub missing: u32,
        /// `normal`, `recovering`, `chaos`, `locked` or `lost`.
        pub mode: String,
        /// Standard deviation of the place, px: how far it may be from there.
        pub spread: f32,
    }
}

table! {
    /// Where the ball was in an earlier frame, known better now.
    pub struct Correction in "corrections" {
        /// The frame that it is about.
        pub at: u64,
        /// Middle of the ball, px.
        pub x: f32,
        /// Middle of the ball, px.
        pub y: f32,
        /// Radius, px.
        pub radius: f32,
        /// `filled` where nothing was measured then, `smoothed` where it was.
        pub kind: String,
    }
}

table! {
    /// Which side somebody is on.
    pub struct Team in "teams" {
        /// Identity of the track.
        pub track: u32,
        /// `team_1`, `team_2`; empty for a referee, and where it is not known yet.
        pub team: String,
        /// `player`, `goalkeeper`, `referee`; empty where it is not known yet.
        pub role: String,
        /// How sure the votes of this track are, 0..1.
        pub confidence: f32,
        /// Colour of the jersey in this frame, sRGB 0..255; NaN where it was not seen.
        pub jersey: [f32; 3],
    }
}

table! {
    /// Where somebody stands, or the ball lies.
    pub struct Place in "places" {
        /// Identity of the track; 0 is the ball.
        pub track: u32,
        /// Where the feet are, or the ball: in `unit`.
        pub x: f32,
        /// Where the feet are, or the ball: in `unit`.
        pub y: f32,
        /// `m` or `px`.
        pub unit: String,
        /// Units in a metre, hereabouts: 1 in metres; in pixels by how tall people look there.
        pub scale: f32,
        /// False where the place was predicted.
        pub measured: bool,
        /// True on the pitch, and where no pitch is known.
        pub inside: bool,
    }
}

table! {
    /// Who has the ball: one row a frame.
    pub struct Possession in "possession" {
        /// `team_1`, `team_2`; empty where nobody has it.
        pub team: String,
        /// Track of who has it; 0 for nobody.
        pub track: u32,
        /// `controlled`, `contested` (both teams are at it), `loose`, `out` (beside the pitch) or `unknown` (no ball).
        pub state: String,
        /// From the ball to who is nearest, metres (estimated where the unit is px); NaN where there is no ball.
        pub distance: f32,
        /// Part of the frames so far in which a team had it that were of team_1, 0..1; NaN before the first.
        pub share_1: f32,
        /// The same of team_2.
        pub share_2: f32,
    }
}

table! {
    /// What happened. It is known some frames later, and names its own frames.
    pub struct Event in "events", carried {
        /// Name of the event in all recordings: a UUID of version 5.
        pub id: String,
        /// `pass`, `interception`, `loss`, `shot`, `carry`; with a pitch also `corner`, `throw_in`, `goal_kick`.
        pub kind: String,
        /// Frame in which it began.
        pub at: u64,
        /// Frame in which it was over.
        pub end: u64,
        /// Team that did it.
        pub team: String,
        /// Track that did it.
        pub track: u32,
        /// Track that has the ball afterwards; 0 for nobody.
        pub to: u32,
        /// True where it came to its aim: a pass to one of the same team.
        pub complete: bool,
        /// Where it began, in `unit`.
        pub x: f32,
        /// Where it began, in `unit`.
        pub y: f32,
        /// Where it ended, in `unit`.
        pub end_x: f32,
        /// Where it ended, in `unit`.
        pub end_y: f32,
        /// `m` or `px`.
        pub unit: String,
        /// How sure it is, 0..1.
        pub confidence: f32,
    }
}

table! {
    /// How a team stands.
    pub struct Formation in "formation", carried {
        /// `team_1` or `team_2`.
        pub team: String,
        /// Number of the period, from 0; the closing message has every period's shape once more.
        pub period: u32,
        /// Which way it plays: `right` or `left`; empty where that is not known.
        pub plays: String,
        /// Players a line from the own goal on, without the goalkeeper: `4-4-2`; empty where too few were seen.
        pub shape: String,
        /// Mean depth of each line, in `unit`: from the own goal line on, or, where no pitch is known, from the rearmost line on.
        pub lines: Vec<f32>,
        /// Across the pitch from the outermost player to the other, in `unit`.
        pub width: f32,
        /// Along the pitch from the last outfield player to the first, in `unit`.
        pub depth: f32,
        /// Middle of the outfield players, in `unit`.
        pub x: f32,
        /// Middle of the outfield players, in `unit`.
        pub y: f32,
        /// Outfield players seen.
        pub players: u16,
        /// `m` or `px`.
        pub unit: String,
        /// How well the shape fits, 0..1.
        pub confidence: f32,
    }
}

table! {
    /// What somebody, or a team, has done so far.
    pub struct Stat in "stats" {
        /// `team_1` or `team_2`; empty where it is not known.
        pub team: String,
        /// Track; 0 is the whole team.
        pub track: u32,
        /// Part of the frames in which a team had the ball that were theirs, 0..1; NaN before the first.
        pub possession: f32,
        /// Passes played.
        pub passes: u32,
        /// Passes that reached one of the same team.
        pub completed: u32,
        /// Balls won from the other team.
        pub interceptions: u32,
        /// Shots.
        pub shots: u32,
        /// Way covered, metres (estimated where the unit is px).
        pub distance: f32,
        /// Fastest speed held for a moment, metres per second.
        pub top_speed: f32,
        /// Metres covered in each speed zone, from standing to sprint: the bounds are the operator's `ZONES`.
        pub zones: [f32; 5],
        /// Seconds seen.
        pub seconds: f32,
        /// `m` or `px`: what the metres were made of.
        pub unit: String,
    }
}

table! {
    /// Where the virtual camera looks: one row in every frame.
    pub struct View in "view" {
        /// Middle of the crop, px.
        pub x: f32,
        /// Middle of the crop, px.
        pub y: f32,
        /// Size of the crop, px.
        pub width: f32,
        /// Size of the crop, px.
        pub height: f32,
        /// Times larger than the widest crop that fits, from 1.
        pub zoom: f32,
        /// What it follows: `ball`, `players`, or `hold` where it sees neither.
        pub follows: String,
        /// Width of the picture that is to be made of the crop, px.
        pub picture_width: u32,
        /// Height of the picture that is to be made of the crop, px.
        pub picture_height: u32,
    }
}

impl Team {
    /// The two teams, as every table names them.
    pub const NAMES: [&str; 2] = ["team_1", "team_2"];

    /// Returns the number of the team that a name means, from 0.
    pub fn number(name: &str) -> Option<usize> {
        Self::NAMES.iter().position(|known| *known == name)
    }
}
