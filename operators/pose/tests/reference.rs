//! BlazePose and MoveNet compared with the same ONNX models run by Python (models/reference) on the same raw frames: every
//! visible joint lies within one pixel of a 1080p frame.
//!
//! The docstring of `reference.py` in this folder explains why the reference also uses the sampling of this project; its own
//! sampling is compared as well, by the median.
//!
//! Needs the clip, the models, ffmpeg and the .venv that `cargo xtask setup` creates; the test is skipped without them.

use std::{path::Path, process::Command, sync::Arc};

use serde_json::Value;
use sideline_api::{Color, Device, Encoding, Frame, Matrix, Resources, models::Models};
use sideline_inference::Region;
use sideline_pose::{
    Model,
    detector::Detector,
    landmarks::{Landmarker, Landmarks},
    region::PersonRegion,
};
use sideline_testkit::{Capability, repository, skip_test};

const WIDTH: usize = 1920;
const HEIGHT: usize = 1080;
const FRAMES: usize = 5;

/// Returns the name of a missing prerequisite, if there is one.
fn missing(python: &Path) -> Option<String> {
    let catalogue = Models::open(repository()).unwrap();
    let needed = ["athletes", "blazepose_detector", "blazepose_lite", "movenet_lightning"];
    let entries = catalogue.models().iter().chain(catalogue.clips());
    let files =
        entries.filter(|entry| needed.contains(&entry.name.as_str())).map(|entry| repository().join(&entry.path));
    let file = files.chain([python.to_owned()]).find(|file| !file.exists());
    if let Some(file) = file {
        return Some(format!("{} (run `cargo xtask setup`)", file.display()));
    }
    let works = |program: &Path, arguments: &[&str]| {
        Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
    };
    if !works(Path::new("ffmpeg"), &["-version"]) {
        return Some("ffmpeg".into());
    }
    if !works(python, &["-c", "import numpy, onnxruntime"]) {
        return Some(format!("numpy and onnxruntime in {}", python.display()));
    }
    None
}

