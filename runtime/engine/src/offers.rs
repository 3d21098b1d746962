//! The frames that wait at a gate: which of them is next, which are dropped, and when their streams end.
//!
//! In `live` mode the newest frame of each stream waits, and the stream that has waited longest is next: one that brings
//! many frames takes nothing from one that brings few. In `complete` mode the readers take turns, one frame each, and the
//! reader whose turn it is is waited for: the order of frames and ends, and so every table, does not depend on which is
//! faster. The end of a stream is an entry like a frame.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use sideline_api::{
    Body, Captured, Closing, Error, Header, Mode, OutputPort, Payload, PortType, Result, StreamName,
    arrow::array::StructArray, table,
};

use crate::gate::{After, Limit};

/// Frames a reader may decode ahead in `complete` mode, so that decoding and processing overlap.
const AHEAD: usize = 2;

/// The stream names of all sources of a process: each belongs to one node.
#[derive(Clone, Default)]
pub struct StreamNames(Arc<Mutex<BTreeMap<StreamName, String>>>);

impl StreamNames {
    fn claim(&self, stream: &StreamName, node: &str) -> Result<()> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let owner = names.entry(stream.clone()).or_insert_with(|| node.into());
        if owner == node { Ok(()) } else { Err(taken(node, stream, owner)) }
    }
}

fn taken(node: &str, stream: &str, owner: &str) -> Error {
    Error::config(format!(
        "node `{node}`: stream `{stream}` has the name of a stream of `{owner}`, so their states and rows would mix; give each \
         stream a name of its own with the key `stream`"
    ))
}

/// See the [module](self).
pub(crate) struct Offers {
    node: String,
    mode: Mode,
    limit: Limit,
    names: StreamNames,
    /// Where streams go on that another run began.
    after: BTreeMap<String, After>,
    waiting: VecDeque<Offer>,
    readers: Vec<Reader>,
    streams: Vec<Stream>,
    /// `complete`: the reader that is next.
    turn: usize,
    /// Nothing more is wanted of any reader.
    closed: bool,
    /// Numbers of the outputs whose rows outlive their frame.
    carried: Vec<Carried>,
}

/// An output whose rows outlive their frame.
struct Carried {
    output: usize,
    name: &'static str,
}

struct Offer {
    reader: usize,
    stream: usize,
    captured: Captured,
}

#[derive(Default)]
struct Reader {
    /// Set once it is done: how it ended.
    ended: Option<Result<()>>,
    /// The rows it had left then.
    closing: Vec<Closing>,
    /// Its own counts.
    counts: Vec<(&'static str, u64)>,
}

struct Stream {
    name: StreamName,
    reader: usize,
    session: u32,
    first_pts: Option<i64>,
    last_pts: i64,
    captured: i64,
    counts: StreamCounts,
    /// The last frame of another run that this one goes on from.
    after: Option<After>,
    /// Rows of dropped frames that outlive them, for each carried output, in order.
    rows: Vec<Vec<Arc<StructArray>>>,
    /// It has come to the limit.
    over: bool,
    /// Its end has entered the graph.
    ended: bool,
}

/// Counts of a stream, for the report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamCounts {
    /// Frames its reader decoded; frames behind a limit are not counted.
    pub decoded: u64,
    /// Frames that entered the graph.
    pub admitted: u64,
    /// Frames that did not: newer ones came, or the run was stopped.
    pub forgotten: u64,
    /// Counts of the reader's own, by name; told when it has ended.
    pub own: Vec<(&'static str, u64)>,
}

/// An entry of the graph.
pub(crate) enum Entry {
    /// A frame.
    Frame(Header, Captured),
    /// The end of a stream.
    End {
        /// The place after its last frame.
        header: Header,
        /// Its frames in this run.
        frames: u64,
        /// Rows that are left of it.
        closing: Vec<Closing>,
    },
}

impl Offers {
    pub fn new(node: &str, mode: Mode, limit: Limit, names: StreamNames) -> Self {
        Offers {
            node: node.into(),
            mode,
            limit,
            names,
            after: BTreeMap::new(),
            waiting: VecDeque::new(),
            readers: vec![],
            streams: vec![],
            turn: 0,
            closed: false,
            carried: vec![],
        }
    }

