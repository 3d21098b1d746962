//! `cargo xtask soak`: long runs of flows over dora, by the test program `soak`, which runs a few of them in every
//! `cargo test`.

use crate::{
    arguments::Soak,
    error::{Error, Result},
    progress::Progress,
    setup::{self, Python},
    workspace::Workspace,
};

/// Runs a soak test and returns 0 if every run ended as expected.
///
/// # Errors
/// When the set-up fails or the test program does not build.
pub fn command(workspace: &Workspace, soak: Soak) -> Result<u8> {
    let mut progress = Progress::new(workspace, setup::STEPS + 2);
    setup::run(workspace, &mut progress, Python::Run)?;
    let tests = ["test", "-p", "sideline", "--test", "soak"];

    let mut step = progress.step("build")?;
    step.report("cargo test --no-run (the first time this takes several minutes)");
    if step.run_shown(workspace.cargo().args(tests).arg("--no-run"))? != 0 {
        return Err(Error::new("the soak test does not build; see the output of cargo above"));
    }
    step.done("built");

    let mut cargo = workspace.cargo();
    let (test, variables) = match soak {
        Soak::Runs { count, seed } => {
            ("random_runs_have_consistent_counts", vec![("SIDELINE_SOAK_RUNS", count), ("SIDELINE_SOAK_SEED", seed)])
        }
        Soak::Hour { minutes } => {
            ("long_live_runs_with_restarts_keep_counts_and_memory", vec![("SIDELINE_SOAK_MINUTES", minutes)])
        }
    };
    cargo.args(tests).args([test, "--", "--nocapture"]);
    cargo.envs(variables.into_iter().map(|(name, value)| (name, value.to_string())));
    // A test that cannot run must fail here instead of being skipped.
    cargo.env("SIDELINE_REQUIRE", "dora,models,ffmpeg");
    let mut step = progress.step("soak")?;
    step.report("running");
    let passed = step.run_echoed(&mut cargo, |_| ())?;
    step.done(if passed { "passed" } else { "failed, see above" });
    Ok(u8::from(!passed))
}
