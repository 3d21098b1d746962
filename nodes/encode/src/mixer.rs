//! Speech over the clip's own sound, which becomes quieter while somebody speaks.
//!
//! Sound is held back for a moment, so that the clip is down when the first word comes, and a sentence that comes late in
//! `live` mode still begins where it should. A track without sound of its own is silence with the speech in it.

use std::collections::VecDeque;

use sideline_api::{Result, tables::Audio};
use sideline_media::{SoundFormat, resample};

/// How long sound is held back, ns: less than a file's packets of picture wait for those of sound.
pub const HELD: i64 = 500_000_000;
/// The track of a clip that has no sound.
pub const SILENT: SoundFormat = SoundFormat { rate: 48_000, channels: 1 };

/// Seconds in which the clip's sound goes down before a sentence, and comes back after it.
const ATTACK: f64 = 0.05;
const RELEASE: f64 = 0.3;
/// After a longer gap, seconds, the sound goes on at its own time: it is not filled with silence.
const LONGEST_SILENCE: i64 = 60;

/// A sentence, from its first sample on.
struct Voice {
    at: i64,
    samples: Vec<f32>,
}

impl Voice {
    fn end(&self) -> i64 {
        self.at + self.samples.len() as i64
    }
}

/// The sound of one stream on its way to the file.
pub struct Mixer {
    format: SoundFormat,
    /// Number of the first sample that has not been handed on.
    next: i64,
    /// The clip's samples from there on, interleaved.
    clip: VecDeque<f32>,
    /// What is spoken, one after another.
    voices: VecDeque<Voice>,
    /// How far the clip is down: 0 not at all, 1 wholly.
    down: f64,
}

impl Mixer {
    /// Begins at a time in nanoseconds, that of the first picture.
    pub fn new(format: SoundFormat, begin: i64) -> Self {
        Self { format, next: format.sample(begin), clip: VecDeque::new(), voices: VecDeque::new(), down: 0.0 }
    }

    /// The format of what comes out.
    pub fn format(&self) -> SoundFormat {
        self.format
    }

    /// True where a time in nanoseconds is so far behind what is pending that the sound goes on there, without silence in
    /// between: what is pending is to be handed on first, by [`Mixer::finish`].
    pub fn leaps_to(&self, time: i64) -> bool {
        let end = self.next + (self.clip.len() / usize::from(self.format.channels)) as i64;
        self.format.sample(time).saturating_sub(end) > LONGEST_SILENCE * i64::from(self.format.rate)
    }

    /// The clip's own sound, as far as it is of the mixer's format. Gaps become silence, what was heard before is left out.
    pub fn hear(&mut self, row: &Audio) {
        if (SoundFormat { rate: row.rate, channels: row.channels }) != self.format {
            return;
        }
        let channels = usize::from(self.format.channels);
        let slack = i64::from(self.format.rate) / 1000;
        let end = self.next + (self.clip.len() / channels) as i64;
        let late = self.format.sample(row.start).saturating_sub(end);
        let mut samples = row.samples.as_slice();
        if self.leaps_to(row.start) {
            // This is where the sound goes on.
            self.next = self.format.sample(row.start);
            self.clip.clear();
        } else if late > slack {
            self.clip.extend(std::iter::repeat_n(0.0, late as usize * channels));
        } else if -late > slack {
            let known = (late.unsigned_abs() as usize).saturating_mul(channels).min(samples.len());
            samples = &samples[known..];
        }
        // What is no number is silence.
        self.clip.extend(samples.iter().map(|sample| if sample.is_finite() { *sample } else { 0.0 }));
    }

    /// A sentence of one channel, to be heard at its `start`: later where the one before it is not over, or where that
    /// time has been handed on already.
    ///
    /// # Errors
    /// When its rate cannot be brought to that of the track.
    pub fn speak(&mut self, row: &Audio) -> Result<()> {
        let channels = usize::from(row.channels.max(1));
        let mono = row.samples.chunks_exact(channels).map(|moment| moment.iter().sum::<f32>() / channels as f32);
        let mut samples = resample(&mono.collect::<Vec<f32>>(), row.rate.max(1), self.format.rate)?;
        samples.iter_mut().filter(|sample| !sample.is_finite()).for_each(|sample| *sample = 0.0);
        let free = self.voices.back().map_or(self.next, Voice::end).max(self.next);
        if !samples.is_empty() {
            self.voices.push_back(Voice { at: self.format.sample(row.start).max(free), samples });
        }
        Ok(())
    }

