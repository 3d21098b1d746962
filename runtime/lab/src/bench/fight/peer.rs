//! Comparison with a peer: the same work in plain Python (tests/peers), on the same clip and machine, one after the
//! other.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use serde::Serialize;
use sideline_api::{Error, Failure, OrFail, Result};

use super::{
    clip::Clip,
    measure::{RunMetrics, RunSetup},
};

/// Frame rate at which latencies are compared, frames per second. Both implementations can sustain it.
const LATENCY_RATE: f64 = 15.0;
/// Maximum relative difference of the number of people per frame: a peer that detects fewer does less work.
const PEOPLE_TOLERANCE: f64 = 0.1;

/// Python interpreter and script of the peer.
pub struct PythonPeer {
    python: PathBuf,
    script: PathBuf,
}

impl PythonPeer {
    /// Finds the script, and a Python with its packages.
    ///
    /// # Errors
    /// `Config` when one is missing.
    pub fn find(setup: &RunSetup) -> Result<Self> {
        let script = setup.home.join("tests/peers/fight.py");
        if !script.is_file() {
            return Err(Error::config(format!(
                "{} is missing; the peer runs from a checkout of the repository",
                script.display()
            )));
        }
        let remedy = "`cargo xtask bench fight` installs what it needs";
        let python = setup.home.join(".venv/bin/python");
        let probe = Command::new(&python)
            .args(["-c", "import cv2, numpy, onnxruntime, scipy"])
            .stdin(Stdio::null())
            .output()
            .or_fail(Failure::Config, || format!("{} cannot be started; {remedy}", python.display()))?;
        if !probe.status.success() {
            let text = String::from_utf8_lossy(&probe.stderr);
            let last = text.lines().last().unwrap_or_default();
            return Err(Error::config(format!("{}: {last}; {remedy}", python.display())));
        }
        Ok(PythonPeer { python, script })
    }

    /// Runs the peer with frames offered at a rate, or on every frame as fast as possible; `threads` is that of ONNX
    /// Runtime.
    ///
    /// # Errors
    /// The peer fails; the message is its last line.
    pub fn run(&self, setup: &RunSetup, clip: &Clip, rate: Option<f64>, threads: OnnxThreads) -> Result<RunMetrics> {
        let out = setup.folder.join("peer");
        let mut command = Command::new(&self.python);
        command.arg(&self.script).arg(&clip.path).arg("--output").arg(&out);
        command.arg("--models").arg(setup.home.join("models/onnx"));
        command.args(["--frames", &setup.frames.to_string(), "--intra-op", threads.argument()]);
        if let Some(rate) = rate {
            command.args(["--rate", &rate.to_string()]);
        }
        let output = command.stdin(Stdio::null()).output().or_fail(Failure::Other, || "the peer")?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(Error::other(format!("the peer failed: {}", text.trim().lines().last().unwrap_or_default())));
        }
        serde_json::from_slice(&output.stdout).or_fail(Failure::Other, || "the output of the peer")
    }
}

/// Threads of ONNX Runtime for one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnnxThreads {
    /// One thread.
    One,
    /// Default of ONNX Runtime: one thread per core, which spin while they wait.
    Default,
}

impl OnnxThreads {
    fn argument(self) -> &'static str {
        match self {
            OnnxThreads::One => "1",
            OnnxThreads::Default => "0",
        }
    }

    fn description(self) -> &'static str {
        match self {
            OnnxThreads::One => "one thread per model",
            OnnxThreads::Default => "one thread per core",
        }
    }
}

/// Sideline and the peer on one video.
#[derive(Debug, Serialize)]
pub struct PeerComparison {
    /// Name of the video.
    video: String,
    /// Sideline on every frame, as fast as possible.
    ours: RunMetrics,
    /// The peer on every frame, with the faster of its two thread settings.
    peer: RunMetrics,
    /// Thread setting of `peer`.
    peer_threads: OnnxThreads,
    /// Throughput of the peer with its other thread setting, frames per second.
    peer_other_fps: f64,
    /// Throughput of Sideline divided by that of the peer.
    fps_ratio: f64,
    /// Offered frame rate of the latency measurements, frames per second.
    rate: f64,
    /// Sideline at that rate.
    ours_live: RunMetrics,
    /// The peer at that rate.
    peer_live: RunMetrics,
    /// Median latency of Sideline divided by that of the peer.
    latency_ratio: f64,
    /// 95th percentile of the latency of Sideline divided by that of the peer.
    latency_p95_ratio: f64,
}

