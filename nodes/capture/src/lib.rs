//! Capture: the source that reads video files, cameras, folders of images and streams on the network.
//!
//! In `complete` mode it reads as fast as the graph takes frames. In `live` mode it plays files in real time: each packet is
//! decoded when a live stream would have delivered it, and no frame leaves before its due time. A camera is always live, and
//! so is a network stream, which is reconnected when it breaks off (see `network_stream`). Several sources are separate
//! streams of one node: each is read, paced, and fails independently.
//!
//! The output `audio` is produced only where it is wired: each frame carries the audio since the previous frame, and a closing
//! message the audio after the last one. Cameras and images have none.
#![forbid(unsafe_code)]

mod network_stream;
mod pacer;
mod reader;
mod stream_names;
mod web_page;

use std::{path::Path, sync::Arc, time::Duration};

use sideline_address::{self, is_reference, is_remote, redacted};
use sideline_api::{
    Body, CapturedFrame, ClosingRows, Config, Error, Mode, Payload, PortType, Resources, Result, Source, SourceContext,
    Spec, StreamName, Table, arrow::array::StructArray, stream_file_name, tables::Audio,
};
use sideline_media::{Size, Threads, TlsTrust, device::is_device};

use network_stream::ReconnectPolicy;
use pacer::Pacer;
use reader::{MediaReport, ReadOptions, Reader};

/// Decodes video files with their audio, cameras, folders of images, and network streams (RTMP, RTSP, HLS); plays files in real time in live mode.
#[derive(Clone, Debug, Config)]
#[config(check = CaptureConfig::check)]
pub struct CaptureConfig {
    /// Video file, folder of images (`pictures/`), camera (`/dev/video0`), or address of a network stream: `rtmp://`, `rtsp://`, `https://` (HLS, files, and web pages that yt-dlp supports). To keep secrets out of the flow, write `env:NAME` or `file:PATH` for an address that is looked up when the node starts, and `{env:NAME}` or `{file:PATH}` within an address for a part of it. Files are searched for beside the flow, in the working directory, and in Sideline home.
    #[config(default = None, instead_of = "sources")]
    source: Option<String>,
    /// Several sources instead of `source`, one stream each: `"[left.mp4, right.mp4]"`. A stream takes the name of its file or host, or NAME from `NAME=PATH`. All streams share one set of models.
    #[config(default = None, instead_of = "source")]
    sources: Option<Vec<String>>,
    /// Name of the stream of `source` in every message and recording; empty means the node's id. Set it to tell two cameras apart.
    #[config(default = "")]
    stream: String,
    /// Start time in the video, seconds: the first frame at or after it is read. Higher leaves out more of the beginning.
    #[config(default = None, range(0, 1_000_000_000))]
    start: Option<f64>,
    /// End time in the video, seconds: frames at or after it are left out. Higher plays longer; the default plays to the end.
    #[config(default = None, range(0, 1_000_000_000))]
    end: Option<f64>,
    /// Plays a file again from its beginning, without end, each pass as another session of its stream; frame numbers and times continue. Stop the run with `--frames`, `--duration` or Ctrl-C.
    #[config(default = false)]
    r#loop: bool,
    /// Maximum frame rate, frames per second, selected evenly by media time. Lower saves work and loses detail of fast motion; a value above the video's own rate has no effect. A camera is asked for this rate; images are played at it (default 30).
    #[config(default = None, range(0.001, 1_000))]
    fps: Option<f64>,
    /// Maximum frame size: a height (`720`, which keeps the aspect ratio) or `1280x720`, in square pixels, which all frames have. Lower saves work and loses small objects; frames are never enlarged. A camera is asked for this size.
    #[config(default = None)]
    size: Option<String>,
    /// Index of the video track to read, from 0 as in FFmpeg's `0:v:N`; cover images do not count. The default is the best track; if there are several, a warning lists them.
    #[config(default = None, range(0, 1_000))]
    video_track: Option<u32>,
    /// Index of the audio track to read, from 0 as in FFmpeg's `0:a:N`. The default is the best track that belongs to the video track; if there are several, a warning lists them.
    #[config(default = None, range(0, 1_000))]
    audio_track: Option<u32>,
    /// Decoder threads per stream. Higher decodes faster and takes more memory; in live mode only files coded in slices gain. The default is one per core, at most 4, shared among the streams.
    #[config(default = None, range(1, 16))]
    threads: Option<usize>,
    /// Network timeout, milliseconds: the longest time without a frame, and the longest time to connect. Higher tolerates worse networks; lower detects a dead stream sooner. HLS, which delivers one segment at a time, has four times as long.
    #[config(default = 5_000, range(50, 600_000))]
    timeout: u64,
    /// Socket receive buffer of a network stream, bytes. Higher bridges longer stalls of this machine; the operating system may impose a lower limit.
    #[config(default = 4_096_000, range(10_000, 1_000_000_000))]
    buffer: u32,
    /// File of the trusted CA certificates (PEM) for TLS (`rtmps`, `https`, and the addresses in a playlist), in place of the system's.
    #[config(default = None)]
    ca: Option<String>,
    /// Skips TLS certificate verification. The frames may then come from an impostor.
    #[config(default = false)]
    insecure: bool,
    /// Reconnect attempts, in a row, for a network stream that broke off or is not available yet. Higher waits longer for the stream to return; 0 ends the run at once. After the last failed attempt the run ends as partial.
    #[config(default = 10, range(0, 1_000_000), former = "tries")]
    reconnect_attempts: u32,
    /// Backoff before the first reconnect attempt, milliseconds; it doubles with each attempt, up to a minute, with a random jitter of 20 %. Lower reconnects sooner and puts more load on a struggling server.
    #[config(default = 1_000, range(1, 60_000))]
    backoff: u64,
    /// Failed connection attempts in a row after which an alert is logged as an error and counted in the result. Higher alerts later.
    #[config(default = 5, range(1, 1_000_000))]
    alert: u32,
}

