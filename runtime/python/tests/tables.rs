//! Tables from lists, PyArrow, Polars and pandas: a value that a column cannot hold is an error with row, column and value, and
//! columns with nulls.

mod support;

use support::Bench;

/// Operator that sends `VALUE`.
const OPERATOR: &str = r#"
import numpy, pandas, pyarrow, sideline
from sideline.testing import Harness

VALUE = None
COLUMNS = dict(n=int, small=sideline.u8, x=float, narrow=sideline.f32, text=str, pair=sideline.array(sideline.u8, 2),
               many=list[int], at=sideline.struct(x=float, n=int))

def send(value, **columns):
    @sideline.operator(reads={"counts": "counts"}, writes={"rows": sideline.table("sent", **columns)})
    def sender(counts):
        return value
    harness = Harness(sender)
    try:
        harness.push(counts=[{"frames": 1, "checksum": 0}])
    except sideline.Error as error:
        return str(error).split("output `rows`: ")[-1]
    return harness.expect("rows")

def column(name, values):
    """Sends a column of a list of rows, of PyArrow and of pandas."""
    columns = {name: COLUMNS[name]}
    print(send([{name: value} for value in values], **columns))
    print(send(pyarrow.table({name: values}), **columns))
    print(send(pandas.DataFrame({name: values}), **columns))
"#;

/// Runs a program behind the operator, which must print these lines.
fn expect(program: &str, lines: &[&str]) {
    let Some(bench) = Bench::new() else { return };
    let outcome = bench.run_python(&format!("{OPERATOR}\n{program}"));
    assert_eq!(outcome.code, 0, "{}", outcome.text);
    for (at, (printed, line)) in outcome.stdout.lines().zip(lines).enumerate() {
        assert_eq!(printed, *line, "line {at}");
    }
    assert_eq!(outcome.stdout.lines().count(), lines.len(), "{}", outcome.text);
}

#[test]
fn a_value_that_a_column_cannot_hold_is_an_error_with_row_column_and_value() {
    let program = r#"
column("small", [1, 256])
column("n", [1.0, 1.5])
column("n", [1.0, 2.0])
column("n", [1.0, float("nan")])
column("narrow", [0.5, 1e300])
column("narrow", [1, 2**24 + 1])
column("text", ["a", None])
column("pair", [[1, 2], [1, 300]])
column("pair", [[1, 2], [1]])
column("many", [[], [1, 2.5]])
column("at", [{"x": 1.0, "n": 1}, {"x": 1.0, "n": -0.5}])
column("x", ["1.5"])
"#;
    expect(
        program,
        &[
            "row 1, column `small`: 256 does not fit a column of type UInt8",
            "row 1, column `small`: 256 does not fit a column of type UInt8",
            "row 1, column `small`: 256 does not fit a column of type UInt8",
            "row 0, column `n`: 1.0 (float) is no whole number",
            "row 0, column `n`: 1.0 is a float in a column of whole numbers: convert the column, `astype(\"int64\")`",
            "row 0, column `n`: 1.0 is a float in a column of whole numbers: convert the column, `astype(\"int64\")`",
            "row 0, column `n`: 1.0 (float) is no whole number",
            "row 0, column `n`: 1.0 is a float in a column of whole numbers: convert the column, `astype(\"int64\")`",
            "row 0, column `n`: 1.0 is a float in a column of whole numbers: convert the column, `astype(\"int64\")`",
            "row 0, column `n`: 1.0 (float) is no whole number",
            "row 0, column `n`: 1.0 is a float in a column of whole numbers: convert the column, `astype(\"int64\")`",
            "row 0, column `n`: 1.0 is a float in a column of whole numbers: convert the column, `astype(\"int64\")`",
            "row 1, column `narrow`: 1e+300 (float) does not fit a column of type Float32",
            "row 1, column `narrow`: 1e300 does not fit a column of type Float32",
            "row 1, column `narrow`: 1e300 does not fit a column of type Float32",
            "row 1, column `narrow`: 16777217 (int) has no exact value in a column of type Float32",
            "row 1, column `narrow`: 16777217 has no exact value in a column of type Float32",
            "row 1, column `narrow`: 16777217 has no exact value in a column of type Float32",
            "row 1, column `text`: None (NoneType) is no text",
            "row 1, column `text`: null in a column without nulls",
            "row 1, column `text`: NaN, None or another missing value in a column without nulls",
            "row 1, column `pair`: 300 does not fit a column of type UInt8",
            "row 1, column `pair`: 300 does not fit a column of type UInt8",
            "row 1, column `pair`: 300 does not fit a column of type UInt8",
            "row 1, column `pair`: a list of 2 is needed, found 1",
            "row 1, column `pair`: a list of 2 is needed, found 1",
            "row 1, column `pair`: a list of 2 is needed, found 1",
            "row 1, column `many`: 2.5 (float) is no whole number",
            "row 1, column `many`: 1.0 is a float in a column of whole numbers: convert the column, `astype(\"int64\")`",
            "row 1, column `many`: 1.0 is a float in a column of whole numbers: convert the column, `astype(\"int64\")`",
            "row 1, column `at.n`: -0.5 (float) is no whole number",
            "row 0, column `at.n`: 1.0 is a float in a column of whole numbers: convert the column, `astype(\"int64\")`",
            "row 0, column `at.n`: 1.0 is a float in a column of whole numbers: convert the column, `astype(\"int64\")`",
            "row 0, column `x`: '1.5' (str) is no number",
            "column `x`: a column of type Utf8 is none of type Float64",
            "column `x`: a column of type LargeUtf8 is none of type Float64",
        ],
    );
}

