//! States: every type that is saved comes back the same, and others are refused with their place.

mod support;

use support::Bench;

/// Operator whose state gets the attributes of `Values`; its closing row says how the loaded state differs.
const OPERATOR: &str = r#"
import collections, enum, numpy, sideline
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass, field
from sideline.testing import Harness

class Side(enum.Flag):
    LEFT = 1
    RIGHT = 2
class Phase(enum.Enum):
    GUARD = "guard"
    STRIKE = "strike"

@dataclass(frozen=True, slots=True)
class Point:
    x: float
    y: float = 0.0

@dataclass
class Box:
    corner: Point
    area: float = field(init=False)
    def __post_init__(self):
        self.area = 1.0

Score = namedtuple("Score", "left right")
EXPECTED = {}

def same(a, b):
    if type(a) is not type(b):
        return f"{type(a)} is not {type(b)}"
    if isinstance(a, numpy.ndarray):
        return "" if a.dtype == b.dtype and a.shape == b.shape and (a.ndim < 2 or a.flags.f_contiguous == b.flags.f_contiguous) \
            and a.tobytes() == b.tobytes() and b.flags["W"] else f"{a!r} is not {b!r}"
    if isinstance(a, deque) and a.maxlen != b.maxlen:
        return f"maxlen {a.maxlen} is not {b.maxlen}"
    if isinstance(a, defaultdict) and a.default_factory is not b.default_factory:
        return "the factories differ"
    if isinstance(a, dict):
        return next((s for (k, v), (l, w) in zip(a.items(), b.items()) if (s := same(k, l) or same(v, w))), "" if len(a) == len(b) else "lengths differ")
    if isinstance(a, (list, tuple, deque)):
        return next((s for v, w in zip(a, b) if (s := same(v, w))), "" if len(a) == len(b) else "lengths differ")
    return "" if a == b else f"{a!r} is not {b!r}"

@dataclass
class State:
    values: dict = field(default_factory=dict)

@sideline.operator(reads={"counts": "counts"}, writes={"rows": sideline.table("differences", text=str)}, state=State)
class Keeps:
    def process(self, state, counts):
        state.values = EXPECTED
    def stream_ended(self, state):
        return [{"text": same(EXPECTED, state.values) or f"{len(state.values)} values"}]

def push():
    keeps = Harness(Keeps)
    keeps.push(counts=[{"frames": 1, "checksum": 0}])
    keeps.end()
    keeps.expect("rows")
    return keeps.expect("rows")[0]["text"]

def refused(value):
    EXPECTED.clear()
    EXPECTED["x"] = value
    try:
        print("accepted", push())
    except sideline.Error as error:
        print(str(error).split("frame 0: ")[-1])
"#;

/// Runs a program behind the operator; returns what it prints.
fn run(program: &str) -> Option<String> {
    let bench = Bench::new()?;
    let outcome = bench.run_python(&format!("{OPERATOR}\n{program}"));
    assert_eq!(outcome.code, 0, "{}", outcome.text);
    Some(outcome.stdout)
}

#[test]
fn values_of_every_supported_type_come_back_the_same() {
    let program = r#"
counter = Counter(jab=2)
by_fighter = defaultdict(list, a=[1])
box = Box(Point(1.5))
box.area = 7.0
EXPECTED.update(
    tuple=(1, (2, "b"), []), set={1, "a", (2, 3)}, frozenset=frozenset({4}), window=deque([1, 2, 3], maxlen=5), deque=deque([]),
    counter=counter, by_fighter=by_fighter, nothing=defaultdict(None, a=1), ordered=OrderedDict(b=1, a=2), bytes=b"\x00\xff",
    bytearray=bytearray(b"ab"), large=-(2**80), unsigned=2**64 - 1, text="h\u00e9\u4e16", none=None, nan_free=-0.5, keys={(1, 2): "t", 3: "i", "s": 1},
    array=numpy.array(range(6), "f4").reshape(2, 3), fortran=numpy.asfortranarray(numpy.ones((2, 3))), empty=numpy.zeros((0, 4), "u1"),
    scalar_array=numpy.array(3), times=numpy.array(["2026-01-01"], "M8[ns]"), big=numpy.array([1, 2], ">i2"),
    record=numpy.array([(1, 2.5)], [("track", "u4"), ("x", "f8")]), text_array=numpy.array(["ab", "c"]),
    float64=numpy.float64(0.25), uint8=numpy.uint8(7), true=numpy.bool_(True), part=numpy.array(range(9))[::3],
    box=box, points=[Point(1.0, 2.0)], phase=Phase.STRIKE, score=Score(1, [2]),
)
print(push())
"#;
    let Some(text) = run(program) else { return };
    assert_eq!(text, "33 values\n");
}

