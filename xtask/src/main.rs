//! `cargo xtask`: from a fresh clone to a demo, tests and benchmarks, each in one command.
#![forbid(unsafe_code)]
// `say` instead: these panic when nobody reads.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod arguments;
mod bench;
mod demo;
mod dora;
mod error;
mod fuzz;
mod house;
mod process;
mod progress;
mod results;
mod say;
mod setup;
mod skips;
mod soak;
mod test;
mod venv;

use std::process::ExitCode;

use arguments::{Command, HELP};
use error::{Error, Result};
use house::House;

fn main() -> ExitCode {
    let given: Vec<String> = std::env::args().skip(1).collect();
    match run(&given) {
        Ok(code) => code.into(),
        Err(error) => {
            say::err(format_args!("error: {error}"));
            error.code.into()
        }
    }
}

fn run(given: &[String]) -> Result<u8> {
    let command = arguments::parse(given).map_err(Error::new)?;
    if command == Command::Help {
        say::out(HELP.trim_end());
        return Ok(0);
    }
    process::watch_signals()?;
    let house = House::find()?;
    match command {
        Command::Help => Ok(0),
        Command::Setup => setup::command(&house),
        Command::Demo { show, dora, frames } => demo::command(&house, show, dora, frames),
        Command::Test { arguments } => test::command(&house, &arguments),
        Command::Bench { what, arguments } => bench::command(&house, &what, &arguments),
        Command::Fuzz { seconds, target } => fuzz::command(&house, seconds, target.as_deref()),
        Command::Soak(soak) => soak::command(&house, soak),
    }
}
