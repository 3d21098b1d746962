//! Packages of the workspace: each crate that is meant for others can be published with all files that it needs.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Crates that serve the development of this repository alone.
const INTERNAL: [&str; 2] = ["sideline-testkit", "xtask"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Runs cargo in the repository, without network.
fn cargo(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(env!("CARGO")).args(arguments).arg("--offline").current_dir(root()).output().unwrap();
    assert!(output.status.success(), "cargo {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Returns the packages of the workspace that are published.
fn published() -> Vec<Value> {
    let metadata: Value = serde_json::from_slice(&cargo(&["metadata", "--format-version", "1", "--no-deps"])).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages.filter(|package| !package["publish"].is_array()).cloned().collect()
}

fn folder(package: &Value) -> PathBuf {
    Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap().into()
}

/// Returns all Rust files below a folder.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = vec![];
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

#[test]
fn every_crate_can_be_packaged() {
    // Fails for a dependency by path without a version, a cycle through tests, and a file that the manifest names in vain.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages").display().to_string();
    cargo(&["package", "--workspace", "--no-verify", "--allow-dirty", "--quiet", "--target-dir", &target]);
}

#[test]
fn every_crate_but_the_internal_ones_is_published() {
    let published = published();
    for name in INTERNAL {
        assert!(!published.iter().any(|package| package["name"] == name), "{name} is for this repository alone");
    }
    assert!(published.iter().any(|package| package["name"] == "sideline-api"));
}

#[test]
fn every_published_crate_introduces_itself() {
    for package in published() {
        let name = package["name"].as_str().unwrap();
        for field in ["description", "license", "repository", "readme", "rust_version"] {
            assert!(package[field].as_str().is_some_and(|text| !text.is_empty()), "{name}: `{field}` is missing");
        }
        for field in ["keywords", "categories"] {
            // More than five are rejected at the publication.
            let count = package[field].as_array().unwrap().len();
            assert!((1..=5).contains(&count), "{name} has {count} {field}");
        }
        let readme = folder(&package).join(package["readme"].as_str().unwrap());
        let title = std::fs::read_to_string(&readme).unwrap();
        assert!(title.starts_with(&format!("# {name}\n")), "{} does not begin with `# {name}`", readme.display());
    }
}

#[test]
fn sources_include_no_file_from_outside_their_crate() {
    let mut includes = 0;
    for package in published() {
        let folder = folder(&package);
        for path in rust_files(&folder) {
            let text = std::fs::read_to_string(&path).unwrap();
            // The pages of the repository whose examples are tests are not part of a package.
            let text = text.replace("#[cfg(doctest)]\n#[doc = include_str!(\"../../../docs/", "");
            for macro_name in ["include_str!(\"", "include_bytes!(\""] {
                for rest in text.split(macro_name).skip(1) {
                    let included = path.parent().unwrap().join(rest.split('"').next().unwrap());
                    let included =
                        included.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", included.display()));
                    assert!(included.starts_with(&folder), "{} includes {}", path.display(), included.display());
                    includes += 1;
                }
            }
        }
    }
    assert!(includes > 0, "no include was found: the search is broken");
}
