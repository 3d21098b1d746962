//! Operators in Python keep the rules of all operators, or the suite names the rule that they break.

mod support;

use serde_json::Value;
use support::Bench;

/// Operators that each break one rule, by the code in place of a line of the first.
const OPERATORS: &str = r#"
import random, sideline
from dataclasses import dataclass

@dataclass
class State:
    frames: int = 0
    last: float = 0.0

def declare(target):
    return sideline.operator(
        reads={"frames": sideline.frames, "tracks": "tracks", "names": sideline.optional("teams")},
        writes={"rows": sideline.table("sums", "Sums so far.", frames=int, sum=float)},
        state=State,
    )(target)

@declare
class Good:
    """Sums a column."""
    step: int = sideline.key(1, "Number that each frame adds.", range=(1, 9), live=True)
    def process(self, cx, state, frames, tracks, names):
        state.frames += self.step
        return [{"frames": state.frames, "sum": len(tracks) + len(names or [])}]
    def reconfigure(self):
        pass
    def stream_ended(self, state):
        return [{"frames": state.frames, "sum": 0}]
    def close(self):
        pass

class Base(Good):
    pass

@declare
class Undocumented(Base):
    step: int = sideline.key(1, "", range=(1, 9), live=True)

@declare
class Raises(Base):
    """Raises an exception at a frame."""
    def process(self, cx, state, frames, tracks, names):
        return [{"frames": 1, "sum": 1 // (cx.frame - 4)}]

@declare
class WrongType(Base):
    """Sends a text in a column of numbers."""
    def process(self, cx, state, frames, tracks, names):
        return [{"frames": "many", "sum": 0}]

@declare
class KeepsView(Base):
    """Keeps a view of a frame."""
    kept = []
    def process(self, cx, state, frames, tracks, names):
        self.kept.append(tracks["track"])
        return []

@declare
class EndRaises(Base):
    """Raises an exception at the end."""
    def stream_ended(self, state):
        raise ValueError("no end")

@declare
class NeedsNames(Base):
    """Does without no optional input."""
    def process(self, cx, state, frames, tracks, names):
        return [{"frames": len(names), "sum": 0}]

@declare
class Random(Base):
    """Sends random numbers."""
    def process(self, cx, state, frames, tracks, names):
        return [{"frames": 1, "sum": random.random()}]

@declare
class HiddenState(Base):
    """Counts in an attribute."""
    def __init__(self):
        self.counts = {}
    def process(self, cx, state, frames, tracks, names):
        self.counts[cx.stream] = self.counts.get(cx.stream, 0) + 1
        return [{"frames": self.counts[cx.stream], "sum": 0}]

@declare
class SharedState(Base):
    """Counts all streams together."""
    def __init__(self):
        self.count = 0
    def process(self, cx, state, frames, tracks, names):
        self.count += 1
        return [{"frames": self.count, "sum": 0}]

@declare
class NeedsRows(Base):
    """Reads the first row."""
    def process(self, cx, state, frames, tracks, names):
        return [{"frames": 1, "sum": 0 if cx.frame == 0 else tracks[0]["track"] * 0}]

@declare
class NeedsTime(Base):
    """Divides by the time since the last frame."""
    def process(self, cx, state, frames, tracks, names):
        passed, state.last = cx.seconds - state.last, cx.seconds
        return [{"frames": 1, "sum": 1 / passed if cx.frame else 0}]

@declare
class KeepsNan(Base):
    """Refuses all frames after one that it does not understand."""
    def process(self, cx, state, frames, tracks, names):
        state.last = max([state.last, *tracks["x1"].astype(float)], key=abs)
        if not abs(state.last) < 1e6:
            raise ValueError("the position is lost")
        return []

@declare
class RefusesKey(Base):
    """Refuses a live key."""
    def reconfigure(self):
        if self.step != 1:
            raise ValueError("the step cannot change")

@declare
class CloseRaises(Base):
    """Cannot be closed."""
    def close(self):
        raise ValueError("it is stuck")
"#;

/// Tests an operator; returns the rules that it breaks with their texts.
fn broken(bench: &Bench, operator: &str) -> Vec<(String, String)> {
    let outcome = bench.sideline(&["test-operator", &format!("my_op.py:{operator}"), "--json"]);
    let reports: Value = serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("{}", outcome.text));
    assert_eq!(reports.as_array().unwrap().len(), 17, "{reports}");
    let failed = reports.as_array().unwrap().iter().filter(|report| report["verdict"] == "failed");
    let failed: Vec<_> = failed.map(|report| (report["rule"].to_string(), report["text"].to_string())).collect();
    assert_eq!(outcome.code, if failed.is_empty() { 0 } else { 6 }, "{}", outcome.text);
    failed
}

#[test]
fn each_rule_that_python_can_break_is_checked() {
    let Some(bench) = Bench::new() else { return };
    bench.write("my_op.py", OPERATORS);
    assert_eq!(broken(&bench, "Good"), []);
    for (operator, rule, text) in [
        ("Undocumented", "describes itself", "key `step` has no documentation"),
        ("Raises", "answers every frame", "error at frame 4 (a): my_op.py:"),
        ("WrongType", "answers every frame", "row 0, column `frames`: 'many' (str) is no whole number"),
        ("KeepsView", "answers every frame", "a view of input `tracks` is still in use after the call"),
        ("EndRaises", "ends each stream once", "ValueError: no end"),
        ("NeedsNames", "passes skips on", "TypeError"),
        ("NeedsNames", "runs without optional inputs", "TypeError"),
        ("Random", "repeats itself", "output `rows` differs at frame 0"),
        ("HiddenState", "continues from a saved state", "differs at frame 1"),
        ("SharedState", "keeps streams apart", "output `rows` differs"),
        ("NeedsRows", "accepts empty tables", "IndexError"),
        ("NeedsTime", "accepts late and repeated frames", "ZeroDivisionError"),
        ("KeepsNan", "survives extreme values", "after extreme values: error at frame"),
        ("RefusesKey", "applies live keys", "ValueError: the step cannot change"),
        ("CloseRaises", "closes once", "ValueError: it is stuck"),
    ] {
        let broken = broken(&bench, operator);
        let found = broken.iter().find(|(broken, _)| broken.trim_matches('"') == rule);
        assert!(found.is_some_and(|(_, why)| why.contains(text)), "{operator}: {broken:?}");
    }
}

#[test]
fn an_operator_in_a_file_is_inspected_and_a_wrong_target_is_an_error() {
    let Some(bench) = Bench::new() else { return };
    bench.write("my_op.py", OPERATORS);
    let inspected = bench.sideline(&["inspect", "my_op.py:Good"]);
    assert_eq!(inspected.code, 0, "{}", inspected.text);
    assert!(inspected.text.contains("Good: Sums a column.") && inspected.text.contains("step"), "{}", inspected.text);
    for command in ["test-operator", "inspect", "types"] {
        let unknown = bench.sideline(&[command, "my_op.py:Absent"]);
        assert_eq!(unknown.code, 1, "{}", unknown.text);
        assert!(unknown.text.contains("it declares no operator `Absent`; there are `Good`"), "{}", unknown.text);
    }
}
