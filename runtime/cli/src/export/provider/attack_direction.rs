//! Direction of play of each team, from the table `formation`, and the mean position of each player.

use std::collections::{BTreeMap, HashMap};

use sideline_sport::tables::{Direction, Formation, Place};

/// Directions of play and mean positions; see the [module](self).
#[derive(Default)]
pub struct AttackDirections {
    /// For each team, by the time from which on it applies, ms: true if the team plays toward smaller x.
    plays_left: [BTreeMap<u64, bool>; 2],
    /// For each track: sums of x and y, m, in the frame of its team, and number of positions.
    position_sums: HashMap<u32, ([f64; 2], f64)>,
}

impl AttackDirections {
    /// Adds a row of the table `formation`.
    pub fn add_formation(&mut self, seconds: f64, row: &Formation) {
        let Some(team) = row.team.index() else { return };
        if row.plays != Direction::Unknown {
            self.plays_left[team].insert(to_ms(seconds), row.plays == Direction::Left);
        }
    }

    /// Adds a position of a player; all formations must have been added before. `pitch_size` is in meters.
    pub fn add_position(&mut self, team: usize, seconds: f64, place: &Place, pitch_size: [f32; 2]) {
        let position = self.to_team_frame(team, seconds, [place.x / pitch_size[0], place.y / pitch_size[1]]);
        let (sums, count) = self.position_sums.entry(place.track).or_default();
        for axis in 0..2 {
            sums[axis] += f64::from(position[axis] * pitch_size[axis]);
        }
        *count += 1.0;
    }

    /// True if no direction is known.
    pub fn is_unknown(&self) -> bool {
        self.plays_left.iter().all(BTreeMap::is_empty)
    }

    /// Converts a position, 0..1 along and across the pitch, to the frame of a team, in which it plays from left to right.
    pub fn to_team_frame(&self, team: usize, seconds: f64, [x, y]: [f32; 2]) -> [f32; 2] {
        // The last direction before this time applies, else the first one after it. If the team's own is unknown, it is the
        // opposite of the other team's.
        let time = to_ms(seconds);
        let plays_left = |of: usize| {
            let known = &self.plays_left[of];
            let entry = known.range(..=time).next_back().or_else(|| known.range(time..).next());
            entry.map(|(_, left)| *left != (of != team))
        };
        let is_mirrored = plays_left(team).or_else(|| plays_left(1 - team)).unwrap_or(false);
        if is_mirrored { [1.0 - x, 1.0 - y] } else { [x, y] }
    }

    /// Returns the mean position of a player, m, in the frame of its team.
    pub fn mean_position(&self, track: u32) -> Option<[f64; 2]> {
        self.position_sums.get(&track).map(|(sums, count)| sums.map(|sum| sum / count))
    }
}

fn to_ms(seconds: f64) -> u64 {
    (seconds.max(0.0) * 1e3) as u64
}

#[cfg(test)]
mod tests {
    use sideline_sport::tables::{TeamName, Unit};

    use super::*;

    const SIZE: [f32; 2] = [128.0, 64.0];

    fn formation(team: TeamName, plays: Direction) -> Formation {
        Formation {
            team,
            plays,
            period: 0,
            shape: "4-4-2".into(),
            lines: vec![],
            width: 40.0,
            depth: 40.0,
            x: 50.0,
            y: 34.0,
            players: 10,
            unit: Unit::Meters,
            confidence: 1.0,
        }
    }

    fn place(track: u32, x: f32, y: f32) -> Place {
        Place { track, x, y, unit: Unit::Meters, scale: 1.0, measured: true, inside: true }
    }

    #[test]
    fn the_frame_of_a_team_follows_its_direction_of_play_before_and_after_half_time() {
        let mut directions = AttackDirections::default();
        assert!(directions.is_unknown());
        assert_eq!(directions.to_team_frame(1, 5.0, [0.2, 0.3]), [0.2, 0.3]);
        directions.add_formation(10.0, &formation(TeamName::One, Direction::Right));
        directions.add_formation(60.0, &formation(TeamName::One, Direction::Unknown));
        directions.add_formation(70.0, &formation(TeamName::One, Direction::Left));
        assert!(!directions.is_unknown());
        assert_eq!(directions.to_team_frame(0, 5.0, [0.2, 0.3]), [0.2, 0.3]);
        // The direction of team_2 is unknown, so it is the opposite of that of team_1.
        assert_eq!(directions.to_team_frame(1, 65.0, [0.25, 0.75]), [0.75, 0.25]);
        assert_eq!(directions.to_team_frame(0, 100.0, [0.25, 0.75]), [0.75, 0.25]);
        assert_eq!(directions.to_team_frame(1, 100.0, [0.25, 0.75]), [0.25, 0.75]);
        directions.add_position(0, 20.0, &place(1, 32.0, 16.0), SIZE);
        directions.add_position(0, 80.0, &place(1, 96.0, 40.0), SIZE);
        assert_eq!(directions.mean_position(1), Some([32.0, 20.0]));
        assert_eq!(directions.mean_position(7), None);
    }
}
