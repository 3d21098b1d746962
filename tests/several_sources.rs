//! Several sources in one flow: each has its own window, frame accounting and end, in one process and over dora.

mod support;

use std::process::Stdio;

use support::{Bench, SIDELINE, finish, json, json_text, lock_dora, rows};

/// Flow text: two synthetic sources with a counter each, and one recorder of both.
fn flow(left: &str, right: &str) -> String {
    format!(
        "env: {{SIDELINE_STALL_S: 3}}
nodes:
  - id: left
    path: sideline
    args: run synthetic
    env: {{WIDTH: 64, HEIGHT: 48, {left}}}
    inputs: {{done_recorder: recorder/done}}
    outputs: [frames]
  - id: right
    path: sideline
    args: run synthetic
    env: {{WIDTH: 64, HEIGHT: 48, {right}}}
    inputs: {{done_recorder: recorder/done}}
    outputs: [frames]
  - id: count_left
    path: sideline
    args: run counter
    inputs: {{frames: left/frames}}
    outputs: [counts]
  - id: count_right
    path: sideline
    args: run counter
    inputs: {{frames: right/frames}}
    outputs: [counts]
  - id: recorder
    path: sideline
    args: run recorder
    inputs: {{left: count_left/counts, right: count_right/counts}}
    outputs: [done]
"
    )
}

/// Number of rows of a table.
fn lines(bench: &Bench, run: &str, table: &str) -> usize {
    rows(bench.path().join(run).join(format!("{table}.jsonl"))).len()
}

#[test]
fn one_process_records_both_sources_and_a_second_run_gives_the_same_bytes() {
    let bench = Bench::new();
    bench.write("flow.yml", &flow("FRAMES: 60", "FRAMES: 500"));
    let checked = bench.sideline(&["check", "flow.yml"]);
    assert_eq!(checked.code, 0, "{}", checked.text);
    assert!(!checked.text.contains("warning"), "both sources wait for the recorder: {}", checked.text);
    for out in ["a", "b"] {
        let ended = bench.sideline(&["run", "flow.yml", "--output", out]);
        assert_eq!(ended.code, 0, "{}", ended.text);
        assert_eq!((lines(&bench, out, "left"), lines(&bench, out, "right")), (60, 500));
    }
    for file in ["left.parquet", "left.jsonl", "right.parquet", "right.jsonl"] {
        let read = |out: &str| std::fs::read(bench.path().join(out).join(file)).unwrap();
        assert_eq!(read("a"), read("b"), "{file}");
    }
    let ended = bench.sideline(&["run", "flow.yml", "--output", "c", "--frames", "20"]);
    assert_eq!((ended.code, lines(&bench, "c", "left"), lines(&bench, "c", "right")), (0, 20, 20), "{}", ended.text);
    let ended = bench.sideline(&["run", "flow.yml", "--output", "d", "--duration", "1s"]);
    assert_eq!((ended.code, lines(&bench, "d", "left"), lines(&bench, "d", "right")), (0, 30, 30), "{}", ended.text);
}

#[test]
fn a_source_that_ends_long_before_the_other_is_no_stall() {
    let bench = Bench::new();
    let text = flow("FRAMES: 3", "FRAMES: 8, FPS: 5, PACE: true").replace("STALL_S: 3", "STALL_S: 0.5");
    bench.write("flow.yml", &text);
    let ended = bench.sideline(&["run", "flow.yml", "--output", "out"]);
    assert_eq!(ended.code, 0, "{}", ended.text);
    assert_eq!((lines(&bench, "out", "left"), lines(&bench, "out", "right")), (3, 8));
}

#[test]
fn each_source_drops_frames_independently_in_live_mode() {
    let bench = Bench::new();
    bench.write("flow.yml", &flow("FRAMES: 40, FPS: 100", "FRAMES: 80, FPS: 200"));
    let ended = bench.sideline(&["run", "flow.yml", "--mode", "live", "--output", "out", "--json"]);
    assert_eq!(ended.code, 0, "{}", ended.text);
    for source in json_text(&ended.text)["sources"].as_array().unwrap() {
        let count = |key: &str| source[key].as_u64().unwrap();
        assert_eq!(count("decoded"), count("admitted") + count("forgotten"), "{source}");
        assert_eq!(lines(&bench, "out", source["node"].as_str().unwrap()) as u64, count("admitted"));
    }
}

#[test]
fn a_failure_behind_one_source_ends_the_run_with_its_cause() {
    let bench = Bench::new();
    let text = flow("FRAMES: 60", "FRAMES: 0").replace(
        "run counter\n    inputs: {frames: left/frames}",
        "run rehearse\n    env: {ERROR_AT: 7}\n    inputs: {frames: left/frames}",
    );
    let text = text.replace("outputs: [counts]\n  - id: count_right", "outputs: [frames]\n  - id: count_right");
    bench.write("flow.yml", &text.replace("left: count_left/counts, ", ""));
    let ended = bench.sideline(&["run", "flow.yml", "--mode", "complete", "--output", "out"]);
    assert_eq!(ended.code, 6, "{}", ended.text);
    assert!(ended.text.contains("node `count_left`, frame 7 of stream `left`: `error_at` is set"), "{}", ended.text);
    assert_eq!(json(bench.path().join("out/run.json"))["result"]["reproducible"], false);
}

#[test]
fn a_reader_of_the_progress_that_goes_away_does_not_end_the_run() {
    let bench = Bench::new();
    bench.write("flow.yml", &flow("FRAMES: 40, FPS: 20, PACE: true", "FRAMES: 3"));
    let mut command = bench.command(SIDELINE);
    command.args(["run", "flow.yml", "--progress", "json", "--output", "out"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ended = support::wait(child);
    assert_eq!(ended.code, 0, "{}", ended.text);
    assert_eq!(json(bench.path().join("out/run.json"))["result"]["status"], "done");
}

#[test]
fn both_sources_are_recorded_over_dora_and_each_has_its_own_window() {
    let Some(_lock) = lock_dora() else { return };
    let bench = Bench::new();
    // The right source continues for longer than the stall timeout after the left one has ended.
    bench.write("flow.yml", &flow("FRAMES: 20", "FRAMES: 80, FPS: 10, PACE: true"));
    let ended = finish(bench.command("dora").args(["run", "flow.yml"]));
    let run = bench.last_run();
    let result = bench.sideline(&["result", run.to_str().unwrap()]);
    assert_eq!((ended.code, result.code), (0, 0), "{}{}", ended.text, result.text);
    let run = run.to_str().unwrap();
    assert_eq!((lines(&bench, run, "left"), lines(&bench, run, "right")), (20, 80));
}

#[test]
fn a_fast_source_over_dora_waits_for_the_common_recorder() {
    let Some(_lock) = lock_dora() else { return };
    let bench = Bench::new();
    bench.write("flow.yml", &flow("FRAMES: 2000", "FRAMES: 500"));
    let ended = finish(bench.command("dora").args(["run", "flow.yml"]));
    let run = bench.last_run();
    let result = bench.sideline(&["result", run.to_str().unwrap()]);
    assert_eq!((ended.code, result.code), (0, 0), "{}{}", ended.text, result.text);
    let run = run.to_str().unwrap();
    assert_eq!((lines(&bench, run, "left"), lines(&bench, run, "right")), (2000, 500));
}
