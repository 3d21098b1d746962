//! The node as a run sees it: frames and tables in, a video out, read back with FFmpeg.

use std::path::{Path, PathBuf};

use ffmpeg_next as ff;
use serde_json::{Value, json};
use sideline_api::{
    Alignment, Color, Encoding, Failure, Frame, Mode, Operator, Reason,
    config::{Config, Origin, Values},
    driver::OnError,
    tables::{JOINTS, Motion, Pose, Track},
    testing::{Harness, Setup},
};
use sideline_render::{Render, RenderConfig};

const SIZE: (u32, u32) = (320, 240);

fn grey(width: u32, height: u32) -> Frame {
    let (luma, chroma) = ((width * height) as usize, (width.div_ceil(2) * height.div_ceil(2)) as usize);
    let mut bytes = vec![90u8; luma];
    bytes.extend(vec![128; 2 * chroma]);
    Frame::from_packed(width, height, Encoding::I420, Color::assumed(height), bytes).unwrap()
}

/// Somebody whose left upper arm lies along y = 120, from x = 80 to 240, and of whom nothing else is seen.
fn arm(fighter: &str) -> Pose {
    let mut joints = [[f32::NAN; 4]; JOINTS];
    joints[11] = [0.25, 0.5, 0.0, 0.9];
    joints[13] = [0.75, 0.5, 0.0, 0.9];
    Pose {
        track: 1,
        fighter: fighter.into(),
        x1: 60.0,
        y1: 10.0,
        x2: 260.0,
        y2: 230.0,
        score: 0.9,
        model: "hand".into(),
        aspect: 16.0 / 9.0,
        joints,
        world: [[0.0; 3]; JOINTS],
    }
}

fn track(state: &str, [x1, y1, x2, y2]: [f32; 4]) -> Track {
    let fighter = "fighter_1".into();
    Track { track: 1, fighter, state: state.into(), x1, y1, x2, y2, score: 0.9, class: 0, age: 9 }
}

/// Near to lossless, with everything off but what the test turns on.
fn values(more: &[(&str, Value)]) -> Values {
    let mut values = Values::new();
    for key in ["skeletons", "boxes", "labels", "stats"] {
        values.set(key, false, Origin::CommandLine);
    }
    values.set("crf", 1.0, Origin::CommandLine);
    values.set("preset", "ultrafast", Origin::CommandLine);
    for (key, value) in more {
        values.set(*key, value.clone(), Origin::CommandLine);
    }
    values
}

/// All inputs but the sound.
fn silent() -> Option<Vec<(&'static str, Alignment)>> {
    Some(["frames", "poses", "tracks", "motion"].map(|name| (name, Alignment::Source(0))).to_vec())
}

struct Bench {
    folder: tempfile::TempDir,
    render: Harness<Render>,
}

impl Bench {
    fn new(values: Values) -> Self {
        Self::with(values, Setup::default())
    }

    fn with(values: Values, setup: Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let inputs = setup.inputs.or_else(silent);
        let render = Harness::with(values, Setup { run_dir: folder.path().into(), inputs, ..setup }).unwrap();
        Self { folder, render }
    }

    /// One frame with all its tables.
    fn push(&mut self, frame: Frame, poses: &[Pose], tracks: &[Track]) {
        self.render.push_frame("frames", frame).unwrap();
        self.render.push("poses", poses).unwrap();
        self.render.push("tracks", tracks).unwrap();
        self.render.push::<Motion>("motion", &[]).unwrap();
    }

    fn skip_tables(&mut self, frame: Frame) {
        self.render.push_frame("frames", frame).unwrap();
        for table in ["poses", "tracks", "motion"] {
            self.render.skip(table, Reason::Error).unwrap();
        }
    }

    fn end(&mut self) {
        self.render.end().unwrap();
        self.render.close().unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn files(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.folder.path().read_dir().unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| !name.starts_with('.'));
        names.sort();
        names
    }
}

struct Read {
    pts: i64,
    width: usize,
    height: usize,
    luma: Vec<u8>,
    u: Vec<u8>,
    v: Vec<u8>,
}

