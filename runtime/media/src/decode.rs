//! The decoder of one file, device or stream on the network: frames in order of time, exact seeking, and an account of what was lost.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use ff::{Packet, ffi, frame};
use ffmpeg_next as ff;
use sideline_api::{Error, Frame, Result, address};

use crate::{
    attached::Attached,
    audio::{Listener, Sound, SoundFormat},
    device::{self, Device},
    exif,
    geometry::Declared,
    info::{MediaInfo, Times},
    network::{self, Network, Unopened},
    open::{Opened, open},
    picture::Pictures,
    repeats::Repeats,
    scale::Size,
    timeline::{Jump, StepAhead, TimeJumps, Timeline, Unit},
    tracks, views,
};

/// How the decoder spreads its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// Threads share one picture: no delay, but few files are coded for it. For live use; 1 is no threads.
    Slice(usize),
    /// Each thread has a picture of its own: fastest, but a frame comes out `n - 1` frames late. For complete runs.
    Frame(usize),
}

/// How a file is decoded.
#[derive(Clone, Copy, Debug)]
pub struct DecodeOptions {
    /// Threads.
    pub threads: Threads,
    /// Larger pictures are brought down to this size.
    pub size: Option<Size>,
    /// At most so many frames a second: others are decoded and passed over, evenly by their media time.
    pub fps: Option<f64>,
    /// Decodes the sound too, where there is one, for [`Decoder::sound_until`]. Without it no packet of sound is looked at.
    pub audio: bool,
    /// Number of the video track to read, from 0; cover pictures are not counted. `None`: the best one.
    pub video_track: Option<u32>,
    /// Number of the audio track to read, from 0. `None`: the best one of those that belong to the video track.
    pub audio_track: Option<u32>,
}

/// Packets of picture that are read before their time to find the sound beside an earlier one: five seconds at 30 frames
/// a second. In files that keep picture and sound further apart than that, sound comes with a later frame.
const AHEAD: usize = 150;

/// How often a device without a picture is asked again.
const LOOK: Duration = Duration::from_millis(1);

impl Default for DecodeOptions {
    fn default() -> Self {
        Self { threads: Threads::Slice(1), size: None, fps: None, audio: false, video_track: None, audio_track: None }
    }
}

/// One decoded frame.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The picture, upright, in square pixels.
    pub frame: Frame,
    /// Media time in nanoseconds since the start of the stream; never goes back.
    pub pts_ns: i64,
    /// True when parts of the picture are guessed, because the file is damaged there.
    pub damaged: bool,
}

/// What a file lost, so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Frames decoded since the start or the last seek, with those that a limit of `fps` passed over.
    pub decoded: u64,
    /// Frames of which parts are guessed.
    pub damaged: u64,
    /// Packets that gave no picture: their frames are lost.
    pub undecodable: u64,
    /// Packets that gave no sound, where sound is decoded: there is silence in its place.
    pub unheard: u64,
    /// Frames that the file declares and does not hold; known at its end. See [`Decoder::missing`].
    pub missing: Option<u64>,
}

/// See the [module](self).
pub struct Decoder {
    path: PathBuf,
    /// For a device, and for what is on the network.
    attached: Option<Attached>,
    options: DecodeOptions,
    info: MediaInfo,
    opened: Opened,
    times: Option<Times>,
    timeline: Timeline,
    pictures: Pictures,
    listener: Option<Listener>,
    /// Media time that sound is wanted from, ns.
    heard_from: i64,
    /// Packets of the picture that are read and not yet decoded.
    ahead: VecDeque<Packet>,
    frame: frame::Video,
    /// Media time of `frame`.
    pts: i64,
    /// True while `frame` was decoded by a seek and not yet handed out.
    pending: bool,
    /// True once all packets were read.
    read_all: bool,
    /// True once the decoder was told so.
    draining: bool,
    ended: bool,
    /// True once a seek left frames out, so that counting them says nothing.
    sought: bool,
    /// Number of the last frame kept, in units of the limit of `fps`.
    slot: Option<i64>,
    losses: Losses,
    /// Packets of the picture that were read.
    packets: u64,
    /// Of these, packets that an edit list cuts away, and empty ones, which repeat the picture before them.
    cut: u64,
    /// True once a frame came that is coded as two fields: each may have a packet of its own.
    is_interlaced: bool,
    /// End of the last packet of any stream, nanoseconds of the file's own time.
    read_until: i64,
    /// Decoding time of the stream's last packet, in its own unit.
    last_read: i64,
}

