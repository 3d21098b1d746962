//! `sideline-lab bench preprocess`: time to sample a 256x256 model tensor from a rotated crop of planes, compared with the
//! two-step method: whole frame to RGB, then warp to floats.

mod work;

use std::time::Instant;

use serde::Serialize;
use sideline_api::Result;

use super::Percentiles;
use work::Preprocess;

/// Result of `sideline-lab bench preprocess`.
#[derive(Debug, Serialize)]
pub struct PreprocessCost {
    /// Sampling directly from the planes.
    pub sampled_us: Percentiles,
    /// Two-step method.
    pub plain_us: Percentiles,
    /// Median of the direct sampling divided by that of the two-step method.
    pub ratio: f64,
}

/// Measures both methods alternately.
///
/// # Errors
/// Never expected: the frame has the size that it declares.
pub fn run() -> Result<PreprocessCost> {
    let mut work = Preprocess::new()?;
    let (mut direct_times, mut two_step_times) = (Vec::new(), Vec::new());
    for _ in 0..300 {
        let start = Instant::now();
        work.run_sampler()?;
        direct_times.push(start.elapsed().as_nanos() as u64);
        let start = Instant::now();
        work.run_full_frame()?;
        two_step_times.push(start.elapsed().as_nanos() as u64);
    }
    let (sampled_us, plain_us) =
        (Percentiles::us_from_ns(&mut direct_times), Percentiles::us_from_ns(&mut two_step_times));
    Ok(PreprocessCost { sampled_us, plain_us, ratio: sampled_us.p50 / plain_us.p50 })
}

impl std::fmt::Display for PreprocessCost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{:<38} {:>8} {:>8}", "1080p to 256x256, rotated crop, µs", "p50", "p99")?;
        writeln!(f, "{:<38} {:>8.0} {:>8.0}", "directly from the planes", self.sampled_us.p50, self.sampled_us.p99)?;
        writeln!(f, "{:<38} {:>8.0} {:>8.0}", "to RGB, then warp to floats", self.plain_us.p50, self.plain_us.p99)?;
        write!(f, "ratio of medians {:.3}", self.ratio)
    }
}
