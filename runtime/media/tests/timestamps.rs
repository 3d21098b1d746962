//! Timestamps that jump, restart or stand still: reading and writing keep every frame, in order, and never abort FFmpeg.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use sideline_media::{
    AudioFormat, DecodeOptions, Decoder, TimeJumps,
    encode::{EncodeOptions, Encoder, Target},
};
use sideline_testkit::{Capability, skip_test};

const S: i64 = 1_000_000_000;

/// Runs `ffmpeg` in a folder. Skips the test and returns false if it is not installed.
fn ffmpeg(folder: &Path, args: &str) -> bool {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-y", "-nostdin"]).args(args.split_whitespace()).current_dir(folder);
    match command.output() {
        Ok(output) => {
            assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
            true
        }
        Err(cause) => {
            skip_test(Capability::Ffmpeg, format_args!("ffmpeg: {cause}"));
            false
        }
    }
}

const PICTURE: &str = "-f lavfi -i testsrc2=s=160x96:r=30:d=2";
const SOUND: &str = "-f lavfi -i sine=d=2:sample_rate=48000";
const CODED: &str = "-c:v libx264 -preset ultrafast -bf 2 -g 30 -pix_fmt yuv420p -c:a aac";

/// Creates a folder with `a.ts` of two seconds, and `b.ts`, the same with timestamps an hour later.
fn recordings() -> Option<tempfile::TempDir> {
    let folder = tempfile::tempdir().unwrap();
    let made = ffmpeg(folder.path(), &format!("{PICTURE} {SOUND} {CODED} -f mpegts a.ts"))
        && ffmpeg(folder.path(), "-i a.ts -c copy -output_ts_offset 3600 -f mpegts b.ts");
    made.then_some(folder)
}

