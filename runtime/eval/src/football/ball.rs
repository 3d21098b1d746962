//! Accuracy of ball estimates against the ground truth, and two baseline ball followers.

use super::{Match, MatchDetections, center, distance};
use crate::{Detection, ratio};

/// Maximum error of an estimate that counts as correct, px of a 4K image.
pub const BALL_TOLERANCE_PX: f64 = 20.0;

/// Estimate of the ball in one frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BallEstimate {
    /// Center of the ball, px.
    pub center: [f64; 2],
    /// The follower has lost the ball; `center` is a guess.
    pub is_lost: bool,
}

/// Accuracy of ball estimates. Shares are percentages of the frames in which the file contains the ball; NaN without
/// such frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct BallMetrics {
    /// Frames with an estimate within [`BALL_TOLERANCE_PX`] of the ball, percent.
    pub ball_within_20px: f64,
    /// Frames with an estimate that is not lost, percent.
    pub ball_coverage: f64,
    /// Median distance of the estimates from the ball, px.
    pub median_px: f64,
    /// 95th percentile of the distance of the estimates from the ball, px.
    pub p95_px: f64,
    /// Frames that were scored.
    pub frames: usize,
}

impl BallMetrics {
    /// Scores the estimates for several matches, one per frame each, with their frames pooled.
    #[must_use]
    pub fn from_estimates<'a>(estimates: impl IntoIterator<Item = (&'a Match, &'a [Option<BallEstimate>])>) -> Self {
        let (mut frames, mut near, mut covered, mut errors) = (0_usize, 0_usize, 0_usize, vec![]);
        for (game, estimates) in estimates {
            for (frame, estimate) in estimates.iter().enumerate() {
                let Some(ball) = game.ball_center(frame) else { continue };
                frames += 1;
                if let Some(estimate) = estimate {
                    let error = distance(estimate.center, ball);
                    near += usize::from(error <= BALL_TOLERANCE_PX);
                    covered += usize::from(!estimate.is_lost);
                    errors.push(error);
                }
            }
        }
        errors.sort_by(f64::total_cmp);
        let percent = |count: usize| 100.0 * ratio(count as f64, frames as f64);
        let quantile = |q: f64| errors.get((errors.len() as f64 * q) as usize).copied().unwrap_or(f64::NAN);
        Self {
            ball_within_20px: percent(near),
            ball_coverage: percent(covered),
            median_px: quantile(0.5),
            p95_px: quantile(0.95),
            frames,
        }
    }
}

/// Frames without a candidate after which the baselines restart from the detection with the highest score.
const MAX_MISSED_FRAMES: u32 = 10;
/// Maximum movement of the ball from frame to frame in the baselines, px.
const MAX_STEP_PX: f64 = 120.0;

/// Baseline: follows the candidate nearest to the last center. Starts, and restarts after `MAX_MISSED_FRAMES`, from
/// the candidate with the highest score.
#[must_use]
pub fn follow_nearest(detections: &MatchDetections) -> Vec<Option<BallEstimate>> {
    let (mut last, mut missing) = (None, 0);
    let estimate = |balls: &Vec<Detection>| {
        let found = match last {
            Some(last) if missing <= MAX_MISSED_FRAMES => closest(balls, last, MAX_STEP_PX),
            _ => balls.first().map(|best| center(&best.rect)),
        };
        missing = if found.is_some() { 0 } else { missing + 1 };
        last = found.or(last);
        last.map(|center| BallEstimate { center, is_lost: missing > MAX_MISSED_FRAMES })
    };
    detections.balls.iter().map(estimate).collect()
}

fn closest(balls: &[Detection], position: [f64; 2], max_distance: f64) -> Option<[f64; 2]> {
    let centers = balls.iter().map(|ball| center(&ball.rect));
    let centers = centers.filter(|center| distance(*center, position) <= max_distance);
    centers.min_by(|a, b| distance(*a, position).total_cmp(&distance(*b, position)))
}

