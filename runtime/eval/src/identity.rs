//! IDF1 (Ristani et al. 2016): how much of the boxes one lasting pairing of objects and tracks explains.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use sideline_api::assignment::assign;

use crate::motchallenge::{Frames, Labelled};
use crate::{MATCH_IOU, driver::frame, ratio};

/// The counts of the identity measures; sequences are pooled by adding them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Boxes in which an object and the track paired with it for good lie together.
    pub true_positives: u64,
    /// Boxes in the ground truth.
    pub objects: u64,
    /// Boxes in the result.
    pub tracks: u64,
}

impl Identity {
    /// Counts one sequence.
    #[must_use]
    pub fn count(truth: &Frames<Labelled>, result: &Frames<Labelled>) -> Self {
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

    /// 2 true positives / (objects + tracks), 0 to 1; NaN without objects.
    #[must_use]
    pub fn idf1(&self) -> f64 {
        let tracks = if self.objects > 0 { self.tracks } else { 0 };
        ratio(2.0 * self.true_positives as f64, (self.objects + tracks) as f64)
    }
}

impl AddAssign for Identity {
    fn add_assign(&mut self, other: Self) {
        self.true_positives += other.true_positives;
        self.objects += other.objects;
        self.tracks += other.tracks;
    }
}

/// Each identity of a sequence and its place in a dense table, in the order of the identities.
pub(crate) fn indices(frames: &Frames<Labelled>) -> BTreeMap<i64, usize> {
    let mut indices: BTreeMap<i64, usize> = frames.iter().flatten().map(|labelled| (labelled.id, 0)).collect();
    indices.values_mut().enumerate().for_each(|(place, index)| *index = place);
    indices
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rect;

    #[test]
    fn the_pairing_that_explains_most_boxes_counts() {
        let at = |id| vec![Labelled { id, rect: Rect { x: 0.0, y: 0.0, w: 4.0, h: 4.0 } }];
        let truth = vec![at(1), at(1), at(1), at(1), at(1)];
        let result = vec![at(5), at(5), at(6), at(6), at(6)];
        let counts = Identity::count(&truth, &result);
        assert_eq!(counts, Identity { true_positives: 3, objects: 5, tracks: 5 });
        assert_eq!(counts.idf1(), 0.6);
    }
}
