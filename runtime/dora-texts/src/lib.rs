//! What dora says in words only. Nothing else in the repository looks into its texts: they change without notice.
//!
//! A test fails when dora is raised: then look at each text again, in the new dora's sources and by running it, and set
//! [`VERSION`].
#![forbid(unsafe_code)]

/// The dora whose texts are read here.
pub const VERSION: &str = "1.1.0";

/// Returns the id of a dataflow, from the line that `dora start` prints: `dataflow start triggered: ID`.
pub fn dataflow_id(line: &str) -> Option<&str> {
    let id = line.split_once("dataflow start triggered:")?.1.trim();
    (!id.is_empty() && id.chars().all(|c| c.is_ascii_hexdigit() || c == '-')).then_some(id)
}

/// Returns true where `dora status` says that coordinator and daemon have found each other.
pub fn is_daemon_running(status: &str) -> bool {
    status.contains("Daemon: Running")
}

/// Returns the id of the node that a process is, from the environment that dora gave it, as `/proc/PID/environ` has it.
pub fn node_id(environment: &str) -> Option<&str> {
    let config = environment.split('\0').find(|variable| variable.starts_with("DORA_NODE_CONFIG="))?;
    let after = config.split("node_id").nth(1)?;
    after.trim_start_matches(['"', ':', ' ']).split(['"', ',', '\n', ' ']).next()
}

/// Returns true for the text of the error that `EventStream::recv_timeout` gives when its time is over.
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
    fn a_raised_dora_has_its_texts_looked_at_again() {
        let lock = repository_file("Cargo.lock");
        for package in ["dora-core", "dora-message", "dora-node-api"] {
            let after = lock.split_once(&format!("name = \"{package}\"\nversion = \"")).unwrap().1;
            assert_eq!(after.split('"').next(), Some(VERSION), "{package} was raised: see the head of this file");
        }
        let pin = format!("dora-rs-cli=={VERSION}");
        let requirements = repository_file("models/requirements.txt");
        assert!(requirements.lines().any(|line| line == pin), "dora-rs-cli was raised: see the head of this file");
    }

    #[test]
    fn the_dataflows_id_is_taken_from_doras_own_line() {
        let line = "dataflow start triggered: 01a1fd87-5f8d-7de4-92ff-4d7503ac5f0a";
        assert_eq!(dataflow_id(line), Some("01a1fd87-5f8d-7de4-92ff-4d7503ac5f0a"));
        assert_eq!(dataflow_id("09:54:30 stdout a: hello"), None);
        assert_eq!(dataflow_id("dataflow start triggered: ../x"), None);
    }

    #[test]
    fn a_receive_whose_time_is_over_is_no_error_of_dora() {
        assert!(is_timeout("Receiver timed out"));
        assert!(!is_timeout("the daemon is gone"));
    }

    #[test]
    fn a_node_is_known_by_its_environment() {
        let environment = "PATH=/bin\0DORA_NODE_CONFIG={\"dataflow_id\":\"1\",\"node_id\":\"cap\",\"x\":1}\0A=b";
        assert_eq!(node_id(environment), Some("cap"));
        assert_eq!(node_id("DORA_NODE_CONFIG=dataflow_id: 1\nnode_id: cap\nx: 1"), Some("cap"));
        assert_eq!(node_id("PATH=/bin"), None);
    }
}
