//! Compares the tracker with SORT and ByteTrack, with one configuration: on pedestrians with real detections, and on
//! players with noise added to the true boxes.

use std::path::{Path, PathBuf};
use std::process::Command;

use sideline_eval::{
    ByteTrack, DetectedFrame, Noise, Rect, Sequence, Sort, TrackedBox, TrackingMetrics, TrackingReport, run_tracking,
};
use sideline_sport::tables::TrackState;
use sideline_testkit::{Capability, skip_test};
use sideline_tracker::{Detection, TrackerConfig, TrackerState};

/// Returns the folder `shared/data/tracking` beside the repository, if it exists.
fn data() -> Option<PathBuf> {
    let found = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("shared/data/tracking"))
        .find(|folder| folder.is_dir());
    if found.is_none() {
        skip_test(Capability::Data, "no ../shared/data");
    }
    found
}

/// Runs the tracker over all sequences, with a new state for each.
fn run(sequences: &[Sequence], config: &TrackerConfig) -> TrackingReport {
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
        let shown = rows.iter().filter(|row| matches!(row.state, TrackState::Confirmed | TrackState::Predicted));
        shown
            .map(|row| {
                let [x1, y1, x2, y2] = row.corners.map(f64::from);
                TrackedBox { id: row.id, rect: Rect { x: x1, y: y1, w: x2 - x1, h: y2 - y1 } }
            })
            .collect()
    };
    run_tracking(sequences, &mut track)
}

/// Asserts that the tracker scores higher than both peers in MOTA, IDF1 and HOTA, on every sequence and overall.
fn assert_beats_peers(sequences: &[Sequence]) {
    let ours = run(sequences, &TrackerConfig::default());
    let (mut sort, mut byte_track) = (Sort::default(), ByteTrack::default());
    for (peer, theirs) in [
        ("SORT", run_tracking(sequences, &mut |frame| sort.update(frame))),
        ("ByteTrack", run_tracking(sequences, &mut |frame| byte_track.update(frame))),
    ] {
        for name in ours.sequences.keys().map(String::as_str).chain(["overall"]) {
            let (ours, theirs) = (ours.get(name).unwrap(), theirs.get(name).unwrap());
            let measures: [fn(&TrackingMetrics) -> f64; 3] = [|f| f.mota, |f| f.idf1, |f| f.hota];
            assert!(
                measures.iter().all(|measure| measure(ours) > measure(theirs)),
                "{name}: {ours:?} is not above {peer}'s {theirs:?}"
            );
        }
    }
}

#[test]
fn beats_its_peers_on_pedestrians() {
    let Some(data) = data() else { return };
    assert_beats_peers(&Sequence::read_all(&data, None, &Noise::default()).unwrap());
}

/// Uses two sequences on which no parameter was chosen: a volleyball game, and a football game with a camera that
/// jerks.
#[test]
fn beats_its_peers_on_players() {
    let Some(data) = data() else { return };
    let folder = std::env::temp_dir().join(format!("sideline-sportsmot-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let wanted = ["v_CW0mQbgYIF4_c006", "v_HdiyOtliFiw_c602"].map(|name| format!("sportsmot-train/{name}"));
    let mut tar = Command::new("tar");
    let unpacked =
        tar.arg("-xJf").arg(data.join("sportsmot_train_gt.tar.xz")).arg("-C").arg(&folder).args(wanted).status();
    if !unpacked.is_ok_and(|status| status.success()) {
        return skip_test(Capability::Machine, "tar cannot unpack the sequences");
    }
    for seed in [1, 2] {
        assert_beats_peers(&Sequence::read_all(&folder, None, &Noise { seed, ..Noise::default() }).unwrap());
    }
    std::fs::remove_dir_all(folder).unwrap();
}
