//! The same work the plain Python way (tests/peers), on the same clip and machine, one after the other.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use serde::Serialize;
use sideline_api::{Error, Failure, OrFail, Result};

use super::{
    clip::Clip,
    measure::{Measured, Setting},
};

/// Frames a second at which latencies are compared: both keep it.
const RATE: f64 = 15.0;
/// People in a frame may differ by this share: a peer that sees fewer does less work and is none.
const ALIKE: f64 = 0.1;

/// The peer's program.
pub struct Python {
    python: PathBuf,
    script: PathBuf,
}

impl Python {
    /// Looks for the script, and for a Python that has its packages.
    ///
    /// # Errors
    /// `Config` when one is not there.
    pub fn find(setting: &Setting) -> Result<Self> {
        let script = setting.home.join("tests/peers/fight.py");
        if !script.is_file() {
            return Err(Error::config(format!("{} is missing: the peer is run from the repository", script.display())));
        }
        let mend = "`cargo xtask bench fight` installs what it needs";
        let python = setting.home.join(".venv/bin/python");
        let tried = Command::new(&python)
            .args(["-c", "import cv2, numpy, onnxruntime, scipy"])
            .stdin(Stdio::null())
            .output()
            .or_fail(Failure::Config, || format!("{} cannot be started; {mend}", python.display()))?;
        if !tried.status.success() {
            let text = String::from_utf8_lossy(&tried.stderr);
            let last = text.lines().last().unwrap_or_default();
            return Err(Error::config(format!("{}: {last}; {mend}", python.display())));
        }
        Ok(Python { python, script })
    }

    /// Runs the peer: frames offered at a rate, or every frame as fast as it goes; with so many threads in ONNX Runtime.
    ///
    /// # Errors
    /// Those of the peer, with its last words.
    pub fn run(&self, setting: &Setting, clip: &Clip, rate: Option<f64>, threads: Threads) -> Result<Measured> {
        let out = setting.folder.join("peer");
        let mut command = Command::new(&self.python);
        command.arg(&self.script).arg(&clip.path).arg("--output").arg(&out);
        command.arg("--models").arg(setting.home.join("models/onnx"));
        command.args(["--frames", &setting.frames.to_string(), "--intra-op", threads.argument()]);
        if let Some(rate) = rate {
            command.args(["--rate", &rate.to_string()]);
        }
        let output = command.stdin(Stdio::null()).output().or_fail(Failure::Other, || "the peer")?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(Error::other(format!("the peer failed: {}", text.trim().lines().last().unwrap_or_default())));
        }
        serde_json::from_slice(&output.stdout).or_fail(Failure::Other, || "what the peer printed")
    }
}

/// How ONNX Runtime may use the cores for one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Threads {
    /// One thread.
    One,
    /// ONNX Runtime's own default: a thread for each core, which spin while they wait.
    Default,
}

impl Threads {
    fn argument(self) -> &'static str {
        match self {
            Threads::One => "1",
            Threads::Default => "0",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Threads::One => "one thread a model",
            Threads::Default => "a thread a core",
        }
    }
}

/// Ours and the peer on one video.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// The video.
    video: String,
    /// Every frame, as fast as it goes.
    ours: Measured,
    /// The same by the peer, in the better of its two ways.
    peer: Measured,
    /// Which way that is.
    peer_threads: Threads,
    /// Frames a second of the peer in its other way.
    peer_other_fps: f64,
    /// Frames a second, ours / peer.
    fps_ratio: f64,
    /// Frames a second offered to both for the latencies.
    rate: f64,
    /// Ours at that rate.
    ours_live: Measured,
    /// The peer at that rate.
    peer_live: Measured,
    /// Median latency, ours / peer.
    latency_ratio: f64,
    /// 95th percentile of latency, ours / peer.
    latency_p95_ratio: f64,
}

