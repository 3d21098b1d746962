//! `cargo xtask`: from a fresh clone to a demo, tests and benchmarks, each in one command.
#![forbid(unsafe_code)]

mod arguments;
mod bench;
mod demo;
mod dora;
mod error;
mod house;
mod process;
mod progress;
mod results;
mod setup;
mod stamp;
mod test;

use std::process::ExitCode;

use arguments::{Command, HELP};
use error::{Error, Result};
use house::House;

fn main() -> ExitCode {
    let given: Vec<String> = std::env::args().skip(1).collect();
    match run(&given) {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("error: {error}");
            error.code.into()
        }
    }
}

fn run(given: &[String]) -> Result<u8> {
    let command = arguments::parse(given).map_err(Error::new)?;
    if command == Command::Help {
        print!("{HELP}");
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
    }
}
