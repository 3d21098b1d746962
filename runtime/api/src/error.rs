//! Error type of operators and of the runtime, with the process exit code for each kind of failure.

use std::{fmt, sync::Arc};

use crate::{Header, StreamName};

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

/// Place in a run: the node, and the frame or the end of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunPlace {
    /// Id of the node.
    pub node: String,
    /// Name of the stream; `None` outside the frames of a stream.
    pub stream: Option<StreamName>,
    /// Frame number; `None` at the end of a stream.
    pub frame: Option<u64>,
}

impl RunPlace {
    /// Returns the place of a node outside the frames of a stream.
    pub fn node(node: impl Into<String>) -> Self {
        Self { node: node.into(), ..Self::default() }
    }

    /// Returns the place of a call of a node: its frame, or the end of the stream.
    pub fn call(node: impl Into<String>, header: &Header) -> Self {
        // A closing message and an end have the number of no frame.
        let frame = (!header.is_closing).then_some(header.frame);
        Self { node: node.into(), stream: Some(header.stream.clone()), frame }
    }
}

impl fmt::Display for RunPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node `{}`", self.node)?;
        match (&self.stream, self.frame) {
            (Some(stream), Some(frame)) => write!(f, ", frame {frame} of stream `{stream}`"),
            (Some(stream), None) => write!(f, ", end of stream `{stream}`"),
            (None, _) => Ok(()),
        }
    }
}

/// An error with its exit code, its place and its cause.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Error {
    /// Kind of the failure, which decides the exit code.
    pub failure: Failure,
    /// Message with the place (node, file, line or frame), the problem and the remedy.
    pub message: String,
    /// True if the error follows from a failure elsewhere, which is reported there with its cause.
    #[serde(default, rename = "consequence")]
    pub is_consequence: bool,
    /// Place in the run, if it is known. Programs read it; the message names it for people.
    #[serde(skip)]
    pub place: Option<Box<RunPlace>>,
    /// Error from which this one follows, also returned by [`std::error::Error::source`]. The message includes its text.
    #[serde(skip)]
    pub cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl PartialEq for Error {
    /// Compares everything but the causes, whose types are not known.
    fn eq(&self, other: &Self) -> bool {
        let parts = |error: &Self| (error.failure, error.is_consequence, error.place.clone());
        parts(self) == parts(other) && self.message == other.message
    }
}

impl Eq for Error {}

/// Result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Creates an error of the given kind.
    pub fn new(failure: Failure, message: impl fmt::Display) -> Self {
        Self { failure, message: message.to_string(), is_consequence: false, place: None, cause: None }
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
    /// Sets the place in the run and prefixes the message with it. A place that was set before stays, unless it has no
    /// stream and the new one has.
    pub fn in_run(self, place: RunPlace) -> Self {
        let message = format!("{place}: {}", self.message);
        let known = self.place.filter(|known| known.stream.is_some() || place.stream.is_none());
        Self { message, place: known.or_else(|| Some(Box::new(place))), ..self }
    }
    /// Sets the cause, whose text is part of the message already.
    pub fn with_cause(self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { cause: Some(cause.into().into()), ..self }
    }
    /// Prefixes the message with a place outside a run: `place: message`.
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

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn std::error::Error + 'static))
    }
}

/// Converts errors of other crates: `read(path).or_fail(Failure::Input, || format!("reading {path}"))?`.
pub trait OrFail<T> {
    /// Converts the error into an [`Error`] with the message `place: cause`, which keeps the cause.
    fn or_fail<P: fmt::Display>(self, failure: Failure, place: impl FnOnce() -> P) -> Result<T>;
}

impl<T, E> OrFail<T> for std::result::Result<T, E>
where
    E: fmt::Display + Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn or_fail<P: fmt::Display>(self, failure: Failure, place: impl FnOnce() -> P) -> Result<T> {
        self.map_err(|cause| Error::new(failure, format!("{}: {cause:#}", place())).with_cause(cause))
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn an_error_keeps_its_cause_and_its_first_place() {
        let missing = std::fs::read("no/such/file").or_fail(Failure::Input, || "reading").unwrap_err();
        let kind =
            |error: &Error| error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>()).map(|e| e.kind());
        assert_eq!(kind(&missing), Some(std::io::ErrorKind::NotFound));
        let placed = missing.in_run(RunPlace::call("pose", &Header::new("cam", 7, 0))).in_run(RunPlace::node("pose"));
        assert!(placed.message.starts_with("node `pose`: node `pose`, frame 7 of stream `cam`: reading: "), "{placed}");
        let place = placed.place.as_deref().unwrap();
        assert_eq!((place.stream.as_deref(), place.frame), (Some("cam"), Some(7)));
        assert_eq!(kind(&placed), Some(std::io::ErrorKind::NotFound));
    }

    #[test]
    fn the_end_of_a_stream_is_no_frame() {
        let end = Header { is_closing: true, ..Header::new("cam", 7, 0) };
        assert_eq!(RunPlace::call("pose", &end).to_string(), "node `pose`, end of stream `cam`");
        assert_eq!(RunPlace::node("pose").to_string(), "node `pose`");
    }
}
