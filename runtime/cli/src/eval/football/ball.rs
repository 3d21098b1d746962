//! The ball's part of `sideline eval football`.

use std::collections::BTreeMap;

use sideline_api::{Body, Result, tables::Ball};
use sideline_eval::football::{
    Seen,
    ball::{Answer, BallFigures, nearest, plain_kalman},
};

use super::{
    Making,
    round::{Round, header, rows},
};
use crate::{eval::figure, stage::Stage};

/// COCO's number of a sports ball.
const BALL: u16 = 32;

/// Puts the boxes of a match through the operator `ball`.
pub fn follow(seen: &Seen, picture: &Body, making: &Making) -> Result<Vec<Vec<Ball>>> {
    let mut stage = Stage::new(&making.workshop, "ball", "ball", &["frames", "balls"], &making.keys("ball"))?;
    let mut found = vec![];
    for (frame, balls) in (0..).zip(&seen.balls) {
        let header = header(frame);
        stage.send("frames", &header, picture.clone())?;
        stage.rows("balls", &header, &rows(balls, BALL))?;
        found.push(stage.next_rows::<Ball>("ball")?.unwrap_or_default());
    }
    Ok(found)
}

/// Rows as they are judged.
pub fn answers(balls: &[Vec<Ball>]) -> Vec<Option<Answer>> {
    let answer = |row: &Ball| Answer { place: [row.x.into(), row.y.into()], lost: row.mode == "lost" };
    balls.iter().map(|rows| rows.last().map(answer)).collect()
}

/// What plain ways make of the same boxes.
pub fn peers(rounds: &[Round]) -> BTreeMap<&'static str, BallFigures> {
    let of = |peer: fn(&Seen) -> Vec<Option<Answer>>| {
        let answers: Vec<_> = rounds.iter().map(|round| (round.game, peer(&round.seen))).collect();
        BallFigures::of(answers.iter().map(|(game, answers)| (*game, answers.as_slice())))
    };
    [("nearest", of(nearest)), ("kalman", of(plain_kalman))].into()
}

/// Prints what was measured.
pub fn print(all: &BallFigures, matches: &BTreeMap<String, BallFigures>, peers: &BTreeMap<&'static str, BallFigures>) {
    outln!("\n{:<32} {:>16} {:>10} {:>10} {:>8}", "ball", "within 20 px, %", "known, %", "median, px", "95 %, px");
    let row = |name: &str, figures: &BallFigures| {
        let BallFigures { ball_within_20px, ball_coverage, median_px, p95_px, .. } = figures;
        let [within, known, median, p95] =
            [ball_within_20px, ball_coverage, median_px, p95_px].map(|value| figure(*value, 1));
        outln!("{name:<32} {within:>16} {known:>10} {median:>10} {p95:>8}");
    };
    if matches.len() > 1 {
        matches.iter().for_each(|(name, figures)| row(name, figures));
    }
    row("operator `ball`", all);
    row("nearest candidate", &peers["nearest"]);
    row("plain Kalman filter", &peers["kalman"]);
}
