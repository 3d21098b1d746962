//! How much jitter a filter of joints takes away, and what it costs in time: strikes of known course with noise.
//!
//! A wrist rests, then strikes and comes back on minimum-jerk paths (Flash and Hogan, J. Neuroscience 5, 1985), 1.1 torso
//! lengths out; the noise has the size and the heavy tails of a pose model's. All of it is made from a seed. Filters are
//! handed a signal and give one back, so that an operator, a moving average and a Kalman filter are measured alike:
//!
//! - **jitter** at rest: root mean square of the differences from frame to frame, as a share of the unfiltered one;
//! - **lag** of strikes: the shift of the true course that lies nearest to what the filter gave (least squares), ms;
//! - **loss** of strikes: by how much of the true length the furthest point falls short, percent;
//! - **error** in strikes: root mean square distance from the true course, torso lengths.

use serde::Serialize;

use crate::Random;

/// A strike's length, torso lengths: 0.55 m with a torso of half a metre.
pub const LENGTH: f64 = 1.1;
/// Standard deviation of the noise, torso lengths: that of BlazePose's joints in metres on people who stand.
pub const NOISE: f64 = 0.02;

/// How long a strike goes out and comes back, s: a fast straight, a hook, a slow one.
const STRIKES: [(f64, f64); 3] = [(0.15, 0.2), (0.2, 0.25), (0.3, 0.35)];
/// Strikes of each kind.
const TIMES: usize = 20;
/// Rest before a strike, s.
const BEFORE: f64 = 0.7;
/// Seconds at rest for the jitter; the first of them lets filters settle.
const REST: f64 = 20.0;
const SETTLE: f64 = 1.0;

/// Anything that takes a signal, a sample every `1 / fps` seconds, and gives one of equal length, in torso lengths.
pub type Filter<'a> = dyn Fn(&[f64], f64) -> Vec<f64> + 'a;

/// What a filter does at one frame rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Smoothing {
    /// Jitter at rest, a share of the unfiltered.
    pub jitter: f64,
    /// Mean lag of strikes, ms.
    pub lag_ms: f64,
    /// Mean lag of the fastest kind of strike, ms.
    pub fastest_lag_ms: f64,
    /// Mean loss of a strike's length, percent; below 0 the noise made it longer.
    pub loss: f64,
    /// Root mean square error in strikes, torso lengths.
    pub error: f64,
}

/// Measures a filter at this many frames a second.
pub fn smoothing(filter: &Filter, fps: f64) -> Smoothing {
    let mut random = Random::new(11);
    let rest: Vec<f64> = (0..(REST * fps) as usize).map(|_| NOISE * heavy_tailed(&mut random)).collect();
    let settled = (SETTLE * fps) as usize;
    let jitter = steps(&filter(&rest, fps)[settled..]) / steps(&rest[settled..]);
    let (mut lags, mut losses, mut squares, mut samples) = (vec![], 0.0, 0.0, 0.0);
    for (out, back) in STRIKES {
        let mut lag = 0.0;
        for _ in 0..TIMES {
            // Strikes do not wait for the camera's shutter.
            let begin = BEFORE + random.share() / fps;
            let course = |t: f64| strike(t - begin, out, back);
            let times: Vec<f64> = (0..((begin + out + back + 0.3) * fps) as usize).map(|i| i as f64 / fps).collect();
            let seen: Vec<f64> = times.iter().map(|t| course(*t) + NOISE * heavy_tailed(&mut random)).collect();
            let found = filter(&seen, fps);
            let struck = || times.iter().zip(&found).filter(|(t, _)| (begin..begin + out + back + 0.1).contains(*t));
            lag += nearest_shift(|shift| struck().map(|(t, x)| (x - course(t - shift)).powi(2)).sum());
            squares += struck().map(|(t, x)| (x - course(*t)).powi(2)).sum::<f64>();
            samples += struck().count() as f64;
            let highest = times.iter().map(|t| course(*t)).fold(0.0, f64::max);
            losses += 1.0 - found.iter().copied().fold(0.0, f64::max) / highest;
        }
        lags.push(1e3 * lag / TIMES as f64);
    }
    Smoothing {
        jitter,
        lag_ms: lags.iter().sum::<f64>() / lags.len() as f64,
        fastest_lag_ms: lags[0],
        loss: 100.0 * losses / (STRIKES.len() * TIMES) as f64,
        error: (squares / samples).sqrt(),
    }
}

/// Root mean square of the differences from sample to sample.
fn steps(signal: &[f64]) -> f64 {
    let squares: f64 = signal.windows(2).map(|pair| (pair[1] - pair[0]).powi(2)).sum();
    (squares / (signal.len().max(2) - 1) as f64).sqrt()
}

/// The mean of the last `n` samples.
pub fn moving_average(signal: &[f64], n: usize) -> Vec<f64> {
    let mean = |past: &[f64]| past.iter().sum::<f64>() / past.len() as f64;
    (1..=signal.len()).map(|end| mean(&signal[end.saturating_sub(n)..end])).collect()
}

