//! Capture, driven as the engine drives it.

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
    Body, Captured, Device, Failure, Mode, Payload, Reason, Resources, Result, Source, SourceContext, Table, Values,
    clock::{Clock, VirtualClock},
    driver::read_config,
    models::Models,
    serde_json::{self, Value, json},
    tables::Audio,
};
use sideline_capture::{Capture, CaptureConfig};
use sideline_testkit::{Capability, skipped};
use tempfile::TempDir;

/// A folder with `clip.mp4` of 2 s, 30 frames a second, 320x180; `None`, with a word, where there is no `ffmpeg`.
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
            skipped(Capability::Ffmpeg, format_args!("ffmpeg: {cause}"));
            return None;
        }
    }
    Some(folder)
}

fn open_in(folder: &Path, mode: Mode, values: &[(&str, Value)]) -> Result<Capture> {
    open_with(folder, mode, values, &["frames", "audio"])
}

/// `outputs`: those that somebody reads.
fn open_with(folder: &Path, mode: Mode, values: &[(&str, Value)], outputs: &[&str]) -> Result<Capture> {
    let (config, resources) = config(folder, mode, values, outputs)?;
    Capture::new(config, &resources)
}

/// Every stream of a node.
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
        node: "camera".into(),
        mode,
        device: Device::Cpu,
        run_dir: folder.to_owned(),
        run: "test".into(),
        inputs: vec![],
        outputs: outputs.iter().map(ToString::to_string).collect(),
        search: vec![folder.to_owned()],
        models: Arc::new(Models::default()),
        clock: Arc::new(VirtualClock::default()),
    };
    Ok((read_config(&all, "camera")?, resources))
}

fn context(mode: Mode) -> SourceContext {
    SourceContext::new(mode, Arc::new(VirtualClock::default()), Arc::new(AtomicBool::new(false)))
}

/// All frames, and how it ended.
fn all(capture: &mut Capture, cx: &SourceContext) -> (Vec<Captured>, Result<()>) {
    let mut frames = vec![];
    loop {
        match capture.next(cx) {
            Ok(Some(captured)) => frames.push(captured),
            Ok(None) => return (frames, Ok(())),
            Err(error) => return (frames, Err(error)),
        }
    }
}

fn play(folder: &Path, values: &[(&str, Value)]) -> (Vec<Captured>, Result<()>) {
    let mut capture = open_in(folder, Mode::Complete, values).unwrap();
    let played = all(&mut capture, &context(Mode::Complete));
    assert!(
        capture.next(&context(Mode::Complete)).unwrap().is_none(),
        "after the end there is nothing, not an error again"
    );
    capture.close().unwrap();
    played
}

fn size(captured: &Captured) -> (u32, u32) {
    match &captured.outputs[..] {
        [Body::Data(Payload::Frame(frame)), _] => (frame.width(), frame.height()),
        other => panic!("one frame expected, found {other:?}"),
    }
}

