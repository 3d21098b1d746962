//! `sideline completions`: shell completion scripts.

use clap::CommandFactory;
use clap_complete::Shell;
use sideline_api::Result;

use crate::{args::Cli, print};

/// Prints the completion script of a shell; returns the exit code.
///
/// # Errors
/// Never; an error of standard output is reported at the end, as for every command.
pub fn print(shell: Shell) -> Result<u8> {
    let mut script = vec![];
    clap_complete::generate(shell, &mut Cli::command(), "sideline", &mut script);
    print::stdout(&String::from_utf8_lossy(&script));
    Ok(0)
}
