//! Recorded tables: Parquet and JSON Lines in the run folder, after a run, a restart and a kill.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sideline_api::{
    Alignment, Body, Color, Config, Encoding, Failure, Frame, Mode, OnError, Operator, Payload, PortType, Reason,
    Registry, Resources, Result, Table, Values, WiredInput,
    arrow::array::{Array, Int64Array, RecordBatch, StringArray, StructArray},
    arrow::schema::{DataType, FieldRef, SchemaRef},
    driver::DriverOptions,
    serde_json::{self, Value, json},
    tables::Count,
    testing::{Harness, Runner, Setup},
};
use sideline_recorder::{Recorder, RecorderConfig, remove_recorded};
use sideline_sport::{
    ClassNames,
    body::JOINT_NAMES,
    tables::{Detection, JOINTS, Motion, Move, Pose},
};

type Inputs<'a> = &'a [(&'static str, Alignment)];
const POSES: Inputs = &[("poses", Alignment::Source(sideline_api::SourceId(0)))];

fn recorder(folder: &Path, values: impl Into<Values>, mode: Mode, inputs: Inputs) -> Result<Harness<Recorder>> {
    let setup = Setup { run_dir: folder.into(), inputs: Some(inputs.to_vec()), mode, ..Setup::default() };
    Harness::with(values, setup)
}

fn pose(track: u32, at: f32) -> Pose {
    let mut pose = Pose {
        track,
        x1: at,
        y1: 2.0,
        x2: 3.0,
        y2: 4.0,
        score: 0.5,
        model: "lite \"x\"".into(),
        aspect: 16.0 / 9.0,
        joints: [[at; 4]; JOINTS],
        world: [[at * 0.1; 3]; JOINTS],
    };
    pose.joints[32] = [0.1, f32::NAN, -2.5, 1.0];
    pose
}

/// Pushes two people in every frame, except none in every fifth; frame 3 is skipped. Returns the rows with their
/// frames.
fn record(poses: &mut Harness<Recorder>, frames: std::ops::Range<u64>) -> Vec<(u64, Pose)> {
    let mut sent = vec![];
    for frame in frames {
        if frame == 3 {
            poses.skip("poses", Reason::Stride).unwrap();
            continue;
        }
        let rows = if frame % 5 == 0 { vec![] } else { vec![pose(1, frame as f32), pose(2, -(frame as f32))] };
        poses.push("poses", &rows).unwrap();
        sent.extend(rows.into_iter().map(|row| (frame, row)));
    }
    sent
}

/// Returns all rows of a Parquet file or of a folder of Parquet files, and the number of rows in each row group.
fn read(path: &Path) -> (Vec<RecordBatch>, Vec<usize>) {
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        files = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
    }
    let (mut batches, mut groups) = (vec![], vec![]);
    for file in files {
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(file).unwrap()).unwrap();
        groups.extend(reader.metadata().row_groups().iter().map(|group| group.num_rows() as usize));
        batches.extend(reader.build().unwrap().map(|batch| batch.unwrap()));
    }
    (batches, groups)
}

fn rows<T: Table>(path: &Path) -> Vec<(u64, T)> {
    let mut all = vec![];
    for batch in read(path).0 {
        let frames = batch.column(2).as_any().downcast_ref::<Int64Array>().unwrap().values().to_vec();
        all.extend(frames.into_iter().map(|frame| frame as u64).zip(T::decode(&StructArray::from(batch)).unwrap()));
    }
    all
}

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let name = |path: PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (name(path.clone()), fs::read(path).unwrap()))
        .collect()
}

/// Compares the debug text, since NaN is not equal to itself.
fn assert_same<T: std::fmt::Debug>(a: &[T], b: &[T]) {
    assert_eq!(format!("{a:?}"), format!("{b:?}"));
}

#[test]
fn parquet_files_hold_all_rows_with_their_frames() {
    let folder = tempfile::tempdir().unwrap();
    let mut poses = recorder(folder.path(), [("row_group", 4)], Mode::Complete, POSES).unwrap();
    let sent = record(&mut poses, 0..11);
    poses.end().unwrap();
    poses.close().unwrap();
    let path = folder.path().join("poses.parquet");
    assert_same(&rows::<Pose>(&path), &sent);
    // Two rows per frame: two frames with rows in 0 to 3, three in 4 to 7, two in 8 to 10.
    assert_eq!(read(&path).1, [4, 6, 4]);
    let (batches, _) = read(&path);
    let stream = batches[0].column_by_name("stream").unwrap().as_any().downcast_ref::<StringArray>().unwrap();
    let pts = batches[0].column_by_name("pts").unwrap().as_any().downcast_ref::<Int64Array>().unwrap();
    assert_eq!((stream.value(0), pts.value(0)), ("test", 33_333_333));
    assert_eq!(rows::<Pose>(&path)[0].0, 1);
}

