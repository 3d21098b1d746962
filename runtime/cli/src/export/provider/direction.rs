//! Which team plays towards which goal, by what `formation` says of it; and where each player mostly is.

use std::collections::{BTreeMap, HashMap};

use sideline_api::tables::{Formation, Place, Team};

/// See the [module](self).
#[derive(Default)]
pub struct Directions {
    /// For each team, whether it plays towards smaller x from a time on, ms.
    left: [BTreeMap<u64, bool>; 2],
    /// For each track: sums of x and y, m, as its team sees the pitch, and how many.
    places: HashMap<u32, ([f64; 2], f64)>,
}

impl Directions {
    /// Takes in what is said of a team.
    pub fn learn(&mut self, seconds: f64, row: &Formation) {
        let Some(team) = Team::number(&row.team) else { return };
        if !row.plays.is_empty() {
            self.left[team].insert(moment(seconds), row.plays == "left");
        }
    }

    /// Takes in a place of a player, after all directions are learnt; `size` is the pitch's.
    pub fn see(&mut self, team: usize, seconds: f64, place: &Place, size: [f32; 2]) {
        let seen = self.seen_by(team, seconds, [place.x / size[0], place.y / size[1]]);
        let (sums, count) = self.places.entry(place.track).or_default();
        for axis in 0..2 {
            sums[axis] += f64::from(seen[axis] * size[axis]);
        }
        *count += 1.0;
    }

    /// True where nothing tells.
    pub fn unknown(&self) -> bool {
        self.left.iter().all(BTreeMap::is_empty)
    }

    /// A place, 0..1 along and across the pitch, as a team sees it that plays from left to right.
    pub fn seen_by(&self, team: usize, seconds: f64, [x, y]: [f32; 2]) -> [f32; 2] {
        // What the other team plays is as good; of a time that nothing is said about, what was said before, else after.
        let at = moment(seconds);
        let said = |of: usize| {
            let told = &self.left[of];
            told.range(..=at).next_back().or_else(|| told.range(at..).next()).map(|(_, left)| *left != (of != team))
        };
        if said(team).or_else(|| said(1 - team)).unwrap_or(false) { [1.0 - x, 1.0 - y] } else { [x, y] }
    }

    /// Where a player mostly was, m, as the own team sees it.
    pub fn mostly(&self, track: u32) -> Option<[f64; 2]> {
        self.places.get(&track).map(|(sums, count)| sums.map(|sum| sum / count))
    }
}

fn moment(seconds: f64) -> u64 {
    (seconds.max(0.0) * 1e3) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: [f32; 2] = [128.0, 64.0];

    fn formation(team: &str, plays: &str) -> Formation {
        Formation {
            team: team.into(),
            plays: plays.into(),
            period: 0,
            shape: "4-4-2".into(),
            lines: vec![],
            width: 40.0,
            depth: 40.0,
            x: 50.0,
            y: 34.0,
            players: 10,
            unit: "m".into(),
            confidence: 1.0,
        }
    }

    fn place(track: u32, x: f32, y: f32) -> Place {
        Place { track, x, y, unit: "m".into(), scale: 1.0, measured: true, inside: true }
    }

    #[test]
    fn a_team_sees_the_pitch_from_its_own_goal_also_after_half_time() {
        let mut directions = Directions::default();
        assert!(directions.unknown());
        assert_eq!(directions.seen_by(1, 5.0, [0.2, 0.3]), [0.2, 0.3]);
        directions.learn(10.0, &formation("team_1", "right"));
        directions.learn(60.0, &formation("team_1", ""));
        directions.learn(70.0, &formation("team_1", "left"));
        assert!(!directions.unknown());
        assert_eq!(directions.seen_by(0, 5.0, [0.2, 0.3]), [0.2, 0.3]);
        // Nothing is said of team_2: it plays against team_1.
        assert_eq!(directions.seen_by(1, 65.0, [0.25, 0.75]), [0.75, 0.25]);
        assert_eq!(directions.seen_by(0, 100.0, [0.25, 0.75]), [0.75, 0.25]);
        assert_eq!(directions.seen_by(1, 100.0, [0.25, 0.75]), [0.25, 0.75]);
        directions.see(0, 20.0, &place(1, 32.0, 16.0), SIZE);
        directions.see(0, 80.0, &place(1, 96.0, 40.0), SIZE);
        assert_eq!(directions.mostly(1), Some([32.0, 20.0]));
        assert_eq!(directions.mostly(7), None);
    }
}
