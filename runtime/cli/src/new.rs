//! `sideline new operator`: a crate for an operator of one's own, outside this repository.

use std::path::{Path, PathBuf};

use serde_json::json;
use sideline_api::{Error, Failure, OrFail, Result};

use crate::{args::Template, commands::print_json};

/// Files of the template: path in the crate, and text.
const FILES: [(&str, &str); 7] = [
    ("Cargo.toml", include_str!("new/Cargo.toml.template")),
    ("README.md", include_str!("new/README.md.template")),
    (".gitignore", "/target\n/runs\n"),
    ("src/lib.rs", include_str!("new/lib.rs.template")),
    ("tests/{{name}}.rs", include_str!("new/test.rs.template")),
    ("benches/{{name}}.rs", include_str!("new/bench.rs.template")),
    ("flow.yml", include_str!("new/flow.yml.template")),
];

/// Words that cannot be the name of a crate's library.
const RESERVED: [&str; 12] =
    ["test", "core", "std", "alloc", "self", "super", "crate", "build", "deps", "examples", "incremental", "sideline"];

/// Runs `sideline new`; returns the exit code.
///
/// # Errors
/// When the name is invalid, a file is in the way, or the crate cannot be written.
pub fn run(template: &Template) -> Result<u8> {
    let Template::Operator { name, folder, sideline, json } = template;
    check_name(name)?;
    let folder = folder.clone().unwrap_or_else(|| PathBuf::from(name));
    let repository = match sideline {
        Some(folder) if is_repository(folder) => Some(folder.clone()),
        Some(folder) => {
            return Err(Error::config(format!(
                "{} is no repository of Sideline: it has no runtime/api/Cargo.toml",
                folder.display()
            )));
        }
        None => Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).filter(|folder| is_repository(folder)),
    };
    let written = write(name, &folder, repository.as_deref())?;
    if *json {
        print_json(&json!({"name": name, "folder": folder.to_string_lossy(), "files": written}))?;
        return Ok(0);
    }
    let library = library_name(name);
    outln!("created operator `{name}` in {}; the next steps:", folder.display());
    outln!("  cd {}", folder.display());
    outln!("  cargo test                                 its own tests and the rules of all operators");
    outln!("  cargo build");
    outln!("  sideline describe target/debug/{library}");
    outln!("  sideline run flow.yml");
    Ok(0)
}

fn check_name(name: &str) -> Result<()> {
    let is_word = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    // A keyword of Rust is no identifier, so it cannot name a module.
    if !is_word || RESERVED.contains(&name) {
        return Err(Error::config(format!(
            "`{name}` is no name for an operator and its crate: a name has lower-case letters, digits and `_`, as in \
             `my_op`, and is not a reserved word"
        )));
    }
    Ok(())
}

fn is_repository(folder: &Path) -> bool {
    folder.join("runtime/api/Cargo.toml").is_file()
}

fn library_name(name: &str) -> String {
    format!("{}{name}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX)
}

/// Returns the name of the operator's type: `my_op` is `MyOp`.
fn type_name(name: &str) -> String {
    let capitalized = name.split('_').filter(|word| !word.is_empty()).map(|word| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    });
    capitalized.collect()
}

/// Writes the crate; returns the paths of its files.
fn write(name: &str, folder: &Path, repository: Option<&Path>) -> Result<Vec<String>> {
    let source = |path: &str| match repository {
        Some(repository) => {
            let absolute = repository.join(path);
            let absolute = absolute.canonicalize().unwrap_or(absolute);
            format!("path = {}", json!(absolute.to_string_lossy()))
        }
        None => format!("git = {}", json!(env!("CARGO_PKG_REPOSITORY"))),
    };
    let replacements = [
        ("{{name}}", name.to_owned()),
        ("{{Type}}", type_name(name)),
        ("{{library}}", library_name(name)),
        ("{{api}}", source("runtime/api")),
        ("{{plugin}}", source("runtime/plugin")),
        ("{{conformance}}", source("runtime/conformance")),
    ];
    let fill = |text: &str| replacements.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    let mut files: Vec<(String, String)> = FILES.iter().map(|(path, text)| (fill(path), fill(text))).collect();
    // The versions that Sideline is tested with; cargo removes the packages that the crate does not use.
    let lock = repository.and_then(|repository| std::fs::read_to_string(repository.join("Cargo.lock")).ok());
    files.extend(lock.map(|lock| ("Cargo.lock".to_owned(), lock)));
    if let Some((taken, _)) = files.iter().find(|(path, _)| folder.join(path).exists()) {
        return Err(Error::config(format!("{} exists: give another folder", folder.join(taken).display())));
    }
    for (path, text) in &files {
        let path = folder.join(path);
        let parent = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent).or_fail(Failure::Output, || parent.display().to_string())?;
        std::fs::write(&path, text).or_fail(Failure::Output, || path.display().to_string())?;
    }
    Ok(files.into_iter().map(|(path, _)| path).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_crates_are_refused() {
        for name in ["my_op", "op2", "a"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "MyOp", "my-op", "2op", "_op", "zoë", "test", "../op", "a b"] {
            assert!(check_name(name).unwrap_err().message.contains("is no name for an operator"), "{name}");
        }
        assert_eq!(type_name("my_op_2"), "MyOp2");
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("README.md"), "mine").unwrap();
        let error = write("my_op", folder.path(), None).unwrap_err();
        assert!(error.message.contains("README.md exists"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn every_placeholder_is_filled_in() {
        let folder = tempfile::tempdir().unwrap();
        for path in write("my_op", folder.path(), None).unwrap() {
            let text = std::fs::read_to_string(folder.path().join(&path)).unwrap();
            assert!(!text.contains("{{") && !path.contains("{{"), "{path}: {text}");
        }
    }
}
