//! What went wrong, how to mend it, and the exit code.

use std::fmt;

/// Shorthand.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure that ends the command; printed once, at the top.
#[derive(Debug)]
pub struct Error {
    message: String,
    /// Exit code of the command.
    pub code: u8,
}

impl Error {
    /// A failure with exit code 1. The message says what failed and how to mend it.
    pub fn new(message: impl Into<String>) -> Self {
        Error { message: message.into(), code: 1 }
    }

    /// The user stopped the command (128 + SIGINT, as shells have it).
    pub fn interrupted(doing: &str) -> Self {
        Error { message: format!("stopped by a signal during `{doing}`"), code: 130 }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Says what an I/O error was about.
pub trait About<T> {
    /// `what` names the file or program.
    ///
    /// # Errors
    /// The I/O error with its subject.
    fn about(self, what: impl fmt::Display) -> Result<T>;
}

impl<T> About<T> for std::io::Result<T> {
    fn about(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|e| Error::new(format!("{what}: {e}")))
    }
}
