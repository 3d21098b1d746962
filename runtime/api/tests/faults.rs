//! Failures of operators, and messages at the start and end of a stream, tested through the driver.

use std::sync::Arc;

use sideline_api::{
    Alignment, Body, Config, Context, Error, Header, Inputs, Message, Mode, OnError, Operator, Outputs, Payload,
    PortType, Reason, Registry, Resources, Result, SourceId, Spec, Table, Values,
    driver::Outcome,
    tables::{Audio, Count},
    testing::{Harness, Setup},
};
use sideline_sport::tables::Track;

/// Records its calls, with configurable faults.
#[derive(Clone, Config)]
struct NoteConfig {
    /// First frame from which on every frame fails.
    #[config(default = None)]
    fails_from: Option<u64>,
    /// Frame that fails.
    #[config(default = None)]
    fails_at: Option<u64>,
    /// Makes the first `session_started` fail.
    #[config(default = false)]
    session_fails: bool,
    /// Frame from which on cloning the state panics.
    #[config(default = None)]
    clone_panics_from: Option<u64>,
    /// Makes `process` read an input that is not declared.
    #[config(default = false)]
    reads_undeclared: bool,
    /// Makes `stream_ended` fail.
    #[config(default = false)]
    end_fails: bool,
}

#[derive(Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
struct NoteState {
    calls: u64,
    samples: u64,
    sessions: u64,
    /// Rows that came with the end of the stream.
    end_rows: Vec<u64>,
    clone_panics: bool,
}

impl Clone for NoteState {
    fn clone(&self) -> Self {
        assert!(!self.clone_panics, "this state cannot be copied");
        Self {
            calls: self.calls,
            samples: self.samples,
            sessions: self.sessions,
            end_rows: self.end_rows.clone(),
            clone_panics: false,
        }
    }
}

struct Note(NoteConfig);

const MAIN: Alignment = Alignment::Source(SourceId(0));

impl Operator for Note {
    type Config = NoteConfig;
    type State = NoteState;
    fn spec() -> Spec {
        let count = PortType::table::<Count>();
        Spec::operator("note")
            .required("a", count)
            .optional("b", count)
            .optional("audio", PortType::table::<Audio>())
            .output("out", count)
    }
    fn new(config: NoteConfig, _: &Resources) -> Result<Self> {
        Ok(Note(config))
    }
    fn session_started(&mut self, _: &Context, state: &mut NoteState) -> Result<()> {
        if std::mem::take(&mut self.0.session_fails) {
            return Err(Error::other("no session yet"));
        }
        state.sessions += 1;
        Ok(())
    }
    fn process(&mut self, cx: &Context, input: &Inputs, state: &mut NoteState, out: &mut Outputs) -> Result<()> {
        let frame = cx.header.frame;
        if self.0.reads_undeclared {
            let _ = input.message("audoi");
        }
        if self.0.fails_at == Some(frame) || self.0.fails_from.is_some_and(|from| frame >= from) {
            return Err(Error::other("configured error"));
        }
        state.calls += 1;
        let audio: Vec<Audio> = input.rows("audio")?.unwrap_or_default();
        state.samples += audio.iter().map(|row| row.samples.len() as u64).sum::<u64>();
        state.clone_panics = self.0.clone_panics_from.is_some_and(|from| frame >= from);
        out.rows("out", &[Count { frames: state.calls, checksum: state.samples }])
    }
    fn stream_ended(&mut self, _: &Context, input: &Inputs, state: &mut NoteState, out: &mut Outputs) -> Result<()> {
        if self.0.end_fails {
            return Err(Error::other("no end"));
        }
        let rows: Vec<Count> = input.rows("b")?.unwrap_or_default();
        state.end_rows.extend(rows.iter().map(|row| row.frames));
        let frames = state.end_rows.iter().sum();
        out.rows("out", &[Count { frames, checksum: state.calls }])
    }
}

