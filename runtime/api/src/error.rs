//! Error type of operators and of the runtime, with the process exit code for each kind of failure.

use std::fmt;

/// Kind of a failure. Its number is the exit code of the process; 0 is success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// A flow, a key or a value is wrong; nothing was started.
    Config = 1,
    /// A model is missing, damaged, or has other inputs or outputs than expected.
    Model = 2,
    /// A source is missing, damaged or ended early.
    Input = 3,
    /// A result could not be written.
    Output = 4,
    /// A GPU was requested and cannot be used.
    Gpu = 5,
    /// Everything else: a panic, a lost message, a node that died.
    Other = 6,
}

impl Failure {
    /// Returns the process exit code.
    pub fn exit_code(self) -> u8 {
        self as u8
    }
}

/// An error with its exit code.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Error {
    /// Kind of the failure, which decides the exit code.
    pub failure: Failure,
    /// Message with the place (node, file, line or frame), the problem and the remedy.
    pub message: String,
    /// True if the error follows from a failure elsewhere, which is reported there with its cause.
    #[serde(default, rename = "consequence")]
    pub is_consequence: bool,
}

/// Result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Creates an error of the given kind.
    pub fn new(failure: Failure, message: impl fmt::Display) -> Self {
        Self { failure, message: message.to_string(), is_consequence: false }
    }
    /// Creates an error of a flow, key or value that is wrong (exit code 1).
    pub fn config(message: impl fmt::Display) -> Self {
        Self::new(Failure::Config, message)
    }
    /// Creates an error of a model that is missing, damaged or unsuitable (exit code 2).
    pub fn model(message: impl fmt::Display) -> Self {
        Self::new(Failure::Model, message)
    }
    /// Creates an error of a source that is missing or damaged (exit code 3).
    pub fn input(message: impl fmt::Display) -> Self {
        Self::new(Failure::Input, message)
    }
    /// Creates an error of a result that could not be written (exit code 4).
    pub fn output(message: impl fmt::Display) -> Self {
        Self::new(Failure::Output, message)
    }
    /// Creates an error of a GPU that was requested and cannot be used (exit code 5).
    pub fn gpu(message: impl fmt::Display) -> Self {
        Self::new(Failure::Gpu, message)
    }
    /// Creates an error of any other kind (exit code 6).
    pub fn other(message: impl fmt::Display) -> Self {
        Self::new(Failure::Other, message)
    }
    /// Prefixes the message with a place: `place: message`.
    pub fn at(self, place: impl fmt::Display) -> Self {
        Self { message: format!("{place}: {}", self.message), ..self }
    }
    /// Marks the error as following from a failure elsewhere.
    pub fn as_consequence(self) -> Self {
        Self { is_consequence: true, ..self }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// Converts errors of other crates: `read(path).or_fail(Failure::Input, || format!("reading {path}"))?`.
pub trait OrFail<T> {
    /// Converts the error into an [`Error`] with the message `place: cause`.
    fn or_fail<P: fmt::Display>(self, failure: Failure, place: impl FnOnce() -> P) -> Result<T>;
}

impl<T, E: fmt::Display> OrFail<T> for std::result::Result<T, E> {
    fn or_fail<P: fmt::Display>(self, failure: Failure, place: impl FnOnce() -> P) -> Result<T> {
        self.map_err(|cause| Error::new(failure, format!("{}: {cause:#}", place())))
    }
}
