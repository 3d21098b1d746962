//! How near the ball's row is to the ball; and two plain ways of following it, to compare with.

use super::{Match, Seen, distance, middle};
use crate::{Detection, ratio};

/// An error up to this counts as found, px of a 4K picture.
pub const NEAR: f64 = 20.0;

/// What somebody says of the ball in one frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// Its middle, px.
    pub place: [f64; 2],
    /// They do not know where it is, and only guess.
    pub lost: bool,
}

/// How good the answers are, in percent of the frames in which the file tells where the ball is; NaN where there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct BallFigures {
    /// Frames with an answer within [`NEAR`] of the ball.
    pub ball_within_20px: f64,
    /// Frames with an answer that is no mere guess.
    pub ball_coverage: f64,
    /// Median distance of answers from the ball, px.
    pub median_px: f64,
    /// The distance that 95 % of the answers are within, px.
    pub p95_px: f64,
    /// Frames that were judged.
    pub frames: usize,
}

impl BallFigures {
    /// Judges the answers to several matches, a list of frames each, as one.
    #[must_use]
    pub fn of<'a>(answers: impl IntoIterator<Item = (&'a Match, &'a [Option<Answer>])>) -> Self {
        let (mut frames, mut near, mut covered, mut errors) = (0_usize, 0_usize, 0_usize, vec![]);
        for (game, answers) in answers {
            for (frame, answer) in answers.iter().enumerate() {
                let Some(ball) = game.ball(frame) else { continue };
                frames += 1;
                if let Some(answer) = answer {
                    let error = distance(answer.place, ball);
                    near += usize::from(error <= NEAR);
                    covered += usize::from(!answer.lost);
                    errors.push(error);
                }
            }
        }
        errors.sort_by(f64::total_cmp);
        let share = |count: usize| 100.0 * ratio(count as f64, frames as f64);
        let at = |share: f64| errors.get((errors.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN);
        Self {
            ball_within_20px: share(near),
            ball_coverage: share(covered),
            median_px: at(0.5),
            p95_px: at(0.95),
            frames,
        }
    }
}

/// Frames without a candidate after which the peers begin anew.
const GIVEN_UP: u32 = 10;
/// The farthest a peer follows the ball in one frame, px.
const FARTHEST: f64 = 120.0;

/// Takes the candidate nearest to the last place; the surest at the beginning and where it gave up.
#[must_use]
pub fn nearest(seen: &Seen) -> Vec<Option<Answer>> {
    let (mut last, mut missing) = (None, 0);
    let answer = |balls: &Vec<Detection>| {
        let found = match last {
            Some(place) if missing <= GIVEN_UP => closest(balls, place, FARTHEST),
            _ => balls.first().map(|surest| middle(&surest.rect)),
        };
        missing = if found.is_some() { 0 } else { missing + 1 };
        last = found.or(last);
        last.map(|place| Answer { place, lost: missing > GIVEN_UP })
    };
    seen.balls.iter().map(answer).collect()
}

fn closest(balls: &[Detection], place: [f64; 2], farthest: f64) -> Option<[f64; 2]> {
    let places = balls.iter().map(|ball| middle(&ball.rect)).filter(|other| distance(*other, place) <= farthest);
    places.min_by(|a, b| distance(*a, place).total_cmp(&distance(*b, place)))
}

