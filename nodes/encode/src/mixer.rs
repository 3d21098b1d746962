//! Mixes speech over the clip's own audio, which is ducked during speech.
//!
//! The output is delayed by a lookahead, so that the clip is attenuated when the first word comes, and a sentence that arrives
//! late in `live` mode still begins at its time. If the clip has no audio, the track is silence with the speech in it.

use std::collections::VecDeque;

use sideline_api::{Result, tables::Audio};
use sideline_media::{AudioFormat, resample};

/// Delay of the output, ns. It is shorter than the time for which a file's video packets wait for audio packets.
pub const LOOKAHEAD_NS: i64 = 500_000_000;
/// Format of the track of a clip without audio.
pub const SILENT_FORMAT: AudioFormat = AudioFormat { rate: 48_000, channels: 1 };

/// Fade of the clip's audio before a sentence, seconds.
const ATTACK_S: f64 = 0.05;
/// Fade of the clip's audio after a sentence, seconds.
const RELEASE_S: f64 = 0.3;
/// Longest gap that is filled with silence, seconds. After a longer one the audio continues at its own time.
const LONGEST_SILENCE_S: i64 = 60;

/// A sentence of one channel at the rate of the track.
struct Sentence {
    /// Number of its first sample on the track.
    start: i64,
    samples: Vec<f32>,
}

impl Sentence {
    fn end(&self) -> i64 {
        self.start + self.samples.len() as i64
    }
}

/// Mixer of one stream.
pub struct Mixer {
    format: AudioFormat,
    /// Number of the next sample to be output.
    next: i64,
    /// The clip's samples from `next` on, interleaved.
    clip: VecDeque<f32>,
    /// Sentences not yet output completely, in order and without overlap.
    sentences: VecDeque<Sentence>,
    /// State of the ducking: 0 for no attenuation, 1 for the full one.
    ducking: f64,
}

impl Mixer {
    /// Returns a mixer whose output starts at a time in nanoseconds, that of the first frame.
    pub fn new(format: AudioFormat, start: i64) -> Self {
        Self { format, next: format.sample_at(start), clip: VecDeque::new(), sentences: VecDeque::new(), ducking: 0.0 }
    }

    /// Returns the format of the output.
    pub fn format(&self) -> AudioFormat {
        self.format
    }

    /// True if a time in nanoseconds lies so far after the pending audio that the output continues there, without silence in
    /// between. The pending audio must then be taken first, with [`Mixer::drain`].
    pub fn is_discontinuity(&self, time: i64) -> bool {
        let end = self.next + (self.clip.len() / usize::from(self.format.channels)) as i64;
        self.format.sample_at(time).saturating_sub(end) > LONGEST_SILENCE_S * i64::from(self.format.rate)
    }

    /// Adds audio of the clip; a row of another format is ignored. Gaps are filled with silence, and samples that overlap the
    /// pending audio are left out.
    pub fn push_clip(&mut self, row: &Audio) {
        if (AudioFormat { rate: row.rate, channels: row.channels }) != self.format {
            return;
        }
        let channels = usize::from(self.format.channels);
        // Deviations of up to 1 ms are rounding, and are not corrected.
        let tolerance = i64::from(self.format.rate) / 1000;
        let end = self.next + (self.clip.len() / channels) as i64;
        let gap = self.format.sample_at(row.start).saturating_sub(end);
        let mut samples = row.samples.as_slice();
        if self.is_discontinuity(row.start) {
            self.next = self.format.sample_at(row.start);
            self.clip.clear();
        } else if gap > tolerance {
            self.clip.extend(std::iter::repeat_n(0.0, gap as usize * channels));
        } else if -gap > tolerance {
            let overlap = (gap.unsigned_abs() as usize).saturating_mul(channels).min(samples.len());
            samples = &samples[overlap..];
        }
        // NaN and infinities become silence.
        self.clip.extend(samples.iter().map(|sample| if sample.is_finite() { *sample } else { 0.0 }));
    }

    /// Adds a sentence, averaged over its channels. It begins at its `start`, or later if the sentence before is not over or
    /// that time has been output already.
    ///
    /// # Errors
    /// If it cannot be resampled to the rate of the track.
    pub fn push_speech(&mut self, row: &Audio) -> Result<()> {
        let channels = usize::from(row.channels.max(1));
        let mono = row.samples.chunks_exact(channels).map(|sample| sample.iter().sum::<f32>() / channels as f32);
        let mut samples = resample(&mono.collect::<Vec<f32>>(), row.rate.max(1), self.format.rate)?;
        samples.iter_mut().filter(|sample| !sample.is_finite()).for_each(|sample| *sample = 0.0);
        let earliest = self.sentences.back().map_or(self.next, Sentence::end).max(self.next);
        if !samples.is_empty() {
            self.sentences.push_back(Sentence { start: self.format.sample_at(row.start).max(earliest), samples });
        }
        Ok(())
    }

