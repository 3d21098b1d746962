//! Prediction of the ball's position from earlier detections, which places the region of the next detector run. The
//! operator `ball` is more accurate, and runs later.

use serde::{Deserialize, Serialize};
use sideline_sport::tables::Detection;

/// Time without a detection after which the prediction is discarded, s.
const MAX_AGE_S: f64 = 0.5;
/// Weight of a new velocity in the moving average.
const VELOCITY_WEIGHT: f32 = 0.5;
/// Growth of the gate around the prediction, px at 1080 lines per second without a detection.
const GATE_GROWTH: f32 = 3600.0;
/// Initial size of the gate, px at 1080 lines: the default of the key `jump` of `ball`.
const INITIAL_GATE: f32 = 120.0;

/// Last detection of the ball, with its velocity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BallPredictor {
    x: f32,
    y: f32,
    /// Velocity, px/s.
    vx: f32,
    vy: f32,
    /// Media time, ns.
    pts: i64,
}

impl BallPredictor {
    /// Returns the predicted position at media time `pts`, ns; `None` where the last detection is too old.
    pub fn predict(&self, pts: i64) -> Option<(f32, f32)> {
        let seconds = (pts - self.pts) as f64 * 1e-9;
        (seconds <= MAX_AGE_S).then_some((self.x + self.vx * seconds as f32, self.y + self.vy * seconds as f32))
    }

    /// Updates with the candidates of a detector run, highest score first; `scale` is the height of the frame divided
    /// by 1080.
    pub fn update(predictor: &mut Option<Self>, balls: &[Detection], pts: i64, scale: f32) {
        let center = |ball: &Detection| ((ball.x1 + ball.x2) / 2.0, (ball.y1 + ball.y2) / 2.0);
        let Some((before, (x, y))) = predictor.as_ref().and_then(|ball| Some((ball, ball.predict(pts)?))) else {
            // The candidate with the highest score, the first one of equals.
            *predictor = balls.first().map(center).map(|(x, y)| Self { x, y, vx: 0.0, vy: 0.0, pts });
            return;
        };
        let seconds = (pts - before.pts) as f32 * 1e-9;
        let gate = scale * (INITIAL_GATE + GATE_GROWTH * seconds);
        let distance = |ball: &&Detection| {
            let (bx, by) = center(ball);
            (bx - x).hypot(by - y)
        };
        let associated =
            balls.iter().min_by(|a, b| distance(a).total_cmp(&distance(b))).filter(|ball| distance(ball) <= gate);
        let Some((new_x, new_y)) = associated.map(center) else { return };
        let velocity = |now: f32, then: f32, old: f32| {
            if seconds > 0.0 { old + VELOCITY_WEIGHT * ((now - then) / seconds - old) } else { old }
        };
        let (vx, vy) = (velocity(new_x, before.x, before.vx), velocity(new_y, before.y, before.vy));
        *predictor = Some(Self { x: new_x, y: new_y, vx, vy, pts });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: i64 = 33_333_333;

    fn ball(x: f32, y: f32, score: f32) -> Detection {
        Detection { x1: x - 5.0, y1: y - 5.0, x2: x + 5.0, y2: y + 5.0, score, class: 32, refined: false }
    }

    #[test]
    fn the_prediction_extrapolates_the_motion() {
        let mut predictor = None;
        for frame in 0..10 {
            BallPredictor::update(&mut predictor, &[ball(100.0 + 20.0 * frame as f32, 50.0, 0.5)], frame * FRAME, 1.0);
        }
        let (x, y) = predictor.unwrap().predict(10 * FRAME).unwrap();
        assert!((x - 300.0).abs() < 2.0 && (y - 50.0).abs() < 0.1, "{x} {y}");
    }

    #[test]
    fn a_distant_ball_is_ignored_until_the_prediction_expires() {
        let mut predictor = None;
        BallPredictor::update(&mut predictor, &[ball(100.0, 50.0, 0.5)], 0, 1.0);
        BallPredictor::update(&mut predictor, &[ball(1500.0, 50.0, 0.9), ball(110.0, 50.0, 0.3)], FRAME, 1.0);
        assert!(predictor.as_ref().unwrap().predict(FRAME).unwrap().0 < 120.0);
        BallPredictor::update(&mut predictor, &[ball(1500.0, 50.0, 0.9)], 2 * FRAME, 1.0);
        assert!(predictor.as_ref().unwrap().predict(2 * FRAME).unwrap().0 < 130.0);
        assert_eq!(predictor.as_ref().unwrap().predict(18 * FRAME), None);
        BallPredictor::update(&mut predictor, &[ball(1500.0, 50.0, 0.9)], 18 * FRAME, 1.0);
        assert_eq!(predictor.unwrap().predict(18 * FRAME), Some((1500.0, 50.0)));
    }

    #[test]
    fn no_candidates_give_no_prediction() {
        let mut predictor = None;
        BallPredictor::update(&mut predictor, &[], 0, 1.0);
        assert_eq!(predictor, None);
    }
}
