//! Runs and results from Python code, and the page on Python: its code is run.

mod support;

use std::path::Path;

use support::Bench;

/// Returns the code blocks of the page, each with its first line `# NAME` as the name.
fn code_of_page() -> Vec<(String, String)> {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/python.md")).unwrap();
    let mut blocks = vec![];
    for language in ["python", "yaml"] {
        for block in page.split(&format!("```{language}\n")).skip(1) {
            let code = block.split("```").next().unwrap();
            let name = code.lines().next().unwrap().strip_prefix("# ").expect("the first line names the file");
            blocks.push((name.to_owned(), code.to_owned()));
        }
    }
    blocks
}

#[test]
fn the_code_and_the_commands_of_the_page_run() {
    let Some(bench) = Bench::new() else { return };
    for (name, code) in code_of_page() {
        bench.write(&name, &code);
    }
    let check = bench.sideline(&["check", "light.yml"]);
    assert_eq!(check.code, 0, "{}", check.text);
    let run = bench.sideline(&["run", "light.yml", "--output", "runs/light"]);
    assert_eq!(run.code, 0, "{}", run.text);
    let test = support::finish(bench.command(bench.interpreter()).arg("test_light.py"));
    assert_eq!(test.code, 0, "{}", test.text);
    let run = |name: &str| {
        let outcome = support::finish(bench.command(bench.interpreter()).arg(name));
        assert_eq!(outcome.code, 0, "{}", outcome.text);
        outcome.stdout
    };
    assert_eq!(run("live.py").lines().filter(|line| line.split(' ').count() == 2).count(), 100);
    let callbacks = run("callbacks.py");
    assert!(callbacks.contains("\n49 1\n") && callbacks.contains(" of 50\n"), "{callbacks}");
    assert!(callbacks.ends_with("done\n") || callbacks.ends_with("limit\n"), "{callbacks}");
    assert_eq!(run("coroutine.py").lines().collect::<Vec<_>>()[99], "99");
    assert_eq!(run("graph.py"), "40\n");
    let results = run("results.py");
    assert!(results.starts_with("['light'] light.yml\n") && results.contains("count    100.0"), "{results}");
    if bench.has_package("duckdb") {
        let query = run("query.py");
        assert_eq!(query.matches('\n').count(), 10, "{query}");
    }
    bench.write(
        "flow.yml",
        &std::fs::read_to_string(bench.path().join("light.yml")).unwrap().replace("light.py", "punches.py"),
    );
    let punches = bench.sideline(&["check", "flow.yml"]);
    assert!(punches.text.contains("input `frames`: there is no such input; there are moves"), "{}", punches.text);
}

const LIGHT: &str = r#"
import sideline

@sideline.operator(reads={"frames": sideline.frames}, writes={"rows": sideline.table("light", mean=float, at=sideline.array(sideline.f32, 2))})
def light(cx, frames):
    if cx.frame == LIMIT:
        raise ValueError("the limit is reached")
    return [{"mean": frames.y.mean(), "at": [1, 2]}]
"#;

fn bench(limit: &str) -> Option<Bench> {
    let bench = Bench::new()?;
    bench.write_flow(&LIGHT.replace("LIMIT", limit), "");
    Some(bench)
}

/// Runs a program that must succeed; returns what it prints.
fn run(bench: &Bench, program: &str) -> String {
    let outcome = bench.run_python(program);
    assert_eq!(outcome.code, 0, "{}", outcome.text);
    outcome.stdout
}

#[test]
fn batches_come_while_the_flow_runs_and_as_dataframes() {
    let Some(bench) = bench("-1") else { return };
    let program = r#"
import sideline, pyarrow
run = sideline.run("flow.yml", tables=["light"], output="out")
frames = []
for batch in run:
    table = batch.arrow()
    assert table.column_names == ["stream", "session", "frame", "pts", "mean", "at"], table
    assert (batch.table, len(batch), batch.to_pylist()[0]["at"]) == ("light", 1, [1, 2])
    assert batch["at"].shape == (1, 2) and list(batch)[0]["mean"] == batch.pandas()["mean"][0]
    frames.append(batch.frame)
assert frames == list(range(40)), frames
print(run.report["status"], run.folder)
results = sideline.open(run.folder)
flat = results.rows.pandas(flat=True)
assert list(flat.columns) == ["stream", "session", "frame", "pts", "mean", "at_0", "at_1"], flat.columns
assert str(flat["frame"].dtype) == "int64" and (flat["at_1"] == 2).all() and results.tables == ["rows"]
assert results.rows.skipped() is None and results.configuration["flow"] == "flow.yml"
try:
    results.row
except AttributeError as error:
    print(error)
"#;
    assert_eq!(run(&bench, program), "done out\n'the run has no table `row`; it has rows'\n".replace('\'', ""));
}

