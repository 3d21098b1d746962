//! The parts of this program that `sideline-lab` shares with it: the frame of `main`, output on the terminal, Sideline home,
//! settings, tables of a run.
//!
//! For that program alone: nothing here is an interface for operators, and all of it may change with any version.

use std::ffi::OsString;

use clap::Parser;
use sideline_api::{Failure, Registry, Result};
pub use sideline_recording::{
    Batches, RecordedTable, RecordedTables, column, media_times_ns, stream_and_frame, table_rows,
};

pub use crate::{
    args::{Format, Setting, parse_key, parse_scalar, parse_setting},
    commands::print_json,
    errln,
    export::write::{Sink, to_file},
    home::{find as find_home, load_models},
    outln,
    plugins::{find as find_operator, with_installed},
    print::{stderr, stdout},
};
use crate::{logging, print, utf8};

/// Parses the command line `arguments`, which begin with the name of the program, starts logging and runs `command`; returns the
/// exit code of the program. Errors are printed here and nowhere else.
pub fn run_command_line<C: Parser>(
    registry: &Registry,
    arguments: &[OsString],
    command: impl FnOnce(&C) -> Result<u8>,
) -> u8 {
    // Before any thread starts, since it sets an environment variable that the library reads when it is loaded.
    #[cfg(feature = "onnx")]
    sideline_inference::environment::disable_telemetry();
    let parsed = match C::try_parse_from(arguments) {
        Ok(parsed) => parsed,
        Err(usage) if usage.kind() == clap::error::ErrorKind::InvalidUtf8 => {
            let described = utf8::describe_invalid::<C>(arguments);
            errln!("error: {}", described.unwrap_or_else(|| usage.to_string()));
            return Failure::Config.exit_code();
        }
        Err(usage) => {
            let _ = usage.print();
            // Help is a success; an invalid command line is a configuration error.
            return if usage.use_stderr() { 1 } else { 0 };
        }
    };
    let outcome = registry.check().and_then(|()| logging::start()).and_then(|()| command(&parsed));
    match outcome.and_then(check_printed) {
        Ok(code) => code,
        Err(error) => {
            for line in error.message.lines() {
                // The diagnostics of a flow already read `FILE:LINE:COLUMN: error: ...`.
                let prefix = if line.contains(": error: ") { "" } else { "error: " };
                errln!("{prefix}{line}");
            }
            error.failure.exit_code()
        }
    }
}

/// Turns the success of a command whose output could not be printed into a failure; returns the exit code.
fn check_printed(code: u8) -> Result<u8> {
    match print::failure() {
        Some(error) if code == 0 => Err(error),
        _ => Ok(code),
    }
}
