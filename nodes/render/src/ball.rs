//! Ball overlays: a ring around the ball, dashed if its position is predicted, and its trail.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use sideline_sport::tables::{Ball, BallMode};

use crate::{canvas::Rgb, overlay::Overlay};

/// Length of the trail, ns.
const TRAIL_NS: i64 = 1_000_000_000;
/// Maximum number of points in the trail, for any frame rate.
const MAX_POINTS: usize = 240;
const BALL_COLOR: Rgb = Rgb(255, 236, 110);

/// Recent positions of the ball, newest last: media time in ns, x and y in pixels of the source frame.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Trail(VecDeque<(i64, f32, f32)>);

impl Trail {
    /// Adds the ball of this frame. A lost ball clears the trail; a frame without a row keeps it.
    pub fn update(&mut self, now: i64, ball: Option<&Ball>) {
        match ball {
            Some(ball) if has_position(ball) => self.0.push_back((now, ball.x, ball.y)),
            Some(_) => self.0.clear(),
            None => {}
        }
        while self.0.len() > MAX_POINTS || self.0.front().is_some_and(|(then, ..)| now - then > TRAIL_NS) {
            self.0.pop_front();
        }
    }
}

fn has_position(ball: &Ball) -> bool {
    ball.mode != BallMode::Lost && ball.x.is_finite() && ball.y.is_finite()
}

impl Overlay<'_, '_> {
    /// Draws the trail, thinner and fainter for older positions.
    pub(crate) fn draw_trail(&mut self, trail: &Trail) {
        let Some((now, ..)) = trail.0.back().copied() else { return };
        let (viewport, ink) = (self.style.viewport, self.ink(BALL_COLOR));
        for ((_, x1, y1), (then, x2, y2)) in trail.0.iter().zip(trail.0.iter().skip(1)) {
            let freshness = 1.0 - (now - then) as f32 / TRAIL_NS as f32;
            let width = ((1.0 + 2.4 * freshness) * self.scale).max(1.0);
            let (from, to) = (viewport.point([*x1, *y1]), viewport.point([*x2, *y2]));
            self.canvas.line(from, to, width, ink.faded(0.75 * freshness));
        }
    }

    /// Draws the ring around the ball.
    pub(crate) fn draw_ball(&mut self, ball: &Ball) {
        if !has_position(ball) {
            return;
        }
        let viewport = self.style.viewport;
        let center = viewport.point([ball.x, ball.y]);
        let s = self.scale;
        let radius = (viewport.length(ball.radius.max(0.0)) * 1.5).clamp(9.0 * s, 60.0 * s);
        let dashes = if ball.measured { 0 } else { 6 };
        let outline = self.ink(Rgb(8, 10, 14)).faded(0.5);
        self.canvas.ring(center, radius, 4.6 * s, dashes, outline);
        let ink = self.ink(BALL_COLOR).faded(if ball.measured { 1.0 } else { 0.8 });
        self.canvas.ring(center, radius, 2.6 * s, dashes, ink);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ball(x: f32, mode: BallMode) -> Ball {
        Ball {
            x,
            y: 5.0,
            vx: 0.0,
            vy: 0.0,
            ax: 0.0,
            ay: 0.0,
            radius: 4.0,
            score: 0.5,
            measured: true,
            missing: 0,
            mode,
            spread: 1.0,
        }
    }

    #[test]
    fn the_trail_is_a_second_long_and_bounded_and_a_lost_ball_clears_it() {
        let mut trail = Trail::default();
        for frame in 0..90 {
            trail.update(frame * 33_333_333, Some(&ball(frame as f32, BallMode::Normal)));
        }
        assert_eq!(trail.0.len(), 31);
        for frame in 0..10_000 {
            trail.update(3_000_000_000 + frame, Some(&ball(1.0, BallMode::Locked)));
        }
        assert_eq!(trail.0.len(), MAX_POINTS);
        trail.update(3_100_000_000, None);
        assert_eq!(trail.0.len(), MAX_POINTS, "a frame without a row keeps the trail");
        trail.update(3_200_000_000, Some(&ball(1.0, BallMode::Lost)));
        assert!(trail.0.is_empty());
    }
}
