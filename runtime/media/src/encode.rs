//! H.264, and AAC beside it: into a fragmented mp4 file, HLS, or to an RTMP server. Every frame keeps its time, and what is on
//! the disk plays, whenever the run dies.
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

mod broadcast;
mod mux;
mod sound;
mod target;
mod video;

use std::path::Path;

use ffmpeg_next as ff;
use sideline_api::{Color, Error, Result};

pub use self::{
    broadcast::{Broadcast, BroadcastOptions, Sent},
    target::{SCHEMES, Server, Target},
    video::{Codec, available},
};
use self::{
    mux::{Muxer, Tracks},
    sound::SoundTrack,
    video::{Refused, VideoTrack},
};
use crate::{SoundFormat, watch::Watch};

/// Ticks a second of the files' clock: a multiple of 24000/1001, 30000/1001, 60000/1001, of the whole rates up to 60,
/// of 120 and 240, and of the 90 kHz of RTP and MPEG-TS, so that a frame of any of them gets its time back exactly.
/// A step of 49 minutes still fits the 31 bits that FFmpeg has for a frame's duration in mp4; see [`mux`] for longer ones.
pub const TICKS: i32 = 720_000;

/// How good and how large.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quality {
    /// Constant quality, x264's CRF: 0 is lossless, 18 looks like the source, 23 is x264's default, 51 the worst.
    Crf(f32),
    /// A mean of so many bits a second.
    Bitrate(usize),
}

/// How an [`Encoder`] works.
#[derive(Clone, Debug)]
pub struct EncodeOptions {
    /// Frames a second to expect: a hint for rate control. Frames are placed by their times alone.
    pub fps: f64,
    /// How good and how large.
    pub quality: Quality,
    /// x264's preset, `ultrafast` to `placebo`: slower ones make smaller files.
    pub preset: String,
    /// Most frames between two key frames: a player can begin only at a key frame.
    pub gop: u32,
    /// Threads of x264. For a fixed number the bytes are the same in every run; 0 would let the machine choose.
    pub threads: u32,
    /// How the pixels are meant; written into the file.
    pub color: Option<Color>,
    /// Adds a sound track for [`Encoder::write_sound`].
    pub sound: Option<SoundFormat>,
    /// Which encoder is used.
    pub codec: Codec,
    /// Every frame comes out as soon as it went in, and no second carries more than its share of bits: for live streams.
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
            sound: None,
            codec: Codec::X264,
            low_delay: false,
        }
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeStats {
    /// Frames written.
    pub frames: u64,
    /// Samples of sound written, of each channel, silence in gaps included.
    pub samples: u64,
    /// Size of the file in bytes; of HLS, of its playlist.
    pub bytes: u64,
}

/// x264's presets, from fast to slow.
pub const PRESETS: [&str; 10] =
    ["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo"];

/// The times of a video's frames in ticks.
struct Clock {
    /// Time of the last frame, in nanoseconds and in ticks.
    last: Option<(i64, i64)>,
    /// Ticks between frames, by the hint.
    interval: i64,
}

impl Clock {
    fn new(fps: f64) -> Self {
        Self { last: None, interval: (f64::from(TICKS) / fps.clamp(1.0, 1000.0)) as i64 }
    }

