//! Estimation of the team that defends the left goal, from the players' positions.

use serde::{Deserialize, Serialize};

use crate::{calibration::PitchDimensions, scene::Scene};

/// Time constant of the evidence's decay, s: teams change ends at half-time.
const TIME_CONSTANT_S: f64 = 60.0;
/// Minimum observed time for an estimate, s.
const MIN_OBSERVED_S: f64 = 0.5;
/// Minimum magnitude of the mean evidence, at most 1, for an estimate.
const MIN_EVIDENCE: f64 = 0.1;
/// On a calibrated pitch: distance from the goal line at which the evidence of a player has decayed to 1/e, m.
const GOAL_DISTANCE_DECAY_M: f32 = 12.0;

/// Evidence that team_1 defends the left goal and team_2 the right one.
///
/// The outermost player at each end is mostly the goalkeeper of the defending team, and is better evidence than the
/// centroids of two interleaved teams; on a calibrated pitch the weight grows towards the goal line. Where both
/// goalkeepers are known, only they count.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AttackDirection {
    evidence: f64,
    seconds: f64,
}

impl AttackDirection {
    /// Updates with a frame that lasted `step` seconds; `pitch` where places are meters on it.
    pub fn update(&mut self, scene: &Scene, pitch: Option<PitchDimensions>, step: f64) {
        let team_positions = |only_goalkeepers: bool| {
            let players = scene.players.iter().filter(move |(_, role)| role.is_goalkeeper || !only_goalkeepers);
            players.filter_map(|(place, role)| Some((place.x, role.team?)))
        };
        let goalkeepers: Vec<(f32, usize)> = team_positions(true).collect();
        let all: Vec<(f32, usize)> = team_positions(false).collect();
        let has_both_teams = |people: &[(f32, usize)]| (0..2).all(|team| people.iter().any(|(_, own)| *own == team));
        let people = if has_both_teams(&goalkeepers) { goalkeepers } else { all };
        if !has_both_teams(&people) {
            return;
        }
        let left = people.iter().min_by(|a, b| a.0.total_cmp(&b.0));
        let right = people.iter().max_by(|a, b| a.0.total_cmp(&b.0));
        let mut evidence = 0.0;
        for (outermost, end) in [(left, 0), (right, 1)] {
            let Some((x, team)) = outermost else { return };
            let goal_distance = pitch.map_or(0.0, |pitch| if end == 0 { *x } else { pitch.length - x });
            let weight = f64::from((-goal_distance.max(0.0) / GOAL_DISTANCE_DECAY_M).exp()) / 2.0;
            evidence += if *team == end { weight } else { -weight };
        }
        let decay = (-step / TIME_CONSTANT_S).exp();
        self.evidence = self.evidence * decay + evidence * step;
        self.seconds = self.seconds * decay + step;
    }

    /// Returns the team that defends the left goal; `None` while unknown.
    pub fn left_team(&self) -> Option<usize> {
        let mean = self.evidence / self.seconds;
        (self.seconds >= MIN_OBSERVED_S && mean.abs() >= MIN_EVIDENCE).then_some(usize::from(mean < 0.0))
    }

    /// Returns +1 for a team that attacks to the right, -1 to the left; `None` while unknown.
    pub fn attack_sign(&self, team: usize) -> Option<f32> {
        self.left_team().map(|left| if left == team { 1.0 } else { -1.0 })
    }
}
