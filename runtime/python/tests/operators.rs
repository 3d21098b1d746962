//! Operators in Python in a flow: what they read and write, their keys, states and failures.

mod support;

use serde_json::json;
use support::Bench;

/// Runs the operator and returns its rows.
macro_rules! bench {
    () => {
        match Bench::new() {
            Some(bench) => bench,
            None => return,
        }
    };
}

const LIGHT: &str = r#"
import sideline

@sideline.operator(reads={"frames": sideline.frames}, writes={"rows": sideline.table("light", mean=float, width=int)})
def light(frames):
    """Measures the brightness of each frame."""
    return [{"mean": frames.y.mean(), "width": frames.width}]
"#;

#[test]
fn a_function_in_a_file_runs_in_a_flow_of_the_native_program() {
    let bench = bench!();
    bench.write_flow(LIGHT, "");
    bench.run_flow();
    let rows = bench.rows();
    assert_eq!(rows.len(), 40);
    assert_eq!((&rows[7]["frame"], &rows[7]["width"]), (&json!(7), &json!(64)));
    assert!(rows[7]["mean"].as_f64().unwrap() > 0.0);
}

#[test]
fn the_rows_are_the_same_at_every_run() {
    let bench = bench!();
    bench.write_flow(LIGHT, "");
    bench.run_flow();
    let first = std::fs::read(bench.path().join("out/rows.parquet")).unwrap();
    bench.run_flow();
    assert!(first == std::fs::read(bench.path().join("out/rows.parquet")).unwrap());
}

const COUNTER: &str = r#"
from dataclasses import dataclass, field
import sideline

@dataclass
class Seen:
    frames: int = 0
    last: list[int] = field(default_factory=list)

@sideline.operator(
    reads={"frames": sideline.frames},
    writes={"rows": sideline.table("seen", n=int, last=list[int], at=sideline.array(sideline.f32, 2, 2), ended=bool)},
    state=Seen,
)
class Counter:
    """Counts frames."""

    step: int = sideline.key(2, "Number that each frame adds.", range=(1, 9), live=True)
    word: str = "a"
    """Word without use."""

    def process(self, cx, state, frames):
        state.frames += self.step
        state.last = [*state.last[-2:], cx.frame]
        at = [[cx.seconds, 1], [2, 3]]
        return {"rows": [{"n": state.frames, "last": state.last, "at": at, "ended": False}]}

    def stream_ended(self, state):
        return [{"n": state.frames, "last": [], "at": [[0, 0], [0, 0]], "ended": True}]
"#;

#[test]
fn a_class_has_keys_and_a_state_for_each_stream() {
    let bench = bench!();
    bench.write_flow(COUNTER, "{STEP: 3}");
    bench.run_flow();
    let rows = bench.rows();
    assert_eq!(rows.len(), 41);
    assert_eq!((&rows[9]["n"], &rows[9]["last"]), (&json!(30), &json!([7, 8, 9])));
    assert_eq!(rows[9]["at"][1], json!([2.0, 3.0]));
    assert_eq!((&rows[40]["n"], &rows[40]["ended"]), (&json!(120), &json!(true)), "the closing row");
}

#[test]
fn keys_are_checked_with_their_place_before_the_start() {
    let bench = bench!();
    bench.write_flow(COUNTER, "{STEP: 10, WURD: b}");
    let outcome = bench.sideline(&["check", "flow.yml"]);
    assert_eq!(outcome.code, 1, "{}", outcome.text);
    assert!(
        outcome.text.contains("flow.yml:11:11: error: node `mine`: key `step`: 10 is out of range, 1 to 9"),
        "{}",
        outcome.text
    );
    assert!(outcome.text.contains("did you mean `word`?"), "{}", outcome.text);
}

