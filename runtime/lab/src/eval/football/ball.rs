//! Ball evaluation of `sideline-lab eval football`.

use std::collections::BTreeMap;

use sideline::program::outln;
use sideline_api::{Body, Result};
use sideline_eval::football::{
    MatchDetections,
    ball::{BallEstimate, BallMetrics, follow_kalman, follow_nearest},
};
use sideline_sport::tables::{Ball, BallMode};

use super::{
    OperatorSetup,
    round::{Round, header, to_rows},
};
use crate::{eval::format_metric, operator_runner::OperatorRunner};

/// COCO class of a sports ball.
const BALL_CLASS: u16 = 32;

/// Runs the operator `ball` on the simulated detections of a match.
pub fn follow(detections: &MatchDetections, image: &Body, setup: &OperatorSetup) -> Result<Vec<Vec<Ball>>> {
    let mut runner = OperatorRunner::new(&setup.factory, "ball", "ball", &["frames", "balls"], &setup.keys("ball"))?;
    let mut rows = vec![];
    for (frame, balls) in (0..).zip(&detections.balls) {
        let header = header(frame);
        runner.send("frames", &header, image.clone())?;
        runner.send_rows("balls", &header, &to_rows(balls, BALL_CLASS))?;
        rows.push(runner.next_rows::<Ball>("ball")?.unwrap_or_default());
    }
    Ok(rows)
}

/// Converts rows of `ball` to estimates.
pub fn to_estimates(balls: &[Vec<Ball>]) -> Vec<Option<BallEstimate>> {
    let estimate =
        |row: &Ball| BallEstimate { center: [row.x.into(), row.y.into()], is_lost: row.mode == BallMode::Lost };
    balls.iter().map(|rows| rows.last().map(estimate)).collect()
}

/// Scores the baseline ball followers on the same detections.
pub fn peers(rounds: &[Round]) -> BTreeMap<&'static str, BallMetrics> {
    let score = |peer: fn(&MatchDetections) -> Vec<Option<BallEstimate>>| {
        let estimates: Vec<_> = rounds.iter().map(|round| (round.game, peer(&round.detections))).collect();
        BallMetrics::from_estimates(estimates.iter().map(|(game, estimates)| (*game, estimates.as_slice())))
    };
    [("nearest", score(follow_nearest)), ("kalman", score(follow_kalman))].into()
}

/// Prints the metrics of the ball.
pub fn print(all: &BallMetrics, matches: &BTreeMap<String, BallMetrics>, peers: &BTreeMap<&'static str, BallMetrics>) {
    outln!("\n{:<32} {:>16} {:>10} {:>10} {:>8}", "ball", "within 20 px, %", "covered, %", "median, px", "95 %, px");
    let row = |name: &str, metrics: &BallMetrics| {
        let BallMetrics { ball_within_20px, ball_coverage, median_px, p95_px, .. } = metrics;
        let [within, coverage, median, p95] =
            [ball_within_20px, ball_coverage, median_px, p95_px].map(|value| format_metric(*value, 1));
        outln!("{name:<32} {within:>16} {coverage:>10} {median:>10} {p95:>8}");
    };
    if matches.len() > 1 {
        matches.iter().for_each(|(name, metrics)| row(name, metrics));
    }
    row("operator `ball`", all);
    row("nearest candidate", &peers["nearest"]);
    row("plain Kalman filter", &peers["kalman"]);
}
