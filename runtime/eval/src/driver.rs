//! Runs a tracker over sequences and gathers its figures.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::motchallenge::{Detection, Frames, Labelled, Rect, Sequence};
use crate::{Clear, Hota, Identity};

/// What a tracker is given: the detections of one frame.
#[derive(Clone, Copy, Debug)]
pub struct DetectedFrame<'a> {
    /// The sequence's name.
    pub sequence: &'a str,
    /// The frame, from 1. At 1 a tracker begins with a fresh state: each sequence is a world of its own.
    pub number: usize,
    /// Seconds since the frame before.
    pub seconds: f64,
    /// What the detector saw, scores 0 to 1; perhaps nothing.
    pub detections: &'a [Detection],
}

/// What a tracker answers: a box with an identity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tracked {
    /// Identity, unique within a frame.
    pub id: u32,
    /// Where it is.
    pub rect: Rect,
}

/// Figures of one sequence, or of several pooled. Ratios are percentages, and NaN (`null` in JSON) where there is nothing to
/// take them of: without a true box none is known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Multiple object tracking accuracy (CLEAR).
    pub mota: f64,
    /// F1 of identities.
    pub idf1: f64,
    /// Higher order tracking accuracy.
    pub hota: f64,
    /// Detection accuracy (of HOTA).
    pub deta: f64,
    /// Association accuracy (of HOTA).
    pub assa: f64,
    /// Mean IoU of matched boxes.
    pub motp: f64,
    /// Identity switches.
    pub idsw: u64,
    /// False positives.
    pub fp: u64,
    /// Misses.
    pub r#fn: u64,
    /// Fragmentations.
    pub fm: u64,
    /// Boxes in the ground truth.
    pub objects: u64,
}

/// Figures of every sequence by name, and `overall`. Serialises as one map.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Each sequence.
    #[serde(flatten)]
    pub sequences: BTreeMap<String, Figures>,
    /// All sequences, their counts pooled.
    pub overall: Figures,
}

/// Feeds sequences to `tracker`, frame by frame, and scores what it answers.
pub fn run_tracking(sequences: &[Sequence], tracker: &mut dyn FnMut(DetectedFrame<'_>) -> Vec<Tracked>) -> Report {
    let mut counts = BTreeMap::new();
    for sequence in sequences {
        let mut result: Frames<Labelled> = Vec::new();
        for index in 0..sequence.detections.len().max(sequence.truth.len()) {
            let tracks = tracker(DetectedFrame {
                sequence: &sequence.name,
                number: index + 1,
                seconds: 1.0 / sequence.frame_rate,
                detections: frame(&sequence.detections, index),
            });
            result.push(tracks.into_iter().map(|track| Labelled { id: track.id.into(), rect: track.rect }).collect());
        }
        counts.insert(sequence.name.clone(), Counts::of(&sequence.truth, &result));
    }
    let mut pooled = Counts::default();
    counts.values().for_each(|of| pooled.add(of));
    let sequences = counts.into_iter().map(|(name, of)| (name, of.figures())).collect();
    Report { sequences, overall: pooled.figures() }
}

/// The figures of one result against the ground truth.
#[must_use]
pub fn score(truth: &Frames<Labelled>, result: &Frames<Labelled>) -> Figures {
    Counts::of(truth, result).figures()
}

impl Report {
    /// The figures of a sequence, or of `overall`.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<&Figures> {
        self.sequences.get(name).or((name == "overall").then_some(&self.overall))
    }
}

/// The boxes of a frame (from 0); none past the end.
pub(crate) fn frame<T>(frames: &Frames<T>, index: usize) -> &[T] {
    frames.get(index).map_or(&[], Vec::as_slice)
}

#[derive(Default)]
struct Counts {
    clear: Clear,
    identity: Identity,
    hota: Hota,
}

impl Counts {
    fn of(truth: &Frames<Labelled>, result: &Frames<Labelled>) -> Self {
        Self {
            clear: Clear::count(truth, result),
            identity: Identity::count(truth, result),
            hota: Hota::count(truth, result),
        }
    }

    fn add(&mut self, other: &Self) {
        self.clear += other.clear;
        self.identity += other.identity;
        self.hota += other.hota;
    }

    fn figures(&self) -> Figures {
        Figures {
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
    fn a_tracker_that_answers_nothing_scores_nothing() {
        let object = Labelled { id: 1, rect: Rect { x: 0.0, y: 0.0, w: 2.0, h: 2.0 } };
        let figures = score(&vec![vec![object]; 3], &Vec::new());
        assert_eq!((figures.mota, figures.idf1, figures.hota, figures.r#fn), (0.0, 0.0, 0.0, 3));
    }

    #[test]
    fn without_a_true_box_no_ratio_is_known() {
        let object = Labelled { id: 1, rect: Rect { x: 0.0, y: 0.0, w: 2.0, h: 2.0 } };
        for result in [vec![], vec![vec![object]; 3]] {
            let figures = score(&Vec::new(), &result);
            let ratios = [figures.mota, figures.idf1, figures.hota, figures.deta, figures.assa, figures.motp];
            assert!(ratios.iter().all(|ratio| ratio.is_nan()), "{figures:?}");
            assert_eq!(figures.fp, result.len() as u64);
            assert!(serde_json::to_value(figures).unwrap()["mota"].is_null());
        }
    }
}
