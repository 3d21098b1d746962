//! Two teams among the colours of many tracks.

use serde::{Deserialize, Serialize};

use crate::colour::{Lab, distance};

/// Part of the people that each team must have: fewer are goalkeepers and referees.
const SHARE: f32 = 0.2;
/// Tracks that are compared pair by pair at most; the newest.
const MOST: usize = 48;
/// Rounds in which the middles move.
const ROUNDS: usize = 8;
/// Standard deviations from a team's middle from which a colour is another's.
const OTHER: f32 = 3.0;

/// Two teams' colours.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Teams {
    /// The middle of each.
    pub middles: [Lab; 2],
    /// How far its jerseys lie from there.
    pub spreads: [f32; 2],
    /// What the people cost who fit neither, each 1 at most, by all: 0 fits best.
    pub cost: f32,
}

impl Teams {
    /// The two groups that explain most tracks best: colour and weight of each. `apart` is the least distance of two teams.
    ///
    /// Every pair of tracks is tried as a beginning, so that the result depends on no chance. A track further from both
    /// middles than half their distance counts 1, whatever it is: a referee in a glaring colour draws no team towards him.
    pub fn find(tracks: &[(Lab, f32)], apart: f32) -> Option<Self> {
        let tracks = &tracks[tracks.len().saturating_sub(MOST)..];
        let mut best: Option<Self> = None;
        for (i, (one, _)) in tracks.iter().enumerate() {
            for (other, _) in &tracks[i + 1..] {
                if distance(*one, *other) < apart {
                    continue;
                }
                let found = Self::judge([*one, *other], tracks);
                if let Some(found) = found.filter(|found| best.is_none_or(|best| found.cost < best.cost)) {
                    best = Some(found);
                }
            }
        }
        let mut teams = best?;
        for _ in 0..ROUNDS {
            let Some(better) = Self::judge(teams.means(tracks), tracks) else { break };
            teams = better;
        }
        (distance(teams.middles[0], teams.middles[1]) >= apart).then_some(teams)
    }

    /// How well two middles explain the tracks; `None` where one has too few.
    fn judge(middles: [Lab; 2], tracks: &[(Lab, f32)]) -> Option<Self> {
        let cap = distance(middles[0], middles[1]) / 2.0;
        let (mut all, mut cost, mut own, mut squares) = (0.0, 0.0, [0.0; 2], [0.0; 2]);
        for (colour, weight) in tracks {
            let (team, far) = nearest(&middles, *colour);
            all += weight;
            cost += weight * (far / cap).powi(2).min(1.0);
            if far <= cap {
                own[team] += weight;
                squares[team] += weight * far * far;
            }
        }
        let spreads = std::array::from_fn(|team| (squares[team] / own[team].max(1e-6)).sqrt());
        own.iter().all(|own| *own >= SHARE * all).then_some(Self { middles, spreads, cost: cost / all })
    }

    /// The mean of each team's tracks.
    fn means(&self, tracks: &[(Lab, f32)]) -> [Lab; 2] {
        let cap = distance(self.middles[0], self.middles[1]) / 2.0;
        let mut sums = [([0.0; 3], 0.0); 2];
        for (colour, weight) in tracks {
            let (team, far) = nearest(&self.middles, *colour);
            if far <= cap {
                let (sum, all) = &mut sums[team];
                *all += weight;
                for (sum, value) in sum.iter_mut().zip(colour) {
                    *sum += weight * value;
                }
            }
        }
        std::array::from_fn(|team| {
            let (sum, all) = sums[team];
            if all > 0.0 { sum.map(|sum| sum / all) } else { self.middles[team] }
        })
    }

    /// Which team a colour is of, and how surely, -1 (the second) to 1 (the first); `None` where it is neither's.
    pub fn of(&self, colour: Lab) -> Option<(usize, f32)> {
        let far = self.middles.map(|middle| distance(middle, colour));
        let team = usize::from(far[1] < far[0]);
        let apart = distance(self.middles[0], self.middles[1]);
        // A team in many colours reaches further than one in uniform.
        let reach = (OTHER * self.spreads[team]).clamp(0.3 * apart, 0.75 * apart);
        let sure = ((far[1] - far[0]) / apart).clamp(-1.0, 1.0);
        (far[team] <= reach).then_some((team, sure))
    }

    /// The same with the teams in the order that is nearer to an earlier one's.
    pub fn like(self, earlier: &Self) -> Self {
        let way = |a: usize, b: usize| {
            distance(self.middles[0], earlier.middles[a]) + distance(self.middles[1], earlier.middles[b])
        };
        if way(1, 0) < way(0, 1) { self.swapped() } else { self }
    }

    /// The other way round.
    pub fn swapped(self) -> Self {
        let ([a, b], [c, d]) = (self.middles, self.spreads);
        Self { middles: [b, a], spreads: [d, c], ..self }
    }
}

fn nearest(middles: &[Lab; 2], colour: Lab) -> (usize, f32) {
    let [one, two] = middles.map(|middle| distance(middle, colour));
    if two < one { (1, two) } else { (0, one) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RED: Lab = [0.5, 0.18, 0.1];
    const BLUE: Lab = [0.4, 0.0, -0.2];

    fn about(middle: Lab, n: usize, by: f32) -> Vec<(Lab, f32)> {
        (0..n)
            .map(|i| {
                let turn = i as f32 * 2.4;
                ([middle[0] + by * turn.sin(), middle[1] + by * turn.cos(), middle[2]], 1.0)
            })
            .collect()
    }

    #[test]
    fn two_teams_are_found_among_goalkeepers_and_a_referee() {
        let mut tracks = about(RED, 9, 0.03);
        tracks.extend(about(BLUE, 9, 0.03));
        // Glaring yellow, black, light green.
        tracks.extend([([0.95, -0.05, 0.19], 1.0), ([0.15, 0.0, 0.0], 1.0), ([0.85, -0.2, 0.15], 1.0)]);
        let teams = Teams::find(&tracks, 0.08).unwrap();
        let (red, blue) = (teams.of(RED).unwrap(), teams.of(BLUE).unwrap());
        assert!(red.0 != blue.0 && red.1.abs() > 0.7 && blue.1.abs() > 0.7, "{teams:?}");
        for (colour, _) in &tracks[18..] {
            assert_eq!(teams.of(*colour), None, "{colour:?} is neither's");
        }
        assert_eq!(teams.swapped().like(&teams), teams);
    }

    #[test]
    fn bibs_against_everything_are_two_teams() {
        // Yellow against blue, black and dark green.
        let mut tracks = about([0.8, -0.03, 0.15], 6, 0.03);
        tracks.extend(about([0.35, 0.0, -0.1], 3, 0.02));
        tracks.extend(about([0.2, 0.0, 0.0], 2, 0.02));
        tracks.extend(about([0.3, -0.06, 0.02], 1, 0.0));
        let teams = Teams::find(&tracks, 0.08).unwrap();
        let bibs = teams.of(tracks[0].0).unwrap().0;
        for (i, (colour, _)) in tracks.iter().enumerate() {
            assert_eq!(teams.of(*colour).map(|(team, _)| team == bibs), Some(i < 6), "{colour:?} {teams:?}");
        }
    }

    #[test]
    fn one_colour_is_no_two_teams() {
        assert_eq!(Teams::find(&about(RED, 12, 0.03), 0.08), None);
        let mut one = about(RED, 12, 0.02);
        one.push((BLUE, 1.0));
        assert_eq!(Teams::find(&one, 0.08), None, "one man in blue is no team");
        assert_eq!(Teams::find(&[], 0.08), None);
    }
}