/// Measures both.
///
/// # Errors
/// Those of the runs, and when the peer does not do the same work.
pub fn compare(setting: &Setting, python: &Python, clip: &Clip) -> Result<Comparison> {
    let ours = setting.ours(&clip.path, None)?;
    let one = python.run(setting, clip, None, Threads::One)?;
    let default = python.run(setting, clip, None, Threads::Default)?;
    let (peer, peer_threads, other) =
        if one.fps >= default.fps { (one, Threads::One, default) } else { (default, Threads::Default, one) };
    same_work(&ours, &peer)?;
    let paced = clip.at_rate(RATE, &setting.folder)?;
    let ours_live = setting.ours(&paced.path, Some(RATE))?;
    let peer_live = python.run(setting, clip, Some(RATE), peer_threads)?;
    Ok(Comparison {
        video: clip.name.clone(),
        fps_ratio: ours.fps / peer.fps,
        latency_ratio: ours_live.latency_ms.p50 / peer_live.latency_ms.p50,
        latency_p95_ratio: ours_live.latency_ms.p95 / peer_live.latency_ms.p95,
        ours,
        peer,
        peer_threads,
        peer_other_fps: other.fps,
        rate: RATE,
        ours_live,
        peer_live,
    })
}

/// # Errors
/// When one of them sees notably fewer people, or handled fewer frames.
fn same_work(ours: &Measured, peer: &Measured) -> Result<()> {
    let (a, b) = (ours.people(), peer.people());
    if ours.handled.abs_diff(peer.handled) > 1 || (a - b).abs() > ALIKE * a.max(b) {
        return Err(Error::other(format!(
            "the peer does other work: {} frames with {b:.2} people each, ours {} with {a:.2}; their speeds cannot be compared",
            peer.handled, ours.handled
        )));
    }
    Ok(())
}

impl std::fmt::Display for Comparison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}, beside the plain Python way ({})", self.video, self.peer_threads.words())?;
        writeln!(f, "{:<32} {:>9} {:>9} {:>7} {:>9}", "", "ours", "Python", "ratio", "goal")?;
        let Comparison { ours, peer, ours_live, peer_live, rate, .. } = self;
        let mut row = |what: &str, ours: f64, peer: f64, goal: &str| {
            writeln!(f, "{what:<32} {ours:>9.1} {peer:>9.1} {:>7.2} {goal:>9}", ours / peer)
        };
        row("frames a second, every frame", ours.fps, peer.fps, ">= 2")?;
        row("  CPU a frame, ms", ours.cpu_ms(), peer.cpu_ms(), "")?;
        row("  people a frame", ours.people(), peer.people(), "")?;
        row("  memory, MB", ours.peak_bytes as f64 * 1e-6, peer.peak_bytes as f64 * 1e-6, "")?;
        row(&format!("latency p50 at {rate:.0} fps, ms"), ours_live.latency_ms.p50, peer_live.latency_ms.p50, "< 0.5")?;
        row("        p95", ours_live.latency_ms.p95, peer_live.latency_ms.p95, "< 0.5")?;
        row("        p99", ours_live.latency_ms.p99, peer_live.latency_ms.p99, "")?;
        let other = match self.peer_threads {
            Threads::One => Threads::Default,
            Threads::Default => Threads::One,
        };
        write!(
            f,
            "the peer with {}: {:.1} fps; dropped at {rate:.0} fps: {:.1} and {:.1} %",
            other.words(),
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
    fn a_peer_that_does_less_is_none() {
        let measured = |handled, poses| Measured {
            offered: handled,
            handled,
            fps: 50.0,
            latency_ms: Default::default(),
            cpu_s: 1.0,
            peak_bytes: 1,
            poses,
        };
        assert!(same_work(&measured(100, 200), &measured(100, 195)).is_ok());
        let error = same_work(&measured(100, 200), &measured(100, 150)).unwrap_err();
        assert!(error.message.contains("1.50 people each, ours 100 with 2.00"), "{error}");
        assert!(same_work(&measured(100, 200), &measured(60, 120)).is_err());
    }
}
