//! Jitter reduction and delay of filters for joint coordinates, measured on simulated strikes with noise.
//!
//! A wrist rests, then strikes and returns along minimum-jerk trajectories (Flash and Hogan, J. Neuroscience 5, 1985),
//! 1.1 torso lengths out. The noise has the size and the heavy tails of a pose model's errors. All signals are
//! generated from a seed. A filter is a function from a signal to a signal of equal length, so an operator, a moving
//! average and a Kalman filter are measured alike:
//!
//! - **jitter** at rest: root mean square of the frame-to-frame differences, as a share of the unfiltered one;
//! - **lag** of strikes: the time shift of the true trajectory with the least squared distance from the filtered
//!   signal, ms;
//! - **loss** of strikes: shortfall of the furthest filtered point from the true length, percent;
//! - **error** in strikes: root mean square distance from the true trajectory, torso lengths.

use serde::Serialize;

use crate::Random;

/// Length of a strike, torso lengths: 0.55 m with a torso of half a meter.
pub const STRIKE_LENGTH: f64 = 1.1;
/// Standard deviation of the noise, torso lengths: that of BlazePose's joints in meters on standing people.
pub const NOISE_SIGMA: f64 = 0.02;

/// Durations of extension and retraction, s: a fast straight, a hook, a slow strike.
const STRIKE_DURATIONS_S: [(f64, f64); 3] = [(0.15, 0.2), (0.2, 0.25), (0.3, 0.35)];
/// Simulated strikes of each kind.
const REPETITIONS: usize = 20;
/// Rest before a strike, s.
const REST_BEFORE_S: f64 = 0.7;
/// Length of the signal at rest on which jitter is measured, s, and the part at its start that is left out while
/// filters settle.
const REST_S: f64 = 20.0;
const SETTLE_S: f64 = 1.0;

/// Filter under test: maps a signal, sampled every `1 / fps` seconds, in torso lengths, to one of equal length.
pub type Filter<'a> = dyn Fn(&[f64], f64) -> Vec<f64> + 'a;

/// Effect of a filter at one frame rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SmoothingMetrics {
    /// Jitter at rest, as a share of the unfiltered jitter.
    pub jitter: f64,
    /// Mean lag of strikes, ms.
    pub lag_ms: f64,
    /// Mean lag of the fastest kind of strike, ms.
    pub fastest_lag_ms: f64,
    /// Mean loss of a strike's length, percent; negative where noise made the strike longer.
    pub loss: f64,
    /// Root mean square error in strikes, torso lengths.
    pub error: f64,
}

/// Measures a filter at a frame rate (`fps`, frames per second).
pub fn measure(filter: &Filter, fps: f64) -> SmoothingMetrics {
    let mut random = Random::new(11);
    let rest: Vec<f64> = (0..(REST_S * fps) as usize).map(|_| NOISE_SIGMA * heavy_tailed(&mut random)).collect();
    let settling_samples = (SETTLE_S * fps) as usize;
    let jitter = rms_step(&filter(&rest, fps)[settling_samples..]) / rms_step(&rest[settling_samples..]);
    let (mut lags, mut losses, mut squared_errors, mut samples) = (vec![], 0.0, 0.0, 0.0);
    for (out, back) in STRIKE_DURATIONS_S {
        let mut lag = 0.0;
        for _ in 0..REPETITIONS {
            // A strike starts at any time within a frame interval.
            let begin = REST_BEFORE_S + random.uniform() / fps;
            let trajectory = |t: f64| strike(t - begin, out, back);
            let times: Vec<f64> = (0..((begin + out + back + 0.3) * fps) as usize).map(|i| i as f64 / fps).collect();
            let noisy: Vec<f64> =
                times.iter().map(|t| trajectory(*t) + NOISE_SIGMA * heavy_tailed(&mut random)).collect();
            let filtered = filter(&noisy, fps);
            let during_strike =
                || times.iter().zip(&filtered).filter(|(t, _)| (begin..begin + out + back + 0.1).contains(*t));
            lag += best_shift(|shift| during_strike().map(|(t, x)| (x - trajectory(t - shift)).powi(2)).sum());
            squared_errors += during_strike().map(|(t, x)| (x - trajectory(*t)).powi(2)).sum::<f64>();
            samples += during_strike().count() as f64;
            let highest = times.iter().map(|t| trajectory(*t)).fold(0.0, f64::max);
            losses += 1.0 - filtered.iter().copied().fold(0.0, f64::max) / highest;
        }
        lags.push(1e3 * lag / REPETITIONS as f64);
    }
    SmoothingMetrics {
        jitter,
        lag_ms: lags.iter().sum::<f64>() / lags.len() as f64,
        fastest_lag_ms: lags[0],
        loss: 100.0 * losses / (STRIKE_DURATIONS_S.len() * REPETITIONS) as f64,
        error: (squared_errors / samples).sqrt(),
    }
}

/// Root mean square of the differences between consecutive samples.
fn rms_step(signal: &[f64]) -> f64 {
    let squared_errors: f64 = signal.windows(2).map(|pair| (pair[1] - pair[0]).powi(2)).sum();
    (squared_errors / (signal.len().max(2) - 1) as f64).sqrt()
}

/// Moving average over the last `n` samples.
pub fn moving_average(signal: &[f64], n: usize) -> Vec<f64> {
    let mean = |past: &[f64]| past.iter().sum::<f64>() / past.len() as f64;
    (1..=signal.len()).map(|end| mean(&signal[end.saturating_sub(n)..end])).collect()
}

