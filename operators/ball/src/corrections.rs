//! Where the ball was, once it is known how it went on: a smoother that lags some frames behind.
//!
//! What was taken for the ball in the last frames is filtered once more and then smoothed backwards (Rauch, Tung and
//! Striebel, AIAA Journal 3, 1965). Where another trail took over, its earlier places stand in for those that turned out to
//! be another's.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::{
    BallConfig, frames,
    motion::{Matrix, Motion, apply, product, transition, transposed},
    trail::{Hit, KICK_SPEED},
};

/// A frame of the past.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Moment {
    frame: u64,
    /// Frames of 1/30 s since the moment before.
    frames: f64,
    hit: Option<Hit>,
}

/// Where the ball was in an earlier frame, px of a picture 1080 high.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Corrected {
    /// The frame.
    pub frame: u64,
    /// Its middle.
    pub place: [f64; 2],
    /// Its radius.
    pub radius: f64,
    /// Nothing was taken for it in that frame.
    pub filled: bool,
}

/// The last frames.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct History {
    moments: VecDeque<Moment>,
}

impl History {
    /// A frame begins; of those before, `keep` are kept.
    pub fn begin(&mut self, frame: u64, frames: f64, keep: usize) {
        self.moments.push_back(Moment { frame, frames, hit: None });
        while self.moments.len() > keep {
            self.moments.pop_front();
        }
    }

    /// This was taken for the ball.
    pub fn take(&mut self, hit: &Hit) {
        if let Some(moment) = self.moments.iter_mut().rev().find(|moment| moment.frame == hit.frame) {
            moment.hit = Some(*hit);
        }
    }

    /// From the first of these on, the ball was here and nowhere else.
    pub fn replace(&mut self, hits: &VecDeque<Hit>) {
        let Some(first) = hits.front() else { return };
        self.moments.iter_mut().filter(|moment| moment.frame >= first.frame).for_each(|moment| moment.hit = None);
        hits.iter().for_each(|hit| self.take(hit));
    }

    /// Where the ball was `lag` frames before the last one; `None` before the first, and in gaps that are not filled.
    pub fn lagging(&self, lag: usize, config: &BallConfig) -> Option<Corrected> {
        let at = self.moments.len().checked_sub(lag + 1)?;
        self.smoothed(config).into_iter().find(|corrected| corrected.frame == self.moments[at].frame)
    }

    /// Where the ball was in the last `lag` frames.
    pub fn rest(&self, lag: usize, config: &BallConfig) -> Vec<Corrected> {
        let first = self.moments.len().saturating_sub(lag);
        let Some(first) = self.moments.get(first).map(|moment| moment.frame) else { return vec![] };
        self.smoothed(config).into_iter().filter(|corrected| corrected.frame >= first).collect()
    }

    /// Every moment that can be told, run by run: a run ends where the ball was not seen for longer than `fill_s`, or is
    /// farther off afterwards than it can have come.
    fn smoothed(&self, config: &BallConfig) -> Vec<Corrected> {
        let mut corrected = vec![];
        let mut run: Vec<&Moment> = vec![];
        let (mut since, mut last): (f64, Option<Hit>) = (0.0, None);
        for moment in &self.moments {
            since += moment.frames;
            if let (Some(hit), Some(before)) = (moment.hit, last) {
                let way = (hit.place[0] - before.place[0]).hypot(hit.place[1] - before.place[1]);
                if since > frames(config.fill_s) || way > config.jump * since.max(1.0) {
                    finish(&mut run, config, &mut corrected);
                }
            }
            if let Some(hit) = moment.hit {
                (since, last) = (0.0, Some(hit));
            }
            if !run.is_empty() || moment.hit.is_some() {
                run.push(moment);
            }
        }
        finish(&mut run, config, &mut corrected);
        corrected
    }
}

/// What the filter knew at a moment.
struct Known {
    /// After the moment before, moved on; and with this moment's measurement.
    foreseen: Motion,
    motion: Motion,
    /// What moved it on.
    step: Matrix,
}

