//! Flows in one process, run by the program `sideline`.

mod support;

use std::{path::Path, process::Stdio};

use support::{Bench, SIDELINE, finish, json, rehearse_flow, wait};

/// Flow text: 120 synthetic frames -> rehearse -> counter -> recorder, with additions to two environments.
fn flow(source: &str, middle: &str) -> String {
    rehearse_flow(&format!("FRAMES: 120, WIDTH: 64, HEIGHT: 48{source}"), &format!("SIDELINE_STRIDE: 1{middle}"))
}

#[test]
fn a_run_writes_its_tables_and_its_frame_accounting() {
    let bench = Bench::new();
    bench.write("flow.yml", &flow("", ""));
    let ended = bench.sideline(&["run", "flow.yml", "--output", "out"]);
    assert_eq!(ended.code, 0, "{}", ended.text);
    let run = json(bench.path().join("out/run.json"));
    assert_eq!(run["result"]["status"], "done");
    assert_eq!(run["result"]["reproducible"], true);
    assert_eq!(run["result"]["sources"][0]["admitted"], 120);
    let lines = std::fs::read_to_string(bench.path().join("out/counts.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 120);
    let last: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!((&last["stream"], &last["frame"], &last["frames"]), (&"synthetic".into(), &119.into(), &120.into()));
    assert!(bench.path().join("out/counts.parquet").is_file() && bench.path().join("out/timing.parquet").is_file());
    let result = bench.sideline(&["result", "out"]);
    assert_eq!(
        (result.code, result.text.contains("120 decoded = 120 admitted + 0 dropped")),
        (0, true),
        "{}",
        result.text
    );
}

#[test]
fn a_second_run_gives_the_same_bytes() {
    let bench = Bench::new();
    bench.write("flow.yml", &flow("", ""));
    for out in ["a", "b"] {
        assert_eq!(bench.sideline(&["run", "flow.yml", "--output", out]).code, 0);
    }
    for file in ["counts.parquet", "counts.jsonl"] {
        let read = |out: &str| std::fs::read(bench.path().join(out).join(file)).unwrap();
        assert_eq!(read("a"), read("b"), "{file}");
    }
}

#[test]
fn a_live_run_counts_dropped_frames_and_records_the_admitted_ones() {
    let bench = Bench::new();
    bench.write("flow.yml", &flow(", FPS: 400", ", WORK_MS: 20"));
    let ended = bench.sideline(&["run", "flow.yml", "--mode", "live", "--output", "out"]);
    assert_eq!(ended.code, 0, "{}", ended.text);
    let source = &json(bench.path().join("out/run.json"))["result"]["sources"][0];
    let count = |key: &str| source[key].as_u64().unwrap();
    assert!(count("forgotten") > 0 && count("decoded") == count("admitted") + count("forgotten"), "{source}");
    let lines = std::fs::read_to_string(bench.path().join("out/counts.jsonl")).unwrap();
    assert_eq!(lines.lines().count() as u64, count("admitted"));
}

#[test]
fn failures_have_their_message_and_exit_code() {
    for (source, middle, arguments, code, text) in [
        ("", ", PANIC_AT: 5", "", 6, "node `middle`, frame 5 of stream `synthetic`: panic: `panic_at` is set"),
        ("", ", ERROR_AT: 5", "", 6, "frame 5 of stream `synthetic`: `error_at` is set"),
        ("", ", FAIL_IN_NEW: true", "", 6, "node `middle`: `fail_in_new` is set"),
        ("", ", WORK_MS: fast", "", 1, "flow.yml:11:"),
        ("", ", PANIC_ATT: 5", "", 1, "did you mean `panic_at`?"),
        (", WIDTHH: 5", "", "", 1, "did you mean `width`?"),
        (", FPS: 0", "", "", 1, "out of range"),
        ("", "", "--set=middle.work_mss=1", 1, "did you mean `work_ms`?"),
        ("", "", "--set=midle.work_ms=1", 1, "did you mean `middle`?"),
        ("", "", "--mode=lively", 1, "lively"),
        ("", "", "--output=/proc/nowhere", 4, "/proc/nowhere"),
    ] {
        let bench = Bench::new();
        bench.write("flow.yml", &flow(source, middle));
        let mut all = vec!["run", "flow.yml"];
        all.extend((!arguments.is_empty()).then_some(arguments));
        let ended = bench.sideline(&all);
        assert_eq!(ended.code, code, "{source}{middle}{arguments}: {}", ended.text);
        assert!(ended.text.contains(text), "{source}{middle}{arguments}: {}", ended.text);
    }
}

#[test]
fn a_failed_run_is_marked_partial_and_keeps_its_complete_rows() {
    let bench = Bench::new();
    bench.write("flow.yml", &flow("", ", ERROR_AT: 50"));
    assert_eq!(bench.sideline(&["run", "flow.yml", "--output", "out"]).code, 6);
    assert_eq!(json(bench.path().join("out/run.json"))["result"]["status"], "partial");
    let lines = std::fs::read_to_string(bench.path().join("out/counts.jsonl")).unwrap();
    assert!(lines.lines().count() <= 50);
    let result = bench.sideline(&["result", "out"]);
    assert!(result.code == 6 && result.text.contains("PARTIAL"), "{}", result.text);
}

#[test]
fn a_hang_ends_the_run_and_names_the_node() {
    let bench = Bench::new();
    let flow = format!("env: {{SIDELINE_STALL_S: 1}}\n{}", flow("", ", HANG_AT: 7"));
    bench.write("flow.yml", &flow);
    let ended = bench.sideline(&["run", "flow.yml"]);
    assert_eq!(ended.code, 6, "{}", ended.text);
    assert!(ended.text.contains("node `middle` did not answer for 1 s"), "{}", ended.text);
}

#[test]
fn a_run_can_be_limited_and_its_report_and_progress_are_json() {
    let bench = Bench::new();
    bench.write("flow.yml", &flow("", ""));
    let ended = bench.sideline(&["run", "flow.yml", "--frames", "10", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&ended.text).unwrap();
    let counts = ["decoded", "admitted", "forgotten"].map(|key| report["sources"][0][key].as_u64().unwrap());
    assert_eq!(counts, [10, 10, 0], "{}", ended.text);
    let ended = bench.sideline(&["run", "flow.yml", "--frames", "0"]);
    assert!(ended.code == 1 && ended.text.contains("0 is not in 1.."), "{}", ended.text);
    let output = bench.command(SIDELINE).args(["run", "flow.yml", "--progress", "json"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.last().unwrap()["frames"], 120, "every line is JSON, and the last one is written at the end");
    assert!(String::from_utf8_lossy(&output.stderr).contains("120 decoded = 120 admitted"));
}

#[test]
fn commands_end_without_an_error_when_their_reader_is_gone() {
    let bench = Bench::new();
    bench.write("flow.yml", &flow("", ""));
    assert_eq!(bench.sideline(&["run", "flow.yml", "--output", "out"]).code, 0);
    let commands: [&[&str]; 12] = [
        &["list"],
        &["list", "--json"],
        &["inspect", "flow.yml"],
        &["inspect", "counter"],
        &["check", "flow.yml"],
        &["graph", "flow.yml"],
        &["models", "list"],
        &["completions", "bash"],
        &["result", "out"],
        &["export", "out", "--output", "-"],
        &["run", "flow.yml", "--json"],
        &["--help"],
    ];
    for command in commands {
        let mut child =
            bench.command(SIDELINE).args(command).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let ended = wait(child);
        assert_eq!(ended.code, 0, "{command:?}: {}", ended.text);
        assert!(!ended.text.contains("panicked") && !ended.text.contains("error"), "{command:?}: {}", ended.text);
    }
}

#[test]
fn output_that_cannot_be_printed_is_an_output_failure() {
    let bench = Bench::new();
    if !Path::new("/dev/full").exists() {
        support::skip_test(support::Capability::Machine, "no /dev/full");
        return;
    }
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = bench.command(SIDELINE);
    let ended = wait(command.args(["list", "--json"]).stdout(full).stderr(Stdio::piped()).spawn().unwrap());
    assert!(ended.code == 4 && ended.text.contains("error: standard output: "), "{}", ended.text);
}

#[test]
fn file_names_that_are_not_utf_8_cause_no_panic() {
    use std::os::unix::ffi::OsStrExt;
    let bench = Bench::new();
    let non_utf8_name = |end: &[u8]| std::ffi::OsStr::from_bytes(&[b"odd-\xff", end].concat()).to_owned();
    std::fs::write(bench.path().join(non_utf8_name(b".yml")), flow("", ", WORK_MSS: 1")).unwrap();
    bench.write("flow.yml", &flow("", ""));
    for (arguments, code) in [
        (vec!["check".into(), "--json".into(), non_utf8_name(b".yml")], 1),
        (vec!["run".into(), non_utf8_name(b".yml")], 1),
        (vec!["result".into(), non_utf8_name(b"")], 3),
        (vec!["run".into(), "flow.yml".into(), "--json".into(), "--output".into(), non_utf8_name(b"")], 0),
    ] {
        let ended = finish(bench.command(SIDELINE).args(&arguments));
        assert_eq!(ended.code, code, "{arguments:?}: {}", ended.text);
        assert!(!ended.text.contains("panicked"), "{arguments:?}: {}", ended.text);
    }
    let arguments = ["run".into(), "flow.yml".into(), "--input".into(), non_utf8_name(b".mp4")];
    let refused = finish(bench.command(SIDELINE).args(&arguments));
    let text = "error: argument 4, \"odd-\\xFF.mp4\" after `--input`, is not valid UTF-8: rename the file, ";
    assert!(refused.code == 1 && refused.text.contains(text), "{}", refused.text);
}

#[test]
fn files_and_names_that_are_no_flow_are_reported() {
    let bench = Bench::new();
    bench.write("empty.yml", "");
    bench.write("broken.yml", "nodes: [\n");
    for (what, text) in [
        ("absent.yml", "absent.yml"),
        ("empty.yml", "empty.yml"),
        ("broken.yml", "broken.yml:2:"),
        ("trackr", "did you mean `tracker`?"),
        ("tracker", "runs as a node of a flow"),
    ] {
        let ended = bench.sideline(&["run", what]);
        assert_eq!(ended.code, 1, "{what}: {}", ended.text);
        assert!(ended.text.contains(text), "{what}: {}", ended.text);
    }
}

#[test]
fn operators_are_listed_and_inspected() {
    let bench = Bench::new();
    let list = bench.sideline(&["list"]);
    assert!(list.text.contains("counter      Counts frames"), "{}", list.text);
    let shown: serde_json::Value =
        serde_json::from_str(&bench.sideline(&["inspect", "counter", "--json"]).text).unwrap();
    assert_eq!(shown["keys"][0]["key"], "step");
    bench.write("flow.yml", &flow(", FPS: 12", ""));
    let values = bench.sideline(&["inspect", "flow.yml"]).text;
    assert!(values.contains("fps = 12.0  (") && values.contains("flow.yml:5:"), "{values}");
}
