//! Rows that outlive their frame: sound of frames that an operator does not handle reaches it with the next one.

use sideline_api::{
    Body, Config, Context, Inputs, Operator, Outputs, Payload, PortType, Reason, Resources, Result, Spec, Table,
    Values,
    tables::{Audio, Count},
    testing::{Harness, Setup},
};

/// Tells how much sound came with each frame.
#[derive(Clone, Config)]
struct ListenerConfig {}

struct Listener;

fn heard(input: &Inputs) -> Result<Count> {
    let rows: Vec<Audio> = input.rows("audio")?.unwrap_or_default();
    let starts: Vec<i64> = rows.iter().map(|row| row.start).collect();
    assert!(starts.is_sorted(), "{starts:?}");
    let samples = rows.iter().map(|row| row.samples.len() as u64).sum();
    // A count is about its frame: it is not carried over.
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
            .output("heard", count)
    }
    fn new(_: ListenerConfig, _: &Resources) -> Result<Self> {
        Ok(Listener)
    }
    fn process(&mut self, _: &Context, input: &Inputs, (): &mut (), out: &mut Outputs) -> Result<()> {
        out.rows("heard", &[heard(input)?])
    }
    fn stream_ended(&mut self, _: &Context, input: &Inputs, (): &mut (), out: &mut Outputs) -> Result<()> {
        out.rows("heard", &[heard(input)?])
    }
}

fn sound(frame: u64, samples: usize) -> [Audio; 1] {
    [Audio { start: frame as i64, rate: 48_000, channels: 1, samples: vec![0.5; samples] }]
}

/// One frame with a row of counts and some samples.
fn frame(h: &mut Harness<Listener>, number: u64, skip: Option<Reason>, samples: usize) {
    let count = [Count { frames: number, checksum: 0 }];
    match skip {
        Some(reason) => h.skip("a", reason).unwrap(),
        None => h.push("a", &count).unwrap(),
    }
    h.push("counts", &count).unwrap();
    h.push("audio", &sound(number, samples)).unwrap();
}

fn heard_now(h: &mut Harness<Listener>) -> (u64, u64) {
    let row = h.expect::<Count>("heard").remove(0);
    (row.frames, row.checksum)
}

#[test]
fn sound_of_skipped_frames_comes_with_the_next_and_other_rows_do_not() {
    let mut h = Harness::<Listener>::new(Values::new()).unwrap();
    frame(&mut h, 0, None, 1);
    frame(&mut h, 1, Some(Reason::Damaged), 10);
    frame(&mut h, 2, Some(Reason::Damaged), 100);
    frame(&mut h, 3, None, 1000);
    frame(&mut h, 4, None, 10_000);
    assert_eq!(heard_now(&mut h), (1, 1));
    assert_eq!((h.expect_skipped("heard"), h.expect_skipped("heard")), (Reason::Damaged, Reason::Damaged));
    assert_eq!((heard_now(&mut h), heard_now(&mut h)), ((1110, 1), (10_000, 1)));
}

#[test]
fn a_stride_leaves_out_frames_and_no_sound() {
    let mut h = Harness::<Listener>::with(Values::new(), Setup { stride: 3, ..Setup::default() }).unwrap();
    for number in 0..5 {
        frame(&mut h, number, None, 10_usize.pow(number as u32));
    }
    h.end().unwrap();
    let mut all = vec![];
    while let Some(message) = h.next_message("heard") {
        if let Body::Data(Payload::Table(table)) = message.body {
            all.push(Count::decode(&table).unwrap()[0].frames);
        }
    }
    assert_eq!(all, [1, 1110, 10_000], "the rest comes with the end");
}

#[test]
fn what_is_heard_behind_the_last_frame_comes_with_the_end() {
    let mut h = Harness::<Listener>::new(Values::new()).unwrap();
    frame(&mut h, 0, None, 1);
    // A closing message: its frame is the number of frames, and no other input has one.
    let rows = Audio::encode(&sound(1, 77));
    h.push_closing("audio", Body::Data(Payload::Table(std::sync::Arc::new(rows)))).unwrap();
    for input in ["a", "counts", "audio"] {
        h.push_at(input, 1, Body::End { frames: 1 }).unwrap();
    }
    assert_eq!((heard_now(&mut h), heard_now(&mut h)), ((1, 1), (77, 0)));
    assert!(matches!(h.next_message("heard").map(|message| message.body), Some(Body::End { .. })));
}
