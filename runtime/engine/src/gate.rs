//! Admission gate of one source: the only place where a frame may be dropped.
//!
//! Reader threads, one for each stream of the source, offer decoded frames. The source's lane admits them while fewer
//! than `window` entries (frames and ends of streams) are in flight. When the window is full, `live` mode keeps only
//! the newest offer of each stream and counts the others as dropped; `complete` mode makes the readers wait. Rows of
//! carried tables, such as audio, are not dropped with their frame: they are sent with the next one.
//!
//! The window belongs to the source and not to each stream, because the frames in flight in the one graph behind it
//! bound memory and latency. Frames are admitted fairly (see [`OfferQueue`]), so every stream advances while the window
//! does. The end of a stream is admitted like a frame, and only one end is in flight at a time, so that the ends of
//! many streams do not overfill the queues.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use sideline_api::{CapturedFrame, ClosingRows, Error, Header, Mode, OutputPort, Result, StreamName};

pub use crate::offers::StreamNames;
use crate::{
    counts::FrameCounts,
    meter::StreamReport,
    offers::{Entry, OfferQueue},
};

/// Number of frames, or media time, after which a run ends on purpose.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunLimit {
    /// Frames to admit from each stream.
    pub frames: Option<u64>,
    /// Media time to admit from each stream, counted from its first frame.
    pub duration: Option<Duration>,
}

/// Last frame of a stream in an earlier run, after which this run resumes the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ResumePoint {
    /// Frame number.
    pub frame: u64,
    /// Media time, ns. Frames up to and including this time are not admitted again.
    pub pts: i64,
}

/// Admission gate of one source; see the [module](self).
pub struct Gate {
    window: u64,
    stop: Arc<AtomicBool>,
    state: Mutex<State>,
    /// Notified when a reader may have room to offer another frame.
    room: Condvar,
}

struct State {
    offers: OfferQueue,
    sinks: Vec<Sink>,
    /// Frames and ends of streams that entered the graph.
    entered: u64,
    /// Entries in flight, oldest first: true for a frame, false for the end of a stream.
    in_flight: VecDeque<bool>,
    /// Frames that every sink has finished.
    finished: u64,
    /// True after a sink was given up: entries that leave the graph later are not known to be finished.
    has_lost_sink: bool,
    /// Time of the last progress of the window, from which a stall is measured.
    last_progress: Instant,
    /// True once the outputs of the source were closed.
    is_closed: bool,
}

/// A sink of the source: an operator that no ordinary consumer reads, so that the window waits for it.
#[derive(Clone, Debug)]
pub struct Sink {
    /// Id of the node.
    pub node: String,
    /// True when the operator runs in another process.
    pub is_remote: bool,
    /// Progress of the sink.
    pub progress: SinkProgress,
}

/// Identifier of a sink at its gate, returned by [`Gate::add_sink`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinkId(usize);

/// Progress of a sink, or the least progress of the sinks of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SinkProgress {
    /// Number of finished entries of the source: frames and ends of streams.
    Finished(u64),
    /// All streams have ended and the files are closed.
    Closed,
}

impl SinkProgress {
    /// Describes the progress as a clause for messages.
    pub fn describe(self) -> String {
        match self {
            SinkProgress::Finished(0) => "it has finished no frame".into(),
            SinkProgress::Finished(entries) => format!("it has finished {entries} frames and ends of streams"),
            SinkProgress::Closed => "it has closed".into(),
        }
    }
}

/// Factor by which closing an operator, or ending a stream, may exceed the stall timeout: long recordings are assembled
/// and encoders flushed at that point.
pub(crate) const CLOSING_TIMEOUT_FACTOR: u32 = 6;

/// Next action of the source's lane.
pub enum Admission {
    /// A frame enters the graph.
    Frame(Header, CapturedFrame),
    /// A stream has ended: send its closing rows and the end.
    End {
        /// Header of the end, with the frame number that follows the last frame.
        header: Header,
        /// Frames of the stream in this run.
        frames: u64,
        /// Rows that belong to no frame and are sent before the end.
        closing: Vec<ClosingRows>,
    },
    /// Every stream has ended: close the outputs.
    Close,
    /// Nothing to do: the window is full, or no frame was offered.
    Wait,
}

