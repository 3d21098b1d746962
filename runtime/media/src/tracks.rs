//! Tracks of a file, and the selection of the ones that are read.

use ffmpeg_next::{
    codec, ffi,
    format::{self, stream::Disposition},
    media,
};

use crate::{DecodeOptions, notices::Notices};

/// Maximum number of tracks listed in a message: the playlist of a broadcast may have dozens.
const MAX_LISTED: usize = 8;

/// Returns the indices of the video streams; cover pictures do not count.
pub(crate) fn video_tracks(input: &format::context::Input) -> Vec<usize> {
    let streams = input.streams().filter(|stream| !stream.disposition().contains(Disposition::ATTACHED_PIC));
    streams.filter(|stream| stream.parameters().medium() == media::Type::Video).map(|stream| stream.index()).collect()
}

/// Returns the indices of the audio streams.
pub(crate) fn audio_tracks(input: &format::context::Input) -> Vec<usize> {
    let streams = input.streams().filter(|stream| stream.parameters().medium() == media::Type::Audio);
    streams.map(|stream| stream.index()).collect()
}

/// Selects the video stream to read: the requested track, otherwise FFmpeg's best one. Returns its index, or `None` if there is
/// no video.
///
/// # Errors
/// If the requested track does not exist.
pub(crate) fn select_video(input: &format::context::Input, wanted: Option<u32>) -> Result<Option<usize>, String> {
    let tracks = video_tracks(input);
    if let (Some(wanted), false) = (wanted, tracks.is_empty()) {
        return nth_track(input, &tracks, wanted, "video").map(Some);
    }
    let best = input.streams().best(media::Type::Video).map(|stream| stream.index());
    Ok(best.filter(|best| tracks.contains(best)).or(tracks.first().copied()))
}

/// Selects the audio stream to read: the requested track, otherwise the best one of the program that the stream `video`
/// belongs to. Returns its index; `None` if there is none.
///
/// # Errors
/// If the requested track does not exist.
pub(crate) fn select_audio(
    input: &format::context::Input,
    wanted: Option<u32>,
    video: usize,
) -> Result<Option<usize>, String> {
    if let Some(wanted) = wanted {
        return nth_track(input, &audio_tracks(input), wanted, "audio").map(Some);
    }
    // SAFETY: the context is open and is not changed; no decoder is requested.
    let best = unsafe {
        ffi::av_find_best_stream(
            input.as_ptr().cast_mut(),
            media::Type::Audio.into(),
            -1,
            video as i32,
            std::ptr::null_mut(),
            0,
        )
    };
    Ok(usize::try_from(best).ok())
}

/// Returns the stream index of the track number `wanted`, or an error that lists the tracks.
fn nth_track(input: &format::context::Input, tracks: &[usize], wanted: u32, kind: &str) -> Result<usize, String> {
    tracks.get(wanted as usize).copied().ok_or_else(|| match tracks.len() {
        0 => format!("has no audio track; leave `{kind}_track` out"),
        _ => format!("has no {kind} track {wanted}; its tracks are {}", list(input, tracks)),
    })
}

/// Warns if there are several tracks and the options select none.
pub(crate) fn warn_unread(
    input: &format::context::Input,
    options: &DecodeOptions,
    (video, audio): (usize, Option<usize>),
    notices: &mut Notices,
) {
    let mut warn = |kind: &'static str, tracks: &[usize], read: usize| {
        let at = tracks.iter().position(|index| *index == read).unwrap_or(0);
        let list = list(input, tracks);
        let count = tracks.len();
        notices.warn_once(kind, || {
            format!(
                "it has {count} {kind} tracks ({list}): track {at} is read; set `{kind}_track` to choose another one"
            )
        });
    };
    let (videos, audios) = (video_tracks(input), audio_tracks(input));
    if videos.len() > 1 && options.video_track.is_none() {
        warn("video", &videos, video);
    }
    if let (Some(audio), true) = (audio, options.audio && options.audio_track.is_none() && audios.len() > 1) {
        warn("audio", &audios, audio);
    }
}

/// Lists tracks for a message: `0: h264 1920x1080, 1: h264 640x360`.
fn list(input: &format::context::Input, tracks: &[usize]) -> String {
    let mut names: Vec<String> = tracks
        .iter()
        .enumerate()
        .take(MAX_LISTED)
        .filter_map(|(number, index)| input.stream(*index).map(|stream| format!("{number}: {}", describe(&stream))))
        .collect();
    if tracks.len() > MAX_LISTED {
        names.push("...".into());
    }
    names.join(", ")
}

/// Describes a track for a message: codec, size, language and title.
fn describe(stream: &format::stream::Stream) -> String {
    let parameters = stream.parameters();
    let mut name = parameters.id().name().to_owned();
    if let Ok(context) = codec::context::Context::from_parameters(parameters) {
        // SAFETY: the context belongs to this function and is only read.
        let (width, height) = unsafe { ((*context.as_ptr()).width, (*context.as_ptr()).height) };
        if width > 0 && height > 0 {
            name += &format!(" {width}x{height}");
        }
    }
    for key in ["language", "title"] {
        name += &stream.metadata().get(key).map_or(String::new(), |value| format!(" {value}"));
    }
    name
}
