//! Makes dora's transport keep every message.
//!
//! As shipped, dora's links between nodes give up a message after a millisecond of congestion, and a link after ten seconds
//! of silence, without a word. Zenoh reads the patience from the file that `DORA_ZENOH_CONFIG_OVERLAY` names, in each
//! process's own environment, which a dataflow file cannot set. So a node that was started without it writes the file and
//! starts itself again with it, before it has spoken to anybody: same process id, same arguments.

use std::{
    ffi::OsString,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use sideline_api::{Error, Failure, OrFail, Result};
use sideline_system::owner;

const OVERLAY: &str = "DORA_ZENOH_CONFIG_OVERLAY";
const NODE: &str = "DORA_NODE_CONFIG";

/// Microseconds a sender waits for room before it gives a message up: longer than any stall time allows a run to stand.
const PATIENCE_US: i64 = 60_000_000;
/// The least of it that a user's own overlay may set, microseconds: the stall time where a flow sets none. A run that
/// stands for less than that goes on, and must have lost nothing.
const LEAST_PATIENCE_US: i64 = 10_000_000;
/// Keys of that patience: for messages that fit one batch of Zenoh's, and for those cut into several.
const PATIENCE: [&str; 2] = [
    "transport/link/tx/queue/congestion_control/drop/wait_before_drop",
    "transport/link/tx/queue/congestion_control/drop/max_wait_before_drop_fragments",
];

/// Milliseconds of silence after which a peer counts as gone, and what is under way to it is lost. Zenoh's own 10 s end a
/// run at the first longer cut of the network.
const LEASE_MS: i64 = 120_000;
/// Signs of life in that time: one each 15 s.
const KEEP_ALIVE: i64 = 8;
/// Key of the lease.
const LEASE: &str = "transport/link/tx/lease";

/// The overlay file's text.
pub fn overlay() -> String {
    format!(
        "{{transport: {{link: {{tx: {{lease: {LEASE_MS}, keep_alive: {KEEP_ALIVE}, queue: {{congestion_control: {{drop: \
         {{wait_before_drop: {PATIENCE_US}, max_wait_before_drop_fragments: {PATIENCE_US}}}}}}}}}}}}}}}\n"
    )
}

/// True when this process was started by a dora daemon as a node of a flow.
pub fn started_by_dora() -> bool {
    std::env::var_os(NODE).is_some()
}

/// Starts this process again with the overlay when none is set; returns when one is, with a warning where it lacks
/// something that is no must.
///
/// # Errors
/// When the overlay cannot be written, or one is set that does not hold messages back from being dropped.
pub fn ensure() -> Result<Option<String>> {
    if let Some(path) = std::env::var_os(OVERLAY) {
        let place = || format!("{OVERLAY}={}", path.display());
        let text = std::fs::read_to_string(&path).or_fail(Failure::Config, place)?;
        let warning = check(&text).map_err(|error| Error { message: format!("{}: {error}", place()), ..error })?;
        return Ok(warning.map(|warning| format!("{}: {warning}", place())));
    }
    let folder = owner::first_private(owner::runtime_folders()).or_fail(Failure::Other, || "dora's transport")?;
    let path = write_overlay(&folder)?;
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_else(|| OsString::from("sideline"));
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from(program));
    let mut again = Command::new(program);
    again.args(arguments).env(OVERLAY, &path);
    // Only returns when it failed.
    let cause = again.exec();
    Err(Error::other(format!("cannot start again with {OVERLAY}={}: {cause}", path.display())))
}

/// Writes the overlay into a folder that is this user's alone. One file serves all nodes of a user; it is written whole or
/// not at all, so that nodes that start together agree.
fn write_overlay(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("zenoh-overlay.json5");
    let text = overlay();
    if !owner::read_private(&path).is_ok_and(|found| found == text) {
        owner::write_private(&path, &text).or_fail(Failure::Other, || path.display().to_string())?;
    }
    Ok(path)
}

