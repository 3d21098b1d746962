//! Where the camera turned, read from the boxes themselves: the displacement that most people made together.
//!
//! A broadcast camera pans, and jerks. Each track's own filter takes some frames to learn that, and that of a lost one
//! never does. So before anything is matched, the displacement is sought that carries the most foreseen boxes onto a
//! detection each. What all share is taken to be the camera's.

use std::collections::HashMap;

use crate::kalman::CentredBox;

/// How far the camera may jump beside what was foreseen, heights of a person.
const REACH: f64 = 1.0;
/// How near a carried box must come to a detection to speak for a displacement, heights.
const NEAR: f64 = 0.12;
/// Height of a detection against the track's, at least; at most, the inverse.
const ALIKE: f64 = 0.75;
/// The fewest tracks that must agree: a few people who start together are no camera.
const FEWEST: usize = 6;
/// The share of the tracks that must agree.
const SHARE: f64 = 0.6;
/// How much better than with a camera at rest it must fit: in whole tracks, and in shares of them.
const BETTER: (f64, f64) = (1.0, 0.1);

/// The displacement (x, y; pixels) that carries most of the `foreseen` boxes onto one of the `detected` each; `None` where
/// too few agree, or where no displacement fits about as well.
pub(crate) fn displacement(foreseen: &[CentredBox], detected: &[CentredBox]) -> Option<[f64; 2]> {
    if foreseen.len() < FEWEST {
        return None;
    }
    let offers = Offers::new(foreseen, detected);
    let still = offers.fit([0.0, 0.0]);
    let mut best = Fit { weight: still.weight + BETTER.0 + BETTER.1 * foreseen.len() as f64, ..Fit::default() };
    for offer in &offers.all {
        let fit = offers.fit(offer.by);
        if fit.weight > best.weight {
            best = fit;
        }
    }
    let enough = best.votes >= FEWEST && best.votes as f64 >= SHARE * foreseen.len() as f64;
    enough.then(|| best.sum.map(|sum| sum / best.votes as f64))
}

/// A displacement that carries one track onto one detection.
struct Offer {
    track: usize,
    by: [f64; 2],
    /// How far another may lie from it to agree with it, pixels.
    near: f64,
}

/// Offers in the order of their tracks, and which of them lie in each cell of a grid: only neighbors can agree, and a crowd of
/// a thousand makes ten thousand offers.
struct Offers {
    all: Vec<Offer>,
    cells: HashMap<[i64; 2], Vec<usize>>,
    /// Side of a cell, pixels: the farthest at which any two agree.
    side: f64,
}

fn offers(foreseen: &[CentredBox], detected: &[CentredBox]) -> Vec<Offer> {
    let mut offers = Vec::with_capacity(2 * foreseen.len());
    for (track, from) in foreseen.iter().enumerate() {
        for to in detected {
            let by = [to.cx - from.cx, to.cy - from.cy];
            let alike = (ALIKE..=1.0 / ALIKE).contains(&(to.h / from.h));
            if alike && by.iter().all(|by| by.abs() < REACH * from.h) {
                offers.push(Offer { track, by, near: NEAR * from.h });
            }
        }
    }
    offers
}

/// How well a displacement fits.
#[derive(Default)]
struct Fit {
    /// Over the tracks that agree, how nearly they do: 1 exactly, 0 just so.
    weight: f64,
    votes: usize,
    /// Their own displacements, summed.
    sum: [f64; 2],
}

impl Offers {
    fn new(foreseen: &[CentredBox], detected: &[CentredBox]) -> Self {
        let all = offers(foreseen, detected);
        let side = all.iter().map(|offer| offer.near).fold(1.0, f64::max);
        let mut offers = Self { cells: HashMap::new(), side, all };
        for (index, offer) in offers.all.iter().enumerate() {
            let cell = offer.by.map(|by| (by / side).floor() as i64);
            offers.cells.entry(cell).or_default().push(index);
        }
        offers
    }

    /// Counts who agrees with a displacement. Each track agrees by the offer of its that lies nearest.
    fn fit(&self, by: [f64; 2]) -> Fit {
        let mut fit = Fit::default();
        for of_track in self.around(by).chunk_by(|a, b| a.track == b.track) {
            let weight = |offer: &Offer| {
                let square = (offer.by[0] - by[0]).powi(2) + (offer.by[1] - by[1]).powi(2);
                1.0 - square / (offer.near * offer.near)
            };
            let nearest = of_track.iter().map(|offer| (weight(offer), offer)).max_by(|a, b| a.0.total_cmp(&b.0));
            if let Some((weight, offer)) = nearest.filter(|(weight, _)| *weight > 0.0) {
                fit.weight += weight;
                fit.votes += 1;
                fit.sum = [fit.sum[0] + offer.by[0], fit.sum[1] + offer.by[1]];
            }
        }
        fit
    }

    /// The offers that may agree with a displacement, in the order of their tracks.
    fn around(&self, by: [f64; 2]) -> Vec<&Offer> {
        let [x, y] = by.map(|by| (by / self.side).floor() as i64);
        let cells = (x - 1..=x + 1).flat_map(|x| (y - 1..=y + 1).map(move |y| [x, y]));
        let mut found: Vec<usize> = cells.filter_map(|cell| self.cells.get(&cell)).flatten().copied().collect();
        found.sort_unstable();
        found.into_iter().map(|index| &self.all[index]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// People in a row, unevenly spaced, each moved by its own step.
    fn row(count: usize, step: impl Fn(usize) -> [f64; 2]) -> Vec<CentredBox> {
        let person = |index: usize| {
            let [dx, dy] = step(index);
            let (cx, cy) = (100.0 + 97.0 * index as f64 + dx, 300.0 + 31.0 * (index % 3) as f64 + dy);
            CentredBox { cx, cy, w: 30.0, h: 80.0 }
        };
        (0..count).map(person).collect()
    }

    #[test]
    fn what_most_have_in_common_is_found_among_those_who_go_their_own_way() {
        let step = |index: usize| match index {
            2 => [-20.0, 5.0],
            5 => [60.0, -8.0],
            _ => [35.0 + (index % 3) as f64 - 1.0, 4.0],
        };
        let [dx, dy] = displacement(&row(10, |_| [0.0; 2]), &row(10, step)).unwrap();
        assert!((dx - 35.0).abs() < 1.0 && (dy - 4.0).abs() < 0.5, "{dx} {dy}");
    }

    #[test]
    fn too_few_who_agree_are_no_camera() {
        let own = |index: usize| [[20.0, 0.0], [-20.0, 0.0], [0.0, 30.0]][index % 3];
        assert_eq!(displacement(&row(12, |_| [0.0; 2]), &row(12, own)), None);
        assert_eq!(displacement(&row(5, |_| [0.0; 2]), &row(5, |_| [35.0, 0.0])), None);
        assert!(displacement(&row(6, |_| [0.0; 2]), &row(6, |_| [35.0, 0.0])).is_some());
    }

    #[test]
    fn a_tremble_is_no_camera() {
        assert_eq!(displacement(&row(10, |_| [0.0; 2]), &row(10, |_| [2.0, -1.0])), None);
        assert_eq!(displacement(&row(10, |_| [0.0; 2]), &[]), None);
    }
}
