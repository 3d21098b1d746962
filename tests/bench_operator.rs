//! `sideline-lab bench operator`: time and allocations of one operator on the tables of a run, compared with an earlier result.

#[path = "support/recordings.rs"]
mod recordings;
mod support;

use recordings::record_table;
use serde_json::{Value, json};
use sideline_sport::tables::{Track, TrackState};
use support::{Bench, json, json_text};

/// Creates a folder with the run `run`, which has two tracks in each of twenty frames.
fn bench() -> Bench {
    let bench = Bench::new();
    let row = |track: u32| Track {
        track,
        state: TrackState::Confirmed,
        x1: 100.0 * track as f32,
        y1: 100.0,
        x2: 100.0 * track as f32 + 80.0,
        y2: 400.0,
        ..Track::default()
    };
    record_table(&bench.path().join("run"), "tracks", &vec![vec![row(1), row(2)]; 20]);
    bench
}

#[test]
fn the_result_has_percentiles_allocations_and_ratios_to_the_baseline() {
    let bench = bench();
    let run = ["bench", "operator", "fighters", "--recording", "run", "--rounds", "2", "--json"];
    let first = bench.lab(&[&run[..], &["--save-baseline", "base.json"]].concat());
    assert_eq!(first.code, 0, "{}", first.text);
    let found = json_text(&first.text);
    assert_eq!((&found["processed"], &found["frames"]), (&json!(20), &json!(20)));
    assert_eq!(found["inputs"], json!({"tracks": "tracks"}));
    assert_eq!((&found["baseline"], &found["ratios"]), (&Value::Null, &Value::Null));
    let times = &found["process_us"];
    let [p50, p99, max] = ["p50", "p99", "max"].map(|name| times[name].as_f64().unwrap());
    assert!(p50 > 0.0 && p50 <= p99 && p99 <= max, "{times}");
    let allocations = found["allocations"].as_f64().unwrap();
    assert!(allocations > 1.0 && found["allocated_bytes"].as_f64().unwrap() > allocations, "{found}");

    let mut base = json(bench.path().join("base.json"));
    base["process_us"]["p50"] = json!(p50 / 2.0);
    base["allocations"] = json!(allocations / 4.0);
    bench.write("base.json", &base.to_string());
    let second = bench.lab(&[&run[..], &["--baseline", "base.json"]].concat());
    assert_eq!(second.code, 0, "{}", second.text);
    let ratios = &json_text(&second.text)["ratios"];
    // Allocations do not depend on the load of the machine.
    assert!((ratios["allocations"].as_f64().unwrap() - 4.0).abs() < 0.01, "{ratios}");
    assert!(ratios["p50"].as_f64().unwrap() > 0.0, "{ratios}");
    let text = bench.lab(&[&run[..7], &["--baseline", "base.json"]].concat());
    assert!(text.text.contains("fighters: 20 of 20 frames processed, inputs tracks=tracks"), "{}", text.text);
    assert!(
        text.text.contains("baseline") && text.text.contains("p99 (us)") && text.text.contains("4.00"),
        "{}",
        text.text
    );
}

#[test]
fn what_cannot_be_measured_is_an_error_that_names_the_mend() {
    let bench = bench();
    bench.write("base.json", "{}");
    for (arguments, expected) in [
        (vec!["fighter"], "there is no operator `fighter`; did you mean `fighters`?"),
        (vec!["synthetic"], "`synthetic` is a source"),
        (
            vec!["smooth"],
            "no table for the required input `poses`: name one with `--input poses=TABLE`; there are tracks",
        ),
        (vec!["fighters", "--input", "track=tracks"], "the operator has no input `track`; did you mean `tracks`?"),
        (vec!["fighters", "--input", "identities=tracks"], "`--input identities=tracks`"),
        (vec!["fighters", "--input", "tracks=trcks"], "no table `trcks` was recorded; did you mean `tracks`?"),
        (
            vec!["fighters", "--baseline", "base.json"],
            "base.json: this is no result of `bench operator --save-baseline`",
        ),
        (vec!["fighters", "--set", "warm=1"], "did you mean `warm_up`?"),
        (vec!["fighters", "--rounds", "0"], "invalid value '0'"),
    ] {
        let all = [&["bench", "operator"], &arguments[..], &["--recording", "run"]].concat();
        let run = bench.lab(&all);
        assert!(run.code != 0 && run.text.contains(expected), "{arguments:?}: code {}: {}", run.code, run.text);
    }
    let save = ["bench", "operator", "fighters", "--recording", "run", "--save-baseline", "base.json"];
    assert_eq!(bench.lab(&save).code, 0);
    record_table(&bench.path().join("shorter"), "tracks", &vec![vec![Track { track: 1, ..Track::default() }]; 3]);
    let other = ["bench", "operator", "fighters", "--recording", "shorter", "--baseline", "base.json"];
    let run = bench.lab(&other);
    assert!(run.code == 1 && run.text.contains("the baseline is of 20 frames"), "{}", run.text);
}
