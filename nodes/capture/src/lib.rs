//! Capture: the source that reads a video file.
//!
//! In `complete` mode it reads as fast as the graph takes frames. In `live` mode it plays the file in real time: each
//! packet is decoded when a live stream would have brought it, and no frame leaves before its due time.
//!
//! Its output `audio` is made where somebody reads it: with each frame the sound since the frame before, and after the last
//! one what is heard behind it.
#![forbid(unsafe_code)]

use std::sync::Arc;

use sideline_api::{
    Body, Captured, Closing, Config, Error, Failure, Mode, OrFail, Payload, PortType, Resources, Result, Source,
    SourceContext, Spec, StreamName, Table, arrow::array::StructArray, serde_json, tables::Audio,
};
use sideline_media::{DecodeOptions, Decoder, Losses, Size, Threads};

/// Decodes a video file and its sound; plays it in real time in live mode.
#[derive(Clone, Debug, Config)]
pub struct CaptureConfig {
    /// The video file: looked for beside the flow, in the working directory, in the house of Sideline. Not an address.
    source: String,
    /// Name of the stream in every message and recording. Empty: the node's id. Another name keeps two cameras apart.
    #[config(default = "")]
    stream: String,
    /// Seconds of the video to begin at: the first frame that is not earlier. Higher leaves out more of the beginning.
    #[config(default = None, range(0, 1_000_000_000))]
    start: Option<f64>,
    /// Seconds of the video to end at: frames from there on are left out. Higher plays longer; the default plays all.
    #[config(default = None, range(0, 1_000_000_000))]
    end: Option<f64>,
    /// At most so many frames a second, evenly by media time. Lower saves work and sees less of fast movements; above the video's own rate nothing changes.
    #[config(default = None, range(0.001, 1_000))]
    fps: Option<f64>,
    /// Largest size of a frame: a height (`720`, keeps the aspect) or both sides (`1280x720`). Lower saves work and loses small things; frames are never made larger.
    #[config(default = None)]
    size: Option<String>,
    /// Decoder threads. Higher decodes faster with more memory (in live mode only files coded in slices gain); the default is one per core, at most 4.
    #[config(default = None, range(1, 16))]
    threads: Option<usize>,
}

/// The output of the sound.
const AUDIO: &str = "audio";

/// See the [crate].
pub struct Capture {
    source: String,
    stream: StreamName,
    decoder: Decoder,
    /// Media time of the first frame asked for, ns.
    start: i64,
    /// Media time to end at, ns.
    end: i64,
    /// Wall clock at media time 0, once the first frame was asked for.
    zero: Option<i64>,
    ended: bool,
    warned: bool,
}

fn nanoseconds(seconds: f64) -> i64 {
    (seconds * 1e9).round() as i64
}

/// True for `rtsp://...` and its like.
fn is_address(source: &str) -> bool {
    source.split_once("://").is_some_and(|(scheme, _)| {
        !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+.-".contains(c))
    })
}

impl Source for Capture {
    type Config = CaptureConfig;

    fn spec() -> Spec {
        Spec::source("capture").output("frames", PortType::Frame).output(AUDIO, PortType::table::<Audio>())
    }

