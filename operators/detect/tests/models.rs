//! Detectors of the shapes that exports have, beside the same models run and read by Python as their makers do; what is said
//! of those that do not fit; and the packaged one on clips. Where models, clips, ffmpeg or the .venv are absent a test says
//! so and returns.

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use serde_json::{Value, json};
use sideline_api::{
    Color, Encoding, Failure, Frame, Mode, Reason, Values,
    models::Models,
    tables::Detection,
    testing::{Harness, Setup},
};
use sideline_detect::Detect;
use sideline_testkit::{Capability, skipped};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What a test needs and this machine has not, and why.
type Absent = (Capability, String);

/// The folder of models of random weights, made once; or why there is none.
fn shapes() -> Result<&'static Path, Absent> {
    static SHAPES: OnceLock<Result<tempfile::TempDir, String>> = OnceLock::new();
    let made = SHAPES.get_or_init(|| {
        sideline_inference::environment::start(&root()).map_err(|error| error.message)?;
        let python = root().join(".venv/bin/python");
        let folder = tempfile::tempdir().map_err(|cause| cause.to_string())?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shapes.py");
        let imports = Command::new(&python).args(["-c", "import numpy, onnx, onnxruntime"]).output();
        if !imports.is_ok_and(|output| output.status.success()) {
            return Err(format!("numpy, onnx and onnxruntime in {} (run `cargo xtask setup`)", python.display()));
        }
        let made = Command::new(&python).arg(script).arg(folder.path()).output().map_err(|cause| cause.to_string())?;
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Ok(folder)
    });
    made.as_ref().map(|folder| folder.path()).map_err(|why| (Capability::Python, why.clone()))
}

/// Skips the test where something is absent.
macro_rules! needed {
    ($what:expr) => {
        match $what {
            Ok(found) => found,
            Err((needs, why)) => return skipped(needs, why),
        }
    };
}

fn setup() -> Setup {
    Setup { models: Models::open(root()).unwrap(), ..Setup::default() }
}

fn harness(values: impl Into<Values>) -> sideline_api::Result<Harness<Detect>> {
    Harness::with(values, setup())
}

fn refusal(values: impl Into<Values>) -> (Failure, String) {
    let error = harness(values).err().unwrap();
    (error.failure, error.message)
}

fn file(folder: &Path, name: &str) -> Value {
    folder.join(name).display().to_string().into()
}

fn rgb(width: u32, height: u32, bytes: Vec<u8>) -> Frame {
    Frame::from_packed(width, height, Encoding::Rgb8, Color::assumed(height), bytes).unwrap()
}

#[test]
fn exports_are_read_as_their_makers_read_them() {
    let folder = needed!(shapes());
    for (name, labels) in [("yolov8", "coco"), ("named", ""), ("several", ""), ("yolox", "coco"), ("rfdetr", "coco91")]
    {
        let expected: Value =
            serde_json::from_str(&std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap()).unwrap();
        let (width, height) = (expected["size"][0].as_u64().unwrap(), expected["size"][1].as_u64().unwrap());
        let values: Values = [
            ("model", file(folder, &format!("{name}.onnx"))),
            ("labels", labels.into()),
            ("classes", json!(["all"])),
            ("size", 320.into()),
            // Every box by itself, so that what is compared is the decoder.
            ("nms", 1.into()),
            ("max_ball", 10_000.into()),
        ]
        .into();
        let mut harness = harness(values).unwrap();
        let picture = std::fs::read(folder.join(format!("{name}.rgb"))).unwrap();
        harness.push_frame("frames", rgb(width as u32, height as u32, picture)).unwrap();
        let found: Vec<Detection> = harness.expect("detections");
        let limit = [width as f32, height as f32, width as f32, height as f32];
        // Classes without a name are never wanted.
        let named = |row: &&Value| {
            labels != "coco91" || ![0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83].contains(&row[5].as_u64().unwrap())
        };
        let rows: Vec<&Value> = expected["boxes"].as_array().unwrap().iter().filter(named).collect();
        assert!(found.len() >= 100.min(rows.len()), "{name}: {} of {}", found.len(), rows.len());
        for (row, expected) in found.iter().zip(&rows).take(100) {
            let corners = [row.x1, row.y1, row.x2, row.y2];
            for (i, corner) in corners.iter().enumerate() {
                let right = (expected[i].as_f64().unwrap() as f32).clamp(0.0, limit[i]);
                assert!((corner - right).abs() < 0.05, "{name}: {row:?} beside {expected}");
            }
            assert!(
                (row.score - expected[4].as_f64().unwrap() as f32).abs() < 1e-3,
                "{name}: {row:?} beside {expected}"
            );
            assert_eq!(u64::from(row.class), expected[5].as_u64().unwrap(), "{name}: {row:?} beside {expected}");
        }
    }
}

