//! The One-Euro filter: a low-pass whose cutoff rises with speed (Casiez, Roussel and Vogel, CHI 2012).
//!
//! What rests is held still by a low cutoff, what moves fast is followed by a high one: joints, a virtual camera. As in the
//! paper's algorithm 1, but that the speed is taken from the last filtered value to the new sample, not from sample to
//! sample: what the filter lags behind makes it faster, so that it catches up within a frame or two.

use serde::{Deserialize, Serialize};

/// What the filter is set to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cutoffs {
    /// Cutoff at rest, Hz.
    pub least: f64,
    /// Hz that the cutoff rises for each unit a second.
    pub rise: f64,
    /// Cutoff of the speed itself, Hz.
    pub speed: f64,
}

/// One filtered coordinate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OneEuro {
    value: f64,
    /// Units a second.
    speed: f64,
}

impl OneEuro {
    /// Begins at a first sample.
    pub fn at(value: f64) -> Self {
        Self { value, speed: 0.0 }
    }

    /// Takes in a sample, `seconds` (above 0) after the last; the filtered value.
    pub fn step(&mut self, sample: f64, seconds: f64, cutoffs: &Cutoffs) -> f64 {
        let Cutoffs { least, rise, speed } = *cutoffs;
        self.speed += share(speed, seconds) * ((sample - self.value) / seconds - self.speed);
        self.value += share(least + rise * self.speed.abs(), seconds) * (sample - self.value);
        self.value
    }
}

/// The share of a new sample in a first-order low-pass of this cutoff, Hz (the paper's equations 3 and 4).
fn share(cutoff: f64, seconds: f64) -> f64 {
    let turn = std::f64::consts::TAU * cutoff * seconds;
    turn / (turn + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUTOFFS: Cutoffs = Cutoffs { least: 1.0, rise: 0.0, speed: 1.0 };

    #[test]
    fn a_step_at_rest_is_answered_as_by_a_low_pass() {
        let mut filter = OneEuro::at(0.0);
        // 1 Hz at 10 Hz: 2 pi / 10 over 1 more.
        let turn = std::f64::consts::TAU / 10.0;
        assert!((filter.step(1.0, 0.1, &CUTOFFS) - turn / (turn + 1.0)).abs() < 1e-12);
    }

    #[test]
    fn speed_opens_the_filter() {
        let after = |rise: f64| {
            let mut filter = OneEuro::at(0.0);
            (1..=10).map(|i| filter.step(f64::from(i) * 0.1, 0.1, &Cutoffs { rise, ..CUTOFFS })).last()
        };
        assert!(after(0.0) < Some(0.9) && after(10.0) > Some(0.97), "{:?} {:?}", after(0.0), after(10.0));
    }

    #[test]
    fn a_constant_stays_what_it_is() {
        let mut filter = OneEuro::at(3.5);
        assert!((0..100).all(|_| filter.step(3.5, 0.03, &CUTOFFS) == 3.5));
    }
}
