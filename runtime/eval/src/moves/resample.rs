//! Resampling from arbitrary sample times to 30 frames per second.

use super::{JOINTS, Joints, UNSEEN_JOINTS};

/// Frame rate of a [`super::Recording`], frames per second.
pub const FRAME_RATE: f64 = 30.0;
/// Longest gap that is interpolated, s.
const MAX_INTERPOLATED_GAP_S: f64 = 0.25;
/// Longest gap between samples, s. A longer one is an invalid timestamp: later samples are dropped, since every frame
/// of a gap takes memory.
const MAX_GAP_S: f64 = 60.0;
/// Share of the frame interval that is averaged, as with an open shutter.
const SHUTTER_SHARE: f64 = 0.6;
/// Points on either side of the frame time, in addition to the one at it, over which the average is taken.
const POINTS_PER_SIDE: i32 = 2;

/// Joints at one time.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Seconds since the start of the recording; strictly increasing.
    pub seconds: f64,
    /// Positions of the joints.
    pub joints: Joints,
}

/// Resamples to [`FRAME_RATE`] from the first sample to the last, each joint independently.
///
/// Between two samples, a monotone cubic is used (Fritsch and Butland, SIAM J. Sci. Stat. Comput. 5, 1984), which stays
/// between their values: slopes at the edges of a gap are mostly noise, and an unconstrained cubic would overshoot.
/// Where samples are much denser than frames, each frame is the mean over a shutter's time, so that noise faster than a
/// frame does not alias into it. A joint is NaN where the samples around a time lack it, or are more than a quarter of
/// a second apart. Samples after a gap of more than a minute are dropped.
#[must_use]
pub fn resample(samples: &[Sample]) -> Vec<Joints> {
    let is_valid_step = |pair: &[Sample]| (0.0..=MAX_GAP_S).contains(&(pair[1].seconds - pair[0].seconds));
    let end = samples.windows(2).position(|pair| !is_valid_step(pair)).map_or(samples.len(), |last| last + 1);
    let samples = &samples[..end];
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return vec![] };
    let span = last.seconds - first.seconds;
    let frames = (span * FRAME_RATE + 1e-6) as usize + 1;
    let is_dense = samples.len() as f64 > 2.0 * span * FRAME_RATE;
    let mut joints = vec![UNSEEN_JOINTS; frames];
    for joint in 0..JOINTS {
        let points: Vec<(f64, [f32; 3])> = samples
            .iter()
            .map(|sample| (sample.seconds - first.seconds, sample.joints[joint]))
            .filter(|(_, position)| position.iter().all(|value| value.is_finite()))
            .collect();
        let mut first_relevant = 0;
        for (number, frame) in joints.iter_mut().enumerate() {
            let time = number as f64 / FRAME_RATE;
            while first_relevant + 1 < points.len()
                && points[first_relevant + 1].0 < time - 0.5 * SHUTTER_SHARE / FRAME_RATE
            {
                first_relevant += 1;
            }
            frame[joint] = if is_dense {
                shutter(&points[first_relevant..], time)
            } else {
                cubic(&points[first_relevant..], time)
            };
        }
    }
    joints
}

/// Averages over the shutter's time. Points before and after the frame time are used in pairs: at the edge of the data
/// the mean must not be biased to one side.
fn shutter(points: &[(f64, [f32; 3])], time: f64) -> [f32; 3] {
    let mut sum = cubic(points, time);
    let mut count = 1.0;
    for point in 1..=POINTS_PER_SIDE {
        let offset = f64::from(point) / f64::from(2 * POINTS_PER_SIDE + 1) * SHUTTER_SHARE / FRAME_RATE;
        let (before, after) = (cubic(points, time - offset), cubic(points, time + offset));
        if before[0].is_finite() && after[0].is_finite() {
            for axis in 0..3 {
                sum[axis] += before[axis] + after[axis];
            }
            count += 2.0;
        }
    }
    sum.map(|sum| sum / count)
}