/// Smooths a run, which begins with a hit; what follows its last one is not told.
fn finish(run: &mut Vec<&Moment>, config: &BallConfig, corrected: &mut Vec<Corrected>) {
    while run.pop_if(|moment| moment.hit.is_none()).is_some() {}
    let mut known: Vec<Known> = Vec::with_capacity(run.len());
    let mut since = 0.0;
    for moment in run.iter() {
        let step = transition(moment.frames);
        since += moment.frames;
        let mut motion = match (known.last(), &moment.hit) {
            (Some(before), _) => before.motion.clone(),
            (None, Some(hit)) => Motion::at(hit.place, config.noise_most),
            (None, None) => return,
        };
        if !known.is_empty() {
            motion.predict(moment.frames, config.process_noise);
            if moment.hit.is_some_and(|hit| hit.kicked) {
                motion.kick(since, KICK_SPEED);
            }
        }
        let foreseen = motion.clone();
        if let Some(hit) = &moment.hit {
            if !known.is_empty() {
                motion.update(hit.place, config.noise_least);
            }
            since = 0.0;
        }
        known.push(Known { foreseen, motion, step });
    }
    let mut axes: Vec<[[f64; 3]; 2]> = known.iter().map(|known| known.motion.axes).collect();
    for at in (0..known.len().saturating_sub(1)).rev() {
        let (here, next) = (&known[at], &known[at + 1]);
        let back = product(&here.motion.covariance, &transposed(&next.step));
        let Some(inverse) = inverse(&next.foreseen.covariance) else { continue };
        let share = product(&back, &inverse);
        let later = axes[at + 1];
        for ((axis, later), foreseen) in axes[at].iter_mut().zip(later).zip(next.foreseen.axes) {
            let surprise: [f64; 3] = std::array::from_fn(|i| later[i] - foreseen[i]);
            axis.iter_mut().zip(apply(&share, &surprise)).for_each(|(value, by)| *value += by);
        }
    }
    let mut radius = 0.0;
    for (moment, axes) in run.drain(..).zip(axes) {
        radius = moment.hit.map_or(radius, |hit| hit.radius);
        let place = axes.map(|axis| axis[0]);
        corrected.push(Corrected { frame: moment.frame, place, radius, filled: moment.hit.is_none() });
    }
}

/// The inverse of a symmetric matrix, by cofactors.
fn inverse(a: &Matrix) -> Option<Matrix> {
    let cofactor = |i: usize, j: usize| {
        let at = |di: usize, dj: usize| a[(i + di) % 3][(j + dj) % 3];
        at(1, 1) * at(2, 2) - at(1, 2) * at(2, 1)
    };
    let determinant: f64 = (0..3).map(|j| a[0][j] * cofactor(0, j)).sum();
    let usable = determinant.is_finite() && determinant.abs() > 1e-12;
    usable.then(|| std::array::from_fn(|i| std::array::from_fn(|j| cofactor(j, i) / determinant)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(places: &[Option<[f64; 2]>]) -> History {
        let mut history = History::default();
        for (frame, place) in (0..).zip(places) {
            history.begin(frame, 1.0, 1000);
            if let Some(place) = *place {
                history.take(&Hit { frame, place, radius: 4.0, score: 0.5, kicked: false });
            }
        }
        history
    }

    #[test]
    fn an_inverse_undoes_its_matrix() {
        let a = [[4.0, 1.0, 0.5], [1.0, 3.0, 0.2], [0.5, 0.2, 2.0]];
        let one = product(&a, &inverse(&a).unwrap());
        for (i, row) in one.iter().enumerate() {
            for (j, value) in row.iter().enumerate() {
                assert!((value - f64::from(u8::from(i == j))).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn a_gap_is_filled_with_what_lies_between() {
        let at = |t: f64| [100.0 + 8.0 * t, 300.0 - 0.2 * t * t];
        let places: Vec<_> = (0..40).map(|t| (!(15..25).contains(&t)).then(|| at(f64::from(t)))).collect();
        let corrected = history(&places).rest(40, &BallConfig::default());
        assert_eq!(corrected.len(), 40);
        for row in corrected {
            let true_ = at(row.frame as f64);
            let off = (row.place[0] - true_[0]).hypot(row.place[1] - true_[1]);
            assert!(off < 3.0 && row.filled == (15..25).contains(&row.frame), "{row:?} {true_:?}");
        }
    }

    #[test]
    fn a_gap_that_is_too_long_or_too_wide_stays_one() {
        let config = BallConfig { fill_s: 10.0 / 30.0, ..BallConfig::default() };
        let long: Vec<_> = (0..30).map(|t| (!(5..20).contains(&t)).then_some([0.0, 0.0])).collect();
        assert_eq!(history(&long).rest(30, &config).len(), 15);
        let wide: Vec<_> = (0..10).map(|t| (t != 5).then_some([if t < 5 { 0.0 } else { 1000.0 }, 0.0])).collect();
        assert!(history(&wide).rest(10, &config).iter().all(|row| row.frame != 5));
    }
}
