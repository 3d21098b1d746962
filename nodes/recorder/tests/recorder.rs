//! What the recorder leaves in a run's folder.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sideline_api::{
    Alignment, Body, Color, Config, Device, Driver, Encoding, Failure, Frame, Header, Message, Mode, OnError, Operator,
    PortType, Reason, Registry, Resources, Result, Table, Values, WiredInput,
    arrow::array::{Array, Int64Array, RecordBatch, StringArray, StructArray, UInt64Array},
    clock::VirtualClock,
    driver::{DriverOptions, Outlet, Ran},
    models::Models,
    serde_json::{self, Value, json},
    tables::{Count, JOINTS, Motion, Pose},
    testing::{Harness, Setup},
};
use sideline_recorder::{Recorder, RecorderConfig, remove_recorded};

type Inputs<'a> = &'a [(&'static str, Alignment)];
const POSES: Inputs = &[("poses", Alignment::Source(sideline_api::SourceId(0)))];

fn recorder(folder: &Path, values: impl Into<Values>, mode: Mode, inputs: Inputs) -> Result<Harness<Recorder>> {
    let setup = Setup { run_dir: folder.into(), inputs: Some(inputs.to_vec()), mode, ..Setup::default() };
    Harness::with(values, setup)
}

fn pose(track: u32, at: f32) -> Pose {
    let mut pose = Pose {
        track,
        fighter: if track == 1 { "fighter_1".into() } else { String::new() },
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

/// Two people in every frame, none in every fifth; frame 3 is skipped.
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

/// All rows of a Parquet file, or of a folder of them, and the sizes of its row groups.
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
        let frames = batch.column(2).as_any().downcast_ref::<UInt64Array>().unwrap().values().to_vec();
        all.extend(frames.into_iter().zip(T::decode(&StructArray::from(batch)).unwrap()));
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

/// NaN is not equal to itself, its text is.
fn same<T: std::fmt::Debug>(a: &[T], b: &[T]) {
    assert_eq!(format!("{a:?}"), format!("{b:?}"));
}

#[test]
fn rows_come_back_from_parquet_with_their_frames() {
    let folder = tempfile::tempdir().unwrap();
    let mut poses = recorder(folder.path(), [("row_group", 4)], Mode::Complete, POSES).unwrap();
    let sent = record(&mut poses, 0..11);
    poses.end().unwrap();
    poses.close().unwrap();
    let path = folder.path().join("poses.parquet");
    same(&rows::<Pose>(&path), &sent);
    // Frames 0 to 3: two with rows; 4 to 7: three; 8 to 10: two.
    assert_eq!(read(&path).1, [4, 6, 4]);
    let (batches, _) = read(&path);
    let stream = batches[0].column_by_name("stream").unwrap().as_any().downcast_ref::<StringArray>().unwrap();
    let pts = batches[0].column_by_name("pts").unwrap().as_any().downcast_ref::<Int64Array>().unwrap();
    assert_eq!((stream.value(0), pts.value(0)), ("test", 33_333_333));
    assert_eq!(rows::<Pose>(&path)[0].0, 1);
}

#[test]
fn a_row_is_a_line_and_nan_is_null() {
    let folder = tempfile::tempdir().unwrap();
    let mut poses = recorder(folder.path(), Values::new(), Mode::Complete, POSES).unwrap();
    poses.push("poses", &[pose(1, 0.25)]).unwrap();
    poses.close().unwrap();
    let lines = lines(&folder.path().join("poses.jsonl"));
    assert_eq!(lines.len(), 1);
    let keys: Vec<&String> = lines[0].as_object().unwrap().keys().collect();
    assert_eq!(keys[..6], ["stream", "session", "frame", "pts", "track", "fighter"]);
    assert_eq!((&lines[0]["model"], &lines[0]["x1"]), (&json!("lite \"x\""), &json!(0.25)));
    assert_eq!(lines[0]["joints"].as_array().unwrap().len(), 33);
    assert_eq!(lines[0]["joints"][32], json!([0.1, null, -2.5, 1.0]));
}

#[test]
fn skipped_frames_are_rows_of_their_own_table() {
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
    assert!(!folder.path().join("counts.skipped.parquet").exists(), "nothing was skipped there");
}

#[test]
fn the_same_rows_make_the_same_bytes() {
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
fn after_a_kill_everything_to_the_last_row_group_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut poses = recorder(folder.path(), [("row_group", 4)], Mode::Live, POSES).unwrap();
    let sent = record(&mut poses, 0..10);
    // What a kill leaves: neither `close` nor a destructor runs.
    std::mem::forget(poses);
    let whole: Vec<_> = sent.iter().filter(|row| row.0 < 8).cloned().collect();
    same(&rows::<Pose>(&folder.path().join("poses.parquet")), &whole);
    assert_eq!(lines(&folder.path().join("poses.jsonl")).len(), sent.len(), "in live mode: every frame");
    assert_eq!(last_whole(folder.path()), 7, "the last of the second row group");
}

/// The last frame that is whole in all tables.
fn last_whole(folder: &Path) -> u64 {
    let text = fs::read_to_string(folder.join("recorded.json")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["streams"]["test"]["frame"].as_u64().unwrap()
}

#[test]
fn made_anew_in_a_run_it_goes_on() {
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
    same(&rows::<Pose>(&folder.path().join("poses.parquet")), &sent);
    assert_eq!(lines(&folder.path().join("poses.jsonl")).len(), sent.len());
    assert_eq!(last_whole(folder.path()), 2, "the frame at which it failed may be missing");
}

#[test]
fn a_half_written_line_is_cut_off_when_it_goes_on() {
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
fn another_run_begins_the_files_anew() {
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
fn a_run_that_does_not_come_to_a_frame_leaves_what_an_earlier_one_recorded() {
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
fn what_was_recorded_is_removed_as_a_whole_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut poses = recorder(folder.path(), Values::new(), Mode::Complete, POSES).unwrap();
    record(&mut poses, 0..5);
    poses.end().unwrap();
    poses.close().unwrap();
    drop(poses);
    for name in ["notes.jsonl", ".overlay.mp4.run"] {
        fs::write(folder.path().join(name), "not a recorder's").unwrap();
    }
    remove_recorded(folder.path()).unwrap();
    assert_eq!(files(folder.path()).keys().collect::<Vec<_>>(), [".overlay.mp4.run", ".poses.run", "notes.jsonl"]);
}

#[test]
fn side_messages_are_recorded_in_the_frame_they_name() {
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
fn sources_that_take_turns_do_not_mix() {
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
    Resources {
        node: "recorder".into(),
        mode: Mode::Complete,
        device: Device::Cpu,
        run_dir: folder.into(),
        run: "run".into(),
        inputs: vec![input],
        outputs: vec![],
        search: vec![],
        models: Arc::new(Models::default()),
        clock: Arc::new(VirtualClock::default()),
    }
}

fn config(values: impl Into<Values>) -> RecorderConfig {
    RecorderConfig::from_values(&values.into()).unwrap()
}

struct Nowhere;

impl Outlet for Nowhere {
    fn send(&mut self, _: usize, _: Message) {}
    fn ran(&mut self, _: Ran<'_>) {}
}

#[test]
fn a_table_without_any_rows_is_still_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let resources = resources(folder.path(), PortType::table::<Motion>());
    let options = DriverOptions { on_error: OnError::Stop, stride: 1 };
    let factory = Registry::new().operator::<Recorder>().get("recorder").unwrap().factory();
    let mut motion = Driver::new(factory, Values::new(), resources, options).unwrap();
    let header = Header { closing: true, ..Header::new("test", 0, 0) };
    motion.accept(0, Message { header, n: 0, body: Body::End { frames: 0 } }, Instant::now(), &mut Nowhere).unwrap();
    motion.close().unwrap();
    assert!(rows::<Motion>(&folder.path().join("poses.parquet")).is_empty());
    let file = File::open(folder.path().join("poses.parquet")).unwrap();
    let schema = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().schema().clone();
    assert_eq!(schema.fields()[4..], **Motion::fields());
}

sideline_api::table! {
    /// A row with a column the recorder needs.
    pub struct Clash in "clash" {
        /// Taken.
        pub frame: u64,
    }
}

#[test]
fn what_cannot_be_recorded_is_refused_before_it_begins() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |values: Values, resources: &Resources| Recorder::new(config(values), resources).err().unwrap();
    let fine = resources(folder.path(), PortType::table::<Pose>());

    let error = refused(Values::new(), &resources(folder.path(), PortType::Frame));
    assert!(error.failure == Failure::Config && error.message.contains("wire frames to `encode`"), "{error}");
    let error = refused(Values::new(), &resources(folder.path(), PortType::table::<Clash>()));
    assert!(error.message.contains("has a column `frame`"), "{error}");
    let error = refused([("parquet", false), ("jsonl", false)].into(), &fine);
    assert!(error.message.contains("both false"), "{error}");
    let mut named = fine.clone();
    named.inputs[0].name = "timing".into();
    assert!(refused(Values::new(), &named).message.contains("choose another"));
    named.inputs[0].name = "../poses".into();
    assert!(refused(Values::new(), &named).message.contains("name becomes that of a file"));

    let first = Recorder::new(config(Values::new()), &fine).unwrap();
    let error = refused(Values::new(), &fine);
    assert!(error.message.contains("another recorder writes `poses`"), "{error}");
    let elsewhere = Recorder::new(config([("folder", "second")]), &fine);
    assert!(elsewhere.is_ok(), "another folder is free");
    drop(first);
}

#[test]
fn a_frame_on_an_input_of_any_type_is_refused_when_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    let mut poses = recorder(folder.path(), Values::new(), Mode::Complete, POSES).unwrap();
    let frame = Frame::from_packed(2, 2, Encoding::Rgb8, Color::assumed(2), vec![0; 12]).unwrap();
    let error = poses.push_frame("poses", frame).unwrap_err();
    assert!(error.message.contains("wire frames to `encode`"), "{error}");
}

#[test]
fn a_folder_that_vanished_ends_the_run_as_a_failed_output() {
    let folder = tempfile::tempdir().unwrap();
    let mut poses = recorder(folder.path(), [("row_group", 1)], Mode::Complete, POSES).unwrap();
    poses.push("poses", &[pose(1, 0.0)]).unwrap();
    fs::remove_dir_all(folder.path()).unwrap();
    let error = poses.push("poses", &[pose(1, 1.0)]).unwrap_err();
    assert!(error.message.contains("poses.parquet") && error.message.contains("removed while it ran"), "{error}");
    assert_eq!(poses.close().unwrap_err().failure, Failure::Output);
}