impl CaptureConfig {
    /// Returns each key that conflicts with another or has an invalid value, with the message for the user.
    fn check(&self) -> Vec<(&'static str, String)> {
        let mut problems = vec![];
        let sources = match (&self.source, &self.sources) {
            (Some(_), Some(_)) => {
                problems.push(("sources", "conflicts with `source`: give exactly one of the two".into()));
                vec![]
            }
            (None, None) => {
                let text = "must be given, or `sources`: a video file, a folder of images, a camera (`/dev/video0`) or \
                            an address (`rtmp://...`)";
                problems.push(("source", text.into()));
                vec![]
            }
            (Some(source), None) => vec![("source", source.as_str())],
            (None, Some(sources)) => {
                if !self.stream.is_empty() {
                    let text = "names the stream of a single `source`; in `sources` write each entry as `NAME=PATH`";
                    problems.push(("stream", text.into()));
                }
                match stream_names::parse(sources) {
                    Ok(streams) => streams.into_iter().map(|(_, source)| ("sources", source)).collect(),
                    Err(text) => {
                        problems.push(("sources", text));
                        vec![]
                    }
                }
            }
        };
        for (key, source) in sources {
            if is_remote(source) {
                if !is_reference(source)
                    && let Err(text) = sideline_address::check(source, &sideline_address::SCHEMES)
                {
                    problems.push((key, text));
                }
                if let Some(key) = self.seeking_key() {
                    problems.push((key, format!("`{}` is a network stream, which cannot seek", redacted(source))));
                }
            } else if let (Some(key), true) = (self.seeking_key(), is_device(Path::new(source))) {
                problems.push((key, format!("`{source}` is a camera, which cannot seek")));
            }
        }
        if let (from, Some(to)) = (self.start.unwrap_or(0.0), self.end)
            && to <= from
        {
            problems.push(("end", format!("{to} s is not after `start`, {from} s: no frame would be left")));
        }
        if let Some(Err(cause)) = self.size.as_ref().map(|size| size.parse::<Size>()) {
            problems.push(("size", cause.message));
        }
        problems
    }

    /// Returns the key that requires seeking (`loop` or `start`), if one is set.
    fn seeking_key(&self) -> Option<&'static str> {
        self.r#loop.then_some("loop").or(self.start.map(|_| "start"))
    }

    /// Returns the stream name and the source of each stream.
    fn named_sources<'a>(&'a self, node: &'a str) -> Vec<(StreamName, &'a str)> {
        match (&self.source, &self.sources) {
            (_, Some(sources)) => stream_names::parse(sources).unwrap_or_default(),
            (Some(source), None) => {
                let stream = if self.stream.is_empty() { node } else { &self.stream };
                vec![(stream.into(), source)]
            }
            (None, None) => vec![],
        }
    }
}

/// Name of the audio output.
const AUDIO: &str = "audio";

