//! The virtual camera's part of `sideline eval football`.

use std::collections::BTreeMap;

use serde::Serialize;
use sideline_api::{
    Body, Result,
    tables::{Ball, Track, View},
};
use sideline_eval::{
    Rect,
    football::{
        RATE,
        view::{Crops, ViewFigures, kalman_camera, mean_camera},
    },
};

use super::{
    Making,
    round::{Round, header},
};
use crate::{eval::figure, stage::Stage};

/// The operator's figures, and those of plain cameras that lag as much, whose crop is as wide.
#[derive(Serialize)]
pub struct ViewReport {
    #[serde(flatten)]
    ours: ViewFigures,
    view_peers: BTreeMap<&'static str, ViewFigures>,
}

/// Puts what is known of a match through the operator `view`.
pub fn follow(balls: &[Vec<Ball>], tracks: &[Vec<Track>], picture: &Body, making: &Making) -> Result<Crops> {
    let mut stage = Stage::new(&making.workshop, "view", "view", &["frames", "ball", "tracks"], &making.keys("view"))?;
    let mut crops = vec![];
    for ((frame, ball), tracks) in (0..).zip(balls).zip(tracks) {
        let header = header(frame);
        stage.send("frames", &header, picture.clone())?;
        stage.rows("ball", &header, ball)?;
        stage.rows("tracks", &header, tracks)?;
        let view = stage.next_rows::<View>("view")?.unwrap_or_default().pop();
        crops.extend(view.map(|view| {
            let [x, y, w, h] = [view.x, view.y, view.width, view.height].map(f64::from);
            Rect { x: x - w / 2.0, y: y - h / 2.0, w, h }
        }));
    }
    Ok(crops)
}

/// Judges all rounds.
pub fn judge(rounds: &[Round]) -> ViewReport {
    let ours = ViewFigures::of(rounds.iter().map(|round| (round.game, round.crops.as_slice())));
    if !ours.view_lag.is_finite() {
        // A peer is one that lags as much.
        return ViewReport { ours, view_peers: ["mean", "kalman"].map(|name| (name, ViewFigures::UNKNOWN)).into() };
    }
    let size = (ours.view_width, ours.view_width * 9.0 / 16.0);
    let of = |camera: &dyn Fn(&[[f64; 2]]) -> Crops| {
        let shown: Vec<Crops> = rounds.iter().map(|round| camera(&round.places())).collect();
        ViewFigures::of(rounds.iter().zip(&shown).map(|(round, crops)| (round.game, crops.as_slice())))
    };
    // Noises that differ by a quarter: the one whose lag is nearest to ours.
    let pushes = (0..60).map(|step| 1.25_f64.powi(step));
    let kalman = pushes.map(|push| of(&|places| kalman_camera(places, push, RATE, size)));
    let off = |figures: &ViewFigures| (figures.view_lag - ours.view_lag).abs();
    let kalman = kalman.min_by(|a, b| off(a).total_cmp(&off(b))).unwrap_or(ViewFigures::UNKNOWN);
    let mean = of(&|places| mean_camera(places, ours.view_lag, size));
    ViewReport { ours, view_peers: [("mean", mean), ("kalman", kalman)].into() }
}

/// Prints what was measured.
pub fn print(report: &ViewReport) {
    outln!(
        "\n{:<32} {:>16} {:>12} {:>13} {:>10}",
        "camera",
        "ball inside, %",
        "lag, frames",
        "jerk, px/fr.³",
        "width, px"
    );
    let row = |name: &str, figures: &ViewFigures| {
        let inside = figure(figures.view_ball_inside, 1);
        let [lag, jerk] = [figure(figures.view_lag, 1), figure(figures.view_jerk, 3)];
        outln!("{name:<32} {inside:>16} {lag:>12} {jerk:>13} {:>10}", figure(figures.view_width, 0));
    };
    row("operator `view`", &report.ours);
    row("moving average", &report.view_peers["mean"]);
    row("plain Kalman filter", &report.view_peers["kalman"]);
}
