//! Which team defends the left goal, learnt from how they stand.

use serde::{Deserialize, Serialize};

use crate::sides::Scene;

/// Seconds after which what was seen counts a third: sides change at half-time.
const MEMORY: f64 = 60.0;
/// Seconds that must have been seen.
const LEAST: f64 = 0.5;
/// Mean lead of a team towards its end from which it counts as standing there, m.
const LEAD: f64 = 2.0;

/// How far team_1 stands to the left of team_2, on both ends of the play.
///
/// The last man of a team stands nearer to its own goal than any opponent does, mostly its goalkeeper: so the two outermost
/// players say more than the middles of two teams that stand among each other. Known goalkeepers decide alone.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Direction {
    lead: f64,
    seconds: f64,
}

impl Direction {
    /// Takes in a frame that lasted `step` seconds.
    pub fn see(&mut self, scene: &Scene, step: f64) {
        let reach = |team: usize, goalkeepers: bool| {
            let places = scene.players.iter().filter(|(_, side)| side.team == Some(team));
            let chosen =
                places.filter(|(_, side)| !goalkeepers || side.goalkeeper).map(|(place, _)| place.x / place.scale);
            chosen.filter(|x| x.is_finite()).fold(None, |ends: Option<(f32, f32, u32)>, x| {
                Some(ends.map_or((x, x, 1), |(low, high, n)| (low.min(x), high.max(x), n + 1)))
            })
        };
        let goalkeepers = (reach(0, true), reach(1, true));
        let lead = match (goalkeepers, (reach(0, false), reach(1, false))) {
            ((Some(one), Some(two)), _) => two.0 - one.0,
            (_, (Some(one), Some(two))) if one.2 > 2 && two.2 > 2 => (two.0 - one.0 + two.1 - one.1) / 2.0,
            _ => return,
        };
        let keep = (-step / MEMORY).exp();
        self.lead = self.lead * keep + f64::from(lead) * step;
        self.seconds = self.seconds * keep + step;
    }

    /// The team that defends the left end, once it is known.
    pub fn left(&self) -> Option<usize> {
        let mean = self.lead / self.seconds;
        (self.seconds >= LEAST && mean.abs() >= LEAD).then_some(usize::from(mean < 0.0))
    }

    /// +1 for a team that plays to the right, -1 to the left; `None` while that is not known.
    pub fn of(&self, team: usize) -> Option<f32> {
        self.left().map(|left| if left == team { 1.0 } else { -1.0 })
    }
}
