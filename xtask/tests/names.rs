//! Names of operators' types: those of the operator, as CONTRIBUTING says.

use std::path::{Path, PathBuf};

/// Returns all Rust files of operators and nodes, without their tests and examples.
fn sources() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = vec![];
    let mut folders = vec![root.join("operators"), root.join("nodes")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "tests" && name != "examples") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

/// Returns the text between two marks, behind the first occurrence of the first one.
fn between<'t>(text: &'t str, begin: &str, end: char) -> Option<&'t str> {
    text.split_once(begin)?.1.split(end).next()
}

fn camel_case(name: &str) -> String {
    name.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}

#[test]
fn the_types_of_an_operator_have_its_name_and_no_suffix() {
    let (mut operators, mut problems) = (0, vec![]);
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        for (kind, spec) in [("Operator", "Spec::operator(\""), ("Source", "Spec::source(\"")] {
            for implementation in text.split(&format!("\nimpl {kind} for ")).skip(1) {
                operators += 1;
                let ty = implementation.split(' ').next().unwrap();
                let config = between(implementation, "type Config = ", ';').unwrap();
                let name = between(implementation, spec, '"').unwrap_or_default();
                if ty != camel_case(name) {
                    problems.push(format!("{}: the operator `{name}` is the type `{ty}`", path.display()));
                }
                if config != format!("{ty}Config") {
                    problems.push(format!("{}: the configuration of `{name}` is `{config}`", path.display()));
                }
            }
        }
    }
    assert!(operators >= 25, "{operators} operators were found: the search is broken");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
