//! Queue of the frames offered at a gate: selects the next entry, drops frames in `live` mode, and ends streams.
//!
//! In `live` mode only the newest frame of each stream waits, and the stream that has waited longest is next, so that a
//! stream with a high frame rate takes nothing from one with a low rate. In `complete` mode the readers take turns, one
//! frame each, and the queue waits for the reader whose turn it is. The order of frames and ends, and with it every
//! table, therefore does not depend on the speed of the readers. The end of a stream is an entry like a frame.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use sideline_api::{
    Body, CapturedFrame, ClosingRows, Error, Header, Mode, OutputPort, Payload, PortType, Result, StreamName,
    arrow::array::StructArray, table,
};

use crate::{
    counts::FrameCounts,
    gate::{ResumePoint, RunLimit},
    meter::StreamReport,
};

/// Frames that a reader may decode ahead in `complete` mode, so that decoding and processing overlap.
const READ_AHEAD_FRAMES: usize = 2;

/// Stream names of all sources of a process; each name belongs to one node.
#[derive(Clone, Default)]
pub struct StreamNames(Arc<Mutex<BTreeMap<StreamName, String>>>);

impl StreamNames {
    /// Registers the name of a stream of a node.
    ///
    /// # Errors
    /// When another node has a stream of that name.
    fn claim(&self, stream: &StreamName, node: &str) -> Result<()> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let owner = names.entry(stream.clone()).or_insert_with(|| node.into());
        if owner == node { Ok(()) } else { Err(name_taken(node, stream, owner)) }
    }
}

fn name_taken(node: &str, stream: &str, owner: &str) -> Error {
    Error::config(format!(
        "node `{node}`: stream `{stream}` has the name of a stream of `{owner}`, so their states and rows would mix; give each \
         stream a name of its own with the key `stream`"
    ))
}

/// Queue of offered frames; see the [module](self).
pub(crate) struct OfferQueue {
    node: String,
    mode: Mode,
    limit: RunLimit,
    names: StreamNames,
    /// Resume points of an earlier run, by stream name.
    resume_points: BTreeMap<String, ResumePoint>,
    waiting: VecDeque<Offer>,
    readers: Vec<Reader>,
    streams: Vec<Stream>,
    /// In `complete` mode: the reader whose turn is next.
    turn: usize,
    /// True when no more frames are wanted of any reader.
    is_closed: bool,
    carried: Vec<CarriedOutput>,
}

/// Output of a table declared `carried`, whose rows are not dropped with their frame.
struct CarriedOutput {
    /// Index of the output.
    output: usize,
    name: &'static str,
}

/// Frame that waits at the gate.
struct Offer {
    reader: usize,
    stream: usize,
    captured: CapturedFrame,
}

#[derive(Default)]
struct Reader {
    /// Success or failure of the reader, once it has ended.
    outcome: Option<Result<()>>,
    /// Rows that follow the last frame.
    closing: Vec<ClosingRows>,
    /// Additional counts, by name.
    counts: Vec<(&'static str, u64)>,
}

struct Stream {
    name: StreamName,
    reader: usize,
    session: u32,
    first_pts: Option<i64>,
    last_pts: i64,
    /// Capture time of the last admitted frame, ns since 1970.
    last_captured_at: i64,
    counts: FrameCounts,
    /// Last frame of an earlier run, after which this run resumes the stream.
    resume_point: Option<ResumePoint>,
    /// Rows of dropped frames that wait for the next frame, for each carried output, oldest first.
    carried_rows: Vec<Vec<Arc<StructArray>>>,
    /// True when the stream has reached the limit of the run.
    at_limit: bool,
    /// True when the end of the stream has entered the graph.
    has_ended: bool,
}

/// Item that enters the graph.
pub(crate) enum Entry {
    /// A frame.
    Frame(Header, CapturedFrame),
    /// The end of a stream.
    End {
        /// Header of the end, with the frame number that follows the last frame.
        header: Header,
        /// Frames of the stream in this run.
        frames: u64,
        /// Rows that belong to no frame and are sent before the end.
        closing: Vec<ClosingRows>,
    },
}

impl OfferQueue {
    pub fn new(node: &str, mode: Mode, limit: RunLimit, names: StreamNames) -> Self {
        OfferQueue {
            node: node.into(),
            mode,
            limit,
            names,
            resume_points: BTreeMap::new(),
            waiting: VecDeque::new(),
            readers: vec![],
            streams: vec![],
            turn: 0,
            is_closed: false,
            carried: vec![],
        }
    }

