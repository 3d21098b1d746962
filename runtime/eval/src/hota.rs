//! HOTA (Luiten et al. 2020): the geometric mean of how well things are found (DetA) and kept apart (AssA), averaged over
//! localisation thresholds. Follows `trackeval`, the authors' own code.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use sideline_api::assignment::assign;

use crate::driver::frame;
use crate::identity::indices;
use crate::motchallenge::{Frames, Labelled};

/// Localisation thresholds 0.05, 0.10, ..., 0.95.
const ALPHAS: usize = 19;

fn alpha(step: usize) -> f64 {
    0.05 * (step + 1) as f64
}

/// The sums behind HOTA, one per threshold; sequences are pooled by adding them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Hota {
    /// Boxes found, for each threshold.
    true_positives: [f64; ALPHAS],
    /// Over the boxes found: how much of both identities' boxes their pair has in common.
    association: [f64; ALPHAS],
    objects: f64,
    tracks: f64,
}

impl Hota {
    /// Counts one sequence.
    #[must_use]
    pub fn count(truth: &Frames<Labelled>, result: &Frames<Labelled>) -> Self {
        let (object_index, track_index) = (indices(truth), indices(result));
        let width = track_index.len();
        let cell = |object: &Labelled, track: &Labelled| object_index[&object.id] * width + track_index[&track.id];
        let mut object_boxes = vec![0.0; object_index.len()];
        let mut track_boxes = vec![0.0; width];
        truth.iter().flatten().for_each(|object| object_boxes[object_index[&object.id]] += 1.0);
        result.iter().flatten().for_each(|track| track_boxes[track_index[&track.id]] += 1.0);
        let union = |cell: usize, shared: f64| object_boxes[cell / width] + track_boxes[cell % width] - shared;

        // How much two identities have in common over the whole sequence, before any one-to-one pairing.
        let mut alike = vec![0.0; object_index.len() * width];
        for number in 0..truth.len().min(result.len()) {
            let (objects, tracks) = (frame(truth, number), frame(result, number));
            let similarity = similarities(objects, tracks);
            let by_track: Vec<f64> =
                (0..tracks.len()).map(|t| similarity.iter().skip(t).step_by(tracks.len()).sum()).collect();
            for (o, object) in objects.iter().enumerate() {
                let row = &similarity[o * tracks.len()..(o + 1) * tracks.len()];
                let by_object: f64 = row.iter().sum();
                for (t, track) in tracks.iter().enumerate() {
                    let sum = by_object + by_track[t] - row[t];
                    if sum > f64::EPSILON {
                        alike[cell(object, track)] += row[t] / sum;
                    }
                }
            }
        }
        for (index, shared) in alike.iter_mut().enumerate() {
            *shared /= union(index, *shared);
        }

        let mut counts =
            Self { objects: object_boxes.iter().sum(), tracks: track_boxes.iter().sum(), ..Self::default() };
        // Few of all pairs of identities ever lie together.
        let mut together: BTreeMap<usize, [f64; ALPHAS]> = BTreeMap::new();
        for number in 0..truth.len().min(result.len()) {
            let (objects, tracks) = (frame(truth, number), frame(result, number));
            let similarity = similarities(objects, tracks);
            let cells = objects.iter().flat_map(|object| tracks.iter().map(move |track| (object, track)));
            let gains: Vec<f64> =
                cells.zip(&similarity).map(|((object, track), iou)| alike[cell(object, track)] * iou).collect();
            for (o, t) in assign(objects.len(), tracks.len(), &gains) {
                let iou = similarity[o * tracks.len() + t];
                for step in (0..ALPHAS).take_while(|&step| iou >= alpha(step) - f64::EPSILON) {
                    counts.true_positives[step] += 1.0;
                    together.entry(cell(&objects[o], &tracks[t])).or_default()[step] += 1.0;
                }
            }
        }
        for (index, boxes) in together {
            for (step, &shared) in boxes.iter().enumerate().filter(|(_, shared)| **shared > 0.0) {
                counts.association[step] += shared * shared / union(index, shared);
            }
        }
        counts
    }

    /// HOTA, 0 to 1; NaN without objects.
    #[must_use]
    pub fn hota(&self) -> f64 {
        self.mean(|step| (self.detection_at(step) * self.association_at(step)).sqrt())
    }

    /// Detection accuracy, 0 to 1; NaN without objects.
    #[must_use]
    pub fn deta(&self) -> f64 {
        self.mean(|step| self.detection_at(step))
    }

    /// Association accuracy, 0 to 1; NaN without objects.
    #[must_use]
    pub fn assa(&self) -> f64 {
        self.mean(|step| self.association_at(step))
    }

    fn detection_at(&self, step: usize) -> f64 {
        let found = self.true_positives[step];
        found / (self.objects + self.tracks - found).max(1.0)
    }

    fn association_at(&self, step: usize) -> f64 {
        self.association[step] / self.true_positives[step].max(1.0)
    }

    fn mean(&self, at: impl Fn(usize) -> f64) -> f64 {
        if self.objects > 0.0 { (0..ALPHAS).map(at).sum::<f64>() / ALPHAS as f64 } else { f64::NAN }
    }
}

impl AddAssign for Hota {
    fn add_assign(&mut self, other: Self) {
        for step in 0..ALPHAS {
            self.true_positives[step] += other.true_positives[step];
            self.association[step] += other.association[step];
        }
        self.objects += other.objects;
        self.tracks += other.tracks;
    }
}

fn similarities(objects: &[Labelled], tracks: &[Labelled]) -> Vec<f64> {
    objects.iter().flat_map(|object| tracks.iter().map(|track| object.rect.iou(&track.rect))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rect;

    #[test]
    fn a_perfect_result_scores_one_and_a_split_identity_loses_association_only() {
        let at = |id| vec![Labelled { id, rect: Rect { x: 0.0, y: 0.0, w: 4.0, h: 4.0 } }];
        let truth = vec![at(1), at(1), at(1), at(1)];
        assert!((Hota::count(&truth, &truth).hota() - 1.0).abs() < 1e-12);
        let split = Hota::count(&truth, &vec![at(1), at(1), at(2), at(2)]);
        assert!((split.deta() - 1.0).abs() < 1e-12);
        assert!((split.assa() - 0.5).abs() < 1e-12);
        assert!((split.hota() - 0.5f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn a_loose_box_counts_up_to_its_own_overlap() {
        let wide = |w| vec![vec![Labelled { id: 1, rect: Rect { x: 0.0, y: 0.0, w, h: 1.0 } }]];
        // IoU 0.52: found at the ten thresholds 0.05 to 0.50 of nineteen.
        assert!((Hota::count(&wide(1.0), &wide(0.52)).deta() - 10.0 / 19.0).abs() < 1e-12);
    }
}
