//! Layers of the workspace: which crates may depend on which, as drawn in ARCHITECTURE.

use std::{collections::BTreeMap, path::Path, process::Command};

/// Crates of a layer, and the crates of this workspace that each of them may depend on outside of tests.
///
/// Operators and nodes never know each other nor the engine; only the program knows them all, and the laboratory, which measures
/// them.
const LAYERS: [(&[&str], &[&str]); 14] = [
    (&["sideline-abi", "sideline-derive", "sideline-system", "sideline-dora-texts"], &[]),
    (&["sideline-testkit"], &[]),
    (&["sideline-api"], &["sideline-derive"]),
    (&["sideline-conformance"], &["sideline-api"]),
    (&["sideline-plugin"], &["sideline-abi", "sideline-api"]),
    (&["sideline-inference"], &["sideline-api", "sideline-system"]),
    (&["sideline-address", "sideline-recording", "sideline-sport", "sideline-vision"], &["sideline-api"]),
    (&["sideline-media"], &["sideline-address", "sideline-api"]),
    (&["sideline-eval"], &["sideline-api", "sideline-sport", "sideline-vision"]),
    (&["sideline-graph"], &["sideline-api"]),
    (&["sideline-engine"], &["sideline-api", "sideline-graph"]),
    (
        &["sideline-dora"],
        &["sideline-api", "sideline-dora-texts", "sideline-engine", "sideline-graph", "sideline-system"],
    ),
    (&["sideline-python"], &["sideline", "sideline-api"]),
    (&["xtask"], &["sideline-dora-texts"]),
];

/// Crates that only measure: the program, which may depend on all others, works without them.
const LABORATORY: [&str; 2] = ["sideline-eval", "sideline-lab"];

/// Dependencies that an operator or node may have.
const OPERATOR_MAY: [&str; 8] = [
    "sideline-address",
    "sideline-api",
    "sideline-inference",
    "sideline-media",
    "sideline-recording",
    "sideline-sport",
    "sideline-system",
    "sideline-vision",
];

/// Returns the dependencies within the workspace, outside of tests, of each crate, with the crate's folder.
fn dependencies() -> BTreeMap<String, (String, Vec<String>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let is_ours = |name: &str| packages.iter().any(|package| package["name"] == name);
    packages
        .iter()
        .map(|package| {
            let folder = Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap();
            let folder = folder.strip_prefix(root).unwrap().display().to_string();
            let names = package["dependencies"].as_array().unwrap().iter();
            let names = names.filter(|dependency| dependency["kind"] != "dev");
            let names = names.map(|dependency| dependency["name"].as_str().unwrap().to_owned());
            (package["name"].as_str().unwrap().to_owned(), (folder, names.filter(|name| is_ours(name)).collect()))
        })
        .collect()
}

#[test]
fn crates_depend_on_the_layers_below_them_only() {
    let mut problems = vec![];
    for (name, (folder, dependencies)) in dependencies() {
        if name == "sideline-lab" {
            continue;
        }
        if name == "sideline" {
            let laboratory = dependencies.iter().filter(|dependency| LABORATORY.contains(&dependency.as_str()));
            problems.extend(laboratory.map(|dependency| format!("{name} ({folder}) may not depend on {dependency}")));
            continue;
        }
        let is_operator = folder.starts_with("operators/") || folder.starts_with("nodes/");
        let layer = LAYERS.iter().find(|(crates, _)| crates.contains(&name.as_str()));
        let allowed = match layer {
            _ if is_operator => &OPERATOR_MAY[..],
            Some((_, allowed)) => allowed,
            None => {
                problems.push(format!("{name} has no layer: enter it here and in ARCHITECTURE"));
                continue;
            }
        };
        for dependency in dependencies.iter().filter(|dependency| !allowed.contains(&dependency.as_str())) {
            problems.push(format!("{name} ({folder}) may not depend on {dependency}"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Crates with `unsafe` code, as named in ARCHITECTURE and in the documentation of `sideline-plugin`.
const UNSAFE: [&str; 5] =
    ["sideline-abi", "sideline-inference", "sideline-media", "sideline-plugin", "sideline-python"];

#[test]
fn crates_forbid_unsafe_code_but_for_those_at_a_border_to_other_languages() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let forbids = |folder: &str| {
        let roots = ["src/lib.rs", "src/main.rs"].map(|file| root.join(folder).join(file));
        let texts = roots.into_iter().filter_map(|file| std::fs::read_to_string(file).ok());
        texts.map(|text| text.contains("#![forbid(unsafe_code)]")).reduce(|a, b| a && b).unwrap_or_default()
    };
    for (name, (folder, _)) in dependencies() {
        assert_eq!(forbids(&folder), !UNSAFE.contains(&name.as_str()), "{name} ({folder})");
    }
}
