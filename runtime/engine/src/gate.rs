//! The window of one source: the only place where a frame may be dropped.
//!
//! Reader threads, one for each stream of the source, offer decoded frames; the source's lane admits them while fewer
//! than `window` are in flight. When the window is full, `live` keeps only the newest offer of each stream and counts the
//! others as dropped, `complete` makes the readers wait. Rows that outlive their frame, as sound does, are carried over
//! from a dropped frame to the next one.
//!
//! The window is the source's, not the stream's: what is in flight bounds memory and latency, and the graph behind it is
//! one. Frames enter it fairly (see [`Offers`]), so that every stream moves as long as the window does. The end of a stream
//! enters like a frame, one at a time, so that queues hold what is in flight at the end of many streams too.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use sideline_api::{Captured, Closing, Error, Header, Mode, OutputPort, Result, StreamName};

use crate::offers::{Entry, Offers};
pub use crate::offers::{StreamCounts, StreamNames};

/// Ends a run on purpose after so many frames or so much media time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limit {
    /// Frames admitted of each stream.
    pub frames: Option<u64>,
    /// Media time after the first frame of each stream.
    pub duration: Option<Duration>,
}

/// The last frame of a stream that an earlier run has: this run goes on after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct After {
    /// Its number.
    pub frame: u64,
    /// Its media time, ns: frames up to it are left out.
    pub pts: i64,
}

/// See the [module](self).
pub struct Gate {
    window: u64,
    stop: Arc<AtomicBool>,
    state: Mutex<State>,
    room: Condvar,
}

struct State {
    offers: Offers,
    sinks: Vec<Sink>,
    /// Frames and ends that entered the graph.
    entered: u64,
    /// True for each frame, false for each end, of the entries that are in flight, in order.
    in_flight: VecDeque<bool>,
    /// Frames that every sink has finished.
    finished: u64,
    /// A sink was given up: what leaves the graph from now on is not known to be finished.
    given_up: bool,
    moved: Instant,
    closed: bool,
}

/// A sink of the source: an operator whose results nobody reads frame by frame, so that the window waits for it.
#[derive(Clone, Debug)]
pub struct Sink {
    /// Id of the node.
    pub node: String,
    /// True when it runs in another process.
    pub remote: bool,
    /// Its progress.
    pub progress: Progress,
}

/// The sink of that number, as [`Gate::add_sink`] gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinkId(usize);

/// Progress of a sink, or of the sinks of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// It has finished so many entries of the source: frames and ends.
    Finished(u64),
    /// It has ended its streams and closed its files.
    Closed,
}

impl Progress {
    /// Returns it in words, for messages.
    pub fn last_finished(self) -> String {
        match self {
            Progress::Finished(0) => "it has finished no frame".into(),
            Progress::Finished(entries) => format!("it has finished {entries} frames and ends of streams"),
            Progress::Closed => "it has closed".into(),
        }
    }
}

/// How many times longer closing may take than a frame: long recordings are put together then.
pub(crate) const CLOSING: u32 = 6;

/// The next step of the source's lane.
pub enum Admission {
    /// A frame enters the graph.
    Frame(Header, Captured),
    /// A stream is over: send what is left of it, and the end.
    End {
        /// The place after its last frame.
        header: Header,
        /// Its frames in this run.
        frames: u64,
        /// Rows that are left of it.
        closing: Vec<Closing>,
    },
    /// Every stream has ended: close the edges.
    Close,
    /// Nothing now: the window is full or no frame was offered.
    Wait,
}

/// Counts of a source, for the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GateCounts {
    /// Frames its readers decoded.
    pub decoded: u64,
    /// Frames that entered the graph.
    pub admitted: u64,
    /// Frames that did not, because newer ones came or the run was stopped.
    pub forgotten: u64,
    /// Frames that left the graph at every sink.
    pub finished: u64,
}

/// Patience with sinks.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Longest time that the window may stand still.
    pub stall: Duration,
    /// Longest time until every sink has finished its first frame: other processes may load models.
    pub start: Duration,
}

impl State {
    /// Entries that every sink has finished; all of them where there is no sink.
    fn finished_entries(&self) -> u64 {
        match self.sinks.iter().map(|sink| sink.progress).min() {
            Some(Progress::Finished(entries)) => entries.min(self.entered),
            Some(Progress::Closed) | None => self.entered,
        }
    }

