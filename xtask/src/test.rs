//! `cargo xtask test`: Python's and Rust's tests, and one summary.

use std::{fmt::Write, process::Command};

use crate::{
    error::Result,
    house::House,
    progress::{Progress, Step},
    setup::{self, Python},
};

/// What tests did.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u32,
    failed: u32,
    skipped: u32,
    /// Names of those that failed.
    failures: Vec<String>,
}

/// One line of the summary.
struct Suite {
    name: &'static str,
    counts: Counts,
    /// False when it failed, perhaps without running a single test.
    good: bool,
    seconds: f64,
}

/// The command: with `arguments` only `cargo test` with them.
///
/// # Errors
/// When the set-up fails or a program cannot be started; failed tests are no error but exit code 1.
pub fn command(house: &House, arguments: &[String]) -> Result<u8> {
    let all = arguments.is_empty();
    let mut progress = Progress::new(house, setup::STEPS + if all { 3 } else { 2 });
    setup::run(house, &mut progress, Python::Test)?;
    let mut suites = Vec::new();
    if all {
        let mut python = house.command(house.venv("python"));
        python.args(["-m", "unittest", "discover", "-s", "models"]).env("PYTHONUNBUFFERED", "1");
        suites.push(suite("Python", progress.step("Python tests")?, &mut python, read_unittest)?);
    }

    // Built first with cargo's own bar; what the tests print is then read.
    let (selection, rest) = cargo_arguments(arguments);
    let mut step = progress.step("build tests")?;
    step.say("cargo test --no-run (the first time this takes several minutes)");
    if step.run_shown(house.cargo().args(["test", "--no-run"]).args(&selection))? == 0 {
        step.done("built");
        let mut cargo = house.cargo();
        cargo.args(["test", "--no-fail-fast"]).args(&selection).args(rest);
        suites.push(suite("Rust", progress.step("Rust tests")?, &mut cargo, read_libtest)?);
    } else {
        let seconds = step.seconds();
        step.done("does not build, see above");
        suites.push(Suite { name: "Rust", counts: Counts::default(), good: false, seconds });
    }
    print!("{}", summary(&suites));
    Ok(u8::from(suites.iter().any(|suite| !suite.good)))
}

/// Splits into what chooses packages and tests, and what goes to the tests; all packages unless one is named.
fn cargo_arguments(given: &[String]) -> (Vec<String>, &[String]) {
    let end = given.iter().position(|argument| argument == "--").unwrap_or(given.len());
    let (selection, rest) = given.split_at(end);
    let names = |a: &String| a.starts_with("-p") || a.starts_with("--package") || a == "--workspace" || a == "--all";
    let mut selection = selection.to_vec();
    if !selection.iter().any(names) {
        selection.insert(0, "--workspace".into());
    }
    (selection, rest)
}

/// Runs tests, shows and reads what they print.
fn suite(name: &'static str, mut step: Step, command: &mut Command, read: fn(&mut Counts, &str)) -> Result<Suite> {
    step.say("running");
    let mut counts = Counts::default();
    let good = step.run_echoed(command, |line| read(&mut counts, line))?;
    let seconds = step.seconds();
    step.done(if good { "passed" } else { "failed" });
    Ok(Suite { name, counts, good, seconds })
}

/// `test NAME ... FAILED` and `test result: ok. 5 passed; 0 failed; 1 ignored; ...`
fn read_libtest(counts: &mut Counts, line: &str) {
    if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
        counts.failures.push(name.into());
    }
    let Some(result) = line.strip_prefix("test result: ") else { return };
    let Some((_, numbers)) = result.split_once(". ") else { return };
    for part in numbers.split(';') {
        let Some((number, what)) = part.trim().split_once(' ') else { continue };
        let Ok(number) = number.parse::<u32>() else { continue };
        match what {
            "passed" => counts.passed += number,
            "failed" => counts.failed += number,
            "ignored" => counts.skipped += number,
            _ => {}
        }
    }
}

