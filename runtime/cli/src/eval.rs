//! `sideline eval`: how good an operator is, against true answers.

use std::path::Path;

use sideline_api::{Error, Result, Values, config::Origin, driver::read_config};
use sideline_eval::{DetectedFrame, Rect, Report, Tracked, run_tracking};
use sideline_tracker::{Detection, TrackRow, TrackStage, TrackerConfig, TrackerState};

use crate::{args::scalar, commands::print_json};

/// The tracker on every sequence of a folder.
pub fn tracker(dir: &Path, json: bool, set: &[String]) -> Result<u8> {
    let mut values = Values::new();
    for setting in set {
        let (key, value) = setting
            .split_once('=')
            .ok_or_else(|| Error::config(format!("`{setting}` is not KEY=VALUE, as in `buffer=60`")))?;
        values.set(key, scalar(value), Origin::CommandLine);
    }
    let report = track(dir, &read_config(&values, "tracker")?)?;
    if json {
        print_json(&report)?;
    } else {
        print!("{report}");
    }
    Ok(0)
}

fn track(dir: &Path, config: &TrackerConfig) -> Result<Report> {
    let mut state = TrackerState::default();
    let mut rows = Vec::new();
    run_tracking(dir, &mut |frame: DetectedFrame<'_>| {
        // A sequence begins anew at its first frame.
        if frame.number == 1 {
            state = TrackerState::default();
        }
        let detections: Vec<Detection> = frame.detections.iter().map(detection).collect();
        state.step(config, Some(&detections), frame.seconds, &mut rows);
        // Tentative tracks may be ghosts and lost ones are nowhere: they are not counted as answers.
        rows.iter()
            .filter(|row| matches!(row.stage, TrackStage::Confirmed | TrackStage::Predicted))
            .map(answer)
            .collect()
    })
    .map_err(|error| Error::input(error.to_string()))
}

/// A box of the evaluation as the tracker takes it.
pub fn detection(box_: &sideline_eval::Detection) -> Detection {
    let rect = box_.rect;
    Detection {
        x1: rect.x as f32,
        y1: rect.y as f32,
        x2: (rect.x + rect.w) as f32,
        y2: (rect.y + rect.h) as f32,
        score: box_.score as f32,
        class: 0,
    }
}

fn answer(row: &TrackRow) -> Tracked {
    let [x1, y1, x2, y2] = row.corners.map(f64::from);
    Tracked { id: row.id, rect: Rect { x: x1, y: y1, w: x2 - x1, h: y2 - y1 } }
}
