//! A plugin that an old compiler of a distribution builds against `sideline-abi` alone keeps the rules of all operators.

mod support;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use sideline_api::{Body, OnError, Payload, Values};
use sideline_conformance::{Suite, failures};
use sideline_plugin::load;
use sideline_testkit::{Capability, skip_test};
use support::{Plugin, Rig, frame};

/// Compiler of Debian, unless `SIDELINE_OLD_RUSTC` names another one.
const DEBIAN: &str = "/usr/bin/rustc";

/// Returns the compiler; `None`, with the skip counted, if there is none, or it is older than `sideline-abi` promises.
fn old_rustc() -> Option<PathBuf> {
    let named = std::env::var_os("SIDELINE_OLD_RUSTC").filter(|path| !path.is_empty()).map(PathBuf::from);
    let Some(rustc) = named.or_else(|| Some(PathBuf::from(DEBIAN)).filter(|path| path.is_file())) else {
        skip_test(Capability::OldRustc, format_args!("there is no {DEBIAN}, and SIDELINE_OLD_RUSTC names no other"));
        return None;
    };
    let printed = Command::new(&rustc).arg("--version").output().unwrap();
    let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../abi/Cargo.toml");
    let manifest = std::fs::read_to_string(manifest).unwrap();
    let promised = manifest.lines().find_map(|line| line.strip_prefix("rust-version = \"")).unwrap();
    if minor(printed.strip_prefix("rustc ").unwrap()) < minor(promised) {
        skip_test(Capability::OldRustc, format_args!("{} is {printed}", rustc.display()));
        return None;
    }
    Some(rustc)
}

/// Returns the second number of a version 1.x.
fn minor(version: &str) -> u32 {
    let rest = version.strip_prefix("1.").unwrap();
    rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

/// Runs the compiler with the edition of `sideline-abi`; returns what it prints.
fn compile(rustc: &Path, arguments: &[&str], files: &[&Path]) -> String {
    let output = Command::new(rustc)
        .args(["--edition", "2021"])
        .args(arguments)
        .args(files)
        .env("CARGO_MANIFEST_DIR", env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}: {text}", rustc.display());
    text
}

#[test]
fn a_plugin_of_an_old_compiler_keeps_the_rules() {
    let Some(rustc) = old_rustc() else { return };
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let (interface, library) = (folder.path().join("libsideline_abi.rlib"), folder.path().join("libbare.so"));
    let text = compile(
        &rustc,
        &["--crate-type", "rlib", "--crate-name", "sideline_abi", "-D", "warnings", "-o"],
        &[&interface, &here.join("../abi/src/lib.rs")],
    );
    assert_eq!(text, "");
    // This attribute is written without `unsafe` in edition 2021.
    let source = std::fs::read_to_string(here.join("examples/bare.rs")).unwrap();
    let source = source.replace("#[unsafe(no_mangle)]", "#[no_mangle]");
    let file = folder.path().join("bare.rs");
    std::fs::write(&file, source).unwrap();
    let interface = format!("sideline_abi={}", interface.display());
    let arguments =
        ["--crate-type", "cdylib", "--crate-name", "bare", "-C", "opt-level=1", "--extern", &interface, "-o"];
    compile(&rustc, &arguments, &[&library, &file]);
    load::describe(&library).unwrap();
    let plugin = Plugin { folder, path: library };
    let rules = tempfile::tempdir().unwrap();
    let reports = Suite::new(plugin.factory(), rules.path()).run();
    assert!(failures(&reports).is_empty(), "{}", failures(&reports).join("\n"));
    let mut rig = Rig::new(plugin.factory(), Values::new(), OnError::Stop).unwrap();
    rig.push(&frame()).unwrap();
    assert!(matches!(&rig.received.bodies[..], [Body::Data(Payload::Table(rows))] if rows.columns().len() == 2));
}
