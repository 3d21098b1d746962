//! Latency and dropped frames at increasing frame rates.

use serde::Serialize;
use sideline_api::Result;

use super::{
    clip::Clip,
    measure::{RunMetrics, RunSetup},
    peer::{OnnxThreads, PythonPeer},
};

/// Offered frame rates, frames per second.
const OFFERED_RATES: [f64; 9] = [5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0];
/// Duration of the measurement at each rate, s.
const SECONDS_PER_RATE: f64 = 10.0;

/// Result at one frame rate.
#[derive(Clone, Debug, Serialize)]
pub struct CurvePoint {
    /// Offered frame rate, frames per second.
    pub rate: f64,
    /// Metrics of the run.
    #[serde(flatten)]
    pub metrics: RunMetrics,
    /// Share of dropped frames, percent.
    pub dropped_percent: f64,
}

/// Latency curve of Sideline, and of the peer where it was measured.
#[derive(Debug, Serialize)]
pub struct LatencyCurve {
    /// Name of the video.
    pub video: String,
    /// Points of Sideline, by rising rate.
    pub ours: Vec<CurvePoint>,
    /// Points of the peer at the same rates; empty without a peer.
    pub peer: Vec<CurvePoint>,
}

/// Measures the curve.
///
/// # Errors
/// A run fails.
pub fn run(setup: &RunSetup, python: Option<&PythonPeer>, clip: &Clip) -> Result<LatencyCurve> {
    let mut curve = LatencyCurve { video: clip.name.clone(), ours: vec![], peer: vec![] };
    for rate in OFFERED_RATES {
        let frames = setup.frames.min((rate * SECONDS_PER_RATE) as u64);
        let setup = setup.with_frames(frames);
        let paced = clip.at_rate(rate, &setup.folder)?;
        let point = |metrics: RunMetrics| CurvePoint { rate, dropped_percent: metrics.dropped_percent(), metrics };
        curve.ours.push(point(setup.run_flow(&paced.path, Some(rate))?));
        if let Some(python) = python {
            curve.peer.push(point(python.run(&setup, clip, Some(rate), OnnxThreads::One)?));
        }
    }
    Ok(curve)
}

impl std::fmt::Display for LatencyCurve {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}, live: latency from capture to motion at each offered frame rate", self.video)?;
        write!(f, "{:>7} {:>8} {:>8} {:>8} {:>8} {:>8}", "offered", "p50 ms", "p95 ms", "p99 ms", "dropped", "fps")?;
        if !self.peer.is_empty() {
            write!(f, "   Python: {:>8} {:>8} {:>8} {:>8}", "p50 ms", "p95 ms", "dropped", "p50 ratio")?;
        }
        for (i, CurvePoint { rate, metrics, dropped_percent }) in self.ours.iter().enumerate() {
            let RunMetrics { latency_ms: ms, fps, .. } = metrics;
            write!(
                f,
                "\n{rate:>7.0} {:>8.1} {:>8.1} {:>8.1} {dropped_percent:>6.1} % {fps:>8.1}",
                ms.p50, ms.p95, ms.p99
            )?;
            if let Some(peer) = self.peer.get(i) {
                let peer_ms = peer.metrics.latency_ms;
                write!(
                    f,
                    "           {:>8.1} {:>8.1} {:>6.1} % {:>8.2}",
                    peer_ms.p50,
                    peer_ms.p95,
                    peer.dropped_percent,
                    ms.p50 / peer_ms.p50
                )?;
            }
        }
        Ok(())
    }
}
