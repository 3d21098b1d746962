//! `sideline-lab bench fight`: measurements of the fight, and the comparison with the plain Python program of `peers`.

mod support;

use std::process::Command;

use serde_json::Value;
use support::{
    Bench, Capability, LAB, copy_program, finish, has_models, has_sideline, has_tool, json_text, repository, skip_test,
};

/// Returns true if `.venv` has the packages of the Python program; otherwise counts the test as skipped.
fn has_peer() -> bool {
    let python = repository().join(".venv/bin/python");
    let imported = Command::new(python).args(["-c", "import cv2, numpy, onnxruntime, scipy"]).output();
    let has_packages = imported.is_ok_and(|output| output.status.success());
    if !has_packages {
        skip_test(Capability::Python, ".venv has no cv2, onnxruntime or scipy; `cargo xtask test` installs them");
    }
    has_packages
}

fn clip() -> String {
    repository().join("models/clips/athletes.mp4").display().to_string()
}

#[test]
fn bench_fight_compares_both_programs_on_a_given_clip() {
    if !has_sideline() || !has_peer() || !has_models() || !has_tool("ffmpeg") || !has_tool("ffprobe") {
        return;
    }
    let bench = Bench::new();
    let ended = bench.lab(&["bench", "fight", "--stages", "--peer", "--input", &clip(), "--frames", "12", "--json"]);
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
    if !has_sideline() || !has_models() || !has_tool("ffprobe") {
        return;
    }
    let bench = Bench::new();
    let ended = bench.lab(&["bench", "fight", "--streams", "1..2", "--input", &clip(), "--frames", "6", "--json"]);
    assert_eq!(ended.code, 0, "{}", ended.text);
    let figures = json_text(&ended.text[ended.text.find('{').unwrap()..=ended.text.rfind('}').unwrap()]);
    let points: Vec<&Value> = figures["streams"]["figures"].as_array().unwrap().iter().collect();
    let offered = |figures: &Value| figures["live"]["offered"].as_u64().unwrap();
    // In live mode the number of offered frames varies by a few on a busy machine.
    assert!(points.len() == 2 && offered(points[1]) > offered(points[0]), "{figures}");
    assert!(points.iter().all(|figures| figures["complete_fps"].as_f64().unwrap() > 0.0), "{figures}");
    assert!(points[0]["bytes_a_stream"].is_null() && points[1]["bytes_a_stream"].is_u64(), "{figures}");
}

#[test]
fn a_missing_clip_or_peer_is_reported() {
    if !has_sideline() {
        return;
    }
    let bench = Bench::new();
    let none = bench.lab(&["bench", "fight", "--stages", "--input", "nowhere.mp4"]);
    assert!(none.code == 3 && (none.text.contains("nowhere.mp4") || none.text.contains("ffprobe")), "{}", none.text);
    // A Sideline home without the peer.
    bench.write("models/models.yml", "models: []\n");
    let mut command = bench.command(LAB.unwrap());
    let arguments = ["bench", "fight", "--peer", "--input"];
    let none = finish(
        command
            .args(arguments)
            .arg(clip())
            .args(["--flow"])
            .arg(repository().join("dataflows/fight.yml"))
            .env("SIDELINE_HOME", bench.path()),
    );
    assert!(none.code != 0 && none.text.contains("tests/peers/fight.py is missing"), "{}", none.text);
}

#[test]
fn a_missing_sideline_is_reported_with_the_command_that_builds_it() {
    let bench = Bench::new();
    let lab = bench.path().join("sideline-lab");
    copy_program(LAB.unwrap(), &lab);
    let ended = finish(bench.command(&lab).args(["bench", "fight", "--stages"]).env("PATH", "/nowhere"));
    assert_eq!(ended.code, 1, "{}", ended.text);
    assert!(ended.text.contains("build it with `cargo build -p sideline`"), "{}", ended.text);
}