    /// Mixes and returns the audio up to a time in nanoseconds. `duck_db` is the attenuation of the clip during speech.
    pub fn mix_until(&mut self, until: i64, duck_db: f32) -> Audio {
        let channels = usize::from(self.format.channels);
        let until = self.format.sample_at(until);
        let rate = i64::from(self.format.rate);
        if until - self.next > LONGEST_SILENCE_S * rate {
            let lookahead = self.format.sample_at(LOOKAHEAD_NS);
            self.next = self.next.max(until - lookahead);
            self.clip.clear();
        }
        let start = self.format.sample_time_ns(self.next);
        let mut samples = Vec::with_capacity((until - self.next).max(0) as usize * channels);
        let attack = (ATTACK_S * rate as f64) as i64;
        while self.next < until {
            let now = self.next;
            self.sentences.pop_front_if(|sentence| sentence.end() <= now);
            let is_ducked = self.sentences.front().is_some_and(|sentence| sentence.start - attack <= now);
            let step = if is_ducked { 1.0 / ATTACK_S } else { -1.0 / RELEASE_S } / rate as f64;
            self.ducking = (self.ducking + step).clamp(0.0, 1.0);
            let gain = clip_gain(self.ducking, duck_db);
            let sentence = self.sentences.front().filter(|sentence| sentence.start <= now);
            let speech = sentence.map_or(0.0, |sentence| sentence.samples[(now - sentence.start) as usize]);
            for _ in 0..channels {
                let clip = self.clip.pop_front().unwrap_or(0.0);
                samples.push((clip * gain + speech).clamp(-1.0, 1.0));
            }
            self.next += 1;
        }
        Audio { start, rate: self.format.rate, channels: self.format.channels, samples }
    }

    /// Mixes and returns all pending audio, to the end of the clip's audio and of the last sentence.
    pub fn drain(&mut self, duck_db: f32) -> Audio {
        let clip_end = self.next + (self.clip.len() / usize::from(self.format.channels)) as i64;
        let end = self.sentences.back().map_or(clip_end, |sentence| sentence.end().max(clip_end));
        self.mix_until(self.format.sample_time_ns(end), duck_db)
    }

    /// Switches to another format; pending sentences continue in it.
    ///
    /// # Errors
    /// As [`Mixer::push_speech`].
    pub fn set_format(&mut self, format: AudioFormat) -> Result<()> {
        let mut other = Mixer { ducking: self.ducking, ..Mixer::new(format, self.format.sample_time_ns(self.next)) };
        for sentence in &self.sentences {
            let played = (self.next - sentence.start).clamp(0, sentence.samples.len() as i64);
            let start = self.format.sample_time_ns(sentence.start + played);
            let samples = sentence.samples[played as usize..].to_vec();
            other.push_speech(&Audio { start, rate: self.format.rate, channels: 1, samples })?;
        }
        *self = other;
        Ok(())
    }
}

