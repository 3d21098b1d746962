//! Motion of the ball between two spells, and the event that it amounts to.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use sideline_sport::tables::{Event, EventKind, Place};

use super::{
    FrameContext,
    spell::{FrameTime, Spell},
};
use crate::{
    calibration::PitchDimensions,
    direction::AttackDirection,
    scene::{Scene, distance_m},
};

/// Half the width of the goal, m (Laws of the Game, law 1: 7.32 m).
const HALF_GOAL: f32 = 3.66;
/// Maximum distance by which a shot may miss the goal, m.
const MAX_MISS: f32 = 4.0;
/// Without a calibrated pitch: maximum distance between the path of a shot and the goalkeeper, m.
const MAX_KEEPER_DISTANCE: f32 = 4.0;
/// Time after the last touch within which a shot is recognized, s.
const SHOT_WINDOW_S: f64 = 0.6;

/// A ball in motion between two spells.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Flight {
    /// Number of frames with a ball.
    frames: u32,
    /// Number of frames in which the ball was measured.
    measured_frames: u32,
    /// Time and position in the last frame with a ball.
    last: Option<(FrameTime, [f32; 2])>,
    /// Confidence that it is a shot; `None` for no shot.
    pub shot_confidence: Option<f32>,
    /// The ball went into the goal.
    is_goal: bool,
}

impl Flight {
    /// Updates with a frame.
    pub fn update(
        &mut self,
        before: &Spell,
        ball: &Place,
        path: &VecDeque<(f64, f32, f32)>,
        scene: &Scene,
        direction: &AttackDirection,
        frame: &FrameContext,
    ) {
        self.frames += 1;
        self.measured_frames += u32::from(ball.measured);
        self.last = Some((frame.at, [ball.x, ball.y]));
        let Some((velocity, speed)) = velocity(path, ball) else { return };
        let is_recent = frame.at.seconds - before.last.seconds <= SHOT_WINDOW_S;
        if self.shot_confidence.is_none() && is_recent && speed >= frame.config.shot_speed {
            self.shot_confidence = match frame.pitch {
                Some(pitch) => shot_at_goal(before, ball, velocity, direction, pitch, frame),
                None => shot_at_goalkeeper(before, ball, velocity, scene, frame),
            };
        }
        if let (Some(pitch), Some(_)) = (frame.pitch, self.shot_confidence) {
            let is_behind_goal_line = ball.x < 0.0 || ball.x > pitch.length;
            self.is_goal |= is_behind_goal_line && (ball.y - pitch.width / 2.0).abs() < HALF_GOAL;
        }
    }

    fn confidence(&self, before: &Spell) -> f32 {
        // A flight without frames has no unmeasured ones.
        let measured_share = if self.frames == 0 { 1.0 } else { self.measured_frames as f32 / self.frames as f32 };
        before.confidence() * (0.3 + 0.7 * measured_share)
    }

    /// Returns the events of a flight that ends at another player.
    pub fn finish_at_player(&self, before: &Spell, new: &Spell, frame: &FrameContext) -> Vec<Event> {
        let distance = distance_m(before.position, new.origin, new.scale);
        let (Some(team), Some(new_team)) = (before.team, new.team) else { return vec![] };
        let ends = (before.position, new.origin);
        let confidence = self.confidence(before).min(new.confidence().max(0.5));
        let row = |kind: EventKind, complete| {
            before.event(kind, before.last, new.start, ends, complete, new.track, confidence, frame)
        };
        if let Some(shot_confidence) = self.shot_confidence {
            // Caught or blocked. A shot that a teammate receives was a pass.
            if team != new_team {
                let place = (before.position, new.origin);
                return vec![before.event(
                    EventKind::Shot,
                    before.last,
                    new.start,
                    place,
                    self.is_goal,
                    new.track,
                    shot_confidence,
                    frame,
                )];
            }
        }
        match (team == new_team, distance >= frame.config.pass_distance) {
            (true, true) if before.track != new.track => vec![row(EventKind::Pass, true)],
            (true, _) => vec![],
            (false, true) => {
                let place = (new.origin, new.origin);
                let won =
                    new.event(EventKind::Interception, new.start, new.start, place, true, new.track, confidence, frame);
                vec![row(EventKind::Pass, false), won]
            }
            (false, false) => vec![row(EventKind::Loss, false)],
        }
    }