#[test]
fn check_prints_the_interpreter_and_how_many_operators_share_it() {
    let bench = bench!();
    bench.write_flow(LIGHT, "");
    let outcome = bench.sideline(&["check", "flow.yml"]);
    assert_eq!(outcome.code, 0, "{}", outcome.text);
    assert!(outcome.text.contains("\nPython 3."), "{}", outcome.text);
    assert!(!outcome.text.contains("share it"), "{}", outcome.text);
    let flow = std::fs::read_to_string(bench.path().join("flow.yml")).unwrap();
    let second = "  - {id: other, path: sideline, args: run my_op.py:light, inputs: {frames: synthetic/frames}, outputs: [rows]}\n";
    bench.write("flow.yml", &flow.replace("  - id: recorder", &format!("{second}  - id: recorder")));
    let outcome = bench.sideline(&["check", "flow.yml"]);
    assert!(outcome.text.contains("; 2 operators in Python share it"), "{}", outcome.text);
}

#[test]
fn a_target_that_cannot_be_loaded_is_reported_at_its_place_before_the_start() {
    let bench = bench!();
    for (operator, expected) in [
        ("import sideline\ndef light(frames) return\n", "my_op.py: my_op.py:2: SyntaxError: "),
        (
            "import absent_package\n",
            "my_op.py: my_op.py:1 in <module>: `import absent_package`; ModuleNotFoundError: No module",
        ),
        ("import sideline\n", "it declares no operator: decorate a class or function"),
        (
            &LIGHT.replace("sideline.frames}", "\"trakcs\"}"),
            "port `frames`: there is no table `trakcs`; did you mean `tracks`?",
        ),
        (
            &LIGHT.replace("def light(frames)", "def light(image)"),
            "`process` has an unknown parameter `image`; it may name cx, frames",
        ),
        (&LIGHT.replace("mean=float", "mean=complex"), "is no type of a column; it is bool, int, float, str"),
        (
            &LIGHT.replace("\"light\", mean=float", "\"tracks\", mean=float"),
            "has a table `tracks` whose columns differ",
        ),
        (
            &format!("{LIGHT}{}", LIGHT.replace("def light", "def other")),
            "it declares several operators, `light`, `other`: write",
        ),
    ] {
        bench.write_flow(operator, "");
        for command in ["check", "run"] {
            let outcome = bench.sideline(&[command, "flow.yml"]);
            assert_eq!(outcome.code, 1, "{}", outcome.text);
            assert!(outcome.text.contains(expected), "{expected}: {}", outcome.text);
            assert!(outcome.text.contains("flow.yml:10:5: error: node `mine`: "), "{}", outcome.text);
        }
    }
}

#[test]
fn an_operator_is_found_in_a_package_beside_the_flow_and_in_a_file_in_a_folder() {
    let bench = bench!();
    bench.write_flow(LIGHT, "");
    let flow = std::fs::read_to_string(bench.path().join("flow.yml")).unwrap();
    bench.write("ops/__init__.py", "");
    bench.write("ops/glow.py", LIGHT);
    for target in ["ops.glow:light", "ops/glow.py", "ops/glow.py:light"] {
        bench.write("flow.yml", &flow.replace("my_op.py", target));
        bench.run_flow();
        assert_eq!(bench.rows().len(), 40, "{target}");
    }
    bench.write("flow.yml", &flow.replace("my_op.py", "ops/absent.py"));
    let outcome = bench.sideline(&["check", "flow.yml"]);
    assert!(
        outcome.text.contains("ops/absent.py: no such file; the path is relative to the file of the flow"),
        "{}",
        outcome.text
    );
}

#[test]
fn files_beside_the_flow_are_imported_and_hide_no_module_of_the_standard_library() {
    let bench = bench!();
    bench.write("colorsys.py", "raise RuntimeError(\"it hides a module\")\n");
    bench.write("helper.py", "WIDTH = 5\n");
    bench.write_flow(
        &LIGHT
            .replace("import sideline", "import colorsys, helper, sideline\nassert colorsys.rgb_to_hsv")
            .replace("frames.width", "helper.WIDTH"),
        "",
    );
    bench.run_flow();
    assert_eq!(bench.rows()[3]["width"], 5);
    let flow = std::fs::read_to_string(bench.path().join("flow.yml")).unwrap();
    bench.write(
        "ops/glow.py",
        &LIGHT.replace("import sideline", "import colorsys, sideline\nassert colorsys.rgb_to_hsv"),
    );
    bench.write("flow.yml", &flow.replace("my_op.py", "ops.glow:light"));
    bench.run_flow();
}

