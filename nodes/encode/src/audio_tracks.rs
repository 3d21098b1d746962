//! The audio track of each stream: the clip's own audio, mixed with speech if the input `speech` is wired.

use std::ops::RangeInclusive;

use sideline_api::{Body, Error, Inputs, Payload, Result, StreamName, Table, tables::Audio};
use sideline_media::AudioFormat;

use crate::mixer::{LOOKAHEAD_NS, Mixer, SILENT_FORMAT};

/// Numbers of channels of a track.
const CHANNELS: RangeInclusive<u16> = 1..=2;
/// Sample rates of a track, samples per second.
const RATES: RangeInclusive<u32> = 1_000..=768_000;

/// Returns the rows of an input, aligned or side.
///
/// # Errors
/// If the table is of another type.
pub fn rows<T: Table>(input: &Inputs, name: &str) -> Result<Vec<T>> {
    let mut rows = input.rows(name)?.unwrap_or_default();
    for message in input.side(name) {
        if let Body::Data(Payload::Table(table)) = &message.body {
            rows.extend(T::decode(table)?);
        }
    }
    Ok(rows)
}

/// Returns the rows of an input of sound.
///
/// # Errors
/// If the table is of another type, or a row has a format that no track has.
fn sound(input: &Inputs, name: &str) -> Result<Vec<Audio>> {
    let rows: Vec<Audio> = rows(input, name)?;
    match rows.iter().find(|row| !CHANNELS.contains(&row.channels) || !RATES.contains(&row.rate)) {
        Some(row) => Err(Error::other(format!(
            "input `{name}` has sound of {} channels at {} samples per second; {} or {} channels at {} to {} are supported",
            row.channels,
            row.rate,
            CHANNELS.start(),
            CHANNELS.end(),
            RATES.start(),
            RATES.end()
        ))),
        None => Ok(rows),
    }
}

fn format(row: &Audio) -> AudioFormat {
    AudioFormat { rate: row.rate, channels: row.channels }
}

/// The audio tracks of all streams.
pub struct AudioTracks {
    /// True if `speech` is wired: every stream then has an audio track.
    has_speech: bool,
    mixers: Vec<(StreamName, Mixer)>,
}

impl AudioTracks {
    /// Returns the tracks of a node; `has_speech` if its input `speech` is wired.
    pub fn new(has_speech: bool) -> Self {
        Self { has_speech, mixers: vec![] }
    }

    /// Returns the audio to write with a frame shown at `now` ns. With `is_cut` the file ends before this frame, so all audio
    /// until then is returned.
    ///
    /// # Errors
    /// If speech cannot be resampled to the rate of the track.
    pub fn take_until(
        &mut self,
        stream: &StreamName,
        now: i64,
        is_cut: bool,
        input: &Inputs,
        duck_db: f32,
    ) -> Result<Vec<Audio>> {
        let clip = sound(input, "audio")?;
        if !self.has_speech {
            return Ok(clip);
        }
        let clip_format = clip.last().map(format);
        let index = match self.mixers.iter().position(|(name, _)| name == stream) {
            Some(index) => index,
            None => {
                self.mixers.push((stream.clone(), Mixer::new(clip_format.unwrap_or(SILENT_FORMAT), now)));
                self.mixers.len() - 1
            }
        };
        let mixer = &mut self.mixers[index].1;
        let new_format = clip_format.filter(|new| *new != mixer.format());
        let mut mixed = vec![];
        for row in &clip {
            if mixer.is_discontinuity(row.start) {
                mixed.push(mixer.drain(duck_db));
            }
            mixer.push_clip(row);
        }
        if mixer.is_discontinuity(now) {
            mixed.push(mixer.drain(duck_db));
        }
        for row in sound(input, "speech")? {
            mixer.push_speech(&row)?;
        }
        mixed.push(mixer.mix_until(if is_cut || new_format.is_some() { now } else { now - LOOKAHEAD_NS }, duck_db));
        if let Some(new_format) = new_format {
            mixer.set_format(new_format)?;
            clip.iter().for_each(|row| mixer.push_clip(row));
            // The first samples in this format come later; this row announces the format, so that the file starts with it.
            mixed.push(mixer.mix_until(now - LOOKAHEAD_NS, duck_db));
        }
        Ok(mixed)
    }

    /// Returns the rest of the audio at the end of a stream.
    ///
    /// # Errors
    /// As [`AudioTracks::take_until`].
    pub fn take_rest(&mut self, stream: &StreamName, input: &Inputs, duck_db: f32) -> Result<Vec<Audio>> {
        let clip = sound(input, "audio")?;
        let Some(index) = self.mixers.iter().position(|(name, _)| name == stream) else { return Ok(clip) };
        let (_, mut mixer) = self.mixers.swap_remove(index);
        clip.iter().for_each(|row| mixer.push_clip(row));
        for row in sound(input, "speech")? {
            mixer.push_speech(&row)?;
        }
        Ok(vec![mixer.drain(duck_db)])
    }
}