#[test]
fn values_that_would_change_are_refused_with_their_place() {
    let program = r#"
class Words(list):
    pass
def local():
    @dataclass
    class Inner:
        x: int = 0
    return Inner()
loop = []
loop.append(loop)
extra = Box(Point(0))
extra.color = "red"
refused(Words())
refused([0, {"a": object()}])
refused(defaultdict(lambda: 0))
refused(local())
refused(loop)
refused(extra)
refused(numpy.array([object()]))
refused(numpy.ma.array([1]))
refused("\ud800")
refused(Side.LEFT | Side.RIGHT)
"#;
    let Some(text) = run(program) else { return };
    let expected = [
        "state.values['x']: a value of type Words cannot be saved; use a list",
        "state.values['x'][1]['a']: a value of type object cannot be saved; a state holds dataclasses, dict, list",
        "state.values['x']: defaultdict(<lambda>) cannot be saved; use one of bool, int, float,",
        "state.values['x']: a value of type local.<locals>.Inner cannot be saved: define its class at the top level",
        "state.values['x'][0]: a value that contains itself cannot be saved",
        "state.values['x'].color: an attribute that is no field cannot be saved; declare it in Box",
        "state.values['x']: an array of object cannot be saved; use an array of numbers or a list",
        "state.values['x']: an array of type MaskedArray of int64 cannot be saved",
        "state.values['x']: a text with surrogates cannot be saved; use bytes",
        "state.values['x']: <Side.LEFT|RIGHT: 3> is no member of its enum and cannot be saved; use its number",
    ];
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{text}");
    for (line, expected) in lines.into_iter().zip(expected) {
        assert!(line.contains(expected), "{expected}: {line}");
    }
}

/// Operator that keeps a window, filled as `FILL` says.
const WINDOW: &str = r#"
import sideline
from dataclasses import dataclass, field

class Window(list):
    pass

@dataclass
class State:
    window: list = field(default_factory=FACTORY)

@sideline.operator(reads={"frames": sideline.frames}, writes={"rows": sideline.table("lengths", n=int)}, state=State)
def keep(cx, state, frames):
    FILL
    return [{"n": len(state.window)}]
"#;

#[test]
fn a_first_state_that_cannot_be_saved_is_an_error_of_the_check() {
    let Some(bench) = Bench::new() else { return };
    bench.write_flow(&WINDOW.replace("FACTORY", "Window").replace("FILL", "pass"), "");
    for command in ["check", "run"] {
        let outcome = bench.sideline(&[command, "flow.yml"]);
        assert_eq!(outcome.code, 1, "{}", outcome.text);
        let expected =
            "flow.yml:10:5: error: node `mine`: my_op.py: state.window: a value of type Window cannot be saved";
        assert!(outcome.text.contains(expected), "{}", outcome.text);
    }
}

#[test]
fn a_state_that_becomes_one_that_cannot_be_saved_is_an_error_of_a_later_frame_or_of_the_end() {
    let Some(bench) = Bench::new() else { return };
    for (frame, expected) in [("9", "frame 15"), ("33", "state.window")] {
        let fill = format!("if cx.frame == {frame}: state.window = Window()");
        bench.write_flow(&WINDOW.replace("FACTORY", "list").replace("FILL", &fill), "");
        let outcome = bench.sideline(&["run", "flow.yml", "--output", "out"]);
        assert_eq!(outcome.code, 6, "{}", outcome.text);
        assert!(outcome.text.contains("state.window: a value of type Window cannot be saved"), "{}", outcome.text);
        assert!(outcome.text.contains(expected), "{}", outcome.text);
    }
}
