//! The shape of a team: its roles, and the lines they make.
//!
//! A role is a place beside the team's middle that somebody fills; who does may change from frame to frame, and tracks may
//! break and begin anew. So players are assigned to the roles' places anew in each frame, at the least sum of squared ways
//! (Bialkowski et al., "Large-Scale Analysis of Soccer Matches Using Spatiotemporal Tracking Data", ICDM 2014, section III).

use serde::{Deserialize, Serialize};

/// Outfield players of a team.
pub const ROLES: usize = 10;
/// Part of the frames in which a role must have been filled to count.
const FILLED: f64 = 0.4;
/// Share of all squared depth that one more line must explain. A line that is split at random explains less.
const LINE: f64 = 0.05;
/// Further than this from every free role somebody fills another one, m.
const ANOTHER: f64 = 7.0;
/// A role that was filled in less of the frames makes room for another.
const RARE: f64 = 0.2;
/// Fewest and most lines.
const LINES: [usize; 2] = [2, 5];
/// Fewest roles that make a shape.
pub const LEAST: usize = 7;

/// A place that somebody fills.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Role {
    /// Beside the team's middle: forth, across; m.
    at: [f64; 2],
    frames: f64,
}

/// The roles of one team in one period.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Roles {
    roles: Vec<Role>,
    frames: f64,
}

/// Lines of roles.
#[derive(Clone, Debug, PartialEq)]
pub struct Lines {
    /// Players of each line from the rear on, and its mean depth beside the team's middle, m.
    pub lines: Vec<(usize, f64)>,
    /// How well the lines are told apart, 0..1: the mean silhouette (Rousseeuw 1987).
    pub confidence: f64,
}

impl Roles {
    /// Takes in a frame's outfield players: forth and across beside their middle, m.
    pub fn see(&mut self, players: &[[f64; 2]]) {
        self.frames += 1.0;
        let (rows, columns) = (players.len(), self.roles.len());
        let mut taken = vec![false; rows];
        if rows > 0 && columns > 0 {
            let costs: Vec<f64> = players
                .iter()
                .flat_map(|p| self.roles.iter().map(|r| (p[0] - r.at[0]).powi(2) + (p[1] - r.at[1]).powi(2)))
                .collect();
            // Only a NaN would fail, and places are finite.
            let (row, column) = lsap::solve(rows, columns, &costs, false).unwrap_or_default();
            for (player, role) in row.into_iter().zip(column) {
                if costs[player * columns + role] > ANOTHER * ANOTHER {
                    continue;
                }
                taken[player] = true;
                let role = &mut self.roles[role];
                role.frames += 1.0;
                for (mean, now) in role.at.iter_mut().zip(players[player]) {
                    *mean += (now - *mean) / role.frames;
                }
            }
        }
        for (player, _) in players.iter().zip(taken).filter(|(_, taken)| !taken) {
            let rare = |role: &Role| role.frames < RARE * self.frames;
            if self.roles.len() < ROLES {
                self.roles.push(Role { at: *player, frames: 1.0 });
            } else if let Some(role) = self.roles.iter_mut().find(|role| rare(role)) {
                *role = Role { at: *player, frames: 1.0 };
            }
        }
    }

    /// The lines; `None` where too few players were seen.
    pub fn lines(&self) -> Option<Lines> {
        let filled = self.roles.iter().filter(|role| role.frames >= FILLED * self.frames);
        let mut depths: Vec<f64> = filled.map(|role| role.at[0]).collect();
        depths.sort_by(f64::total_cmp);
        (depths.len() >= LEAST).then(|| lines(&depths))
    }
}

/// Cuts depths, in rising order, into lines: as many as explain enough, where they explain most (Fisher 1958, "On Grouping
/// for Maximum Homogeneity").
pub fn lines(depths: &[f64]) -> Lines {
    let n = depths.len();
    let all = scatter(depths);
    let mut best: Option<(f64, Vec<usize>)> = None;
    // Each bit is a cut behind a player: 512 ways for ten.
    for cuts in 0u32..1 << (n - 1) {
        let k = cuts.count_ones() as usize + 1;
        if !(LINES[0]..=LINES[1]).contains(&k) {
            continue;
        }
        let sizes = sizes(n, cuts);
        let mut rest = depths;
        let mut cost = LINE * all * k as f64;
        for size in &sizes {
            let (line, after) = rest.split_at(*size);
            cost += scatter(line);
            rest = after;
        }
        if best.as_ref().is_none_or(|(least, _)| cost < *least) {
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
    Lines { confidence: silhouette(depths, &sizes), lines }
}

/// The sizes of the lines that these cuts make.
fn sizes(n: usize, cuts: u32) -> Vec<usize> {
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

/// Sum of squares about the mean.
fn scatter(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    values.iter().map(|value| (value - mean).powi(2)).sum()
}

/// The mean silhouette of depths in lines.
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
            let mean = |to: &[f64], others: usize| to.iter().map(|d| (d - depth).abs()).sum::<f64>() / others as f64;
            let beside =
                (0..lines.len()).filter(|other| *other != own).map(|other| mean(lines[other], lines[other].len()));
            let near = beside.fold(f64::INFINITY, f64::min);
            // Who is alone in a line counts 0, as in the paper.
            if line.len() > 1 {
                let within = mean(line, line.len() - 1);
                sum += (near - within) / near.max(within).max(1e-9);
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
        lines(&sorted).lines.iter().map(|(n, _)| n.to_string()).collect::<Vec<_>>().join("-")
    }

    #[test]
    fn lines_are_where_the_gaps_are() {
        assert_eq!(shape(&[-14.0, -15.0, -13.5, -16.0, 0.0, 1.0, -1.5, 2.0, 14.0, 15.5]), "4-4-2");
        assert_eq!(shape(&[-14.0, -15.0, -13.5, -16.0, 0.0, 1.0, -1.5, 14.0, 13.0, 15.5]), "4-3-3");
        assert_eq!(shape(&[-14.0, -15.0, -13.5, 0.0, 1.0, -1.5, 2.0, 0.5, 14.0, 15.5]), "3-5-2");
        assert_eq!(shape(&[-18.0, -19.0, -17.5, -20.0, -8.0, -7.0, 4.0, 5.0, 3.0, 16.0]), "4-2-3-1");
    }

    #[test]
    fn roles_outlive_who_fills_them() {
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
            // Everybody runs about by two metres, in another order each frame, and one is not seen.
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
            roles.see(&players);
        }
        let lines = roles.lines().unwrap();
        assert_eq!(lines.lines.iter().map(|line| line.0).collect::<Vec<_>>(), [4, 4, 2]);
        assert!(lines.confidence > 0.6, "{}", lines.confidence);
    }

    #[test]
    fn too_few_make_no_shape() {
        let mut roles = Roles::default();
        (0..50).for_each(|_| roles.see(&[[0.0, 0.0], [5.0, 5.0], [9.0, -4.0]]));
        assert_eq!(roles.lines(), None);
    }
}
