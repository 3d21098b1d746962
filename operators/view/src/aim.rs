//! Target of the camera: the ball and the players near it, the players alone, or none.

use serde::{Deserialize, Serialize};
use sideline_sport::tables::{Ball, BallMode, Track, TrackState, ViewTarget};

use crate::ViewConfig;

/// Style of the camera's motion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CameraMotion {
    /// Follows the ball.
    #[default]
    Normal,
    /// The ball is at rest: minimal motion.
    Locked,
    /// The ball's position is unreliable: wide crop, calm motion.
    Chaos,
    /// The ball is lost: the crop widens slowly.
    Waiting,
}

/// Target of the camera in one frame; px of a frame 1080 high, seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Aim {
    /// Subject that the camera follows.
    pub subject: ViewTarget,
    /// Style of the motion.
    pub motion: CameraMotion,
    /// Target position; `None` to hold still.
    pub target: Option<[f64; 2]>,
    /// Position of the ball, which must stay in the crop.
    pub ball: Option<[f64; 2]>,
    /// Half width and half height around the target that the crop must include; `None` for the widest crop.
    pub extent: Option<[f64; 2]>,
    /// Factor on the speed coefficient of the One-Euro filter, 0.5 to 3.
    pub cutoff_factor: f64,
    /// Smoothed speed of the ball, px/s.
    pub speed: f64,
}

/// Speed of the ball that doubles the cutoff factor, px/s.
const DOUBLING_SPEED: f64 = 600.0;
/// Jerk of the ball that halves the cutoff factor, px/s³.
const HALVING_JERK: f64 = 60_000.0;
/// Time constant of the velocity's smoothing before prediction, s: a single detection may be wrong.
const VELOCITY_TIME_CONSTANT_S: f64 = 0.2;
/// Maximum distance of a player near the ball, px.
const MAX_PLAYER_DISTANCE: f64 = 600.0;
/// Minimum number of tracks to follow players: fewer may be an assistant referee.
const MIN_PLAYERS: usize = 3;

/// State of the ball that the camera follows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AimState {
    /// Last known position.
    last_position: Option<[f64; 2]>,
    /// Seconds since the last known position.
    seconds_since_seen: f64,
    /// Acceleration in the last frame, px/s².
    acceleration: [f64; 2],
    /// Smoothed velocity, px/s.
    velocity: [f64; 2],
}

impl AimState {
    /// Returns the target in this frame; `scale` is the height of the frame divided by 1080.
    pub fn update(
        &mut self,
        ball: Option<&Ball>,
        tracks: &[Track],
        seconds: f64,
        scale: f64,
        config: &ViewConfig,
    ) -> Aim {
        self.seconds_since_seen += seconds;
        match ball.filter(|ball| ball.mode != BallMode::Lost) {
            Some(ball) => {
                self.seconds_since_seen = 0.0;
                self.follow_ball(ball, tracks, seconds, scale, config)
            }
            None if self.last_position.is_some() && self.seconds_since_seen < config.players_after => Aim {
                subject: ViewTarget::Ball,
                motion: CameraMotion::Waiting,
                target: self.last_position,
                cutoff_factor: 0.5,
                ..Aim::default()
            },
            None => {
                *self = Self { seconds_since_seen: self.seconds_since_seen, ..Self::default() };
                let target = median_position(tracks, scale);
                let subject = if target.is_some() { ViewTarget::Players } else { ViewTarget::Hold };
                Aim { subject, motion: CameraMotion::Waiting, target, cutoff_factor: 0.5, ..Aim::default() }
            }
        }
    }

