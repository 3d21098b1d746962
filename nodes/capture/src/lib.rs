//! Capture: the source that reads video files, cameras, folders of images and streams on the network.
//!
//! In `complete` mode it reads as fast as the graph takes frames. In `live` mode it plays files in real time: each
//! packet is decoded when a live stream would have brought it, and no frame leaves before its due time. A camera is
//! always live, and so is a stream on the network, which is connected to again when it breaks off (see `line`). Several sources are as many streams of one node: each is read, paced, and fails by itself.
//!
//! Its output `audio` is made where somebody reads it: with each frame the sound since the frame before, and after the last
//! one what is heard behind it. Cameras and images have none.
#![forbid(unsafe_code)]

mod line;
mod names;
mod pace;
mod page;
mod reader;

use std::{path::Path, sync::Arc, time::Duration};

use sideline_api::{
    Body, Captured, Closing, Config, Error, Mode, Payload, PortType, Resources, Result, Source, SourceContext, Spec,
    StreamName, Table,
    address::{self, is_reference, is_remote, shown},
    arrow::array::StructArray,
    tables::Audio,
};
use sideline_media::{Size, Threads, Trust, device::is_device};

use line::Patience;
use pace::Pace;
use reader::{Reader, Reading, Report};

/// Decodes video files with their sound, cameras, folders of images, and streams (RTMP, RTSP, HLS); plays files in real time in live mode.
#[derive(Clone, Debug, Config)]
#[config(check = CaptureConfig::check)]
pub struct CaptureConfig {
    /// The video file, the folder of images (`pictures/`), the camera (`/dev/video0`), or the address of a stream: `rtmp://`, `rtsp://`, `https://` (HLS, files, and pages that yt-dlp knows). `env:NAME` or `file:PATH` stands for an address that is looked up when the node starts, `{env:NAME}` and `{file:PATH}` within an address for a part of it, so that no secret is in the flow. Files are looked for beside the flow, in the working directory, in the house of Sideline.
    #[config(default = None, instead_of = "sources")]
    source: Option<String>,
    /// Several of them instead, a stream each: `"[left.mp4, right.mp4]"`. A stream is named for its file or its host, or as `NAME=PATH` says. All share one set of models.
    #[config(default = None, instead_of = "source")]
    sources: Option<Vec<String>>,
    /// Name of the stream of `source` in every message and recording. Empty: the node's id. Another name keeps two cameras apart.
    #[config(default = "")]
    stream: String,
    /// Seconds of the video to begin at: the first frame that is not earlier. Higher leaves out more of the beginning.
    #[config(default = None, range(0, 1_000_000_000))]
    start: Option<f64>,
    /// Seconds of the video to end at: frames from there on are left out. Higher plays longer; the default plays all.
    #[config(default = None, range(0, 1_000_000_000))]
    end: Option<f64>,
    /// Whether a file begins again at its end, as another session of its stream, for ever: end it with `--frames`, `--duration` or Ctrl-C. Frame numbers and times go on.
    #[config(default = false)]
    r#loop: bool,
    /// At most so many frames a second, evenly by media time. Lower saves work and sees less of fast movements; above the video's own rate nothing changes. A camera is asked for this rate; images are played at it (30).
    #[config(default = None, range(0.001, 1_000))]
    fps: Option<f64>,
    /// Largest size of a frame: a height (`720`, keeps the aspect) or both sides (`1280x720`), in square pixels, which frames always have. Lower saves work and loses small things; frames are never made larger. A camera is asked for this size.
    #[config(default = None)]
    size: Option<String>,
    /// Number of the video track that is read, from 0 as in FFmpeg's `0:v:N`; cover pictures are not counted. The default is the best one; where there are several, a warning lists them.
    #[config(default = None, range(0, 1_000))]
    video_track: Option<u32>,
    /// Number of the audio track that is read, from 0 as in FFmpeg's `0:a:N`. The default is the best one of those that belong to the picture; where there are several, a warning lists them.
    #[config(default = None, range(0, 1_000))]
    audio_track: Option<u32>,
    /// Decoder threads of each stream. Higher decodes faster with more memory (in live mode only files coded in slices gain); the default is one per core, at most 4, shared by the streams.
    #[config(default = None, range(1, 16))]
    threads: Option<usize>,
    /// Milliseconds that a stream on the network may bring no picture, and that connecting to it may take. Higher bears worse networks; lower notices sooner that nothing comes. HLS, which brings a segment at a time, has four times as long.
    #[config(default = 5_000, range(50, 600_000))]
    timeout: u64,
    /// Bytes of a stream on the network that may wait in the system's buffer of its connection. Higher rides out longer hiccups of this machine; the system has a limit of its own.
    #[config(default = 4_096_000, range(10_000, 1_000_000_000))]
    buffer: u32,
    /// Over TLS (`rtmps`, `https` and what a playlist refers to): file of the certificates (PEM) that a server's must lead to, in place of the system's.
    #[config(default = None)]
    ca: Option<String>,
    /// Over TLS: reads from whoever answers, whatever its certificate. The pictures may then be anybody's.
    #[config(default = false)]
    insecure: bool,
    /// Tries to reach a stream again that broke off or is not there yet. Higher waits longer for one that comes back; 0 ends the run at once. After the last one the run ends as partial.
    #[config(default = 10, range(0, 1_000_000))]
    tries: u32,
    /// Milliseconds before the first of these tries; each further wait is twice as long, up to a minute, and up to a fifth shorter or longer by chance. Lower is back sooner and loads a struggling server more.
    #[config(default = 1_000, range(1, 60_000))]
    backoff: u64,
    /// Failed tries in a row after which an alert is logged as an error and counted in the result. Higher stays quiet longer.
    #[config(default = 5, range(1, 1_000_000))]
    alert: u32,
}

