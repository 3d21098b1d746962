//! Shared support for the tests of this repository.
//!
//! - [`skip_test`]: reports a test that cannot run on this machine, so that `cargo xtask test` counts it.
//! - [`repository`]: the root folder, for tests that read its files.
//! - [`fuzz`]: a loop over mutated inputs, run briefly by every `cargo test` and longer by `cargo xtask fuzz`.
#![forbid(unsafe_code)]

pub mod fuzz;
mod random;
mod skip;

pub use random::Random;
pub use skip::{Capability, skip_test};

/// Returns the root folder of this repository.
pub fn repository() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
