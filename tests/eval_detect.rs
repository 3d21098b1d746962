//! `sideline-lab eval detect`: the loss from detecting in every n-th frame only.
#![cfg(all(feature = "media", feature = "onnx"))]

mod support;

use serde_json::Value;
use support::{Bench, Capability, repository, skip_test};

#[test]
fn eval_detect_compares_strides_with_detection_on_every_frame() {
    let clip = repository().join("models/clips/athletes.mp4");
    if !clip.exists() || !repository().join("models/onnx/centernet.onnx").exists() {
        return skip_test(
            Capability::Models,
            "athletes and centernet are not both fetched; `cargo xtask setup` fetches them",
        );
    }
    let bench = Bench::new();
    let clip = clip.display().to_string();
    let arguments = ["eval", "detect", &clip, "--frames", "12", "--most", "3", "--json"];
    let ended = bench.lab(&arguments);
    assert_eq!(ended.code, 0, "{}", ended.text);
    let report: Value = serde_json::from_str(&ended.text[ended.text.find('{').unwrap()..]).unwrap();
    assert_eq!(report["frames"], 12);
    let strides = report["strides"].as_array().unwrap();
    assert_eq!(strides.len(), 2);
    for stride in strides {
        let recall = stride["people_recall"].as_f64().unwrap();
        assert!((60.0..=100.0).contains(&recall), "{stride}");
    }
    let refused = bench.lab(&["eval", "detect", &clip, "--set", "detect.every=2"]);
    assert!(refused.code == 1 && refused.text.contains("--set detect.every"), "{}", refused.text);
}