#[test]
fn a_file_comes_whole_with_its_times_and_a_report() {
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
fn a_source_that_is_only_opened_leaves_the_folder_of_the_run_as_it_is() {
    let Some(folder) = clip() else { return };
    let before = folder.path().read_dir().unwrap().count();
    open_in(folder.path(), Mode::Complete, &[("source", json!("clip.mp4"))]).unwrap().close().unwrap();
    assert_eq!(folder.path().read_dir().unwrap().count(), before);
}

#[test]
fn start_end_fps_size_and_stream_are_obeyed() {
    let Some(folder) = clip() else { return };
    let values = [
        ("source", json!("clip.mp4")),
        ("start", json!(0.5)),
        ("end", json!(1.5)),
        ("fps", json!(15)),
        ("size", json!(90)),
        ("stream", json!("left")),
    ];
    // `size: 90` comes as a number from YAML.
    let (frames, end) = play(folder.path(), &values);
    end.unwrap();
    let pts: Vec<i64> = frames.iter().map(|frame| frame.pts).collect();
    let want: Vec<i64> =
        (15..45_i64).filter(|i| i % 2 == 0 || *i == 15).map(|i| (i * 1_000_000_000 + 15) / 30).collect();
    assert_eq!(pts, want, "media time is that of the file");
    assert!(frames.iter().all(|frame| size(frame) == (160, 90) && &*frame.stream == "left"));
}

#[test]
fn wrong_values_are_refused_in_words() {
    let Some(folder) = clip() else { return };
    let file = ("source", json!("clip.mp4"));
    let cases = [
        (vec![("source", json!("rtsp://camera/1"))], Failure::Config, "a live stream does not wait"),
        (vec![("source", json!("gopher://camera/1"))], Failure::Config, "known are rtmp://, rtmps://, rtsp://"),
        (vec![("source", json!("https:///a.mp4"))], Failure::Config, "names no host"),
        (
            vec![("source", json!("rtmp://h/live/k3y")), ("start", json!(1))],
            Failure::Config,
            "`rtmp://h/live/***` is read from where it is",
        ),
        (vec![("source", json!("none.mp4"))], Failure::Input, "no such file; looked for"),
        (vec![("source", json!("."))], Failure::Input, "holds no images; taken are .jpg"),
        (vec![], Failure::Config, "key `source`: must be given, or `sources`"),
        (vec![file.clone(), ("sources", json!(["b.mp4"]))], Failure::Config, "give exactly one of the two"),
        (vec![("sources", json!("[a/x.mp4, b/x.mp4]"))], Failure::Config, "`a/x.mp4` and `b/x.mp4` are both named `x`"),
        (vec![("sources", json!("none.mp4"))], Failure::Input, "no such file; looked for"),
        (vec![("sources", json!([]))], Failure::Config, "is an empty list"),
        (vec![("sources", json!(["clip.mp4"])), ("stream", json!("left"))], Failure::Config, "`NAME=PATH`"),
        (vec![("source", json!("/dev/video250"))], Failure::Config, "a camera does not wait"),
        (vec![("source", json!("/dev/video250")), ("loop", json!(true))], Failure::Config, "shows what is now"),
        (vec![("source", json!("/dev/video250")), ("start", json!(1))], Failure::Config, "shows what is now"),
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
fn a_truncated_file_is_handled_and_then_reported() {
    let Some(folder) = clip() else { return };
    let bytes = std::fs::read(folder.path().join("clip.mp4")).unwrap();
    std::fs::write(folder.path().join("cut.mp4"), &bytes[..bytes.len() * 6 / 10]).unwrap();
    let (frames, end) = play(folder.path(), &[("source", json!("cut.mp4"))]);
    let error = end.unwrap_err();
    assert!((20..50).contains(&frames.len()));
    assert_eq!(error.failure, Failure::Input);
    let want = format!("cut.mp4: {} of 60 frames are missing: the file is truncated or damaged", 60 - frames.len());
    assert!(error.message.starts_with(&want) && error.message.ends_with("what was there was handled"), "{error}");
    // What is missing lies behind `end`: nobody asked for it.
    let (frames, end) = play(folder.path(), &[("source", json!("cut.mp4")), ("end", json!(0.5))]);
    assert_eq!((frames.len(), end), (15, Ok(())));
}

/// Runs `ffmpeg` in a folder.
fn ffmpeg(folder: &Path, args: &[&str]) {
    assert!(Command::new("ffmpeg").current_dir(folder).args(["-v", "error"]).args(args).status().unwrap().success());
}

#[test]
fn a_source_without_a_frame_is_an_input_error_and_says_what_was_tried() {
    let Some(folder) = clip() else { return };
    // A header without pictures behind it, and pictures of which no byte is left.
    ffmpeg(folder.path(), &["-i", "clip.mp4", "-c", "copy", "-movflags", "frag_keyframe+empty_moov", "header.mp4"]);
    let whole = std::fs::read(folder.path().join("header.mp4")).unwrap();
    let pictures = whole.windows(4).position(|name| name == b"moof").unwrap() - 4;
    std::fs::write(folder.path().join("header.mp4"), &whole[..pictures]).unwrap();
    let mut bytes = std::fs::read(folder.path().join("clip.mp4")).unwrap();
    let data = bytes.windows(4).position(|name| name == b"mdat").unwrap() + 4;
    bytes[data..].fill(0);
    std::fs::write(folder.path().join("zeros.mp4"), bytes).unwrap();
    let file = |name: &str| ("source", json!(name));
    let cases = [
        (vec![file("header.mp4")], "header.mp4: not one frame of it could be decoded: it is a video of"),
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
fn a_stop_before_the_first_frame_is_no_failure() {
    let Some(folder) = clip() else { return };
    let cx = SourceContext::new(Mode::Complete, Arc::new(VirtualClock::default()), Arc::new(AtomicBool::new(true)));
    let mut capture = open_in(folder.path(), Mode::Complete, &[("source", json!("clip.mp4"))]).unwrap();
    assert!(capture.next(&cx).unwrap().is_none());
}

#[test]
fn the_track_that_is_asked_for_is_read_and_one_that_is_not_there_is_refused() {
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

/// A clock that goes on by 4 ms whenever it is looked at.
struct Ticking(AtomicI64);

impl Clock for Ticking {
    fn now(&self) -> i64 {
        self.0.fetch_add(4_000_000, Ordering::SeqCst)
    }
}

#[test]
fn live_a_file_is_paced_and_stamped_with_its_due_times() {
    let Some(folder) = clip() else { return };
    let clock = Arc::new(Ticking(AtomicI64::new(7_000_000_000)));
    let cx = SourceContext::new(Mode::Live, clock.clone(), Arc::new(AtomicBool::new(false)));
    let mut capture =
        open_in(folder.path(), Mode::Live, &[("source", json!("clip.mp4")), ("end", json!(0.5))]).unwrap();
    let mut frames = 0;
    while let Some(captured) = capture.next(&cx).unwrap() {
        let (due, now) = (7_000_000_000 + captured.pts, clock.0.load(Ordering::SeqCst));
        assert!(
            captured.captured >= due && captured.captured <= now,
            "frame {frames}: due {due}, {}, now {now}",
            captured.captured
        );
        frames += 1;
    }
    assert_eq!(frames, 15);
}

#[test]
fn a_stop_ends_it_also_while_it_waits() {
    let Some(folder) = clip() else { return };
    let stop = Arc::new(AtomicBool::new(false));
    // The clock stands still: the second frame would never be due.
    let cx = SourceContext::new(Mode::Live, Arc::new(VirtualClock::default()), stop.clone());
    let mut capture = open_in(folder.path(), Mode::Live, &[("source", json!("clip.mp4"))]).unwrap();
    assert!(capture.next(&cx).unwrap().is_some());
    let waiting = std::thread::spawn(move || capture.next(&cx).map(|frame| frame.is_none()));
    stop.store(true, Ordering::SeqCst);
    assert_eq!(waiting.join().unwrap(), Ok(true));
}

/// A folder with `clip.mp4` of 2 s of pictures, and of 2.5 s of a tone whose loudness grows with its time.
fn loud_clip() -> Option<TempDir> {
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

/// Loudness of the sound at its start and end, and the number of samples in one channel, of what a run gives in all.
fn heard(folder: &Path, values: &[(&str, Value)]) -> (f32, f32, usize) {
    let mut capture = open_in(folder, Mode::Complete, values).unwrap();
    let (frames, end) = all(&mut capture, &context(Mode::Complete));
    end.unwrap();
    let mut sound = vec![];
    for frame in &frames {
        let came = rows(&frame.outputs[1]);
        assert!(!came.is_empty(), "each frame tells that there is sound");
        assert!(came.iter().all(|row| row.start <= frame.pts && (row.rate, row.channels) == (48_000, 1)));
        sound.extend(came);
    }
    for closing in capture.closing() {
        assert_eq!((&*closing.stream, closing.output), ("camera", "audio"));
        sound.extend(Audio::decode(&closing.rows).unwrap());
    }
    assert!(
        sound.windows(2).all(|pair| {
            let end = pair[0].start + pair[0].samples.len() as i64 * 1_000_000_000 / 48_000;
            pair[1].samples.is_empty() || (pair[1].start - end).abs() < 21_000
        }),
        "without a gap"
    );
    let samples: Vec<f32> = sound.into_iter().flat_map(|row| row.samples).collect();
    let peak = |part: &[f32]| part.iter().fold(0.0, |most: f32, sample| most.max(sample.abs()));
    (peak(&samples[..960]), peak(&samples[samples.len() - 960..]), samples.len())
}

#[test]
fn sound_comes_with_the_frames_and_is_cut_with_them() {
    let Some(folder) = loud_clip() else { return };
    let file = ("source", json!("loud.mp4"));
    let is = |found: (f32, f32, usize), first: f32, last: f32| {
        let length = (found.2 as f32 / 48_000.0 - (last - first)).abs();
        let near = |loudness: f32, at: f32| (loudness - at / 5.0).abs() < 0.02;
        assert!(length < 0.03 && near(found.0, first) && near(found.1, last), "{found:?}: not {first} to {last} s");
    };
    is(heard(folder.path(), std::slice::from_ref(&file)), 0.0, 2.5);
    is(heard(folder.path(), &[file.clone(), ("start", json!(0.71)), ("end", json!(1.5))]), 0.71, 1.5);
    is(heard(folder.path(), &[file.clone(), ("fps", json!(7))]), 0.0, 2.5);
    is(heard(folder.path(), &[file.clone(), ("fps", json!(3)), ("end", json!(1.9))]), 0.0, 1.9);
}

#[test]
fn sound_that_nobody_reads_is_not_made_and_a_silent_clip_has_none() {
    let Some(folder) = loud_clip() else { return };
    let empty = |source: &str, outputs: &[&str]| {
        let values = [("source", json!(source))];
        let mut capture = open_with(folder.path(), Mode::Complete, &values, outputs).unwrap();
        let (frames, end) = all(&mut capture, &context(Mode::Complete));
        end.unwrap();
        assert_eq!(frames.len(), 60);
        frames.iter().all(|frame| rows(&frame.outputs[1]).is_empty()) && capture.closing().is_empty()
    };
    assert!(empty("loud.mp4", &["frames"]));
    assert!(empty("clip.mp4", &["frames", "audio"]));
    assert!(!empty("loud.mp4", &["frames", "audio"]));
}

#[test]
fn an_unplugged_camera_is_told_with_those_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let values = [("source", json!("/dev/video250")), ("size", json!(720)), ("fps", json!(60))];
    let Err(error) = open_in(folder.path(), Mode::Live, &values) else { panic!("there is no such camera") };
    assert_eq!(error.failure, Failure::Input);
    assert!(error.message.contains("/dev/video250: there is no such device") && error.message.contains("video device"));
}

#[test]
fn what_ends_by_itself_is_played_complete_by_default() {
    let finite =
        |values: &[(&str, Value)]| Capture::finite(&config(Path::new("."), Mode::Live, values, &[]).unwrap().0);
    assert!(finite(&[("sources", json!(["a.mp4", "pictures/"]))]));
    assert!(!finite(&[("source", json!("a.mp4")), ("loop", json!(true))]));
    assert!(!finite(&[("sources", json!(["a.mp4", "/dev/video0"]))]), "a camera does not wait");
}

#[test]
fn a_file_that_loops_goes_on_in_frames_and_time_as_another_session() {
    let Some(folder) = clip() else { return };
    let values = [("source", json!("clip.mp4")), ("start", json!(0.5)), ("end", json!(1.0)), ("loop", json!(true))];
    for mode in [Mode::Complete, Mode::Live] {
        let clock = Arc::new(Ticking(AtomicI64::new(0)));
        let cx = SourceContext::new(mode, clock, Arc::new(AtomicBool::new(false)));
        let mut capture = open_in(folder.path(), mode, &values).unwrap();
        let frames: Vec<Captured> = (0..45).map(|_| capture.next(&cx).unwrap().unwrap()).collect();
        for (i, frame) in frames.iter().enumerate() {
            let due = 500_000_000 + i as i64 * 1_000_000_000 / 30;
            assert_eq!(frame.session, i as u32 / 15, "frame {i}");
            assert!((frame.pts - due).abs() < 1000, "frame {i}: {} against {due}", frame.pts);
            assert!(mode == Mode::Complete || frame.captured >= frame.pts - 500_000_000, "frame {i} came too early");
        }
        let picture = |i: usize| match &frames[i].outputs[..] {
            [Body::Data(Payload::Frame(frame)), _] => (**frame).clone().into_packed_mut(),
            other => panic!("{other:?}"),
        };
        assert!(picture(3) == picture(18) && picture(3) == picture(33), "the same pictures again");
    }
}

#[test]
fn a_truncated_file_does_not_loop_in_silence() {
    let Some(folder) = clip() else { return };
    let bytes = std::fs::read(folder.path().join("clip.mp4")).unwrap();
    std::fs::write(folder.path().join("cut.mp4"), &bytes[..bytes.len() * 6 / 10]).unwrap();
    let (frames, end) = play(folder.path(), &[("source", json!("cut.mp4")), ("loop", json!(true))]);
    assert!(frames.len() < 60 && end.unwrap_err().message.contains("frames are missing"));
}

#[test]
fn several_sources_are_a_stream_each_and_every_one_that_fails_is_named() {
    let Some(folder) = clip() else { return };
    std::fs::copy(folder.path().join("clip.mp4"), folder.path().join("other.mp4")).unwrap();
    let sources = json!("[right=clip.mp4, other.mp4]");
    let mut streams = open_all(folder.path(), Mode::Complete, &[("sources", sources), ("end", json!(0.5))]).unwrap();
    let names: Vec<String> = streams.iter().map(|stream| Source::stream(stream).unwrap().to_string()).collect();
    assert_eq!(names, ["right", "other"]);
    for stream in &mut streams {
        assert_eq!(all(stream, &context(Mode::Complete)).0.len(), 15);
    }
    for name in names {
        assert!(folder.path().join(format!("media-camera-{name}.json")).is_file(), "{name}");
    }
    let sources = json!(["clip.mp4", "none.mp4", "gone.mp4"]);
    let Err(error) = open_all(folder.path(), Mode::Complete, &[("sources", sources)]) else { panic!("it opened") };
    assert_eq!(error.failure, Failure::Input);
    let told = ["2 sources: none.mp4: no such file", "; gone.mp4: no such file"];
    assert!(told.iter().all(|words| error.message.contains(words)), "{error}");
}

#[test]
fn a_folder_of_images_plays_in_order_and_says_what_it_skips() {
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
        std::fs::write(pictures.join(format!("{name}.jpg")), "none is left").unwrap();
    }
    let (frames, end) = play(folder.path(), &[("source", json!("pictures"))]);
    assert_eq!(frames.len(), 12);
    assert!(end.unwrap_err().message.contains("none of its 12 images could be read"));
}

#[test]
fn the_clips_beside_the_repository_play_to_their_end() {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|f| f.join("shared/data/clips")).find(|f| f.is_dir());
    let Some(root) = root else {
        return skipped(Capability::Data, "no shared/data/clips beside the repository");
    };
    let runs = tempfile::tempdir().unwrap();
    for path in std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()) {
        let path: PathBuf = path;
        let (frames, end) = play(runs.path(), &[("source", json!(path)), ("end", json!(2.0)), ("size", json!("360"))]);
        assert_eq!(end, Ok(()), "{}", path.display());
        assert!(frames.len() >= 20 && frames.iter().all(|frame| size(frame).1 <= 360), "{}", path.display());
    }
}

/// Answers every request with a file, and says that it were longer; its port.
fn serve_cut(path: &Path) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let bytes = std::fs::read(path).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len() + 9_999);
            // Whoever asked may have gone.
            let _ = stream.read(&mut request).and_then(|_| stream.write_all(&[head.as_bytes(), &bytes].concat()));
        }
    });
    port
}