    /// Takes in the source's outputs: rows of carried tables are not dropped with their frame.
    pub fn carry(&mut self, outputs: &[OutputPort]) {
        let carried = |(_, port): &(usize, &OutputPort)| matches!(port.ty, PortType::Table(table) if table.carried);
        let carried = outputs.iter().enumerate().filter(carried);
        self.carried = carried.map(|(output, port)| Carried { output, name: port.name }).collect();
    }

    /// The streams go on after these frames of another run.
    pub fn go_on(&mut self, after: BTreeMap<String, After>) {
        self.after = after;
    }

    /// The source has these readers; the names of their streams where they are known.
    ///
    /// # Errors
    /// When two streams have the same name.
    pub fn open(&mut self, names: Vec<Option<StreamName>>) -> Result<()> {
        self.readers.resize_with(names.len(), Reader::default);
        for (reader, name) in names.into_iter().enumerate() {
            if let Some(name) = name {
                self.begin(name, reader)?;
            }
        }
        Ok(())
    }

    /// Returns the number of a reader's stream, which begins here where it is new.
    fn begin(&mut self, name: StreamName, reader: usize) -> Result<usize> {
        if let Some(at) = self.streams.iter().position(|stream| stream.name == name) {
            return if self.streams[at].reader == reader { Ok(at) } else { Err(taken(&self.node, &name, &self.node)) };
        }
        self.names.claim(&name, &self.node)?;
        let after = self.after.get(&*name).copied();
        self.streams.push(Stream {
            name,
            reader,
            session: 0,
            first_pts: None,
            last_pts: 0,
            captured: 0,
            counts: StreamCounts::default(),
            after,
            rows: vec![vec![]; self.carried.len()],
            over: self.limit.frames == Some(0),
            ended: false,
        });
        Ok(self.streams.len() - 1)
    }

    /// True when a reader must wait before it offers another frame.
    pub fn full(&self, reader: usize) -> bool {
        self.mode == Mode::Complete && self.waiting.iter().filter(|offer| offer.reader == reader).count() >= AHEAD
    }

    /// False when nothing more of a reader is wanted: its streams have come to the limit, or the run is to end.
    pub fn wanted(&self, reader: usize) -> bool {
        let mut streams = self.streams.iter().filter(|stream| stream.reader == reader).peekable();
        !self.closed && (streams.peek().is_none() || streams.any(|stream| !stream.over && !self.has_all(stream)))
    }

    /// True in `complete` mode, where no frame is dropped, once as many are decoded as the limit lets in: the frame after
    /// them is not taken, and not counted.
    fn has_all(&self, stream: &Stream) -> bool {
        self.mode == Mode::Complete && self.limit.frames.is_some_and(|most| stream.counts.decoded >= most)
    }

    /// A reader has a frame.
    ///
    /// # Errors
    /// When its stream has the name of another one.
    pub fn push(&mut self, reader: usize, captured: Captured) -> Result<()> {
        let at = self.begin(captured.stream.clone(), reader)?;
        let stream = &mut self.streams[at];
        if stream.over || stream.after.is_some_and(|after| captured.pts <= after.pts) {
            // Behind the limit; or the run before has it, and its accounting counts it.
            return Ok(());
        }
        stream.counts.decoded += 1;
        // A stream that has a frame waiting keeps its place with the newer one: it has waited since then.
        let older = (self.mode == Mode::Live).then(|| self.waiting.iter_mut().find(|offer| offer.stream == at));
        match older.flatten() {
            Some(offer) => {
                stream.counts.forgotten += 1;
                let older = std::mem::replace(&mut offer.captured, captured);
                for (carried, rows) in self.carried.iter().zip(&mut stream.rows) {
                    if let Some(Body::Data(Payload::Table(table))) = older.outputs.get(carried.output) {
                        rows.push(table.clone());
                    }
                }
            }
            None => self.waiting.push_back(Offer { reader, stream: at, captured }),
        }
        Ok(())
    }

    /// A reader has these rows left after its last frame; told before it is done.
    pub fn closing(&mut self, reader: usize, closing: Vec<Closing>) {
        if let Some(reader) = self.readers.get_mut(reader) {
            reader.closing = closing;
        }
    }

