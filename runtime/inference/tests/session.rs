//! Sessions with a model of one node. Tests that need ONNX Runtime's library are skipped without it.

use std::path::Path;

use sideline_api::{Device, Failure};
use sideline_inference::{Session, environment};
use sideline_testkit::{Capability, repository, skip_test};

/// Model `b = a + a` on f32 [1, 4]: ONNX opset 13, written by the `onnx` package.
const TWICE: &[u8] =
    b"\x08\x07\x12\x00:=\n\x0e\n\x01a\n\x01a\x12\x01b\"\x03Add\x12\x01gZ\x13\n\x01a\x12\x0e\n\x0c\x08\x01\x12\x08\
\n\x02\x08\x01\n\x02\x08\x04b\x13\n\x01b\x12\x0e\n\x0c\x08\x01\x12\x08\n\x02\x08\x01\n\x02\x08\x04B\x04\n\x00\x10\r";

/// Starts ONNX Runtime. Skips the test and returns false if that fails.
fn starts() -> bool {
    match environment::start(&repository()) {
        Ok(_) => true,
        Err(error) => {
            skip_test(Capability::Models, error);
            false
        }
    }
}

fn load(bytes: &[u8], device: Device) -> sideline_api::Result<Session> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("twice.onnx");
    std::fs::write(&path, bytes).unwrap();
    Session::from_file(&path, device, &repository())
}

#[test]
fn a_model_runs_on_borrowed_memory() {
    if !starts() {
        return;
    }
    let mut session = load(TWICE, Device::Cpu).unwrap();
    session.expect_inputs(&[("a", &[1, 4])]).unwrap();
    session.expect_output("b", &[1, 4]).unwrap();
    let shapes = session.inputs().chain(session.outputs()).map(|tensor| (tensor.name(), tensor.shape()));
    assert_eq!(shapes.collect::<Vec<_>>(), [("a", Some([1, 4].as_slice())), ("b", Some([1, 4].as_slice()))]);
    assert_eq!(session.metadata("author").unwrap(), None);
    assert_eq!((session.device(), session.name()), ("cpu", "twice"));
    for start in [1.0, 5.0] {
        let values = [start, 2.0, 3.0, 4.0];
        let outputs = session.run(&[(&[1, 4], &values)]).unwrap();
        assert_eq!(outputs.tensor("b").unwrap(), ([1, 4].as_slice(), [2.0 * start, 4.0, 6.0, 8.0].as_slice()));
        let error = outputs.get("c").err().unwrap();
        assert!(error.message.contains("no output `c`"), "{error}");
    }
}

#[test]
fn an_error_for_another_shape_lists_the_shape_of_the_model() {
    if !starts() {
        return;
    }
    let session = load(TWICE, Device::Cpu).unwrap();
    let wrong = [
        session.expect_inputs(&[("a", &[1, 256, 256, 3])]),
        session.expect_inputs(&[("image", &[1, 4])]),
        session.expect_inputs(&[("a", &[1, 4]), ("b", &[1])]),
        session.expect_output("b", &[1, 5]),
        session.expect_output("boxes", &[1, 4]),
    ];
    for result in wrong {
        let error = result.unwrap_err();
        assert_eq!(error.failure, Failure::Model);
        assert!(error.message.contains("model `twice` cannot be used"), "{error}");
        assert!(error.message.contains("f32 [1, 4]"), "the model's own shape is missing: {error}");
        assert!(error.message.contains("twice.onnx"), "the file is not named: {error}");
    }
}

#[test]
fn a_tensor_that_does_not_fit_is_refused() {
    if !starts() {
        return;
    }
    let mut session = load(TWICE, Device::Cpu).unwrap();
    assert!(session.run(&[(&[1, 4], &[1.0, 2.0, 3.0])]).is_err(), "fewer values than the shape says");
    assert!(session.run(&[(&[1, 5], &[0.0; 5])]).is_err(), "another shape than the model's");
    assert!(session.run(&[]).is_err(), "no input");
    // The session still works afterwards.
    assert!(session.run(&[(&[1, 4], &[0.0; 4])]).is_ok());
}

#[test]
fn missing_and_broken_files_are_model_errors_that_name_the_file() {
    if !starts() {
        return;
    }
    let error = Session::from_file(Path::new("no/such.onnx"), Device::Cpu, &repository()).err().unwrap();
    assert_eq!(error.failure, Failure::Model);
    assert!(error.message.contains("no/such.onnx is missing"), "{error}");
    for bytes in [b"no protobuf at all".as_slice(), &TWICE[..40]] {
        let error = load(bytes, Device::Cpu).err().unwrap();
        assert_eq!(error.failure, Failure::Model);
        assert!(error.message.contains("twice.onnx cannot be loaded"), "{error}");
    }
}

#[test]
fn an_unavailable_gpu_is_an_error_and_auto_falls_back_to_the_cpu() {
    if !starts() {
        return;
    }
    for (device, name) in [(Device::Cuda, "cuda"), (Device::Tensorrt, "tensorrt")] {
        match load(TWICE, device) {
            // This machine has the device.
            Ok(session) => assert_eq!(session.device(), name),
            Err(error) => {
                assert_eq!(error.failure, Failure::Gpu);
                assert!(error.message.contains(&format!("device `{name}`")), "{error}");
                assert!(error.message.contains("--device cpu"), "{error}");
            }
        }
    }
    let mut session = load(TWICE, Device::Auto).unwrap();
    assert_eq!(session.run(&[(&[1, 4], &[1.0; 4])]).unwrap().get("b").unwrap(), [2.0; 4]);
}

#[test]
fn an_empty_file_is_reported_as_empty() {
    let error = load(&[], Device::Cpu).err().unwrap();
    assert_eq!(error.failure, Failure::Model);
    assert!(error.message.ends_with("twice.onnx is empty (0 bytes); export or copy it again"), "{error}");
}
