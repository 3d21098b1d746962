//! Squad of a team for both formats: eleven players with positions in a supported formation, and the other players.

use std::collections::HashMap;

use sideline_sport::tables::{Role, TeamName};

use super::{Pitch, Player, Summary, attack_direction::AttackDirections};

/// Formations that both formats support: players per line, from the own goal on.
const FORMATIONS: [&str; 20] = [
    "4-4-2", "4-4-1-1", "4-3-2-1", "4-2-3-1", "4-1-4-1", "4-1-3-2", "4-3-1-2", "4-3-3", "4-5-1", "4-2-2-2", "4-2-1-3",
    "3-4-3", "3-4-1-2", "3-4-2-1", "3-5-2", "3-5-1-1", "5-3-2", "5-4-1", "3-3-3-1", "3-2-3-2",
];

/// A position of a player.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Position {
    /// Number in StatsBomb's format.
    pub number: u32,
    /// Name in StatsBomb's format.
    pub name: &'static str,
    /// Code in Wyscout's format.
    pub code: &'static str,
}

const fn position(number: u32, name: &'static str, code: &'static str) -> Position {
    Position { number, name, code }
}

const GOALKEEPER: Position = position(1, "Goalkeeper", "gk");
const RIGHT_BACK: Position = position(2, "Right Back", "rb");
const RIGHT_CENTER_BACK: Position = position(3, "Right Center Back", "rcb");
const CENTER_BACK: Position = position(4, "Center Back", "cb");
const LEFT_CENTER_BACK: Position = position(5, "Left Center Back", "lcb");
const LEFT_BACK: Position = position(6, "Left Back", "lb");
const RIGHT_WING_BACK: Position = position(7, "Right Wing Back", "rwb");
const LEFT_WING_BACK: Position = position(8, "Left Wing Back", "lwb");
const RIGHT_MIDFIELD: Position = position(12, "Right Midfield", "rw");
const RIGHT_CENTER_MIDFIELD: Position = position(13, "Right Center Midfield", "rcmf");
const CENTER_MIDFIELD: Position = position(14, "Center Midfield", "dmf");
const LEFT_CENTER_MIDFIELD: Position = position(15, "Left Center Midfield", "lcmf");
const LEFT_MIDFIELD: Position = position(16, "Left Midfield", "lw");
const RIGHT_WING: Position = position(17, "Right Wing", "rwf");
const LEFT_WING: Position = position(21, "Left Wing", "lwf");
const RIGHT_FORWARD: Position = position(22, "Right Center Forward", "cf");
const CENTER_FORWARD: Position = position(23, "Center Forward", "cf");
const LEFT_FORWARD: Position = position(24, "Left Center Forward", "cf");

/// A player of a squad.
pub struct Member {
    pub track: u32,
    /// Position; only for the eleven players with the longest time in view.
    pub position: Option<Position>,
}

impl Member {
    /// Returns a substitute for the name, which is not known.
    pub fn name(&self) -> String {
        format!("Track {}", self.track)
    }
}

/// The squad of a team; see the [module](self).
pub struct Squad {
    /// Number of the team, 1 or 2.
    pub id: u32,
    pub name: &'static str,
    pub formation: &'static str,
    /// Players with positions first, by the number of the position.
    pub players: Vec<Member>,
}

impl Squad {
    /// Selects eleven players and assigns their positions by their mean positions on the pitch; adds a note to `notes` if the
    /// formation is not known or not supported.
    pub fn new(
        name: TeamName,
        summary: &Summary,
        directions: &AttackDirections,
        team_of: &HashMap<u32, usize>,
        pitch: Pitch,
        notes: &mut Vec<String>,
    ) -> Self {
        let team = usize::from(name != TeamName::One);
        let played = summary.teams.get(name.as_str()).and_then(|team| most_frequent(&team.formations));
        let formation = nearest_formation(played.unwrap_or_default());
        match played {
            Some(shape) if shape == formation => {}
            Some(shape) => {
                notes.push(format!("{name} played {shape}, which the format does not support: {formation} is written"))
            }
            None => notes.push(format!("the formation of {name} is not known: {formation} is written")),
        }
        let mut team_players: Vec<&Player> =
            summary.players.iter().filter(|player| team_of.get(&player.track) == Some(&team)).collect();
        team_players.sort_by(|a, b| b.seconds.total_cmp(&a.seconds).then(a.track.cmp(&b.track)));
        let (keepers, others): (Vec<&Player>, Vec<&Player>) =
            team_players.iter().copied().partition(|player| player.role == Role::Goalkeeper);
        let center = [pitch.length, pitch.width].map(|side| f64::from(side) / 2.0);
        let mut outfield: Vec<(u32, [f64; 2])> = others
            .iter()
            .take(10)
            .map(|player| (player.track, directions.mean_position(player.track).unwrap_or(center)))
            .collect();
        // Sorted from the own goal forward, then within each line from left to right.
        outfield.sort_by(|a, b| a.1[0].total_cmp(&b.1[0]));
        let mut positions = HashMap::new();
        let mut rest = outfield.as_mut_slice();
        let lines = lines(formation);
        for (number, count) in lines.iter().enumerate() {
            let (line, remaining) = rest.split_at_mut((*count).min(rest.len()));
            line.sort_by(|a, b| a.1[1].total_cmp(&b.1[1]));
            let line_positions = positions_in_line(number, lines.len(), *count);
            positions.extend(line.iter().zip(line_positions).map(|((track, _), position)| (*track, *position)));
            rest = remaining;
        }
        positions.extend(keepers.first().map(|keeper| (keeper.track, GOALKEEPER)));
        let mut players: Vec<Member> = team_players
            .iter()
            .map(|player| Member { track: player.track, position: positions.get(&player.track).copied() })
            .collect();
        players.sort_by_key(|member| member.position.map_or(u32::MAX, |position| position.number));
        Self { id: team as u32 + 1, name: name.as_str(), formation, players }
    }
}