#[test]
fn nulls_are_for_columns_that_take_them_and_nan_of_pandas_is_one() {
    let program = r#"
def nullable(values):
    print(send([{"v": v} for v in values], v=int | None))
    print(send(pandas.DataFrame({"v": values}), v=int | None))
nullable([1, None, 3])
nullable([1, float("nan"), 3])
print(send(pandas.DataFrame({"v": [1.5, float("nan")]}), v=float | None))
print(send(pandas.DataFrame({"v": [1.5, float("nan")]}), v=float))
print(send(pyarrow.table({"v": [1.5, None]}), v=float))
print(send(pandas.DataFrame({"v": [1, None]}), v=int))
print(send(pandas.DataFrame({"v": [1.5, None]}), v=int | None))
print(send([{"v": None}, {"v": [1, 2]}], v=sideline.optional(sideline.array(sideline.u8, 2))))
print(send(pyarrow.table({"v": [None, [1, 2]]}), v=sideline.optional(sideline.array(sideline.u8, 2))))
print(send([{"v": {"x": 1}}, {"v": None}], v=sideline.optional(sideline.struct(x=int))))
print(send(pyarrow.table({"v": [{"x": 1}, None]}), v=sideline.optional(sideline.struct(x=int))))
class Nulls:
    def __arrow_c_array__(self, requested_schema=None):
        return pyarrow.array([{"v": 1}, None]).__arrow_c_array__()
print(send(Nulls(), v=int))
"#;
    expect(
        program,
        &[
            "[{'v': 1}, {'v': None}, {'v': 3}]",
            "[{'v': 1}, {'v': None}, {'v': 3}]",
            "[{'v': 1}, {'v': None}, {'v': 3}]",
            "[{'v': 1}, {'v': None}, {'v': 3}]",
            "[{'v': 1.5}, {'v': None}]",
            "[{'v': 1.5}, {'v': nan}]",
            "row 1, column `v`: null in a column without nulls",
            "row 0, column `v`: 1.0 is a float in a column of whole numbers: convert the column, `astype(\"int64\")`",
            "row 0, column `v`: 1.5 is no whole number",
            "[{'v': None}, {'v': [1, 2]}]",
            "[{'v': None}, {'v': [1, 2]}]",
            "[{'v': {'x': 1}}, {'v': None}]",
            "[{'v': {'x': 1}}, {'v': None}]",
            "row 1 is null",
        ],
    );
}

#[test]
fn an_operator_declares_columns_of_enums() {
    let program = r#"
import enum
from typing import Literal
class Guard(enum.Enum):
    ORTHODOX = "orthodox"
    SOUTHPAW = "southpaw"
columns = dict(guard=Guard, sides=list[Literal["left", "right"]], at=sideline.struct(guard=Guard | None))
print(send([{"guard": Guard.SOUTHPAW, "sides": ["left"], "at": {"guard": None}}], **columns))
print(send([{"guard": "orthodox", "sides": ["left", "rihgt"], "at": {"guard": Guard.SOUTHPAW}}], **columns))
print(send([{"guard": "orthodox", "sides": [], "at": {"guard": "open"}}], **columns))
print(send(pyarrow.table({"guard": ["orthodox", "soutpaw"]}), guard=Guard))
"#;
    expect(
        program,
        &[
            "[{'guard': 'southpaw', 'sides': ['left'], 'at': {'guard': None}}]",
            "row 0, column `sides`: `rihgt` is no value of the column; did you mean `right`?",
            "row 0, column `at.guard`: `open` is no value of the column; there are orthodox, southpaw",
            "row 1, column `guard`: `soutpaw` is no value of the column; did you mean `southpaw`?",
        ],
    );
}

