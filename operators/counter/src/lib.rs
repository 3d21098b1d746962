//! `counter`: counts frames and sums their bytes. The smallest operator; copy this folder to begin your own.
//!
//! It is all here: a configuration, what is remembered of a stream, ports, one call for each frame, tests. A program
//! that runs your operator beside the others is one line: `sideline::main(sideline::registry().operator::<Counter>())`.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};
use sideline_api::{Config, Context, Inputs, Operator, Outputs, PortType, Resources, Result, Spec, tables::Count};

/// Counts frames and sums their bytes.
// The line above is what `sideline list` prints. Each field below is a key of the node's `env:`, in upper case there.
#[derive(Clone, Config)]
pub struct CounterConfig {
    /// Of how many bytes one is summed. Higher is faster; lower tells frames apart that are more alike.
    #[config(default = 16, live, range(1, 4096))]
    pub step: usize,
}

/// What is remembered of one stream. The runtime keeps one for each stream, copies it and restores it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Seen {
    frames: u64,
}

/// See the documentation of the [crate].
pub struct Counter {
    config: CounterConfig,
}

impl Operator for Counter {
    type Config = CounterConfig;
    type State = Seen;

    fn spec() -> Spec {
        Spec::operator("counter").required("frames", PortType::Frame).output("counts", PortType::table::<Count>())
    }

    fn new(config: CounterConfig, _: &Resources) -> Result<Self> {
        Ok(Counter { config })
    }

    fn process(&mut self, _: &Context, input: &Inputs, seen: &mut Seen, out: &mut Outputs) -> Result<()> {
        // The first plane is brightness, or the whole picture where colours are packed.
        let (bytes, _) = input.frame("frames")?.plane(0);
        let checksum = bytes.iter().step_by(self.config.step).map(|byte| u64::from(*byte)).sum();
        seen.frames += 1;
        out.rows("counts", &[Count { frames: seen.frames, checksum }])
    }

    // `step` is marked `live`: `dora param set` changes it while the graph runs.
    fn reconfigure(&mut self, config: &CounterConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sideline_api::{Color, Encoding, Frame, Reason, testing::Harness};

    fn grey(value: u8) -> Frame {
        Frame::from_packed(4, 4, Encoding::Rgb8, Color::assumed(4), vec![value; 48]).unwrap()
    }

    #[test]
    fn counts_and_sums() {
        let mut counter = Harness::<Counter>::new([("step", 1)]).unwrap();
        counter.push_frame("frames", grey(2)).unwrap();
        counter.push_frame("frames", grey(3)).unwrap();
        assert_eq!(counter.expect::<Count>("counts"), [Count { frames: 1, checksum: 96 }]);
        assert_eq!(counter.expect::<Count>("counts"), [Count { frames: 2, checksum: 144 }]);
    }

    #[test]
    fn a_skipped_frame_is_not_counted() {
        let mut counter = Harness::<Counter>::new([("step", 1)]).unwrap();
        counter.skip("frames", Reason::Damaged).unwrap();
        counter.push_frame("frames", grey(2)).unwrap();
        assert_eq!(counter.expect_skipped("counts"), Reason::Damaged);
        assert_eq!(counter.expect::<Count>("counts")[0].frames, 1);
    }

    #[test]
    fn the_step_changes_while_running() {
        let mut counter = Harness::<Counter>::new([("step", 1)]).unwrap();
        counter.set("step", 48).unwrap();
        counter.push_frame("frames", grey(9)).unwrap();
        assert_eq!(counter.expect::<Count>("counts")[0].checksum, 9);
    }
}
