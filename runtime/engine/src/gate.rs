//! The window of one source: the only place where a frame may be forgotten.
//!
//! The reader thread offers decoded frames; the source's lane admits them while fewer than `window` are in flight. When
//! the window is full, `live` keeps only the newest offer and counts the others as forgotten, `complete` makes the
//! reader wait. Rows that outlive their frame, as sound does, are carried over from a forgotten offer to the newer one.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use sideline_api::{Body, Captured, Closing, Header, Mode, OutputPort, Payload, PortType, Result, StreamName, table};

/// Frames a reader may decode ahead in `complete` mode, so that decoding and processing overlap.
const AHEAD: usize = 2;

/// Ends a run on purpose after so many frames or so much media time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limit {
    /// Frames admitted per source.
    pub frames: Option<u64>,
    /// Media time after the first frame.
    pub duration: Option<Duration>,
}

/// See the [module](self).
pub struct Gate {
    name: StreamName,
    mode: Mode,
    window: u64,
    limit: Limit,
    stop: Arc<AtomicBool>,
    /// Numbers of the outputs whose rows outlive their frame.
    carried: Vec<usize>,
    state: Mutex<State>,
    room: Condvar,
}

struct State {
    offers: VecDeque<Captured>,
    /// Set once the reader is done: how it ended.
    reader: Option<Result<()>>,
    /// What the reader had left when it was done.
    closing: Vec<Closing>,
    streams: Vec<Stream>,
    decoded: u64,
    admitted: u64,
    forgotten: u64,
    leaves: Vec<Leaf>,
    moved: Instant,
    limited: bool,
    ended: bool,
}

