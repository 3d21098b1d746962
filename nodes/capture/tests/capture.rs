//! Tests of the source `capture` through the calls that the engine makes.

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use sideline_api::{
    Body, CapturedFrame, Failure, Mode, Payload, Reason, Resources, Result, Source, SourceContext, Table, Values,
    clock::{Clock, VirtualClock},
    driver::read_config,
    serde_json::{self, Value, json},
    tables::Audio,
};
use sideline_capture::{Capture, CaptureConfig};
use sideline_testkit::{Capability, skip_test};
use tempfile::TempDir;

/// Makes a folder with `clip.mp4`: 2 s, 30 frames per second, 320x180. `None`, counted as a skipped test, without `ffmpeg`.
fn clip() -> Option<TempDir> {
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new("ffmpeg")
        .args([
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            "testsrc2=size=320x180:rate=30:duration=2",
            "-c:v",
            "libx264",
            "-g",
            "20",
        ])
        .args(["-pix_fmt", "yuv420p", "-movflags", "+faststart"])
        .arg(folder.path().join("clip.mp4"))
        .status();
    match made {
        Ok(status) => assert!(status.success()),
        Err(cause) => {
            skip_test(Capability::Ffmpeg, format_args!("ffmpeg: {cause}"));
            return None;
        }
    }
    Some(folder)
}

fn open_in(folder: &Path, mode: Mode, values: &[(&str, Value)]) -> Result<Capture> {
    open_with(folder, mode, values, &["frames", "audio"])
}

/// Opens a source of which only `outputs` are wired.
fn open_with(folder: &Path, mode: Mode, values: &[(&str, Value)], outputs: &[&str]) -> Result<Capture> {
    let (config, resources) = config(folder, mode, values, outputs)?;
    Capture::new(config, &resources)
}

/// Opens every stream of a node.
fn open_all(folder: &Path, mode: Mode, values: &[(&str, Value)]) -> Result<Vec<Capture>> {
    let (config, resources) = config(folder, mode, values, &["frames", "audio"])?;
    Capture::open(config, &resources)
}

fn config(folder: &Path, mode: Mode, values: &[(&str, Value)], outputs: &[&str]) -> Result<(CaptureConfig, Resources)> {
    let mut all = Values::new();
    for (key, value) in values {
        all.set(*key, value.clone(), sideline_api::config::Origin::CommandLine);
    }
    let resources = Resources {
        mode,
        run_dir: folder.to_owned(),
        outputs: outputs.iter().map(ToString::to_string).collect(),
        search: vec![folder.to_owned()],
        clock: Arc::new(VirtualClock::default()),
        ..Resources::new("camera")
    };
    Ok((read_config(&all, "camera")?, resources))
}

fn context(mode: Mode) -> SourceContext {
    SourceContext::new(mode, Arc::new(VirtualClock::default()), Arc::new(AtomicBool::new(false)))
}

/// Reads all frames; returns them with the outcome at the end.
fn read_all(capture: &mut Capture, cx: &SourceContext) -> (Vec<CapturedFrame>, Result<()>) {
    let mut frames = vec![];
    loop {
        match capture.next(cx) {
            Ok(Some(captured)) => frames.push(captured),
            Ok(None) => return (frames, Ok(())),
            Err(error) => return (frames, Err(error)),
        }
    }
}

fn play(folder: &Path, values: &[(&str, Value)]) -> (Vec<CapturedFrame>, Result<()>) {
    let mut capture = open_in(folder, Mode::Complete, values).unwrap();
    let played = read_all(&mut capture, &context(Mode::Complete));
    assert!(
        capture.next(&context(Mode::Complete)).unwrap().is_none(),
        "after the end further reads return no frame and no error"
    );
    capture.close().unwrap();
    played
}

fn size(captured: &CapturedFrame) -> (u32, u32) {
    match &captured.outputs[..] {
        [Body::Data(Payload::Frame(frame)), _] => (frame.width(), frame.height()),
        other => panic!("one frame expected, found {other:?}"),
    }
}