/// First-order low-pass filter with a fixed cutoff frequency, Hz.
pub fn low_pass(signal: &[f64], fps: f64, cutoff: f64) -> Vec<f64> {
    let omega = std::f64::consts::TAU * cutoff / fps;
    let mut value = signal.first().copied().unwrap_or_default();
    signal
        .iter()
        .map(|sample| {
            value += omega / (omega + 1.0) * (sample - value);
            value
        })
        .collect()
}

/// Constant-velocity Kalman filter. `acceleration` is the standard deviation of the process noise, torso lengths per
/// second squared.
pub fn kalman(signal: &[f64], fps: f64, acceleration: f64) -> Vec<f64> {
    let (dt, r) = (1.0 / fps, NOISE_SIGMA * NOISE_SIGMA);
    let q = acceleration * acceleration;
    let (mut x, mut v) = (signal.first().copied().unwrap_or_default(), 0.0);
    // Covariance of position and velocity.
    let (mut xx, mut xv, mut vv) = (r, 0.0, 1.0);
    signal
        .iter()
        .map(|sample| {
            x += v * dt;
            xx += dt * (2.0 * xv + dt * vv) + q * dt.powi(4) / 4.0;
            xv += dt * vv + q * dt.powi(3) / 2.0;
            vv += q * dt * dt;
            let (gain, velocity_gain) = (xx / (xx + r), xv / (xx + r));
            let innovation = sample - x;
            x += gain * innovation;
            v += velocity_gain * innovation;
            vv -= velocity_gain * xv;
            xv *= 1.0 - gain;
            xx *= 1.0 - gain;
            x
        })
        .collect()
}

/// Finds the parameter of a filter, between `least` and `most`, that leaves the given jitter. Jitter must rise with the
/// parameter.
pub fn parameter_at_jitter(
    jitter: f64,
    fps: f64,
    (least, most): (f64, f64),
    filter: impl Fn(&[f64], f64, f64) -> Vec<f64>,
) -> f64 {
    let (mut low, mut high) = (least.ln(), most.ln());
    for _ in 0..30 {
        let middle = f64::midpoint(low, high);
        let remaining = measure(&|signal, fps| filter(signal, fps, middle.exp()), fps).jitter;
        if remaining < jitter { low = middle } else { high = middle }
    }
    f64::midpoint(low, high).exp()
}

/// Position of the wrist `t` seconds after the start of a strike, torso lengths.
fn strike(t: f64, out: f64, back: f64) -> f64 {
    let minimum_jerk = |t: f64, seconds: f64| {
        let s = (t / seconds).clamp(0.0, 1.0);
        s.powi(3) * (10.0 - 15.0 * s + 6.0 * s * s)
    };
    STRIKE_LENGTH * (minimum_jerk(t, out) - minimum_jerk(t - out, back))
}

/// Finds the shift with the least error, s: from -20 ms to 80 ms in steps of 0.1 ms.
fn best_shift(error: impl Fn(f64) -> f64) -> f64 {
    let shifts = (-40..=160).map(|i| f64::from(i) * 5e-4);
    let coarse =
        shifts.map(|shift| (error(shift), shift)).min_by(|a, b| a.0.total_cmp(&b.0)).map_or(0.0, |best| best.1);
    let fine = (-5..=5).map(|i| coarse + f64::from(i) * 1e-4);
    fine.map(|shift| (error(shift), shift)).min_by(|a, b| a.0.total_cmp(&b.0)).map_or(0.0, |best| best.1)
}

/// Draws from a heavy-tailed distribution of variance 1: one sample in twenty is three times as wide, as the outliers
/// of a pose model.
fn heavy_tailed(random: &mut Random) -> f64 {
    let wide = if random.uniform() < 0.05 { 3.0 } else { 1.0 };
    wide * random.normal() / (0.95_f64 + 0.05 * 9.0).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_filter_has_jitter_1_and_no_lag() {
        for fps in [30.0, 60.0] {
            let unfiltered = measure(&|signal, _| signal.to_vec(), fps);
            assert_eq!(unfiltered.jitter, 1.0);
            assert!(
                unfiltered.lag_ms.abs() < 1.0
                    && unfiltered.loss < 1.0
                    && (unfiltered.error - NOISE_SIGMA).abs() < 0.004,
                "{unfiltered:?}"
            );
        }
    }

    #[test]
    fn a_delay_of_one_frame_is_measured_as_lag() {
        let late = measure(
            &|signal, _| {
                let mut late = vec![signal[0]];
                late.extend(&signal[..signal.len() - 1]);
                late
            },
            30.0,
        );
        assert!((late.lag_ms - 33.3).abs() < 1.0 && (late.fastest_lag_ms - 33.3).abs() < 1.5, "{late:?}");
    }

    #[test]
    fn a_moving_average_lags_half_its_length_and_a_low_pass_loses_the_peak() {
        let average = measure(&|signal, _| moving_average(signal, 3), 30.0);
        // Consecutive means of three samples differ by a third of the difference of samples three apart.
        assert!((average.jitter - 1.0 / 3.0).abs() < 0.03 && (average.lag_ms - 33.3).abs() < 2.0, "{average:?}");
        let slow = measure(&|signal, fps| low_pass(signal, fps, 1.0), 30.0);
        assert!(slow.loss > 20.0 && slow.jitter < 0.25, "{slow:?}");
    }

    #[test]
    fn a_parameter_is_found_for_the_requested_jitter() {
        let cutoff = parameter_at_jitter(0.4, 30.0, (0.1, 30.0), low_pass);
        assert!((measure(&|s, fps| low_pass(s, fps, cutoff), 30.0).jitter - 0.4).abs() < 0.01);
        let acceleration = parameter_at_jitter(0.4, 30.0, (0.01, 1e4), kalman);
        assert!((measure(&|s, fps| kalman(s, fps, acceleration), 30.0).jitter - 0.4).abs() < 0.01);
    }
}