fn note(inputs: &[&'static str], values: impl Into<Values>, configure: impl FnOnce(&mut Setup)) -> Harness<Note> {
    let inputs = inputs.iter().map(|name| (*name, MAIN)).collect();
    let mut setup = Setup { inputs: Some(inputs), ..Setup::default() };
    configure(&mut setup);
    Harness::with(values, setup).unwrap()
}

fn skip_on_error(setup: &mut Setup) {
    setup.on_error = OnError::Skip;
}

fn rows(frames: u64) -> Body {
    Body::Data(Payload::Table(Arc::new(Count::encode(&[Count { frames, checksum: 0 }]))))
}

fn audio(samples: usize) -> [Audio; 1] {
    [Audio { start: 0, rate: 8000, channels: 1, samples: vec![0.0; samples] }]
}

/// Harness that receives frames of several streams on the input `a`, and the next message number.
struct Feed(Harness<Note>, u64);

impl Feed {
    fn push(&mut self, stream: &str, frame: u64) {
        let message = Message { header: Header::new(stream, frame, frame as i64), n: self.1, body: rows(frame) };
        self.1 += 1;
        self.0.accept("a", message).unwrap();
    }
}

#[test]
fn a_failing_stream_does_not_change_the_states_of_the_others() {
    let mut feed = Feed(note(&["a"], [("fails_at", 25)], |setup| setup.on_error = OnError::Restart), 0);
    for frame in 0..26 {
        for stream in ["left", "right"].into_iter().filter(|stream| frame < 25 || *stream == "right") {
            feed.push(stream, frame);
        }
    }
    let left = feed.0.state("left").unwrap();
    assert_eq!((left.calls, left.sessions), (25, 1), "`right` failed, and the operator was restarted");
    assert_eq!(feed.0.state("right").unwrap().calls, 0, "its last copy is the default state");
}

#[test]
fn an_operator_that_fails_at_every_frame_ends_the_run_after_ten_restarts() {
    let mut h = note(&["a"], [("fails_from", 0)], |setup| setup.on_error = OnError::Restart);
    let error = (0..50).find_map(|frame| h.push_body("a", rows(frame)).err()).expect("the run ends");
    assert!(error.message.contains("failed 11 times in a row, each time after a restart"), "{error}");
    assert!(error.message.contains("frame 10 of stream `test`: configured error"), "{error}");
}

#[test]
fn a_second_consecutive_failure_waits_in_live_mode_and_frames_are_skipped_meanwhile() {
    let mut h = note(&["a"], [("fails_from", 1)], |setup| {
        (setup.on_error, setup.mode) = (OnError::Restart, Mode::Live);
    });
    for frame in 0..5 {
        h.push_body("a", rows(frame)).unwrap();
    }
    let restarting = Outcome::Skipped(Reason::Restarting);
    let failed = Outcome::Error("configured error".into());
    let outcomes = h.outcomes();
    assert_eq!(outcomes, [Outcome::Done, failed.clone(), failed.clone(), restarting.clone(), restarting]);
    h.clock().advance(500_000_000);
    h.push_body("a", rows(5)).unwrap();
    assert_eq!(h.outcomes(), [failed], "restarted after half a second");
}

#[test]
fn streams_that_end_while_a_restart_is_pending_are_no_further_failures() {
    let harness = note(&["a"], [("fails_from", 0)], |setup| {
        (setup.on_error, setup.mode) = (OnError::Restart, Mode::Live);
    });
    let mut feed = Feed(harness, 0);
    let streams: Vec<String> = (0..12).map(|i| format!("s{i}")).collect();
    for stream in &streams {
        feed.push(stream, 0);
    }
    for stream in &streams {
        let header = Header { is_closing: true, ..Header::new(stream.as_str(), 1, 1) };
        feed.0.accept("a", Message { header, n: feed.1, body: Body::End { frames: 1 } }).expect("the run continues");
        feed.1 += 1;
    }
}

#[test]
fn audio_of_a_failed_frame_comes_with_the_next_frame() {
    let mut h = note(&["a", "audio"], [("fails_at", 1)], skip_on_error);
    for frame in 0..3 {
        match frame {
            0 => h.skip("a", Reason::Damaged).unwrap(),
            _ => h.push_body("a", rows(frame)).unwrap(),
        }
        h.push("audio", &audio(10_usize.pow(frame as u32))).unwrap();
    }
    assert_eq!(h.state("test").unwrap().samples, 111);
}

#[test]
fn a_stride_does_not_skip_closing_messages() {
    let mut h = note(&["a"], Values::new(), |setup| setup.stride = 3);
    for frame in 0..4 {
        h.push_body("a", rows(frame)).unwrap();
    }
    h.push_closing("a", rows(99)).unwrap();
    assert_eq!(h.state("test").unwrap().calls, 3, "frames 0 and 3, and the closing message");
}

#[test]
fn closing_rows_without_those_of_the_required_inputs_are_passed_to_stream_ended() {
    let mut h = note(&["a", "b"], Values::new(), |_| {});
    h.push_body("a", rows(0)).unwrap();
    h.push_body("b", rows(0)).unwrap();
    drop(h.expect::<Count>("out"));
    h.push_at("a", 1, Body::End { frames: 1 }).unwrap();
    h.push_closing("b", rows(42)).unwrap();
    h.push_at("b", 1, Body::End { frames: 1 }).unwrap();
    assert_eq!(h.expect::<Count>("out")[0].frames, 42);
}

#[test]
fn an_output_sends_one_closing_message_with_all_rows_and_an_end_with_the_frame_count() {
    let mut h = note(&["a"], Values::new(), |_| {});
    h.push_body("a", rows(0)).unwrap();
    drop(h.expect::<Count>("out"));
    h.push_closing("a", rows(1)).unwrap();
    assert!(h.next_message("out").is_none(), "closing rows are sent at the end of the stream");
    h.end().unwrap();
    let closing = h.next_message("out").unwrap();
    assert!(closing.header.is_closing && closing.header.frame == 1 && closing.n == 1);
    let Body::Data(Payload::Table(table)) = closing.body else { panic!("rows") };
    assert_eq!(Count::decode(&table).unwrap().iter().map(|row| row.frames).collect::<Vec<_>>(), [2, 0]);
    let end = h.next_message("out").unwrap();
    assert!(matches!(end.body, Body::End { frames: 1 }) && end.header.is_closing && end.n == 2);
    assert!(h.next_message("out").is_none());
}

#[test]
fn an_error_at_the_end_of_a_stream_is_reported_and_the_end_is_sent() {
    let mut h = note(&["a"], [("end_fails", true)], skip_on_error);
    h.push_body("a", rows(0)).unwrap();
    drop(h.expect::<Count>("out"));
    h.end().unwrap();
    assert!(matches!(h.next_message("out").unwrap().body, Body::End { frames: 1 }));
    let mut h = note(&["a"], [("end_fails", true)], |_| {});
    assert!(h.end().unwrap_err().message.contains("no end"));
}

#[test]
fn a_session_that_failed_to_start_is_started_again() {
    let mut h = note(&["a"], [("session_fails", true)], skip_on_error);
    (0..3).for_each(|frame| h.push_body("a", rows(frame)).unwrap());
    assert_eq!(h.outcomes()[0], Outcome::Error("no session yet".into()));
    let state = h.state("test").unwrap();
    assert_eq!((state.sessions, state.calls), (1, 2));
}

#[test]
fn a_state_that_cannot_be_copied_is_a_panic_of_that_frame() {
    let mut h = note(&["a"], [("clone_panics_from", 29)], skip_on_error);
    (0..31).for_each(|frame| h.push_body("a", rows(frame)).unwrap());
    let outcomes = h.outcomes();
    assert_eq!(outcomes[29], Outcome::Panic("this state cannot be copied".into()));
    assert_eq!(outcomes[30], Outcome::Done, "continues with the previous copy of the state");
    h.close().unwrap();
}

#[test]
fn reading_an_undeclared_input_is_an_error() {
    let mut h = note(&["a"], [("reads_undeclared", true)], |_| {});
    let error = h.push_body("a", rows(0)).unwrap_err().message;
    assert!(error.contains("the operator declares no input `audoi`; did you mean `audio`?"), "{error}");
}

#[test]
fn the_payload_of_every_message_is_checked() {
    let mut h = note(&["a"], Values::new(), |_| {});
    (0..3).for_each(|frame| h.push_body("a", rows(frame)).unwrap());
    let error = h.push::<Track>("a", &[]).unwrap_err().message;
    assert!(error.contains("node `note`, input `a`") && error.contains("table `counts`"), "{error}");
}

#[test]
fn messages_of_two_streams_are_never_aligned() {
    let mut h = note(&["a", "b"], Values::new(), |_| {});
    let message = |stream: &str| Message { header: Header::new(stream, 0, 0), n: 0, body: rows(0) };
    h.accept("a", message("left")).unwrap();
    let error = h.accept("b", message("right")).unwrap_err().message;
    assert!(error.contains("frame 0 of stream `right` came where input `a` has frame 0 of stream `left`"), "{error}");
}

#[test]
fn an_operator_with_side_inputs_ends_each_stream_once_when_all_inputs_of_its_source_have_ended() {
    let side = Alignment::Side { queue: 4 };
    let setup = Setup { inputs: Some(vec![("a", side), ("b", side)]), mode: Mode::Live, ..Setup::default() };
    let mut h = Harness::<Note>::with(Values::new(), setup).unwrap();
    let mut n = [0u64; 2];
    let mut send = |h: &mut Harness<Note>, port: usize, stream: &str, frame: u64, body: Body| {
        let header = Header { is_closing: matches!(body, Body::End { .. }), ..Header::new(stream, frame, 0) };
        h.accept(["a", "b"][port], Message { header, n: n[port], body }).unwrap();
        n[port] += 1;
    };
    for stream in ["left", "right"] {
        (0..2).for_each(|port| send(&mut h, port, stream, 0, rows(1)));
    }
    for stream in ["left", "right"] {
        (0..2).for_each(|port| send(&mut h, port, stream, 1, Body::End { frames: 1 }));
    }
    let mut ends = vec![];
    while let Some(message) = h.next_message("out") {
        if let Body::End { frames } = message.body {
            ends.push((message.header.stream.to_string(), frames));
        }
    }
    assert_eq!(ends, [("left".to_owned(), 2), ("right".to_owned(), 2)], "one call for each of two messages");
    assert!(h.state("left").is_none() && h.state("right").is_none());
}

#[test]
fn a_saved_state_of_another_version_is_refused_and_the_current_state_stays() {
    let mut h = note(&["a"], Values::new(), |_| {});
    h.push_body("a", rows(0)).unwrap();
    let before = h.state("test").unwrap();
    let operator = h.driver_mut().operator_mut().unwrap();
    let mut bytes = vec![];
    operator.save("test", &mut bytes).unwrap();
    bytes[0] = 9;
    let error = operator.load("test", &bytes).unwrap_err().message;
    assert!(error.contains("version 9, version 1 is needed"), "{error}");
    assert!(operator.load("test", &[1, 0]).is_err() && operator.load("test", &[1, 0, 0, 0, 0xc1]).is_err());
    assert_eq!(h.state("test").unwrap(), before);
}

/// Operator with the name of another operator.
#[derive(Clone, Config)]
struct TwinConfig {}
struct Twin;
impl Operator for Twin {
    type Config = TwinConfig;
    type State = ();
    fn spec() -> Spec {
        Spec::operator("note")
    }
    fn new(_: TwinConfig, _: &Resources) -> Result<Self> {
        Ok(Twin)
    }
    fn process(&mut self, _: &Context, _: &Inputs, (): &mut (), _: &mut Outputs) -> Result<()> {
        Ok(())
    }
}

sideline_api::table! {
    /// Table with the name of another table.
    pub struct OtherCount in "counts" {
        /// Column with another type.
        pub frames: f32,
    }
}

/// Operator with a table that has the name of another table and other columns.
#[derive(Clone, Config)]
struct ConflictConfig {}
struct Conflict;
impl Operator for Conflict {
    type Config = ConflictConfig;
    type State = ();
    fn spec() -> Spec {
        Spec::operator("conflict").output("counts", PortType::table::<OtherCount>())
    }
    fn new(_: ConflictConfig, _: &Resources) -> Result<Self> {
        Ok(Conflict)
    }
    fn process(&mut self, _: &Context, _: &Inputs, (): &mut (), _: &mut Outputs) -> Result<()> {
        Ok(())
    }
}

#[test]
fn a_registered_name_or_table_cannot_be_registered_again() {
    let registry = Registry::new().operator::<Note>();
    registry.check().unwrap();
    assert_eq!(registry.table("counts"), Some(Count::table_type()));
    let twice = registry.clone().operator::<Twin>();
    assert!(twice.check().unwrap_err().message.contains("operator `note` is registered twice"));
    assert_eq!(twice.get("note").unwrap().spec.inputs.len(), 3);
    let conflict = registry.operator::<Conflict>();
    let error = conflict.check().unwrap_err().message;
    assert!(error.contains("operator `conflict` has a table `counts` whose columns differ"), "{error}");
}
