//! The test harness of the package: keys, states, skips and failures of operators in Python without a flow.

mod support;

use support::Bench;

const OPERATORS: &str = r#"
import collections, numpy, sideline
from dataclasses import dataclass, field
from sideline.testing import Harness

@dataclass
class Punches:
    by_fighter: dict[str, int] = field(default_factory=dict)
    recent: collections.deque[tuple[str, float]] = field(default_factory=collections.deque)

@sideline.operator(reads={"counts": "counts", "frames": sideline.optional(sideline.frames)},
                   writes={"rows": sideline.table("sums", sum=int, light=float, kept=int)}, state=Punches)
class Sums:
    step: int = sideline.key(1, "Factor.", range=(1, 9), live=True)
    def process(self, state, counts, frames):
        state.recent.append(("a", 0.5))
        state.by_fighter["a"] = state.by_fighter.get("a", 0) + self.step * int(counts["frames"].sum())
        light = frames.y.mean() if frames else None
        return [{"sum": state.by_fighter["a"], "light": light, "kept": len(state.recent)}]
    def stream_ended(self, state):
        return [{"sum": -state.by_fighter["a"], "light": 0, "kept": len(state.recent)}]

def count(frames):
    return [{"frames": frames, "checksum": 0}]
"#;

/// Runs a program behind the operators, which must print this.
fn expect(program: &str, printed: &str) {
    let Some(bench) = Bench::new() else { return };
    let outcome = bench.run_python(&format!("{OPERATORS}\n{program}"));
    assert_eq!(outcome.code, 0, "{}", outcome.text);
    assert_eq!(outcome.stdout, printed, "{}", outcome.text);
}

#[test]
fn rows_and_frames_are_pushed_and_a_live_key_changes() {
    expect(
        r#"
sums = Harness(Sums, step=2)
sums.push(counts=count(3))
sums.set("step", 5)
sums.push(counts=count(1), frames=numpy.zeros((4, 6, 3), "uint8"))
first, second = sums.expect("rows")[0], sums.expect("rows")[0]
print(first["sum"], first["light"] != first["light"], second)
"#,
        "6 True {'sum': 11, 'light': 16.0, 'kept': 2}\n",
    );
}

#[test]
fn the_state_survives_saving_and_loading_and_closing_rows_follow() {
    expect(
        r#"
sums = Harness(Sums)
sums.push(counts=count(3))
sums.end()
print(sums.expect("rows")[0]["kept"], sums.expect("rows")[0])
sums.close()
"#,
        "1 {'sum': -3, 'light': 0.0, 'kept': 1}\n",
    );
}

#[test]
fn a_skipped_required_input_skips_the_outputs_and_the_operator_is_not_called() {
    expect(
        r#"
sums = Harness(Sums)
sums.push(counts=sideline.skip("damaged"))
sums.push(counts=count(4))
print(sums.expect_skipped("rows"), sums.expect("rows")[0]["kept"])
try:
    sums.expect("rows")
except AssertionError as error:
    print(error)
"#,
        "damaged 1\noutput `rows`: data expected, found nothing\n",
    );
}

#[test]
fn wrong_keys_inputs_and_values_are_described() {
    expect(
        r#"
def error(call):
    try:
        call()
    except sideline.Error as error:
        print(error)
error(lambda: Harness(Sums, step=10))
error(lambda: Harness(Sums).set("step", 10))
error(lambda: Harness(Sums).push(count=count(1)))
error(lambda: Harness(Sums).push(counts=[{"frames": -1, "checksum": 0}]))
error(lambda: Harness(Sums).push(counts=count(1), frames=numpy.zeros((4, 6), "uint8")))
"#,
        "node `test`: command line: key `step`: 10 is out of range, 1 to 9 is allowed
node `test`: set while running: key `step`: 10 is out of range, 1 to 9 is allowed
there is no input `count`; did you mean `counts`?
input `counts`: row 0, column `frames`: -1 does not fit a column of type UInt64
input `frames`: a frame is an array of height x width x 3 bytes (uint8), found one of shape (4, 6) and type uint8
",
    );
}
