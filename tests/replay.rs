//! `run --from NODE --recording RUN`: operators run again from the tables of a recorded run.

mod support;

use std::path::Path;

use support::{Bench, json};

/// Flow text: synthetic -> counter at every second frame -> recorder, and a second counter that is not recorded.
fn flow(source: &str) -> String {
    format!(
        "nodes:
  - id: synthetic
    path: sideline
    args: run synthetic
    env: {{{source}, WIDTH: 64, HEIGHT: 48}}
    inputs: {{done_recorder: recorder/done}}
    outputs: [frames]
  - id: counter
    path: sideline
    args: run counter
    env: {{SIDELINE_STRIDE: 2}}
    inputs: {{frames: synthetic/frames}}
    outputs: [counts]
  - id: recorder
    path: sideline
    args: run recorder
    env: {{ROW_GROUP: 7}}
    inputs: {{counts: counter/counts}}
    outputs: [done]
"
    )
}

fn read(run: &Path, name: &str) -> Vec<u8> {
    std::fs::read(run.join(name)).unwrap_or_else(|cause| panic!("{name}: {cause}"))
}

/// Creates a folder with the flow and the recorded run `first`.
fn recorded(source: &str) -> Bench {
    let bench = Bench::new();
    bench.write("flow.yml", &flow(source));
    let run = bench.sideline(&["run", "flow.yml", "--output", "first"]);
    assert_eq!(run.code, 0, "{}", run.text);
    bench
}

#[test]
fn replayed_tables_are_those_of_the_recording_with_its_skips() {
    let bench = recorded("FRAMES: 40");
    let run = bench.sideline(&[
        "run",
        "flow.yml",
        "--from",
        "recorder",
        "--recording",
        "first",
        "--output",
        "second",
        "--json",
    ]);
    assert_eq!(run.code, 0, "{}", run.text);
    let (first, second) = (bench.path().join("first"), bench.path().join("second"));
    for name in ["counts.jsonl", "counts.parquet", "counts.skipped.jsonl", "counts.skipped.parquet"] {
        assert!(read(&first, name) == read(&second, name), "{name} differs");
    }
    let ids: Vec<String> = json(second.join("run.json"))["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids, ["synthetic", "replay", "recorder"], "the counter did not run");
}

#[test]
fn a_part_of_a_recording_is_replayed_for_a_part_of_the_input() {
    let bench = recorded("FRAMES: 40");
    let from = ["run", "flow.yml", "--from", "recorder", "--recording", "first", "--output", "second", "--frames", "9"];
    let run = bench.sideline(&from);
    assert_eq!(run.code, 0, "{}", run.text);
    let rows = |run: &str| support::rows(bench.path().join(run).join("counts.jsonl"));
    assert_eq!(rows("second"), rows("first")[..5], "frames 0, 2, 4, 6 and 8");
}

#[test]
fn what_cannot_be_replayed_is_an_error_that_names_the_mend() {
    let bench = recorded("FRAMES: 40");
    let two = flow("FRAMES: 40").replace(
        "  - id: recorder",
        "  - id: middle
    path: sideline
    args: run rehearse
    inputs: {frames: synthetic/frames}
    outputs: [frames]
  - id: last
    path: sideline
    args: run counter
    inputs: {frames: middle/frames}
    outputs: [counts]
  - id: recorder",
    );
    bench.write(
        "two.yml",
        &two.replace("inputs: {counts: counter/counts}", "inputs: {counts: counter/counts, last: last/counts}"),
    );
    bench.write("other.yml", &flow("FRAMES: 40, FPS: 25"));
    bench.write("unrecorded.yml", &flow("FRAMES: 40").replace("{counts: counter/counts}", "{other: counter/counts}"));
    let from = |flow: &str, node: &str, recording: &str, output: &str| {
        bench.sideline(&["run", flow, "--from", node, "--recording", recording, "--output", output])
    };
    for (flow, node, recording, output, expected) in [
        (
            "flow.yml",
            "recordr",
            "first",
            "second",
            "there is no node `recordr` to start from; did you mean `recorder`?",
        ),
        ("flow.yml", "synthetic", "first", "second", "`synthetic` is a source: there is nothing before it to replay"),
        ("flow.yml", "counter", "first", "second", "`counter` reads no recorded table: run the flow without `--from`"),
        ("flow.yml", "recorder", "nowhere", "second", "is not the folder of a run"),
        ("flow.yml", "recorder", "first", "first", "the replayed run would be replaced by its own results"),
        ("two.yml", "last", "first", "second", "`last` reads the frames `middle/frames`, which no recording holds"),
        ("other.yml", "recorder", "first", "second", "the recording is of another input"),
        ("unrecorded.yml", "recorder", "first", "second", "no table `other` was recorded"),
    ] {
        let run = from(flow, node, recording, output);
        assert!(run.code != 0 && run.text.contains(expected), "{flow} {node}: code {}: {}", run.code, run.text);
    }
    assert!(bench.path().join("first/counts.parquet").is_file(), "the recording is unchanged");
}
