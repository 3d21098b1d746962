//! The sound of each stream for its file: the clip's own, or with `speech` wired both, mixed.

use sideline_api::{Body, Inputs, Payload, Result, StreamName, Table, tables::Audio};
use sideline_media::SoundFormat;

use crate::mixer::{HELD, Mixer, SILENT};

/// Rows of an input, whether it is aligned or a side input.
///
/// # Errors
/// When the table is of another type.
pub fn rows<T: Table>(input: &Inputs, name: &str) -> Result<Vec<T>> {
    let mut rows = input.rows(name)?.unwrap_or_default();
    for message in input.side(name) {
        if let Body::Data(Payload::Table(table)) = &message.body {
            rows.extend(T::decode(table)?);
        }
    }
    Ok(rows)
}

fn format(row: &Audio) -> SoundFormat {
    SoundFormat { rate: row.rate, channels: row.channels }
}

/// The sound of all streams.
pub struct Sound {
    /// Somebody may speak: there is always a track.
    spoken: bool,
    mixers: Vec<(StreamName, Mixer)>,
}

impl Sound {
    /// `spoken`: the input `speech` is wired.
    pub fn new(spoken: bool) -> Self {
        Self { spoken, mixers: vec![] }
    }

    /// What goes into the file with a frame that is shown at `now` ns. `cut`: the file ends before this frame, so all that
    /// is heard until then is in it.
    ///
    /// # Errors
    /// When speech cannot be brought to the rate of the track.
    pub fn until(&mut self, stream: &StreamName, now: i64, cut: bool, input: &Inputs, duck: f32) -> Result<Vec<Audio>> {
        let clip: Vec<Audio> = rows(input, "audio")?;
        if !self.spoken {
            return Ok(clip);
        }
        let new = clip.last().map(format);
        let at = match self.mixers.iter().position(|(name, _)| name == stream) {
            Some(at) => at,
            None => {
                self.mixers.push((stream.clone(), Mixer::new(new.unwrap_or(SILENT), now)));
                self.mixers.len() - 1
            }
        };
        let mixer = &mut self.mixers[at].1;
        let changed = new.filter(|new| *new != mixer.format());
        let mut mixed = vec![];
        for row in &clip {
            if mixer.leaps_to(row.start) {
                mixed.push(mixer.finish(duck));
            }
            mixer.hear(row);
        }
        if mixer.leaps_to(now) {
            mixed.push(mixer.finish(duck));
        }
        for row in rows::<Audio>(input, "speech")? {
            mixer.speak(&row)?;
        }
        mixed.push(mixer.mix(if cut || changed.is_some() { now } else { now - HELD }, duck));
        if let Some(new) = changed {
            mixer.change(new)?;
            clip.iter().for_each(|row| mixer.hear(row));
            // Its first sound comes later; the file is to know of it now.
            mixed.push(mixer.mix(now - HELD, duck));
        }
        Ok(mixed)
    }

    /// What is left at the end of a stream.
    ///
    /// # Errors
    /// As [`Sound::until`].
    pub fn rest(&mut self, stream: &StreamName, input: &Inputs, duck: f32) -> Result<Vec<Audio>> {
        let clip: Vec<Audio> = rows(input, "audio")?;
        let Some(at) = self.mixers.iter().position(|(name, _)| name == stream) else { return Ok(clip) };
        let (_, mut mixer) = self.mixers.swap_remove(at);
        clip.iter().for_each(|row| mixer.hear(row));
        for row in rows::<Audio>(input, "speech")? {
            mixer.speak(&row)?;
        }
        Ok(vec![mixer.finish(duck)])
    }
}
