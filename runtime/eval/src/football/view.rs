//! Metrics of a virtual camera: coverage of the ball, steadiness and lag. And two baseline cameras to compare with.

use super::Match;
use crate::{
    Rect, ratio,
    smoothing::{kalman, moving_average},
};

/// Crop of a camera by frame, px.
pub type Crops = Vec<Rect>;

/// Metrics of a camera; NaN where the clips were too short to measure.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct ViewMetrics {
    /// Frames in which the center of the true ball is inside the crop, percent.
    pub view_ball_inside: f64,
    /// Jerk: mean length of the third difference of the crop's center, px per frame³; 0 for a camera that pans evenly.
    pub view_jerk: f64,
    /// Lag of the camera's horizontal path behind the ball's, frames: the shift with the least squared distance.
    pub view_lag: f64,
    /// Mean width of the crop, px.
    pub view_width: f64,
}

impl ViewMetrics {
    /// Metrics of a camera that was not measured.
    pub const UNKNOWN: Self =
        Self { view_ball_inside: f64::NAN, view_jerk: f64::NAN, view_lag: f64::NAN, view_width: f64::NAN };

    /// Scores the crops of several matches, pooled. The first `SETTLING_FRAMES` of each are left out.
    #[must_use]
    pub fn from_crops<'a>(crops: impl IntoIterator<Item = (&'a Match, &'a [Rect])>) -> Self {
        let (mut frames, mut inside, mut width, mut jerks, mut lags) = (0_usize, 0_usize, 0.0, vec![], vec![]);
        for (game, crops) in crops {
            for (frame, crop) in crops.iter().enumerate().skip(SETTLING_FRAMES) {
                let Some([x, y]) = game.ball_center(frame) else { continue };
                frames += 1;
                width += crop.w;
                let within = (crop.x..=crop.x + crop.w).contains(&x) && (crop.y..=crop.y + crop.h).contains(&y);
                inside += usize::from(within);
            }
            let centers: Vec<[f64; 2]> = crops.iter().map(super::center).collect();
            jerks.extend(centers.windows(4).skip(SETTLING_FRAMES).map(jerk));
            let camera_x: Vec<f64> = centers.iter().map(|[x, _]| *x).collect();
            lags.extend(lag(game, &camera_x));
        }
        let mean = |values: &[f64]| ratio(values.iter().sum(), values.len() as f64);
        Self {
            view_ball_inside: 100.0 * ratio(inside as f64, frames as f64),
            view_jerk: mean(&jerks),
            view_lag: mean(&lags),
            view_width: ratio(width, frames as f64),
        }
    }
}

/// Frames at the start of a match that are not scored, since cameras first have to find the ball.
const SETTLING_FRAMES: usize = 30;
/// Longest lag that is searched for, frames.
const MAX_LAG_FRAMES: usize = 60;
/// Minimum number of frames to compare, after the longest lag, for a lag to be measured.
const MIN_COMPARED_FRAMES: usize = 30;

fn jerk(four: &[[f64; 2]]) -> f64 {
    let third = |axis: usize| four[3][axis] - 3.0 * four[2][axis] + 3.0 * four[1][axis] - four[0][axis];
    third(0).hypot(third(1))
}

/// Finds the shift, to a tenth of a frame, with the least squared distance between the camera's path and the ball's;
/// `None` if there are too few frames to compare.
fn lag(game: &Match, camera_x: &[f64]) -> Option<f64> {
    let ball_x = |frame: usize, shift: f64| {
        let at = frame as f64 - shift;
        let (before, share) = (at.floor() as usize, at - at.floor());
        let next = (before + 1).min(camera_x.len() - 1);
        Some((1.0 - share) * game.ball_center(before)?[0] + share * game.ball_center(next)?[0])
    };
    let squared_errors = |shift: f64| {
        (MAX_LAG_FRAMES..camera_x.len())
            .filter_map(move |frame| Some((camera_x[frame] - ball_x(frame, shift)?).powi(2)))
    };
    if squared_errors(0.0).count() < MIN_COMPARED_FRAMES {
        return None;
    }
    let error = |shift: f64| squared_errors(shift).sum::<f64>();
    let shifts = (0..=MAX_LAG_FRAMES * 10).map(|tenths| tenths as f64 / 10.0);
    shifts.map(|shift| (shift, error(shift))).min_by(|a, b| a.1.total_cmp(&b.1)).map(|(shift, _)| shift)
}

