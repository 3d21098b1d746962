//! `cargo xtask fuzz`: every fuzz target for long, each from another seed than the last time.

use std::{
    fmt::Write,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    error::{Error, Result},
    house::House,
    progress::Progress,
    say,
    setup::{self, Python},
};

/// Beginning of the names of the tests that are fuzz targets.
const PREFIX: &str = "fuzz_";

/// The command: 0 if nothing was found.
///
/// # Errors
/// When the set-up fails or the tests do not build.
pub fn command(house: &House, seconds: u64, target: Option<&str>) -> Result<u8> {
    let mut progress = Progress::new(house, setup::STEPS + 2);
    setup::run(house, &mut progress, Python::Run)?;
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_secs());
    let tests = ["test", "--workspace", "--lib", "--bins", "--tests"];

    let mut step = progress.step("build fuzz targets")?;
    step.say("cargo test --no-run (the first time this takes several minutes)");
    if step.run_shown(house.cargo().args(tests).arg("--no-run"))? != 0 {
        return Err(Error::new("the fuzz targets do not build; cargo says why above"));
    }
    step.done("built");

    let mut step = progress.step("fuzz")?;
    step.say(&format!("each target for {seconds} s, from seed {seed}"));
    let mut cargo = house.cargo();
    cargo.args(tests).args(["--no-fail-fast", PREFIX, "--", "--nocapture"]);
    cargo.env("SIDELINE_FUZZ_S", seconds.to_string()).env("SIDELINE_FUZZ_SEED", seed.to_string());
    cargo.env("SIDELINE_FUZZ_ONLY", target.unwrap_or_default());
    let mut said = Vec::new();
    let good = step.run_echoed(&mut cargo, |line| said.extend(told(line)))?;
    step.done(if good { "nothing found" } else { "findings" });
    say::out(summary(&said));
    Ok(u8::from(!good || said.is_empty()))
}

/// The part of a line that a target printed; the test's name may stand before it.
fn told(line: &str) -> Option<String> {
    line.find("fuzz: ").map(|at| line[at + "fuzz: ".len()..].into())
}

/// Lines of the targets, findings last.
fn summary(said: &[String]) -> String {
    let (findings, fine): (Vec<_>, Vec<_>) = said.iter().partition(|line| line.contains(": finding at "));
    let mut text = String::from("\n");
    for line in fine.iter().chain(&findings) {
        let _ = writeln!(text, "{line}");
    }
    text + &format!("{} targets, {} findings", fine.len() + findings.len(), findings.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_targets_and_findings() {
        let lines = [
            "test tests::fuzz_rows ... fuzz: rows: finding at SIDELINE_FUZZ_SEED=7: \"-1\"",
            "fuzz: yaml: 4000 cases in 1 s, slowest 0.2 ms",
            "test result: ok",
        ];
        let said: Vec<String> = lines.iter().filter_map(|line| told(line)).collect();
        let text = summary(&said);
        assert!(text.ends_with("\"-1\"\n2 targets, 1 findings"), "{text}");
        assert!(text.starts_with("\nyaml: 4000 cases"), "{text}");
    }
}
