//! Operators in Python over dora: each node is a process of its own, and the rows are those of a run in one process.

mod support;

use std::{path::PathBuf, sync::Mutex};

use sideline_testkit::{Capability, skip_test};
use support::{Bench, finish};

/// dora's flows share ports of the machine, so one runs at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const COUNTER: &str = r#"
import sideline

@sideline.operator(reads={"frames": sideline.frames}, writes={"rows": sideline.table("light", n=int, sum=int)}, state=dict)
def light(cx, state, frames):
    if cx.frame == LIMIT:
        raise ValueError("the limit is reached")
    if cx.frame % 7 == 3:
        return sideline.skip("third")
    state["n"] = state.get("n", 0) + 1
    return [{"n": state["n"], "sum": int(frames.y.sum())}]
"#;

fn has_dora(bench: &Bench) -> bool {
    let found = bench.command("dora").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        skip_test(Capability::Dora, "no `dora` in .venv or on PATH; `cargo xtask setup` installs it");
    }
    found
}

/// Returns the newest folder in `runs`.
fn last_run(bench: &Bench) -> PathBuf {
    let runs = std::fs::read_dir(bench.path().join("runs")).unwrap().map(|entry| entry.unwrap().path());
    runs.max_by_key(|path| std::fs::metadata(path).unwrap().modified().unwrap()).unwrap()
}

/// Writes the flow; the operator fails at the frame `limit`.
fn write(bench: &Bench, limit: &str) {
    bench.write_flow(&COUNTER.replace("LIMIT", limit), "");
}

#[test]
fn the_rows_over_dora_are_those_of_one_process() {
    let Some(bench) = Bench::new() else { return };
    if !has_dora(&bench) {
        return;
    }
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    write(&bench, "-1");
    bench.run_flow();
    let embedded = bench.rows();
    assert_eq!(embedded.len(), 34);
    let ended = finish(bench.command("dora").args(["run", "flow.yml"]));
    let run = last_run(&bench);
    let result = bench.sideline(&["result", run.to_str().unwrap()]);
    assert_eq!(result.code, 0, "{}\n{}", result.text, ended.text);
    for file in ["rows.jsonl", "rows.skipped.jsonl", "rows.parquet"] {
        let one = std::fs::read(bench.path().join("out").join(file)).unwrap();
        assert!(one == std::fs::read(run.join(file)).unwrap(), "{file} differs");
    }
}

#[test]
fn an_exception_over_dora_is_in_the_result_of_the_run() {
    let Some(bench) = Bench::new() else { return };
    if !has_dora(&bench) {
        return;
    }
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    write(&bench, "9");
    let ended = finish(bench.command("dora").args(["run", "flow.yml"]));
    let result = bench.sideline(&["result", last_run(&bench).to_str().unwrap()]);
    assert_eq!(result.code, 6, "{}\n{}", result.text, ended.text);
    assert!(
        result.text.contains("by `mine`") && result.text.contains("ValueError: the limit is reached"),
        "{}",
        result.text
    );
}
