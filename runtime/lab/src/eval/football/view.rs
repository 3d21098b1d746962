//! Virtual camera evaluation of `sideline-lab eval football`.

use std::collections::BTreeMap;

use serde::Serialize;
use sideline::program::outln;
use sideline_api::{Body, Result};
use sideline_eval::{
    Rect,
    football::{
        FRAME_RATE,
        view::{Crops, ViewMetrics, kalman_camera, moving_average_camera},
    },
};
use sideline_sport::tables::{Ball, Track, View};

use super::{
    OperatorSetup,
    round::{Round, header},
};
use crate::{eval::format_metric, operator_runner::OperatorRunner};

/// Metrics of the operator, and of baseline cameras with the same lag and width.
#[derive(Serialize)]
pub struct ViewReport {
    #[serde(flatten)]
    ours: ViewMetrics,
    view_peers: BTreeMap<&'static str, ViewMetrics>,
}

/// Runs the operator `view` on the rows of ball and tracks.
pub fn follow(balls: &[Vec<Ball>], tracks: &[Vec<Track>], image: &Body, setup: &OperatorSetup) -> Result<Crops> {
    let mut runner =
        OperatorRunner::new(&setup.factory, "view", "view", &["frames", "ball", "tracks"], &setup.keys("view"))?;
    let mut crops = vec![];
    for ((frame, ball), tracks) in (0..).zip(balls).zip(tracks) {
        let header = header(frame);
        runner.send("frames", &header, image.clone())?;
        runner.send_rows("ball", &header, ball)?;
        runner.send_rows("tracks", &header, tracks)?;
        let view = runner.next_rows::<View>("view")?.unwrap_or_default().pop();
        crops.extend(view.map(|view| {
            let [x, y, w, h] = [view.x, view.y, view.width, view.height].map(f64::from);
            Rect { x: x - w / 2.0, y: y - h / 2.0, w, h }
        }));
    }
    Ok(crops)
}

/// Scores all rounds.
pub fn evaluate(rounds: &[Round]) -> ViewReport {
    let ours = ViewMetrics::from_crops(rounds.iter().map(|round| (round.game, round.crops.as_slice())));
    if !ours.view_lag.is_finite() {
        // The baselines are tuned to the lag of the operator.
        return ViewReport { ours, view_peers: ["mean", "kalman"].map(|name| (name, ViewMetrics::UNKNOWN)).into() };
    }
    let size = (ours.view_width, ours.view_width * 9.0 / 16.0);
    let score = |camera: &dyn Fn(&[[f64; 2]]) -> Crops| {
        let shown: Vec<Crops> = rounds.iter().map(|round| camera(&round.ball_positions())).collect();
        ViewMetrics::from_crops(rounds.iter().zip(&shown).map(|(round, crops)| (round.game, crops.as_slice())))
    };
    // Process noises in steps of a quarter, of which the one with the lag nearest to the operator's is used.
    let accelerations = (0..60).map(|step| 1.25_f64.powi(step));
    let kalman =
        accelerations.map(|acceleration| score(&|positions| kalman_camera(positions, acceleration, FRAME_RATE, size)));
    let lag_difference = |metrics: &ViewMetrics| (metrics.view_lag - ours.view_lag).abs();
    let kalman = kalman.min_by(|a, b| lag_difference(a).total_cmp(&lag_difference(b))).unwrap_or(ViewMetrics::UNKNOWN);
    let mean = score(&|positions| moving_average_camera(positions, ours.view_lag, size));
    ViewReport { ours, view_peers: [("mean", mean), ("kalman", kalman)].into() }
}

/// Prints the metrics of the camera.
pub fn print(report: &ViewReport) {
    outln!(
        "\n{:<32} {:>16} {:>12} {:>13} {:>10}",
        "camera",
        "ball inside, %",
        "lag, frames",
        "jerk, px/fr.³",
        "width, px"
    );
    let row = |name: &str, metrics: &ViewMetrics| {
        let inside = format_metric(metrics.view_ball_inside, 1);
        let [lag, jerk] = [format_metric(metrics.view_lag, 1), format_metric(metrics.view_jerk, 3)];
        outln!("{name:<32} {inside:>16} {lag:>12} {jerk:>13} {:>10}", format_metric(metrics.view_width, 0));
    };
    row("operator `view`", &report.ours);
    row("moving average", &report.view_peers["mean"]);
    row("plain Kalman filter", &report.view_peers["kalman"]);
}
