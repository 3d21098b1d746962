//! First and second derivative at the newest of some samples, by a least-squares quadratic.
//!
//! A causal Savitzky-Golay filter (Savitzky and Golay, Analytical Chemistry 36, 1964), with weights made from the times
//! themselves, so that the samples need not be equally far apart: exact under constant acceleration, at any frame rate and
//! over skipped frames.

/// What each sample is multiplied with: the sums are the derivatives.
#[derive(Clone, Debug, Default)]
pub struct Weights {
    /// For the first derivative, per second; empty with one sample.
    pub velocity: Vec<f64>,
    /// For the second, per second squared; empty with fewer than three.
    pub acceleration: Vec<f64>,
}

/// Weights for samples at these times (seconds, rising, none twice), of derivatives at the last of them.
///
/// Two samples give a straight line's slope, three the parabola through them, more a fit.
pub fn weights(times: &[f64]) -> Weights {
    let n = times.len();
    if n < 2 {
        return Weights::default();
    }
    let span = times[n - 1] - times[0];
    // The newest sample at 0, the oldest at -1: then the sums below are of like size at every frame rate.
    let u = || times.iter().map(|t| (t - times[n - 1]) / span);
    match n {
        2 => Weights { velocity: vec![-1.0 / span, 1.0 / span], acceleration: vec![] },
        _ => {
            // The normal equations of p(u) = a + b u + c u^2; s[k] is the sum of u^k.
            let mut s = [0.0; 5];
            for u in u() {
                let mut power = 1.0;
                for sum in &mut s {
                    *sum += power;
                    power *= u;
                }
            }
            // Rows b and c of the inverse of [[s0 s1 s2] [s1 s2 s3] [s2 s3 s4]], by cofactors; it is symmetric.
            let ab = s[2] * s[3] - s[1] * s[4];
            let ac = s[1] * s[3] - s[2] * s[2];
            let bb = s[0] * s[4] - s[2] * s[2];
            let bc = s[1] * s[2] - s[0] * s[3];
            let cc = s[0] * s[2] - s[1] * s[1];
            let determinant = s[0] * (s[2] * s[4] - s[3] * s[3]) + s[1] * ab + s[2] * ac;
            Weights {
                velocity: u().map(|u| (ab + bb * u + bc * u * u) / (determinant * span)).collect(),
                acceleration: u().map(|u| 2.0 * (ac + bc * u + cc * u * u) / (determinant * span * span)).collect(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Derivatives of `a + b t + c t^2` at the last time, from its values alone.
    fn derivatives(times: &[f64], a: f64, b: f64, c: f64) -> (f64, f64) {
        let Weights { velocity, acceleration } = weights(times);
        let sum = |weights: Vec<f64>| weights.iter().zip(times).map(|(w, t)| w * (a + b * t + c * t * t)).sum();
        (sum(velocity), sum(acceleration))
    }

    #[test]
    fn a_quadratic_is_met_exactly_at_any_times() {
        for times in [&[0.0, 0.04, 0.08][..], &[5.0, 5.01, 5.05, 5.2], &[0.0, 0.1, 0.11, 0.12, 0.3, 0.31]] {
            let last = times[times.len() - 1];
            let (v, a) = derivatives(times, 3.0, -2.0, 7.0);
            assert!((v - (-2.0 + 14.0 * last)).abs() < 1e-6, "{times:?}: {v}");
            assert!((a - 14.0).abs() < 1e-6, "{times:?}: {a}");
        }
    }

    #[test]
    fn two_samples_give_a_slope_and_one_gives_nothing() {
        let (v, a) = derivatives(&[1.0, 1.5], 0.0, 4.0, 0.0);
        assert!((v - 4.0).abs() < 1e-12 && a == 0.0);
        assert!(weights(&[1.0, 1.5]).acceleration.is_empty());
        assert!(weights(&[1.0]).velocity.is_empty() && weights(&[]).velocity.is_empty());
    }
}