    /// Counts the entries that have left the graph since the last time. True when there were any.
    fn settle(&mut self) -> bool {
        let left = (self.entered - self.finished_entries()) as usize;
        let done = self.in_flight.len().saturating_sub(left);
        let frames = self.in_flight.drain(..done).filter(|frame| *frame).count() as u64;
        self.finished += if self.given_up { 0 } else { frames };
        done > 0
    }

    fn enter(&mut self, frame: bool) {
        if self.in_flight.is_empty() {
            // The window was empty: standing still until now was not a stall.
            self.moved = Instant::now();
        }
        self.entered += 1;
        self.in_flight.push_back(frame);
    }
}

impl Gate {
    /// A gate without sinks, which has no window. `node` is the source's id.
    pub fn new(node: &str, mode: Mode, window: usize, limit: Limit, stop: Arc<AtomicBool>, names: StreamNames) -> Self {
        Gate {
            window: window.max(1) as u64,
            stop,
            state: Mutex::new(State {
                offers: Offers::new(node, mode, limit, names),
                sinks: vec![],
                entered: 0,
                in_flight: VecDeque::new(),
                finished: 0,
                given_up: false,
                moved: Instant::now(),
                closed: false,
            }),
            room: Condvar::new(),
        }
    }

    /// Takes in the source's outputs: rows of carried tables are not dropped with their frame.
    pub fn carrying(self, outputs: &[OutputPort]) -> Self {
        self.lock().offers.carry(outputs);
        self
    }

    /// Streams, by their names, that go on after a frame of another run.
    pub fn after(self, after: BTreeMap<String, After>) -> Self {
        self.lock().offers.go_on(after);
        self
    }

