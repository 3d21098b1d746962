//! Passes the version of the compiler on to the description of plugins.

use std::process::Command;

fn main() {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output();
    let version = output.ok().and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    println!("cargo::rustc-env=SIDELINE_COMPILER={}", version.trim());
    println!("cargo::rerun-if-changed=build.rs");
}
