//! Tests of the operator `encode` through the harness; the videos are read back with FFmpeg.

use std::path::{Path, PathBuf};

use ffmpeg_next as ff;
use serde_json::{Value, json};
use sideline_api::{
    Alignment, Color, Encoding, Failure, Frame, Mode, Operator, Plane, Reason,
    config::{Config, Origin, Values},
    driver::OnError,
    testing::{Harness, Setup, gray_frame},
};
use sideline_encode::{Encode, EncodeConfig};

const SIZE: (u32, u32) = (320, 240);
const INTERVAL: i64 = 1_000_000_000 / 30;

/// Returns a nearly lossless and fast configuration, with the values in `more` on top.
fn values(more: &[(&str, Value)]) -> Values {
    let mut values = Values::new();
    values.set("crf", 1.0, Origin::CommandLine);
    values.set("preset", "ultrafast", Origin::CommandLine);
    for (key, value) in more {
        values.set(*key, value.clone(), Origin::CommandLine);
    }
    values
}

/// The operator in a harness, with a run folder of its own.
struct Fixture {
    folder: tempfile::TempDir,
    encode: Harness<Encode>,
}

impl Fixture {
    fn new() -> Self {
        Self::with(Setup::default())
    }

    fn with(setup: Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let encode = Harness::with(values(&[]), in_folder(folder.path(), setup)).unwrap();
        Self { folder, encode }
    }

    fn push(&mut self, frame: Frame) {
        self.encode.push_frame("frames", frame).unwrap();
    }

