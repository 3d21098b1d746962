//! What waits at a gate: frames that the readers of a source offer, which of them is next, which are forgotten.
//!
//! In `live` mode the newest frame of each stream waits, and the stream that has waited longest is next: one that brings
//! many frames takes nothing from one that brings few. In `complete` mode the readers take turns, one frame each, and a
//! reader whose turn it is is waited for: the order of frames, and so every table, does not depend on who is faster.

use std::collections::{BTreeMap, VecDeque};

use sideline_api::{
    Body, Captured, Closing, Error, Header, Mode, OutputPort, Payload, PortType, Result, StreamName, table,
};

use crate::gate::{After, Limit};

/// Frames a reader may decode ahead in `complete` mode, so that decoding and processing overlap.
const AHEAD: usize = 2;

/// See the [module](self).
pub(crate) struct Offers {
    mode: Mode,
    limit: Limit,
    /// Where streams go on that another run began.
    after: BTreeMap<String, After>,
    waiting: VecDeque<Offer>,
    readers: Vec<Reader>,
    streams: Vec<Stream>,
    /// `complete`: the reader that is next.
    turn: usize,
    /// Nothing more is wanted of anybody.
    closed: bool,
    /// Numbers of the outputs whose rows outlive their frame.
    carried: Vec<usize>,
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
    /// What it had left then.
    closing: Vec<Closing>,
    /// What it counted itself.
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
    /// It has come to the limit.
    over: bool,
}

/// What a stream did, for the report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamCounts {
    /// Frames its reader decoded.
    pub decoded: u64,
    /// Frames that entered the graph.
    pub admitted: u64,
    /// Frames that did not: newer ones came, or the run or the stream was to end.
    pub forgotten: u64,
    /// What its reader counts itself, by name; told when it has ended.
    pub own: Vec<(&'static str, u64)>,
}

impl Offers {
    pub fn new(mode: Mode, limit: Limit) -> Self {
        Offers {
            mode,
            limit,
            after: BTreeMap::new(),
            waiting: VecDeque::new(),
            readers: vec![],
            streams: vec![],
            turn: 0,
            closed: false,
            carried: vec![],
        }
    }

    /// The source's outputs: rows of carried tables are not forgotten with their frame.
    pub fn carry(&mut self, outputs: &[OutputPort]) {
        let carried = |port: &OutputPort| matches!(port.ty, PortType::Table(table) if table.carried);
        self.carried = (0..outputs.len()).filter(|i| carried(&outputs[*i])).collect();
    }

    /// The streams go on after these frames of another run.
    pub fn go_on(&mut self, after: BTreeMap<String, After>) {
        self.after = after;
    }

    /// The source has these readers; the names of their streams where they are known.
    pub fn open(&mut self, names: Vec<Option<StreamName>>) {
        for (reader, name) in names.into_iter().enumerate() {
            self.readers.push(Reader::default());
            if let Some(name) = name {
                self.begin(name, reader);
            }
        }
    }

    /// A stream is seen for the first time; its number.
    fn begin(&mut self, name: StreamName, reader: usize) -> usize {
        let after = self.after.get(&*name).copied();
        self.streams.push(Stream::new(name, reader, after));
        self.streams.len() - 1
    }

    /// True when a reader must wait before it offers another frame.
    pub fn full(&self, reader: usize) -> bool {
        self.mode == Mode::Complete && self.waiting.iter().filter(|offer| offer.reader == reader).count() >= AHEAD
    }

    /// False when nothing more of a reader is wanted: its streams have come to the limit, or the run is to end.
    pub fn wanted(&self, reader: usize) -> bool {
        let mut streams = self.streams.iter().filter(|stream| stream.reader == reader).peekable();
        !self.closed && (streams.peek().is_none() || streams.any(|stream| !stream.over))
    }

