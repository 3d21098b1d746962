//! The sound that encode puts beside its pictures, read back with the decoder.

use std::path::Path;

use sideline_api::{
    Alignment, Body, Color, Encoding, Frame, Mode, OnError, Payload, Reason, Table, Values,
    tables::Audio,
    testing::{Harness, Setup},
};
use sideline_encode::Encode;
use sideline_media::{DecodeOptions, Decoder};

const RATE: u32 = 48_000;
const INTERVAL: i64 = 1_000_000_000 / 30;

fn grey(width: u32, height: u32) -> Frame {
    let bytes = vec![128u8; (width * height * 3 / 2) as usize];
    Frame::from_packed(width, height, Encoding::I420, Color::assumed(height), bytes).unwrap()
}

fn encode(folder: &Path, setup: Setup) -> Harness<Encode> {
    let inputs = ["frames", "audio"].map(|name| (name, Alignment::Source(sideline_api::SourceId(0)))).to_vec();
    let mut values = Values::new();
    values.set("preset", "ultrafast", sideline_api::config::Origin::CommandLine);
    Harness::with(values, Setup { run_dir: folder.into(), inputs: Some(inputs), ..setup }).unwrap()
}

/// What is heard between frame `frame - 1` and this one; a beep of 50 ms begins with each second.
fn sound(frame: u64) -> Vec<Audio> {
    let (from, to) = ((frame as i64 - 1).max(0) * INTERVAL, frame as i64 * INTERVAL);
    let number = |ns: i64| (i128::from(ns) * i128::from(RATE) / 1_000_000_000) as u64;
    let beep = |i: u64| i % u64::from(RATE) < u64::from(RATE) / 20;
    let sample = |i: u64| if beep(i) { 0.5 * (i as f32 * 0.13).sin() } else { 0.0 };
    vec![Audio { start: from, rate: RATE, channels: 1, samples: (number(from)..number(to)).map(sample).collect() }]
}

/// Length of the sound of a file in seconds, and the seconds at which a beep begins; `None` for a file without sound.
fn heard(path: &Path) -> Option<(f64, Vec<f64>)> {
    let mut decoder = Decoder::open(path, DecodeOptions { audio: true, ..Default::default() }).unwrap();
    let mut runs = vec![];
    while let Some(decoded) = decoder.next().unwrap() {
        runs.extend(decoder.sound_until(decoded.pts_ns));
    }
    runs.extend(decoder.sound_until(i64::MAX));
    let rate = f64::from(decoder.sound_format()?.rate);
    let (mut beeps, mut loud): (Vec<f64>, f64) = (vec![], f64::NEG_INFINITY);
    for run in &runs {
        for (i, sample) in run.samples.iter().enumerate().filter(|(_, sample)| sample.abs() > 0.15) {
            let _ = sample;
            let at = run.start_ns as f64 * 1e-9 + i as f64 / rate;
            if at - loud > 0.1 {
                beeps.push(at);
            }
            loud = at;
        }
    }
    Some((runs.iter().map(|run| run.samples.len() as f64 / rate).sum(), beeps))
}

fn near(found: &[f64], want: &[f64]) -> bool {
    found.len() == want.len() && found.iter().zip(want).all(|(a, b)| (a - b).abs() < 0.025)
}

#[test]
fn sound_is_in_the_video_at_its_time_to_the_very_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut encode = encode(folder.path(), Setup::default());
    for frame in 0..75 {
        encode.push_frame("frames", grey(64, 48)).unwrap();
        encode.push("audio", &sound(frame)).unwrap();
    }
    // Behind the last frame, as the source's closing message.
    let rest = Audio { start: 74 * INTERVAL, rate: RATE, channels: 1, samples: vec![0.0; RATE as usize / 2] };
    encode.push_closing("audio", Body::Data(Payload::Table(std::sync::Arc::new(Audio::encode(&[rest]))))).unwrap();
    for input in ["frames", "audio"] {
        encode.push_at(input, 75, Body::End { frames: 75 }).unwrap();
    }
    encode.close().unwrap();
    let (length, beeps) = heard(&folder.path().join("overlay.mp4")).unwrap();
    assert!((length - (74.0 / 30.0 + 0.5)).abs() < 0.025, "{length} s");
    assert!(near(&beeps, &[0.0, 1.0, 2.0]), "{beeps:?}");
}

