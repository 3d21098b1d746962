//! Failures with their fix and the exit code.

use std::fmt;

/// Result of a fallible operation of this program.
pub type Result<T> = std::result::Result<T, Error>;

/// Failure that ends the command; printed once, by `main`.
#[derive(Debug)]
pub struct Error {
    message: String,
    /// Exit code of the command.
    pub code: u8,
}

impl Error {
    /// Creates a failure with exit code 1. The message says what failed and how to fix it.
    pub fn new(message: impl Into<String>) -> Self {
        Error { message: message.into(), code: 1 }
    }

    /// Creates the failure of a command that was stopped by a signal, with exit code 130 (128 + SIGINT, as in shells).
    pub fn interrupted(step: &str) -> Self {
        Error { message: format!("stopped by a signal during `{step}`"), code: 130 }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Adds a subject to an I/O error.
pub trait Context<T> {
    /// Prefixes the error with `subject`, the name of the file or program.
    ///
    /// # Errors
    /// The I/O error with its subject.
    fn context(self, subject: impl fmt::Display) -> Result<T>;
}

impl<T> Context<T> for std::io::Result<T> {
    fn context(self, subject: impl fmt::Display) -> Result<T> {
        self.map_err(|e| Error::new(format!("{subject}: {e}")))
    }
}