/// Deadlines for the progress of the sinks.
#[derive(Clone, Copy, Debug)]
pub struct StallDeadlines {
    /// Longest time without progress of the window.
    pub stall: Duration,
    /// Longest time until every sink has finished its first frame; other processes may still load models.
    pub start: Duration,
}

impl State {
    /// Number of entries that every sink has finished; without sinks, every entry counts as finished.
    fn finished_entries(&self) -> u64 {
        match self.sinks.iter().map(|sink| sink.progress).min() {
            Some(SinkProgress::Finished(entries)) => entries.min(self.entered),
            Some(SinkProgress::Closed) | None => self.entered,
        }
    }

    /// Removes finished entries from `in_flight` and counts their frames. Returns true if there were any.
    fn retire_finished(&mut self) -> bool {
        let left = (self.entered - self.finished_entries()) as usize;
        let done = self.in_flight.len().saturating_sub(left);
        let frames = self.in_flight.drain(..done).filter(|frame| *frame).count() as u64;
        self.finished += if self.has_lost_sink { 0 } else { frames };
        done > 0
    }

    /// Records an entry that enters the graph: a frame, or the end of a stream.
    fn record_entry(&mut self, is_frame: bool) {
        if self.in_flight.is_empty() {
            // An empty window does not stall: the time starts with this entry.
            self.last_progress = Instant::now();
        }
        self.entered += 1;
        self.in_flight.push_back(is_frame);
    }
}

impl Gate {
    /// Creates a gate without sinks, whose window is never full. `node` is the id of the source.
    pub fn new(
        node: &str,
        mode: Mode,
        window: usize,
        limit: RunLimit,
        stop: Arc<AtomicBool>,
        names: StreamNames,
    ) -> Self {
        Gate {
            window: window.max(1) as u64,
            stop,
            state: Mutex::new(State {
                offers: OfferQueue::new(node, mode, limit, names),
                sinks: vec![],
                entered: 0,
                in_flight: VecDeque::new(),
                finished: 0,
                has_lost_sink: false,
                last_progress: Instant::now(),
                is_closed: false,
            }),
            room: Condvar::new(),
        }
    }

    /// Sets the outputs of the source. Rows of tables declared `carried` are not dropped with their frame.
    pub fn with_outputs(self, outputs: &[OutputPort]) -> Self {
        self.lock().offers.set_outputs(outputs);
        self
    }

    /// Sets the resume points of an earlier run, by stream name.
    pub fn resuming_after(self, points: BTreeMap<String, ResumePoint>) -> Self {
        self.lock().offers.resume_after(points);
        self
    }

