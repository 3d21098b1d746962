//! Audio: decoded as the `ffmpeg` command does, and written in sync with its video.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use sideline_api::Failure;
use sideline_media::{
    AudioFormat, AudioSegment, DecodeOptions, Decoder, Threads,
    encode::{EncodeOptions, Encoder},
};
use sideline_testkit::{Capability, skip_test};
use tempfile::TempDir;

/// Runs `ffmpeg`. Skips the test and returns `None` if it is not installed.
fn ffmpeg(args: &[&str]) -> Option<Vec<u8>> {
    let output = match Command::new("ffmpeg").args(["-v", "error"]).args(args).output() {
        Ok(output) => output,
        Err(cause) => {
            skip_test(Capability::Ffmpeg, format_args!("ffmpeg: {cause}"));
            return None;
        }
    };
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(output.stdout)
}

/// Times at which the picture is white and a tone is heard, s.
const EVENTS: [f64; 3] = [0.5, 1.5, 2.5];
/// Duration of each event, s.
const EVENT_S: f64 = 0.1;

/// Creates a folder with a clip of 3 s, 30 frames a second: black and silent except for the events. `more` are options of the
/// output.
fn clip(name: &str, more: &[&str]) -> Option<(TempDir, PathBuf)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    let when: Vec<String> = EVENTS.iter().map(|at| format!("between(t,{at},{})", at + EVENT_S - 0.001)).collect();
    let when = when.join("+");
    let picture = format!("color=black:size=160x96:rate=30:duration=3,drawbox=color=white:t=fill:enable='{when}'");
    let tone = format!("aevalsrc='0.5*sin(2*PI*1000*t)*({when})|0.25*sin(2*PI*500*t)*({when})':s=44100:d=3");
    let mut args = vec!["-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &tone];
    args.extend(["-c:v", "libx264", "-g", "20", "-bf", "2", "-pix_fmt", "yuv420p"]);
    args.extend(more);
    args.push(path.to_str().unwrap());
    ffmpeg(&args)?;
    Some((folder, path))
}

fn open(path: &Path, options: DecodeOptions) -> Decoder {
    Decoder::open(path, DecodeOptions { audio: true, ..options }).unwrap()
}

/// Frames and audio of a file.
struct Played {
    format: AudioFormat,
    /// Time, ns, and mean brightness of each frame.
    frames: Vec<(i64, u8)>,
    audio: Vec<AudioSegment>,
}

fn play(decoder: &mut Decoder) -> Played {
    let format = decoder.audio_format().unwrap();
    let (mut frames, mut audio) = (vec![], vec![]);
    while let Some(decoded) = decoder.next().unwrap() {
        let (bytes, _) = decoded.frame.plane(0);
        frames.push((decoded.pts_ns, bytes[bytes.len() / 2]));
        let came = decoder.audio_until(decoded.pts_ns);
        let ends = came.iter().map(|run| run.start_ns + length(run, format));
        assert!(ends.max().is_none_or(|end| end <= decoded.pts_ns + 30_000), "audio later than its frame");
        audio.extend(came);
    }
    audio.extend(decoder.audio_until(i64::MAX));
    // Joins contiguous segments; their times are rounded to a sample.
    let mut runs: Vec<AudioSegment> = vec![];
    for run in audio {
        match runs.last_mut() {
            Some(last) if (last.start_ns + length(last, format) - run.start_ns).abs() < 30_000 => {
                last.samples.extend(run.samples);
            }
            _ => runs.push(run),
        }
    }
    Played { format, frames, audio: runs }
}

fn length(run: &AudioSegment, format: AudioFormat) -> i64 {
    (run.samples.len() / usize::from(format.channels)) as i64 * 1_000_000_000 / i64::from(format.rate)
}

impl Played {
    fn samples(&self) -> Vec<f32> {
        self.audio.iter().flat_map(|run| run.samples.clone()).collect()
    }

