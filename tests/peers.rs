//! The plain Python program that `sideline-lab bench fight` compares with does the same work: it detects the same people at
//! the same positions.

#[path = "support/mod.rs"]
mod support;

use std::{collections::BTreeMap, path::Path, process::Command};

use serde_json::Value;
use support::{Bench, Capability, finish, has_models, has_tool, json_text, repository, rows, skip_test};

const FRAMES: &str = "20";
/// Limit for the median distance of visible joints between the two programs, in fractions of the person's height. The
/// joints are not equal because OpenCV converts every video by BT.601 and to 8 bits of RGB, and the landmark model
/// amplifies that for people who move fast.
const MAX_MEDIAN_DISTANCE: f64 = 0.02;
/// Limit for the third quartile of that distance.
const MAX_THIRD_QUARTILE: f64 = 0.05;
/// Number of people in all 20 frames that only one of the programs may detect.
const MAX_UNMATCHED: u64 = 4;

/// Returns Python with the peer's packages; counts the test as skipped if it is missing.
fn python() -> Option<std::path::PathBuf> {
    let python = repository().join(".venv/bin/python");
    let imported = Command::new(&python).args(["-c", "import cv2, numpy, onnxruntime, scipy"]).output();
    if !imported.is_ok_and(|output| output.status.success()) {
        skip_test(Capability::Python, ".venv has no cv2, onnxruntime or scipy; `cargo xtask test` installs them");
        return None;
    }
    Some(python)
}

fn clip() -> String {
    repository().join("models/clips/athletes.mp4").display().to_string()
}

/// Groups the rows of a table by their frame.
fn by_frame(path: &Path) -> BTreeMap<u64, Vec<Value>> {
    let mut frames: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
    for row in rows(path) {
        frames.entry(row["frame"].as_u64().unwrap()).or_default().push(row);
    }
    frames
}

/// Converts a JSON array of numbers; null becomes NaN.
fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap_or(f64::NAN)).collect()
}

#[test]
fn the_peer_detects_the_same_people_at_the_same_positions() {
    let Some(python) = python() else { return };
    if !has_models() || !has_tool("ffmpeg") {
        return;
    }
    let bench = Bench::new();
    let flow = repository().join("dataflows/fight.yml").display().to_string();
    let ours = bench.sideline(&["run", &flow, "--input", &clip(), "--frames", FRAMES, "--output", "ours"]);
    assert_eq!(ours.code, 0, "{}", ours.text);
    let script = repository().join("tests/peers/fight.py");
    let peer = finish(bench.command(python).arg(script).args([&clip(), "--output", "peer", "--frames", FRAMES]));
    assert_eq!(peer.code, 0, "{}", peer.text);
    let report = json_text(peer.text.lines().last().unwrap());
    assert_eq!((report["offered"].as_u64(), report["handled"].as_u64()), (Some(20), Some(20)), "{report}");
    assert!(bench.path().join("peer/overlay.mp4").metadata().unwrap().len() > 10_000);

    let (ours, theirs) =
        (by_frame(&bench.path().join("ours/poses.jsonl")), by_frame(&bench.path().join("peer/poses.jsonl")));
    let (mut distances, mut people, mut unmatched) = (vec![], 0, 0);
    for (frame, ours) in &ours {
        let theirs = theirs.get(frame).map_or(&[][..], Vec::as_slice);
        unmatched += ours.len().abs_diff(theirs.len()) as u64;
        people += ours.len();
        for person in ours {
            // Both programs keep people in the order of their detection, which begins with the same person.
            let positions =
                |row: &Value| -> Vec<Vec<f64>> { row["joints"].as_array().unwrap().iter().map(numbers).collect() };
            let joints = positions(person);
            let height =
                joints.iter().map(|j| j[1]).fold(0.0, f64::max) - joints.iter().map(|j| j[1]).fold(1.0, f64::min);
            let joint_distances = |other: &Value| -> Vec<f64> {
                let visible = joints.iter().zip(positions(other)).filter(|(a, _)| a[3] > 0.5);
                // The clip is upright: a frame's width is 1088 / 1920 of its height.
                visible.map(|(a, b)| ((a[0] - b[0]) * 1088.0 / 1920.0).hypot(a[1] - b[1]) / height).collect()
            };
            let sum = |other: &&Value| joint_distances(other).iter().sum::<f64>();
            let nearest = theirs.iter().min_by(|a, b| sum(a).total_cmp(&sum(b)));
            distances.extend(nearest.into_iter().flat_map(joint_distances));
        }
    }
    assert!(
        people >= 2 * 18 && unmatched <= MAX_UNMATCHED,
        "{people} people in 20 frames, {unmatched} detected by one program"
    );
    distances.sort_by(f64::total_cmp);
    let (median, third_quartile) = (distances[distances.len() / 2], distances[distances.len() * 3 / 4]);
    println!(
        "{people} people, {} joints; distance in person heights: median {median:.4}, third quartile {third_quartile:.4}",
        distances.len()
    );
    assert!(
        median < MAX_MEDIAN_DISTANCE && third_quartile < MAX_THIRD_QUARTILE,
        "median {median}, third quartile {third_quartile}"
    );

    // A row of motion for every tracked pose, with all of its values.
    let motion = rows(bench.path().join("peer/motion.jsonl"));
    assert!(motion.len().abs_diff(rows(bench.path().join("ours/motion.jsonl")).len()) as u64 <= MAX_UNMATCHED);
    assert_eq!(numbers(&motion[0]["joint_angles"]).len(), 20);
    assert_eq!(motion[0]["velocity"].as_array().unwrap().len(), 33);
}
