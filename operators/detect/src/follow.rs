//! Where the ball should be, by where it was seen last: just enough to know where to look. The operator `ball` knows better,
//! and later.

use serde::{Deserialize, Serialize};
use sideline_api::tables::Detection;

/// Seconds after which a ball that was not seen may be anywhere.
const FORGET: f64 = 0.5;
/// How much of a new velocity is taken over.
const FRESH: f32 = 0.5;
/// How far from where it should be a candidate may be, px at 1080 lines a second of not being seen, and at once: 120 px is
/// what `ball` calls a jump.
const REACH: f32 = 3600.0;
const AT_ONCE: f32 = 120.0;

/// The ball as it was seen last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BallMemory {
    x: f32,
    y: f32,
    /// px per second.
    vx: f32,
    vy: f32,
    /// Media time, ns.
    pts: i64,
}

impl BallMemory {
    /// Where it should be now; `None` where it has not been seen for too long.
    pub fn expected(&self, pts: i64) -> Option<(f32, f32)> {
        let seconds = (pts - self.pts) as f64 * 1e-9;
        (seconds <= FORGET).then_some((self.x + self.vx * seconds as f32, self.y + self.vy * seconds as f32))
    }

    /// Takes in the candidates of a look. `scale`: lines of the picture / 1080.
    pub fn saw(memory: &mut Option<Self>, balls: &[Detection], pts: i64, scale: f32) {
        let middle = |ball: &Detection| ((ball.x1 + ball.x2) / 2.0, (ball.y1 + ball.y2) / 2.0);
        let Some((before, (x, y))) = memory.as_ref().and_then(|ball| Some((ball, ball.expected(pts)?))) else {
            // Surest first, of equals the first: the order in which they come.
            *memory = balls.first().map(middle).map(|(x, y)| Self { x, y, vx: 0.0, vy: 0.0, pts });
            return;
        };
        let seconds = (pts - before.pts) as f32 * 1e-9;
        let reach = scale * (AT_ONCE + REACH * seconds);
        let far = |ball: &&Detection| {
            let (bx, by) = middle(ball);
            (bx - x).hypot(by - y)
        };
        let nearest = balls.iter().min_by(|a, b| far(a).total_cmp(&far(b))).filter(|ball| far(ball) <= reach);
        let Some((new_x, new_y)) = nearest.map(middle) else { return };
        let velocity = |now: f32, then: f32, old: f32| {
            if seconds > 0.0 { old + FRESH * ((now - then) / seconds - old) } else { old }
        };
        let (vx, vy) = (velocity(new_x, before.x, before.vx), velocity(new_y, before.y, before.vy));
        *memory = Some(Self { x: new_x, y: new_y, vx, vy, pts });
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
    fn it_is_expected_where_it_flies() {
        let mut memory = None;
        for frame in 0..10 {
            BallMemory::saw(&mut memory, &[ball(100.0 + 20.0 * frame as f32, 50.0, 0.5)], frame * FRAME, 1.0);
        }
        let (x, y) = memory.unwrap().expected(10 * FRAME).unwrap();
        assert!((x - 300.0).abs() < 2.0 && (y - 50.0).abs() < 0.1, "{x} {y}");
    }

    #[test]
    fn a_ball_far_away_is_another_one_until_this_one_is_forgotten() {
        let mut memory = None;
        BallMemory::saw(&mut memory, &[ball(100.0, 50.0, 0.5)], 0, 1.0);
        BallMemory::saw(&mut memory, &[ball(1500.0, 50.0, 0.9), ball(110.0, 50.0, 0.3)], FRAME, 1.0);
        assert!(memory.as_ref().unwrap().expected(FRAME).unwrap().0 < 120.0);
        BallMemory::saw(&mut memory, &[ball(1500.0, 50.0, 0.9)], 2 * FRAME, 1.0);
        assert!(memory.as_ref().unwrap().expected(2 * FRAME).unwrap().0 < 130.0);
        assert_eq!(memory.as_ref().unwrap().expected(18 * FRAME), None);
        BallMemory::saw(&mut memory, &[ball(1500.0, 50.0, 0.9)], 18 * FRAME, 1.0);
        assert_eq!(memory.unwrap().expected(18 * FRAME), Some((1500.0, 50.0)));
    }

    #[test]
    fn without_candidates_there_is_none() {
        let mut memory = None;
        BallMemory::saw(&mut memory, &[], 0, 1.0);
        assert_eq!(memory, None);
    }
}
