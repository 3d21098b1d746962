//! Clustering of the tracks' colors into two teams.

use serde::{Deserialize, Serialize};

use crate::color::{Lab, distance};

/// Minimum share of the people in each team: fewer are goalkeepers and referees.
const MIN_TEAM_SHARE: f32 = 0.2;
/// Maximum number of tracks compared pair by pair, the newest ones; the work grows with its square.
const MAX_TRACKS: usize = 48;
/// Iterations of the refinement of the centers.
const REFINEMENT_ITERATIONS: usize = 8;
/// Distance from a team's center beyond which a color belongs to neither team, standard deviations.
const MAX_DEVIATIONS: f32 = 3.0;

/// The colors of two teams.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Teams {
    /// Center of each team.
    pub centers: [Lab; 2],
    /// Standard deviation of each team's jerseys around the center.
    pub spreads: [f32; 2],
    /// Mean cost per track, 0 to 1: squared distance to the nearer center, capped at half the distance of the centers.
    /// 0 fits best.
    pub cost: f32,
}

impl Teams {
    /// Finds the two groups that explain the tracks best, given color and weight of each; `min_distance` is the minimum
    /// distance of the centers. `None` where there are no two teams.
    ///
    /// Every pair of tracks is tried as initial centers, so the result does not depend on chance. A track farther from
    /// both centers than half their distance costs 1, however far it is: a referee in a bright color pulls no team
    /// towards it.
    pub fn find(tracks: &[(Lab, f32)], min_distance: f32) -> Option<Self> {
        let tracks = &tracks[tracks.len().saturating_sub(MAX_TRACKS)..];
        let mut best: Option<Self> = None;
        for (i, (one, _)) in tracks.iter().enumerate() {
            for (other, _) in &tracks[i + 1..] {
                if distance(*one, *other) < min_distance {
                    continue;
                }
                let found = Self::evaluate([*one, *other], tracks);
                if let Some(found) = found.filter(|found| best.is_none_or(|best| found.cost < best.cost)) {
                    best = Some(found);
                }
            }
        }
        let mut teams = best?;
        for _ in 0..REFINEMENT_ITERATIONS {
            let Some(better) = Self::evaluate(teams.means(tracks), tracks) else { break };
            teams = better;
        }
        (distance(teams.centers[0], teams.centers[1]) >= min_distance).then_some(teams)
    }

    /// Computes spread and cost of two centers; `None` where a team has too few tracks.
    fn evaluate(centers: [Lab; 2], tracks: &[(Lab, f32)]) -> Option<Self> {
        let cap = distance(centers[0], centers[1]) / 2.0;
        let (mut total, mut cost, mut weights, mut squares) = (0.0, 0.0, [0.0; 2], [0.0; 2]);
        for (color, weight) in tracks {
            let (team, distance) = nearest(&centers, *color);
            total += weight;
            cost += weight * (distance / cap).powi(2).min(1.0);
            if distance <= cap {
                weights[team] += weight;
                squares[team] += weight * distance * distance;
            }
        }
        let spreads = std::array::from_fn(|team| (squares[team] / weights[team].max(1e-6)).sqrt());
        weights.iter().all(|weight| *weight >= MIN_TEAM_SHARE * total).then_some(Self {
            centers,
            spreads,
            cost: cost / total,
        })
    }

    /// Returns the weighted mean of each team's tracks.
    fn means(&self, tracks: &[(Lab, f32)]) -> [Lab; 2] {
        let cap = distance(self.centers[0], self.centers[1]) / 2.0;
        let mut sums = [([0.0; 3], 0.0); 2];
        for (color, weight) in tracks {
            let (team, distance) = nearest(&self.centers, *color);
            if distance <= cap {
                let (sum, total) = &mut sums[team];
                *total += weight;
                for (sum, value) in sum.iter_mut().zip(color) {
                    *sum += weight * value;
                }
            }
        }
        std::array::from_fn(|team| {
            let (sum, total) = sums[team];
            if total > 0.0 { sum.map(|sum| sum / total) } else { self.centers[team] }
        })
    }