#[test]
fn leaving_the_loop_ends_the_run_and_leaves_complete_results() {
    let Some(bench) = bench("-1") else { return };
    let program = r#"
import os, sideline
for batch in sideline.run("flow.yml", tables=["light"], output="out"):
    break
print(os.path.isfile("out/rows.parquet"), len(sideline.open("out").rows.pandas()) > 0)
"#;
    assert_eq!(run(&bench, program), "True True\n");
}

#[test]
fn a_slow_loop_makes_a_complete_run_wait_and_loses_no_row() {
    let Some(bench) = bench("-1") else { return };
    let program = r#"
import sideline, time
count = 0
for batch in sideline.run("flow.yml", tables="mine/rows", output="out", set={"synthetic.frames": 600}, mode="complete"):
    if count < 5:
        time.sleep(0.2)
    count += 1
print(count)
"#;
    assert_eq!(run(&bench, program), "600\n");
}

#[test]
fn a_loop_that_is_slower_than_the_stall_timeout_is_no_stall_but_an_operator_is() {
    let Some(bench) = bench("-1") else { return };
    let program = r#"
import sideline, time
count = 0
for batch in sideline.run("flow.yml", tables="mine/rows", output="out", set={"synthetic.frames": 400}, mode="complete"):
    if count == 0:
        time.sleep(3)
    count += 1
print(count)
"#;
    let flow = std::fs::read_to_string(bench.path().join("flow.yml")).unwrap();
    bench.write("flow.yml", &format!("env: {{SIDELINE_STALL_S: 1}}\n{flow}"));
    assert_eq!(run(&bench, program), "400\n");
    bench.write(
        "my_op.py",
        &LIGHT
            .replace("raise ValueError(\"the limit is reached\")", "import time; time.sleep(60)")
            .replace("LIMIT", "3"),
    );
    let hangs = "import sideline\ntry:\n    sideline.run('flow.yml', output='out').wait()\nexcept sideline.Error as error:\n    print(error)\n";
    assert!(run(&bench, hangs).contains("node `mine` did not answer for 1 s (SIDELINE_STALL_S), since frame 3"));
}

#[test]
fn a_slow_loop_in_live_mode_loses_the_oldest_batches_and_counts_them() {
    let Some(bench) = bench("-1") else { return };
    let program = r#"
import sideline, time
frames = []
run = sideline.run("flow.yml", tables="mine/rows", output="out", set={"synthetic.frames": 1500}, mode="live")
for batch in run:
    if not frames:
        while not run._native.has_ended:
            time.sleep(0.05)
    frames.append(batch.frame)
recorded = sideline.open("out").rows.pandas()["frame"].tolist()
assert frames[1:] == recorded[-256:], (frames, recorded[-256:])
print(run.report["status"], len(frames) + run.dropped == len(recorded), run.dropped > 0)
"#;
    assert_eq!(run(&bench, program), "done True True\n");
}

#[test]
fn an_interrupt_ends_a_complete_run_that_waits_for_its_loop() {
    let Some(bench) = bench("-1") else { return };
    let program = r#"
import os, signal, sideline, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)
run = sideline.run("flow.yml", tables=["light"], output="out", set={"synthetic.frames": 10000000}, mode="complete")
try:
    for batch in run:
        if batch.frame == 300:
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
            time.sleep(60)
except KeyboardInterrupt:
    print("interrupted", run.report["status"])
"#;
    assert_eq!(run(&bench, program), "interrupted stopped\n");
}

#[test]
fn callbacks_get_batches_progress_and_the_failure() {
    let Some(bench) = bench("30") else { return };
    let program = r#"
import sideline
batches, progress, errors = [], [], []
def start(**more):
    return sideline.run("flow.yml", tables=["light"], output="out", on_batch=batches.append, on_progress=progress.append,
                        on_error=errors.append, **more)
report = start(frames=20).wait()
print([batch.frame for batch in batches] == list(range(20)), errors, progress[0].expected, report["status"])
run = start()
report = run.wait()
print(report["failure"]["message"] == str(errors[0]), len(errors), run.progress.errors > 0 or run.progress.frames >= 0)
print(progress[0])
def fail(batch):
    raise ValueError("in the callback")
try:
    sideline.run("flow.yml", tables=["light"], output="out", on_batch=fail).wait()
except ValueError as error:
    print(error)
"#;
    let text = run(&bench, program);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("True [] 20 "), "{text}");
    assert_eq!(lines[1], "True 1 True", "{text}");
    assert!(lines[2].contains("/20 frames  ") && lines[2].contains(" fps  latency "), "{text}");
    assert_eq!(lines[3], "in the callback", "{text}");
}