impl Read {
    fn y(&self, x: usize, y: usize) -> u8 {
        self.luma[y * self.width + x]
    }
    /// U and V around a pixel.
    fn uv(&self, x: usize, y: usize) -> (u8, u8) {
        let i = y / 2 * self.width.div_ceil(2) + x / 2;
        (self.u[i], self.v[i])
    }
    /// Pixels that differ from the ground.
    fn drawn(&self) -> usize {
        self.luma.iter().filter(|y| y.abs_diff(90) > 6).count()
    }
}

/// Every frame that a decoder makes of the file; times in nanoseconds.
fn read(path: &Path) -> Vec<Read> {
    ff::init().unwrap();
    let mut input = ff::format::input(path).unwrap();
    let stream = input.streams().best(ff::media::Type::Video).unwrap();
    let base = stream.time_base();
    let mut decoder =
        ff::codec::context::Context::from_parameters(stream.parameters()).unwrap().decoder().video().unwrap();
    let mut frames = vec![];
    let mut take = |decoder: &mut ff::decoder::Video| {
        let mut picture = ff::frame::Video::empty();
        while decoder.receive_frame(&mut picture).is_ok() {
            let (width, height) = (picture.width() as usize, picture.height() as usize);
            let plane = |i: usize, w: usize, h: usize| -> Vec<u8> {
                picture.data(i).chunks(picture.stride(i)).take(h).flat_map(|row| row[..w].to_vec()).collect()
            };
            let (cw, ch) = (width.div_ceil(2), height.div_ceil(2));
            let den = i128::from(base.1);
            let pts = i128::from(picture.pts().unwrap()) * i128::from(base.0) * 1_000_000_000;
            frames.push(Read {
                pts: ((pts + den / 2) / den) as i64,
                width,
                height,
                luma: plane(0, width, height),
                u: plane(1, cw, ch),
                v: plane(2, cw, ch),
            });
        }
    };
    for (_, packet) in input.packets() {
        decoder.send_packet(&packet).unwrap();
        take(&mut decoder);
    }
    decoder.send_eof().unwrap();
    take(&mut decoder);
    frames
}

#[test]
fn a_limb_is_drawn_where_it_is_in_the_fighters_colour() {
    let mut bench = Bench::new(values(&[("skeletons", json!(true))]));
    bench.push(grey(SIZE.0, SIZE.1), &[arm("fighter_1")], &[]);
    bench.push(grey(SIZE.0, SIZE.1), &[arm("fighter_2")], &[]);
    bench.push(grey(SIZE.0, SIZE.1), &[arm("")], &[]);
    bench.end();
    let frames = read(&bench.file("overlay.mp4"));
    assert_eq!(frames.len(), 3);
    for frame in &frames {
        assert!(frame.y(160, 120).abs_diff(90) > 20, "on the arm: {}", frame.y(160, 120));
        assert!(frame.y(160, 100).abs_diff(90) < 4 && frame.y(40, 120).abs_diff(90) < 4, "beside it");
    }
    let (u, v) = frames[0].uv(160, 120);
    assert!(v > 150 && u < 110, "fighter_1 is red to orange: {u}, {v}");
    let (u, v) = frames[1].uv(160, 120);
    assert!(u > 140 && v < 110, "fighter_2 is blue to cyan: {u}, {v}");
    let (u, v) = frames[2].uv(160, 120);
    assert!(u.abs_diff(128) < 8 && v.abs_diff(128) < 8, "nobody's colours: {u}, {v}");
}

#[test]
fn hidden_and_unknown_joints_are_not_drawn() {
    let mut bench = Bench::new(values(&[("skeletons", json!(true))]));
    let mut hidden = arm("fighter_1");
    hidden.joints[13][3] = 0.3;
    hidden.joints[11] = [f32::NAN, 0.5, 0.0, 0.9];
    bench.push(grey(SIZE.0, SIZE.1), &[hidden], &[]);
    bench.end();
    assert_eq!(read(&bench.file("overlay.mp4"))[0].drawn(), 0);
}

