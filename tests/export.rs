//! `sideline export`: the tables of a run as one flat table, also of runs with skipped frames and of interrupted runs.

#[path = "support/recordings.rs"]
mod recordings;
mod support;

use std::{collections::BTreeMap, path::Path};

use recordings::record_table;
use serde_json::Value;
use sideline_sport::tables::{Move, Track};
use support::{Bench, has_models, json_text, parquet, repository, rows};

/// Flow text: synthetic -> counter with a stride -> recorder.
const FLOW: &str = "nodes:
  - id: source
    path: sideline
    args: run synthetic
    env: {FRAMES: 20}
    inputs: {done_recorder: recorder/done}
    outputs: [frames]
  - id: counter
    path: sideline
    args: run counter
    env: {SIDELINE_STRIDE: 3}
    inputs: {frames: source/frames}
    outputs: [counts]
  - id: recorder
    path: sideline
    args: run recorder
    env: {ROW_GROUP: 4}
    inputs: {counts: counter/counts}
    outputs: [done]
";

/// Runs [`FLOW`] into the folder `out`.
fn record(bench: &Bench) {
    bench.write("flow.yml", FLOW);
    let ended = bench.sideline(&["run", "flow.yml", "--output", "out"]);
    assert_eq!(ended.code, 0, "{}", ended.text);
}

/// Exports the run in `out` and returns the summary.
fn export(bench: &Bench, arguments: &[&str]) -> Value {
    let all: Vec<&str> = ["export", "out", "--json"].into_iter().chain(arguments.iter().copied()).collect();
    let ended = bench.sideline(&all);
    assert_eq!(ended.code, 0, "{}", ended.text);
    json_text(&ended.text)
}

fn read_json(path: &Path) -> Vec<Value> {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Reads a CSV file without quotes: column names and rows of cells.
fn read_csv(path: &Path) -> (Vec<String>, Vec<Vec<String>>) {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    (lines.next().unwrap(), lines.collect())
}

#[test]
fn skipped_frames_have_a_row_with_the_reason_in_every_format() {
    let bench = Bench::new();
    record(&bench);
    for format in ["csv", "json", "parquet"] {
        let summary = export(&bench, &["--format", format]);
        assert_eq!((&summary["rows"], &summary["tables"][0]), (&20.into(), &"counts".into()), "{summary}");
        assert_eq!(summary["partial"], Value::Null);
    }
    let found = read_json(&bench.path().join("out/export.json"));
    assert_eq!(found.iter().map(|row| row["frame"].as_u64().unwrap()).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
    for row in &found {
        let is_skipped = row["frame"].as_u64().unwrap() % 3 != 0;
        assert_eq!((row["skipped"] == "stride", row["counts_frames"].is_null()), (is_skipped, is_skipped), "{row}");
    }
    let (names, lines) = read_csv(&bench.path().join("out/export.csv"));
    assert_eq!(names, ["stream", "session", "frame", "pts", "skipped", "counts_frames", "counts_checksum"]);
    for (line, row) in lines.iter().zip(&found) {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned).replace("null", "");
        assert_eq!(line, &names.iter().map(|name| text(&row[name])).collect::<Vec<_>>());
    }
    let batches = parquet(&bench.path().join("out/export.parquet"));
    assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 20);
}

