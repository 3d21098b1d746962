//! Carried rows: audio of frames that an operator skips is delivered with the next frame or at the end of the stream.

use sideline_api::{
    Body, Config, Context, Inputs, Operator, Outputs, Payload, PortType, Reason, Resources, Result, Spec, Table,
    Values,
    tables::{Audio, Count},
    testing::{Harness, Setup},
};

/// Counts the audio samples of each frame.
#[derive(Clone, Config)]
struct ListenerConfig {}

struct Listener;

/// Returns the number of samples as `frames` and the number of `counts` rows as `checksum`.
fn count_inputs(input: &Inputs) -> Result<Count> {
    let rows: Vec<Audio> = input.rows("audio")?.unwrap_or_default();
    let starts: Vec<i64> = rows.iter().map(|row| row.start).collect();
    assert!(starts.is_sorted(), "{starts:?}");
    let samples = rows.iter().map(|row| row.samples.len() as u64).sum();
    // Rows of `counts` belong to their frame: they are not carried over.
    let counts = input.rows::<Count>("counts")?.map_or(0, |rows| rows.len() as u64);
    Ok(Count { frames: samples, checksum: counts })
}

impl Operator for Listener {
    type Config = ListenerConfig;
    type State = ();
    fn spec() -> Spec {
        let count = PortType::table::<Count>();
        Spec::operator("listener")
            .required("a", count)
            .optional("counts", count)
            .optional("audio", PortType::table::<Audio>())
            .output("received", count)
    }
    fn new(_: ListenerConfig, _: &Resources) -> Result<Self> {
        Ok(Listener)
    }
    fn process(&mut self, _: &Context, input: &Inputs, (): &mut (), out: &mut Outputs) -> Result<()> {
        out.rows("received", &[count_inputs(input)?])
    }
    fn stream_ended(&mut self, _: &Context, input: &Inputs, (): &mut (), out: &mut Outputs) -> Result<()> {
        out.rows("received", &[count_inputs(input)?])
    }
}

fn audio(frame: u64, samples: usize) -> [Audio; 1] {
    [Audio { start: frame as i64, rate: 48_000, channels: 1, samples: vec![0.5; samples] }]
}

/// Pushes one frame with a row of `counts` and some samples.
fn push_frame(h: &mut Harness<Listener>, number: u64, skip: Option<Reason>, samples: usize) {
    let count = [Count { frames: number, checksum: 0 }];
    match skip {
        Some(reason) => h.skip("a", reason).unwrap(),
        None => h.push("a", &count).unwrap(),
    }
    h.push("counts", &count).unwrap();
    h.push("audio", &audio(number, samples)).unwrap();
}

/// Returns the samples and the rows of `counts` of the next output message.
fn received(h: &mut Harness<Listener>) -> (u64, u64) {
    let row = h.expect::<Count>("received").remove(0);
    (row.frames, row.checksum)
}

#[test]
fn audio_of_skipped_frames_comes_with_the_next_frame_and_other_rows_do_not() {
    let mut h = Harness::<Listener>::new(Values::new()).unwrap();
    push_frame(&mut h, 0, None, 1);
    push_frame(&mut h, 1, Some(Reason::Damaged), 10);
    push_frame(&mut h, 2, Some(Reason::Damaged), 100);
    push_frame(&mut h, 3, None, 1000);
    push_frame(&mut h, 4, None, 10_000);
    assert_eq!(received(&mut h), (1, 1));
    assert_eq!((h.expect_skipped("received"), h.expect_skipped("received")), (Reason::Damaged, Reason::Damaged));
    assert_eq!((received(&mut h), received(&mut h)), ((1110, 1), (10_000, 1)));
}

#[test]
fn a_stride_skips_frames_and_no_audio() {
    let mut h = Harness::<Listener>::with(Values::new(), Setup { stride: 3, ..Setup::default() }).unwrap();
    for number in 0..5 {
        push_frame(&mut h, number, None, 10_usize.pow(number as u32));
    }
    h.end().unwrap();
    let mut all = vec![];
    while let Some(message) = h.next_message("received") {
        if let Body::Data(Payload::Table(table)) = message.body {
            all.push(Count::decode(&table).unwrap()[0].frames);
        }
    }
    assert_eq!(all, [1, 1110, 10_000], "the rest comes with the end");
}

#[test]
fn audio_after_the_last_frame_comes_with_the_end_of_the_stream() {
    let mut h = Harness::<Listener>::new(Values::new()).unwrap();
    push_frame(&mut h, 0, None, 1);
    // A closing message: its frame number is the number of frames, and no other input has one.
    let rows = Audio::encode(&audio(1, 77));
    h.push_closing("audio", Body::Data(Payload::Table(std::sync::Arc::new(rows)))).unwrap();
    for input in ["a", "counts", "audio"] {
        h.push_at(input, 1, Body::End { frames: 1 }).unwrap();
    }
    assert_eq!((received(&mut h), received(&mut h)), ((1, 1), (77, 0)));
    assert!(matches!(h.next_message("received").map(|message| message.body), Some(Body::End { .. })));
}

/// Listener that needs audio in every frame.
struct StrictListener;

impl Operator for StrictListener {
    type Config = ListenerConfig;
    type State = ();
    fn spec() -> Spec {
        let count = PortType::table::<Count>();
        Spec::operator("strict-listener")
            .required("a", count)
            .required("audio", PortType::table::<Audio>())
            .optional("counts", count)
            .output("received", count)
    }
    fn new(_: ListenerConfig, _: &Resources) -> Result<Self> {
        Ok(StrictListener)
    }
    fn process(&mut self, _: &Context, input: &Inputs, (): &mut (), out: &mut Outputs) -> Result<()> {
        out.rows("received", &[count_inputs(input)?])
    }
}

#[test]
fn carried_audio_does_not_hide_that_a_required_input_was_skipped() {
    let mut h = Harness::<StrictListener>::new(Values::new()).unwrap();
    let count = [Count { frames: 0, checksum: 0 }];
    h.skip("a", Reason::Stride).unwrap();
    h.push("counts", &count).unwrap();
    h.push("audio", &audio(0, 1)).unwrap();
    h.push("a", &count).unwrap();
    h.push("counts", &count).unwrap();
    h.skip("audio", Reason::Damaged).unwrap();
    h.push("a", &count).unwrap();
    h.push("counts", &count).unwrap();
    h.push("audio", &audio(2, 100)).unwrap();
    assert_eq!((h.expect_skipped("received"), h.expect_skipped("received")), (Reason::Stride, Reason::Damaged));
    assert_eq!(h.expect::<Count>("received")[0].frames, 101);
}
