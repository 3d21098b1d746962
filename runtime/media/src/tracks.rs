//! Tracks of a file: those of video and sound, and the ones that are read.

use ffmpeg_next::{
    codec, ffi,
    format::{self, stream::Disposition},
    media,
};

use crate::{DecodeOptions, notices::Notices};

/// Tracks named in a message: the playlist of a broadcast may have dozens.
const NAMED: usize = 8;

/// Indices of the streams of video. A cover picture is none.
pub(crate) fn videos(input: &format::context::Input) -> Vec<usize> {
    let streams = input.streams().filter(|stream| !stream.disposition().contains(Disposition::ATTACHED_PIC));
    streams.filter(|stream| stream.parameters().medium() == media::Type::Video).map(|stream| stream.index()).collect()
}

/// Indices of the streams of sound.
pub(crate) fn sounds(input: &format::context::Input) -> Vec<usize> {
    let streams = input.streams().filter(|stream| stream.parameters().medium() == media::Type::Audio);
    streams.map(|stream| stream.index()).collect()
}

/// Index of the stream of video that is read: the track asked for, else the one that FFmpeg finds best. `None`: there is none.
///
/// # Errors
/// When there is no such track.
pub(crate) fn video(input: &format::context::Input, wanted: Option<u32>) -> Result<Option<usize>, String> {
    let tracks = videos(input);
    if let (Some(wanted), false) = (wanted, tracks.is_empty()) {
        return chosen(input, &tracks, wanted, "video").map(Some);
    }
    let best = input.streams().best(media::Type::Video).map(|stream| stream.index());
    Ok(best.filter(|best| tracks.contains(best)).or(tracks.first().copied()))
}

/// Index of the stream of sound that is read: the track asked for, else the best one of the program that the stream `video`
/// belongs to. `None`: there is none.
///
/// # Errors
/// When there is no such track.
pub(crate) fn sound(
    input: &format::context::Input,
    wanted: Option<u32>,
    video: usize,
) -> Result<Option<usize>, String> {
    if let Some(wanted) = wanted {
        return chosen(input, &sounds(input), wanted, "audio").map(Some);
    }
    // SAFETY: the context is open and not changed; no decoder is asked for.
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

fn chosen(input: &format::context::Input, tracks: &[usize], wanted: u32, kind: &str) -> Result<usize, String> {
    tracks.get(wanted as usize).copied().ok_or_else(|| match tracks.len() {
        0 => format!("has no track of sound; leave `{kind}_track` out"),
        _ => format!("has no {kind} track {wanted}; its tracks are {}", named(input, tracks)),
    })
}

/// Tells of tracks that are not read and that nobody decided about.
pub(crate) fn tell(
    input: &format::context::Input,
    options: &DecodeOptions,
    (video, sound): (usize, Option<usize>),
    notices: &mut Notices,
) {
    let mut told = |kind: &'static str, tracks: &[usize], read: usize| {
        let at = tracks.iter().position(|index| *index == read).unwrap_or(0);
        let named = named(input, tracks);
        let count = tracks.len();
        notices.tell(kind, || {
            format!("it has {count} {kind} tracks ({named}): track {at} is read; `{kind}_track` chooses")
        });
    };
    let (videos, sounds) = (videos(input), sounds(input));
    if videos.len() > 1 && options.video_track.is_none() {
        told("video", &videos, video);
    }
    if let (Some(sound), true) = (sound, options.audio && options.audio_track.is_none() && sounds.len() > 1) {
        told("audio", &sounds, sound);
    }
}

/// Tracks for a message: `0: h264 1920x1080, 1: h264 640x360`.
fn named(input: &format::context::Input, tracks: &[usize]) -> String {
    let mut names: Vec<String> = tracks
        .iter()
        .enumerate()
        .take(NAMED)
        .filter_map(|(number, index)| input.stream(*index).map(|stream| format!("{number}: {}", name(&stream))))
        .collect();
    if tracks.len() > NAMED {
        names.push("...".into());
    }
    names.join(", ")
}

fn name(stream: &format::stream::Stream) -> String {
    let parameters = stream.parameters();
    let mut name = parameters.id().name().to_owned();
    if let Ok(context) = codec::context::Context::from_parameters(parameters) {
        // SAFETY: the context is ours and only read.
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
