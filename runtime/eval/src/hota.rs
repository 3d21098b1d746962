//! HOTA (Luiten et al. 2021): the geometric mean of detection accuracy (DetA) and association accuracy (AssA), averaged
//! over localization thresholds. Follows `trackeval`, the authors' implementation.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use sideline_vision::assignment::assign;

use crate::driver::frame;
use crate::identity::indices;
use crate::motchallenge::{Frames, LabeledBox};

/// Number of localization thresholds: 0.05, 0.10, ..., 0.95.
const ALPHAS: usize = 19;

fn alpha(step: usize) -> f64 {
    0.05 * (step + 1) as f64
}

/// Sums behind HOTA, one per threshold. Sums of several sequences are pooled by addition.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HotaCounts {
    /// True positives per threshold.
    true_positives: [f64; ALPHAS],
    /// Association scores TPA / (TPA + FNA + FPA), summed over the true positives, per threshold.
    association: [f64; ALPHAS],
    objects: f64,
    tracks: f64,
}

impl HotaCounts {
    /// Counts one sequence.
    #[must_use]
    pub fn count(truth: &Frames<LabeledBox>, result: &Frames<LabeledBox>) -> Self {
        let (object_index, track_index) = (indices(truth), indices(result));
        let width = track_index.len();
        let cell = |object: &LabeledBox, track: &LabeledBox| object_index[&object.id] * width + track_index[&track.id];
        let mut object_boxes = vec![0.0; object_index.len()];
        let mut track_boxes = vec![0.0; width];
        truth.iter().flatten().for_each(|object| object_boxes[object_index[&object.id]] += 1.0);
        result.iter().flatten().for_each(|track| track_boxes[track_index[&track.id]] += 1.0);
        let union = |cell: usize, shared: f64| object_boxes[cell / width] + track_boxes[cell % width] - shared;

        // Global alignment score of each pair of identities over the whole sequence, before any one-to-one matching.
        let mut alignment = vec![0.0; object_index.len() * width];
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
                        alignment[cell(object, track)] += row[t] / sum;
                    }
                }
            }
        }
        for (index, shared) in alignment.iter_mut().enumerate() {
            *shared /= union(index, *shared);
        }

        let mut counts =
            Self { objects: object_boxes.iter().sum(), tracks: track_boxes.iter().sum(), ..Self::default() };
        // Sparse: few of all pairs of identities ever overlap.
        let mut together: BTreeMap<usize, [f64; ALPHAS]> = BTreeMap::new();
        for number in 0..truth.len().min(result.len()) {
            let (objects, tracks) = (frame(truth, number), frame(result, number));
            let similarity = similarities(objects, tracks);
            let cells = objects.iter().flat_map(|object| tracks.iter().map(move |track| (object, track)));
            let gains: Vec<f64> =
                cells.zip(&similarity).map(|((object, track), iou)| alignment[cell(object, track)] * iou).collect();
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

    /// HOTA score, 0 to 1; NaN without objects.
    #[must_use]
    pub fn hota(&self) -> f64 {
        self.mean_over_thresholds(|step| (self.deta_at(step) * self.assa_at(step)).sqrt())
    }

    /// Detection accuracy, 0 to 1; NaN without objects.
    #[must_use]
    pub fn deta(&self) -> f64 {
        self.mean_over_thresholds(|step| self.deta_at(step))
    }

    /// Association accuracy, 0 to 1; NaN without objects.
    #[must_use]
    pub fn assa(&self) -> f64 {
        self.mean_over_thresholds(|step| self.assa_at(step))
    }

    fn deta_at(&self, step: usize) -> f64 {
        let true_positives = self.true_positives[step];
        true_positives / (self.objects + self.tracks - true_positives).max(1.0)
    }

    fn assa_at(&self, step: usize) -> f64 {
        self.association[step] / self.true_positives[step].max(1.0)
    }

    fn mean_over_thresholds(&self, at: impl Fn(usize) -> f64) -> f64 {
        if self.objects > 0.0 { (0..ALPHAS).map(at).sum::<f64>() / ALPHAS as f64 } else { f64::NAN }
    }
}

impl AddAssign for HotaCounts {
    fn add_assign(&mut self, other: Self) {
        for step in 0..ALPHAS {
            self.true_positives[step] += other.true_positives[step];
            self.association[step] += other.association[step];
        }
        self.objects += other.objects;
        self.tracks += other.tracks;
    }
}

fn similarities(objects: &[LabeledBox], tracks: &[LabeledBox]) -> Vec<f64> {
    objects.iter().flat_map(|object| tracks.iter().map(|track| object.rect.iou(&track.rect))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rect;

    #[test]
    fn a_split_identity_reduces_association_but_not_detection_accuracy() {
        let at = |id| vec![LabeledBox { id, rect: Rect { x: 0.0, y: 0.0, w: 4.0, h: 4.0 } }];
        let truth = vec![at(1), at(1), at(1), at(1)];
        assert!((HotaCounts::count(&truth, &truth).hota() - 1.0).abs() < 1e-12);
        let split = HotaCounts::count(&truth, &vec![at(1), at(1), at(2), at(2)]);
        assert!((split.deta() - 1.0).abs() < 1e-12);
        assert!((split.assa() - 0.5).abs() < 1e-12);
        assert!((split.hota() - 0.5f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn a_box_is_a_true_positive_at_thresholds_up_to_its_iou() {
        let wide = |w| vec![vec![LabeledBox { id: 1, rect: Rect { x: 0.0, y: 0.0, w, h: 1.0 } }]];
        // IoU 0.52: a true positive at the ten thresholds 0.05 to 0.50 of nineteen.
        assert!((HotaCounts::count(&wide(1.0), &wide(0.52)).deta() - 10.0 / 19.0).abs() < 1e-12);
    }
}