#[test]
fn a_model_that_does_not_fit_is_told_by_its_shape_with_the_decoder_that_would_fit() {
    let folder = needed!(shapes());
    let cases: [(&str, &str, &[&str]); 4] = [
        (
            "yolov8",
            "yolox",
            &["reads [N, anchors, 5 + classes]", "`output0` [1, 84, 8400]", "choose the decoder yolov8"],
        ),
        ("rfdetr", "centernet", &["`dets` [1, 300, 4], `labels` [1, 300, 91]", "choose the decoder detr"]),
        ("chosen", "auto", &["no decoder reads its outputs `output0` [1, 300, 6]", "export it with `nms=False`"]),
        ("chosen", "detr", &["`output0` [1, 300, 6]", "no other decoder reads them either"]),
    ];
    for (name, decoder, said) in cases {
        let values: Values =
            [("model", file(folder, &format!("{name}.onnx"))), ("decoder", decoder.into()), ("labels", "coco".into())]
                .into();
        let (failure, message) = refusal(values);
        assert_eq!(failure, Failure::Model, "{message}");
        assert!(said.iter().all(|said| message.contains(said)), "{message}");
    }
    // A model of something else altogether.
    let lstm = root().join("models/moves/lstm.onnx").display().to_string();
    let (failure, message) = refusal([("model", Value::from(lstm))]);
    assert_eq!(failure, Failure::Model);
    assert!(message.contains("one picture is expected as its input") && message.contains("`motion`"), "{message}");
}

#[test]
fn outputs_of_another_meaning_are_refused_with_what_was_expected() {
    let folder = needed!(shapes());
    let cases: [(&str, &[&str]); 4] = [
        ("yolonas", &["the decoder detr reads its outputs", "which are pixels", "`decoder`"]),
        ("decoded", &["the decoder yolox reads its outputs", "--decode_in_inference"]),
        ("broken", &["100 % of `output0` is NaN"]),
        ("hundred", &["no decoder reads its outputs `output0` [1, 100, 6]", "export it with `nms=False`"]),
    ];
    for (name, said) in cases {
        let (failure, message) = refusal([("model", file(folder, &format!("{name}.onnx")))]);
        assert_eq!(failure, Failure::Model, "{message}");
        assert!(said.iter().all(|said| message.contains(said)), "{message}");
    }
}

#[test]
fn what_a_black_picture_does_not_show_the_first_frame_does() {
    let folder = needed!(shapes());
    let mut harness = harness([("model", file(folder, "dark.onnx"))]).unwrap();
    let error = harness.push_frame("frames", rgb(64, 64, vec![200; 64 * 64 * 3])).unwrap_err();
    assert!(error.message.contains("--decode_in_inference"), "{error}");
}

#[test]
fn names_in_json_and_of_another_case_are_read() {
    let folder = needed!(shapes());
    let values: Values = [("model", file(folder, "whole.onnx")), ("classes", "all".into())].into();
    let mut harness = harness(values).unwrap();
    harness.push_frame("frames", rgb(640, 640, vec![90; 640 * 640 * 3])).unwrap();
    let (all, people, balls): (Vec<Detection>, Vec<Detection>, Vec<Detection>) =
        (harness.expect("detections"), harness.expect("people"), harness.expect("balls"));
    assert_eq!((all.len(), people.len(), balls.len()), (2, 1, 1));
    assert_eq!([people[0].x1, people[0].y1, people[0].x2, people[0].y2], [100.0, 150.0, 200.0, 350.0]);
}