#[test]
fn boxes_beyond_the_picture_are_clipped_and_broken_ones_left_out() {
    let mut bench = Bench::new(values(&[("boxes", json!(true)), ("labels", json!(true)), ("skeletons", json!(true))]));
    let rects = [
        [-500.0, -500.0, 100.0, 120.0],
        [300.0, 200.0, 9000.0, 9000.0],
        [f32::NAN, 0.0, 50.0, 50.0],
        [f32::NEG_INFINITY, 0.0, f32::INFINITY, 50.0],
        [200.0, 200.0, 100.0, 100.0],
        [-90.0, -90.0, -10.0, -10.0],
        [1e9, 1e9, 2e9, 2e9],
    ];
    for rect in rects {
        bench.push(grey(SIZE.0, SIZE.1), &[arm("fighter_2")], &[track("confirmed", rect)]);
    }
    bench.push(grey(5, 3), &[arm("")], &[track("confirmed", [0.0, 0.0, 4.0, 2.0])]);
    bench.end();
    let frames = read(&bench.file("overlay.mp4"));
    assert_eq!(frames.len(), rects.len());
    let (_, v) = frames[0].uv(99, 50);
    assert!(v > 136, "the right edge of the first box is in the picture, and red: {v}");
}

#[test]
fn labels_stay_inside_the_picture_and_tentative_tracks_have_none() {
    let label = |state: &str, rect| {
        let mut bench = Bench::new(values(&[("labels", json!(true))]));
        bench.push(grey(SIZE.0, SIZE.1), &[], &[track(state, rect)]);
        bench.end();
        read(&bench.file("overlay.mp4")).remove(0).drawn()
    };
    let whole = label("confirmed", [100.0, 100.0, 200.0, 200.0]);
    assert!(whole > 300, "{whole} px");
    for rect in [[-40.0, -30.0, 60.0, 100.0], [300.0, 4.0, 400.0, 90.0], [310.0, 230.0, 400.0, 300.0]] {
        let moved = label("confirmed", rect);
        assert!(moved.abs_diff(whole) < whole / 20, "{rect:?}: {moved} of {whole} px");
    }
    assert_eq!(label("tentative", [100.0, 100.0, 200.0, 200.0]), 0);
}

#[test]
fn labels_of_people_who_overlap_are_both_to_be_read() {
    let drawn = |fighters: &[&str]| {
        let mut bench = Bench::new(values(&[("labels", json!(true))]));
        let rect = [100.0, 100.0, 200.0, 200.0];
        let tracks: Vec<Track> =
            fighters.iter().map(|fighter| Track { fighter: (*fighter).into(), ..track("confirmed", rect) }).collect();
        bench.push(grey(SIZE.0, SIZE.1), &[], &tracks);
        bench.end();
        read(&bench.file("overlay.mp4")).remove(0).drawn()
    };
    let (one, other) = (drawn(&["fighter_1"]), drawn(&["fighter_2"]));
    assert!(drawn(&["fighter_1", "fighter_2"]).abs_diff(one + other) < one / 20);
}

#[test]
fn every_frame_keeps_its_time_and_a_skipped_one_is_left_out() {
    let mut bench = Bench::new(values(&[]));
    for _ in 0..10 {
        bench.skip_tables(grey(SIZE.0, SIZE.1));
    }
    for input in ["frames", "poses", "tracks", "motion"] {
        bench.render.skip(input, Reason::Damaged).unwrap();
    }
    bench.skip_tables(grey(SIZE.0, SIZE.1));
    bench.end();
    let times: Vec<i64> = read(&bench.file("overlay.mp4")).iter().map(|frame| frame.pts).collect();
    let want: Vec<i64> = (0..10).chain([11]).map(|i| i * (1_000_000_000 / 30)).collect();
    assert!(times.iter().zip(&want).all(|(found, want)| found.abs_diff(*want) <= 700), "{times:?}");
    assert_eq!(times.len(), want.len());
}

#[test]
fn a_run_that_is_killed_leaves_a_video_that_plays() {
    let mut bench = Bench::new(values(&[]));
    for _ in 0..90 {
        bench.skip_tables(grey(SIZE.0, SIZE.1));
    }
    // As the file lies there when the process dies.
    let cut = bench.file("cut.mp4");
    std::fs::copy(bench.file("overlay.mp4"), &cut).unwrap();
    let frames = read(&cut).len();
    assert!((45..=90).contains(&frames), "{frames} of 90 frames");
    drop(bench.render);
    assert_eq!(read(&bench.folder.path().join("overlay.mp4")).len(), 90, "stopped without an end, it is whole");
}