    /// A reader's own counts; told before it is done.
    pub fn counted(&mut self, reader: usize, counts: Vec<(&'static str, u64)>) {
        if let Some(reader) = self.readers.get_mut(reader) {
            reader.counts = counts;
        }
    }

    /// A reader is done.
    pub fn ended(&mut self, reader: usize, how: Result<()>) {
        if let Some(reader) = self.readers.get_mut(reader) {
            reader.ended = Some(how);
        }
    }

    /// Returns the entry that is next. Where that is an end and `may_end` is false it is waited for.
    pub fn next(&mut self, may_end: bool) -> Option<Entry> {
        if self.streams.is_empty() && self.over() {
            // A source without a frame has one stream, of its own name, that ends.
            self.begin(self.node.as_str().into(), 0).ok()?;
        }
        match self.mode {
            Mode::Live => match self.due_end(None) {
                Some(stream) if may_end => Some(self.end(stream)),
                _ => self.next_frame(None),
            },
            Mode::Complete => self.next_in_turn(may_end),
        }
    }

    fn next_in_turn(&mut self, may_end: bool) -> Option<Entry> {
        // A run that was stopped may have readers that were never opened.
        let readers = self.readers.len().max(1);
        for reader in (self.turn..readers).chain(0..self.turn) {
            let entry = match self.next_frame(Some(reader)) {
                Some(frame) => Some(frame),
                None => match self.due_end(Some(reader)) {
                    Some(_) if !may_end => return None,
                    Some(stream) => Some(self.end(stream)),
                    None if self.done(reader) => continue,
                    None => return None,
                },
            };
            self.turn = (reader + 1) % readers;
            return entry;
        }
        None
    }

    /// The next frame that waits, of one reader or of any.
    fn next_frame(&mut self, reader: Option<usize>) -> Option<Entry> {
        loop {
            let at = self.waiting.iter().position(|offer| reader.is_none_or(|reader| offer.reader == reader))?;
            let Offer { stream: at, mut captured, .. } = self.waiting.remove(at)?;
            let stream = &mut self.streams[at];
            let first = *stream.first_pts.get_or_insert(captured.pts);
            // Media time never goes back; some live sources repeat a stamp.
            let pts = if stream.counts.admitted == 0 { captured.pts } else { captured.pts.max(stream.last_pts) };
            let passed = (pts - first).max(0) as u128;
            if stream.over || self.limit.duration.is_some_and(|most| passed >= most.as_nanos()) {
                stream.counts.decoded -= 1;
                self.finish(at);
                continue;
            }
            stream.put_carried(&self.carried, &mut captured);
            let header = Header {
                stream: stream.name.clone(),
                session: captured.session,
                frame: stream.next_frame(),
                pts,
                captured: captured.captured,
                forgotten: stream.counts.forgotten,
                closing: false,
            };
            stream.counts.admitted += 1;
            (stream.last_pts, stream.session, stream.captured) = (pts, captured.session, captured.captured);
            if self.limit.frames.is_some_and(|most| stream.counts.admitted >= most) {
                self.finish(at);
            }
            return Some(Entry::Frame(header, captured));
        }
    }

    /// The first stream whose end is due, of one reader or of any.
    fn due_end(&self, reader: Option<usize>) -> Option<usize> {
        let ours = |stream: &Stream| reader.is_none_or(|reader| stream.reader == reader);
        let due = |(at, stream): &(usize, &Stream)| {
            let waits = self.waiting.iter().any(|offer| offer.stream == *at);
            ours(stream) && !stream.ended && !waits && (stream.over || self.done(stream.reader))
        };
        self.in_order().filter(due).map(|(at, _)| at).next()
    }

    /// The end of a stream, with the rows that are left where it came to its own end: what was stopped ends there.
    fn end(&mut self, at: usize) -> Entry {
        let natural = !self.closed && !self.streams[at].over;
        let left = self.readers.get_mut(self.streams[at].reader).map(|reader| std::mem::take(&mut reader.closing));
        let stream = &mut self.streams[at];
        let (own, others) = left.unwrap_or_default().into_iter().partition(|closing| closing.stream == stream.name);
        if let Some(reader) = self.readers.get_mut(stream.reader) {
            reader.closing = others;
        }
        stream.ended = true;
        let closing = if natural { stream.left_over(&self.carried, own) } else { vec![] };
        Entry::End { header: stream.end(), frames: stream.counts.admitted, closing }
    }

    /// A stream has come to the limit: what its reader decoded beyond is no part of the run.
    fn finish(&mut self, stream: usize) {
        self.streams[stream].over = true;
        let before = self.waiting.len();
        self.waiting.retain(|offer| offer.stream != stream);
        self.streams[stream].counts.decoded -= (before - self.waiting.len()) as u64;
    }

    /// Nothing more is wanted of any reader: the frames that wait are dropped.
    pub fn close(&mut self) {
        self.closed = true;
        for offer in self.waiting.drain(..) {
            self.streams[offer.stream].counts.forgotten += 1;
        }
    }

    fn done(&self, reader: usize) -> bool {
        self.readers.get(reader).is_none_or(|reader| reader.ended.is_some()) || !self.wanted(reader)
    }

    /// True when no frame will come any more.
    pub fn over(&self) -> bool {
        let done = !self.readers.is_empty() && (0..self.readers.len()).all(|reader| self.done(reader));
        self.waiting.is_empty() && (done || self.closed)
    }

    /// True when every stream has ended, and none will begin.
    pub fn all_ended(&self) -> bool {
        self.over() && !self.streams.is_empty() && self.streams.iter().all(|stream| stream.ended)
    }

    /// The failures of the readers that failed: one error, a line for each.
    pub fn failure(&self) -> Option<Error> {
        let mut failed = self.readers.iter().filter_map(|reader| reader.ended.as_ref()?.as_ref().err());
        let mut first = failed.next()?.clone();
        for error in failed {
            first.message += &format!("\n{}", error.message);
        }
        Some(first)
    }

    /// The counts of each stream.
    pub fn counts(&self) -> Vec<(StreamName, StreamCounts)> {
        let own = |stream: &Stream| self.readers.get(stream.reader).map_or(vec![], |reader| reader.counts.clone());
        let counts = |stream: &Stream| StreamCounts { own: own(stream), ..stream.counts.clone() };
        self.in_order().map(|(_, stream)| (stream.name.clone(), counts(stream))).collect()
    }

    /// The streams in the order of their readers, whichever was the first to bring a frame.
    fn in_order(&self) -> impl Iterator<Item = (usize, &Stream)> {
        let mut streams: Vec<(usize, &Stream)> = self.streams.iter().enumerate().collect();
        streams.sort_by_key(|(_, stream)| stream.reader);
        streams.into_iter()
    }
}

impl Stream {
    /// Number of its next frame.
    fn next_frame(&self) -> u64 {
        self.after.map_or(0, |after| after.frame + 1) + self.counts.admitted
    }