/// Records a frame with these rows of an input `poses` whose type is known; returns the schema of the file.
fn record_typed<T: Table>(folder: &Path, rows: &[T]) -> SchemaRef {
    let options = DriverOptions { on_error: OnError::Stop, stride: 1 };
    let factory = Registry::new().operator::<Recorder>().get("recorder").unwrap().factory();
    let mut recorder = Runner::new(factory, Values::new(), resources(folder, PortType::table::<T>()), options).unwrap();
    recorder.push("poses", rows).unwrap();
    recorder.close().unwrap();
    read(&folder.join("poses.parquet")).0[0].schema()
}

#[test]
fn frame_numbers_are_signed_and_columns_have_units_and_names() {
    let folder = tempfile::tempdir().unwrap();
    let told = Move { start: 3, peak: 5, end: 9, ..Move::default() };
    let schema = record_typed(folder.path(), std::slice::from_ref(&told));
    let metadata = |name: &str, key: &str| schema.field_with_name(name).unwrap().metadata().get(key).cloned();
    for name in ["frame", "pts", "start", "peak", "end"] {
        assert_eq!(*schema.field_with_name(name).unwrap().data_type(), DataType::Int64, "{name}");
    }
    assert_eq!(metadata("peak", "unit").as_deref(), Some("frame"));
    assert_eq!(metadata("pts", "unit").as_deref(), Some("ns"));
    assert_eq!(metadata("speed", "unit").as_deref(), Some("torso lengths/s"));
    assert_eq!(metadata("limb", "unit"), None);
    assert_eq!(rows::<Move>(&folder.path().join("poses.parquet")), [(0, told)], "signed numbers are decoded");
    let line = &lines(&folder.path().join("poses.jsonl"))[0];
    assert_eq!((&line["peak"], &line["frame"]), (&json!(5), &json!(0)));

    let folder = tempfile::tempdir().unwrap();
    let schema = record_typed(folder.path(), &[pose(1, 0.25)]);
    let names = schema.field_with_name("joints").unwrap().metadata()["names"].clone();
    assert_eq!(
        serde_json::from_str::<Value>(&names).unwrap(),
        json!([JOINT_NAMES.to_vec(), ["x", "y", "z", "visibility"]])
    );
}

#[test]
fn names_that_rows_bring_are_recorded_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let labels = ["player".to_owned(), "ball".to_owned()];
    let names = ClassNames::new::<Detection>(&labels).unwrap();
    for _ in 0..2 {
        let options = DriverOptions { on_error: OnError::Stop, stride: 1 };
        let factory = Registry::new().operator::<Recorder>().get("recorder").unwrap().factory();
        let resources = resources(folder.path(), PortType::table::<Detection>());
        let mut recorder = Runner::new(factory, Values::new(), resources, options).unwrap();
        // A frame without rows comes first; after a restart rows may come without names.
        recorder.push::<Detection>("poses", &[]).unwrap();
        let rows = ClassNames::encode(Some(&names), &[Detection::default()]);
        recorder.push_body("poses", Body::Data(Payload::Table(Arc::new(rows)))).unwrap();
        recorder.push("poses", &[Detection::default()]).unwrap();
        recorder.close().unwrap();
        let batches = read(&folder.path().join("poses.parquet")).0;
        let schema = batches[0].schema();
        let metadata = schema.field_with_name("class").unwrap().metadata();
        assert_eq!(metadata["names"], r#"[["player","ball"]]"#);
    }
    assert_eq!(rows::<Detection>(&folder.path().join("poses.parquet")).len(), 4);
}

