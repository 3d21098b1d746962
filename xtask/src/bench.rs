//! `cargo xtask bench`: what things cost, measured by `sideline bench`.

use crate::{
    demo,
    error::Result,
    house::House,
    progress::Progress,
    setup::{self, Python},
};

/// The command; runs all of `what` even when one fails, and gives the first code that is not 0.
///
/// # Errors
/// What could not be had, built or started.
pub fn command(house: &House, what: &[String], arguments: &[String]) -> Result<u8> {
    let mut progress = Progress::new(house, setup::STEPS + 1 + what.len());
    // The fight is measured beside plain Python.
    let python = if what.iter().any(|name| name == "fight") { Python::Peers } else { Python::Run };
    setup::run(house, &mut progress, python)?;
    demo::build(house, progress.step("build")?)?;
    let mut first = 0;
    for name in what {
        let mut step = progress.step(&format!("bench {name}"))?;
        step.say("measuring; leave the machine alone meanwhile");
        let code = step.run_shown(house.command(house.sideline()).args(["bench", name]).args(arguments))?;
        step.done(&if code == 0 { "measured".into() } else { format!("failed with code {code}, see above") });
        first = if first == 0 { code } else { first };
    }
    Ok(first)
}
