//! Programs started by this one, and the signals that it receives.
//!
//! Each program runs in a process group of its own, so that Ctrl-C reaches only this process, which forwards it: the
//! first signal as SIGINT, so that the program can stop in order; the second one kills the whole group. No program
//! started here outlives this process.

use std::{
    io::{Read, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::error::{Context, Result};

/// Interval at which a running program is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Time to wait for further output after a program has ended; a grandchild may still hold the pipe open.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(1);

/// Number of signals received that ask this process to stop.
static SIGNALS: AtomicUsize = AtomicUsize::new(0);

/// Counts SIGINT, SIGTERM and SIGHUP from now on, instead of letting them end this process.
///
/// # Errors
/// When the signal handlers cannot be installed.
pub fn watch_signals() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("signals cannot be watched")?;
    thread::spawn(move || {
        for _ in signals.forever() {
            SIGNALS.fetch_add(1, Ordering::Relaxed);
        }
    });
    Ok(())
}

/// Returns true once a signal has asked this process to stop.
pub fn is_stopping() -> bool {
    SIGNALS.load(Ordering::Relaxed) > 0
}

/// Running program with its process group, which is killed on drop.
pub struct ProcessGroup {
    child: Child,
    has_ended: bool,
    /// Number of signals received before the start.
    signals_before: usize,
    /// Number of signals forwarded since the start.
    signals_forwarded: usize,
}

impl ProcessGroup {
    /// Starts a program without standard input.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::null()).process_group(0).spawn().context(format!("cannot start {name}"))?;
        Ok(ProcessGroup {
            child,
            has_ended: false,
            signals_before: SIGNALS.load(Ordering::Relaxed),
            signals_forwarded: 0,
        })
    }

    /// Returns the process id, which is also the id of the group.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the exit status if the program has ended.
    ///
    /// # Errors
    /// When the system cannot report the status.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        let status = self.child.try_wait().context("a started program cannot be waited for")?;
        self.has_ended |= status.is_some();
        Ok(status)
    }

    /// Waits until the program ends, and forwards signals meanwhile.
    ///
    /// # Errors
    /// See [`ProcessGroup::try_wait`].
    pub fn wait(&mut self) -> Result<ExitStatus> {
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            self.forward_signals();
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Waits until the program ends or the time is over. Returns true if it has ended.
    pub fn wait_for(&mut self, timeout: Duration) -> bool {
        let start = Instant::now();
        loop {
            match self.try_wait() {
                Ok(Some(_)) => return true,
                Ok(None) if start.elapsed() < timeout => thread::sleep(POLL_INTERVAL),
                _ => return false,
            }
        }
    }

    /// Forwards signals received since the last call.
    fn forward_signals(&mut self) {
        let received = SIGNALS.load(Ordering::Relaxed) - self.signals_before;
        if received > self.signals_forwarded {
            self.signal(if received == 1 { "INT" } else { "KILL" });
            self.signals_forwarded = received;
        }
    }

    /// Sends a signal to the group.
    fn signal(&self, name: &str) {
        // The built-in `kill` of the shell, because small systems lack the program of that name.
        let script = format!("kill -s {name} -- -{}", self.id());
        let _ = Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status();
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if !self.has_ended {
            self.signal("KILL");
            let _ = self.child.wait();
        }
    }
}

/// Runs a program to its end and writes its output to `log`. Calls `on_output` with each line, and with `None` several
/// times a second.
///
/// # Errors
/// When the program cannot be started, or the log cannot be written.
pub fn run_logged(command: &mut Command, log: &Path, mut on_output: impl FnMut(Option<&str>)) -> Result<ExitStatus> {
    let (reader, writer) = std::io::pipe().context("pipe")?;
    command.stdout(writer.try_clone().context("pipe")?).stderr(writer);
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(log).context(log.display())?;
    writeln!(file, "$ {}", command_line(command)).context(log.display())?;
    let group = ProcessGroup::start(command);
    // The command holds the writing end of the pipe. Unless it is released, the output never ends.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut group = group?;
    let (send, lines) = mpsc::channel();
    thread::spawn(move || read_lines(reader, file, &send));

    let mut ended: Option<(ExitStatus, Instant)> = None;
    let mut output_ended = false;
    loop {
        match lines.recv_timeout(POLL_INTERVAL) {
            Ok(line) => on_output(Some(&line)),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                output_ended = true;
                thread::sleep(POLL_INTERVAL);
            }
        }
        on_output(None);
        group.forward_signals();
        match ended {
            Some((status, at)) if output_ended || at.elapsed() > OUTPUT_TIMEOUT => return Ok(status),
            Some(_) => {}
            None => ended = group.try_wait()?.map(|status| (status, Instant::now())),
        }
    }
}

/// Formats a command as typed in a shell, without its environment.
pub fn command_line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Copies all output to the log and sends its lines. A carriage return ends a line too, as in progress bars.
fn read_lines(mut reader: impl Read, mut log: impl Write, send: &mpsc::Sender<String>) {
    let mut buffer = [0; 8192];
    let mut line = Vec::new();
    while let Ok(count) = reader.read(&mut buffer)
        && count > 0
    {
        // The error is ignored so that a full disk does not stop the program.
        let _ = log.write_all(&buffer[..count]);
        for byte in &buffer[..count] {
            if matches!(byte, b'\n' | b'\r') {
                let text = String::from_utf8_lossy(&std::mem::take(&mut line)).into_owned();
                let _ = send.send(text);
            } else {
                line.push(*byte);
            }
        }
    }
    if !line.is_empty() {
        let _ = send.send(String::from_utf8_lossy(&line).into_owned());
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufRead;

    use super::*;

    #[test]
    fn carriage_returns_end_lines_and_the_log_contains_every_byte() {
        let (send, lines) = mpsc::channel();
        let mut log = Vec::new();
        read_lines(&b"10%\r20%\rdone\nno end"[..], &mut log, &send);
        drop(send);
        assert_eq!(lines.iter().collect::<Vec<_>>(), ["10%", "20%", "done", "no end"]);
        assert_eq!(log, b"10%\r20%\rdone\nno end");
    }

    #[test]
    fn dropping_a_process_group_kills_its_children() {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & echo up; wait"]).stdout(writer);
        let group = ProcessGroup::start(&mut command).unwrap();
        command.stdout(Stdio::null());
        let mut lines = std::io::BufReader::new(reader).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "up");
        drop(group);
        // The pipe ends only when every process that holds it is gone.
        assert!(lines.next().is_none());
    }

    #[test]
    fn the_output_of_a_program_is_passed_on_and_logged_and_its_status_returned() {
        let log = std::env::temp_dir().join(format!("xtask-test-{}.log", std::process::id()));
        let mut output = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; exit 3"]);
        let status = run_logged(&mut command, &log, |line| output.extend(line.map(String::from))).unwrap();
        let logged = std::fs::read_to_string(&log).unwrap();
        std::fs::remove_file(&log).unwrap();
        assert_eq!((status.code(), output), (Some(3), vec!["one".to_string(), "two".to_string()]));
        assert!(logged.starts_with("$ ") && logged.ends_with("one\ntwo\n"), "{logged}");
    }
}