    /// Returns the times at which the picture becomes white, s.
    fn flashes(&self) -> Vec<f64> {
        let pairs = self.frames.windows(2);
        pairs.filter(|pair| pair[0].1 < 128 && pair[1].1 >= 128).map(|pair| pair[1].0 as f64 * 1e-9).collect()
    }

    /// Returns the times at which a tone begins, s: it is loud, and 20 ms before it was not.
    fn tones(&self) -> Vec<f64> {
        let channels = usize::from(self.format.channels);
        let mut found: Vec<f64> = vec![];
        let mut loud = f64::NEG_INFINITY;
        for run in &self.audio {
            for (i, moment) in run.samples.chunks(channels).enumerate() {
                let at = run.start_ns as f64 * 1e-9 + i as f64 / f64::from(self.format.rate);
                if moment[0].abs() > 0.15 {
                    if at - loud > 0.02 {
                        found.push(at);
                    }
                    loud = at;
                }
            }
        }
        found
    }

    /// Returns the greatest offset between a flash and its tone, ms.
    fn offset(&self) -> f64 {
        let (flashes, tones) = (self.flashes(), self.tones());
        assert!(!flashes.is_empty() && flashes.len() == tones.len(), "{flashes:?} {tones:?}");
        flashes.iter().zip(&tones).map(|(flash, tone)| (flash - tone).abs() * 1e3).fold(0.0, f64::max)
    }
}

/// Re-encodes frames and audio of a clip without the frames for which `leave_out` is true; returns the samples written.
fn reencode(decoder: &mut Decoder, path: &Path, leave_out: impl Fn(usize) -> bool) -> u64 {
    let (width, height) = decoder.frame_size();
    let options = EncodeOptions { preset: "ultrafast".into(), audio: decoder.audio_format(), ..Default::default() };
    let mut encoder = Encoder::create(path, width, height, options).unwrap();
    let mut n = 0;
    while let Some(decoded) = decoder.next().unwrap() {
        let pts = decoded.pts_ns;
        if !leave_out(n) {
            encoder.write(&decoded.frame.into_packed_mut(), pts).unwrap();
        }
        for run in decoder.audio_until(pts) {
            encoder.write_audio(run.start_ns, &run.samples).unwrap();
        }
        n += 1;
    }
    for run in decoder.audio_until(i64::MAX) {
        encoder.write_audio(run.start_ns, &run.samples).unwrap();
    }
    encoder.finish().unwrap().samples
}

