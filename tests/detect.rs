//! User models for `detect`: registered, listed, verified and run by name; and files that are refused.
#![cfg(all(feature = "media", feature = "onnx"))]

mod support;

use std::{path::Path, process::Command};

use serde_json::Value;
use support::{Bench, Capability, SIDELINE, finish, repository, skip_test};

/// Creates a Sideline home, and beside it models with random weights in the shape of Ultralytics exports and others.
///
/// # Errors
/// The missing Python packages.
fn create_home(bench: &Bench) -> Result<(), String> {
    let python = repository().join(".venv/bin/python");
    let imports = Command::new(&python).args(["-c", "import numpy, onnx, onnxruntime"]).output();
    if !imports.is_ok_and(|output| output.status.success()) {
        return Err(format!("numpy, onnx and onnxruntime in {} (run `cargo xtask setup`)", python.display()));
    }
    let script = repository().join("operators/detect/tests/shapes.py");
    let made = Command::new(&python).arg(script).arg(bench.path()).output().map_err(|cause| cause.to_string())?;
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    bench.write("home/models/models.yml", "models: []\n");
    // ONNX Runtime's library is found through Sideline home.
    std::os::unix::fs::symlink(repository().canonicalize().unwrap().join(".venv"), bench.path().join("home/.venv"))
        .unwrap();
    Ok(())
}

fn sideline(bench: &Bench, arguments: &[&str]) -> support::CommandResult {
    finish(bench.command(SIDELINE).args(arguments).env("SIDELINE_HOME", bench.path().join("home")))
}

/// Lists the registered models.
fn list(bench: &Bench) -> Vec<Value> {
    let ended = sideline(bench, &["models", "list", "--json"]);
    assert_eq!(ended.code, 0, "{}", ended.text);
    let from = ended.text.find('[').unwrap();
    serde_json::from_str(&ended.text[from..]).unwrap()
}

const FLOW: &str = "
nodes:
  - id: capture
    path: sideline
    args: run synthetic
    env: {FRAMES: 6, WIDTH: 320, HEIGHT: 192}
    inputs: {done_recorder: recorder/done}
    outputs: [frames]
  - id: detect
    path: sideline
    args: run detect
    env: {MODEL: mine, EVERY: 2}
    inputs: {frames: capture/frames}
    outputs: [detections, people, balls]
  - id: recorder
    path: sideline
    args: run recorder
    inputs: {detections: detect/detections, people: detect/people, balls: detect/balls}
    outputs: [done]
";

#[test]
fn a_user_model_is_registered_listed_verified_and_run_by_its_name() {
    let bench = Bench::new();
    if let Err(why) = create_home(&bench) {
        return skip_test(Capability::Python, why);
    }
    let added = sideline(&bench, &["models", "add", "named.onnx", "--name", "mine", "--licence", "MIT"]);
    assert_eq!(added.code, 0, "{}", added.text);
    assert!(added.text.contains("4 classes (player, goalkeeper, referee, ball), yolov8, 640x384"), "{}", added.text);
    // The model was copied, so the original may be removed.
    std::fs::remove_file(bench.path().join("named.onnx")).unwrap();
    let listed = list(&bench);
    assert_eq!(
        (listed.len(), listed[0]["name"].as_str(), listed[0]["installed"].as_bool()),
        (1, Some("mine"), Some(true))
    );
    let verified = sideline(&bench, &["models", "verify"]);
    assert!(verified.code == 0 && verified.text.contains("mine"), "{}", verified.text);

    bench.write("flow.yml", FLOW);
    let checked = sideline(&bench, &["check", "flow.yml"]);
    assert_eq!(checked.code, 0, "{}", checked.text);
    let rows = |run: &str| {
        let ended = sideline(&bench, &["run", "flow.yml", "--mode", "complete", "--output", run]);
        assert_eq!(ended.code, 0, "{}", ended.text);
        std::fs::read(bench.path().join(run).join("people.parquet")).unwrap()
    };
    assert_eq!(rows("first"), rows("second"), "two runs give the same bytes");

    let file = bench.path().join("home/models/own/mine.onnx");
    std::fs::write(&file, "something else").unwrap();
    let changed = sideline(&bench, &["run", "flow.yml", "--output", "third"]);
    assert_eq!(changed.code, 2, "{}", changed.text);
    assert!(changed.text.contains("`sideline models add FILE --name mine`"), "{}", changed.text);
}

