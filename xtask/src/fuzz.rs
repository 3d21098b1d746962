//! `cargo xtask fuzz`: runs the fuzz targets for a given time, with a new seed each time.

use std::{
    fmt::Write,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    error::{Error, Result},
    output,
    progress::Progress,
    setup::{self, Python},
    workspace::Workspace,
};

/// Prefix of the names of tests that are fuzz targets.
const TARGET_PREFIX: &str = "fuzz_";

/// Runs the fuzz targets and returns 0 if none has a finding.
///
/// # Errors
/// When the set-up fails or the tests do not build.
pub fn command(workspace: &Workspace, seconds: u64, target: Option<&str>) -> Result<u8> {
    let mut progress = Progress::new(workspace, setup::STEPS + 2);
    setup::run(workspace, &mut progress, Python::Run)?;
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_secs());
    let tests = ["test", "--workspace", "--lib", "--bins", "--tests"];

    let mut step = progress.step("build fuzz targets")?;
    step.report("cargo test --no-run (the first time this takes several minutes)");
    if step.run_shown(workspace.cargo().args(tests).arg("--no-run"))? != 0 {
        return Err(Error::new("the fuzz targets do not build; see the output of cargo above"));
    }
    step.done("built");

    let mut step = progress.step("fuzz")?;
    step.report(&format!("each target for {seconds} s, from seed {seed}"));
    let mut cargo = workspace.cargo();
    cargo.args(tests).args(["--no-fail-fast", TARGET_PREFIX, "--", "--nocapture"]);
    cargo.env("SIDELINE_FUZZ_S", seconds.to_string()).env("SIDELINE_FUZZ_SEED", seed.to_string());
    cargo.env("SIDELINE_FUZZ_ONLY", target.unwrap_or_default());
    let mut results = Vec::new();
    let succeeded = step.run_echoed(&mut cargo, |line| results.extend(target_result(line)))?;
    step.done(if succeeded { "no findings" } else { "findings" });
    output::print_line(summary(&results));
    Ok(u8::from(!succeeded || results.is_empty()))
}

/// Returns the result of a fuzz target in a line, which may begin with the name of the test.
fn target_result(line: &str) -> Option<String> {
    line.find("fuzz: ").map(|at| line[at + "fuzz: ".len()..].into())
}

/// Formats the results of the targets, findings last, and their number.
fn summary(results: &[String]) -> String {
    let (findings, passed): (Vec<_>, Vec<_>) = results.iter().partition(|line| line.contains(": finding at "));
    let mut text = String::from("\n");
    for line in passed.iter().chain(&findings) {
        let _ = writeln!(text, "{line}");
    }
    text + &format!("{} targets, {} findings", passed.len() + findings.len(), findings.len())
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
        let results: Vec<String> = lines.iter().filter_map(|line| target_result(line)).collect();
        let text = summary(&results);
        assert!(text.ends_with("\"-1\"\n2 targets, 1 findings"), "{text}");
        assert!(text.starts_with("\nyaml: 4000 cases"), "{text}");
    }
}
