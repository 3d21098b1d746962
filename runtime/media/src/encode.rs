//! H.264 video with AAC audio, written to a fragmented MP4 file, to HLS, or to an RTMP server. Every frame keeps its time, and
//! a partial file plays after the run was killed.
//!
//! ```no_run
//! # fn example(i420: &[u8]) -> sideline_api::Result<()> {
//! use sideline_media::encode::{EncodeOptions, Encoder};
//! let mut encoder = Encoder::create("out.mp4", 1280, 720, EncodeOptions::default())?;
//! encoder.write(i420, 0)?;
//! encoder.write(i420, 33_333_333)?;
//! let stats = encoder.finish()?;
//! # Ok(()) }
//! ```

mod audio;
mod broadcast;
mod mux;
mod target;
mod video;

use std::path::Path;

use ffmpeg_next as ff;
use sideline_api::{Color, Error, Result};

use self::{
    audio::AudioTrack,
    mux::{Muxer, TrackParameters},
    video::{SendError, VideoTrack},
};
pub use self::{
    broadcast::{Broadcast, BroadcastOptions, BroadcastStats},
    target::{OUTPUT_SCHEMES, RtmpServer, Target},
    video::{Codec, check_encoder},
};
use crate::{AudioFormat, interrupt::Interrupt};

/// Ticks per second of the files' clock: a multiple of 24000/1001, 30000/1001, 60000/1001, of the integer rates up to 60,
/// of 120 and 240, and of the 90 kHz of RTP and MPEG-TS, so that frame times at any of these rates are exact.
/// A step of 49 minutes still fits the 31 bits of a frame's duration in FFmpeg's MP4 muxer; see [`mux`] for longer ones.
pub const TICKS_PER_S: i32 = 720_000;

/// Rate control of the encoder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quality {
    /// Constant quality, x264's CRF: 0 is lossless, 18 is visually lossless, 23 is x264's default, 51 is the worst.
    Crf(f32),
    /// Average bit rate, bits per second.
    Bitrate(usize),
}

/// Options of an [`Encoder`] or [`Broadcast`].
#[derive(Clone, Debug)]
pub struct EncodeOptions {
    /// Expected frames per second, a hint for rate control. Frames are placed by their times alone.
    pub fps: f64,
    /// Rate control.
    pub quality: Quality,
    /// x264's preset, `ultrafast` to `placebo`: slower ones produce smaller files.
    pub preset: String,
    /// Maximum number of frames between two key frames: playback can start only at a key frame.
    pub gop: u32,
    /// Threads of x264. With a fixed number the bytes are the same in every run; 0 lets x264 choose by the machine.
    pub threads: u32,
    /// Matrix and range of the pixel values; written into the file.
    pub color: Option<Color>,
    /// Format of an audio track for [`Encoder::write_audio`]; `None` for no audio.
    pub audio: Option<AudioFormat>,
    /// Encoder to use.
    pub codec: Codec,
    /// Emits every frame without delay, and limits the bits of each second to the bit rate: for live streams.
    pub low_delay: bool,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        Self {
            fps: 30.0,
            quality: Quality::Crf(23.0),
            preset: "veryfast".into(),
            gop: 60,
            threads: 1,
            color: None,
            audio: None,
            codec: Codec::X264,
            low_delay: false,
        }
    }
}

/// Counts of a finished file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeStats {
    /// Frames written.
    pub frames: u64,
    /// Audio samples written per channel, including silence in gaps.
    pub samples: u64,
    /// Size of the file, bytes; for HLS, of its playlist.
    pub bytes: u64,
}

/// x264's presets, from fast to slow.
pub const X264_PRESETS: [&str; 10] =
    ["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo"];

/// Conversion of frame times to ticks.
struct FrameClock {
    /// Time of the last frame, in nanoseconds and in ticks.
    last: Option<(i64, i64)>,
    /// Expected frame interval, ticks.
    interval: i64,
}