#[test]
fn a_file_is_read_completely_with_its_timestamps_and_a_report() {
    let Some(folder) = clip() else { return };
    let (frames, end) = play(folder.path(), &[("source", json!("clip.mp4"))]);
    end.unwrap();
    assert_eq!(frames.len(), 60);
    for (i, frame) in frames.iter().enumerate() {
        assert_eq!(frame.pts, (i as i64 * 1_000_000_000 + 15) / 30);
        assert_eq!((&*frame.stream, frame.session, size(frame)), ("camera", 0, (320, 180)));
    }
    let report = std::fs::read_to_string(folder.path().join("media-camera.json")).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["media"]["codec"], &report["media"]["frames"]), (&json!("h264"), &json!(60)));
    assert_eq!(report["frame_height"], json!(180));
}

#[test]
fn opening_a_source_writes_nothing_to_the_run_folder() {
    let Some(folder) = clip() else { return };
    let before = folder.path().read_dir().unwrap().count();
    open_in(folder.path(), Mode::Complete, &[("source", json!("clip.mp4"))]).unwrap().close().unwrap();
    assert_eq!(folder.path().read_dir().unwrap().count(), before);
}

#[test]
fn start_end_fps_size_and_stream_are_applied() {
    let Some(folder) = clip() else { return };
    let values = [
        ("source", json!("clip.mp4")),
        ("start", json!(0.5)),
        ("end", json!(1.5)),
        ("fps", json!(15)),
        ("size", json!(90)),
        ("stream", json!("left")),
    ];
    // YAML yields `size: 90` as a number.
    let (frames, end) = play(folder.path(), &values);
    end.unwrap();
    let pts: Vec<i64> = frames.iter().map(|frame| frame.pts).collect();
    let want: Vec<i64> =
        (15..45_i64).filter(|i| i % 2 == 0 || *i == 15).map(|i| (i * 1_000_000_000 + 15) / 30).collect();
    assert_eq!(pts, want, "media times are those of the file");
    assert!(frames.iter().all(|frame| size(frame) == (160, 90) && &*frame.stream == "left"));
}

#[test]
fn invalid_values_are_refused_with_a_message() {
    let Some(folder) = clip() else { return };
    let file = ("source", json!("clip.mp4"));
    let cases = [
        (vec![("source", json!("rtsp://camera/1"))], Failure::Config, "a live stream does not wait"),
        (vec![("source", json!("gopher://camera/1"))], Failure::Config, "known are rtmp://, rtmps://, rtsp://"),
        (vec![("source", json!("https:///a.mp4"))], Failure::Config, "names no host"),
        (
            vec![("source", json!("rtmp://h/live/k3y")), ("start", json!(1))],
            Failure::Config,
            "`rtmp://h/live/***` is a network stream, which cannot seek",
        ),
        (vec![("source", json!("none.mp4"))], Failure::Input, "no such file; looked for"),
        (vec![("source", json!("."))], Failure::Input, "contains no images; supported are .jpg"),
        (vec![], Failure::Config, "key `source`: must be given, or `sources`"),
        (vec![file.clone(), ("sources", json!(["b.mp4"]))], Failure::Config, "give exactly one of the two"),
        (vec![("sources", json!("[a/x.mp4, b/x.mp4]"))], Failure::Config, "`a/x.mp4` and `b/x.mp4` are both named `x`"),
        (vec![("sources", json!("none.mp4"))], Failure::Input, "no such file; looked for"),
        (vec![("sources", json!([]))], Failure::Config, "is an empty list"),
        (vec![("sources", json!(["clip.mp4"])), ("stream", json!("left"))], Failure::Config, "`NAME=PATH`"),
        (vec![("source", json!("/dev/video250"))], Failure::Config, "a camera does not wait"),
        (
            vec![("source", json!("/dev/video250")), ("loop", json!(true))],
            Failure::Config,
            "is a camera, which cannot seek",
        ),
        (
            vec![("source", json!("/dev/video250")), ("start", json!(1))],
            Failure::Config,
            "is a camera, which cannot seek",
        ),
        (vec![file.clone(), ("start", json!(1)), ("end", json!(1))], Failure::Config, "is not after `start`"),
        (vec![file.clone(), ("start", json!(9))], Failure::Input, "there is no frame at 9.000 s"),
        (vec![file, ("size", json!("huge"))], Failure::Config, "`huge` is not a size"),
    ];
    for (values, failure, want) in cases {
        let Err(error) = open_in(folder.path(), Mode::Complete, &values) else { panic!("{values:?} was taken") };
        assert_eq!(error.failure, failure, "{error}");
        assert!(error.message.contains(want), "{error}");
    }
}