    /// Sets the outputs of the source. Rows of tables declared `carried` are not dropped with their frame.
    pub fn set_outputs(&mut self, outputs: &[OutputPort]) {
        let carried = |(_, port): &(usize, &OutputPort)| matches!(port.ty, PortType::Table(table) if table.is_carried);
        let carried = outputs.iter().enumerate().filter(carried);
        self.carried = carried.map(|(output, port)| CarriedOutput { output, name: port.name }).collect();
    }

    /// Sets the resume points of an earlier run, by stream name.
    pub fn resume_after(&mut self, points: BTreeMap<String, ResumePoint>) {
        self.resume_points = points;
    }

    /// Adds the readers of the source: one for each item of `names`, the name of its stream where it is known.
    ///
    /// # Errors
    /// When two streams have the same name.
    pub fn open_readers(&mut self, names: Vec<Option<StreamName>>) -> Result<()> {
        self.readers.resize_with(names.len(), Reader::default);
        for (reader, name) in names.into_iter().enumerate() {
            if let Some(name) = name {
                self.stream_index(name, reader)?;
            }
        }
        Ok(())
    }

    /// Returns the index of a stream of a reader; adds the stream if it is new.
    ///
    /// # Errors
    /// When another reader has a stream of that name.
    fn stream_index(&mut self, name: StreamName, reader: usize) -> Result<usize> {
        if let Some(at) = self.streams.iter().position(|stream| stream.name == name) {
            return if self.streams[at].reader == reader {
                Ok(at)
            } else {
                Err(name_taken(&self.node, &name, &self.node))
            };
        }
        self.names.claim(&name, &self.node)?;
        let resume_point = self.resume_points.get(&*name).copied();
        self.streams.push(Stream {
            name,
            reader,
            session: 0,
            first_pts: None,
            last_pts: 0,
            last_captured_at: 0,
            counts: FrameCounts::default(),
            resume_point,
            carried_rows: vec![vec![]; self.carried.len()],
            at_limit: self.limit.frames == Some(0),
            has_ended: false,
        });
        Ok(self.streams.len() - 1)
    }

    /// Returns true when a reader must wait before it offers another frame.
    pub fn is_full(&self, reader: usize) -> bool {
        self.mode == Mode::Complete
            && self.waiting.iter().filter(|offer| offer.reader == reader).count() >= READ_AHEAD_FRAMES
    }

    /// Returns false when no more frames of a reader are wanted: its streams have reached the limit, or the run is to
    /// end.
    pub fn wants_frames(&self, reader: usize) -> bool {
        let mut streams = self.streams.iter().filter(|stream| stream.reader == reader).peekable();
        !self.is_closed
            && (streams.peek().is_none() || streams.any(|stream| !stream.at_limit && !self.has_decoded_limit(stream)))
    }

    /// Returns true once as many frames are decoded as the limit allows, in `complete` mode, where no frame is dropped.
    /// The frame after them is neither taken nor counted.
    fn has_decoded_limit(&self, stream: &Stream) -> bool {
        self.mode == Mode::Complete && self.limit.frames.is_some_and(|limit| stream.counts.decoded >= limit)
    }