    fn end(&mut self) {
        self.encode.end().unwrap();
        self.encode.close().unwrap();
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

/// Sets the run folder, and wires the input `frames` alone.
fn in_folder(folder: &Path, setup: Setup) -> Setup {
    Setup {
        run_dir: folder.into(),
        inputs: Some(vec![("frames", Alignment::Source(sideline_api::SourceId(0)))]),
        ..setup
    }
}

struct DecodedFrame {
    /// Media time, ns.
    pts: i64,
    width: usize,
    height: usize,
    luma: Vec<u8>,
    /// U and V of the central pixel.
    chroma: (u8, u8),
}

/// Decodes every frame of a file.
fn read(path: &Path) -> Vec<DecodedFrame> {
    ff::init().unwrap();
    let mut input = ff::format::input(path).unwrap();
    let stream = input.streams().best(ff::media::Type::Video).unwrap();
    let base = stream.time_base();
    let mut decoder =
        ff::codec::context::Context::from_parameters(stream.parameters()).unwrap().decoder().video().unwrap();
    let mut frames = vec![];
    let mut receive = |decoder: &mut ff::decoder::Video| {
        let mut picture = ff::frame::Video::empty();
        while decoder.receive_frame(&mut picture).is_ok() {
            let (width, height) = (picture.width() as usize, picture.height() as usize);
            let rows = picture.data(0).chunks(picture.stride(0)).take(height);
            let central = |i: usize| picture.data(i)[height / 4 * picture.stride(i) + width / 4];
            let den = i128::from(base.1);
            let pts = i128::from(picture.pts().unwrap()) * i128::from(base.0) * 1_000_000_000;
            frames.push(DecodedFrame {
                pts: ((pts + den / 2) / den) as i64,
                width,
                height,
                luma: rows.flat_map(|row| row[..width].to_vec()).collect(),
                chroma: (central(1), central(2)),
            });
        }
    };
    for (_, packet) in input.packets() {
        decoder.send_packet(&packet).unwrap();
        receive(&mut decoder);
    }
    decoder.send_eof().unwrap();
    receive(&mut decoder);
    frames
}

#[test]
fn every_frame_keeps_its_time_and_skipped_frames_are_left_out() {
    let mut fixture = Fixture::new();
    for _ in 0..10 {
        fixture.push(gray_frame(SIZE.0, SIZE.1, 90));
    }
    fixture.encode.skip("frames", Reason::Damaged).unwrap();
    fixture.push(gray_frame(SIZE.0, SIZE.1, 90));
    fixture.end();
    let times: Vec<i64> = read(&fixture.file("overlay.mp4")).iter().map(|frame| frame.pts).collect();
    let want: Vec<i64> = (0..10).chain([11]).map(|i| i * INTERVAL).collect();
    assert!(times.iter().zip(&want).all(|(found, want)| found.abs_diff(*want) <= 700), "{times:?}");
    assert_eq!(times.len(), want.len());
}

#[test]
fn a_new_color_description_starts_a_new_file() {
    let mut fixture = Fixture::new();
    for full_range in [false, false, true] {
        let color = Color { full_range, ..Color::default_for_height(SIZE.1) };
        let bytes = gray_frame(SIZE.0, SIZE.1, 90).into_packed_mut();
        fixture.push(Frame::from_packed(SIZE.0, SIZE.1, Encoding::I420, color, bytes).unwrap());
    }
    fixture.end();
    assert_eq!(fixture.files(), ["overlay-2.mp4", "overlay.mp4"]);
    let range = |name: &str| {
        ff::init().unwrap();
        let input = ff::format::input(&fixture.file(name)).unwrap();
        let stream = input.streams().best(ff::media::Type::Video).unwrap();
        let decoder =
            ff::codec::context::Context::from_parameters(stream.parameters()).unwrap().decoder().video().unwrap();
        (read(&fixture.file(name)).len(), decoder.color_range())
    };
    assert_eq!(range("overlay.mp4"), (2, ff::color::Range::MPEG));
    assert_eq!(range("overlay-2.mp4"), (1, ff::color::Range::JPEG));
}

#[test]
fn a_killed_run_leaves_a_playable_video() {
    let mut fixture = Fixture::new();
    for _ in 0..90 {
        fixture.push(gray_frame(SIZE.0, SIZE.1, 90));
    }
    // A copy of the open file is what a killed process leaves.
    let cut = fixture.file("cut.mp4");
    std::fs::copy(fixture.file("overlay.mp4"), &cut).unwrap();
    let frames = read(&cut).len();
    assert!((45..=90).contains(&frames), "{frames} of 90 frames");
    drop(fixture.encode);
    assert_eq!(read(&fixture.folder.path().join("overlay.mp4")).len(), 90, "dropping the operator finishes the file");
}

#[test]
fn a_new_frame_size_starts_a_new_file() {
    let mut fixture = Fixture::new();
    for (width, height) in [(320, 240), (320, 240), (160, 120), (320, 240)] {
        fixture.push(gray_frame(width, height, 90));
    }
    fixture.end();
    assert_eq!(fixture.files(), ["overlay-2.mp4", "overlay-3.mp4", "overlay.mp4"]);
    let sizes = |name: &str| -> Vec<(usize, usize)> {
        read(&fixture.file(name)).iter().map(|frame| (frame.width, frame.height)).collect()
    };
    assert_eq!(sizes("overlay.mp4"), [(320, 240); 2]);
    assert_eq!(sizes("overlay-2.mp4"), [(160, 120)]);
    let last = read(&fixture.file("overlay-3.mp4"));
    assert!(last[0].pts.abs_diff(3 * INTERVAL) <= 700, "a later file continues the stream's media time");
}

#[test]
fn frames_of_every_encoding_keep_their_colors() {
    let mut fixture = Fixture::new();
    let (w, h) = SIZE;
    // BT.601 red: as I420 with padded rows, as NV12, as RGB and as BGR.
    let plane = |value: u8, row: usize, rows: usize| Plane {
        data: [vec![value; row], vec![0; 32]].concat().repeat(rows).into(),
        stride: row + 32,
    };
    let (cw, ch) = (w as usize / 2, h as usize / 2);
    let padded = vec![plane(81, w as usize, h as usize), plane(90, cw, ch), plane(240, cw, ch)];
    let color = Color::default_for_height(h);
    fixture.push(Frame::from_planes(w, h, Encoding::I420, color, padded).unwrap());
    let nv12 = [vec![81u8; (w * h) as usize], [90, 240].repeat(cw * ch)].concat();
    fixture.push(Frame::from_packed(w, h, Encoding::Nv12, color, nv12).unwrap());
    for (encoding, pixel) in [(Encoding::Rgb8, [255, 0, 0]), (Encoding::Bgr8, [0, 0, 255u8])] {
        fixture.push(Frame::from_packed(w, h, encoding, color, pixel.repeat((w * h) as usize)).unwrap());
    }
    fixture.end();
    let frames = read(&fixture.file("overlay.mp4"));
    assert_eq!(frames.len(), 4);
    for DecodedFrame { luma, chroma: (u, v), .. } in frames {
        assert!(luma.iter().all(|y| y.abs_diff(81) <= 2), "{:?}", &luma[..8]);
        assert!(u.abs_diff(90) <= 2 && v.abs_diff(240) <= 2, "{u} {v}");
    }
}

#[test]
fn an_output_that_cannot_be_written_fails_at_start_with_exit_code_4() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("no/such/folder/x.mp4");
    let error = Harness::<Encode>::new(values(&[("output", json!(output))])).map(|_| ()).unwrap_err();
    assert_eq!((error.failure, error.failure.exit_code()), (Failure::Output, 4), "{error}");
    assert!(error.message.contains("no/such/folder/x.mp4") && error.message.contains("create it"), "{error}");
    let error = Harness::<Encode>::new(values(&[("output", json!("x.avi"))])).map(|_| ()).unwrap_err();
    assert_eq!(error.failure, Failure::Config);
}

#[test]
fn no_file_in_the_run_folder_is_overwritten_and_no_empty_file_is_left() {
    let mut fixture = Fixture::new();
    fixture.push(gray_frame(SIZE.0, SIZE.1, 90));
    let folder = fixture.folder.path().to_owned();
    let encode = || Harness::<Encode>::with(values(&[]), in_folder(&folder, Setup::default())).unwrap();
    encode().close().unwrap();
    assert_eq!(fixture.files(), ["overlay.mp4"], "an operator without frames leaves no file");
    let mut second = encode();
    second.push_frame("frames", gray_frame(SIZE.0, SIZE.1, 90)).unwrap();
    second.close().unwrap();
    assert_eq!(fixture.files(), ["overlay-2.mp4", "overlay.mp4"]);
    fixture.end();
    assert_eq!(read(&fixture.file("overlay.mp4")).len(), 1);
}

#[test]
fn the_video_of_an_earlier_run_is_replaced_and_a_video_without_a_marker_stays() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let run = || {
        let mut encode = Harness::<Encode>::with(values(&[]), in_folder(folder.path(), Setup::default())).unwrap();
        encode.push_frame("frames", gray_frame(SIZE.0, SIZE.1, 90)).unwrap();
        encode.end().unwrap();
        encode.close().unwrap();
    };
    let holds = |name: &str| std::fs::read_to_string(folder.path().join(name)).is_ok_and(|text| text == "old");
    write("overlay.mp4", "old");
    run();
    assert!(holds("overlay.mp4"), "without a marker the file is not a run's");
    assert_eq!(read(&folder.path().join("overlay-2.mp4")).len(), 1);
    write("overlay-2.mp4", "an earlier run's");
    write("overlay-3.mp4", "an earlier run's");
    write(".overlay.mp4.run", "another run\n\"overlay-2.mp4\"\n\"overlay-3.mp4\"\n");
    run();
    assert!(holds("overlay.mp4"), "the marker does not name it");
    assert_eq!(read(&folder.path().join("overlay-2.mp4")).len(), 1);
    assert!(!folder.path().join("overlay-3.mp4").exists());
}

