//! Fixed-lag smoother: positions of the ball in earlier frames, corrected by later detections.
//!
//! The hits of the last frames are filtered again and then smoothed backwards (Rauch, Tung and Striebel, AIAA Journal
//! 3, 1965). Where another hypothesis became active, its earlier hits replace those of the hypothesis before, which
//! turned out to be another object's.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::{
    BallConfig,
    hypothesis::{Hit, KICK_SPEED_STD},
    motion::{Matrix, MotionEstimate, multiply, multiply_vector, transition, transpose},
    to_frames,
};

/// A past frame.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct FrameRecord {
    frame: u64,
    /// Frames of 1/30 s since the frame before.
    elapsed_frames: f64,
    hit: Option<Hit>,
}

/// A corrected position in an earlier frame, px of a frame 1080 high.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SmoothedPosition {
    /// Number of the frame.
    pub frame: u64,
    /// Center of the ball.
    pub position: [f64; 2],
    /// Radius of the ball.
    pub radius: f64,
    /// No detection was associated with the ball in that frame: the position is interpolated.
    pub is_filled: bool,
}

/// The last frames and their hits.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct History {
    records: VecDeque<FrameRecord>,
}

impl History {
    /// Appends a frame and drops the oldest ones, so that at most `capacity` remain.
    pub fn push_frame(&mut self, frame: u64, elapsed_frames: f64, capacity: usize) {
        self.records.push_back(FrameRecord { frame, elapsed_frames, hit: None });
        while self.records.len() > capacity {
            self.records.pop_front();
        }
    }

    /// Records a hit of the active hypothesis in its frame.
    pub fn record_hit(&mut self, hit: &Hit) {
        if let Some(record) = self.records.iter_mut().rev().find(|record| record.frame == hit.frame) {
            record.hit = Some(*hit);
        }
    }

    /// Replaces all hits from the first of `hits` on.
    pub fn replace_hits(&mut self, hits: &VecDeque<Hit>) {
        let Some(first) = hits.front() else { return };
        self.records.iter_mut().filter(|record| record.frame >= first.frame).for_each(|record| record.hit = None);
        hits.iter().for_each(|hit| self.record_hit(hit));
    }

    /// Returns the position `lag` frames before the last frame; `None` before the first hit, and in gaps that are not
    /// filled.
    pub fn smoothed_at_lag(&self, lag: usize, config: &BallConfig) -> Option<SmoothedPosition> {
        let at = self.records.len().checked_sub(lag + 1)?;
        self.smooth(config).into_iter().find(|corrected| corrected.frame == self.records[at].frame)
    }

    /// Returns the positions in the last `lag` frames.
    pub fn smoothed_tail(&self, lag: usize, config: &BallConfig) -> Vec<SmoothedPosition> {
        let first = self.records.len().saturating_sub(lag);
        let Some(first) = self.records.get(first).map(|record| record.frame) else { return vec![] };
        self.smooth(config).into_iter().filter(|corrected| corrected.frame >= first).collect()
    }

    /// Smooths the history segment by segment. A segment ends at a gap longer than `fill_s`, or at a hit that is
    /// farther from the one before than the ball can have moved.
    fn smooth(&self, config: &BallConfig) -> Vec<SmoothedPosition> {
        let mut corrected = vec![];
        let mut segment: Vec<&FrameRecord> = vec![];
        let (mut since_hit, mut last_hit): (f64, Option<Hit>) = (0.0, None);
        for record in &self.records {
            since_hit += record.elapsed_frames;
            if let (Some(hit), Some(before)) = (record.hit, last_hit) {
                let distance = (hit.position[0] - before.position[0]).hypot(hit.position[1] - before.position[1]);
                if since_hit > to_frames(config.fill_s) || distance > config.jump * since_hit.max(1.0) {
                    smooth_segment(&mut segment, config, &mut corrected);
                }
            }
            if let Some(hit) = record.hit {
                (since_hit, last_hit) = (0.0, Some(hit));
            }
            if !segment.is_empty() || record.hit.is_some() {
                segment.push(record);
            }
        }
        smooth_segment(&mut segment, config, &mut corrected);
        corrected
    }
}

/// State of the forward filter in one frame.
struct FilterStep {
    /// Estimate predicted from the frame before.
    predicted: MotionEstimate,
    /// Estimate updated with this frame's hit.
    updated: MotionEstimate,
    /// State transition from the frame before.
    transition: Matrix,
}

