//! IDF1 (Ristani et al. 2016): F1 of the boxes explained by the best one-to-one assignment of object identities to
//! track identities over a whole sequence.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use sideline_vision::assignment::assign;

use crate::motchallenge::{Frames, LabeledBox};
use crate::{MATCH_IOU, driver::frame, ratio};

/// Counts behind the identity measures. Counts of several sequences are pooled by addition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdentityCounts {
    /// Identity true positives (IDTP): frames in which an object overlaps the track assigned to it.
    pub true_positives: u64,
    /// Ground-truth boxes.
    pub objects: u64,
    /// Track boxes in the result.
    pub tracks: u64,
}

impl IdentityCounts {
    /// Counts one sequence.
    #[must_use]
    pub fn count(truth: &Frames<LabeledBox>, result: &Frames<LabeledBox>) -> Self {
        let (object_index, track_index) = (indices(truth), indices(result));
        let mut together = vec![0.0; object_index.len() * track_index.len()];
        for number in 0..truth.len().min(result.len()) {
            for object in frame(truth, number) {
                for track in frame(result, number) {
                    if 1.0 - object.rect.iou(&track.rect) <= 1.0 - MATCH_IOU {
                        together[object_index[&object.id] * track_index.len() + track_index[&track.id]] += 1.0;
                    }
                }
            }
        }
        let pairs = assign(object_index.len(), track_index.len(), &together).into_iter();
        let true_positives: f64 = pairs.map(|(object, track)| together[object * track_index.len() + track]).sum();
        Self {
            true_positives: true_positives as u64,
            objects: truth.iter().map(|boxes| boxes.len() as u64).sum(),
            tracks: result.iter().map(|boxes| boxes.len() as u64).sum(),
        }
    }

    /// IDF1: 2 IDTP / (objects + tracks), 0 to 1; NaN without objects.
    #[must_use]
    pub fn idf1(&self) -> f64 {
        let tracks = if self.objects > 0 { self.tracks } else { 0 };
        ratio(2.0 * self.true_positives as f64, (self.objects + tracks) as f64)
    }
}

impl AddAssign for IdentityCounts {
    fn add_assign(&mut self, other: Self) {
        self.true_positives += other.true_positives;
        self.objects += other.objects;
        self.tracks += other.tracks;
    }
}

/// Maps every identity of a sequence to a dense index, in ascending order of identity.
pub(crate) fn indices(frames: &Frames<LabeledBox>) -> BTreeMap<i64, usize> {
    let mut indices: BTreeMap<i64, usize> = frames.iter().flatten().map(|labeled| (labeled.id, 0)).collect();
    indices.values_mut().enumerate().for_each(|(position, index)| *index = position);
    indices
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rect;

    #[test]
    fn identities_are_assigned_to_explain_the_most_boxes() {
        let at = |id| vec![LabeledBox { id, rect: Rect { x: 0.0, y: 0.0, w: 4.0, h: 4.0 } }];
        let truth = vec![at(1), at(1), at(1), at(1), at(1)];
        let result = vec![at(5), at(5), at(6), at(6), at(6)];
        let counts = IdentityCounts::count(&truth, &result);
        assert_eq!(counts, IdentityCounts { true_positives: 3, objects: 5, tracks: 5 });
        assert_eq!(counts.idf1(), 0.6);
    }
}
