//! `run --start-at RUN`: continues another run without processing a frame twice or omitting one.

mod support;

use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use support::{Bench, SIDELINE, finish, has_tool, json, rows};

/// Flow text: capture -> rehearse -> counter -> recorder, which completes a row group every ten frames.
const FLOW: &str = "nodes:
  - id: capture
    path: sideline
    args: run capture
    env: {SOURCES: '[left.mp4, right.mp4]'}
    inputs: {done_recorder: recorder/done}
    outputs: [frames]
  - id: rehearse
    path: sideline
    args: run rehearse
    inputs: {frames: capture/frames}
    outputs: [frames]
  - id: counter
    path: sideline
    args: run counter
    env: {STEP: 1}
    inputs: {frames: rehearse/frames}
    outputs: [counts]
  - id: recorder
    path: sideline
    args: run recorder
    env: {ROW_GROUP: 10}
    inputs: {counts: counter/counts}
    outputs: [done]
";

/// Creates a folder with the flow and two clips of 60 and 45 frames; `None` without the tool `ffmpeg`.
fn bench_with_clips() -> Option<Bench> {
    let bench = Bench::new();
    if !has_tool("ffmpeg") {
        return None;
    }
    for (name, picture, frames) in
        [("left.mp4", "testsrc=size=160x120:rate=30", "60"), ("right.mp4", "testsrc2=size=96x64:rate=25", "45")]
    {
        let made = finish(bench.command("ffmpeg").args([
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            picture,
            "-frames:v",
            frames,
            "-pix_fmt",
            "yuv420p",
            name,
        ]));
        assert_eq!(made.code, 0, "{}", made.text);
    }
    bench.write("flow.yml", FLOW);
    Some(bench)
}

/// Returns stream, frame number, media time (ns) and checksum of every row, up to the last frames in `up_to` if it is
/// given.
fn frames(run: &Path, up_to: Option<&Value>) -> Vec<(String, u64, i64, u64)> {
    let rows = rows(run.join("counts.jsonl")).into_iter().map(|row| {
        let text = |key: &str| row[key].as_str().unwrap().to_owned();
        (
            text("stream"),
            row["frame"].as_u64().unwrap(),
            row["pts"].as_i64().unwrap(),
            row["checksum"].as_u64().unwrap(),
        )
    });
    let is_included =
        |row: &(String, u64, i64, u64)| up_to.is_none_or(|last| row.1 <= last[&row.0]["frame"].as_u64().unwrap());
    rows.filter(is_included).collect()
}

/// Asserts that two runs together have the same rows as the uninterrupted run in `all`.
fn assert_parts_equal_whole(bench: &Bench, before: &str, after: &str) {
    let folder = |name: &str| bench.path().join(name);
    let whole = json(folder(before).join("recorded.json"))["streams"].clone();
    let mut parts = frames(&folder(before), Some(&whole));
    parts.extend(frames(&folder(after), None));
    let mut all = frames(&folder("all"), None);
    parts.sort();
    all.sort();
    assert_eq!(parts, all);
    let continues = &json(folder(after).join("run.json"))["continues"];
    assert_eq!((&continues["after"], &continues["state"]), (&whole, &json!("new")));
}

#[test]
fn a_run_that_ended_at_a_limit_is_continued() {
    let Some(bench) = bench_with_clips() else { return };
    let run = |more: &[&str]| bench.sideline(&[&["run", "flow.yml"], more].concat());
    assert_eq!(run(&["--output", "all"]).code, 0);
    // Frame 33 of `right` is not the last of a row group.
    assert_eq!(run(&["--output", "first", "--frames", "34"]).code, 0);
    let ended = run(&["--output", "second", "--start-at", "first"]);
    assert_eq!(ended.code, 0, "{}", ended.text);
    assert!(
        ended.text.contains("continues after frame 33 of `left` (1.100 s), frame 33 of `right` (1.320 s) of first"),
        "{}",
        ended.text
    );
    assert!(ended.text.contains("operators start with new state"), "{}", ended.text);
    assert_parts_equal_whole(&bench, "first", "second");
    // State is new, so the counter begins at one.
    assert_eq!(rows(bench.path().join("second/counts.jsonl"))[0]["frames"], 1);
    // A part of the rest, then the remainder, then no frames are left.
    assert_eq!(run(&["--output", "third", "--start-at", "first", "--frames", "5"]).code, 0);
    assert_eq!(run(&["--output", "fourth", "--start-at", "third"]).code, 0);
    assert_eq!(frames(&bench.path().join("fourth"), None).iter().map(|row| row.1).min(), Some(39));
    let ended = run(&["--output", "fifth", "--start-at", "fourth"]);
    assert_eq!(ended.code, 3, "{}", ended.text);
    assert!(ended.text.contains("no frame is left: this run continues after frame 59 of `left`"), "{}", ended.text);
    assert!(
        ended.text.contains("PARTIAL") && !ended.text.lines().any(|line| line.ends_with(", done")),
        "{}",
        ended.text
    );
    assert_eq!(json(bench.path().join("fifth/run.json"))["result"]["status"], "partial");
    assert_eq!(bench.sideline(&["result", "fifth"]).code, 3);
}

