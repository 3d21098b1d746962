//! Camera motion compensation from boxes alone: finds the displacement that most people share between two frames.
//!
//! A broadcast camera pans and jerks. A track's own filter takes some frames to learn that motion, and the filter of a
//! lost track never does. So before any association, this module searches for the displacement that carries the most
//! predicted boxes onto a detection each, and attributes it to the camera.

use std::collections::HashMap;

use crate::kalman::CenterBox;

/// Largest camera displacement per axis beyond the prediction, in heights of the person's box.
const MAX_SHIFT_HEIGHTS: f64 = 1.0;
/// Distance between two displacements within which they agree, in box heights.
const AGREEMENT_HEIGHTS: f64 = 0.12;
/// Minimum ratio of a detection's height to the track's; the maximum is the inverse.
const MIN_HEIGHT_RATIO: f64 = 0.75;
/// Minimum number of tracks that must agree: a few people who start together are no camera motion.
const MIN_TRACKS: usize = 6;
/// Minimum share of the tracks that must agree.
const MIN_TRACK_SHARE: f64 = 0.6;
/// Margin by which a displacement must fit better than a static camera: a number of tracks, plus a share of all tracks.
const MARGIN_TRACKS: f64 = 1.0;
const MARGIN_TRACK_SHARE: f64 = 0.1;

/// Returns the displacement (x, y; pixels) that carries most `predicted` boxes onto one of the `detected` each; `None`
/// if too few tracks agree, or if a static camera fits about as well.
pub(crate) fn displacement(predicted: &[CenterBox], detected: &[CenterBox]) -> Option<[f64; 2]> {
    if predicted.len() < MIN_TRACKS {
        return None;
    }
    let votes = Votes::new(predicted, detected);
    let margin = MARGIN_TRACKS + MARGIN_TRACK_SHARE * predicted.len() as f64;
    let mut best = Fit { weight: votes.fit([0.0, 0.0]).weight + margin, ..Fit::default() };
    for vote in &votes.all {
        let fit = votes.fit(vote.shift);
        if fit.weight > best.weight {
            best = fit;
        }
    }
    let enough = best.tracks >= MIN_TRACKS && best.tracks as f64 >= MIN_TRACK_SHARE * predicted.len() as f64;
    enough.then(|| best.sum.map(|sum| sum / best.tracks as f64))
}

/// Displacement that carries one track onto one detection.
struct Vote {
    track: usize,
    shift: [f64; 2],
    /// Distance within which another displacement agrees with this one, pixels.
    tolerance: f64,
}

/// Votes in the order of their tracks, with a grid over their displacements. Only neighbors in the grid can agree, and
/// a crowd of a thousand people casts ten thousand votes.
struct Votes {
    all: Vec<Vote>,
    cells: HashMap<[i64; 2], Vec<usize>>,
    /// Side of a grid cell, pixels: the largest tolerance of any vote.
    cell_side: f64,
}

fn cast_votes(predicted: &[CenterBox], detected: &[CenterBox]) -> Vec<Vote> {
    let mut votes = Vec::with_capacity(2 * predicted.len());
    for (track, from) in predicted.iter().enumerate() {
        for to in detected {
            let shift = [to.cx - from.cx, to.cy - from.cy];
            let same_size = (MIN_HEIGHT_RATIO..=1.0 / MIN_HEIGHT_RATIO).contains(&(to.h / from.h));
            if same_size && shift.iter().all(|shift| shift.abs() < MAX_SHIFT_HEIGHTS * from.h) {
                votes.push(Vote { track, shift, tolerance: AGREEMENT_HEIGHTS * from.h });
            }
        }
    }
    votes
}

/// Support of the tracks for one displacement.
#[derive(Default)]
struct Fit {
    /// Sum over the tracks that agree: 1 for an exact match, falling to 0 at the tolerance.
    weight: f64,
    /// Tracks that agree.
    tracks: usize,
    /// Sum of their displacements, pixels.
    sum: [f64; 2],
}

