//! Video and sound in and out: files, cameras, folders of images, streams on the network; decode, seek, scale and encode, over the system's
//! FFmpeg libraries.
//!
//! This crate and `runtime/inference` are the homes of `unsafe`; each block says why it holds. FFmpeg's own log is
//! silenced: what goes wrong comes back as an error, a count or a warning of ours.

mod attached;
mod audio;
mod color;
mod crop;
mod decode;
pub mod device;
pub mod encode;
mod exif;
mod geometry;
mod i420;
mod images;
mod info;
pub mod jpeg;
mod network;
mod notices;
mod open;
mod picture;
mod repeats;
mod resample;
mod scale;
mod timeline;
mod tls;
mod tracks;
mod views;
mod watch;

pub use audio::{RATES, Sound, SoundFormat};
pub use crop::{Area, Cropper};
pub use decode::{DecodeOptions, Decoded, Decoder, Losses, Threads};
pub use i420::to_i420;
pub use images::{Image, Images, Picture};
pub use info::MediaInfo;
pub use network::{Network, Refused, Unopened};
pub use repeats::Repeats;
pub use resample::resample;
pub use scale::{Size, scale};
pub use timeline::TimeJumps;
pub use tls::Trust;

/// The version of FFmpeg's codec library that is linked: `59.37.100`.
pub fn version() -> String {
    let version = ffmpeg_next::codec::version();
    format!("{}.{}.{}", version >> 16, version >> 8 & 255, version & 255)
}
