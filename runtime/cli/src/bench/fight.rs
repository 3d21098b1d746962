//! fight.yml: each stage beside its budget, the whole beside the plain Python way, latency against the rate that frames are
//! offered at, and several streams at once.
//!
//! Every measurement is a process of its own, so that memory and processor time are those of that run alone.

pub(super) mod clip;
mod curve;
mod measure;
mod peer;
mod plot;
mod stages;
mod streams;

use std::path::{Path, PathBuf};

use serde::Serialize;
use sideline_api::{Failure, OrFail, Result};

use crate::house;
use clip::Clip;
use measure::Setting;

/// What to measure, and on what.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The video; by default the demo's clip, lengthened, at 720p and at 1080p.
    #[arg(long)]
    input: Option<PathBuf>,
    /// The flow; by default dataflows/fight.yml, and beside the peer tests/peers/fight.yml, which does no more than it.
    #[arg(long)]
    flow: Option<PathBuf>,
    /// Only this, and what else is named: each stage, live, beside its budget.
    #[arg(long)]
    stages: bool,
    /// Only this, and what else is named: the plain Python way of tests/peers on the same clip.
    #[arg(long)]
    peer: bool,
    /// Only this, and what else is named: latency and drops with 5 to 60 frames offered a second.
    #[arg(long)]
    curve: bool,
    /// Only this, and what else is named: so many streams at once, as `4` or `1..4`.
    #[arg(long, value_name = "N|A..B", value_parser = streams::range)]
    streams: Option<(usize, usize)>,
    /// Draw the curve as a picture (SVG).
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Most frames of each measurement: fewer are quicker and noisier.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(2..))]
    frames: u64,
    /// Print as JSON.
    #[arg(long)]
    pub json: bool,
}

/// The figures; what was not asked for is absent.
#[derive(Debug, Serialize)]
pub struct Fights {
    /// Each video's stages.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stages: Vec<stages::Stages>,
    /// Ours and the peer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    peer: Vec<peer::Comparison>,
    /// Latency against the offered rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    curve: Option<curve::Curve>,
    /// One stream and more.
    #[serde(skip_serializing_if = "Option::is_none")]
    streams: Option<streams::Streams>,
    /// Why there is no peer in these figures.
    #[serde(skip_serializing_if = "Option::is_none")]
    no_peer: Option<String>,
}

/// Measures.
///
/// # Errors
/// When something cannot be run, or fails; without the peer's packages only where `--peer` asks for it.
pub fn run(options: &Options) -> Result<Fights> {
    super::in_temporary_folder("fight", |folder| all(options, folder))
}

fn all(options: &Options, folder: &Path) -> Result<Fights> {
    let models = house::models(options.flow.as_deref().unwrap_or(Path::new(".")));
    let flow = options.flow.clone().unwrap_or_else(|| models.home().join("dataflows/fight.yml"));
    let setting = Setting::new(&flow, models.home(), folder, options.frames)?;
    let equal = options.flow.clone().unwrap_or_else(|| models.home().join("tests/peers/fight.yml"));
    let beside_peer = Setting::new(&equal, models.home(), folder, options.frames)?;
    let clips = match &options.input {
        Some(input) => vec![Clip::open(input)?],
        None => Clip::of_the_demo(&models, folder, options.frames)?,
    };
    // One clip of normal size for what takes long.
    let clip = &clips[0];
    let (stages, curve) = (options.stages, options.curve || options.plot.is_some());
    let all = !(stages || options.peer || curve || options.streams.is_some());
    let (python, no_peer) = match peer::Python::find(&setting) {
        Ok(python) => (Some(python), None),
        Err(error) if options.peer => return Err(error),
        Err(error) => (None, (all || curve).then(|| error.to_string())),
    };
    let said = |what: &str| errln!("measuring {what}");
    let mut fights = Fights { stages: vec![], peer: vec![], curve: None, streams: None, no_peer };
    if stages || all {
        said("each stage, live");
        fights.stages = clips.iter().map(|clip| stages::run(&setting, clip)).collect::<Result<_>>()?;
    }
    if let Some(python) = python.as_ref().filter(|_| options.peer || all) {
        said("the peer");
        fights.peer = clips.iter().map(|clip| peer::compare(&beside_peer, python, clip)).collect::<Result<_>>()?;
    }
    if curve || all {
        said("latency against the offered rate");
        let curve = curve::run(&beside_peer, python.as_ref(), clip)?;
        if let Some(path) = &options.plot {
            std::fs::write(path, plot::picture(&curve)).or_fail(Failure::Output, || path.display().to_string())?;
        }
        fights.curve = Some(curve);
    }
    if let Some(range) = options.streams.or(all.then_some((1, 4))) {
        said("several streams");
        fights.streams = Some(streams::run(&setting, clip, range)?);
    }
    Ok(fights)
}

impl std::fmt::Display for Fights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut texts: Vec<String> = self.stages.iter().map(ToString::to_string).collect();
        texts.extend(self.peer.iter().map(ToString::to_string));
        texts.extend(self.curve.as_ref().map(ToString::to_string));
        texts.extend(self.streams.as_ref().map(ToString::to_string));
        texts.extend(self.no_peer.as_ref().map(|why| format!("no peer was measured: {why}")));
        f.write_str(&texts.join("\n\n"))
    }
}