impl Votes {
    fn new(predicted: &[CenterBox], detected: &[CenterBox]) -> Self {
        let all = cast_votes(predicted, detected);
        let cell_side = all.iter().map(|vote| vote.tolerance).fold(1.0, f64::max);
        let mut votes = Self { cells: HashMap::new(), cell_side, all };
        for (index, vote) in votes.all.iter().enumerate() {
            let cell = vote.shift.map(|shift| (shift / cell_side).floor() as i64);
            votes.cells.entry(cell).or_default().push(index);
        }
        votes
    }

    /// Measures the support for a displacement. Each track counts once, by its nearest vote.
    fn fit(&self, shift: [f64; 2]) -> Fit {
        let mut fit = Fit::default();
        for votes_of_track in self.neighbors(shift).chunk_by(|a, b| a.track == b.track) {
            let weight = |vote: &Vote| {
                let squared = (vote.shift[0] - shift[0]).powi(2) + (vote.shift[1] - shift[1]).powi(2);
                1.0 - squared / (vote.tolerance * vote.tolerance)
            };
            let nearest = votes_of_track.iter().map(|vote| (weight(vote), vote)).max_by(|a, b| a.0.total_cmp(&b.0));
            if let Some((weight, vote)) = nearest.filter(|(weight, _)| *weight > 0.0) {
                fit.weight += weight;
                fit.tracks += 1;
                fit.sum = [fit.sum[0] + vote.shift[0], fit.sum[1] + vote.shift[1]];
            }
        }
        fit
    }

    /// Returns the votes in the grid cells around a displacement, in the order of their tracks.
    fn neighbors(&self, shift: [f64; 2]) -> Vec<&Vote> {
        let [x, y] = shift.map(|shift| (shift / self.cell_side).floor() as i64);
        let cells = (x - 1..=x + 1).flat_map(|x| (y - 1..=y + 1).map(move |y| [x, y]));
        let mut found: Vec<usize> = cells.filter_map(|cell| self.cells.get(&cell)).flatten().copied().collect();
        found.sort_unstable();
        found.into_iter().map(|index| &self.all[index]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builds unevenly spaced people in a row, each moved by its own step.
    fn row(count: usize, step: impl Fn(usize) -> [f64; 2]) -> Vec<CenterBox> {
        let person = |index: usize| {
            let [dx, dy] = step(index);
            let (cx, cy) = (100.0 + 97.0 * index as f64 + dx, 300.0 + 31.0 * (index % 3) as f64 + dy);
            CenterBox { cx, cy, w: 30.0, h: 80.0 }
        };
        (0..count).map(person).collect()
    }

    #[test]
    fn the_common_displacement_is_found_despite_individual_motion() {
        let step = |index: usize| match index {
            2 => [-20.0, 5.0],
            5 => [60.0, -8.0],
            _ => [35.0 + (index % 3) as f64 - 1.0, 4.0],
        };
        let [dx, dy] = displacement(&row(10, |_| [0.0; 2]), &row(10, step)).unwrap();
        assert!((dx - 35.0).abs() < 1.0 && (dy - 4.0).abs() < 0.5, "{dx} {dy}");
    }

    #[test]
    fn too_few_agreeing_tracks_are_no_camera_motion() {
        let own = |index: usize| [[20.0, 0.0], [-20.0, 0.0], [0.0, 30.0]][index % 3];
        assert_eq!(displacement(&row(12, |_| [0.0; 2]), &row(12, own)), None);
        assert_eq!(displacement(&row(5, |_| [0.0; 2]), &row(5, |_| [35.0, 0.0])), None);
        assert!(displacement(&row(6, |_| [0.0; 2]), &row(6, |_| [35.0, 0.0])).is_some());
    }

    #[test]
    fn jitter_is_no_camera_motion() {
        assert_eq!(displacement(&row(10, |_| [0.0; 2]), &row(10, |_| [2.0, -1.0])), None);
        assert_eq!(displacement(&row(10, |_| [0.0; 2]), &[]), None);
    }
}