    /// A reader has a frame.
    pub fn push(&mut self, reader: usize, mut captured: Captured) {
        let stream = match self.streams.iter().position(|stream| stream.name == captured.stream) {
            Some(stream) => stream,
            None => self.begin(captured.stream.clone(), reader),
        };
        if self.streams[stream].after.is_some_and(|after| captured.pts <= after.pts) {
            // The run before has it, and its books count it.
            return;
        }
        let counts = &mut self.streams[stream].counts;
        counts.decoded += 1;
        // A stream that has a frame waiting keeps its place with the newer one: it has waited since then.
        let older = (self.mode == Mode::Live).then(|| self.waiting.iter_mut().find(|offer| offer.stream == stream));
        match older.flatten() {
            Some(offer) => {
                counts.forgotten += 1;
                carry_over(&self.carried, &offer.captured, &mut captured);
                offer.captured = captured;
            }
            None => self.waiting.push_back(Offer { reader, stream, captured }),
        }
    }

    /// What a reader has left after its last frame; told before it is done.
    pub fn closing(&mut self, reader: usize, closing: Vec<Closing>) {
        if let Some(reader) = self.readers.get_mut(reader) {
            reader.closing = closing;
        }
    }

    /// What is left of the streams that came to their own end: what was stopped ends where it was stopped.
    pub fn rest(&mut self) -> Vec<Closing> {
        let left = self.readers.iter_mut().flat_map(|reader| std::mem::take(&mut reader.closing));
        let over = |name: &StreamName| self.streams.iter().any(|stream| stream.over && stream.name == *name);
        left.filter(|closing| !self.closed && !over(&closing.stream)).collect()
    }

    /// What a reader counted itself; told before it is done.
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

    /// The frame that enters the graph next.
    pub fn next(&mut self) -> Option<(Header, Captured)> {
        loop {
            let Offer { stream: at, captured, .. } = self.take()?;
            let stream = &mut self.streams[at];
            let first = *stream.first_pts.get_or_insert(captured.pts);
            // Media time never goes back; some live sources repeat a stamp.
            let pts = if stream.counts.admitted == 0 { captured.pts } else { captured.pts.max(stream.last_pts) };
            let passed = (pts - first).max(0) as u128;
            if stream.over || self.limit.duration.is_some_and(|most| passed >= most.as_nanos()) {
                stream.counts.forgotten += 1;
                self.finish(at);
                continue;
            }
            let header = Header {
                stream: stream.name.clone(),
                session: captured.session,
                frame: stream.frames(),
                pts,
                captured: captured.captured,
                forgotten: stream.counts.forgotten,
            };
            stream.counts.admitted += 1;
            (stream.last_pts, stream.session, stream.captured) = (pts, captured.session, captured.captured);
            if self.limit.frames.is_some_and(|most| stream.counts.admitted >= most) {
                self.finish(at);
            }
            return Some((header, captured));
        }
    }

    fn take(&mut self) -> Option<Offer> {
        if self.mode == Mode::Live {
            return self.waiting.pop_front();
        }
        for reader in (self.turn..self.readers.len()).chain(0..self.turn) {
            if let Some(at) = self.waiting.iter().position(|offer| offer.reader == reader) {
                self.turn = (reader + 1) % self.readers.len();
                return self.waiting.remove(at);
            }
            if !self.done(reader) {
                return None;
            }
        }
        None
    }

    /// A stream has come to the limit: what waits of it was decoded, and is not wanted any more.
    fn finish(&mut self, stream: usize) {
        self.streams[stream].over = true;
        let before = self.waiting.len();
        self.waiting.retain(|offer| offer.stream != stream);
        self.streams[stream].counts.forgotten += (before - self.waiting.len()) as u64;
    }

    /// Nothing more is wanted of anybody: what waits is forgotten.
    pub fn close(&mut self) {
        self.closed = true;
        for offer in self.waiting.drain(..) {
            self.streams[offer.stream].counts.forgotten += 1;
        }
    }

    fn done(&self, reader: usize) -> bool {
        self.readers[reader].ended.is_some() || !self.wanted(reader)
    }

    /// True when no frame will come any more.
    pub fn over(&self) -> bool {
        let done = !self.readers.is_empty() && (0..self.readers.len()).all(|reader| self.done(reader));
        self.waiting.is_empty() && (done || self.closed)
    }

    /// How the readers failed that did: one error, a line for each.
    pub fn failure(&self) -> Option<Error> {
        let mut failed = self.readers.iter().filter_map(|reader| reader.ended.as_ref()?.as_ref().err());
        let mut first = failed.next()?.clone();
        for error in failed {
            first.message += &format!("\n{}", error.message);
        }
        Some(first)
    }