    /// Adds a sink that the window waits for.
    pub fn add_sink(&self, node: &str, is_remote: bool) -> SinkId {
        let mut state = self.lock();
        state.sinks.push(Sink { node: node.into(), is_remote, progress: SinkProgress::Finished(0) });
        SinkId(state.sinks.len() - 1)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the readers of the opened source: one for each item of `streams`, the name of its stream where it is known.
    ///
    /// # Errors
    /// When two streams have the same name.
    pub fn open_readers(&self, streams: Vec<Option<StreamName>>) -> Result<()> {
        self.lock().offers.open_readers(streams)
    }

    /// Offers a frame of a reader; waits for room in `complete` mode. Returns false when the reader may end, because no
    /// more of its frames are wanted.
    ///
    /// # Errors
    /// When the stream has the name of a stream of another reader.
    pub fn offer(&self, reader: usize, captured: CapturedFrame) -> Result<bool> {
        let mut state = self.lock();
        let wanted = |state: &State| state.offers.wants_frames(reader) && !self.stop.load(Ordering::Relaxed);
        while state.offers.is_full(reader) && wanted(&state) {
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let wanted = wanted(&state);
        if wanted {
            state.offers.push(reader, captured)?;
        }
        Ok(wanted)
    }

    /// Sets the closing rows of a reader: those that follow its last frame. Call it before [`Gate::end_reader`].
    pub fn set_closing_rows(&self, reader: usize, closing: Vec<ClosingRows>) {
        self.lock().offers.set_closing_rows(reader, closing);
    }

    /// Sets the additional counts of a reader, for the report. Call it before [`Gate::end_reader`].
    pub fn set_reader_counts(&self, reader: usize, counts: Vec<(&'static str, u64)>) {
        self.lock().offers.set_reader_counts(reader, counts);
    }

    /// Marks a reader as ended, with success or with its failure.
    pub fn end_reader(&self, reader: usize, outcome: Result<()>) {
        self.lock().offers.end_reader(reader, outcome);
    }

    /// Wakes readers that wait for room, so that they see the stop flag.
    pub fn wake(&self) {
        // Taking the lock orders this call after a reader's check of the stop flag, so that no wake-up is missed.
        drop(self.lock());
        self.room.notify_all();
    }

    /// Returns the next action; the lane of the source calls it until it is `Wait`.
    pub fn admit(&self) -> Admission {
        let mut guard = self.lock();
        let state = &mut *guard;
        state.retire_finished();
        if state.in_flight.len() as u64 >= self.window {
            return Admission::Wait;
        }
        if self.stop.load(Ordering::Relaxed) {
            // Frames that wait at the gate are dropped: the run is to end.
            state.offers.close();
        }
        let may_end = !state.in_flight.contains(&false);
        let next = state.offers.next_entry(may_end);
        self.room.notify_all();
        match next {
            Some(Entry::Frame(header, captured)) => {
                state.record_entry(true);
                Admission::Frame(header, captured)
            }
            Some(Entry::End { header, frames, closing }) => {
                state.record_entry(false);
                Admission::End { header, frames, closing }
            }
            // After a stop or a limit the graph ends without waiting for a reader, which may hang in a camera.
            None if state.offers.has_ended() && !state.is_closed => {
                state.is_closed = true;
                state.last_progress = Instant::now();
                Admission::Close
            }
            None => Admission::Wait,
        }
    }

    /// Records the progress of a sink. Returns true when the window advanced.
    pub fn record_progress(&self, sink: SinkId, progress: SinkProgress) -> bool {
        let mut state = self.lock();
        let known = &mut state.sinks[sink.0].progress;
        let closes = progress == SinkProgress::Closed && *known != progress;
        *known = (*known).max(progress);
        let advanced = state.retire_finished();
        if advanced || closes {
            state.last_progress = Instant::now();
        }
        advanced
    }

    /// Gives up a sink that will report no more progress. The window no longer waits for it; frames that it has not
    /// finished are reported as unfinished.
    pub fn give_up_sink(&self, sink: SinkId) {
        let mut state = self.lock();
        state.retire_finished();
        state.has_lost_sink |= state.sinks[sink.0].progress != SinkProgress::Closed;
        state.sinks[sink.0].progress = SinkProgress::Closed;
        state.retire_finished();
    }

    /// Returns the sink that is furthest behind if entries are in flight and the window has made no progress within the
    /// deadline.
    pub fn stalled_sink(&self, deadlines: StallDeadlines) -> Option<Sink> {
        let state = self.lock();
        let last = state.sinks.iter().min_by_key(|sink| sink.progress)?;
        let closing = state.is_closed && state.in_flight.is_empty();
        let waiting = !state.in_flight.is_empty() || (closing && last.progress != SinkProgress::Closed);
        // A sink of this process may wait for an operator in another one that still loads its model. Operators of this
        // process have deadlines of their own.
        let is_starting = |sink: &Sink| sink.progress == SinkProgress::Finished(0);
        // At the end of a stream files are finished and encoders flushed, which may take as long as closing.
        let deadline = match closing || state.in_flight.contains(&false) {
            true => deadlines.stall * CLOSING_TIMEOUT_FACTOR,
            false if state.sinks.iter().any(is_starting) => deadlines.start.max(deadlines.stall),
            false => deadlines.stall,
        };
        (waiting && state.last_progress.elapsed() > deadline).then(|| last.clone())
    }

    /// Restarts the stall timer: the window has a known reason to stand still.
    pub fn restart_stall_timer(&self) {
        self.lock().last_progress = Instant::now();
    }

    /// Returns a sink of another process that had not closed when its process ended; `None` if it had closed, or if the
    /// run is being stopped.
    pub fn unclosed_sink(&self, sink: SinkId) -> Option<Sink> {
        let state = self.lock();
        let sink = &state.sinks[sink.0];
        (sink.progress != SinkProgress::Closed && !self.stop.load(Ordering::Relaxed)).then(|| sink.clone())
    }

    /// Returns true when a sink has closed, or was given up.
    pub fn is_sink_closed(&self, sink: SinkId) -> bool {
        self.lock().sinks[sink.0].progress == SinkProgress::Closed
    }

    /// Returns true when no entry is in flight: every sink has finished every entry.
    pub fn is_idle(&self) -> bool {
        self.lock().in_flight.is_empty()
    }

    /// Returns true when the streams have ended and every sink has closed.
    pub fn is_drained(&self) -> bool {
        let state = self.lock();
        state.is_closed && state.sinks.iter().all(|sink| sink.progress == SinkProgress::Closed)
    }

    /// Returns the frame counts so far, summed over all streams.
    pub fn counts(&self) -> FrameCounts {
        self.lock().offers.counts()
    }

    /// Returns the number of frames that every sink has finished.
    pub fn finished_frames(&self) -> u64 {
        let mut state = self.lock();
        state.retire_finished();
        state.finished
    }

    /// Returns the number of streams that are known so far.
    pub fn stream_count(&self) -> usize {
        self.lock().offers.stream_count()
    }

    /// Returns the reports of the streams so far.
    pub fn stream_reports(&self) -> Vec<StreamReport> {
        self.lock().offers.stream_reports()
    }

    /// Returns true when no more frames are wanted of any reader.
    pub fn is_over(&self) -> bool {
        let state = self.lock();
        state.is_closed && state.offers.is_over()
    }

    /// Returns the failures of all readers as one error, one line each.
    pub fn reader_failure(&self) -> Option<Error> {
        self.lock().offers.reader_failure()
    }

    /// Counts the frames that still wait at the gate as dropped; for runs that were cut short.
    pub fn drop_waiting(&self) {
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

    fn gate(mode: Mode, limit: RunLimit) -> Gate {
        let gate = Gate::new("s", mode, 2, limit, Arc::default(), StreamNames::default());
        gate.open_readers(vec![None]).unwrap();
        gate
    }

    fn sinks(gate: &Gate) -> [SinkId; 2] {
        ["a", "b"].map(|node| gate.add_sink(node, false))
    }

    fn offer(gate: &Gate, pts: i64) {
        gate.offer(0, captured(pts)).unwrap();
    }

    fn captured(pts: i64) -> CapturedFrame {
        CapturedFrame { stream: "s".into(), session: 0, pts, captured_at: 0, outputs: vec![] }
    }

    fn frame(gate: &Gate) -> Option<(u64, i64)> {
        match gate.admit() {
            Admission::Frame(header, _) => Some((header.frame, header.pts)),
            _ => None,
        }
    }

    #[test]
    fn a_full_window_drops_all_but_the_newest_frame_in_live_mode() {
        let gate = gate(Mode::Live, RunLimit::default());
        let [a, b] = sinks(&gate);
        for pts in 0..2 {
            offer(&gate, pts);
            assert_eq!(frame(&gate), Some((pts as u64, pts)));
        }
        for pts in 2..7 {
            offer(&gate, pts);
            assert_eq!(frame(&gate), None, "two frames are in flight");
        }
        assert!(
            !gate.record_progress(a, SinkProgress::Finished(1)),
            "the window advances with the sink that is furthest behind"
        );
        assert!(gate.record_progress(b, SinkProgress::Finished(1)));
        assert_eq!(frame(&gate), Some((2, 6)), "the newest frame is admitted, and numbers have no gap");
        assert_eq!(gate.counts(), FrameCounts { decoded: 7, admitted: 3, dropped: 4 });
        assert_eq!(gate.finished_frames(), 1);
    }

    #[test]
    fn audio_rows_of_dropped_frames_go_with_the_next_frame_and_other_rows_are_dropped() {
        let outputs = [
            OutputPort { name: "audio", ty: PortType::table::<Audio>() },
            OutputPort { name: "counts", ty: PortType::table::<Count>() },
        ];
        let gate = gate(Mode::Live, RunLimit::default()).with_outputs(&outputs);
        let both = sinks(&gate);
        let offer = |pts: i64| {
            let audio = Audio::encode(&[Audio { start: pts, rate: 8000, channels: 1, samples: vec![pts as f32; 3] }]);
            let count = Count::encode(&[Count { frames: pts as u64, checksum: 0 }]);
            let outputs = [audio, count].map(|table| Body::Data(Payload::Table(Arc::new(table)))).to_vec();
            gate.offer(0, CapturedFrame { outputs, ..captured(pts) }).unwrap();
        };
        let mut admitted = vec![];
        let mut admit = || {
            let Admission::Frame(_, captured) = gate.admit() else { return };
            let [Body::Data(Payload::Table(audio)), Body::Data(Payload::Table(count))] = &captured.outputs[..] else {
                panic!("two tables");
            };
            admitted.extend(Audio::decode(audio).unwrap().into_iter().map(|row| (row.start, row.samples.len())));
            assert_eq!(Count::decode(count).unwrap().len(), 1, "rows of a count belong to their frame");
        };
        for pts in 0..7 {
            offer(pts);
            admit();
        }
        for sink in both {
            gate.record_progress(sink, SinkProgress::Finished(1));
        }
        admit();
        assert_eq!(gate.counts().dropped, 4);
        assert_eq!(admitted, (0..7).map(|pts| (pts, 3)).collect::<Vec<_>>(), "every audio row arrives once, in order");
    }

    #[test]
    fn audio_rows_wait_while_the_output_is_skipped_and_the_rest_closes_the_stream() {
        let outputs = [OutputPort { name: "audio", ty: PortType::table::<Audio>() }];
        let gate = gate(Mode::Live, RunLimit::default()).with_outputs(&outputs);
        let both = sinks(&gate);
        let finish = |n| {
            for sink in both {
                gate.record_progress(sink, SinkProgress::Finished(n));
            }
        };
        let audio = |pts: i64| Audio::encode(&[Audio { start: pts, rate: 8000, channels: 1, samples: vec![0.0] }]);
        let offer =
            |pts: i64, body: Body| gate.offer(0, CapturedFrame { outputs: vec![body], ..captured(pts) }).unwrap();
        let data = |pts| Body::Data(Payload::Table(Arc::new(audio(pts))));
        let starts = |rows: &Arc<StructArray>| -> Vec<i64> {
            Audio::decode(rows).unwrap().into_iter().map(|row| row.start).collect()
        };
        (0..2).for_each(|pts| assert!(offer(pts, data(pts)) && frame(&gate).is_some()));
        offer(2, data(2));
        offer(3, Body::Skipped("damaged".into()));
        finish(2);
        assert_eq!(frame(&gate), Some((2, 3)), "frame 2 of the file was dropped, its audio rows wait");
        offer(4, data(4));
        let Admission::Frame(_, captured) = gate.admit() else { panic!("a frame waits") };
        let Body::Data(Payload::Table(rows)) = &captured.outputs[0] else { panic!("the frame has audio rows") };
        assert_eq!(starts(rows), [2, 4]);
        offer(5, data(5));
        offer(6, Body::Skipped("damaged".into()));
        finish(4);
        assert!(frame(&gate).is_some());
        gate.set_closing_rows(0, vec![ClosingRows { stream: "s".into(), output: "audio", rows: Arc::new(audio(7)) }]);
        gate.end_reader(0, Ok(()));
        let Admission::End { closing, frames, .. } = gate.admit() else { panic!("the stream ends") };
        assert_eq!((starts(&closing[0].rows), closing.len(), frames), (vec![5, 7], 1, 5));
    }

    #[test]
    fn a_limit_ends_the_run_and_frames_decoded_beyond_it_are_not_counted() {
        let gate = gate(Mode::Complete, RunLimit { frames: Some(1), duration: None });
        sinks(&gate);
        (0..2).for_each(|pts| offer(&gate, pts));
        assert!(frame(&gate).is_some());
        assert!(matches!(gate.admit(), Admission::End { header, frames: 1, .. } if header.frame == 1));
        assert!(!gate.offer(0, captured(2)).unwrap(), "no more frames are wanted");
        assert_eq!(gate.counts(), FrameCounts { decoded: 1, admitted: 1, dropped: 0 });
        assert_eq!(gate.finished_frames(), 0);
    }

    #[test]
    fn ends_of_many_streams_are_admitted_one_at_a_time_within_the_window() {
        let gate = Gate::new("s", Mode::Complete, 4, RunLimit::default(), Arc::default(), StreamNames::default());
        gate.open_readers((0..3).map(|i| Some(format!("s{i}").into())).collect()).unwrap();
        let sink = gate.add_sink("sink", false);
        (0..3).for_each(|reader| gate.end_reader(reader, Ok(())));
        for (n, stream) in (1..).zip(["s0", "s1", "s2"]) {
            assert!(matches!(gate.admit(), Admission::End { header, .. } if *header.stream == *stream));
            let next = gate.admit();
            assert!(matches!(next, Admission::Wait) != (n == 3), "the end of `{stream}` is in flight");
            assert!(matches!(next, Admission::Close) == (n == 3), "nothing follows the last one");
            assert!(gate.record_progress(sink, SinkProgress::Finished(n)));
        }
        assert!(matches!(gate.admit(), Admission::Wait));
        assert!(!gate.is_drained());
        gate.record_progress(sink, SinkProgress::Closed);
        assert!(gate.is_drained());
    }

    #[test]
    fn a_stall_names_the_sink_furthest_behind() {
        let gate = gate(Mode::Complete, RunLimit::default());
        let [a, _] = sinks(&gate);
        let no_time = StallDeadlines { stall: Duration::ZERO, start: Duration::ZERO };
        offer(&gate, 0);
        assert!(gate.stalled_sink(no_time).is_none(), "nothing in flight");
        assert!(frame(&gate).is_some());
        gate.record_progress(a, SinkProgress::Finished(1));
        assert_eq!(gate.stalled_sink(no_time).map(|sink| sink.node), Some("b".into()));
    }

    #[test]
    fn every_sink_has_the_start_timeout_for_its_first_frame() {
        let gate = gate(Mode::Complete, RunLimit::default());
        let far = gate.add_sink("far", false);
        let deadlines = StallDeadlines { stall: Duration::ZERO, start: Duration::MAX };
        (0..2).for_each(|pts| offer(&gate, pts));
        (0..2).for_each(|_| assert!(frame(&gate).is_some()));
        assert!(
            gate.stalled_sink(deadlines).is_none(),
            "an operator before it may still load a model in another process"
        );
        assert!(gate.stalled_sink(StallDeadlines { start: Duration::ZERO, ..deadlines }).is_some());
        gate.record_progress(far, SinkProgress::Finished(1));
        assert!(gate.stalled_sink(deadlines).is_some(), "the sink is ready and does not answer");
    }

    #[test]
    fn finished_frames_are_counted_without_the_ends_of_streams_between_them() {
        let gate = Gate::new("s", Mode::Live, 8, RunLimit::default(), Arc::default(), StreamNames::default());
        gate.open_readers(vec![Some("one".into()), Some("two".into())]).unwrap();
        let sink = gate.add_sink("sink", false);
        gate.end_reader(0, Ok(()));
        assert!(matches!(gate.admit(), Admission::End { .. }));
        let offer = |pts| gate.offer(1, CapturedFrame { stream: "two".into(), ..captured(pts) }).unwrap();
        (0..3).for_each(|pts| assert!(offer(pts) && frame(&gate).is_some()));
        gate.record_progress(sink, SinkProgress::Finished(3));
        assert_eq!(gate.finished_frames(), 2, "one of the three entries was an end");
    }
}
