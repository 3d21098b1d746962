//! One-Euro filter: a low-pass filter whose cutoff rises with speed (Casiez, Roussel and Vogel, CHI 2012).
//!
//! A low cutoff removes jitter at rest, a high one keeps the lag small in fast motion. It is algorithm 1 of the paper with
//! one difference: the derivative is taken from the last filtered value to the new sample, not between samples. So the lag
//! of the filter itself raises the cutoff, and the filter catches up within a frame or two.

use serde::{Deserialize, Serialize};

/// Parameters of the filter, with the names of the paper.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OneEuroParams {
    /// Cutoff frequency at rest, Hz.
    pub min_cutoff: f64,
    /// Slope of the cutoff, Hz per unit per second of speed.
    pub beta: f64,
    /// Cutoff frequency of the low-pass filter of the derivative, Hz (`dcutoff` in the paper).
    pub derivative_cutoff: f64,
}

/// Filter of one coordinate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OneEuro {
    value: f64,
    /// Filtered derivative, units per second.
    derivative: f64,
}

impl OneEuro {
    /// Creates a filter at rest at a first sample.
    pub fn new(value: f64) -> Self {
        Self { value, derivative: 0.0 }
    }

    /// Adds a sample, `seconds` (above 0) after the previous one, and returns the filtered value.
    pub fn update(&mut self, sample: f64, seconds: f64, params: &OneEuroParams) -> f64 {
        let OneEuroParams { min_cutoff, beta, derivative_cutoff } = *params;
        self.derivative += alpha(derivative_cutoff, seconds) * ((sample - self.value) / seconds - self.derivative);
        self.value += alpha(min_cutoff + beta * self.derivative.abs(), seconds) * (sample - self.value);
        self.value
    }
}

/// Returns the smoothing factor of a first-order low-pass filter with this cutoff, Hz (equations 3 and 4 of the paper).
fn alpha(cutoff: f64, seconds: f64) -> f64 {
    let phase = std::f64::consts::TAU * cutoff * seconds;
    phase / (phase + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMS: OneEuroParams = OneEuroParams { min_cutoff: 1.0, beta: 0.0, derivative_cutoff: 1.0 };

    #[test]
    fn the_step_response_at_beta_0_is_that_of_a_first_order_low_pass() {
        let mut filter = OneEuro::new(0.0);
        // A cutoff of 1 Hz at a sample rate of 10 Hz.
        let phase = std::f64::consts::TAU / 10.0;
        assert!((filter.update(1.0, 0.1, &PARAMS) - phase / (phase + 1.0)).abs() < 1e-12);
    }

    #[test]
    fn beta_reduces_the_lag_of_a_ramp() {
        let after = |beta: f64| {
            let mut filter = OneEuro::new(0.0);
            (1..=10).map(|i| filter.update(f64::from(i) * 0.1, 0.1, &OneEuroParams { beta, ..PARAMS })).last()
        };
        assert!(after(0.0) < Some(0.9) && after(10.0) > Some(0.97), "{:?} {:?}", after(0.0), after(10.0));
    }

    #[test]
    fn a_constant_signal_is_unchanged() {
        let mut filter = OneEuro::new(3.5);
        assert!((0..100).all(|_| filter.update(3.5, 0.03, &PARAMS) == 3.5));
    }
}