#[test]
fn statistics_repeat_in_complete_mode_and_follow_the_clock_in_live_mode() {
    let run = |mode, step: i64| {
        let mut bench = Bench::with(values(&[("stats", json!(true))]), Setup { mode, ..Setup::default() });
        for _ in 0..40 {
            bench.render.clock().advance(step);
            bench.skip_tables(grey(SIZE.0, SIZE.1));
        }
        bench.end();
        std::fs::read(bench.file("overlay.mp4")).unwrap()
    };
    assert!(run(Mode::Complete, 33_000_000) == run(Mode::Complete, 71_000_000), "no clock in it");
    assert!(run(Mode::Live, 33_000_000) != run(Mode::Live, 71_000_000));
}

#[test]
fn another_size_begins_another_file() {
    let mut bench = Bench::new(values(&[]));
    for (width, height) in [(320, 240), (320, 240), (160, 120), (320, 240)] {
        bench.skip_tables(grey(width, height));
    }
    bench.end();
    assert_eq!(bench.files(), ["overlay-2.mp4", "overlay-3.mp4", "overlay.mp4"]);
    let sizes = |name: &str| -> Vec<(usize, usize)> {
        read(&bench.file(name)).iter().map(|frame| (frame.width, frame.height)).collect()
    };
    assert_eq!(sizes("overlay.mp4"), [(320, 240); 2]);
    assert_eq!(sizes("overlay-2.mp4"), [(160, 120)]);
    let last = read(&bench.file("overlay-3.mp4"));
    assert!(last[0].pts.abs_diff(3 * (1_000_000_000 / 30)) <= 700, "a later file goes on with the stream's time");
}

#[test]
fn frames_of_every_layout_are_drawn() {
    let mut bench = Bench::new(values(&[("skeletons", json!(true))]));
    let (w, h) = SIZE;
    for (encoding, bytes) in [(Encoding::Nv12, w * h * 3 / 2), (Encoding::Rgb8, w * h * 3), (Encoding::Bgr8, w * h * 3)]
    {
        let frame = Frame::from_packed(w, h, encoding, Color::assumed(h), vec![128u8; bytes as usize]).unwrap();
        bench.push(frame, &[arm("fighter_1")], &[]);
    }
    bench.end();
    for frame in read(&bench.file("overlay.mp4")) {
        let (u, v) = frame.uv(160, 120);
        assert!(v > 150 && u < 120, "{u}, {v}");
        assert!(frame.uv(160, 60).0.abs_diff(128) < 4);
    }
}

#[test]
fn live_keys_change_the_next_frame() {
    let mut bench = Bench::new(values(&[("skeletons", json!(true))]));
    bench.push(grey(SIZE.0, SIZE.1), &[arm("fighter_1")], &[]);
    bench.render.set("skeletons", false).unwrap();
    bench.push(grey(SIZE.0, SIZE.1), &[arm("fighter_1")], &[]);
    assert!(bench.render.set("crf", 20).is_err(), "a file cannot change its quality half-way");
    bench.end();
    let drawn: Vec<usize> = read(&bench.file("overlay.mp4")).iter().map(Read::drawn).collect();
    assert!(drawn[0] > 100 && drawn[1] == 0, "{drawn:?}");
}

#[test]
fn a_place_that_cannot_be_written_stops_the_start_with_exit_code_4() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("no/such/folder/x.mp4");
    let error = Harness::<Render>::new(values(&[("output", json!(output))])).map(|_| ()).unwrap_err();
    assert_eq!((error.failure, error.failure.exit_code()), (Failure::Output, 4), "{error}");
    assert!(error.message.contains("no/such/folder/x.mp4") && error.message.contains("make it"), "{error}");
    let error = Harness::<Render>::new(values(&[("output", json!("x.avi"))])).map(|_| ()).unwrap_err();
    assert_eq!(error.failure, Failure::Config);
}