impl FrameClock {
    fn new(fps: f64) -> Self {
        Self { last: None, interval: (f64::from(TICKS_PER_S) / fps.clamp(1.0, 1000.0)) as i64 }
    }

    /// Returns the tick of a time. A frame with the same tick as the previous one gets the next tick, as files require.
    fn ticks_for(&self, pts: i64) -> Result<i64> {
        let ticks = ((i128::from(pts) * i128::from(TICKS_PER_S) + 500_000_000).div_euclid(1_000_000_000)) as i64;
        match self.last {
            Some((before, _)) if pts < before => Err(Error::other(format!(
                "a frame at {:.6} s came after one at {:.6} s; times of a stream must not go back",
                pts as f64 * 1e-9,
                before as f64 * 1e-9
            ))),
            Some((_, last)) => Ok(ticks.max(last + 1)),
            None => Ok(ticks),
        }
    }
}

/// Opens the audio track, if there is one.
fn open_audio_track(target: &Target, audio: Option<AudioFormat>) -> Result<Option<AudioTrack>> {
    let opened = audio.map(|audio| {
        AudioTrack::new(audio).map_err(|cause| {
            let AudioFormat { rate, channels } = audio;
            let what = format!("no AAC of {channels} channels and {rate} samples a second can be written");
            target.failure(&what, cause)
        })
    });
    opened.transpose()
}

fn track_parameters(video: &VideoTrack, audio: Option<&AudioTrack>) -> TrackParameters {
    TrackParameters {
        video: video.parameters(),
        audio: audio.map(AudioTrack::parameters),
        rate: audio.map_or(1, |audio| audio.format.rate),
    }
}

/// Converts an encoding failure to an error that names the target.
fn encode_error(target: &Target, (w, h): (usize, usize), cause: SendError) -> Error {
    match cause {
        SendError::PlaneTooShort(i, bytes) => {
            Error::other(format!("{}: plane {i} of a {w}x{h} frame is too short: {bytes} bytes", target.display_name()))
        }
        SendError::Ffmpeg(cause) => target.failure("a frame cannot be encoded", cause),
    }
}

/// Writer of one video file or HLS playlist. If dropped without [`Encoder::finish`], it completes the file as far as possible.
pub struct Encoder {
    target: Target,
    video: VideoTrack,
    audio: Option<AudioTrack>,
    muxer: Muxer,
    packet: ff::Packet,
    clock: FrameClock,
    frames: u64,
    /// True once the trailer is written, or a failure has made it pointless.
    is_closed: bool,
}

impl Encoder {
    /// Creates an MP4 file for frames of `width` x `height` pixels; an existing file is overwritten.
    ///
    /// H.264 with 4:2:0 chroma needs even sizes: for an odd one, the last column or row is duplicated.
    ///
    /// # Errors
    /// As [`Encoder::open`].
    pub fn create(path: impl AsRef<Path>, width: u32, height: u32, options: EncodeOptions) -> Result<Self> {
        Self::open(Target::File(path.as_ref().into()), width, height, options)
    }

    /// Opens a file or HLS playlist. For a server use [`Broadcast`], which survives broken connections.
    ///
    /// # Errors
    /// `Output` if the file cannot be created, this FFmpeg has no libx264, or AAC does not support the audio format; `Config`
    /// for an unknown preset; `Gpu` if NVENC is requested and unavailable.
    pub fn open(target: Target, width: u32, height: u32, options: EncodeOptions) -> Result<Self> {
        if target.path().is_some_and(|path| path.as_os_str().as_encoded_bytes().contains(&0)) {
            return Err(Error::output(format!("{}: a path cannot contain a NUL byte", target.display_name())));
        }
        let video = VideoTrack::open(width, height, &options).map_err(|e| e.at(target.display_name()))?;
        let audio = open_audio_track(&target, options.audio)?;
        let muxer = Muxer::open(&target, &track_parameters(&video, audio.as_ref()), Interrupt::new())?;
        Ok(Self {
            target,
            video,
            audio,
            muxer,
            packet: ff::Packet::empty(),
            clock: FrameClock::new(options.fps),
            frames: 0,
            is_closed: false,
        })
    }

