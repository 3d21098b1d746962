//! Parsers of information that dora provides as text only. No other code in the repository parses dora's output, since
//! its wording changes without notice.
//!
//! A test fails when the version of dora changes. Check each text then, in the sources of the new version and by
//! running it, and set [`VERSION`].
#![forbid(unsafe_code)]

/// Version of dora whose texts are parsed here.
pub const VERSION: &str = "1.1.0";

/// Parses the id of a dataflow from the line that `dora start` prints, `dataflow start triggered: ID`.
pub fn dataflow_id(line: &str) -> Option<&str> {
    let id = line.split_once("dataflow start triggered:")?.1.trim();
    (!id.is_empty() && id.chars().all(|c| c.is_ascii_hexdigit() || c == '-')).then_some(id)
}

/// Returns true if the output of `dora status` reports a daemon that is connected to the coordinator.
pub fn is_daemon_running(status: &str) -> bool {
    status.contains("Daemon: Running")
}

/// Parses the node id of a process from the environment that dora gave it, in the format of `/proc/PID/environ`.
pub fn node_id(environment: &str) -> Option<&str> {
    let config = environment.split('\0').find(|variable| variable.starts_with("DORA_NODE_CONFIG="))?;
    let after = config.split("node_id").nth(1)?;
    after.trim_start_matches(['"', ':', ' ']).split(['"', ',', '\n', ' ']).next()
}

/// Returns true for the error text of `EventStream::recv_timeout` after its timeout.
pub fn is_timeout(error: &str) -> bool {
    error.contains("Receiver timed out")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn repository_file(name: &str) -> String {
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)).unwrap()
    }

    #[test]
    fn a_new_version_of_dora_requires_a_review_of_its_texts() {
        let lock = repository_file("Cargo.lock");
        for package in ["dora-core", "dora-message", "dora-node-api"] {
            let after = lock.split_once(&format!("name = \"{package}\"\nversion = \"")).unwrap().1;
            assert_eq!(
                after.split('"').next(),
                Some(VERSION),
                "{package} has another version: see the head of this file"
            );
        }
        let pin = format!("dora-rs-cli=={VERSION}");
        let requirements = repository_file("models/requirements.txt");
        assert!(
            requirements.lines().any(|line| line == pin),
            "dora-rs-cli has another version: see the head of this file"
        );
    }

    #[test]
    fn the_dataflow_id_is_parsed_from_the_line_of_dora_start() {
        let line = "dataflow start triggered: 01a1fd87-5f8d-7de4-92ff-4d7503ac5f0a";
        assert_eq!(dataflow_id(line), Some("01a1fd87-5f8d-7de4-92ff-4d7503ac5f0a"));
        assert_eq!(dataflow_id("09:54:30 stdout a: hello"), None);
        assert_eq!(dataflow_id("dataflow start triggered: ../x"), None);
    }

    #[test]
    fn a_receive_timeout_is_told_apart_from_other_errors() {
        assert!(is_timeout("Receiver timed out"));
        assert!(!is_timeout("the daemon is gone"));
    }

    #[test]
    fn the_node_id_is_parsed_from_the_environment() {
        let environment = "PATH=/bin\0DORA_NODE_CONFIG={\"dataflow_id\":\"1\",\"node_id\":\"cap\",\"x\":1}\0A=b";
        assert_eq!(node_id(environment), Some("cap"));
        assert_eq!(node_id("DORA_NODE_CONFIG=dataflow_id: 1\nnode_id: cap\nx: 1"), Some("cap"));
        assert_eq!(node_id("PATH=/bin"), None);
    }
}
