//! `cargo xtask test`: runs the Python and Rust tests and prints one summary.

use std::{fmt::Write, process::Command};

use crate::{
    error::Result,
    output,
    progress::{Progress, Step},
    setup::{self, Python},
    skips::{self, Skip},
    workspace::Workspace,
};

/// Test counts of a suite.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: usize,
    failed: usize,
    /// Names of failed tests.
    failures: Vec<String>,
    /// Tests that could not run, or are ignored.
    skips: Vec<Skip>,
    /// Number of skipped tests reported by the test program.
    reported_skipped: usize,
}

impl Counts {
    /// Counts tests as skipped that the test program counted as passed because they returned early.
    fn add_skips(&mut self, skips: Vec<Skip>) {
        for skip in skips {
            // A test that failed after skipping a part of its checks counts as failed.
            if !self.failures.iter().any(|name| skip.test.ends_with(&format!("::{name}"))) {
                self.passed = self.passed.saturating_sub(1);
                self.skips.push(skip);
            }
        }
        // Tests skipped without `sideline_testkit` or `models/skips.py`.
        for number in self.skips.len()..self.reported_skipped {
            self.passed = self.passed.saturating_sub(1);
            let reason = "the test does not report a missing capability; see the output above".into();
            self.skips.push(Skip {
                needs: "an unknown capability".into(),
                test: format!("test {}", number + 1),
                reason,
            });
        }
    }
}

/// Results of a suite, one line of the summary.
struct Suite {
    name: &'static str,
    counts: Counts,
    /// False when the suite failed, possibly without running a single test.
    succeeded: bool,
    seconds: f64,
}

/// Runs all tests, or with `arguments` only `cargo test` with these arguments. Returns 1 if a test failed.
///
/// # Errors
/// When the set-up fails or a program cannot be started. Failed tests are not an error.
pub fn command(workspace: &Workspace, arguments: &[String]) -> Result<u8> {
    let runs_all = arguments.is_empty();
    let mut progress = Progress::new(workspace, setup::STEPS + if runs_all { 3 } else { 2 });
    setup::run(workspace, &mut progress, Python::Test)?;
    let mut suites = Vec::new();
    if runs_all {
        let mut python = workspace.command(workspace.venv("python"));
        python.args(["-m", "unittest", "discover", "-s", "models"]).env("PYTHONUNBUFFERED", "1");
        suites.push(run_suite(workspace, "Python", progress.step("Python tests")?, &mut python, parse_unittest_line)?);
    }

    // Built in a step of its own, which shows cargo's progress bar; the output of the tests is then parsed.
    let (selection, rest) = cargo_arguments(arguments);
    let mut step = progress.step("build tests")?;
    if needs_sideline(&selection) {
        step.report("cargo build -p sideline");
        // A failure is reported by the build of the tests.
        step.run_shown(workspace.cargo().args(["build", "-p", "sideline"]))?;
    }
    step.report("cargo test --no-run (the first time this takes several minutes)");
    if step.run_shown(workspace.cargo().args(["test", "--no-run"]).args(&selection))? == 0 {
        step.done("built");
        let mut cargo = workspace.cargo();
        cargo.args(["test", "--no-fail-fast"]).args(&selection).args(rest);
        suites.push(run_suite(workspace, "Rust", progress.step("Rust tests")?, &mut cargo, parse_libtest_line)?);
    } else {
        let seconds = step.seconds();
        step.done("the build failed, see above");
        suites.push(Suite { name: "Rust", counts: Counts::default(), succeeded: false, seconds });
    }
    output::print_line(summary(&suites));
    Ok(u8::from(suites.iter().any(|suite| !suite.succeeded)))
}

/// Splits arguments into those of `cargo test`, which select packages and tests, and those of the tests, which begin
/// with `--`. Selects all packages unless one is named.
fn cargo_arguments(arguments: &[String]) -> (Vec<String>, &[String]) {
    let end = arguments.iter().position(|argument| argument == "--").unwrap_or(arguments.len());
    let (selection, rest) = arguments.split_at(end);
    let selects_package =
        |a: &String| a.starts_with("-p") || a.starts_with("--package") || a == "--workspace" || a == "--all";
    let mut selection = selection.to_vec();
    if !selection.iter().any(selects_package) {
        selection.insert(0, "--workspace".into());
    }
    (selection, rest)
}

