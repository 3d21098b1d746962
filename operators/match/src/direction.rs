//! Which team defends the left goal, learnt from how they stand.

use serde::{Deserialize, Serialize};

use crate::{calibration::Field, sides::Scene};

/// Seconds after which what was seen counts a third: sides change at half-time.
const MEMORY: f64 = 60.0;
/// Seconds that must have been seen.
const LEAST: f64 = 0.5;
/// Mean evidence, 1 at most, from which it is known.
const SURE: f64 = 0.1;
/// On a pitch: how far from the goal line somebody counts a third of one who stands on it, m.
const GOAL: f32 = 12.0;

/// How much speaks for team_1 at the left end and team_2 at the right one.
///
/// The outermost player at each end is mostly the goalkeeper of who defends it, and says more than the middles of two teams
/// that stand among each other; on a pitch the more, the nearer to the goal. Known goalkeepers decide alone.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Direction {
    evidence: f64,
    seconds: f64,
}

impl Direction {
    /// Takes in a frame that lasted `step` seconds; `field` where places are metres on it.
    pub fn see(&mut self, scene: &Scene, field: Option<Field>, step: f64) {
        let of_teams = |keepers: bool| {
            let players = scene.players.iter().filter(move |(_, side)| side.goalkeeper || !keepers);
            players.filter_map(|(place, side)| Some((place.x, side.team?)))
        };
        let keepers: Vec<(f32, usize)> = of_teams(true).collect();
        let all: Vec<(f32, usize)> = of_teams(false).collect();
        let both = |people: &[(f32, usize)]| (0..2).all(|team| people.iter().any(|(_, own)| *own == team));
        let people = if both(&keepers) { keepers } else { all };
        if !both(&people) {
            return;
        }
        let left = people.iter().min_by(|a, b| a.0.total_cmp(&b.0));
        let right = people.iter().max_by(|a, b| a.0.total_cmp(&b.0));
        let mut evidence = 0.0;
        for (end, here) in [(left, 0), (right, 1)] {
            let Some((x, team)) = end else { return };
            let from_goal = field.map_or(0.0, |field| if here == 0 { *x } else { field.length - x });
            let weight = f64::from((-from_goal.max(0.0) / GOAL).exp()) / 2.0;
            evidence += if *team == here { weight } else { -weight };
        }
        let keep = (-step / MEMORY).exp();
        self.evidence = self.evidence * keep + evidence * step;
        self.seconds = self.seconds * keep + step;
    }

    /// The team that defends the left end, once it is known.
    pub fn left(&self) -> Option<usize> {
        let mean = self.evidence / self.seconds;
        (self.seconds >= LEAST && mean.abs() >= SURE).then_some(usize::from(mean < 0.0))
    }

    /// +1 for a team that plays to the right, -1 to the left; `None` while that is not known.
    pub fn of(&self, team: usize) -> Option<f32> {
        self.left().map(|left| if left == team { 1.0 } else { -1.0 })
    }
}