    fn end(&self) -> Header {
        Header {
            stream: self.name.clone(),
            session: self.session,
            frame: self.next_frame(),
            pts: self.last_pts,
            captured: self.captured,
            forgotten: self.counts.forgotten,
            closing: true,
        }
    }

    /// Puts rows of dropped frames before those of a frame that is admitted. A frame without rows leaves them for the next.
    fn put_carried(&mut self, carried: &[Carried], captured: &mut Captured) {
        for (carried, rows) in carried.iter().zip(&mut self.rows) {
            if let (false, Some(Body::Data(Payload::Table(now)))) =
                (rows.is_empty(), captured.outputs.get_mut(carried.output))
            {
                rows.push(now.clone());
                if let Some(all) = put_together(&self.name, std::mem::take(rows)) {
                    *now = all;
                }
            }
        }
    }

    /// The closing rows of a stream: those of dropped frames before those its reader had left.
    fn left_over(&mut self, carried: &[Carried], mut closing: Vec<Closing>) -> Vec<Closing> {
        for (carried, rows) in carried.iter().zip(&mut self.rows) {
            let mut rows = std::mem::take(rows);
            let own = closing.iter().position(|closing| closing.output == carried.name);
            rows.extend(own.map(|at| closing.swap_remove(at).rows));
            if !rows.is_empty()
                && let Some(rows) = put_together(&self.name, rows)
            {
                closing.push(Closing { stream: self.name.clone(), output: carried.name, rows });
            }
        }
        closing
    }
}

fn put_together(stream: &str, rows: Vec<Arc<StructArray>>) -> Option<Arc<StructArray>> {
    // Of another type than the output's: the check of its message tells.
    table::concat(&rows).inspect_err(|error| tracing::warn!(%error, stream, "rows of dropped frames are lost")).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NAMES: [&str; 2] = ["left", "right"];

    fn offers(mode: Mode, limit: Limit) -> Offers {
        let mut offers = Offers::new("node", mode, limit, StreamNames::default());
        offers.open(NAMES.map(|name| Some(name.into())).to_vec()).unwrap();
        offers
    }

    fn push(offers: &mut Offers, reader: usize, ms: i64) {
        let captured =
            Captured { stream: NAMES[reader].into(), session: 0, pts: ms * 1_000_000, captured: 0, outputs: vec![] };
        offers.push(reader, captured).unwrap();
    }

    /// Stream, number and time of the next frame; ends before it are left out.
    fn next(offers: &mut Offers) -> Option<(String, u64, i64)> {
        loop {
            if let Entry::Frame(header, _) = offers.next(true)? {
                return Some((header.stream.to_string(), header.frame, header.pts / 1_000_000));
            }
        }
    }

    /// Stream, number and frames of the next end.
    fn next_end(offers: &mut Offers) -> Option<(String, u64, u64)> {
        match offers.next(true)? {
            Entry::End { header, frames, .. } => Some((header.stream.to_string(), header.frame, frames)),
            Entry::Frame(header, _) => panic!("frame {} of `{}` was not expected", header.frame, header.stream),
        }
    }

    fn named(stream: usize, frame: u64, ms: i64) -> Option<(String, u64, i64)> {
        Some((NAMES[stream].into(), frame, ms))
    }

    fn counts(offers: &Offers) -> [(u64, u64, u64); 2] {
        let counts: Vec<_> = offers.counts().iter().map(|(_, c)| (c.decoded, c.admitted, c.forgotten)).collect();
        [counts[0], counts[1]]
    }

    #[test]
    fn complete_the_readers_take_turns_and_none_is_passed_over_for_being_slow() {
        let mut offers = offers(Mode::Complete, Limit::default());
        push(&mut offers, 1, 0);
        assert_eq!(next(&mut offers), None, "it is the turn of the first");
        for ms in [0, 10] {
            push(&mut offers, 0, ms);
        }
        assert!(offers.full(0) && !offers.full(1), "each may be two frames ahead");
        assert_eq!([next(&mut offers), next(&mut offers)], [named(0, 0, 0), named(1, 0, 0)]);
        assert_eq!(next(&mut offers), named(0, 1, 10));
        assert_eq!(next(&mut offers), None, "the second has none yet");
        offers.ended(1, Ok(()));
        push(&mut offers, 0, 20);
        assert!(offers.next(false).is_none(), "its end is due, and another one is under way");
        assert_eq!(next_end(&mut offers), Some(("right".into(), 1, 1)), "it ends while the other goes on");
        assert_eq!(next(&mut offers), named(0, 2, 20), "a reader that has ended has no turn");
        assert!(!offers.over());
        offers.ended(0, Ok(()));
        assert!(offers.over() && !offers.all_ended());
        assert_eq!(next_end(&mut offers), Some(("left".into(), 3, 3)));
        assert!(offers.all_ended() && offers.next(true).is_none());
    }

    #[test]
    fn live_the_newest_of_each_stream_waits_and_the_longest_waiting_is_next() {
        let mut offers = offers(Mode::Live, Limit::default());
        push(&mut offers, 1, 0);
        for ms in 0..5 {
            push(&mut offers, 0, ms);
        }
        push(&mut offers, 1, 7);
        assert_eq!(next(&mut offers), named(1, 0, 7), "it keeps its place with a newer frame");
        assert_eq!(next(&mut offers), named(0, 0, 4));
        assert_eq!(next(&mut offers), None);
        assert_eq!(counts(&offers), [(5, 1, 4), (2, 1, 1)]);
    }

    #[test]
    fn complete_no_frame_is_taken_beyond_the_limit_and_live_they_are_dropped() {
        let limit = Limit { frames: Some(1), duration: None };
        let mut complete = offers(Mode::Complete, limit);
        assert!(complete.wanted(0));
        push(&mut complete, 0, 0);
        assert!(!complete.wanted(0) && complete.wanted(1), "it has what the limit lets in");
        assert_eq!(next(&mut complete), named(0, 0, 0), "which is admitted all the same");
        assert_eq!(counts(&complete)[0], (1, 1, 0));
        let mut live = offers(Mode::Live, limit);
        push(&mut live, 0, 0);
        assert!(live.wanted(0), "a newer frame may take its place");
        push(&mut live, 0, 10);
        assert_eq!(next(&mut live), named(0, 0, 10));
        assert_eq!(counts(&live)[0], (2, 1, 1));
    }

    #[test]
    fn a_limit_is_for_each_stream() {
        let mut offers = offers(Mode::Complete, Limit { frames: Some(2), duration: Some(Duration::from_millis(25)) });
        for ms in [0, 20] {
            push(&mut offers, 1, ms);
        }
        push(&mut offers, 0, 0);
        assert_eq!([next(&mut offers), next(&mut offers)], [named(0, 0, 0), named(1, 0, 0)]);
        push(&mut offers, 0, 30);
        assert_eq!(next(&mut offers), named(1, 1, 20), "the first one's time is up: it has no turn");
        assert!(!offers.wanted(0) && !offers.wanted(1) && offers.over());
        assert_eq!(counts(&offers), [(1, 1, 0), (2, 2, 0)], "frames behind the limit are no part of the run");
    }

    #[test]
    fn every_reader_that_failed_is_named() {
        let mut offers = offers(Mode::Complete, Limit::default());
        assert_eq!(offers.failure(), None);
        offers.ended(0, Err(Error::input("a.mp4 is cut off")));
        push(&mut offers, 1, 0);
        assert_eq!(next(&mut offers), named(1, 0, 0), "the others go on");
        offers.ended(1, Err(Error::other("b.mp4 is gone")));
        assert_eq!(offers.failure(), Some(Error::input("a.mp4 is cut off\nb.mp4 is gone")));
    }

    #[test]
    fn media_time_never_goes_back() {
        let mut offers = offers(Mode::Live, Limit::default());
        for ms in [5, 3] {
            push(&mut offers, 0, ms);
            assert_eq!(next(&mut offers).map(|frame| frame.2), Some(5));
        }
    }

    #[test]
    fn a_stream_goes_on_after_the_last_frame_of_another_run() {
        let limit = Limit { frames: Some(2), duration: None };
        let mut offers = Offers::new("node", Mode::Complete, limit, StreamNames::default());
        offers.go_on(BTreeMap::from([("left".into(), After { frame: 7, pts: 30_000_000 })]));
        offers.open(NAMES.map(|name| Some(name.into())).to_vec()).unwrap();
        for ms in [20, 30, 40] {
            push(&mut offers, 0, ms);
            push(&mut offers, 1, ms);
        }
        assert_eq!(next(&mut offers), named(0, 8, 40), "what the other run has is passed over");
        assert_eq!(next(&mut offers), named(1, 0, 20), "another stream begins as ever");
        assert_eq!(counts(&offers)[0], (1, 1, 0), "its frames are in the other run's books");
        push(&mut offers, 0, 50);
        assert_eq!(next(&mut offers), named(0, 9, 50), "a limit counts the frames of this run");
        assert_eq!(next(&mut offers), named(1, 1, 30));
        assert_eq!(
            next_end(&mut offers),
            Some(("left".into(), 10, 2)),
            "the number goes on, the frames are this run's"
        );
        assert_eq!(next_end(&mut offers), Some(("right".into(), 2, 2)));
    }

    #[test]
    fn a_limit_of_no_frames_admits_none() {
        let mut offers = offers(Mode::Complete, Limit { frames: Some(0), duration: None });
        push(&mut offers, 0, 0);
        assert!(!offers.wanted(0) && offers.over());
        assert_eq!(next_end(&mut offers), Some(("left".into(), 0, 0)));
        assert_eq!(counts(&offers), [(0, 0, 0), (0, 0, 0)]);
    }

    #[test]
    fn two_sources_with_a_stream_of_one_name_are_refused() {
        let names = StreamNames::default();
        let mut left = Offers::new("l", Mode::Live, Limit::default(), names.clone());
        let mut right = Offers::new("r", Mode::Live, Limit::default(), names);
        left.open(vec![Some("cam".into())]).unwrap();
        let error = right.open(vec![Some("cam".into())]).unwrap_err();
        assert!(error.message.contains("node `r`: stream `cam` has the name of a stream of `l`"), "{error}");
        let error = left.open(vec![None, Some("cam".into())]).unwrap_err();
        assert!(error.message.contains("of a stream of `l`"), "two readers of one source: {error}");
    }
}
