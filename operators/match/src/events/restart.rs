//! Classification of restarts by the position of the ball (Laws of the Game, laws 15 to 17).

use sideline_sport::tables::{EventKind, Place};

use super::spell::FrameTime;
use crate::{
    calibration::PitchDimensions,
    scene::{Scene, distance_m},
};

/// Minimum time out of play, s: a shorter time is an inaccuracy of the calibration.
const MIN_OUT_S: f64 = 0.3;
/// Maximum distance from the corner for a corner kick, m.
const MAX_CORNER_DISTANCE: f32 = 4.0;
/// Maximum distance from the touch line for a throw-in, m.
const MAX_TOUCH_LINE_DISTANCE: f32 = 4.0;
/// Goal area: depth from the goal line, and half width from the center of the goal, m.
const GOAL_AREA: [f32; 2] = [5.5, 9.16];
/// Tolerance around the goal area, m.
const GOAL_AREA_TOLERANCE: f32 = 2.5;
/// Maximum distance of the taker from the ball, m.
const MAX_TAKER_DISTANCE: f32 = 4.0;

/// Returns a corner, throw-in or goal kick for a ball that went out at `since`, was on the pitch again at `back`,
/// and is now at a position; `None` for no restart.
pub fn classify([x, y]: [f32; 2], since: FrameTime, back: FrameTime, pitch: PitchDimensions) -> Option<EventKind> {
    if back.seconds - since.seconds < MIN_OUT_S {
        return None;
    }
    let (from_end, from_side) = (x.min(pitch.length - x), y.min(pitch.width - y));
    let from_middle = (y - pitch.width / 2.0).abs();
    if from_end.max(0.0).hypot(from_side.max(0.0)) <= MAX_CORNER_DISTANCE {
        return Some(EventKind::Corner);
    }
    if from_end <= GOAL_AREA[0] + GOAL_AREA_TOLERANCE && from_middle <= GOAL_AREA[1] + GOAL_AREA_TOLERANCE {
        return Some(EventKind::GoalKick);
    }
    (from_side <= MAX_TOUCH_LINE_DISTANCE).then_some(EventKind::ThrowIn)
}

/// Returns the track of the player nearest to the ball; `None` where no player is near enough to take it.
pub fn nearest_player(ball: &Place, scene: &Scene) -> Option<u32> {
    let distance = |place: &Place| distance_m([place.x, place.y], [ball.x, ball.y], place.scale);
    let players = scene.players.iter().map(|(place, _)| (distance(place), place.track));
    players
        .filter(|(distance, _)| *distance <= MAX_TAKER_DISTANCE)
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, track)| track)
}
