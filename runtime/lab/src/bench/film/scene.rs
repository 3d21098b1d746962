//! Synthetic match for the overlays: two teams, a referee, a ball, and a virtual camera that follows it.

use sideline_api::{Result, testing::Harness};
use sideline_render::Render;
use sideline_sport::tables::{
    Ball, BallMode, Event, EventKind, Place, Possession, PossessionState, Role, Team, TeamName, Track, TrackState,
    Unit, View, ViewTarget,
};

/// Inputs of `render` in a match, besides the frames.
pub const INPUTS: [&str; 6] = ["tracks", "teams", "ball", "places", "possession", "events"];

/// Players per team.
const PLAYERS: u32 = 11;
/// Length and width of the pitch, m.
const PITCH_M: (f32, f32) = (105.0, 68.0);

/// Tables of one frame of 1920 x 1080.
pub struct Scene {
    frame: u64,
}

impl Scene {
    /// Creates the scene of a frame.
    pub fn new(frame: u64) -> Self {
        Self { frame }
    }

    /// Returns the time since the start, s.
    fn time(&self) -> f32 {
        self.frame as f32 / 30.0
    }

    /// Returns the position of a player, m: each moves around a place of their own.
    fn player_position(&self, track: u32) -> (f32, f32) {
        let (i, t) = (track as f32, self.time());
        let x = PITCH_M.0 * (0.5 + 0.42 * (i * 2.4).sin()) + 4.0 * (0.7 * t + i).sin();
        let y = PITCH_M.1 * (0.5 + 0.4 * (i * 1.7).cos()) + 3.0 * (0.5 * t + 2.0 * i).cos();
        (x, y)
    }

    /// Returns the position of the ball, m.
    fn ball_position(&self) -> (f32, f32) {
        let t = self.time();
        (PITCH_M.0 * (0.5 + 0.3 * (0.6 * t).sin()), PITCH_M.1 * (0.5 + 0.25 * (0.9 * t).cos()))
    }

    /// Projects a position to the image as seen from a stand: distant points are higher up and smaller. Returns x and y
    /// in pixels, and the scale in pixels per meter.
    fn project((x, y): (f32, f32)) -> (f32, f32, f32) {
        let depth = y / PITCH_M.1;
        let scale = 10.0 + 8.0 * depth;
        (960.0 + (x - PITCH_M.0 / 2.0) * scale, 330.0 + 620.0 * depth * (0.6 + 0.4 * depth), scale)
    }

    fn team(track: u32) -> TeamName {
        if track <= PLAYERS { TeamName::One } else { TeamName::Two }
    }

    /// Returns the view of the virtual camera, which moves by fractions of a pixel.
    pub fn view(&self) -> View {
        let (x, y, _) = Self::project(self.ball_position());
        let zoom = 1.6 + 0.3 * (0.4 * self.time()).sin();
        View {
            x,
            y,
            width: 1920.0 / zoom,
            height: 1080.0 / zoom,
            zoom,
            follows: ViewTarget::Ball,
            picture_width: 1280,
            picture_height: 720,
        }
    }

    /// Sends the rows of a frame to the inputs named in [`INPUTS`].
    ///
    /// # Errors
    /// The operator fails.
    pub fn push(&self, render: &mut Harness<Render>) -> Result<()> {
        let all_tracks = || 1..=2 * PLAYERS + 1;
        let track = |track: u32| {
            let (x, y, scale) = Self::project(self.player_position(track));
            let (half, tall) = (0.35 * scale, 1.9 * scale);
            let state = if (u64::from(track) + self.frame / 10).is_multiple_of(9) {
                TrackState::Predicted
            } else {
                TrackState::Confirmed
            };
            let (x1, y1, x2, y2) = (x - half, y - tall, x + half, y);
            Track { track, state, x1, y1, x2, y2, score: 0.9, age: 100, ..Track::default() }
        };
        render.push("tracks", &all_tracks().map(track).collect::<Vec<_>>())?;
        let team = |track: u32| {
            let (team, role, jersey) = match track {
                track if track > 2 * PLAYERS => (TeamName::None, Role::Referee, [20.0; 3]),
                1 => (TeamName::One, Role::Goalkeeper, [40.0, 190.0, 60.0]),
                track if track <= PLAYERS => (TeamName::One, Role::Player, [190.0, 30.0, 40.0]),
                track if track == PLAYERS + 1 => (TeamName::Two, Role::Goalkeeper, [230.0, 160.0, 30.0]),
                _ => (TeamName::Two, Role::Player, [235.0, 236.0, 238.0]),
            };
            Team { track, team, role, confidence: 0.9, jersey }
        };
        render.push("teams", &all_tracks().map(team).collect::<Vec<_>>())?;
        let measured = self.frame % 40 < 30;
        let (x, y, scale) = Self::project(self.ball_position());
        let ball = Ball {
            x,
            y,
            vx: 0.0,
            vy: 0.0,
            ax: 0.0,
            ay: 0.0,
            radius: 0.2 * scale,
            score: 0.6,
            measured,
            missing: 0,
            mode: BallMode::Normal,
            spread: 3.0,
        };
        render.push("ball", &[ball])?;
        let place = |track: u32| {
            let (x, y) = if track == 0 { self.ball_position() } else { self.player_position(track) };
            Place { track, x, y, unit: Unit::Meters, scale: 1.0, measured: true, inside: true }
        };
        render.push("places", &(0..=2 * PLAYERS + 1).map(place).collect::<Vec<_>>())?;
        let holder = (self.frame / 45 % u64::from(2 * PLAYERS)) as u32 + 1;
        let possession = Possession {
            team: Self::team(holder),
            track: holder,
            state: PossessionState::Controlled,
            distance: 1.0,
            share_1: 0.54,
            share_2: 0.46,
        };
        render.push("possession", &[possession])?;
        let event = Event {
            id: String::new(),
            kind: if holder.is_multiple_of(3) { EventKind::Interception } else { EventKind::Pass },
            at: self.frame,
            end: self.frame,
            team: Self::team(holder),
            track: holder,
            to: 0,
            complete: !holder.is_multiple_of(4),
            x: 0.0,
            y: 0.0,
            end_x: 0.0,
            end_y: 0.0,
            unit: Unit::Meters,
            confidence: 0.9,
        };
        let has_event = self.frame.is_multiple_of(45);
        render.push("events", &if has_event { vec![event] } else { vec![] })
    }
}
