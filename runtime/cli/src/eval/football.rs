//! `sideline eval football`: matches in which everything is known, seen by a detector that errs, and what the operators of
//! football make of them.
//!
//! Everything goes through the operators of a flow, made from the registry and driven as a run drives them. Noise is drawn
//! several times, and all rounds are judged together.

mod ball;
mod play;
mod round;
mod view;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use sideline_api::{Error, Registry, Result};
use sideline_eval::football::{Match, Noise, ball::BallFigures};

use crate::{args::EvalFootball, commands::print_json, stage::Workshop};
use play::PlayFigures;
use round::Round;
use view::ViewReport;

/// Everything that was measured. As JSON, the figures of the operators stand at the top.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    ball: BallFigures,
    #[serde(flatten)]
    view: ViewReport,
    #[serde(flatten)]
    play: PlayFigures,
    /// Of each match.
    matches: BTreeMap<String, BallFigures>,
    /// Plain ways of doing the same, on the same boxes.
    peers: BTreeMap<&'static str, BallFigures>,
    noise: Noise,
    rounds: u64,
}

/// What is needed to make operators as the command line asks.
struct Making<'a> {
    workshop: Workshop<'a>,
    set: BTreeMap<String, Vec<(&'a str, Value)>>,
}

impl Making<'_> {
    /// The keys that were set for an operator.
    fn keys(&self, operator: &str) -> Vec<(&str, Value)> {
        self.set.get(operator).cloned().unwrap_or_default()
    }
}

/// Operators that take part.
const OPERATORS: [&str; 7] = ["ball", "formation", "pitch", "possession", "team", "tracker", "view"];

/// Reads what is below the folder, judges and prints.
pub fn run(options: &EvalFootball, registry: &Registry) -> Result<u8> {
    let matches = Match::read_all(&options.dir).map_err(|error| Error::input(error.to_string()))?;
    let mut noise = Noise { seed: options.seed, ..Noise::default() };
    for setting in &options.noise {
        let (key, value) = super::split(setting, "miss=0.1")?;
        noise.set(key, value).map_err(|problem| Error::config(format!("--noise: {problem}")))?;
    }
    let mut set: BTreeMap<String, Vec<(&str, Value)>> = BTreeMap::new();
    for setting in &options.set {
        if !OPERATORS.contains(&&*setting.node) {
            let names = OPERATORS.join(", ");
            return Err(Error::config(format!("--set: `{}` takes no part here; there are {names}", setting.node)));
        }
        set.entry(setting.node.clone()).or_default().push((&setting.key, setting.value.clone()));
    }
    let making = Making { workshop: Workshop::new(registry), set };
    let report = judge(&matches, &noise, options.rounds, &making)?;
    if options.json {
        print_json(&report)?;
    } else {
        print(&report);
    }
    Ok(0)
}

fn judge(matches: &[Match], noise: &Noise, rounds: u64, making: &Making) -> Result<Report> {
    let mut done = vec![];
    for game in matches {
        for seed in (noise.seed..).take(usize::try_from(rounds).unwrap_or(usize::MAX)) {
            done.push(Round::new(game, &Noise { seed, ..*noise }, making)?);
        }
    }
    let of = |name: &str| BallFigures::of(done.iter().filter(|round| round.game.name == name).map(Round::ours));
    Ok(Report {
        ball: BallFigures::of(done.iter().map(Round::ours)),
        matches: matches.iter().map(|game| (game.name.clone(), of(&game.name))).collect(),
        peers: ball::peers(&done),
        view: view::judge(&done),
        play: PlayFigures::of(done.iter().map(|round| &round.play)),
        noise: *noise,
        rounds,
    })
}

fn print(report: &Report) {
    let Noise { seed, miss, .. } = report.noise;
    outln!(
        "{:.0} % of the ball's boxes missing, false ones beside it; noise drawn {} times, from seed {seed} on",
        100.0 * miss,
        report.rounds
    );
    ball::print(&report.ball, &report.matches, &report.peers);
    view::print(&report.view);
    play::print(&report.play);
}
