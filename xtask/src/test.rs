//! `cargo xtask test`: Python's and Rust's tests, and one summary.

use std::{fmt::Write, process::Command};

use crate::{
    error::Result,
    house::House,
    progress::{Progress, Step},
    say,
    setup::{self, Python},
    skips::{self, Skip},
};

/// Counts of a suite.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: usize,
    failed: usize,
    /// Names of those that failed.
    failures: Vec<String>,
    /// Those that could not run, or are ignored.
    skips: Vec<Skip>,
    /// How many were skipped by the test program's own count.
    skipped: usize,
}

impl Counts {
    /// Counts as skipped what a test program took for passed, because the tests returned early.
    fn take_skips(&mut self, skips: Vec<Skip>) {
        for skip in skips {
            // One that failed after a part of it was skipped has failed.
            if !self.failures.iter().any(|name| skip.test.ends_with(&format!("::{name}"))) {
                self.passed = self.passed.saturating_sub(1);
                self.skips.push(skip);
            }
        }
        // Skipped without `sideline_testkit` or `models/skips.py`.
        for number in self.skips.len()..self.skipped {
            self.passed = self.passed.saturating_sub(1);
            let reason = "the test does not say what it needs; see the output above".into();
            self.skips.push(Skip { needs: "something".into(), test: format!("test {}", number + 1), reason });
        }
    }
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
        suites.push(suite(house, "Python", progress.step("Python tests")?, &mut python, read_unittest)?);
    }

    // Built first with cargo's own bar; what the tests print is then read.
    let (selection, rest) = cargo_arguments(arguments);
    let mut step = progress.step("build tests")?;
    step.say("cargo test --no-run (the first time this takes several minutes)");
    if step.run_shown(house.cargo().args(["test", "--no-run"]).args(&selection))? == 0 {
        step.done("built");
        let mut cargo = house.cargo();
        cargo.args(["test", "--no-fail-fast"]).args(&selection).args(rest);
        suites.push(suite(house, "Rust", progress.step("Rust tests")?, &mut cargo, read_libtest)?);
    } else {
        let seconds = step.seconds();
        step.done("does not build, see above");
        suites.push(Suite { name: "Rust", counts: Counts::default(), good: false, seconds });
    }
    say::out(summary(&suites));
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

/// Runs tests, shows and reads what they print, and which could not run.
fn suite(
    house: &House,
    name: &'static str,
    mut step: Step,
    command: &mut Command,
    read: fn(&mut Counts, &str),
) -> Result<Suite> {
    step.say("running");
    let mut counts = Counts::default();
    let file = skips::fresh_file(house, name)?;
    let good = step.run_echoed(command.env(skips::VARIABLE, &file), |line| read(&mut counts, line))?;
    counts.take_skips(skips::read(&file)?);
    let seconds = step.seconds();
    step.done(if good { "passed" } else { "failed" });
    Ok(Suite { name, counts, good, seconds })
}

/// `test NAME ... FAILED`, `test NAME ... ignored, REASON` and `test result: ok. 5 passed; 0 failed; 1 ignored; ...`
fn read_libtest(counts: &mut Counts, line: &str) {
    if let Some((name, outcome)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ")) {
        if outcome == "FAILED" {
            counts.failures.push(name.into());
        } else if let Some(reason) = outcome.strip_prefix("ignored") {
            let reason = reason.trim_start_matches(", ").into();
            counts.skips.push(Skip { needs: "ignored".into(), test: name.into(), reason });
        }
    }
    let Some(result) = line.strip_prefix("test result: ") else { return };
    let Some((_, numbers)) = result.split_once(". ") else { return };
    for part in numbers.split(';') {
        let Some((number, what)) = part.trim().split_once(' ') else { continue };
        let Ok(number) = number.parse::<usize>() else { continue };
        match what {
            "passed" => counts.passed += number,
            "failed" => counts.failed += number,
            _ => {}
        }
    }
}

/// `FAIL: NAME`, `ERROR: NAME`, `Ran 12 tests in 3.1s`, and `FAILED (failures=1, errors=2, skipped=1)`.
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
        let number = number.parse().unwrap_or(0);
        match what {
            "failures" | "errors" | "unexpected successes" => {
                counts.failed += number;
                counts.passed = counts.passed.saturating_sub(number);
            }
            "skipped" => counts.skipped = number,
            _ => {}
        }
    }
}