#[test]
fn results_are_joined_at_the_peaks_of_moves_and_queried_by_sql() {
    let Some(bench) = bench("-1") else { return };
    let program = r#"
import pyarrow, pyarrow.parquet, sideline, os
os.makedirs("run")
head = {"stream": ["a"] * 3, "session": [0] * 3}
poses = pyarrow.table({**head, "frame": [5, 6, 6], "pts": [0] * 3, "track": [1, 1, 2], "joints": pyarrow.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], pyarrow.list_(pyarrow.float32(), 2))})
moves = pyarrow.table({**head, "frame": [9, 9, 9], "pts": [0] * 3, "track": [2, 1, 1], "peak": pyarrow.array([6, 5, 7], pyarrow.uint64())})
pyarrow.parquet.write_table(poses, "run/poses.parquet")
pyarrow.parquet.write_table(moves, "run/moves.parquet")
results = sideline.open("run")
joined = results.moves.at_peak(results.poses)
print(joined.arrow()["poses_joints"].to_pylist(), joined.pandas(flat=True)["poses_joints_1"].tolist())
try:
    results.poses.at_peak(results.moves).arrow()
except ValueError as error:
    print(error)
"#;
    let text = run(&bench, program);
    let expected =
        "[[5.0, 6.0], [1.0, 2.0], None] [6.0, 2.0, nan]\ntable `poses` has no column `peak`, which `at_peak` needs\n";
    assert_eq!(text, expected);
    if bench.has_package("duckdb") {
        let query = "import sideline\nprint(sideline.open('run').duckdb().sql('select sum(peak) from moves join poses using (track)').fetchall())";
        assert_eq!(run(&bench, query), "[(30,)]\n");
    }
}

#[test]
fn a_loop_that_is_left_stops_the_run() {
    let Some(bench) = bench("-1") else { return };
    let program = r#"
import sideline
with sideline.run("flow.yml", tables=["light"], output="out", set={"synthetic.frames": 100000}) as run:
    for batch in run:
        if batch.frame == 20:
            break
print(run.report["status"])
"#;
    assert_eq!(run(&bench, program), "stopped\n");
}

#[test]
fn a_coroutine_reads_batches() {
    let Some(bench) = bench("-1") else { return };
    let program = r#"
import asyncio, sideline
async def main():
    return [batch.frame async for batch in sideline.run("flow.yml", tables=["light"], output="out")]
print(len(asyncio.run(main())))
"#;
    assert_eq!(run(&bench, program), "40\n");
}

#[test]
fn failures_of_flow_and_run_are_exceptions() {
    let Some(bench) = bench("7") else { return };
    let program = r#"
import sideline
for arguments in ({"tables": ["lihgt"]}, {"tables": ["light"], "mode": "fast"}, {"set": {"mine.step": 1}}):
    try:
        sideline.run("flow.yml", **arguments)
    except sideline.Error as error:
        print(str(error).splitlines()[0])
count = 0
try:
    for batch in sideline.run("flow.yml", tables=["light"], output="out"):
        count += 1
except sideline.Error as error:
    print(count, error)
"#;
    let text = run(&bench, program);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "flow.yml: no node sends a table `lihgt`; did you mean `light`?");
    assert!(lines[1].contains("invalid value 'fast'"), "{text}");
    assert!(lines[2].contains("there is no such key") || lines[2].contains("no key"), "{text}");
    // Rows in flight at the failure may be lost.
    let (count, message) = lines[3].split_once(' ').unwrap();
    assert!(count.parse::<u32>().unwrap() <= 7 && message.contains("in light: `raise ValueError"), "{text}");
    assert!(message.ends_with("ValueError: the limit is reached"), "{text}");
}

#[test]
fn an_interrupt_ends_the_loop_and_the_program() {
    let Some(bench) = bench("-1") else { return };
    let program = r#"
import os, signal, sideline, threading
# A shell's background job, in which tests may run, ignores the signal.
signal.signal(signal.SIGINT, signal.default_int_handler)
threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()
run = sideline.run("flow.yml", tables=["light"], output="out", set={"synthetic.frames": 10000000, "synthetic.pace": True})
try:
    for batch in run:
        pass
except KeyboardInterrupt:
    print("interrupted", run.report["status"])
"#;
    assert_eq!(run(&bench, program), "interrupted stopped\n");
}
