//! Algorithms that several operators share.
//!
//! - [`assignment`]: optimal assignment of rows to columns.
//! - [`boxes`]: geometry of axis-aligned boxes.
//! - [`one_euro`]: the One-Euro filter.
//! - [`savitzky_golay`]: derivatives of noisy samples at irregular times.
//! - [`frame_interval`]: estimates of the frame interval of streams, and of the load that a model may take of it.
#![forbid(unsafe_code)]

pub mod assignment;
pub mod boxes;
pub mod frame_interval;
pub mod one_euro;
pub mod savitzky_golay;