#[test]
fn names_of_classes_are_asked_for_counted_and_checked() {
    let folder = needed!(shapes());
    let (failure, message) = refusal([("model", file(folder, "yolov8.onnx"))]);
    assert_eq!(failure, Failure::Config);
    assert!(message.contains("does not say what its 80 classes are called: give `labels`"), "{message}");
    let (_, message) = refusal([("model", file(folder, "yolov8.onnx")), ("labels", "coco91".into())]);
    assert!(message.contains("has 80 classes, and 91 names were given"), "{message}");
    let (_, message) = refusal([("model", file(folder, "named.onnx")), ("labels", "cocoo".into())]);
    assert!(message.contains("neither `coco` nor `coco91`") && message.contains("cocoo: no such file"), "{message}");
    let (failure, message) = refusal([("model", file(folder, "named.onnx")), ("classes", json!(["refere"]))]);
    assert_eq!(failure, Failure::Config);
    assert!(message.ends_with("`classes`: the model has no class `refere`; did you mean `referee`?"), "{message}");
    // An output that is read and would be empty for ever; one that nobody reads is no matter.
    let without = || [("model", file(folder, "named.onnx")), ("ball", json!([]))];
    let (_, message) = refusal(without());
    assert!(message.contains("output `balls` is read, and the model has no class of `ball`"), "{message}");
    Harness::<Detect>::with(without(), Setup { read: Some(vec!["people"]), ..setup() }).unwrap();
}

#[test]
fn people_and_balls_are_parts_of_the_detections_and_the_key_says_which() {
    let folder = needed!(shapes());
    let values: Values =
        [("model", file(folder, "named.onnx")), ("people", json!(["goalkeeper"])), ("nms", 1.into())].into();
    let mut harness = harness(values).unwrap();
    harness.push_frame("frames", rgb(640, 384, std::fs::read(folder.join("named.rgb")).unwrap())).unwrap();
    let (all, people, balls): (Vec<Detection>, Vec<Detection>, Vec<Detection>) =
        (harness.expect("detections"), harness.expect("people"), harness.expect("balls"));
    assert!(!people.is_empty() && people.iter().all(|row| row.class == 1));
    assert!(!balls.is_empty() && balls.iter().all(|row| row.class == 3));
    assert_eq!(all.len(), people.len() + balls.len());
    assert!(all.windows(2).all(|rows| rows[0].score >= rows[1].score));
}

/// A picture in the order of a decoder's own video, from a clip; or why there is none.
fn frames(clip: &Path, size: (u32, u32), from: u32, count: usize) -> Result<Vec<Frame>, Absent> {
    let no_model = |error: sideline_api::Error| (Capability::Models, error.message);
    Models::open(root()).and_then(|models| models.verified("centernet")).map_err(no_model)?;
    sideline_inference::environment::start(&root()).map_err(no_model)?;
    if !clip.exists() {
        return Err((Capability::Models, format!("{} is missing", clip.display())));
    }
    let (width, height) = size;
    let mut ffmpeg = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(clip)
        .args(["-vf", &format!("select=gte(n\\,{from}),scale={width}:{height}"), "-vsync", "0"])
        .args(["-frames:v", &count.to_string(), "-pix_fmt", "yuv420p", "-f", "rawvideo", "-"])
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|cause| (Capability::Ffmpeg, format!("ffmpeg: {cause}")))?;
    let mut bytes = Vec::new();
    ffmpeg.stdout.take().unwrap().read_to_end(&mut bytes).unwrap();
    assert!(ffmpeg.wait().unwrap().success());
    let frames = bytes.chunks_exact((width * height * 3 / 2) as usize).map(|bytes| {
        Frame::from_packed(width, height, Encoding::I420, Color::assumed(height), bytes.to_vec()).unwrap()
    });
    Ok(frames.collect())
}

/// Football from above, two bib colours, a ball and another beside the pitch.
fn football(from: u32, count: usize) -> Result<Vec<Frame>, Absent> {
    let clip = root().join("../shared/data/clips/mafeuz_football4.mp4");
    if !clip.exists() {
        return Err((Capability::Data, format!("{} is missing", clip.display())));
    }
    frames(&clip, (960, 540), from, count)
}

