//! What the operator says of models that are missing, changed, broken, or others than it needs. Without ONNX Runtime's library
//! the tests say so and return.

mod support;

use sideline_api::{Failure, testing::Harness};
use sideline_sequence::Sequence;
use support::{Model, Port, house, moving, open, refusal, runtime};

/// Why a model is refused that differs by `change` from one that is right.
fn refused(change: impl Fn(&mut Model)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut model = Model::new(30);
    change(&mut model);
    let said = refusal(&model.write(folder.path()));
    assert!(said.contains("probe.onnx"), "the file is not named: {said}");
    said
}

fn says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
}

#[test]
fn a_model_of_the_right_kind_is_taken_by_its_path_and_by_its_name() {
    if !runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for model in [Model::new(2), Model::new(60).with_interaction(0)] {
        open(&model.write(folder.path())).unwrap();
    }
    let setup = house(folder.path(), &Model::new(30));
    Harness::<Sequence>::with([("model", "probe")], setup).unwrap();
}

#[test]
fn missing_and_unknown_and_changed_models_are_named_with_the_mend() {
    let folder = tempfile::tempdir().unwrap();
    says(&refusal(&folder.path().join("none.onnx")), &["none.onnx", "no such file"]);
    let with = |name: &str| {
        let error = Harness::<Sequence>::with([("model", name)], house(folder.path(), &Model::new(30))).err();
        (error, folder.path().join("models/probe.onnx"))
    };
    let wrong = with("prob").0.unwrap();
    assert_eq!(wrong.failure, Failure::Model);
    says(&wrong.message, &["there is no model `prob` in models.yml", "did you mean `probe`?"]);

    let setup = house(folder.path(), &Model::new(30));
    std::fs::write(folder.path().join("models/probe.onnx"), b"another").unwrap();
    let changed = Harness::<Sequence>::with([("model", "probe")], setup).err().unwrap();
    assert_eq!(changed.failure, Failure::Model);
    says(&changed.message, &["probe.onnx has SHA-256", "git checkout -- models/probe.onnx"]);

    let setup = house(folder.path(), &Model::new(30));
    std::fs::remove_file(folder.path().join("models/probe.onnx")).unwrap();
    let missing = Harness::<Sequence>::with([("model", "probe")], setup).err().unwrap();
    says(&missing.message, &["probe.onnx is missing", "git checkout -- models/probe.onnx"]);
}

#[test]
fn what_is_no_model_is_refused() {
    if !runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = Model::new(30).write(folder.path());
    let whole = std::fs::read(&path).unwrap();
    for bytes in [b"no protobuf at all".as_slice(), &whole[..whole.len() / 2], b""] {
        std::fs::write(&path, bytes).unwrap();
        says(&refusal(&path), &["probe.onnx cannot be loaded"]);
    }
}

#[test]
fn windows_of_another_shape_are_named() {
    if !runtime() {
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
        let said =
            refused(|model| *model = Model { inputs: vec![Port("motion", kind, shape.into())], ..Model::new(length) });
        let kind = if kind == 7 { "i64" } else { "f32" };
        says(&said.to_lowercase(), &[&expected.to_lowercase(), &format!("`motion` {kind} [")]);
    }
    says(&refused(|model| model.inputs[0].0 = "motions"), &["`motion` f32 [N, T, 198] expected", "`motions`"]);
    let other = |port: Port| refused(|model| model.inputs.push(port.clone()));
    says(&other(Port("poses", 1, vec![0, 30, 198])), &["`interaction` are expected, it has `poses`"]);
    says(&other(Port("interaction", 1, vec![0, 15, 6])), &["`interaction` f32 [-1, 30, 6] expected", "[-1, 15, 6]"]);
}

#[test]
fn labels_and_outputs_must_agree() {
    if !runtime() {
        return;
    }
    let labels = |names: &'static str| refused(|model| model.metadata[0].1 = names);
    says(&labels("idle jab cross"), &["names 3 labels (idle jab cross)", "`probabilities` has 4"]);
    says(&labels("idle jab jab hook"), &["names `jab` twice"]);
    says(&labels(" "), &["its metadata has no `sideline.labels`"]);
    says(&refused(|model| model.outputs[0].0 = "logits"), &["an output `probabilities` is expected, it has `logits`"]);
}

#[test]
fn what_the_file_does_not_say_of_itself_is_named() {
    if !runtime() {
        return;
    }
    for key in ["sideline.labels", "sideline.rate", "sideline.model", "sideline.joints"] {
        let said = refused(|model| model.metadata.retain(|(has, _)| *has != key));
        says(&said, &[&format!("its metadata has no `{key}`")]);
    }
    let wrong = [
        (1, "fast", "says `fast` where 5 to 240"),
        (1, "0", "says `0`"),
        (1, "NaN", "says `NaN`"),
        (1, "30 60", "one number"),
        (3, "15 33", "says `33` where 0 to 32"),
    ];
    for (at, value, expected) in wrong {
        says(&refused(|model| model.metadata[at].1 = value), &[expected]);
    }
}

#[test]
fn a_model_that_cannot_do_without_or_gives_no_probabilities_is_refused_at_the_start() {
    if !runtime() {
        return;
    }
    says(&refused(|model| model.unseen = f32::NAN), &["somebody unseen (NaN)", "gave no probabilities"]);
    says(&refused(|model| model.scale = 2.0), &["gave no probabilities", "sum 2"]);
}

#[test]
fn what_is_no_probability_is_an_error_that_names_stream_frame_and_track() {
    if !runtime() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = Model { gain: 3e38, ..Model::new(2) }.write(folder.path());
    let mut run = open(&path).unwrap();
    let mut show = |velocity: f32| {
        let rows = [moving(4, 0.0), moving(7, velocity)];
        run.push("motion", &rows).and_then(|()| run.push::<sideline_api::tables::Interaction>("interaction", &[]))
    };
    show(0.0).unwrap();
    show(0.0).unwrap();
    let error = show(5.0).unwrap_err();
    assert_eq!(error.failure, Failure::Model);
    says(&error.message, &["frame 2 of stream `test`", "track 7", "model `probe`", "NaN"]);
}