/// Returns the samples as the `ffmpeg` command decodes them.
fn reference(path: &Path, format: AudioFormat) -> Vec<f32> {
    let (channels, rate) = (format.channels.to_string(), format.rate.to_string());
    let args = ["-i", path.to_str().unwrap(), "-map", "0:a:0", "-ac", &channels, "-ar", &rate, "-f", "f32le", "-"];
    let bytes = ffmpeg(&args).unwrap();
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

#[test]
fn samples_equal_those_of_the_command_and_are_in_sync() {
    let kinds: [(&str, &[&str], AudioFormat); 6] = [
        ("aac.mp4", &["-c:a", "aac"], AudioFormat { rate: 44_100, channels: 2 }),
        ("mono.mkv", &["-c:a", "pcm_s16le", "-ac", "1", "-ar", "22050"], AudioFormat { rate: 22_050, channels: 1 }),
        ("surround.mp4", &["-c:a", "aac", "-ac", "6"], AudioFormat { rate: 44_100, channels: 2 }),
        ("opus.mkv", &["-c:a", "libopus", "-ar", "48000"], AudioFormat { rate: 48_000, channels: 2 }),
        ("ts.ts", &["-c:a", "aac"], AudioFormat { rate: 44_100, channels: 2 }),
        ("mp3.flv", &["-c:a", "libmp3lame"], AudioFormat { rate: 44_100, channels: 2 }),
    ];
    for (name, more, format) in kinds {
        let Some((_folder, path)) = clip(name, more) else { return };
        let want = reference(&path, format);
        for threads in [Threads::Slice(1), Threads::Frame(3)] {
            let mut decoder = open(&path, DecodeOptions { threads, ..Default::default() });
            let played = play(&mut decoder);
            assert_eq!((played.format, played.frames.len()), (format, 90), "{name}");
            assert_eq!((decoder.losses().undecodable_audio, decoder.losses().missing), (0, None), "{name}");
            let found = played.samples();
            // An audio frame may lie before the first frame of video; it is left out.
            let short = want.len().abs_diff(found.len()) / usize::from(format.channels);
            assert!(short <= 1152, "{name}: {} of {} samples", found.len(), want.len());
            assert!(played.offset() < 10.0, "{name}: {} ms", played.offset());
            if name == "aac.mp4" || name == "mono.mkv" {
                let error = found.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(error < 1e-3, "{name}: {error}");
            }
        }
    }
}

#[test]
fn audio_returned_with_a_frame_does_not_depend_on_the_decoder_threads() {
    let Some((_folder, path)) = clip("a.mp4", &[]) else { return };
    let runs = |threads| {
        let mut decoder = open(&path, DecodeOptions { threads, ..Default::default() });
        let mut audio = vec![];
        while let Some(decoded) = decoder.next().unwrap() {
            audio.push(decoder.audio_until(decoded.pts_ns));
        }
        audio
    };
    let slices = runs(Threads::Slice(1));
    assert!(slices == runs(Threads::Frame(4)));
    assert!(slices[0].is_empty() && slices[1..].iter().all(|audio| audio.len() == 1));
}

#[test]
fn the_audio_of_a_real_clip_is_complete() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/clips/walker.mp4");
    if !path.is_file() {
        return skip_test(Capability::Models, "no models/clips/walker.mp4; `sideline models fetch` installs it");
    }
    let mut decoder = open(&path, DecodeOptions::default());
    let found = play(&mut decoder).samples();
    let Some(want) = ffmpeg(&["-version"]).map(|_| reference(&path, decoder.audio_format().unwrap())) else { return };
    assert!(found.len().abs_diff(want.len()) <= 2 * 1024, "{} of {} samples", found.len(), want.len());
    assert!(found.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-3));
}

#[test]
fn there_is_no_audio_without_a_track_or_if_it_is_not_requested() {
    let Some((_folder, path)) = clip("a.mp4", &["-an"]) else { return };
    let mut decoder = open(&path, DecodeOptions::default());
    assert_eq!((decoder.audio_format(), &decoder.info().audio), (None, &None));
    while decoder.next().unwrap().is_some() {}
    assert!(decoder.audio_until(i64::MAX).is_empty());
    let Some((_folder, path)) = clip("b.mp4", &[]) else { return };
    let mut decoder = Decoder::open(&path, DecodeOptions::default()).unwrap();
    assert_eq!((decoder.audio_format(), decoder.info().audio.as_deref()), (None, Some("aac")));
    while decoder.next().unwrap().is_some() {}
    assert!(decoder.audio_until(i64::MAX).is_empty());
}

#[test]
fn after_a_seek_audio_begins_with_the_video() {
    for name in ["a.mp4", "a.mkv", "a.ts"] {
        let Some((_folder, path)) = clip(name, &[]) else { return };
        let mut decoder = open(&path, DecodeOptions::default());
        for from in [1.2, 0.4, 1.2] {
            let from = (from * 1e9) as i64;
            decoder.seek(from).unwrap();
            let played = play(&mut decoder);
            let first = played.audio[0].start_ns;
            assert!(
                (from - 20_000..from + 120_000_000).contains(&first),
                "{name}: audio from {first} ns, asked for {from}"
            );
            assert!(played.offset() < 10.0, "{name}: {} ms", played.offset());
        }
    }
}