    fn new(config: CaptureConfig, resources: &Resources) -> Result<Self> {
        let CaptureConfig { source, stream, start, end, fps, size, threads } = config;
        if is_address(&source) {
            return Err(Error::config(format!(
                "key `source`: `{source}` is an address; capture reads local files alone: record the stream to a file first"
            )));
        }
        if let (from, Some(to)) = (start.unwrap_or(0.0), end)
            && to <= from
        {
            return Err(Error::config(format!(
                "key `end`: {to} s is not after `start`, {from} s: no frame would be left"
            )));
        }
        let size = size.map(|size| size.parse::<Size>()).transpose().map_err(|e| e.at("key `size`"))?;
        let threads =
            threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4)));
        let threads = match resources.mode {
            Mode::Live => Threads::Slice(threads),
            Mode::Complete => Threads::Frame(threads),
        };
        let audio = resources.outputs.iter().any(|output| output == AUDIO);
        let mut decoder = Decoder::open(resources.find(&source)?, DecodeOptions { threads, size, fps, audio })?;
        let start = start.map_or(0, nanoseconds);
        if start > 0 {
            decoder.seek(start).map_err(|e| e.at("key `start`"))?;
        }
        report(&decoder, resources)?;
        Ok(Self {
            stream: if stream.is_empty() { resources.node.as_str() } else { &stream }.into(),
            source,
            decoder,
            start,
            end: end.map_or(i64::MAX, nanoseconds),
            zero: None,
            ended: false,
            warned: false,
        })
    }

    fn next(&mut self, cx: &SourceContext) -> Result<Option<Captured>> {
        if self.ended || cx.stopping() {
            return Ok(None);
        }
        let now = cx.clock.now();
        let (live, zero) = (cx.mode == Mode::Live, *self.zero.get_or_insert(now - self.start));
        // When the packet that completes the frame was read; a live stream brings each at its decoding time.
        let mut read = now;
        let decoded = self.decoder.next_with(|decoding_time| {
            if live {
                cx.pace(zero + decoding_time);
            }
            read = cx.clock.now();
        })?;
        let Some(decoded) = decoded.filter(|decoded| decoded.pts_ns < self.end) else {
            self.ended = true;
            return self.finish();
        };
        if decoded.damaged && !std::mem::replace(&mut self.warned, true) {
            let seconds = decoded.pts_ns as f64 * 1e-9;
            tracing::warn!(source = %self.source, "the file is damaged at {seconds:.3} s: parts of that frame are guessed");
        }
        let mut captured = read;
        if live {
            let due = zero + decoded.pts_ns;
            cx.pace(due);
            captured = captured.max(due);
        }
        if cx.stopping() {
            return Ok(None);
        }
        let frame = Body::Data(Payload::Frame(decoded.frame.into()));
        let audio = Body::Data(Payload::Table(self.sound(decoded.pts_ns)));
        Ok(Some(Captured {
            stream: self.stream.clone(),
            session: 0,
            pts: decoded.pts_ns,
            captured,
            outputs: vec![frame, audio],
        }))
    }

    fn closing(&mut self) -> Vec<Closing> {
        if self.decoder.sound_format().is_none() {
            return vec![];
        }
        // Frames from `end` on are left out, and what is heard with them.
        vec![Closing { stream: self.stream.clone(), output: AUDIO, rows: self.sound(self.end) }]
    }

    fn close(&mut self) -> Result<()> {
        let Losses { damaged, unheard, .. } = self.decoder.losses();
        if unheard > 0 {
            tracing::warn!(source = %self.source, unheard, "packets of sound could not be decoded: there is silence in their place");
        }
        if damaged > 0 {
            tracing::warn!(source = %self.source, damaged, "parts of these frames were guessed: the file is damaged");
        }
        Ok(())
    }
}

impl Capture {
    /// What the decoder lost so far.
    pub fn losses(&self) -> Losses {
        self.decoder.losses()
    }

    /// The sound up to `until`, ns, that no frame has brought yet: a row for each stretch; one without samples where there
    /// is sound but none now.
    fn sound(&mut self, until: i64) -> Arc<StructArray> {
        let mut rows = vec![];
        if let Some(format) = self.decoder.sound_format() {
            let row = |start, samples| Audio { start, rate: format.rate, channels: format.channels, samples };
            let runs = self.decoder.sound_until(until);
            rows.extend(runs.into_iter().map(|run| row(run.start_ns, run.samples)));
            if rows.is_empty() {
                rows.push(row(until, vec![]));
            }
        }
        Arc::new(Audio::encode(&rows))
    }

    /// The end, or what is missing from it.
    fn finish(&self) -> Result<Option<Captured>> {
        let losses = self.decoder.losses();
        let what = match (losses.missing, self.decoder.info().frames) {
            (Some(missing), Some(declared)) if self.start == 0 => {
                format!("{missing} of {declared} frames are missing: the file is truncated or damaged")
            }
            (Some(missing), _) => format!("about {missing} frames are missing at the end: the file is truncated"),
            (None, _) if losses.undecodable > 0 => {
                format!("{} packets could not be decoded: the file is damaged", losses.undecodable)
            }
            (None, _) => return Ok(None),
        };
        let guessed = if losses.damaged > 0 {
            format!("; parts of {} frames are guessed", losses.damaged)
        } else {
            String::new()
        };
        Err(Error::input(format!("{}: {what}{guessed}; what was there was handled", self.source)))
    }
}

/// Writes what the file says of itself to `media-<node>.json` in the folder of the run.
fn report(decoder: &Decoder, resources: &Resources) -> Result<()> {
    let (width, height) = decoder.frame_size();
    let path = resources.run_dir.join(format!("media-{}.json", resources.node.replace(['/', '\\'], "_")));
    let info = serde_json::json!({ "media": decoder.info(), "frame_width": width, "frame_height": height });
    let text = serde_json::to_string_pretty(&info).or_fail(Failure::Other, || "the media information")?;
    std::fs::write(&path, text + "\n").or_fail(Failure::Output, || path.display().to_string())
}