/// Measures Sideline and the peer.
///
/// # Errors
/// A run fails, or the peer does not do the same work.
pub fn compare(setup: &RunSetup, python: &PythonPeer, clip: &Clip) -> Result<PeerComparison> {
    let ours = setup.run_flow(&clip.path, None)?;
    let one = python.run(setup, clip, None, OnnxThreads::One)?;
    let default = python.run(setup, clip, None, OnnxThreads::Default)?;
    let (peer, peer_threads, other) =
        if one.fps >= default.fps { (one, OnnxThreads::One, default) } else { (default, OnnxThreads::Default, one) };
    check_same_work(&ours, &peer)?;
    let paced = clip.at_rate(LATENCY_RATE, &setup.folder)?;
    let ours_live = setup.run_flow(&paced.path, Some(LATENCY_RATE))?;
    let peer_live = python.run(setup, clip, Some(LATENCY_RATE), peer_threads)?;
    Ok(PeerComparison {
        video: clip.name.clone(),
        fps_ratio: ours.fps / peer.fps,
        latency_ratio: ours_live.latency_ms.p50 / peer_live.latency_ms.p50,
        latency_p95_ratio: ours_live.latency_ms.p95 / peer_live.latency_ms.p95,
        ours,
        peer,
        peer_threads,
        peer_other_fps: other.fps,
        rate: LATENCY_RATE,
        ours_live,
        peer_live,
    })
}

/// # Errors
/// One of them detects notably fewer people, or processed fewer frames.
fn check_same_work(ours: &RunMetrics, peer: &RunMetrics) -> Result<()> {
    let (a, b) = (ours.people(), peer.people());
    if ours.handled.abs_diff(peer.handled) > 1 || (a - b).abs() > PEOPLE_TOLERANCE * a.max(b) {
        return Err(Error::other(format!(
            "the peer does not do the same work: it processed {} frames with {b:.2} people each, Sideline {} with {a:.2}; the speeds are not comparable",
            peer.handled, ours.handled
        )));
    }
    Ok(())
}

impl std::fmt::Display for PeerComparison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}, compared with plain Python ({})", self.video, self.peer_threads.description())?;
        writeln!(f, "{:<32} {:>9} {:>9} {:>7} {:>9}", "", "Sideline", "Python", "ratio", "goal")?;
        let PeerComparison { ours, peer, ours_live, peer_live, rate, .. } = self;
        let mut row = |name: &str, ours: f64, peer: f64, goal: &str| {
            writeln!(f, "{name:<32} {ours:>9.1} {peer:>9.1} {:>7.2} {goal:>9}", ours / peer)
        };
        row("frames per second, every frame", ours.fps, peer.fps, ">= 2")?;
        row("  CPU per frame, ms", ours.cpu_ms(), peer.cpu_ms(), "")?;
        row("  people per frame", ours.people(), peer.people(), "")?;
        row("  memory, MB", ours.peak_bytes as f64 * 1e-6, peer.peak_bytes as f64 * 1e-6, "")?;
        row(&format!("latency p50 at {rate:.0} fps, ms"), ours_live.latency_ms.p50, peer_live.latency_ms.p50, "< 0.5")?;
        row("        p95", ours_live.latency_ms.p95, peer_live.latency_ms.p95, "< 0.5")?;
        row("        p99", ours_live.latency_ms.p99, peer_live.latency_ms.p99, "")?;
        let other = match self.peer_threads {
            OnnxThreads::One => OnnxThreads::Default,
            OnnxThreads::Default => OnnxThreads::One,
        };
        write!(
            f,
            "the peer with {}: {:.1} fps; dropped at {rate:.0} fps: {:.1} and {:.1} %",
            other.description(),
            self.peer_other_fps,
            ours_live.dropped_percent(),
            peer_live.dropped_percent()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_does_less_work_is_refused() {
        let metrics = |handled, poses| RunMetrics {
            offered: handled,
            handled,
            fps: 50.0,
            latency_ms: Default::default(),
            cpu_s: 1.0,
            peak_bytes: 1,
            poses,
        };
        assert!(check_same_work(&metrics(100, 200), &metrics(100, 195)).is_ok());
        let error = check_same_work(&metrics(100, 200), &metrics(100, 150)).unwrap_err();
        assert!(error.message.contains("1.50 people each, Sideline 100 with 2.00"), "{error}");
        assert!(check_same_work(&metrics(100, 200), &metrics(60, 120)).is_err());
    }
}
