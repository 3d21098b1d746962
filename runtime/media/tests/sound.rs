//! Sound beside the picture: decoded as the `ffmpeg` command does, and written so that it stays with its picture.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use sideline_api::Failure;
use sideline_media::{
    DecodeOptions, Decoder, Sound, SoundFormat, Threads,
    encode::{EncodeOptions, Encoder},
};
use sideline_testkit::{Capability, skipped};
use tempfile::TempDir;

/// Runs `ffmpeg`; `None`, and the test is skipped, where it is not installed.
fn ffmpeg(args: &[&str]) -> Option<Vec<u8>> {
    let output = match Command::new("ffmpeg").args(["-v", "error"]).args(args).output() {
        Ok(output) => output,
        Err(cause) => {
            skipped(Capability::Ffmpeg, format_args!("ffmpeg: {cause}"));
            return None;
        }
    };
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(output.stdout)
}

/// When the picture is white and a tone is heard, in seconds.
const EVENTS: [f64; 3] = [0.5, 1.5, 2.5];
/// For how long, in seconds.
const LASTS: f64 = 0.1;

/// A folder with a clip of 3 s, 30 frames a second: black and silent but for the events. `more` stands before its name.
fn clip(name: &str, more: &[&str]) -> Option<(TempDir, PathBuf)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    let when: Vec<String> = EVENTS.iter().map(|at| format!("between(t,{at},{})", at + LASTS - 0.001)).collect();
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

/// What a file shows and plays.
struct Played {
    format: SoundFormat,
    /// Of each frame: its time, and mean brightness.
    frames: Vec<(i64, u8)>,
    sound: Vec<Sound>,
}

fn play(decoder: &mut Decoder) -> Played {
    let format = decoder.sound_format().unwrap();
    let (mut frames, mut sound) = (vec![], vec![]);
    while let Some(decoded) = decoder.next().unwrap() {
        let (bytes, _) = decoded.frame.plane(0);
        frames.push((decoded.pts_ns, bytes[bytes.len() / 2]));
        let came = decoder.sound_until(decoded.pts_ns);
        let ends = came.iter().map(|run| run.start_ns + length(run, format));
        assert!(ends.max().is_none_or(|end| end <= decoded.pts_ns + 30_000), "sound of later than its frame");
        sound.extend(came);
    }
    sound.extend(decoder.sound_until(i64::MAX));
    // Put together where they follow each other, but for the rounding to a sample.
    let mut runs: Vec<Sound> = vec![];
    for run in sound {
        match runs.last_mut() {
            Some(last) if (last.start_ns + length(last, format) - run.start_ns).abs() < 30_000 => {
                last.samples.extend(run.samples);
            }
            _ => runs.push(run),
        }
    }
    Played { format, frames, sound: runs }
}

fn length(run: &Sound, format: SoundFormat) -> i64 {
    (run.samples.len() / usize::from(format.channels)) as i64 * 1_000_000_000 / i64::from(format.rate)
}

impl Played {
    fn samples(&self) -> Vec<f32> {
        self.sound.iter().flat_map(|run| run.samples.clone()).collect()
    }

    /// Times in seconds at which the picture becomes white.
    fn flashes(&self) -> Vec<f64> {
        let pairs = self.frames.windows(2);
        pairs.filter(|pair| pair[0].1 < 128 && pair[1].1 >= 128).map(|pair| pair[1].0 as f64 * 1e-9).collect()
    }

