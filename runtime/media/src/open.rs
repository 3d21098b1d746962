//! Opening of files, and the start of the decoder for any opened input. Error messages state what the user can do.

use std::{
    fs::File,
    io::Read,
    path::Path,
    sync::{Arc, Once},
};

use ff::{codec, format, media};
use ffmpeg_next as ff;
use sideline_api::{Error, Result};

use crate::{DecodeOptions, Threads, interrupt::Interrupt, tls::TlsOpener, tracks};

/// An open input and the decoder of its video stream.
pub(crate) struct Opened {
    pub input: format::context::Input,
    /// Index of the video stream to decode.
    pub stream: usize,
    /// Index of the audio stream, if there is one to read.
    pub audio: Option<usize>,
    pub decoder: codec::decoder::Video,
    /// Interrupt callback of a network input. FFmpeg holds its address, so it is dropped after `input`.
    pub interrupt: Option<Arc<Interrupt>>,
    /// Opener of the addresses that a network input refers to. FFmpeg holds its address, so it is dropped after `input`.
    pub opener: Option<Arc<TlsOpener>>,
}

/// Major brands of still images in the MP4 container (ISO/IEC 23008-12; AVIF 1.1).
const STILL_BRANDS: [&[u8; 4]; 6] = [b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis"];

/// Registers FFmpeg's devices and silences its log.
pub(crate) fn init_ffmpeg() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Registration cannot fail.
        let _ = ff::init();
        ff::log::set_level(ff::log::Level::Quiet);
    });
}

pub(crate) fn open(path: &Path, options: &DecodeOptions) -> Result<Opened> {
    init_ffmpeg();
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
    // FFmpeg would report an unreadable file only as one that cannot be opened.
    let mut head = [0; 12];
    let read = File::open(path)
        .and_then(|mut file| file.read(&mut head))
        .map_err(|cause| fail(format!("cannot be read: {cause}")))?;
    let is_mp4 = read == head.len() && &head[4..8] == b"ftyp";

    // The `file:` prefix keeps FFmpeg from taking a name with a colon for a URL.
    let address = path
        .to_str()
        .map(|path| format!("file:{path}"))
        .ok_or_else(|| fail("its name is not UTF-8, which FFmpeg cannot open; rename it".into()))?;
    let input = format::input(&address).map_err(|cause| match cause {
        ff::Error::InvalidData if is_mp4 && STILL_BRANDS.iter().any(|brand| head[8..] == **brand) => {
            fail("is a HEIF or AVIF image, which this FFmpeg does not read: save it as JPEG or PNG".into())
        }
        ff::Error::InvalidData if is_mp4 => {
            fail(
                "is an MP4 without its index (moov), so it cannot be read: it was truncated, or its recording was not finished"
                    .into(),
            )
        }
        ff::Error::InvalidData => fail("is not a video that FFmpeg can read".into()),
        cause => fail(format!("cannot be opened as a video: {cause}")),
    })?;
    if matches!(input.format().name(), "tty" | "bin" | "xbin") {
        return Err(fail("is text, not a video".into()));
    }
    start_decoder(input, options, &fail)
}

/// Selects the video and audio streams of an open input and starts the video decoder.
pub(crate) fn start_decoder(
    input: format::context::Input,
    options: &DecodeOptions,
    fail: &dyn Fn(String) -> Error,
) -> Result<Opened> {
    let video = tracks::select_video(&input, options.video_track).map_err(fail)?;
    let Some(stream) = video.and_then(|index| input.stream(index)) else {
        let codecs: Vec<&str> = input.streams().map(|s| s.parameters().id().name()).collect();
        if input.streams().any(|s| s.parameters().medium() == media::Type::Audio) {
            let codecs = codecs.join(", ");
            return Err(fail(format!(
                "has audio but no video (its streams: {codecs}); name a file that contains video"
            )));
        }
        let codecs = if codecs.is_empty() { "none at all".into() } else { codecs.join(", ") };
        return Err(fail(format!("has no video stream (its streams: {codecs})")));
    };
    let index = stream.index();
    let audio = match options.audio {
        true => tracks::select_audio(&input, options.audio_track, index).map_err(fail)?,
        // Audio is not decoded, so an audio track that does not exist is no error.
        false => tracks::select_audio(&input, None, index).unwrap_or_default(),
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
    Ok(Opened { input, stream: index, audio, decoder, interrupt: None, opener: None })
}