    /// The tick of a time. Two frames of one tick are put one after the other: a file cannot hold them otherwise.
    fn place(&self, pts: i64) -> Result<i64> {
        let ticks = ((i128::from(pts) * i128::from(TICKS) + 500_000_000).div_euclid(1_000_000_000)) as i64;
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

/// The sound track that is asked for.
fn sound_track(target: &Target, sound: Option<SoundFormat>) -> Result<Option<SoundTrack>> {
    let made = sound.map(|sound| {
        SoundTrack::new(sound).map_err(|cause| {
            let SoundFormat { rate, channels } = sound;
            let what = format!("no AAC of {channels} channels and {rate} samples a second can be written");
            target.failure(&what, cause)
        })
    });
    made.transpose()
}

fn tracks(video: &VideoTrack, sound: Option<&SoundTrack>) -> Tracks {
    Tracks {
        video: video.parameters(),
        sound: sound.map(SoundTrack::parameters),
        rate: sound.map_or(1, |sound| sound.format.rate),
    }
}

/// Why a picture could not be written.
fn refused(target: &Target, (w, h): (usize, usize), cause: Refused) -> Error {
    match cause {
        Refused::Plane(i, bytes) => {
            Error::other(format!("{}: plane {i} of a {w}x{h} frame is too short: {bytes} bytes", target.shown()))
        }
        Refused::Ffmpeg(cause) => target.failure("a frame cannot be encoded", cause),
    }
}

/// Writes one video to the disk. Dropped without [`Encoder::finish`], it ends the file as well as it can.
pub struct Encoder {
    target: Target,
    video: VideoTrack,
    sound: Option<SoundTrack>,
    muxer: Muxer,
    packet: ff::Packet,
    clock: Clock,
    frames: u64,
    /// The trailer was written, or a failure made it pointless.
    closed: bool,
}

impl Encoder {
    /// Opens an mp4 file for frames of `width` x `height` pixels; a file that is there is overwritten.
    ///
    /// H.264 with halved chroma knows only even sizes: of an odd one the last column or row is written twice.
    ///
    /// # Errors
    /// As [`Encoder::open`].
    pub fn create(path: impl AsRef<Path>, width: u32, height: u32, options: EncodeOptions) -> Result<Self> {
        Self::open(Target::File(path.as_ref().into()), width, height, options)
    }

    /// Opens a file or HLS; to a server goes a [`Broadcast`], which outlives its connection.
    ///
    /// # Errors
    /// `Output` when the file cannot be made, this FFmpeg has no libx264, or AAC cannot hold the sound; `Config` for a
    /// preset that x264 does not know; `Gpu` where NVENC is asked for and cannot be used.
    pub fn open(target: Target, width: u32, height: u32, options: EncodeOptions) -> Result<Self> {
        if target.path().is_some_and(|path| path.as_os_str().as_encoded_bytes().contains(&0)) {
            return Err(Error::output(format!("{}: a path cannot contain a NUL byte", target.shown())));
        }
        let video = VideoTrack::open(width, height, &options).map_err(|e| e.at(target.shown()))?;
        let sound = sound_track(&target, options.sound)?;
        let muxer = Muxer::open(&target, &tracks(&video, sound.as_ref()), Watch::new())?;
        Ok(Self {
            target,
            video,
            sound,
            muxer,
            packet: ff::Packet::empty(),
            clock: Clock::new(options.fps),
            frames: 0,
            closed: false,
        })
    }

    /// The file, or the playlist.
    pub fn path(&self) -> &Path {
        self.target.path().unwrap_or(Path::new(""))
    }

    /// Width and height of the frames that [`Encoder::write`] takes.
    pub fn size(&self) -> (u32, u32) {
        let (width, height) = self.video.size();
        (width as u32, height as u32)
    }

    /// The meaning of its frames' pixel values.
    pub fn color(&self) -> Option<Color> {
        self.video.color()
    }

    /// The sound that [`Encoder::write_sound`] takes.
    pub fn sound(&self) -> Option<SoundFormat> {
        self.sound.as_ref().map(|sound| sound.format)
    }

    /// From the next frame on another mean of bits a second; nothing changes where a constant quality was asked for.
    pub fn set_bitrate(&mut self, bits: usize) {
        self.video.set_bitrate(bits);
    }

    /// Writes sound: interleaved samples, of which the first is heard at `start` nanoseconds. To be called after the frames
    /// of that time: what is heard before the first frame is left out. Gaps are filled with silence; what was written
    /// already is not written again, so pictures that are missing do not move it. A file without a sound track takes none.
    ///
    /// # Errors
    /// `Output` when the disk is full or gone.
    pub fn write_sound(&mut self, start: i64, samples: &[f32]) -> Result<()> {
        let Some(sound) = self.sound.as_mut().filter(|_| !self.closed) else { return Ok(()) };
        let muxer = &mut self.muxer;
        sound
            .write(&mut |packet| muxer.put(packet), start, samples)
            .map_err(|cause| self.give_up("sound cannot be written", cause))
    }

    /// Writes a frame: packed I420 (Y, then U, then V, rows without padding), to be shown at `pts` nanoseconds.
    ///
    /// # Errors
    /// `Output` when the disk is full or gone; `Other` when the buffer is too short or time goes back.
    pub fn write(&mut self, i420: &[u8], pts: i64) -> Result<()> {
        let (w, h) = self.video.size();
        let (cw, ch) = (w.div_ceil(2), h.div_ceil(2));
        let (luma, chroma) = (w * h, cw * ch);
        if i420.len() < luma + 2 * chroma {
            return Err(Error::other(format!(
                "{}: a {w}x{h} I420 frame has {} bytes, {} were given",
                self.target.shown(),
                luma + 2 * chroma,
                i420.len()
            )));
        }
        let (y, uv) = i420.split_at(luma);
        let (u, v) = uv.split_at(chroma);
        self.write_planes([(y, w), (u, cw), (v, cw)], pts)
    }

    /// Writes a frame from its three planes, each with the distance between its rows in bytes.
    ///
    /// # Errors
    /// As [`Encoder::write`].
    pub fn write_planes(&mut self, planes: [(&[u8], usize); 3], pts: i64) -> Result<()> {
        if self.closed {
            return Err(Error::output(format!("{}: was closed after a failure", self.target.shown())));
        }
        let ticks = self.clock.place(pts).map_err(|e| e.at(self.target.shown()))?;
        if let Err(cause) = self.video.send(planes, ticks, false) {
            if matches!(cause, Refused::Ffmpeg(_)) {
                self.abandon();
            }
            return Err(refused(&self.target, self.video.size(), cause));
        }
        self.clock.last = Some((pts, ticks));
        if let Some(sound) = &mut self.sound {
            sound.begin(pts);
        }
        self.frames += 1;
        self.drain()
    }

    /// Ends the file.
    ///
    /// # Errors
    /// `Output` when the rest cannot be written.
    pub fn finish(mut self) -> Result<EncodeStats> {
        self.close()?;
        let bytes = std::fs::metadata(self.path()).map_or(0, |file| file.len());
        let samples = self.sound.as_ref().map_or(0, |sound| sound.samples);
        Ok(EncodeStats { frames: self.frames, samples, bytes })
    }

    /// Moves what the encoder has ready into the file.
    fn drain(&mut self) -> Result<()> {
        while self.video.receive(&mut self.packet) {
            self.packet.set_stream(0);
            // For the last frame alone: the others last until the next one.
            self.packet.set_duration(self.clock.interval);
            if let Err(cause) = self.muxer.put(&mut self.packet) {
                return Err(self.give_up("cannot be written", cause));
            }
        }
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        if self.closed {
            return Ok(());
        }
        let muxer = &mut self.muxer;
        if let Some(sound) = &mut self.sound
            && let Err(cause) = sound.finish(&mut |packet| muxer.put(packet))
        {
            return Err(self.give_up("the sound cannot be ended", cause));
        }
        if let Err(cause) = self.video.finish() {
            return Err(self.give_up("x264 cannot be ended", cause));
        }
        self.drain()?;
        self.closed = true;
        self.muxer.finish().map_err(|cause| self.target.failure("the end cannot be written", cause))
    }

    /// After a failed write the file ends here; what is in it plays.
    fn give_up(&mut self, what: &str, cause: ff::Error) -> Error {
        self.abandon();
        self.target.failure(what, cause)
    }

    fn abandon(&mut self) {
        self.closed = true;
        // Frees what the muxer holds; it would fail again for the same cause.
        let _ = self.muxer.finish();
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // `finish` reports; here nobody is left who could hear of it.
        let _ = self.close();
    }
}

#[cfg(test)]
mod tests {
    use ffmpeg_next::{codec, format, frame};
    use sideline_api::Failure;

    use super::*;

    const SIZE: (u32, u32) = (160, 96);

    /// A ramp that moves: frame `i` differs from its neighbours.
    fn picture(width: u32, height: u32, i: usize) -> Vec<u8> {
        let (w, h) = (width as usize, height as usize);
        let luma = (0..w * h).map(|p| ((p % w) * 2 + (p / w) + i * 3) as u8);
        luma.chain(std::iter::repeat_n(128, 2 * w.div_ceil(2) * h.div_ceil(2))).collect()
    }

    fn small() -> EncodeOptions {
        EncodeOptions { preset: "ultrafast".into(), ..EncodeOptions::default() }
    }

    /// Times in nanoseconds, and sizes, of the frames that a decoder makes of the file.
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
    fn a_file_cut_off_by_a_kill_plays_up_to_its_last_second() {
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
    fn an_odd_size_is_made_even_by_writing_the_border_twice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("odd.mp4");
        let mut encoder = Encoder::create(&path, 33, 17, small()).unwrap();
        encoder.write(&picture(33, 17, 0), 0).unwrap();
        encoder.finish().unwrap();
        assert_eq!(read(&path), (vec![0], (34, 18)));
    }

    #[test]
    fn equal_times_are_kept_apart_and_time_does_not_go_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("times.mp4");
        let mut encoder = encode(&path, &[0, 0, 1_000_000_000]);
        let error = encoder.write(&picture(SIZE.0, SIZE.1, 3), 500_000_000).unwrap_err();
        assert!(error.message.contains("0.500000 s came after one at 1.000000 s"), "{error}");
        encoder.finish().unwrap();
        assert_eq!(read(&path).0, [0, 1389, 1_000_000_000]);
    }

    #[test]
    fn what_cannot_be_written_is_named_with_the_mend() {
        let folder = tempfile::tempdir().unwrap();
        let create = |path: &Path, options| Encoder::create(path, 64, 64, options).map(|_| ()).unwrap_err();
        let missing = create(&folder.path().join("no/such/x.mp4"), small());
        assert_eq!(missing.failure, Failure::Output);
        assert!(missing.message.contains("no/such/x.mp4: cannot be opened"), "{missing}");
        assert!(missing.message.contains("there is no folder") && missing.message.contains("make it"), "{missing}");
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
