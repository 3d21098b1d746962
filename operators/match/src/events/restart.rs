//! How the ball comes back to the pitch, by where it does (Laws of the Game, laws 15 to 17).

use sideline_api::tables::Place;

use super::spell::Moment;
use crate::{
    calibration::Field,
    sides::{Scene, metres},
};

/// Seconds the ball must have been out: less is a calibration that is a little off.
const LEAST: f64 = 0.3;
/// How near a corner a corner kick is taken, and how near a touch line a throw-in, m.
const AT_CORNER: f32 = 4.0;
const AT_LINE: f32 = 4.0;
/// The goal area: from the goal line, and to each side of the goal's middle, m; and how far off it a kick may seem.
const GOAL_AREA: [f32; 2] = [5.5, 9.16];
const OFF: f32 = 2.5;
/// How near somebody must be to take it, m.
const NEAR: f32 = 4.0;

/// `corner`, `throw_in` or `goal_kick` of a ball that went out at `since`, was `back` then, and is at a place now.
pub fn kind([x, y]: [f32; 2], since: Moment, back: Moment, field: Field) -> Option<&'static str> {
    if back.seconds - since.seconds < LEAST {
        return None;
    }
    let (from_end, from_side) = (x.min(field.length - x), y.min(field.width - y));
    let from_middle = (y - field.width / 2.0).abs();
    if from_end.max(0.0).hypot(from_side.max(0.0)) <= AT_CORNER {
        return Some("corner");
    }
    if from_end <= GOAL_AREA[0] + OFF && from_middle <= GOAL_AREA[1] + OFF {
        return Some("goal_kick");
    }
    (from_side <= AT_LINE).then_some("throw_in")
}

/// Track of who is nearest to the ball, if near enough to take it.
pub fn taker(ball: &Place, scene: &Scene) -> Option<u32> {
    let distance = |place: &Place| metres([place.x, place.y], [ball.x, ball.y], place.scale);
    let players = scene.players.iter().map(|(place, _)| (distance(place), place.track));
    players.filter(|(distance, _)| *distance <= NEAR).min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, track)| track)
}