/// Baseline: constant-velocity Kalman filter with fixed noise (as in OpenCV's examples) that takes the nearest
/// candidate within three standard deviations. Starts, and restarts after `MAX_MISSED_FRAMES`, from the candidate
/// with the highest score.
#[must_use]
pub fn follow_kalman(detections: &MatchDetections) -> Vec<Option<BallEstimate>> {
    /// Variances of a measured position (px²), of the velocity change per frame (px² per frame²), and of the initial
    /// velocity.
    const MEASUREMENT_VARIANCE: f64 = 4.0;
    const PROCESS_VARIANCE: f64 = 1.0;
    const INITIAL_VELOCITY_VARIANCE: f64 = 100.0;
    /// Position and velocity of x and y. Both axes share their variances: position, covariance, velocity.
    struct Filter {
        position: [f64; 2],
        velocity: [f64; 2],
        variances: [f64; 3],
    }
    let (mut filter, mut missing): (Option<Filter>, u32) = (None, 0);
    let estimate = |balls: &Vec<Detection>| {
        if let Some(Filter { position, velocity, variances: [p, c, v] }) = &mut filter {
            for (position, velocity) in position.iter_mut().zip(velocity) {
                *position += *velocity;
            }
            (*p, *c, *v) =
                (*p + 2.0 * *c + *v + PROCESS_VARIANCE / 3.0, *c + *v + PROCESS_VARIANCE / 2.0, *v + PROCESS_VARIANCE);
        }
        let found = match &filter {
            Some(filter) if missing <= MAX_MISSED_FRAMES => {
                let gate = 3.0 * (filter.variances[0] + MEASUREMENT_VARIANCE).sqrt();
                closest(balls, filter.position, gate.min(MAX_STEP_PX))
            }
            _ => {
                filter = balls.first().map(|best| Filter {
                    position: center(&best.rect),
                    velocity: [0.0; 2],
                    variances: [MEASUREMENT_VARIANCE, 0.0, INITIAL_VELOCITY_VARIANCE],
                });
                missing = 0;
                return filter.as_ref().map(|filter| BallEstimate { center: filter.position, is_lost: false });
            }
        };
        missing = if found.is_some() { 0 } else { missing + 1 };
        let filter = filter.as_mut()?;
        if let Some(measured) = found {
            let [p, c, v] = filter.variances;
            let (gain, velocity_gain) = (p / (p + MEASUREMENT_VARIANCE), c / (p + MEASUREMENT_VARIANCE));
            for ((position, velocity), measured) in filter.position.iter_mut().zip(&mut filter.velocity).zip(measured) {
                let innovation = measured - *position;
                *position += gain * innovation;
                *velocity += velocity_gain * innovation;
            }
            filter.variances = [p * (1.0 - gain), c * (1.0 - gain), v - velocity_gain * c];
        }
        Some(BallEstimate { center: filter.position, is_lost: missing > MAX_MISSED_FRAMES })
    };
    detections.balls.iter().map(estimate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Rect, football::GroundTruth};

    fn game(frames: usize) -> Match {
        let truth = |frame: usize| GroundTruth {
            players: vec![],
            ball: Some(Rect { x: 96.0 + 5.0 * frame as f64, y: 96.0, w: 8.0, h: 8.0 }),
        };
        Match {
            name: "a".into(),
            first_frame: 0,
            players: vec![],
            boxes: (0..frames).map(truth).collect(),
            positions: None,
            size: (6500.0, 1000.0),
        }
    }

    #[test]
    fn metrics_count_accurate_and_lost_estimates() {
        let game = game(4);
        let at = |x: f64, is_lost| Some(BallEstimate { center: [x, 100.0], is_lost });
        let estimates = [at(100.0, false), at(125.0, false), at(131.0, true), None];
        let metrics = BallMetrics::from_estimates([(&game, &estimates[..])]);
        assert_eq!((metrics.ball_within_20px, metrics.ball_coverage, metrics.frames), (50.0, 50.0, 4));
        assert_eq!((metrics.median_px, metrics.p95_px), (20.0, 21.0));
    }

    #[test]
    fn baselines_follow_a_ball_that_is_always_detected() {
        let game = game(60);
        let balls =
            (0..60).map(|frame| vec![Detection { rect: game.boxes[frame].ball.unwrap(), score: 0.5 }]).collect();
        let detections = MatchDetections { people: vec![], balls };
        for estimates in [follow_nearest(&detections), follow_kalman(&detections)] {
            assert_eq!(BallMetrics::from_estimates([(&game, &estimates[..])]).ball_within_20px, 100.0);
        }
    }

    #[test]
    fn baselines_restart_after_too_many_missed_frames() {
        let ball = |x: f64| Detection { rect: Rect { x, y: 0.0, w: 8.0, h: 8.0 }, score: 0.5 };
        let mut balls = vec![vec![ball(0.0)]; 3];
        balls.extend(vec![vec![ball(2000.0)]; 20]);
        let detections = MatchDetections { people: vec![], balls };
        for estimates in [follow_nearest(&detections), follow_kalman(&detections)] {
            assert!(estimates[5].unwrap().center[0] < 100.0 && estimates[22].unwrap().center[0] > 1900.0);
        }
    }
}
