//! The operator with missing, broken and unsuitable models, and on the clip of two athletes. Tests are skipped without the
//! models, the clip or ffmpeg.

use std::{
    io::Read,
    path::Path,
    process::{Command, Stdio},
};

use sideline_api::{
    Color, Config, Encoding, Failure, Frame, Operator, Values,
    models::{Models, sha256},
    testing::{Harness, Setup},
};
use sideline_pose::{Pose, PoseConfig};
use sideline_sport::tables;
use sideline_testkit::{Capability, repository, skip_test};

/// Model `b = a + a` on f32 [1, 4]: ONNX opset 13, written by the `onnx` package.
const TWICE: &[u8] =
    b"\x08\x07\x12\x00:=\n\x0e\n\x01a\n\x01a\x12\x01b\"\x03Add\x12\x01gZ\x13\n\x01a\x12\x0e\n\x0c\x08\x01\x12\x08\
\n\x02\x08\x01\n\x02\x08\x04b\x13\n\x01b\x12\x0e\n\x0c\x08\x01\x12\x08\n\x02\x08\x01\n\x02\x08\x04B\x04\n\x00\x10\r";

fn harness(values: impl Into<Values>, models: Models) -> sideline_api::Result<Harness<Pose>> {
    Harness::with(values, Setup { models, ..Setup::default() })
}

/// Creates a Sideline home whose model files all contain `bytes`, or are missing.
fn sideline_home(folder: &Path, bytes: Option<&[u8]>) -> Models {
    std::fs::create_dir_all(folder.join("models")).unwrap();
    let file = folder.join("models/model.onnx");
    std::fs::write(&file, bytes.unwrap_or(b"")).unwrap();
    let checksum = sha256(&file).unwrap();
    if bytes.is_none() {
        std::fs::remove_file(&file).unwrap();
    }
    let entry = |name: &str| format!("  - {{name: {name}, path: models/model.onnx, sha256: {checksum}}}\n");
    let entries: String =
        ["blazepose_detector", "blazepose_lite", "blazepose_full", "movenet_lightning"].map(entry).concat();
    std::fs::write(folder.join("models/models.yml"), format!("models:\n{entries}")).unwrap();
    Models::open(folder).unwrap()
}

fn refusal(models: Models) -> String {
    let error = harness([("model", "lite")], models).err().unwrap();
    assert_eq!(error.failure, Failure::Model, "{error}");
    error.message
}

#[test]
fn errors_for_unknown_missing_and_changed_models_name_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let no_home = refusal(Models::default());
    assert!(no_home.contains("model `blazepose_lite` is needed") && no_home.contains("SIDELINE_HOME"), "{no_home}");
    std::fs::create_dir_all(folder.path().join("models")).unwrap();
    let other = "models:\n  - {name: blazepose_lit, path: models/model.onnx, sha256: 00}\n";
    std::fs::write(folder.path().join("models/models.yml"), other).unwrap();
    let unknown = refusal(Models::open(folder.path()).unwrap());
    assert!(unknown.contains("no model `blazepose_lite` in models.yml; did you mean `blazepose_lit`?"), "{unknown}");
    let missing = refusal(sideline_home(folder.path(), None));
    assert!(missing.contains("sideline models fetch blazepose_lite"), "{missing}");
    let models = sideline_home(folder.path(), Some(TWICE));
    std::fs::write(folder.path().join("models/model.onnx"), b"something else").unwrap();
    assert!(refusal(models).contains("SHA-256"));
}

#[test]
fn broken_models_and_those_of_another_shape_are_refused() {
    if let Err(error) = sideline_inference::environment::start(&repository()) {
        return skip_test(Capability::Models, error);
    }
    let folder = tempfile::tempdir().unwrap();
    let broken = refusal(sideline_home(folder.path(), Some(b"no model at all")));
    assert!(broken.contains("model.onnx cannot be loaded"), "{broken}");
    let other = refusal(sideline_home(folder.path(), Some(TWICE)));
    assert!(other.contains("model `blazepose_lite` cannot be used"), "{other}");
    assert!(other.contains("input `input_1` f32 [-1, 256, 256, 3] expected, it has `a`"), "{other}");
    let movenet = harness([("model", "movenet")], sideline_home(folder.path(), Some(TWICE))).err().unwrap();
    assert!(movenet.message.contains("input `image` f32 [-1, 192, 192, 3] expected, it has `a`"), "{movenet}");
    assert!(movenet.message.contains("sideline models fetch movenet_lightning"), "{movenet}");
}

