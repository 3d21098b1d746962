//! The program `sideline`, which benchmarks of whole flows run in processes of their own.

use std::path::PathBuf;

use sideline_api::{Error, Result};

/// Name of the program.
const SIDELINE: &str = "sideline";

/// Returns the path of `sideline`: the one beside this program, else the one on PATH.
///
/// # Errors
/// There is neither.
pub fn find() -> Result<PathBuf> {
    let beside = std::env::current_exe().map(|program| program.with_file_name(SIDELINE)).unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join(SIDELINE));
    let found = std::iter::once(beside.clone()).chain(on_path).find(|program| program.is_file());
    // Runs have working directories of their own.
    found.and_then(|program| std::path::absolute(program).ok()).ok_or_else(|| {
        Error::config(format!(
            "the program `{SIDELINE}`, which runs the flow, is neither at {} nor on PATH; build it with `cargo build -p \
             {SIDELINE}`",
            beside.display()
        ))
    })
}