#[test]
fn each_row_is_a_json_line_and_nan_is_null() {
    let folder = tempfile::tempdir().unwrap();
    let mut poses = recorder(folder.path(), Values::new(), Mode::Complete, POSES).unwrap();
    poses.push("poses", &[pose(1, 0.25)]).unwrap();
    poses.close().unwrap();
    let lines = lines(&folder.path().join("poses.jsonl"));
    assert_eq!(lines.len(), 1);
    let keys: Vec<&String> = lines[0].as_object().unwrap().keys().collect();
    assert_eq!(keys[..6], ["stream", "session", "frame", "pts", "track", "x1"]);
    assert_eq!((&lines[0]["model"], &lines[0]["x1"]), (&json!("lite \"x\""), &json!(0.25)));
    assert_eq!(lines[0]["joints"].as_array().unwrap().len(), 33);
    assert_eq!(lines[0]["joints"][32], json!([0.1, null, -2.5, 1.0]));
}

#[test]
fn skipped_frames_are_recorded_in_a_table_of_skips() {
    let folder = tempfile::tempdir().unwrap();
    let inputs = &[
        ("poses", Alignment::Source(sideline_api::SourceId(0))),
        ("counts", Alignment::Source(sideline_api::SourceId(0))),
    ];
    let mut both = recorder(folder.path(), Values::new(), Mode::Complete, inputs).unwrap();
    both.push("counts", &[Count { frames: 1, checksum: 2 }]).unwrap();
    both.skip("poses", Reason::Other("blurred".into())).unwrap();
    both.end().unwrap();
    both.close().unwrap();
    let skipped = lines(&folder.path().join("poses.skipped.jsonl"));
    let row = json!({"stream": "test", "session": 0, "frame": 0, "pts": 0, "input": "poses", "reason": "blurred"});
    assert_eq!(skipped, [row]);
    assert_eq!(read(&folder.path().join("poses.skipped.parquet")).1, [1]);
    assert_eq!(rows::<Count>(&folder.path().join("counts.parquet"))[0].1.checksum, 2);
    assert!(!folder.path().join("counts.skipped.parquet").exists(), "no frame was skipped on this input");
}

#[test]
fn equal_rows_give_equal_bytes() {
    let make = |run: &str| {
        let folder = tempfile::tempdir().unwrap();
        let mut poses = recorder(folder.path(), [("row_group", 3)], Mode::Complete, POSES).unwrap();
        record(&mut poses, 0..20);
        poses.end().unwrap();
        poses.close().unwrap();
        let mut files = files(folder.path());
        assert!(files.remove(".poses.run").is_some(), "{run}");
        files
    };
    let first = make("first");
    assert_eq!(
        first.keys().collect::<Vec<_>>(),
        ["poses.jsonl", "poses.parquet", "poses.skipped.jsonl", "poses.skipped.parquet", "recorded.json"]
    );
    assert_eq!(first, make("second"));
}

#[test]
fn after_a_kill_all_rows_up_to_the_last_row_group_are_readable() {
    let folder = tempfile::tempdir().unwrap();
    let mut poses = recorder(folder.path(), [("row_group", 4)], Mode::Live, POSES).unwrap();
    let sent = record(&mut poses, 0..10);
    // As after a kill, neither `close` nor a destructor runs.
    std::mem::forget(poses);
    let complete: Vec<_> = sent.iter().filter(|row| row.0 < 8).cloned().collect();
    assert_same(&rows::<Pose>(&folder.path().join("poses.parquet")), &complete);
    assert_eq!(lines(&folder.path().join("poses.jsonl")).len(), sent.len(), "in live mode: every frame");
    assert_eq!(resume_frame(folder.path()), 7, "the last frame of the second row group");
}

/// Returns the frame of the resume point.
fn resume_frame(folder: &Path) -> u64 {
    let text = fs::read_to_string(folder.join("recorded.json")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["streams"]["test"]["frame"].as_u64().unwrap()
}

#[test]
fn a_restarted_recorder_continues_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut sent = vec![];
    for frames in [0..3, 3..4, 4..9] {
        let mut poses = recorder(folder.path(), [("row_group", 4)], Mode::Live, POSES).unwrap();
        for frame in 0..frames.end {
            if frames.contains(&frame) {
                poses.push("poses", &[pose(1, frame as f32)]).unwrap();
                sent.push((frame, pose(1, frame as f32)));
            } else {
                poses.push::<Pose>("poses", &[]).unwrap();
            }
        }
        poses.close().unwrap();
    }
    assert_same(&rows::<Pose>(&folder.path().join("poses.parquet")), &sent);
    assert_eq!(lines(&folder.path().join("poses.jsonl")).len(), sent.len());
    assert_eq!(resume_frame(folder.path()), 2, "the frame at which it failed may be missing");
}