/// Returns the clip's linear gain: a smoothstep of the ducking state, in decibels, since loudness is logarithmic.
fn clip_gain(ducking: f64, duck_db: f32) -> f32 {
    if ducking <= 0.0 {
        return 1.0;
    }
    let smooth = ducking * ducking * (3.0 - 2.0 * ducking);
    10.0_f32.powf(-duck_db * smooth as f32 / 20.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 8_000;
    const MONO: AudioFormat = AudioFormat { rate: RATE, channels: 1 };
    const SECOND: i64 = 1_000_000_000;

    fn row(start: i64, seconds: f64, value: f32) -> Audio {
        Audio { start, rate: RATE, channels: 1, samples: vec![value; (seconds * f64::from(RATE)) as usize] }
    }

    /// Returns the sample at a time, seconds.
    fn sample_at(audio: &Audio, seconds: f64) -> f32 {
        audio.samples[((seconds * f64::from(RATE)) as usize - MONO.sample_at(audio.start) as usize)
            * usize::from(audio.channels)]
    }

    #[test]
    fn the_clip_is_ducked_during_speech_and_released_after_it() {
        let mut mixer = Mixer::new(MONO, 0);
        mixer.push_clip(&row(0, 5.0, 0.4));
        // Speech of zero samples leaves the clip alone in the output.
        mixer.push_speech(&row(2 * SECOND, 1.0, 0.0)).unwrap();
        let audio = mixer.mix_until(5 * SECOND, 12.0);
        let ducked = 0.4 * 10.0_f32.powf(-0.6);
        let near = |value: f32, want: f32| (value - want).abs() < 1e-3;
        for (time, want) in [(0.5, 0.4), (1.94, 0.4), (2.0, ducked), (2.99, ducked), (3.35, 0.4), (4.9, 0.4)] {
            assert!(near(sample_at(&audio, time), want), "{time} s: {}", sample_at(&audio, time));
        }
        let steps = audio.samples.windows(2).map(|pair| (pair[1] - pair[0]).abs());
        assert!(steps.fold(0.0, f32::max) < 0.01, "no click");
        let half = sample_at(&audio, 3.15);
        assert!(half > ducked + 0.05 && half < 0.4 - 0.05, "during the release: {half}");
    }

    #[test]
    fn sentences_do_not_overlap_and_a_late_one_begins_as_soon_as_possible() {
        let mut mixer = Mixer::new(MONO, 0);
        mixer.push_speech(&row(SECOND, 1.0, 0.3)).unwrap();
        mixer.push_speech(&row(SECOND + SECOND / 2, 1.0, 0.1)).unwrap();
        let audio = mixer.mix_until(4 * SECOND, 12.0);
        assert_eq!([0.9, 1.1, 1.9, 2.1, 2.9, 3.1].map(|time| sample_at(&audio, time)), [0.0, 0.3, 0.3, 0.1, 0.1, 0.0]);
        mixer.push_speech(&row(3 * SECOND, 1.0, 0.2)).unwrap();
        let audio = mixer.mix_until(6 * SECOND, 12.0);
        assert_eq!([4.1, 4.9, 5.1].map(|time| sample_at(&audio, time)), [0.2, 0.2, 0.0], "3 s has been output already");
    }

    #[test]
    fn speech_is_mixed_into_both_channels_and_the_clip_keeps_its_time() {
        let stereo = AudioFormat { rate: RATE, channels: 2 };
        let mut mixer = Mixer::new(stereo, SECOND);
        let clip = [0.1, 0.2].repeat(RATE as usize);
        // From 1 s before the first frame, then a gap of half a second.
        mixer.push_clip(&Audio { start: 0, rate: RATE, channels: 2, samples: clip.clone() });
        mixer.push_clip(&Audio { start: 3 * SECOND / 2, rate: RATE, channels: 2, samples: clip });
        mixer.push_speech(&row(SECOND, 0.25, 0.5)).unwrap();
        let audio = mixer.drain(0.0);
        assert_eq!((audio.start, audio.samples.len()), (SECOND, 2 * 3 * RATE as usize / 2));
        let channels_at = |seconds: f64| {
            let i = ((seconds - 1.0) * f64::from(RATE)) as usize * 2;
            [audio.samples[i], audio.samples[i + 1]]
        };
        assert_eq!([channels_at(1.1), channels_at(1.3), channels_at(1.6)], [[0.5, 0.5], [0.0, 0.0], [0.1, 0.2]]);
    }

    #[test]
    fn a_sentence_continues_across_a_change_of_format() {
        let mut mixer = Mixer::new(MONO, 0);
        mixer.push_speech(&row(0, 2.0, 0.5)).unwrap();
        mixer.mix_until(SECOND, 12.0);
        mixer.set_format(AudioFormat { rate: 2 * RATE, channels: 1 }).unwrap();
        let rest = mixer.drain(12.0);
        assert_eq!((rest.start, rest.rate), (SECOND, 2 * RATE));
        assert!(rest.samples.len().abs_diff(2 * RATE as usize) < 100, "{}", rest.samples.len());
        assert!((rest.samples[RATE as usize] - 0.5).abs() < 0.01);
    }

    #[test]
    fn audio_pending_before_a_long_gap_is_not_lost() {
        let mut mixer = Mixer::new(MONO, 0);
        mixer.push_clip(&row(0, 1.0, 0.1));
        assert_eq!(mixer.mix_until(SECOND - LOOKAHEAD_NS, 12.0).samples.len(), RATE as usize / 2);
        let late = row(3_600 * SECOND, 1.0, 0.2);
        assert!(mixer.is_discontinuity(late.start) && !mixer.is_discontinuity(30 * SECOND));
        let rest = mixer.drain(12.0);
        assert_eq!((rest.start, rest.samples.len()), (SECOND - LOOKAHEAD_NS, RATE as usize / 2));
        mixer.push_clip(&late);
        assert_eq!(mixer.drain(12.0).start, 3_600 * SECOND);
    }

    #[test]
    fn a_long_gap_is_not_filled() {
        let mut mixer = Mixer::new(MONO, 0);
        mixer.push_clip(&row(0, 1.0, 0.1));
        mixer.mix_until(SECOND, 12.0);
        let audio = mixer.mix_until(3_600 * SECOND, 12.0);
        assert!(audio.samples.len() <= RATE as usize && audio.start > 3_590 * SECOND);
    }
}
