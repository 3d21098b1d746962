//! Tests of the audio track that `encode` writes; it is read back with the decoder.

use std::path::Path;

use sideline_api::{
    Alignment, Body, Color, Encoding, Frame, Mode, OnError, Payload, Reason, Table, Values,
    tables::Audio,
    testing::{Harness, Setup, gray_frame},
};
use sideline_encode::Encode;
use sideline_media::{DecodeOptions, Decoder};

const RATE: u32 = 48_000;
const INTERVAL: i64 = 1_000_000_000 / 30;

fn encode(folder: &Path, setup: Setup) -> Harness<Encode> {
    let inputs = ["frames", "audio"].map(|name| (name, Alignment::Source(sideline_api::SourceId(0)))).to_vec();
    let mut values = Values::new();
    values.set("preset", "ultrafast", sideline_api::config::Origin::CommandLine);
    Harness::with(values, Setup { run_dir: folder.into(), inputs: Some(inputs), ..setup }).unwrap()
}

/// Returns the audio between frame `frame - 1` and this one: a beep of 50 ms at the start of each second.
fn audio_before(frame: u64) -> Vec<Audio> {
    let (from, to) = ((frame as i64 - 1).max(0) * INTERVAL, frame as i64 * INTERVAL);
    let number = |ns: i64| (i128::from(ns) * i128::from(RATE) / 1_000_000_000) as u64;
    let is_beep = |i: u64| i % u64::from(RATE) < u64::from(RATE) / 20;
    let sample = |i: u64| if is_beep(i) { 0.5 * (i as f32 * 0.13).sin() } else { 0.0 };
    vec![Audio { start: from, rate: RATE, channels: 1, samples: (number(from)..number(to)).map(sample).collect() }]
}

/// Returns the length of a file's audio and the times at which beeps begin, seconds; `None` for a file without audio.
fn measure_audio(path: &Path) -> Option<(f64, Vec<f64>)> {
    let mut decoder = Decoder::open(path, DecodeOptions { audio: true, ..Default::default() }).unwrap();
    let mut runs = vec![];
    while let Some(decoded) = decoder.next().unwrap() {
        runs.extend(decoder.audio_until(decoded.pts_ns));
    }
    runs.extend(decoder.audio_until(i64::MAX));
    let rate = f64::from(decoder.audio_format()?.rate);
    let (mut beeps, mut last_loud): (Vec<f64>, f64) = (vec![], f64::NEG_INFINITY);
    for run in &runs {
        for (i, sample) in run.samples.iter().enumerate().filter(|(_, sample)| sample.abs() > 0.15) {
            let _ = sample;
            let time = run.start_ns as f64 * 1e-9 + i as f64 / rate;
            if time - last_loud > 0.1 {
                beeps.push(time);
            }
            last_loud = time;
        }
    }
    Some((runs.iter().map(|run| run.samples.len() as f64 / rate).sum(), beeps))
}

fn near(found: &[f64], want: &[f64]) -> bool {
    found.len() == want.len() && found.iter().zip(want).all(|(a, b)| (a - b).abs() < 0.025)
}

#[test]
fn audio_is_written_at_its_time_including_the_audio_after_the_last_frame() {
    let folder = tempfile::tempdir().unwrap();
    let mut encode = encode(folder.path(), Setup::default());
    for frame in 0..75 {
        encode.push_frame("frames", gray_frame(64, 48, 128)).unwrap();
        encode.push("audio", &audio_before(frame)).unwrap();
    }
    // Audio after the last frame, in the source's closing message.
    let rest = Audio { start: 74 * INTERVAL, rate: RATE, channels: 1, samples: vec![0.0; RATE as usize / 2] };
    encode.push_closing("audio", Body::Data(Payload::Table(std::sync::Arc::new(Audio::encode(&[rest]))))).unwrap();
    for input in ["frames", "audio"] {
        encode.push_at(input, 75, Body::End { frames: 75 }).unwrap();
    }
    encode.close().unwrap();
    let (length, beeps) = measure_audio(&folder.path().join("overlay.mp4")).unwrap();
    assert!((length - (74.0 / 30.0 + 0.5)).abs() < 0.025, "{length} s");
    assert!(near(&beeps, &[0.0, 1.0, 2.0]), "{beeps:?}");
}

