//! Properties that a source declares, known before anything is decoded.

use ffmpeg_next::{Rational, Stream, codec, ffi, format};
use serde::Serialize;
use sideline_api::Color;

use crate::{color::ColorDescription, geometry::DeclaredGeometry, tracks};

/// Declared properties of a source. Capture writes them to the run folder.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MediaInfo {
    /// Path or address of the source.
    pub path: String,
    /// Container, FFmpeg's name: `mov,mp4,m4a,3gp,3g2,mj2`.
    pub container: String,
    /// Video codec: `h264`.
    pub codec: String,
    /// Width of an upright frame in square pixels, before it is scaled down.
    pub width: u32,
    /// Height of an upright frame in square pixels, before it is scaled down.
    pub height: u32,
    /// True if pictures are mirrored left to right before they are rotated.
    pub mirrored: bool,
    /// Clockwise rotation that makes pictures upright, degrees: 0, 90, 180 or 270.
    pub rotation: u16,
    /// Sample aspect ratio of the stored pictures, width to height: `64:45`; `1:1` stands for square pixels.
    pub pixel_aspect: String,
    /// Frames per second, the mean over the file; 0 if not declared.
    pub fps: f64,
    /// Number of frames that the file's index declares, if it has one.
    pub frames: Option<u64>,
    /// Duration of the video, ns, declared or estimated.
    pub duration_ns: Option<i64>,
    /// Pixel format of the decoder, FFmpeg's name: `yuv420p`. Frames of Sideline are i420 or nv12.
    pub pixel_format: String,
    /// Matrix and range of the pixel values; assumed if not declared.
    pub color: Color,
    /// Color primaries, FFmpeg's name: `bt709`; `None` if not declared. They are not converted.
    pub primaries: Option<&'static str>,
    /// Transfer characteristic, FFmpeg's name: `bt709`; `None` if not declared. It is not converted.
    pub transfer: Option<&'static str>,
    /// Number of video tracks; cover pictures do not count.
    pub video_tracks: usize,
    /// Index of the video track that is read, from 0.
    pub video_track: usize,
    /// Audio codec, if there is audio: `aac`.
    pub audio: Option<String>,
    /// Unit of the timestamps, seconds: numerator and denominator.
    pub time_base: (i32, i32),
}

impl MediaInfo {
    pub(crate) fn read(
        path: &str,
        input: &format::context::Input,
        stream: &Stream,
        decoder: &codec::decoder::Video,
        declared: &DeclaredGeometry,
        audio: Option<usize>,
    ) -> Self {
        let geometry = declared.geometry();
        let (width, height) = geometry.display_size(decoder.width(), decoder.height());
        let coding = ColorDescription::from_decoder(decoder);
        let videos = tracks::video_tracks(input);
        let time_base = stream.time_base();
        let ns = |ticks: i64, base: Rational| {
            Timebase { start: 0, num: base.numerator(), den: base.denominator() }.to_ns(ticks)
        };
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
            audio: audio.and_then(|index| input.stream(index)).map(|stream| stream.parameters().id().name().into()),
            time_base: (time_base.numerator(), time_base.denominator()),
        }
    }

    /// Returns the frame interval, ns; 1/25 s if no rate is declared.
    pub(crate) fn interval_ns(&self) -> i64 {
        if self.fps > 0.0 { (1e9 / self.fps) as i64 } else { 40_000_000 }
    }
}

/// Conversion between the timestamps of a stream and nanoseconds since its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timebase {
    /// Timestamp of the start.
    pub start: i64,
    /// Numerator of the timestamp unit, s.
    pub num: i32,
    /// Denominator of the timestamp unit, s.
    pub den: i32,
}

impl Timebase {
    /// Returns the time of a timestamp since the start, ns, rounded to nearest.
    pub fn to_ns(self, ticks: i64) -> i64 {
        let (value, den) = (
            (i128::from(ticks) - i128::from(self.start)) * i128::from(self.num) * 1_000_000_000,
            i128::from(self.den.max(1)),
        );
        clamp_to_i64((value + den / 2).div_euclid(den))
    }

    /// Returns the number of ticks nearest to a duration, ns.
    pub fn duration_to_ticks(self, ns: i64) -> i64 {
        let half = i128::from(self.num.max(1)) * 500_000_000 / i128::from(self.den.max(1));
        Timebase { start: 0, ..self }.to_ticks(clamp_to_i64(i128::from(ns) + half))
    }

    /// Returns the timestamp at or just before a time since the start, ns.
    pub fn to_ticks(self, ns: i64) -> i64 {
        let unit = i128::from(self.num.max(1)) * 1_000_000_000;
        clamp_to_i64((i128::from(ns) * i128::from(self.den)).div_euclid(unit) + i128::from(self.start))
    }
}

/// Clamps to 64 bits: timestamps and units of a damaged file may have any value.
fn clamp_to_i64(value: i128) -> i64 {
    value.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

fn fps(stream: &Stream) -> f64 {
    [stream.avg_frame_rate(), stream.rate()]
        .into_iter()
        .find(|rate| rate.numerator() > 0 && rate.denominator() > 0)
        .map_or(0.0, |rate| f64::from(rate.numerator()) / f64::from(rate.denominator()))
}

/// Returns the declared number of frames to be shown. The count in an MP4 includes frames hidden by its edit list; the index
/// does not.
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
    use super::Timebase;

    #[test]
    fn timestamps_convert_without_drift() {
        let ntsc = Timebase { start: 1001, num: 1, den: 30_000 };
        assert_eq!(ntsc.to_ns(1001), 0);
        assert_eq!(ntsc.to_ns(2002), 33_366_667);
        // Ten hours later.
        assert_eq!(ntsc.to_ns(1001 + 30_000 * 36_000), 36_000_000_000_000);
        for ticks in [0, 1, 999, 1001, 5005, 123_456_789] {
            let ns = ntsc.to_ns(ticks);
            assert!((ntsc.to_ticks(ns) - ticks).abs() <= 1 && ntsc.to_ns(ntsc.to_ticks(ns)) <= ns, "{ticks}");
        }
    }
}
