//! Decoder of one file, device or network stream: frames in presentation order, exact seeking, and counts of losses.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use ff::{Packet, ffi, frame};
use ffmpeg_next as ff;
use sideline_api::{Error, Frame, Result};

use crate::{
    audio::{AudioDecoder, AudioFormat, AudioSegment},
    device::{self, Device},
    exif,
    external::ExternalSource,
    geometry::DeclaredGeometry,
    info::{MediaInfo, Timebase},
    network::{self, NetworkSource, OpenError},
    open::{Opened, open},
    packet_history::PacketHistory,
    picture::FrameConverter,
    scale::Size,
    timeline::{ForwardJumpPolicy, TimeJump, TimeJumps, Timeline, TimestampUnit},
    tracks, unsupported,
};

/// Threading of the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// Threads share one picture: adds no delay, but few files are coded in slices. For live use; 1 means no threads.
    Slice(usize),
    /// Each thread decodes its own picture: fastest, but delays frames by `n - 1`. For complete runs.
    Frame(usize),
}

/// Options of a [`Decoder`].
#[derive(Clone, Copy, Debug)]
pub struct DecodeOptions {
    /// Threading of the decoder.
    pub threads: Threads,
    /// Size that larger pictures are scaled down to.
    pub size: Option<Size>,
    /// Maximum frames per second. Frames above it are decoded and discarded, evenly by their media time.
    pub fps: Option<f64>,
    /// Decodes audio, if there is any, for [`Decoder::audio_until`]. Otherwise audio packets are ignored.
    pub audio: bool,
    /// Index of the video track to read, from 0; cover pictures do not count. `None` selects the best one.
    pub video_track: Option<u32>,
    /// Index of the audio track to read, from 0. `None` selects the best one that belongs to the video track.
    pub audio_track: Option<u32>,
}

/// Maximum number of video packets read ahead to find the audio that belongs to an earlier one: five seconds at 30 frames
/// a second. Where a file interleaves video and audio more coarsely, audio comes with a later frame.
const MAX_READ_AHEAD: usize = 150;

/// Interval at which a device without a frame is polled.
const DEVICE_POLL_INTERVAL: Duration = Duration::from_millis(1);

impl Default for DecodeOptions {
    fn default() -> Self {
        Self { threads: Threads::Slice(1), size: None, fps: None, audio: false, video_track: None, audio_track: None }
    }
}

/// One decoded frame.
#[derive(Clone, Debug)]
pub struct DecodedFrame {
    /// Upright frame in square pixels.
    pub frame: Frame,
    /// Media time since the start of the stream, ns; never decreases.
    pub pts_ns: i64,
    /// True if parts of the frame are concealed errors, because the file is damaged there.
    pub is_damaged: bool,
}

/// Counts of decoded and lost frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecodeLosses {
    /// Frames decoded since the start or the last seek, including those discarded by the limit of `fps`.
    pub decoded: u64,
    /// Frames with concealed errors.
    pub damaged: u64,
    /// Video packets that could not be decoded: their frames are lost.
    pub undecodable_video: u64,
    /// Audio packets that could not be decoded, if audio is decoded: silence takes their place.
    pub undecodable_audio: u64,
    /// Frames that the file declares but does not contain; known at its end. See [`Decoder::missing_frames`].
    pub missing: Option<u64>,
}