/// A first-order low-pass of a fixed cutoff, Hz.
pub fn low_pass(signal: &[f64], fps: f64, cutoff: f64) -> Vec<f64> {
    let turn = std::f64::consts::TAU * cutoff / fps;
    let mut value = signal.first().copied().unwrap_or_default();
    signal
        .iter()
        .map(|sample| {
            value += turn / (turn + 1.0) * (sample - value);
            value
        })
        .collect()
}

/// A Kalman filter with constant velocity; `acceleration` is the standard deviation of what moves it, torso lengths per
/// second squared.
pub fn kalman(signal: &[f64], fps: f64, acceleration: f64) -> Vec<f64> {
    let (dt, r) = (1.0 / fps, NOISE * NOISE);
    let q = acceleration * acceleration;
    let (mut x, mut v) = (signal.first().copied().unwrap_or_default(), 0.0);
    // Covariance of place and velocity.
    let (mut xx, mut xv, mut vv) = (r, 0.0, 1.0);
    signal
        .iter()
        .map(|sample| {
            x += v * dt;
            xx += dt * (2.0 * xv + dt * vv) + q * dt.powi(4) / 4.0;
            xv += dt * vv + q * dt.powi(3) / 2.0;
            vv += q * dt * dt;
            let (gain, speed_gain) = (xx / (xx + r), xv / (xx + r));
            let surprise = sample - x;
            x += gain * surprise;
            v += speed_gain * surprise;
            vv -= speed_gain * xv;
            xv *= 1.0 - gain;
            xx *= 1.0 - gain;
            x
        })
        .collect()
}

/// The setting of a filter, `least` to `most` and rising with jitter, that leaves as much jitter as asked for.
pub fn at_jitter(
    jitter: f64,
    fps: f64,
    (least, most): (f64, f64),
    filter: impl Fn(&[f64], f64, f64) -> Vec<f64>,
) -> f64 {
    let (mut low, mut high) = (least.ln(), most.ln());
    for _ in 0..30 {
        let middle = f64::midpoint(low, high);
        let found = smoothing(&|signal, fps| filter(signal, fps, middle.exp()), fps).jitter;
        if found < jitter { low = middle } else { high = middle }
    }
    f64::midpoint(low, high).exp()
}

/// Where the wrist is `t` seconds after a strike began.
fn strike(t: f64, out: f64, back: f64) -> f64 {
    let path = |t: f64, seconds: f64| {
        let s = (t / seconds).clamp(0.0, 1.0);
        s.powi(3) * (10.0 - 15.0 * s + 6.0 * s * s)
    };
    LENGTH * (path(t, out) - path(t - out, back))
}

/// The shift, s, with the least error: by tenths of a millisecond from -20 ms to 80 ms.
fn nearest_shift(error: impl Fn(f64) -> f64) -> f64 {
    let shifts = (-40..=160).map(|i| f64::from(i) * 5e-4);
    let coarse =
        shifts.map(|shift| (error(shift), shift)).min_by(|a, b| a.0.total_cmp(&b.0)).map_or(0.0, |best| best.1);
    let fine = (-5..=5).map(|i| coarse + f64::from(i) * 1e-4);
    fine.map(|shift| (error(shift), shift)).min_by(|a, b| a.0.total_cmp(&b.0)).map_or(0.0, |best| best.1)
}

/// Variance 1, one sample of twenty from a distribution three times as wide: the outliers of a pose model.
fn heavy_tailed(random: &mut Random) -> f64 {
    let wide = if random.share() < 0.05 { 3.0 } else { 1.0 };
    wide * random.normal() / (0.95_f64 + 0.05 * 9.0).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_done_is_no_jitter_lost_and_no_lag() {
        for fps in [30.0, 60.0] {
            let none = smoothing(&|signal, _| signal.to_vec(), fps);
            assert_eq!(none.jitter, 1.0);
            assert!(none.lag_ms.abs() < 1.0 && none.loss < 1.0 && (none.error - NOISE).abs() < 0.004, "{none:?}");
        }
    }

    #[test]
    fn a_delay_is_found() {
        let late = smoothing(
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
        let average = smoothing(&|signal, _| moving_average(signal, 3), 30.0);
        // The differences of neighbouring means are those of samples three apart, by three.
        assert!((average.jitter - 1.0 / 3.0).abs() < 0.03 && (average.lag_ms - 33.3).abs() < 2.0, "{average:?}");
        let slow = smoothing(&|signal, fps| low_pass(signal, fps, 1.0), 30.0);
        assert!(slow.loss > 20.0 && slow.jitter < 0.25, "{slow:?}");
    }

    #[test]
    fn peers_are_set_to_the_jitter_asked_for() {
        let cutoff = at_jitter(0.4, 30.0, (0.1, 30.0), low_pass);
        assert!((smoothing(&|s, fps| low_pass(s, fps, cutoff), 30.0).jitter - 0.4).abs() < 0.01);
        let push = at_jitter(0.4, 30.0, (0.01, 1e4), kalman);
        assert!((smoothing(&|s, fps| kalman(s, fps, push), 30.0).jitter - 0.4).abs() < 0.01);
    }
}