#[test]
fn a_truncated_file_is_processed_and_then_reported() {
    let Some(folder) = clip() else { return };
    let bytes = std::fs::read(folder.path().join("clip.mp4")).unwrap();
    std::fs::write(folder.path().join("cut.mp4"), &bytes[..bytes.len() * 6 / 10]).unwrap();
    let (frames, end) = play(folder.path(), &[("source", json!("cut.mp4"))]);
    let error = end.unwrap_err();
    assert!((20..50).contains(&frames.len()));
    assert_eq!(error.failure, Failure::Input);
    let want = format!("cut.mp4: {} of 60 frames are missing: the file is truncated or damaged", 60 - frames.len());
    assert!(error.message.starts_with(&want) && error.message.ends_with("all frames read were processed"), "{error}");
    // The missing frames lie after `end`, so none of them was wanted.
    let (frames, end) = play(folder.path(), &[("source", json!("cut.mp4")), ("end", json!(0.5))]);
    assert_eq!((frames.len(), end), (15, Ok(())));
}

/// Runs `ffmpeg` in a folder.
fn ffmpeg(folder: &Path, args: &[&str]) {
    assert!(Command::new("ffmpeg").current_dir(folder).args(["-v", "error"]).args(args).status().unwrap().success());
}

#[test]
fn a_source_without_a_frame_is_an_input_error_that_names_the_cause() {
    let Some(folder) = clip() else { return };
    // A header without frame data, and frame data overwritten with zeros.
    ffmpeg(folder.path(), &["-i", "clip.mp4", "-c", "copy", "-movflags", "frag_keyframe+empty_moov", "header.mp4"]);
    let bytes = std::fs::read(folder.path().join("header.mp4")).unwrap();
    let header = bytes.windows(4).position(|name| name == b"moof").unwrap() - 4;
    std::fs::write(folder.path().join("header.mp4"), &bytes[..header]).unwrap();
    let mut bytes = std::fs::read(folder.path().join("clip.mp4")).unwrap();
    let data = bytes.windows(4).position(|name| name == b"mdat").unwrap() + 4;
    bytes[data..].fill(0);
    std::fs::write(folder.path().join("zeros.mp4"), bytes).unwrap();
    let file = |name: &str| ("source", json!(name));
    let cases = [
        (vec![file("header.mp4")], "header.mp4: no frame could be decoded: it is a video of"),
        (vec![file("zeros.mp4")], "320x180 of h264 in mov,mp4"),
        (vec![file("zeros.mp4"), ("loop", json!(true))], "of its packets could not be decoded"),
        (vec![file("clip.mp4"), ("start", json!(0.51)), ("end", json!(0.52))], "no frame lies between `start`, 0.51 s"),
    ];
    for (values, want) in cases {
        let (frames, end) = play(folder.path(), &values);
        let error = end.unwrap_err();
        assert_eq!((frames.len(), error.failure), (0, Failure::Input), "{error}");
        assert!(error.message.contains(want), "{error}");
    }
}

#[test]
fn a_stop_before_the_first_frame_is_not_a_failure() {
    let Some(folder) = clip() else { return };
    let cx = SourceContext::new(Mode::Complete, Arc::new(VirtualClock::default()), Arc::new(AtomicBool::new(true)));
    let mut capture = open_in(folder.path(), Mode::Complete, &[("source", json!("clip.mp4"))]).unwrap();
    assert!(capture.next(&cx).unwrap().is_none());
}