/// Returns crops of a fixed size centered on the filtered positions.
fn filtered_camera(positions: &[[f64; 2]], size: (f64, f64), filter: &dyn Fn(&[f64]) -> Vec<f64>) -> Crops {
    let axis = |axis: usize| filter(&positions.iter().map(|position| position[axis]).collect::<Vec<_>>());
    let (xs, ys) = (axis(0), axis(1));
    xs.iter().zip(ys).map(|(x, y)| Rect { x: x - size.0 / 2.0, y: y - size.1 / 2.0, w: size.0, h: size.1 }).collect()
}

/// Baseline: moving average of the ball's last positions, over as many frames as give the requested lag.
#[must_use]
pub fn moving_average_camera(positions: &[[f64; 2]], lag: f64, size: (f64, f64)) -> Crops {
    let frames = (2.0 * lag + 1.0).round().max(1.0) as usize;
    filtered_camera(positions, size, &|signal| moving_average(signal, frames))
}

/// Baseline: constant-velocity Kalman filter. `acceleration` is the standard deviation of its process noise, px per
/// second squared.
#[must_use]
pub fn kalman_camera(positions: &[[f64; 2]], acceleration: f64, rate: f64, size: (f64, f64)) -> Crops {
    filtered_camera(positions, size, &|signal| kalman(signal, rate, acceleration))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::football::GroundTruth;

    fn game() -> Match {
        let truth = |frame: usize| GroundTruth {
            players: vec![],
            ball: Some(Rect { x: 500.0 + 200.0 * (frame as f64 / 30.0).sin(), y: 300.0, w: 8.0, h: 8.0 }),
        };
        Match {
            name: "a".into(),
            first_frame: 0,
            players: vec![],
            boxes: (0..300).map(truth).collect(),
            positions: None,
            size: (6500.0, 1000.0),
        }
    }

    #[test]
    fn lag_is_measured_in_frames() {
        let game = game();
        let positions: Vec<[f64; 2]> =
            (0..300).map(|frame: usize| game.ball_center(frame.saturating_sub(7)).unwrap()).collect();
        let crops = filtered_camera(&positions, (100.0, 60.0), &<[f64]>::to_vec);
        let metrics = ViewMetrics::from_crops([(&game, &crops[..])]);
        assert!((metrics.view_lag - 7.0).abs() < 0.2, "{metrics:?}");
        assert_eq!(metrics.view_width, 100.0);
    }

    #[test]
    fn metrics_of_a_clip_too_short_are_nan() {
        let (game, crop) = (game(), Rect { x: 400.0, y: 200.0, w: 500.0, h: 200.0 });
        for (frames, known) in [(0, [false, false, false]), (31, [true, false, false]), (80, [true, true, false])] {
            let crops = vec![crop; frames];
            let metrics = ViewMetrics::from_crops([(&game, &crops[..])]);
            let finite = [metrics.view_ball_inside, metrics.view_jerk, metrics.view_lag].map(f64::is_finite);
            assert_eq!(finite, known, "{frames} frames: {metrics:?}");
        }
    }

    #[test]
    fn a_ball_outside_the_crop_is_counted_and_vibration_is_jerk() {
        let game = game();
        let still = vec![Rect { x: 504.0, y: 200.0, w: 500.0, h: 200.0 }; 300];
        let metrics = ViewMetrics::from_crops([(&game, &still[..])]);
        assert!((metrics.view_ball_inside - 53.0).abs() < 6.0 && metrics.view_jerk == 0.0, "{metrics:?}");
        let mut vibrating = still;
        vibrating.iter_mut().step_by(2).for_each(|crop| crop.x += 1.0);
        assert!(ViewMetrics::from_crops([(&game, &vibrating[..])]).view_jerk > 3.0);
    }

    #[test]
    fn a_moving_average_has_the_requested_lag() {
        let game = game();
        let positions: Vec<[f64; 2]> = (0..300).map(|frame| game.ball_center(frame).unwrap()).collect();
        let crops = moving_average_camera(&positions, 6.0, (100.0, 60.0));
        let metrics = ViewMetrics::from_crops([(&game, &crops[..])]);
        assert!((metrics.view_lag - 6.0).abs() < 0.6, "{metrics:?}");
    }
}