/// Decoder of one source; see the [module](self).
pub struct Decoder {
    path: PathBuf,
    /// State of a device or network source.
    external: Option<ExternalSource>,
    options: DecodeOptions,
    info: MediaInfo,
    opened: Opened,
    timebase: Option<Timebase>,
    timeline: Timeline,
    converter: FrameConverter,
    audio: Option<AudioDecoder>,
    /// Media time from which audio is returned, ns.
    audio_from_ns: i64,
    /// Video packets that are read and not yet decoded.
    queued: VecDeque<Packet>,
    frame: frame::Video,
    /// Media time of `frame`, ns.
    pts: i64,
    /// True while `frame` was decoded by a seek and not yet returned.
    has_pending_frame: bool,
    /// True once all packets are read.
    is_at_end: bool,
    /// True once the video decoder has been sent the end of the stream.
    is_draining: bool,
    has_ended: bool,
    /// True once a seek has skipped frames, so that counting them against the declared number is meaningless.
    has_sought: bool,
    /// Slot of the last frame that passed the limit of `fps`: its media time in units of the frame interval.
    last_slot: Option<i64>,
    losses: DecodeLosses,
    /// Video packets read.
    packets: u64,
    /// Video packets that an edit list hides, and empty ones, which repeat the picture before them.
    hidden_packets: u64,
    /// True once a frame was coded as two fields: each may have its own packet.
    is_interlaced: bool,
    /// End of the last packet of any stream, ns of the file's own time.
    read_until_ns: i64,
    /// Decoding timestamp of the last video packet, in the stream's own unit.
    last_dts: i64,
}

