//! `sideline-lab eval moves`: evaluation of recordings, and export of rows for training.
#![cfg(feature = "onnx")]

#[path = "../operators/sequence/tests/support/mod.rs"]
mod probe;
mod support;

use std::fmt::Write;

use arrow_array::{cast::AsArray, types::Float32Type};
use support::{Bench, json_text, parquet};

/// Marker file of two seconds, 200 lines per second: a person of 1.8 m whose right arm moves to the right at `speed`,
/// m/s.
fn markers(speed: f64) -> String {
    let mut text = String::new();
    for line in 0..=400 {
        let t = f64::from(line) / 200.0;
        let arm = 250.0 + 1000.0 * speed * t;
        // The head drifts as in a real recording: lines with an unmoved head would be merged into one frame.
        let head = 10.0 * t;
        write!(
            text,
            "{line} 0 {head:.4} 1800 -250 0 1150 -250 200 1150 {arm:.4} 0 1150 {arm:.4} 200 1150 -100 0 513 -100 0 100 100 0 \
             513 100 0 100"
        )
        .unwrap();
        text.push('\n');
    }
    text
}

/// Writes two recordings in the layout of the Vicon data set.
fn recordings(bench: &Bench) {
    std::fs::create_dir_all(bench.path().join("data/sub3/aggressive")).unwrap();
    std::fs::create_dir_all(bench.path().join("data/sub3/normal")).unwrap();
    bench.write("data/sub3/aggressive/Punching.txt", &markers(1.0));
    bench.write("data/sub3/normal/Standing.txt", &markers(0.0));
}

/// Parses the JSON that was printed before the log.
fn printed_json(text: &str) -> serde_json::Value {
    json_text(text.split("\n{\"timestamp\"").next().unwrap_or_default())
}

#[test]
fn an_export_contains_the_rows_of_motion_and_is_reproducible() {
    let bench = Bench::new();
    recordings(&bench);
    for file in ["one.parquet", "two.parquet"] {
        let ended = bench.lab(&["eval", "moves", "data", "--generate", "1", "--export", file, "--json"]);
        assert_eq!(ended.code, 0, "{}", ended.text);
        let report = printed_json(&ended.text);
        assert_eq!(report["sets"]["vicon"]["recordings"], 2, "{report}");
        assert_eq!(report["sets"]["synthetic"]["rows"], 1800, "{report}");
    }
    let bytes = |file: &str| std::fs::read(bench.path().join(file)).unwrap();
    assert!(bytes("one.parquet") == bytes("two.parquet"), "two exports differ");

    let batches = parquet(&bench.path().join("one.parquet"));
    let (mut punches, mut strikes) = (0, 0);
    for batch in &batches {
        let column = |name: &str| batch.column_by_name(name).unwrap();
        let motion = column("motion").as_fixed_size_list();
        for row in 0..batch.num_rows() {
            let values = motion.value(row);
            let values = values.as_primitive::<Float32Type>().values();
            assert_eq!(values.len(), 198);
            if column("recording").as_string::<i32>().value(row) == "sub3/Punching" {
                assert_eq!(column("label").as_string::<i32>().value(row), "jab|cross|hook|uppercut");
                punches += 1;
                if punches > 4 {
                    // 1 m/s in torso lengths, each 0.288 of the height.
                    assert!((values[3 * 16] - 1.0 / 0.5184).abs() < 0.01, "{} in row {row}", values[3 * 16]);
                }
                assert!(values[3 * 11].is_nan() && values[3 * 24].is_nan(), "shoulders and hips have no markers");
            }
            strikes +=
                usize::from(column("strike_peak").as_primitive::<arrow_array::types::Int32Type>().value(row) >= 0);
        }
    }
    assert_eq!(punches, 61);
    assert!(strikes > 100, "{strikes} rows of strikes in a bout of 30 s");
}

#[test]
fn figures_are_given_per_set_and_state_the_training_data() {
    if !probe::start_onnx_runtime() {
        return;
    }
    let bench = Bench::new();
    recordings(&bench);
    std::fs::create_dir(bench.path().join("own")).unwrap();
    // The model predicts `jab` or `cross` for a right hand that moves to the right, and never `idle` for one that does
    // not.
    let mut model = probe::Model::new(30);
    model.metadata.push(("sideline.trained_on", "vicon:1-7 others"));
    model.write(&bench.path().join("own"));
    let ended = bench.lab(&["eval", "moves", "data", "--models", "own", "--json", "--picture", "tables.svg"]);
    assert_eq!(ended.code, 0, "{}", ended.text);
    let report = printed_json(&ended.text);
    let vicon = &report["vicon"];
    assert_eq!((vicon["kind"].as_str(), vicon["judge"].as_str()), (Some("staged"), Some("probe")));
    assert_eq!(vicon["windows"], 6, "windows that end after 1, 1.5 and 2 s of each recording: {report}");
    assert_eq!(vicon["accuracy"], 0.5);
    assert_eq!(vicon["classes"]["jab|cross|hook|uppercut"]["recall"], 1.0);
    assert_eq!(vicon["classes"]["idle"]["f1"], 0.0);
    assert_eq!(vicon["trained_on_it"][0], "probe");
    let picture = std::fs::read_to_string(bench.path().join("tables.svg")).unwrap();
    assert!(picture.starts_with("<svg") && picture.contains("vicon"), "{picture}");

    // A person who was not in the training data has separate figures.
    std::fs::create_dir_all(bench.path().join("data/sub8/aggressive")).unwrap();
    bench.write("data/sub8/aggressive/Punching.txt", &markers(1.0));
    let ended = bench.lab(&["eval", "moves", "data", "--models", "own", "--json"]);
    let report = printed_json(&ended.text);
    assert_eq!((&report["vicon"]["persons"], &report["vicon"]["trained_persons"]), (&2.into(), &1.into()), "{report}");
    assert_eq!(
        (&report["vicon"]["windows"], &report["vicon"]["held_out"]["windows"]),
        (&9.into(), &3.into()),
        "{report}"
    );
    assert_eq!(report["vicon"]["held_out"]["accuracy"], 1.0, "{report}");
    std::fs::remove_dir_all(bench.path().join("data/sub8")).unwrap();

    let ended = bench.lab(&["eval", "moves", "data", "--models", "own"]);
    assert!(
        ended.text.contains("vicon, staged: 1 persons, 2 recordings; NOT held out, 1 of 1 persons"),
        "{}",
        ended.text
    );
}

#[test]
fn missing_input_is_reported_with_the_fix() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path().join("empty")).unwrap();
    for (arguments, code, expected) in [
        (&["eval", "moves", "empty"][..], 3, "no recordings at any depth. Looked for: subN/"),
        (&["eval", "moves", "nowhere"], 3, "nowhere"),
        (&["eval", "moves", "--generate", "1", "--models", "empty"], 2, "no file that ends in .onnx"),
        (&["eval", "moves", "--generate", "1", "--export", "no/such/folder.parquet"], 4, "no/such/folder.parquet"),
    ] {
        let ended = bench.lab(arguments);
        assert!(ended.code == code && ended.text.contains(expected), "{arguments:?}: {} {}", ended.code, ended.text);
    }
}
