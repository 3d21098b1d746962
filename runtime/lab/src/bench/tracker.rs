//! `sideline-lab bench tracker`: time per frame of the tracker with 25 objects, compared with SORT on the same boxes.

use std::time::Instant;

use serde::Serialize;
use sideline_api::{Result, Values, driver::read_config};
use sideline_eval::{DetectedFrame, Sort, crossing_crowd};
use sideline_tracker::{Detection, TrackerConfig, TrackerState};

use super::Percentiles;
use crate::eval::to_tracker_detection;

/// Objects in every frame, before missed detections.
const OBJECTS: usize = 25;
/// Frames of the measurement.
const FRAMES: usize = 2000;

/// Result of `sideline-lab bench tracker`.
#[derive(Debug, Serialize)]
pub struct TrackerCost {
    /// Objects in every frame, before missed detections.
    pub objects: usize,
    /// Time per frame of the tracker, microseconds.
    pub tracker_us: Percentiles,
    /// Time per frame of SORT, microseconds.
    pub sort_us: Percentiles,
    /// Median of the tracker divided by that of SORT.
    pub ratio: f64,
}

/// Measures both alternately, frame by frame, so that changes in the machine's load affect both alike.
///
/// # Errors
/// The tracker's configuration cannot be read.
pub fn run() -> Result<TrackerCost> {
    let crowd = crossing_crowd(OBJECTS, FRAMES);
    let config: TrackerConfig = read_config(&Values::new(), "tracker")?;
    let (mut state, mut sort, mut rows) = (TrackerState::default(), Sort::default(), Vec::new());
    let (mut tracker_times, mut sort_times) = (Vec::with_capacity(FRAMES), Vec::with_capacity(FRAMES));
    for (i, boxes) in crowd.iter().enumerate() {
        let detections: Vec<Detection> = boxes.iter().map(to_tracker_detection).collect();
        let start = Instant::now();
        state.step(&config, Some(&detections), 1.0 / 30.0, &mut rows);
        tracker_times.push(start.elapsed().as_nanos() as u64);
        let frame = DetectedFrame { sequence: "crowd", number: i + 1, seconds: 1.0 / 30.0, detections: boxes };
        let start = Instant::now();
        std::hint::black_box(sort.update(frame));
        sort_times.push(start.elapsed().as_nanos() as u64);
    }
    let (tracker_us, sort_us) = (Percentiles::us_from_ns(&mut tracker_times), Percentiles::us_from_ns(&mut sort_times));
    Ok(TrackerCost { objects: OBJECTS, tracker_us, sort_us, ratio: tracker_us.p50 / sort_us.p50 })
}

impl std::fmt::Display for TrackerCost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} objects, microseconds per frame {:>8} {:>8}", self.objects, "p50", "p99")?;
        writeln!(f, "{:<34} {:>8.1} {:>8.1}", "tracker", self.tracker_us.p50, self.tracker_us.p99)?;
        writeln!(f, "{:<34} {:>8.1} {:>8.1}", "SORT", self.sort_us.p50, self.sort_us.p99)?;
        write!(f, "ratio of medians {:.2}", self.ratio)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crowd_can_be_tracked() {
        let (mut state, mut rows) = (TrackerState::default(), Vec::new());
        for boxes in &crossing_crowd(25, 200) {
            let detections: Vec<Detection> = boxes.iter().map(to_tracker_detection).collect();
            state.step(&TrackerConfig::default(), Some(&detections), 1.0 / 30.0, &mut rows);
        }
        assert!((20..=40).contains(&rows.len()), "{}", rows.len());
    }
}
