//! Video in and out: decode, seek, scale and encode, over the system's FFmpeg libraries.
//!
//! This crate and `runtime/inference` are the homes of `unsafe`; each block says why it holds. FFmpeg's own log is
//! silenced: what goes wrong comes back as an error, a count or a warning of ours.

mod decode;
pub mod encode;
mod info;
mod open;
mod picture;
mod scale;

pub use decode::{DecodeOptions, Decoded, Decoder, Losses, Threads};
pub use info::MediaInfo;
pub use scale::{Size, scale};
