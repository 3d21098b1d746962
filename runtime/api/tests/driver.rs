//! Contract of messages and operators, tested through the harness.

use sideline_api::{
    Alignment, Body, Config, Context, Error, FEEDBACK_QUEUE, Header, Inputs, Mode, OnError, Operator, Outputs, Payload,
    PortType, Reason, Resources, Result, SourceId, Spec, Table,
    driver::Outcome,
    tables::Count,
    testing::{Harness, Setup},
};
use sideline_sport::tables::Track;

/// Sums its inputs, with a configurable fault.
#[derive(Clone, Config)]
struct SumConfig {
    /// Fault at frame 40: `panic`, `error`, `twice`, `other-table`, `unknown-output`, `silent` or `skip`; empty for none.
    #[config(default = "")]
    at_40: String,
    /// Offset that is added to every sum.
    #[config(default = 0, live, range(0, 10))]
    offset: u64,
}

#[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
struct SumState {
    sum: u64,
    sessions: Vec<u32>,
}

struct Sum(SumConfig);

impl Operator for Sum {
    type Config = SumConfig;
    type State = SumState;
    fn spec() -> Spec {
        let count = PortType::table::<Count>();
        Spec::operator("sum")
            .required("a", count)
            .optional("b", count)
            .optional("held", count)
            .hold()
            .optional("back", count)
            .feedback()
            .output("sums", count)
    }
    fn new(config: SumConfig, _: &Resources) -> Result<Self> {
        Ok(Sum(config))
    }
    fn process(&mut self, cx: &Context, input: &Inputs, state: &mut SumState, out: &mut Outputs) -> Result<()> {
        let mut checksum = 0;
        for (port, weight) in [("a", 1), ("b", 100), ("held", 10_000)] {
            let rows: Vec<Count> = input.rows(port)?.unwrap_or_default();
            checksum += weight * rows.iter().map(|row| row.frames).sum::<u64>();
        }
        checksum += 1_000_000 * input.side("back").len() as u64;
        state.sum += 1;
        let rows = [Count { frames: state.sum + self.0.offset, checksum }];
        match (cx.header.frame, self.0.at_40.as_str()) {
            (40, "panic") => panic!("forty"),
            (40, "error") => return Err(Error::other("forty")),
            (40, "twice") => out.rows("sums", &rows)?,
            (40, "other-table") => return out.rows::<Track>("sums", &[]),
            (40, "unknown-output") => return out.rows("sum", &rows),
            (40, "silent") => return Ok(()),
            (40, "skip") => return out.skip("sums", "blurred".into()),
            _ => {}
        }
        out.rows("sums", &rows)
    }
    fn reconfigure(&mut self, config: &SumConfig) -> Result<()> {
        if config.offset == 9 {
            return Err(Error::config("an offset of nine is refused"));
        }
        assert!(config.offset != 8, "an offset of eight panics");
        self.0 = config.clone();
        Ok(())
    }
    fn session_started(&mut self, cx: &Context, state: &mut SumState) -> Result<()> {
        state.sessions.push(cx.header.session);
        Ok(())
    }
    fn stream_ended(&mut self, _: &Context, _: &Inputs, state: &mut SumState, out: &mut Outputs) -> Result<()> {
        if state.sum > 2 { out.rows("sums", &[Count { frames: 999, checksum: state.sum }]) } else { Ok(()) }
    }
}

const MAIN: Alignment = Alignment::Source(SourceId(0));

