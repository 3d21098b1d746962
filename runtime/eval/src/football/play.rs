//! Who has the ball and how teams stand, by rules that know the truth alone, and what others say beside it.
//!
//! The rules are those of tests/README.md. They look at pictures and places as a person with a ruler would, and share
//! nothing with the operators.

use super::{Match, RATE, middle};
use crate::Rect;

/// Seconds that a formation is about.
pub const PERIOD: f64 = 5.0;
/// A ball within this of a player's box is at the player, and further than that from everybody at nobody: shares of the box's
/// height. Between the two it is not told.
const AT: f64 = 0.3;
const AWAY: f64 = 1.2;
/// Frames in a row for which it must be so.
const HOLDS: usize = 6;
/// Fewest and most lines of a team, and the share of all squared depth that one more must explain.
const LINES: [usize; 2] = [2, 5];
const EXPLAINS: f64 = 0.05;
/// Overlap from which a track is a player's.
const SAME: f64 = 0.3;

/// Who has the ball.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Has {
    /// The team of this number.
    Team(usize),
    /// Nobody.
    Nobody,
}

/// A track of a frame: left, top, right, bottom, px; and the team that it is said to play for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tracked {
    /// Its box.
    pub corners: [f64; 4],
    /// Number of the team, if it is named.
    pub team: Option<usize>,
}

/// Right ones and all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows of players that name a team.
    pub teams: [u64; 2],
    /// Rows that name a team, among all of players.
    pub named: [u64; 2],
    /// Frames with a label of possession.
    pub possession: [u64; 2],
    /// Neighbours in depth.
    pub lines: [u64; 2],
}

impl Counts {
    /// Both together.
    #[must_use]
    pub fn with(self, other: &Self) -> Self {
        let sum = |a: [u64; 2], b: [u64; 2]| [a[0] + b[0], a[1] + b[1]];
        Self {
            teams: sum(self.teams, other.teams),
            named: sum(self.named, other.named),
            possession: sum(self.possession, other.possession),
            lines: sum(self.lines, other.lines),
        }
    }
}

/// Compares. `tracks` and `said` have an entry for each frame, `shapes` team, period and lines such as `4-4-2`.
///
/// Which of the file's teams is the operators' first is what makes most tracks right: names are arbitrary.
#[must_use]
pub fn judge(game: &Match, tracks: &[Vec<Tracked>], said: &[Has], shapes: &[(usize, usize, String)]) -> Counts {
    let teams = teams(game);
    let mut counts = Counts::default();
    // Rows by true and named team.
    let mut table = [[0u64; 2]; 2];
    for (boxes, tracks) in game.boxes.iter().zip(tracks) {
        for track in tracks {
            let overlaps = boxes
                .players
                .iter()
                .enumerate()
                .filter_map(|(i, rect)| Some((i, rect.as_ref()?.iou(&Rect::of_corners(track.corners)))));
            let Some((player, most)) = overlaps.max_by(|a, b| a.1.total_cmp(&b.1)) else { continue };
            if most < SAME {
                continue;
            }
            counts.named[1] += 1;
            if let Some(named) = track.team {
                counts.named[0] += 1;
                table[teams[player]][named] += 1;
            }
        }
    }
    let (straight, crossed) = (table[0][0] + table[1][1], table[0][1] + table[1][0]);
    let swapped = crossed > straight;
    counts.teams = [straight.max(crossed), straight + crossed];
    let ours = |named: usize| if swapped { 1 - named } else { named };
    for (label, said) in possession(game).into_iter().zip(said) {
        if let Some(label) = label {
            let said = match said {
                Has::Team(named) => Has::Team(ours(*named)),
                Has::Nobody => Has::Nobody,
            };
            counts.possession[1] += 1;
            counts.possession[0] += u64::from(said == label);
        }
    }
    for (named, period, shape) in shapes {
        if let Some(truth) = cuts(game, ours(*named), *period) {
            let found = cuts_of(shape);
            counts.lines[1] += truth.len() as u64;
            counts.lines[0] += truth.iter().enumerate().filter(|(i, cut)| found.contains(i) == **cut).count() as u64;
        }
    }
    counts
}

