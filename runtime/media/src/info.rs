//! What a file says of its video before anything is decoded.

use ffmpeg_next::{Rational, Stream, codec, ffi, format};
use serde::Serialize;
use sideline_api::Color;

use crate::{color::Coding, geometry::Declared, tracks};

/// What a file says of its video. Written to the run folder by capture.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MediaInfo {
    /// The file.
    pub path: String,
    /// Kind of file, FFmpeg's name: `mov,mp4,m4a,3gp,3g2,mj2`.
    pub container: String,
    /// How the video is coded: `h264`.
    pub codec: String,
    /// Width in pixels of an upright picture in square pixels, before it is brought down to a size.
    pub width: u32,
    /// Height in pixels of an upright picture in square pixels, before it is brought down to a size.
    pub height: u32,
    /// True where pictures are mirrored left to right, before they are turned.
    pub mirrored: bool,
    /// Degrees, clockwise, by which pictures are turned to be upright: 0, 90, 180 or 270.
    pub rotation: u16,
    /// Sample aspect ratio of the stored pictures, width to height: `64:45`; `1:1` are square pixels.
    pub pixel_aspect: String,
    /// Frames per second, the mean over the file; 0 where the file does not say.
    pub fps: f64,
    /// Number of frames that the file's own index declares, if it has one.
    pub frames: Option<u64>,
    /// Length of the video in nanoseconds, as declared or estimated.
    pub duration_ns: Option<i64>,
    /// Layout of the decoder's pixels, FFmpeg's name: `yuv420p`. Frames of Sideline are i420 or nv12.
    pub pixel_format: String,
    /// Meaning of the pixel values; assumed where the file does not say.
    pub color: Color,
    /// Primaries, FFmpeg's name: `bt709`; none where the file does not say. They are not converted.
    pub primaries: Option<&'static str>,
    /// Transfer characteristic, FFmpeg's name: `bt709`; none where the file does not say. It is not converted.
    pub transfer: Option<&'static str>,
    /// Video tracks of the file, cover pictures not counted.
    pub video_tracks: usize,
    /// Number of the one that is read, from 0.
    pub video_track: usize,
    /// How the sound is coded, where there is one: `aac`.
    pub audio: Option<String>,
    /// Unit of the file's time stamps: numerator and denominator, seconds.
    pub time_base: (i32, i32),
}

impl MediaInfo {
    pub(crate) fn read(
        path: &str,
        input: &format::context::Input,
        stream: &Stream,
        decoder: &codec::decoder::Video,
        declared: &Declared,
        sound: Option<usize>,
    ) -> Self {
        let geometry = declared.geometry();
        let (width, height) = geometry.shown(decoder.width(), decoder.height());
        let coding = Coding::declared(decoder);
        let videos = tracks::videos(input);
        let time_base = stream.time_base();
        let ns =
            |ticks: i64, base: Rational| Times { start: 0, num: base.numerator(), den: base.denominator() }.ns(ticks);
        let duration_ns = match (stream.duration(), input.duration()) {
            (ticks, _) if ticks > 0 => Some(ns(ticks, time_base)),
            (_, ticks) if ticks > 0 => Some(ns(ticks, ffmpeg_next::rescale::TIME_BASE)),
            _ => None,
        };
        Self {
            path: path.into(),
            container: input.format().name().into(),
            codec: decoder.id().name().into(),
            width,
            height,
            mirrored: geometry.orientation.mirrored,
            rotation: geometry.orientation.rotation,
            pixel_aspect: geometry.aspect.to_string(),
            fps: fps(stream),
            frames: declared_frames(input, stream),
            duration_ns,
            pixel_format: decoder.format().descriptor().map_or("unknown", |format| format.name()).into(),
            color: coding.color(),
            primaries: coding.primaries.name(),
            transfer: coding.transfer.name(),
            video_track: videos.iter().position(|index| *index == stream.index()).unwrap_or(0),
            video_tracks: videos.len(),
            audio: sound.and_then(|index| input.stream(index)).map(|stream| stream.parameters().id().name().into()),
            time_base: (time_base.numerator(), time_base.denominator()),
        }
    }

    /// Time between frames in nanoseconds; 1/25 s where the file does not say.
    pub(crate) fn interval(&self) -> i64 {
        if self.fps > 0.0 { (1e9 / self.fps) as i64 } else { 40_000_000 }
    }
}

/// Time stamps of a stream, and nanoseconds since its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// The stream's first time stamp.
    pub start: i64,
    /// Numerator of the unit.
    pub num: i32,
    /// Denominator of the unit.
    pub den: i32,
}

impl Times {
    /// Nanoseconds since the start, rounded to the nearest.
    pub fn ns(self, ticks: i64) -> i64 {
        let (value, den) = (
            (i128::from(ticks) - i128::from(self.start)) * i128::from(self.num) * 1_000_000_000,
            i128::from(self.den.max(1)),
        );
        clamped((value + den / 2).div_euclid(den))
    }

    /// Number of ticks nearest to a length in nanoseconds.
    pub fn length_ticks(self, ns: i64) -> i64 {
        let half = i128::from(self.num.max(1)) * 500_000_000 / i128::from(self.den.max(1));
        Times { start: 0, ..self }.ticks(clamped(i128::from(ns) + half))
    }

    /// The time stamp at or just before so many nanoseconds since the start.
    pub fn ticks(self, ns: i64) -> i64 {
        let unit = i128::from(self.num.max(1)) * 1_000_000_000;
        clamped((i128::from(ns) * i128::from(self.den)).div_euclid(unit) + i128::from(self.start))
    }
}

/// The nearest number that 64 bits hold: stamps and units of a damaged file may be anything.
fn clamped(value: i128) -> i64 {
    value.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

fn fps(stream: &Stream) -> f64 {
    [stream.avg_frame_rate(), stream.rate()]
        .into_iter()
        .find(|rate| rate.numerator() > 0 && rate.denominator() > 0)
        .map_or(0.0, |rate| f64::from(rate.numerator()) / f64::from(rate.denominator()))
}

/// Frames that will be played. An MP4's own count includes what its edit list cuts away; its index does not.
fn declared_frames(input: &format::context::Input, stream: &Stream) -> Option<u64> {
    let declared = u64::try_from(stream.frames()).ok().filter(|frames| *frames > 0)?;
    if !input.format().name().contains("mp4") {
        return Some(declared);
    }
    // SAFETY: the stream belongs to the open input.
    let indexed = unsafe { ffi::avformat_index_get_entries_count(stream.as_ptr()) };
    Some(u64::try_from(indexed).ok().filter(|indexed| *indexed > 0).map_or(declared, |indexed| indexed.min(declared)))
}

#[cfg(test)]
mod tests {
    use super::Times;

    #[test]
    fn time_stamps_are_exact_to_the_nanosecond() {
        let ntsc = Times { start: 1001, num: 1, den: 30_000 };
        assert_eq!(ntsc.ns(1001), 0);
        assert_eq!(ntsc.ns(2002), 33_366_667);
        // Ten hours on, no drift.
        assert_eq!(ntsc.ns(1001 + 30_000 * 36_000), 36_000_000_000_000);
        for ticks in [0, 1, 999, 1001, 5005, 123_456_789] {
            let ns = ntsc.ns(ticks);
            assert!((ntsc.ticks(ns) - ticks).abs() <= 1 && ntsc.ns(ntsc.ticks(ns)) <= ns, "{ticks}");
        }
    }
}