    /// Returns the path of the file or playlist.
    pub fn path(&self) -> &Path {
        self.target.path().unwrap_or(Path::new(""))
    }

    /// Returns the width and height of the frames that [`Encoder::write`] takes.
    pub fn size(&self) -> (u32, u32) {
        let (width, height) = self.video.size();
        (width as u32, height as u32)
    }

    /// Returns the matrix and range of the frames' pixel values.
    pub fn color(&self) -> Option<Color> {
        self.video.color()
    }

    /// Returns the format of the audio that [`Encoder::write_audio`] takes.
    pub fn audio_format(&self) -> Option<AudioFormat> {
        self.audio.as_ref().map(|audio| audio.format)
    }

    /// Changes the average bit rate, bits per second, from the next frame on; no effect with constant quality.
    pub fn set_bitrate(&mut self, bits: usize) {
        self.video.set_bitrate(bits);
    }

    /// Writes interleaved samples; the first is heard at `start` nanoseconds. Call it after writing the frames of that time:
    /// audio before the first frame is left out. Gaps are filled with silence, and samples before the end of the written audio
    /// are skipped, so missing frames do not shift it. Without an audio track the samples are ignored.
    ///
    /// # Errors
    /// `Output` if the disk is full or has failed.
    pub fn write_audio(&mut self, start: i64, samples: &[f32]) -> Result<()> {
        let Some(audio) = self.audio.as_mut().filter(|_| !self.is_closed) else { return Ok(()) };
        let muxer = &mut self.muxer;
        audio
            .write(&mut |packet| muxer.write(packet), start, samples)
            .map_err(|cause| self.fail("audio cannot be written", cause))
    }

    /// Writes a frame of packed I420 (Y, then U, then V, rows without padding) with the presentation time `pts`, ns.
    ///
    /// # Errors
    /// `Output` if the disk is full or has failed; `Other` if the buffer is too short or the time is before the last one.
    pub fn write(&mut self, i420: &[u8], pts: i64) -> Result<()> {
        let (w, h) = self.video.size();
        let (cw, ch) = (w.div_ceil(2), h.div_ceil(2));
        let (luma, chroma) = (w * h, cw * ch);
        if i420.len() < luma + 2 * chroma {
            return Err(Error::other(format!(
                "{}: a {w}x{h} I420 frame has {} bytes, {} were given",
                self.target.display_name(),
                luma + 2 * chroma,
                i420.len()
            )));
        }
        let (y, uv) = i420.split_at(luma);
        let (u, v) = uv.split_at(chroma);
        self.write_planes([(y, w), (u, cw), (v, cw)], pts)
    }

    /// Writes a frame from its three planes, each with its stride in bytes.
    ///
    /// # Errors
    /// As [`Encoder::write`].
    pub fn write_planes(&mut self, planes: [(&[u8], usize); 3], pts: i64) -> Result<()> {
        if self.is_closed {
            return Err(Error::output(format!("{}: was closed after a failure", self.target.display_name())));
        }
        let ticks = self.clock.ticks_for(pts).map_err(|e| e.at(self.target.display_name()))?;
        if let Err(cause) = self.video.send(planes, ticks, false) {
            if matches!(cause, SendError::Ffmpeg(_)) {
                self.abandon();
            }
            return Err(encode_error(&self.target, self.video.size(), cause));
        }
        self.clock.last = Some((pts, ticks));
        if let Some(audio) = &mut self.audio {
            audio.begin(pts);
        }
        self.frames += 1;
        self.drain()
    }

    /// Completes the file.
    ///
    /// # Errors
    /// `Output` if the remaining data cannot be written.
    pub fn finish(mut self) -> Result<EncodeStats> {
        self.close()?;
        let bytes = std::fs::metadata(self.path()).map_or(0, |file| file.len());
        let samples = self.audio.as_ref().map_or(0, |audio| audio.samples);
        Ok(EncodeStats { frames: self.frames, samples, bytes })
    }

