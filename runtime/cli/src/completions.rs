//! `sideline completions`: what a shell needs to complete commands and options.

use clap::CommandFactory;
use clap_complete::Shell;
use sideline_api::{Failure, OrFail, Result};

use crate::args::Cli;

/// Prints the script of a shell.
///
/// # Errors
/// When standard output cannot be written.
pub fn print(shell: Shell) -> Result<u8> {
    let mut script = vec![];
    clap_complete::generate(shell, &mut Cli::command(), "sideline", &mut script);
    std::io::Write::write_all(&mut std::io::stdout(), &script).or_fail(Failure::Output, || "standard output")?;
    Ok(0)
}
