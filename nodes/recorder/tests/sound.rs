//! Recorded sound: WAV files aligned to the media time of the frames.

use std::{fs, path::Path, sync::Arc};

use sideline_api::{
    Alignment, Body, Header, Message, Payload, Table, Values,
    tables::Audio,
    testing::{Harness, Setup},
};
use sideline_recorder::Recorder;

const RATE: u32 = 8_000;
const SECOND: i64 = 1_000_000_000;

/// A recorder with one input, and the number of the next message.
struct Bench(Harness<Recorder>, u64);

impl Bench {
    fn new(folder: &Path, alignment: Alignment) -> Self {
        let setup = Setup { run_dir: folder.into(), inputs: Some(vec![("speech", alignment)]), ..Setup::default() };
        Bench(Harness::with(Values::new(), setup).unwrap(), 0)
    }

    /// Pushes a message of a stream at a media time in seconds.
    fn push(&mut self, stream: &str, frame: u64, time: f64, rows: &[Audio]) {
        let header = Header { stream: stream.into(), pts: (time * 1e9) as i64, ..self.0.header(frame) };
        let message = Message { header, n: self.1, body: Body::Data(Payload::Table(Arc::new(Audio::encode(rows)))) };
        self.1 += 1;
        self.0.accept("speech", message).unwrap();
    }
}

fn row(start: f64, samples: usize, value: f32) -> Audio {
    Audio { start: (start * 1e9) as i64, rate: RATE, channels: 1, samples: vec![value; samples] }
}

/// Parses the chunks of a WAV file: sample rate, channels, samples, and time reference.
fn parse_wav(path: &Path) -> (u32, u16, Vec<i16>, u64) {
    let bytes = fs::read(path).unwrap();
    let long = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!((&bytes[..4], long(4) as usize, &bytes[8..12]), (&b"RIFF"[..], bytes.len() - 8, &b"WAVE"[..]));
    let (mut at, mut format, mut reference) = (12, None, 0);
    loop {
        let (name, size) = (&bytes[at..at + 4], long(at + 4) as usize);
        match name {
            b"bext" => reference = u64::from_le_bytes(bytes[at + 8 + 338..at + 8 + 346].try_into().unwrap()),
            b"fmt " => format = Some((long(at + 12), u16::from_le_bytes([bytes[at + 10], bytes[at + 11]]))),
            b"data" => {
                assert_eq!(at + 8 + size, bytes.len(), "the header has the size");
                let samples = bytes[at + 8..].chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
                let (rate, channels) = format.unwrap();
                return (rate, channels, samples, reference);
            }
            other => panic!("unexpected chunk {other:?}"),
        }
        at += 8 + size;
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(".wav") || name.starts_with("speech."));
    names.sort();
    names
}

#[test]
fn sentences_are_written_at_their_media_time_with_silence_between() {
    for alignment in [Alignment::Source(sideline_api::SourceId(0)), Alignment::Side { queue: 9 }] {
        let folder = tempfile::tempdir().unwrap();
        let mut bench = Bench::new(folder.path(), alignment);
        // The first frame is at 10 s, where the file begins, like the video.
        bench.push("test", 0, 10.0, &[]);
        bench.push("test", 1, 10.5, &[row(10.5, 100, 0.5)]);
        bench.push("test", 2, 12.0, &[row(11.0, 50, -1.5), row(12.0, 10, f32::NAN)]);
        let path = folder.path().join("speech.wav");
        // The file is readable before it is closed, as after a kill.
        let (rate, channels, samples, reference) = parse_wav(&path);
        assert_eq!((rate, channels, reference), (RATE, 1, 10 * u64::from(RATE)));
        let mut want = vec![0_i16; 2 * RATE as usize + 10];
        want[4000..4100].fill(16_384);
        want[8000..8050].fill(-32_767);
        assert!(samples == want, "{alignment:?}");
        bench.0.close().unwrap();
        assert_eq!(names(folder.path()), ["speech.wav"], "no table is written");
    }
}

