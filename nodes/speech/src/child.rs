//! Runs a child process with text as input and bytes as output, within a deadline, and ends all processes it started.

use std::{
    ffi::OsStr,
    io::{self, Read, Write},
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

/// Maximum size of the standard output that is kept, in bytes: over five minutes of speech.
const MAX_STDOUT_BYTES: u64 = 32 << 20;
/// Maximum size of the standard error that is kept, in bytes.
const MAX_STDERR_BYTES: u64 = 64 << 10;

/// Failure of a child process.
#[derive(Debug)]
pub enum ChildError {
    /// The program does not exist.
    NotFound,
    /// The program cannot be started, or its output cannot be read.
    Io(io::Error),
    /// The program failed: exit status, and the last line on standard error.
    Exit(ExitStatus, String),
    /// The program exceeded the deadline.
    TimedOut,
}

/// A running child in its own process group. The group is killed when this is dropped.
pub struct ProcessGroup(Child);

impl ProcessGroup {
    /// Starts a command.
    ///
    /// # Errors
    /// `NotFound` or `Io`.
    pub fn start(mut command: Command) -> Result<Self, ChildError> {
        // In a separate group, the child does not receive Ctrl-C from the terminal, so the run can end in order without
        // cutting off the current sentence.
        command.process_group(0).spawn().map(ProcessGroup).map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound => ChildError::NotFound,
            _ => ChildError::Io(cause),
        })
    }

    /// Returns the child, for access to its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Waits for the child to exit.
    ///
    /// # Errors
    /// `TimedOut` after `deadline`.
    pub fn wait(&mut self, deadline: Instant) -> Result<ExitStatus, ChildError> {
        loop {
            match self.0.try_wait().map_err(ChildError::Io)? {
                Some(status) => return Ok(status),
                None if Instant::now() >= deadline => return Err(ChildError::TimedOut),
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Kills the process group if the child is still running.
    pub fn kill(&mut self) {
        if !matches!(self.0.try_wait(), Ok(Some(_))) {
            let group = rustix::process::Pid::from_child(&self.0);
            // An error means that the child exited in the meantime.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            let _ = self.0.wait();
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a program with `input` as its standard input, and returns its standard output.
///
/// # Errors
/// See [`ChildError`].
pub fn run<A: AsRef<OsStr>>(
    program: &OsStr,
    arguments: &[A],
    input: &str,
    timeout: Duration,
) -> Result<Vec<u8>, ChildError> {
    let deadline = Instant::now() + timeout;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut group = ProcessGroup::start(command)?;
    let (out, err) = (group.child().stdout.take(), group.child().stderr.take());
    let (stdout_sender, stdout) = mpsc::channel();
    std::thread::spawn(move || _ = stdout_sender.send(read_pipe(out, MAX_STDOUT_BYTES)));
    let (stderr_sender, stderr) = mpsc::channel();
    std::thread::spawn(move || _ = stderr_sender.send(read_pipe(err, MAX_STDERR_BYTES)));
    if let Some(mut stdin) = group.child().stdin.take() {
        // A sentence fits into the pipe, so this does not block. A child that fails to read it has an exit status.
        let _ = stdin.write_all(input.as_bytes());
    }
    let remaining = || deadline.saturating_duration_since(Instant::now());
    let bytes = stdout.recv_timeout(remaining()).map_err(|_| ChildError::TimedOut)?;
    let status = group.wait(deadline)?;
    if status.success() {
        return Ok(bytes);
    }
    let text = stderr.recv_timeout(remaining()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    Err(ChildError::Exit(
        status,
        text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().into(),
    ))
}

/// Reads a pipe to its end and returns the first `max_bytes`. The rest is discarded, so that the writer does not block.
fn read_pipe(pipe: Option<impl Read>, max_bytes: u64) -> Vec<u8> {
    let mut bytes = vec![];
    if let Some(mut pipe) = pipe {
        // An error is treated as the end of the pipe.
        let _ = pipe.by_ref().take(max_bytes).read_to_end(&mut bytes);
        let _ = io::copy(&mut pipe, &mut io::sink());
    }
    bytes
}
