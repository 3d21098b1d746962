//! The window of one source: the only place where a frame may be forgotten.
//!
//! Reader threads, one for each stream of the source, offer decoded frames; the source's lane admits them while fewer
//! than `window` are in flight. When the window is full, `live` keeps only the newest offer of each stream and counts the
//! others as forgotten, `complete` makes the readers wait. Rows that outlive their frame, as sound does, are carried over
//! from a forgotten offer to the newer one.
//!
//! The window is the source's, not the stream's: what is in flight bounds memory and latency, and the graph behind it is
//! one. Frames enter it fairly (see [`Offers`]), so that every stream moves as long as the window does.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use sideline_api::{Captured, Closing, Error, Header, Mode, OutputPort, Result, StreamName};

use crate::offers::Offers;
pub use crate::offers::StreamCounts;

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
    /// Its media time, ns: frames up to it are passed over.
    pub pts: i64,
}

/// See the [module](self).
pub struct Gate {
    name: StreamName,
    window: u64,
    stop: Arc<AtomicBool>,
    state: Mutex<State>,
    room: Condvar,
}

struct State {
    offers: Offers,
    admitted: u64,
    leaves: Vec<Leaf>,
    moved: Instant,
    ended: bool,
}

/// How far a leaf is.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// Id of the node.
    pub node: String,
    /// Frames finished; [`CLOSED`] when it has ended its streams and closed its files.
    pub finished: u64,
}

/// How many times longer closing may take than a frame: long recordings are put together then.
pub(crate) const CLOSING: u32 = 6;

/// What a leaf reports last.
pub const CLOSED: u64 = u64::MAX;

/// What the lane of the source does next.
pub enum Admission {
    /// A frame enters the graph.
    Frame(Header, Captured),
    /// Every stream is over: send what is left of each, and `end` with these headers.
    End(Vec<Header>, Vec<Closing>),
    /// Nothing now: the window is full or no frame was offered.
    Wait,
}

/// What a source did, for the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GateCounts {
    /// Frames its readers decoded.
    pub decoded: u64,
    /// Frames that entered the graph.
    pub admitted: u64,
    /// Frames that did not, because newer ones came.
    pub forgotten: u64,
    /// Frames that left the graph at every leaf.
    pub finished: u64,
}

impl Gate {
    /// A gate with these leaves; a source without leaves has no window. `name` is the stream's when no frame ever comes.
    pub fn new(
        name: &str,
        mode: Mode,
        window: usize,
        limit: Limit,
        stop: Arc<AtomicBool>,
        leaves: Vec<String>,
    ) -> Self {
        let leaves = leaves.into_iter().map(|node| Leaf { node, finished: 0 }).collect();
        Gate {
            name: name.into(),
            window: window.max(1) as u64,
            stop,
            state: Mutex::new(State {
                offers: Offers::new(mode, limit),
                admitted: 0,
                leaves,
                moved: Instant::now(),
                ended: false,
            }),
            room: Condvar::new(),
        }
    }

    /// The source's outputs: rows of carried tables are not forgotten with their frame.
    pub fn carrying(self, outputs: &[OutputPort]) -> Self {
        self.lock().offers.carry(outputs);
        self
    }