    /// Adds a frame of a reader. In `live` mode it replaces the waiting frame of its stream, which is dropped.
    ///
    /// # Errors
    /// When the stream has the name of a stream of another reader.
    pub fn push(&mut self, reader: usize, captured: CapturedFrame) -> Result<()> {
        let at = self.stream_index(captured.stream.clone(), reader)?;
        let stream = &mut self.streams[at];
        if stream.at_limit || stream.resume_point.is_some_and(|point| captured.pts <= point.pts) {
            // Beyond the limit; or a frame of the earlier run, which is in the frame accounting of that run.
            return Ok(());
        }
        stream.counts.decoded += 1;
        // The newer frame takes the position of the older one, because its stream has waited since then.
        let waiting = (self.mode == Mode::Live).then(|| self.waiting.iter_mut().find(|offer| offer.stream == at));
        match waiting.flatten() {
            Some(offer) => {
                stream.counts.dropped += 1;
                let older = std::mem::replace(&mut offer.captured, captured);
                for (carried, rows) in self.carried.iter().zip(&mut stream.carried_rows) {
                    if let Some(Body::Data(Payload::Table(table))) = older.outputs.get(carried.output) {
                        rows.push(table.clone());
                    }
                }
            }
            None => self.waiting.push_back(Offer { reader, stream: at, captured }),
        }
        Ok(())
    }

    /// Sets the closing rows of a reader: those that follow its last frame. Call it before the reader ends.
    pub fn set_closing_rows(&mut self, reader: usize, closing: Vec<ClosingRows>) {
        if let Some(reader) = self.readers.get_mut(reader) {
            reader.closing = closing;
        }
    }