    /// Times in seconds at which a tone begins: it is loud, and 20 ms before it was not.
    fn tones(&self) -> Vec<f64> {
        let channels = usize::from(self.format.channels);
        let mut found: Vec<f64> = vec![];
        let mut loud = f64::NEG_INFINITY;
        for run in &self.sound {
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

    /// The greatest distance between a flash and its tone, milliseconds.
    fn offset(&self) -> f64 {
        let (flashes, tones) = (self.flashes(), self.tones());
        assert!(!flashes.is_empty() && flashes.len() == tones.len(), "{flashes:?} {tones:?}");
        flashes.iter().zip(&tones).map(|(flash, tone)| (flash - tone).abs() * 1e3).fold(0.0, f64::max)
    }
}

/// Writes frames and sound of a clip anew, leaving out frames for which `leave_out` says so.
fn again(decoder: &mut Decoder, path: &Path, leave_out: impl Fn(usize) -> bool) -> u64 {
    let (width, height) = decoder.frame_size();
    let options = EncodeOptions { preset: "ultrafast".into(), sound: decoder.sound_format(), ..Default::default() };
    let mut encoder = Encoder::create(path, width, height, options).unwrap();
    let mut n = 0;
    while let Some(decoded) = decoder.next().unwrap() {
        let pts = decoded.pts_ns;
        if !leave_out(n) {
            encoder.write(&decoded.frame.into_packed_mut(), pts).unwrap();
        }
        for run in decoder.sound_until(pts) {
            encoder.write_sound(run.start_ns, &run.samples).unwrap();
        }
        n += 1;
    }
    for run in decoder.sound_until(i64::MAX) {
        encoder.write_sound(run.start_ns, &run.samples).unwrap();
    }
    encoder.finish().unwrap().samples
}

/// Samples as the command line decodes them.
fn reference(path: &Path, format: SoundFormat) -> Vec<f32> {
    let (channels, rate) = (format.channels.to_string(), format.rate.to_string());
    let args = ["-i", path.to_str().unwrap(), "-map", "0:a:0", "-ac", &channels, "-ar", &rate, "-f", "f32le", "-"];
    let bytes = ffmpeg(&args).unwrap();
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

#[test]
fn samples_are_those_the_command_decodes_and_come_with_their_picture() {
    let kinds: [(&str, &[&str], SoundFormat); 6] = [
        ("aac.mp4", &["-c:a", "aac"], SoundFormat { rate: 44_100, channels: 2 }),
        ("mono.mkv", &["-c:a", "pcm_s16le", "-ac", "1", "-ar", "22050"], SoundFormat { rate: 22_050, channels: 1 }),
        ("surround.mp4", &["-c:a", "aac", "-ac", "6"], SoundFormat { rate: 44_100, channels: 2 }),
        ("opus.mkv", &["-c:a", "libopus", "-ar", "48000"], SoundFormat { rate: 48_000, channels: 2 }),
        ("ts.ts", &["-c:a", "aac"], SoundFormat { rate: 44_100, channels: 2 }),
        ("mp3.flv", &["-c:a", "libmp3lame"], SoundFormat { rate: 44_100, channels: 2 }),
    ];
    for (name, more, format) in kinds {
        let Some((_folder, path)) = clip(name, more) else { return };
        let want = reference(&path, format);
        for threads in [Threads::Slice(1), Threads::Frame(3)] {
            let mut decoder = open(&path, DecodeOptions { threads, ..Default::default() });
            let played = play(&mut decoder);
            assert_eq!((played.format, played.frames.len()), (format, 90), "{name}");
            assert_eq!((decoder.losses().unheard, decoder.losses().missing), (0, None), "{name}");
            let found = played.samples();
            // A frame of a codec may lie before the first picture, where it is left out.
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
fn what_comes_with_a_frame_does_not_depend_on_the_decoders_threads() {
    let Some((_folder, path)) = clip("a.mp4", &[]) else { return };
    let runs = |threads| {
        let mut decoder = open(&path, DecodeOptions { threads, ..Default::default() });
        let mut sound = vec![];
        while let Some(decoded) = decoder.next().unwrap() {
            sound.push(decoder.sound_until(decoded.pts_ns));
        }
        sound
    };
    let slices = runs(Threads::Slice(1));
    assert!(slices == runs(Threads::Frame(4)));
    assert!(slices[0].is_empty() && slices[1..].iter().all(|sound| sound.len() == 1));
}

#[test]
fn the_sound_of_a_real_clip_is_whole() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/clips/walker.mp4");
    if !path.is_file() {
        return skipped(Capability::Models, "no models/clips/walker.mp4; `sideline models fetch` installs it");
    }
    let mut decoder = open(&path, DecodeOptions::default());
    let found = play(&mut decoder).samples();
    let Some(want) = ffmpeg(&["-version"]).map(|_| reference(&path, decoder.sound_format().unwrap())) else { return };
    assert!(found.len().abs_diff(want.len()) <= 2 * 1024, "{} of {} samples", found.len(), want.len());
    assert!(found.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-3));
}

#[test]
fn without_a_sound_track_or_unasked_there_is_none() {
    let Some((_folder, path)) = clip("a.mp4", &["-an"]) else { return };
    let mut decoder = open(&path, DecodeOptions::default());
    assert_eq!((decoder.sound_format(), &decoder.info().audio), (None, &None));
    while decoder.next().unwrap().is_some() {}
    assert!(decoder.sound_until(i64::MAX).is_empty());
    let Some((_folder, path)) = clip("b.mp4", &[]) else { return };
    let mut decoder = Decoder::open(&path, DecodeOptions::default()).unwrap();
    assert_eq!((decoder.sound_format(), decoder.info().audio.as_deref()), (None, Some("aac")));
    while decoder.next().unwrap().is_some() {}
    assert!(decoder.sound_until(i64::MAX).is_empty());
}

#[test]
fn after_a_seek_sound_begins_with_the_picture() {
    for name in ["a.mp4", "a.mkv", "a.ts"] {
        let Some((_folder, path)) = clip(name, &[]) else { return };
        let mut decoder = open(&path, DecodeOptions::default());
        for from in [1.2, 0.4, 1.2] {
            let from = (from * 1e9) as i64;
            decoder.seek(from).unwrap();
            let played = play(&mut decoder);
            let first = played.sound[0].start_ns;
            assert!(
                (from - 20_000..from + 120_000_000).contains(&first),
                "{name}: sound from {first} ns, asked for {from}"
            );
            assert!(played.offset() < 10.0, "{name}: {} ms", played.offset());
        }
    }
}

#[test]
fn written_anew_picture_and_sound_stay_together() {
    let Some((folder, path)) = clip("a.mp4", &[]) else { return };
    let whole = folder.path().join("whole.mp4");
    let samples = again(&mut open(&path, DecodeOptions::default()), &whole, |_| false);
    let played = play(&mut open(&whole, DecodeOptions::default()));
    assert_eq!((played.frames.len(), played.sound.len(), played.sound[0].start_ns), (90, 1, 0));
    assert!(samples.abs_diff(3 * 44_100) <= 1024, "{samples}");
    assert!((played.samples().len() as u64 / 2).abs_diff(samples) <= 1024);
    assert!(played.offset() < 5.0, "{} ms", played.offset());
    // The first picture is of 1.2 s: the file begins there, and so does its sound.
    let mut decoder = open(&path, DecodeOptions::default());
    decoder.seek(1_200_000_000).unwrap();
    let part = folder.path().join("part.mp4");
    again(&mut decoder, &part, |_| false);
    let played = play(&mut open(&part, DecodeOptions::default()));
    assert!(played.offset() < 5.0, "{} ms", played.offset());
    let probe = ["-show_entries", "stream=start_time", "-of", "csv=p=0"];
    let output = Command::new("ffprobe").args(["-v", "error"]).args(probe).arg(&part).output().unwrap();
    let starts = String::from_utf8(output.stdout).unwrap();
    let starts: Vec<f64> = starts.lines().map(|line| line.trim_matches(',').parse().unwrap()).collect();
    assert!(starts.len() == 2 && starts.iter().all(|start| (start - 1.2).abs() < 0.001), "{starts:?}");
}

#[test]
fn missing_pictures_do_not_move_the_sound() {
    let Some((folder, path)) = clip("a.mp4", &[]) else { return };
    let path_out = folder.path().join("thin.mp4");
    // Every third frame only, and none of a stretch of half a second.
    again(&mut open(&path, DecodeOptions::default()), &path_out, |n| n % 3 != 0 || (20..36).contains(&n));
    let played = play(&mut open(&path_out, DecodeOptions::default()));
    assert_eq!(played.tones().len(), 3);
    for (tone, event) in played.tones().iter().zip(EVENTS) {
        assert!((tone - event).abs() < 0.005, "{tone} s, not {event} s");
    }
}

const FORMAT: SoundFormat = SoundFormat { rate: 48_000, channels: 1 };

/// A file of grey pictures, to be filled with sound.
fn grey(path: &Path, frames: i64) -> Encoder {
    let options = EncodeOptions { preset: "ultrafast".into(), sound: Some(FORMAT), ..Default::default() };
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
fn gaps_are_silent_overlaps_are_heard_once_and_a_long_gap_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gaps.mp4");
    let mut encoder = grey(&path, 60);
    let mut write = |start: f64, seconds: f64| encoder.write_sound((start * 1e9) as i64, &tone(seconds)).unwrap();
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
    let loud = played.sound[0].samples[21_600..].iter().take(24_000).filter(|sample| sample.abs() > 0.1).count();
    assert!((0.15..0.2).contains(&(loud as f64 / 0.86 / 48_000.0 + 0.01)), "{loud} loud samples of 0.15 s");
}

#[test]
fn a_file_cut_off_by_a_kill_plays_with_its_sound() {
    let folder = tempfile::tempdir().unwrap();
    let (path, cut) = (folder.path().join("whole.mp4"), folder.path().join("cut.mp4"));
    let options = EncodeOptions { preset: "ultrafast".into(), sound: Some(FORMAT), ..Default::default() };
    let mut encoder = Encoder::create(&path, 64, 48, options).unwrap();
    for frame in 0..90 {
        let pts = frame * 1_000_000_000 / 30;
        encoder.write(&[128; 64 * 48 * 3 / 2], pts).unwrap();
        encoder.write_sound(pts, &tone(1.0 / 30.0)).unwrap();
    }
    std::fs::copy(&path, &cut).unwrap();
    let played = play(&mut open(&cut, DecodeOptions::default()));
    let seconds = played.samples().len() as f64 / 48_000.0;
    assert!(played.frames.len() >= 30 && seconds > 1.0, "{} frames, {seconds} s of sound", played.frames.len());
}

#[test]
fn the_same_sound_gives_the_same_bytes_and_what_is_no_number_is_silence() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = |name: &str| {
        let path = folder.path().join(name);
        let mut encoder = grey(&path, 30);
        let mut sound = tone(1.0);
        sound[9_000] = f32::NAN;
        sound[9_001] = f32::INFINITY;
        encoder.write_sound(0, &sound).unwrap();
        encoder.finish().unwrap();
        let played = play(&mut open(&path, DecodeOptions::default())).samples();
        assert!(played.len() > 40_000 && played[20_000..30_000].iter().any(|sample| sample.abs() > 0.4));
        std::fs::read(path).unwrap()
    };
    assert!(bytes("a.mp4") == bytes("b.mp4"));
}

#[test]
fn sound_that_aac_cannot_hold_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let sound = Some(SoundFormat { rate: 44_101, channels: 2 });
    let created = Encoder::create(folder.path().join("x.mp4"), 64, 48, EncodeOptions { sound, ..Default::default() });
    let error = created.map(|_| ()).unwrap_err();
    assert_eq!(error.failure, Failure::Output);
    assert!(error.message.contains("x.mp4: no AAC of 2 channels and 44101 samples a second"), "{error}");
}

#[test]
fn damaged_sound_is_counted_and_what_follows_stays_in_place() {
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
    assert!(decoder.losses().unheard > 0);
    for event in &EVENTS[1..] {
        assert!(played.tones().iter().any(|tone| (tone - event).abs() < 0.01), "{event} s: {:?}", played.tones());
    }
}
