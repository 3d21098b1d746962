//! `cargo xtask wheel`: builds the Python package, installs it into an environment of its own, and runs a flow with an operator in
//! Python by it.

use std::path::{Path, PathBuf};

use crate::{
    error::{Context, Error, Result},
    output,
    progress::Progress,
    setup::{self, Python},
    workspace::Workspace,
};

/// Operator of the test flow.
const OPERATOR: &str = "\
import sideline


@sideline.operator(reads={'frames': sideline.frames}, writes={'light': sideline.table('light', mean=float)})
def light(frames):
    return [{'mean': frames.y.mean()}]
";
/// Test flow.
const FLOW: &str = "\
nodes:
  - {id: synthetic, path: sideline, args: run synthetic, env: {FRAMES: 30}, inputs: {done_recorder: recorder/done}, outputs: [frames]}
  - {id: light, path: sideline, args: run light.py, inputs: {frames: synthetic/frames}, outputs: [light]}
  - {id: recorder, path: sideline, args: run recorder, inputs: {light: light/light}, outputs: [done]}
";

/// Builds and tests the wheel; returns 0.
///
/// # Errors
/// When the set-up or a step fails.
pub fn command(workspace: &Workspace) -> Result<u8> {
    let mut progress = Progress::new(workspace, setup::STEPS + 3);
    setup::run(workspace, &mut progress, Python::Test)?;
    let wheels = workspace.root.join("target/wheels");
    let mut step = progress.step("build the wheel")?;
    step.report("maturin build (the first time this takes several minutes)");
    let mut maturin = workspace.command(workspace.venv("maturin"));
    // The profile of all other builds, so that nothing is built twice.
    maturin.args(["build", "--profile", "dev", "--manifest-path", "runtime/python/Cargo.toml", "--out"]).arg(&wheels);
    // maturin runs in the root of the repository; a relative folder is meant from here.
    if let Some(target) = std::env::var_os("CARGO_TARGET_DIR").filter(|target| !target.is_empty()) {
        maturin.env("CARGO_TARGET_DIR", std::path::absolute(&target).context("CARGO_TARGET_DIR")?);
    }
    step.run(&mut maturin, "see the output of maturin above")?;
    let wheel = newest_wheel(&wheels)?;
    step.done(&workspace.short(&wheel).to_string());

    let folder = workspace.root.join("target/wheel-test");
    let python = folder.join("venv/bin/python");
    let mut step = progress.step("install the wheel")?;
    if !python.exists() {
        step.report("creating an environment");
        let mut create = workspace.command(workspace.venv("python"));
        create.args(["-m", "venv"]).arg(folder.join("venv"));
        step.run(&mut create, "install Python's venv (Debian: apt-get install -y python3-venv)")?;
    }
    // The dependencies once, then the package itself in any case: its version is the same at every build.
    for options in [&["--upgrade-strategy", "only-if-needed"][..], &["--force-reinstall", "--no-deps"][..]] {
        let mut pip = workspace.command(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(options).arg(&wheel);
        step.run(&mut pip, "check that pip's registry can be reached (network, proxy)")?;
    }
    step.done("installed");

    let mut step = progress.step("run a flow by the wheel")?;
    for (name, text) in [("light.py", OPERATOR), ("light.yml", FLOW)] {
        let path = folder.join(name);
        std::fs::write(&path, text).context(path.display())?;
    }
    let mut run = workspace.command(folder.join("venv/bin/sideline"));
    run.args(["run", "light.yml", "--output", "run"]).current_dir(&folder);
    step.run(&mut run, "see the output of the run above")?;
    let rows = folder.join("run/light.jsonl");
    let rows = std::fs::read_to_string(&rows).context(rows.display())?.lines().count();
    if rows != 30 {
        return Err(Error::new(format!("the operator wrote {rows} rows for 30 frames")));
    }
    step.done("30 rows");
    output::print_line(format_args!("{}", workspace.short(&wheel)));
    Ok(0)
}

/// Returns the wheel that was written last.
fn newest_wheel(folder: &Path) -> Result<PathBuf> {
    let entries = std::fs::read_dir(folder).context(folder.display())?.flatten().map(|entry| entry.path());
    let wheels = entries.filter(|path| path.extension().is_some_and(|extension| extension == "whl"));
    let newest = wheels.max_by_key(|path| path.metadata().and_then(|metadata| metadata.modified()).ok());
    newest.ok_or_else(|| Error::new(format!("{}: maturin wrote no wheel", folder.display())))
}
