//! Standard output and standard error of every command. `println!` and its like panic where the reader has gone, as in
//! `sideline list | head -1`; clippy refuses them in this crate.

use std::{
    io::{self, ErrorKind, Write},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use sideline_api::{Error, address::conceal};
use sideline_system::terminal::visible;

/// Prints a line on standard output, as [`printable`].
macro_rules! outln {
    () => { $crate::print::stdout("\n") };
    ($($format:tt)*) => { $crate::print::stdout(&(format!($($format)*) + "\n")) };
}

/// Prints a line on standard error, as [`printable`].
macro_rules! errln {
    ($($format:tt)*) => { $crate::print::stderr(&(format!($($format)*) + "\n")) };
}

/// Set once nobody reads standard output any more.
static READER_GONE: AtomicBool = AtomicBool::new(false);
/// Why standard output could not be written, where its reader is not just gone: a full disk behind `> file`.
static FAILED: OnceLock<String> = OnceLock::new();

/// Text as it may be printed: without the secrets of addresses, and with the control characters written out that a name of
/// a file, a run or a model may hold.
pub fn printable(text: &str) -> String {
    visible(&conceal(text)).into_owned()
}

/// Prints on standard output, as [`printable`]. Whether anybody still reads makes no difference to a run.
pub fn stdout(text: &str) {
    let mut out = Stdout;
    // Noted by `Stdout`; `failure` tells it when the command is over.
    let _ = out.write_all(printable(text).as_bytes()).and_then(|()| out.flush());
}

/// Prints on standard error, as [`printable`].
pub fn stderr(text: &str) {
    // There is nowhere left to say that it failed.
    let _ = io::stderr().lock().write_all(printable(text).as_bytes());
}

/// Standard output as a file is written: bytes go out as they are.
pub struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        noted(io::stdout().lock().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        noted(io::stdout().lock().flush())
    }
}

fn noted<T>(done: io::Result<T>) -> io::Result<T> {
    match &done {
        Err(cause) if cause.kind() == ErrorKind::BrokenPipe => READER_GONE.store(true, Ordering::Relaxed),
        Err(cause) if cause.kind() != ErrorKind::Interrupted => _ = FAILED.set(cause.to_string()),
        _ => {}
    }
    done
}

/// True once the reader of standard output has gone: what is only for it may end, and is no failure.
pub fn reader_is_gone() -> bool {
    READER_GONE.load(Ordering::Relaxed)
}

/// The failure of standard output so far.
pub fn failure() -> Option<Error> {
    FAILED.get().map(|cause| Error::output(format!("standard output: {cause}")))
}
