//! Which team plays towards which goal, from how they stand; and where each player mostly is.

use std::collections::{BTreeMap, HashMap};

use sideline_api::tables::Place;

/// Seconds that are looked at together: sides change at half-time.
const WINDOW: f64 = 60.0;

/// See the [module](self).
#[derive(Default)]
pub struct Directions {
    /// For each window how far team_1 stood to the left of team_2, m, summed over frames.
    leads: BTreeMap<u64, f64>,
    /// For each window and track: sums of x and y on the pitch, m, and how many.
    places: BTreeMap<(u64, u32), ([f64; 2], f64)>,
}

impl Directions {
    /// Takes in the places of a frame.
    pub fn see(&mut self, seconds: f64, places: &[Place], team_of: &HashMap<u32, usize>) {
        let window = window(seconds);
        let mut ends = [[f32::INFINITY, f32::NEG_INFINITY]; 2];
        for place in places.iter().filter(|place| place.inside) {
            let Some(team) = team_of.get(&place.track) else { continue };
            ends[*team] = [ends[*team][0].min(place.x), ends[*team][1].max(place.x)];
            let (sums, count) = self.places.entry((window, place.track)).or_default();
            *sums = [sums[0] + f64::from(place.x), sums[1] + f64::from(place.y)];
            *count += 1.0;
        }
        // The last man of a team is nearer to its goal than any opponent, mostly its goalkeeper: the outermost players say
        // more than the middles of two teams that stand among each other.
        let lead = (ends[1][0] - ends[0][0] + ends[1][1] - ends[0][1]) / 2.0;
        if lead.is_finite() {
            *self.leads.entry(window).or_default() += f64::from(lead);
        }
    }

    /// True where nothing tells.
    pub fn unknown(&self) -> bool {
        self.leads.values().all(|lead| *lead == 0.0)
    }

    /// A place, 0..1 along and across the pitch, as a team sees it that plays from left to right.
    pub fn seen_by(&self, team: usize, seconds: f64, [x, y]: [f32; 2]) -> [f32; 2] {
        if self.plays_left(team, window(seconds)) { [1.0 - x, 1.0 - y] } else { [x, y] }
    }

    /// Where a player of a team mostly was, m, as the team sees it on a pitch of this length and width.
    pub fn mostly(&self, team: usize, track: u32, size: [f32; 2]) -> Option<[f64; 2]> {
        let (mut sums, mut counts) = ([0.0; 2], 0.0);
        for ((window, _), (sum, count)) in self.places.iter().filter(|((_, of), _)| *of == track) {
            let left = self.plays_left(team, *window);
            for axis in 0..2 {
                let other = f64::from(size[axis]) * count - sum[axis];
                sums[axis] += if left { other } else { sum[axis] };
            }
            counts += count;
        }
        (counts > 0.0).then(|| sums.map(|sum| sum / counts))
    }

    /// Whether a team plays towards smaller x; of a window that does not tell, as in the one before, else the one after.
    fn plays_left(&self, team: usize, window: u64) -> bool {
        let tells = |(_, lead): &(&u64, &f64)| **lead != 0.0;
        let before = self.leads.range(..=window).rev().find(tells);
        let lead = before.or_else(|| self.leads.range(window..).find(tells)).map_or(1.0, |(_, lead)| *lead);
        (lead > 0.0) != (team == 0)
    }
}

fn window(seconds: f64) -> u64 {
    (seconds / WINDOW) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(track: u32, x: f32, y: f32) -> Place {
        Place { track, x, y, unit: "m".into(), scale: 1.0, measured: true, inside: true }
    }

    #[test]
    fn a_team_sees_the_pitch_from_its_own_goal_also_after_half_time() {
        let teams = HashMap::from([(1, 0), (2, 1)]);
        let mut directions = Directions::default();
        assert!(directions.unknown());
        directions.see(10.0, &[place(1, 20.0, 30.0), place(2, 80.0, 40.0)], &teams);
        directions.see(70.0, &[place(1, 85.0, 38.0), place(2, 25.0, 28.0)], &teams);
        assert!(!directions.unknown());
        assert_eq!(directions.seen_by(0, 5.0, [0.2, 0.3]), [0.2, 0.3]);
        assert_eq!(directions.seen_by(1, 5.0, [0.25, 0.75]), [0.75, 0.25]);
        assert_eq!(directions.seen_by(0, 100.0, [0.25, 0.75]), [0.75, 0.25]);
        // Nothing is known of the fourth minute: as in the one before.
        assert_eq!(directions.seen_by(1, 200.0, [0.25, 0.75]), [0.25, 0.75]);
        assert_eq!(directions.mostly(0, 1, [105.0, 68.0]), Some([20.0, 30.0]));
        assert_eq!(directions.mostly(1, 7, [105.0, 68.0]), None);
    }
}