#[test]
fn a_model_that_does_not_exist_is_a_configuration_error() {
    let error = harness([("model", "hevy")], Models::default()).err().unwrap();
    assert_eq!(error.failure, Failure::Config);
    let words = "key `model`: `hevy` is none of lite, full, heavy, movenet, auto; did you mean `heavy`?";
    assert!(error.message.contains(words), "{error}");
}

#[test]
fn models_lists_every_model_that_may_run() {
    let models = |model: &str| {
        Pose::models(&PoseConfig::from_values(&[("model", model)].into()).unwrap())
            .iter()
            .map(|name| name.trim_start_matches("blazepose_").to_owned())
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(models("full"), "detector full");
    assert_eq!(models("movenet"), "detector movenet_lightning");
    assert_eq!(models("auto"), "detector lite full heavy");
}

/// Returns frames of the clip at 30 fps and a third of its size; the error is the reason for their absence.
fn athletes(frames: usize) -> Result<(Models, Vec<Frame>), String> {
    let models = Models::open(repository()).map_err(|error| error.message)?;
    for model in ["blazepose_detector", "blazepose_lite", "blazepose_full", "blazepose_heavy", "movenet_lightning"] {
        models.find_installed(model).map_err(|error| error.message)?;
    }
    sideline_inference::environment::start(&repository()).map_err(|error| error.message)?;
    let clip = repository().join("models/clips/athletes.mp4");
    if !clip.exists() {
        return Err(format!("{} is missing", clip.display()));
    }
    let (width, height) = (362, 640);
    let mut ffmpeg = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(&clip)
        .args(["-vf", "fps=30,scale=362:640", "-frames:v", &frames.to_string()])
        .args(["-pix_fmt", "yuv420p", "-f", "rawvideo", "-"])
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|cause| format!("ffmpeg: {cause}"))?;
    let mut bytes = Vec::new();
    ffmpeg.stdout.take().unwrap().read_to_end(&mut bytes).unwrap();
    assert!(ffmpeg.wait().unwrap().success());
    let frames = bytes.chunks_exact(width * height * 3 / 2).map(|bytes| {
        let color = Color::default_for_height(height as u32);
        Frame::from_packed(width as u32, height as u32, Encoding::I420, color, bytes.to_vec()).unwrap()
    });
    Ok((models, frames.collect()))
}

fn people(harness: &mut Harness<Pose>, frame: &Frame) -> Vec<tables::Pose> {
    harness.push_frame("frames", frame.clone()).unwrap();
    harness.expect("poses")
}

/// Returns the poses of each frame; checks their values, and that both athletes are found in at least 46 of the 50 frames.
fn both_athletes(model: &'static str, models: &Models, frames: &[Frame]) -> Vec<Vec<tables::Pose>> {
    let mut harness = harness([("model", model)], models.clone()).unwrap();
    let rows: Vec<Vec<tables::Pose>> = frames.iter().map(|frame| people(&mut harness, frame)).collect();
    let mut both = 0;
    for poses in &rows {
        assert!(poses.len() <= 3);
        for pose in poses {
            assert!(pose.score >= 0.5 && pose.x1 < pose.x2 && pose.y1 < pose.y2 && pose.model == model);
            assert!(pose.x1 >= 0.0 && pose.y1 >= 0.0 && pose.x2 <= 362.0 && pose.y2 <= 640.0);
        }
        // One athlete stands at the left, the other in the middle.
        let middle = |pose: &tables::Pose| (pose.x1 + pose.x2) / 2.0;
        both += usize::from(poses.iter().any(|p| middle(p) < 110.0) && poses.iter().any(|p| middle(p) > 110.0));
    }
    assert_eq!(rows.len(), 50);
    println!("{model}: both athletes in {both} of 50 frames");
    assert!(both >= 46, "{model}: both athletes in {both} of 50 frames");
    rows
}