    /// Adds a sink that the window waits for.
    pub fn add_sink(&self, node: &str, remote: bool) -> SinkId {
        let mut state = self.lock();
        state.sinks.push(Sink { node: node.into(), remote, progress: Progress::Finished(0) });
        SinkId(state.sinks.len() - 1)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The source is made: so many readers, with the names of their streams where they are known.
    ///
    /// # Errors
    /// When two streams have the same name.
    pub fn open(&self, streams: Vec<Option<StreamName>>) -> Result<()> {
        self.lock().offers.open(streams)
    }

    /// A reader has a frame. False: no more are wanted of it.
    ///
    /// # Errors
    /// When its stream has the name of another one.
    pub fn offer(&self, reader: usize, captured: Captured) -> Result<bool> {
        let mut state = self.lock();
        let wanted = |state: &State| state.offers.wanted(reader) && !self.stop.load(Ordering::Relaxed);
        while state.offers.full(reader) && wanted(&state) {
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let wanted = wanted(&state);
        if wanted {
            state.offers.push(reader, captured)?;
        }
        Ok(wanted)
    }

    /// Rows that a reader has left after its last frame; told before it is done.
    pub fn closing(&self, reader: usize, closing: Vec<Closing>) {
        self.lock().offers.closing(reader, closing);
    }

    /// Counts of a reader's own, for the report; told before it is done.
    pub fn counted(&self, reader: usize, counts: Vec<(&'static str, u64)>) {
        self.lock().offers.counted(reader, counts);
    }

    /// A reader is done.
    pub fn reader_ended(&self, reader: usize, how: Result<()>) {
        self.lock().offers.ended(reader, how);
    }

    /// Wakes readers that wait for room, so that they see a stop.
    pub fn wake(&self) {
        // The lock orders this after a reader's look at the stop flag.
        drop(self.lock());
        self.room.notify_all();
    }

    /// Returns the next step; called by the lane of the source until it is `Wait`.
    pub fn admit(&self) -> Admission {
        let mut guard = self.lock();
        let state = &mut *guard;
        state.settle();
        if state.in_flight.len() as u64 >= self.window {
            return Admission::Wait;
        }
        if self.stop.load(Ordering::Relaxed) {
            // What waits at the gate was decoded, and is not wanted any more.
            state.offers.close();
        }
        let may_end = !state.in_flight.contains(&false);
        let next = state.offers.next(may_end);
        self.room.notify_all();
        match next {
            Some(Entry::Frame(header, captured)) => {
                state.enter(true);
                Admission::Frame(header, captured)
            }
            Some(Entry::End { header, frames, closing }) => {
                state.enter(false);
                Admission::End { header, frames, closing }
            }
            // After a stop or a limit the graph ends without waiting for a reader that may hang in a camera.
            None if state.offers.all_ended() && !state.closed => {
                state.closed = true;
                state.moved = Instant::now();
                Admission::Close
            }
            None => Admission::Wait,
        }
    }

    /// A sink has come so far. True when the window moved.
    pub fn finished(&self, sink: SinkId, progress: Progress) -> bool {
        let mut state = self.lock();
        let known = &mut state.sinks[sink.0].progress;
        let closes = progress == Progress::Closed && *known != progress;
        *known = (*known).max(progress);
        let moved = state.settle();
        if moved || closes {
            state.moved = Instant::now();
        }
        moved
    }

    /// Nothing more will be heard of a sink: the window does not wait for it, and what it has not finished stays unfinished.
    pub fn give_up(&self, sink: SinkId) {
        let mut state = self.lock();
        state.settle();
        state.given_up |= state.sinks[sink.0].progress != Progress::Closed;
        state.sinks[sink.0].progress = Progress::Closed;
        state.settle();
    }

    /// Returns the sink that is furthest behind, when entries are in flight and the window has stood still for too long.
    pub fn stalled(&self, patience: Patience) -> Option<Sink> {
        let state = self.lock();
        let last = state.sinks.iter().min_by_key(|sink| sink.progress)?;
        let closing = state.closed && state.in_flight.is_empty();
        let waiting = !state.in_flight.is_empty() || (closing && last.progress != Progress::Closed);
        // A sink here may wait for an operator elsewhere that loads; operators here are watched one by one.
        let starts = |sink: &Sink| sink.progress == Progress::Finished(0);
        // At the end of a stream files are finished and encoders flushed: that may take as long as closing.
        let patience = match closing || state.in_flight.contains(&false) {
            true => patience.stall * CLOSING,
            false if state.sinks.iter().any(starts) => patience.start.max(patience.stall),
            false => patience.stall,
        };
        (waiting && state.moved.elapsed() > patience).then(|| last.clone())
    }

    /// The window stands still for a good reason: its time begins again.
    pub fn excuse(&self) {
        self.lock().moved = Instant::now();
    }

    /// Returns a sink of another process that is gone before it closed, unless nothing is expected of it any more.
    pub fn sink_gone(&self, sink: SinkId) -> Option<Sink> {
        let state = self.lock();
        let sink = &state.sinks[sink.0];
        (sink.progress != Progress::Closed && !self.stop.load(Ordering::Relaxed)).then(|| sink.clone())
    }

    /// True when nothing is in flight: every sink has finished every entry.
    pub fn is_idle(&self) -> bool {
        self.lock().in_flight.is_empty()
    }

    /// True when the streams have ended and every sink has closed.
    pub fn drained(&self) -> bool {
        let state = self.lock();
        state.closed && state.sinks.iter().all(|sink| sink.progress == Progress::Closed)
    }

    /// The counts so far, of all streams together.
    pub fn counts(&self) -> GateCounts {
        let mut state = self.lock();
        state.settle();
        let mut counts = GateCounts { finished: state.finished, ..GateCounts::default() };
        for (_, stream) in state.offers.counts() {
            counts.decoded += stream.decoded;
            counts.admitted += stream.admitted;
            counts.forgotten += stream.forgotten;
        }
        counts
    }

    /// The counts of each stream so far.
    pub fn streams(&self) -> Vec<(StreamName, StreamCounts)> {
        self.lock().offers.counts()
    }

    /// True when nothing more is wanted of the readers.
    pub fn over(&self) -> bool {
        let state = self.lock();
        state.closed && state.offers.over()
    }

    /// The failures of the readers that failed: one error, a line for each.
    pub fn failure(&self) -> Option<Error> {
        self.lock().offers.failure()
    }

    /// Frames still at the gate are counted as dropped: for runs that were cut short.
    pub fn abandon(&self) {
        self.lock().offers.close();
        self.room.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sideline_api::{
        Body, OutputPort, Payload, PortType, Table,
        arrow::array::StructArray,
        tables::{Audio, Count},
    };

    fn gate(mode: Mode, limit: Limit) -> Gate {
        let gate = Gate::new("s", mode, 2, limit, Arc::default(), StreamNames::default());
        gate.open(vec![None]).unwrap();
        gate
    }

    fn sinks(gate: &Gate) -> [SinkId; 2] {
        ["a", "b"].map(|node| gate.add_sink(node, false))
    }

    fn offer(gate: &Gate, pts: i64) {
        gate.offer(0, captured(pts)).unwrap();
    }

    fn captured(pts: i64) -> Captured {
        Captured { stream: "s".into(), session: 0, pts, captured: 0, outputs: vec![] }
    }

    fn frame(gate: &Gate) -> Option<(u64, i64)> {
        match gate.admit() {
            Admission::Frame(header, _) => Some((header.frame, header.pts)),
            _ => None,
        }
    }

    #[test]
    fn a_full_window_forgets_all_but_the_newest_when_live() {
        let gate = gate(Mode::Live, Limit::default());
        let [a, b] = sinks(&gate);
        for pts in 0..2 {
            offer(&gate, pts);
            assert_eq!(frame(&gate), Some((pts as u64, pts)));
        }
        for pts in 2..7 {
            offer(&gate, pts);
            assert_eq!(frame(&gate), None, "two frames are in flight");
        }
        assert!(!gate.finished(a, Progress::Finished(1)), "the edge is the least of all sinks");
        assert!(gate.finished(b, Progress::Finished(1)));
        assert_eq!(frame(&gate), Some((2, 6)), "the newest wins, numbers have no gap");
        assert_eq!(gate.counts(), GateCounts { decoded: 7, admitted: 3, forgotten: 4, finished: 1 });
    }

    #[test]
    fn sound_of_forgotten_frames_goes_with_the_next_one_and_other_rows_do_not() {
        let audio = PortType::table::<Audio>();
        let counts = PortType::table::<Count>();
        let outputs = [OutputPort { name: "audio", ty: audio }, OutputPort { name: "counts", ty: counts }];
        let gate = gate(Mode::Live, Limit::default()).carrying(&outputs);
        let both = sinks(&gate);
        let offer = |pts: i64| {
            let sound = Audio::encode(&[Audio { start: pts, rate: 8000, channels: 1, samples: vec![pts as f32; 3] }]);
            let count = Count::encode(&[Count { frames: pts as u64, checksum: 0 }]);
            let outputs = [sound, count].map(|table| Body::Data(Payload::Table(Arc::new(table)))).to_vec();
            gate.offer(0, Captured { outputs, ..captured(pts) }).unwrap();
        };
        let mut admitted = vec![];
        let mut admit = || {
            let Admission::Frame(_, captured) = gate.admit() else { return };
            let [Body::Data(Payload::Table(sound)), Body::Data(Payload::Table(count))] = &captured.outputs[..] else {
                panic!("two tables");
            };
            admitted.extend(Audio::decode(sound).unwrap().into_iter().map(|row| (row.start, row.samples.len())));
            assert_eq!(Count::decode(count).unwrap().len(), 1, "a count is about its frame");
        };
        for pts in 0..7 {
            offer(pts);
            admit();
        }
        for sink in both {
            gate.finished(sink, Progress::Finished(1));
        }
        admit();
        assert_eq!(gate.counts().forgotten, 4);
        assert_eq!(admitted, (0..7).map(|pts| (pts, 3)).collect::<Vec<_>>(), "every row once, in order");
    }

    #[test]
    fn sound_of_a_skipped_output_waits_for_the_next_frame_and_what_is_left_closes_the_stream() {
        let outputs = [OutputPort { name: "audio", ty: PortType::table::<Audio>() }];
        let gate = gate(Mode::Live, Limit::default()).carrying(&outputs);
        let both = sinks(&gate);
        let finish = |n| {
            for sink in both {
                gate.finished(sink, Progress::Finished(n));
            }
        };
        let sound = |pts: i64| Audio::encode(&[Audio { start: pts, rate: 8000, channels: 1, samples: vec![0.0] }]);
        let offer = |pts: i64, body: Body| gate.offer(0, Captured { outputs: vec![body], ..captured(pts) }).unwrap();
        let data = |pts| Body::Data(Payload::Table(Arc::new(sound(pts))));
        let starts = |rows: &Arc<StructArray>| -> Vec<i64> {
            Audio::decode(rows).unwrap().into_iter().map(|row| row.start).collect()
        };
        (0..2).for_each(|pts| assert!(offer(pts, data(pts)) && frame(&gate).is_some()));
        offer(2, data(2));
        offer(3, Body::Skipped("damaged".into()));
        finish(2);
        assert_eq!(frame(&gate), Some((2, 3)), "frame 2 of the file was dropped, its sound waits");
        offer(4, data(4));
        let Admission::Frame(_, captured) = gate.admit() else { panic!("a frame waits") };
        let Body::Data(Payload::Table(rows)) = &captured.outputs[0] else { panic!("it has sound") };
        assert_eq!(starts(rows), [2, 4]);
        offer(5, data(5));
        offer(6, Body::Skipped("damaged".into()));
        finish(4);
        assert!(frame(&gate).is_some());
        gate.closing(0, vec![Closing { stream: "s".into(), output: "audio", rows: Arc::new(sound(7)) }]);
        gate.reader_ended(0, Ok(()));
        let Admission::End { closing, frames, .. } = gate.admit() else { panic!("the stream ends") };
        assert_eq!((starts(&closing[0].rows), closing.len(), frames), (vec![5, 7], 1, 5));
    }

    #[test]
    fn a_limit_ends_the_run_and_what_was_decoded_beyond_is_not_counted() {
        let gate = gate(Mode::Complete, Limit { frames: Some(1), duration: None });
        sinks(&gate);
        (0..2).for_each(|pts| offer(&gate, pts));
        assert!(frame(&gate).is_some());
        assert!(matches!(gate.admit(), Admission::End { header, frames: 1, .. } if header.frame == 1));
        assert!(!gate.offer(0, captured(2)).unwrap(), "no more are wanted");
        assert_eq!(gate.counts(), GateCounts { decoded: 1, admitted: 1, forgotten: 0, finished: 0 });
    }

    #[test]
    fn the_ends_of_many_streams_enter_one_at_a_time_inside_the_window() {
        let gate = Gate::new("s", Mode::Complete, 4, Limit::default(), Arc::default(), StreamNames::default());
        gate.open((0..3).map(|i| Some(format!("s{i}").into())).collect()).unwrap();
        let sink = gate.add_sink("sink", false);
        (0..3).for_each(|reader| gate.reader_ended(reader, Ok(())));
        for (n, stream) in (1..).zip(["s0", "s1", "s2"]) {
            assert!(matches!(gate.admit(), Admission::End { header, .. } if *header.stream == *stream));
            let next = gate.admit();
            assert!(matches!(next, Admission::Wait) != (n == 3), "the end of `{stream}` is under way");
            assert!(matches!(next, Admission::Close) == (n == 3), "nothing follows the last one");
            assert!(gate.finished(sink, Progress::Finished(n)));
        }
        assert!(matches!(gate.admit(), Admission::Wait));
        assert!(!gate.drained());
        gate.finished(sink, Progress::Closed);
        assert!(gate.drained());
    }

    #[test]
    fn a_stall_names_the_last_sink() {
        let gate = gate(Mode::Complete, Limit::default());
        let [a, _] = sinks(&gate);
        let none = Patience { stall: Duration::ZERO, start: Duration::ZERO };
        offer(&gate, 0);
        assert!(gate.stalled(none).is_none(), "nothing in flight");
        assert!(frame(&gate).is_some());
        gate.finished(a, Progress::Finished(1));
        assert_eq!(gate.stalled(none).map(|sink| sink.node), Some("b".into()));
    }

    #[test]
    fn every_sink_has_the_start_deadline_for_its_first_frame() {
        let gate = gate(Mode::Complete, Limit::default());
        let far = gate.add_sink("far", false);
        let patience = Patience { stall: Duration::ZERO, start: Duration::MAX };
        (0..2).for_each(|pts| offer(&gate, pts));
        (0..2).for_each(|_| assert!(frame(&gate).is_some()));
        assert!(gate.stalled(patience).is_none(), "what it reads may load a model elsewhere");
        assert!(gate.stalled(Patience { start: Duration::ZERO, ..patience }).is_some());
        gate.finished(far, Progress::Finished(1));
        assert!(gate.stalled(patience).is_some(), "it is ready, and does not answer");
    }

    #[test]
    fn frames_that_every_sink_has_finished_are_counted_without_the_ends_between_them() {
        let gate = Gate::new("s", Mode::Live, 8, Limit::default(), Arc::default(), StreamNames::default());
        gate.open(vec![Some("one".into()), Some("two".into())]).unwrap();
        let sink = gate.add_sink("sink", false);
        gate.reader_ended(0, Ok(()));
        assert!(matches!(gate.admit(), Admission::End { .. }));
        let offer = |pts| gate.offer(1, Captured { stream: "two".into(), ..captured(pts) }).unwrap();
        (0..3).for_each(|pts| assert!(offer(pts) && frame(&gate).is_some()));
        gate.finished(sink, Progress::Finished(3));
        assert_eq!(gate.counts().finished, 2, "of the three entries one was an end");
    }
}