#[test]
fn frames_that_are_skipped_or_left_out_by_a_stride_do_not_move_or_tear_it() {
    for stride in [1, 4] {
        let folder = tempfile::tempdir().unwrap();
        let mut encode = encode(folder.path(), Setup { stride, ..Setup::default() });
        for frame in 0..75 {
            match frame % 7 {
                3 | 4 => encode.skip("frames", Reason::Damaged).unwrap(),
                _ => encode.push_frame("frames", grey(64, 48)).unwrap(),
            }
            encode.push("audio", &sound(frame)).unwrap();
        }
        encode.end().unwrap();
        encode.close().unwrap();
        let (length, beeps) = heard(&folder.path().join("overlay.mp4")).unwrap();
        assert!((length - 74.0 / 30.0).abs() < 0.025, "stride {stride}: {length} s");
        assert!(near(&beeps, &[0.0, 1.0, 2.0]), "stride {stride}: {beeps:?}");
    }
}

#[test]
fn a_silent_stream_gives_a_file_without_sound() {
    let folder = tempfile::tempdir().unwrap();
    let mut encode = encode(folder.path(), Setup::default());
    for _ in 0..5 {
        encode.push_frame("frames", grey(64, 48)).unwrap();
        encode.push::<Audio>("audio", &[]).unwrap();
    }
    encode.end().unwrap();
    encode.close().unwrap();
    assert_eq!(heard(&folder.path().join("overlay.mp4")), None);
}

#[test]
fn another_size_of_the_pictures_or_another_sound_begins_another_file_and_the_sound_is_split_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut encode = encode(folder.path(), Setup::default());
    for frame in 0..90 {
        let (width, height) = if frame < 40 { (64, 48) } else { (32, 48) };
        encode.push_frame("frames", grey(width, height)).unwrap();
        let rate = if frame > 70 { 24_000 } else { RATE };
        let rows: Vec<Audio> = sound(frame).into_iter().map(|row| Audio { rate, ..row }).collect();
        encode.push("audio", &rows).unwrap();
    }
    encode.end().unwrap();
    encode.close().unwrap();
    let file = |name: &str| heard(&folder.path().join(name)).unwrap();
    let (first, beeps) = file("overlay.mp4");
    assert!((first - 40.0 / 30.0).abs() < 0.025 && near(&beeps, &[0.0, 1.0]), "{first} s, {beeps:?}");
    // The decoder counts from the first picture of a file: 40 / 30 s of the stream.
    let (second, beeps) = file("overlay-2.mp4");
    assert!((second - 30.0 / 30.0).abs() < 0.025 && near(&beeps, &[2.0 - 40.0 / 30.0]), "{second} s, {beeps:?}");
    let (third, _) = file("overlay-3.mp4");
    assert!(third > 0.4, "{third} s");
}

#[test]
fn after_a_restart_the_sound_goes_on_in_the_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup { mode: Mode::Live, on_error: OnError::Restart, ..Setup::default() };
    let mut encode = encode(folder.path(), setup);
    for frame in 0..60 {
        let picture = match frame {
            // Nobody can encode this: an error, after which the driver makes the operator anew.
            20 => Frame::from_packed(8, 8, Encoding::Jpeg, Color::assumed(8), vec![0u8; 9]).unwrap(),
            _ => grey(64, 48),
        };
        encode.push_frame("frames", picture).unwrap();
        encode.push("audio", &sound(frame)).unwrap();
    }
    encode.end().unwrap();
    encode.close().unwrap();
    let (_, beeps) = heard(&folder.path().join("overlay-2.mp4")).unwrap();
    assert!(near(&beeps, &[1.0 - 21.0 / 30.0]), "{beeps:?}");
}
