//! Shared support for the tests of this repository.
//!
//! - [`skip_test`]: reports a test that cannot run on this machine, so that `cargo xtask test` counts it.
//! - [`fuzz`]: a loop over mutated inputs, run briefly by every `cargo test` and longer by `cargo xtask fuzz`.
#![forbid(unsafe_code)]

pub mod fuzz;
mod random;
mod skip;

pub use random::Random;
pub use skip::{Capability, skip_test};
