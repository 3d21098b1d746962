//! The tracker against SORT and ByteTrack, with one set of parameters: on real pedestrians with real detections, and on
//! players whose true boxes were made noisy.

use std::path::{Path, PathBuf};
use std::process::Command;

use sideline_eval::{ByteTrack, DetectedFrame, Figures, Noise, Rect, Report, Sequence, Sort, Tracked, run_tracking};
use sideline_testkit::{Capability, skipped};
use sideline_tracker::{Detection, TrackStage, TrackerConfig, TrackerState};

/// `shared/data/tracking` beside the repository, if it is there.
fn data() -> Option<PathBuf> {
    let found = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("shared/data/tracking"))
        .find(|folder| folder.is_dir());
    if found.is_none() {
        skipped(Capability::Data, "no ../shared/data");
    }
    found
}

fn run(sequences: &[Sequence], config: &TrackerConfig) -> Report {
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
    run_tracking(sequences, &mut track)
}

/// On every sequence and overall ours is above in each of the three measures.
fn beats(sequences: &[Sequence]) {
    let ours = run(sequences, &TrackerConfig::default());
    let (mut sort, mut byte_track) = (Sort::default(), ByteTrack::default());
    for (peer, theirs) in [
        ("SORT", run_tracking(sequences, &mut |frame| sort.update(frame))),
        ("ByteTrack", run_tracking(sequences, &mut |frame| byte_track.update(frame))),
    ] {
        for name in ours.sequences.keys().map(String::as_str).chain(["overall"]) {
            let (ours, theirs) = (ours.of(name).unwrap(), theirs.of(name).unwrap());
            let measures: [fn(&Figures) -> f64; 3] = [|f| f.mota, |f| f.idf1, |f| f.hota];
            assert!(
                measures.iter().all(|of| of(ours) > of(theirs)),
                "{name}: {ours:?} is not above {peer}'s {theirs:?}"
            );
        }
    }
}

#[test]
fn beats_its_peers_on_pedestrians() {
    let Some(data) = data() else { return };
    beats(&Sequence::read_all(&data, None, &Noise::default()).unwrap());
}

/// Two sequences that nothing was chosen on: a volleyball game and a football game, the latter with a camera that jerks.
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
        return skipped(Capability::Machine, "tar cannot unpack the sequences");
    }
    for seed in [1, 2] {
        beats(&Sequence::read_all(&folder, None, &Noise { seed, ..Noise::default() }).unwrap());
    }
    std::fs::remove_dir_all(folder).unwrap();
}