    /// Sets the additional counts of a reader. Call it before the reader ends.
    pub fn set_reader_counts(&mut self, reader: usize, counts: Vec<(&'static str, u64)>) {
        if let Some(reader) = self.readers.get_mut(reader) {
            reader.counts = counts;
        }
    }

    /// Marks a reader as ended, with success or with its failure.
    pub fn end_reader(&mut self, reader: usize, outcome: Result<()>) {
        if let Some(reader) = self.readers.get_mut(reader) {
            reader.outcome = Some(outcome);
        }
    }

    /// Removes and returns the next entry. An end is returned only where `may_end` is true: in `complete` mode the
    /// entries after it wait, in `live` mode frames go first.
    pub fn next_entry(&mut self, may_end: bool) -> Option<Entry> {
        if self.streams.is_empty() && self.is_over() {
            // A source without any frame has one stream, named like the node, which ends.
            self.stream_index(self.node.as_str().into(), 0).ok()?;
        }
        match self.mode {
            Mode::Live => match self.due_end(None) {
                Some(stream) if may_end => Some(self.end_stream(stream)),
                _ => self.next_frame(None),
            },
            Mode::Complete => self.next_in_turn(may_end),
        }
    }

    /// Returns the next entry in `complete` mode: readers take turns.
    fn next_in_turn(&mut self, may_end: bool) -> Option<Entry> {
        // A run that was stopped early may have no readers yet.
        let readers = self.readers.len().max(1);
        for reader in (self.turn..readers).chain(0..self.turn) {
            let entry = match self.next_frame(Some(reader)) {
                Some(frame) => Some(frame),
                None => match self.due_end(Some(reader)) {
                    Some(_) if !may_end => return None,
                    Some(stream) => Some(self.end_stream(stream)),
                    None if self.is_done(reader) => continue,
                    None => return None,
                },
            };
            self.turn = (reader + 1) % readers;
            return entry;
        }
        None
    }

    /// Removes and returns the next waiting frame, of one reader or of any.
    fn next_frame(&mut self, reader: Option<usize>) -> Option<Entry> {
        loop {
            let at = self.waiting.iter().position(|offer| reader.is_none_or(|reader| offer.reader == reader))?;
            let Offer { stream: at, mut captured, .. } = self.waiting.remove(at)?;
            let stream = &mut self.streams[at];
            let first = *stream.first_pts.get_or_insert(captured.pts);
            // Media time never goes back; some live sources repeat a timestamp.
            let pts = if stream.counts.admitted == 0 { captured.pts } else { captured.pts.max(stream.last_pts) };
            let elapsed_ns = (pts - first).max(0) as u128;
            if stream.at_limit || self.limit.duration.is_some_and(|limit| elapsed_ns >= limit.as_nanos()) {
                stream.counts.decoded -= 1;
                self.set_at_limit(at);
                continue;
            }
            stream.prepend_carried_rows(&self.carried, &mut captured);
            let header = Header {
                stream: stream.name.clone(),
                session: captured.session,
                frame: stream.next_frame(),
                pts,
                captured_at: captured.captured_at,
                dropped: stream.counts.dropped,
                is_closing: false,
            };
            stream.counts.admitted += 1;
            (stream.last_pts, stream.session, stream.last_captured_at) = (pts, captured.session, captured.captured_at);
            if self.limit.frames.is_some_and(|limit| stream.counts.admitted >= limit) {
                self.set_at_limit(at);
            }
            return Some(Entry::Frame(header, captured));
        }
    }

    /// Returns the first stream whose end is due, of one reader or of any.
    fn due_end(&self, reader: Option<usize>) -> Option<usize> {
        let matches_reader = |stream: &Stream| reader.is_none_or(|reader| stream.reader == reader);
        let due = |(at, stream): &(usize, &Stream)| {
            let waits = self.waiting.iter().any(|offer| offer.stream == *at);
            matches_reader(stream) && !stream.has_ended && !waits && (stream.at_limit || self.is_done(stream.reader))
        };
        self.in_order().filter(due).map(|(at, _)| at).next()
    }

    /// Ends a stream. The end carries closing rows only if the stream ended by itself, not if it was stopped or reached
    /// the limit.
    fn end_stream(&mut self, at: usize) -> Entry {
        let ended_by_itself = !self.is_closed && !self.streams[at].at_limit;
        let closing = self.readers.get_mut(self.streams[at].reader).map(|reader| std::mem::take(&mut reader.closing));
        let stream = &mut self.streams[at];
        let (own, others) = closing.unwrap_or_default().into_iter().partition(|closing| closing.stream == stream.name);
        if let Some(reader) = self.readers.get_mut(stream.reader) {
            reader.closing = others;
        }
        stream.has_ended = true;
        let closing = if ended_by_itself { stream.take_closing_rows(&self.carried, own) } else { vec![] };
        Entry::End { header: stream.end_header(), frames: stream.counts.admitted, closing }
    }

    /// Marks a stream as having reached the limit. Waiting frames beyond the limit are no part of the run.
    fn set_at_limit(&mut self, stream: usize) {
        self.streams[stream].at_limit = true;
        let before = self.waiting.len();
        self.waiting.retain(|offer| offer.stream != stream);
        self.streams[stream].counts.decoded -= (before - self.waiting.len()) as u64;
    }

    /// Ends all readers and drops the waiting frames.
    pub fn close(&mut self) {
        self.is_closed = true;
        for offer in self.waiting.drain(..) {
            self.streams[offer.stream].counts.dropped += 1;
        }
    }

    /// Returns true when a reader will offer no more frames.
    fn is_done(&self, reader: usize) -> bool {
        self.readers.get(reader).is_none_or(|reader| reader.outcome.is_some()) || !self.wants_frames(reader)
    }

    /// Returns true when no frame waits and none will be offered.
    pub fn is_over(&self) -> bool {
        let all_done = !self.readers.is_empty() && (0..self.readers.len()).all(|reader| self.is_done(reader));
        self.waiting.is_empty() && (all_done || self.is_closed)
    }

    /// Returns true when every stream has ended and none will begin.
    pub fn has_ended(&self) -> bool {
        self.is_over() && !self.streams.is_empty() && self.streams.iter().all(|stream| stream.has_ended)
    }

    /// Returns the failures of all readers as one error, one line each.
    pub fn reader_failure(&self) -> Option<Error> {
        let mut failed = self.readers.iter().filter_map(|reader| reader.outcome.as_ref()?.as_ref().err());
        let mut first = failed.next()?.clone();
        for error in failed {
            first.message += &format!("\n{}", error.message);
        }
        Some(first)
    }

    /// Returns the frame counts, summed over all streams.
    pub fn counts(&self) -> FrameCounts {
        self.streams.iter().map(|stream| stream.counts).sum()
    }

    /// Returns the number of streams that are known so far.
    pub fn stream_count(&self) -> usize {
        self.streams.len()
    }

    /// Returns the reports of the streams, in the order of their readers.
    pub fn stream_reports(&self) -> Vec<StreamReport> {
        let report = |(_, stream): (usize, &Stream)| {
            let reader = self.readers.get(stream.reader);
            StreamReport {
                stream: stream.name.to_string(),
                counts: stream.counts,
                reader_counts: reader
                    .map(|reader| reader.counts.iter().map(|(name, n)| ((*name).into(), *n)).collect())
                    .unwrap_or_default(),
            }
        };
        self.in_order().map(report).collect()
    }

    /// Returns the streams in the order of their readers, regardless of which offered a frame first.
    fn in_order(&self) -> impl Iterator<Item = (usize, &Stream)> {
        let mut streams: Vec<(usize, &Stream)> = self.streams.iter().enumerate().collect();
        streams.sort_by_key(|(_, stream)| stream.reader);
        streams.into_iter()
    }
}

impl Stream {
    /// Number of the next frame.
    fn next_frame(&self) -> u64 {
        self.resume_point.map_or(0, |point| point.frame + 1) + self.counts.admitted
    }

