//! `sideline test`: tests of a flow that give rows to some outputs and state the rows that follow from them.
#![cfg(all(feature = "media", feature = "onnx"))]

#[path = "support/recordings.rs"]
mod recordings;
mod support;

use recordings::record_table;
use serde_json::{Value, json};
use sideline_sport::tables::{Track, TrackState};
use support::{Bench, json_text, repository};

/// Flow text: detections of a file's frames -> tracker -> fighters, with a recorder of the tracks. No file and no model is needed,
/// since a test starts behind them.
const FLOW: &str = "nodes:
  - id: synthetic
    path: sideline
    args: run synthetic
    inputs: {done_recorder: recorder/done}
    outputs: [frames]
  - id: counter
    path: sideline
    args: run counter
    inputs: {frames: synthetic/frames}
    outputs: [counts]
  - id: people
    path: sideline
    args: run PEOPLE
    inputs: {frames: synthetic/frames}
    outputs: [people]
  - id: tracker
    path: sideline
    args: run tracker
    inputs: {detections: people/people}
    outputs: [tracks, identities]
  - id: fighters
    path: sideline
    args: run fighters
    env: {WARM_UP: 0.1}
    inputs: {tracks: tracker/tracks, identities: tracker/identities}
    outputs: [fighters]
  - id: recorder
    path: sideline
    args: run recorder
    inputs: {tracks: tracker/tracks, identities: tracker/identities, fighters: fighters/fighters}
    outputs: [done]
";

/// Creates a folder with the flow, and its tests from the lines of one test.
fn bench(tests: &str) -> Bench {
    let bench = Bench::new();
    bench.write("flow.yml", &FLOW.replace("PEOPLE", "detect"));
    bench.write("flow.tests.yml", &format!("tests:\n{tests}"));
    bench
}

const TWO_PEOPLE: &str = "
    feed:
      tracker/tracks:
        - {frame: [0, 9], track: 1, state: confirmed, x1: 100, y1: 100, x2: 200, y2: 400}
        - {frame: [0, 9], track: 2, state: confirmed, x1: {from: 300, to: 390}, y1: 100, x2: {from: 400, to: 490}, y2: 400}
";

#[test]
fn the_shipped_tests_pass() {
    let bench = Bench::new();
    for flow in ["fight.yml", "football.yml"] {
        let path = repository().join("dataflows").join(flow);
        let run = bench.sideline(&["test", path.to_str().unwrap()]);
        assert_eq!(run.code, 0, "{}", run.text);
        assert!(run.text.ends_with("passed, 0 failed\n"), "{}", run.text);
    }
}

#[test]
fn a_difference_is_reported_with_frame_row_column_and_both_values() {
    let bench = bench(&format!(
        "  - name: the first is on the right{TWO_PEOPLE}
    expect:
      fighters/fighters:
        count: 12
        rows:
          - {{frame: 9, track: 1, fighter: fighter_2}}
  - name: six frames have names{TWO_PEOPLE}
    expect: {{fighters/fighters: {{count: 6}}}}
  - name: a person has no name in the first frame{TWO_PEOPLE}
    expect:
      fighters/fighters:
        - {{frame: [0, 1], track: 1}}
  - name: names{TWO_PEOPLE}
    expect:
      fighters/fighters:
        - {{frame: [8, 9], track: 2, fighter: fighter_2}}
        - {{frame: 8, track: 2, fighter: fighter_2}}
        - {{frame: 9, track: 1, fighter: fighter_1}}
"
    ));
    let run = bench.sideline(&["test", "flow.yml"]);
    assert_eq!(run.code, 1, "{}", run.text);
    for expected in [
        "FAILED  the first is on the right\n        flow.tests.yml:12: `fighters/fighters`, frame 9, row 0, column `fighter`: \
         \"fighter_2\" expected, found \"fighter_1\"",
        "`fighters/fighters`: 6 rows expected, found 12 (frames 4, 5, 6, 7, 8, 9)",
        "`fighters/fighters`: a row expected in frames 0 to 1, found none",
        "passed  names\n1 passed, 3 failed",
    ] {
        assert!(run.text.contains(expected), "{expected}\n{}", run.text);
    }
    let json = bench.sideline(&["test", "flow.yml", "--json", "--only", "on the right"]);
    assert_eq!(json.code, 1);
    let outcomes = json_text(&json.text);
    assert_eq!((&outcomes[0]["passed"], &outcomes[1]), (&json!(false), &Value::Null));
    let difference = &outcomes[0]["difference"];
    let keys = ["frame", "row", "column", "expected", "found", "line"];
    assert_eq!(
        keys.map(|key| difference[key].clone()),
        [json!(9), json!(0), json!("fighter"), json!("fighter_2"), json!("fighter_1"), json!(12)]
    );
}