impl Decoder {
    /// Opens the best video stream of a local file.
    ///
    /// # Errors
    /// Says when the file is missing, a folder, empty, not a video, or without a video stream.
    pub fn open(path: impl AsRef<Path>, options: DecodeOptions) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let opened = open(&path, &options)?;
        Self::over(path, None, opened, options)
    }

    /// Opens a device: a camera, or a generator of libavdevice. Its frames come when it gives them, with its own times.
    ///
    /// # Errors
    /// Says when there is no such device, it is in use, or may not be read.
    pub fn device(device: &Device, options: DecodeOptions) -> Result<Self> {
        let opened = device::open(device, &options)?;
        Self::over(PathBuf::from(&device.address), Some(Attached::default()), opened, options)
    }

    /// Opens a stream on the network, or a file there: connects and waits until it is known what it brings.
    ///
    /// # Errors
    /// Says of what kind the cause is, and whether another try may help. No secret of the address is told.
    pub fn network(network: &Network, options: DecodeOptions) -> Result<Self, Unopened> {
        let (opened, link) = network::open(network, &options)?;
        let repeats = network.before.clone().unwrap_or_default().next_connection();
        let attached = Attached { link: Some(link), repeats, ..Attached::default() };
        Self::over(PathBuf::from(address::shown(&network.name)), Some(attached), opened, options)
            .map_err(|error| Unopened { refused: network::Refused::Away, error })
    }

    fn over(path: PathBuf, attached: Option<Attached>, opened: Opened, options: DecodeOptions) -> Result<Self> {
        let stream = opened.input.stream(opened.stream).ok_or_else(|| Error::input("the video stream is gone"))?;
        let name = path.display().to_string();
        let orientation = exif::orientation_of_file(&path, opened.input.format().name());
        let declared = Declared { orientation, ..Declared::read(&stream, &opened.decoder) };
        let info = MediaInfo::read(&name, &opened.input, &stream, &opened.decoder, &declared, opened.sound);
        let mut pictures = Pictures::new(&name, declared, options.size);
        tracks::tell(&opened.input, &options, (opened.stream, opened.sound), &mut pictures.notices);
        if let Some(text) = views::of_stream(&stream) {
            pictures.notices.tell(views::KIND, || text);
        }
        let start = stream.start_time();
        // AVI holds decoding times alone: a first frame that others wait for has a later one than the stream's start.
        // A device counts from when it was switched on, a stream from when it began: the first frame is the start here.
        let live = attached.as_ref().is_some_and(Attached::is_live);
        let known = start != ffi::AV_NOPTS_VALUE && info.container != "avi" && !live;
        let times = known.then_some(Times { start, num: info.time_base.0, den: info.time_base.1 });
        let step_ahead = attached.as_ref().map_or(StepAhead::Pause, |attached| attached.step_ahead(&info.container));
        Ok(Self {
            timeline: Timeline::new(step_ahead, opened.stream, info.interval()),
            pictures,
            listener: opened
                .sound
                .filter(|_| options.audio)
                .and_then(|stream| Listener::open(&opened.input, stream, &info.path)),
            heard_from: 0,
            ahead: VecDeque::new(),
            path,
            attached,
            options,
            info,
            opened,
            times,
            frame: frame::Video::empty(),
            pts: 0,
            pending: false,
            read_all: false,
            draining: false,
            ended: false,
            sought: false,
            slot: None,
            losses: Losses::default(),
            packets: 0,
            cut: 0,
            is_interlaced: false,
            read_until: i64::MIN,
            last_read: i64::MIN,
        })
    }

    /// What the file says of itself.
    pub fn info(&self) -> &MediaInfo {
        &self.info
    }

    /// Differences between the pictures and what the file says of them, as far as they were met.
    pub fn notices(&self) -> impl Iterator<Item = &str> {
        self.pictures.notices.texts()
    }

    /// Width and height of the frames that come out: upright, in square pixels, brought down to the size asked for.
    pub fn frame_size(&self) -> (u32, u32) {
        self.pictures.size_of(self.opened.decoder.width(), self.opened.decoder.height())
    }

    /// How the sound is to be read; `None` where the file has none or it was not asked for.
    pub fn sound_format(&self) -> Option<SoundFormat> {
        self.listener.as_ref().map(|listener| listener.format)
    }

    /// The sound before a media time (ns) that was not taken yet, in order: one stretch, or several with gaps between. Asked
    /// for at each frame, it is what is heard between the frame before and this one; after the last one, what is heard
    /// behind it. Before the first frame there is none.
    pub fn sound_until(&mut self, ns: i64) -> Vec<Sound> {
        let Some(times) = self.times else { return vec![] };
        let zero = file_start(times);
        let until = zero.saturating_add(ns);
        // Nothing live is waited for: what is heard beside this frame and comes behind it leaves with a later one.
        let most = if self.is_live() { 0 } else { AHEAD };
        while self.ahead.len() < most && self.listener.as_ref().is_some_and(|it| !it.reaches(until)) && self.read() {}
        self.listener.as_mut().map_or(vec![], |it| it.take(zero + self.heard_from, until, zero))
    }

    /// The next frame, or `None` at the end of what the file holds; [`Self::losses`] then says whether that was all.
    ///
    /// # Errors
    /// When a picture cannot be converted.
    #[allow(clippy::should_implement_trait, reason = "an Iterator's item could not be `Result<Option>`")]
    pub fn next(&mut self) -> Result<Option<Decoded>> {
        self.next_with(|_| ())
    }

    /// As [`Self::next`]; `before_packet` is told the decoding time (nanoseconds since the start of the stream) of
    /// each packet before it is decoded, and may wait: that is how a file is paced as if it were live.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn next_with(&mut self, mut before_packet: impl FnMut(i64)) -> Result<Option<Decoded>> {
        loop {
            if !std::mem::take(&mut self.pending) && !self.advance(&mut before_packet) {
                return Ok(None);
            }
            if self.is_again() || !self.keeps() {
                continue;
            }
            let damaged = is_damaged(&self.frame);
            let picture = std::mem::replace(&mut self.frame, frame::Video::empty());
            let frame = self.pictures.frame(picture).map_err(|e| e.at(self.path.display()))?;
            if let Some(attached) = &mut self.attached {
                let times = self.times.map(|times| self.timeline.folded(times));
                (attached.repeats.times, attached.repeats.last) = (times, self.pts);
            }
            return Ok(Some(Decoded { frame, pts_ns: self.pts, damaged }));
        }
    }

    /// Nanoseconds from a frame to the next, by the declared rate and the limit of `fps`.
    pub fn interval(&self) -> i64 {
        let limit = self.options.fps.map_or(0, |fps| (1e9 / fps) as i64);
        self.info.interval().max(limit)
    }

    /// True for what shows what is now, whenever it is read: a device, or a stream without an end of its own.
    pub fn is_live(&self) -> bool {
        self.attached.as_ref().is_some_and(Attached::is_live)
    }

    /// What a stream on the network has brought, for the next connection to it.
    pub fn repeats(&self) -> Option<&Repeats> {
        self.attached.as_ref().filter(|attached| attached.link.is_some()).map(|attached| &attached.repeats)
    }

    /// True once it was seen that this connection goes on with what the one before brought: its media times are the same.
    pub fn goes_on(&self) -> bool {
        self.attached.as_ref().is_some_and(|attached| !attached.again.is_empty())
    }

    /// Frames left out because the connection before had brought them.
    pub fn repeated(&self) -> u64 {
        self.attached.as_ref().map_or(0, |attached| attached.repeated)
    }

    /// A device that is waited for is given up when this says so; it is asked every millisecond.
    pub fn stop_when(&mut self, stop: impl Fn() -> bool + Send + 'static) {
        if let Some(attached) = &mut self.attached {
            attached.stop = Some(Box::new(stop));
        }
    }

    /// Why a device or a connection gives no more pictures; known at the end. None where it ended by itself.
    pub fn lost(&self) -> Option<&str> {
        self.attached.as_ref()?.lost.as_deref()
    }

    /// Irregular times so far.
    pub fn time_jumps(&self) -> TimeJumps {
        self.timeline.jumps()
    }

    /// What was lost since the start or the last seek.
    pub fn losses(&self) -> Losses {
        let unheard = self.listener.as_ref().map_or(0, |listener| listener.undecodable);
        Losses { missing: self.missing(), unheard, ..self.losses }
    }

    /// Frames that the file declares and does not hold: known at its end, `None` when nothing is missing.
    ///
    /// Counted where the file has an index of its frames; else estimated from its declared length.
    pub fn missing(&self) -> Option<u64> {
        if !self.ended || self.is_live() {
            return None;
        }
        let missing = match self.info.frames {
            Some(declared) if !self.sought => {
                let missing = declared.saturating_sub(self.pictures() + self.cut + self.empty_chunks());
                // In AVI a picture may be held in the chunk before, and its own be a placeholder.
                let slack = u64::from(self.is_avi());
                if missing > slack { missing } else { 0 }
            }
            // The declared length may include what an MP4's edit list cuts away, and the pauses of an AVI; the index does not.
            Some(declared) if self.info.container.contains("mp4") || (self.is_avi() && self.is_indexed(declared)) => {
                self.index_entries(|entry| entry.timestamp > self.last_read && entry.size() > 0)
            }
            _ => self.missing_time().map_or(0, |ns| (ns / self.info.interval().max(1)).max(1) as u64),
        };
        (missing > 0).then_some(missing)
    }

    fn is_avi(&self) -> bool {
        self.info.container == "avi"
    }

    /// Packets whose pictures came out: in some interlaced files each field has a packet of its own, two of which make one.
    fn pictures(&self) -> u64 {
        let decoded = self.losses.decoded;
        let has_field_packets = self.is_interlaced && 2 * self.packets > 3 * decoded;
        if has_field_packets { self.packets.min(2 * decoded) } else { decoded }
    }

    /// Chunks of an AVI without a picture of their own: the one before them is shown for longer. They are counted in the
    /// declared number, and never read: a packet's decoding time is the number of its chunk.
    fn empty_chunks(&self) -> u64 {
        if !self.is_avi() {
            return 0;
        }
        let first = self.opened.input.stream(self.opened.stream).map_or(0, |stream| stream.start_time().max(0));
        let passed = u64::try_from(self.last_read.saturating_add(1).saturating_sub(first)).unwrap_or(0);
        let behind = self.index_entries(|entry| entry.timestamp > self.last_read && entry.size() == 0);
        passed.saturating_sub(self.packets) + behind
    }

    /// True when the index holds as many frames as are declared: that of a truncated AVI is missing.
    fn is_indexed(&self, declared: u64) -> bool {
        self.index_entries(|_| true) >= declared
    }

    /// Number of entries of the container's index of the picture for which something holds.
    fn index_entries(&self, holds: impl Fn(&ffi::AVIndexEntry) -> bool) -> u64 {
        let Some(stream) = self.opened.input.stream(self.opened.stream) else { return 0 };
        // SAFETY: the stream belongs to the open input; entries are asked for by numbers below their count, and read
        // before anything else is done with the input.
        unsafe {
            let stream = stream.as_ptr().cast_mut();
            let count = ffi::avformat_index_get_entries_count(stream);
            let entry = |i| ffi::avformat_index_get_entry(stream, i).as_ref();
            (0..count).filter_map(entry).filter(|entry| holds(entry)).count() as u64
        }
    }

    /// Nanoseconds between the end of the last packet and the declared end, when that is too long to be rounding.
    fn missing_time(&self) -> Option<i64> {
        let input = &self.opened.input;
        // SAFETY: the context is open. Only a length that the file states counts: one that FFmpeg worked out from
        // the file's end or size cannot show that the end is missing.
        let (start, length, stated) = unsafe {
            let context = input.as_ptr();
            let method = (*context).duration_estimation_method;
            (
                (*context).start_time,
                (*context).duration,
                method == ffi::AVDurationEstimationMethod::AVFMT_DURATION_FROM_STREAM,
            )
        };
        if !stated || length <= 0 {
            return None;
        }
        let start = if start == ffi::AV_NOPTS_VALUE { 0 } else { start };
        let missing = (start + length).saturating_mul(1000).saturating_sub(self.read_until.max(0));
        // Matroska's length is exact; others' (FLV's is written by hand) is not.
        let rounding = match input.format().name() {
            name if name.contains("matroska") => self.info.interval() * 3 / 2,
            // The sum of its segments' lengths, each rounded.
            "hls" => 5_000_000_000,
            _ => 500_000_000,
        };
        (missing > rounding).then_some(missing)
    }

    /// Goes to a media time: the next frame is the first whose `pts_ns` is not less.
    ///
    /// # Errors
    /// When the file ends before, or it shows what is now.
    pub fn seek(&mut self, ns: i64) -> Result<()> {
        if self.is_live() {
            return Err(Error::config(format!("{}: shows what is now", self.path.display())));
        }
        if let Some(attached) = &self.attached {
            attached.expect();
        }
        if self.attached.as_ref().is_some_and(|attached| !attached.is_seekable()) {
            return self.read_on_to(ns);
        }
        // A container's seek may land late (MPEG-TS) or not at all (raw streams): go back further, then to the start.
        if self.times.is_none() {
            self.advance(&mut |_| ());
        }
        let mut back = 0;
        while let Some(times) = self.times {
            let from = ns - back;
            if from <= 0 || back > 64_000_000_000 {
                break;
            }
            // SAFETY: the context is open and the stream is one of its own.
            let sought = unsafe {
                let context = self.opened.input.as_mut_ptr();
                ffi::av_seek_frame(context, self.opened.stream as i32, times.ticks(from), ffi::AVSEEK_FLAG_BACKWARD)
            };
            if sought < 0 {
                break;
            }
            self.opened.decoder.flush();
            self.restart();
            self.sought = true;
            if self.advance(&mut |_| ()) && self.pts <= ns {
                return self.forward_to(ns);
            }
            back = if back == 0 { 1_000_000_000 } else { back * 2 };
        }
        if self.attached.is_some() {
            return Err(Error::input(format!(
                "{}: its server cannot go to {:.3} s",
                self.path.display(),
                ns as f64 * 1e-9
            )));
        }
        self.opened = open(&self.path, &self.options)?;
        self.restart();
        self.sought = false;
        if !self.advance(&mut |_| ()) {
            return Err(self.beyond(ns));
        }
        self.forward_to(ns)
    }

    /// Reads on to a media time, from the beginning of a connection whose server cannot begin in the middle.
    ///
    /// # Errors
    /// When the file ends before, or was read further already.
    fn read_on_to(&mut self, ns: i64) -> Result<()> {
        if self.losses.decoded == 0 && !self.advance(&mut |_| ()) {
            return Err(self.beyond(ns));
        }
        if self.pts > ns && self.losses.decoded > 1 {
            return Err(Error::input(format!(
                "{}: its server cannot go back to {:.3} s",
                self.path.display(),
                ns as f64 * 1e-9
            )));
        }
        self.forward_to(ns)
    }

    fn forward_to(&mut self, ns: i64) -> Result<()> {
        self.heard_from = ns;
        while self.pts < ns {
            if !self.advance(&mut |_| ()) {
                return Err(self.beyond(ns));
            }
        }
        self.pending = true;
        Ok(())
    }

    fn beyond(&self, ns: i64) -> Error {
        Error::input(format!(
            "{}: there is no frame at {:.3} s; the last one is at {:.3} s",
            self.path.display(),
            ns as f64 * 1e-9,
            self.pts as f64 * 1e-9
        ))
    }

    fn restart(&mut self) {
        (self.pts, self.pending, self.draining, self.ended, self.slot) = (0, false, false, false, None);
        (self.losses, self.packets, self.cut) = (Losses::default(), 0, 0);
        (self.read_until, self.last_read, self.read_all) = (i64::MIN, i64::MIN, false);
        self.ahead.clear();
        self.timeline.restart();
        if let Some(listener) = &mut self.listener {
            listener.restart();
        }
    }

    /// True when the frame is not one too many for the limit of `fps`.
    fn keeps(&mut self) -> bool {
        let Some(fps) = self.options.fps else { return true };
        // A little early still counts: time stamps are rounded, in Matroska to the millisecond.
        let early = (0.002 * fps).min(0.25);
        let slot = (self.pts as f64 * 1e-9 * fps + early).floor() as i64;
        let keeps = self.slot.is_none_or(|last| slot > last);
        if keeps {
            self.slot = Some(slot);
        }
        keeps
    }

    /// Decodes the next frame into `frame`; false at the end.
    fn advance(&mut self, before_packet: &mut dyn FnMut(i64)) -> bool {
        // Errors in a row while the decoder is emptied; a broken decoder must not hold the run for ever.
        let mut fruitless = 0;
        while !self.ended {
            match self.opened.decoder.receive_frame(&mut self.frame) {
                Ok(()) => {
                    self.decoded();
                    return true;
                }
                Err(ff::Error::Eof) => self.ended = true,
                Err(ff::Error::Other { errno }) if errno == ff::error::EAGAIN && !self.draining => {
                    self.feed(before_packet)
                }
                Err(_) => {
                    self.losses.undecodable += 1;
                    fruitless += 1;
                    if !self.draining {
                        self.feed(before_packet);
                    } else if fruitless > 256 {
                        self.ended = true;
                    }
                }
            }
        }
        false
    }

    /// True for a frame that the connection before had brought.
    fn is_again(&mut self) -> bool {
        let Some(attached) = self.attached.as_mut().filter(|attached| !attached.again.is_empty()) else { return false };
        let ticks = self.frame.timestamp().or(self.frame.pts());
        let again = ticks.is_some_and(|ticks| attached.again.remove(&ticks));
        attached.repeated += u64::from(again);
        again
    }

    fn decoded(&mut self) {
        self.losses.decoded += 1;
        self.is_interlaced |= self.frame.is_interlaced();
        self.losses.damaged += u64::from(is_damaged(&self.frame));
        let after = self.pts + if self.losses.decoded == 1 { 0 } else { self.info.interval() };
        let pts = match self.frame.timestamp().or(self.frame.pts()) {
            Some(ticks) => self.times_from(ticks).ns(ticks),
            None => after,
        };
        if let Some(attached) = &mut self.attached {
            attached.fruitless = 0;
        }
        self.pts = pts.max(self.pts);
    }

    /// Puts a packet of picture or sound on the timeline, and tells the first irregularity; later ones are counted.
    fn place(&mut self, packet: &mut Packet) {
        let Some(stream) = self.opened.input.stream(packet.stream()) else { return };
        // SAFETY: the stream belongs to the open input.
        let wrap_bits = unsafe { (*stream.as_ptr()).pts_wrap_bits }.unsigned_abs();
        let unit = Unit { base: stream.time_base(), wrap_bits };
        let Some(jump) = self.timeline.place(packet, unit) else { return };
        if self.timeline.jumps().total() > 1 {
            return;
        }
        let ticks = packet.dts().or(packet.pts()).unwrap_or_default();
        let file = Times { start: 0, num: unit.base.numerator(), den: unit.base.denominator() };
        let seconds = |ns: i64| format!("{:.3} s", ns as f64 * 1e-9);
        let at = seconds(self.times.map_or(0, |times| file.ns(ticks).saturating_sub(file_start(times))));
        let source = self.path.display();
        match jump {
            Jump::Restart(step) => {
                let step = seconds(step);
                tracing::warn!(%source, at, step, "its clock was set anew: times go on from there; more are counted");
            }
            Jump::Pause(step) => {
                let step = seconds(step);
                tracing::warn!(%source, at, step, "its times jump ahead: they are kept; more jumps are counted");
            }
            Jump::Standstill => {
                tracing::warn!(%source, at, "its times stand still: they go on at the declared rate");
            }
        }
    }

    /// The stream's start, taken from its first frame where the file does not say.
    fn times_from(&mut self, ticks: i64) -> Times {
        let (num, den) = self.info.time_base;
        *self.times.get_or_insert(Times { start: ticks, num, den })
    }

    /// Gives the decoder the next packet of the stream, or tells it that there is none.
    fn feed(&mut self, before_packet: &mut dyn FnMut(i64)) {
        if let Some(attached) = &self.attached {
            attached.expect();
        }
        while self.ahead.is_empty() && self.read() {}
        let Some(packet) = self.ahead.pop_front() else {
            self.draining = true;
            // It can only say that it was told before.
            let _ = self.opened.decoder.send_eof();
            return;
        };
        // Before the first frame of some files it is not known which time is their start.
        let time = packet.dts().or(packet.pts()).zip(self.times);
        before_packet(time.map_or(0, |(ticks, times)| times.ns(ticks)));
        // SAFETY: the packet is a valid AVPacket.
        let flags = unsafe { (*ff::packet::Ref::as_ptr(&packet)).flags };
        let is_empty = packet.size() == 0;
        self.cut += u64::from(is_empty || flags & ffi::AV_PKT_FLAG_DISCARD != 0);
        if is_empty {
            return;
        }
        if let Err(cause) = self.opened.decoder.send_packet(&packet)
            && cause != ff::Error::Eof
        {
            self.losses.undecodable += 1;
        }
    }

    /// Reads one packet: of the picture, it waits in `ahead`; of the sound, it is decoded. False at the end.
    fn read(&mut self) -> bool {
        let mut packet = Packet::empty();
        let mut failures = 0;
        let since = Instant::now();
        while !self.read_all {
            match packet.read(&mut self.opened.input) {
                Ok(()) => break,
                Err(cause) if self.attached.as_mut().is_some_and(|it| it.waits(cause, since)) => {
                    std::thread::sleep(LOOK)
                }
                // A stretch of noise: the demuxer finds its way behind it.
                Err(ff::Error::InvalidData) if failures < 256 => failures += 1,
                Err(cause) => {
                    if cause != ff::Error::Eof && self.attached.is_none() {
                        tracing::warn!(file = %self.path.display(), %cause, "reading stopped before the end of the file");
                    }
                    self.read_all = true;
                    if let Some(listener) = &mut self.listener {
                        listener.drain();
                    }
                }
            }
        }
        if self.read_all {
            return false;
        }
        let base = self.opened.input.stream(packet.stream()).map(|stream| stream.time_base());
        if let (Some(base), Some(ticks)) = (base, packet.pts().or(packet.dts())) {
            let file = Times { start: 0, num: base.numerator(), den: base.denominator() };
            self.read_until = self.read_until.max(file.ns(ticks.saturating_add(packet.duration().max(0))));
        }
        if packet.stream() == self.opened.stream {
            self.read_picture(packet);
        } else if self.listener.as_ref().is_some_and(|listener| listener.stream == packet.stream()) {
            self.place(&mut packet);
            if let Some(listener) = &mut self.listener {
                listener.hear(&packet);
            }
        }
        true
    }

    /// Takes in a packet of the picture.
    fn read_picture(&mut self, mut packet: Packet) {
        self.last_read = self.last_read.max(packet.dts().unwrap_or(i64::MIN));
        self.packets += 1;
        // Known by its own stamps, before they are moved.
        let is_known = self.attached.as_mut().is_some_and(|attached| attached.has(&packet));
        self.place(&mut packet);
        if let Some(attached) = &mut self.attached {
            if let (true, Some(pts)) = (is_known, packet.pts().or(packet.dts())) {
                attached.again.insert(pts);
            }
            if is_known && attached.is_live() && self.losses.decoded == 0 {
                // The same stream by the same clock: its times and its sound go on.
                (self.times, self.pts) = (attached.repeats.times, attached.repeats.last);
                self.heard_from = attached.repeats.last;
            }
            self.read_all = attached.lost.is_some();
        }
        self.ahead.push_back(packet);
    }
}

/// Time of the file that counts as media time 0, ns.
fn file_start(times: Times) -> i64 {
    Times { start: 0, ..times }.ns(times.start)
}

fn is_damaged(frame: &frame::Video) -> bool {
    // SAFETY: the frame is a valid AVFrame. `is_corrupt` alone misses pictures that the decoder patched up.
    frame.is_corrupt() || unsafe { (*frame.as_ptr()).decode_error_flags } != 0
}
