//! Flows as dora processes: no frame is lost, every process that dies is detected, and no process is left behind.

mod support;

use std::{
    path::Path,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use support::{
    Bench, CommandResult, finish, json, lock_dora, nodes::nodes_in, streams::wait_until, wait, wait_for_nodes_to_end,
};

/// Flow text: synthetic -> one -> two -> counter, with frames of 3 MB. `middle` is added to the environment of `one`.
fn chain(frames: u64, source: &str, middle: &str) -> String {
    let pool = "shared_memory_pool_size: 64MB";
    format!(
        "env: {{SIDELINE_STALL_S: 3}}
nodes:
  - id: synthetic
    path: sideline
    args: run synthetic
    env: {{FRAMES: {frames}, WIDTH: 1024, HEIGHT: 1000, ENCODING: rgb8{source}}}
    inputs: {{done_counter: counter/done}}
    outputs: [frames]
    {pool}
  - id: one
    path: sideline
    args: run rehearse
    env: {{SIDELINE_STRIDE: 1{middle}}}
    inputs: {{frames: synthetic/frames}}
    outputs: [frames]
    {pool}
  - id: two
    path: sideline
    args: run rehearse
    inputs: {{frames: one/frames}}
    outputs: [frames]
    {pool}
  - id: counter
    path: sideline
    args: run counter
    inputs: {{frames: two/frames}}
    outputs: [done]
"
    )
}

/// Runs a flow with `dora run`, then `sideline result`; returns the results of both.
fn dora_run(bench: &Bench, flow: &str) -> (CommandResult, CommandResult) {
    bench.write("flow.yml", flow);
    let ended = finish(bench.command("dora").args(["run", "flow.yml"]));
    wait_for_nodes_to_end(bench);
    let result = bench.sideline(&["result", bench.last_run().to_str().unwrap()]);
    (ended, result)
}

/// Waits until a node has started, which its timing file shows, and returns its process id.
fn wait_for_node(bench: &Bench, node: &str) -> u32 {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let mut runs = bench.path().join("runs").read_dir().into_iter().flatten().flatten();
        let started = runs.any(|run| run.path().join("timing").join(format!("{node}.parquet")).exists());
        if let (true, Some(pid)) = (started, nodes_in(bench.path()).get(node)) {
            return *pid;
        }
        assert!(Instant::now() < deadline, "`{node}` did not start");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Starts `dora run`.
fn start(bench: &Bench, flow: &str) -> Child {
    bench.write("flow.yml", flow);
    let mut command = bench.command("dora");
    command
        .args(["run", "flow.yml"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Number of frames that a node has processed.
fn processed(run: &Path, node: &str) -> u64 {
    json(run.join(format!("result/{node}.json")))["nodes"][0]["processed"].as_u64().unwrap()
}

#[test]
fn ten_runs_of_500_frames_of_3_mb_lose_no_frame() {
    let Some(_lock) = lock_dora() else { return };
    for _ in 0..10 {
        let bench = Bench::new();
        let (ended, result) = dora_run(&bench, &chain(500, "", ""));
        assert_eq!((ended.code, result.code), (0, 0), "{}{}", ended.text, result.text);
        let run = bench.last_run();
        for node in ["one", "two", "counter"] {
            assert_eq!(processed(&run, node), 500, "{node}");
        }
    }
}

#[test]
fn a_killed_node_ends_the_run_and_is_named() {
    let Some(_lock) = lock_dora() else { return };
    for node in ["synthetic", "one", "two", "counter"] {
        let bench = Bench::new();
        let child = start(&bench, &chain(100_000, ", FPS: 200, PACE: true", ""));
        let pid = wait_for_node(&bench, node);
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(pid as i32).unwrap(),
            rustix::process::Signal::KILL,
        )
        .unwrap();
        let ended = wait(child);
        let result = bench.sideline(&["result", bench.last_run().to_str().unwrap()]);
        assert_ne!(ended.code, 0, "{node}: {}", ended.text);
        assert_eq!(result.code, 6, "{node}: {}", result.text);
        assert!(result.text.contains(&format!("process `{node}` left no result")), "{node}: {}", result.text);
        wait_for_nodes_to_end(&bench);
    }
}

#[test]
fn a_failure_in_a_node_ends_the_run_with_its_cause_and_code() {
    let Some(_lock) = lock_dora() else { return };
    for (change, text) in [
        (", PANIC_AT: 20", "node `one`, frame 20 of stream `synthetic`: panic: `panic_at` is set"),
        (", ERROR_AT: 20", "node `one`, frame 20 of stream `synthetic`: `error_at` is set"),
        (", FAIL_IN_NEW: true", "node `one`: `fail_in_new` is set"),
    ] {
        let bench = Bench::new();
        let (ended, result) = dora_run(&bench, &chain(100, "", change));
        assert_ne!(ended.code, 0, "{change}: {}", ended.text);
        assert_eq!(result.code, 6, "{change}: {}", result.text);
        assert!(result.text.contains(text), "{change}: {}", result.text);
    }
}

#[test]
fn an_unknown_key_stops_every_node_before_it_starts() {
    let Some(_lock) = lock_dora() else { return };
    let bench = Bench::new();
    bench.write("flow.yml", &chain(100, "", ", WORK_MSS: 1"));
    let ended = finish(bench.command("dora").args(["run", "flow.yml"]));
    assert_ne!(ended.code, 0);
    let message = "there is no such key; did you mean `work_ms`?";
    assert!(ended.text.contains(message), "{}", ended.text);
    wait_for_nodes_to_end(&bench);
    let result = bench.sideline(&["result", bench.last_run().to_str().unwrap()]);
    assert!(result.code == 1 && result.text.contains(message), "{}", result.text);
    assert!(!result.text.contains("left no result"), "every node reports it: {}", result.text);
}

#[test]
fn a_signal_to_one_node_stops_the_whole_run_in_order() {
    let Some(_lock) = lock_dora() else { return };
    // The last one receives the signal while its operator is created.
    for (node, middle) in [("synthetic", ""), ("one", ""), ("two", ""), ("counter", ""), ("one", ", HANG_IN_NEW: true")]
    {
        let bench = Bench::new();
        let child = start(&bench, &chain(0, ", FPS: 100, PACE: true", middle));
        for every in ["synthetic", "one", "two", "counter"] {
            wait_for_node(&bench, every);
        }
        std::thread::sleep(Duration::from_millis(300)); // time for some frames
        let pid = rustix::process::Pid::from_raw(wait_for_node(&bench, node) as i32).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let ended = wait(child);
        assert_eq!(ended.code, 0, "{node}: {}", ended.text);
        wait_for_nodes_to_end(&bench);
        let own = json(bench.last_run().join(format!("result/{node}.json")));
        assert_eq!((&own["status"], &own["stop_cause"]), (&"stopped".into(), &"signal".into()), "{}", ended.text);
        let source = json(bench.last_run().join("result/synthetic.json"));
        assert_eq!((&source["status"], &source["failure"]), (&"stopped".into(), &Value::Null), "{node}: {source}");
        let result = bench.sideline(&["result", bench.last_run().to_str().unwrap()]);
        let last_line = result.text.lines().last().unwrap_or_default();
        assert!(
            result.code == 0
                && last_line.starts_with("stopped after ")
                && last_line.ends_with(&format!("(by a signal to `{node}`)")),
            "{node}: {}",
            result.text
        );
    }
}

#[test]
fn nodes_that_cannot_join_because_another_died_write_their_result_and_say_so() {
    use std::os::unix::fs::PermissionsExt;
    let Some(_lock) = lock_dora() else { return };
    let bench = Bench::new();
    // Takes the place of `two`, which dies before it has joined the dataflow.
    let dies = bench.write("dies/sideline", "#!/bin/sh\nkill -9 $$\n");
    std::fs::set_permissions(&dies, std::fs::Permissions::from_mode(0o755)).unwrap();
    let flow = chain(100, "", "").replace("- id: two\n    path: sideline", "- id: two\n    path: ./dies/sideline");
    bench.write("flow.yml", &flow);
    let ended = finish(bench.command("dora").args(["run", "flow.yml"]));
    wait_for_nodes_to_end(&bench);
    assert_ne!(ended.code, 0, "{}", ended.text);
    let result = bench.sideline(&["result", bench.last_run().to_str().unwrap()]);
    assert_eq!(result.code, 6, "{}", result.text);
    for node in ["synthetic", "one", "counter"] {
        let failure = &json(bench.last_run().join(format!("result/{node}.json")))["failure"];
        let message = failure["message"].as_str().unwrap();
        assert!(message.contains("a node of the flow died or was killed before all had joined"), "{node}: {message}");
        assert_eq!(failure["consequence"], true, "{node}: {failure}");
    }
}

#[test]
fn sideline_stop_finishes_every_admitted_frame() {
    let Some(_lock) = lock_dora() else { return };
    let bench = Bench::new();
    let child = start(&bench, &chain(0, ", FPS: 100, PACE: true", ""));
    wait_for_node(&bench, "counter");
    std::thread::sleep(Duration::from_millis(300)); // time for some frames
    let run = bench.last_run().file_name().unwrap().to_string_lossy().into_owned();
    wait_until("the run can be stopped", || bench.sideline(&["stop", &run]).code == 0);
    let ended = wait(child);
    assert_eq!(ended.code, 0, "{}", ended.text);
    let source = json(bench.last_run().join("result/synthetic.json"));
    let (admitted, frame) = (&source["sources"][0]["admitted"], &source["stopped_at_frame"]);
    assert_eq!((admitted, &source["sources"][0]["unfinished"]), (frame, &0.into()), "{source}");
    assert_eq!(processed(&bench.last_run(), "counter"), admitted.as_u64().unwrap(), "{}", ended.text);
    wait_for_nodes_to_end(&bench);
}

#[test]
fn an_operator_that_hangs_ends_the_run_after_the_stall_timeout() {
    let Some(_lock) = lock_dora() else { return };
    let bench = Bench::new();
    let (ended, result) = dora_run(&bench, &chain(100, "", ", HANG_AT: 20"));
    assert_ne!(ended.code, 0);
    assert_eq!(result.code, 6, "{}", result.text);
    assert!(
        result.text.contains("node `one` did not answer for 3 s") && result.text.contains("since frame 20"),
        "{}",
        result.text
    );
}

#[test]
fn a_slow_node_makes_a_live_source_drop_frames_and_the_counts_add_up() {
    let Some(_lock) = lock_dora() else { return };
    let bench = Bench::new();
    let flow =
        chain(200, ", FPS: 200, PACE: true", ", WORK_MS: 20").replace("SIDELINE_STALL_S: 3", "SIDELINE_MODE: live");
    let (ended, result) = dora_run(&bench, &flow);
    assert_eq!((ended.code, result.code), (0, 0), "{}{}", ended.text, result.text);
    let source = &json(bench.last_run().join("result/synthetic.json"))["sources"][0];
    let count = |key: &str| source[key].as_u64().unwrap();
    assert!(count("forgotten") > 0, "{source}");
    assert_eq!(count("decoded"), count("admitted") + count("forgotten"));
    assert_eq!(processed(&bench.last_run(), "counter"), count("admitted"));
}

#[test]
fn an_interrupt_of_dora_run_closes_every_node_in_order() {
    let Some(_lock) = lock_dora() else { return };
    let bench = Bench::new();
    let child = start(&bench, &chain(0, ", FPS: 100, PACE: true", ""));
    wait_for_node(&bench, "counter");
    std::thread::sleep(Duration::from_millis(300)); // time for some frames
    let dora = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(dora, rustix::process::Signal::INT).unwrap();
    wait(child);
    let result = bench.sideline(&["result", bench.last_run().to_str().unwrap()]);
    assert_eq!(result.code, 0, "{}", result.text);
    assert!(result.text.contains("stopped after "), "{}", result.text);
    wait_for_nodes_to_end(&bench);
}

#[test]
fn a_node_whose_program_is_missing_is_reported_by_dora() {
    let Some(_lock) = lock_dora() else { return };
    let bench = Bench::new();
    bench.write("flow.yml", &chain(10, "", "").replace("path: sideline", "path: sideline-is-not-here"));
    let ended = finish(bench.command("dora").args(["run", "flow.yml"]));
    assert_ne!(ended.code, 0);
    assert!(ended.text.contains("sideline-is-not-here"), "{}", ended.text);
}

#[test]
fn a_node_writes_its_results_to_its_own_run_folder_setting() {
    let Some(_lock) = lock_dora() else { return };
    let bench = Bench::new();
    bench.write("flow.yml", &chain(5, "", ", SIDELINE_RUN_DIR: elsewhere"));
    let ended = finish(bench.command("dora").args(["run", "flow.yml"]));
    assert_eq!(ended.code, 0, "{}", ended.text);
    let run = bench.last_run();
    let elsewhere = bench.path().join("elsewhere").join(run.file_name().unwrap());
    assert!(elsewhere.join("result/one.json").is_file() && !run.join("result/one.json").exists());
    assert!(run.join("result/counter.json").is_file());
    // The result of either folder includes both processes.
    for folder in [&run, &elsewhere] {
        let result = bench.sideline(&["result", folder.to_str().unwrap()]);
        assert!(
            result.code == 0 && result.text.contains("one  ") && result.text.contains("counter  "),
            "{}",
            result.text
        );
    }
}