#[test]
fn frames_skipped_or_left_out_by_a_stride_do_not_shift_or_interrupt_the_audio() {
    for stride in [1, 4] {
        let folder = tempfile::tempdir().unwrap();
        let mut encode = encode(folder.path(), Setup { stride, ..Setup::default() });
        for frame in 0..75 {
            match frame % 7 {
                3 | 4 => encode.skip("frames", Reason::Damaged).unwrap(),
                _ => encode.push_frame("frames", gray_frame(64, 48, 128)).unwrap(),
            }
            encode.push("audio", &audio_before(frame)).unwrap();
        }
        encode.end().unwrap();
        encode.close().unwrap();
        let (length, beeps) = measure_audio(&folder.path().join("overlay.mp4")).unwrap();
        assert!((length - 74.0 / 30.0).abs() < 0.025, "stride {stride}: {length} s");
        assert!(near(&beeps, &[0.0, 1.0, 2.0]), "stride {stride}: {beeps:?}");
    }
}

#[test]
fn a_stream_without_audio_gives_a_file_without_an_audio_track() {
    let folder = tempfile::tempdir().unwrap();
    let mut encode = encode(folder.path(), Setup::default());
    for _ in 0..5 {
        encode.push_frame("frames", gray_frame(64, 48, 128)).unwrap();
        encode.push::<Audio>("audio", &[]).unwrap();
    }
    encode.end().unwrap();
    encode.close().unwrap();
    assert_eq!(measure_audio(&folder.path().join("overlay.mp4")), None);
}

#[test]
fn a_new_frame_size_or_audio_format_starts_a_new_file_and_the_audio_is_split_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut encode = encode(folder.path(), Setup::default());
    for frame in 0..90 {
        let (width, height) = if frame < 40 { (64, 48) } else { (32, 48) };
        encode.push_frame("frames", gray_frame(width, height, 128)).unwrap();
        let rate = if frame > 70 { 24_000 } else { RATE };
        let rows: Vec<Audio> = audio_before(frame).into_iter().map(|row| Audio { rate, ..row }).collect();
        encode.push("audio", &rows).unwrap();
    }
    encode.end().unwrap();
    encode.close().unwrap();
    let file = |name: &str| measure_audio(&folder.path().join(name)).unwrap();
    let (first, beeps) = file("overlay.mp4");
    assert!((first - 40.0 / 30.0).abs() < 0.025 && near(&beeps, &[0.0, 1.0]), "{first} s, {beeps:?}");
    // Decoded times count from the first frame of a file, at 40 / 30 s of the stream.
    let (second, beeps) = file("overlay-2.mp4");
    assert!((second - 30.0 / 30.0).abs() < 0.025 && near(&beeps, &[2.0 - 40.0 / 30.0]), "{second} s, {beeps:?}");
    let (third, _) = file("overlay-3.mp4");
    assert!(third > 0.4, "{third} s");
}

#[test]
fn after_a_restart_the_audio_continues_in_the_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup { mode: Mode::Live, on_error: OnError::Restart, ..Setup::default() };
    let mut encode = encode(folder.path(), setup);
    for frame in 0..60 {
        let picture = match frame {
            // Invalid JPEG data: an error, after which the driver restarts the operator.
            20 => Frame::from_packed(8, 8, Encoding::Jpeg, Color::default_for_height(8), vec![0u8; 9]).unwrap(),
            _ => gray_frame(64, 48, 128),
        };
        encode.push_frame("frames", picture).unwrap();
        encode.push("audio", &audio_before(frame)).unwrap();
    }
    encode.end().unwrap();
    encode.close().unwrap();
    let (_, beeps) = measure_audio(&folder.path().join("overlay-2.mp4")).unwrap();
    assert!(near(&beeps, &[1.0 - 21.0 / 30.0]), "{beeps:?}");
}