fn joined(folder: &Path, names: &[&str]) -> PathBuf {
    let bytes: Vec<u8> = names.iter().flat_map(|name| std::fs::read(folder.join(name)).unwrap()).collect();
    let path = folder.join("joined.ts");
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Decoded timestamps of a file: times of its frames, ns, and start and duration of each audio segment, s.
struct Played {
    times: Vec<i64>,
    audio: Vec<(f64, f64)>,
    jumps: TimeJumps,
    missing: Option<u64>,
}

fn play(path: &Path) -> Played {
    let mut decoder = Decoder::open(path, DecodeOptions { audio: true, ..DecodeOptions::default() }).unwrap();
    let rate = decoder.audio_format();
    let (mut times, mut runs) = (vec![], vec![]);
    while let Some(decoded) = decoder.next().unwrap() {
        times.push(decoded.pts_ns);
        runs.extend(decoder.audio_until(decoded.pts_ns));
    }
    runs.extend(decoder.audio_until(i64::MAX));
    let seconds = |samples: usize| {
        let AudioFormat { rate, channels } = rate.unwrap();
        samples as f64 / f64::from(rate) / f64::from(channels)
    };
    let audio = runs.iter().map(|run| (run.start_ns as f64 * 1e-9, seconds(run.samples.len()))).collect();
    Played { times, audio, jumps: decoder.time_jumps(), missing: decoder.missing_frames() }
}

fn steps(times: &[i64]) -> Vec<i64> {
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[test]
fn a_recording_whose_clock_restarts_continues_with_its_audio() {
    let Some(folder) = recordings() else { return };
    for names in [["b.ts", "a.ts"], ["a.ts", "a.ts"]] {
        let played = play(&joined(folder.path(), &names));
        assert_eq!((played.times.len(), played.times[0], played.missing), (120, 0, None), "{names:?}");
        let steps = steps(&played.times);
        assert!(steps.iter().all(|step| (1..=S / 5).contains(step)), "{names:?}: {steps:?}");
        assert_eq!(played.jumps, TimeJumps { restarts: 1, ..TimeJumps::default() }, "{names:?}");
        let audio_s: f64 = played.audio.iter().map(|(_, seconds)| seconds).sum();
        assert!((3.8..4.2).contains(&audio_s), "{names:?}: {audio_s} s of audio");
        let last = played.audio.last().unwrap();
        assert!((last.0 + last.1 - 4.0).abs() < 0.2, "{names:?}: audio out of sync: {last:?}");
    }
}

#[test]
fn a_clock_that_restarts_after_less_than_a_second_does_not_freeze_time() {
    let Some(folder) = recordings() else { return };
    if !ffmpeg(folder.path(), "-i a.ts -t 0.7 -c:v libx264 -preset ultrafast -bf 2 -c:a aac -f mpegts short.ts") {
        return;
    }
    let once = play(&folder.path().join("short.ts")).times.len();
    let played = play(&joined(folder.path(), &["short.ts", "short.ts", "short.ts"]));
    assert_eq!((played.times.len(), played.jumps.restarts), (3 * once, 2));
    assert!(steps(&played.times).iter().all(|step| (S / 60..S / 5).contains(step)), "{:?}", steps(&played.times));
}

#[test]
fn a_pause_of_an_hour_is_kept_and_counted() {
    let Some(folder) = recordings() else { return };
    let played = play(&joined(folder.path(), &["a.ts", "b.ts"]));
    assert_eq!((played.times.len(), played.missing), (120, None));
    assert!((played.times[60] - 3600 * S).abs() < S / 10, "{}", played.times[60]);
    assert_eq!(played.jumps, TimeJumps { pauses: 1, ..TimeJumps::default() });
    let late: f64 = played.audio.iter().filter(|(start, _)| *start > 3500.0).map(|(_, seconds)| seconds).sum();
    assert!((1.8..2.2).contains(&late), "{late} s of audio behind it");
}

#[test]
fn timestamps_that_stand_still_continue_at_the_declared_rate() {
    let folder = tempfile::tempdir().unwrap();
    if !ffmpeg(folder.path(), &format!("{PICTURE} -c:v libx264 -preset ultrafast -bf 0 -pix_fmt yuv420p a.flv"))
        || !ffmpeg(folder.path(), "-i a.flv -c copy -bsf:v setts=ts=min(TS\\,500) still.flv")
    {
        return;
    }
    let played = play(&folder.path().join("still.flv"));
    assert_eq!(played.times.len(), 60);
    assert!(played.times.is_sorted() && played.times[59] > 900_000_000, "{:?}", played.times);
    assert!(played.jumps.standstills <= 1, "{:?}", played.jumps);
    assert!(ffmpeg(folder.path(), "-i a.flv -c copy -bsf:v setts=ts=0 zero.flv"));
    let played = play(&folder.path().join("zero.flv"));
    assert_eq!((played.times.len(), played.jumps.standstills), (60, 1));
    let steps = steps(&played.times[32..]);
    assert!(steps.iter().all(|step| (*step - S / 30).abs() < 2_000_000), "{steps:?}");
}

#[test]
fn a_late_first_timestamp_is_media_time_zero_and_a_wraparound_is_no_jump() {
    let Some(folder) = recordings() else { return };
    // A day later; and a second before the wraparound of MPEG-TS, after 26.5 hours.
    assert!(ffmpeg(folder.path(), "-i a.ts -c copy -output_ts_offset 86400 -f mpegts d.ts"));
    assert!(ffmpeg(folder.path(), "-i a.ts -c copy -output_ts_offset 95441.3 -f mpegts w.ts"));
    for name in ["d.ts", "w.ts"] {
        let played = play(&folder.path().join(name));
        assert_eq!((played.times.len(), played.times[0]), (60, 0), "{name}");
        assert_eq!(played.jumps, TimeJumps::default(), "{name}");
        assert!(steps(&played.times).iter().all(|step| (S / 40..S / 20).contains(step)), "{name}");
    }
}

/// Encodes frames at these times, each with a hundredth of a second of audio if there is a track.
fn write(target: Target, times: &[i64], audio: Option<AudioFormat>) {
    let options = EncodeOptions { preset: "ultrafast".into(), audio, ..EncodeOptions::default() };
    let mut encoder = Encoder::open(target, 64, 64, options).unwrap();
    let picture = vec![99; 64 * 64 * 3 / 2];
    for time in times {
        encoder.write(&picture, *time).unwrap();
        if let Some(AudioFormat { rate, channels }) = audio {
            let samples = vec![0.25; rate as usize / 100 * usize::from(channels)];
            encoder.write_audio(*time, &samples).unwrap();
        }
    }
    let stats = encoder.finish().unwrap();
    assert_eq!(stats.frames, times.len() as u64);
}

#[test]
fn gaps_of_any_length_are_written_to_a_video_file_with_and_without_audio() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gap.mp4");
    let mut times = vec![];
    // Minutes at which half a second of frames begins: around the 49 minutes that FFmpeg does not support, and days.
    for minutes in [0, 11, 59, 61, 121, 3_000, 9_000] {
        times.extend((0..15).map(|i| minutes * 60 * S + i * S / 30));
    }
    for audio in
        [None, Some(AudioFormat { rate: 48_000, channels: 2 }), Some(AudioFormat { rate: 96_000, channels: 1 })]
    {
        write(Target::File(path.clone()), &times, audio);
        let played = play(&path);
        assert_eq!(played.times.len(), times.len(), "{audio:?}");
        for (found, time) in played.times.iter().zip(&times) {
            assert!((found - time).abs() < 2_000, "{audio:?}: {found} for {time}");
        }
        if audio.is_some() {
            let late = played.audio.iter().any(|(start, _)| (*start - 9_000.0 * 60.0).abs() < 0.1);
            assert!(late, "{audio:?}: no audio at the last frames: {:?}", played.audio);
        }
    }
}

#[test]
fn a_gap_may_be_in_the_audio_or_in_the_video_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gap.mp4");
    let format = AudioFormat { rate: 48_000, channels: 1 };
    let options = EncodeOptions { preset: "ultrafast".into(), audio: Some(format), ..EncodeOptions::default() };
    let picture = vec![99; 64 * 64 * 3 / 2];
    let mut encoder = Encoder::create(&path, 64, 64, options.clone()).unwrap();
    // Two hours with a frame every ten seconds; only the first and the last have audio.
    for i in 0..720 {
        encoder.write(&picture, i * 10 * S).unwrap();
        if i == 0 || i == 719 {
            encoder.write_audio(i * 10 * S, &[0.25; 4_800]).unwrap();
        }
    }
    encoder.finish().unwrap();
    let played = play(&path);
    assert_eq!(played.times.len(), 720);
    assert!(played.audio.last().unwrap().0 > 7_100.0, "{:?}", played.audio);
    // An hour between two frames, with audio every seventy seconds.
    let mut encoder = Encoder::create(&path, 64, 64, options).unwrap();
    encoder.write(&picture, 0).unwrap();
    for i in 0..51 {
        encoder.write_audio(i * 70 * S, &[0.25; 4_800]).unwrap();
    }
    encoder.write(&picture, 3_600 * S).unwrap();
    encoder.finish().unwrap();
    assert_eq!(play(&path).times, [0, 3_600 * S]);
}

#[test]
fn frames_with_equal_times_and_gaps_are_written_to_hls() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.m3u8");
    let mut times = vec![0; 40];
    times.extend((1..30).map(|i| i * S / 30));
    times.extend((0..30).map(|i| 3_600 * S + i * S / 1000));
    for audio in [None, Some(AudioFormat { rate: 48_000, channels: 1 })] {
        write(Target::Hls(path.clone()), &times, audio);
        let segments = std::fs::read_to_string(&path).unwrap();
        assert!(segments.contains("#EXT-X-ENDLIST"), "{segments}");
        let files: Vec<&str> = segments.lines().filter(|line| line.ends_with(".ts")).collect();
        let frames: usize = files.iter().map(|name| play(&folder.path().join(name)).times.len()).sum();
        assert_eq!(frames, times.len(), "{audio:?}");
    }
}
