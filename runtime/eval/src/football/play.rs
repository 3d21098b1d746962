//! Labels of possession, teams and formation, derived from ground truth alone, and scores of the operators against
//! them.
//!
//! The rules are those of tests/README.md. They use only true boxes and positions, and share nothing with the
//! operators.

use super::{FRAME_RATE, Match, center};
use crate::Rect;

/// Length of the period that a formation describes, seconds.
pub const FORMATION_PERIOD_S: f64 = 5.0;
/// Distance of the ball from a player's box, as a share of the box's height: up to `AT_PLAYER_HEIGHTS` the player has
/// the ball; if all players are further than `AWAY_HEIGHTS`, no team has it. Between the two the frame has no label.
const AT_PLAYER_HEIGHTS: f64 = 0.3;
const AWAY_HEIGHTS: f64 = 1.2;
/// Minimum number of consecutive frames with the same label.
const MIN_LABEL_FRAMES: usize = 6;
/// Minimum and maximum number of lines of a team, and the share of the total squared depth that an additional line must
/// explain.
const LINE_COUNTS: [usize; 2] = [2, 5];
const MIN_EXPLAINED_SHARE: f64 = 0.05;
/// Minimum IoU at which a track is assigned to a player.
const PLAYER_IOU: f64 = 0.3;

/// Team in possession of the ball.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BallHolder {
    /// Team with this index.
    Team(usize),
    /// Neither team.
    NoTeam,
}

/// Box of a track in one frame, with the team assigned to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TeamBox {
    /// Left, top, right, bottom, px.
    pub corners: [f64; 4],
    /// Index of the team; `None` where none is assigned.
    pub team: Option<usize>,
}

/// Counts behind the scores: correct and total.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlayCounts {
    /// Rows of players with the correct team; rows of players with a team.
    pub team_purity: [u64; 2],
    /// Rows of players with a team; all rows of players.
    pub team_coverage: [u64; 2],
    /// Frames with the correct possession; frames with a possession label.
    pub possession: [u64; 2],
    /// Pairs of neighbors in depth that are correctly in the same or in different lines; all such pairs.
    pub formation: [u64; 2],
}

impl PlayCounts {
    /// Returns the sum of both counts.
    #[must_use]
    pub fn sum(self, other: &Self) -> Self {
        let sum = |a: [u64; 2], b: [u64; 2]| [a[0] + b[0], a[1] + b[1]];
        Self {
            team_purity: sum(self.team_purity, other.team_purity),
            team_coverage: sum(self.team_coverage, other.team_coverage),
            possession: sum(self.possession, other.possession),
            formation: sum(self.formation, other.formation),
        }
    }
}

/// Scores the operators' output against the labels. `tracks` and `possessions` have an entry for each frame;
/// `formations` holds team, period and lines such as `4-4-2`.
///
/// The operators' team names are arbitrary: they are assigned to the file's teams so that most tracks are correct.
#[must_use]
pub fn evaluate(
    game: &Match,
    tracks: &[Vec<TeamBox>],
    possessions: &[BallHolder],
    formations: &[(usize, usize, String)],
) -> PlayCounts {
    let teams = team_indices(game);
    let mut counts = PlayCounts::default();
    // Rows by true and assigned team.
    let mut confusion = [[0u64; 2]; 2];
    for (boxes, tracks) in game.boxes.iter().zip(tracks) {
        for track in tracks {
            let overlaps = boxes
                .players
                .iter()
                .enumerate()
                .filter_map(|(i, rect)| Some((i, rect.as_ref()?.iou(&Rect::from_corners(track.corners)))));
            let Some((player, iou)) = overlaps.max_by(|a, b| a.1.total_cmp(&b.1)) else { continue };
            if iou < PLAYER_IOU {
                continue;
            }
            counts.team_coverage[1] += 1;
            if let Some(assigned) = track.team {
                counts.team_coverage[0] += 1;
                confusion[teams[player]][assigned] += 1;
            }
        }
    }
    let (straight, crossed) = (confusion[0][0] + confusion[1][1], confusion[0][1] + confusion[1][0]);
    let swapped = crossed > straight;
    counts.team_purity = [straight.max(crossed), straight + crossed];
    let true_team = |assigned: usize| if swapped { 1 - assigned } else { assigned };
    for (label, output) in possession(game).into_iter().zip(possessions) {
        if let Some(label) = label {
            let output = match output {
                BallHolder::Team(assigned) => BallHolder::Team(true_team(*assigned)),
                BallHolder::NoTeam => BallHolder::NoTeam,
            };
            counts.possession[1] += 1;
            counts.possession[0] += u64::from(output == label);
        }
    }
    for (assigned, period, lines) in formations {
        if let Some(truth) = line_cuts(game, true_team(*assigned), *period) {
            let found = parse_cuts(lines);
            counts.formation[1] += truth.len() as u64;
            counts.formation[0] +=
                truth.iter().enumerate().filter(|(i, cut)| found.contains(i) == **cut).count() as u64;
        }
    }
    counts
}