    /// The headers of the streams' ends; `name` is the stream's when there was none.
    pub fn ends(&self, name: &StreamName) -> Vec<Header> {
        if self.streams.is_empty() {
            return vec![Stream::new(name.clone(), 0, self.after.get(&**name).copied()).end()];
        }
        self.in_order().map(Stream::end).collect()
    }

    /// The counts of each stream.
    pub fn counts(&self) -> Vec<(StreamName, StreamCounts)> {
        let own = |stream: &Stream| self.readers.get(stream.reader).map_or(vec![], |reader| reader.counts.clone());
        let counts = |stream: &Stream| StreamCounts { own: own(stream), ..stream.counts.clone() };
        self.in_order().map(|stream| (stream.name.clone(), counts(stream))).collect()
    }

    /// The streams in the order of their readers, whichever was the first to bring a frame.
    fn in_order(&self) -> impl Iterator<Item = &Stream> {
        let mut streams: Vec<&Stream> = self.streams.iter().collect();
        streams.sort_by_key(|stream| stream.reader);
        streams.into_iter()
    }
}

/// Puts the rows of a frame that is forgotten, where they outlive it, before those of a newer one of its stream.
fn carry_over(carried: &[usize], older: &Captured, newer: &mut Captured) {
    for at in carried {
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

impl Stream {
    fn new(name: StreamName, reader: usize, after: Option<After>) -> Self {
        Stream {
            name,
            reader,
            session: 0,
            first_pts: None,
            last_pts: 0,
            captured: 0,
            counts: StreamCounts::default(),
            after,
            over: false,
        }
    }

    /// Number of its next frame.
    fn frames(&self) -> u64 {
        self.after.map_or(0, |after| after.frame + 1) + self.counts.admitted
    }

    fn end(&self) -> Header {
        Header {
            stream: self.name.clone(),
            session: self.session,
            frame: self.frames(),
            pts: self.last_pts,
            captured: self.captured,
            forgotten: self.counts.forgotten,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NAMES: [&str; 2] = ["left", "right"];

    fn offers(mode: Mode, limit: Limit) -> Offers {
        let mut offers = Offers::new(mode, limit);
        offers.open(NAMES.map(|name| Some(name.into())).to_vec());
        offers
    }

    fn push(offers: &mut Offers, reader: usize, ms: i64) {
        let captured =
            Captured { stream: NAMES[reader].into(), session: 0, pts: ms * 1_000_000, captured: 0, outputs: vec![] };
        offers.push(reader, captured);
    }

    /// Stream, number and time of the next frame.
    fn next(offers: &mut Offers) -> Option<(String, u64, i64)> {
        offers.next().map(|(header, _)| (header.stream.to_string(), header.frame, header.pts / 1_000_000))
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
        assert_eq!(next(&mut offers), named(0, 2, 20), "who has ended has no turn");
        assert!(!offers.over());
        offers.ended(0, Ok(()));
        assert!(offers.over());
        let ends: Vec<_> = offers.ends(&"node".into()).iter().map(|end| (end.stream.to_string(), end.frame)).collect();
        assert_eq!(ends, [("left".to_owned(), 3), ("right".to_owned(), 1)]);
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
        assert_eq!(counts(&offers), [(2, 1, 1), (2, 2, 0)]);
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
        let mut offers = Offers::new(Mode::Complete, Limit { frames: Some(2), duration: None });
        offers.go_on(BTreeMap::from([("left".into(), After { frame: 7, pts: 30_000_000 })]));
        offers.open(NAMES.map(|name| Some(name.into())).to_vec());
        for ms in [20, 30, 40] {
            push(&mut offers, 0, ms);
            push(&mut offers, 1, ms);
        }
        assert_eq!(next(&mut offers), named(0, 8, 40), "what the other run has is passed over");
        assert_eq!(next(&mut offers), named(1, 0, 20), "another stream begins as ever");
        assert_eq!(counts(&offers)[0], (1, 1, 0), "its frames are in the other run's books");
        push(&mut offers, 0, 50);
        assert_eq!(next(&mut offers), named(0, 9, 50), "a limit counts the frames of this run");
        let ends: Vec<u64> = offers.ends(&"left".into()).iter().map(|header| header.frame).collect();
        assert_eq!(ends[0], 10, "the end names the number of frames of both");
    }
}
