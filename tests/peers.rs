//! The plain Python way that `sideline bench fight` measures beside ours does the same work: it sees the same people at the
//! same places.

#[path = "support/mod.rs"]
mod support;

use std::{collections::BTreeMap, path::Path, process::Command};

use serde_json::Value;
use support::{Bench, Capability, finish, json_text, models, repository, rows, skipped, tool};

const FRAMES: &str = "20";
/// Half of all visible joints lie nearer than this share of the person's height, three quarters nearer than the next. They
/// are not equal: OpenCV converts every video by BT.601 and to 8 bits of RGB, and the landmark model of fast-moving people
/// magnifies that.
const MEDIAN: f64 = 0.02;
const MOST: f64 = 0.05;
/// Of so many people in 20 frames this many may be seen by one alone.
const ALONE: u64 = 4;

/// Python with the peer's packages; counts the test as skipped when it is not there.
fn python() -> Option<std::path::PathBuf> {
    let python = repository().join(".venv/bin/python");
    let tried = Command::new(&python).args(["-c", "import cv2, numpy, onnxruntime, scipy"]).output();
    if !tried.is_ok_and(|output| output.status.success()) {
        skipped(Capability::Python, ".venv has no cv2, onnxruntime or scipy; `cargo xtask test` installs them");
        return None;
    }
    Some(python)
}

fn clip() -> String {
    repository().join("models/clips/athletes.mp4").display().to_string()
}

/// The rows of a table by their frame.
fn by_frame(path: &Path) -> BTreeMap<u64, Vec<Value>> {
    let mut frames: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
    for row in rows(path) {
        frames.entry(row["frame"].as_u64().unwrap()).or_default().push(row);
    }
    frames
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap_or(f64::NAN)).collect()
}

#[test]
fn the_peer_sees_the_same_people_at_the_same_places() {
    let Some(python) = python() else { return };
    if !models() || !tool("ffmpeg") {
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
    let (mut apart, mut people, mut alone) = (vec![], 0, 0);
    for (frame, ours) in &ours {
        let theirs = theirs.get(frame).map_or(&[][..], Vec::as_slice);
        alone += ours.len().abs_diff(theirs.len()) as u64;
        people += ours.len();
        for person in ours {
            // Both follow people in the order they were found in; who is found first is the same.
            let place =
                |row: &Value| -> Vec<Vec<f64>> { row["joints"].as_array().unwrap().iter().map(numbers).collect() };
            let joints = place(person);
            let tall =
                joints.iter().map(|j| j[1]).fold(0.0, f64::max) - joints.iter().map(|j| j[1]).fold(1.0, f64::min);
            let distances = |other: &Value| -> Vec<f64> {
                let near = joints.iter().zip(place(other)).filter(|(a, _)| a[3] > 0.5);
                // The clip is upright: a frame's width is 1088 / 1920 of its height.
                near.map(|(a, b)| ((a[0] - b[0]) * 1088.0 / 1920.0).hypot(a[1] - b[1]) / tall).collect()
            };
            let mean = |other: &&Value| distances(other).iter().sum::<f64>();
            let nearest = theirs.iter().min_by(|a, b| mean(a).total_cmp(&mean(b)));
            apart.extend(nearest.into_iter().flat_map(distances));
        }
    }
    assert!(people >= 2 * 18 && alone <= ALONE, "{people} people in 20 frames, {alone} seen by one alone");
    apart.sort_by(f64::total_cmp);
    let (median, most) = (apart[apart.len() / 2], apart[apart.len() * 3 / 4]);
    println!(
        "{people} people, {} joints; apart, of a person's height: median {median:.4}, three quarters {most:.4}",
        apart.len()
    );
    assert!(median < MEDIAN && most < MOST, "median {median}, three quarters {most}");

    // A row of motion for every tracked pose, with all of its values.
    let motion = rows(bench.path().join("peer/motion.jsonl"));
    assert!(motion.len().abs_diff(rows(bench.path().join("ours/motion.jsonl")).len()) as u64 <= ALONE);
    assert_eq!(numbers(&motion[0]["joint_angles"]).len(), 20);
    assert_eq!(motion[0]["velocity"].as_array().unwrap().len(), 33);
}

#[test]
fn bench_fight_compares_both_on_a_clip_of_ones_own() {
    if python().is_none() || !models() || !tool("ffmpeg") || !tool("ffprobe") {
        return;
    }
    let bench = Bench::new();
    let ended =
        bench.sideline(&["bench", "fight", "--stages", "--peer", "--input", &clip(), "--frames", "12", "--json"]);
    assert_eq!(ended.code, 0, "{}", ended.text);
    let figures = json_text(&ended.text[ended.text.find('{').unwrap()..=ended.text.rfind('}').unwrap()]);
    let peer = &figures["peer"][0];
    for (name, measured) in [("ours", &peer["ours"]), ("peer", &peer["peer"])] {
        assert_eq!(measured["handled"].as_u64(), Some(12), "{name}: {measured}");
        assert!(measured["poses"].as_u64().unwrap() >= 20, "{name}: {measured}");
        assert!(measured["fps"].as_f64().unwrap() > 0.0 && measured["cpu_s"].as_f64().unwrap() > 0.0, "{measured}");
    }
    let ratio = peer["ours"]["fps"].as_f64().unwrap() / peer["peer"]["fps"].as_f64().unwrap();
    assert!((peer["fps_ratio"].as_f64().unwrap() - ratio).abs() < 1e-9);
    let stages = figures["stages"][0]["stages"].as_array().unwrap();
    assert!(stages.iter().any(|stage| stage["node"] == "perception.pose"), "{stages:?}");
}

#[test]
fn bench_fight_counts_all_frames_of_several_streams() {
    if !models() || !tool("ffprobe") {
        return;
    }
    let bench = Bench::new();
    let ended = bench.sideline(&["bench", "fight", "--streams", "1..2", "--input", &clip(), "--frames", "6", "--json"]);
    assert_eq!(ended.code, 0, "{}", ended.text);
    let figures = json_text(&ended.text[ended.text.find('{').unwrap()..=ended.text.rfind('}').unwrap()]);
    let of: Vec<&Value> = figures["streams"]["figures"].as_array().unwrap().iter().collect();
    let offered = |figures: &Value| figures["live"]["offered"].as_u64().unwrap();
    // Live, how many frames a busy machine is offered before the time is over differs by a few.
    assert!(of.len() == 2 && offered(of[1]) > offered(of[0]), "{figures}");
    assert!(of.iter().all(|figures| figures["complete_fps"].as_f64().unwrap() > 0.0), "{figures}");
    assert!(of[0]["bytes_a_stream"].is_null() && of[1]["bytes_a_stream"].is_u64(), "{figures}");
}

#[test]
fn what_cannot_be_measured_is_said() {
    let bench = Bench::new();
    let none = bench.sideline(&["bench", "fight", "--stages", "--input", "nowhere.mp4"]);
    assert!(none.code == 3 && (none.text.contains("nowhere.mp4") || none.text.contains("ffprobe")), "{}", none.text);
    // A house without the peer.
    bench.write("models/models.yml", "models: []\n");
    let mut command = bench.command(support::SIDELINE);
    let given = ["bench", "fight", "--peer", "--input"];
    let none = finish(
        command
            .args(given)
            .arg(clip())
            .args(["--flow"])
            .arg(repository().join("dataflows/fight.yml"))
            .env("SIDELINE_HOME", bench.path()),
    );
    assert!(none.code != 0 && none.text.contains("tests/peers/fight.py is missing"), "{}", none.text);
}