/// Runs an operator whose `process` has this body, expecting a failure; returns the printed text.
fn fail(bench: &Bench, body: &str) -> String {
    let operator = LIGHT.replace("    return [{\"mean\": frames.y.mean(), \"width\": frames.width}]", body);
    bench.write_flow(&operator.replace("import sideline", "import os, sideline\nkept = []"), "");
    let outcome = bench.sideline(&["run", "flow.yml", "--output", "out"]);
    assert_eq!(outcome.code, 6, "{}", outcome.text);
    assert!(outcome.text.contains("node `mine`"), "{}", outcome.text);
    outcome.text
}

#[test]
fn an_exception_ends_the_run_with_its_place_and_line() {
    let bench = bench!();
    let text = fail(&bench, "    return [{\"mean\": 1 / 0, \"width\": 1}]");
    assert!(
        text.contains(
            "my_op.py:8 in light: `return [{\"mean\": 1 / 0, \"width\": 1}]`; ZeroDivisionError: division by zero"
        ),
        "{text}"
    );
    assert!(fail(&bench, "    raise SystemExit(3)").contains("SystemExit: 3"));
}

#[test]
fn an_exception_of_a_generator_of_rows_or_of_a_row_has_its_place_and_its_cause() {
    let bench = bench!();
    let text = fail(&bench, "    return ({\"mean\": 1 / i, \"width\": 1} for i in (1, 0))");
    assert!(text.contains("my_op.py:8 in <genexpr>: `return ("), "{text}");
    assert!(text.contains("ZeroDivisionError: division by zero"), "{text}");
    let text = fail(&bench, "    yield {\"mean\": 1, \"width\": 1}\n    raise KeyError(\"late\")");
    assert!(text.contains("my_op.py:9 in light: `raise KeyError(\"late\")`; KeyError: 'late'"), "{text}");
    let row = "    class Row:\n        width = 1\n        @property\n        def mean(self):\n            return {}[\"x\"]\n    return [Row()]";
    let text = fail(&bench, row);
    assert!(text.contains("my_op.py:12 in mean: `return {}[\"x\"]`; KeyError: 'x'"), "{text}");
    let chained = "    try:\n        1 / 0\n    except ZeroDivisionError as error:\n        raise ValueError(\"no light\") from error";
    let text = fail(&bench, chained);
    assert!(
        text.contains("ValueError: no light (after my_op.py:9 in light: ZeroDivisionError: division by zero)"),
        "{text}"
    );
}

#[test]
fn an_exception_of_every_method_has_its_place() {
    let bench = bench!();
    for (method, expected) in [
        ("def __init__(self): return None + 1", "my_op.py:5 in __init__: `"),
        ("def session_started(self, cx): return None + 1", "my_op.py:5 in session_started: `"),
        ("def stream_ended(self, cx): return None + 1", "my_op.py:5 in stream_ended: `"),
        ("def close(self): return None + 1", "my_op.py:5 in close: `"),
    ] {
        let operator = "import sideline\n@sideline.operator(reads={\"frames\": sideline.frames}, writes={\"rows\": sideline.table(\"t\", n=int)})\nclass Broken:\n    def process(self, frames): return [{\"n\": 1}]\n    METHOD\n";
        bench.write_flow(&operator.replace("METHOD", method), "");
        let outcome = bench.sideline(&["run", "flow.yml", "--output", "out"]);
        assert_ne!(outcome.code, 0, "{}", outcome.text);
        assert!(outcome.text.contains(expected) && outcome.text.contains("TypeError: "), "{method}: {}", outcome.text);
    }
}

