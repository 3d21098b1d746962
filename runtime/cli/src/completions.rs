//! `sideline completions`: what a shell needs to complete commands and options.

use clap::CommandFactory;
use clap_complete::Shell;
use sideline_api::Result;

use crate::{args::Cli, print};

/// Prints the script of a shell.
///
/// # Errors
/// None; what standard output says is told at the end, as for every command.
pub fn print(shell: Shell) -> Result<u8> {
    let mut script = vec![];
    clap_complete::generate(shell, &mut Cli::command(), "sideline", &mut script);
    print::stdout(&String::from_utf8_lossy(&script));
    Ok(0)
}
