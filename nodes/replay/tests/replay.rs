//! Replay of recordings that lack frames of the input: shorter and interrupted ones, and those of a live run.

use std::{path::Path, sync::Arc};

use sideline_api::{
    Alignment, Body, Color, Encoding, Frame, Header, Message, Mode, OnError, Payload, PortType, Reason, Resources,
    Result, SourceId, Table, TableType, Values, WiredInput,
    config::Origin,
    driver::DriverOptions,
    serde_json::{Value, json},
    tables::Count,
    testing::{Harness, Runner, Setup},
};
use sideline_recorder::Recorder;

/// Media time between frames, ns.
const INTERVAL_NS: i64 = 40_000_000;

fn header(frame: u64, time: u64) -> Header {
    Header::new("test", frame, time as i64 * INTERVAL_NS)
}

fn row(frames: u64) -> Body {
    Body::Data(Payload::Table(Arc::new(Count::encode(&[Count { frames, checksum: 0 }]))))
}

/// Records one row, the time of the frame in intervals, for each frame of a stream. `times` has the time of each frame.
fn recorder(folder: &Path, times: &[u64]) -> Harness<Recorder> {
    let inputs = vec![("counts", Alignment::Source(SourceId(0)))];
    let setup = Setup { run_dir: folder.into(), inputs: Some(inputs), ..Setup::default() };
    let mut recorder = Harness::with([("row_group", 4)], setup).unwrap();
    for (frame, time) in times.iter().enumerate() {
        recorder.send("counts", header(frame as u64, *time), row(*time)).unwrap();
    }
    recorder
}

/// Sends a closing row after the last of some frames, and ends the stream.
fn end(mut recorder: Harness<Recorder>, frames: u64, last_time: u64) {
    let header = Header { is_closing: true, ..header(frames, last_time) };
    recorder.send("counts", header.clone(), row(1000)).unwrap();
    recorder.send("counts", header, Body::End { frames }).unwrap();
    recorder.close().unwrap();
}

fn replay(folder: &Path, types: &[TableType], more: &[(&str, Value)]) -> Result<Runner> {
    let mut values = Values::new();
    values.set("recording", json!(folder), Origin::CommandLine);
    more.iter().for_each(|(key, value)| values.set(*key, value.clone(), Origin::CommandLine));
    let factory = Arc::new(sideline_replay::replay(types.to_vec()));
    let alignment = Alignment::Source(SourceId(0));
    let port =
        sideline_api::InputPort { name: "frames", ty: PortType::Frame, required: true, hold: false, feedback: false };
    let wired = WiredInput { source: Some(SourceId(0)), ..WiredInput::new("frames", &port, "test/frames", alignment) };
    let resources = Resources {
        inputs: vec![wired],
        outputs: vec!["counts".into()],
        mode: Mode::Complete,
        ..Resources::new("replay")
    };
    Runner::new(factory, values, resources, DriverOptions { on_error: OnError::Stop, stride: 1 })
}

/// Replays beside frames at these times and to the end of the stream. Returns for each frame the row, or the reason for its skip,
/// then the closing rows and the counts of the operator.
fn replayed(folder: &Path, times: std::ops::Range<u64>) -> (Vec<std::result::Result<u64, Reason>>, Vec<u64>, [u64; 2]) {
    let mut runner = replay(folder, &[TableType::for_row::<Count>()], &[]).unwrap();
    let picture = Frame::from_packed(16, 16, Encoding::Rgb8, Color::default_for_height(16), vec![0; 768]).unwrap();
    let mut frames = vec![];
    for (frame, time) in times.clone().enumerate() {
        let body = Body::Data(Payload::Frame(Arc::new(picture.clone())));
        runner.send("frames", header(frame as u64, time), body).unwrap();
        frames.push(match runner.next_message("counts").unwrap().body {
            Body::Data(Payload::Table(rows)) => Ok(Count::decode(&rows).unwrap()[0].frames),
            Body::Skipped(reason) => Err(reason),
            other => panic!("{other:?}"),
        });
    }
    let count = times.end - times.start;
    let end = Header { is_closing: true, ..header(count, times.end - 1) };
    runner.send("frames", end, Body::End { frames: count }).unwrap();
    let mut closing = vec![];
    while let Some(Message { body, .. }) = runner.next_message("counts") {
        if let Body::Data(Payload::Table(rows)) = body {
            closing.extend(Count::decode(&rows).unwrap().into_iter().map(|row| row.frames));
        }
    }
    runner.close().unwrap();
    let counts = ["not_recorded", "closing_rows_left_out"].map(|name| runner.driver().counts()[name]);
    (frames, closing, counts)
}

