//! Runs a tracker over sequences and computes its metrics.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::motchallenge::{Detection, Frames, LabeledBox, Rect, Sequence};
use crate::{ClearCounts, HotaCounts, IdentityCounts};

/// Tracker input: the detections of one frame.
#[derive(Clone, Copy, Debug)]
pub struct DetectedFrame<'a> {
    /// Name of the sequence.
    pub sequence: &'a str,
    /// Frame number, from 1. A tracker resets its state at frame 1: sequences are independent of each other.
    pub number: usize,
    /// Seconds since the previous frame.
    pub seconds: f64,
    /// Detections of the frame, with scores from 0 to 1; may be empty.
    pub detections: &'a [Detection],
}

/// Tracker output: a box with an identity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrackedBox {
    /// Identity, unique within a frame.
    pub id: u32,
    /// Box in the image, px.
    pub rect: Rect,
}

/// Metrics of one sequence, or of several with their counts pooled. Ratios are percentages; NaN (`null` in JSON) when
/// there is no ground-truth box.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TrackingMetrics {
    /// Multiple object tracking accuracy (CLEAR).
    pub mota: f64,
    /// Identity F1 (Ristani et al. 2016).
    pub idf1: f64,
    /// Higher order tracking accuracy (Luiten et al. 2021).
    pub hota: f64,
    /// Detection accuracy of HOTA.
    pub deta: f64,
    /// Association accuracy of HOTA.
    pub assa: f64,
    /// Mean IoU of matched boxes.
    pub motp: f64,
    /// Identity switches.
    pub idsw: u64,
    /// False positives.
    pub fp: u64,
    /// False negatives (misses).
    pub r#fn: u64,
    /// Fragmentations.
    pub fm: u64,
    /// Ground-truth boxes.
    pub objects: u64,
}

/// Metrics of every sequence by name, and `overall`. Serializes as one map.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrackingReport {
    /// Metrics by sequence name.
    #[serde(flatten)]
    pub sequences: BTreeMap<String, TrackingMetrics>,
    /// Metrics of all sequences, their counts pooled.
    pub overall: TrackingMetrics,
}

/// Feeds sequences to `tracker` frame by frame and scores the boxes that it returns.
pub fn run_tracking(
    sequences: &[Sequence],
    tracker: &mut dyn FnMut(DetectedFrame<'_>) -> Vec<TrackedBox>,
) -> TrackingReport {
    let mut counts = BTreeMap::new();
    for sequence in sequences {
        let mut result: Frames<LabeledBox> = Vec::new();
        for index in 0..sequence.detections.len().max(sequence.truth.len()) {
            let tracks = tracker(DetectedFrame {
                sequence: &sequence.name,
                number: index + 1,
                seconds: 1.0 / sequence.frame_rate,
                detections: frame(&sequence.detections, index),
            });
            result.push(tracks.into_iter().map(|track| LabeledBox { id: track.id.into(), rect: track.rect }).collect());
        }
        counts.insert(sequence.name.clone(), Counts::from_boxes(&sequence.truth, &result));
    }
    let mut pooled = Counts::default();
    counts.values().for_each(|counts| pooled.add(counts));
    let sequences = counts.into_iter().map(|(name, counts)| (name, counts.metrics())).collect();
    TrackingReport { sequences, overall: pooled.metrics() }
}

/// Scores one result against the ground truth.
#[must_use]
pub fn score(truth: &Frames<LabeledBox>, result: &Frames<LabeledBox>) -> TrackingMetrics {
    Counts::from_boxes(truth, result).metrics()
}

impl TrackingReport {
    /// Returns the metrics of a sequence, or those of `overall`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&TrackingMetrics> {
        self.sequences.get(name).or((name == "overall").then_some(&self.overall))
    }
}

/// Returns the boxes of a frame (index from 0); empty past the end.
pub(crate) fn frame<T>(frames: &Frames<T>, index: usize) -> &[T] {
    frames.get(index).map_or(&[], Vec::as_slice)
}

#[derive(Default)]
struct Counts {
    clear: ClearCounts,
    identity: IdentityCounts,
    hota: HotaCounts,
}

impl Counts {
    fn from_boxes(truth: &Frames<LabeledBox>, result: &Frames<LabeledBox>) -> Self {
        Self {
            clear: ClearCounts::count(truth, result),
            identity: IdentityCounts::count(truth, result),
            hota: HotaCounts::count(truth, result),
        }
    }

    fn add(&mut self, other: &Self) {
        self.clear += other.clear;
        self.identity += other.identity;
        self.hota += other.hota;
    }

    fn metrics(&self) -> TrackingMetrics {
        TrackingMetrics {
            mota: 100.0 * self.clear.mota(),
            idf1: 100.0 * self.identity.idf1(),
            hota: 100.0 * self.hota.hota(),
            deta: 100.0 * self.hota.deta(),
            assa: 100.0 * self.hota.assa(),
            motp: 100.0 * self.clear.motp(),
            idsw: self.clear.switches,
            fp: self.clear.false_positives,
            r#fn: self.clear.misses,
            fm: self.clear.fragmentations,
            objects: self.clear.objects,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tracker_without_output_scores_zero() {
        let object = LabeledBox { id: 1, rect: Rect { x: 0.0, y: 0.0, w: 2.0, h: 2.0 } };
        let metrics = score(&vec![vec![object]; 3], &Vec::new());
        assert_eq!((metrics.mota, metrics.idf1, metrics.hota, metrics.r#fn), (0.0, 0.0, 0.0, 3));
    }

    #[test]
    fn ratios_are_nan_without_ground_truth() {
        let object = LabeledBox { id: 1, rect: Rect { x: 0.0, y: 0.0, w: 2.0, h: 2.0 } };
        for result in [vec![], vec![vec![object]; 3]] {
            let metrics = score(&Vec::new(), &result);
            let ratios = [metrics.mota, metrics.idf1, metrics.hota, metrics.deta, metrics.assa, metrics.motp];
            assert!(ratios.iter().all(|ratio| ratio.is_nan()), "{metrics:?}");
            assert_eq!(metrics.fp, result.len() as u64);
            assert!(serde_json::to_value(metrics).unwrap()["mota"].is_null());
        }
    }
}