/// A Kalman filter of place and velocity with fixed noise (as in OpenCV's examples), which takes the nearest candidate
/// within three standard deviations; the surest at the beginning and where it gave up.
#[must_use]
pub fn plain_kalman(seen: &Seen) -> Vec<Option<Answer>> {
    /// Variances of a measured place (px²), of what a frame adds to the velocity (px² a frame²), of a first velocity.
    const MEASURED: f64 = 4.0;
    const PUSHED: f64 = 1.0;
    const FIRST: f64 = 100.0;
    /// Place and velocity of x and y, and their variances, which are alike.
    struct Filter {
        place: [f64; 2],
        velocity: [f64; 2],
        variances: [f64; 3],
    }
    let (mut filter, mut missing): (Option<Filter>, u32) = (None, 0);
    let answer = |balls: &Vec<Detection>| {
        if let Some(Filter { place, velocity, variances: [p, c, v] }) = &mut filter {
            for (place, velocity) in place.iter_mut().zip(velocity) {
                *place += *velocity;
            }
            (*p, *c, *v) = (*p + 2.0 * *c + *v + PUSHED / 3.0, *c + *v + PUSHED / 2.0, *v + PUSHED);
        }
        let found = match &filter {
            Some(known) if missing <= GIVEN_UP => {
                let gate = 3.0 * (known.variances[0] + MEASURED).sqrt();
                closest(balls, known.place, gate.min(FARTHEST))
            }
            _ => {
                filter = balls.first().map(|surest| Filter {
                    place: middle(&surest.rect),
                    velocity: [0.0; 2],
                    variances: [MEASURED, 0.0, FIRST],
                });
                missing = 0;
                return filter.as_ref().map(|known| Answer { place: known.place, lost: false });
            }
        };
        missing = if found.is_some() { 0 } else { missing + 1 };
        let known = filter.as_mut()?;
        if let Some(seen) = found {
            let [p, c, v] = known.variances;
            let (gain, faster) = (p / (p + MEASURED), c / (p + MEASURED));
            for ((place, velocity), seen) in known.place.iter_mut().zip(&mut known.velocity).zip(seen) {
                let surprise = seen - *place;
                *place += gain * surprise;
                *velocity += faster * surprise;
            }
            known.variances = [p * (1.0 - gain), c * (1.0 - gain), v - faster * c];
        }
        Some(Answer { place: known.place, lost: missing > GIVEN_UP })
    };
    seen.balls.iter().map(answer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Rect, football::Truth};

    fn game(frames: usize) -> Match {
        let truth = |frame: usize| Truth {
            players: vec![],
            ball: Some(Rect { x: 96.0 + 5.0 * frame as f64, y: 96.0, w: 8.0, h: 8.0 }),
        };
        Match {
            name: "a".into(),
            first: 0,
            players: vec![],
            boxes: (0..frames).map(truth).collect(),
            places: None,
            size: (6500.0, 1000.0),
        }
    }

    #[test]
    fn figures_count_what_is_near_and_what_is_not_lost() {
        let game = game(4);
        let at = |x: f64, lost| Some(Answer { place: [x, 100.0], lost });
        let answers = [at(100.0, false), at(125.0, false), at(131.0, true), None];
        let figures = BallFigures::of([(&game, &answers[..])]);
        assert_eq!((figures.ball_within_20px, figures.ball_coverage, figures.frames), (50.0, 50.0, 4));
        assert_eq!((figures.median_px, figures.p95_px), (20.0, 21.0));
    }

    #[test]
    fn peers_follow_a_ball_that_is_always_seen() {
        let game = game(60);
        let balls =
            (0..60).map(|frame| vec![Detection { rect: game.boxes[frame].ball.unwrap(), score: 0.5 }]).collect();
        let seen = Seen { people: vec![], balls };
        for answers in [nearest(&seen), plain_kalman(&seen)] {
            assert_eq!(BallFigures::of([(&game, &answers[..])]).ball_within_20px, 100.0);
        }
    }

    #[test]
    fn peers_begin_anew_where_they_gave_up() {
        let ball = |x: f64| Detection { rect: Rect { x, y: 0.0, w: 8.0, h: 8.0 }, score: 0.5 };
        let mut balls = vec![vec![ball(0.0)]; 3];
        balls.extend(vec![vec![ball(2000.0)]; 20]);
        let seen = Seen { people: vec![], balls };
        for answers in [nearest(&seen), plain_kalman(&seen)] {
            assert!(answers[5].unwrap().place[0] < 100.0 && answers[22].unwrap().place[0] > 1900.0);
        }
    }
}