    /// Returns the event of a flight that ends out of play.
    pub fn finish_out_of_play(&self, before: &Spell, ball: &Place, frame: &FrameContext) -> Option<Event> {
        before.team?;
        let to = [ball.x, ball.y];
        self.shot_event(before, to, frame).or_else(|| {
            let distance = distance_m(before.position, to, ball.scale);
            let kind = if distance >= frame.config.pass_distance { EventKind::Pass } else { EventKind::Loss };
            let ends = (before.position, to);
            Some(before.event(kind, before.last, frame.at, ends, false, 0, self.confidence(before), frame))
        })
    }

    /// Returns the event of a shot; `None` where the flight was none.
    pub fn shot_event(&self, before: &Spell, to: [f32; 2], frame: &FrameContext) -> Option<Event> {
        let shot_confidence = self.shot_confidence?;
        before.team?;
        let (end, to) = self.last.unwrap_or((frame.at, to));
        Some(before.event(
            EventKind::Shot,
            before.last,
            end,
            (before.position, to),
            self.is_goal,
            0,
            shot_confidence,
            frame,
        ))
    }
}

/// Returns the ball's velocity in units per second and its speed in meters per second.
fn velocity(path: &VecDeque<(f64, f32, f32)>, ball: &Place) -> Option<([f32; 2], f32)> {
    let (first, last) = (path.front()?, path.back()?);
    let seconds = (last.0 - first.0) as f32;
    let displacement = [last.1 - first.1, last.2 - first.2];
    let speed = displacement[0].hypot(displacement[1]) / seconds / ball.scale;
    (seconds > 0.0 && speed.is_finite()).then(|| (displacement.map(|d| d / seconds), speed))
}

/// Returns the confidence that the ball is shot at the goal that the team of `before` attacks; `None` for no shot.
fn shot_at_goal(
    before: &Spell,
    ball: &Place,
    [vx, vy]: [f32; 2],
    direction: &AttackDirection,
    pitch: PitchDimensions,
    frame: &FrameContext,
) -> Option<f32> {
    // While the direction of attack is unknown, the goal that the ball flies to.
    let known_sign = direction.attack_sign(before.team?);
    let attack_sign = known_sign.unwrap_or(vx.signum());
    let goal = if attack_sign > 0.0 { pitch.length } else { 0.0 };
    let origin = before.position;
    let distance = (goal - origin[0]).hypot(pitch.width / 2.0 - origin[1]);
    if vx * attack_sign <= 0.0 || distance > frame.config.shot_distance {
        return None;
    }
    let crossing_y = ball.y + vy * (goal - ball.x) / vx;
    let miss = ((crossing_y - pitch.width / 2.0).abs() - HALF_GOAL).max(0.0);
    let confidence = (0.9 - 0.4 * miss / MAX_MISS) * if known_sign.is_some() { 1.0 } else { 0.7 };
    (miss <= MAX_MISS).then_some(confidence)
}

/// Returns, without known goals, the confidence that the ball is shot at the other team's goalkeeper; `None` for no
/// shot.
fn shot_at_goalkeeper(
    before: &Spell,
    ball: &Place,
    [vx, vy]: [f32; 2],
    scene: &Scene,
    frame: &FrameContext,
) -> Option<f32> {
    let team = before.team?;
    let (keeper, _) =
        scene.players.iter().find(|(_, role)| role.is_goalkeeper && role.team.is_some_and(|t| t != team))?;
    let (dx, dy) = (keeper.x - ball.x, keeper.y - ball.y);
    let speed = vx.hypot(vy);
    let (along, across) = ((dx * vx + dy * vy) / speed, (dx * vy - dy * vx).abs() / speed);
    let is_far = distance_m(before.position, [keeper.x, keeper.y], keeper.scale) > frame.config.shot_distance;
    (along > 0.0 && across / keeper.scale <= MAX_KEEPER_DISTANCE && !is_far).then_some(0.4)
}
