//! `rehearse`: forwards frames and injects faults, to test how a flow handles failures.
//!
//! Place it between two nodes of a flow in a rehearsal, not in a real event.
#![forbid(unsafe_code)]

use std::time::Duration;

use sideline_api::{Config, Context, Error, Inputs, Operator, Outputs, PortType, Resources, Result, Spec};

/// Forwards frames and injects faults, to rehearse failures.
#[derive(Clone, Config)]
pub struct RehearseConfig {
    /// Simulated processing time of every frame, ms. Higher than the frame interval makes a live source drop frames.
    #[config(default = 0, live, range(0, 60_000))]
    pub work_ms: u64,
    /// Number of the frame at which the operator panics.
    #[config(default = None)]
    pub panic_at: Option<u64>,
    /// Number of the frame at which the operator returns an error.
    #[config(default = None)]
    pub error_at: Option<u64>,
    /// Number of the frame at which the operator hangs.
    #[config(default = None)]
    pub hang_at: Option<u64>,
    /// Mean number of frames per error and per panic: one frame in so many fails with an error, another with a panic. The frames
    /// differ between nodes and streams and are the same in every run. Higher fails less often; 0 disables these faults.
    #[config(default = 0, range(0, 1_000_000_000))]
    pub fail_one_in: u64,
    /// Simulated start time, ms, like the loading time of a large model. Higher starts later.
    #[config(default = 0, range(0, 600_000))]
    pub start_ms: u64,
    /// Makes the start hang.
    #[config(default = false)]
    pub hang_in_new: bool,
    /// Makes the start fail.
    #[config(default = false)]
    pub fail_in_new: bool,
}

/// Operator that injects faults; see the [crate].
pub struct Rehearse {
    config: RehearseConfig,
}

/// Randomly drawn fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RandomFault {
    Error,
    Panic,
}

/// Draws an error with probability 1 / `one_in`, and a panic with the same probability.
fn draw_fault(one_in: u64, seed: u64) -> Option<RandomFault> {
    match seed.checked_rem(one_in)? {
        0 => Some(RandomFault::Error),
        1 => Some(RandomFault::Panic),
        _ => None,
    }
}

fn hang() -> ! {
    loop {
        std::thread::park();
    }
}

impl Operator for Rehearse {
    type Config = RehearseConfig;
    type State = ();

    fn spec() -> Spec {
        Spec::operator("rehearse").heavy().required("frames", PortType::Frame).output("frames", PortType::Frame)
    }

    fn new(config: RehearseConfig, _: &Resources) -> Result<Self> {
        if config.hang_in_new {
            hang();
        }
        if config.fail_in_new {
            return Err(Error::other("`fail_in_new` is set: this failure was requested"));
        }
        std::thread::sleep(Duration::from_millis(config.start_ms));
        Ok(Rehearse { config })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, (): &mut (), out: &mut Outputs) -> Result<()> {
        let frame = Some(cx.header.frame);
        if frame == self.config.panic_at {
            panic!("`panic_at` is set: this panic was requested");
        }
        if frame == self.config.error_at {
            return Err(Error::other("`error_at` is set: this error was requested"));
        }
        if frame == self.config.hang_at {
            hang();
        }
        match draw_fault(self.config.fail_one_in, cx.seed()) {
            Some(RandomFault::Error) => return Err(Error::other("`fail_one_in` is set: this error was requested")),
            Some(RandomFault::Panic) => panic!("`fail_one_in` is set: this panic was requested"),
            None => {}
        }
        if self.config.work_ms > 0 {
            std::thread::sleep(Duration::from_millis(self.config.work_ms));
        }
        out.frame("frames", input.frame("frames")?.clone())
    }

    fn reconfigure(&mut self, config: &RehearseConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sideline_api::{Color, Encoding, Frame, testing::Harness};

    fn frame() -> Frame {
        Frame::from_packed(2, 2, Encoding::Rgb8, Color::default_for_height(2), vec![5u8; 12]).unwrap()
    }

    #[test]
    fn frames_are_forwarded_up_to_the_frame_of_the_fault() {
        let mut h = Harness::<Rehearse>::new([("error_at", 1)]).unwrap();
        h.push_frame("frames", frame()).unwrap();
        assert_eq!(h.expect_frame("frames").plane(0).0, [5; 12]);
        assert!(h.push_frame("frames", frame()).unwrap_err().message.contains("was requested"));
    }

    #[test]
    fn errors_and_panics_have_the_configured_frequency() {
        let drawn: Vec<_> = (0..10_000).map(|seed| draw_fault(100, seed)).collect();
        for fault in [RandomFault::Error, RandomFault::Panic] {
            assert_eq!(drawn.iter().filter(|drawn| **drawn == Some(fault)).count(), 100);
        }
        assert_eq!(draw_fault(0, 7), None);
    }

    #[test]
    fn fail_in_new_makes_the_start_fail() {
        assert!(Harness::<Rehearse>::new([("fail_in_new", true)]).is_err());
    }
}