#[test]
fn a_restarted_recorder_truncates_an_incomplete_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("poses.jsonl");
    let open = || recorder(folder.path(), [("parquet", false)], Mode::Live, POSES).unwrap();
    let mut poses = open();
    poses.push("poses", &[pose(1, 1.0)]).unwrap();
    poses.close().unwrap();
    drop(poses);
    let mut text = fs::read(&path).unwrap();
    text.extend_from_slice(b"{\"stream\":\"te");
    fs::write(&path, text).unwrap();
    let mut poses = open();
    poses.push("poses", &[pose(1, 2.0)]).unwrap();
    poses.close().unwrap();
    assert_eq!(lines(&path).iter().map(|line| line["x1"].clone()).collect::<Vec<_>>(), [json!(1.0), json!(2.0)]);
    assert!(!folder.path().join("poses.parquet").exists());
}

#[test]
fn another_run_replaces_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut poses = recorder(folder.path(), Values::new(), Mode::Complete, POSES).unwrap();
    record(&mut poses, 0..5);
    poses.close().unwrap();
    drop(poses);
    fs::write(folder.path().join(".poses.run"), "an earlier run").unwrap();
    let mut poses = recorder(folder.path(), Values::new(), Mode::Complete, POSES).unwrap();
    poses.push("poses", &[pose(7, 0.0)]).unwrap();
    poses.close().unwrap();
    assert_eq!(rows::<Pose>(&folder.path().join("poses.parquet")).len(), 1);
    assert_eq!(lines(&folder.path().join("poses.jsonl")).len(), 1);
    assert!(!folder.path().join("poses.skipped.jsonl").exists());
}

#[test]
fn a_run_without_frames_leaves_the_recordings_of_an_earlier_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut poses = recorder(folder.path(), Values::new(), Mode::Complete, POSES).unwrap();
    record(&mut poses, 0..5);
    poses.end().unwrap();
    poses.close().unwrap();
    drop(poses);
    fs::write(folder.path().join(".poses.run"), "an earlier run").unwrap();
    let before = files(folder.path());
    recorder(folder.path(), Values::new(), Mode::Complete, POSES).unwrap().close().unwrap();
    assert_eq!(files(folder.path()), before);
}

#[test]
fn remove_recorded_removes_exactly_what_the_run_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let mut poses = recorder(folder.path(), Values::new(), Mode::Complete, POSES).unwrap();
    record(&mut poses, 0..5);
    poses.end().unwrap();
    poses.close().unwrap();
    drop(poses);
    let run = fs::read_to_string(folder.path().join(".poses.run")).unwrap();
    for name in ["notes.jsonl", "recorded.json.bak", ".overlay.mp4.run"] {
        fs::write(folder.path().join(name), "not from a recorder").unwrap();
    }
    let mut kept = files(folder.path());
    remove_recorded(folder.path(), "another run").unwrap();
    assert_eq!(files(folder.path()), kept, "nothing here is from that run");
    remove_recorded(folder.path(), &run).unwrap();
    kept.retain(|name, _| !name.starts_with("poses") && !["recorded.json", ".poses.run"].contains(&name.as_str()));
    assert_eq!((files(folder.path()), kept.len()), (kept, 3));
}

#[test]
fn the_run_file_of_an_input_that_the_next_run_records_stays_locked() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".poses.run"), "earlier").unwrap();
    fs::write(folder.path().join("poses.jsonl"), "earlier").unwrap();
    let next = Recorder::new(config(Values::new()), &resources(folder.path(), PortType::table::<Pose>())).unwrap();
    remove_recorded(folder.path(), "earlier").unwrap();
    assert_eq!(files(folder.path()).keys().collect::<Vec<_>>(), [".poses.run"]);
    drop(next);
}

#[test]
fn files_that_no_run_has_made_are_never_replaced() {
    let names = [
        "poses.jsonl",
        "poses.parquet/x",
        "poses.skipped.jsonl",
        "poses.skipped.parquet",
        "poses.wav",
        "recorded.json",
    ];
    for name in names {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "the user's").unwrap();
        // A run that ended before its first frame leaves an empty run file.
        fs::write(folder.path().join(".poses.run"), "").unwrap();
        let resources = resources(folder.path(), PortType::table::<Pose>());
        let refused = Recorder::new(config(Values::new()), &resources).err().unwrap();
        let file = name.split('/').next().unwrap();
        assert!(refused.failure == Failure::Output && refused.message.contains(file), "{refused}");
        assert!(refused.message.contains("move it away, or name another folder"), "{refused}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "the user's", "{name}");
    }
}

