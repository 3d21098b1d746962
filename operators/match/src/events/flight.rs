//! The ball between two spells: how it went, and what that was.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use sideline_api::tables::{Event, Place};

use super::{
    Frame,
    spell::{Moment, Spell},
};
use crate::{
    calibration::Field,
    direction::Direction,
    sides::{Scene, metres},
};

/// Half the width of the goal, and what a shot may miss it by, m (Laws of the Game, law 1: 7.32 m).
const HALF_GOAL: f32 = 3.66;
const MISS: f32 = 4.0;
/// Without a pitch: how far from the goalkeeper a shot may be aimed, m.
const AT_KEEPER: f32 = 4.0;
/// Seconds after the last touch within which the way of a shot shows.
const SHOWS: f64 = 0.6;

/// A ball on its way.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Flight {
    frames: u32,
    measured: u32,
    /// Where it was last.
    last: Option<(Moment, [f32; 2])>,
    /// A shot: confidence; and whether the ball has gone into the goal.
    pub shot: Option<f32>,
    goal: bool,
}

impl Flight {
    /// Takes in a frame.
    pub fn see(
        &mut self,
        before: &Spell,
        ball: &Place,
        path: &VecDeque<(f64, f32, f32)>,
        scene: &Scene,
        direction: &Direction,
        frame: &Frame,
    ) {
        self.frames += 1;
        self.measured += u32::from(ball.measured);
        self.last = Some((frame.at, [ball.x, ball.y]));
        let Some((velocity, speed)) = velocity(path, ball) else { return };
        let fresh = frame.at.seconds - before.last.seconds <= SHOWS;
        if self.shot.is_none() && fresh && speed >= frame.config.shot_speed {
            self.shot = match frame.field {
                Some(field) => aims(before, ball, velocity, direction, field, frame),
                None => at_keeper(before, ball, velocity, scene, frame),
            };
        }
        if let (Some(field), Some(_)) = (frame.field, self.shot) {
            let behind = ball.x < 0.0 || ball.x > field.length;
            self.goal |= behind && (ball.y - field.width / 2.0).abs() < HALF_GOAL;
        }
    }

    fn confidence(&self, before: &Spell) -> f32 {
        // A flight of no frame was seen whole.
        let seen = if self.frames == 0 { 1.0 } else { self.measured as f32 / self.frames as f32 };
        before.confidence() * (0.3 + 0.7 * seen)
    }

    /// What it was, now that somebody else has the ball.
    pub fn ends(&self, before: &Spell, new: &Spell, frame: &Frame) -> Vec<Event> {
        let way = metres(before.place, new.origin, new.scale);
        let (Some(team), Some(now)) = (before.team, new.team) else { return vec![] };
        let ends = (before.place, new.origin);
        let sure = self.confidence(before).min(new.confidence().max(0.5));
        let row =
            |kind: &str, complete| before.event(kind, before.last, new.start, ends, complete, new.track, sure, frame);
        if let Some(shot) = self.shot {
            // Caught or blocked; one that a team-mate takes was a pass after all.
            if team != now {
                let place = (before.place, new.origin);
                return vec![before.event("shot", before.last, new.start, place, self.goal, new.track, shot, frame)];
            }
        }
        match (team == now, way >= frame.config.pass_distance) {
            (true, true) if before.track != new.track => vec![row("pass", true)],
            (true, _) => vec![],
            (false, true) => {
                let place = (new.origin, new.origin);
                let won = new.event("interception", new.start, new.start, place, true, new.track, sure, frame);
                vec![row("pass", false), won]
            }
            (false, false) => vec![row("loss", false)],
        }
    }

    /// What it was, now that the ball is out.
    pub fn goes_out(&self, before: &Spell, ball: &Place, frame: &Frame) -> Option<Event> {
        before.team?;
        let to = [ball.x, ball.y];
        self.shot_of(before, to, frame).or_else(|| {
            let way = metres(before.place, to, ball.scale);
            let kind = if way >= frame.config.pass_distance { "pass" } else { "loss" };
            let ends = (before.place, to);
            Some(before.event(kind, before.last, frame.at, ends, false, 0, self.confidence(before), frame))
        })
    }

    /// The shot that it was, if it was one.
    pub fn shot_of(&self, before: &Spell, to: [f32; 2], frame: &Frame) -> Option<Event> {
        let shot = self.shot?;
        before.team?;
        let (end, to) = self.last.unwrap_or((frame.at, to));
        Some(before.event("shot", before.last, end, (before.place, to), self.goal, 0, shot, frame))
    }
}

/// The ball's way in units per second, and its speed in metres per second.
fn velocity(path: &VecDeque<(f64, f32, f32)>, ball: &Place) -> Option<([f32; 2], f32)> {
    let (first, last) = (path.front()?, path.back()?);
    let seconds = (last.0 - first.0) as f32;
    let way = [last.1 - first.1, last.2 - first.2];
    let speed = way[0].hypot(way[1]) / seconds / ball.scale;
    (seconds > 0.0 && speed.is_finite()).then(|| (way.map(|w| w / seconds), speed))
}

/// How sure it is that the ball goes for the goal that `before`'s team plays to.
fn aims(
    before: &Spell,
    ball: &Place,
    [vx, vy]: [f32; 2],
    direction: &Direction,
    field: Field,
    frame: &Frame,
) -> Option<f32> {
    // While it is not known whose goal is where, the one it flies to.
    let known = direction.of(before.team?);
    let forth = known.unwrap_or(vx.signum());
    let goal = if forth > 0.0 { field.length } else { 0.0 };
    let from = before.place;
    let distance = (goal - from[0]).hypot(field.width / 2.0 - from[1]);
    if vx * forth <= 0.0 || distance > frame.config.shot_distance {
        return None;
    }
    let crosses = ball.y + vy * (goal - ball.x) / vx;
    let off = ((crosses - field.width / 2.0).abs() - HALF_GOAL).max(0.0);
    let sure = (0.9 - 0.4 * off / MISS) * if known.is_some() { 1.0 } else { 0.7 };
    (off <= MISS).then_some(sure)
}

/// Without goals: how sure it is that the ball goes for the other team's goalkeeper.
fn at_keeper(before: &Spell, ball: &Place, [vx, vy]: [f32; 2], scene: &Scene, frame: &Frame) -> Option<f32> {
    let team = before.team?;
    let (keeper, _) = scene.players.iter().find(|(_, side)| side.goalkeeper && side.team.is_some_and(|t| t != team))?;
    let (dx, dy) = (keeper.x - ball.x, keeper.y - ball.y);
    let speed = vx.hypot(vy);
    let (along, across) = ((dx * vx + dy * vy) / speed, (dx * vy - dy * vx).abs() / speed);
    let far = metres(before.place, [keeper.x, keeper.y], keeper.scale) > frame.config.shot_distance;
    (along > 0.0 && across / keeper.scale <= AT_KEEPER && !far).then_some(0.4)
}