fn sum(inputs: &[(&'static str, Alignment)], configure: impl FnOnce(&mut Setup), at_40: &str) -> Harness<Sum> {
    let mut setup = Setup { inputs: Some(inputs.to_vec()), ..Setup::default() };
    configure(&mut setup);
    Harness::with([("at_40", at_40)], setup).unwrap()
}

fn row(frames: u64) -> [Count; 1] {
    [Count { frames, checksum: 0 }]
}

fn row_body(frames: u64) -> Body {
    Body::Data(Payload::Table(std::sync::Arc::new(Count::encode(&row(frames)))))
}

#[test]
fn inputs_of_a_frame_are_aligned_regardless_of_their_order() {
    let mut h = sum(&[("a", MAIN), ("b", MAIN)], |_| {}, "");
    h.push("a", &row(1)).unwrap();
    h.push("a", &row(2)).unwrap();
    assert!(h.next_message("sums").is_none(), "input b is missing");
    h.push("b", &row(5)).unwrap();
    assert_eq!(h.expect::<Count>("sums")[0].checksum, 501);
    h.push("b", &row(6)).unwrap();
    assert_eq!(h.expect::<Count>("sums")[0].checksum, 602);
}

#[test]
fn a_missing_message_for_a_frame_is_an_error() {
    let mut h = sum(&[("a", MAIN), ("b", MAIN)], |_| {}, "");
    h.push("a", &row(1)).unwrap();
    let error = h.push_at("b", 1, Body::Skipped(Reason::Stride)).unwrap_err();
    assert!(error.message.contains("one message per frame"), "{error}");
}

#[test]
fn a_skipped_required_input_skips_every_output_for_the_same_reason() {
    let mut h = sum(&[("a", MAIN), ("b", MAIN)], |_| {}, "");
    h.skip("a", Reason::Damaged).unwrap();
    h.push("b", &row(1)).unwrap();
    assert_eq!(h.expect_skipped("sums"), Reason::Damaged);
    h.push("a", &row(1)).unwrap();
    h.skip("b", Reason::Stride).unwrap();
    assert_eq!(h.expect::<Count>("sums")[0].checksum, 1, "an optional input may be skipped");
    assert_eq!(h.outcomes(), [Outcome::Skipped(Reason::Damaged), Outcome::Done]);
}

#[test]
fn a_lost_message_is_an_error_at_the_next_message() {
    let mut h = sum(&[("a", MAIN)], |_| {}, "");
    h.push("a", &row(1)).unwrap();
    h.lose("a");
    let error = h.push("a", &row(1)).unwrap_err().message;
    assert!(error.contains("node `sum`, input `a` from test/a: message 1 was lost (message 2 came)"), "{error}");
    let mut h = sum(&[("a", MAIN)], |_| {}, "");
    h.lose("a");
    assert!(h.push("a", &row(1)).is_err(), "the first message of an input has n = 0");
}

#[test]
fn rows_of_another_table_are_refused_at_the_first_message() {
    let mut h = sum(&[("a", MAIN)], |_| {}, "");
    let error = h.push::<Track>("a", &[]).unwrap_err().message;
    assert!(error.contains("input `a`") && error.contains("table `counts`"), "{error}");
}

#[test]
fn an_unset_output_is_an_empty_table_and_an_output_may_be_skipped() {
    for (at_40, rows) in [("silent", Some(0)), ("skip", None)] {
        let mut h = sum(&[("a", MAIN)], |_| {}, at_40);
        for i in 0..=40 {
            h.push("a", &row(i)).unwrap();
        }
        (0..40).for_each(|_| drop(h.expect::<Count>("sums")));
        match rows {
            Some(n) => assert_eq!(h.expect::<Count>("sums").len(), n),
            None => assert_eq!(h.expect_skipped("sums"), "blurred".into()),
        }
    }
}

#[test]
fn a_fault_of_an_operator_is_an_error_of_that_frame() {
    for (fault, text) in [
        ("error", "frame 40 of stream `test`: forty"),
        ("twice", "output `sums` was set twice for one frame"),
        ("other-table", "output `sums` sends counts, not tracks"),
        ("unknown-output", "there is no output `sum`; did you mean `sums`?"),
        ("panic", "panic: forty"),
    ] {
        let mut h = sum(&[("a", MAIN)], |_| {}, fault);
        let error = (0..=40).find_map(|i| h.push("a", &row(i)).err()).unwrap();
        assert!(error.message.contains(text), "{fault}: {error}");
        (0..40).for_each(|_| drop(h.expect::<Count>("sums")));
        let reason = if fault == "panic" { Reason::Panic } else { Reason::Error };
        assert_eq!(h.expect_skipped("sums"), reason, "the frame is skipped before the run stops");
    }
}

#[test]
fn on_error_decides_with_which_state_the_stream_continues() {
    for (on_error, next) in [(OnError::Skip, 41), (OnError::Restart, 31)] {
        let mut h = sum(&[("a", MAIN)], |setup| setup.on_error = on_error, "error");
        for i in 0..=41 {
            h.push("a", &row(i)).unwrap();
        }
        (0..40).for_each(|_| drop(h.expect::<Count>("sums")));
        assert_eq!(h.expect_skipped("sums"), Reason::Error);
        // `process` counted frame 40 before it failed; a restart restores the copy made after 30 frames.
        let expected = if on_error == OnError::Skip { next + 1 } else { next };
        assert_eq!(h.expect::<Count>("sums")[0].frames, expected, "{on_error:?}");
    }
}

#[test]
fn a_panic_rolls_the_state_back_to_the_last_copy() {
    let mut h = sum(&[("a", MAIN)], |setup| setup.on_error = OnError::Restart, "panic");
    for i in 0..=41 {
        h.push("a", &row(i)).unwrap();
    }
    (0..40).for_each(|_| drop(h.expect::<Count>("sums")));
    assert_eq!(h.expect_skipped("sums"), Reason::Panic);
    assert_eq!(h.expect::<Count>("sums")[0].frames, 31);
    assert_eq!(h.outcomes()[40], Outcome::Panic("forty".into()));
}

#[test]
fn a_panic_with_on_error_skip_rolls_the_state_back() {
    let mut h = sum(&[("a", MAIN)], |setup| setup.on_error = OnError::Skip, "panic");
    for i in 0..=41 {
        h.push("a", &row(i)).unwrap();
    }
    (0..40).for_each(|_| drop(h.expect::<Count>("sums")));
    assert_eq!(h.expect_skipped("sums"), Reason::Panic);
    assert_eq!(h.expect::<Count>("sums")[0].frames, 31, "the copy after 30 frames, and this frame");
    assert_eq!(h.state("test").unwrap().sessions, [0], "a session in the copy is not started again");
}

#[test]
fn stride_processes_every_nth_frame() {
    let mut h = sum(&[("a", MAIN)], |setup| setup.stride = 3, "");
    for i in 0..6 {
        h.push("a", &row(i)).unwrap();
    }
    for i in 0..6 {
        if i % 3 == 0 {
            assert_eq!(h.expect::<Count>("sums")[0].checksum, i);
        } else {
            assert_eq!(h.expect_skipped("sums"), Reason::Stride);
        }
    }
}

#[test]
fn a_hold_input_delivers_its_last_data_again() {
    let mut h = sum(&[("a", MAIN), ("held", MAIN)], |_| {}, "");
    for held in [None, Some(7), None, Some(8)] {
        h.push("a", &row(0)).unwrap();
        match held {
            Some(value) => h.push("held", &row(value)).unwrap(),
            None => h.skip("held", Reason::Stride).unwrap(),
        }
    }
    let sums: Vec<u64> = (0..4).map(|_| h.expect::<Count>("sums")[0].checksum).collect();
    assert_eq!(sums, [0, 70_000, 70_000, 80_000]);
}

#[test]
fn held_data_is_kept_per_stream() {
    use sideline_api::Message;
    let mut h = sum(&[("a", MAIN), ("held", MAIN)], |_| {}, "");
    // Two cameras in turn; only the first has data on the held input.
    for i in 0..4u64 {
        let stream = if i.is_multiple_of(2) { "first" } else { "second" };
        let header = Header { stream: stream.into(), ..h.header(i / 2) };
        let held = if i == 0 { row_body(7) } else { Body::Skipped(Reason::Stride) };
        for (port, body) in [(0, row_body(0)), (1, held)] {
            let message = Message { header: header.clone(), n: i, body };
            h.accept(["a", "held"][port], message).unwrap();
        }
    }
    let sums: Vec<u64> = (0..4).map(|_| h.expect::<Count>("sums")[0].checksum).collect();
    assert_eq!(sums, [70_000, 0, 70_000, 0]);
}

#[test]
fn an_operator_with_side_inputs_ends_without_waiting_for_its_feedback() {
    let side = Alignment::Side { queue: 2 };
    let setup =
        Setup { inputs: Some(vec![("a", side), ("back", Alignment::Feedback)]), mode: Mode::Live, ..Setup::default() };
    let mut h = Harness::<Sum>::with([("offset", 0)], setup).unwrap();
    h.push("a", &row(1)).unwrap();
    h.push_at("a", 1, Body::End { frames: 1 }).unwrap();
    drop(h.expect::<Count>("sums"));
    assert!(
        matches!(h.next_message("sums").unwrap().body, Body::End { .. }),
        "the feedback ends only after this operator"
    );
    assert!(h.close_input("a", false).unwrap());
}

#[test]
fn a_side_input_is_read_without_waiting_and_its_gaps_are_counted() {
    let side = Alignment::Side { queue: 2 };
    let mut h = sum(&[("a", MAIN), ("back", side)], |setup| setup.mode = Mode::Live, "");
    h.push("a", &row(0)).unwrap();
    assert_eq!(h.expect::<Count>("sums")[0].checksum, 0, "the frame does not wait for it");
    h.push("back", &row(1)).unwrap();
    h.lose("back");
    h.push("back", &row(1)).unwrap();
    h.push("back", &row(1)).unwrap();
    h.push("a", &row(0)).unwrap();
    assert_eq!(h.expect::<Count>("sums")[0].checksum, 2_000_000, "two are queued, the oldest was dropped");
    assert_eq!(h.driver().side_dropped(), 2, "one was lost, one dropped from the queue");
}

#[test]
fn feedback_is_never_aligned_and_its_queue_is_bounded() {
    let mut h = sum(&[("a", MAIN), ("back", Alignment::Feedback)], |_| {}, "");
    for _ in 0..20 {
        h.push("back", &row(1)).unwrap();
    }
    h.push("a", &row(0)).unwrap();
    assert_eq!(h.expect::<Count>("sums")[0].checksum, 20_000_000);
    for _ in 0..FEEDBACK_QUEUE + 10 {
        h.push("back", &row(1)).unwrap();
    }
    assert_eq!(h.driver().side_dropped(), 10, "the oldest messages are dropped");
}

#[test]
fn the_end_follows_a_closing_message_on_every_output() {
    let mut h = sum(&[("a", MAIN), ("b", MAIN)], |_| {}, "");
    for i in 0..3 {
        h.push("a", &row(i)).unwrap();
        h.push("b", &row(i)).unwrap();
    }
    h.end().unwrap();
    (0..3).for_each(|_| drop(h.expect::<Count>("sums")));
    let closing = h.next_message("sums").unwrap();
    assert_eq!((closing.header.frame, closing.n), (3, 3), "frame = number of frames");
    let end = h.next_message("sums").unwrap();
    assert!(matches!(end.body, Body::End { .. }) && end.n == 4 && end.header.frame == 3);
}

#[test]
fn closing_messages_are_aligned_with_the_ends_of_the_other_inputs() {
    let mut h = sum(&[("a", MAIN), ("b", MAIN)], |_| {}, "");
    h.push("a", &row(1)).unwrap();
    h.push("b", &row(1)).unwrap();
    h.push_at("a", 1, Body::End { frames: 1 }).unwrap();
    // Input b has closing rows. Input a is required and has none, so `process` is not called.
    h.push_closing("b", row_body(5)).unwrap();
    h.push_at("b", 1, Body::End { frames: 1 }).unwrap();
    drop(h.expect::<Count>("sums"));
    assert!(matches!(h.next_message("sums").unwrap().body, Body::End { .. }));
}

#[test]
fn an_input_that_closes_before_its_end_is_an_error_of_its_producer() {
    let setup = Setup { inputs: Some(vec![("a", MAIN)]), ..Setup::default() };
    let mut h = Harness::<Sum>::with([("offset", 0)], setup).unwrap();
    h.push("a", &row(1)).unwrap();
    let error = h.close_input("a", false).unwrap_err();
    assert!(error.message.contains("closed after 1 messages, before its end"), "{error}");
    assert!(h.close_input("a", true).unwrap(), "excused when the user stops the run");
}

#[test]
fn states_are_kept_per_stream_and_a_session_starts_once() {
    let mut h = sum(&[("a", MAIN)], |_| {}, "");
    for i in 0..3 {
        h.push("a", &row(i)).unwrap();
    }
    let state = h.state("test").unwrap();
    assert_eq!((state.sum, state.sessions.as_slice()), (3, [0].as_slice()));
    assert!(h.state("other").is_none());
}

#[test]
fn a_live_setting_changes_and_a_refused_value_leaves_the_old_one() {
    let mut h = sum(&[("a", MAIN)], |_| {}, "");
    h.set("offset", 5).unwrap();
    assert!(h.set("offset", 11).unwrap_err().message.contains("0 to 10"));
    assert!(h.set("offset", 9).unwrap_err().message.contains("nine"));
    assert!(h.set("offset", 8).unwrap_err().message.contains("panicked"), "the operator survives");
    assert!(h.set("at_40", "panic").unwrap_err().message.contains("cannot change while running"));
    assert!(h.set("ofset", 1).unwrap_err().message.contains("did you mean `offset`?"));
    h.push("a", &row(0)).unwrap();
    assert_eq!(h.expect::<Count>("sums")[0].frames, 6);
}
