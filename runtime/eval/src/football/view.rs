//! How steady a virtual camera is, and whether the ball is in its picture; and two plain cameras to compare with.

use super::Match;
use crate::{
    Rect, ratio,
    smoothing::{kalman, moving_average},
};

/// What a camera showed of each frame: its crop, px.
pub type Crops = Vec<Rect>;

/// How good a camera is; NaN where the clips were too short to tell.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct ViewFigures {
    /// Percent of the frames in which the middle of the true ball is in the picture.
    pub view_ball_inside: f64,
    /// Mean length of the third difference of the crop's middle: px a frame³. 0 is a camera that pans evenly.
    pub view_jerk: f64,
    /// Frames by which the camera's way across the picture is behind the ball's: the shift at which they lie nearest.
    pub view_lag: f64,
    /// Mean width of the crop, px.
    pub view_width: f64,
}

impl ViewFigures {
    /// The figures of a camera that was not judged.
    pub const UNKNOWN: Self =
        Self { view_ball_inside: f64::NAN, view_jerk: f64::NAN, view_lag: f64::NAN, view_width: f64::NAN };

    /// Judges the crops of several matches as one; the beginning of each, in which cameras find the ball, is left out.
    #[must_use]
    pub fn of<'a>(shown: impl IntoIterator<Item = (&'a Match, &'a [Rect])>) -> Self {
        let (mut frames, mut inside, mut width, mut jerks, mut lags) = (0_usize, 0_usize, 0.0, vec![], vec![]);
        for (game, crops) in shown {
            for (frame, crop) in crops.iter().enumerate().skip(SETTLING) {
                let Some([x, y]) = game.ball(frame) else { continue };
                frames += 1;
                width += crop.w;
                let within = (crop.x..=crop.x + crop.w).contains(&x) && (crop.y..=crop.y + crop.h).contains(&y);
                inside += usize::from(within);
            }
            let middles: Vec<[f64; 2]> = crops.iter().map(super::middle).collect();
            jerks.extend(middles.windows(4).skip(SETTLING).map(jerk));
            let across: Vec<f64> = middles.iter().map(|[x, _]| *x).collect();
            lags.extend(lag(game, &across));
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

/// Frames at the beginning that are not judged.
const SETTLING: usize = 30;
/// Longest lag that is looked for, frames.
const LONGEST: usize = 60;
/// Frames that must be left to compare, after the longest lag, for a lag to be told.
const COMPARED: usize = 30;

fn jerk(four: &[[f64; 2]]) -> f64 {
    let third = |axis: usize| four[3][axis] - 3.0 * four[2][axis] + 3.0 * four[1][axis] - four[0][axis];
    third(0).hypot(third(1))
}

/// The shift, to a tenth of a frame, at which the way lies nearest to the ball's; `None` where there is too little of it.
fn lag(game: &Match, across: &[f64]) -> Option<f64> {
    let ball = |frame: usize, shift: f64| {
        let at = frame as f64 - shift;
        let (before, share) = (at.floor() as usize, at - at.floor());
        let next = (before + 1).min(across.len() - 1);
        Some((1.0 - share) * game.ball(before)?[0] + share * game.ball(next)?[0])
    };
    let compared = |shift: f64| {
        (LONGEST..across.len()).filter_map(move |frame| Some((across[frame] - ball(frame, shift)?).powi(2)))
    };
    if compared(0.0).count() < COMPARED {
        return None;
    }
    let off = |shift: f64| compared(shift).sum::<f64>();
    let shifts = (0..=LONGEST * 10).map(|tenths| tenths as f64 / 10.0);
    shifts.map(|shift| (shift, off(shift))).min_by(|a, b| a.1.total_cmp(&b.1)).map(|(shift, _)| shift)
}

/// A camera whose crop is of one size and whose middle is a filtered ball.
fn filtered(places: &[[f64; 2]], size: (f64, f64), filter: &dyn Fn(&[f64]) -> Vec<f64>) -> Crops {
    let axis = |axis: usize| filter(&places.iter().map(|place| place[axis]).collect::<Vec<_>>());
    let (xs, ys) = (axis(0), axis(1));
    xs.iter().zip(ys).map(|(x, y)| Rect { x: x - size.0 / 2.0, y: y - size.1 / 2.0, w: size.0, h: size.1 }).collect()
}

/// A mean of the ball's last places, over as many frames as give the wanted lag.
#[must_use]
pub fn mean_camera(places: &[[f64; 2]], lag: f64, size: (f64, f64)) -> Crops {
    let frames = (2.0 * lag + 1.0).round().max(1.0) as usize;
    filtered(places, size, &|signal| moving_average(signal, frames))
}

/// A Kalman filter of place and velocity, whose noise (`push`, px a second²) is for the caller to choose.
#[must_use]
pub fn kalman_camera(places: &[[f64; 2]], push: f64, rate: f64, size: (f64, f64)) -> Crops {
    filtered(places, size, &|signal| kalman(signal, rate, push))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::football::Truth;

    fn game() -> Match {
        let truth = |frame: usize| Truth {
            players: vec![],
            ball: Some(Rect { x: 500.0 + 200.0 * (frame as f64 / 30.0).sin(), y: 300.0, w: 8.0, h: 8.0 }),
        };
        Match {
            name: "a".into(),
            first: 0,
            players: vec![],
            boxes: (0..300).map(truth).collect(),
            places: None,
            size: (6500.0, 1000.0),
        }
    }

    #[test]
    fn a_camera_that_is_late_is_told_how_late() {
        let game = game();
        let places: Vec<[f64; 2]> = (0..300).map(|frame: usize| game.ball(frame.saturating_sub(7)).unwrap()).collect();
        let crops = filtered(&places, (100.0, 60.0), &<[f64]>::to_vec);
        let figures = ViewFigures::of([(&game, &crops[..])]);
        assert!((figures.view_lag - 7.0).abs() < 0.2, "{figures:?}");
        assert_eq!(figures.view_width, 100.0);
    }

    #[test]
    fn a_clip_too_short_to_judge_is_unknown_and_not_perfect() {
        let (game, crop) = (game(), Rect { x: 400.0, y: 200.0, w: 500.0, h: 200.0 });
        for (frames, known) in [(0, [false, false, false]), (31, [true, false, false]), (80, [true, true, false])] {
            let crops = vec![crop; frames];
            let figures = ViewFigures::of([(&game, &crops[..])]);
            let found = [figures.view_ball_inside, figures.view_jerk, figures.view_lag].map(f64::is_finite);
            assert_eq!(found, known, "{frames} frames: {figures:?}");
        }
    }

    #[test]
    fn a_ball_beside_the_crop_is_counted_and_a_tremble_is_jerk() {
        let game = game();
        let still = vec![Rect { x: 504.0, y: 200.0, w: 500.0, h: 200.0 }; 300];
        let figures = ViewFigures::of([(&game, &still[..])]);
        assert!((figures.view_ball_inside - 53.0).abs() < 6.0 && figures.view_jerk == 0.0, "{figures:?}");
        let mut tremble = still;
        tremble.iter_mut().step_by(2).for_each(|crop| crop.x += 1.0);
        assert!(ViewFigures::of([(&game, &tremble[..])]).view_jerk > 3.0);
    }

    #[test]
    fn a_mean_lags_as_asked() {
        let game = game();
        let places: Vec<[f64; 2]> = (0..300).map(|frame| game.ball(frame).unwrap()).collect();
        let crops = mean_camera(&places, 6.0, (100.0, 60.0));
        let figures = ViewFigures::of([(&game, &crops[..])]);
        assert!((figures.view_lag - 6.0).abs() < 0.6, "{figures:?}");
    }
}
