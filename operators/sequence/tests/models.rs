//! Tests of the errors for models that are missing, changed, broken, or break the contract. Tests that need the library of
//! ONNX Runtime are skipped without it.

mod support;

use sideline_api::{Failure, testing::Harness};
use sideline_sequence::Sequence;
use support::{Model, Port, create_home, moving, open, rejection, start_onnx_runtime};

/// Returns the message with which a valid model is rejected after `change`.
fn rejection_after(change: impl Fn(&mut Model)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut model = Model::new(30);
    change(&mut model);
    let message = rejection(&model.write(folder.path()));
    assert!(message.contains("probe.onnx"), "the file is not named: {message}");
    message
}

fn assert_contains(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

#[test]
fn a_valid_model_is_accepted_by_path_and_by_name() {
    if !start_onnx_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for model in [Model::new(2), Model::new(60).with_interaction(0)] {
        open(&model.write(folder.path())).unwrap();
    }
    let setup = create_home(folder.path(), &Model::new(30));
    Harness::<Sequence>::with([("model", "probe")], setup).unwrap();
}

#[test]
fn errors_for_missing_unknown_and_changed_models_name_the_fix() {
    let folder = tempfile::tempdir().unwrap();
    assert_contains(&rejection(&folder.path().join("none.onnx")), &["none.onnx", "no such file"]);
    let with = |name: &str| {
        let error = Harness::<Sequence>::with([("model", name)], create_home(folder.path(), &Model::new(30))).err();
        (error, folder.path().join("models/probe.onnx"))
    };
    let error = with("prob").0.unwrap();
    assert_eq!(error.failure, Failure::Model);
    assert_contains(&error.message, &["there is no model `prob` in models.yml", "did you mean `probe`?"]);

    let setup = create_home(folder.path(), &Model::new(30));
    std::fs::write(folder.path().join("models/probe.onnx"), b"another").unwrap();
    let changed = Harness::<Sequence>::with([("model", "probe")], setup).err().unwrap();
    assert_eq!(changed.failure, Failure::Model);
    assert_contains(&changed.message, &["probe.onnx has SHA-256", "git checkout -- models/probe.onnx"]);

    let setup = create_home(folder.path(), &Model::new(30));
    std::fs::remove_file(folder.path().join("models/probe.onnx")).unwrap();
    let missing = Harness::<Sequence>::with([("model", "probe")], setup).err().unwrap();
    assert_contains(&missing.message, &["probe.onnx is missing", "git checkout -- models/probe.onnx"]);
}

#[test]
fn a_file_that_is_no_model_is_rejected() {
    if !start_onnx_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = Model::new(30).write(folder.path());
    let bytes = std::fs::read(&path).unwrap();
    for content in [b"no protobuf at all".as_slice(), &bytes[..bytes.len() / 2]] {
        std::fs::write(&path, content).unwrap();
        assert_contains(&rejection(&path), &["probe.onnx cannot be loaded"]);
    }
}

#[test]
fn inputs_of_other_shapes_are_rejected() {
    if !start_onnx_runtime() {
        return;
    }
    let expected = "input `motion` f32 [N, T, 198] expected, N open and T fixed, 2 to 60; it has";
    let shapes: [(u64, u64, &[u64]); 7] = [
        (30, 1, &[0, 30, 99]),
        (1, 1, &[0, 198]),
        (1, 1, &[0, 1, 198]),
        (61, 1, &[0, 61, 198]),
        (30, 1, &[0, 0, 198]),
        (30, 1, &[1, 30, 198]),
        (30, 7, &[0, 30, 198]),
    ];
    for (length, kind, shape) in shapes {
        let message = rejection_after(|model| {
            *model = Model { inputs: vec![Port("motion", kind, shape.into())], ..Model::new(length) }
        });
        let kind = if kind == 7 { "i64" } else { "f32" };
        assert_contains(&message.to_lowercase(), &[&expected.to_lowercase(), &format!("`motion` {kind} [")]);
    }
    assert_contains(
        &rejection_after(|model| model.inputs[0].0 = "motions"),
        &["`motion` f32 [N, T, 198] expected", "`motions`"],
    );
    let other = |port: Port| rejection_after(|model| model.inputs.push(port.clone()));
    assert_contains(&other(Port("poses", 1, vec![0, 30, 198])), &["optionally `interaction`, it also has `poses`"]);
    assert_contains(
        &other(Port("interaction", 1, vec![0, 15, 6])),
        &["`interaction` f32 [-1, 30, 6] expected", "[-1, 15, 6]"],
    );
}

#[test]
fn labels_and_outputs_must_agree() {
    if !start_onnx_runtime() {
        return;
    }
    let labels = |names: &'static str| rejection_after(|model| model.metadata[0].1 = names);
    assert_contains(&labels("idle jab cross"), &["names 3 labels (idle jab cross)", "`probabilities` has 4"]);
    assert_contains(&labels("idle jab jab hook"), &["names `jab` twice"]);
    assert_contains(&labels(" "), &["its metadata has no `sideline.labels`"]);
    assert_contains(
        &rejection_after(|model| model.outputs[0].0 = "logits"),
        &["expected an output `probabilities`, it has `logits`"],
    );
}

#[test]
fn missing_and_invalid_metadata_is_rejected() {
    if !start_onnx_runtime() {
        return;
    }
    for key in ["sideline.labels", "sideline.rate", "sideline.model", "sideline.joints"] {
        let message = rejection_after(|model| model.metadata.retain(|(has, _)| *has != key));
        assert_contains(&message, &[&format!("its metadata has no `{key}`")]);
    }
    let invalid = [
        (1, "fast", "is `fast`, allowed is 5 to 240"),
        (1, "0", "is `0`"),
        (1, "NaN", "is `NaN`"),
        (1, "30 60", "one number"),
        (3, "15 33", "is `33`, allowed is 0 to 32"),
    ];
    for (at, value, expected) in invalid {
        assert_contains(&rejection_after(|model| model.metadata[at].1 = value), &[expected]);
    }
}

#[test]
fn a_model_that_rejects_nan_or_returns_no_probabilities_fails_its_test_run() {
    if !start_onnx_runtime() {
        return;
    }
    assert_contains(
        &rejection_after(|model| model.nan_value = f32::NAN),
        &["without known values (NaN)", "invalid probabilities"],
    );
    assert_contains(&rejection_after(|model| model.scale = 2.0), &["invalid probabilities", "sum 2"]);
}

#[test]
fn invalid_probabilities_are_an_error_that_names_stream_frame_and_track() {
    if !start_onnx_runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = Model { gain: 3e38, ..Model::new(2) }.write(folder.path());
    let mut run = open(&path).unwrap();
    let mut show = |velocity: f32| {
        let rows = [moving(4, 0.0), moving(7, velocity)];
        run.push("motion", &rows)?;
        run.push::<sideline_sport::tables::Interaction>("interaction", &[])?;
        run.push::<sideline_sport::tables::FighterName>("fighters", &[])
    };
    show(0.0).unwrap();
    show(0.0).unwrap();
    let error = show(5.0).unwrap_err();
    assert_eq!(error.failure, Failure::Model);
    assert_contains(&error.message, &["frame 2 of stream `test`", "track 7", "model `probe`", "NaN"]);
}