    /// Header of the end of the stream.
    fn end_header(&self) -> Header {
        Header {
            stream: self.name.clone(),
            session: self.session,
            frame: self.next_frame(),
            pts: self.last_pts,
            captured_at: self.last_captured_at,
            dropped: self.counts.dropped,
            is_closing: true,
        }
    }

    /// Prepends the carried rows of dropped frames to those of an admitted frame. A frame whose output is skipped
    /// leaves them for the next one.
    fn prepend_carried_rows(&mut self, carried: &[CarriedOutput], captured: &mut CapturedFrame) {
        for (carried, rows) in carried.iter().zip(&mut self.carried_rows) {
            if let (false, Some(Body::Data(Payload::Table(now)))) =
                (rows.is_empty(), captured.outputs.get_mut(carried.output))
            {
                rows.push(now.clone());
                if let Some(all) = concat_rows(&self.name, std::mem::take(rows)) {
                    *now = all;
                }
            }
        }
    }

    /// Returns the closing rows of the stream: carried rows of dropped frames, then those of its reader.
    fn take_closing_rows(&mut self, carried: &[CarriedOutput], mut closing: Vec<ClosingRows>) -> Vec<ClosingRows> {
        for (carried, rows) in carried.iter().zip(&mut self.carried_rows) {
            let mut rows = std::mem::take(rows);
            let own = closing.iter().position(|closing| closing.output == carried.name);
            rows.extend(own.map(|at| closing.swap_remove(at).rows));
            if !rows.is_empty()
                && let Some(rows) = concat_rows(&self.name, rows)
            {
                closing.push(ClosingRows { stream: self.name.clone(), output: carried.name, rows });
            }
        }
        closing
    }
}

/// Concatenates rows of one output; `None` if their types differ.
fn concat_rows(stream: &str, rows: Vec<Arc<StructArray>>) -> Option<Arc<StructArray>> {
    // Rows of another type than the output's are reported when the type of their message is checked.
    table::concat(&rows).inspect_err(|error| tracing::warn!(%error, stream, "rows of dropped frames are lost")).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NAMES: [&str; 2] = ["left", "right"];

    fn offers(mode: Mode, limit: RunLimit) -> OfferQueue {
        let mut offers = OfferQueue::new("node", mode, limit, StreamNames::default());
        offers.open_readers(NAMES.map(|name| Some(name.into())).to_vec()).unwrap();
        offers
    }

    fn push(offers: &mut OfferQueue, reader: usize, ms: i64) {
        let captured = CapturedFrame {
            stream: NAMES[reader].into(),
            session: 0,
            pts: ms * 1_000_000,
            captured_at: 0,
            outputs: vec![],
        };
        offers.push(reader, captured).unwrap();
    }

    /// Returns stream, frame number and media time (ms) of the next frame; ends before it are discarded.
    fn next_frame(offers: &mut OfferQueue) -> Option<(String, u64, i64)> {
        loop {
            if let Entry::Frame(header, _) = offers.next_entry(true)? {
                return Some((header.stream.to_string(), header.frame, header.pts / 1_000_000));
            }
        }
    }

    /// Returns stream, frame number and frame count of the next end.
    fn next_end(offers: &mut OfferQueue) -> Option<(String, u64, u64)> {
        match offers.next_entry(true)? {
            Entry::End { header, frames, .. } => Some((header.stream.to_string(), header.frame, frames)),
            Entry::Frame(header, _) => panic!("frame {} of `{}` was not expected", header.frame, header.stream),
        }
    }

    fn expected(stream: usize, frame: u64, ms: i64) -> Option<(String, u64, i64)> {
        Some((NAMES[stream].into(), frame, ms))
    }

    fn counts(offers: &OfferQueue) -> [(u64, u64, u64); 2] {
        let reports = offers.stream_reports();
        [0, 1].map(|i| (reports[i].counts.decoded, reports[i].counts.admitted, reports[i].counts.dropped))
    }

    #[test]
    fn readers_take_turns_in_complete_mode_and_slow_ones_are_waited_for() {
        let mut offers = offers(Mode::Complete, RunLimit::default());
        push(&mut offers, 1, 0);
        assert_eq!(next_frame(&mut offers), None, "it is the turn of the first reader");
        for ms in [0, 10] {
            push(&mut offers, 0, ms);
        }
        assert!(offers.is_full(0) && !offers.is_full(1), "each reader may be two frames ahead");
        assert_eq!([next_frame(&mut offers), next_frame(&mut offers)], [expected(0, 0, 0), expected(1, 0, 0)]);
        assert_eq!(next_frame(&mut offers), expected(0, 1, 10));
        assert_eq!(next_frame(&mut offers), None, "the second reader has no frame yet");
        offers.end_reader(1, Ok(()));
        push(&mut offers, 0, 20);
        assert!(offers.next_entry(false).is_none(), "an end is due while another one is in flight");
        assert_eq!(next_end(&mut offers), Some(("right".into(), 1, 1)), "one stream ends while the other continues");
        assert_eq!(next_frame(&mut offers), expected(0, 2, 20), "a reader that has ended has no turn");
        assert!(!offers.is_over());
        offers.end_reader(0, Ok(()));
        assert!(offers.is_over() && !offers.has_ended());
        assert_eq!(next_end(&mut offers), Some(("left".into(), 3, 3)));
        assert!(offers.has_ended() && offers.next_entry(true).is_none());
    }

    #[test]
    fn live_mode_keeps_the_newest_frame_of_each_stream_and_admits_the_longest_waiting_stream() {
        let mut offers = offers(Mode::Live, RunLimit::default());
        push(&mut offers, 1, 0);
        for ms in 0..5 {
            push(&mut offers, 0, ms);
        }
        push(&mut offers, 1, 7);
        assert_eq!(next_frame(&mut offers), expected(1, 0, 7), "a newer frame keeps the position of its stream");
        assert_eq!(next_frame(&mut offers), expected(0, 0, 4));
        assert_eq!(next_frame(&mut offers), None);
        assert_eq!(counts(&offers), [(5, 1, 4), (2, 1, 1)]);
    }

    #[test]
    fn frames_beyond_the_limit_are_not_taken_in_complete_mode_and_replace_older_ones_in_live_mode() {
        let limit = RunLimit { frames: Some(1), duration: None };
        let mut complete = offers(Mode::Complete, limit);
        assert!(complete.wants_frames(0));
        push(&mut complete, 0, 0);
        assert!(
            !complete.wants_frames(0) && complete.wants_frames(1),
            "the reader has decoded as many frames as the limit allows"
        );
        assert_eq!(next_frame(&mut complete), expected(0, 0, 0), "the frame at the limit is admitted");
        assert_eq!(counts(&complete)[0], (1, 1, 0));
        let mut live = offers(Mode::Live, limit);
        push(&mut live, 0, 0);
        assert!(live.wants_frames(0), "a newer frame may replace it");
        push(&mut live, 0, 10);
        assert_eq!(next_frame(&mut live), expected(0, 0, 10));
        assert_eq!(counts(&live)[0], (2, 1, 1));
    }

    #[test]
    fn a_limit_applies_to_each_stream() {
        let mut offers =
            offers(Mode::Complete, RunLimit { frames: Some(2), duration: Some(Duration::from_millis(25)) });
        for ms in [0, 20] {
            push(&mut offers, 1, ms);
        }
        push(&mut offers, 0, 0);
        assert_eq!([next_frame(&mut offers), next_frame(&mut offers)], [expected(0, 0, 0), expected(1, 0, 0)]);
        push(&mut offers, 0, 30);
        assert_eq!(
            next_frame(&mut offers),
            expected(1, 1, 20),
            "the first stream has reached its duration and has no turn"
        );
        assert!(!offers.wants_frames(0) && !offers.wants_frames(1) && offers.is_over());
        assert_eq!(counts(&offers), [(1, 1, 0), (2, 2, 0)], "frames beyond the limit are no part of the run");
    }

    #[test]
    fn the_failures_of_all_readers_are_reported() {
        let mut offers = offers(Mode::Complete, RunLimit::default());
        assert_eq!(offers.reader_failure(), None);
        offers.end_reader(0, Err(Error::input("a.mp4 is cut off")));
        push(&mut offers, 1, 0);
        assert_eq!(next_frame(&mut offers), expected(1, 0, 0), "the other reader continues");
        offers.end_reader(1, Err(Error::other("b.mp4 is gone")));
        assert_eq!(offers.reader_failure(), Some(Error::input("a.mp4 is cut off\nb.mp4 is gone")));
    }

    #[test]
    fn media_time_never_goes_back() {
        let mut offers = offers(Mode::Live, RunLimit::default());
        for ms in [5, 3] {
            push(&mut offers, 0, ms);
            assert_eq!(next_frame(&mut offers).map(|frame| frame.2), Some(5));
        }
    }

    #[test]
    fn a_stream_resumes_after_the_last_frame_of_an_earlier_run() {
        let limit = RunLimit { frames: Some(2), duration: None };
        let mut offers = OfferQueue::new("node", Mode::Complete, limit, StreamNames::default());
        offers.resume_after(BTreeMap::from([("left".into(), ResumePoint { frame: 7, pts: 30_000_000 })]));
        offers.open_readers(NAMES.map(|name| Some(name.into())).to_vec()).unwrap();
        for ms in [20, 30, 40] {
            push(&mut offers, 0, ms);
            push(&mut offers, 1, ms);
        }
        assert_eq!(next_frame(&mut offers), expected(0, 8, 40), "frames of the earlier run are not admitted again");
        assert_eq!(next_frame(&mut offers), expected(1, 0, 20), "a stream without a resume point begins at 0");
        assert_eq!(counts(&offers)[0], (1, 1, 0), "earlier frames are in the frame accounting of the other run");
        push(&mut offers, 0, 50);
        assert_eq!(next_frame(&mut offers), expected(0, 9, 50), "a limit counts the frames of this run");
        assert_eq!(next_frame(&mut offers), expected(1, 1, 30));
        assert_eq!(
            next_end(&mut offers),
            Some(("left".into(), 10, 2)),
            "frame numbers continue, and the frame count is that of this run"
        );
        assert_eq!(next_end(&mut offers), Some(("right".into(), 2, 2)));
    }

    #[test]
    fn a_limit_of_zero_frames_admits_none() {
        let mut offers = offers(Mode::Complete, RunLimit { frames: Some(0), duration: None });
        push(&mut offers, 0, 0);
        assert!(!offers.wants_frames(0) && offers.is_over());
        assert_eq!(next_end(&mut offers), Some(("left".into(), 0, 0)));
        assert_eq!(counts(&offers), [(0, 0, 0), (0, 0, 0)]);
    }

    #[test]
    fn streams_of_one_name_in_two_sources_are_refused() {
        let names = StreamNames::default();
        let mut left = OfferQueue::new("l", Mode::Live, RunLimit::default(), names.clone());
        let mut right = OfferQueue::new("r", Mode::Live, RunLimit::default(), names);
        left.open_readers(vec![Some("cam".into())]).unwrap();
        let error = right.open_readers(vec![Some("cam".into())]).unwrap_err();
        assert!(error.message.contains("node `r`: stream `cam` has the name of a stream of `l`"), "{error}");
        let error = left.open_readers(vec![None, Some("cam".into())]).unwrap_err();
        assert!(error.message.contains("of a stream of `l`"), "two readers of one source: {error}");
    }
}
