//! Makes dora's transport keep every message.
//!
//! As shipped, dora's links between nodes give up a message after a millisecond of congestion, without a word. Zenoh reads the patience from the file that `DORA_ZENOH_CONFIG_OVERLAY`
//! names, in each process's own environment, which a dataflow file cannot set. So a node that was started without it
//! writes the file and starts itself again with it, before it has spoken to anybody: same process id, same arguments.

use std::{
    ffi::OsString,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use sideline_api::{Error, Failure, OrFail, Result};

const OVERLAY: &str = "DORA_ZENOH_CONFIG_OVERLAY";
const NODE: &str = "DORA_NODE_CONFIG";

/// Microseconds a sender waits for room before it gives a message up: longer than any stall time allows a run to stand.
const PATIENCE_US: u64 = 60_000_000;

/// The overlay file's text.
pub fn overlay() -> String {
    format!(
        "{{transport: {{link: {{tx: {{queue: {{congestion_control: {{drop: \
         {{wait_before_drop: {PATIENCE_US}, max_wait_before_drop_fragments: {PATIENCE_US}}}}}}}}}}}}}}}\n"
    )
}

/// True when this process was started by a dora daemon as a node of a flow.
pub fn started_by_dora() -> bool {
    std::env::var_os(NODE).is_some()
}

/// Starts this process again with the overlay when none is set; returns when one is.
///
/// # Errors
/// When the overlay cannot be written, or one is set that does not hold messages back from being dropped.
pub fn ensure() -> Result<()> {
    if let Some(path) = std::env::var_os(OVERLAY) {
        return check(Path::new(&path));
    }
    let path = write_overlay()?;
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_else(|| OsString::from("sideline"));
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from(program));
    let mut again = Command::new(program);
    again.args(arguments).env(OVERLAY, &path);
    // Only returns when it failed.
    let cause = again.exec();
    Err(Error::other(format!("cannot start again with {OVERLAY}={}: {cause}", path.display())))
}

fn write_overlay() -> Result<PathBuf> {
    // One file for all nodes of a user; written whole or not at all, so that nodes that start together agree.
    let folder = std::env::temp_dir().join(format!("sideline-{}", rustix::process::getuid().as_raw()));
    std::fs::create_dir_all(&folder).or_fail(Failure::Other, || folder.display().to_string())?;
    let path = folder.join("zenoh-overlay.json5");
    let text = overlay();
    if std::fs::read_to_string(&path).is_ok_and(|found| found == text) {
        return Ok(path);
    }
    let part = folder.join(format!("zenoh-overlay.{}", std::process::id()));
    std::fs::write(&part, text).or_fail(Failure::Other, || part.display().to_string())?;
    std::fs::rename(&part, &path).or_fail(Failure::Other, || path.display().to_string())?;
    Ok(path)
}

fn check(path: &Path) -> Result<()> {
    let text = std::fs::read_to_string(path).or_fail(Failure::Config, || format!("{OVERLAY}={}", path.display()))?;
    if text.contains("wait_before_drop") {
        return Ok(());
    }
    Err(Error::config(format!(
        "{OVERLAY}={} sets no `wait_before_drop`: dora would lose messages in silence. \
         Add this to it, or unset the variable:\n{}",
        path.display(),
        overlay()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_without_patience_is_refused_with_the_mend() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("overlay.json5");
        std::fs::write(&path, "{}").unwrap();
        let error = check(&path).unwrap_err();
        assert!(error.message.contains("wait_before_drop: 60000000"), "{error}");
        std::fs::write(&path, overlay()).unwrap();
        check(&path).unwrap();
        assert!(check(&folder.path().join("absent")).is_err());
    }
}
