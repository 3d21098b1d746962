//! What the tests of this repository share.
//!
//! - [`skipped`]: a test that cannot run here says so, and is counted by `cargo xtask test`.
//! - [`fuzz`]: a loop of mutated inputs, run briefly by every `cargo test` and for long by `cargo xtask fuzz`.
#![forbid(unsafe_code)]

pub mod fuzz;
mod random;
mod skip;

pub use random::Random;
pub use skip::{Capability, skipped};