#[test]
fn the_configured_video_track_is_read_and_a_missing_one_is_refused() {
    let Some(folder) = clip() else { return };
    let tracks = ["-i", "clip.mp4", "-filter_complex", "[0:v]scale=160:90,split[a][b]", "-map", "0:v", "-map", "[a]"];
    ffmpeg(folder.path(), &[&tracks[..], &["-map", "[b]", "-s:v:2", "64x36", "three.mkv"]].concat());
    for (track, want) in [(0, (320, 180)), (1, (160, 90)), (2, (64, 36))] {
        let values = [("source", json!("three.mkv")), ("video_track", json!(track)), ("end", json!(0.1))];
        let (frames, end) = play(folder.path(), &values);
        assert_eq!((size(&frames[0]), end), (want, Ok(())));
    }
    std::fs::create_dir(folder.path().join("pictures")).unwrap();
    ffmpeg(folder.path(), &["-i", "clip.mp4", "-frames:v", "1", "pictures/1.jpg"]);
    for (source, failure, want) in [
        ("three.mkv", Failure::Input, "no video track 3; its tracks are 0: h264 320x180"),
        ("pictures", Failure::Config, "has no track 3"),
    ] {
        let values = [("source", json!(source)), ("video_track", json!(3))];
        let Err(error) = open_in(folder.path(), Mode::Complete, &values) else { panic!("{source} was opened") };
        assert!(error.failure == failure && error.message.contains(want), "{error}");
    }
}

/// A clock that advances by 4 ms at every reading.
struct TickingClock(AtomicI64);

impl Clock for TickingClock {
    fn now(&self) -> i64 {
        self.0.fetch_add(4_000_000, Ordering::SeqCst)
    }
}

#[test]
fn in_live_mode_a_file_is_paced_and_captured_at_its_due_times() {
    let Some(folder) = clip() else { return };
    let clock = Arc::new(TickingClock(AtomicI64::new(7_000_000_000)));
    let cx = SourceContext::new(Mode::Live, clock.clone(), Arc::new(AtomicBool::new(false)));
    let mut capture =
        open_in(folder.path(), Mode::Live, &[("source", json!("clip.mp4")), ("end", json!(0.5))]).unwrap();
    let mut frames = 0;
    while let Some(captured) = capture.next(&cx).unwrap() {
        let (due, now) = (7_000_000_000 + captured.pts, clock.0.load(Ordering::SeqCst));
        assert!(
            captured.captured_at >= due && captured.captured_at <= now,
            "frame {frames}: due {due}, {}, now {now}",
            captured.captured_at
        );
        frames += 1;
    }
    assert_eq!(frames, 15);
}

#[test]
fn a_stop_interrupts_the_wait_for_a_due_time() {
    let Some(folder) = clip() else { return };
    let stop = Arc::new(AtomicBool::new(false));
    // The virtual clock does not advance: the second frame would never be due.
    let cx = SourceContext::new(Mode::Live, Arc::new(VirtualClock::default()), stop.clone());
    let mut capture = open_in(folder.path(), Mode::Live, &[("source", json!("clip.mp4"))]).unwrap();
    assert!(capture.next(&cx).unwrap().is_some());
    let waiting = std::thread::spawn(move || capture.next(&cx).map(|frame| frame.is_none()));
    stop.store(true, Ordering::SeqCst);
    assert_eq!(waiting.join().unwrap(), Ok(true));
}

/// Makes a folder with `loud.mp4`: 2 s of video, and 2.5 s of a tone whose amplitude is a fifth of its time in seconds.
fn clip_with_tone() -> Option<TempDir> {
    let folder = clip()?;
    let (silent, path) = (folder.path().join("clip.mp4"), folder.path().join("loud.mp4"));
    let tone = ["-f", "lavfi", "-i", "aevalsrc='t/5*sin(2*PI*1000*t)':s=48000:d=2.5", "-c:v", "copy", "-c:a", "aac"];
    let made = Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(silent).args(tone).arg(&path).status().unwrap();
    assert!(made.success());
    Some(folder)
}