fn rows(harness: &mut Harness<Detect>, frame: &Frame) -> (Vec<Detection>, Vec<Detection>) {
    harness.push_frame("frames", frame.clone()).unwrap();
    (harness.expect("people"), harness.expect("balls"))
}

fn near(rows: &[Detection], [x, y]: [f32; 2]) -> bool {
    rows.iter().any(|row| ((row.x1 + row.x2) / 2.0 - x).hypot((row.y1 + row.y2) / 2.0 - y) < 10.0)
}

/// The ball in frame 100, read off the picture by eye.
const BALL_AT: [f32; 2] = [538.0, 283.0];

#[test]
fn players_and_the_ball_are_found_in_a_wide_view_whatever_the_tiles() {
    let frames = needed!(football(100, 1));
    for tiles in ["1x1", "2x2", "3x2"] {
        let (people, balls) = rows(&mut harness([("tiles", tiles)]).unwrap(), &frames[0]);
        println!("{tiles}: {} people, {} balls", people.len(), balls.len());
        // Eleven to thirteen people are in the picture, two pairs close together.
        assert!((10..=14).contains(&people.len()), "{tiles}: {people:?}");
        assert!(near(&balls, BALL_AT), "{tiles}: {balls:?}");
        for row in &people {
            assert!(row.x1 >= 0.0 && row.y1 >= 0.0 && row.x2 <= 960.0 && row.y2 <= 540.0 && row.score >= 0.25);
        }
    }
}

#[test]
fn one_run_of_several_tiles_gives_what_a_run_each_gives() {
    let frames = needed!(football(100, 1));
    let run = |batch: u32| {
        let values: Values = [("tiles", json!("3x2")), ("batch", batch.into())].into();
        rows(&mut harness(values).unwrap(), &frames[0])
    };
    let (alone, four, all) = (run(1), run(4), run(8));
    let close = |a: &[Detection], b: &[Detection]| {
        a.len() == b.len()
            && a.iter().zip(b).all(|(a, b)| (a.x1 - b.x1).abs() < 0.01 && (a.score - b.score).abs() < 1e-4)
    };
    assert!(close(&alone.0, &four.0) && close(&alone.0, &all.0) && close(&alone.1, &all.1));
}

#[test]
fn nothing_is_found_in_a_dead_zone_nor_beyond_the_sizes_and_both_change_while_running() {
    let frames = needed!(football(100, 1));
    let mut harness = harness(Values::new()).unwrap();
    let (before, _) = rows(&mut harness, &frames[0]);
    // The left half.
    harness.set("dead_zones", json!([[[0, 0], [0.5, 0], [0.5, 1], [0, 1]]])).unwrap();
    let (right, balls) = rows(&mut harness, &frames[0]);
    assert!(!right.is_empty() && right.len() < before.len());
    assert!(right.iter().chain(&balls).all(|row| (row.x1 + row.x2) / 2.0 >= 480.0));
    // What is refused leaves the old one.
    let refused = harness.set("dead_zones", json!([[[0, 0], [960, 0], [960, 540]]])).unwrap_err();
    assert!(refused.message.contains("outside the picture"), "{refused}");
    assert_eq!(rows(&mut harness, &frames[0]).0, right);
    harness.set("dead_zones", json!([])).unwrap();
    assert_eq!(rows(&mut harness, &frames[0]).0, before);
    // 540 lines are half of 1080: nobody is 100 px tall.
    harness.set("min_person", 200).unwrap();
    assert!(rows(&mut harness, &frames[0]).0.is_empty());
    harness.set("min_person", 0).unwrap();
    harness.set("confidence", 0.99).unwrap();
    assert!(rows(&mut harness, &frames[0]).0.is_empty());
}

