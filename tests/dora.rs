//! Flows as dora processes: nothing is lost, every death is noticed, nothing stays behind.

mod support;

use std::{
    path::Path,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use support::{Bench, Ended, dora, finish, json, nodes::nodes_in, nothing_stays, streams::until, wait};

/// synthetic -> one -> two -> counter, 3 MB a frame; `change` is put into the environment of `one`.
fn chain(frames: u64, source: &str, change: &str) -> String {
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
    env: {{SIDELINE_STRIDE: 1{change}}}
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

/// `dora run`, and what `sideline result` says of it.
fn dora_run(bench: &Bench, flow: &str) -> (Ended, Ended) {
    bench.write("flow.yml", flow);
    let ended = finish(bench.command("dora").args(["run", "flow.yml"]));
    nothing_stays(bench);
    let result = bench.sideline(&["result", bench.last_run().to_str().unwrap()]);
    (ended, result)
}

/// The process of a node, once it has begun to work: its timing file is there.
fn pid_of(bench: &Bench, node: &str) -> u32 {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let mut runs = bench.path().join("runs").read_dir().into_iter().flatten().flatten();
        let started = runs.any(|run| run.path().join("timing").join(format!("{node}.parquet")).exists());
        if let (true, Some(pid)) = (started, nodes_in(bench.path()).get(node)) {
            return *pid;
        }
        assert!(Instant::now() < until, "`{node}` did not start");
        std::thread::sleep(Duration::from_millis(10));
    }
}

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

fn processed(run: &Path, node: &str) -> u64 {
    json(run.join(format!("result/{node}.json")))["nodes"][0]["processed"].as_u64().unwrap()
}

#[test]
fn ten_runs_of_500_frames_of_3_mb_lose_none() {
    let Some(_lock) = dora() else { return };
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
    let Some(_lock) = dora() else { return };
    for node in ["synthetic", "one", "two", "counter"] {
        let bench = Bench::new();
        let child = start(&bench, &chain(100_000, ", FPS: 200, PACE: true", ""));
        let pid = pid_of(&bench, node);
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
        nothing_stays(&bench);
    }
}

#[test]
fn what_goes_wrong_in_a_node_ends_the_run_with_its_cause_and_code() {
    let Some(_lock) = dora() else { return };
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
fn a_wrong_key_stops_every_node_before_it_begins() {
    let Some(_lock) = dora() else { return };
    let bench = Bench::new();
    bench.write("flow.yml", &chain(100, "", ", WORK_MSS: 1"));
    let ended = finish(bench.command("dora").args(["run", "flow.yml"]));
    assert_ne!(ended.code, 0);
    let told = "there is no such key; did you mean `work_ms`?";
    assert!(ended.text.contains(told), "{}", ended.text);
    nothing_stays(&bench);
    let result = bench.sideline(&["result", bench.last_run().to_str().unwrap()]);
    assert!(result.code == 1 && result.text.contains(told), "{}", result.text);
    assert!(!result.text.contains("left no result"), "every node says so: {}", result.text);
}

#[test]
fn a_signal_to_one_node_closes_it_in_order_and_it_says_so() {
    let Some(_lock) = dora() else { return };
    let bench = Bench::new();
    let child = start(&bench, &chain(0, ", FPS: 100, PACE: true", ""));
    let pid = rustix::process::Pid::from_raw(pid_of(&bench, "counter") as i32).unwrap();
    let result = bench.last_run().join("result/counter.json");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let ended = wait(child);
    assert!(result.is_file(), "{}", ended.text);
    assert_eq!(json(result)["status"], "stopped", "{}", ended.text);
    nothing_stays(&bench);
}

#[test]
fn a_stop_of_our_own_finishes_every_frame_that_was_admitted() {
    let Some(_lock) = dora() else { return };
    let bench = Bench::new();
    let child = start(&bench, &chain(0, ", FPS: 100, PACE: true", ""));
    pid_of(&bench, "counter");
    std::thread::sleep(Duration::from_millis(300)); // some frames, however many
    let run = bench.last_run().file_name().unwrap().to_string_lossy().into_owned();
    until("the run can be stopped", || bench.sideline(&["stop", &run]).code == 0);
    let ended = wait(child);
    assert_eq!(ended.code, 0, "{}", ended.text);
    let source = json(bench.last_run().join("result/synthetic.json"));
    let (admitted, frame) = (&source["sources"][0]["admitted"], &source["stopped_at_frame"]);
    assert_eq!((admitted, &source["sources"][0]["unfinished"]), (frame, &0.into()), "{source}");
    assert_eq!(processed(&bench.last_run(), "counter"), admitted.as_u64().unwrap(), "{}", ended.text);
    nothing_stays(&bench);
}

#[test]
fn an_operator_that_never_answers_ends_the_run_within_the_stall_time() {
    let Some(_lock) = dora() else { return };
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
fn a_slow_node_makes_a_live_source_forget_and_the_counts_add_up() {
    let Some(_lock) = dora() else { return };
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
fn a_user_s_stop_closes_every_node_in_order() {
    let Some(_lock) = dora() else { return };
    let bench = Bench::new();
    let child = start(&bench, &chain(0, ", FPS: 100, PACE: true", ""));
    pid_of(&bench, "counter");
    std::thread::sleep(Duration::from_millis(300)); // some frames, however many
    let dora = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(dora, rustix::process::Signal::INT).unwrap();
    wait(child);
    let result = bench.sideline(&["result", bench.last_run().to_str().unwrap()]);
    assert_eq!(result.code, 0, "{}", result.text);
    assert!(result.text.contains("stopped at frame"), "{}", result.text);
    nothing_stays(&bench);
}

#[test]
fn a_node_without_the_program_on_path_is_told_by_dora() {
    let Some(_lock) = dora() else { return };
    let bench = Bench::new();
    bench.write("flow.yml", &chain(10, "", "").replace("path: sideline", "path: sideline-is-not-here"));
    let ended = finish(bench.command("dora").args(["run", "flow.yml"]));
    assert_ne!(ended.code, 0);
    assert!(ended.text.contains("sideline-is-not-here"), "{}", ended.text);
}

#[test]
fn a_node_keeps_its_results_where_its_own_setting_says() {
    let Some(_lock) = dora() else { return };
    let bench = Bench::new();
    bench.write("flow.yml", &chain(5, "", ", SIDELINE_RUN_DIR: elsewhere"));
    let ended = finish(bench.command("dora").args(["run", "flow.yml"]));
    assert_eq!(ended.code, 0, "{}", ended.text);
    let run = bench.last_run();
    let elsewhere = bench.path().join("elsewhere").join(run.file_name().unwrap());
    assert!(elsewhere.join("result/one.json").is_file() && !run.join("result/one.json").exists());
    assert!(run.join("result/counter.json").is_file());
    // Whichever of the two folders is asked, it tells of both.
    for folder in [&run, &elsewhere] {
        let result = bench.sideline(&["result", folder.to_str().unwrap()]);
        assert!(
            result.code == 0 && result.text.contains("one  ") && result.text.contains("counter  "),
            "{}",
            result.text
        );
    }
}
