//! `cargo xtask soak`: flows over dora for long, by the test program `soak`, which runs a few of them in every `cargo test`.

use crate::{
    arguments::Soak,
    error::{Error, Result},
    house::House,
    progress::Progress,
    setup::{self, Python},
};

/// The command: 0 if every run ended as it should.
///
/// # Errors
/// When the set-up fails or the program does not build.
pub fn command(house: &House, soak: Soak) -> Result<u8> {
    let mut progress = Progress::new(house, setup::STEPS + 2);
    setup::run(house, &mut progress, Python::Run)?;
    let tests = ["test", "-p", "sideline", "--test", "soak"];

    let mut step = progress.step("build")?;
    step.say("cargo test --no-run (the first time this takes several minutes)");
    if step.run_shown(house.cargo().args(tests).arg("--no-run"))? != 0 {
        return Err(Error::new("the soak does not build; cargo says why above"));
    }
    step.done("built");

    let mut cargo = house.cargo();
    let (test, variables) = match soak {
        Soak::Runs { count, seed } => {
            ("random_runs", vec![("SIDELINE_SOAK_RUNS", count), ("SIDELINE_SOAK_SEED", seed)])
        }
        Soak::Hour { minutes } => ("live_for_long", vec![("SIDELINE_SOAK_MINUTES", minutes)]),
    };
    cargo.args(tests).args([test, "--", "--nocapture"]);
    cargo.envs(variables.into_iter().map(|(name, value)| (name, value.to_string())));
    // What cannot run is no success here.
    cargo.env("SIDELINE_REQUIRE", "dora,models,ffmpeg");
    let mut step = progress.step("soak")?;
    step.say("running");
    let good = step.run_echoed(&mut cargo, |_| ())?;
    step.done(if good { "all as it should be" } else { "not as it should be, see above" });
    Ok(u8::from(!good))
}