#[test]
fn side_messages_are_recorded_with_the_frame_that_they_name() {
    let folder = tempfile::tempdir().unwrap();
    let inputs = &[("poses", Alignment::Source(sideline_api::SourceId(0))), ("counts", Alignment::Side { queue: 8 })];
    let mut both = recorder(folder.path(), Values::new(), Mode::Live, inputs).unwrap();
    both.push_at("counts", 5, Body::Data(sideline_api::Payload::Table(Arc::new(Count::encode(&[count(1)]))))).unwrap();
    both.push_at("counts", 9, Body::Data(sideline_api::Payload::Table(Arc::new(Count::encode(&[count(2)]))))).unwrap();
    both.push("poses", &[pose(1, 0.0)]).unwrap();
    both.close().unwrap();
    assert_eq!(rows::<Count>(&folder.path().join("counts.parquet")), [(5, count(1)), (9, count(2))]);
}

fn count(frames: u64) -> Count {
    Count { frames, checksum: 0 }
}

#[test]
fn interleaved_sources_are_recorded_separately() {
    let folder = tempfile::tempdir().unwrap();
    let inputs = &[
        ("left", Alignment::Source(sideline_api::SourceId(0))),
        ("right", Alignment::Source(sideline_api::SourceId(1))),
    ];
    let mut both = recorder(folder.path(), Values::new(), Mode::Complete, inputs).unwrap();
    for input in ["left", "right", "right", "left"] {
        both.push(input, &[count(7)]).unwrap();
    }
    both.close().unwrap();
    for input in ["left.parquet", "right.parquet"] {
        assert_eq!(rows::<Count>(&folder.path().join(input)), [(0, count(7)), (1, count(7))]);
    }
}

fn resources(folder: &Path, ty: PortType) -> Resources {
    let input = WiredInput {
        name: "poses".into(),
        from: "camera/frames".into(),
        ty,
        required: false,
        hold: false,
        alignment: Alignment::Source(sideline_api::SourceId(0)),
        source: Some(sideline_api::SourceId(0)),
    };
    Resources { run_dir: folder.into(), run: "run".into(), inputs: vec![input], ..Resources::new("recorder") }
}

fn config(values: impl Into<Values>) -> RecorderConfig {
    RecorderConfig::from_values(&values.into()).unwrap()
}

#[test]
fn a_table_without_rows_is_recorded_as_an_empty_file() {
    let folder = tempfile::tempdir().unwrap();
    let resources = resources(folder.path(), PortType::table::<Motion>());
    let options = DriverOptions { on_error: OnError::Stop, stride: 1 };
    let factory = Registry::new().operator::<Recorder>().get("recorder").unwrap().factory();
    let mut motion = Runner::new(factory, Values::new(), resources, options).unwrap();
    motion.end().unwrap();
    motion.close().unwrap();
    assert!(rows::<Motion>(&folder.path().join("poses.parquet")).is_empty());
    let file = File::open(folder.path().join("poses.parquet")).unwrap();
    let schema = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().schema().clone();
    let columns = |fields: &[FieldRef]| -> Vec<(String, DataType)> {
        fields.iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
    };
    assert_eq!(columns(&schema.fields()[4..]), columns(Motion::fields()));
}

sideline_api::column_enum! {
    /// Part of the body.
    pub enum Part {
        /// A foot.
        Foot = "foot",
        /// The head.
        Head = "head",
    }
}

sideline_api::column_struct! {
    /// Point of the image.
    pub struct Point {
        /// Column, px.
        pub x: f64,
        /// Row, px; null if unknown.
        pub y: Option<i32>,
    }
}

sideline_api::table! {
    /// A row with nulls, enums and structs.
    pub struct Shot in "shots" {
        /// Part of the body.
        pub with: Part,
        /// Start.
        pub from: Point,
        /// Target; null without one.
        pub to: Option<Point>,
        /// Path.
        pub path: Vec<Point>,
        /// Box; null without one.
        pub bounds: Option<[f32; 2]>,
        /// Confidence; null while it is open.
        pub score: Option<f32>,
    }
}

