//! `cargo xtask wheel`: tests the Python package in an environment of its own, and packs it.

use crate::{
    error::{Error, Result},
    output,
    progress::Progress,
    setup::{self, Python},
    workspace::Workspace,
};

/// Arguments of cargo that build the extension module with the features that all tests use. Building the package alone would
/// select other features and compile all dependencies again.
const SELECTION: [&str; 4] = ["test", "--workspace", "--test", "wheel"];

/// Tests and packs the wheel; returns 0.
///
/// # Errors
/// When the set-up or a step fails.
pub fn command(workspace: &Workspace) -> Result<u8> {
    let mut progress = Progress::new(workspace, setup::STEPS + 2);
    setup::run(workspace, &mut progress, Python::Test)?;
    let mut step = progress.step("build and test the wheel")?;
    step.report("cargo test --workspace --test wheel (the first time this takes several minutes)");
    if step.run_shown(workspace.cargo().args(SELECTION))? != 0 {
        return Err(Error::new("the wheel does not build, or its test fails; see the output of cargo above"));
    }
    step.done("tested");
    let mut step = progress.step("pack the wheel")?;
    let folder = workspace.root.join("target/wheels");
    let mut pack = workspace.command(workspace.venv("python"));
    pack.arg("runtime/python/pack.py").arg(workspace.programs.join("deps/libsideline_native.so")).arg(&folder);
    let mut wheel = String::new();
    step.run_watched(&mut pack, "see the output above", |line| wheel = line.trim().into())?;
    step.done("packed");
    output::print_line(workspace.short(wheel.as_ref()));
    Ok(0)
}
