//! The tracker with 25 objects, beside plain SORT on the same boxes.

use std::time::Instant;

use serde::Serialize;
use sideline_api::{Result, Values, driver::read_config};
use sideline_eval::{DetectedFrame, Rect, Sort};
use sideline_tracker::{TrackerConfig, TrackerState, bench::crossing_crowd};

use super::Spread;

const OBJECTS: usize = 25;
const FRAMES: usize = 2000;

/// The figures.
#[derive(Debug, Serialize)]
pub struct TrackerCost {
    /// Objects in every frame, before misses.
    pub objects: usize,
    /// Ours, a frame.
    pub tracker_us: Spread,
    /// SORT, a frame.
    pub sort_us: Spread,
    /// Medians, ours / SORT.
    pub ratio: f64,
}

/// Measures both in turn, frame by frame, so that the machine's moods hit them alike.
///
/// # Errors
/// None in practice.
pub fn run() -> Result<TrackerCost> {
    let crowd = crossing_crowd(OBJECTS, FRAMES);
    let config: TrackerConfig = read_config(&Values::new(), "tracker")?;
    let (mut state, mut sort, mut rows) = (TrackerState::default(), Sort::default(), Vec::new());
    let (mut ours, mut theirs) = (Vec::with_capacity(FRAMES), Vec::with_capacity(FRAMES));
    for (i, detections) in crowd.iter().enumerate() {
        let began = Instant::now();
        state.step(&config, Some(detections), 1.0 / 30.0, &mut rows);
        ours.push(began.elapsed().as_nanos() as u64);
        let boxes: Vec<sideline_eval::Detection> = detections
            .iter()
            .map(|d| {
                let [x, y, w, h] = [d.x1, d.y1, d.x2 - d.x1, d.y2 - d.y1].map(f64::from);
                sideline_eval::Detection { rect: Rect { x, y, w, h }, score: f64::from(d.score) }
            })
            .collect();
        let frame = DetectedFrame { sequence: "crowd", number: i + 1, seconds: 1.0 / 30.0, detections: &boxes };
        let began = Instant::now();
        std::hint::black_box(sort.update(frame));
        theirs.push(began.elapsed().as_nanos() as u64);
    }
    let (tracker_us, sort_us) = (Spread::us(&mut ours), Spread::us(&mut theirs));
    Ok(TrackerCost { objects: OBJECTS, tracker_us, sort_us, ratio: tracker_us.p50 / sort_us.p50 })
}

impl std::fmt::Display for TrackerCost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} objects, microseconds a frame   {:>8} {:>8}", self.objects, "p50", "p99")?;
        writeln!(f, "{:<34} {:>8.1} {:>8.1}", "tracker", self.tracker_us.p50, self.tracker_us.p99)?;
        writeln!(f, "{:<34} {:>8.1} {:>8.1}", "SORT", self.sort_us.p50, self.sort_us.p99)?;
        write!(f, "ratio of medians {:.2}", self.ratio)
    }
}