impl CaptureConfig {
    /// What of it does not go together.
    fn check(&self) -> Vec<(&'static str, String)> {
        let mut wrong = vec![];
        let named = match (&self.source, &self.sources) {
            (Some(_), Some(_)) => {
                wrong.push(("sources", "stands beside `source`: give exactly one of the two".into()));
                vec![]
            }
            (None, None) => {
                let text = "must be given, or `sources`: a video file, a folder of images, a camera (`/dev/video0`) or \
                            an address (`rtmp://...`)";
                wrong.push(("source", text.into()));
                vec![]
            }
            (Some(source), None) => vec![("source", source.as_str())],
            (None, Some(sources)) => {
                if !self.stream.is_empty() {
                    let text = "names the stream of one `source`; with `sources` write each as `NAME=PATH`";
                    wrong.push(("stream", text.into()));
                }
                match names::streams(sources) {
                    Ok(streams) => streams.into_iter().map(|(_, source)| ("sources", source)).collect(),
                    Err(text) => {
                        wrong.push(("sources", text));
                        vec![]
                    }
                }
            }
        };
        for (key, source) in named {
            if is_remote(source) {
                if !is_reference(source)
                    && let Err(text) = address::check(source, &address::SCHEMES)
                {
                    wrong.push((key, text));
                }
                if let Some(other) = self.other_time() {
                    wrong.push((other, format!("`{}` is read from where it is", shown(source))));
                }
            } else if let (Some(other), true) = (self.other_time(), is_device(Path::new(source))) {
                wrong.push((other, format!("`{source}` is a camera, which shows what is now")));
            }
        }
        if let (from, Some(to)) = (self.start.unwrap_or(0.0), self.end)
            && to <= from
        {
            wrong.push(("end", format!("{to} s is not after `start`, {from} s: no frame would be left")));
        }
        if let Some(Err(cause)) = self.size.as_ref().map(|size| size.parse::<Size>()) {
            wrong.push(("size", cause.message));
        }
        wrong
    }

    /// The key that asks for another time than now, if one does.
    fn other_time(&self) -> Option<&'static str> {
        self.r#loop.then_some("loop").or(self.start.map(|_| "start"))
    }

    /// Name of the stream and source of each.
    fn named<'a>(&'a self, node: &'a str) -> Vec<(StreamName, &'a str)> {
        match (&self.source, &self.sources) {
            (_, Some(sources)) => names::streams(sources).unwrap_or_default(),
            (Some(source), None) => {
                let stream = if self.stream.is_empty() { node } else { &self.stream };
                vec![(stream.into(), source)]
            }
            (None, None) => vec![],
        }
    }
}

/// The output of the sound.
const AUDIO: &str = "audio";