/// Returns true if the tests of a selection run `sideline` and cargo does not build it for them: those of `sideline-lab` alone.
fn needs_sideline(selection: &[String]) -> bool {
    let names = |package: &str| {
        selection.iter().any(|a| a.trim_start_matches("--package=").trim_start_matches("-p") == package)
    };
    names("sideline-lab") && !names("sideline") && !selection.iter().any(|a| a == "--workspace" || a == "--all")
}

/// Runs a suite, prints and parses its output, and reads its skipped tests.
fn run_suite(
    workspace: &Workspace,
    name: &'static str,
    mut step: Step,
    command: &mut Command,
    parse_line: fn(&mut Counts, &str),
) -> Result<Suite> {
    step.report("running");
    let mut counts = Counts::default();
    let file = skips::create_file(workspace, name)?;
    let succeeded = step.run_echoed(command.env(skips::FILE_VARIABLE, &file), |line| parse_line(&mut counts, line))?;
    counts.add_skips(skips::read(&file)?);
    let seconds = step.seconds();
    step.done(if succeeded { "passed" } else { "failed" });
    Ok(Suite { name, counts, succeeded, seconds })
}

/// Parses a line of libtest. The relevant lines are `test NAME ... FAILED`, `test NAME ... ignored, REASON` and
/// `test result: ok. 5 passed; 0 failed; 1 ignored; ...`.
fn parse_libtest_line(counts: &mut Counts, line: &str) {
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

/// Parses a line of Python's unittest. The relevant lines are `FAIL: NAME`, `ERROR: NAME`, `Ran 12 tests in 3.1s` and
/// `FAILED (failures=1, errors=2, skipped=1)`.
fn parse_unittest_line(counts: &mut Counts, line: &str) {
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
            "skipped" => counts.reported_skipped = number,
            _ => {}
        }
    }
}

