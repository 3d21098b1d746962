//! `sideline new operator`: a crate for an operator of one's own, outside this repository.

use std::path::{Path, PathBuf};

use serde_json::json;
use sideline_api::{Error, Failure, OrFail, Registry, Result};

use crate::{args::Template, commands::print_json};

/// Files of the template: path in the crate, and text.
const FILES: [(&str, &str); 7] = [
    ("Cargo.toml", include_str!("new/Cargo.toml.template")),
    ("README.md", include_str!("new/README.md.template")),
    (".gitignore", "/target\n/runs\n"),
    ("src/lib.rs", include_str!("new/lib.rs.template")),
    ("tests/{{crate}}.rs", include_str!("new/test.rs.template")),
    ("benches/{{crate}}.rs", include_str!("new/bench.rs.template")),
    ("flow.yml", include_str!("new/flow.yml.template")),
];

/// Names that a crate cannot have: keywords of Rust, crates that the template uses, and folders of cargo.
const RESERVED_CRATES: &str = "\
    abstract alloc as async await become box break build const continue core crate deps do dyn else enum \
    examples extern false final fn for gen if impl in incremental let loop macro match mod move mut override \
    priv proc_macro pub ref return self serde sideline sideline_api sideline_conformance sideline_plugin \
    static std struct super test trait true try type typeof union unsafe unsized use virtual where while \
    yield";

/// Types and traits of Rust's prelude, which the macros of the template use.
const PRELUDE: &str = "\
    AsMut AsRef Box Clone Copy Debug Default DoubleEndedIterator Drop Eq Err ExactSizeIterator Extend Fn \
    FnMut FnOnce From FromIterator Future Hash Into IntoFuture IntoIterator Iterator None Ok Option Ord \
    PartialEq PartialOrd Result Self Send Sized Some String Sync ToOwned ToString TryFrom TryInto Unpin Vec";

/// Words that YAML reads as text only if they are quoted.
const YAML_WORDS: &str = "false n no null off on true y yes";

/// Runs `sideline new`; returns the exit code.
///
/// # Errors
/// When the name is invalid or that of an operator or a table, a file is in the way, or the crate cannot be written.
pub fn run(template: &Template, registry: &Registry) -> Result<u8> {
    let Template::Operator { name, folder, sideline, json } = template;
    check_name(name, registry)?;
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

fn check_name(name: &str, registry: &Registry) -> Result<()> {
    let is_word = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if !is_word {
        return Err(Error::config(format!(
            "`{name}` is no name for an operator: a name has lower-case letters, digits and `_`, as in `my_op`"
        )));
    }
    // The new operator has a table of its name.
    let taken = [("an operator", registry.has(name)), ("a table", registry.table(name).is_some())];
    match taken.iter().find(|(_, is_taken)| *is_taken) {
        Some((what, _)) => Err(Error::config(format!("there is {what} `{name}`: give yours another name"))),
        None => Ok(()),
    }
}

fn is_repository(folder: &Path) -> bool {
    folder.join("runtime/api/Cargo.toml").is_file()
}

fn is_listed(words: &str, name: &str) -> bool {
    words.split(' ').any(|word| word == name)
}

/// Returns the name of the crate: that of the operator, or `match_operator` for `match`, which no crate can be called.
fn crate_name(name: &str) -> String {
    if is_listed(RESERVED_CRATES, name) { format!("{name}_operator") } else { name.to_owned() }
}

fn library_name(name: &str) -> String {
    format!("{}{}{}", std::env::consts::DLL_PREFIX, crate_name(name), std::env::consts::DLL_SUFFIX)
}

/// Returns the name of the operator's type: `my_op` is `MyOp`, and `result` is `ResultOperator`, since the template uses another
/// type `Result`.
fn type_name(name: &str) -> String {
    let name = capitalized(name);
    let is_word = |text: &str| text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name);
    let is_used = is_listed(PRELUDE, &name) || FILES.iter().any(|(_, text)| is_word(text));
    if is_used { format!("{name}Operator") } else { name }
}

/// Returns a name without `_`, each word capitalized.
fn capitalized(name: &str) -> String {
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
        ("{{crate}}", crate_name(name)),
        ("{{id}}", if is_listed(YAML_WORDS, name) { json!(name).to_string() } else { name.to_owned() }),
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
        let registry = crate::registry();
        for name in ["my_op", "op2", "a", "match", "result"] {
            assert!(check_name(name, &registry).is_ok(), "{name}");
        }
        for name in ["", "MyOp", "my-op", "2op", "_op", "zoë", "../op", "a b"] {
            assert!(check_name(name, &registry).unwrap_err().message.contains("is no name for an operator"), "{name}");
        }
        for (name, expected) in [("counter", "there is an operator `counter`"), ("counts", "there is a table `counts`")]
        {
            let error = check_name(name, &registry).unwrap_err();
            assert!(error.message.contains(expected), "{error}");
        }
    }

    #[test]
    fn names_that_the_language_or_the_template_uses_get_a_suffix() {
        assert_eq!((type_name("my_op_2"), crate_name("my_op_2")), ("MyOp2".into(), "my_op_2".into()));
        for name in ["match", "self", "serde", "test", "gen"] {
            assert_eq!(crate_name(name), format!("{name}_operator"));
        }
        for (name, expected) in [
            ("result", "ResultOperator"),
            ("self", "SelfOperator"),
            ("spec", "SpecOperator"),
            ("direction", "DirectionOperator"),
            ("input_ports", "InputPortsOperator"),
            ("vec", "VecOperator"),
            ("match", "Match"),
        ] {
            assert_eq!(type_name(name), expected);
        }
        let folder = tempfile::tempdir().unwrap();
        write("true", folder.path(), None).unwrap();
        let flow = std::fs::read_to_string(folder.path().join("flow.yml")).unwrap();
        assert!(flow.contains("  - id: \"true\"\n") && flow.contains("libtrue_operator"), "{flow}");
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
