//! Resampling of audio.

use ff::{format, frame, software::resampling};
use ffmpeg_next as ff;
use sideline_api::{Error, Result};

/// Resamples one channel: `n` samples become `n * to / from`, the first at the same time. Rates are in Hz.
///
/// # Errors
/// If FFmpeg's resampler does not support these rates.
pub fn resample(samples: &[f32], from: u32, to: u32) -> Result<Vec<f32>> {
    if from == to || samples.is_empty() {
        return Ok(samples.to_vec());
    }
    let fail = |cause: ff::Error| Error::other(format!("audio cannot be resampled from {from} Hz to {to} Hz: {cause}"));
    let (packed, mono) = (format::Sample::F32(format::sample::Type::Packed), ff::ChannelLayout::MONO);
    let mut converter = resampling::Context::get(packed, mono, from, packed, mono, to).map_err(fail)?;
    let length = (samples.len() as u64 * u64::from(to)).div_ceil(u64::from(from)) as usize;
    let mut resampled = Vec::with_capacity(length);
    // The resampler's filter needs lookahead: silence after the audio flushes its last samples.
    let tail = vec![0.0; from as usize / 10];
    for part in [samples, &tail] {
        let mut input = frame::Audio::new(packed, part.len(), mono);
        input.set_rate(from);
        input.plane_mut::<f32>(0)[..part.len()].copy_from_slice(part);
        let room = part.len() * to as usize / from.max(1) as usize + 1024;
        let mut output = frame::Audio::new(packed, room, mono);
        output.set_rate(to);
        converter.run(&input, &mut output).map_err(fail)?;
        resampled.extend_from_slice(&output.plane::<f32>(0)[..output.samples()]);
    }
    resampled.resize(length, 0.0);
    Ok(resampled)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Generates a tone of 440 Hz that begins at `at` seconds.
    fn tone(rate: u32, seconds: f64, at: f64) -> Vec<f32> {
        let sample = |i: f64| if i < at { 0.0 } else { 0.5 * (std::f64::consts::TAU * 440.0 * (i - at)).sin() as f32 };
        (0..(f64::from(rate) * seconds) as usize).map(|i| sample(i as f64 / f64::from(rate))).collect()
    }

    #[test]
    fn a_resampled_tone_keeps_its_frequency_and_time() {
        for (from, to) in [(22_050, 48_000), (22_050, 44_100), (48_000, 16_000), (16_000, 22_050)] {
            let made = resample(&tone(from, 0.5, 0.2), from, to).unwrap();
            let want = tone(to, 0.5, 0.2);
            assert!(made.len().abs_diff(want.len()) <= 1, "{} {}", made.len(), want.len());
            let worst = made.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 0.05, "{from} to {to}: {worst}");
        }
        assert_eq!(resample(&[0.5; 7], 8_000, 8_000).unwrap(), [0.5; 7]);
        assert!(resample(&[], 8_000, 16_000).unwrap().is_empty());
    }
}
