//! Writes frames as a video: H.264, and AAC beside it, in a fragmented mp4 that plays whenever the run dies; as HLS; or to an
//! RTMP server, whose line may break and come back (see `server`).
//!
//! One file per stream: `overlay.mp4` for the first, `overlay-NAME.mp4` for the stream NAME after it. Where the size of a
//! stream's pictures or the meaning of their values changes, a new file begins (`overlay-2.mp4`): scaled pictures would show
//! pixels that the camera never saw, and a file has one meaning of its values. Every frame keeps its time; a frame that was
//! skipped upstream is not in the video, the one before it stands longer.
//! The sound of the input `audio` goes into the file at its own time, so a frame that is left out does not move it; a stream
//! without sound gives a file without.
//!
//! With `speech` wired each file has a sound track: the sentences at their times, and the clip's own sound under them, which
//! is quieter while somebody speaks. In a live flow write `queue_policy: drop_oldest` at `speech`, so that no frame waits for
//! a voice.
//!
//! Frames come from whoever sends them: from `render` with what was found drawn on them, from `capture` as they are.
#![forbid(unsafe_code)]

mod files;
pub mod mixer;
mod server;
mod sound;
mod writer;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sideline_api::{
    Config, Context, Encoding, Inputs, Operator, Outputs, PortType, Resources, Result, Spec, tables::Audio,
};
use sideline_media::{
    Trust,
    encode::{BroadcastOptions, Codec, EncodeOptions, Quality},
    to_i420,
};

pub use crate::files::remove_videos;

use crate::{
    sound::Sound,
    writer::{Picture, Writer},
};

/// x264's presets, from fast and large to slow and small.
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
        sideline_media::encode::PRESETS[self as usize]
    }
}

/// Which encoder is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum EncoderName {
    Auto,
    X264,
    Nvenc,
}

/// Writes frames and their sound as a video: a file, HLS, or to an RTMP server.
#[derive(Clone, Debug, Config)]
pub struct EncodeConfig {
    /// The video file (`x.mp4`) or HLS playlist (`x.m3u8`, its segments beside it), in the run folder unless the path is absolute; or the address of a server, `rtmp://HOST/APP/KEY` (rtmps). `{stream}` in an address stands for the stream's name, `{env:NAME}` and `{file:PATH}` for a secret that is looked up when the node starts; `env:NAME` or `file:PATH` alone for the whole address.
    #[config(default = "overlay.mp4")]
    pub output: String,
    /// Decibels by which the clip's own sound is quieter while somebody speaks, where `speech` is wired. Higher is quieter; 0 leaves it as it is.
    #[config(default = 12.0, live, range(0.0, 60.0))]
    pub duck: f32,
    /// For a file: x264's constant rate factor. Lower looks better and makes larger files: 18 looks like the source.
    #[config(default = 23.0, range(0.0, 51.0))]
    pub crf: f32,
    /// x264's preset, ultrafast to veryslow. Slower ones make smaller files for more CPU.
    #[config(default = Preset::Veryfast)]
    pub preset: Preset,
    /// Threads of the encoder. More are faster on an idle machine; the file is the same in every run for a fixed number.
    #[config(default = 1, range(1, 32))]
    pub threads: u32,
    /// Frames a second to expect: a hint for the encoder, every frame keeps its own time.
    #[config(default = 30.0, range(1.0, 1000.0))]
    pub fps: f64,
    /// Most frames between key frames. Fewer make seeking quicker and files larger.
    #[config(default = 60, range(1, 1000))]
    pub gop: u32,
    /// The encoder: `nvenc` (fails where there is none), `x264`, or `auto`, which tries NVENC, takes x264 where it cannot be opened, and logs which it is.
    #[config(default = EncoderName::Auto)]
    pub encoder: EncoderName,
    /// For HLS and a server: kilobits a second. Higher looks better and needs a better line.
    #[config(default = 4_000, live, range(50, 200_000))]
    pub bitrate: u32,
    /// For a server: milliseconds that connecting, and each write, may take. Higher bears worse networks; lower notices sooner that the line is dead.
    #[config(default = 5_000, range(50, 600_000))]
    pub timeout: u64,
    /// For a server: bytes of encoded video that may wait for the line. When they are full, frames are dropped and counted. Higher rides out longer hiccups and lets viewers fall further behind.
    #[config(default = 4_096_000, range(10_000, 1_000_000_000))]
    pub buffer: usize,
    /// For `rtmps`: file of the certificates (PEM) that a server's must lead to, in place of the system's.
    #[config(default = None)]
    pub ca: Option<String>,
    /// For `rtmps`: sends to whoever answers, whatever its certificate. Others may then read along.
    #[config(default = false)]
    pub insecure: bool,
    /// For a server: tries to connect again, in a row, before the node fails. Higher waits longer for a server that comes back; frames meanwhile are dropped and counted.
    #[config(default = 10, range(0, 1_000_000))]
    pub tries: u32,
    /// For a server: milliseconds before the first of these tries; each further wait is twice as long, up to a minute.
    #[config(default = 1_000, range(1, 60_000))]
    pub backoff: u64,
    /// For a server: failed tries in a row after which an alert is logged as an error and counted in the result.
    #[config(default = 5, range(1, 1_000_000))]
    pub alert: u32,
}

impl EncodeConfig {
    fn line(&self) -> BroadcastOptions {
        BroadcastOptions {
            timeout: Duration::from_millis(self.timeout),
            buffer: self.buffer,
            tries: self.tries,
            backoff: Duration::from_millis(self.backoff),
            alert: self.alert,
            patient: false,
        }
    }

    /// Bits a second.
    fn bits(&self) -> usize {
        self.bitrate as usize * 1000
    }
}

/// See the [crate](self).
pub struct Encode {
    config: EncodeConfig,
    writer: Box<dyn Writer>,
    sound: Sound,
    /// A frame of another layout, brought to I420; kept to spare an allocation per frame.
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
            sound: None,
            codec: match config.encoder {
                EncoderName::Auto => Codec::Auto,
                EncoderName::X264 => Codec::X264,
                EncoderName::Nvenc => Codec::Nvenc,
            },
            low_delay: false,
        };
        let ca = config.ca.as_ref().map(|path| resources.find(path)).transpose();
        let trust = ca.and_then(|ca| Trust::new(ca, config.insecure)).map_err(|e| e.at("key `ca`"))?;
        let writer = writer::open(&config.output, trust, resources, options, config.bits(), config.line())?;
        let sound = Sound::new(resources.is_wired("speech"));
        Ok(Self { config, writer, sound, converted: vec![] })
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
        let picture = Picture { planes, size, color };
        let cut = self.writer.cuts(stream, &picture);
        let sound = self.sound.until(stream, cx.header.pts, cut, input, self.config.duck)?;
        self.writer.write(stream, cx.header.pts, picture, &sound)
    }

    fn reconfigure(&mut self, config: &EncodeConfig) -> Result<()> {
        if config.bitrate != self.config.bitrate {
            self.writer.set_bitrate(config.bits());
        }
        self.config = config.clone();
        Ok(())
    }

    fn stream_ended(&mut self, cx: &Context, input: &Inputs, _: &mut (), _: &mut Outputs) -> Result<()> {
        let stream = &cx.header.stream;
        // What is heard behind the last frame.
        let sound = self.sound.rest(stream, input, self.config.duck)?;
        self.writer.write_sound(stream, &sound)?;
        self.writer.end(stream)
    }

    fn close(&mut self) -> Result<()> {
        self.writer.close()
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        self.writer.counts()
    }
}
