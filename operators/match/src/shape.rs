//! The shape of a team: its roles, and the lines that they form.
//!
//! A role is a position relative to the team's centroid that one player fills; the player may change from frame to
//! frame, and tracks may break and restart. So the players are assigned to the roles in each frame, with the minimum
//! sum of squared distances (Bialkowski et al., "Large-Scale Analysis of Soccer Matches Using Spatiotemporal Tracking
//! Data", ICDM 2014, section III).

use serde::{Deserialize, Serialize};

/// Number of outfield players of a team.
pub const OUTFIELD_PLAYERS: usize = 10;
/// Minimum share of frames in which a role was filled for it to count.
const MIN_FILLED_SHARE: f64 = 0.4;
/// Minimum share of the squared depth that one more line must explain. A line that is split at random explains less.
const MIN_EXPLAINED_SHARE: f64 = 0.05;
/// Maximum distance of a player from a role, m. Farther from every free role, the player fills a new one.
const MAX_ROLE_DISTANCE_M: f64 = 7.0;
/// A role that was filled in a smaller share of frames is replaced by a new one.
const REPLACED_SHARE: f64 = 0.2;
/// Minimum and maximum number of lines.
const LINE_COUNT_RANGE: [usize; 2] = [2, 5];
/// Minimum number of roles for a shape.
pub const MIN_ROLES: usize = 7;

/// A position that one player fills.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Role {
    /// Mean position relative to the team's centroid: forward, across; m.
    position: [f64; 2],
    frames: f64,
}

/// Roles of one team in one period.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Roles {
    roles: Vec<Role>,
    frames: f64,
}

/// Split of a team's roles into lines.
#[derive(Clone, Debug, PartialEq)]
pub struct LineSplit {
    /// Number of players of each line from the rear, and its mean depth relative to the team's centroid, m.
    pub lines: Vec<(usize, f64)>,
    /// Separation of the lines, 0 to 1: the mean silhouette (Rousseeuw 1987).
    pub confidence: f64,
}

impl Roles {
    /// Adds a frame's outfield players: forward and across relative to their centroid, m.
    pub fn update(&mut self, players: &[[f64; 2]]) {
        self.frames += 1.0;
        let (rows, columns) = (players.len(), self.roles.len());
        let mut assigned = vec![false; rows];
        if rows > 0 && columns > 0 {
            let costs: Vec<f64> = players
                .iter()
                .flat_map(|p| {
                    self.roles.iter().map(|r| (p[0] - r.position[0]).powi(2) + (p[1] - r.position[1]).powi(2))
                })
                .collect();
            // The solver fails only for NaN, and places are finite.
            let (row, column) = lsap::solve(rows, columns, &costs, false).unwrap_or_default();
            for (player, role) in row.into_iter().zip(column) {
                if costs[player * columns + role] > MAX_ROLE_DISTANCE_M * MAX_ROLE_DISTANCE_M {
                    continue;
                }
                assigned[player] = true;
                let role = &mut self.roles[role];
                role.frames += 1.0;
                for (mean, now) in role.position.iter_mut().zip(players[player]) {
                    *mean += (now - *mean) / role.frames;
                }
            }
        }
        for (player, _) in players.iter().zip(assigned).filter(|(_, assigned)| !assigned) {
            let is_rare = |role: &Role| role.frames < REPLACED_SHARE * self.frames;
            if self.roles.len() < OUTFIELD_PLAYERS {
                self.roles.push(Role { position: *player, frames: 1.0 });
            } else if let Some(role) = self.roles.iter_mut().find(|role| is_rare(role)) {
                *role = Role { position: *player, frames: 1.0 };
            }
        }
    }

    /// Returns the lines; `None` with too few filled roles.
    pub fn lines(&self) -> Option<LineSplit> {
        let filled = self.roles.iter().filter(|role| role.frames >= MIN_FILLED_SHARE * self.frames);
        let mut depths: Vec<f64> = filled.map(|role| role.position[0]).collect();
        depths.sort_by(f64::total_cmp);
        (depths.len() >= MIN_ROLES).then(|| split_into_lines(&depths))
    }
}

/// Splits depths, in ascending order, into lines by minimizing the within-line variance plus a cost per line (Fisher
/// 1958, "On Grouping for Maximum Homogeneity").
pub fn split_into_lines(depths: &[f64]) -> LineSplit {
    let n = depths.len();
    let total = squared_deviations(depths);
    let mut best: Option<(f64, Vec<usize>)> = None;
    // Each bit is a cut behind a player: 512 combinations for ten players.
    for cuts in 0u32..1 << (n - 1) {
        let k = cuts.count_ones() as usize + 1;
        if !(LINE_COUNT_RANGE[0]..=LINE_COUNT_RANGE[1]).contains(&k) {
            continue;
        }
        let sizes = line_sizes(n, cuts);
        let mut rest = depths;
        let mut cost = MIN_EXPLAINED_SHARE * total * k as f64;
        for size in &sizes {
            let (line, after) = rest.split_at(*size);
            cost += squared_deviations(line);
            rest = after;
        }
        if best.as_ref().is_none_or(|(lowest, _)| cost < *lowest) {
            best = Some((cost, sizes));
        }
    }
    let sizes = best.map(|(_, sizes)| sizes).unwrap_or_else(|| vec![n]);
    let mut rest = depths;
    let lines = sizes
        .iter()
        .map(|size| {
            let (line, after) = rest.split_at(*size);
            rest = after;
            (*size, line.iter().sum::<f64>() / *size as f64)
        })
        .collect();
    LineSplit { confidence: silhouette(depths, &sizes), lines }
}

