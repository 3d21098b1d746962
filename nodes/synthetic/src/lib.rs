//! `synthetic`: a source that needs no video. Every frame is another picture, the same ones in every run.
#![forbid(unsafe_code)]

use std::sync::Arc;

use sideline_api::{
    Body, Captured, Color, Config, Encoding, Error, Frame, Mode, Payload, PortType, Resources, Result, Source,
    SourceContext, Spec, StreamName,
};

/// Makes a moving test picture.
#[derive(Clone, Config)]
pub struct SyntheticConfig {
    /// Width in pixels; a larger picture costs more to move.
    #[config(default = 1280, range(16, 8192))]
    pub width: u32,
    /// Height in pixels.
    #[config(default = 720, range(16, 8192))]
    pub height: u32,
    /// Number of frames; 0 goes on without end.
    #[config(default = 300)]
    pub frames: u64,
    /// Frames a second of media time.
    #[config(default = 30.0, range(0.1, 1000))]
    pub fps: f64,
    /// Layout of the pixels: i420 or rgb8.
    #[config(default = "i420")]
    pub encoding: Encoding,
    /// Whether frames come no faster than `fps`. Not set: in live mode they do not, in complete mode they may.
    #[config(default = None)]
    pub pace: Option<bool>,
    /// Name of the stream; empty for the node's id.
    #[config(default = "")]
    pub stream: String,
}

/// See the documentation of the [crate].
pub struct Synthetic {
    config: SyntheticConfig,
    stream: StreamName,
    /// A picture of diagonal stripes, one band wider than a frame: each frame is a window that moves along it.
    pattern: Vec<u8>,
    next: u64,
    began: Option<i64>,
}

/// Period of the pattern in bytes.
const PERIOD: usize = 256;

/// How far the pattern moves from frame to frame, in bytes. It divides the period, and the counter's `step` divides it.
const SHIFT: usize = 16;

/// Writes the number of a frame into its first bytes: no two frames are alike, however long the run.
///
/// The second byte of the number fills 4096 more, so that a sum over every 16th byte (the counter's) weighs it 256
/// times the first: the sums of 65,536 frames in a row differ too, where the first plane holds whole periods.
fn stamp(picture: &mut [u8], i: u64) {
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
        if !matches!(config.encoding, Encoding::I420 | Encoding::Rgb8) {
            return Err(Error::config(format!(
                "key `encoding`: {} is not made here, i420 and rgb8 are",
                config.encoding.name()
            )));
        }
        let bytes: usize = config
            .encoding
            .planes(config.width as usize, config.height as usize)
            .iter()
            .map(|(row, rows)| row * rows)
            .sum();
        let pattern = (0..bytes + PERIOD).map(|i| ((i % PERIOD) / 2 + 64) as u8).collect();
        let stream = if config.stream.is_empty() { resources.node.as_str() } else { config.stream.as_str() }.into();
        Ok(Self { config, stream, pattern, next: 0, began: None })
    }

    fn next(&mut self, cx: &SourceContext) -> Result<Option<Captured>> {
        let SyntheticConfig { width, height, frames, fps, encoding, pace, .. } = self.config;
        if frames > 0 && self.next == frames {
            return Ok(None);
        }
        let i = self.next;
        self.next += 1;
        let pts = (i as f64 * 1e9 / fps).round() as i64;
        let mut captured = cx.clock.now();
        if pace.unwrap_or(cx.mode == Mode::Live) {
            let due = *self.began.get_or_insert(captured) + pts;
            cx.pace(due);
            captured = captured.max(due);
        }
        let bytes = self.pattern.len() - PERIOD;
        let at = (i as usize % PERIOD * SHIFT) % PERIOD;
        let mut picture = self.pattern[at..at + bytes].to_vec();
        stamp(&mut picture, i);
        let frame = Frame::from_packed(width, height, encoding, Color::assumed(height), picture)?;
        let body = Body::Data(Payload::Frame(Arc::new(frame)));
        Ok(Some(Captured { stream: self.stream.clone(), session: 0, pts, captured, outputs: vec![body] }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sideline_api::{Values, clock::VirtualClock, models::Models};

    fn source(values: impl Into<Values>) -> Result<Synthetic> {
        let resources = Resources {
            node: "camera".into(),
            mode: Mode::Complete,
            device: Default::default(),
            run_dir: ".".into(),
            run: "test".into(),
            inputs: vec![],
            outputs: vec![],
            search: vec![],
            models: Arc::new(Models::default()),
            clock: Arc::new(VirtualClock::default()),
        };
        Synthetic::new(SyntheticConfig::from_values(&values.into()).unwrap(), &resources)
    }

    fn all(mut source: Synthetic) -> Vec<(i64, Vec<u8>)> {
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
    fn frames_differ_and_a_second_run_gives_the_same() {
        let make = || all(source([("frames", 300), ("width", 32), ("height", 16)]).unwrap());
        let frames = make();
        assert_eq!((frames.len(), frames[30].0), (300, 1_000_000_000));
        let mut pictures: Vec<_> = frames.iter().map(|f| &f.1).collect();
        pictures.sort();
        pictures.dedup();
        assert_eq!(pictures.len(), 300);
        assert_eq!(make(), frames);
    }

    #[test]
    fn the_counters_checksums_differ() {
        let frames = all(source([("frames", 3000), ("width", 128), ("height", 64)]).unwrap());
        let sum = |picture: &[u8]| picture[..128 * 64].iter().step_by(16).map(|byte| u64::from(*byte)).sum::<u64>();
        let mut sums: Vec<u64> = frames.iter().map(|frame| sum(&frame.1)).collect();
        sums.sort_unstable();
        sums.dedup();
        assert_eq!(sums.len(), 3000);
    }

    #[test]
    fn rgb_is_made_and_jpeg_is_refused() {
        let frames = all(source([("frames", "1".into()), ("width", 32.into()), ("encoding", serde("rgb8"))]).unwrap());
        assert_eq!(frames[0].1.len(), 32 * 720 * 3);
        assert!(source([("encoding", serde("jpeg"))]).is_err());
    }

    fn serde(text: &str) -> sideline_api::serde_json::Value {
        text.into()
    }
}