#[test]
fn reencoded_video_and_audio_stay_in_sync() {
    let Some((folder, path)) = clip("a.mp4", &[]) else { return };
    let whole = folder.path().join("whole.mp4");
    let samples = reencode(&mut open(&path, DecodeOptions::default()), &whole, |_| false);
    let played = play(&mut open(&whole, DecodeOptions::default()));
    assert_eq!((played.frames.len(), played.audio.len(), played.audio[0].start_ns), (90, 1, 0));
    assert!(samples.abs_diff(3 * 44_100) <= 1024, "{samples}");
    assert!((played.samples().len() as u64 / 2).abs_diff(samples) <= 1024);
    assert!(played.offset() < 5.0, "{} ms", played.offset());
    // The first frame has the time 1.2 s: the file begins there, and so does its audio.
    let mut decoder = open(&path, DecodeOptions::default());
    decoder.seek(1_200_000_000).unwrap();
    let part = folder.path().join("part.mp4");
    reencode(&mut decoder, &part, |_| false);
    let played = play(&mut open(&part, DecodeOptions::default()));
    assert!(played.offset() < 5.0, "{} ms", played.offset());
    let probe = ["-show_entries", "stream=start_time", "-of", "csv=p=0"];
    let output = Command::new("ffprobe").args(["-v", "error"]).args(probe).arg(&part).output().unwrap();
    let starts = String::from_utf8(output.stdout).unwrap();
    let starts: Vec<f64> = starts.lines().map(|line| line.trim_matches(',').parse().unwrap()).collect();
    assert!(starts.len() == 2 && starts.iter().all(|start| (start - 1.2).abs() < 0.001), "{starts:?}");
}

#[test]
fn missing_frames_do_not_shift_the_audio() {
    let Some((folder, path)) = clip("a.mp4", &[]) else { return };
    let path_out = folder.path().join("thin.mp4");
    // Only every third frame, and none during half a second.
    reencode(&mut open(&path, DecodeOptions::default()), &path_out, |n| n % 3 != 0 || (20..36).contains(&n));
    let played = play(&mut open(&path_out, DecodeOptions::default()));
    assert_eq!(played.tones().len(), 3);
    for (tone, event) in played.tones().iter().zip(EVENTS) {
        assert!((tone - event).abs() < 0.005, "{tone} s, not {event} s");
    }
}

const FORMAT: AudioFormat = AudioFormat { rate: 48_000, channels: 1 };

/// Creates a file of gray frames, to be filled with audio.
fn gray(path: &Path, frames: i64) -> Encoder {
    let options = EncodeOptions { preset: "ultrafast".into(), audio: Some(FORMAT), ..Default::default() };
    let mut encoder = Encoder::create(path, 64, 48, options).unwrap();
    for frame in 0..frames {
        encoder.write(&[128; 64 * 48 * 3 / 2], frame * 1_000_000_000 / 30).unwrap();
    }
    encoder
}

fn tone(seconds: f64) -> Vec<f32> {
    (0..(seconds * 48_000.0) as usize).map(|i| 0.5 * (i as f32 * 0.13).sin()).collect()
}

#[test]
fn gaps_are_silent_overlaps_are_dropped_and_a_long_gap_is_not_encoded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gaps.mp4");
    let mut encoder = gray(&path, 60);
    let mut write = |start: f64, seconds: f64| encoder.write_audio((start * 1e9) as i64, &tone(seconds)).unwrap();
    write(-0.5, 0.6);
    write(0.5, 0.1);
    write(0.55, 0.1);
    write(0.2, 0.1);
    write(7_200.0, 0.1);
    let stats = encoder.finish().unwrap();
    assert!(stats.samples < 60 * 48_000, "an hour of silence was encoded: {} samples", stats.samples);
    let played = play(&mut open(&path, DecodeOptions::default()));
    let tones = played.tones();
    let near = |want: &[f64]| tones.len() == want.len() && tones.iter().zip(want).all(|(a, b)| (a - b).abs() < 0.005);
    // The first 23 ms are faded in.
    assert!(tones[0] < 0.024 && near(&[tones[0], 0.5, 7_200.0]), "{tones:?}");
    let loud = played.audio[0].samples[21_600..].iter().take(24_000).filter(|sample| sample.abs() > 0.1).count();
    assert!((0.15..0.2).contains(&(loud as f64 / 0.86 / 48_000.0 + 0.01)), "{loud} loud samples of 0.15 s");
}