    fn follow_ball(&mut self, ball: &Ball, tracks: &[Track], seconds: f64, scale: f64, config: &ViewConfig) -> Aim {
        let scaled = |x: f32, y: f32| [f64::from(x) / scale, f64::from(y) / scale];
        let (position, velocity) = (scaled(ball.x, ball.y), scaled(ball.vx, ball.vy));
        let acceleration = scaled(ball.ax, ball.ay);
        let length = |v: [f64; 2]| v[0].hypot(v[1]);
        let change = [0, 1].map(|axis| acceleration[axis] - self.acceleration[axis]);
        let jerk = length(change) / seconds.max(1e-3);
        self.acceleration = acceleration;
        self.last_position = Some(position);
        let motion = match ball.mode {
            BallMode::Chaos => CameraMotion::Chaos,
            BallMode::Locked => CameraMotion::Locked,
            BallMode::Normal | BallMode::Recovering | BallMode::Lost => CameraMotion::Normal,
        };
        let stability = if motion == CameraMotion::Normal { 1.0 } else { 0.5 };
        let cutoff_factor =
            ((1.0 + length(velocity) / DOUBLING_SPEED) / (1.0 + jerk / HALVING_JERK) * stability).clamp(0.5, 3.0);
        let decay = (-seconds / VELOCITY_TIME_CONSTANT_S).exp();
        for (smooth, now) in self.velocity.iter_mut().zip(velocity) {
            *smooth = decay * *smooth + (1.0 - decay) * now;
        }
        let lead_s = config.anticipation * config.prediction_s;
        let target = [0, 1].map(|axis| position[axis] + self.velocity[axis] * lead_s);
        let extent = (motion != CameraMotion::Chaos).then(|| player_extent(position, tracks, scale, config));
        let speed = length(self.velocity);
        Aim {
            subject: ViewTarget::Ball,
            motion,
            target: Some(target),
            ball: Some(position),
            extent,
            cutoff_factor,
            speed,
        }
    }
}

/// Returns the boxes of visible tracks, scaled: left, top, right, bottom.
fn boxes(tracks: &[Track], scale: f64) -> impl Iterator<Item = [f64; 4]> {
    let visible = tracks.iter().filter(|track| matches!(track.state, TrackState::Confirmed | TrackState::Predicted));
    let boxes = visible.map(move |track| [track.x1, track.y1, track.x2, track.y2].map(|edge| f64::from(edge) / scale));
    boxes.filter(|edges| edges.iter().all(|edge| edge.is_finite()))
}

/// Returns half width and half height around the ball that contain the players near it.
fn player_extent(ball: [f64; 2], tracks: &[Track], scale: f64, config: &ViewConfig) -> [f64; 2] {
    let distance = |edges: &[f64; 4]| {
        let [x1, _, x2, y2] = *edges;
        ((x1 + x2) / 2.0 - ball[0]).hypot(y2 - ball[1])
    };
    let mut near: Vec<[f64; 4]> = boxes(tracks, scale).filter(|edges| distance(edges) < MAX_PLAYER_DISTANCE).collect();
    near.sort_by(|a, b| distance(a).total_cmp(&distance(b)));
    near.iter().take(config.players).fold([0.0; 2], |extent, [x1, y1, x2, y2]| {
        let x = (ball[0] - x1).max(x2 - ball[0]);
        let y = (ball[1] - y1).max(y2 - ball[1]);
        [f64::max(extent[0], x), f64::max(extent[1], y)]
    })
}

/// Returns the median of the players' positions per coordinate, so that a lone goalkeeper does not move it; `None` with
/// too few players.
fn median_position(tracks: &[Track], scale: f64) -> Option<[f64; 2]> {
    let (mut xs, mut ys): (Vec<f64>, Vec<f64>) =
        boxes(tracks, scale).map(|[x1, y1, x2, y2]| ((x1 + x2) / 2.0, (y1 + y2) / 2.0)).unzip();
    if xs.len() < MIN_PLAYERS {
        return None;
    }
    let median = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        let half = values.len() / 2;
        (values[half] + values[(values.len() - 1) / 2]) / 2.0
    };
    Some([median(&mut xs), median(&mut ys)])
}
