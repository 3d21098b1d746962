//! `sideline-lab eval football`: the football operators on matches with complete ground truth and simulated detections.
//!
//! All data go through the operators of a flow, created from the registry and driven as in a run. The detection noise
//! is drawn several times, and all rounds are scored together.

mod ball;
mod play;
mod round;
mod view;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use sideline::program::{outln, print_json};
use sideline_api::{Error, Registry, Result};
use sideline_eval::football::{Match, Noise, ball::BallMetrics};

use crate::{args::EvalFootball, operator_runner::OperatorFactory};
use play::PlayMetrics;
use round::Round;
use view::ViewReport;

/// Result of `sideline-lab eval football`. As JSON, the metrics of the operators are at the top level.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    ball: BallMetrics,
    #[serde(flatten)]
    view: ViewReport,
    #[serde(flatten)]
    play: PlayMetrics,
    /// Metrics of the ball by match.
    matches: BTreeMap<String, BallMetrics>,
    /// Metrics of baseline ball followers on the same detections.
    peers: BTreeMap<&'static str, BallMetrics>,
    noise: Noise,
    rounds: u64,
}

/// Factory and settings of the operators, as given on the command line.
struct OperatorSetup<'a> {
    factory: OperatorFactory<'a>,
    set: BTreeMap<String, Vec<(&'a str, Value)>>,
}

impl OperatorSetup<'_> {
    /// Returns the keys set for an operator.
    fn keys(&self, operator: &str) -> Vec<(&str, Value)> {
        self.set.get(operator).cloned().unwrap_or_default()
    }
}

/// Operators that take part.
const OPERATORS: [&str; 7] = ["ball", "formation", "pitch", "possession", "team", "tracker", "view"];

/// Evaluates the matches below a folder and prints the result.
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
            return Err(Error::config(format!(
                "--set: `{}` does not take part here; the operators are {names}",
                setting.node
            )));
        }
        set.entry(setting.node.clone()).or_default().push((&setting.key, setting.value.clone()));
    }
    let setup = OperatorSetup { factory: OperatorFactory::new(registry), set };
    let report = evaluate(&matches, &noise, options.rounds, &setup)?;
    if options.json {
        print_json(&report)?;
    } else {
        print(&report);
    }
    Ok(0)
}

fn evaluate(matches: &[Match], noise: &Noise, rounds: u64, setup: &OperatorSetup) -> Result<Report> {
    let mut scored = vec![];
    for game in matches {
        for seed in (noise.seed..).take(usize::try_from(rounds).unwrap_or(usize::MAX)) {
            scored.push(Round::new(game, &Noise { seed, ..*noise }, setup)?);
        }
    }
    let match_metrics = |name: &str| {
        BallMetrics::from_estimates(scored.iter().filter(|round| round.game.name == name).map(Round::ball_estimates))
    };
    Ok(Report {
        ball: BallMetrics::from_estimates(scored.iter().map(Round::ball_estimates)),
        matches: matches.iter().map(|game| (game.name.clone(), match_metrics(&game.name))).collect(),
        peers: ball::peers(&scored),
        view: view::evaluate(&scored),
        play: PlayMetrics::from_counts(scored.iter().map(|round| &round.play)),
        noise: *noise,
        rounds,
    })
}

fn print(report: &Report) {
    let Noise { seed, miss, .. } = report.noise;
    outln!(
        "{:.0} % of ball detections missing, with false positives; {} rounds of noise, from seed {seed}",
        100.0 * miss,
        report.rounds
    );
    ball::print(&report.ball, &report.matches, &report.peers);
    view::print(&report.view);
    play::print(&report.play);
}