#[test]
fn a_recorded_run_gives_the_rows_before_a_node() {
    let tests = "  - name: the recorded tracks have names
    recording: runs/first
    from: fighters
    expect:
      fighters/fighters:
        # From the fifth of ten frames on; the last two have no rows.
        count: 8
        rows:
          - {frame: 7, track: 1, fighter: fighter_1}
          - {frame: 7, track: 2, fighter: fighter_2}
";
    let bench = bench(tests);
    let row = |track: u32, x1: f32| Track {
        track,
        state: TrackState::Confirmed,
        x1,
        y1: 100.0,
        x2: x1 + 100.0,
        y2: 400.0,
        ..Track::default()
    };
    let run = bench.path().join("runs/first");
    let people = |x1: [f32; 2]| -> Vec<Vec<Track>> {
        (0..10).map(|frame| if frame < 8 { vec![row(1, x1[0]), row(2, x1[1])] } else { vec![] }).collect()
    };
    record_table(&run, "tracks", &people([100.0, 300.0]));
    record_table::<sideline_sport::tables::Identity>(&run, "identities", &vec![vec![]; 10]);
    let passed = bench.sideline(&["test", "flow.yml"]);
    assert_eq!(passed.code, 0, "{}", passed.text);
    // With the places exchanged, so are the names.
    std::fs::remove_dir_all(&run).unwrap();
    record_table::<sideline_sport::tables::Identity>(&run, "identities", &vec![vec![]; 10]);
    record_table(&run, "tracks", &people([300.0, 100.0]));
    let failed = bench.sideline(&["test", "flow.yml"]);
    assert_eq!(failed.code, 1, "{}", failed.text);
    assert!(failed.text.contains("\"fighter_1\" expected, found \"fighter_2\""), "{}", failed.text);
}

#[test]
fn a_mistake_is_one_error_with_its_line() {
    let feed =
        |rows: &str| format!("  - name: a\n    feed:\n      {rows}\n    expect: {{fighters/fighters: {{count: 0}}}}\n");
    let expect = |rows: &str| format!("  - name: a{TWO_PEOPLE}    expect:\n      {rows}\n");
    for (tests, expected) in [
        (
            feed("traker/tracks: []"),
            "flow.tests.yml:4:7: there is no node `traker` in the flow; did you mean `tracker`?",
        ),
        (feed("tracker/track: []"), "flow.tests.yml:4:7: node `tracker` has no output `track`; did you mean `tracks`?"),
        (feed("tracks: []"), "flow.tests.yml:4:7: `tracks` names no output: write NODE/OUTPUT"),
        (feed("synthetic/frames: []"), "flow.tests.yml:4:7: `synthetic/frames` sends frames"),
        (
            feed("tracker/tracks: [{frame: 0, trak: 1}]"),
            "flow.tests.yml:4:35: the table `tracks` has no column `trak`; did you mean `track`?",
        ),
        (
            feed("tracker/tracks: [{frame: 0, track: a}]"),
            "flow.tests.yml:4:35: column `track`: \"a\" is not a whole number",
        ),
        (feed("tracker/tracks: [{frame: 0, state: confirmd}]"), "did you mean `confirmed`?"),
        (feed("tracker/tracks: [{track: 1}]"), "flow.tests.yml:4:24: a row has a `frame`"),
        (feed("tracker/tracks: [{frame: 5-9}]"), "`frame` is a whole number from 0"),
        (
            feed("tracker/identities: []"),
            "test `a`: `fighters` requires `tracker/tracks`, which the test does not feed",
        ),
        (feed("counter/counts: []"), "`fighters/fighters` does not depend on what the test feeds: `counter/counts`"),
        (feed("tracker/tracks: 3"), "flow.tests.yml:4:23: rows are a list"),
        (
            expect("fighters/fighters: [{frame: 9, tack: 1}]"),
            "the table `fighters` has no column `tack`; did you mean `track`?",
        ),
        (expect("fighters/fighters: {cont: 1}"), "an expected output has no key `cont`; did you mean `count`?"),
        (expect("fighters/fighters: []"), "an expected output has `rows`; `count: 0` expects none"),
        (expect("tracker/tracks: {count: 1}"), "`tracker/tracks` is fed by the test"),
        (
            expect("fighters/fighters: {count: 1, tolerance: {trak: 1}}"),
            "`tolerance`: the table `fighters` has no column `trak`",
        ),
        (
            "  - name: a\n    recording: nowhere\n    from: fighters\n    expect: {fighters/fighters: {count: 1}}\n"
                .into(),
            "flow.tests.yml:3:16: nowhere is not the folder of a run",
        ),
        (
            "  - name: a\n    recording: nowhere\n    expect: {}\n".into(),
            "flow.tests.yml:3:5: `recording` needs `from`",
        ),
        ("  - name: a\n    sets: {}\n".into(), "flow.tests.yml:3:5: a test has no key `sets`; did you mean `set`?"),
        (
            format!(
                "  - name: a{TWO_PEOPLE}    set: {{fighters.warm: 1}}\n    expect: {{fighters/fighters: {{count: 1}}}}\n"
            ),
            "flow.tests.yml:7:5: error: ",
        ),
        ("  - {name: [\n".into(), "flow.tests.yml:3:1"),
    ] {
        let run = bench(&tests).sideline(&["test", "flow.yml"]);
        assert!(run.code == 1 || run.code == 3, "{tests}: code {}: {}", run.code, run.text);
        assert!(run.text.contains(expected), "{tests}\nexpected: {expected}\nfound: {}", run.text);
        assert_eq!(run.text.matches("error").count(), 1, "{}", run.text);
    }
    let bench = Bench::new();
    bench.write("flow.yml", FLOW);
    let run = bench.sideline(&["test", "flow.yml"]);
    assert!(run.code == 1 && run.text.contains("flow.tests.yml: there is no such file"), "{}", run.text);
}