#[test]
fn a_part_of_a_table_is_that_part_alone() {
    let program = r#"
whole = pyarrow.table({"many": [[300, 1], [1, 2], [], [7]], "pair": [[300, 1], [1, 2], [3, 4], [5, 300]], "at": [{"n": 300}, {"n": 1}, {"n": 2}, {"n": 3}]})
columns = dict(many=list[int], pair=sideline.array(sideline.u8, 2), at=sideline.struct(n=sideline.u8))
print(send(whole.slice(1, 2), **columns))
print(send(whole.slice(1), **columns))
print(send(pyarrow.table({"many": [[1.5], [2], [2.5]]}).slice(1), many=list[int]))
print(send(pyarrow.table({"many": pyarrow.array([None, [1, 2], None, [3]], pyarrow.large_list(pyarrow.int64()))}).slice(1), many=sideline.optional(list[int])))
"#;
    expect(
        program,
        &[
            "[{'many': [1, 2], 'pair': [1, 2], 'at': {'n': 1}}, {'many': [], 'pair': [3, 4], 'at': {'n': 2}}]",
            "row 2, column `pair`: 300 does not fit a column of type UInt8",
            "row 0, column `many`: 2.0 is a float in a column of whole numbers: convert the column, `astype(\"int64\")`",
            "[{'many': [1, 2]}, {'many': None}, {'many': [3]}]",
        ],
    );
}

#[test]
fn the_index_of_a_dataframe_is_dropped_if_it_is_of_whole_numbers() {
    let program = r#"
frame = pandas.DataFrame({"n": [1, 2, 3]})
print(send(frame[frame["n"] != 2], n=int))
print(send(frame.set_index(pandas.Index(["a", "b", "c"])), n=int))
"#;
    expect(
        program,
        &["[{'n': 1}, {'n': 3}]", "the index of the dataframe is no column: write `reset_index(drop=True)`"],
    );
}

#[test]
fn dataframes_of_polars_are_checked_and_rows_become_one() {
    let Some(bench) = Bench::new() else { return };
    if !bench.has_package("polars") {
        return;
    }
    let program = r#"
import polars
print(send(polars.DataFrame({"n": [1, 2], "text": ["a", "b"]}), n=int, text=str))
print(send(polars.DataFrame({"small": [1, 256]}), small=sideline.u8))
print(send(polars.DataFrame({"n": [1, None]}), n=int))
print(send(polars.DataFrame({"many": [[1], [2, 3]]}), many=list[int]))
@sideline.operator(reads={"counts": "counts"}, writes={"rows": sideline.table("sent", frames=int)})
def relay(counts):
    return polars.DataFrame(counts).select("frames").cast(polars.Int64)
harness = Harness(relay)
harness.push(counts=[{"frames": 7, "checksum": 0}])
print(harness.expect("rows"))
"#;
    expect(
        program,
        &[
            "[{'n': 1, 'text': 'a'}, {'n': 2, 'text': 'b'}]",
            "row 1, column `small`: 256 does not fit a column of type UInt8",
            "row 1, column `n`: null in a column without nulls",
            "[{'many': [1]}, {'many': [2, 3]}]",
            "[{'frames': 7}]",
        ],
    );
}

#[test]
fn a_column_of_an_enum_is_checked_against_its_values() {
    let program = r#"
row = {"track": 1, "team": "team_1", "role": "goalkeper", "confidence": 1.0, "jersey": [0, 0, 0]}
def teams(value):
    @sideline.operator(reads={"counts": "counts"}, writes={"rows": sideline.table("teams")})
    def sender(counts):
        return value
    harness = Harness(sender)
    try:
        harness.push(counts=[{"frames": 1, "checksum": 0}])
        print(len(harness.expect("rows")))
    except sideline.Error as error:
        print(str(error).split("output `rows`: ")[-1])
for role in ("goalkeper", "referee"):
    row["role"] = role
    teams([row])
    teams(pyarrow.Table.from_pylist([row]))
"#;
    let unknown = "row 0, column `role`: `goalkeper` is no value of the column; did you mean `goalkeeper`?";
    expect(program, &[unknown, unknown, "1", "1"]);
}

#[test]
fn a_column_with_nulls_is_a_masked_array_in_every_frame() {
    let program = r#"
seen = []
@sideline.operator(reads={"rows": sideline.table("read", v=int | None, p=sideline.array(sideline.optional(float), 2))},
                   writes={"sums": sideline.table("sums", n=int)})
def reader(rows):
    v, p = rows["v"], rows["p"]
    seen.append((type(v).__name__, type(p).__name__, v.tolist(), p.tolist(), int(v.sum() or 0)))
harness = Harness(reader)
harness.push(rows=[{"v": 1, "p": [1, 2]}, {"v": 2, "p": [3, 4]}])
harness.push(rows=[{"v": 1, "p": [1, None]}, {"v": None, "p": [None, 4]}])
harness.close()
for line in seen:
    print(line)
"#;
    expect(
        program,
        &[
            "('MaskedArray', 'MaskedArray', [1, 2], [[1.0, 2.0], [3.0, 4.0]], 3)",
            "('MaskedArray', 'MaskedArray', [1, None], [[1.0, None], [None, 4.0]], 1)",
        ],
    );
}
