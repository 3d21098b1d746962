//! First and second derivative at the newest of several samples, from a least-squares fit of a quadratic.
//!
//! A causal Savitzky-Golay filter (Savitzky and Golay, Analytical Chemistry 36, 1964). The weights are computed from the
//! sample times, so that the samples need not be equidistant: the derivatives are exact under constant acceleration, at any
//! frame rate and across skipped frames.

/// Weights of the samples. A derivative is the sum of all samples, each multiplied by its weight.
#[derive(Clone, Debug, Default)]
pub struct DerivativeWeights {
    /// Weights of the first derivative, per second, one for each sample; empty for a single sample.
    pub velocity: Vec<f64>,
    /// Weights of the second derivative, per second squared, one for each sample; empty for fewer than three.
    pub acceleration: Vec<f64>,
}

/// Returns the weights that give the derivatives at the last of the sample times (seconds, strictly increasing).
///
/// Two samples give the slope of a straight line, three the parabola through them, more a least-squares fit.
pub fn derivative_weights(times: &[f64]) -> DerivativeWeights {
    let n = times.len();
    if n < 2 {
        return DerivativeWeights::default();
    }
    let span = times[n - 1] - times[0];
    // Scaled to 0 at the newest and -1 at the oldest sample, so that the sums below have similar magnitudes at every
    // frame rate.
    let u = || times.iter().map(|t| (t - times[n - 1]) / span);
    match n {
        2 => DerivativeWeights { velocity: vec![-1.0 / span, 1.0 / span], acceleration: vec![] },
        _ => {
            // Normal equations of p(u) = a + b u + c u^2; s[k] is the sum of u^k.
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
            DerivativeWeights {
                velocity: u().map(|u| (ab + bb * u + bc * u * u) / (determinant * span)).collect(),
                acceleration: u().map(|u| 2.0 * (ac + bc * u + cc * u * u) / (determinant * span * span)).collect(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the derivatives at the last time, computed from samples of `a + b t + c t^2`.
    fn derivatives(times: &[f64], a: f64, b: f64, c: f64) -> (f64, f64) {
        let DerivativeWeights { velocity, acceleration } = derivative_weights(times);
        let sum = |weights: Vec<f64>| weights.iter().zip(times).map(|(w, t)| w * (a + b * t + c * t * t)).sum();
        (sum(velocity), sum(acceleration))
    }

    #[test]
    fn derivatives_of_a_quadratic_are_exact_for_any_sample_times() {
        for times in [&[0.0, 0.04, 0.08][..], &[5.0, 5.01, 5.05, 5.2], &[0.0, 0.1, 0.11, 0.12, 0.3, 0.31]] {
            let last = times[times.len() - 1];
            let (v, a) = derivatives(times, 3.0, -2.0, 7.0);
            assert!((v - (-2.0 + 14.0 * last)).abs() < 1e-6, "{times:?}: {v}");
            assert!((a - 14.0).abs() < 1e-6, "{times:?}: {a}");
        }
    }

    #[test]
    fn two_samples_give_a_slope_and_one_gives_no_weights() {
        let (v, a) = derivatives(&[1.0, 1.5], 0.0, 4.0, 0.0);
        assert!((v - 4.0).abs() < 1e-12 && a == 0.0);
        assert!(derivative_weights(&[1.0, 1.5]).acceleration.is_empty());
        assert!(derivative_weights(&[1.0]).velocity.is_empty() && derivative_weights(&[]).velocity.is_empty());
    }
}