    /// Writes the packets that the encoder has ready.
    fn drain(&mut self) -> Result<()> {
        while self.video.receive(&mut self.packet) {
            self.packet.set_stream(0);
            // Applies to the last frame only: the others last until the next one.
            self.packet.set_duration(self.clock.interval);
            if let Err(cause) = self.muxer.write(&mut self.packet) {
                return Err(self.fail("cannot be written", cause));
            }
        }
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        if self.is_closed {
            return Ok(());
        }
        let muxer = &mut self.muxer;
        if let Some(audio) = &mut self.audio
            && let Err(cause) = audio.finish(&mut |packet| muxer.write(packet))
        {
            return Err(self.fail("the audio track cannot be completed", cause));
        }
        if let Err(cause) = self.video.finish() {
            return Err(self.fail("the video encoder cannot be flushed", cause));
        }
        self.drain()?;
        self.is_closed = true;
        self.muxer.finish().map_err(|cause| self.target.failure("the trailer cannot be written", cause))
    }

    /// Ends the file after a failed write; its content so far plays.
    fn fail(&mut self, what: &str, cause: ff::Error) -> Error {
        self.abandon();
        self.target.failure(what, cause)
    }

    fn abandon(&mut self) {
        self.is_closed = true;
        // Frees the muxer's data; its error has the same cause as the first one.
        let _ = self.muxer.finish();
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // Only `finish` can report an error.
        let _ = self.close();
    }
}

#[cfg(test)]
mod tests {
    use ffmpeg_next::{codec, format, frame};
    use sideline_api::Failure;

    use super::*;

    const SIZE: (u32, u32) = (160, 96);

    /// Creates a moving ramp: frame `i` differs from its neighbors.
    fn picture(width: u32, height: u32, i: usize) -> Vec<u8> {
        let (w, h) = (width as usize, height as usize);
        let luma = (0..w * h).map(|p| ((p % w) * 2 + (p / w) + i * 3) as u8);
        luma.chain(std::iter::repeat_n(128, 2 * w.div_ceil(2) * h.div_ceil(2))).collect()
    }

    fn small() -> EncodeOptions {
        EncodeOptions { preset: "ultrafast".into(), ..EncodeOptions::default() }
    }

    /// Decodes a file; returns the times of its frames, ns, and their size.
    fn read(path: &Path) -> (Vec<i64>, (u32, u32)) {
        ff::init().unwrap();
        let mut input = format::input(path).unwrap();
        let stream = input.streams().best(ff::media::Type::Video).unwrap();
        let base = stream.time_base();
        let context = codec::context::Context::from_parameters(stream.parameters()).unwrap();
        let mut decoder = context.decoder().video().unwrap();
        let mut times = vec![];
        let mut size = (0, 0);
        let mut take = |decoder: &mut ff::decoder::Video| {
            let mut picture = frame::Video::empty();
            while decoder.receive_frame(&mut picture).is_ok() {
                let ticks = i128::from(picture.pts().unwrap()) * i128::from(base.0) * 1_000_000_000;
                let den = i128::from(base.1);
                times.push(((ticks + den / 2).div_euclid(den)) as i64);
                size = (picture.width(), picture.height());
            }
        };
        for (_, packet) in input.packets() {
            let _ = decoder.send_packet(&packet);
            take(&mut decoder);
        }
        decoder.send_eof().unwrap();
        take(&mut decoder);
        (times, size)
    }

    fn encode(path: &Path, times: &[i64]) -> Encoder {
        let mut encoder = Encoder::create(path, SIZE.0, SIZE.1, small()).unwrap();
        for (i, time) in times.iter().enumerate() {
            encoder.write(&picture(SIZE.0, SIZE.1, i), *time).unwrap();
        }
        encoder
    }

    fn regular(frames: i64) -> Vec<i64> {
        (0..frames).map(|i| (i * 1_000_000_000 + 15) / 30).collect()
    }

