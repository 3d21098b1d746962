//! Fuzz tests of the parsers of class names.

use sideline_detect::labels::{self, ClassFilter};
use sideline_testkit::fuzz;

#[test]
fn fuzz_labels() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names.txt");
    let corpus = ["person\n\nsports ball\r\n", "{0: 'person', 32: \"sports ball\"}", "0: a\n1: b\n"];
    let words = ["65534: x, ", "4294967295: x", "\n", "{", "}", "&a ", "*a", "- "];
    fuzz::text("labels", &corpus, &words, |text| {
        std::fs::write(&path, text).unwrap();
        let from_file = match labels::from_file(&path) {
            Ok(names) => names,
            Err(error) => return assert!(error.message.contains("names.txt"), "the file is not named: {error}"),
        };
        for names in [Some(from_file), labels::parse_metadata(text)].into_iter().flatten() {
            assert!(!names.is_empty());
            let _ = ClassFilter::new("people", &[text.to_owned()], &["person"], &names);
        }
    });
}