/// `FAIL: NAME`, `ERROR: NAME`, `Ran 12 tests in 3.1s`, and `OK (skipped=2)` or `FAILED (failures=1, skipped=2)`.
fn read_unittest(counts: &mut Counts, line: &str) {
    if let Some(name) = line.strip_prefix("FAIL: ").or_else(|| line.strip_prefix("ERROR: ")) {
        counts.failures.push(name.into());
    }
    if let Some(ran) = line.strip_prefix("Ran ").and_then(|rest| rest.split(' ').next()?.parse().ok()) {
        counts.passed = ran;
    }
    let end =
        ["OK", "FAILED"].iter().find_map(|word| line.strip_prefix(word)).map(|rest| rest.trim_matches([' ', '(', ')']));
    for part in end.unwrap_or_default().split(", ") {
        let Some((what, number)) = part.split_once('=') else { continue };
        let Ok(number) = number.parse::<u32>() else { continue };
        match what {
            "failures" | "errors" | "unexpected successes" => counts.failed += number,
            "skipped" => counts.skipped += number,
            _ => continue,
        }
        counts.passed = counts.passed.saturating_sub(number);
    }
}

fn summary(suites: &[Suite]) -> String {
    let mut text = format!("\n{:<8} {:>7} {:>7} {:>8} {:>9}\n", "tests", "passed", "failed", "skipped", "seconds");
    for Suite { name, counts, good, seconds } in suites {
        let Counts { passed, failed, skipped, failures } = counts;
        let _ = write!(text, "{name:<8} {passed:>7} {failed:>7} {skipped:>8} {seconds:>9.1}");
        let _ = writeln!(text, "{}", if !good && *failed == 0 { "  stopped before the end, see above" } else { "" });
        for failure in failures {
            let _ = writeln!(text, "  failed: {failure}");
        }
    }
    let good = suites.iter().all(|suite| suite.good);
    text + if good { "All tests passed.\n" } else { "Not all tests passed.\n" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(with: fn(&mut Counts, &str), text: &str) -> Counts {
        let mut counts = Counts::default();
        text.lines().for_each(|line| with(&mut counts, line));
        counts
    }

    #[test]
    fn results_of_several_test_programs_are_summed() {
        let text = "running 3 tests\ntest a::b ... ok\ntest a::c ... FAILED\ntest d ... ignored\n\
            test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
            test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.00s\n";
        let expected = Counts { passed: 5, failed: 1, skipped: 1, failures: vec!["a::c".into()] };
        assert_eq!(read(read_libtest, text), expected);
    }

    #[test]
    fn unittests_skipped_and_failed_ones_did_not_pass() {
        let good = Counts { passed: 10, failed: 0, skipped: 2, failures: vec![] };
        assert_eq!(read(read_unittest, "Ran 12 tests in 3.1s\n\nOK (skipped=2)"), good);
        let bad =
            read(read_unittest, "FAIL: test_x (m.C)\nRan 12 tests in 3s\n\nFAILED (failures=1, errors=2, skipped=1)");
        assert_eq!((bad.passed, bad.failed, bad.skipped), (8, 3, 1));
        assert_eq!(bad.failures, ["test_x (m.C)"]);
        assert_eq!(read(read_unittest, "Ran 1 test in 0s\n\nOK").passed, 1);
    }

    #[test]
    fn all_packages_are_tested_unless_one_is_named() {
        let split = |line: &str| {
            let given: Vec<String> = line.split_whitespace().map(String::from).collect();
            let (selection, rest) = cargo_arguments(&given);
            (selection.join(" "), rest.join(" "))
        };
        assert_eq!(split(""), ("--workspace".into(), String::new()));
        assert_eq!(split("window -- --nocapture"), ("--workspace window".into(), "-- --nocapture".into()));
        assert_eq!(split("-p sideline-graph"), ("-p sideline-graph".into(), String::new()));
        assert_eq!(split("--package=xtask"), ("--package=xtask".into(), String::new()));
    }

    #[test]
    fn the_summary_says_when_a_suite_never_ran() {
        let counts = Counts { passed: 3, ..Counts::default() };
        let good = Suite { name: "Python", counts, good: true, seconds: 1.0 };
        let bad = Suite { name: "Rust", counts: Counts::default(), good: false, seconds: 2.0 };
        assert!(summary(&[good]).ends_with("All tests passed.\n"));
        let text = summary(&[bad]);
        assert!(text.contains("stopped before the end") && text.ends_with("Not all tests passed.\n"), "{text}");
    }
}
