//! Skipped tests: the lines that `sideline_testkit::skipped` leaves in a file, as what tests print is captured.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

use crate::{
    error::{About, Result},
    house::House,
};

/// The variable that names the file to the tests.
pub const VARIABLE: &str = "SIDELINE_SKIPS";

/// A test that could not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip {
    /// The capability that was missing, as `dora`; or `ignored`.
    pub needs: String,
    /// The test, with its program.
    pub test: String,
    /// Reason in words.
    pub reason: String,
}

/// The empty file for the skips of a suite.
///
/// # Errors
/// When it cannot be written.
pub fn fresh_file(house: &House, suite: &str) -> Result<PathBuf> {
    let path = house.logs.join(format!("skips-{}", suite.to_lowercase()));
    std::fs::write(&path, "").about(path.display())?;
    Ok(path)
}

/// Reads the skips of a suite, each test once.
///
/// # Errors
/// When the file cannot be read.
pub fn read(path: &Path) -> Result<Vec<Skip>> {
    Ok(parse(&std::fs::read_to_string(path).about(path.display())?))
}

/// Lines `skipped: [NEEDS] TEST: REASON`.
fn parse(text: &str) -> Vec<Skip> {
    let mut skips: Vec<Skip> = Vec::new();
    for line in text.lines() {
        let Some((needs, rest)) = line.strip_prefix("skipped: [").and_then(|rest| rest.split_once("] ")) else {
            continue;
        };
        let (test, reason) = rest.split_once(": ").unwrap_or((rest, ""));
        if !skips.iter().any(|skip| skip.test == test) {
            skips.push(Skip { needs: needs.into(), test: test.into(), reason: reason.into() });
        }
    }
    skips
}

/// Lists skips by capability; empty where there are none.
pub fn listing(skips: &[&Skip]) -> String {
    let mut skips = skips.to_vec();
    skips.sort_by(|a, b| (&a.needs, &a.test).cmp(&(&b.needs, &b.test)));
    let mut text = String::new();
    for of_one in skips.chunk_by(|a, b| a.needs == b.needs) {
        let _ = writeln!(text, "skipped for want of {}: {}", of_one[0].needs, of_one.len());
        for Skip { test, reason, .. } in of_one {
            let _ = writeln!(text, "  {test}: {reason}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_skipped_test_counts_once_and_is_listed_by_what_it_lacks() {
        let text = "skipped: [data] tud::scores: no ../shared/data\nskipped: [dora] many::both: not on PATH\n\
            skipped: [data] tud::scores: again\nsomething else\nskipped: [data] peers::sort: no ../shared/data\n";
        let skips = parse(text);
        assert_eq!(skips.len(), 3);
        let expected = "skipped for want of data: 2\n  peers::sort: no ../shared/data\n  tud::scores: no ../shared/data\n\
            skipped for want of dora: 1\n  many::both: not on PATH\n";
        assert_eq!(listing(&skips.iter().collect::<Vec<_>>()), expected);
        assert_eq!(listing(&[]), "");
    }
}