/// A table of the suites, what failed, what was skipped and why, and one line with the sums.
fn summary(suites: &[Suite]) -> String {
    let mut text = format!("\n{:<8} {:>7} {:>7} {:>8} {:>9}\n", "tests", "passed", "failed", "skipped", "seconds");
    let mut sums = [0; 3];
    for Suite { name, counts, good, seconds } in suites {
        // A suite that stopped before its end has failed, whatever its tests were.
        let stopped = !good && counts.failed == 0;
        let these = [counts.passed, counts.failed + usize::from(stopped), counts.skips.len()];
        let [passed, failed, skipped] = these;
        let _ = write!(text, "{name:<8} {passed:>7} {failed:>7} {skipped:>8} {seconds:>9.1}");
        let _ = writeln!(text, "{}", if stopped { "  stopped before the end, see above" } else { "" });
        for failure in &counts.failures {
            let _ = writeln!(text, "  failed: {failure}");
        }
        sums = std::array::from_fn(|at| sums[at] + these[at]);
    }
    text += &skips::listing(&suites.iter().flat_map(|suite| &suite.counts.skips).collect::<Vec<_>>());
    let [passed, failed, skipped] = sums;
    let good = suites.iter().all(|suite| suite.good);
    text += match (good, skipped) {
        (false, _) => "Not all tests passed.\n",
        (true, 0) => "All tests passed.\n",
        (true, _) => "All tests that could run passed.\n",
    };
    text + &format!("{passed} passed, {failed} failed, {skipped} skipped")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(with: fn(&mut Counts, &str), text: &str) -> Counts {
        let mut counts = Counts::default();
        text.lines().for_each(|line| with(&mut counts, line));
        counts
    }

    fn skip(needs: &str, test: &str, reason: &str) -> Skip {
        Skip { needs: needs.into(), test: test.into(), reason: reason.into() }
    }

    #[test]
    fn results_of_several_test_programs_are_summed() {
        let text = "running 3 tests\ntest a::b ... ok\ntest a::c ... FAILED\ntest d ... ignored, takes an hour\n\
            test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
            test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.00s\n";
        let skips = vec![skip("ignored", "d", "takes an hour")];
        let expected = Counts { passed: 5, failed: 1, failures: vec!["a::c".into()], skips, skipped: 0 };
        assert_eq!(read(read_libtest, text), expected);
    }

    #[test]
    fn a_test_that_returned_early_did_not_pass() {
        let mut counts = Counts { passed: 5, failed: 1, failures: vec!["a::c".into()], ..Counts::default() };
        let (skipped, failed) = (skip("dora", "many::both", "not on PATH"), skip("data", "many::a::c", "half of it"));
        counts.take_skips(vec![skipped.clone(), failed]);
        assert_eq!((counts.passed, counts.failed, counts.skips), (4, 1, vec![skipped]));
    }

    #[test]
    fn a_skip_that_does_not_say_what_it_needs_counts_too() {
        let mut counts = read(read_unittest, "Ran 5 tests in 1s\n\nOK (skipped=2)");
        counts.take_skips(vec![skip("models", "test_models.A.test_b", "not fetched")]);
        assert_eq!((counts.passed, counts.skips.len()), (3, 2));
    }

    #[test]
    fn unittests_that_failed_did_not_pass() {
        let bad =
            read(read_unittest, "FAIL: test_x (m.C)\nRan 12 tests in 3s\n\nFAILED (failures=1, errors=2, skipped=1)");
        assert_eq!((bad.passed, bad.failed, bad.skipped), (9, 3, 1));
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

    fn rust(counts: Counts, good: bool) -> Suite {
        Suite { name: "Rust", counts, good, seconds: 2.0 }
    }

    #[test]
    fn the_summary_ends_with_the_sums() {
        let python =
            Suite { name: "Python", counts: Counts { passed: 3, ..Counts::default() }, good: true, seconds: 1.0 };
        let text = summary(&[python, rust(Counts { passed: 4, ..Counts::default() }, true)]);
        assert!(text.ends_with("\nAll tests passed.\n7 passed, 0 failed, 0 skipped"), "{text}");
    }

    #[test]
    fn skipped_tests_are_listed_and_not_called_passed() {
        let skips = vec![skip("dora", "many::both", "not on PATH")];
        let text = summary(&[rust(Counts { passed: 4, skips, ..Counts::default() }, true)]);
        let end = "\nskipped for want of dora: 1\n  many::both: not on PATH\n\
            All tests that could run passed.\n4 passed, 0 failed, 1 skipped";
        assert!(text.ends_with(end), "{text}");
    }

    #[test]
    fn a_suite_that_never_ran_has_failed() {
        let text = summary(&[rust(Counts::default(), false)]);
        assert!(text.contains("stopped before the end"), "{text}");
        assert!(text.ends_with("Not all tests passed.\n0 passed, 1 failed, 0 skipped"), "{text}");
    }
}