#[test]
fn an_exception_is_a_skipped_frame_where_the_flow_says_so() {
    let bench = bench!();
    bench.write_flow(
        &LIGHT.replace("(frames):", "(cx, frames):").replace("    return", "    assert cx.frame != 5\n    return"),
        "{SIDELINE_ON_ERROR: skip}",
    );
    let outcome = bench.sideline(&["run", "flow.yml", "--output", "out"]);
    assert!(outcome.text.contains("AssertionError"), "{}", outcome.text);
    assert_eq!(bench.rows().len(), 39);
    let skipped = std::fs::read_to_string(bench.path().join("out/rows.skipped.jsonl")).unwrap();
    assert!(skipped.contains("\"frame\":5") && skipped.contains("\"error\""), "{skipped}");
}

#[test]
fn a_result_of_another_type_or_shape_is_described() {
    let bench = bench!();
    for (body, expected) in [
        (
            "    return 7",
            "output `rows`: rows are a list of dictionaries or objects, or a table of PyArrow, Polars or pandas; found a value of type int",
        ),
        (
            "    return [7]",
            "row 0: a row is a dictionary, or an object with the attribute `mean`; found a value of type int",
        ),
        ("    return [{\"mean\": 1.0}]", "output `rows`: row 0: column `width` is missing"),
        ("    return [{\"mean\": 1.0, \"width\": 1, \"depth\": 2}]", "row 0: there is no column `depth`"),
        ("    return [{\"mean\": \"bright\", \"width\": 1}]", "row 0, column `mean`: 'bright' (str) is no number"),
        ("    return [{\"mean\": 1.0, \"width\": 1.5}]", "row 0, column `width`: 1.5 (float) is no whole number"),
        ("    return [{\"mean\": 1.0, \"width\": 2**70}]", "column `width`: "),
        ("    return {\"row\": []}", "there is no output `row`; did you mean `rows`?"),
        ("    return sideline.skip(\"error\")", "skip(\"error\"): this reason is the runtime's own"),
    ] {
        let text = fail(&bench, body);
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn a_view_that_is_kept_is_an_error_that_names_its_input_and_a_copy_is_none() {
    let bench = bench!();
    let row = "return [{\"mean\": 0, \"width\": 1}]";
    let text = fail(&bench, &format!("    kept.append(frames.y[3:])\n    {row}"));
    assert!(text.contains("a view of input `frames` is still in use after the call: keep a copy of it"), "{text}");
    let text = fail(&bench, &format!("    kept.append(frames)\n    kept[0].width\n    {row}"));
    assert!(text.contains("the frame of input `frames` is gone"), "{text}");
    let text = fail(&bench, &format!("    frames.y[0] = 1\n    {row}"));
    assert!(text.contains("read-only"), "{text}");
    bench.write_flow(&LIGHT.replace("    return", "    light.__dict__[\"kept\"] = frames.y.copy()\n    return"), "");
    bench.write_flow(
        &LIGHT
            .replace("import sideline", "import sideline\nkept = []")
            .replace("    return", "    kept.append(frames.y.copy())\n    return"),
        "",
    );
    bench.run_flow();
}

#[test]
fn forking_is_refused_and_programs_can_be_started() {
    let bench = bench!();
    let text = fail(&bench, "    os.fork()");
    assert!(text.contains("an operator cannot fork: the child would lack the threads of the flow"), "{text}");
    let body = "    import subprocess\n    subprocess.run([\"true\"], check=True)\n    return";
    bench.write_flow(&LIGHT.replace("    return", body), "");
    bench.run_flow();
}

#[test]
fn what_an_operator_prints_stays_apart_from_the_results_on_standard_output() {
    let bench = bench!();
    bench.write_flow(&LIGHT.replace("    return", "    print(\"from the operator\")\n    return"), "");
    let outcome = bench.sideline(&["run", "flow.yml", "--output", "out", "--json"]);
    assert_eq!(outcome.code, 0, "{}", outcome.text);
    assert!(outcome.text.contains("from the operator"), "{}", outcome.text);
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(report["status"], "done");
}

#[test]
fn threads_that_an_operator_leaves_are_named_and_do_not_hold_the_program() {
    let bench = bench!();
    let body = "    import threading\n    if not kept:\n        kept.append(threading.Thread(target=threading.Event().wait, name=\"left\"))\n        kept[0].start()\n    return";
    bench.write_flow(&LIGHT.replace("import sideline", "import sideline\nkept = []").replace("    return", body), "");
    let outcome = bench.run_flow();
    assert!(outcome.text.contains("the operator has left threads running"), "{}", outcome.text);
    assert!(outcome.text.contains("\"threads\":\"left\""), "{}", outcome.text);
}

#[test]
fn an_operator_that_blocks_for_ever_ends_the_run_with_its_name() {
    let bench = bench!();
    bench.write_flow(&LIGHT.replace("    return", "    import time\n    time.sleep(1000)\n    return"), "");
    let flow = std::fs::read_to_string(bench.path().join("flow.yml")).unwrap();
    bench.write("flow.yml", &format!("env: {{SIDELINE_STALL_S: 1}}\n{flow}"));
    let outcome = bench.sideline(&["run", "flow.yml", "--output", "out"]);
    assert_eq!(outcome.code, 6, "{}", outcome.text);
    assert!(outcome.text.contains("`mine`"), "{}", outcome.text);
}

#[test]
fn a_state_that_cannot_be_saved_is_an_error_of_the_first_frame() {
    let bench = bench!();
    bench.write_flow(
        &COUNTER
            .replace("state.frames += self.step", "state.last = frozenset; state.frames += self.step")
            .replace("[*state.last[-2:], cx.frame]", "object()")
            .replace("\"last\": state.last", "\"last\": []"),
        "",
    );
    let outcome = bench.sideline(&["run", "flow.yml", "--output", "out"]);
    assert_eq!(outcome.code, 6, "{}", outcome.text);
    assert!(
        outcome.text.contains("state.last: a value of type object cannot be saved; a state holds"),
        "{}",
        outcome.text
    );
}

#[test]
fn frames_are_read_as_planes_and_colors_and_sent_as_arrays() {
    let bench = bench!();
    let operator = r#"
import numpy, sideline

@sideline.operator(reads={"frames": sideline.frames}, writes={"rows": sideline.table("pixels", planes=int, same=bool), "image": sideline.frames})
def pixels(frames):
    bgr = frames.bgr()
    same = bool((bgr[..., ::-1] == frames.rgb()).all()) and bgr.shape == (48, 64, 3) and frames.plane(1).shape == (24, 32)
    bgr[0, 0] = bgr[0, 0]
    return {"rows": [{"planes": 3, "same": same}], "image": bgr}
"#;
    bench.write_flow(operator, "");
    let flow = std::fs::read_to_string(bench.path().join("flow.yml")).unwrap();
    bench.write("second.py", &LIGHT.replace("frames.y.mean()", "frames.plane(0).mean()"));
    let second =
        "  - {id: second, path: sideline, args: run second.py, inputs: {frames: mine/image}, outputs: [rows]}\n";
    let flow = flow
        .replace("outputs: [rows]\n", "outputs: [rows, image]\n")
        .replace("  - id: recorder", &format!("{second}  - id: recorder"));
    bench.write("flow.yml", &flow.replace("{rows: mine/rows}", "{rows: mine/rows, second: second/rows}"));
    bench.run_flow();
    assert!(bench.rows().iter().all(|row| row["same"] == true));
    let second = std::fs::read_to_string(bench.path().join("out/second.jsonl")).unwrap();
    assert_eq!(second.lines().count(), 40);
}

#[test]
fn tables_are_read_and_written_by_numpy_pyarrow_pandas_and_as_dictionaries() {
    let bench = bench!();
    let reader = r#"
import pandas, pyarrow, pyarrow.compute, sideline
from dataclasses import dataclass

@dataclass
class Row:
    kind: str
    frames: int

@sideline.operator(reads={"counts": "counts", "frames": sideline.optional(sideline.frames)},
                   writes={"rows": sideline.table("ways", kind=str, frames=int), "arrow": sideline.table("ways"), "pandas": sideline.table("ways")})
class Ways:
    def process(self, counts, frames):
        assert frames is None and len(counts) == 1 and counts.columns == ["frames", "checksum"]
        table = pyarrow.table(counts)
        by_arrow = table.select(["frames"]).append_column("kind", pyarrow.array(["arrow"]))
        by_pandas = table.to_pandas()[["frames"]].assign(kind="pandas")
        rows = [Row("numpy", counts["frames"][0]), Row("row", counts[0]["frames"]), *(Row("iteration", row["frames"]) for row in counts)]
        rows.append(Row("batch", pyarrow.record_batch(counts)["frames"][0].as_py()))
        del table
        return {"rows": rows, "arrow": by_arrow, "pandas": by_pandas}
"#;
    bench.write_flow(reader, "");
    let flow = std::fs::read_to_string(bench.path().join("flow.yml")).unwrap();
    let counter =
        "  - {id: counter, path: sideline, args: run counter, inputs: {frames: synthetic/frames}, outputs: [counts]}\n";
    let flow = flow.replace(
        "{frames: synthetic/frames}\n    outputs: [rows]\n",
        "{counts: counter/counts}\n    outputs: [rows, arrow, pandas]\n",
    );
    let flow = flow.replace("  - id: mine", &format!("{counter}  - id: mine"));
    bench.write(
        "flow.yml",
        &flow.replace("{rows: mine/rows}", "{rows: mine/rows, arrow: mine/arrow, pandas: mine/pandas}"),
    );
    bench.run_flow();
    let rows = bench.rows();
    assert_eq!(rows.len(), 40 * 4);
    assert!(rows[36..40].iter().all(|row| row["frames"] == 10), "{:?}", &rows[36..40]);
    for name in ["arrow", "pandas"] {
        let text = std::fs::read_to_string(bench.path().join(format!("out/{name}.jsonl"))).unwrap();
        assert!(text.lines().nth(9).unwrap().contains(&format!("\"kind\":\"{name}\",\"frames\":10")), "{text}");
    }
}

#[test]
fn collections_of_garbage_leave_out_what_was_there_at_the_start() {
    let bench = bench!();
    let frozen = "import gc, sideline\n".to_owned();
    bench.write_flow(&LIGHT.replace("import sideline\n", &frozen).replace("frames.width", "gc.get_freeze_count()"), "");
    bench.run_flow();
    assert!(bench.rows()[0]["width"].as_u64().unwrap() > 10_000, "{:?}", bench.rows()[0]);
}

#[test]
fn an_operator_gets_the_interpreter_from_one_that_computes_within_a_millisecond() {
    let bench = bench!();
    let interval = LIGHT.replace("import sideline\n", "import sys, sideline\n");
    bench.write_flow(&interval.replace("frames.width", "round(sys.getswitchinterval() * 1e6)"), "");
    bench.run_flow();
    assert_eq!(bench.rows()[0]["width"], 1000);
}

#[test]
fn skipped_frames_travel_with_the_operators_own_reason() {
    let bench = bench!();
    let body = "    if cx.frame % 2:\n        return sideline.skip(\"odd\")\n    return";
    bench.write_flow(&LIGHT.replace("(frames):", "(cx, frames):").replace("    return", body), "");
    bench.run_flow();
    assert_eq!(bench.rows().len(), 20);
    let skipped = std::fs::read_to_string(bench.path().join("out/rows.skipped.jsonl")).unwrap();
    assert_eq!(skipped.matches("\"odd\"").count(), 20, "{skipped}");
}

#[test]
fn a_changed_file_is_taken_between_two_frames_with_the_state() {
    let bench = bench!();
    let operator = r#"
import os, sideline

@sideline.operator(reads={"frames": sideline.frames}, writes={"rows": sideline.table("versions", version=int, n=int)}, state=dict)
class Versions:
    def process(self, cx, state, frames):
        state["n"] = state.get("n", 0) + 1
        if cx.frame == 10:
            text = open(__file__).read().replace("\"version\": 1", "\"version\": 2")
            open("new.py", "w").write(text)
            os.replace("new.py", __file__)
        return [{"version": 1, "n": state["n"]}]
"#;
    bench.write_flow(operator, "");
    let flow = std::fs::read_to_string(bench.path().join("flow.yml")).unwrap();
    bench.write("flow.yml", &flow.replace("FRAMES: 40", "FRAMES: 60, PACE: true"));
    let outcome = bench.sideline(&["run", "flow.yml", "--output", "out", "--reload"]);
    assert_eq!(outcome.code, 0, "{}", outcome.text);
    let rows = bench.rows();
    assert_eq!((&rows[10]["version"], &rows[59]["version"]), (&json!(1), &json!(2)), "{}", outcome.text);
    assert!(rows.iter().enumerate().all(|(at, row)| row["n"] == json!(at + 1)));
    let count = bench.sideline(&["run", "--reload", "count.yml"]);
    assert!(count.text.contains("--reload: count.yml has no operator in Python"), "{}", count.text);
}

#[test]
fn a_file_with_an_error_or_other_ports_is_not_taken_and_a_state_gets_the_new_classes() {
    let bench = bench!();
    let operator = r#"
import os, sideline
from changes import CHANGES
from dataclasses import dataclass, field

@dataclass
class Count:
    n: int = 0

@dataclass
class State:
    count: Count = field(default_factory=Count)

@sideline.operator(reads={"frames": sideline.frames}, writes={"rows": sideline.table("versions", version=int, n=int)}, state=State)
class Versions:
    def process(self, cx, state, frames):
        state.count.n += 1
        if cx.frame in CHANGES:
            text = CHANGES[cx.frame](open(__file__).read())
            open("new.py", "w").write(text)
            os.replace("new.py", __file__)
        return [{"version": 1, "n": state.count.n}]
"#;
    let changes = r#"
CHANGES = {
    5: lambda text: text + "\nthis is no Python",
    20: lambda text: text.replace("version=int", "version=float").replace("this is no Python", ""),
    35: lambda text: text.replace("version=float", "version=int").replace("n: int = 0", "n: int = 0\n    step: int = 1").replace('"version": 1', '"version": 2').replace("state.count.n += 1", "state.count.n += state.count.step"),
}
"#;
    bench.write("changes.py", changes);
    bench.write_flow(operator, "");
    let flow = std::fs::read_to_string(bench.path().join("flow.yml")).unwrap();
    bench.write("flow.yml", &flow.replace("FRAMES: 40", "FRAMES: 60, PACE: true"));
    let outcome = bench.sideline(&["run", "flow.yml", "--output", "out", "--reload"]);
    assert_eq!(outcome.code, 0, "{}", outcome.text);
    for expected in
        ["SyntaxError", "its outputs have changed: start the flow again", "the changed file of the operator was taken"]
    {
        assert!(outcome.text.contains(expected), "{expected}: {}", outcome.text);
    }
    let rows = bench.rows();
    assert_eq!((&rows[30]["version"], &rows[59]["version"]), (&json!(1), &json!(2)), "{}", outcome.text);
    assert!(rows.iter().enumerate().all(|(at, row)| row["n"] == json!(at + 1)), "{rows:?}");
}

#[test]
fn a_python_that_cannot_host_the_flow_is_reported_at_the_place_of_the_operator() {
    let bench = bench!();
    bench.write_flow(LIGHT, "");
    let run = |variable: &str, value: &str| {
        let mut command = bench.command("sideline");
        support::finish(command.args(["check", "flow.yml"]).env(variable, value))
    };
    let absent = run("SIDELINE_PYTHON", "/absent/python");
    assert_eq!(absent.code, 1, "{}", absent.text);
    assert!(absent.text.contains("flow.yml:10:5: error: node `mine`: operators in Python run in /absent/python (from SIDELINE_PYTHON): it does not start"), "{}", absent.text);
    let bare = run("PYTHONPATH", "");
    assert!(bare.text.contains("it has no package `sideline`: install the wheel with"), "{}", bare.text);
}