#[test]
fn a_file_truncated_by_a_kill_plays_with_its_audio() {
    let folder = tempfile::tempdir().unwrap();
    let (path, cut) = (folder.path().join("whole.mp4"), folder.path().join("cut.mp4"));
    let options = EncodeOptions { preset: "ultrafast".into(), audio: Some(FORMAT), ..Default::default() };
    let mut encoder = Encoder::create(&path, 64, 48, options).unwrap();
    for frame in 0..90 {
        let pts = frame * 1_000_000_000 / 30;
        encoder.write(&[128; 64 * 48 * 3 / 2], pts).unwrap();
        encoder.write_audio(pts, &tone(1.0 / 30.0)).unwrap();
    }
    std::fs::copy(&path, &cut).unwrap();
    let played = play(&mut open(&cut, DecodeOptions::default()));
    let seconds = played.samples().len() as f64 / 48_000.0;
    assert!(played.frames.len() >= 30 && seconds > 1.0, "{} frames, {seconds} s of audio", played.frames.len());
}

#[test]
fn equal_audio_gives_equal_bytes_and_non_finite_samples_are_silence() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = |name: &str| {
        let path = folder.path().join(name);
        let mut encoder = gray(&path, 30);
        let mut audio = tone(1.0);
        audio[9_000] = f32::NAN;
        audio[9_001] = f32::INFINITY;
        encoder.write_audio(0, &audio).unwrap();
        encoder.finish().unwrap();
        let played = play(&mut open(&path, DecodeOptions::default())).samples();
        assert!(played.len() > 40_000 && played[20_000..30_000].iter().any(|sample| sample.abs() > 0.4));
        std::fs::read(path).unwrap()
    };
    assert!(bytes("a.mp4") == bytes("b.mp4"));
}

#[test]
fn an_unsupported_audio_format_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let audio = Some(AudioFormat { rate: 44_101, channels: 2 });
    let created = Encoder::create(folder.path().join("x.mp4"), 64, 48, EncodeOptions { audio, ..Default::default() });
    let error = created.map(|_| ()).unwrap_err();
    assert_eq!(error.failure, Failure::Output);
    assert!(error.message.contains("x.mp4: no AAC of 2 channels and 44101 samples a second"), "{error}");
}

#[test]
fn damaged_audio_is_counted_and_the_rest_stays_in_sync() {
    let Some((_folder, path)) = clip("a.mkv", &["-c:a", "aac", "-b:a", "256k"]) else { return };
    let sizes = ["-show_entries", "packet=pos,size,pts_time", "-select_streams", "a:0", "-of", "csv=p=0"];
    let output = Command::new("ffprobe").args(["-v", "error"]).args(sizes).arg(&path).output().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    // Packets of the first event: in silence they are too small to be damaged.
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let fields: Vec<&str> = line.split(',').collect();
        let (time, size): (f64, usize) = (fields[0].parse().unwrap(), fields[1].parse().unwrap());
        if (0.51..0.58).contains(&time) {
            let at: usize = fields[2].trim().parse().unwrap();
            bytes[at + 8..at + size].iter_mut().enumerate().for_each(|(i, byte)| *byte = (i * 91 + 7) as u8);
        }
    }
    let broken = path.with_file_name("broken.mkv");
    std::fs::write(&broken, bytes).unwrap();
    let mut decoder = open(&broken, DecodeOptions::default());
    let played = play(&mut decoder);
    assert_eq!(played.frames.len(), 90);
    assert!(decoder.losses().undecodable_audio > 0);
    for event in &EVENTS[1..] {
        assert!(played.tones().iter().any(|tone| (tone - event).abs() < 0.01), "{event} s: {:?}", played.tones());
    }
}
