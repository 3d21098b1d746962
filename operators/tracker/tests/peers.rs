//! The tracker on real pedestrians, against SORT, with one set of parameters.

use std::path::{Path, PathBuf};

use sideline_eval::{DetectedFrame, Rect, Report, Sort, Tracked, run_tracking};
use sideline_tracker::{Detection, TrackStage, TrackerConfig, TrackerState};

/// `shared/data/tracking` beside the repository, if it is there.
fn data() -> Option<PathBuf> {
    let found = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("shared/data/tracking"))
        .find(|folder| folder.is_dir());
    if found.is_none() {
        println!("skipped: no ../shared/data");
    }
    found
}

fn run(data: &Path, config: &TrackerConfig) -> Report {
    let mut state = TrackerState::default();
    let mut rows = Vec::new();
    let mut track = |frame: DetectedFrame<'_>| {
        if frame.number == 1 {
            state = TrackerState::default();
        }
        let detections = frame.detections.iter().map(|d| Detection {
            x1: d.rect.x as f32,
            y1: d.rect.y as f32,
            x2: (d.rect.x + d.rect.w) as f32,
            y2: (d.rect.y + d.rect.h) as f32,
            score: d.score as f32,
            class: 0,
        });
        let detections: Vec<_> = detections.collect();
        state.step(config, Some(&detections), frame.seconds, &mut rows);
        let shown = rows.iter().filter(|row| matches!(row.stage, TrackStage::Confirmed | TrackStage::Predicted));
        shown
            .map(|row| {
                let [x1, y1, x2, y2] = row.corners.map(f64::from);
                Tracked { id: row.id, rect: Rect { x: x1, y: y1, w: x2 - x1, h: y2 - y1 } }
            })
            .collect()
    };
    run_tracking(data, &mut track).unwrap()
}

#[test]
fn beats_sort_on_both_sequences() {
    let Some(data) = data() else { return };
    let ours = run(&data, &TrackerConfig::default());
    let mut sort = Sort::default();
    let sort = run_tracking(&data, &mut |frame| sort.update(frame)).unwrap();
    println!("ours\n{ours}\nSORT\n{sort}");
    for (name, theirs) in &sort.sequences {
        let ours = ours.sequences[name];
        assert!(ours.mota > theirs.mota && ours.idf1 > theirs.idf1 && ours.hota > theirs.hota, "{name}");
    }
}