impl Decoder {
    /// Opens the best video stream of a local file, or the one that `options` names.
    ///
    /// # Errors
    /// If the file is missing, a folder, empty, not a video, or has no video stream.
    pub fn open(path: impl AsRef<Path>, options: DecodeOptions) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let opened = open(&path, &options)?;
        Self::from_opened(path, None, opened, options)
    }

    /// Opens a device: a camera, or a generator of libavdevice. Frames arrive in real time, with the device's timestamps.
    ///
    /// # Errors
    /// If there is no such device, it is in use, or access is denied.
    pub fn open_device(device: &Device, options: DecodeOptions) -> Result<Self> {
        let opened = device::open(device, &options)?;
        Self::from_opened(PathBuf::from(&device.address), Some(ExternalSource::default()), opened, options)
    }

    /// Opens a stream or file on the network: connects, and waits until its streams are known.
    ///
    /// # Errors
    /// If it cannot be opened; the kind says whether another attempt may help. The message contains no secret of the
    /// address.
    pub fn open_network(network: &NetworkSource, options: DecodeOptions) -> Result<Self, OpenError> {
        let (opened, connection) = network::open(network, &options)?;
        let history = network.previous.clone().unwrap_or_default().next_connection();
        let external = ExternalSource { connection: Some(connection), history, ..ExternalSource::default() };
        Self::from_opened(PathBuf::from(sideline_address::redacted(&network.name)), Some(external), opened, options)
            .map_err(|error| OpenError { kind: network::OpenErrorKind::Unreachable, error })
    }

    fn from_opened(
        path: PathBuf,
        external: Option<ExternalSource>,
        opened: Opened,
        options: DecodeOptions,
    ) -> Result<Self> {
        let stream = opened.input.stream(opened.stream).ok_or_else(|| Error::input("the video stream is gone"))?;
        let name = path.display().to_string();
        let orientation = exif::orientation_of_file(&path, opened.input.format().name());
        let declared = DeclaredGeometry { orientation, ..DeclaredGeometry::read(&stream, &opened.decoder) };
        let info = MediaInfo::read(&name, &opened.input, &stream, &opened.decoder, &declared, opened.audio);
        let mut converter = FrameConverter::new(&name, declared, options.size);
        tracks::warn_unread(&opened.input, &options, (opened.stream, opened.audio), &mut converter.notices);
        if let Some(text) = unsupported::stream_warning(&stream) {
            converter.notices.warn_once(unsupported::KIND, || text);
        }
        let start = stream.start_time();
        // AVI holds decoding times only: with reordered frames, the first one has a later time than the stream's start.
        // A device counts from its power-on, a live stream from its beginning: here the first frame is the origin.
        let is_live = external.as_ref().is_some_and(ExternalSource::is_live);
        let has_start = start != ffi::AV_NOPTS_VALUE && info.container != "avi" && !is_live;
        let timebase = has_start.then_some(Timebase { start, num: info.time_base.0, den: info.time_base.1 });
        let forward_jumps = external
            .as_ref()
            .map_or(ForwardJumpPolicy::Pause, |external| external.forward_jump_policy(&info.container));
        Ok(Self {
            timeline: Timeline::new(forward_jumps, &info.container, opened.stream, info.interval_ns()),
            converter,
            audio: opened
                .audio
                .filter(|_| options.audio)
                .and_then(|stream| AudioDecoder::open(&opened.input, stream, &info.path)),
            audio_from_ns: 0,
            queued: VecDeque::new(),
            path,
            external,
            options,
            info,
            opened,
            timebase,
            frame: frame::Video::empty(),
            pts: 0,
            has_pending_frame: false,
            is_at_end: false,
            is_draining: false,
            has_ended: false,
            has_sought: false,
            last_slot: None,
            losses: DecodeLosses::default(),
            packets: 0,
            hidden_packets: 0,
            is_interlaced: false,
            read_until_ns: i64::MIN,
            last_dts: i64::MIN,
        })
    }

    /// Returns the properties that the source declares.
    pub fn info(&self) -> &MediaInfo {
        &self.info
    }

    /// Returns the differences found so far between the frames and what the source declares.
    pub fn notices(&self) -> impl Iterator<Item = &str> {
        self.converter.notices.texts()
    }

    /// Returns the width and height of the frames: upright, in square pixels, scaled down to the size in the options.
    pub fn frame_size(&self) -> (u32, u32) {
        self.converter.output_size(self.opened.decoder.width(), self.opened.decoder.height())
    }

    /// Returns the format of the audio; `None` if there is none, or it is not decoded.
    pub fn audio_format(&self) -> Option<AudioFormat> {
        self.audio.as_ref().map(|audio| audio.format)
    }

    /// Takes the audio before a media time (ns) that was not taken yet, in order; a gap starts another segment. Called at each
    /// frame, it returns the audio between the previous frame and this one; called after the last frame, the audio
    /// behind it. There is none before the first frame.
    pub fn audio_until(&mut self, ns: i64) -> Vec<AudioSegment> {
        let Some(times) = self.timebase else { return vec![] };
        let origin = start_ns(times);
        let until = origin.saturating_add(ns);
        // A live source is not read ahead: audio that arrives after its frame leaves with a later one.
        let max_queued = if self.is_live() { 0 } else { MAX_READ_AHEAD };
        while self.queued.len() < max_queued
            && self.audio.as_ref().is_some_and(|it| !it.has_decoded_until(until))
            && self.read_packet()
        {}
        self.audio.as_mut().map_or(vec![], |it| it.take(origin + self.audio_from_ns, until, origin))
    }

    /// Decodes the next frame; `None` at the end of the media. [`Self::losses`] then tells whether frames were lost.
    ///
    /// # Errors
    /// If a picture cannot be converted.
    #[allow(clippy::should_implement_trait, reason = "an Iterator's item could not be `Result<Option>`")]
    pub fn next(&mut self) -> Result<Option<DecodedFrame>> {
        self.next_with(|_| ())
    }

    /// Decodes the next frame as [`Self::next`] does. Calls `before_packet` with the decoding time (nanoseconds since the start
    /// of the stream) of each packet before it is decoded; the callback may block, which paces a file in real time.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn next_with(&mut self, mut before_packet: impl FnMut(i64)) -> Result<Option<DecodedFrame>> {
        loop {
            if !std::mem::take(&mut self.has_pending_frame) && !self.decode_next(&mut before_packet) {
                return Ok(None);
            }
            if self.take_repeated() || !self.passes_fps_limit() {
                continue;
            }
            let is_damaged = is_damaged(&self.frame);
            let picture = std::mem::replace(&mut self.frame, frame::Video::empty());
            let frame = self.converter.convert(picture).map_err(|e| e.at(self.path.display()))?;
            if let Some(external) = &mut self.external {
                let times = self.timebase.map(|times| self.timeline.fold_offset(times));
                (external.history.timebase, external.history.last_pts_ns) = (times, self.pts);
            }
            return Ok(Some(DecodedFrame { frame, pts_ns: self.pts, is_damaged }));
        }
    }

    /// Returns the frame interval, ns, by the declared rate and the limit of `fps`.
    pub fn interval_ns(&self) -> i64 {
        let limit = self.options.fps.map_or(0, |fps| (1e9 / fps) as i64);
        self.info.interval_ns().max(limit)
    }

    /// True for a source without recorded media: a device, or a live stream.
    pub fn is_live(&self) -> bool {
        self.external.as_ref().is_some_and(ExternalSource::is_live)
    }

    /// Returns the packets that a network source has delivered, for the next connection to it.
    pub fn packet_history(&self) -> Option<&PacketHistory> {
        self.external.as_ref().filter(|external| external.connection.is_some()).map(|external| &external.history)
    }

    /// True once this connection has repeated packets of the previous one, which shows that media times continue.
    pub fn continues_previous(&self) -> bool {
        self.external.as_ref().is_some_and(|external| !external.repeated_stamps.is_empty())
    }

    /// Returns the number of frames left out because a previous connection had delivered them.
    pub fn repeated_frames(&self) -> u64 {
        self.external.as_ref().map_or(0, |external| external.repeated_frames)
    }

    /// Sets the condition that ends a wait for a frame of a device; it is checked every millisecond.
    pub fn set_stop(&mut self, stop: impl Fn() -> bool + Send + 'static) {
        if let Some(external) = &mut self.external {
            external.should_stop = Some(Box::new(stop));
        }
    }

    /// Returns the failure that ended a device or connection; known at the end. `None` if it ended regularly.
    pub fn disconnect_cause(&self) -> Option<&str> {
        self.external.as_ref()?.lost.as_deref()
    }

    /// Returns the counts of irregular timestamps so far.
    pub fn time_jumps(&self) -> TimeJumps {
        self.timeline.jumps()
    }

    /// Returns the counts of losses since the start or the last seek.
    pub fn losses(&self) -> DecodeLosses {
        let undecodable_audio = self.audio.as_ref().map_or(0, |audio| audio.undecodable);
        DecodeLosses { missing: self.missing_frames(), undecodable_audio, ..self.losses }
    }

    /// Returns the number of frames that the file declares but does not contain: known at its end, `None` if none is missing.
    ///
    /// Counted if the file has an index of its frames; otherwise estimated from its declared duration.
    pub fn missing_frames(&self) -> Option<u64> {
        if !self.has_ended || self.is_live() {
            return None;
        }
        let missing = match self.info.frames {
            Some(declared) if !self.has_sought => {
                let missing =
                    declared.saturating_sub(self.decoded_packets() + self.hidden_packets + self.empty_chunks());
                // In AVI a picture may be stored in the previous chunk, and its own chunk be a placeholder.
                let slack = u64::from(self.is_avi());
                if missing > slack { missing } else { 0 }
            }
            // The declared number may include frames hidden by an MP4's edit list and the pauses of an AVI; the index does not.
            Some(declared) if self.info.container.contains("mp4") || (self.is_avi() && self.is_indexed(declared)) => {
                self.index_entries(|entry| entry.timestamp > self.last_dts && entry.size() > 0)
            }
            _ => self.missing_time().map_or(0, |ns| (ns / self.info.interval_ns().max(1)).max(1) as u64),
        };
        (missing > 0).then_some(missing)
    }

    fn is_avi(&self) -> bool {
        self.info.container == "avi"
    }

    /// Returns the number of packets whose pictures were decoded: some interlaced files have a packet per field, two to a frame.
    fn decoded_packets(&self) -> u64 {
        let decoded = self.losses.decoded;
        let has_field_packets = self.is_interlaced && 2 * self.packets > 3 * decoded;
        if has_field_packets { self.packets.min(2 * decoded) } else { decoded }
    }

    /// Returns the number of AVI chunks without a picture of their own, which prolong the previous one. The declared number
    /// includes them, but they are never read: a packet's decoding timestamp is the number of its chunk.
    fn empty_chunks(&self) -> u64 {
        if !self.is_avi() {
            return 0;
        }
        let start = self.opened.input.stream(self.opened.stream).map_or(0, |stream| stream.start_time().max(0));
        let chunks = u64::try_from(self.last_dts.saturating_add(1).saturating_sub(start)).unwrap_or(0);
        let behind = self.index_entries(|entry| entry.timestamp > self.last_dts && entry.size() == 0);
        chunks.saturating_sub(self.packets) + behind
    }

    /// True if the index has at least as many entries as frames are declared: a truncated AVI has lost its index.
    fn is_indexed(&self, declared: u64) -> bool {
        self.index_entries(|_| true) >= declared
    }

    /// Counts the entries of the container's video index that satisfy a condition.
    fn index_entries(&self, holds: impl Fn(&ffi::AVIndexEntry) -> bool) -> u64 {
        let Some(stream) = self.opened.input.stream(self.opened.stream) else { return 0 };
        // SAFETY: the stream belongs to the open input; the indices are below the count, and the entries are read before
        // the input is used for anything else.
        unsafe {
            let stream = stream.as_ptr().cast_mut();
            let count = ffi::avformat_index_get_entries_count(stream);
            let entry = |i| ffi::avformat_index_get_entry(stream, i).as_ref();
            (0..count).filter_map(entry).filter(|entry| holds(entry)).count() as u64
        }
    }

    /// Returns the time between the end of the last packet and the declared end, ns, if it is too long to be rounding.
    fn missing_time(&self) -> Option<i64> {
        let input = &self.opened.input;
        // SAFETY: the context is open. Only a duration that the file states counts: one that FFmpeg derived from the
        // file's end or size cannot show that the end is missing.
        let (start, duration, is_declared) = unsafe {
            let context = input.as_ptr();
            let method = (*context).duration_estimation_method;
            (
                (*context).start_time,
                (*context).duration,
                method == ffi::AVDurationEstimationMethod::AVFMT_DURATION_FROM_STREAM,
            )
        };
        if !is_declared || duration <= 0 {
            return None;
        }
        let start = if start == ffi::AV_NOPTS_VALUE { 0 } else { start };
        let missing = (start + duration).saturating_mul(1000).saturating_sub(self.read_until_ns.max(0));
        // Matroska's duration is exact; that of others (FLV's is entered by hand) is not.
        let rounding = match input.format().name() {
            name if name.contains("matroska") => self.info.interval_ns() * 3 / 2,
            // The sum of the segments' durations, each of them rounded.
            "hls" => 5_000_000_000,
            _ => 500_000_000,
        };
        (missing > rounding).then_some(missing)
    }

    /// Seeks to a media time: the next frame is the first one with `pts_ns >= ns`.
    ///
    /// # Errors
    /// If the media ends before that time, or the source is live.
    pub fn seek(&mut self, ns: i64) -> Result<()> {
        if self.is_live() {
            return Err(Error::config(format!("{}: is live and cannot be seeked", self.path.display())));
        }
        if let Some(external) = &self.external {
            external.restart_timeout();
        }
        if self.external.as_ref().is_some_and(|external| !external.is_seekable()) {
            return self.read_forward_to(ns);
        }
        // A container's seek may land late (MPEG-TS) or fail (raw streams): retry from further back, then from the start.
        if self.timebase.is_none() {
            self.decode_next(&mut |_| ());
        }
        let mut back_ns = 0;
        while let Some(times) = self.timebase {
            let from = ns - back_ns;
            if from <= 0 || back_ns > 64_000_000_000 {
                break;
            }
            // SAFETY: the context is open and the stream is one of its own.
            let result = unsafe {
                let context = self.opened.input.as_mut_ptr();
                ffi::av_seek_frame(context, self.opened.stream as i32, times.to_ticks(from), ffi::AVSEEK_FLAG_BACKWARD)
            };
            if result < 0 {
                break;
            }
            self.opened.decoder.flush();
            self.reset();
            self.has_sought = true;
            if self.decode_next(&mut |_| ()) && self.pts <= ns {
                return self.decode_until(ns);
            }
            back_ns = if back_ns == 0 { 1_000_000_000 } else { back_ns * 2 };
        }
        if self.external.is_some() {
            return Err(Error::input(format!(
                "{}: its server cannot seek to {:.3} s",
                self.path.display(),
                ns as f64 * 1e-9
            )));
        }
        self.opened = open(&self.path, &self.options)?;
        self.reset();
        self.has_sought = false;
        if !self.decode_next(&mut |_| ()) {
            return Err(self.no_frame_at(ns));
        }
        self.decode_until(ns)
    }

    /// Decodes forward to a media time, for a connection whose server supports no ranges.
    ///
    /// # Errors
    /// If the media ends before that time, or the time has been passed already.
    fn read_forward_to(&mut self, ns: i64) -> Result<()> {
        if self.losses.decoded == 0 && !self.decode_next(&mut |_| ()) {
            return Err(self.no_frame_at(ns));
        }
        if self.pts > ns && self.losses.decoded > 1 {
            return Err(Error::input(format!(
                "{}: its server cannot seek back to {:.3} s",
                self.path.display(),
                ns as f64 * 1e-9
            )));
        }
        self.decode_until(ns)
    }

    /// Decodes frames up to a media time and keeps the first one at or after it for the next call.
    fn decode_until(&mut self, ns: i64) -> Result<()> {
        self.audio_from_ns = ns;
        while self.pts < ns {
            if !self.decode_next(&mut |_| ()) {
                return Err(self.no_frame_at(ns));
            }
        }
        self.has_pending_frame = true;
        Ok(())
    }

    fn no_frame_at(&self, ns: i64) -> Error {
        Error::input(format!(
            "{}: there is no frame at {:.3} s; the last one is at {:.3} s",
            self.path.display(),
            ns as f64 * 1e-9,
            self.pts as f64 * 1e-9
        ))
    }

    /// Resets the state after a seek.
    fn reset(&mut self) {
        (self.pts, self.has_pending_frame, self.is_draining, self.has_ended, self.last_slot) =
            (0, false, false, false, None);
        (self.losses, self.packets, self.hidden_packets) = (DecodeLosses::default(), 0, 0);
        (self.read_until_ns, self.last_dts, self.is_at_end) = (i64::MIN, i64::MIN, false);
        self.queued.clear();
        self.timeline.reset();
        if let Some(audio) = &mut self.audio {
            audio.reset();
        }
    }

    /// True if the frame is within the limit of `fps`.
    fn passes_fps_limit(&mut self) -> bool {
        let Some(fps) = self.options.fps else { return true };
        // Slightly early frames count: timestamps are rounded, in Matroska to the millisecond.
        let tolerance = (0.002 * fps).min(0.25);
        let slot = (self.pts as f64 * 1e-9 * fps + tolerance).floor() as i64;
        let passes = self.last_slot.is_none_or(|last| slot > last);
        if passes {
            self.last_slot = Some(slot);
        }
        passes
    }

    /// Decodes the next frame into `frame`. Returns false at the end.
    fn decode_next(&mut self, before_packet: &mut dyn FnMut(i64)) -> bool {
        // Bounds the errors while the decoder is drained, so that a broken decoder cannot block the run forever.
        let mut errors_in_a_row = 0;
        while !self.has_ended {
            match self.opened.decoder.receive_frame(&mut self.frame) {
                Ok(()) => {
                    self.account_frame();
                    return true;
                }
                Err(ff::Error::Eof) => self.has_ended = true,
                Err(ff::Error::Other { errno }) if errno == ff::error::EAGAIN && !self.is_draining => {
                    self.feed_decoder(before_packet)
                }
                Err(_) => {
                    self.losses.undecodable_video += 1;
                    errors_in_a_row += 1;
                    if !self.is_draining {
                        self.feed_decoder(before_packet);
                    } else if errors_in_a_row > 256 {
                        self.has_ended = true;
                    }
                }
            }
        }
        false
    }

    /// Returns true for a frame that a previous connection has delivered, and counts it.
    fn take_repeated(&mut self) -> bool {
        let Some(external) = self.external.as_mut().filter(|external| !external.repeated_stamps.is_empty()) else {
            return false;
        };
        let ticks = self.frame.timestamp().or(self.frame.pts());
        let is_repeated = ticks.is_some_and(|ticks| external.repeated_stamps.remove(&ticks));
        external.repeated_frames += u64::from(is_repeated);
        is_repeated
    }

    /// Counts the decoded frame and sets its media time.
    fn account_frame(&mut self) {
        self.losses.decoded += 1;
        self.is_interlaced |= self.frame.is_interlaced();
        self.losses.damaged += u64::from(is_damaged(&self.frame));
        let after = self.pts + if self.losses.decoded == 1 { 0 } else { self.info.interval_ns() };
        let pts = match self.frame.timestamp().or(self.frame.pts()) {
            Some(ticks) => self.timebase_from(ticks).to_ns(ticks),
            None => after,
        };
        if let Some(external) = &mut self.external {
            external.packets_without_frame = 0;
        }
        self.pts = pts.max(self.pts);
    }

    /// Maps a packet of video or audio onto the timeline. Logs the first irregularity; later ones are counted only.
    fn correct_timestamps(&mut self, packet: &mut Packet) {
        let Some(stream) = self.opened.input.stream(packet.stream()) else { return };
        // SAFETY: the stream belongs to the open input.
        let wrap_bits = unsafe { (*stream.as_ptr()).pts_wrap_bits }.unsigned_abs();
        let unit = TimestampUnit { base: stream.time_base(), wrap_bits };
        let Some(jump) = self.timeline.correct(packet, unit) else { return };
        if self.timeline.jumps().total() > 1 {
            return;
        }
        let ticks = packet.dts().or(packet.pts()).unwrap_or_default();
        let file = Timebase { start: 0, num: unit.base.numerator(), den: unit.base.denominator() };
        let seconds = |ns: i64| format!("{:.3} s", ns as f64 * 1e-9);
        let at = seconds(self.timebase.map_or(0, |times| file.to_ns(ticks).saturating_sub(start_ns(times))));
        let source = self.path.display();
        match jump {
            TimeJump::Restart(step) => {
                let step = seconds(step);
                tracing::warn!(%source, at, step, "its clock was reset: timestamps continue without the step; more are counted");
            }
            TimeJump::Pause(step) => {
                let step = seconds(step);
                tracing::warn!(%source, at, step, "its timestamps jump ahead: the gap is kept; more are counted");
            }
            TimeJump::Standstill => {
                tracing::warn!(%source, at, "its timestamps stand still: they continue at the declared rate");
            }
        }
    }

    /// Returns the time base of the stream. The first frame is the origin if the source declares none.
    fn timebase_from(&mut self, ticks: i64) -> Timebase {
        let (num, den) = self.info.time_base;
        *self.timebase.get_or_insert(Timebase { start: ticks, num, den })
    }

    /// Sends the next video packet to the decoder, or the end of the stream if there is none.
    fn feed_decoder(&mut self, before_packet: &mut dyn FnMut(i64)) {
        if let Some(external) = &self.external {
            external.restart_timeout();
        }
        while self.queued.is_empty() && self.read_packet() {}
        let Some(packet) = self.queued.pop_front() else {
            self.is_draining = true;
            // It fails only if the end was sent before.
            let _ = self.opened.decoder.send_eof();
            return;
        };
        // In some files the origin is not known before the first frame.
        let time = packet.dts().or(packet.pts()).zip(self.timebase);
        before_packet(time.map_or(0, |(ticks, times)| times.to_ns(ticks)));
        // SAFETY: the packet is a valid AVPacket.
        let flags = unsafe { (*ff::packet::Ref::as_ptr(&packet)).flags };
        let is_empty = packet.size() == 0;
        self.hidden_packets += u64::from(is_empty || flags & ffi::AV_PKT_FLAG_DISCARD != 0);
        if is_empty {
            return;
        }
        if let Err(cause) = self.opened.decoder.send_packet(&packet)
            && cause != ff::Error::Eof
        {
            self.losses.undecodable_video += 1;
        }
    }

    /// Reads one packet: queues video, decodes audio. Returns false at the end.
    fn read_packet(&mut self) -> bool {
        let mut packet = Packet::empty();
        let mut failures = 0;
        let since = Instant::now();
        while !self.is_at_end {
            match packet.read(&mut self.opened.input) {
                Ok(()) => break,
                Err(cause) if self.external.as_mut().is_some_and(|it| it.should_retry(cause, since)) => {
                    std::thread::sleep(DEVICE_POLL_INTERVAL)
                }
                // Invalid data: the demuxer resynchronizes behind it.
                Err(ff::Error::InvalidData) if failures < 256 => failures += 1,
                Err(cause) => {
                    if cause != ff::Error::Eof && self.external.is_none() {
                        tracing::warn!(file = %self.path.display(), %cause, "reading stopped before the end of the file");
                    }
                    self.is_at_end = true;
                    if let Some(audio) = &mut self.audio {
                        audio.drain();
                    }
                }
            }
        }
        if self.is_at_end {
            return false;
        }
        let base = self.opened.input.stream(packet.stream()).map(|stream| stream.time_base());
        if let (Some(base), Some(ticks)) = (base, packet.pts().or(packet.dts())) {
            let file = Timebase { start: 0, num: base.numerator(), den: base.denominator() };
            self.read_until_ns = self.read_until_ns.max(file.to_ns(ticks.saturating_add(packet.duration().max(0))));
        }
        if packet.stream() == self.opened.stream {
            self.queue_video_packet(packet);
        } else if self.audio.as_ref().is_some_and(|audio| audio.stream == packet.stream()) {
            self.correct_timestamps(&mut packet);
            if let Some(audio) = &mut self.audio {
                audio.decode(&packet);
            }
        }
        true
    }

    /// Queues a video packet.
    fn queue_video_packet(&mut self, mut packet: Packet) {
        self.last_dts = self.last_dts.max(packet.dts().unwrap_or(i64::MIN));
        self.packets += 1;
        // Compared by its original timestamps, before they are corrected.
        let is_repeated = self.external.as_mut().is_some_and(|external| external.record(&packet));
        self.correct_timestamps(&mut packet);
        if let Some(external) = &mut self.external {
            if let (true, Some(pts)) = (is_repeated, packet.pts().or(packet.dts())) {
                external.repeated_stamps.insert(pts);
            }
            if is_repeated && external.is_live() && self.losses.decoded == 0 {
                // The same stream with the same clock: media time and audio continue.
                (self.timebase, self.pts) = (external.history.timebase, external.history.last_pts_ns);
                self.audio_from_ns = external.history.last_pts_ns;
            }
            self.is_at_end = external.lost.is_some();
        }
        self.queued.push_back(packet);
    }
}

/// Returns the time of the file that is media time 0, ns.
fn start_ns(times: Timebase) -> i64 {
    Timebase { start: 0, ..times }.to_ns(times.start)
}

/// True if parts of a frame are concealed errors.
fn is_damaged(frame: &frame::Video) -> bool {
    // SAFETY: the frame is a valid AVFrame. `is_corrupt` alone misses pictures with concealed errors.
    frame.is_corrupt() || unsafe { (*frame.as_ptr()).decode_error_flags } != 0
}
