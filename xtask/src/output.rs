//! Output that tolerates a closed pipe, as in `cargo xtask test | head`, where `print!` panics.

use std::{fmt::Display, io::Write};

/// Prints a line to standard output.
pub fn print_line(text: impl Display) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Prints a line to standard error.
pub fn eprint_line(text: impl Display) {
    eprint_raw(format_args!("{text}\n"));
}

/// Prints to standard error without a line break.
pub fn eprint_raw(text: impl Display) {
    let mut err = std::io::stderr().lock();
    let _ = write!(err, "{text}").and_then(|()| err.flush());
}