#[test]
fn the_complete_part_of_an_interrupted_run_is_exported_and_marked_partial() {
    let bench = Bench::new();
    record(&bench);
    // The state after a kill: row groups as files in a folder, no result, no timing table.
    let out = bench.path().join("out");
    let whole = std::fs::read(out.join("counts.parquet")).unwrap();
    std::fs::remove_file(out.join("counts.parquet")).unwrap();
    std::fs::remove_dir_all(out.join("result")).unwrap();
    std::fs::create_dir(out.join("counts.parquet")).unwrap();
    std::fs::write(out.join(".counts.parquet.new"), b"incomplete").unwrap();
    let nothing = bench.sideline(&["export", "out"]);
    assert_eq!(nothing.code, 3, "{}", nothing.text);
    assert!(nothing.text.contains("interrupted before a part of it was complete"), "{}", nothing.text);
    std::fs::write(out.join("counts.parquet/part-00000.parquet"), whole).unwrap();
    let ended = bench.sideline(&["export", "out"]);
    assert_eq!(ended.code, 0, "{}", ended.text);
    assert!(ended.text.contains("PARTIAL: the recording was interrupted"), "{}", ended.text);
    assert!(export(&bench, &["--overwrite"])["partial"].as_str().unwrap().contains("left no result"));
}

#[test]
fn what_cannot_be_exported_is_reported_with_the_fix() {
    let bench = Bench::new();
    record(&bench);
    bench.write("empty/run.json", "{\"processes\": []}");
    for (arguments, code, words) in [
        (vec!["export", "nowhere"], 3, "nowhere is not the folder of a run"),
        (vec!["export", "empty"], 3, "no table was recorded"),
        (vec!["export", "out", "--tables", "count"], 3, "no table `count` was recorded; did you mean `counts`?"),
        (vec!["export", "out", "--format", "xml"], 1, "[possible values: csv, json, parquet, statsbomb, wyscout]"),
        (vec!["export", "out", "--format", "parquet", "--output", "-"], 1, "name a file with `--output`"),
        (vec!["export", "out", "--output", "no/such/folder.csv"], 4, "no/such"),
    ] {
        let ended = bench.sideline(&arguments);
        assert_eq!(ended.code, code, "{arguments:?}: {}", ended.text);
        assert!(ended.text.contains(words), "{arguments:?}: {}", ended.text);
    }
    assert_eq!(bench.sideline(&["export", "out"]).code, 0);
    let before = std::fs::read(bench.path().join("out/export.csv")).unwrap();
    let again = bench.sideline(&["export", "out"]);
    assert_eq!(again.code, 4, "{}", again.text);
    assert!(again.text.contains("`--overwrite`"), "{}", again.text);
    assert_eq!(bench.sideline(&["export", "out", "--overwrite"]).code, 0);
    assert_eq!(std::fs::read(bench.path().join("out/export.csv")).unwrap(), before, "an export is reproducible");
    // To a pipe only the table is written.
    let piped = bench.sideline(&["export", "out", "--output", "-"]);
    assert_eq!(piped.text.as_bytes(), before);
}

#[test]
fn a_move_stands_at_its_peak_with_the_frame_in_which_it_came() {
    let bench = Bench::new();
    let out = bench.path().join("out");
    record_table(&out, "tracks", &vec![vec![Track { track: 1, ..Track::default() }]; 8]);
    let told = Move { track: 1, label: "jab".into(), start: 1, peak: 2, end: 3, ..Move::default() };
    let mut moves = vec![vec![]; 8];
    moves[6] = vec![told.clone()];
    // This peak has no row of a track, so its time is not known.
    moves[7] = vec![Move { label: "hook".into(), peak: 70, ..told }];
    record_table(&out, "moves", &moves);
    export(&bench, &["--format", "json"]);
    let found = read_json(&out.join("export.json"));
    let places: Vec<[u64; 4]> = found
        .iter()
        .filter(|row| !row["moves_label"].is_null())
        .map(|row| ["frame", "pts", "moves_peak", "moves_frame"].map(|name| row[name].as_u64().unwrap()))
        .collect();
    assert_eq!(places, [[2, 66_666_666, 2, 6], [7, 233_333_331, 70, 7]]);
    assert_eq!(found.len(), 8, "a row for each frame and track");
    // Alone, moves are where they came.
    export(&bench, &["--format", "json", "--tables", "moves", "--overwrite"]);
    let alone = read_json(&out.join("export.json"));
    assert_eq!(alone.iter().map(|row| row["frame"].as_u64().unwrap()).collect::<Vec<_>>(), [6, 7]);
    // Differences of frame numbers do not wrap.
    export(&bench, &["--format", "parquet"]);
    for batch in parquet(&out.join("export.parquet")) {
        for name in ["frame", "moves_start", "moves_peak", "moves_end", "moves_frame"] {
            assert_eq!(batch.column_by_name(name).unwrap().data_type(), &arrow_schema::DataType::Int64, "{name}");
        }
    }
}