#[test]
fn a_run_that_was_killed_is_continued() {
    let Some(bench) = bench_with_clips() else { return };
    let ended = bench.sideline(&["run", "flow.yml", "--output", "all"]);
    assert_eq!(ended.code, 0, "{}", ended.text);
    let mut killed = bench
        .command(SIDELINE)
        .args(["run", "flow.yml", "--output", "killed", "--set", "rehearse.hang_at=27"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let whole = bench.path().join("killed/recorded.json");
    let until = Instant::now() + Duration::from_secs(60);
    // Both streams hang at their frame 27. A row group ends when either stream has ten frames in it: first at frames 9
    // and 8, then at 18.
    while !std::fs::read_to_string(&whole).is_ok_and(|text| text.contains("\"frame\":18,")) {
        assert!(Instant::now() < until && killed.try_wait().unwrap().is_none(), "the run ended, or made no progress");
        std::thread::sleep(Duration::from_millis(5));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    let ended = bench.sideline(&["run", "flow.yml", "--output", "rest", "--start-at", "killed"]);
    assert_eq!(ended.code, 0, "{}", ended.text);
    assert_parts_equal_whole(&bench, "killed", "rest");
}

#[test]
fn a_run_that_cannot_be_continued_is_refused_with_the_reason() {
    let Some(bench) = bench_with_clips() else { return };
    let run = |more: &[&str]| bench.sideline(&[&["run", "flow.yml"], more].concat());
    assert_eq!(run(&["--output", "first", "--frames", "5"]).code, 0);
    std::fs::create_dir(bench.path().join("empty")).unwrap();
    std::fs::copy(bench.path().join("left.mp4"), bench.path().join("other.mp4")).unwrap();
    for (arguments, code, text) in [
        (vec!["--start-at", "empty"], 3, "empty is not the folder of a run: it has no run.json"),
        (vec!["--start-at", "first", "--output", "first"], 1, "first would be overwritten: give this run another"),
        (vec!["--start-at", "first", "--set", "capture.sources=[left.mp4, other.mp4]"], 1, "was made with `sources` "),
        (vec!["--start-at", "first", "--set", "capture.fps=10"], 1, "was made with `fps` null of `capture`"),
        (vec!["--start-at", "first", "--input", "left.mp4", "--input", "right.mp4"], 1, "continues a single run"),
    ] {
        let ended = run(&arguments);
        assert_eq!(ended.code, code, "{arguments:?}: {}", ended.text);
        assert!(ended.text.contains(text), "{arguments:?}: {}", ended.text);
    }
    let recorded = bench.path().join("first/recorded.json");
    std::fs::write(&recorded, "{\"streams\": {\"left\": 3}}").unwrap();
    let ended = run(&["--start-at", "first"]);
    let damaged =
        "first/recorded.json is damaged: `frame` of the stream `left` is missing or not a whole number. Run without";
    assert!(ended.code == 3 && ended.text.contains(damaged), "{}", ended.text);
    // As if the run had been killed before a row group was complete.
    std::fs::remove_file(bench.path().join("first/recorded.json")).unwrap();
    let ended = run(&["--start-at", "first"]);
    assert!(ended.code == 3 && ended.text.contains("no frame of first is complete in its tables"), "{}", ended.text);
}