fn rows(body: &Body) -> Vec<Audio> {
    match body {
        Body::Data(Payload::Table(table)) => Audio::decode(table).unwrap(),
        other => panic!("rows expected, found {other:?}"),
    }
}

/// Plays a source; returns the peak amplitude of its audio in the first and in the last 20 ms, and its number of samples.
fn measure_audio(folder: &Path, values: &[(&str, Value)]) -> (f32, f32, usize) {
    let mut capture = open_in(folder, Mode::Complete, values).unwrap();
    let (frames, end) = read_all(&mut capture, &context(Mode::Complete));
    end.unwrap();
    let mut audio = vec![];
    for frame in &frames {
        let rows = rows(&frame.outputs[1]);
        assert!(!rows.is_empty(), "each frame has a row, which shows that there is audio");
        assert!(rows.iter().all(|row| row.start <= frame.pts && (row.rate, row.channels) == (48_000, 1)));
        audio.extend(rows);
    }
    for closing in capture.closing_rows() {
        assert_eq!((&*closing.stream, closing.output), ("camera", "audio"));
        audio.extend(Audio::decode(&closing.rows).unwrap());
    }
    assert!(
        audio.windows(2).all(|pair| {
            let end = pair[0].start + pair[0].samples.len() as i64 * 1_000_000_000 / 48_000;
            pair[1].samples.is_empty() || (pair[1].start - end).abs() < 21_000
        }),
        "the audio has no gap"
    );
    let samples: Vec<f32> = audio.into_iter().flat_map(|row| row.samples).collect();
    let peak = |part: &[f32]| part.iter().fold(0.0, |peak: f32, sample| peak.max(sample.abs()));
    (peak(&samples[..960]), peak(&samples[samples.len() - 960..]), samples.len())
}

#[test]
fn audio_comes_with_the_frames_and_is_cut_with_them() {
    let Some(folder) = clip_with_tone() else { return };
    let file = ("source", json!("loud.mp4"));
    let assert_interval = |found: (f32, f32, usize), first: f32, last: f32| {
        let length_error = (found.2 as f32 / 48_000.0 - (last - first)).abs();
        let near = |peak: f32, time: f32| (peak - time / 5.0).abs() < 0.02;
        assert!(
            length_error < 0.03 && near(found.0, first) && near(found.1, last),
            "{found:?}: not {first} to {last} s"
        );
    };
    assert_interval(measure_audio(folder.path(), std::slice::from_ref(&file)), 0.0, 2.5);
    let cut = [file.clone(), ("start", json!(0.71)), ("end", json!(1.5))];
    assert_interval(measure_audio(folder.path(), &cut), 0.71, 1.5);
    assert_interval(measure_audio(folder.path(), &[file.clone(), ("fps", json!(7))]), 0.0, 2.5);
    assert_interval(measure_audio(folder.path(), &[file.clone(), ("fps", json!(3)), ("end", json!(1.9))]), 0.0, 1.9);
}

#[test]
fn audio_that_is_not_wired_is_not_decoded_and_a_silent_clip_has_none() {
    let Some(folder) = clip_with_tone() else { return };
    let has_no_audio = |source: &str, outputs: &[&str]| {
        let values = [("source", json!(source))];
        let mut capture = open_with(folder.path(), Mode::Complete, &values, outputs).unwrap();
        let (frames, end) = read_all(&mut capture, &context(Mode::Complete));
        end.unwrap();
        assert_eq!(frames.len(), 60);
        frames.iter().all(|frame| rows(&frame.outputs[1]).is_empty()) && capture.closing_rows().is_empty()
    };
    assert!(has_no_audio("loud.mp4", &["frames"]));
    assert!(has_no_audio("clip.mp4", &["frames", "audio"]));
    assert!(!has_no_audio("loud.mp4", &["frames", "audio"]));
}

