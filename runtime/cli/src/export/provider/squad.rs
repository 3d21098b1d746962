//! A team as both formats want it: eleven players with positions in a formation that they know, and the others.

use std::collections::HashMap;

use sideline_api::tables::Team;

use super::{Pitch, Player, Summary, direction::Directions};

/// The formations that both formats know, players a line from the own goal on.
const FORMATIONS: [&str; 20] = [
    "4-4-2", "4-4-1-1", "4-3-2-1", "4-2-3-1", "4-1-4-1", "4-1-3-2", "4-3-1-2", "4-3-3", "4-5-1", "4-2-2-2", "4-2-1-3",
    "3-4-3", "3-4-1-2", "3-4-2-1", "3-5-2", "3-5-1-1", "5-3-2", "5-4-1", "3-3-3-1", "3-2-3-2",
];

/// A position: number and name in the one format, code in the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Position {
    pub number: u32,
    pub name: &'static str,
    pub code: &'static str,
}

const fn position(number: u32, name: &'static str, code: &'static str) -> Position {
    Position { number, name, code }
}

const GOALKEEPER: Position = position(1, "Goalkeeper", "gk");
const RIGHT_BACK: Position = position(2, "Right Back", "rb");
const RIGHT_CENTRE_BACK: Position = position(3, "Right Center Back", "rcb");
const CENTRE_BACK: Position = position(4, "Center Back", "cb");
const LEFT_CENTRE_BACK: Position = position(5, "Left Center Back", "lcb");
const LEFT_BACK: Position = position(6, "Left Back", "lb");
const RIGHT_WING_BACK: Position = position(7, "Right Wing Back", "rwb");
const LEFT_WING_BACK: Position = position(8, "Left Wing Back", "lwb");
const RIGHT_MIDFIELD: Position = position(12, "Right Midfield", "rw");
const RIGHT_CENTRE_MIDFIELD: Position = position(13, "Right Center Midfield", "rcmf");
const CENTRE_MIDFIELD: Position = position(14, "Center Midfield", "dmf");
const LEFT_CENTRE_MIDFIELD: Position = position(15, "Left Center Midfield", "lcmf");
const LEFT_MIDFIELD: Position = position(16, "Left Midfield", "lw");
const RIGHT_WING: Position = position(17, "Right Wing", "rwf");
const LEFT_WING: Position = position(21, "Left Wing", "lwf");
const RIGHT_FORWARD: Position = position(22, "Right Center Forward", "cf");
const CENTRE_FORWARD: Position = position(23, "Center Forward", "cf");
const LEFT_FORWARD: Position = position(24, "Left Center Forward", "cf");

/// Somebody of a team.
pub struct Member {
    pub track: u32,
    /// Where they play, of the eleven that were seen longest.
    pub position: Option<Position>,
}

impl Member {
    /// What stands for their name, which is not known.
    pub fn name(&self) -> String {
        format!("Track {}", self.track)
    }
}

/// See the [module](self).
pub struct Squad {
    /// 1 or 2.
    pub id: u32,
    pub name: &'static str,
    pub formation: &'static str,
    /// Who starts first.
    pub players: Vec<Member>,
}

impl Squad {
    pub fn new(
        name: &'static str,
        summary: &Summary,
        directions: &Directions,
        team_of: &HashMap<u32, usize>,
        pitch: Pitch,
        notes: &mut Vec<String>,
    ) -> Self {
        let team = usize::from(name != Team::NAMES[0]);
        let seen = summary.teams.get(name).and_then(|team| most_frequent(&team.formations));
        let formation = nearest(seen.unwrap_or_default());
        match seen {
            Some(shape) if shape == formation => {}
            Some(shape) => {
                notes.push(format!("{name} stood {shape}, which the format does not know: {formation} is written"))
            }
            None => notes.push(format!("the formation of {name} is not known: {formation} is written")),
        }
        let mut mine: Vec<&Player> =
            summary.players.iter().filter(|player| team_of.get(&player.track) == Some(&team)).collect();
        mine.sort_by(|a, b| b.seconds.total_cmp(&a.seconds).then(a.track.cmp(&b.track)));
        let (keepers, others): (Vec<&Player>, Vec<&Player>) =
            mine.iter().copied().partition(|player| player.role == "goalkeeper");
        let middle = [pitch.length, pitch.width].map(|side| f64::from(side) / 2.0);
        let mut outfield: Vec<(u32, [f64; 2])> = others
            .iter()
            .take(10)
            .map(|player| (player.track, directions.mostly(player.track).unwrap_or(middle)))
            .collect();
        // The rearmost first, then line by line from left to right.
        outfield.sort_by(|a, b| a.1[0].total_cmp(&b.1[0]));
        let mut positions = HashMap::new();
        let mut rest = outfield.as_mut_slice();
        let lines = lines(formation);
        for (number, count) in lines.iter().enumerate() {
            let (line, behind) = rest.split_at_mut((*count).min(rest.len()));
            line.sort_by(|a, b| a.1[1].total_cmp(&b.1[1]));
            let names = of_line(number, lines.len(), *count);
            positions.extend(line.iter().zip(names).map(|((track, _), position)| (*track, *position)));
            rest = behind;
        }
        positions.extend(keepers.first().map(|keeper| (keeper.track, GOALKEEPER)));
        let mut players: Vec<Member> = mine
            .iter()
            .map(|player| Member { track: player.track, position: positions.get(&player.track).copied() })
            .collect();
        players.sort_by_key(|member| member.position.map_or(u32::MAX, |position| position.number));
        Self { id: team as u32 + 1, name, formation, players }
    }
}

