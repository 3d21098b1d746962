//! From samples at any times to frames at 30 a second.

use super::{JOINTS, Joints, UNSEEN};

/// Frames a second of a [`super::Recording`].
pub const RATE: f64 = 30.0;
/// Over longer gaps than this nothing is guessed, s.
const BRIDGE: f64 = 0.25;
/// A longer gap than this is a wrong time, s: what comes behind it is left out, as every frame of a gap takes memory.
const LONGEST_GAP: f64 = 60.0;
/// Part of a frame that is averaged, as an open shutter does.
const SHUTTER: f64 = 0.6;
/// Points on either side of which, with the one between, the average is made.
const POINTS: i32 = 2;

/// Joints at one time.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Seconds since the recording's beginning; rising from sample to sample.
    pub seconds: f64,
    /// Where the joints are.
    pub joints: Joints,
}

/// Frames at [`RATE`] from the first sample to the last, each joint for itself: a cubic through the two samples around
/// the time that stays between them (Fritsch and Butland, SIAM J. Sci. Stat. Comput. 5, 1984): slopes at the edges of a gap
/// are mostly noise, and a cubic that trusts them swings far out of it. Where samples are much closer than frames, each
/// frame is the mean over a shutter's time: noise faster than a frame is not folded into it. A joint is NaN where the
/// samples around a time do not have it, or lie more than a quarter of a second apart. Samples behind a gap of more than a
/// minute are left out.
#[must_use]
pub fn resample(samples: &[Sample]) -> Vec<Joints> {
    let goes_on = |pair: &[Sample]| (0.0..=LONGEST_GAP).contains(&(pair[1].seconds - pair[0].seconds));
    let end = samples.windows(2).position(|pair| !goes_on(pair)).map_or(samples.len(), |last| last + 1);
    let samples = &samples[..end];
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return vec![] };
    let span = last.seconds - first.seconds;
    let frames = (span * RATE + 1e-6) as usize + 1;
    let dense = samples.len() as f64 > 2.0 * span * RATE;
    let mut joints = vec![UNSEEN; frames];
    for joint in 0..JOINTS {
        let seen: Vec<(f64, [f32; 3])> = samples
            .iter()
            .map(|sample| (sample.seconds - first.seconds, sample.joints[joint]))
            .filter(|(_, place)| place.iter().all(|value| value.is_finite()))
            .collect();
        let mut at = 0;
        for (number, frame) in joints.iter_mut().enumerate() {
            let time = number as f64 / RATE;
            while at + 1 < seen.len() && seen[at + 1].0 < time - 0.5 * SHUTTER / RATE {
                at += 1;
            }
            frame[joint] = if dense { shutter(&seen[at..], time) } else { cubic(&seen[at..], time) };
        }
    }
    joints
}

/// The mean over the shutter's time. Before and after the time the same points count: at the edge of what is known the mean
/// must not lean to one side.
fn shutter(seen: &[(f64, [f32; 3])], time: f64) -> [f32; 3] {
    let mut sum = cubic(seen, time);
    let mut count = 1.0;
    for point in 1..=POINTS {
        let offset = f64::from(point) / f64::from(2 * POINTS + 1) * SHUTTER / RATE;
        let (before, after) = (cubic(seen, time - offset), cubic(seen, time + offset));
        if before[0].is_finite() && after[0].is_finite() {
            for axis in 0..3 {
                sum[axis] += before[axis] + after[axis];
            }
            count += 2.0;
        }
    }
    sum.map(|sum| sum / count)
}

/// The place at a time; `seen` begins at most a few samples before it.
fn cubic(seen: &[(f64, [f32; 3])], time: f64) -> [f32; 3] {
    let next = seen.partition_point(|(seconds, _)| *seconds <= time);
    let Some((t0, p0)) = next.checked_sub(1).map(|before| seen[before]) else { return [f32::NAN; 3] };
    // Half a millisecond of tolerance: the last frame may fall on the last sample.
    let Some((t1, p1)) = seen.get(next).copied() else {
        return if time - t0 < 5e-4 { p0 } else { [f32::NAN; 3] };
    };
    let step = t1 - t0;
    if step > BRIDGE {
        return if time - t0 < 5e-4 { p0 } else { [f32::NAN; 3] };
    }
    let (before, after) = (next.checked_sub(2).map(|at| seen[at]), seen.get(next + 1).copied());
    std::array::from_fn(|axis| {
        let chord = f64::from(p1[axis] - p0[axis]) / step;
        let slope = |neighbour: Option<(f64, [f32; 3])>, (t, p): (f64, [f32; 3])| match neighbour {
            Some((time, place)) if (time - t).abs() <= BRIDGE => {
                monotone((f64::from(place[axis] - p[axis]) / (time - t), (time - t).abs()), (chord, step))
            }
            _ => chord,
        };
        let (m0, m1) = (slope(before, (t0, p0)) * step, slope(after, (t1, p1)) * step);
        let u = (time - t0) / step;
        let (u2, u3) = (u * u, u * u * u);
        let place = (2.0 * u3 - 3.0 * u2 + 1.0) * f64::from(p0[axis])
            + (u3 - 2.0 * u2 + u) * m0
            + (3.0 * u2 - 2.0 * u3) * f64::from(p1[axis])
            + (u3 - u2) * m1;
        place as f32
    })
}

