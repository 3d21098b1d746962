//! Another program, run once: text in, bytes out, within a deadline, and nothing of it left behind.

use std::{
    ffi::OsStr,
    io::{self, Read, Write},
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

/// Most bytes that are taken: over five minutes of speech.
const MOST: u64 = 32 << 20;
/// Most bytes of its complaints.
const COMPLAINTS: u64 = 64 << 10;

/// Why there is no answer.
#[derive(Debug)]
pub enum Failed {
    /// There is no such program.
    Missing,
    /// It cannot be started.
    Start(io::Error),
    /// It says that it failed: how it ended, and the last line of what it complained of.
    Exit(ExitStatus, String),
    /// It took longer than the deadline, and was killed.
    Late,
}

/// A running child and what it starts itself; killed when this is dropped before it ended.
pub struct Group(Child);

impl Group {
    /// Starts it.
    ///
    /// # Errors
    /// `Missing` or `Start`.
    pub fn start(mut command: Command) -> Result<Self, Failed> {
        // A group of its own: Ctrl-C at the terminal ends the run in order, not the sentence at hand.
        command.process_group(0).spawn().map(Group).map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound => Failed::Missing,
            _ => Failed::Start(cause),
        })
    }

    /// The child, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// `Late` when it has not by then.
    pub fn wait(&mut self, until: Instant) -> Result<ExitStatus, Failed> {
        loop {
            match self.0.try_wait().map_err(Failed::Start)? {
                Some(status) => return Ok(status),
                None if Instant::now() >= until => return Err(Failed::Late),
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Ends it, if it has not.
    pub fn kill(&mut self) {
        if !matches!(self.0.try_wait(), Ok(Some(_))) {
            let group = rustix::process::Pid::from_child(&self.0);
            // It may have ended between the two lines: then there is nobody to kill.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            let _ = self.0.wait();
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a program with `input` on its standard input; what it wrote to its standard output.
///
/// # Errors
/// See [`Failed`].
pub fn run<A: AsRef<OsStr>>(
    program: &OsStr,
    arguments: &[A],
    input: &str,
    deadline: Duration,
) -> Result<Vec<u8>, Failed> {
    let until = Instant::now() + deadline;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut group = Group::start(command)?;
    let (out, err) = (group.child().stdout.take(), group.child().stderr.take());
    let (heard, hear) = mpsc::channel();
    std::thread::spawn(move || _ = heard.send(read(out, MOST)));
    let (complained, complaint) = mpsc::channel();
    std::thread::spawn(move || _ = complained.send(read(err, COMPLAINTS)));
    if let Some(mut stdin) = group.child().stdin.take() {
        // A sentence fits the pipe, so this does not wait. A child that does not read it tells by its status.
        let _ = stdin.write_all(input.as_bytes());
    }
    let left = || until.saturating_duration_since(Instant::now());
    let bytes = hear.recv_timeout(left()).map_err(|_| Failed::Late)?;
    let status = group.wait(until)?;
    if status.success() {
        return Ok(bytes);
    }
    let text = complaint.recv_timeout(left()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    Err(Failed::Exit(status, text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().into()))
}

/// All bytes of a pipe, as far as they are wanted; the rest is read and dropped, so that nobody waits for us.
fn read(pipe: Option<impl Read>, most: u64) -> Vec<u8> {
    let mut bytes = vec![];
    if let Some(mut pipe) = pipe {
        // A pipe that breaks has ended.
        let _ = pipe.by_ref().take(most).read_to_end(&mut bytes);
        let _ = io::copy(&mut pipe, &mut io::sink());
    }
    bytes
}
