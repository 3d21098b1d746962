//! Transport settings with which dora drops no message.
//!
//! By default dora's links between nodes drop a message after a millisecond of congestion, and close a link after ten
//! seconds of silence, without reporting either. Zenoh reads these times from the file named by
//! `DORA_ZENOH_CONFIG_OVERLAY` in the environment of each process, which a dataflow file cannot set. So a node that was
//! started without the variable writes the file and executes itself again with it, before it connects to any other
//! process: same process id, same arguments.

use std::{
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use sideline_api::{Error, Failure, OrFail, Result};
use sideline_system::owner;

/// Environment variable with the path of the overlay.
const OVERLAY_VARIABLE: &str = "DORA_ZENOH_CONFIG_OVERLAY";
/// Environment variable that the daemon sets for its nodes.
pub(crate) const NODE_CONFIG_VARIABLE: &str = "DORA_NODE_CONFIG";

/// Time that a sender waits for room before it drops a message, µs: longer than any stall timeout lets a run stand
/// still.
const DROP_WAIT_US: i64 = 60_000_000;
/// Minimum of that time in an overlay of the user, µs: the default stall timeout. A run that stands still for less than
/// the stall timeout continues, so it must not have lost a message.
const MIN_DROP_WAIT_US: i64 = 10_000_000;
/// Zenoh's keys for that time: for messages that fit into one batch, and for messages cut into several.
const DROP_WAIT_KEYS: [&str; 2] = [
    "transport/link/tx/queue/congestion_control/drop/wait_before_drop",
    "transport/link/tx/queue/congestion_control/drop/max_wait_before_drop_fragments",
];

/// Time without a message after which a link is closed and the messages in flight on it are lost, ms. Zenoh's default
/// of 10 s ends a run at the first longer interruption of the network.
const LEASE_MS: i64 = 120_000;
/// Number of keep-alive messages in that time: one every 15 s.
const KEEP_ALIVE: i64 = 8;
/// Zenoh's key for the lease.
const LEASE_KEY: &str = "transport/link/tx/lease";

/// Returns the text of the overlay file.
pub fn overlay_text() -> String {
    format!(
        "{{transport: {{link: {{tx: {{lease: {LEASE_MS}, keep_alive: {KEEP_ALIVE}, queue: {{congestion_control: {{drop: \
         {{wait_before_drop: {DROP_WAIT_US}, max_wait_before_drop_fragments: {DROP_WAIT_US}}}}}}}}}}}}}}}\n"
    )
}

/// Returns true when this process was started by a dora daemon as a node of a flow.
pub fn started_by_dora() -> bool {
    std::env::var_os(NODE_CONFIG_VARIABLE).is_some()
}

/// Executes `restart`, which starts this process again, with the overlay if none is set. If one is set, returns, with a warning
/// if the overlay lacks a recommended setting.
///
/// # Errors
/// When the overlay cannot be written, or the one that is set allows messages to be dropped too early.
pub fn ensure_overlay(restart: &mut Command) -> Result<Option<String>> {
    if let Some(path) = std::env::var_os(OVERLAY_VARIABLE) {
        let place = || format!("{OVERLAY_VARIABLE}={}", path.display());
        let text = std::fs::read_to_string(&path).or_fail(Failure::Config, place)?;
        let warning =
            check_overlay(&text).map_err(|error| Error { message: format!("{}: {error}", place()), ..error })?;
        return Ok(warning.map(|warning| format!("{}: {warning}", place())));
    }
    let folder =
        owner::first_private_folder(owner::runtime_folders()).or_fail(Failure::Other, || "dora's transport")?;
    let path = write_overlay(&folder)?;
    // Returns only on failure.
    let cause = restart.env(OVERLAY_VARIABLE, &path).exec();
    Err(Error::other(format!("cannot execute itself again with {OVERLAY_VARIABLE}={}: {cause}", path.display())))
}

/// Writes the overlay into a private folder of the user. One file serves all nodes of a user. It is written atomically,
/// because nodes start at the same time.
fn write_overlay(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("zenoh-overlay.json5");
    let text = overlay_text();
    if !owner::read_private_file(&path).is_ok_and(|found| found == text) {
        owner::write_private_file(&path, &text).or_fail(Failure::Other, || path.display().to_string())?;
    }
    Ok(path)
}

/// Checks the text of an overlay. Returns a warning if a recommended setting is missing.
///
/// # Errors
/// When the text is not JSON5, or a required setting is missing or too small.
fn check_overlay(text: &str) -> Result<Option<String>> {
    let overlay: Value =
        json5::from_str(text).or_fail(Failure::Config, || "not JSON5, which Zenoh's settings are in")?;
    for key in DROP_WAIT_KEYS {
        let value = lookup(&overlay, key);
        // A negative value means no limit.
        if value.and_then(Value::as_i64).is_none_or(|us| (0..MIN_DROP_WAIT_US).contains(&us)) {
            let name = key.rsplit('/').next().unwrap_or(key);
            let found = value.map_or_else(|| "is not set".to_owned(), |value| format!("is {value}"));
            return Err(Error::config(format!(
                "`{name}` {found}: dora would drop messages without reporting it. It must be a whole number of \
                 microseconds, {MIN_DROP_WAIT_US} or more. Add this to the file, or unset the variable:\n{}",
                overlay_text()
            )));
        }
    }
    if lookup(&overlay, LEASE_KEY).is_none() {
        return Ok(Some(format!(
            "`lease` is not set: between hosts, a network interruption of more than 10 s ends the run. Add `transport: {{link: {{tx: {{lease: \
             {LEASE_MS}, keep_alive: {KEEP_ALIVE}}}}}}}` to the file"
        )));
    }
    Ok(None)
}

/// Returns the value of a key `a/b`, which may be nested or written in one piece; Zenoh reads both. The last of several
/// values counts.
fn lookup<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    value.as_object()?.iter().rev().find_map(|(name, value)| match key.strip_prefix(name.as_str())? {
        "" => Some(value),
        rest => lookup(value, rest.strip_prefix('/')?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_message(text: &str) -> String {
        check_overlay(text).unwrap_err().message
    }

    fn with_drop_waits(wait: &str, fragments: &str) -> String {
        format!(
            "{{transport: {{link: {{tx: {{lease: 30000, queue: {{congestion_control: {{drop: \
             {{wait_before_drop: {wait}, max_wait_before_drop_fragments: {fragments}}}}}}}}}}}}}}}"
        )
    }

    #[test]
    fn an_overlay_with_a_short_drop_wait_is_refused_with_the_minimum_and_the_fix() {
        for text in ["{}", "{/* wait_before_drop */}", "{transport: {link: {tx: {lease: 120000}}}}"] {
            assert!(error_message(text).contains("`wait_before_drop` is not set"), "{text}");
        }
        for (wait, fragments, why) in [
            ("1", "60000000", "`wait_before_drop` is 1: "),
            ("9999999", "60000000", "`wait_before_drop` is 9999999: "),
            ("60000000", "50000", "`max_wait_before_drop_fragments` is 50000: "),
            ("6e7", "60000000", "`wait_before_drop` is 60000000.0: "),
            ("'long'", "60000000", "`wait_before_drop` is \"long\": "),
        ] {
            let text = error_message(&with_drop_waits(wait, fragments));
            assert!(text.contains(why) && text.contains("microseconds, 10000000 or more"), "{text}");
            assert!(text.contains("wait_before_drop: 60000000"), "{text}");
        }
        assert!(error_message("{transport: ").contains("not JSON5"));
    }

    #[test]
    fn every_notation_that_zenoh_reads_is_accepted() {
        for (wait, fragments) in [("10000000", "10000000"), ("-1", "-1"), ("+60000000", "0x3938700")] {
            assert_eq!(check_overlay(&with_drop_waits(wait, fragments)).unwrap(), None, "{wait} {fragments}");
        }
        let flat =
            "{'transport/link': {tx: {lease: 1}, 'tx/queue/congestion_control/drop': {wait_before_drop: 60000000,
                     max_wait_before_drop_fragments: 60000000, }}} // a comment";
        assert_eq!(check_overlay(flat).unwrap(), None);
        assert_eq!(check_overlay(&overlay_text()).unwrap(), None);
    }

    #[test]
    fn an_overlay_without_a_lease_is_accepted_with_a_warning_that_shows_the_setting() {
        let text = with_drop_waits("60000000", "60000000").replace("lease: 30000, ", "");
        let warning = check_overlay(&text).unwrap().unwrap();
        assert!(warning.contains("lease: 120000, keep_alive: 8"), "{warning}");
    }

    #[test]
    fn the_overlay_replaces_a_link_and_a_file_that_others_may_write_to() {
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
        assert_eq!(std::fs::read_to_string(&path).unwrap(), overlay_text());
    }
}
