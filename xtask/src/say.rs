//! Output that survives its reader: `print!` panics once the other end of a pipe is closed, as in `cargo xtask test | head`.

use std::{fmt::Display, io::Write};

/// Prints a line on standard output.
pub fn out(text: impl Display) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Prints a line on standard error.
pub fn err(text: impl Display) {
    raw_err(format_args!("{text}\n"));
}

/// Prints on standard error, without an end of line.
pub fn raw_err(text: impl Display) {
    let mut err = std::io::stderr().lock();
    let _ = write!(err, "{text}").and_then(|()| err.flush());
}
