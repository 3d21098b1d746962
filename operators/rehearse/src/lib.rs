//! `rehearse`: passes frames on and goes wrong when told to, so that one can see what a run does then.
//!
//! Put it between two nodes of a flow before a match, not during one.
#![forbid(unsafe_code)]

use std::time::Duration;

use sideline_api::{Config, Context, Error, Inputs, Operator, Outputs, PortType, Resources, Result, Spec};

/// Passes frames on and goes wrong on purpose, to rehearse failures.
#[derive(Clone, Config)]
pub struct RehearseConfig {
    /// Milliseconds of work on every frame: slower than the video makes a live source forget frames.
    #[config(default = 0, live, range(0, 60_000))]
    pub work_ms: u64,
    /// Frame at which it panics.
    #[config(default = None)]
    pub panic_at: Option<u64>,
    /// Frame at which it returns an error.
    #[config(default = None)]
    pub error_at: Option<u64>,
    /// Frame at which it never answers.
    #[config(default = None)]
    pub hang_at: Option<u64>,
    /// On average one frame in so many fails with an error, another one in so many with a panic: other frames for each node and stream, the same in every run. 0: none.
    #[config(default = 0, range(0, 1_000_000_000))]
    pub fail_one_in: u64,
    /// Milliseconds that getting ready takes, as a large model takes them.
    #[config(default = 0, range(0, 600_000))]
    pub start_ms: u64,
    /// Never gets ready.
    #[config(default = false)]
    pub hang_in_new: bool,
    /// Fails to get ready.
    #[config(default = false)]
    pub fail_in_new: bool,
}

/// See the [crate](crate).
pub struct Rehearse {
    config: RehearseConfig,
}

/// A failure that is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failing {
    Error,
    Panic,
}

/// Draws one error and one panic in `one_in` frames.
fn draw(one_in: u64, seed: u64) -> Option<Failing> {
    match seed.checked_rem(one_in)? {
        0 => Some(Failing::Error),
        1 => Some(Failing::Panic),
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
            return Err(Error::other("`fail_in_new` is set: this failure was asked for"));
        }
        std::thread::sleep(Duration::from_millis(config.start_ms));
        Ok(Rehearse { config })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, (): &mut (), out: &mut Outputs) -> Result<()> {
        let frame = Some(cx.header.frame);
        if frame == self.config.panic_at {
            panic!("`panic_at` is set: this panic was asked for");
        }
        if frame == self.config.error_at {
            return Err(Error::other("`error_at` is set: this error was asked for"));
        }
        if frame == self.config.hang_at {
            hang();
        }
        match draw(self.config.fail_one_in, cx.seed()) {
            Some(Failing::Error) => return Err(Error::other("`fail_one_in` is set: this error was asked for")),
            Some(Failing::Panic) => panic!("`fail_one_in` is set: this panic was asked for"),
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
        Frame::from_packed(2, 2, Encoding::Rgb8, Color::assumed(2), vec![5u8; 12]).unwrap()
    }

    #[test]
    fn frames_pass_until_the_one_it_fails_at() {
        let mut h = Harness::<Rehearse>::new([("error_at", 1)]).unwrap();
        h.push_frame("frames", frame()).unwrap();
        assert_eq!(h.expect_frame("frames").plane(0).0, [5; 12]);
        assert!(h.push_frame("frames", frame()).unwrap_err().message.contains("was asked for"));
    }

    #[test]
    fn one_frame_in_so_many_errs_and_one_panics() {
        let drawn: Vec<_> = (0..10_000).map(|seed| draw(100, seed)).collect();
        for failing in [Failing::Error, Failing::Panic] {
            assert_eq!(drawn.iter().filter(|drawn| **drawn == Some(failing)).count(), 100);
        }
        assert_eq!(draw(0, 7), None);
    }

    #[test]
    fn it_fails_to_get_ready_when_told_to() {
        assert!(Harness::<Rehearse>::new([("fail_in_new", true)]).is_err());
    }
}