/// Returns the shape that was played in most periods; the earlier one of a tie.
fn most_frequent(formations: &[super::PeriodFormation]) -> Option<&str> {
    let shapes = || formations.iter().map(|formation| formation.shape.as_str()).filter(|shape| !shape.is_empty());
    let count = |shape: &str| shapes().filter(|other| *other == shape).count();
    shapes().rev().max_by_key(|shape| count(shape))
}

/// Parses the number of players in each line of a shape.
fn lines(shape: &str) -> Vec<usize> {
    shape.split('-').filter_map(|line| line.parse().ok()).collect()
}

/// Returns the supported formation most similar to a shape, preferably one with as many lines.
fn nearest_formation(shape: &str) -> &'static str {
    let played = lines(shape);
    // Distance of cumulative counts (earth mover's distance): moving one player by one line costs 1.
    let cumulative = |lines: &[usize], line: usize| lines.iter().take(line + 1).sum::<usize>();
    let distance = |formation: &&&str| {
        let formation = lines(formation);
        let moves: usize = (0..4).map(|line| cumulative(&played, line).abs_diff(cumulative(&formation, line))).sum();
        (played.len().abs_diff(formation.len()), moves)
    };
    FORMATIONS.iter().min_by_key(distance).copied().unwrap_or(FORMATIONS[0])
}

/// Returns the positions of a line, from left to right.
fn positions_in_line(number: usize, lines: usize, count: usize) -> &'static [Position] {
    match (number, count) {
        (0, 3) => &[LEFT_CENTER_BACK, CENTER_BACK, RIGHT_CENTER_BACK],
        (0, 5) => &[LEFT_WING_BACK, LEFT_CENTER_BACK, CENTER_BACK, RIGHT_CENTER_BACK, RIGHT_WING_BACK],
        (0, _) => &[LEFT_BACK, LEFT_CENTER_BACK, RIGHT_CENTER_BACK, RIGHT_BACK],
        (last, 1) if last + 1 == lines => &[CENTER_FORWARD],
        (last, 2) if last + 1 == lines => &[LEFT_FORWARD, RIGHT_FORWARD],
        (last, _) if last + 1 == lines => &[LEFT_WING, CENTER_FORWARD, RIGHT_WING],
        (_, 1) => &[CENTER_MIDFIELD],
        (_, 2) => &[LEFT_CENTER_MIDFIELD, RIGHT_CENTER_MIDFIELD],
        (_, 3) => &[LEFT_CENTER_MIDFIELD, CENTER_MIDFIELD, RIGHT_CENTER_MIDFIELD],
        (_, 4) => &[LEFT_MIDFIELD, LEFT_CENTER_MIDFIELD, RIGHT_CENTER_MIDFIELD, RIGHT_MIDFIELD],
        _ => &[LEFT_MIDFIELD, LEFT_CENTER_MIDFIELD, CENTER_MIDFIELD, RIGHT_CENTER_MIDFIELD, RIGHT_MIDFIELD],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_mapped_to_the_most_similar_supported_formation() {
        for shape in FORMATIONS {
            assert_eq!(nearest_formation(shape), shape);
            assert_eq!(lines(shape).iter().sum::<usize>(), 10, "{shape}");
            let lines = lines(shape);
            for (number, count) in lines.iter().enumerate() {
                assert_eq!(positions_in_line(number, lines.len(), *count).len(), *count, "{shape}");
            }
        }
        assert_eq!(nearest_formation("4-3-2"), "4-3-3");
        assert_eq!(nearest_formation("5-3-1"), "5-3-2");
        assert!(FORMATIONS.contains(&nearest_formation("")));
    }
}