/// One stream; see the [crate].
pub struct Capture {
    source: String,
    stream: StreamName,
    reader: Reader,
    /// What the source says of itself, for the run's folder; written once the run has begun.
    report: Option<Report>,
    /// Media time of the first frame asked for, ns.
    start: i64,
    /// Media time to end at, ns.
    end: i64,
    r#loop: bool,
    /// Number of the pass through the file.
    session: u32,
    /// What media time of the stream is ahead of the file's, ns.
    ahead: i64,
    /// Media time of the last frame of this pass, as the stream has it.
    last: Option<i64>,
    /// Sound behind the last frame of a pass, for the first one of the next.
    behind: Vec<Audio>,
    /// When frames are due, once the first one was asked for.
    pace: Option<Pace>,
    /// A frame came that lies behind `end`.
    past_end: bool,
    ended: bool,
    warned: bool,
}

fn nanoseconds(seconds: f64) -> i64 {
    (seconds * 1e9).round() as i64
}

impl Source for Capture {
    type Config = CaptureConfig;

    fn spec() -> Spec {
        Spec::source("capture").output("frames", PortType::Frame).output(AUDIO, PortType::table::<Audio>())
    }

    fn finite(config: &CaptureConfig) -> bool {
        let lasts = |source: &str| is_remote(source) || is_device(Path::new(source));
        !config.r#loop && !config.named("").iter().any(|(_, source)| lasts(source))
    }

    fn new(config: CaptureConfig, resources: &Resources) -> Result<Self> {
        let mut streams = Self::open(config, resources)?;
        match (streams.pop(), streams.is_empty()) {
            (Some(one), true) => Ok(one),
            _ => Err(Error::config("key `sources` names several streams where one is read")),
        }
    }

    fn open(config: CaptureConfig, resources: &Resources) -> Result<Vec<Self>> {
        let named = config.named(&resources.node);
        let size = config.size.as_ref().map(|size| size.parse::<Size>()).transpose().map_err(|e| e.at("key `size`"))?;
        let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4));
        let threads = config.threads.unwrap_or_else(|| cores().div_ceil(named.len().max(1)));
        let threads = match resources.mode {
            Mode::Live => Threads::Slice(threads),
            Mode::Complete => Threads::Frame(threads),
        };
        let audio = resources.is_read(AUDIO);
        let patience = Patience {
            timeout: Duration::from_millis(config.timeout),
            tries: config.tries,
            backoff: Duration::from_millis(config.backoff),
            alert: config.alert,
        };
        let ca = config.ca.as_ref().map(|path| resources.find(path)).transpose();
        let trust = ca.and_then(|ca| Trust::new(ca, config.insecure)).map_err(|e| e.at("key `ca`"))?;
        let reading = Reading {
            threads,
            size,
            fps: config.fps,
            audio,
            video_track: config.video_track,
            audio_track: config.audio_track,
            patience,
            buffer_bytes: config.buffer,
            trust,
        };
        let (mut opened, mut failed) = (vec![], vec![]);
        for (stream, source) in named {
            match Self::stream(stream, source, &config, &reading, resources) {
                Ok(stream) => opened.push(stream),
                Err(error) => failed.push(error),
            }
        }
        match failed.len() {
            0 => Ok(opened),
            1 => Err(failed.remove(0)),
            several => {
                let told: Vec<&str> = failed.iter().map(|error| error.message.as_str()).collect();
                Err(Error::new(failed[0].failure, format!("{several} sources: {}", told.join("; "))))
            }
        }
    }

    fn stream(&self) -> Option<StreamName> {
        Some(self.stream.clone())
    }

    fn next(&mut self, cx: &SourceContext) -> Result<Option<Captured>> {
        loop {
            if self.ended || cx.stopping() {
                return Ok(None);
            }
            if let Some(captured) = self.read(cx)? {
                return Ok(Some(captured));
            }
            if !cx.stopping() && !self.begin_again()? {
                return Ok(None);
            }
        }
    }

    fn closing(&mut self) -> Vec<Closing> {
        let rows = self.sound(self.end);
        // Frames from `end` on are left out, and what is heard with them.
        let closing = Closing { stream: self.stream.clone(), output: AUDIO, rows: encoded(&rows) };
        if rows.is_empty() { vec![] } else { vec![closing] }
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        self.reader.counts()
    }

    fn close(&mut self) -> Result<()> {
        self.reader.close(&self.source);
        Ok(())
    }
}

