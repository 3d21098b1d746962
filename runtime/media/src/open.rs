//! Opening a file, and starting the decoder of whatever was opened: what is wrong with it is said in words a user can act on.

use std::{
    fs::File,
    io::Read,
    path::Path,
    sync::{Arc, Once},
};

use ff::{codec, format, media};
use ffmpeg_next as ff;
use sideline_api::{Error, Result};

use crate::{DecodeOptions, Threads, tls::Opener, tracks, watch::Watch};

/// An open file and the decoder of its video stream.
pub(crate) struct Opened {
    pub input: format::context::Input,
    /// Index of the stream of video that is read.
    pub stream: usize,
    /// Index of the stream of sound beside it.
    pub sound: Option<usize>,
    pub decoder: codec::decoder::Video,
    /// What the input asks while it waits, for one on the network: dropped behind it.
    pub watch: Option<Arc<Watch>>,
    /// What opens the addresses that such an input refers to: dropped behind it.
    pub opener: Option<Arc<Opener>>,
}

/// Brands of images in the container of MP4 (ISO/IEC 23008-12; AVIF 1.1).
const STILL_BRANDS: [&[u8; 4]; 6] = [b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis"];

/// Registers FFmpeg's parts and silences its log.
pub(crate) fn start_ffmpeg() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // It registers what there is, and has nothing to tell.
        let _ = ff::init();
        ff::log::set_level(ff::log::Level::Quiet);
    });
}

pub(crate) fn open(path: &Path, options: &DecodeOptions) -> Result<Opened> {
    start_ffmpeg();
    let fail = |what: String| Error::input(format!("{}: {what}", path.display()));
    match std::fs::metadata(path) {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Err(fail("no such file".into())),
        Err(cause) => return Err(fail(format!("cannot be read: {cause}"))),
        Ok(found) if found.is_dir() => return Err(fail("is a folder; name a video file in it".into())),
        Ok(found) if !found.is_file() => {
            return Err(fail("is a pipe or a socket, not a file; record it to a file first".into()));
        }
        Ok(found) if found.len() == 0 => return Err(fail("is empty (0 bytes)".into())),
        Ok(_) => {}
    }
    // Told from what FFmpeg would say: a file that may not be read.
    let mut head = [0; 12];
    let read = File::open(path)
        .and_then(|mut file| file.read(&mut head))
        .map_err(|cause| fail(format!("cannot be read: {cause}")))?;
    let is_mp4 = read == head.len() && &head[4..8] == b"ftyp";

    // `file:` keeps FFmpeg from taking a name with a colon for an address.
    let address = path
        .to_str()
        .map(|path| format!("file:{path}"))
        .ok_or_else(|| fail("its name is not UTF-8, which FFmpeg cannot open; rename it".into()))?;
    let input = format::input(&address).map_err(|cause| match cause {
        ff::Error::InvalidData if is_mp4 && STILL_BRANDS.iter().any(|brand| head[8..] == **brand) => {
            fail("is a HEIF or AVIF image, which this FFmpeg does not read: save it as JPEG or PNG".into())
        }
        ff::Error::InvalidData if is_mp4 => {
            fail("is an MP4 without its index (moov), so nothing in it can be found: it was cut off, or its recording was not finished".into())
        }
        ff::Error::InvalidData => fail("is not a video that FFmpeg knows".into()),
        cause => fail(format!("cannot be opened as a video: {cause}")),
    })?;
    if matches!(input.format().name(), "tty" | "bin" | "xbin") {
        return Err(fail("is text, not a video".into()));
    }
    set_up(input, options, &fail)
}

/// Starts the decoder of the video stream of an open file or device.
pub(crate) fn set_up(
    input: format::context::Input,
    options: &DecodeOptions,
    fail: &dyn Fn(String) -> Error,
) -> Result<Opened> {
    let video = tracks::video(&input, options.video_track).map_err(fail)?;
    let Some(stream) = video.and_then(|index| input.stream(index)) else {
        let has: Vec<&str> = input.streams().map(|s| s.parameters().id().name()).collect();
        if input.streams().any(|s| s.parameters().medium() == media::Type::Audio) {
            let has = has.join(", ");
            return Err(fail(format!(
                "has sound but no picture (its streams: {has}), and what is done here is done to pictures; name a file with video in it"
            )));
        }
        let has = if has.is_empty() { "none at all".into() } else { has.join(", ") };
        return Err(fail(format!("has no video stream (its streams: {has})")));
    };
    let index = stream.index();
    let sound = match options.audio {
        true => tracks::sound(&input, options.audio_track, index).map_err(fail)?,
        // Nobody hears it: a track that is not there does not matter.
        false => tracks::sound(&input, None, index).unwrap_or_default(),
    };
    let mut context = codec::context::Context::from_parameters(stream.parameters())
        .map_err(|cause| fail(format!("its video stream cannot be set up: {cause}")))?;
    let (kind, count) = match options.threads {
        Threads::Slice(count) => (codec::threading::Type::Slice, count),
        Threads::Frame(count) => (codec::threading::Type::Frame, count),
    };
    context.set_threading(codec::threading::Config { kind, count: count.max(1), ..Default::default() });
    let name = stream.parameters().id().name();
    let decoder = context.decoder().video().map_err(|cause| match cause {
        ff::Error::DecoderNotFound => {
            fail(format!("this FFmpeg has no decoder for `{name}`; convert the file to h264"))
        }
        cause => fail(format!("the decoder for `{name}` cannot be started: {cause}")),
    })?;
    Ok(Opened { input, stream: index, sound, decoder, watch: None, opener: None })
}
