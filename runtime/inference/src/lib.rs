//! ONNX models: sessions over ONNX Runtime, and their input tensors sampled straight from decoded planes.
//!
//! - [`Session`] loads a model of models.yml, checks what it takes and gives, and runs it.
//! - [`Sampler`] turns a region of a frame into an input tensor, in one pass, without an RGB picture in between.
//! - [`environment`] starts ONNX Runtime, once per process. No other crate starts it.
//!
//! `unsafe` is in three places: telemetry is switched off before the library is loaded (`environment`), the sampler's inner
//! loop reads pixels without bounds checks after it has proved where they lie (`sample::taps`), and both of its filters call
//! themselves built for AVX2 where the processor has it.

pub mod bench;
mod device;
pub mod environment;
pub mod sample;
mod session;

pub use sample::{Filter, Layout, Region, Sampler, Sampling};
pub use session::{Outputs, Session, Tensor};
