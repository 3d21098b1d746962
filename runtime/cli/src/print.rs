//! Standard output and standard error of every command. `println!` and similar macros panic on a closed pipe, as in
//! `sideline list | head -1`; clippy refuses them in this crate.

use std::{
    io::{self, ErrorKind, Write},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use sideline_address::redact_addresses;
use sideline_api::Error;
use sideline_system::terminal::escape_controls;

/// Prints a line on standard output, as [`program::stdout`](crate::program::stdout) does.
#[macro_export]
macro_rules! outln {
    () => { $crate::program::stdout("\n") };
    ($($format:tt)*) => { $crate::program::stdout(&(format!($($format)*) + "\n")) };
}

/// Prints a line on standard error, as [`program::stderr`](crate::program::stderr) does.
#[macro_export]
macro_rules! errln {
    ($($format:tt)*) => { $crate::program::stderr(&(format!($($format)*) + "\n")) };
}

/// True once the pipe at standard output is closed.
static PIPE_CLOSED: AtomicBool = AtomicBool::new(false);
/// First error of writing to standard output other than a closed pipe, such as a full disk behind `> file`.
static WRITE_ERROR: OnceLock<String> = OnceLock::new();

/// Sanitizes text for a terminal: redacts the secrets of addresses, and escapes control characters, which the name of a file,
/// a run or a model may hold.
pub fn printable(text: &str) -> String {
    escape_controls(&redact_addresses(text)).into_owned()
}

/// Prints on standard output, sanitized by [`printable`]. A closed pipe does not affect a run.
pub fn stdout(text: &str) {
    let mut out = Stdout;
    // `Stdout` keeps an error, and `failure` returns it at the end of the command.
    let _ = out.write_all(printable(text).as_bytes()).and_then(|()| out.flush());
}

/// Prints on standard error, sanitized by [`printable`].
pub fn stderr(text: &str) {
    // An error here cannot be reported anywhere.
    let _ = io::stderr().lock().write_all(printable(text).as_bytes());
}

/// Standard output as a byte stream: bytes are written unchanged.
pub struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        keep_error(io::stdout().lock().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        keep_error(io::stdout().lock().flush())
    }
}

fn keep_error<T>(result: io::Result<T>) -> io::Result<T> {
    match &result {
        Err(cause) if cause.kind() == ErrorKind::BrokenPipe => PIPE_CLOSED.store(true, Ordering::Relaxed),
        Err(cause) if cause.kind() != ErrorKind::Interrupted => _ = WRITE_ERROR.set(cause.to_string()),
        _ => {}
    }
    result
}

/// True once the pipe at standard output is closed. A command that only writes there may then end, without a failure.
pub fn is_pipe_closed() -> bool {
    PIPE_CLOSED.load(Ordering::Relaxed)
}

/// Returns the first error of writing to standard output.
pub fn failure() -> Option<Error> {
    WRITE_ERROR.get().map(|cause| Error::output(format!("standard output: {cause}")))
}