#[test]
fn the_error_of_a_missing_camera_lists_the_available_ones() {
    let folder = tempfile::tempdir().unwrap();
    let values = [("source", json!("/dev/video250")), ("size", json!(720)), ("fps", json!(60))];
    let Err(error) = open_in(folder.path(), Mode::Live, &values) else { panic!("there is no such camera") };
    assert_eq!(error.failure, Failure::Input);
    assert!(error.message.contains("/dev/video250: there is no such device") && error.message.contains("video device"));
}

#[test]
fn a_source_is_finite_unless_it_loops_or_is_live() {
    let finite =
        |values: &[(&str, Value)]| Capture::finite(&config(Path::new("."), Mode::Live, values, &[]).unwrap().0);
    assert!(finite(&[("sources", json!(["a.mp4", "pictures/"]))]));
    assert!(!finite(&[("source", json!("a.mp4")), ("loop", json!(true))]));
    assert!(!finite(&[("sources", json!(["a.mp4", "/dev/video0"]))]), "a camera does not wait");
}

#[test]
fn each_pass_of_a_looping_file_continues_frames_and_times_as_another_session() {
    let Some(folder) = clip() else { return };
    let values = [("source", json!("clip.mp4")), ("start", json!(0.5)), ("end", json!(1.0)), ("loop", json!(true))];
    for mode in [Mode::Complete, Mode::Live] {
        let clock = Arc::new(TickingClock(AtomicI64::new(0)));
        let cx = SourceContext::new(mode, clock, Arc::new(AtomicBool::new(false)));
        let mut capture = open_in(folder.path(), mode, &values).unwrap();
        let frames: Vec<CapturedFrame> = (0..45).map(|_| capture.next(&cx).unwrap().unwrap()).collect();
        for (i, frame) in frames.iter().enumerate() {
            let due = 500_000_000 + i as i64 * 1_000_000_000 / 30;
            assert_eq!(frame.session, i as u32 / 15, "frame {i}");
            assert!((frame.pts - due).abs() < 1000, "frame {i}: {} against {due}", frame.pts);
            assert!(mode == Mode::Complete || frame.captured_at >= frame.pts - 500_000_000, "frame {i} came too early");
        }
        let picture = |i: usize| match &frames[i].outputs[..] {
            [Body::Data(Payload::Frame(frame)), _] => (**frame).clone().into_packed_mut(),
            other => panic!("{other:?}"),
        };
        assert!(picture(3) == picture(18) && picture(3) == picture(33), "each pass has the same frames");
    }
}

#[test]
fn looping_a_truncated_file_is_an_error() {
    let Some(folder) = clip() else { return };
    let bytes = std::fs::read(folder.path().join("clip.mp4")).unwrap();
    std::fs::write(folder.path().join("cut.mp4"), &bytes[..bytes.len() * 6 / 10]).unwrap();
    let (frames, end) = play(folder.path(), &[("source", json!("cut.mp4")), ("loop", json!(true))]);
    assert!(frames.len() < 60 && end.unwrap_err().message.contains("frames are missing"));
}

#[test]
fn each_of_several_sources_is_a_stream_and_every_failed_one_is_named() {
    let Some(folder) = clip() else { return };
    std::fs::copy(folder.path().join("clip.mp4"), folder.path().join("other.mp4")).unwrap();
    let sources = json!("[right=clip.mp4, other.mp4]");
    let mut streams = open_all(folder.path(), Mode::Complete, &[("sources", sources), ("end", json!(0.5))]).unwrap();
    let names: Vec<String> = streams.iter().map(|stream| Source::stream(stream).unwrap().to_string()).collect();
    assert_eq!(names, ["right", "other"]);
    for stream in &mut streams {
        assert_eq!(read_all(stream, &context(Mode::Complete)).0.len(), 15);
    }
    for name in names {
        assert!(folder.path().join(format!("media-camera-{name}.json")).is_file(), "{name}");
    }
    let sources = json!(["clip.mp4", "none.mp4", "gone.mp4"]);
    let Err(error) = open_all(folder.path(), Mode::Complete, &[("sources", sources)]) else { panic!("it opened") };
    assert_eq!(error.failure, Failure::Input);
    let causes = ["2 sources: none.mp4: no such file", "; gone.mp4: no such file"];
    assert!(causes.iter().all(|cause| error.message.contains(cause)), "{error}");
}

