//! Video and audio input and output: files, cameras, image sequences and network streams; decoding, seeking, scaling and encoding
//! with the system's FFmpeg libraries.
//!
//! Only this crate and `runtime/inference` contain `unsafe`; each block states why it is sound. FFmpeg's own log is
//! silenced: failures are returned as errors, counted, or logged as warnings of this crate.

mod audio;
mod color;
mod crop;
mod decode;
pub mod device;
pub mod encode;
mod exif;
mod external;
mod geometry;
mod i420;
mod images;
mod info;
mod interrupt;
pub mod jpeg;
mod network;
mod notices;
mod open;
mod packet_history;
mod picture;
mod resample;
mod scale;
mod timeline;
mod tls;
mod tracks;
mod unsupported;

pub use audio::{AAC_SAMPLE_RATES, AudioFormat, AudioSegment};
pub use crop::{CropRect, Cropper};
pub use decode::{DecodeLosses, DecodeOptions, DecodedFrame, Decoder, Threads};
pub use i420::to_i420;
pub use images::{Image, ImageContent, ImageSequence};
pub use info::MediaInfo;
pub use network::{NetworkSource, OpenError, OpenErrorKind};
pub use packet_history::PacketHistory;
pub use resample::resample;
pub use scale::{Size, scale};
pub use timeline::TimeJumps;
pub use tls::TlsTrust;

/// Returns the version of the linked libavcodec: `59.37.100`.
pub fn version() -> String {
    let version = ffmpeg_next::codec::version();
    format!("{}.{}.{}", version >> 16, version >> 8 & 255, version & 255)
}