#[test]
fn a_model_that_cannot_be_registered_is_refused_with_the_fix_and_leaves_no_file() {
    let bench = Bench::new();
    if let Err(why) = create_home(&bench) {
        return skip_test(Capability::Python, why);
    }
    bench.write("few.txt", "player\nball\n");
    bench.write("broken.onnx", "no model at all");
    let lstm = repository().join("models/moves/lstm.onnx").display().to_string();
    let cases: [(&[&str], i32, &str); 8] = [
        (&["yolov8.onnx", "--decoder", "yolox", "--labels", "coco"], 2, "set the decoder to yolov8"),
        (&["chosen.onnx", "--labels", "coco"], 2, "export it with `nms=False`"),
        (&["yolov8.onnx"], 1, "has no names for its 80 classes: give `--labels`"),
        (&["yolov8.onnx", "--labels", "few.txt"], 1, "has 80 classes, but there are 2 names"),
        (&["yolov8.onnx", "--labels", "coco", "--decoder", "yolov9"], 1, "no decoder `yolov9`; did you mean `yolov8`?"),
        (&["broken.onnx", "--labels", "coco"], 2, "broken.onnx cannot be loaded"),
        (&["missing.onnx"], 2, "missing.onnx is missing"),
        (&[&lstm], 2, "expected one image as input"),
    ];
    for (arguments, code, message) in cases {
        let ended = sideline(&bench, &[&["models", "add"], arguments].concat());
        assert_eq!(ended.code, code, "{arguments:?}: {}", ended.text);
        assert!(ended.text.contains(message), "{arguments:?}: {}", ended.text);
    }
    assert!(list(&bench).is_empty());
    assert!(!Path::new(&bench.path().join("home/models/own")).exists());
}

#[test]
fn a_model_with_external_data_or_unsupported_outputs_is_not_registered() {
    let bench = Bench::new();
    if let Err(why) = create_home(&bench) {
        return skip_test(Capability::Python, why);
    }
    std::fs::create_dir(bench.path().join("folder.onnx")).unwrap();
    let whole = std::fs::read(bench.path().join("whole.onnx")).unwrap();
    std::fs::write(bench.path().join("cut.onnx"), &whole[..whole.len() / 2]).unwrap();
    let cases = [
        ("beside.onnx", "save it as one file"),
        ("yolonas.onnx", "which are pixels"),
        ("decoded.onnx", "--decode_in_inference"),
        ("folder.onnx", "is a folder, not a model file"),
        ("cut.onnx", "cannot be loaded"),
    ];
    for (file, message) in cases {
        let ended = sideline(&bench, &["models", "add", file]);
        assert!(ended.code == 2 && ended.text.contains(message), "{file}: {}", ended.text);
    }
    assert!(list(&bench).is_empty() && !bench.path().join("home/models/own").exists());
    std::os::unix::fs::symlink("whole.onnx", bench.path().join("link.onnx")).unwrap();
    let added = sideline(&bench, &["models", "add", "link.onnx"]);
    assert!(added.code == 0 && added.text.contains("2 classes (Player, Ball)"), "{}", added.text);
    assert!(!bench.path().join("home/models/own/link.onnx").is_symlink());
}

#[test]
fn verify_reports_ok_only_for_models_that_load() {
    let bench = Bench::new();
    if let Err(why) = create_home(&bench) {
        return skip_test(Capability::Python, why);
    }
    assert_eq!(sideline(&bench, &["models", "add", "whole.onnx"]).code, 0);
    let states = || {
        let ended = sideline(&bench, &["models", "verify", "--json"]);
        let list: Vec<Value> = serde_json::from_str(&ended.text[ended.text.find('[').unwrap()..]).unwrap();
        (ended.code, list[0]["state"].as_str().unwrap().to_owned(), list[0]["loaded"].clone())
    };
    assert_eq!(states(), (0, "ok".into(), true.into()));
    // A model with the right checksum that cannot be used, as an earlier version could register it.
    let own = bench.path().join("home/models/own");
    std::fs::copy(bench.path().join("beside.onnx"), own.join("whole.onnx")).unwrap();
    let text = std::fs::read_to_string(own.join("models.yml")).unwrap();
    let line = text.lines().find(|line| line.trim_start().starts_with("sha256:")).unwrap();
    let sum = sideline_api::models::sha256(&own.join("whole.onnx")).unwrap();
    std::fs::write(own.join("models.yml"), text.replace(line, &format!("  sha256: {sum}"))).unwrap();
    let (code, state, loaded) = states();
    assert_eq!((code, loaded), (2, false.into()));
    assert!(state.starts_with("CANNOT BE USED: "), "{state}");
}
