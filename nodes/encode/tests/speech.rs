//! Tests of speech in the audio track, which is read back with the decoder.

use std::{f64::consts::TAU, path::Path, sync::Arc};

use sideline_api::{
    Alignment, Body, Message, Mode, Payload, Table, Values,
    config::Origin,
    tables::Audio,
    testing::{Harness, Setup, gray_frame},
};
use sideline_encode::Encode;
use sideline_media::{DecodeOptions, Decoder};

const RATE: u32 = 48_000;
const INTERVAL: i64 = 1_000_000_000 / 30;
/// Frequency of the clip's own audio, Hz.
const CLIP_HZ: f64 = 300.0;
/// Frequency of the speech, Hz.
const SPEECH_HZ: f64 = 1_500.0;

fn encode(folder: &Path, inputs: &[(&'static str, Alignment)], mode: Mode) -> Harness<Encode> {
    let mut values = Values::new();
    values.set("preset", "ultrafast", Origin::CommandLine);
    let setup = Setup { mode, run_dir: folder.into(), inputs: Some(inputs.to_vec()), ..Setup::default() };
    Harness::with(values, setup).unwrap()
}

fn tone(hertz: f64, rate: u32, from: u64, samples: u64, level: f64) -> Vec<f32> {
    let at = |i: u64| (level * (TAU * hertz * i as f64 / f64::from(rate)).sin()) as f32;
    (from..from + samples).map(at).collect()
}

/// Returns the clip's audio since the frame before: a tone of amplitude 0.4.
fn clip(frame: u64) -> Vec<Audio> {
    let (from, to) = ((frame as i64 - 1).max(0) * INTERVAL, frame as i64 * INTERVAL);
    let number = |ns: i64| (i128::from(ns) * i128::from(RATE) / 1_000_000_000) as u64;
    let samples = tone(CLIP_HZ, RATE, number(from), number(to) - number(from), 0.4);
    vec![Audio { start: from, rate: RATE, channels: 1, samples }]
}

/// Returns a sentence of a given length: a tone of amplitude 0.4 at the sample rate of espeak-ng.
fn sentence(start: f64, seconds: f64) -> Audio {
    let samples = tone(SPEECH_HZ, 22_050, 0, (seconds * 22_050.0) as u64, 0.4);
    Audio { start: (start * 1e9) as i64, rate: 22_050, channels: 1, samples }
}

/// Decodes the first channel of a file's audio from its first frame on; returns it with its rate, Hz.
fn decode_audio(path: &Path) -> (Vec<f32>, f64) {
    let mut decoder = Decoder::open(path, DecodeOptions { audio: true, ..Default::default() }).unwrap();
    let mut runs = vec![];
    while let Some(decoded) = decoder.next().unwrap() {
        runs.extend(decoder.audio_until(decoded.pts_ns));
    }
    runs.extend(decoder.audio_until(i64::MAX));
    let format = decoder.audio_format().unwrap();
    let rate = f64::from(format.rate);
    let mut all = vec![];
    for run in &runs {
        all.resize(((run.start_ns as f64 * 1e-9 * rate).round() as usize).max(all.len()), 0.0);
        all.extend(run.samples.iter().step_by(usize::from(format.channels)));
    }
    (all, rate)
}

/// Returns the amplitude of a frequency around a time, by a discrete Fourier transform over 40 ms; 0.4 for an unchanged tone.
fn level((audio, rate): &(Vec<f32>, f64), hertz: f64, time: f64) -> f64 {
    let (from, n) = (((time - 0.02) * rate) as usize, (0.04 * rate) as usize);
    let Some(part) = audio.get(from..from + n) else { return 0.0 };
    let (mut re, mut im) = (0.0, 0.0);
    for (i, sample) in part.iter().enumerate() {
        let (sin, cos) = (TAU * hertz * i as f64 / rate).sin_cos();
        re += f64::from(*sample) * cos;
        im += f64::from(*sample) * sin;
    }
    2.0 * re.hypot(im) / n as f64
}

/// Returns the times at which speech begins and ends, seconds: those of half its amplitude.
fn speech_interval(audio: &(Vec<f32>, f64)) -> (f64, f64) {
    let times = (20..audio.0.len() as u64 * 1000 / audio.1 as u64).map(|ms| ms as f64 * 1e-3);
    let loud: Vec<f64> = times.filter(|time| level(audio, SPEECH_HZ, *time) > 0.2).collect();
    (loud[0], *loud.last().unwrap())
}

fn decibels(ratio: f64) -> f64 {
    20.0 * ratio.log10()
}

#[test]
fn speech_starts_at_its_time_and_the_clip_is_ducked_during_it() {
    let folder = tempfile::tempdir().unwrap();
    let inputs = ["frames", "audio", "speech"].map(|name| (name, Alignment::Source(sideline_api::SourceId(0))));
    let mut encode = encode(folder.path(), &inputs, Mode::Complete);
    for frame in 0..150 {
        encode.push_frame("frames", gray_frame(64, 48, 128)).unwrap();
        encode.push("audio", &clip(frame)).unwrap();
        let speech = if frame == 60 { vec![sentence(2.0, 1.0)] } else { vec![] };
        encode.push("speech", &speech).unwrap();
    }
    encode.end().unwrap();
    encode.close().unwrap();
    let audio = decode_audio(&folder.path().join("overlay.mp4"));
    let (begin, end) = speech_interval(&audio);
    assert!((begin - 2.0).abs() < 1.0 / 30.0 && (end - 3.0).abs() < 1.0 / 30.0, "{begin} s to {end} s");
    let before = level(&audio, CLIP_HZ, 1.5);
    assert!((before - 0.4).abs() < 0.04, "{before}");
    for time in [2.1, 2.5, 2.9] {
        let ducked = decibels(level(&audio, CLIP_HZ, time) / before);
        assert!((ducked + 12.0).abs() < 1.5, "{time} s: {ducked} dB");
    }
    for time in [1.9, 3.4, 4.5] {
        let back = decibels(level(&audio, CLIP_HZ, time) / before);
        assert!(back.abs() < 1.0, "{time} s: {back} dB");
    }
    assert!((audio.0.len() as f64 / audio.1 - 149.0 / 30.0).abs() < 0.03, "the audio is as long as the clip");
}

#[test]
fn a_clip_without_audio_has_the_speech_alone_also_after_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let inputs = ["frames", "audio", "speech"].map(|name| (name, Alignment::Source(sideline_api::SourceId(0))));
    let mut encode = encode(folder.path(), &inputs, Mode::Complete);
    for _ in 0..60 {
        encode.push_frame("frames", gray_frame(64, 48, 128)).unwrap();
        encode.push::<Audio>("audio", &[]).unwrap();
        encode.push::<Audio>("speech", &[]).unwrap();
    }
    // The closing message: the sentence begins before the last frame and ends after it.
    let rows = Audio::encode(&[sentence(1.8, 0.7)]);
    encode.push_closing("speech", Body::Data(Payload::Table(Arc::new(rows)))).unwrap();
    for input in ["frames", "audio", "speech"] {
        encode.push_at(input, 60, Body::End { frames: 60 }).unwrap();
    }
    encode.close().unwrap();
    let audio = decode_audio(&folder.path().join("overlay.mp4"));
    let (begin, end) = speech_interval(&audio);
    assert!((begin - 1.8).abs() < 1.0 / 30.0 && (end - 2.5).abs() < 1.0 / 30.0, "{begin} s to {end} s");
}

#[test]
fn speech_that_arrives_late_on_a_side_input_begins_at_its_time_or_as_soon_as_possible() {
    for (delay_s, want) in [(0.3, 1.0), (1.5, 2.0)] {
        let folder = tempfile::tempdir().unwrap();
        let inputs = [
            ("frames", Alignment::Source(sideline_api::SourceId(0))),
            ("audio", Alignment::Source(sideline_api::SourceId(0))),
            ("speech", Alignment::Side { queue: 10 }),
        ];
        let mut encode = encode(folder.path(), &inputs, Mode::Live);
        for frame in 0..120 {
            // The sentence is due at 1 s.
            if frame == 30 + (delay_s * 30.0) as u64 {
                let rows = Audio::encode(&[sentence(1.0, 0.5)]);
                let message =
                    Message { header: encode.header(30), n: 0, body: Body::Data(Payload::Table(Arc::new(rows))) };
                encode.accept("speech", message).unwrap();
            }
            encode.push_frame("frames", gray_frame(64, 48, 128)).unwrap();
            encode.push("audio", &clip(frame)).unwrap();
        }
        for input in ["frames", "audio"] {
            encode.push_at(input, 120, Body::End { frames: 120 }).unwrap();
        }
        encode.close().unwrap();
        let (begin, end) = speech_interval(&decode_audio(&folder.path().join("overlay.mp4")));
        assert!(
            (begin - want).abs() < 0.05 && (end - begin - 0.5).abs() < 0.03,
            "delay {delay_s} s: {begin} s to {end} s"
        );
    }
}

#[test]
fn a_sentence_that_spans_two_files_is_split_between_them() {
    let folder = tempfile::tempdir().unwrap();
    let inputs = ["frames", "audio", "speech"].map(|name| (name, Alignment::Source(sideline_api::SourceId(0))));
    let mut encode = encode(folder.path(), &inputs, Mode::Complete);
    for frame in 0..90 {
        let width = if frame < 45 { 64 } else { 32 };
        encode.push_frame("frames", gray_frame(width, 48, 128)).unwrap();
        encode.push("audio", &clip(frame)).unwrap();
        let speech = if frame == 30 { vec![sentence(1.0, 1.0)] } else { vec![] };
        encode.push("speech", &speech).unwrap();
    }
    encode.end().unwrap();
    encode.close().unwrap();
    let first = decode_audio(&folder.path().join("overlay.mp4"));
    let (begin, end) = speech_interval(&first);
    assert!((begin - 1.0).abs() < 0.04 && (end - 1.5).abs() < 0.04, "{begin} s to {end} s");
    let second = decode_audio(&folder.path().join("overlay-2.mp4"));
    let (_, end) = speech_interval(&second);
    assert!((end - 0.5).abs() < 0.04, "{end} s");
}
