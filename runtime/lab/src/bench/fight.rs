//! `sideline-lab bench fight`: each stage of fight.yml compared with its budget, the whole flow compared with plain Python,
//! latency at increasing frame rates, and several streams at once.
//!
//! Every measurement runs in a process of its own, so that memory and processor time are those of that run alone.

pub(super) mod clip;
mod curve;
mod measure;
mod peer;
mod plot;
mod stages;
mod streams;

use std::path::{Path, PathBuf};

use serde::Serialize;
use sideline::program::{errln, load_models};
use sideline_api::{Failure, OrFail, Result};

use clip::Clip;
use measure::RunSetup;

/// Options of `sideline-lab bench fight`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Video; by default the demo clip, lengthened, at 720p and at 1080p.
    #[arg(long)]
    input: Option<PathBuf>,
    /// Flow; by default dataflows/fight.yml, and for the comparison with the peer tests/peers/fight.yml, which does no
    /// more work than the peer.
    #[arg(long)]
    flow: Option<PathBuf>,
    /// Measure only each stage, live, compared with its budget. Can be combined with the other parts.
    #[arg(long)]
    stages: bool,
    /// Measure only the plain Python peer of tests/peers on the same clip. Can be combined with the other parts.
    #[arg(long)]
    peer: bool,
    /// Measure only latency and drops at 5 to 60 frames offered per second. Can be combined with the other parts.
    #[arg(long)]
    curve: bool,
    /// Measure only several streams at once, as `4` or `1..4`. Can be combined with the other parts.
    #[arg(long, value_name = "N|A..B", value_parser = streams::parse_range)]
    streams: Option<(usize, usize)>,
    /// Draw the latency curve to this SVG file.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Maximum number of frames of each measurement: fewer are faster and noisier.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(2..))]
    frames: u64,
    /// Print as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Results; parts that were not requested are absent.
#[derive(Debug, Serialize)]
pub struct FightBench {
    /// Stages, by video.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stages: Vec<stages::StageReport>,
    /// Comparison with the peer, by video.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    peer: Vec<peer::PeerComparison>,
    /// Latency at each offered frame rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    curve: Option<curve::LatencyCurve>,
    /// Results with one and more streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    streams: Option<streams::StreamScaling>,
    /// Reason why the peer was not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    no_peer: Option<String>,
}

/// Runs the requested measurements.
///
/// # Errors
/// A run cannot be started or fails. Missing packages of the peer are an error only with `--peer`.
pub fn run(options: &Options) -> Result<FightBench> {
    super::in_temporary_folder("fight", |folder| run_all(options, folder))
}

fn run_all(options: &Options, folder: &Path) -> Result<FightBench> {
    let models = load_models(options.flow.as_deref().unwrap_or(Path::new(".")));
    let flow = options.flow.clone().unwrap_or_else(|| models.home().join("dataflows/fight.yml"));
    let setup = RunSetup::new(&flow, models.home(), folder, options.frames)?;
    let peer_flow = options.flow.clone().unwrap_or_else(|| models.home().join("tests/peers/fight.yml"));
    let peer_setup = RunSetup::new(&peer_flow, models.home(), folder, options.frames)?;
    let clips = match &options.input {
        Some(input) => vec![Clip::open(input)?],
        None => Clip::from_demo(&models, folder, options.frames)?,
    };
    // One clip of normal size for the long measurements.
    let clip = &clips[0];
    let (stages, curve) = (options.stages, options.curve || options.plot.is_some());
    let all = !(stages || options.peer || curve || options.streams.is_some());
    let (python, no_peer) = match peer::PythonPeer::find(&setup) {
        Ok(python) => (Some(python), None),
        Err(error) if options.peer => return Err(error),
        Err(error) => (None, (all || curve).then(|| error.to_string())),
    };
    let report = |part: &str| errln!("measuring {part}");
    let mut results = FightBench { stages: vec![], peer: vec![], curve: None, streams: None, no_peer };
    if stages || all {
        report("each stage, live");
        results.stages = clips.iter().map(|clip| stages::run(&setup, clip)).collect::<Result<_>>()?;
    }
    if let Some(python) = python.as_ref().filter(|_| options.peer || all) {
        report("the peer");
        results.peer = clips.iter().map(|clip| peer::compare(&peer_setup, python, clip)).collect::<Result<_>>()?;
    }
    if curve || all {
        report("latency at increasing frame rates");
        let curve = curve::run(&peer_setup, python.as_ref(), clip)?;
        if let Some(path) = &options.plot {
            std::fs::write(path, plot::latency_svg(&curve)).or_fail(Failure::Output, || path.display().to_string())?;
        }
        results.curve = Some(curve);
    }
    if let Some(range) = options.streams.or(all.then_some((1, 4))) {
        report("several streams");
        results.streams = Some(streams::run(&setup, clip, range)?);
    }
    Ok(results)
}

impl std::fmt::Display for FightBench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut texts: Vec<String> = self.stages.iter().map(ToString::to_string).collect();
        texts.extend(self.peer.iter().map(ToString::to_string));
        texts.extend(self.curve.as_ref().map(ToString::to_string));
        texts.extend(self.streams.as_ref().map(ToString::to_string));
        texts.extend(self.no_peer.as_ref().map(|reason| format!("the peer was not measured: {reason}")));
        f.write_str(&texts.join("\n\n"))
    }
}