#[test]
fn between_looks_every_output_is_skipped_and_two_runs_are_alike() {
    let frames = needed!(football(100, 7));
    let run = || -> Vec<Option<Vec<Detection>>> {
        let mut harness = harness([("every", 3)]).unwrap();
        let mut seen = vec![];
        for (i, frame) in frames.iter().enumerate() {
            harness.push_frame("frames", frame.clone()).unwrap();
            if i % 3 == 0 {
                let (_, people): (Vec<Detection>, _) = (harness.expect("detections"), harness.expect("people"));
                let _: Vec<Detection> = harness.expect("balls");
                seen.push(Some(people));
            } else {
                for output in ["detections", "people", "balls"] {
                    assert_eq!(harness.expect_skipped(output), Reason::Stride, "frame {i}");
                }
                seen.push(None);
            }
        }
        seen
    };
    let first = run();
    assert!(first[3].as_ref().is_some_and(|people| people.len() > 5));
    assert_eq!(first, run());
}

#[test]
fn auto_looks_at_every_frame_where_time_decides_nothing() {
    let frames = needed!(football(100, 3));
    let mut complete = harness([("every", "auto")]).unwrap();
    for frame in &frames {
        assert!(!rows(&mut complete, frame).0.is_empty());
    }
    // Live, by a clock that stands still, a look takes no time: it looks at every frame as well.
    let mut live = Harness::<Detect>::with([("every", "auto")], Setup { mode: Mode::Live, ..setup() }).unwrap();
    for frame in &frames {
        assert!(!rows(&mut live, frame).0.is_empty());
    }
}

#[test]
fn the_ball_is_followed_at_full_resolution_between_full_looks() {
    let frames = needed!(football(100, 9));
    let values: Values = [("follow", json!("ball")), ("full_every", 3.into()), ("tiles", "3x2".into())].into();
    let mut harness = harness(values).unwrap();
    let mut found = 0;
    for (i, frame) in frames.iter().enumerate() {
        harness.push_frame("frames", frame.clone()).unwrap();
        let balls: Vec<Detection> = harness.expect("balls");
        found += usize::from(balls.iter().any(|ball| (ball.x1 - BALL_AT[0]).abs() < 150.0));
        if i % 3 == 0 {
            let people: Vec<Detection> = harness.expect("people");
            assert!(people.len() >= 8, "frame {i}: {people:?}");
        } else {
            assert_eq!(harness.expect_skipped("people"), Reason::Stride, "frame {i}");
            assert_eq!(harness.expect_skipped("detections"), Reason::Stride, "frame {i}");
            // A square of 512 px at 1080 lines.
            let spread = balls.iter().map(|ball| ball.x2).fold(0.0, f32::max)
                - balls.iter().map(|ball| ball.x1).fold(f32::INFINITY, f32::min);
            assert!(balls.is_empty() || spread <= 256.5, "frame {i}: {balls:?}");
        }
        let _ = harness.next_message("detections");
        let _ = harness.next_message("people");
    }
    assert!(found >= 7, "the ball in {found} of 9 frames");
}

#[test]
fn a_real_yolox_finds_the_players_in_tiles() {
    let frames = needed!(football(100, 1));
    let model = root().join("../shared/data/models/yolox_nano_coco80_416.onnx");
    if !model.exists() {
        return skipped(Capability::Data, format_args!("{} is missing", model.display()));
    }
    let values: Values =
        [("model", json!(model.display().to_string())), ("labels", "coco".into()), ("tiles", "3x2".into())].into();
    let (people, balls) = rows(&mut harness(values).unwrap(), &frames[0]);
    println!("{} people, {} balls", people.len(), balls.len());
    assert!((8..=14).contains(&people.len()), "{people:?}");
    // The packaged detector sees them in the same places.
    let (others, _) = rows(&mut harness([("tiles", "3x2")]).unwrap(), &frames[0]);
    let middle = |row: &Detection| [(row.x1 + row.x2) / 2.0, (row.y1 + row.y2) / 2.0];
    let same = people.iter().filter(|row| near(&others, middle(row))).count();
    assert!(same >= 8, "{same} of {} people are where the other model sees some", people.len());
}

#[test]
fn athletes_are_people() {
    let frames = needed!(frames(&root().join("models/clips/athletes.mp4"), (544, 960), 10, 1));
    let (people, _) = rows(&mut harness(Values::new()).unwrap(), &frames[0]);
    assert!(people.len() >= 2, "{people:?}");
}
