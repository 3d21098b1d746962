//! The ball: a ring around it, dashed where its place is only predicted, and the way it came.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use sideline_api::tables::Ball;

use crate::{canvas::Rgb, overlay::Overlay};

/// How long the way behind the ball is seen, ns.
const TRAIL: i64 = 1_000_000_000;
/// Most points of it, whatever the frame rate.
const POINTS: usize = 240;
const COLOR: Rgb = Rgb(255, 236, 110);

/// Where the ball was, newest last: media time in ns, x and y in pixels of the frame.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Trail(VecDeque<(i64, f32, f32)>);

impl Trail {
    /// The ball of this frame, if it is anywhere; a lost one leaves no trail.
    pub fn follow(&mut self, now: i64, ball: Option<&Ball>) {
        match ball {
            Some(ball) if is_somewhere(ball) => self.0.push_back((now, ball.x, ball.y)),
            Some(_) => self.0.clear(),
            None => {}
        }
        while self.0.len() > POINTS || self.0.front().is_some_and(|(then, ..)| now - then > TRAIL) {
            self.0.pop_front();
        }
    }
}

fn is_somewhere(ball: &Ball) -> bool {
    ball.mode != "lost" && ball.x.is_finite() && ball.y.is_finite()
}

impl Overlay<'_, '_> {
    /// Draws the way the ball came, fading.
    pub(crate) fn trail(&mut self, trail: &Trail) {
        let Some((now, ..)) = trail.0.back().copied() else { return };
        let (lens, ink) = (self.look.lens, self.ink(COLOR));
        for ((_, x1, y1), (then, x2, y2)) in trail.0.iter().zip(trail.0.iter().skip(1)) {
            let fresh = 1.0 - (now - then) as f32 / TRAIL as f32;
            let width = (1.0 + 2.4 * fresh) * self.scale;
            self.canvas.line(lens.at([*x1, *y1]), lens.at([*x2, *y2]), width.max(1.0), ink.faded(0.75 * fresh));
        }
    }

    /// Draws the ring.
    pub(crate) fn ball(&mut self, ball: &Ball) {
        if !is_somewhere(ball) {
            return;
        }
        let at = self.look.lens.at([ball.x, ball.y]);
        let s = self.scale;
        let radius = (self.look.lens.length(ball.radius.max(0.0)) * 1.5).clamp(9.0 * s, 60.0 * s);
        let dashes = if ball.measured { 0 } else { 6 };
        let seam = self.ink(Rgb(8, 10, 14)).faded(0.5);
        self.canvas.ring(at, radius, 4.6 * s, dashes, seam);
        let ink = self.ink(COLOR).faded(if ball.measured { 1.0 } else { 0.8 });
        self.canvas.ring(at, radius, 2.6 * s, dashes, ink);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ball(x: f32, mode: &str) -> Ball {
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
            mode: mode.into(),
            spread: 1.0,
        }
    }

    #[test]
    fn a_trail_is_a_second_long_and_bounded_and_a_lost_ball_has_none() {
        let mut trail = Trail::default();
        for frame in 0..90 {
            trail.follow(frame * 33_333_333, Some(&ball(frame as f32, "normal")));
        }
        assert_eq!(trail.0.len(), 31);
        for frame in 0..10_000 {
            trail.follow(3_000_000_000 + frame, Some(&ball(1.0, "locked")));
        }
        assert_eq!(trail.0.len(), POINTS);
        trail.follow(3_100_000_000, None);
        assert_eq!(trail.0.len(), POINTS, "a frame without an answer");
        trail.follow(3_200_000_000, Some(&ball(1.0, "lost")));
        assert!(trail.0.is_empty());
    }
}
