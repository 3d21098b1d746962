//! Fuzz test of the reader of models.yml.

use sideline_api::models::Models;
use sideline_testkit::fuzz;

const ENTRY: &str = "models:\n  - name: tiny\n    about: a detector\n    registry: repository\n    version: 1.0\n    path: models/tiny.onnx\n    \
    sha256: 00ff\n    licence: MIT\n    decoder: yolox\n    labels: [person, 'sports ball']\nclips:\n  - {name: c, path: c.mp4, sha256: ''}\n";
const ALIASES: &str = "a: &a [x, x]\nb: &b [*a, *a]\nmodels: []\n";

#[test]
fn fuzz_models_yml() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("models")).unwrap();
    let path = home.path().join("models/models.yml");
    let words = ["models:", "- ", "labels: [a]", "path: ../../x", "name: ", "&a ", "*a", "!!binary ", "<<: *a"];
    fuzz::text("models_yml", &[ENTRY, ALIASES], &words, |text| {
        std::fs::write(&path, text).unwrap();
        match Models::open(home.path()) {
            Ok(models) => {
                models.models().iter().for_each(|entry| drop((models.verify(&entry.name), entry.repair_hint())))
            }
            Err(error) => assert!(error.message.contains("models.yml"), "the error must name the file: {error}"),
        }
    });
}