    /// The mixed sound up to a time in nanoseconds. `duck` is by how many decibels the clip is down while somebody speaks.
    pub fn mix(&mut self, until: i64, duck: f32) -> Audio {
        let channels = usize::from(self.format.channels);
        let until = self.format.sample(until);
        let rate = i64::from(self.format.rate);
        if until - self.next > LONGEST_SILENCE * rate {
            let held = self.format.sample(HELD);
            self.next = self.next.max(until - held);
            self.clip.clear();
        }
        let start = self.format.ns(self.next);
        let mut samples = Vec::with_capacity((until - self.next).max(0) as usize * channels);
        let ahead = (ATTACK * rate as f64) as i64;
        while self.next < until {
            let now = self.next;
            self.voices.pop_front_if(|voice| voice.end() <= now);
            let speaks = self.voices.front().is_some_and(|voice| voice.at - ahead <= now);
            let step = if speaks { 1.0 / ATTACK } else { -1.0 / RELEASE } / rate as f64;
            self.down = (self.down + step).clamp(0.0, 1.0);
            let gain = gain(self.down, duck);
            let voice = self.voices.front().filter(|voice| voice.at <= now);
            let said = voice.map_or(0.0, |voice| voice.samples[(now - voice.at) as usize]);
            for _ in 0..channels {
                let own = self.clip.pop_front().unwrap_or(0.0);
                samples.push((own * gain + said).clamp(-1.0, 1.0));
            }
            self.next += 1;
        }
        Audio { start, rate: self.format.rate, channels: self.format.channels, samples }
    }

    /// All that is left, to the end of the last word.
    pub fn finish(&mut self, duck: f32) -> Audio {
        let clip = self.next + (self.clip.len() / usize::from(self.format.channels)) as i64;
        let end = self.voices.back().map_or(clip, |voice| voice.end().max(clip));
        self.mix(self.format.ns(end), duck)
    }

    /// Goes on in another format; what is being said is said on.
    ///
    /// # Errors
    /// As [`Mixer::speak`].
    pub fn change(&mut self, format: SoundFormat) -> Result<()> {
        let mut other = Mixer { down: self.down, ..Mixer::new(format, self.format.ns(self.next)) };
        for voice in &self.voices {
            let said = (self.next - voice.at).clamp(0, voice.samples.len() as i64);
            let start = self.format.ns(voice.at + said);
            let samples = voice.samples[said as usize..].to_vec();
            other.speak(&Audio { start, rate: self.format.rate, channels: 1, samples })?;
        }
        *self = other;
        Ok(())
    }
}