/// Interpolates the position at a time. `points` starts at most a few samples before it.
fn cubic(points: &[(f64, [f32; 3])], time: f64) -> [f32; 3] {
    let next = points.partition_point(|(seconds, _)| *seconds <= time);
    let Some((t0, p0)) = next.checked_sub(1).map(|before| points[before]) else { return [f32::NAN; 3] };
    // Half a millisecond of tolerance: the last frame may coincide with the last sample.
    let Some((t1, p1)) = points.get(next).copied() else {
        return if time - t0 < 5e-4 { p0 } else { [f32::NAN; 3] };
    };
    let step = t1 - t0;
    if step > MAX_INTERPOLATED_GAP_S {
        return if time - t0 < 5e-4 { p0 } else { [f32::NAN; 3] };
    }
    let (before, after) = (next.checked_sub(2).map(|at| points[at]), points.get(next + 1).copied());
    std::array::from_fn(|axis| {
        let chord = f64::from(p1[axis] - p0[axis]) / step;
        let slope = |neighbor: Option<(f64, [f32; 3])>, (t, p): (f64, [f32; 3])| match neighbor {
            Some((time, position)) if (time - t).abs() <= MAX_INTERPOLATED_GAP_S => {
                monotone_slope((f64::from(position[axis] - p[axis]) / (time - t), (time - t).abs()), (chord, step))
            }
            _ => chord,
        };
        let (m0, m1) = (slope(before, (t0, p0)) * step, slope(after, (t1, p1)) * step);
        let u = (time - t0) / step;
        let (u2, u3) = (u * u, u * u * u);
        let position = (2.0 * u3 - 3.0 * u2 + 1.0) * f64::from(p0[axis])
            + (u3 - 2.0 * u2 + u) * m0
            + (3.0 * u2 - 2.0 * u3) * f64::from(p1[axis])
            + (u3 - u2) * m1;
        position as f32
    })
}

/// Returns the slope at a sample between two chords, each given by its slope and width: their weighted harmonic mean,
/// or 0 if they have opposite signs.
fn monotone_slope((a, a_width): (f64, f64), (b, b_width): (f64, f64)) -> f64 {
    if a * b <= 0.0 {
        return 0.0;
    }
    let (a_weight, b_weight) = (2.0 * b_width + a_width, b_width + 2.0 * a_width);
    (a_weight + b_weight) / (a_weight / a + b_weight / b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(times: &[f64], path: impl Fn(f64) -> f64) -> Vec<Sample> {
        times
            .iter()
            .map(|seconds| {
                let mut joints = UNSEEN_JOINTS;
                joints[0] = [path(*seconds) as f32, 0.0, 1.0];
                Sample { seconds: *seconds, joints }
            })
            .collect()
    }

    #[test]
    fn an_invalid_timestamp_ends_the_recording_instead_of_exhausting_memory() {
        for wrong in [1e15, f64::INFINITY, f64::NAN, -1.0] {
            assert_eq!(resample(&samples(&[0.0, 0.1, wrong, 0.3], |t| t)).len(), 4, "{wrong}");
        }
        assert_eq!(resample(&samples(&[0.0, 0.1, 50.0], |t| t)).len(), 1501);
    }

    #[test]
    fn a_constant_acceleration_is_followed_at_any_sample_rate() {
        let path = |t: f64| 3.0 * t * t - t;
        for rate in [15.0, 25.0, 60.0, 200.0] {
            let times: Vec<f64> = (0..(2.0 * rate) as usize).map(|i| i as f64 / rate).collect();
            let frames = resample(&samples(&times, path));
            assert!((frames.len() as f64 - 60.0).abs() <= 2.0, "{} frames from {rate} a second", frames.len());
            for (number, frame) in frames.iter().enumerate().skip(3).take(frames.len() - 7) {
                let expected = path(number as f64 / FRAME_RATE);
                // The cubic is flat at the extremum, where a parabola is not; the error falls with the sample interval.
                let error = (f64::from(frame[0][0]) - expected).abs();
                assert!(error < 4.0 / (rate * rate), "{rate}: {error} at {number}");
                assert!(frame[1][0].is_nan());
            }
        }
    }

    #[test]
    fn short_gaps_are_interpolated_and_long_ones_are_not() {
        let mut times: Vec<f64> = (0..20).map(|i| f64::from(i) * 0.02).collect();
        times.extend((0..20).map(|i| 0.58 + f64::from(i) * 0.02));
        times.extend((0..20).map(|i| 1.5 + f64::from(i) * 0.02));
        let frames = resample(&samples(&times, |t| t));
        assert!(frames[..29].iter().all(|frame| frame[0][0].is_finite()), "0.38 to 0.58 s");
        assert!(frames[30..44].iter().all(|frame| frame[0][0].is_nan()), "0.96 to 1.5 s");
        assert!(frames[46][0][0].is_finite());
    }

    #[test]
    fn interpolation_over_a_gap_does_not_overshoot() {
        // Noise before and after the gap: slopes of 2 per second without meaning.
        let mut times: Vec<f64> = (0..20).map(|i| f64::from(i) * 0.005).collect();
        times.extend((0..20).map(|i| 0.3 + f64::from(i) * 0.005));
        let frames = resample(&samples(&times, |t| if (t * 200.0).round() as i32 % 2 == 0 { 0.0 } else { 0.01 }));
        let furthest = frames.iter().map(|frame| frame[0][0].abs()).fold(0.0, f32::max);
        assert!(furthest < 0.0101, "{furthest}");
    }

    #[test]
    fn no_samples_give_no_frames() {
        assert!(resample(&[]).is_empty());
        assert_eq!(resample(&samples(&[0.0], |_| 1.0)).len(), 1);
    }
}