    /// Streams, by their names, that go on after a frame of another run.
    pub fn after(self, after: BTreeMap<String, After>) -> Self {
        self.lock().offers.go_on(after);
        self
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The source is made: so many readers, with the names of their streams where they are known.
    pub fn open(&self, streams: Vec<Option<StreamName>>) {
        self.lock().offers.open(streams);
    }

    /// A reader has a frame. False: no more are wanted of it.
    pub fn offer(&self, reader: usize, captured: Captured) -> bool {
        let mut state = self.lock();
        let wanted = |state: &State| state.offers.wanted(reader) && !self.stop.load(Ordering::Relaxed);
        while state.offers.full(reader) && wanted(&state) {
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let wanted = wanted(&state);
        if wanted {
            state.offers.push(reader, captured);
        }
        wanted
    }

    /// What a reader has left after its last frame; told before it is done.
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

    /// What to do next; called by the lane of the source until it says `Wait`.
    pub fn admit(&self) -> Admission {
        let mut guard = self.lock();
        let state = &mut *guard;
        let finished = state.leaves.iter().map(|leaf| leaf.finished).min().unwrap_or(state.admitted);
        // A leaf also finishes closing messages, which were never admitted.
        if state.admitted.saturating_sub(finished) >= self.window {
            return Admission::Wait;
        }
        if self.stop.load(Ordering::Relaxed) {
            // What waits at the gate was decoded, and is not wanted any more.
            state.offers.close();
        }
        let next = state.offers.next();
        self.room.notify_all();
        let Some((header, captured)) = next else {
            // After a stop or a limit the graph ends without waiting for a reader that may hang in a camera.
            if !state.offers.over() || state.ended {
                return Admission::Wait;
            }
            state.ended = true;
            state.moved = Instant::now();
            return Admission::End(state.offers.ends(&self.name), state.offers.rest());
        };
        if state.admitted <= finished {
            // The window was empty: standing still until now was not a stall.
            state.moved = Instant::now();
        }
        state.admitted += 1;
        Admission::Frame(header, captured)
    }

    /// A leaf has finished `count` frames in all. True when the window moved.
    pub fn finished(&self, leaf: usize, count: u64) -> bool {
        let mut state = self.lock();
        let before = state.leaves.iter().map(|leaf| leaf.finished).min();
        state.leaves[leaf].finished = state.leaves[leaf].finished.max(count);
        let moved = state.leaves.iter().map(|leaf| leaf.finished).min() != before;
        if moved {
            state.moved = Instant::now();
        }
        moved
    }

    /// The leaf that is furthest behind, when frames are in flight and the window has stood still for `patience`.
    pub fn stalled(&self, patience: Duration) -> Option<Leaf> {
        let state = self.lock();
        let last = state.leaves.iter().min_by_key(|leaf| leaf.finished)?;
        let closing = state.ended && last.finished >= state.admitted;
        let waiting = state.admitted > last.finished || (closing && last.finished != CLOSED);
        let patience = if closing { patience * CLOSING } else { patience };
        (waiting && state.moved.elapsed() > patience).then(|| last.clone())
    }

    /// A leaf of another process is gone: an error unless it has closed before, or nothing is expected of it any more.
    pub fn leaf_gone(&self, leaf: usize) -> Option<Leaf> {
        let state = self.lock();
        (state.leaves[leaf].finished != CLOSED && !self.stop.load(Ordering::Relaxed))
            .then(|| state.leaves[leaf].clone())
    }

    /// True when the streams have ended and every leaf has closed.
    pub fn drained(&self) -> bool {
        let state = self.lock();
        state.ended && state.leaves.iter().all(|leaf| leaf.finished == CLOSED)
    }

    /// The counts so far, of all streams together.
    pub fn counts(&self) -> GateCounts {
        let state = self.lock();
        let finished = state.leaves.iter().map(|leaf| leaf.finished).min().unwrap_or(state.admitted);
        let mut counts = GateCounts { finished: finished.min(state.admitted), ..GateCounts::default() };
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
        state.ended && state.offers.over()
    }

    /// How readers failed, if any did: one error, a line for each.
    pub fn failure(&self) -> Option<Error> {
        self.lock().offers.failure()
    }

    /// Frames still at the gate are counted as forgotten: for runs that were cut short.
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
        tables::{Audio, Count},
    };

    fn gate(mode: Mode, limit: Limit) -> Gate {
        let gate = Gate::new("s", mode, 2, limit, Arc::default(), vec!["a".into(), "b".into()]);
        gate.open(vec![None]);
        gate
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
        for pts in 0..2 {
            gate.offer(0, captured(pts));
            assert_eq!(frame(&gate), Some((pts as u64, pts)));
        }
        for pts in 2..7 {
            gate.offer(0, captured(pts));
            assert_eq!(frame(&gate), None, "two frames are in flight");
        }
        assert!(!gate.finished(0, 1), "the edge is the least of all leaves");
        assert!(gate.finished(1, 1));
        assert_eq!(frame(&gate), Some((2, 6)), "the newest wins, numbers have no gap");
        assert_eq!(gate.counts(), GateCounts { decoded: 7, admitted: 3, forgotten: 4, finished: 1 });
    }

    #[test]
    fn sound_of_forgotten_frames_goes_with_the_next_one_and_other_rows_do_not() {
        let audio = PortType::table::<Audio>();
        let counts = PortType::table::<Count>();
        let outputs = [OutputPort { name: "audio", ty: audio }, OutputPort { name: "counts", ty: counts }];
        let gate = gate(Mode::Live, Limit::default()).carrying(&outputs);
        let offer = |pts: i64| {
            let sound = Audio::encode(&[Audio { start: pts, rate: 8000, channels: 1, samples: vec![pts as f32; 3] }]);
            let count = Count::encode(&[Count { frames: pts as u64, checksum: 0 }]);
            let outputs = [sound, count].map(|table| Body::Data(Payload::Table(Arc::new(table)))).to_vec();
            gate.offer(0, Captured { outputs, ..captured(pts) });
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
        for leaf in 0..2 {
            gate.finished(leaf, 1);
        }
        admit();
        assert_eq!(gate.counts().forgotten, 4);
        assert_eq!(admitted, (0..7).map(|pts| (pts, 3)).collect::<Vec<_>>(), "every row once, in order");
    }

    #[test]
    fn a_limit_ends_the_run_and_accounts_for_what_was_decoded() {
        let gate = gate(Mode::Complete, Limit { frames: Some(1), duration: None });
        gate.offer(0, captured(0));
        gate.offer(0, captured(1));
        assert!(frame(&gate).is_some());
        gate.finished(0, 1);
        gate.finished(1, 1);
        assert!(matches!(gate.admit(), Admission::End(headers, _) if headers[0].frame == 1));
        assert!(!gate.offer(0, captured(2)), "no more are wanted");
        let counts = gate.counts();
        assert_eq!(counts.decoded, counts.admitted + counts.forgotten);
    }

    #[test]
    fn a_stall_names_the_last_leaf() {
        let gate = gate(Mode::Complete, Limit::default());
        gate.offer(0, captured(0));
        assert!(gate.stalled(Duration::ZERO).is_none(), "nothing in flight");
        assert!(frame(&gate).is_some());
        gate.finished(0, 1);
        assert_eq!(gate.stalled(Duration::ZERO).map(|leaf| leaf.node), Some("b".into()));
    }
}
