//! Encodes frames as video: H.264 with AAC audio, in a fragmented MP4 that plays even if the run is killed; as HLS; or to an
//! RTMP server, with reconnects (see `rtmp`).
//!
//! There is one file per stream: `overlay.mp4` for the first, `overlay-NAME.mp4` for each further stream NAME. If the frame
//! size or the color description of a stream changes, a new file begins (`overlay-2.mp4`): a file has a single color
//! description, and scaling would invent pixels that the camera never recorded. Every frame keeps its time; a frame that was
//! skipped upstream is not in the video, and the one before it is shown longer.
//! The audio of the input `audio` is written at its own time, so a frame that is left out does not shift it. A stream without
//! audio gives a file without an audio track.
//!
//! With `speech` wired, each file has an audio track: the sentences at their times, mixed over the clip's own audio, which is
//! ducked during speech. In a live flow give `speech` the `queue_policy: drop_oldest`, so that no frame waits for speech.
//!
//! Frames come from any operator: from `render` with its overlay, from `capture` unchanged.
#![forbid(unsafe_code)]

mod audio_tracks;
mod files;
pub mod mixer;
mod rtmp;
mod writer;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sideline_api::{
    Config, Context, Encoding, Inputs, Operator, Outputs, PortType, Resources, Result, Spec, tables::Audio,
};
use sideline_media::{
    TlsTrust,
    encode::{BroadcastOptions, Codec, EncodeOptions, Quality},
    to_i420,
};

pub use crate::files::MarkedVideos;

use crate::{
    audio_tracks::AudioTracks,
    writer::{FramePlanes, Writer},
};

/// Presets of x264, from the fastest, with the largest files, to the slowest, with the smallest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Preset {
    Ultrafast,
    Superfast,
    Veryfast,
    Faster,
    Fast,
    Medium,
    Slow,
    Slower,
    Veryslow,
}

impl Preset {
    fn name(self) -> &'static str {
        sideline_media::encode::X264_PRESETS[self as usize]
    }
}

/// Choice of the H.264 encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum EncoderName {
    Auto,
    X264,
    Nvenc,
}

/// Encodes frames and their audio as video: to a file, as HLS, or to an RTMP server.
#[derive(Clone, Debug, Config)]
pub struct EncodeConfig {
    /// Video file (`x.mp4`) or HLS playlist (`x.m3u8`, with its segments beside it), in the run folder unless the path is absolute; or the address of a server, `rtmp://HOST/APP/KEY` (or `rtmps://`). In an address, `{stream}` stands for the stream's name, and `{env:NAME}` or `{file:PATH}` for a secret that is looked up when the node starts; `env:NAME` or `file:PATH` alone stands for the whole address.
    #[config(default = "overlay.mp4")]
    pub output: String,
    /// Ducking, dB: attenuation of the clip's own audio during speech, if `speech` is wired. Higher is quieter; 0 does not attenuate.
    #[config(default = 12.0, live, range(0.0, 60.0))]
    pub duck: f32,
    /// Constant rate factor (CRF) of x264, for a file. Lower improves quality and makes larger files; 18 is visually lossless.
    #[config(default = 23.0, range(0.0, 51.0))]
    pub crf: f32,
    /// Preset of x264, ultrafast to veryslow. Slower presets take more CPU time and make smaller files.
    #[config(default = Preset::Veryfast)]
    pub preset: Preset,
    /// Encoder threads. Higher is faster on an idle machine. For a given number the file is identical in every run.
    #[config(default = 1, range(1, 32))]
    pub threads: u32,
    /// Expected frame rate, per second: a hint for the encoder's rate control. Every frame keeps its own time.
    #[config(default = 30.0, range(1.0, 1000.0))]
    pub fps: f64,
    /// Maximum interval between key frames, frames. Lower makes seeking faster and files larger.
    #[config(default = 60, range(1, 1000))]
    pub gop: u32,
    /// Encoder: `nvenc`, which fails if there is none; `x264`; or `auto`, which prefers NVENC, falls back to x264, and logs its choice.
    #[config(default = EncoderName::Auto)]
    pub encoder: EncoderName,
    /// Mean bit rate for HLS and a server, kbit/s. Higher improves quality and needs more bandwidth.
    #[config(default = 4_000, live, range(50, 200_000))]
    pub bitrate: u32,
    /// Network timeout for a server, milliseconds: the longest time to connect, and for each write. Higher tolerates worse networks; lower detects a dead connection sooner.
    #[config(default = 5_000, range(50, 600_000))]
    pub timeout: u64,
    /// Send buffer for a server, bytes of encoded video. When it is full, frames are dropped and counted. Higher bridges longer stalls and lets viewers fall further behind.
    #[config(default = 4_096_000, range(10_000, 1_000_000_000))]
    pub buffer: usize,
    /// File of the trusted CA certificates (PEM) for `rtmps`, in place of the system's.
    #[config(default = None)]
    pub ca: Option<String>,
    /// Skips TLS certificate verification for `rtmps`. An impostor may then receive the video.
    #[config(default = false)]
    pub insecure: bool,
    /// Reconnect attempts to a server, in a row, before the node fails. Higher waits longer for the server to return; meanwhile frames are dropped and counted.
    #[config(default = 10, range(0, 1_000_000), former = "tries")]
    pub reconnect_attempts: u32,
    /// Backoff before the first reconnect attempt, milliseconds; it doubles with each attempt, up to a minute. Lower reconnects sooner and puts more load on the server.
    #[config(default = 1_000, range(1, 60_000))]
    pub backoff: u64,
    /// Failed connection attempts in a row after which an alert is logged as an error and counted in the result. Higher alerts later.
    #[config(default = 5, range(1, 1_000_000))]
    pub alert: u32,
}