/// The clip's gain where it is `down`: smooth at both ends, in decibels, as the ear hears it.
fn gain(down: f64, duck: f32) -> f32 {
    if down <= 0.0 {
        return 1.0;
    }
    let smooth = down * down * (3.0 - 2.0 * down);
    10.0_f32.powf(-duck * smooth as f32 / 20.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 8_000;
    const MONO: SoundFormat = SoundFormat { rate: RATE, channels: 1 };
    const SECOND: i64 = 1_000_000_000;

    fn row(start: i64, seconds: f64, value: f32) -> Audio {
        Audio { start, rate: RATE, channels: 1, samples: vec![value; (seconds * f64::from(RATE)) as usize] }
    }

    /// Value at a time, seconds.
    fn at(sound: &Audio, seconds: f64) -> f32 {
        sound.samples
            [((seconds * f64::from(RATE)) as usize - MONO.sample(sound.start) as usize) * usize::from(sound.channels)]
    }

    #[test]
    fn the_clip_is_down_while_somebody_speaks_and_comes_back() {
        let mut mixer = Mixer::new(MONO, 0);
        mixer.hear(&row(0, 5.0, 0.4));
        // Speech that is silent shows the clip alone.
        mixer.speak(&row(2 * SECOND, 1.0, 0.0)).unwrap();
        let sound = mixer.mix(5 * SECOND, 12.0);
        let down = 0.4 * 10.0_f32.powf(-0.6);
        let near = |value: f32, want: f32| (value - want).abs() < 1e-3;
        for (time, want) in [(0.5, 0.4), (1.94, 0.4), (2.0, down), (2.99, down), (3.35, 0.4), (4.9, 0.4)] {
            assert!(near(at(&sound, time), want), "{time} s: {}", at(&sound, time));
        }
        let steps = sound.samples.windows(2).map(|pair| (pair[1] - pair[0]).abs());
        assert!(steps.fold(0.0, f32::max) < 0.01, "no click");
        let half = at(&sound, 3.15);
        assert!(half > down + 0.05 && half < 0.4 - 0.05, "on its way: {half}");
    }

    #[test]
    fn nothing_is_said_at_once_and_what_comes_late_begins_when_it_can() {
        let mut mixer = Mixer::new(MONO, 0);
        mixer.speak(&row(SECOND, 1.0, 0.3)).unwrap();
        mixer.speak(&row(SECOND + SECOND / 2, 1.0, 0.1)).unwrap();
        let sound = mixer.mix(4 * SECOND, 12.0);
        assert_eq!([0.9, 1.1, 1.9, 2.1, 2.9, 3.1].map(|time| at(&sound, time)), [0.0, 0.3, 0.3, 0.1, 0.1, 0.0]);
        mixer.speak(&row(3 * SECOND, 1.0, 0.2)).unwrap();
        let sound = mixer.mix(6 * SECOND, 12.0);
        assert_eq!([4.1, 4.9, 5.1].map(|time| at(&sound, time)), [0.2, 0.2, 0.0], "3 s has been handed on");
    }

    #[test]
    fn both_channels_hear_the_speech_and_the_clip_keeps_its_place() {
        let stereo = SoundFormat { rate: RATE, channels: 2 };
        let mut mixer = Mixer::new(stereo, SECOND);
        let clip = [0.1, 0.2].repeat(RATE as usize);
        // Before the first picture, then a gap of half a second.
        mixer.hear(&Audio { start: 0, rate: RATE, channels: 2, samples: clip.clone() });
        mixer.hear(&Audio { start: 3 * SECOND / 2, rate: RATE, channels: 2, samples: clip });
        mixer.speak(&row(SECOND, 0.25, 0.5)).unwrap();
        let sound = mixer.finish(0.0);
        assert_eq!((sound.start, sound.samples.len()), (SECOND, 2 * 3 * RATE as usize / 2));
        let moment = |seconds: f64| {
            let i = ((seconds - 1.0) * f64::from(RATE)) as usize * 2;
            [sound.samples[i], sound.samples[i + 1]]
        };
        assert_eq!([moment(1.1), moment(1.3), moment(1.6)], [[0.5, 0.5], [0.0, 0.0], [0.1, 0.2]]);
    }

    #[test]
    fn another_format_goes_on_in_the_middle_of_a_word() {
        let mut mixer = Mixer::new(MONO, 0);
        mixer.speak(&row(0, 2.0, 0.5)).unwrap();
        mixer.mix(SECOND, 12.0);
        mixer.change(SoundFormat { rate: 2 * RATE, channels: 1 }).unwrap();
        let rest = mixer.finish(12.0);
        assert_eq!((rest.start, rest.rate), (SECOND, 2 * RATE));
        assert!(rest.samples.len().abs_diff(2 * RATE as usize) < 100, "{}", rest.samples.len());
        assert!((rest.samples[RATE as usize] - 0.5).abs() < 0.01);
    }

    #[test]
    fn what_is_pending_before_a_long_gap_is_not_lost() {
        let mut mixer = Mixer::new(MONO, 0);
        mixer.hear(&row(0, 1.0, 0.1));
        assert_eq!(mixer.mix(SECOND - HELD, 12.0).samples.len(), RATE as usize / 2);
        let late = row(3_600 * SECOND, 1.0, 0.2);
        assert!(mixer.leaps_to(late.start) && !mixer.leaps_to(30 * SECOND));
        let rest = mixer.finish(12.0);
        assert_eq!((rest.start, rest.samples.len()), (SECOND - HELD, RATE as usize / 2));
        mixer.hear(&late);
        assert_eq!(mixer.finish(12.0).start, 3_600 * SECOND);
    }

    #[test]
    fn a_long_gap_is_not_filled() {
        let mut mixer = Mixer::new(MONO, 0);
        mixer.hear(&row(0, 1.0, 0.1));
        mixer.mix(SECOND, 12.0);
        let sound = mixer.mix(3_600 * SECOND, 12.0);
        assert!(sound.samples.len() <= RATE as usize && sound.start > 3_590 * SECOND);
    }
}
