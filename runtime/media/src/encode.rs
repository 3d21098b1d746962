//! H.264, and AAC beside it, into a fragmented mp4 file: every frame keeps its time, and what is on the disk plays, whenever the run dies.
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

mod sound;

use std::path::{Path, PathBuf};

use ffmpeg_next::{
    self as ff, Dictionary, Rational, codec, color, encoder, format,
    format::Pixel,
    frame,
    util::error::{EACCES, EINVAL, ENOENT, ENOSPC, EROFS},
};
use sideline_api::{Color, Error, Failure, Matrix, Result};

use self::sound::SoundTrack;
use crate::SoundFormat;

/// Ticks a second of the files' clock: a multiple of 24000/1001, 30000/1001, 60000/1001, of the whole rates up to 60,
/// of 120 and 240, and of the 90 kHz of RTP and MPEG-TS, so that a frame of any of them gets its time back exactly.
/// A gap of 99 minutes still fits the 32 bits that mp4 has for a frame's duration.
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
    /// Size of the file in bytes.
    pub bytes: u64,
}

/// x264's presets, from fast to slow.
pub const PRESETS: [&str; 10] =
    ["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo"];

/// Writes one video. Dropped without [`Encoder::finish`], it ends the file as well as it can.
pub struct Encoder {
    path: PathBuf,
    size: (usize, usize),
    output: format::context::Output,
    encoder: encoder::video::Encoder,
    picture: frame::Video,
    packet: ff::Packet,
    sound: Option<SoundTrack>,
    /// Ticks of the muxer, which may change the time base that it was given.
    stream_ticks: Rational,
    /// Time of the last frame, in nanoseconds and in ticks.
    last: Option<(i64, i64)>,
    /// Ticks between frames, by the hint.
    interval: i64,
    frames: u64,
    /// The trailer was written, or a failure made it pointless.
    closed: bool,
}