/// Returns the team index of each player: the file's teams in the order of their names.
fn team_indices(game: &Match) -> Vec<usize> {
    let mut names: Vec<&str> = game.players.iter().map(|player| player.team.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    game.players.iter().map(|player| names.iter().position(|name| *name == player.team).unwrap_or(0).min(1)).collect()
}

/// Returns the possession label of each frame; `None` where there is none.
#[must_use]
pub fn possession(game: &Match) -> Vec<Option<BallHolder>> {
    let teams = team_indices(game);
    let raw: Vec<Option<BallHolder>> = game
        .boxes
        .iter()
        .map(|boxes| {
            let [x, y] = center(boxes.ball.as_ref()?);
            let players = boxes.players.iter().zip(&teams).filter_map(|(rect, team)| {
                let rect = rect.as_ref()?;
                let across = (rect.x - x).max(x - rect.x - rect.w).max(0.0);
                let down = (rect.y - y).max(y - rect.y - rect.h).max(0.0);
                Some((across.hypot(down) / rect.h, *team))
            });
            let mut near: Vec<(f64, usize)> = players.collect();
            near.sort_by(|a, b| a.0.total_cmp(&b.0));
            let (nearest, team) = *near.first()?;
            // Contested: a player of the other team is about as near.
            let is_contested =
                near.iter().any(|(distance, other)| *other != team && *distance <= 2.0 * AT_PLAYER_HEIGHTS);
            match nearest {
                distance if distance <= AT_PLAYER_HEIGHTS && !is_contested => Some(BallHolder::Team(team)),
                distance if distance > AWAY_HEIGHTS => Some(BallHolder::NoTeam),
                _ => None,
            }
        })
        .collect();
    let mut labels = vec![None; raw.len()];
    let mut begin = 0;
    for i in 0..=raw.len() {
        if i == raw.len() || raw[i] != raw[begin] {
            if i - begin >= MIN_LABEL_FRAMES {
                labels[begin..i].copy_from_slice(&raw[begin..i]);
            }
            begin = i;
        }
    }
    labels
}

/// Compares each pair of neighbors in depth, from the rear on, in one period: true for two different lines; `None`
/// without positions.
///
/// With eleven players the last one is the goalkeeper, and left out. The team that defends a goal is the one whose last
/// player is nearer to that goal line than any player is to the other goal line.
fn line_cuts(game: &Match, team: usize, period: usize) -> Option<Vec<bool>> {
    let positions = game.positions.as_ref()?;
    let frames = (FORMATION_PERIOD_S * FRAME_RATE) as usize;
    let in_period = positions.get(period * frames..((period + 1) * frames).min(positions.len()))?;
    let teams = team_indices(game);
    let mean = |player: usize| {
        let seen = in_period.iter().filter_map(|truth| truth.players[player]);
        let (n, sum) = seen.fold((0.0, 0.0), |(n, sum), [x, _]| (n + 1.0, sum + x));
        (n > 0.0).then(|| sum / n)
    };
    let depth: Vec<(f64, usize)> = (0..teams.len()).filter_map(|player| Some((mean(player)?, teams[player]))).collect();
    let first = depth.iter().min_by(|a, b| a.0.total_cmp(&b.0))?;
    let last = depth.iter().max_by(|a, b| a.0.total_cmp(&b.0))?;
    // The team whose player is nearest to a goal line defends that goal.
    let left_team = if first.0 <= PITCH_LENGTH_M - last.0 { first.1 } else { 1 - last.1 };
    let mut own: Vec<f64> = depth.iter().filter(|(_, other)| *other == team).map(|(x, _)| *x).collect();
    own.sort_by(f64::total_cmp);
    if left_team != team {
        own.reverse();
    }
    if own.len() > 10 {
        own.remove(0);
    }
    Some(best_cuts(&own))
}

/// Finds the division of sorted depths into lines with the least squared depth within lines, plus a penalty for each
/// line.
fn best_cuts(depths: &[f64]) -> Vec<bool> {
    let neighbors = depths.len().saturating_sub(1);
    let penalty = MIN_EXPLAINED_SHARE * squared_deviation(depths);
    let cost = |cuts: u32| -> f64 {
        let ends: Vec<usize> =
            (0..neighbors).filter(|i| cuts >> i & 1 == 1).map(|i| i + 1).chain([depths.len()]).collect();
        let begins = [0].into_iter().chain(ends.iter().copied());
        begins.zip(&ends).map(|(begin, end)| squared_deviation(&depths[begin..*end]) + penalty).sum()
    };
    let allowed = (0..1u32 << neighbors)
        .filter(|cuts| (LINE_COUNTS[0]..=LINE_COUNTS[1]).contains(&(cuts.count_ones() as usize + 1)));
    let best = allowed.min_by(|a, b| cost(*a).total_cmp(&cost(*b))).unwrap_or(0);
    (0..neighbors).map(|i| best >> i & 1 == 1).collect()
}

/// Returns the sum of squared deviations from the mean.
fn squared_deviation(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    values.iter().map(|value| (value - mean).powi(2)).sum()
}

/// Length of SoccerTrack's pitch, m.
const PITCH_LENGTH_M: f64 = 105.0;

/// Parses the lines of a formation, such as `4-4-2`: the indices of the players, counted from the rear from 0, behind
/// which a line ends.
fn parse_cuts(lines: &str) -> Vec<usize> {
    let sizes = lines.split('-').filter_map(|size| size.parse::<usize>().ok());
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
    use crate::football::{GroundTruth, Player};

    fn rect(x: f64, y: f64) -> Option<Rect> {
        Some(Rect { x, y, w: 20.0, h: 50.0 })
    }

    /// Returns a match with one player of each team, and the ball at a given x in each frame.
    fn game(balls: &[f64]) -> Match {
        let player = |team: &str| Player { team: team.into(), number: "1".into() };
        let boxes = balls.iter().map(|x| GroundTruth {
            players: vec![rect(0.0, 0.0), rect(500.0, 0.0)],
            ball: Some(Rect { x: *x, y: 45.0, w: 6.0, h: 6.0 }),
        });
        Match {
            name: "game".into(),
            first_frame: 0,
            players: vec![player("0"), player("1")],
            boxes: boxes.collect(),
            positions: None,
            size: (1000.0, 500.0),
        }
    }

    #[test]
    fn possession_requires_a_near_player_for_several_frames() {
        let mut balls = vec![10.0; 10];
        balls.extend([40.0; 3]);
        balls.extend([250.0; 10]);
        balls.extend([510.0; 3]);
        let labels = possession(&game(&balls));
        assert_eq!(labels[0], Some(BallHolder::Team(0)));
        assert_eq!(
            (labels[11], labels[15], labels[24]),
            (None, Some(BallHolder::NoTeam), None),
            "between, away, too short"
        );
    }

    #[test]
    fn teams_may_be_swapped_but_not_mixed() {
        let game = game(&[10.0; 10]);
        let track = |x: f64, team| TeamBox { corners: [x, 0.0, x + 20.0, 50.0], team: Some(team) };
        let swapped = vec![vec![track(0.0, 1), track(500.0, 0)]; 10];
        let counts = evaluate(&game, &swapped, &[BallHolder::Team(1); 10], &[]);
        assert_eq!((counts.team_purity, counts.possession), ([20, 20], [10, 10]));
        let mixed = vec![vec![track(0.0, 0), track(500.0, 0)]; 10];
        assert_eq!(evaluate(&game, &mixed, &[BallHolder::NoTeam; 10], &[]).team_purity, [10, 20]);
    }

    #[test]
    fn lines_are_divided_at_the_gaps() {
        let cuts = best_cuts(&[10.0, 11.0, 12.0, 11.5, 25.0, 26.0, 24.5, 40.0, 41.0]);
        let indices: Vec<usize> = (0..cuts.len()).filter(|i| cuts[*i]).collect();
        assert_eq!(indices, [3, 6]);
    }

    #[test]
    fn formation_names_are_parsed_into_cuts() {
        assert_eq!(parse_cuts("4-4-2"), [3, 7]);
        assert_eq!(parse_cuts(""), [0; 0]);
    }
}
