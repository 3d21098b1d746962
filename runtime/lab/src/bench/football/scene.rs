//! Input of `sideline-lab bench match`: 22 players and a ball in motion.

use sideline_sport::tables::{Ball, BallMode, Role, Team, TeamName, Track, TrackState};

/// Width and height of the frame that the rows refer to, px.
pub const PICTURE_SIZE: [f32; 2] = [1920.0, 1080.0];

/// Returns tracks, teams and ball of a frame at 30 frames/s: two teams of eleven move around their positions, and the
/// ball is passed every second and a half.
///
/// Equal frame numbers give equal rows, on every machine.
#[must_use]
pub fn scene(frame: u64) -> (Vec<Track>, Vec<Team>, Vec<Ball>) {
    let seconds = frame as f32 / 30.0;
    let position = |player: usize, seconds: f32| {
        let (team, number) = (player / 11, player % 11);
        // A goalkeeper, and lines of four, four and two.
        let (depth, across) = match number {
            0 => (0.03, 0.5),
            1..=4 => (0.18, 0.2 * number as f32),
            5..=8 => (0.4, 0.2 * (number - 4) as f32),
            _ => (0.58, 0.35 + 0.3 * (number - 9) as f32),
        };
        let depth = if team == 0 { depth } else { 1.0 - depth };
        let turn = seconds * 0.7 + player as f32;
        [
            PICTURE_SIZE[0] * (0.05 + 0.9 * depth) + 50.0 * turn.cos(),
            PICTURE_SIZE[1] * (0.15 + 0.75 * across) + 30.0 * turn.sin(),
        ]
    };
    let tracks = (0..22)
        .map(|player| {
            let [x, y] = position(player, seconds);
            let height = 30.0 + 0.06 * y;
            Track {
                track: player as u32 + 1,
                state: TrackState::Confirmed,
                x1: x - 0.2 * height,
                y1: y - height,
                x2: x + 0.2 * height,
                y2: y,
                score: 0.9,
                class: 0,
                age: frame as u32,
            }
        })
        .collect();
    let teams = (0..22)
        .map(|player| Team {
            track: player as u32 + 1,
            team: if player < 11 { TeamName::One } else { TeamName::Two },
            role: if player % 11 == 0 { Role::Goalkeeper } else { Role::Player },
            confidence: 1.0,
            jersey: [200.0, 30.0, 30.0],
        })
        .collect();
    // One second at a player's feet, half a second in motion to the next.
    let turn = (seconds / 1.5) as usize;
    let (from, to) = (turn * 7 % 22, (turn + 1) * 7 % 22);
    let share = ((seconds - turn as f32 * 1.5 - 1.0) / 0.5).clamp(0.0, 1.0);
    let (a, b) = (position(from, seconds), position(to, seconds));
    let ball = Ball {
        x: a[0] + (b[0] - a[0]) * share + 6.0,
        y: a[1] + (b[1] - a[1]) * share - 4.0,
        vx: 0.0,
        vy: 0.0,
        ax: 0.0,
        ay: 0.0,
        radius: 4.0,
        score: 0.8,
        measured: true,
        missing: 0,
        mode: BallMode::Normal,
        spread: 2.0,
    };
    (tracks, teams, vec![ball])
}