#[test]
fn contiguous_sound_has_no_gap_and_overlapping_samples_are_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(folder.path(), Alignment::Source(sideline_api::SourceId(0)));
    let early = Audio { start: 100 * SECOND / i64::from(RATE) + 40_000, ..row(0.0, 100, 0.25) };
    bench.push("test", 0, 0.0, &[row(0.0, 100, 0.25), early, row(0.0, 250, -0.25)]);
    bench.0.close().unwrap();
    let samples = parse_wav(&folder.path().join("speech.wav")).2;
    assert_eq!((samples.len(), samples[..200].iter().all(|sample| *sample == 8_192)), (250, true));
    assert_eq!(samples[200..], [-8_192; 50]);
}

#[test]
fn each_stream_and_format_has_its_own_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(folder.path(), Alignment::Source(sideline_api::SourceId(0)));
    let stereo = Audio { channels: 2, ..row(2.0, 20, 0.5) };
    bench.push("left", 0, 0.0, &[row(0.0, 10, 0.5)]);
    bench.push("a/b", 0, 1.0, &[row(1.0, 10, 0.5)]);
    bench.push("left", 1, 2.0, &[stereo]);
    bench.push("left", 2, 3.0, &[]);
    bench.0.close().unwrap();
    assert_eq!(names(folder.path()), ["speech.2.wav", "speech.a_b.wav", "speech.wav"]);
    let (_, channels, samples, reference) = parse_wav(&folder.path().join("speech.2.wav"));
    assert_eq!((channels, samples.len(), reference), (2, 20, 2 * u64::from(RATE)), "it begins at its first samples");
}

#[test]
fn a_restarted_recorder_continues_its_files_and_another_run_replaces_them() {
    let folder = tempfile::tempdir().unwrap();
    for (frame, time) in [(0, 1.0), (30, 2.0)] {
        let mut bench = Bench::new(folder.path(), Alignment::Source(sideline_api::SourceId(0)));
        bench.push("test", frame, time, &[row(time, 10, 0.5)]);
        bench.0.close().unwrap();
    }
    let (_, _, samples, reference) = parse_wav(&folder.path().join("speech.wav"));
    assert_eq!((samples.len(), reference), (RATE as usize + 10, u64::from(RATE)));
    assert!(samples[RATE as usize] != 0 && samples[RATE as usize - 1] == 0);
    // Makes the files look like those of another run.
    fs::write(folder.path().join(".speech.run"), "yesterday").unwrap();
    fs::write(folder.path().join("speech.2.wav"), "").unwrap();
    fs::write(folder.path().join("speech-2.wav"), "of another program").unwrap();
    let mut bench = Bench::new(folder.path(), Alignment::Source(sideline_api::SourceId(0)));
    bench.push("test", 0, 0.0, &[]);
    bench.0.close().unwrap();
    assert_eq!(names(folder.path()), ["speech-2.wav"]);
}

#[test]
fn equal_sound_gives_equal_bytes() {
    let make = || {
        let folder = tempfile::tempdir().unwrap();
        let mut bench = Bench::new(folder.path(), Alignment::Source(sideline_api::SourceId(0)));
        bench.push("test", 0, 0.0, &[row(0.5, 100, 0.3)]);
        bench.0.close().unwrap();
        fs::read(folder.path().join("speech.wav")).unwrap()
    };
    assert_eq!(make(), make());
}

#[test]
fn a_stream_with_a_long_name_continues_its_file_after_a_restart() {
    // The description in the file ends within the 86th of these characters of three bytes.
    let stream = "日".repeat(100);
    let folder = tempfile::tempdir().unwrap();
    for (frame, time) in [(0, 1.0), (30, 2.0)] {
        let mut bench = Bench::new(folder.path(), Alignment::Source(sideline_api::SourceId(0)));
        bench.push(&stream, frame, time, &[row(time, 10, 0.5)]);
        bench.0.close().unwrap();
    }
    assert_eq!(names(folder.path()), ["speech.wav"]);
    let path = folder.path().join("speech.wav");
    assert_eq!(parse_wav(&path).2.len(), RATE as usize + 10);
    let bytes = fs::read(&path).unwrap();
    let description = bytes[20..276].split(|byte| *byte == 0).next().unwrap();
    assert_eq!(std::str::from_utf8(description).unwrap(), "日".repeat(85));
}
