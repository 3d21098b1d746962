//! Skipped tests, read from the file to which `sideline_testkit::skip_test` writes them, since the test harness
//! captures what tests print.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

use crate::{
    error::{Context, Result},
    workspace::Workspace,
};

/// Environment variable with the path of that file.
pub const FILE_VARIABLE: &str = "SIDELINE_SKIPS";

/// Test that could not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip {
    /// Missing capability, such as `dora`, or `ignored`.
    pub needs: String,
    /// Name of the test, with its program.
    pub test: String,
    /// Reason of the skip.
    pub reason: String,
}

/// Creates an empty file for the skipped tests of a suite.
///
/// # Errors
/// When the file cannot be written.
pub fn create_file(workspace: &Workspace, suite: &str) -> Result<PathBuf> {
    let path = workspace.logs.join(format!("skips-{}", suite.to_lowercase()));
    std::fs::write(&path, "").context(path.display())?;
    Ok(path)
}

/// Reads the skipped tests of a suite, each test once.
///
/// # Errors
/// When the file cannot be read.
pub fn read(path: &Path) -> Result<Vec<Skip>> {
    Ok(parse(&std::fs::read_to_string(path).context(path.display())?))
}

/// Parses lines `skipped: [NEEDS] TEST: REASON`.
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

/// Formats skipped tests by missing capability; empty if there are none.
pub fn listing(skips: &[&Skip]) -> String {
    let mut skips = skips.to_vec();
    skips.sort_by(|a, b| (&a.needs, &a.test).cmp(&(&b.needs, &b.test)));
    let mut text = String::new();
    for group in skips.chunk_by(|a, b| a.needs == b.needs) {
        let _ = writeln!(text, "skipped for lack of {}: {}", group[0].needs, group.len());
        for Skip { test, reason, .. } in group {
            let _ = writeln!(text, "  {test}: {reason}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_skipped_test_counts_once_and_is_listed_by_its_missing_capability() {
        let text = "skipped: [data] tud::scores: no ../shared/data\nskipped: [dora] many::both: not on PATH\n\
            skipped: [data] tud::scores: again\nsomething else\nskipped: [data] peers::sort: no ../shared/data\n";
        let skips = parse(text);
        assert_eq!(skips.len(), 3);
        let expected = "skipped for lack of data: 2\n  peers::sort: no ../shared/data\n  tud::scores: no ../shared/data\n\
            skipped for lack of dora: 1\n  many::both: not on PATH\n";
        assert_eq!(listing(&skips.iter().collect::<Vec<_>>()), expected);
        assert_eq!(listing(&[]), "");
    }
}
