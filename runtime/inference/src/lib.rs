//! Inference with ONNX models: sessions of ONNX Runtime, and input tensors sampled directly from decoded planes.
//!
//! - [`Session`] loads a model of models.yml, checks its inputs and outputs, and runs it.
//! - [`Sampler`] converts a region of a frame to an input tensor in one pass, without an intermediate RGB picture.
//! - [`environment`] starts ONNX Runtime, once per process. No other crate starts it.
//!
//! `unsafe` is used in three places: telemetry is disabled before the library is loaded (`environment`), the sampler's inner
//! loop reads pixels without bounds checks after proving that they are in bounds (`sample::taps`), and both of its filters
//! call their AVX2 versions if the processor supports them.

mod device;
pub mod environment;
pub mod sample;
mod session;
mod test_frame;

pub use sample::{Filter, Layout, Region, Sampler, TensorSpec};
pub use session::{Outputs, Session, TensorInfo};
pub use test_frame::test_frame;