/// Checks the text of an overlay: what it has to hold; returns what it had better hold as well.
fn check(text: &str) -> Result<Option<String>> {
    let overlay: Value =
        json5::from_str(text).or_fail(Failure::Config, || "not JSON5, which Zenoh's settings are in")?;
    for key in PATIENCE {
        let value = lookup(&overlay, key);
        // Below zero it is without end.
        if value.and_then(Value::as_i64).is_none_or(|us| (0..LEAST_PATIENCE_US).contains(&us)) {
            let name = key.rsplit('/').next().unwrap_or(key);
            let found = value.map_or_else(|| "is not set".to_owned(), |value| format!("is {value}"));
            return Err(Error::config(format!(
                "`{name}` {found}: dora would lose messages in silence. It has to be a whole number, \
                 {LEAST_PATIENCE_US} (microseconds) or more. Add this to the file, or unset the variable:\n{}",
                self::overlay()
            )));
        }
    }
    if lookup(&overlay, LEASE).is_none() {
        return Ok(Some(format!(
            "`lease` is not set: between hosts, a cut of more than 10 s ends the run. Add `transport: {{link: {{tx: {{lease: \
             {LEASE_MS}, keep_alive: {KEEP_ALIVE}}}}}}}` to the file"
        )));
    }
    Ok(None)
}

/// The value of a key as `a/b`, which may be nested or written in one, as Zenoh reads both. Of two the later one holds.
fn lookup<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    value.as_object()?.iter().rev().find_map(|(name, value)| match key.strip_prefix(name.as_str())? {
        "" => Some(value),
        rest => lookup(value, rest.strip_prefix('/')?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        check(text).unwrap_err().message
    }

    fn with_patience(wait: &str, fragments: &str) -> String {
        format!(
            "{{transport: {{link: {{tx: {{lease: 30000, queue: {{congestion_control: {{drop: \
             {{wait_before_drop: {wait}, max_wait_before_drop_fragments: {fragments}}}}}}}}}}}}}}}"
        )
    }

    #[test]
    fn an_overlay_with_too_little_patience_is_refused_with_the_least_and_the_mend() {
        for text in ["{}", "{/* wait_before_drop */}", "{transport: {link: {tx: {lease: 120000}}}}"] {
            assert!(refusal(text).contains("`wait_before_drop` is not set"), "{text}");
        }
        for (wait, fragments, why) in [
            ("1", "60000000", "`wait_before_drop` is 1: "),
            ("9999999", "60000000", "`wait_before_drop` is 9999999: "),
            ("60000000", "50000", "`max_wait_before_drop_fragments` is 50000: "),
            ("6e7", "60000000", "`wait_before_drop` is 60000000.0: "),
            ("'long'", "60000000", "`wait_before_drop` is \"long\": "),
        ] {
            let text = refusal(&with_patience(wait, fragments));
            assert!(text.contains(why) && text.contains("10000000 (microseconds) or more"), "{text}");
            assert!(text.contains("wait_before_drop: 60000000"), "{text}");
        }
        assert!(refusal("{transport: ").contains("not JSON5"));
    }

    #[test]
    fn patience_of_every_spelling_that_zenoh_reads_is_accepted() {
        for (wait, fragments) in [("10000000", "10000000"), ("-1", "-1"), ("+60000000", "0x3938700")] {
            assert_eq!(check(&with_patience(wait, fragments)).unwrap(), None, "{wait} {fragments}");
        }
        let flat =
            "{'transport/link': {tx: {lease: 1}, 'tx/queue/congestion_control/drop': {wait_before_drop: 60000000,
                     max_wait_before_drop_fragments: 60000000, }}} // a comment";
        assert_eq!(check(flat).unwrap(), None);
        assert_eq!(check(&overlay()).unwrap(), None);
    }

    #[test]
    fn an_overlay_without_a_lease_is_accepted_with_a_warning_that_says_how_to_add_it() {
        let text = with_patience("60000000", "60000000").replace("lease: 30000, ", "");
        let warning = check(&text).unwrap().unwrap();
        assert!(warning.contains("lease: 120000, keep_alive: 8"), "{warning}");
    }

    #[test]
    fn the_overlay_is_written_through_no_link_and_one_that_others_may_write_to_is_written_anew() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        std::fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, folder.path().join("zenoh-overlay.json5")).unwrap();
        let path = write_overlay(folder.path()).unwrap();
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(write_overlay(folder.path()).unwrap(), path);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), overlay());
    }
}