/// Returns the number of players in each line for a bit set of cuts.
fn line_sizes(n: usize, cuts: u32) -> Vec<usize> {
    let mut sizes = vec![1];
    for i in 1..n {
        match cuts >> (i - 1) & 1 {
            1 => sizes.push(1),
            _ => {
                if let Some(last) = sizes.last_mut() {
                    *last += 1;
                }
            }
        }
    }
    sizes
}

/// Returns the sum of squared deviations from the mean.
fn squared_deviations(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    values.iter().map(|value| (value - mean).powi(2)).sum()
}

/// Returns the mean silhouette of depths split into lines.
fn silhouette(depths: &[f64], sizes: &[usize]) -> f64 {
    let mut begin = 0;
    let lines: Vec<&[f64]> = sizes
        .iter()
        .map(|size| {
            begin += size;
            &depths[begin - size..begin]
        })
        .collect();
    let mut sum = 0.0;
    for (own, line) in lines.iter().enumerate() {
        for depth in *line {
            let mean = |to: &[f64], count: usize| to.iter().map(|d| (d - depth).abs()).sum::<f64>() / count as f64;
            let others =
                (0..lines.len()).filter(|other| *other != own).map(|other| mean(lines[other], lines[other].len()));
            let nearest = others.fold(f64::INFINITY, f64::min);
            // A player alone in a line has the silhouette 0, as in the paper.
            if line.len() > 1 {
                let within = mean(line, line.len() - 1);
                sum += (nearest - within) / nearest.max(within).max(1e-9);
            }
        }
    }
    (sum / depths.len() as f64).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(depths: &[f64]) -> String {
        let mut sorted = depths.to_vec();
        sorted.sort_by(f64::total_cmp);
        split_into_lines(&sorted).lines.iter().map(|(n, _)| n.to_string()).collect::<Vec<_>>().join("-")
    }

    #[test]
    fn lines_are_split_at_the_gaps() {
        assert_eq!(shape(&[-14.0, -15.0, -13.5, -16.0, 0.0, 1.0, -1.5, 2.0, 14.0, 15.5]), "4-4-2");
        assert_eq!(shape(&[-14.0, -15.0, -13.5, -16.0, 0.0, 1.0, -1.5, 14.0, 13.0, 15.5]), "4-3-3");
        assert_eq!(shape(&[-14.0, -15.0, -13.5, 0.0, 1.0, -1.5, 2.0, 0.5, 14.0, 15.5]), "3-5-2");
        assert_eq!(shape(&[-18.0, -19.0, -17.5, -20.0, -8.0, -7.0, 4.0, 5.0, 3.0, 16.0]), "4-2-3-1");
    }

    #[test]
    fn roles_persist_when_players_swap() {
        let home: Vec<[f64; 2]> = [
            (-12.0, -24.0),
            (-13.0, -8.0),
            (-13.0, 8.0),
            (-12.0, 24.0),
            (0.0, -20.0),
            (-1.0, -7.0),
            (0.0, 6.0),
            (1.0, 22.0),
            (13.0, -6.0),
            (13.0, 6.0),
        ]
        .map(|(x, y)| [x, y])
        .to_vec();
        let mut roles = Roles::default();
        for frame in 0..200usize {
            // Every player moves by two meters, in a different order each frame, and one is not detected.
            let mut players: Vec<[f64; 2]> = home
                .iter()
                .enumerate()
                .map(|(i, [x, y])| {
                    let turn = frame as f64 * 0.3 + i as f64;
                    [x + 2.0 * turn.cos(), y + 2.0 * turn.sin()]
                })
                .collect();
            players.rotate_left(frame % 10);
            players.truncate(9);
            roles.update(&players);
        }
        let lines = roles.lines().unwrap();
        assert_eq!(lines.lines.iter().map(|line| line.0).collect::<Vec<_>>(), [4, 4, 2]);
        assert!(lines.confidence > 0.6, "{}", lines.confidence);
    }

    #[test]
    fn too_few_players_have_no_shape() {
        let mut roles = Roles::default();
        (0..50).for_each(|_| roles.update(&[[0.0, 0.0], [5.0, 5.0], [9.0, -4.0]]));
        assert_eq!(roles.lines(), None);
    }
}