    /// Classifies a color: the team, and a margin from -1 (the second) to 1 (the first); `None` for neither team.
    pub fn classify(&self, color: Lab) -> Option<(usize, f32)> {
        let distances = self.centers.map(|center| distance(center, color));
        let team = usize::from(distances[1] < distances[0]);
        let center_distance = distance(self.centers[0], self.centers[1]);
        // A team in varied colors has a larger radius than one in uniform.
        let radius = (MAX_DEVIATIONS * self.spreads[team]).clamp(0.3 * center_distance, 0.75 * center_distance);
        let margin = ((distances[1] - distances[0]) / center_distance).clamp(-1.0, 1.0);
        (distances[team] <= radius).then_some((team, margin))
    }

    /// Orders the teams as in an earlier result: the assignment with the smaller sum of distances.
    pub fn aligned_with(self, earlier: &Self) -> Self {
        let total_distance = |a: usize, b: usize| {
            distance(self.centers[0], earlier.centers[a]) + distance(self.centers[1], earlier.centers[b])
        };
        if total_distance(1, 0) < total_distance(0, 1) { self.swapped() } else { self }
    }

    /// Swaps the two teams.
    pub fn swapped(self) -> Self {
        let ([a, b], [c, d]) = (self.centers, self.spreads);
        Self { centers: [b, a], spreads: [d, c], ..self }
    }
}

fn nearest(centers: &[Lab; 2], color: Lab) -> (usize, f32) {
    let [one, two] = centers.map(|center| distance(center, color));
    if two < one { (1, two) } else { (0, one) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RED: Lab = [0.5, 0.18, 0.1];
    const BLUE: Lab = [0.4, 0.0, -0.2];

    fn samples_around(center: Lab, n: usize, spread: f32) -> Vec<(Lab, f32)> {
        (0..n)
            .map(|i| {
                let turn = i as f32 * 2.4;
                ([center[0] + spread * turn.sin(), center[1] + spread * turn.cos(), center[2]], 1.0)
            })
            .collect()
    }

    #[test]
    fn two_teams_are_found_despite_goalkeepers_and_a_referee() {
        let mut tracks = samples_around(RED, 9, 0.03);
        tracks.extend(samples_around(BLUE, 9, 0.03));
        // Bright yellow, black, light green.
        tracks.extend([([0.95, -0.05, 0.19], 1.0), ([0.15, 0.0, 0.0], 1.0), ([0.85, -0.2, 0.15], 1.0)]);
        let teams = Teams::find(&tracks, 0.08).unwrap();
        let (red, blue) = (teams.classify(RED).unwrap(), teams.classify(BLUE).unwrap());
        assert!(red.0 != blue.0 && red.1.abs() > 0.7 && blue.1.abs() > 0.7, "{teams:?}");
        for (color, _) in &tracks[18..] {
            assert_eq!(teams.classify(*color), None, "{color:?} belongs to neither team");
        }
        assert_eq!(teams.swapped().aligned_with(&teams), teams);
    }

    #[test]
    fn bibs_against_mixed_colors_are_two_teams() {
        // Yellow against blue, black and dark green.
        let mut tracks = samples_around([0.8, -0.03, 0.15], 6, 0.03);
        tracks.extend(samples_around([0.35, 0.0, -0.1], 3, 0.02));
        tracks.extend(samples_around([0.2, 0.0, 0.0], 2, 0.02));
        tracks.extend(samples_around([0.3, -0.06, 0.02], 1, 0.0));
        let teams = Teams::find(&tracks, 0.08).unwrap();
        let bibs = teams.classify(tracks[0].0).unwrap().0;
        for (i, (color, _)) in tracks.iter().enumerate() {
            assert_eq!(teams.classify(*color).map(|(team, _)| team == bibs), Some(i < 6), "{color:?} {teams:?}");
        }
    }

    #[test]
    fn a_single_color_is_not_two_teams() {
        assert_eq!(Teams::find(&samples_around(RED, 12, 0.03), 0.08), None);
        let mut one = samples_around(RED, 12, 0.02);
        one.push((BLUE, 1.0));
        assert_eq!(Teams::find(&one, 0.08), None, "a single person in blue is not a team");
        assert_eq!(Teams::find(&[], 0.08), None);
    }
}