#[test]
fn the_names_of_streams_are_safe_in_file_names() {
    let Some(folder) = clip() else { return };
    let name = "a\n\u{1b}[2Jb\\..\\c.d";
    let path = folder.path().join("e.d.mp4");
    std::fs::copy(folder.path().join("clip.mp4"), &path).unwrap();
    std::fs::copy(&path, folder.path().join("e d.mp4")).unwrap();
    let sources = json!([format!("{name}=clip.mp4"), "e.d.mp4", "e d.mp4"]);
    let mut streams = open_all(folder.path(), Mode::Complete, &[("sources", sources), ("end", json!(0.1))]).unwrap();
    assert_eq!(&**Source::stream(&streams[0]).as_ref().unwrap(), name, "the name itself stays");
    for stream in &mut streams {
        read_all(stream, &context(Mode::Complete)).1.unwrap();
    }
    for name in ["a___2Jb____c_d", "e_d", "e_d-2"] {
        assert!(folder.path().join(format!("media-camera-{name}.json")).is_file(), "{name}");
    }
}

#[test]
fn a_folder_of_images_plays_in_order_and_skips_damaged_images_and_other_sizes() {
    let Some(folder) = clip() else { return };
    let pictures = folder.path().join("pictures");
    std::fs::create_dir(&pictures).unwrap();
    let command = ["-v", "error", "-i", "clip.mp4", "-frames:v", "12", "pictures/%d.jpg"];
    assert!(Command::new("ffmpeg").current_dir(folder.path()).args(command).status().unwrap().success());
    std::fs::write(pictures.join("3.jpg"), "not a picture").unwrap();
    let large = ["-v", "error", "-y", "-i", "clip.mp4", "-frames:v", "1", "-s", "640x360", "pictures/5.jpg"];
    assert!(Command::new("ffmpeg").current_dir(folder.path()).args(large).status().unwrap().success());
    let values = [("source", json!("pictures/")), ("fps", json!(10)), ("start", json!(0.1)), ("stream", json!("p"))];
    let (frames, end) = play(folder.path(), &values);
    assert_eq!((frames.len(), end), (11, Ok(())));
    for (i, frame) in (1..).zip(&frames) {
        assert_eq!((frame.pts, &*frame.stream), (i * 100_000_000, "p"));
        match (i, &frame.outputs[0]) {
            (2, Body::Skipped(reason)) => assert_eq!(*reason, Reason::Damaged),
            (4, Body::Skipped(reason)) => assert_eq!(reason.to_string(), "size"),
            _ => assert_eq!(size(frame), (320, 180)),
        }
    }
    for name in ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"] {
        std::fs::write(pictures.join(format!("{name}.jpg")), "not a picture").unwrap();
    }
    let (frames, end) = play(folder.path(), &[("source", json!("pictures"))]);
    assert_eq!(frames.len(), 12);
    assert!(end.unwrap_err().message.contains("none of its 12 images could be read"));
}

#[test]
fn the_shared_clips_play_to_their_end() {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|f| f.join("shared/data/clips")).find(|f| f.is_dir());
    let Some(root) = root else {
        return skip_test(Capability::Data, "no shared/data/clips beside the repository");
    };
    let runs = tempfile::tempdir().unwrap();
    for path in std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()) {
        let path: PathBuf = path;
        let (frames, end) = play(runs.path(), &[("source", json!(path)), ("end", json!(2.0)), ("size", json!("360"))]);
        assert_eq!(end, Ok(()), "{}", path.display());
        assert!(frames.len() >= 20 && frames.iter().all(|frame| size(frame).1 <= 360), "{}", path.display());
    }
}

