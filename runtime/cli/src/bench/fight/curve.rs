//! Latency and drops against the rate that frames are offered at.

use serde::Serialize;
use sideline_api::Result;

use super::{
    clip::Clip,
    measure::{Measured, Setting},
    peer::{Python, Threads},
};

/// Frames offered a second.
const RATES: [f64; 9] = [5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0];
/// Seconds for each rate.
const SECONDS: f64 = 10.0;

/// The figures at one rate.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    /// Frames offered a second.
    pub rate: f64,
    /// What was measured.
    #[serde(flatten)]
    pub measured: Measured,
    /// Share dropped, percent.
    pub dropped_percent: f64,
}

/// Ours, and the peer's where it was measured.
#[derive(Debug, Serialize)]
pub struct Curve {
    /// The video.
    pub video: String,
    /// Ours, by rising rate.
    pub ours: Vec<Point>,
    /// The peer's at the same rates; empty without a peer.
    pub peer: Vec<Point>,
}

/// Measures.
///
/// # Errors
/// Those of the runs.
pub fn run(setting: &Setting, python: Option<&Python>, clip: &Clip) -> Result<Curve> {
    let mut curve = Curve { video: clip.name.clone(), ours: vec![], peer: vec![] };
    for rate in RATES {
        let frames = setting.frames.min((rate * SECONDS) as u64);
        let setting = setting.with_frames(frames);
        let paced = clip.at_rate(rate, &setting.folder)?;
        let point = |measured: Measured| Point { rate, dropped_percent: measured.dropped_percent(), measured };
        curve.ours.push(point(setting.ours(&paced.path, Some(rate))?));
        if let Some(python) = python {
            curve.peer.push(point(python.run(&setting, clip, Some(rate), Threads::One)?));
        }
    }
    Ok(curve)
}

impl std::fmt::Display for Curve {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}, live: capture to motion against the offered rate", self.video)?;
        write!(f, "{:>7} {:>8} {:>8} {:>8} {:>8} {:>8}", "offered", "p50 ms", "p95 ms", "p99 ms", "dropped", "fps")?;
        if !self.peer.is_empty() {
            write!(f, "   Python: {:>8} {:>8} {:>8} {:>8}", "p50 ms", "p95 ms", "dropped", "p50 ratio")?;
        }
        for (i, Point { rate, measured, dropped_percent }) in self.ours.iter().enumerate() {
            let Measured { latency_ms: ms, fps, .. } = measured;
            write!(
                f,
                "\n{rate:>7.0} {:>8.1} {:>8.1} {:>8.1} {dropped_percent:>6.1} % {fps:>8.1}",
                ms.p50, ms.p95, ms.p99
            )?;
            if let Some(peer) = self.peer.get(i) {
                let theirs = peer.measured.latency_ms;
                write!(
                    f,
                    "           {:>8.1} {:>8.1} {:>6.1} % {:>8.2}",
                    theirs.p50,
                    theirs.p95,
                    peer.dropped_percent,
                    ms.p50 / theirs.p50
                )?;
            }
        }
        Ok(())
    }
}