/// One stream of the source; see the [crate].
pub struct Capture {
    source: String,
    stream: StreamName,
    reader: Reader,
    /// Media properties for the run's folder; written once the run has begun.
    report: Option<MediaReport>,
    /// Media time of the first frame wanted, ns.
    start: i64,
    /// Media time at which the stream ends, ns; frames from there on are left out.
    end: i64,
    r#loop: bool,
    /// Number of the pass through the file, from 0.
    session: u32,
    /// Offset from the file's media time to the stream's, ns; grows with each pass.
    offset: i64,
    /// Stream time of the last frame of this pass, ns.
    last_pts: Option<i64>,
    /// Audio after the last frame of a pass; goes out with the first frame of the next pass.
    trailing_audio: Vec<Audio>,
    /// Due times of frames; set when the first frame is requested.
    pacer: Option<Pacer>,
    /// True once a frame at or after `end` was read.
    past_end: bool,
    ended: bool,
    /// True once a damaged frame was reported, so that the warning is given once.
    damage_reported: bool,
}

/// Returns a name, or `NAME-2`, `NAME-3`, ... if it is used: two streams may have the same part of a file name.
fn unused_name(name: String, used: &[String]) -> String {
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    std::iter::once(name.clone()).chain(numbered).find(|name| !used.contains(name)).unwrap_or(name)
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
        let is_endless = |source: &str| is_remote(source) || is_device(Path::new(source));
        !config.r#loop && !config.named_sources("").iter().any(|(_, source)| is_endless(source))
    }

    fn new(config: CaptureConfig, resources: &Resources) -> Result<Self> {
        let mut streams = Self::open(config, resources)?;
        match (streams.pop(), streams.is_empty()) {
            (Some(one), true) => Ok(one),
            _ => Err(Error::config("key `sources` names several streams where a single one is expected")),
        }
    }

    fn open(config: CaptureConfig, resources: &Resources) -> Result<Vec<Self>> {
        let sources = config.named_sources(&resources.node);
        let size = config.size.as_ref().map(|size| size.parse::<Size>()).transpose().map_err(|e| e.at("key `size`"))?;
        let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4));
        let threads = config.threads.unwrap_or_else(|| cores().div_ceil(sources.len().max(1)));
        let threads = match resources.mode {
            Mode::Live => Threads::Slice(threads),
            Mode::Complete => Threads::Frame(threads),
        };
        let audio = resources.is_read(AUDIO);
        let reconnect = ReconnectPolicy {
            timeout: Duration::from_millis(config.timeout),
            attempts: config.reconnect_attempts,
            backoff: Duration::from_millis(config.backoff),
            alert_after: config.alert,
        };
        let ca = config.ca.as_ref().map(|path| resources.find(path)).transpose();
        let trust = ca.and_then(|ca| TlsTrust::new(ca, config.insecure)).map_err(|e| e.at("key `ca`"))?;
        let options = ReadOptions {
            threads,
            size,
            fps: config.fps,
            audio,
            video_track: config.video_track,
            audio_track: config.audio_track,
            reconnect,
            buffer_bytes: config.buffer,
            trust,
        };
        let (mut opened, mut failed, mut names) = (vec![], vec![], vec![]);
        for (stream, source) in sources {
            let name = match config.sources {
                Some(_) => unused_name(format!("{}-{}", resources.node, stream_file_name(&stream)), &names),
                None => resources.node.clone(),
            };
            names.push(name.clone());
            match Self::open_stream(stream, source, &name, &config, &options, resources) {
                Ok(stream) => opened.push(stream),
                Err(error) => failed.push(error),
            }
        }
        match failed.len() {
            0 => Ok(opened),
            1 => Err(failed.remove(0)),
            several => {
                let messages: Vec<&str> = failed.iter().map(|error| error.message.as_str()).collect();
                Err(Error::new(failed[0].failure, format!("{several} sources: {}", messages.join("; "))))
            }
        }
    }

    fn stream(&self) -> Option<StreamName> {
        Some(self.stream.clone())
    }

    fn next(&mut self, cx: &SourceContext) -> Result<Option<CapturedFrame>> {
        loop {
            if self.ended || cx.is_stopping() {
                return Ok(None);
            }
            if let Some(captured) = self.read(cx)? {
                return Ok(Some(captured));
            }
            if !cx.is_stopping() && !self.restart_pass()? {
                return Ok(None);
            }
        }
    }

    fn closing_rows(&mut self) -> Vec<ClosingRows> {
        // Frames from `end` on are left out, and their audio with them.
        let rows = self.take_audio(self.end);
        let closing = ClosingRows { stream: self.stream.clone(), output: AUDIO, rows: encode_rows(&rows) };
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
    /// Opens a stream; `name` is a part of the name of its file in the run folder.
    fn open_stream(
        stream: StreamName,
        source: &str,
        name: &str,
        config: &CaptureConfig,
        options: &ReadOptions,
        resources: &Resources,
    ) -> Result<Self> {
        let mut reader = Reader::open(source, name, options, resources)?;
        let start = config.start.map_or(0, nanoseconds);
        if start > 0 {
            reader.seek(start).map_err(|e| e.at("key `start`"))?;
        }
        Ok(Self {
            source: source.into(),
            report: reader.report(name, source, resources)?,
            stream,
            reader,
            start,
            end: config.end.map_or(i64::MAX, nanoseconds),
            r#loop: config.r#loop,
            session: 0,
            offset: 0,
            last_pts: None,
            trailing_audio: vec![],
            pacer: None,
            past_end: false,
            ended: false,
            damage_reported: false,
        })
    }

    /// Reads the next frame of this pass; `None` at its end and when the run is stopping.
    fn read(&mut self, cx: &SourceContext) -> Result<Option<CapturedFrame>> {
        if let Some(report) = self.report.take() {
            report.write()?;
        }
        if self.pacer.is_none() && !self.reader.prepare(cx)? {
            return Ok(None);
        }
        let now = cx.clock.now();
        let (offset, interval) = (self.offset, self.reader.interval());
        let pacer = self.pacer.get_or_insert_with(|| Pacer::start(self.start, now));
        let paced = cx.mode == Mode::Live && !self.reader.is_live();
        // Read time of the packet that completes the frame; a live stream delivers each packet at its decoding time.
        let mut arrived = now;
        let read = self.reader.next(cx, &self.source, &mut self.damage_reported, |decoding_time| {
            if paced {
                cx.pace(pacer.due(decoding_time.saturating_add(offset), interval));
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
            let due = pacer.due(read.pts.saturating_add(offset), interval);
            cx.pace(due);
            captured = captured.max(due);
        }
        if cx.is_stopping() {
            return Ok(None);
        }
        let audio = Body::Data(Payload::Table(encode_rows(&self.take_audio(read.pts))));
        let pts = read.pts + self.offset;
        self.last_pts = Some(pts);
        let (stream, session) = (self.stream.clone(), self.session + read.session);
        Ok(Some(CapturedFrame { stream, session, pts, captured_at: captured, outputs: vec![read.body, audio] }))
    }

    /// Starts the next pass at the end of one, if the source loops; returns false if the stream has ended.
    ///
    /// # Errors
    /// When frames are missing at the end, or no frame was read at all.
    fn restart_pass(&mut self) -> Result<bool> {
        let last_pts = self.last_pts.take();
        // A failure ends the stream, and so does a pass without a frame: the next one would have none either.
        self.ended = true;
        if last_pts.is_none() && self.session == 0 {
            return Err(self.no_frames_error());
        }
        if let Some(missing) = self.reader.missing(self.start == 0) {
            return Err(Error::input(format!("{}: {missing}; all frames read were processed", self.source)));
        }
        let (true, Some(last_pts)) = (self.r#loop, last_pts) else { return Ok(false) };
        // The audio during the last frame comes first; the audio of the next pass follows it.
        let next_pts = last_pts + self.reader.interval();
        self.trailing_audio = self.take_audio(next_pts - self.offset);
        self.reader.seek(self.start).map_err(|e| e.at("seeking to the start of the next pass (`loop`)"))?;
        self.offset = next_pts - self.start;
        self.session += 1;
        self.ended = false;
        Ok(true)
    }

    /// Returns the error of a source without a frame: such a run must not end with status `done`.
    fn no_frames_error(&self) -> Error {
        let source = redacted(&self.source);
        Error::input(match self.past_end {
            true => {
                let (start, end) = (self.start as f64 * 1e-9, self.end as f64 * 1e-9);
                format!("{source}: no frame lies between `start`, {start} s, and `end`, {end} s")
            }
            false => format!("{source}: no frame could be decoded: {}", self.reader.no_frames_reason()),
        })
    }

    /// Returns the audio up to `until`, ns of the file's media time, that no frame has carried yet: one row per contiguous
    /// run of samples, or a single row without samples if the source has an audio track but none in this interval.
    fn take_audio(&mut self, until: i64) -> Vec<Audio> {
        let mut rows = std::mem::take(&mut self.trailing_audio);
        let Some((format, runs)) = self.reader.audio_until(until) else { return rows };
        let row = |start: i64, samples| Audio { start, rate: format.rate, channels: format.channels, samples };
        rows.extend(runs.into_iter().map(|run| row(run.start_ns + self.offset, run.samples)));
        if rows.is_empty() {
            rows.push(row(until.saturating_add(self.offset), vec![]));
        }
        rows
    }
}

fn encode_rows(rows: &[Audio]) -> Arc<StructArray> {
    Arc::new(Audio::encode(rows))
}
