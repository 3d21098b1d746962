//! Fuzzes the parsers of text from untrusted sources: for any input they must return a value, or an error with a
//! position, and stay within their memory limits.
//!
//! Inputs of earlier findings are in `corpus/` and run first.

mod stubs;

use std::{collections::BTreeMap, path::PathBuf};

use serde_json::Value;
use sideline_api::{
    Config, Values,
    config::Origin,
    yaml::{self, Yaml},
};
use sideline_graph::Overrides;
use stubs::{Folder, repository};

/// Fragments to insert into texts: YAML syntax, and values that parsers often mishandle.
const WORDS: [&str; 60] = [
    "&a ",
    "*a",
    "<<: *a",
    "[",
    "]",
    "{",
    "}",
    ",",
    ": ",
    "? ",
    "- ",
    "---\n",
    "...\n",
    "|\n",
    ">-\n",
    "\"",
    "'",
    "#",
    "!!int ",
    "%YAML 1.2\n",
    "\n",
    "\r\n",
    "\t",
    "  ",
    "\0",
    "\u{feff}",
    "\u{85}",
    "\u{2028}",
    "é",
    "😀",
    "~",
    "null",
    "true",
    ".nan",
    "-.inf",
    "1e999",
    "-0",
    "0",
    "0x7fffffffffffffff",
    "18446744073709551616",
    "-9223372036854775809",
    "1e-320",
    "007",
    "$HOME",
    "$NOT_SET_Q",
    "${A:-1}",
    "$$",
    "[[[[[[[[",
    "nodes:",
    "id: s",
    "env: {PEOPLE: 3}",
    "inputs: {frames: s/frames}",
    "outputs: [frames, done]",
    "module: m.yml",
    "args: run tracker",
    "path: sideline",
    "queue_policy: drop_oldest",
    "queue_size: 99999999999999999999",
    "shared_memory_pool_size: 9999999TB",
    "SIDELINE_STRIDE: 2",
];

/// Fuzzes a target with the texts of a corpus and their mutations.
fn fuzz(name: &str, corpus: &[String], target: impl Fn(&str)) {
    let corpus: Vec<&str> = corpus.iter().map(String::as_str).collect();
    sideline_testkit::fuzz::text(name, &corpus, &WORDS, target);
}

/// Returns the texts in `corpus/` and the flows of the repository.
fn corpus() -> Vec<String> {
    let folders = ["runtime/graph/tests/corpus", "dataflows", "dataflows/modules"].map(repository);
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).filter(|path| path.is_file()).collect();
    files.sort();
    files.iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect()
}

/// Fails if a message to users has the name of a Rust type or a term of serde.
fn check_words(text: &str) {
    for word in ["u32", "f64", "Vec<", "Option<", "PathBuf", "untagged", "a sequence"] {
        assert!(!text.contains(word), "`{word}` in {text}");
    }
}

#[test]
fn fuzz_yaml() {
    fuzz("yaml", &corpus(), |text| {
        let (tree, value) = (Yaml::parse(text), yaml::json(text));
        for error in [tree.as_ref().err(), value.as_ref().err()].into_iter().flatten() {
            let last = text.split(['\n', '\r']).count() + 1;
            assert!((1..=last).contains(&error.line) && error.column >= 1, "{error}");
            check_words(&error.message);
        }
        // Both parsers must see the same keys, since the tree gives the positions of the values.
        if let (Ok(tree), Ok(Value::Object(pairs))) = (tree, value) {
            let plain = |key: &&str| !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase());
            let tree_keys: Vec<&str> = tree.map().iter().filter_map(|(key, _)| key.scalar()).filter(plain).collect();
            let json_keys: Vec<&str> = pairs.keys().map(String::as_str).filter(plain).collect();
            let non_text = ["null", "true", "false", "y", "n"];
            if !tree_keys.iter().chain(&json_keys).any(|key| non_text.contains(key)) {
                assert_eq!(tree_keys, json_keys);
            }
        }
    });
}

/// One key of each kind.
#[derive(Clone, Config)]
struct Keys {
    /// Integer.
    #[config(default = 1, range(1, 300))]
    integer: u32,
    /// Fraction.
    #[config(default = 0.5, range(0, 1))]
    fraction: f32,
    /// Optional number.
    #[config(default = None, range(0, 1))]
    optional: Option<f64>,
    /// Text.
    #[config(default = "")]
    name: String,
    /// Boolean.
    #[config(default = false)]
    boolean: bool,
    /// List of numbers.
    #[config(default = Vec::new(), range(0, 1))]
    several: Vec<f64>,
    /// Optional list of texts.
    #[config(default = None)]
    names: Option<Vec<String>>,
    /// Nested lists of points.
    #[config(default = Vec::new(), range(0, 9))]
    corners: Vec<Vec<[f32; 2]>>,
    /// Map of numbers.
    #[config(default = BTreeMap::new(), range(0, 1))]
    named: BTreeMap<String, f64>,
    /// Enumeration.
    #[config(default = "live")]
    mode: sideline_api::Mode,
}

#[test]
fn fuzz_settings() {
    let values =
        ["1", "0.5", "\"5000\"", "[0.1, 0.2]", "[[[0, 1], [2, 3]], []]", "{a: 1, b: 0.5}", "live", "'7'", "[a, 'b']"];
    fuzz("settings", &values.map(str::to_owned), |text| {
        // The value as text (command line), and parsed as YAML and JSON (files).
        let candidates = [Some(Value::from(text)), yaml::json(text).ok(), serde_json::from_str(text).ok()];
        for (value, key) in
            candidates.iter().flatten().flat_map(|value| Keys::keys().into_iter().map(move |key| (value, key)))
        {
            let mut values = Values::new();
            values.set(key.name, value.clone(), Origin::CommandLine);
            match Keys::from_values(&values) {
                Ok(keys) => {
                    assert!((1..=300).contains(&keys.integer) && (0.0..=1.0).contains(&keys.fraction));
                    let numbers = keys.optional.iter().chain(&keys.several).chain(keys.named.values());
                    assert!(numbers.copied().all(|number| (0.0..=1.0).contains(&number)));
                    assert!(keys.corners.iter().flatten().flatten().all(|number| (0.0..=9.0).contains(number)));
                }
                Err(problems) => {
                    assert!(
                        problems
                            .iter()
                            .all(|problem| problem.key == key.name && problem.message.chars().count() < 1000)
                    );
                    // A message may quote the text, which may hold any word if it is long.
                    if text.is_ascii() && text.len() < 20 {
                        problems.iter().for_each(|problem| check_words(&problem.message));
                    }
                }
            }
        }
    });
}

#[test]
fn fuzz_flow() {
    let module = std::fs::read_to_string(repository("dataflows/modules/perception.yml")).unwrap();
    let folder = Folder::with(&[("m.yml", &module), ("modules/perception.yml", &module), ("c.yml", "frames: 10\n")]);
    fuzz("flow", &corpus(), |text| {
        folder.put("flow.yml", text);
        for line in folder.diagnostics(&Overrides::default()) {
            assert!(
                line.starts_with("flow.yml") || line.starts_with("m.yml") || line.starts_with("modules/"),
                "{line}"
            );
        }
    });
}