#[test]
fn both_athletes_are_tracked_through_the_clip() {
    let (models, frames) = match athletes(50) {
        Ok(found) => found,
        Err(reason) => return skip_test(Capability::Models, reason),
    };
    let rows = both_athletes("lite", &models, &frames);
    let poses = || rows.iter().flatten();
    assert!(poses().all(|pose| pose.joints.iter().flatten().chain(pose.world.iter().flatten()).all(|v| v.is_finite())));
    // The distance from heel to nose of an adult is about 1.5 m.
    let mut heights: Vec<f32> = poses().map(|pose| pose.world[29][1] - pose.world[0][1]).collect();
    heights.sort_by(f32::total_cmp);
    let height = heights[heights.len() / 2];
    assert!((1.2..1.8).contains(&height), "{height} m");
}

#[test]
fn movenet_and_blazepose_agree_on_the_seventeen_joints() {
    let (models, frames) = match athletes(50) {
        Ok(found) => found,
        Err(reason) => return skip_test(Capability::Models, reason),
    };
    let rows = both_athletes("movenet", &models, &frames);
    let theirs = both_athletes("full", &models, &frames);
    let coco = [0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28];
    let (mut apart, mut boxes) = (Vec::new(), Vec::new());
    for (poses, theirs) in rows.iter().zip(&theirs) {
        for pose in poses {
            for (i, [x, y, z, visibility]) in pose.joints.iter().enumerate() {
                let known = coco.contains(&i);
                assert!(z.is_nan() && [x, y, visibility].iter().all(|value| value.is_nan() != known), "joint {i}");
                assert!(!known || (0.0..=1.0).contains(visibility));
            }
            assert!(pose.world.iter().flatten().all(|value| value.is_nan()));
            let overlap = |other: &&tables::Pose| {
                let corners = |p: &tables::Pose| [p.x1, p.y1, p.x2, p.y2];
                sideline_vision::boxes::iou(&corners(pose), &corners(other))
            };
            let Some(other) = theirs.iter().max_by(|a, b| overlap(a).total_cmp(&overlap(b))) else { continue };
            boxes.push(overlap(&other));
            let limbs = [11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28];
            apart.extend(limbs.iter().filter(|i| pose.joints[**i][3] >= 0.5).map(|i| {
                let (a, b) = (pose.joints[*i], other.joints[*i]);
                ((a[0] - b[0]) * 362.0).hypot((a[1] - b[1]) * 640.0)
            }));
        }
    }
    let median = |values: &mut Vec<f32>| {
        values.sort_by(f32::total_cmp);
        values[values.len() / 2]
    };
    let (apart, boxes) = (median(&mut apart), median(&mut boxes));
    println!("movenet beside full: limbs {apart:.1} px apart (people of 220 px), boxes overlap by {boxes:.2}");
    // The two were trained with slightly different positions of hips and shoulders.
    assert!(apart < 10.0, "limbs are {apart} px apart");
    assert!(boxes > 0.7, "boxes overlap by {boxes}");
}

#[test]
fn people_in_one_batch_have_the_same_joints_as_alone() {
    let (models, frames) = match athletes(12) {
        Ok(found) => found,
        Err(reason) => return skip_test(Capability::Models, reason),
    };
    for model in ["lite", "full", "heavy", "movenet"] {
        let run = |batch: u32| -> Vec<Vec<tables::Pose>> {
            let values = [("model", serde_json::json!(model)), ("batch", serde_json::json!(batch))];
            let mut harness = harness(values, models.clone()).unwrap();
            frames.iter().map(|frame| people(&mut harness, frame)).collect()
        };
        let (alone, together) = (run(1), run(4));
        assert!(alone[11].len() >= 2);
        let mut worst = 0.0_f32;
        for (a, b) in alone.iter().flatten().zip(together.iter().flatten()) {
            for (a, b) in a.joints.iter().zip(&b.joints).filter(|(a, _)| a[0].is_finite()) {
                worst = worst.max(((a[0] - b[0]) * 362.0).hypot((a[1] - b[1]) * 640.0));
            }
        }
        println!("{model}: {worst:.5} px apart at most");
        // Each region follows from the previous frame's joints: rounding differences of the sums do not accumulate.
        assert!(worst < 0.05, "{model}: {worst} px apart");
        assert_eq!(alone.iter().map(Vec::len).collect::<Vec<_>>(), together.iter().map(Vec::len).collect::<Vec<_>>());
    }
}

