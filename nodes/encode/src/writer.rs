//! The interface of video outputs, and the choice of one by the key `output`.

use sideline_api::{Color, Mode, Resources, Result, StreamName, tables::Audio};
use sideline_media::{
    TlsTrust,
    encode::{BroadcastOptions, EncodeOptions, Quality, Target},
};

use crate::{files::VideoFiles, rtmp::RtmpOutput};

/// A frame to be written, in I420.
#[derive(Clone, Copy)]
pub struct FramePlanes<'a> {
    /// Planes Y, U and V, each with its stride in bytes.
    pub planes: [(&'a [u8], usize); 3],
    /// Width and height in pixels.
    pub size: (u32, u32),
    /// Color description of the pixel values.
    pub color: Color,
}

impl FramePlanes<'_> {
    /// True if a video of this size and color cannot hold the frame: both are fixed for the length of a video.
    pub fn differs_from(&self, size: (u32, u32), color: Option<Color>) -> bool {
        self.size != size || color.is_some_and(|color| color != self.color)
    }
}

/// Destination of the frames and the audio of any number of streams.
pub trait Writer: Send {
    /// True if this frame does not fit the open output of its stream, so that writing it starts a new one.
    fn needs_new_output(&self, stream: &str, frame: &FramePlanes) -> bool;

    /// Writes a frame of a stream, shown at `pts` nanoseconds, and the audio since the frame before.
    ///
    /// # Errors
    /// `Output` if it cannot be written; `Other` if time goes back.
    fn write(&mut self, stream: &StreamName, pts: i64, frame: FramePlanes, audio: &[Audio]) -> Result<()>;

    /// Writes audio of a stream. The audio of a stream without a frame so far is discarded.
    ///
    /// # Errors
    /// `Output` if it cannot be written.
    fn write_audio(&mut self, stream: &str, audio: &[Audio]) -> Result<()>;

    /// Sets the mean bit rate, bit/s, from the next frame on, where the rate control uses one.
    fn set_bitrate(&mut self, bits_per_s: usize);

    /// Returns the frame counts by name, for the report.
    fn counts(&self) -> Vec<(&'static str, u64)> {
        vec![]
    }

    /// Finishes the open output of a stream, if there is one.
    ///
    /// # Errors
    /// `Output` if the rest cannot be written.
    fn end(&mut self, stream: &str) -> Result<()>;

    /// Finishes every stream; after a failure the others are still finished, and the first failure is returned.
    ///
    /// # Errors
    /// `Output` if the rest cannot be written.
    fn close(&mut self) -> Result<()>;
}

/// Opens the output that the key `output` names. `trust` applies to a server; `bitrate`, bit/s, to outputs that are watched
/// while they are written (HLS and servers).
///
/// # Errors
/// `Config` for an unsupported output; `Output` if it cannot be written to, or H.264 cannot be encoded on this machine.
pub fn open(
    output: &str,
    trust: TlsTrust,
    resources: &Resources,
    options: EncodeOptions,
    bitrate: usize,
    broadcast: BroadcastOptions,
) -> Result<Box<dyn Writer>> {
    let constant_rate = EncodeOptions { quality: Quality::Bitrate(bitrate), ..options.clone() };
    let files = |options| VideoFiles::new(output.as_ref(), &resources.run_dir, &resources.run, options);
    Ok(match Target::parse(output, trust, &resources.search).map_err(|e| e.at("key `output`"))? {
        Target::File(_) => Box::new(files(options)?),
        Target::Hls(_) => Box::new(files(constant_rate)?),
        Target::Rtmp(server) => {
            let broadcast = BroadcastOptions { blocks_when_full: resources.mode == Mode::Complete, ..broadcast };
            Box::new(RtmpOutput::new(server, EncodeOptions { low_delay: true, ..constant_rate }, broadcast)?)
        }
    })
}
