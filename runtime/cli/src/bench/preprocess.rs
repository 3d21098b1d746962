//! Planes to a 256x256 model tensor through a turned crop, beside the plain way: whole frame to RGB, warp, to floats.

use std::time::Instant;

use serde::Serialize;
use sideline_api::Result;

use super::Spread;

/// The figures.
#[derive(Debug, Serialize)]
pub struct PreprocessCost {
    /// Straight from the planes.
    pub sampled_us: Spread,
    /// The plain way.
    pub plain_us: Spread,
    /// Medians, ours / plain.
    pub ratio: f64,
}

/// Measures both in turn.
///
/// # Errors
/// In a build without models.
#[cfg(feature = "onnx")]
pub fn run() -> Result<PreprocessCost> {
    let mut work = sideline_inference::bench::Preprocess::new()?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..300 {
        let began = Instant::now();
        work.run_fast()?;
        ours.push(began.elapsed().as_nanos() as u64);
        let began = Instant::now();
        work.run_plain()?;
        theirs.push(began.elapsed().as_nanos() as u64);
    }
    let (sampled_us, plain_us) = (Spread::us(&mut ours), Spread::us(&mut theirs));
    Ok(PreprocessCost { sampled_us, plain_us, ratio: sampled_us.p50 / plain_us.p50 })
}

/// Without models there is nothing to prepare for.
///
/// # Errors
/// Always.
#[cfg(not(feature = "onnx"))]
pub fn run() -> Result<PreprocessCost> {
    let _ = (Instant::now, Spread::us);
    Err(sideline_api::Error::config("this build has no models: build with the feature `onnx`"))
}

impl std::fmt::Display for PreprocessCost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "1080p to 256x256, turned, microseconds {:>8} {:>8}", "p50", "p99")?;
        writeln!(f, "{:<38} {:>8.0} {:>8.0}", "straight from the planes", self.sampled_us.p50, self.sampled_us.p99)?;
        writeln!(f, "{:<38} {:>8.0} {:>8.0}", "to RGB, warp, to floats", self.plain_us.p50, self.plain_us.p99)?;
        write!(f, "ratio of medians {:.3}", self.ratio)
    }
}