#[test]
fn a_connection_that_breaks_before_its_first_frame_is_a_failed_try() {
    let Some(folder) = clip() else { return };
    // No key frame: it is known what the stream is, and nothing of it can be decoded.
    let command =
        "-v error -i clip.mp4 -c:v libx264 -bf 0 -g 999 -sc_threshold 0 -flvflags no_duration_filesize whole.flv";
    let drop = "-v error -i whole.flv -c copy -bsf:v noise=drop=key late.flv";
    for command in [command, drop] {
        let mut made = Command::new("ffmpeg");
        assert!(made.current_dir(folder.path()).args(command.split(' ')).status().unwrap().success());
    }
    let port = serve_cut(&folder.path().join("late.flv"));
    let source = format!("http://127.0.0.1:{port}/late.flv");
    let values = [("source", json!(source)), ("tries", json!(5)), ("backoff", json!(1))];
    let mut capture = open_in(folder.path(), Mode::Complete, &values).unwrap();
    let cx =
        SourceContext::new(Mode::Complete, Arc::new(sideline_api::clock::WallClock), Arc::new(AtomicBool::new(false)));
    let (frames, end) = all(&mut capture, &cx);
    assert!(frames.is_empty() && end.unwrap_err().message.contains("given up after 5 more tries"));
    let counts = capture.counts();
    let of = |key: &str| counts.iter().find(|(name, _)| *name == key).unwrap().1;
    assert_eq!((of("failed_tries"), of("sessions"), of("alerts")), (6, 0, 1), "{counts:?}");
}

#[test]
fn a_secret_address_is_looked_up_at_the_start_and_never_told() {
    let folder = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    std::fs::write(folder.path().join("cam"), format!("rtmp://u:s3cret@127.0.0.1:{free}/live/k3y\n")).unwrap();
    let values = [("source", json!("file:cam")), ("tries", json!(0))];
    let mut capture = open_in(folder.path(), Mode::Live, &values).unwrap();
    let error = all(&mut capture, &context(Mode::Live)).1.unwrap_err();
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
    let Err(error) = open_in(folder.path(), Mode::Live, &values) else { panic!("a key is no certificate") };
    assert!(error.message.contains("key `ca`") && error.message.contains("holds no certificate"), "{error}");
}
