//! Output to a pipe without a reader.

use std::process::{Command, Stdio};

#[test]
fn a_closed_pipe_causes_no_panic() {
    for arguments in [&["--help"][..], &["no-such-command"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.args(arguments).stdin(Stdio::null()).stdout(writer.try_clone().unwrap()).stderr(writer);
        let code = command.status().unwrap().code();
        // A panic would exit with 101.
        assert_eq!(code, Some(i32::from(arguments[0] != "--help")), "{arguments:?}");
    }
}