fn not_recorded() -> std::result::Result<u64, Reason> {
    Err(Reason::Other("not_recorded".into()))
}

#[test]
fn frames_after_the_end_of_a_shorter_recording_are_skipped_and_closing_rows_follow_them() {
    let folder = tempfile::tempdir().unwrap();
    end(recorder(folder.path(), &[0, 1, 2]), 3, 2);
    let same = replayed(folder.path(), 0..3);
    assert_eq!(same, (vec![Ok(0), Ok(1), Ok(2)], vec![1000], [0, 0]));
    let longer = replayed(folder.path(), 0..5);
    assert_eq!(longer, (vec![Ok(0), Ok(1), Ok(2), not_recorded(), not_recorded()], vec![1000], [2, 0]));
}

#[test]
fn closing_rows_of_a_longer_recording_are_counted_and_not_sent() {
    let folder = tempfile::tempdir().unwrap();
    end(recorder(folder.path(), &[0, 1, 2]), 3, 2);
    assert_eq!(replayed(folder.path(), 0..2), (vec![Ok(0), Ok(1)], vec![], [0, 1]));
}

#[test]
fn frames_that_an_interrupted_run_lost_are_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let interrupted = recorder(folder.path(), &[0, 1, 2, 3, 4, 5]);
    // Rows of frames 4 and 5 are in memory when the process is killed.
    std::mem::forget(interrupted);
    let (frames, closing, counts) = replayed(folder.path(), 0..6);
    assert_eq!(frames, [Ok(0), Ok(1), Ok(2), Ok(3), not_recorded(), not_recorded()]);
    assert_eq!((closing, counts), (vec![], [2, 0]));
}

#[test]
fn rows_of_a_run_that_dropped_frames_are_found_by_media_time() {
    let folder = tempfile::tempdir().unwrap();
    end(recorder(folder.path(), &[0, 2, 3]), 3, 3);
    let result = json!({"sources": [{"node": "capture", "admitted": 3, "forgotten": 2}]});
    std::fs::create_dir(folder.path().join("result")).unwrap();
    std::fs::write(folder.path().join("result/run.json"), result.to_string()).unwrap();
    let (frames, closing, counts) = replayed(folder.path(), 0..5);
    assert_eq!(frames, [Ok(0), not_recorded(), Ok(2), Ok(3), not_recorded()]);
    assert_eq!((closing, counts), (vec![1000], [2, 0]));
}

#[test]
fn frames_before_those_of_a_continued_run_are_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let mut recorder = recorder(folder.path(), &[]);
    for frame in 2..4 {
        recorder.send("counts", header(frame, frame), row(frame)).unwrap();
    }
    recorder.close().unwrap();
    let record = json!({"continues": {"after": {"test": {"frame": 1, "pts": INTERVAL_NS}}}});
    std::fs::write(folder.path().join("run.json"), record.to_string()).unwrap();
    assert_eq!(replayed(folder.path(), 0..4).0, [not_recorded(), not_recorded(), Ok(2), Ok(3)]);
}

#[test]
fn a_table_has_the_expected_type_among_those_with_equal_columns() {
    sideline_api::table! {
        /// Row with the columns of another table.
        struct Twin in "twins" {
            /// Number of frames of this stream so far.
            #[column(unit = "frames")]
            pub frames: u64,
            /// Sum.
            pub checksum: u64,
        }
    }
    let folder = tempfile::tempdir().unwrap();
    end(recorder(folder.path(), &[0, 1]), 2, 1);
    let types = [TableType::for_row::<Count>(), TableType::for_row::<Twin>()];
    let factory = sideline_replay::replay(types.to_vec());
    let output = |more: &[(&str, Value)]| {
        let mut values = Values::new();
        values.set("recording", json!(folder.path()), Origin::CommandLine);
        more.iter().for_each(|(key, value)| values.set(*key, value.clone(), Origin::CommandLine));
        sideline_api::OperatorFactory::spec(&factory, &values).map(|spec| spec.outputs[0].ty.name())
    };
    assert_eq!(output(&[]).unwrap(), "counts");
    let named = |ty: &str| [("tables", json!(["counts"])), ("types", json!([ty]))];
    assert_eq!(output(&named("twins")).unwrap(), "twins");
    let error = output(&named("audio")).unwrap_err();
    assert!(error.message.contains("there is no table `audio`"), "{error}");
}