#[test]
fn nulls_enums_and_structs_are_recorded_in_both_formats() {
    let point = Point { x: 0.5, y: Some(-1) };
    let rows_sent = [
        Shot::default(),
        Shot {
            with: Part::Head,
            from: point.clone(),
            to: Some(Point { x: 1.5, y: None }),
            path: vec![point, Point::default()],
            bounds: Some([1.0, 2.0]),
            score: Some(0.25),
        },
        Shot { with: Part::Head, ..Shot::default() },
    ];
    let folder = tempfile::tempdir().unwrap();
    let shots: Inputs = &[("shots", Alignment::Source(sideline_api::SourceId(0)))];
    let mut harness = recorder(folder.path(), [("row_group", 2)], Mode::Complete, shots).unwrap();
    // Nulls in the first message only, in the second only, and in none: the file has one schema.
    for rows in [&rows_sent[..2], &rows_sent[2..], &rows_sent[1..2]] {
        harness.push("shots", rows).unwrap();
    }
    harness.end().unwrap();
    harness.close().unwrap();

    let recorded: Vec<Shot> = rows(&folder.path().join("shots.parquet")).into_iter().map(|(_, row)| row).collect();
    assert_eq!(recorded, [&rows_sent[..], &rows_sent[1..2]].concat());
    let (batches, _) = read(&folder.path().join("shots.parquet"));
    assert_eq!(batches[0].schema().fields()[4..], **Shot::fields());
    let lines = lines(&folder.path().join("shots.jsonl"));
    assert_eq!(lines[0]["from"], json!({"x": 0.0, "y": null}));
    assert_eq!((&lines[0]["with"], &lines[0]["to"], &lines[0]["bounds"]), (&json!("foot"), &Value::Null, &Value::Null));
    assert_eq!(lines[1]["to"], json!({"x": 1.5, "y": null}));
    assert_eq!(lines[1]["path"], json!([{"x": 0.5, "y": -1}, {"x": 0.0, "y": null}]));
    assert_eq!((&lines[1]["with"], &lines[1]["score"]), (&json!("head"), &json!(0.25)));
}

sideline_api::table! {
    /// A row with a column that the recorder has too.
    pub struct Clash in "clash" {
        /// Name of a column of the recorder.
        pub frame: u64,
    }
}

#[test]
fn inputs_that_cannot_be_recorded_are_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |values: Values, resources: &Resources| Recorder::new(config(values), resources).err().unwrap();
    let valid = resources(folder.path(), PortType::table::<Pose>());

    let error = refused(Values::new(), &resources(folder.path(), PortType::Frame));
    assert!(error.failure == Failure::Config && error.message.contains("wire frames to `encode`"), "{error}");
    let error = refused(Values::new(), &resources(folder.path(), PortType::table::<Clash>()));
    assert!(error.message.contains("has a column `frame`"), "{error}");
    let error = refused([("parquet", false), ("jsonl", false)].into(), &valid);
    assert!(error.message.contains("both false"), "{error}");
    let mut named = valid.clone();
    named.inputs[0].name = "timing".into();
    assert!(refused(Values::new(), &named).message.contains("choose another name"));
    named.inputs[0].name = "../poses".into();
    assert!(refused(Values::new(), &named).message.contains("name of an input becomes a file name"));

    let first = Recorder::new(config(Values::new()), &valid).unwrap();
    let error = refused(Values::new(), &valid);
    assert!(error.message.contains("another recorder writes `poses`"), "{error}");
    let elsewhere = Recorder::new(config([("folder", "second")]), &valid);
    assert!(elsewhere.is_ok(), "another folder is not locked");
    drop(first);
}

#[test]
fn a_frame_on_an_input_of_any_type_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut poses = recorder(folder.path(), Values::new(), Mode::Complete, POSES).unwrap();
    let frame = Frame::from_packed(2, 2, Encoding::Rgb8, Color::default_for_height(2), vec![0; 12]).unwrap();
    let error = poses.push_frame("poses", frame).unwrap_err();
    assert!(error.message.contains("wire frames to `encode`"), "{error}");
}

#[test]
fn a_removed_run_folder_is_an_output_failure() {
    let folder = tempfile::tempdir().unwrap();
    let mut poses = recorder(folder.path(), [("row_group", 1)], Mode::Complete, POSES).unwrap();
    poses.push("poses", &[pose(1, 0.0)]).unwrap();
    fs::remove_dir_all(folder.path()).unwrap();
    let error = poses.push("poses", &[pose(1, 1.0)]).unwrap_err();
    assert!(error.message.contains("poses.parquet") && error.message.contains("removed while it ran"), "{error}");
    assert_eq!(poses.close().unwrap_err().failure, Failure::Output);
}