#[test]
fn several_threads_give_the_same_joints_as_one() {
    let (models, frames) = match athletes(6) {
        Ok(found) => found,
        Err(reason) => return skip_test(Capability::Models, reason),
    };
    let run = |threads: u32| -> Vec<Vec<tables::Pose>> {
        let mut harness = harness([("threads", threads), ("batch", 1)], models.clone()).unwrap();
        frames.iter().map(|frame| people(&mut harness, frame)).collect()
    };
    let one = run(1);
    assert!(one.iter().any(|people| people.len() > 1), "two people are shared out");
    for threads in [2, 5] {
        assert_eq!(run(threads), one, "{threads} threads");
    }
}

#[test]
fn auto_is_full_in_complete_mode_and_live_the_heaviest_that_keeps_up() {
    let (models, frames) = match athletes(12) {
        Ok(found) => found,
        Err(reason) => return skip_test(Capability::Models, reason),
    };
    let mut complete = harness([("model", "auto")], models.clone()).unwrap();
    assert!(people(&mut complete, &frames[0]).iter().all(|pose| pose.model == "full"));
    // The harness's clock stands still: frames take no time, so heavy is selected after three seconds of media.
    let setup = Setup { models, mode: sideline_api::Mode::Live, interval: 500_000_000, ..Setup::default() };
    let mut live = Harness::<Pose>::with([("model", "auto")], setup).unwrap();
    let names: Vec<String> = frames.iter().map(|frame| people(&mut live, frame)[0].model.clone()).collect();
    assert_eq!(names[0], "lite");
    assert_eq!(names[11], "heavy");
    let change = names.iter().position(|name| name == "heavy").unwrap();
    assert!(names[..change].iter().all(|name| name == "lite") && names[change..].iter().all(|name| name == "heavy"));
    assert_eq!(change, 7, "the frame at 3.0 s decides for the one after it");
}

#[test]
fn a_second_run_gives_the_same_rows_and_state() {
    let (models, frames) = match athletes(8) {
        Ok(found) => found,
        Err(reason) => return skip_test(Capability::Models, reason),
    };
    let run = || -> (Vec<Vec<tables::Pose>>, serde_json::Value) {
        let mut harness = harness([("model", "lite")], models.clone()).unwrap();
        let rows = frames.iter().map(|frame| people(&mut harness, frame)).collect();
        (rows, serde_json::to_value(harness.state("test").unwrap()).unwrap())
    };
    let ((rows, state), (again, state_again)) = (run(), run());
    assert!(rows[7].len() >= 2);
    assert_eq!(rows, again);
    assert_eq!(state, state_again);
    // A restored snapshot equals the state: no number is lost in serialization.
    let restored: sideline_pose::PoseState = serde_json::from_value(state.clone()).unwrap();
    assert_eq!(serde_json::to_value(&restored).unwrap(), state);
}

#[test]
fn an_empty_frame_gives_no_rows() {
    let (models, _) = match athletes(1) {
        Ok(found) => found,
        Err(reason) => return skip_test(Capability::Models, reason),
    };
    let mut harness = harness(Values::new(), models).unwrap();
    for (width, height) in [(64, 48), (1, 1)] {
        let bytes = vec![0u8; width * height * 3];
        let color = Color::default_for_height(48);
        let frame = Frame::from_packed(width as u32, height as u32, Encoding::Rgb8, color, bytes).unwrap();
        assert!(people(&mut harness, &frame).is_empty());
    }
}
