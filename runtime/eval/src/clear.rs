//! CLEAR MOT metrics (Bernardin and Stiefelhagen 2008), with the matching rules of `motmetrics`.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use sideline_vision::assignment::assign;

use crate::motchallenge::{Frames, LabeledBox};
use crate::{MATCH_IOU, driver::frame, ratio};

/// Counts behind CLEAR MOT. Counts of several sequences are pooled by addition.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClearCounts {
    /// Ground-truth boxes.
    pub objects: u64,
    /// Ground-truth boxes matched with a track box (true positives).
    pub matches: u64,
    /// Track boxes without a match.
    pub false_positives: u64,
    /// Ground-truth boxes without a match (false negatives).
    pub misses: u64,
    /// Identity switches: an object matched with another track than the last one it had, however long ago.
    pub switches: u64,
    /// Fragmentations: an object matched again after it was missed.
    pub fragmentations: u64,
    /// Sum of the IoU of all matches.
    pub iou: f64,
}

impl ClearCounts {
    /// Counts one sequence.
    #[must_use]
    pub fn count(truth: &Frames<LabeledBox>, result: &Frames<LabeledBox>) -> Self {
        let mut counts = Self::default();
        let mut last_track: BTreeMap<i64, i64> = BTreeMap::new();
        let mut is_interrupted: BTreeMap<i64, bool> = BTreeMap::new();
        for number in 0..truth.len().max(result.len()) {
            let (objects, tracks) = (frame(truth, number), frame(result, number));
            let pairs = match_boxes(objects, tracks, &last_track);
            let mut covered = vec![false; objects.len()];
            for &(object, track) in &pairs {
                covered[object] = true;
                counts.iou += objects[object].rect.iou(&tracks[track].rect);
                let before = last_track.insert(objects[object].id, tracks[track].id);
                counts.switches += u64::from(before.is_some_and(|before| before != tracks[track].id));
            }
            for (object, covered) in objects.iter().zip(covered) {
                if covered {
                    let was_interrupted = is_interrupted.insert(object.id, false);
                    counts.fragmentations += u64::from(was_interrupted == Some(true));
                } else if let Some(interrupted) = is_interrupted.get_mut(&object.id) {
                    *interrupted = true;
                }
            }
            counts.objects += objects.len() as u64;
            counts.matches += pairs.len() as u64;
            counts.misses += (objects.len() - pairs.len()) as u64;
            counts.false_positives += (tracks.len() - pairs.len()) as u64;
        }
        counts
    }

    /// Multiple object tracking accuracy (MOTA): 1 - (misses + false positives + switches) / objects. May be negative;
    /// NaN without objects.
    #[must_use]
    pub fn mota(&self) -> f64 {
        1.0 - ratio((self.misses + self.false_positives + self.switches) as f64, self.objects as f64)
    }

    /// Multiple object tracking precision (MOTP): mean IoU of the matches; NaN without matches.
    #[must_use]
    pub fn motp(&self) -> f64 {
        ratio(self.iou, self.matches as f64)
    }
}

impl AddAssign for ClearCounts {
    fn add_assign(&mut self, other: Self) {
        self.objects += other.objects;
        self.matches += other.matches;
        self.false_positives += other.false_positives;
        self.misses += other.misses;
        self.switches += other.switches;
        self.fragmentations += other.fragmentations;
        self.iou += other.iou;
    }
}

/// Matches the boxes of one frame. An object keeps its last track if the two still overlap by [`MATCH_IOU`]; the
/// remaining boxes are assigned for the largest number of matches, then for the greatest sum of IoU.
fn match_boxes(objects: &[LabeledBox], tracks: &[LabeledBox], last_track: &BTreeMap<i64, i64>) -> Vec<(usize, usize)> {
    // Exceeds the sum of all IoU of a frame, so that one more match always outweighs a better overlap.
    const MATCH_GAIN: f64 = 1e6;
    let gain = |object: usize, track: usize| {
        let iou = objects[object].rect.iou(&tracks[track].rect);
        if 1.0 - iou <= 1.0 - MATCH_IOU { MATCH_GAIN + iou } else { 0.0 }
    };
    let mut pairs = Vec::new();
    let mut free_tracks: Vec<usize> = (0..tracks.len()).collect();
    let mut free_objects = Vec::new();
    for (object, labeled) in objects.iter().enumerate() {
        let previous = last_track.get(&labeled.id).and_then(|id| free_tracks.iter().position(|&t| tracks[t].id == *id));
        match previous {
            Some(index) if gain(object, free_tracks[index]) > 0.0 => pairs.push((object, free_tracks.remove(index))),
            _ => free_objects.push(object),
        }
    }
    let gains = free_objects.iter().flat_map(|&o| free_tracks.iter().map(move |&t| (o, t)));
    let gains: Vec<f64> = gains.map(|(o, t)| gain(o, t)).collect();
    let new = assign(free_objects.len(), free_tracks.len(), &gains).into_iter();
    pairs.extend(new.map(|(o, t)| (free_objects[o], free_tracks[t])).filter(|&(o, t)| gain(o, t) > 0.0));
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rect;

    fn at(id: i64, x: f64) -> LabeledBox {
        LabeledBox { id, rect: Rect { x, y: 0.0, w: 10.0, h: 10.0 } }
    }

    #[test]
    fn a_perfect_result_scores_one() {
        let truth = vec![vec![at(1, 0.0), at(2, 50.0)], vec![], vec![at(1, 5.0)]];
        let result = vec![vec![at(9, 50.0), at(4, 0.0)], vec![], vec![at(4, 5.0)]];
        let counts = ClearCounts::count(&truth, &result);
        assert_eq!((counts.mota(), counts.motp(), counts.switches, counts.fragmentations), (1.0, 1.0, 0, 0));
    }

    #[test]
    fn misses_false_positives_switches_and_fragmentations_are_counted() {
        let truth = vec![vec![at(1, 0.0)], vec![at(1, 0.0)], vec![at(1, 0.0)], vec![]];
        let result = vec![vec![at(7, 1.0)], vec![at(7, 90.0)], vec![at(8, 0.0)], vec![at(8, 0.0)]];
        let counts = ClearCounts::count(&truth, &result);
        assert_eq!((counts.misses, counts.false_positives, counts.switches, counts.fragmentations), (1, 2, 1, 1));
        assert_eq!(counts.mota(), 1.0 - 4.0 / 3.0);
    }

    #[test]
    fn an_object_keeps_its_last_track_over_one_with_greater_overlap() {
        let truth = vec![vec![at(1, 0.0)], vec![at(1, 0.0)]];
        let result = vec![vec![at(7, 0.0)], vec![at(7, 2.0), at(8, 0.0)]];
        assert_eq!(ClearCounts::count(&truth, &result).switches, 0);
    }
}
