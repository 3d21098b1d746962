//! `cargo xtask`: sets up a fresh clone and runs demos, tests and benchmarks, each with one command.
#![forbid(unsafe_code)]
// Use `output` instead: the standard macros panic when the reader of a pipe is gone.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod arguments;
mod bench;
mod demo;
mod dora;
mod error;
mod fuzz;
mod output;
mod process;
mod progress;
mod results;
mod setup;
mod skips;
mod soak;
mod test;
mod venv;
mod wheel;
mod workspace;

use std::process::ExitCode;

use arguments::{Command, HELP};
use error::{Error, Result};
use workspace::Workspace;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(code) => code.into(),
        Err(error) => {
            output::eprint_line(format_args!("error: {error}"));
            error.code.into()
        }
    }
}

/// Runs the command and returns its exit code.
fn run(arguments: &[String]) -> Result<u8> {
    let command = arguments::parse(arguments).map_err(Error::new)?;
    if command == Command::Help {
        output::print_line(HELP.trim_end());
        return Ok(0);
    }
    process::watch_signals()?;
    let workspace = Workspace::find()?;
    match command {
        Command::Help => Ok(0),
        Command::Setup => setup::command(&workspace),
        Command::Demo { demo, dora, frames } => demo::command(&workspace, demo, dora, frames),
        Command::Test { arguments } => test::command(&workspace, &arguments),
        Command::Bench { names, arguments } => bench::command(&workspace, &names, &arguments),
        Command::Fuzz { seconds, target } => fuzz::command(&workspace, seconds, target.as_deref()),
        Command::Soak(soak) => soak::command(&workspace, soak),
        Command::Wheel => wheel::command(&workspace),
    }
}
