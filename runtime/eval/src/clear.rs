//! CLEAR MOT (Bernardin and Stiefelhagen 2008), counted as `motmetrics` counts it.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use sideline_api::assignment::assign;

use crate::motchallenge::{Frames, Labelled};
use crate::{MATCH_IOU, driver::frame, ratio};

/// The counts of CLEAR MOT; sequences are pooled by adding them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Clear {
    /// Boxes in the ground truth.
    pub objects: u64,
    /// Object boxes that a track box stands for.
    pub matches: u64,
    /// Track boxes that stand for nothing.
    pub false_positives: u64,
    /// Object boxes without a track box.
    pub misses: u64,
    /// Times an object's track was another than the last one it had, however long ago.
    pub switches: u64,
    /// Times an object's cover was broken off and taken up again.
    pub fragmentations: u64,
    /// IoU summed over the matches.
    pub iou: f64,
}

impl Clear {
    /// Counts one sequence.
    #[must_use]
    pub fn count(truth: &Frames<Labelled>, result: &Frames<Labelled>) -> Self {
        let mut counts = Self::default();
        let mut last_track: BTreeMap<i64, i64> = BTreeMap::new();
        let mut broken_off: BTreeMap<i64, bool> = BTreeMap::new();
        for number in 0..truth.len().max(result.len()) {
            let (objects, tracks) = (frame(truth, number), frame(result, number));
            let pairs = pair(objects, tracks, &last_track);
            let mut covered = vec![false; objects.len()];
            for &(object, track) in &pairs {
                covered[object] = true;
                counts.iou += objects[object].rect.iou(&tracks[track].rect);
                let before = last_track.insert(objects[object].id, tracks[track].id);
                counts.switches += u64::from(before.is_some_and(|before| before != tracks[track].id));
            }
            for (object, covered) in objects.iter().zip(covered) {
                if covered {
                    let was_broken = broken_off.insert(object.id, false);
                    counts.fragmentations += u64::from(was_broken == Some(true));
                } else if let Some(broken) = broken_off.get_mut(&object.id) {
                    *broken = true;
                }
            }
            counts.objects += objects.len() as u64;
            counts.matches += pairs.len() as u64;
            counts.misses += (objects.len() - pairs.len()) as u64;
            counts.false_positives += (tracks.len() - pairs.len()) as u64;
        }
        counts
    }

    /// Multiple object tracking accuracy: 1 - (misses + false positives + switches) / objects. May be negative; NaN without
    /// objects.
    #[must_use]
    pub fn mota(&self) -> f64 {
        1.0 - ratio((self.misses + self.false_positives + self.switches) as f64, self.objects as f64)
    }

    /// Mean IoU of the matches; NaN without matches.
    #[must_use]
    pub fn motp(&self) -> f64 {
        ratio(self.iou, self.matches as f64)
    }
}

impl AddAssign for Clear {
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

/// First each object keeps the track it last had, if the two still overlap enough; then as many of the others as
/// possible are paired, with the greatest IoU in sum.
fn pair(objects: &[Labelled], tracks: &[Labelled], last_track: &BTreeMap<i64, i64>) -> Vec<(usize, usize)> {
    // More than all IoU of a frame together: one more pair always counts for more than a better fit.
    const A_PAIR: f64 = 1e6;
    let gain = |object: usize, track: usize| {
        let iou = objects[object].rect.iou(&tracks[track].rect);
        if 1.0 - iou <= 1.0 - MATCH_IOU { A_PAIR + iou } else { 0.0 }
    };
    let mut pairs = Vec::new();
    let mut free_tracks: Vec<usize> = (0..tracks.len()).collect();
    let mut free_objects = Vec::new();
    for (object, labelled) in objects.iter().enumerate() {
        let kept = last_track.get(&labelled.id).and_then(|id| free_tracks.iter().position(|&t| tracks[t].id == *id));
        match kept {
            Some(place) if gain(object, free_tracks[place]) > 0.0 => pairs.push((object, free_tracks.remove(place))),
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

    fn at(id: i64, x: f64) -> Labelled {
        Labelled { id, rect: Rect { x, y: 0.0, w: 10.0, h: 10.0 } }
    }

    #[test]
    fn a_perfect_result_scores_one() {
        let truth = vec![vec![at(1, 0.0), at(2, 50.0)], vec![], vec![at(1, 5.0)]];
        let result = vec![vec![at(9, 50.0), at(4, 0.0)], vec![], vec![at(4, 5.0)]];
        let counts = Clear::count(&truth, &result);
        assert_eq!((counts.mota(), counts.motp(), counts.switches, counts.fragmentations), (1.0, 1.0, 0, 0));
    }

    #[test]
    fn misses_false_positives_switches_and_breaks_are_counted() {
        let truth = vec![vec![at(1, 0.0)], vec![at(1, 0.0)], vec![at(1, 0.0)], vec![]];
        let result = vec![vec![at(7, 1.0)], vec![at(7, 90.0)], vec![at(8, 0.0)], vec![at(8, 0.0)]];
        let counts = Clear::count(&truth, &result);
        assert_eq!((counts.misses, counts.false_positives, counts.switches, counts.fragmentations), (1, 2, 1, 1));
        assert_eq!(counts.mota(), 1.0 - 4.0 / 3.0);
    }

    #[test]
    fn an_object_keeps_its_track_though_another_fits_better() {
        let truth = vec![vec![at(1, 0.0)], vec![at(1, 0.0)]];
        let result = vec![vec![at(7, 0.0)], vec![at(7, 2.0), at(8, 0.0)]];
        assert_eq!(Clear::count(&truth, &result).switches, 0);
    }
}
