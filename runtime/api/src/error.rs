//! One error type for everything an operator can fail at: what failed, and the exit code that says so.

use std::fmt;

/// What kind of thing failed. The number is the exit code of the process (`DESIGN`: 0 is done).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// A flow, a key or a value is wrong; nothing was started.
    Config = 1,
    /// A model is missing, broken or of another shape.
    Model = 2,
    /// A source is missing, damaged or ended early.
    Input = 3,
    /// A result could not be written.
    Output = 4,
    /// A GPU was asked for and cannot be used.
    Gpu = 5,
    /// Everything else: a panic, a lost message, a node that died.
    Other = 6,
}

impl Failure {
    /// The process exit code.
    pub fn exit_code(self) -> u8 {
        self as u8
    }
}

/// An error with its exit code. The text names the place and the mend.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Error {
    /// Which exit code the process ends with.
    pub failure: Failure,
    /// What went wrong, where, and what to do about it.
    pub message: String,
    /// True when it follows from a failure elsewhere, which tells the cause.
    #[serde(default)]
    pub consequence: bool,
}

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of the given kind.
    pub fn new(failure: Failure, message: impl fmt::Display) -> Self {
        Self { failure, message: message.to_string(), consequence: false }
    }
    /// A flow, key or value that is wrong (exit code 1).
    pub fn config(message: impl fmt::Display) -> Self {
        Self::new(Failure::Config, message)
    }
    /// A model that is missing, broken or of another shape (exit code 2).
    pub fn model(message: impl fmt::Display) -> Self {
        Self::new(Failure::Model, message)
    }
    /// A source that is missing or damaged (exit code 3).
    pub fn input(message: impl fmt::Display) -> Self {
        Self::new(Failure::Input, message)
    }
    /// A result that could not be written (exit code 4).
    pub fn output(message: impl fmt::Display) -> Self {
        Self::new(Failure::Output, message)
    }
    /// A GPU that was asked for and cannot be used (exit code 5).
    pub fn gpu(message: impl fmt::Display) -> Self {
        Self::new(Failure::Gpu, message)
    }
    /// Anything else (exit code 6).
    pub fn other(message: impl fmt::Display) -> Self {
        Self::new(Failure::Other, message)
    }
    /// The same error with the place before it: `place: message`.
    pub fn at(self, place: impl fmt::Display) -> Self {
        Self { message: format!("{place}: {}", self.message), ..self }
    }
    /// The same error, marked as following from a failure elsewhere.
    pub fn as_consequence(self) -> Self {
        Self { consequence: true, ..self }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// Gives a foreign error its kind and its place: `read(path).or_fail(Failure::Input, || format!("reading {path}"))?`.
pub trait OrFail<T> {
    /// Turns the error into an [`Error`] that reads `place: cause`.
    fn or_fail<P: fmt::Display>(self, failure: Failure, place: impl FnOnce() -> P) -> Result<T>;
}

impl<T, E: fmt::Display> OrFail<T> for std::result::Result<T, E> {
    fn or_fail<P: fmt::Display>(self, failure: Failure, place: impl FnOnce() -> P) -> Result<T> {
        self.map_err(|cause| Error::new(failure, format!("{}: {cause:#}", place())))
    }
}