fn resources() -> Resources {
    let models = Arc::new(Models::open(repository()).unwrap());
    Resources { device: Device::Cpu, models, ..Resources::new("pose") }
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

fn region(value: &Value) -> PersonRegion {
    let center = numbers(&value["centre"]);
    let number = |key: &str| value[key].as_f64().unwrap() as f32;
    PersonRegion { x: center[0], y: center[1], size: number("size"), rotation: number("rotation") }
}

/// Returns the greatest distance of a MoveNet joint from that of the reference, px; checks that the scores agree.
fn max_movenet_distance(landmarks: &Landmarks, expected: &Value) -> f32 {
    let coco = [0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28];
    let scores = numbers(&expected["scores"]);
    let mut worst = 0.0_f32;
    for (k, i) in coco.into_iter().enumerate() {
        let ([x, y, _, visibility], point) = (landmarks.joints[i], numbers(&expected["joints"][k]));
        assert!((visibility - (scores[k] / 0.6).min(1.0)).abs() < 1e-3, "joint {i}: score");
        worst = worst.max((x - point[0]).hypot(y - point[1]));
    }
    worst
}

#[test]
fn joints_agree_with_the_python_reference_to_a_pixel() {
    let python = repository().join(".venv/bin/python");
    if let Some(what) = missing(&python) {
        return skip_test(Capability::Models, format_args!("there is no {what}"));
    }
    let folder = tempfile::tempdir().unwrap();
    let (raw, json) = (folder.path().join("frames.i420"), folder.path().join("reference.json"));
    // The upright clip centered in 1080p frames; every 20th frame.
    let filter = format!("select=not(mod(n\\,20)),scale=-2:{HEIGHT},pad={WIDTH}:{HEIGHT}:-1:0");
    let decoded = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(repository().join("models/clips/athletes.mp4"))
        .args(["-vf", &filter, "-vsync", "passthrough", "-pix_fmt", "yuv420p", "-f", "rawvideo"])
        .arg(&raw)
        .output()
        .unwrap();
    assert!(decoded.status.success(), "{}", String::from_utf8_lossy(&decoded.stderr));
    let reference = Command::new(&python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference.py"))
        .args([repository().join("models/reference"), repository().join("models/onnx"), raw.clone()])
        .args([format!("{WIDTH}x{HEIGHT}"), FRAMES.to_string()])
        .arg(&json)
        .output()
        .unwrap();
    assert!(reference.status.success(), "{}", String::from_utf8_lossy(&reference.stderr));
    let reference: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let bytes = std::fs::read(&raw).unwrap();
    let size = WIDTH * HEIGHT * 3 / 2;
    assert_eq!(bytes.len(), FRAMES * size);

    let resources = resources();
    let mut landmarker = Landmarker::new(&resources, Model::Lite).unwrap();
    let mut movenet = Landmarker::new(&resources, Model::Movenet).unwrap();
    let mut detector = Detector::new(&resources).unwrap();
    let (mut people, mut apart, mut apart_rgb) = (0, Vec::new(), Vec::new());
    let (mut worst_world, mut worst_next, mut worst_movenet) = (0.0_f32, 0.0_f32, 0.0_f32);
    for (number, bytes) in bytes.chunks_exact(size).enumerate() {
        let color = Color { matrix: Matrix::Bt709, full_range: false };
        let frame = Frame::from_packed(WIDTH as u32, HEIGHT as u32, Encoding::I420, color, bytes.to_vec()).unwrap();
        let theirs = reference[number].as_array().unwrap();
        for them in theirs {
            let one = |model: &mut Landmarker| {
                model.detect(&frame, &[region(&them["region"])], 1).unwrap().remove(0).unwrap()
            };
            worst_movenet = worst_movenet.max(max_movenet_distance(&one(&mut movenet), &them["movenet"]));
            let landmarks = one(&mut landmarker);
            let same = &them["planes"];
            let (visibility, world) = (numbers(&same["visibility"]), same["world"].as_array().unwrap());
            people += 1;
            assert!((landmarks.score - same["score"].as_f64().unwrap() as f32).abs() < 1e-3, "frame {number}: score");
            for i in (0..33).filter(|i| visibility[*i] > 0.5) {
                let joint = landmarks.joints[i];
                let to = |pose: &Value| {
                    let point = numbers(&pose["landmarks"][i]);
                    (joint[0] - point[0]).hypot(joint[1] - point[1])
                };
                assert!(to(same) <= 1.0, "frame {number}, joint {i}: {} px apart", to(same));
                assert!((joint[3] - visibility[i]).abs() < 0.01, "frame {number}, joint {i}: visibility");
                apart.push(to(same));
                apart_rgb.push(to(&them["rgb"]));
                for (ours, theirs) in landmarks.world[i].iter().zip(numbers(&world[i])) {
                    worst_world = worst_world.max((ours - theirs).abs());
                }
            }
            let next = region(&same["next_region"]);
            worst_next = worst_next.max((landmarks.next_region.x - next.x).hypot(landmarks.next_region.y - next.y));
            assert!(
                (landmarks.next_region.size - next.size).abs() < 1.0
                    && (landmarks.next_region.rotation - next.rotation).abs() < 0.01
            );
        }
        let tiles = [Region::square(540.0, 540.0, 1080.0, 0.0), Region::square(1380.0, 540.0, 1080.0, 0.0)];
        let ours: Vec<PersonRegion> = tiles
            .iter()
            .flat_map(|tile| detector.detect(&frame, tile, 0.5).unwrap())
            .map(|detection| detection.region)
            .collect();
        for them in theirs {
            let region = region(&them["region"]);
            assert!(ours.iter().any(|ours| ours.is_same_person(&region)), "frame {number}: {region:?} not in {ours:?}");
        }
    }
    let spread = |mut apart: Vec<f32>| {
        apart.sort_by(f32::total_cmp);
        (apart[apart.len() / 2], apart[apart.len() * 95 / 100], apart[apart.len() - 1])
    };
    let joints = apart.len();
    assert!(people >= 7 && joints > 150, "only {joints} joints of {people} people were compared");
    let (same, rgb) = (spread(apart), spread(apart_rgb));
    println!(
        "{people} people, {joints} joints; px apart (median, 95 %, worst): {same:.4?}; by whole-frame RGB: {rgb:.3?}"
    );
    println!("worst of the joints in meters: {worst_world:.5}, of the next region: {worst_next:.4} px");
    println!("MoveNet's joints: {worst_movenet:.4} px apart at most");
    assert!(worst_movenet < 1.0);
    assert!(worst_world < 0.01 && worst_next < 0.5);
    assert!(rgb.0 < 1.0, "the whole-frame conversion gives other joints: {rgb:?}");
}