    #[test]
    fn every_frame_keeps_its_time_to_the_nanosecond() {
        let folder = tempfile::tempdir().unwrap();
        // Film, NTSC, PAL, a camera's milliseconds: one after the other, from 5 s on, with a gap of a minute.
        let mut times = vec![];
        for (base, numerator, denominator) in
            [(5, 1001, 24_000), (7, 1001, 30_000), (9, 1, 25), (70, 1001, 60_000), (72, 33, 1000)]
        {
            times.extend((0..20_i64).map(|i| {
                let exact = i * numerator * 1_000_000_000;
                base * 1_000_000_000 + (exact + denominator / 2) / denominator
            }));
        }
        let path = folder.path().join("times.mp4");
        let stats = encode(&path, &times).finish().unwrap();
        assert_eq!((stats.frames, stats.bytes), (100, std::fs::metadata(&path).unwrap().len()));
        assert_eq!(read(&path), (times, SIZE));
    }

    #[test]
    fn a_file_truncated_by_a_kill_plays_up_to_its_last_second() {
        let folder = tempfile::tempdir().unwrap();
        let times = regular(90);
        let encoder = encode(&folder.path().join("whole.mp4"), &times);
        let cut = folder.path().join("cut.mp4");
        std::fs::copy(encoder.path(), &cut).unwrap();
        let (found, _) = read(&cut);
        assert!(found.len() >= 45, "only {} of 90 frames", found.len());
        assert_eq!(found, times[..found.len()]);
        drop(encoder);
        assert_eq!(read(&folder.path().join("whole.mp4")).0, times, "dropped, the file is whole");
    }

    #[test]
    fn the_same_frames_give_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = |name: &str| {
            let path = folder.path().join(name);
            encode(&path, &regular(40)).finish().unwrap();
            std::fs::read(path).unwrap()
        };
        assert_eq!(bytes("a.mp4"), bytes("b.mp4"));
    }

    #[test]
    fn an_odd_size_is_made_even_by_duplicating_the_border() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("odd.mp4");
        let mut encoder = Encoder::create(&path, 33, 17, small()).unwrap();
        encoder.write(&picture(33, 17, 0), 0).unwrap();
        encoder.finish().unwrap();
        assert_eq!(read(&path), (vec![0], (34, 18)));
    }

    #[test]
    fn equal_times_are_kept_apart_and_time_must_not_go_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("times.mp4");
        let mut encoder = encode(&path, &[0, 0, 1_000_000_000]);
        let error = encoder.write(&picture(SIZE.0, SIZE.1, 3), 500_000_000).unwrap_err();
        assert!(error.message.contains("0.500000 s came after one at 1.000000 s"), "{error}");
        encoder.finish().unwrap();
        assert_eq!(read(&path).0, [0, 1389, 1_000_000_000]);
    }

    #[test]
    fn write_errors_name_the_file_and_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let create = |path: &Path, options| Encoder::create(path, 64, 64, options).map(|_| ()).unwrap_err();
        let missing = create(&folder.path().join("no/such/x.mp4"), small());
        assert_eq!(missing.failure, Failure::Output);
        assert!(missing.message.contains("no/such/x.mp4: cannot be opened"), "{missing}");
        assert!(missing.message.contains("there is no folder") && missing.message.contains("create it"), "{missing}");
        let preset = create(&folder.path().join("x.mp4"), EncodeOptions { preset: "veryfas".into(), ..small() });
        assert_eq!(preset.failure, Failure::Config);
        assert!(preset.message.contains("did you mean `veryfast`?"), "{preset}");
        if Path::new("/dev/full").exists() {
            let write = || -> Result<EncodeStats> {
                let mut encoder = Encoder::create("/dev/full", 64, 64, small())?;
                encoder.write(&picture(64, 64, 0), 0)?;
                encoder.finish()
            };
            let full = write().unwrap_err();
            assert_eq!(full.failure, Failure::Output);
            assert!(full.message.contains("/dev/full") && full.message.contains("free some space"), "{full}");
        }
    }
}