/// The shape that was seen in most periods; the earlier of two.
fn most_frequent(formations: &[super::Shape]) -> Option<&str> {
    let shapes = || formations.iter().map(|formation| formation.shape.as_str()).filter(|shape| !shape.is_empty());
    let count = |shape: &str| shapes().filter(|other| *other == shape).count();
    shapes().rev().max_by_key(|shape| count(shape))
}

fn lines(shape: &str) -> Vec<usize> {
    shape.split('-').filter_map(|line| line.parse().ok()).collect()
}

/// The known formation that is most like a shape, rather one of as many lines.
fn nearest(shape: &str) -> &'static str {
    let seen = lines(shape);
    // How many stand in the first line, the first two, ...: what moves a player by one line costs one.
    let behind = |lines: &[usize], upto: usize| lines.iter().take(upto + 1).sum::<usize>();
    let unlike = |known: &&&str| {
        let known = lines(known);
        let moved: usize = (0..4).map(|upto| behind(&seen, upto).abs_diff(behind(&known, upto))).sum();
        (seen.len().abs_diff(known.len()), moved)
    };
    FORMATIONS.iter().min_by_key(unlike).copied().unwrap_or(FORMATIONS[0])
}

/// The positions of a line, from left to right.
fn of_line(number: usize, lines: usize, count: usize) -> &'static [Position] {
    match (number, count) {
        (0, 3) => &[LEFT_CENTRE_BACK, CENTRE_BACK, RIGHT_CENTRE_BACK],
        (0, 5) => &[LEFT_WING_BACK, LEFT_CENTRE_BACK, CENTRE_BACK, RIGHT_CENTRE_BACK, RIGHT_WING_BACK],
        (0, _) => &[LEFT_BACK, LEFT_CENTRE_BACK, RIGHT_CENTRE_BACK, RIGHT_BACK],
        (last, 1) if last + 1 == lines => &[CENTRE_FORWARD],
        (last, 2) if last + 1 == lines => &[LEFT_FORWARD, RIGHT_FORWARD],
        (last, _) if last + 1 == lines => &[LEFT_WING, CENTRE_FORWARD, RIGHT_WING],
        (_, 1) => &[CENTRE_MIDFIELD],
        (_, 2) => &[LEFT_CENTRE_MIDFIELD, RIGHT_CENTRE_MIDFIELD],
        (_, 3) => &[LEFT_CENTRE_MIDFIELD, CENTRE_MIDFIELD, RIGHT_CENTRE_MIDFIELD],
        (_, 4) => &[LEFT_MIDFIELD, LEFT_CENTRE_MIDFIELD, RIGHT_CENTRE_MIDFIELD, RIGHT_MIDFIELD],
        _ => &[LEFT_MIDFIELD, LEFT_CENTRE_MIDFIELD, CENTRE_MIDFIELD, RIGHT_CENTRE_MIDFIELD, RIGHT_MIDFIELD],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_written_as_the_most_alike_that_is_known() {
        for shape in FORMATIONS {
            assert_eq!(nearest(shape), shape);
            assert_eq!(lines(shape).iter().sum::<usize>(), 10, "{shape}");
            let lines = lines(shape);
            for (number, count) in lines.iter().enumerate() {
                assert_eq!(of_line(number, lines.len(), *count).len(), *count, "{shape}");
            }
        }
        assert_eq!(nearest("4-3-2"), "4-3-3");
        assert_eq!(nearest("5-3-1"), "5-3-2");
        assert!(FORMATIONS.contains(&nearest("")));
    }
}
