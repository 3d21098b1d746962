//! What is worth looking at: the ball and who is near it, the players, or nothing.

use serde::{Deserialize, Serialize};
use sideline_api::tables::{Ball, Track};

use crate::ViewConfig;

/// Whom the camera follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Follows {
    /// The ball, or where it was just now.
    Ball,
    /// Where most players are.
    Players,
    /// Nobody.
    #[default]
    Hold,
}

impl Follows {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Follows::Ball => "ball",
            Follows::Players => "players",
            Follows::Hold => "hold",
        }
    }
}

/// How the camera is to move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// With the ball.
    #[default]
    Normal,
    /// The ball lies still.
    Still,
    /// Nothing is certain: wide and calm.
    Chaos,
    /// The ball is not there: slowly wider.
    Wait,
}

/// What to look at in a frame; px of a picture 1080 high, seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Aim {
    /// Whom the camera follows.
    pub follows: Follows,
    /// How.
    pub manner: Manner,
    /// Where to look; `None` to stay.
    pub target: Option<[f64; 2]>,
    /// The ball itself, which must not leave the picture.
    pub ball: Option<[f64; 2]>,
    /// How far what is to be seen reaches to each side of the target; `None` for as much as fits.
    pub reach: Option<[f64; 2]>,
    /// How much faster than usual the smoothing may open, 0.5 to 3.
    pub haste: f64,
    /// How fast the ball goes, smoothed, px a second.
    pub speed: f64,
}

/// Speed that doubles the haste, px a second; and jerk that halves it, px a second³.
const FAST: f64 = 600.0;
const JERKY: f64 = 60_000.0;
/// Seconds over which the velocity is smoothed that foresees the ball's way: one look may err.
const STEADY: f64 = 0.2;
/// Farthest from the ball that a player counts as near, px.
const NEAR: f64 = 600.0;
/// Fewest players that are followed: one may be a linesman.
const FEW: usize = 3;

/// What is remembered of the ball.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Watch {
    /// Where it was last known.
    last: Option<[f64; 2]>,
    /// Seconds since.
    away: f64,
    acceleration: [f64; 2],
    /// Its velocity, smoothed, px a second.
    velocity: [f64; 2],
}

impl Watch {
    /// What to look at now; `scale` is how many px of the frame are one of 1080.
    pub fn see(&mut self, ball: Option<&Ball>, tracks: &[Track], seconds: f64, scale: f64, config: &ViewConfig) -> Aim {
        self.away += seconds;
        match ball.filter(|ball| ball.mode != "lost") {
            Some(ball) => {
                self.away = 0.0;
                self.follow(ball, tracks, seconds, scale, config)
            }
            None if self.last.is_some() && self.away < config.players_after => {
                Aim { follows: Follows::Ball, manner: Manner::Wait, target: self.last, haste: 0.5, ..Aim::default() }
            }
            None => {
                *self = Self { away: self.away, ..Self::default() };
                let target = middle(tracks, scale);
                let follows = if target.is_some() { Follows::Players } else { Follows::Hold };
                Aim { follows, manner: Manner::Wait, target, haste: 0.5, ..Aim::default() }
            }
        }
    }

    fn follow(&mut self, ball: &Ball, tracks: &[Track], seconds: f64, scale: f64, config: &ViewConfig) -> Aim {
        let of = |x: f32, y: f32| [f64::from(x) / scale, f64::from(y) / scale];
        let (place, velocity) = (of(ball.x, ball.y), of(ball.vx, ball.vy));
        let acceleration = of(ball.ax, ball.ay);
        let length = |v: [f64; 2]| v[0].hypot(v[1]);
        let change = [0, 1].map(|axis| acceleration[axis] - self.acceleration[axis]);
        let jerk = length(change) / seconds.max(1e-3);
        self.acceleration = acceleration;
        self.last = Some(place);
        let manner = match &*ball.mode {
            "chaos" => Manner::Chaos,
            "locked" => Manner::Still,
            _ => Manner::Normal,
        };
        let stable = if manner == Manner::Normal { 1.0 } else { 0.5 };
        let haste = ((1.0 + length(velocity) / FAST) / (1.0 + jerk / JERKY) * stable).clamp(0.5, 3.0);
        let keep = (-seconds / STEADY).exp();
        for (smooth, now) in self.velocity.iter_mut().zip(velocity) {
            *smooth = keep * *smooth + (1.0 - keep) * now;
        }
        let ahead = config.anticipation * config.prediction_s;
        let target = [0, 1].map(|axis| place[axis] + self.velocity[axis] * ahead);
        let reach = (manner != Manner::Chaos).then(|| reach(place, tracks, scale, config));
        let speed = length(self.velocity);
        Aim { follows: Follows::Ball, manner, target: Some(target), ball: Some(place), reach, haste, speed }
    }
}

/// Tracks that are there, as boxes: left, top, right, bottom.
fn boxes(tracks: &[Track], scale: f64) -> impl Iterator<Item = [f64; 4]> {
    let seen = tracks.iter().filter(|track| track.state != "lost" && track.state != "tentative");
    let boxes = seen.map(move |track| [track.x1, track.y1, track.x2, track.y2].map(|edge| f64::from(edge) / scale));
    boxes.filter(|edges| edges.iter().all(|edge| edge.is_finite()))
}

/// How far the players near the ball reach from it.
fn reach(ball: [f64; 2], tracks: &[Track], scale: f64, config: &ViewConfig) -> [f64; 2] {
    let away = |edges: &[f64; 4]| {
        let [x1, _, x2, y2] = *edges;
        ((x1 + x2) / 2.0 - ball[0]).hypot(y2 - ball[1])
    };
    let mut near: Vec<[f64; 4]> = boxes(tracks, scale).filter(|edges| away(edges) < NEAR).collect();
    near.sort_by(|a, b| away(a).total_cmp(&away(b)));
    near.iter().take(config.players).fold([0.0; 2], |reach, [x1, y1, x2, y2]| {
        let x = (ball[0] - x1).max(x2 - ball[0]);
        let y = (ball[1] - y1).max(y2 - ball[1]);
        [f64::max(reach[0], x), f64::max(reach[1], y)]
    })
}

/// Where most players are: the median of each coordinate, so that a goalkeeper alone moves nothing.
fn middle(tracks: &[Track], scale: f64) -> Option<[f64; 2]> {
    let (mut xs, mut ys): (Vec<f64>, Vec<f64>) =
        boxes(tracks, scale).map(|[x1, y1, x2, y2]| ((x1 + x2) / 2.0, (y1 + y2) / 2.0)).unzip();
    if xs.len() < FEW {
        return None;
    }
    let median = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        let half = values.len() / 2;
        (values[half] + values[(values.len() - 1) / 2]) / 2.0
    };
    Some([median(&mut xs), median(&mut ys)])
}