#[test]
fn nothing_in_the_run_folder_is_overwritten_and_no_empty_file_stays() {
    let mut bench = Bench::new(values(&[]));
    bench.skip_tables(grey(SIZE.0, SIZE.1));
    let setup = || Setup { run_dir: bench.folder.path().into(), ..Setup::default() };
    let mut second = Harness::<Render>::with(values(&[]), setup()).unwrap();
    assert_eq!(bench.files(), ["overlay-2.mp4", "overlay.mp4"]);
    second.close().unwrap();
    assert_eq!(bench.files(), ["overlay.mp4"], "it had no frames");
    bench.end();
    assert_eq!(read(&bench.file("overlay.mp4")).len(), 1);
}

#[test]
fn the_video_of_an_earlier_run_makes_place_and_one_of_nobody_s_stays() {
    let folder = tempfile::tempdir().unwrap();
    let left = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let run = || {
        let setup = Setup { run_dir: folder.path().into(), inputs: silent(), ..Setup::default() };
        let mut render = Harness::<Render>::with(values(&[]), setup).unwrap();
        render.push_frame("frames", grey(SIZE.0, SIZE.1)).unwrap();
        for table in ["poses", "tracks", "motion"] {
            render.skip(table, Reason::Error).unwrap();
        }
        render.end().unwrap();
        render.close().unwrap();
    };
    let holds = |name: &str| std::fs::read_to_string(folder.path().join(name)).is_ok_and(|text| text == "old");
    left("overlay.mp4", "old");
    run();
    assert!(holds("overlay.mp4"), "no run is known to have made it");
    left("overlay-2.mp4", "old");
    left(".overlay.mp4.run", "another run");
    run();
    assert_eq!(read(&folder.path().join("overlay.mp4")).len(), 1);
    assert!(!folder.path().join("overlay-2.mp4").exists());
}

#[test]
fn after_a_restart_a_new_file_goes_on_and_the_old_one_plays() {
    let setup = Setup { mode: Mode::Live, on_error: OnError::Restart, ..Setup::default() };
    let mut bench = Bench::with(values(&[]), setup);
    for _ in 0..5 {
        bench.skip_tables(grey(SIZE.0, SIZE.1));
    }
    // Nobody can draw on this: an error, after which the driver makes the operator anew.
    let jpeg = Frame::from_packed(8, 8, Encoding::Jpeg, Color::assumed(8), vec![0u8; 9]).unwrap();
    bench.skip_tables(jpeg);
    bench.skip_tables(grey(SIZE.0, SIZE.1));
    bench.end();
    assert_eq!(bench.files(), ["overlay-2.mp4", "overlay.mp4"]);
    assert_eq!(read(&bench.file("overlay.mp4")).len(), 5);
    assert_eq!(read(&bench.file("overlay-2.mp4")).len(), 1);
}

#[test]
fn it_says_what_it_is() {
    let spec = Render::spec();
    assert_eq!((spec.name, spec.heavy, spec.outputs.len()), ("render", true, 1));
    let required: Vec<_> = spec.inputs.iter().filter(|port| port.required).map(|port| port.name).collect();
    assert_eq!(required, ["frames"]);
    let live: Vec<_> = RenderConfig::keys().into_iter().filter(|key| key.live).map(|key| key.name).collect();
    assert_eq!(live, ["skeletons", "boxes", "labels", "moves", "captions", "duck", "stats", "visibility"]);
}

#[test]
fn the_overlay_is_what_was_drawn_and_is_made_only_for_who_reads_it() {
    let values = || values(&[("boxes", json!(true))]);
    let mut read = Bench::new(values());
    for _ in 0..2 {
        read.push(grey(SIZE.0, SIZE.1), &[], &[track("confirmed", [100.0, 100.0, 200.0, 200.0])]);
        let overlay = read.render.expect_frame("overlay");
        assert_eq!((overlay.width(), overlay.height(), overlay.encoding()), (SIZE.0, SIZE.1, Encoding::I420));
        let changed = overlay.plane(0).0.iter().filter(|luma| **luma != 90).count();
        assert!(changed > 300, "a box was drawn: {changed} pixels");
    }
    read.end();
    let mut unread = Bench::with(values(), Setup { read: Some(vec![]), ..Setup::default() });
    unread.push(grey(SIZE.0, SIZE.1), &[], &[]);
    assert_eq!(unread.render.expect_skipped("overlay"), Reason::Other("none".into()));
    unread.end();
}