impl Encoder {
    /// Opens a file for frames of `width` x `height` pixels; a file that is there is overwritten.
    ///
    /// H.264 with halved chroma knows only even sizes: of an odd one the last column or row is written twice.
    ///
    /// # Errors
    /// `Output` when the file cannot be made, this FFmpeg has no libx264, or AAC cannot hold the sound; `Config` for a
    /// preset that x264 does not know.
    pub fn create(path: impl AsRef<Path>, width: u32, height: u32, options: EncodeOptions) -> Result<Self> {
        let path = path.as_ref();
        let fail = |what: &str, cause| failure(path, what, cause);
        let preset = options.preset.as_str();
        if !PRESETS.contains(&preset) {
            let hint = sideline_api::config::did_you_mean(preset, PRESETS);
            return Err(Error::config(format!("x264 has no preset `{preset}`{hint}")));
        }
        if width == 0 || height == 0 || width > 16384 || height > 16384 {
            return Err(Error::output(format!("{}: x264 cannot encode {width}x{height} pixels", path.display())));
        }
        let fps = options.fps.clamp(1.0, 1000.0);
        let codec = libx264().map_err(|e| e.at(path.display()))?;
        // FFmpeg would take `rtmp:...` for an address, and its binding panics at a NUL.
        if path.as_os_str().as_encoded_bytes().contains(&0) {
            return Err(Error::output(format!("{}: a path cannot contain a NUL byte", path.display())));
        }
        let mut address = std::ffi::OsString::from("file:");
        address.push(path);
        let mut output = format::output_as(&address, "mp4").map_err(|e| fail("cannot be opened", e))?;

        let mut settings = codec::context::Context::new_with_codec(codec)
            .encoder()
            .video()
            .map_err(|e| fail("libx264 cannot be set up", e))?;
        settings.set_width(width.next_multiple_of(2));
        settings.set_height(height.next_multiple_of(2));
        settings.set_format(Pixel::YUV420P);
        settings.set_time_base(Rational(1, TICKS));
        settings.set_frame_rate(Some(Rational::from(fps)));
        settings.set_gop(options.gop.max(1));
        // Without B-frames a frame's decoding time is its presentation time, so fragments need no shifted clock.
        settings.set_max_b_frames(0);
        settings.set_flags(codec::Flags::GLOBAL_HEADER | codec::Flags::BITEXACT);
        if let Some(meaning) = options.color {
            let (space, primaries, transfer) = match meaning.matrix {
                Matrix::Bt601 => {
                    (color::Space::SMPTE170M, color::Primaries::SMPTE170M, color::TransferCharacteristic::SMPTE170M)
                }
                Matrix::Bt709 => (color::Space::BT709, color::Primaries::BT709, color::TransferCharacteristic::BT709),
            };
            settings.set_colorspace(space);
            settings.set_color_primaries(primaries);
            settings.set_color_transfer_characteristic(transfer);
            settings.set_color_range(if meaning.full_range { color::Range::JPEG } else { color::Range::MPEG });
        }
        let mut x264 = Dictionary::new();
        x264.set("preset", preset);
        x264.set("threads", &options.threads.to_string());
        match options.quality {
            Quality::Crf(crf) => x264.set("crf", &crf.clamp(0.0, 51.0).to_string()),
            Quality::Bitrate(bits) => settings.set_bit_rate(bits),
        }
        let encoder = settings.open_with(x264).map_err(|e| fail("libx264 refuses these settings", e))?;

        let mut stream = output.add_stream(codec).map_err(|e| fail("cannot be set up", e))?;
        stream.set_parameters(&encoder);
        stream.set_time_base(Rational(1, TICKS));
        let sound = options.sound.map(|sound| {
            SoundTrack::add(&mut output, sound).map_err(|cause| {
                let SoundFormat { rate, channels } = sound;
                fail(&format!("no AAC of {channels} channels and {rate} samples a second can be written"), cause)
            })
        });
        let mut sound = sound.transpose()?;
        let mut mp4 = Dictionary::new();
        // A fragment ends at each key frame and after a second: a killed run loses no more than that and what x264
        // holds. The first frame's time is kept, not moved to 0. `bitexact` leaves out versions.
        mp4.set("movflags", "frag_keyframe+empty_moov+default_base_moof+frag_discont");
        mp4.set("use_editlist", "0");
        mp4.set("avoid_negative_ts", "make_non_negative");
        mp4.set("frag_duration", "1000000");
        mp4.set("flush_packets", "1");
        mp4.set("fflags", "+bitexact");
        // Packets of picture and sound are put in order; where one is silent for a second the other goes on without it.
        mp4.set("max_interleave_delta", "1000000");
        output.write_header_with(mp4).map_err(|e| fail("the header cannot be written", e))?;
        if let Some(sound) = &mut sound {
            sound.ticks = output.stream(1).map_or(sound.ticks, |stream| stream.time_base());
        }
        let stream_ticks = output.stream(0).map_or(Rational(1, TICKS), |stream| stream.time_base());
        Ok(Self {
            path: path.to_owned(),
            size: (width as usize, height as usize),
            picture: frame::Video::new(Pixel::YUV420P, width.next_multiple_of(2), height.next_multiple_of(2)),
            packet: ff::Packet::empty(),
            sound,
            output,
            encoder,
            stream_ticks,
            last: None,
            interval: (f64::from(TICKS) / fps) as i64,
            frames: 0,
            closed: false,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Width and height of the frames that [`Encoder::write`] takes.
    pub fn size(&self) -> (u32, u32) {
        (self.size.0 as u32, self.size.1 as u32)
    }

    /// The sound that [`Encoder::write_sound`] takes.
    pub fn sound(&self) -> Option<SoundFormat> {
        self.sound.as_ref().map(|sound| sound.format)
    }

    /// Writes sound: interleaved samples, of which the first is heard at `start` nanoseconds. To be called after the frames
    /// of that time: what is heard before the first frame is left out. Gaps are filled with silence; what was written
    /// already is not written again, so pictures that are missing do not move it. A file without a sound track takes none.
    ///
    /// # Errors
    /// `Output` when the disk is full or gone.
    pub fn write_sound(&mut self, start: i64, samples: &[f32]) -> Result<()> {
        let Some(sound) = self.sound.as_mut().filter(|_| !self.closed) else { return Ok(()) };
        sound.write(&mut self.output, start, samples).map_err(|cause| self.give_up("sound cannot be written", cause))
    }

    /// Writes a frame: packed I420 (Y, then U, then V, rows without padding), to be shown at `pts` nanoseconds.
    ///
    /// # Errors
    /// `Output` when the disk is full or gone; `Other` when the buffer is too short or time goes back.
    pub fn write(&mut self, i420: &[u8], pts: i64) -> Result<()> {
        let (w, h) = self.size;
        let (cw, ch) = (w.div_ceil(2), h.div_ceil(2));
        let (luma, chroma) = (w * h, cw * ch);
        if i420.len() < luma + 2 * chroma {
            return Err(Error::other(format!(
                "{}: a {w}x{h} I420 frame has {} bytes, {} were given",
                self.path.display(),
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
            return Err(Error::output(format!("{}: was closed after a failure", self.path.display())));
        }
        let ticks = self.place(pts)?;
        // SAFETY: `picture` owns a valid AVFrame with buffers; the call gives it buffers of its own where x264's wrapper
        // still refers to the present ones, and leaves it unchanged when it fails.
        let code = unsafe { ff::ffi::av_frame_make_writable(self.picture.as_mut_ptr()) };
        if code < 0 {
            return Err(failure(&self.path, "no memory for a frame", ff::Error::from(code)));
        }
        let (w, h) = self.size;
        for (i, (from, from_stride)) in planes.into_iter().enumerate() {
            let (row, rows) = if i == 0 { (w, h) } else { (w.div_ceil(2), h.div_ceil(2)) };
            if from_stride < row || from.len() < (rows - 1) * from_stride + row {
                return Err(Error::other(format!(
                    "{}: plane {i} of a {w}x{h} frame is too short: {} bytes at stride {from_stride}",
                    self.path.display(),
                    from.len()
                )));
            }
            let stride = self.picture.stride(i);
            let to = self.picture.data_mut(i);
            for (to, from) in to.chunks_mut(stride).zip(from.chunks(from_stride).take(rows)) {
                to[..row].copy_from_slice(&from[..row]);
                if i == 0 && w % 2 == 1 {
                    to[row] = to[row - 1];
                }
            }
            if i == 0 && h % 2 == 1 {
                to.copy_within((h - 1) * stride..h * stride, h * stride);
            }
        }
        self.picture.set_pts(Some(ticks));
        self.picture.set_kind(ff::picture::Type::None);
        if let Err(cause) = self.encoder.send_frame(&self.picture) {
            return Err(self.give_up("a frame cannot be encoded", cause));
        }
        self.last = Some((pts, ticks));
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
        let bytes = std::fs::metadata(&self.path).map_or(0, |file| file.len());
        let samples = self.sound.as_ref().map_or(0, |sound| sound.samples);
        Ok(EncodeStats { frames: self.frames, samples, bytes })
    }

    /// The tick of a time. Two frames of one tick are put one after the other: a file cannot hold them otherwise.
    fn place(&self, pts: i64) -> Result<i64> {
        let ticks = ((i128::from(pts) * i128::from(TICKS) + 500_000_000).div_euclid(1_000_000_000)) as i64;
        match self.last {
            Some((before, _)) if pts < before => Err(Error::other(format!(
                "{}: a frame at {:.6} s came after one at {:.6} s; times of a stream must not go back",
                self.path.display(),
                pts as f64 * 1e-9,
                before as f64 * 1e-9
            ))),
            Some((_, last)) => Ok(ticks.max(last + 1)),
            None => Ok(ticks),
        }
    }

    /// Moves what x264 has ready into the file.
    fn drain(&mut self) -> Result<()> {
        while self.encoder.receive_packet(&mut self.packet).is_ok() {
            self.packet.set_stream(0);
            // For the last frame alone: the others last until the next one.
            self.packet.set_duration(self.interval);
            self.packet.rescale_ts(Rational(1, TICKS), self.stream_ticks);
            if let Err(cause) = self.packet.write_interleaved(&mut self.output) {
                return Err(self.give_up("cannot be written", cause));
            }
        }
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        if self.closed {
            return Ok(());
        }
        if let Some(sound) = &mut self.sound
            && let Err(cause) = sound.finish(&mut self.output)
        {
            return Err(self.give_up("the sound cannot be ended", cause));
        }
        if let Err(cause) = self.encoder.send_eof() {
            return Err(self.give_up("x264 cannot be ended", cause));
        }
        self.drain()?;
        self.closed = true;
        self.output.write_trailer().map_err(|cause| failure(&self.path, "the end cannot be written", cause))
    }

    /// After a failed write the file ends here; what is in it plays.
    fn give_up(&mut self, what: &str, cause: ff::Error) -> Error {
        self.closed = true;
        // Frees what the muxer holds; it would fail again for the same cause.
        let _ = self.output.write_trailer();
        failure(&self.path, what, cause)
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // `finish` reports; here nobody is left who could hear of it.
        let _ = self.close();
    }
}

/// Looks whether this FFmpeg can encode H.264.
///
/// # Errors
/// `Output`, with what to install.
pub fn available() -> Result<()> {
    libx264().map(|_| ())
}

fn libx264() -> Result<ff::Codec> {
    crate::open::start_ffmpeg();
    encoder::find_by_name("libx264").ok_or_else(|| {
        Error::output(
            "this build of FFmpeg has no libx264; install one with it (Debian: libavcodec-extra or libavcodec59)",
        )
    })
}

/// An error with the file and the mend.
fn failure(path: &Path, what: &str, cause: ff::Error) -> Error {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mend = match (cause, parent) {
        (ff::Error::Other { errno: ENOENT }, Some(parent)) if !parent.is_dir() => {
            format!("; there is no folder {}: make it, or write elsewhere", parent.display())
        }
        (ff::Error::Other { errno: ENOSPC }, _) => "; free some space, or write to another disk".into(),
        (ff::Error::Other { errno: EACCES | EROFS }, _) => "; write to a folder that is yours".into(),
        (ff::Error::Other { errno: EINVAL }, _) => "; look at preset, quality and size".into(),
        _ => String::new(),
    };
    Error::new(Failure::Output, format!("{}: {what}: {cause}{mend}", path.display()))
}

#[cfg(test)]
mod tests {
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
