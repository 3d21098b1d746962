//! Tests of `detect` with models in the formats of common exports, compared with the same models run and decoded by
//! Python as their authors do; error messages for models that do not fit; and the packaged model on clips. Where
//! models, clips, ffmpeg or the .venv are missing, a test is skipped.

use std::{
    io::Read,
    path::Path,
    process::{Command, Stdio},
    sync::OnceLock,
};

use serde_json::{Value, json};
use sideline_api::{
    Body, Color, Encoding, Failure, Frame, Mode, Payload, Reason, Values,
    models::Models,
    testing::{Harness, Setup},
};
use sideline_detect::Detect;
use sideline_sport::{ClassNames, tables::Detection};
use sideline_testkit::{Capability, repository, skip_test};

/// A capability that this machine lacks, and the reason.
type MissingCapability = (Capability, String);

/// Returns the folder of models with random weights, created once; or the reason why there is none.
fn random_models() -> Result<&'static Path, MissingCapability> {
    static SHAPES: OnceLock<Result<tempfile::TempDir, String>> = OnceLock::new();
    let made = SHAPES.get_or_init(|| {
        sideline_inference::environment::start(&repository()).map_err(|error| error.message)?;
        let python = repository().join(".venv/bin/python");
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

/// Skips the test where a requirement is missing.
macro_rules! require {
    ($what:expr) => {
        match $what {
            Ok(found) => found,
            Err((needs, why)) => return skip_test(needs, why),
        }
    };
}

fn setup() -> Setup {
    Setup { models: Models::open(repository()).unwrap(), ..Setup::default() }
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
    Frame::from_packed(width, height, Encoding::Rgb8, Color::default_for_height(height), bytes).unwrap()
}

#[test]
fn exports_are_decoded_as_by_their_authors() {
    let folder = require!(random_models());
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
            // No suppression, so that only the decoder is compared.
            ("nms", 1.into()),
            ("max_ball", 10_000.into()),
        ]
        .into();
        let mut harness = harness(values).unwrap();
        let picture = std::fs::read(folder.join(format!("{name}.rgb"))).unwrap();
        harness.push_frame("frames", rgb(width as u32, height as u32, picture)).unwrap();
        let found: Vec<Detection> = harness.expect("detections");
        let limit = [width as f32, height as f32, width as f32, height as f32];
        // Classes without a name are never selected.
        let named = |row: &&Value| {
            labels != "coco91" || ![0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83].contains(&row[5].as_u64().unwrap())
        };
        let rows: Vec<&Value> = expected["boxes"].as_array().unwrap().iter().filter(named).collect();
        assert!(found.len() >= 100.min(rows.len()), "{name}: {} of {}", found.len(), rows.len());
        for (row, expected) in found.iter().zip(&rows).take(100) {
            let corners = [row.x1, row.y1, row.x2, row.y2];
            for (i, corner) in corners.iter().enumerate() {
                let expected_corner = (expected[i].as_f64().unwrap() as f32).clamp(0.0, limit[i]);
                assert!((corner - expected_corner).abs() < 0.05, "{name}: {row:?} beside {expected}");
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
fn a_model_with_unsuitable_shapes_is_refused_with_the_fitting_decoder() {
    let folder = require!(random_models());
    let cases: [(&str, &str, &[&str]); 4] = [
        (
            "yolov8",
            "yolox",
            &["expects [N, anchors, 5 + classes]", "`output0` [1, 84, 8400]", "set the decoder to yolov8"],
        ),
        ("rfdetr", "centernet", &["`dets` [1, 300, 4], `labels` [1, 300, 91]", "set the decoder to detr"]),
        ("chosen", "auto", &["no decoder fits its outputs `output0` [1, 300, 6]", "export it with `nms=False`"]),
        ("chosen", "detr", &["`output0` [1, 300, 6]", "no other decoder fits either"]),
    ];
    for (name, decoder, expected) in cases {
        let values: Values =
            [("model", file(folder, &format!("{name}.onnx"))), ("decoder", decoder.into()), ("labels", "coco".into())]
                .into();
        let (failure, message) = refusal(values);
        assert_eq!(failure, Failure::Model, "{message}");
        assert!(expected.iter().all(|text| message.contains(text)), "{message}");
    }
    // A model for another task.
    let lstm = repository().join("models/moves/lstm.onnx").display().to_string();
    let (failure, message) = refusal([("model", Value::from(lstm))]);
    assert_eq!(failure, Failure::Model);
    assert!(message.contains("expected one image as input") && message.contains("`motion`"), "{message}");
}

#[test]
fn outputs_with_another_meaning_are_refused() {
    let folder = require!(random_models());
    let cases: [(&str, &[&str]); 4] = [
        ("yolonas", &["the shapes of the decoder detr", "which are pixels", "`decoder`"]),
        ("decoded", &["the shapes of the decoder yolox", "--decode_in_inference"]),
        ("broken", &["100 % of `output0` is NaN"]),
        ("hundred", &["no decoder fits its outputs `output0` [1, 100, 6]", "export it with `nms=False`"]),
    ];
    for (name, expected) in cases {
        let (failure, message) = refusal([("model", file(folder, &format!("{name}.onnx")))]);
        assert_eq!(failure, Failure::Model, "{message}");
        assert!(expected.iter().all(|text| message.contains(text)), "{message}");
    }
}

#[test]
fn values_are_checked_on_the_first_frames_too() {
    let folder = require!(random_models());
    let mut harness = harness([("model", file(folder, "dark.onnx"))]).unwrap();
    let error = harness.push_frame("frames", rgb(64, 64, vec![200; 64 * 64 * 3])).unwrap_err();
    assert!(error.message.contains("--decode_in_inference"), "{error}");
}

#[test]
fn class_names_in_json_and_another_case_are_accepted() {
    let folder = require!(random_models());
    let values: Values = [("model", file(folder, "whole.onnx")), ("classes", "all".into())].into();
    let mut harness = harness(values).unwrap();
    harness.push_frame("frames", rgb(640, 640, vec![90; 640 * 640 * 3])).unwrap();
    let (all, people, balls): (Vec<Detection>, Vec<Detection>, Vec<Detection>) =
        (harness.expect("detections"), harness.expect("people"), harness.expect("balls"));
    assert_eq!((all.len(), people.len(), balls.len()), (2, 1, 1));
    assert_eq!([people[0].x1, people[0].y1, people[0].x2, people[0].y2], [100.0, 150.0, 200.0, 350.0]);
    // The rows bring the names with them.
    harness.push_frame("frames", rgb(640, 640, vec![90; 640 * 640 * 3])).unwrap();
    for output in ["detections", "people", "balls"] {
        let Body::Data(Payload::Table(rows)) = harness.next_message(output).unwrap().body else { panic!("{output}") };
        let labels = ClassNames::from_table::<Detection>(&rows, None).unwrap().labels();
        assert!(labels.len() > usize::from(people[0].class) && !labels[usize::from(people[0].class)].is_empty());
    }
}

#[test]
fn class_names_are_required_counted_and_checked() {
    let folder = require!(random_models());
    let (failure, message) = refusal([("model", file(folder, "yolov8.onnx"))]);
    assert_eq!(failure, Failure::Config);
    assert!(message.contains("has no names for its 80 classes: set `labels`"), "{message}");
    let (_, message) = refusal([("model", file(folder, "yolov8.onnx")), ("labels", "coco91".into())]);
    assert!(message.contains("has 80 classes, but there are 91 names"), "{message}");
    let (_, message) = refusal([("model", file(folder, "named.onnx")), ("labels", "cocoo".into())]);
    assert!(message.contains("neither `coco` nor `coco91`") && message.contains("cocoo: no such file"), "{message}");
    let (failure, message) = refusal([("model", file(folder, "named.onnx")), ("classes", json!(["refere"]))]);
    assert_eq!(failure, Failure::Config);
    assert!(message.ends_with("`classes`: the model has no class `refere`; did you mean `referee`?"), "{message}");
    // An output with a consumer that would always be empty is refused; one without a consumer is not.
    let without = || [("model", file(folder, "named.onnx")), ("ball", json!([]))];
    let (_, message) = refusal(without());
    assert!(message.contains("output `balls` has a consumer, but the model has no class of `ball`"), "{message}");
    Harness::<Detect>::with(without(), Setup { read_outputs: Some(vec!["people"]), ..setup() }).unwrap();
}

#[test]
fn people_and_balls_are_subsets_of_the_detections_by_key() {
    let folder = require!(random_models());
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

/// Returns frames of a clip, scaled; or the reason why there are none.
fn frames(clip: &Path, size: (u32, u32), from: u32, count: usize) -> Result<Vec<Frame>, MissingCapability> {
    let no_model = |error: sideline_api::Error| (Capability::Models, error.message);
    Models::open(repository()).and_then(|models| models.verify("centernet")).map_err(no_model)?;
    sideline_inference::environment::start(&repository()).map_err(no_model)?;
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
        Frame::from_packed(width, height, Encoding::I420, Color::default_for_height(height), bytes.to_vec()).unwrap()
    });
    Ok(frames.collect())
}

/// Returns frames of football from above, with two bib colors, a ball and another one beside the pitch.
fn football(from: u32, count: usize) -> Result<Vec<Frame>, MissingCapability> {
    let clip = repository().join("../shared/data/clips/mafeuz_football4.mp4");
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

/// Position of the ball in frame 100, determined by eye.
const BALL_AT: [f32; 2] = [538.0, 283.0];

#[test]
fn players_and_the_ball_are_found_in_a_wide_view_with_any_tiles() {
    let frames = require!(football(100, 1));
    for tiles in ["1x1", "2x2", "3x2"] {
        let (people, balls) = rows(&mut harness([("tiles", tiles)]).unwrap(), &frames[0]);
        println!("{tiles}: {} people, {} balls", people.len(), balls.len());
        // Eleven to thirteen people are in the frame, two pairs close together.
        assert!((10..=14).contains(&people.len()), "{tiles}: {people:?}");
        assert!(near(&balls, BALL_AT), "{tiles}: {balls:?}");
        for row in &people {
            assert!(row.x1 >= 0.0 && row.y1 >= 0.0 && row.x2 <= 960.0 && row.y2 <= 540.0 && row.score >= 0.25);
        }
    }
}

#[test]
fn batched_tiles_give_the_same_boxes_as_single_runs() {
    let frames = require!(football(100, 1));
    let run = |batch: u32| {
        let values: Values = [("tiles", json!("3x2")), ("batch", batch.into())].into();
        rows(&mut harness(values).unwrap(), &frames[0])
    };
    let (alone, four, all) = (run(1), run(4), run(8));
    let is_close = |a: &[Detection], b: &[Detection]| {
        a.len() == b.len()
            && a.iter().zip(b).all(|(a, b)| (a.x1 - b.x1).abs() < 0.01 && (a.score - b.score).abs() < 1e-4)
    };
    assert!(is_close(&alone.0, &four.0) && is_close(&alone.0, &all.0) && is_close(&alone.1, &all.1));
}

#[test]
fn dead_zones_and_sizes_filter_boxes_and_are_live() {
    let frames = require!(football(100, 1));
    let mut harness = harness(Values::new()).unwrap();
    let (before, _) = rows(&mut harness, &frames[0]);
    // The left half.
    harness.set("dead_zones", json!([[[0, 0], [0.5, 0], [0.5, 1], [0, 1]]])).unwrap();
    let (right, balls) = rows(&mut harness, &frames[0]);
    assert!(!right.is_empty() && right.len() < before.len());
    assert!(right.iter().chain(&balls).all(|row| (row.x1 + row.x2) / 2.0 >= 480.0));
    // A refused setting keeps the old value.
    let refused = harness.set("dead_zones", json!([[[0, 0], [960, 0], [960, 540]]])).unwrap_err();
    assert!(refused.message.contains("outside the frame"), "{refused}");
    assert_eq!(rows(&mut harness, &frames[0]).0, right);
    harness.set("dead_zones", json!([])).unwrap();
    assert_eq!(rows(&mut harness, &frames[0]).0, before);
    // 540 lines are half of 1080: no person is 100 px tall.
    harness.set("min_person", 200).unwrap();
    assert!(rows(&mut harness, &frames[0]).0.is_empty());
    harness.set("min_person", 0).unwrap();
    harness.set("confidence", 0.99).unwrap();
    assert!(rows(&mut harness, &frames[0]).0.is_empty());
}

#[test]
fn outputs_are_skipped_between_detector_runs_and_two_runs_are_equal() {
    let frames = require!(football(100, 7));
    let run = || -> Vec<Option<Vec<Detection>>> {
        let mut harness = harness([("every", 3)]).unwrap();
        let mut outputs = vec![];
        for (i, frame) in frames.iter().enumerate() {
            harness.push_frame("frames", frame.clone()).unwrap();
            if i % 3 == 0 {
                let (_, people): (Vec<Detection>, _) = (harness.expect("detections"), harness.expect("people"));
                let _: Vec<Detection> = harness.expect("balls");
                outputs.push(Some(people));
            } else {
                for output in ["detections", "people", "balls"] {
                    assert_eq!(harness.expect_skipped(output), Reason::Stride, "frame {i}");
                }
                outputs.push(None);
            }
        }
        outputs
    };
    let first = run();
    assert!(first[3].as_ref().is_some_and(|people| people.len() > 5));
    assert_eq!(first, run());
}

#[test]
fn every_auto_processes_every_frame_in_complete_mode() {
    let frames = require!(football(100, 3));
    let mut complete = harness([("every", "auto")]).unwrap();
    for frame in &frames {
        assert!(!rows(&mut complete, frame).0.is_empty());
    }
    // In live mode with a stopped clock a detector run takes no time, so every frame is processed, too.
    let mut live = Harness::<Detect>::with([("every", "auto")], Setup { mode: Mode::Live, ..setup() }).unwrap();
    for frame in &frames {
        assert!(!rows(&mut live, frame).0.is_empty());
    }
}

#[test]
fn the_ball_region_is_processed_between_full_frame_runs() {
    let frames = require!(football(100, 9));
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
    let frames = require!(football(100, 1));
    let model = repository().join("../shared/data/models/yolox_nano_coco80_416.onnx");
    if !model.exists() {
        return skip_test(Capability::Data, format_args!("{} is missing", model.display()));
    }
    let values: Values =
        [("model", json!(model.display().to_string())), ("labels", "coco".into()), ("tiles", "3x2".into())].into();
    let (people, balls) = rows(&mut harness(values).unwrap(), &frames[0]);
    println!("{} people, {} balls", people.len(), balls.len());
    assert!((8..=14).contains(&people.len()), "{people:?}");
    // The packaged detector finds them at the same positions.
    let (others, _) = rows(&mut harness([("tiles", "3x2")]).unwrap(), &frames[0]);
    let middle = |row: &Detection| [(row.x1 + row.x2) / 2.0, (row.y1 + row.y2) / 2.0];
    let same = people.iter().filter(|row| near(&others, middle(row))).count();
    assert!(same >= 8, "{same} of {} people are at positions of the other model", people.len());
}

#[test]
fn athletes_are_detected_as_people() {
    let frames = require!(frames(&repository().join("models/clips/athletes.mp4"), (544, 960), 10, 1));
    let (people, _) = rows(&mut harness(Values::new()).unwrap(), &frames[0]);
    assert!(people.len() >= 2, "{people:?}");
}