/// Formats a table of the suites, the failed tests, the skipped tests with their reasons, and one line with the totals.
fn summary(suites: &[Suite]) -> String {
    let mut text = format!("\n{:<8} {:>7} {:>7} {:>8} {:>9}\n", "tests", "passed", "failed", "skipped", "seconds");
    let mut sums = [0; 3];
    for Suite { name, counts, succeeded, seconds } in suites {
        // A suite that stopped early has failed, even if none of its tests has.
        let stopped = !succeeded && counts.failed == 0;
        let row = [counts.passed, counts.failed + usize::from(stopped), counts.skips.len()];
        let [passed, failed, skipped] = row;
        let _ = write!(text, "{name:<8} {passed:>7} {failed:>7} {skipped:>8} {seconds:>9.1}");
        let _ = writeln!(text, "{}", if stopped { "  stopped early, see above" } else { "" });
        for failure in &counts.failures {
            let _ = writeln!(text, "  failed: {failure}");
        }
        sums = std::array::from_fn(|at| sums[at] + row[at]);
    }
    text += &skips::listing(&suites.iter().flat_map(|suite| &suite.counts.skips).collect::<Vec<_>>());
    let [passed, failed, skipped] = sums;
    let succeeded = suites.iter().all(|suite| suite.succeeded);
    text += match (succeeded, skipped) {
        (false, _) => "Not all tests passed.\n",
        (true, 0) => "All tests passed.\n",
        (true, _) => "All tests that could run passed.\n",
    };
    text + &format!("{passed} passed, {failed} failed, {skipped} skipped")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(parse_line: fn(&mut Counts, &str), text: &str) -> Counts {
        let mut counts = Counts::default();
        text.lines().for_each(|line| parse_line(&mut counts, line));
        counts
    }

    fn skip(needs: &str, test: &str, reason: &str) -> Skip {
        Skip { needs: needs.into(), test: test.into(), reason: reason.into() }
    }

    #[test]
    fn counts_of_several_test_programs_are_summed() {
        let text = "running 3 tests\ntest a::b ... ok\ntest a::c ... FAILED\ntest d ... ignored, takes an hour\n\
            test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
            test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.00s\n";
        let skips = vec![skip("ignored", "d", "takes an hour")];
        let expected = Counts { passed: 5, failed: 1, failures: vec!["a::c".into()], skips, reported_skipped: 0 };
        assert_eq!(parse(parse_libtest_line, text), expected);
    }

    #[test]
    fn a_skipped_test_is_not_counted_as_passed() {
        let mut counts = Counts { passed: 5, failed: 1, failures: vec!["a::c".into()], ..Counts::default() };
        let (skipped, failed) = (skip("dora", "many::both", "not on PATH"), skip("data", "many::a::c", "a part of it"));
        counts.add_skips(vec![skipped.clone(), failed]);
        assert_eq!((counts.passed, counts.failed, counts.skips), (4, 1, vec![skipped]));
    }

    #[test]
    fn a_skip_without_a_capability_is_counted() {
        let mut counts = parse(parse_unittest_line, "Ran 5 tests in 1s\n\nOK (skipped=2)");
        counts.add_skips(vec![skip("models", "test_models.A.test_b", "not fetched")]);
        assert_eq!((counts.passed, counts.skips.len()), (3, 2));
    }

    #[test]
    fn failed_unittests_are_not_counted_as_passed() {
        let failed = parse(
            parse_unittest_line,
            "FAIL: test_x (m.C)\nRan 12 tests in 3s\n\nFAILED (failures=1, errors=2, skipped=1)",
        );
        assert_eq!((failed.passed, failed.failed, failed.reported_skipped), (9, 3, 1));
        assert_eq!(failed.failures, ["test_x (m.C)"]);
        assert_eq!(parse(parse_unittest_line, "Ran 1 test in 0s\n\nOK").passed, 1);
    }

    #[test]
    fn sideline_is_built_for_tests_of_the_lab_alone() {
        let needs = |line: &str| {
            let arguments: Vec<String> = line.split_whitespace().map(String::from).collect();
            needs_sideline(&cargo_arguments(&arguments).0)
        };
        assert!(needs("-p sideline-lab") && needs("--package=sideline-lab --test eval_moves"));
        assert!(!needs("") && !needs("-p sideline") && !needs("-p sideline -p sideline-lab"));
    }

    #[test]
    fn all_packages_are_tested_unless_one_is_named() {
        let split = |line: &str| {
            let arguments: Vec<String> = line.split_whitespace().map(String::from).collect();
            let (selection, rest) = cargo_arguments(&arguments);
            (selection.join(" "), rest.join(" "))
        };
        assert_eq!(split(""), ("--workspace".into(), String::new()));
        assert_eq!(split("window -- --nocapture"), ("--workspace window".into(), "-- --nocapture".into()));
        assert_eq!(split("-p sideline-graph"), ("-p sideline-graph".into(), String::new()));
        assert_eq!(split("--package=xtask"), ("--package=xtask".into(), String::new()));
    }

    fn rust(counts: Counts, succeeded: bool) -> Suite {
        Suite { name: "Rust", counts, succeeded, seconds: 2.0 }
    }

    #[test]
    fn the_summary_ends_with_the_totals() {
        let python =
            Suite { name: "Python", counts: Counts { passed: 3, ..Counts::default() }, succeeded: true, seconds: 1.0 };
        let text = summary(&[python, rust(Counts { passed: 4, ..Counts::default() }, true)]);
        assert!(text.ends_with("\nAll tests passed.\n7 passed, 0 failed, 0 skipped"), "{text}");
    }

    #[test]
    fn skipped_tests_are_listed_and_the_summary_mentions_them() {
        let skips = vec![skip("dora", "many::both", "not on PATH")];
        let text = summary(&[rust(Counts { passed: 4, skips, ..Counts::default() }, true)]);
        let end = "\nskipped for lack of dora: 1\n  many::both: not on PATH\n\
            All tests that could run passed.\n4 passed, 0 failed, 1 skipped";
        assert!(text.ends_with(end), "{text}");
    }

    #[test]
    fn a_suite_that_did_not_run_has_failed() {
        let text = summary(&[rust(Counts::default(), false)]);
        assert!(text.contains("stopped early"), "{text}");
        assert!(text.ends_with("Not all tests passed.\n0 passed, 1 failed, 0 skipped"), "{text}");
    }
}