#[test]
fn a_fight_is_exported_as_one_table_by_track_with_named_joints() {
    if !has_models() {
        return;
    }
    let bench = Bench::new();
    let flow = repository().join("dataflows/fight.yml");
    let run = ["run", flow.to_str().unwrap(), "--frames", "30", "--device", "cpu", "--output", "out"];
    let ended = bench.sideline(&run);
    assert_eq!(ended.code, 0, "{}", ended.text);
    export(&bench, &["--format", "json"]);
    let mut found = read_json(&bench.path().join("out/export.json"));
    let key = |row: &Value| (row["frame"].as_u64().unwrap(), row["track"].as_u64().unwrap());
    // Moves that were pending at the end follow the last frame.
    found.retain(|row| key(row).0 < 30);
    let by_key = |table: &str| -> BTreeMap<(u64, u64), Value> {
        rows(bench.path().join(format!("out/{table}.jsonl"))).into_iter().map(|row| (key(&row), row)).collect()
    };
    let (tracks, poses, motion) = (by_key("tracks"), by_key("poses"), by_key("motion"));
    let keys: std::collections::BTreeSet<_> = tracks.keys().chain(poses.keys()).copied().collect();
    assert_eq!(
        found.iter().map(key).collect::<Vec<_>>(),
        keys.into_iter().collect::<Vec<_>>(),
        "each track of each frame once, in order"
    );
    // The two JSON writers may format numbers with different digits; they agree to seven.
    let same = |a: &Value, b: &Value| match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-6 * a.abs().max(1.0),
        _ => a == b,
    };
    for row in &found {
        let (track, pose, moved) = (tracks.get(&key(row)), poses.get(&key(row)), motion.get(&key(row)));
        let cell = |table: Option<&Value>, pick: fn(&Value) -> Value| table.map_or(Value::Null, pick);
        for (name, expected) in [
            ("tracks_state", cell(track, |row| row["state"].clone())),
            ("poses_score", cell(pose, |row| row["score"].clone())),
            ("left_wrist_x", cell(pose, |row| row["joints"][15][0].clone())),
            ("right_hip_visibility", cell(pose, |row| row["joints"][24][3].clone())),
            ("nose_world_z", cell(pose, |row| row["world"][0][2].clone())),
            ("right_wrist_velocity_y", cell(moved, |row| row["velocity"][16][1].clone())),
            ("left_knee_angle", cell(moved, |row| row["joint_angles"][12].clone())),
        ] {
            assert!(same(&row[name], &expected), "{name}: {} is not {expected}", row[name]);
        }
    }
    // Each fighter of a pair has a row with its own view.
    let pairs = rows(bench.path().join("out/interaction.jsonl"));
    assert!(!pairs.is_empty());
    for pair in &pairs {
        for (own, other) in [("a", "b"), ("b", "a")] {
            let is_own = |row: &&Value| row["frame"] == pair["frame"] && row["track"] == pair[format!("track_{own}")];
            let row = found.iter().find(is_own).unwrap();
            assert_eq!(row["interaction_opponent"], pair[format!("track_{other}")]);
            assert!(same(&row["interaction_reach"], &pair[format!("reach_{own}")]));
            assert!(same(&row["interaction_opponent_facing"], &pair[format!("facing_{other}")]));
            assert!(same(&row["interaction_distance"], &pair["distance"]));
        }
    }
}
