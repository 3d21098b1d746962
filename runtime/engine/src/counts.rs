//! Counts of frames: those of a source or a stream, and those of an operator, with their arithmetic and their names in
//! JSON.
//!
//! Reports, snapshots and progress embed these types, so that each count is defined, added up and serialized in one place.

use std::{collections::BTreeMap, fmt, iter::Sum};

use serde::{Deserialize, Serialize};
use sideline_api::{
    Reason,
    driver::{Outcome, Phase},
};

/// Frame counts of a source, or of one of its streams: decoded = admitted + dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FrameCounts {
    /// Frames decoded by the readers, without those beyond the limit of the run.
    pub decoded: u64,
    /// Frames that entered the graph.
    pub admitted: u64,
    /// Frames dropped because newer ones arrived, or because the run ended.
    #[serde(rename = "forgotten")]
    pub dropped: u64,
}

impl FrameCounts {
    /// Returns true if every decoded frame was admitted or dropped.
    pub fn is_balanced(&self) -> bool {
        self.decoded == self.admitted + self.dropped
    }
}

impl fmt::Display for FrameCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} decoded = {} admitted + {} dropped", self.decoded, self.admitted, self.dropped)
    }
}

impl Sum for FrameCounts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |sum, counts| Self {
            decoded: sum.decoded + counts.decoded,
            admitted: sum.admitted + counts.admitted,
            dropped: sum.dropped + counts.dropped,
        })
    }
}

/// Counts of an operator: processed + skipped + errors + panics are the frames that it handled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorCounts {
    /// Messages of all kinds received.
    pub received: u64,
    /// Messages of all kinds sent.
    pub sent: u64,
    /// Frames that the operator processed.
    pub processed: u64,
    /// Frames skipped, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// Frames on which the operator failed.
    pub errors: u64,
    /// Frames on which the operator panicked.
    pub panics: u64,
    /// Errors and panics at closing messages and ends of streams, which are not frames.
    pub end_failures: u64,
    /// Streams that ended while a restart of the operator was pending: the operator was not called for their end.
    pub ends_while_restarting: u64,
    /// Messages dropped on side inputs because newer ones arrived.
    #[serde(rename = "side_forgotten")]
    pub side_dropped: u64,
}

impl OperatorCounts {
    /// Counts a call by its phase and outcome.
    pub fn record(&mut self, phase: Phase, outcome: &Outcome) {
        let count = match (phase, outcome) {
            (Phase::Frame, Outcome::Done) => &mut self.processed,
            (Phase::Frame, Outcome::Skipped(reason)) => self.skipped.entry(reason.to_string()).or_default(),
            (Phase::Frame, Outcome::Error(_)) => &mut self.errors,
            (Phase::Frame, Outcome::Panic(_)) => &mut self.panics,
            (Phase::Closing | Phase::End { .. }, Outcome::Error(_) | Outcome::Panic(_)) => &mut self.end_failures,
            (Phase::End { .. }, Outcome::EndedWhileRestarting) => &mut self.ends_while_restarting,
            (Phase::Closing | Phase::End { .. }, Outcome::Done | Outcome::Skipped(_))
            | (Phase::Frame | Phase::Closing, Outcome::EndedWhileRestarting) => return,
        };
        *count += 1;
    }

    /// Returns the number of handled frames: processed, skipped and failed.
    pub fn handled(&self) -> u64 {
        self.processed + self.total_skipped() + self.failed_frames()
    }

    /// Returns the number of skipped frames, for all reasons.
    pub fn total_skipped(&self) -> u64 {
        self.skipped.values().sum()
    }

    /// Returns the number of frames skipped for one reason.
    pub fn skipped_for(&self, reason: &Reason) -> u64 {
        self.skipped.get(&reason.to_string()).copied().unwrap_or(0)
    }

    /// Returns the number of frames on which the operator failed or panicked.
    pub fn failed_frames(&self) -> u64 {
        self.errors + self.panics
    }

    /// Returns the number of all errors and panics, those at ends of streams included.
    pub fn failures(&self) -> u64 {
        self.failed_frames() + self.end_failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_at_an_end_are_no_frames() {
        let mut counts = OperatorCounts::default();
        let failed = Outcome::Error("no luck".into());
        counts.record(Phase::Frame, &Outcome::Done);
        counts.record(Phase::Frame, &Outcome::Skipped(Reason::Stride));
        counts.record(Phase::Frame, &failed);
        counts.record(Phase::Frame, &Outcome::Panic("no luck".into()));
        counts.record(Phase::Closing, &failed);
        counts.record(Phase::End { frames: 4 }, &failed);
        counts.record(Phase::End { frames: 4 }, &Outcome::EndedWhileRestarting);
        assert_eq!((counts.handled(), counts.total_skipped(), counts.skipped_for(&Reason::Stride)), (4, 1, 1));
        assert_eq!((counts.failed_frames(), counts.failures(), counts.ends_while_restarting), (2, 4, 1));
    }

    #[test]
    fn sums_of_streams_are_balanced_if_each_stream_is() {
        let streams = [(5, 3, 2), (4, 4, 0)];
        let counts = streams.map(|(decoded, admitted, dropped)| FrameCounts { decoded, admitted, dropped });
        let sum: FrameCounts = counts.into_iter().sum();
        assert_eq!((sum.decoded, sum.admitted, sum.dropped), (9, 7, 2));
        assert!(sum.is_balanced() && !FrameCounts { decoded: 10, ..sum }.is_balanced());
    }

    #[test]
    fn counts_keep_their_names_in_json() {
        let json = serde_json::to_value(FrameCounts { decoded: 3, admitted: 2, dropped: 1 }).unwrap();
        assert_eq!(json, serde_json::json!({"decoded": 3, "admitted": 2, "forgotten": 1}));
        let json = serde_json::to_value(OperatorCounts { side_dropped: 2, ..OperatorCounts::default() }).unwrap();
        assert_eq!((json["side_forgotten"].as_u64(), json["processed"].as_u64()), (Some(2), Some(0)));
    }
}