/// Smooths a segment, which begins with a hit; frames after its last hit are left out.
fn smooth_segment(segment: &mut Vec<&FrameRecord>, config: &BallConfig, corrected: &mut Vec<SmoothedPosition>) {
    while segment.pop_if(|record| record.hit.is_none()).is_some() {}
    let mut steps: Vec<FilterStep> = Vec::with_capacity(segment.len());
    let mut since_hit = 0.0;
    for record in segment.iter() {
        let transition = transition(record.elapsed_frames);
        since_hit += record.elapsed_frames;
        let mut motion = match (steps.last(), &record.hit) {
            (Some(before), _) => before.updated.clone(),
            (None, Some(hit)) => MotionEstimate::from_position(hit.position, config.noise_most),
            (None, None) => return,
        };
        if !steps.is_empty() {
            motion.predict(record.elapsed_frames, config.process_noise);
            if record.hit.is_some_and(|hit| hit.is_kick) {
                motion.inflate_for_kick(since_hit, KICK_SPEED_STD);
            }
        }
        let predicted = motion.clone();
        if let Some(hit) = &record.hit {
            if !steps.is_empty() {
                motion.update(hit.position, config.noise_least);
            }
            since_hit = 0.0;
        }
        steps.push(FilterStep { predicted, updated: motion, transition });
    }
    let mut axes: Vec<[[f64; 3]; 2]> = steps.iter().map(|step| step.updated.axes).collect();
    for at in (0..steps.len().saturating_sub(1)).rev() {
        let (here, next) = (&steps[at], &steps[at + 1]);
        let cross_covariance = multiply(&here.updated.covariance, &transpose(&next.transition));
        let Some(inverse) = invert(&next.predicted.covariance) else { continue };
        let gain = multiply(&cross_covariance, &inverse);
        let later = axes[at + 1];
        for ((axis, later), predicted) in axes[at].iter_mut().zip(later).zip(next.predicted.axes) {
            let difference: [f64; 3] = std::array::from_fn(|i| later[i] - predicted[i]);
            axis.iter_mut()
                .zip(multiply_vector(&gain, &difference))
                .for_each(|(value, correction)| *value += correction);
        }
    }
    let mut radius = 0.0;
    for (record, axes) in segment.drain(..).zip(axes) {
        radius = record.hit.map_or(radius, |hit| hit.radius);
        let position = axes.map(|axis| axis[0]);
        corrected.push(SmoothedPosition { frame: record.frame, position, radius, is_filled: record.hit.is_none() });
    }
}

/// Returns the inverse of a symmetric matrix, by cofactors; `None` where it is singular.
fn invert(a: &Matrix) -> Option<Matrix> {
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

    fn history_of(positions: &[Option<[f64; 2]>]) -> History {
        let mut history = History::default();
        for (frame, position) in (0..).zip(positions) {
            history.push_frame(frame, 1.0, 1000);
            if let Some(position) = *position {
                history.record_hit(&Hit { frame, position, radius: 4.0, score: 0.5, is_kick: false });
            }
        }
        history
    }

    #[test]
    fn a_matrix_times_its_inverse_is_the_identity() {
        let a = [[4.0, 1.0, 0.5], [1.0, 3.0, 0.2], [0.5, 0.2, 2.0]];
        let identity = multiply(&a, &invert(&a).unwrap());
        for (i, row) in identity.iter().enumerate() {
            for (j, value) in row.iter().enumerate() {
                assert!((value - f64::from(u8::from(i == j))).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn gaps_are_filled_by_interpolation() {
        let at = |t: f64| [100.0 + 8.0 * t, 300.0 - 0.2 * t * t];
        let positions: Vec<_> = (0..40).map(|t| (!(15..25).contains(&t)).then(|| at(f64::from(t)))).collect();
        let corrected = history_of(&positions).smoothed_tail(40, &BallConfig::default());
        assert_eq!(corrected.len(), 40);
        for row in corrected {
            let expected = at(row.frame as f64);
            let off = (row.position[0] - expected[0]).hypot(row.position[1] - expected[1]);
            assert!(off < 3.0 && row.is_filled == (15..25).contains(&row.frame), "{row:?} {expected:?}");
        }
    }

    #[test]
    fn gaps_that_are_too_long_or_too_wide_are_not_filled() {
        let config = BallConfig { fill_s: 10.0 / 30.0, ..BallConfig::default() };
        let long: Vec<_> = (0..30).map(|t| (!(5..20).contains(&t)).then_some([0.0, 0.0])).collect();
        assert_eq!(history_of(&long).smoothed_tail(30, &config).len(), 15);
        let wide: Vec<_> = (0..10).map(|t| (t != 5).then_some([if t < 5 { 0.0 } else { 1000.0 }, 0.0])).collect();
        assert!(history_of(&wide).smoothed_tail(10, &config).iter().all(|row| row.frame != 5));
    }
}