/// Serves a file over HTTP with a content length that is too large, so that every transfer breaks off. Returns the port.
fn serve_truncated(path: &Path) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let bytes = std::fs::read(path).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len() + 9_999);
            // The client may have disconnected.
            let _ = stream.read(&mut request).and_then(|_| stream.write_all(&[head.as_bytes(), &bytes].concat()));
        }
    });
    port
}

#[test]
fn a_connection_that_breaks_before_its_first_frame_is_a_failed_attempt() {
    let Some(folder) = clip() else { return };
    // Without a key frame the stream is identified, but no frame of it can be decoded.
    let command =
        "-v error -i clip.mp4 -c:v libx264 -bf 0 -g 999 -sc_threshold 0 -flvflags no_duration_filesize whole.flv";
    let drop = "-v error -i whole.flv -c copy -bsf:v noise=drop=key late.flv";
    for command in [command, drop] {
        let mut made = Command::new("ffmpeg");
        assert!(made.current_dir(folder.path()).args(command.split(' ')).status().unwrap().success());
    }
    let port = serve_truncated(&folder.path().join("late.flv"));
    let source = format!("http://127.0.0.1:{port}/late.flv");
    let values = [("source", json!(source)), ("reconnect_attempts", json!(5)), ("backoff", json!(1))];
    let mut capture = open_in(folder.path(), Mode::Complete, &values).unwrap();
    let cx =
        SourceContext::new(Mode::Complete, Arc::new(sideline_api::clock::WallClock), Arc::new(AtomicBool::new(false)));
    let (frames, end) = read_all(&mut capture, &cx);
    assert!(frames.is_empty() && end.unwrap_err().message.contains("gave up after 5 reconnect attempts"));
    let counts = capture.counts();
    let count = |key: &str| counts.iter().find(|(name, _)| *name == key).unwrap().1;
    assert_eq!((count("failed_tries"), count("sessions"), count("alerts")), (6, 0, 1), "{counts:?}");
}

#[test]
fn a_secret_address_is_looked_up_at_the_start_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    std::fs::write(folder.path().join("cam"), format!("rtmp://u:s3cret@127.0.0.1:{free}/live/k3y\n")).unwrap();
    let values = [("source", json!("file:cam")), ("reconnect_attempts", json!(0))];
    let mut capture = open_in(folder.path(), Mode::Live, &values).unwrap();
    let error = read_all(&mut capture, &context(Mode::Live)).1.unwrap_err();
    assert!(error.message.starts_with("file:cam: nothing listens there"), "{error}");
    let hidden = ["s3cret", "k3y", &free.to_string()];
    assert!(hidden.iter().all(|secret| !error.message.contains(secret)), "{error}");
    for (source, expected) in [
        ("env:NO_SUCH_VARIABLE", "there is no environment variable `NO_SUCH_VARIABLE`"),
        ("file:none", "no such file"),
        ("rtsp://u:{env:NO_SUCH_VARIABLE}@h/1", "there is no environment variable `NO_SUCH_VARIABLE`"),
    ] {
        let Err(error) = open_in(folder.path(), Mode::Live, &[("source", json!(source))]) else { panic!("{source}") };
        assert!(error.failure == Failure::Config && error.message.contains(expected), "{error}");
    }
    assert!(!Capture::finite(&config(folder.path(), Mode::Live, &values, &[]).unwrap().0));
    std::fs::write(folder.path().join("key.pem"), "-----BEGIN PRIVATE KEY-----").unwrap();
    let values = [("source", json!("https://h/x.mp4")), ("ca", json!("key.pem"))];
    let Err(error) = open_in(folder.path(), Mode::Live, &values) else { panic!("a private key is not a certificate") };
    assert!(error.message.contains("key `ca`") && error.message.contains("contains no certificate"), "{error}");
}
