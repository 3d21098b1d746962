//! Where a video goes: what can be done with such a place, and which one the key `output` names.

use sideline_api::{Color, Mode, Resources, Result, StreamName, tables::Audio};
use sideline_media::{
    Trust,
    encode::{BroadcastOptions, EncodeOptions, Quality, Target},
};

use crate::{files::Files, server::Server};

/// A picture to be written.
#[derive(Clone, Copy)]
pub struct Picture<'a> {
    /// Y, U and V, each with the distance between its rows in bytes.
    pub planes: [(&'a [u8], usize); 3],
    /// Width and height in pixels.
    pub size: (u32, u32),
    /// Meaning of the pixel values.
    pub color: Color,
}

impl Picture<'_> {
    /// True where a video of this size and color cannot hold the picture: it has one of each from its beginning to its end.
    pub fn differs(&self, size: (u32, u32), color: Option<Color>) -> bool {
        self.size != size || color.is_some_and(|color| color != self.color)
    }
}

/// Takes the pictures and the sound of any number of streams.
pub trait Writer: Send {
    /// True where this picture ends what was written of the stream, and begins anew.
    fn cuts(&self, stream: &str, picture: &Picture) -> bool;

    /// Writes a picture of a stream, to be shown at `pts` nanoseconds, and the sound since the picture before.
    ///
    /// # Errors
    /// `Output` when it cannot be written there; `Other` when time goes back.
    fn write(&mut self, stream: &StreamName, pts: i64, picture: Picture, sound: &[Audio]) -> Result<()>;

    /// Writes sound of a stream that a picture of it was written of before; of another one it is nobody's.
    ///
    /// # Errors
    /// `Output` when it cannot be written there.
    fn write_sound(&mut self, stream: &str, sound: &[Audio]) -> Result<()>;

    /// From the next picture on another mean of bits a second, where that is what decides.
    fn set_bitrate(&mut self, bits: usize);

    /// What became of the frames, by name, for the report.
    fn counts(&self) -> Vec<(&'static str, u64)> {
        vec![]
    }

    /// Ends what was written of a stream, if there is anything.
    ///
    /// # Errors
    /// `Output` when the rest cannot be written.
    fn end(&mut self, stream: &str) -> Result<()>;

    /// Ends every stream; each is tried, the first failure is told.
    ///
    /// # Errors
    /// `Output` when the rest cannot be written.
    fn close(&mut self) -> Result<()>;
}

/// Opens the place that the key `output` names. `trust`: of a server. `bitrate`: bits a second of what others follow while it is written.
///
/// # Errors
/// `Config` for what cannot be written; `Output` when it cannot be written to, or H.264 cannot be encoded here.
pub fn open(
    output: &str,
    trust: Trust,
    resources: &Resources,
    options: EncodeOptions,
    bitrate: usize,
    line: BroadcastOptions,
) -> Result<Box<dyn Writer>> {
    let steady = EncodeOptions { quality: Quality::Bitrate(bitrate), ..options.clone() };
    let files = |options| Files::new(output.as_ref(), &resources.run_dir, &resources.run, options);
    Ok(match Target::of(output, trust, &resources.search).map_err(|e| e.at("key `output`"))? {
        Target::File(_) => Box::new(files(options)?),
        Target::Hls(_) => Box::new(files(steady)?),
        Target::Rtmp(server) => {
            let line = BroadcastOptions { patient: resources.mode == Mode::Complete, ..line };
            Box::new(Server::new(server, EncodeOptions { low_delay: true, ..steady }, line)?)
        }
    })
}