struct Stream {
    name: StreamName,
    session: u32,
    frames: u64,
    first_pts: i64,
    last_pts: i64,
    captured: i64,
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
    /// Frames the reader decoded.
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
            mode,
            window: window.max(1) as u64,
            limit,
            stop,
            carried: vec![],
            state: Mutex::new(State {
                offers: VecDeque::new(),
                reader: None,
                closing: vec![],
                streams: vec![],
                decoded: 0,
                admitted: 0,
                forgotten: 0,
                leaves,
                moved: Instant::now(),
                limited: false,
                ended: false,
            }),
            room: Condvar::new(),
        }
    }

    /// The source's outputs: rows of carried tables are not forgotten with their frame.
    pub fn carrying(mut self, outputs: &[OutputPort]) -> Self {
        let carried = |port: &OutputPort| matches!(port.ty, PortType::Table(table) if table.carried);
        self.carried = (0..outputs.len()).filter(|i| carried(&outputs[*i])).collect();
        self
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reader has a frame. False: no more are wanted.
    pub fn offer(&self, mut captured: Captured) -> bool {
        let mut state = self.lock();
        if self.mode == Mode::Complete {
            while state.offers.len() >= AHEAD && !self.stopping(&state) {
                state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        if self.stopping(&state) {
            return false;
        }
        state.decoded += 1;
        if self.mode == Mode::Live {
            state.forgotten += state.offers.len() as u64;
            for older in state.offers.drain(..).rev() {
                self.carry_over(&older, &mut captured);
            }
        }
        state.offers.push_back(captured);
        true
    }

    /// Puts the rows of a frame that is forgotten, where they outlive it, before those of a newer one of its stream.
    fn carry_over(&self, older: &Captured, newer: &mut Captured) {
        if older.stream != newer.stream {
            return;
        }
        for at in &self.carried {
            let (Some(Body::Data(Payload::Table(before))), Some(Body::Data(Payload::Table(now)))) =
                (older.outputs.get(*at), newer.outputs.get_mut(*at))
            else {
                continue;
            };
            match table::concat(&[before.clone(), now.clone()]) {
                Ok(both) => *now = both,
                // Of another type than the output's: the check of its first message tells.
                Err(error) => tracing::warn!(%error, stream = &*older.stream, "rows of a forgotten frame are lost"),
            }
        }
    }

    fn stopping(&self, state: &State) -> bool {
        state.limited || self.stop.load(Ordering::Relaxed)
    }

    /// What the reader has left after its last frame; told before it is done.
    pub fn closing(&self, closing: Vec<Closing>) {
        self.lock().closing = closing;
    }

    /// The reader is done.
    pub fn reader_ended(&self, how: Result<()>) {
        self.lock().reader = Some(how);
    }

    /// Wakes a reader that waits for room, so that it sees a stop.
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
        if self.stop.load(Ordering::Relaxed) || state.limited {
            // What waits at the gate was decoded, and is not wanted any more.
            state.forgotten += state.offers.len() as u64;
            state.offers.clear();
            self.room.notify_all();
        }
        let Some(captured) = state.offers.pop_front() else {
            // After a stop or a limit the graph ends without waiting for a reader that may hang in a camera.
            let over = state.reader.is_some() || self.stopping(state);
            if !over || state.ended {
                return Admission::Wait;
            }
            state.ended = true;
            state.moved = Instant::now();
            let forgotten = state.forgotten;
            let mut headers: Vec<Header> = state.streams.iter().map(|stream| stream.end(forgotten)).collect();
            if headers.is_empty() {
                let stream = self.name.clone();
                headers.push(Header { stream, session: 0, frame: 0, pts: 0, captured: 0, forgotten });
            }
            // What was stopped ends where it was stopped.
            let closing = if self.stopping(state) { vec![] } else { std::mem::take(&mut state.closing) };
            return Admission::End(headers, closing);
        };
        self.room.notify_all();
        let at = match state.streams.iter().position(|stream| stream.name == captured.stream) {
            Some(at) => at,
            None => {
                state.streams.push(Stream {
                    name: captured.stream.clone(),
                    session: captured.session,
                    frames: 0,
                    first_pts: captured.pts,
                    last_pts: captured.pts,
                    captured: captured.captured,
                });
                state.streams.len() - 1
            }
        };
        let stream = &mut state.streams[at];
        // Media time never goes back; some live sources repeat a stamp.
        let pts = captured.pts.max(stream.last_pts);
        let passed = (pts - stream.first_pts).max(0) as u128;
        if self.limit.duration.is_some_and(|most| passed >= most.as_nanos()) {
            state.limited = true;
            state.forgotten += 1;
            self.room.notify_all();
            drop(guard);
            return self.admit();
        }
        let header = Header {
            stream: stream.name.clone(),
            session: captured.session,
            frame: stream.frames,
            pts,
            captured: captured.captured,
            forgotten: state.forgotten,
        };
        stream.frames += 1;
        stream.last_pts = pts;
        stream.session = captured.session;
        stream.captured = captured.captured;
        if state.admitted <= finished {
            // The window was empty: standing still until now was not a stall.
            state.moved = Instant::now();
        }
        state.admitted += 1;
        if self.limit.frames.is_some_and(|most| state.admitted >= most) {
            state.limited = true;
            self.room.notify_all();
        }
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

    /// The counts so far.
    pub fn counts(&self) -> GateCounts {
        let state = self.lock();
        GateCounts {
            decoded: state.decoded,
            admitted: state.admitted,
            forgotten: state.forgotten,
            finished: state.leaves.iter().map(|leaf| leaf.finished).min().unwrap_or(state.admitted).min(state.admitted),
        }
    }

    /// True when nothing more is wanted of the reader.
    pub fn over(&self) -> bool {
        let state = self.lock();
        state.ended && self.stopping(&state)
    }

    /// How the reader ended, if it did.
    pub fn reader(&self) -> Option<Result<()>> {
        self.lock().reader.clone()
    }

    /// Frames still at the gate are counted as forgotten: for runs that were cut short.
    pub fn abandon(&self) {
        let mut state = self.lock();
        state.forgotten += state.offers.len() as u64;
        state.offers.clear();
        state.limited = true;
        self.room.notify_all();
    }
}

impl Stream {
    fn end(&self, forgotten: u64) -> Header {
        Header {
            stream: self.name.clone(),
            session: self.session,
            frame: self.frames,
            pts: self.last_pts,
            captured: self.captured,
            forgotten,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sideline_api::{
        Table,
        tables::{Audio, Count},
    };

    fn gate(mode: Mode, limit: Limit) -> Gate {
        Gate::new("s", mode, 2, limit, Arc::default(), vec!["a".into(), "b".into()])
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
            gate.offer(captured(pts));
            assert_eq!(frame(&gate), Some((pts as u64, pts)));
        }
        for pts in 2..7 {
            gate.offer(captured(pts));
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
            gate.offer(Captured { outputs, ..captured(pts) });
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
    fn media_time_never_goes_back() {
        let gate = Gate::new("s", Mode::Complete, 9, Limit::default(), Arc::default(), vec![]);
        for pts in [5, 3] {
            gate.offer(captured(pts));
            assert_eq!(frame(&gate).map(|f| f.1), Some(5));
        }
    }

    #[test]
    fn a_limit_ends_the_run_and_accounts_for_what_was_decoded() {
        let gate = gate(Mode::Complete, Limit { frames: Some(1), duration: None });
        gate.offer(captured(0));
        gate.offer(captured(1));
        assert!(frame(&gate).is_some());
        gate.finished(0, 1);
        gate.finished(1, 1);
        assert!(matches!(gate.admit(), Admission::End(headers, _) if headers[0].frame == 1));
        assert!(!gate.offer(captured(2)), "no more are wanted");
        let counts = gate.counts();
        assert_eq!(counts.decoded, counts.admitted + counts.forgotten);
    }

    #[test]
    fn a_stall_names_the_last_leaf() {
        let gate = gate(Mode::Complete, Limit::default());
        gate.offer(captured(0));
        assert!(gate.stalled(Duration::ZERO).is_none(), "nothing in flight");
        assert!(frame(&gate).is_some());
        gate.finished(0, 1);
        assert_eq!(gate.stalled(Duration::ZERO).map(|leaf| leaf.node), Some("b".into()));
    }
}