impl EncodeConfig {
    fn broadcast_options(&self) -> BroadcastOptions {
        BroadcastOptions {
            timeout: Duration::from_millis(self.timeout),
            buffer_bytes: self.buffer,
            reconnect_attempts: self.reconnect_attempts,
            backoff: Duration::from_millis(self.backoff),
            alert_after: self.alert,
            blocks_when_full: false,
        }
    }

    /// Returns the bit rate in bit/s.
    fn bits_per_s(&self) -> usize {
        self.bitrate as usize * 1000
    }
}

/// The operator `encode`; see the [crate](self).
pub struct Encode {
    config: EncodeConfig,
    writer: Box<dyn Writer>,
    audio: AudioTracks,
    /// Buffer for a frame converted to I420; reused to save an allocation per frame.
    converted: Vec<u8>,
}

impl Operator for Encode {
    type Config = EncodeConfig;
    type State = ();

    fn spec() -> Spec {
        Spec::operator("encode")
            .heavy()
            .required("frames", PortType::Frame)
            .optional("audio", PortType::table::<Audio>())
            .optional("speech", PortType::table::<Audio>())
    }

    fn new(config: EncodeConfig, resources: &Resources) -> Result<Self> {
        let options = EncodeOptions {
            fps: config.fps,
            quality: Quality::Crf(config.crf),
            preset: config.preset.name().into(),
            gop: config.gop,
            threads: config.threads,
            color: None,
            audio: None,
            codec: match config.encoder {
                EncoderName::Auto => Codec::Auto,
                EncoderName::X264 => Codec::X264,
                EncoderName::Nvenc => Codec::Nvenc,
            },
            low_delay: false,
        };
        let ca = config.ca.as_ref().map(|path| resources.find(path)).transpose();
        let trust = ca.and_then(|ca| TlsTrust::new(ca, config.insecure)).map_err(|e| e.at("key `ca`"))?;
        let writer =
            writer::open(&config.output, trust, resources, options, config.bits_per_s(), config.broadcast_options())?;
        let audio = AudioTracks::new(resources.is_wired("speech"));
        Ok(Self { config, writer, audio, converted: vec![] })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, _: &mut (), _: &mut Outputs) -> Result<()> {
        let (frame, stream) = (input.frame("frames")?, &cx.header.stream);
        let (size, color) = ((frame.width(), frame.height()), frame.color());
        let planes = if frame.encoding() == Encoding::I420 {
            [frame.plane(0), frame.plane(1), frame.plane(2)]
        } else {
            to_i420(frame, &mut self.converted)?;
            let (width, half) = (size.0 as usize, size.0.div_ceil(2) as usize);
            let (y, uv) = self.converted.split_at(width * size.1 as usize);
            let (u, v) = uv.split_at(uv.len() / 2);
            [(y, width), (u, half), (v, half)]
        };
        let planes = FramePlanes { planes, size, color };
        let is_cut = self.writer.needs_new_output(stream, &planes);
        let audio = self.audio.take_until(stream, cx.header.pts, is_cut, input, self.config.duck)?;
        self.writer.write(stream, cx.header.pts, planes, &audio)
    }

    fn reconfigure(&mut self, config: &EncodeConfig) -> Result<()> {
        if config.bitrate != self.config.bitrate {
            self.writer.set_bitrate(config.bits_per_s());
        }
        self.config = config.clone();
        Ok(())
    }

    fn stream_ended(&mut self, cx: &Context, input: &Inputs, _: &mut (), _: &mut Outputs) -> Result<()> {
        let stream = &cx.header.stream;
        // The audio after the last frame.
        let audio = self.audio.take_rest(stream, input, self.config.duck)?;
        self.writer.write_audio(stream, &audio)?;
        self.writer.end(stream)
    }

    fn close(&mut self) -> Result<()> {
        self.writer.close()
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        self.writer.counts()
    }
}