impl Capture {
    fn stream(
        stream: StreamName,
        source: &str,
        config: &CaptureConfig,
        reading: &Reading,
        resources: &Resources,
    ) -> Result<Self> {
        let node = &resources.node;
        let name = if config.sources.is_some() { format!("{node}-{stream}") } else { node.clone() };
        let mut reader = Reader::open(source, &name, reading, resources)?;
        let start = config.start.map_or(0, nanoseconds);
        if start > 0 {
            reader.seek(start).map_err(|e| e.at("key `start`"))?;
        }
        Ok(Self {
            source: source.into(),
            report: reader.report(&name, source, resources)?,
            stream,
            reader,
            start,
            end: config.end.map_or(i64::MAX, nanoseconds),
            r#loop: config.r#loop,
            session: 0,
            ahead: 0,
            last: None,
            behind: vec![],
            pace: None,
            past_end: false,
            ended: false,
            warned: false,
        })
    }

    /// The next frame of this pass; none at its end, and when the run is to end.
    fn read(&mut self, cx: &SourceContext) -> Result<Option<Captured>> {
        if let Some(report) = self.report.take() {
            report.write()?;
        }
        if self.pace.is_none() && !self.reader.ready(cx)? {
            return Ok(None);
        }
        let now = cx.clock.now();
        let (ahead, interval) = (self.ahead, self.reader.interval());
        let pace = self.pace.get_or_insert_with(|| Pace::start(self.start, now));
        let paced = cx.mode == Mode::Live && !self.reader.is_live();
        // When the packet that completes the frame was read; a live stream brings each at its decoding time.
        let mut arrived = now;
        let read = self.reader.next(cx, &self.source, &mut self.warned, |decoding_time| {
            if paced {
                cx.pace(pace.due(decoding_time.saturating_add(ahead), interval));
            }
            arrived = cx.clock.now();
        })?;
        let Some(read) = read else { return Ok(None) };
        if read.pts >= self.end {
            self.past_end = true;
            return Ok(None);
        }
        let mut captured = arrived;
        if paced {
            let due = pace.due(read.pts.saturating_add(ahead), interval);
            cx.pace(due);
            captured = captured.max(due);
        }
        if cx.stopping() {
            return Ok(None);
        }
        let audio = Body::Data(Payload::Table(encoded(&self.sound(read.pts))));
        let pts = read.pts + self.ahead;
        self.last = Some(pts);
        let (stream, session) = (self.stream.clone(), self.session + read.session);
        Ok(Some(Captured { stream, session, pts, captured, outputs: vec![read.body, audio] }))
    }

    /// At the end of a pass: goes back to the beginning when that is asked for. False: that was all.
    ///
    /// # Errors
    /// When something was missing at the end, or nothing came at all.
    fn begin_again(&mut self) -> Result<bool> {
        let last = self.last.take();
        // What fails ends it; a pass without a frame would be followed by no other either.
        self.ended = true;
        if last.is_none() && self.session == 0 {
            return Err(self.nothing());
        }
        if let Some(missing) = self.reader.missing(self.start == 0) {
            return Err(Error::input(format!("{}: {missing}; what was there was handled", self.source)));
        }
        let (true, Some(last)) = (self.r#loop, last) else { return Ok(false) };
        // What is heard while the last frame is seen; the sound of the next pass follows on it.
        let next = last + self.reader.interval();
        self.behind = self.sound(next - self.ahead);
        self.reader.seek(self.start).map_err(|e| e.at("to begin again"))?;
        self.ahead = next - self.start;
        self.session += 1;
        self.ended = false;
        Ok(true)
    }

    /// The failure of a source that gave no frame: nothing was done, and the run must not be called done.
    fn nothing(&self) -> Error {
        let source = shown(&self.source);
        Error::input(match self.past_end {
            true => {
                let (start, end) = (self.start as f64 * 1e-9, self.end as f64 * 1e-9);
                format!("{source}: no frame lies between `start`, {start} s, and `end`, {end} s")
            }
            false => format!("{source}: not one frame of it could be decoded: {}", self.reader.tried()),
        })
    }

    /// The sound up to `until`, ns of the file, that no frame has brought yet: a row for each stretch; one without samples
    /// where there is sound but none now.
    fn sound(&mut self, until: i64) -> Vec<Audio> {
        let mut rows = std::mem::take(&mut self.behind);
        let Some((format, runs)) = self.reader.sound(until) else { return rows };
        let row = |start: i64, samples| Audio { start, rate: format.rate, channels: format.channels, samples };
        rows.extend(runs.into_iter().map(|run| row(run.start_ns + self.ahead, run.samples)));
        if rows.is_empty() {
            rows.push(row(until.saturating_add(self.ahead), vec![]));
        }
        rows
    }
}

fn encoded(rows: &[Audio]) -> Arc<StructArray> {
    Arc::new(Audio::encode(rows))
}
