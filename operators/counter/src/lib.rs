//! `counter`: counts frames and sums their bytes. The smallest operator; copy this folder to begin a new one.
//!
//! It has all parts of an operator: a configuration, a state per stream, ports, one call per frame, and tests. A program
//! that runs your operator together with all others is one line:
//! `sideline::main(sideline::registry().operator::<Counter>())`.
#![forbid(unsafe_code)]

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sideline_api::{
    Config, Context, Frame, InputPorts, Inputs, Operator, OutputPorts, Outputs, Resources, Result, Spec, tables::Count,
};

/// Counts frames and sums their bytes.
// `sideline list` prints the line above. Each field below is a key of the node's `env:`, in upper case there.
#[derive(Clone, Config)]
pub struct CounterConfig {
    /// Sampling step, bytes: one byte of every `step` is summed. Higher is faster; lower distinguishes frames that are more
    /// alike.
    #[config(default = 16, live, range(1, 4096))]
    pub step: usize,
}

/// Inputs of the operator. Each field is a port of that name and type.
#[derive(InputPorts)]
struct CounterInputs<'a> {
    frames: &'a Arc<Frame>,
}

/// Outputs of the operator.
#[derive(OutputPorts)]
struct CounterOutputs {
    counts: Vec<Count>,
}

/// State of one stream. The runtime keeps one for each stream, copies it and restores it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CounterState {
    frames: u64,
}

/// Operator that counts frames; see the [crate].
pub struct Counter {
    config: CounterConfig,
}

impl Operator for Counter {
    type Config = CounterConfig;
    type State = CounterState;

    fn spec() -> Spec {
        Spec::operator("counter").reads::<CounterInputs>().sends::<CounterOutputs>()
    }

    fn new(config: CounterConfig, _: &Resources) -> Result<Self> {
        Ok(Counter { config })
    }

    fn process(&mut self, _: &Context, input: &Inputs, state: &mut CounterState, out: &mut Outputs) -> Result<()> {
        let CounterInputs { frames } = input.read()?;
        // Plane 0 is luma, or the whole frame for packed formats. `rows` leaves out the padding that a decoder adds.
        let bytes = frames.rows(0).flatten();
        let checksum = bytes.step_by(self.config.step).map(|byte| u64::from(*byte)).sum();
        state.frames += 1;
        out.send(CounterOutputs { counts: vec![Count { frames: state.frames, checksum }] })
    }

    // `step` is marked `live`: `sideline set` and `dora param set` change it while the flow runs.
    fn reconfigure(&mut self, config: &CounterConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sideline_api::{Color, Encoding, Reason, testing::Harness};

    fn gray(value: u8) -> Frame {
        Frame::from_packed(4, 4, Encoding::Rgb8, Color::default_for_height(4), vec![value; 48]).unwrap()
    }

    #[test]
    fn frames_are_counted_and_their_bytes_summed() {
        let mut counter = Harness::<Counter>::new([("step", 1)]).unwrap();
        counter.push_frame("frames", gray(2)).unwrap();
        counter.push_frame("frames", gray(3)).unwrap();
        assert_eq!(counter.expect::<Count>("counts"), [Count { frames: 1, checksum: 96 }]);
        assert_eq!(counter.expect::<Count>("counts"), [Count { frames: 2, checksum: 144 }]);
    }

    #[test]
    fn a_skipped_frame_is_not_counted() {
        let mut counter = Harness::<Counter>::new([("step", 1)]).unwrap();
        counter.skip("frames", Reason::Damaged).unwrap();
        counter.push_frame("frames", gray(2)).unwrap();
        assert_eq!(counter.expect_skipped("counts"), Reason::Damaged);
        assert_eq!(counter.expect::<Count>("counts")[0].frames, 1);
    }

    #[test]
    fn the_step_can_be_changed_while_running() {
        let mut counter = Harness::<Counter>::new([("step", 1)]).unwrap();
        counter.set("step", 48).unwrap();
        counter.push_frame("frames", gray(9)).unwrap();
        assert_eq!(counter.expect::<Count>("counts")[0].checksum, 9);
    }
}
