//! `cargo xtask bench`: runs benchmarks of `sideline-lab bench`.

use crate::{
    error::{Error, Result},
    progress::{Progress, Step},
    setup::{self, Python},
    workspace::Workspace,
};

/// Runs the benchmarks `names`, all of them even if one fails, and returns the first exit code that is not 0.
///
/// # Errors
/// When the set-up or the build fails, or a benchmark cannot be started.
pub fn command(workspace: &Workspace, names: &[String], arguments: &[String]) -> Result<u8> {
    let mut progress = Progress::new(workspace, setup::STEPS + 1 + names.len());
    // The benchmark `fight` compares with a plain Python program, which needs packages of its own.
    let python = if names.iter().any(|name| name == "fight") { Python::Peers } else { Python::Run };
    setup::run(workspace, &mut progress, python)?;
    build(workspace, progress.step("build")?)?;
    let mut first_failure = 0;
    for name in names {
        let mut step = progress.step(&format!("bench {name}"))?;
        step.report("measuring; do not use the machine meanwhile");
        let code = step.run_shown(workspace.command(workspace.lab()).args(["bench", name]).args(arguments))?;
        step.done(&if code == 0 { "measured".into() } else { format!("failed with code {code}, see above") });
        first_failure = if first_failure == 0 { code } else { first_failure };
    }
    Ok(first_failure)
}

/// Builds `sideline-lab`, and `sideline`, which benchmarks of whole flows run.
fn build(workspace: &Workspace, mut step: Step) -> Result<()> {
    step.report("cargo build -p sideline-lab -p sideline (the first time this takes several minutes)");
    if step.run_shown(workspace.cargo().args(["build", "-p", "sideline-lab", "-p", "sideline"]))? != 0 {
        return Err(Error::new("`sideline-lab` does not build; see the output of cargo above"));
    }
    step.done("built");
    Ok(())
}