/// The slope at a sample between two chords, each with its slope and its width: their weighted harmonic mean, 0 where
/// they point different ways.
fn monotone((a, a_wide): (f64, f64), (b, b_wide): (f64, f64)) -> f64 {
    if a * b <= 0.0 {
        return 0.0;
    }
    let (a_weight, b_weight) = (2.0 * b_wide + a_wide, b_wide + 2.0 * a_wide);
    (a_weight + b_weight) / (a_weight / a + b_weight / b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(times: &[f64], course: impl Fn(f64) -> f64) -> Vec<Sample> {
        times
            .iter()
            .map(|seconds| {
                let mut joints = UNSEEN;
                joints[0] = [course(*seconds) as f32, 0.0, 1.0];
                Sample { seconds: *seconds, joints }
            })
            .collect()
    }

    #[test]
    fn a_wrong_time_ends_the_recording_instead_of_filling_the_memory() {
        for wrong in [1e15, f64::INFINITY, f64::NAN, -1.0] {
            assert_eq!(resample(&samples(&[0.0, 0.1, wrong, 0.3], |t| t)).len(), 4, "{wrong}");
        }
        assert_eq!(resample(&samples(&[0.0, 0.1, 50.0], |t| t)).len(), 1501);
    }

    #[test]
    fn a_steady_acceleration_is_followed_whatever_the_rate() {
        let course = |t: f64| 3.0 * t * t - t;
        for rate in [15.0, 25.0, 60.0, 200.0] {
            let times: Vec<f64> = (0..(2.0 * rate) as usize).map(|i| i as f64 / rate).collect();
            let frames = resample(&samples(&times, course));
            assert!((frames.len() as f64 - 60.0).abs() <= 2.0, "{} frames from {rate} a second", frames.len());
            for (number, frame) in frames.iter().enumerate().skip(3).take(frames.len() - 7) {
                let expected = course(number as f64 / RATE);
                // Flat at the turning point, where a parabola is not: the less, the closer the samples.
                let error = (f64::from(frame[0][0]) - expected).abs();
                assert!(error < 4.0 / (rate * rate), "{rate}: {error} at {number}");
                assert!(frame[1][0].is_nan());
            }
        }
    }

    #[test]
    fn a_short_gap_is_bridged_and_a_long_one_is_not() {
        let mut times: Vec<f64> = (0..20).map(|i| f64::from(i) * 0.02).collect();
        times.extend((0..20).map(|i| 0.58 + f64::from(i) * 0.02));
        times.extend((0..20).map(|i| 1.5 + f64::from(i) * 0.02));
        let frames = resample(&samples(&times, |t| t));
        assert!(frames[..29].iter().all(|frame| frame[0][0].is_finite()), "0.38 to 0.58 s");
        assert!(frames[30..44].iter().all(|frame| frame[0][0].is_nan()), "0.96 to 1.5 s");
        assert!(frames[46][0][0].is_finite());
    }

    #[test]
    fn a_gap_is_crossed_without_swinging_out_of_it() {
        // Trembling before and after: slopes of 2 a second that mean nothing.
        let mut times: Vec<f64> = (0..20).map(|i| f64::from(i) * 0.005).collect();
        times.extend((0..20).map(|i| 0.3 + f64::from(i) * 0.005));
        let frames = resample(&samples(&times, |t| if (t * 200.0).round() as i32 % 2 == 0 { 0.0 } else { 0.01 }));
        let furthest = frames.iter().map(|frame| frame[0][0].abs()).fold(0.0, f32::max);
        assert!(furthest < 0.0101, "{furthest}");
    }

    #[test]
    fn nothing_gives_nothing() {
        assert!(resample(&[]).is_empty());
        assert_eq!(resample(&samples(&[0.0], |_| 1.0)).len(), 1);
    }
}