/// Number of each player's team: the file's teams in the order of their names.
fn teams(game: &Match) -> Vec<usize> {
    let mut names: Vec<&str> = game.players.iter().map(|player| player.team.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    game.players.iter().map(|player| names.iter().position(|name| *name == player.team).unwrap_or(0).min(1)).collect()
}

/// Who has the ball in each frame; `None` where it is not told.
#[must_use]
pub fn possession(game: &Match) -> Vec<Option<Has>> {
    let teams = teams(game);
    let raw: Vec<Option<Has>> = game
        .boxes
        .iter()
        .map(|boxes| {
            let [x, y] = middle(boxes.ball.as_ref()?);
            let players = boxes.players.iter().zip(&teams).filter_map(|(rect, team)| {
                let rect = rect.as_ref()?;
                let across = (rect.x - x).max(x - rect.x - rect.w).max(0.0);
                let down = (rect.y - y).max(y - rect.y - rect.h).max(0.0);
                Some((across.hypot(down) / rect.h, *team))
            });
            let mut near: Vec<(f64, usize)> = players.collect();
            near.sort_by(|a, b| a.0.total_cmp(&b.0));
            let (nearest, team) = *near.first()?;
            // Somebody of the other team as near: nobody can tell.
            let both = near.iter().any(|(far, other)| *other != team && *far <= 2.0 * AT);
            match nearest {
                far if far <= AT && !both => Some(Has::Team(team)),
                far if far > AWAY => Some(Has::Nobody),
                _ => None,
            }
        })
        .collect();
    let mut told = vec![None; raw.len()];
    let mut begin = 0;
    for i in 0..=raw.len() {
        if i == raw.len() || raw[i] != raw[begin] {
            if i - begin >= HOLDS {
                told[begin..i].copy_from_slice(&raw[begin..i]);
            }
            begin = i;
        }
    }
    told
}

/// Whether two neighbours in depth stand in two lines, from the rear on, in a period; `None` without places.
///
/// Of eleven the last man is the goalkeeper, and left out. A team's own goal is at the end where its last man stands nearer
/// to the goal line than anybody of the other team does to either.
fn cuts(game: &Match, team: usize, period: usize) -> Option<Vec<bool>> {
    let places = game.places.as_ref()?;
    let frames = (PERIOD * RATE) as usize;
    let own = places.get(period * frames..((period + 1) * frames).min(places.len()))?;
    let teams = teams(game);
    let mean = |player: usize| {
        let seen = own.iter().filter_map(|truth| truth.players[player]);
        let (n, sum) = seen.fold((0.0, 0.0), |(n, sum), [x, _]| (n + 1.0, sum + x));
        (n > 0.0).then(|| sum / n)
    };
    let depth: Vec<(f64, usize)> = (0..teams.len()).filter_map(|player| Some((mean(player)?, teams[player]))).collect();
    let first = depth.iter().min_by(|a, b| a.0.total_cmp(&b.0))?;
    let last = depth.iter().max_by(|a, b| a.0.total_cmp(&b.0))?;
    // Whose man stands nearer to a goal line defends that goal.
    let left = if first.0 <= LENGTH - last.0 { first.1 } else { 1 - last.1 };
    let mut own: Vec<f64> = depth.iter().filter(|(_, of)| *of == team).map(|(x, _)| *x).collect();
    own.sort_by(f64::total_cmp);
    if left != team {
        own.reverse();
    }
    if own.len() > 10 {
        own.remove(0);
    }
    Some(best_cuts(&own))
}

/// Of all ways to cut depths into lines the one that leaves least squared depth within them, with a price for each line.
fn best_cuts(depths: &[f64]) -> Vec<bool> {
    let neighbours = depths.len().saturating_sub(1);
    let price = EXPLAINS * squares(depths);
    let cost = |cuts: u32| -> f64 {
        let ends: Vec<usize> =
            (0..neighbours).filter(|i| cuts >> i & 1 == 1).map(|i| i + 1).chain([depths.len()]).collect();
        let begins = [0].into_iter().chain(ends.iter().copied());
        begins.zip(&ends).map(|(begin, end)| squares(&depths[begin..*end]) + price).sum()
    };
    let allowed =
        (0..1u32 << neighbours).filter(|cuts| (LINES[0]..=LINES[1]).contains(&(cuts.count_ones() as usize + 1)));
    let best = allowed.min_by(|a, b| cost(*a).total_cmp(&cost(*b))).unwrap_or(0);
    (0..neighbours).map(|i| best >> i & 1 == 1).collect()
}

/// Sum of squared distances from the mean.
fn squares(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    values.iter().map(|value| (value - mean).powi(2)).sum()
}

/// Length of SoccerTrack's pitch, m.
const LENGTH: f64 = 105.0;

/// Behind which players, counted from the rear from 0, a shape is cut.
fn cuts_of(shape: &str) -> Vec<usize> {
    let sizes = shape.split('-').filter_map(|size| size.parse::<usize>().ok());
    let mut ends: Vec<usize> = sizes
        .scan(0, |sum, size| {
            *sum += size;
            Some(*sum)
        })
        .map(|end| end.saturating_sub(1))
        .collect();
    ends.pop();
    ends
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::football::{Player, Truth};

    fn rect(x: f64, y: f64) -> Option<Rect> {
        Some(Rect { x, y, w: 20.0, h: 50.0 })
    }

    /// One player of each team, and the ball at a place in each of the frames.
    fn game(balls: &[f64]) -> Match {
        let player = |team: &str| Player { team: team.into(), number: "1".into() };
        let boxes = balls.iter().map(|x| Truth {
            players: vec![rect(0.0, 0.0), rect(500.0, 0.0)],
            ball: Some(Rect { x: *x, y: 45.0, w: 6.0, h: 6.0 }),
        });
        Match {
            name: "game".into(),
            first: 0,
            players: vec![player("0"), player("1")],
            boxes: boxes.collect(),
            places: None,
            size: (1000.0, 500.0),
        }
    }

    #[test]
    fn the_ball_is_with_who_is_near_for_long_enough() {
        let mut balls = vec![10.0; 10];
        balls.extend([40.0; 3]);
        balls.extend([250.0; 10]);
        balls.extend([510.0; 3]);
        let told = possession(&game(&balls));
        assert_eq!(told[0], Some(Has::Team(0)));
        assert_eq!((told[11], told[15], told[24]), (None, Some(Has::Nobody), None), "between, away, too short");
    }

    #[test]
    fn names_of_teams_are_arbitrary_and_mixtures_are_wrong() {
        let game = game(&[10.0; 10]);
        let track = |x: f64, team| Tracked { corners: [x, 0.0, x + 20.0, 50.0], team: Some(team) };
        let crossed = vec![vec![track(0.0, 1), track(500.0, 0)]; 10];
        let counts = judge(&game, &crossed, &[Has::Team(1); 10], &[]);
        assert_eq!((counts.teams, counts.possession), ([20, 20], [10, 10]));
        let one = vec![vec![track(0.0, 0), track(500.0, 0)]; 10];
        assert_eq!(judge(&game, &one, &[Has::Nobody; 10], &[]).teams, [10, 20]);
    }

    #[test]
    fn lines_are_cut_at_the_gaps() {
        let cuts = best_cuts(&[10.0, 11.0, 12.0, 11.5, 25.0, 26.0, 24.5, 40.0, 41.0]);
        let at: Vec<usize> = (0..cuts.len()).filter(|i| cuts[*i]).collect();
        assert_eq!(at, [3, 6]);
    }

    #[test]
    fn a_shape_is_cut_behind_its_lines() {
        assert_eq!(cuts_of("4-4-2"), [3, 7]);
        assert_eq!(cuts_of(""), [0; 0]);
    }
}