#[test]
fn after_a_restart_a_new_file_begins_and_the_old_one_plays() {
    let mut fixture = Fixture::with(Setup { mode: Mode::Live, on_error: OnError::Restart, ..Setup::default() });
    for _ in 0..5 {
        fixture.push(gray_frame(SIZE.0, SIZE.1, 90));
    }
    // Invalid JPEG data: an error, after which the driver restarts the operator.
    fixture.push(Frame::from_packed(8, 8, Encoding::Jpeg, Color::default_for_height(8), vec![0u8; 9]).unwrap());
    fixture.push(gray_frame(SIZE.0, SIZE.1, 90));
    fixture.end();
    assert_eq!(fixture.files(), ["overlay-2.mp4", "overlay.mp4"]);
    assert_eq!(read(&fixture.file("overlay.mp4")).len(), 5);
    assert_eq!(read(&fixture.file("overlay-2.mp4")).len(), 1);
}

#[test]
fn the_spec_is_a_heavy_sink_and_only_duck_and_bitrate_are_live() {
    let spec = Encode::spec();
    assert_eq!((spec.name, spec.is_heavy, spec.outputs.len()), ("encode", true, 0));
    let required: Vec<_> = spec.inputs.iter().filter(|port| port.required).map(|port| port.name).collect();
    assert_eq!(required, ["frames"]);
    let live: Vec<_> = EncodeConfig::keys().into_iter().filter(|key| key.live).map(|key| key.name).collect();
    assert_eq!(live, ["duck", "bitrate"]);
    let mut fixture = Fixture::new();
    assert!(fixture.encode.set("crf", 20).is_err(), "the quality of a file is fixed");
}
