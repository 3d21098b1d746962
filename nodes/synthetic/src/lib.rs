//! `synthetic`: a source that generates a moving test picture. All frames differ, and every run has the same frames.
#![forbid(unsafe_code)]

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sideline_api::{
    Body, CapturedFrame, Color, Config, Encoding, Frame, Mode, Payload, PortType, Resources, Result, Source,
    SourceContext, Spec, StreamName,
};

/// Pixel formats that are generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PixelFormat {
    /// Planar YUV, 4:2:0.
    I420,
    /// Packed red, green, blue.
    Rgb8,
}

impl From<PixelFormat> for Encoding {
    fn from(format: PixelFormat) -> Self {
        match format {
            PixelFormat::I420 => Encoding::I420,
            PixelFormat::Rgb8 => Encoding::Rgb8,
        }
    }
}

/// Generates a moving test picture.
#[derive(Clone, Config)]
pub struct SyntheticConfig {
    /// Frame width, in pixels. Raising it increases the work per frame for all operators.
    #[config(default = 1280, range(16, 8192))]
    pub width: u32,
    /// Frame height, in pixels. Raising it increases the work per frame for all operators.
    #[config(default = 720, range(16, 8192))]
    pub height: u32,
    /// Number of frames; 0 for an endless stream.
    #[config(default = 300)]
    pub frames: u64,
    /// Frame rate of the media time, per second. Raising it shortens the media time between frames.
    #[config(default = 30.0, range(0.1, 1000))]
    pub fps: f64,
    /// Pixel format of the frames.
    #[config(default = "i420")]
    pub encoding: PixelFormat,
    /// Limits the output to `fps` in real time. If not set, it is limited in live mode but not in complete mode.
    #[config(default = None)]
    pub pace: Option<bool>,
    /// Name of the stream; empty for the node's id.
    #[config(default = "")]
    pub stream: String,
}

/// The source `synthetic`; see the documentation of the [crate].
pub struct Synthetic {
    config: SyntheticConfig,
    stream: StreamName,
    /// Diagonal stripes, one period longer than a frame. Each frame is a window that moves along it.
    pattern: Vec<u8>,
    next: u64,
    /// Wall clock at the first frame, in nanoseconds.
    started_at: Option<i64>,
}

/// Period of the pattern, in bytes.
const PERIOD_BYTES: usize = 256;

/// Movement of the pattern from frame to frame, in bytes. It divides the period, and the counter's `step` divides it.
const SHIFT_BYTES: usize = 16;

/// Writes the number of a frame into its first bytes, so that no two frames are equal however long the run is.
///
/// The second byte of the number also fills 4096 further bytes, so that the counter's sum over every 16th byte weighs
/// it 256 times as much as the first byte. The sums of 65,536 successive frames then differ too, if the first plane
/// consists of whole periods.
fn write_frame_number(picture: &mut [u8], i: u64) {
    picture[..8].copy_from_slice(&i.to_le_bytes());
    let end = picture.len().min(8 + 4096);
    picture[8..end].fill((i >> 8) as u8);
}

impl Source for Synthetic {
    type Config = SyntheticConfig;

    fn spec() -> Spec {
        Spec::source("synthetic").output("frames", PortType::Frame)
    }

    fn finite(config: &SyntheticConfig) -> bool {
        config.frames > 0
    }

    fn new(config: SyntheticConfig, resources: &Resources) -> Result<Self> {
        let bytes: usize = Encoding::from(config.encoding)
            .planes(config.width as usize, config.height as usize)
            .iter()
            .map(|(row, rows)| row * rows)
            .sum();
        let pattern = (0..bytes + PERIOD_BYTES).map(|i| ((i % PERIOD_BYTES) / 2 + 64) as u8).collect();
        let stream = if config.stream.is_empty() { resources.node.as_str() } else { config.stream.as_str() }.into();
        Ok(Self { config, stream, pattern, next: 0, started_at: None })
    }

    fn next(&mut self, cx: &SourceContext) -> Result<Option<CapturedFrame>> {
        let SyntheticConfig { width, height, frames, fps, encoding, pace, .. } = self.config;
        if frames > 0 && self.next == frames {
            return Ok(None);
        }
        let i = self.next;
        self.next += 1;
        let pts = (i as f64 * 1e9 / fps).round() as i64;
        let mut captured_at = cx.clock.now();
        if pace.unwrap_or(cx.mode == Mode::Live) {
            let due = *self.started_at.get_or_insert(captured_at) + pts;
            cx.pace(due);
            captured_at = captured_at.max(due);
        }
        let bytes = self.pattern.len() - PERIOD_BYTES;
        let at = (i as usize % PERIOD_BYTES * SHIFT_BYTES) % PERIOD_BYTES;
        let mut picture = self.pattern[at..at + bytes].to_vec();
        write_frame_number(&mut picture, i);
        let frame = Frame::from_packed(width, height, encoding.into(), Color::default_for_height(height), picture)?;
        let body = Body::Data(Payload::Frame(Arc::new(frame)));
        Ok(Some(CapturedFrame { stream: self.stream.clone(), session: 0, pts, captured_at, outputs: vec![body] }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sideline_api::{Values, clock::VirtualClock};

    fn source(values: impl Into<Values>) -> Result<Synthetic> {
        let config = SyntheticConfig::from_values(&values.into()).unwrap();
        Synthetic::new(config, &Resources { clock: Arc::new(VirtualClock::default()), ..Resources::new("camera") })
    }

    fn read_all(mut source: Synthetic) -> Vec<(i64, Vec<u8>)> {
        let cx = SourceContext::new(Mode::Complete, Arc::new(VirtualClock::default()), Arc::default());
        let mut frames = vec![];
        while let Some(captured) = source.next(&cx).unwrap() {
            assert_eq!(&*captured.stream, "camera");
            let Body::Data(Payload::Frame(frame)) = &captured.outputs[0] else { panic!("a frame") };
            frames.push((captured.pts, (**frame).clone().into_packed_mut()));
        }
        frames
    }

    #[test]
    fn frames_differ_and_a_second_run_repeats_them() {
        let run = || read_all(source([("frames", 300), ("width", 32), ("height", 16)]).unwrap());
        let frames = run();
        assert_eq!((frames.len(), frames[30].0), (300, 1_000_000_000));
        let mut pictures: Vec<_> = frames.iter().map(|f| &f.1).collect();
        pictures.sort();
        pictures.dedup();
        assert_eq!(pictures.len(), 300);
        assert_eq!(run(), frames);
    }

    #[test]
    fn checksums_of_the_counter_differ_between_frames() {
        let frames = read_all(source([("frames", 3000), ("width", 128), ("height", 64)]).unwrap());
        let sum = |picture: &[u8]| picture[..128 * 64].iter().step_by(16).map(|byte| u64::from(*byte)).sum::<u64>();
        let mut sums: Vec<u64> = frames.iter().map(|frame| sum(&frame.1)).collect();
        sums.sort_unstable();
        sums.dedup();
        assert_eq!(sums.len(), 3000);
    }

    #[test]
    fn rgb8_is_supported_and_jpeg_is_refused() {
        let frames =
            read_all(source([("frames", "1".into()), ("width", 32.into()), ("encoding", json("rgb8"))]).unwrap());
        assert_eq!(frames[0].1.len(), 32 * 720 * 3);
        let jpeg = Values::from([("encoding", json("jpeg"))]);
        let problems = SyntheticConfig::from_values(&jpeg).err().unwrap();
        assert!(problems[0].message.contains("none of i420, rgb8"));
    }

    fn json(text: &str) -> sideline_api::serde_json::Value {
        text.into()
    }
}
