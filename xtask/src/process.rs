//! Programs that this one starts, and the signals that reach it.
//!
//! Each runs in a process group of its own, so that Ctrl-C comes here alone and is handed on in order: the first signal as
//! SIGINT, for the program to finish what it holds; the second kills the whole group. Nothing started here outlives it.

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

use crate::error::{About, Result};

/// How often a running program is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long output is waited for after a program has ended; a grandchild may hold the pipe open.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

static SIGNALS: AtomicUsize = AtomicUsize::new(0);

/// From now on SIGINT, SIGTERM and SIGHUP are counted instead of ending this process.
///
/// # Errors
/// When the system refuses.
pub fn watch_signals() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).about("signals cannot be watched")?;
    thread::spawn(move || {
        for _ in signals.forever() {
            SIGNALS.fetch_add(1, Ordering::Relaxed);
        }
    });
    Ok(())
}

/// True once a signal asked this program to stop.
pub fn stopping() -> bool {
    SIGNALS.load(Ordering::Relaxed) > 0
}

/// A running program with its process group; killed when dropped.
pub struct Group {
    child: Child,
    ended: bool,
    /// Signals that had come when it started, and those handed on since.
    before: usize,
    told: usize,
}

impl Group {
    /// Starts a program without standard input.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::null()).process_group(0).spawn().about(format!("cannot start {name}"))?;
        Ok(Group { child, ended: false, before: SIGNALS.load(Ordering::Relaxed), told: 0 })
    }

    /// The process id, which is that of the group.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let status = self.child.try_wait().about("a started program cannot be waited for")?;
        self.ended |= status.is_some();
        Ok(status)
    }

    /// Waits until it ends, handing signals on.
    ///
    /// # Errors
    /// See [`Group::ended`].
    pub fn wait(&mut self) -> Result<ExitStatus> {
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            self.hand_on();
            thread::sleep(LOOK);
        }
    }

    /// Waits at most so long; true if it has ended.
    pub fn wait_for(&mut self, limit: Duration) -> bool {
        let start = Instant::now();
        loop {
            match self.ended() {
                Ok(Some(_)) => return true,
                Ok(None) if start.elapsed() < limit => thread::sleep(LOOK),
                _ => return false,
            }
        }
    }

    /// Hands on what signals came since the last call.
    fn hand_on(&mut self) {
        let seen = SIGNALS.load(Ordering::Relaxed) - self.before;
        if seen > self.told {
            self.signal(if seen == 1 { "INT" } else { "KILL" });
            self.told = seen;
        }
    }

    fn signal(&self, name: &str) {
        // The shell's own `kill`: the program of that name is missing from small systems.
        let script = format!("kill -s {name} -- -{}", self.id());
        let _ = Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.ended {
            self.signal("KILL");
            let _ = self.child.wait();
        }
    }
}

/// Runs a program to its end with its output in `log`; `look` sees each line, and `None` several times a second.
///
/// # Errors
/// When it cannot be started, or the log not written.
pub fn run_logged(command: &mut Command, log: &Path, mut look: impl FnMut(Option<&str>)) -> Result<ExitStatus> {
    let (reader, writer) = std::io::pipe().about("pipe")?;
    command.stdout(writer.try_clone().about("pipe")?).stderr(writer);
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(log).about(log.display())?;
    writeln!(file, "$ {}", line(command)).about(log.display())?;
    let group = Group::start(command);
    // The command holds the writing end: without this the output would never end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut group = group?;
    let (send, lines) = mpsc::channel();
    thread::spawn(move || read_lines(reader, file, &send));

    let mut ended: Option<(ExitStatus, Instant)> = None;
    let mut silent = false;
    loop {
        match lines.recv_timeout(LOOK) {
            Ok(line) => look(Some(&line)),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                silent = true;
                thread::sleep(LOOK);
            }
        }
        look(None);
        group.hand_on();
        match ended {
            Some((status, at)) if silent || at.elapsed() > LAST_OUTPUT => return Ok(status),
            Some(_) => {}
            None => ended = group.ended()?.map(|status| (status, Instant::now())),
        }
    }
}

/// A command as one would type it, without its environment.
pub fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Copies everything to the log and sends the lines on; a carriage return ends one too, as in bars of progress.
fn read_lines(mut from: impl Read, mut log: impl Write, send: &mpsc::Sender<String>) {
    let mut buffer = [0; 8192];
    let mut line = Vec::new();
    while let Ok(count) = from.read(&mut buffer)
        && count > 0
    {
        // A full disk must not stop the program whose output this is.
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
    fn lines_end_at_carriage_returns_too_and_the_log_holds_every_byte() {
        let (send, lines) = mpsc::channel();
        let mut log = Vec::new();
        read_lines(&b"10%\r20%\rdone\nno end"[..], &mut log, &send);
        drop(send);
        assert_eq!(lines.iter().collect::<Vec<_>>(), ["10%", "20%", "done", "no end"]);
        assert_eq!(log, b"10%\r20%\rdone\nno end");
    }

    #[test]
    fn a_program_that_is_dropped_takes_its_children_along() {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & echo up; wait"]).stdout(writer);
        let group = Group::start(&mut command).unwrap();
        command.stdout(Stdio::null());
        let mut lines = std::io::BufReader::new(reader).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "up");
        drop(group);
        // The pipe ends only when every process that holds it is gone.
        assert!(lines.next().is_none());
    }

    #[test]
    fn a_programs_output_is_seen_and_logged_and_its_status_given() {
        let log = std::env::temp_dir().join(format!("xtask-test-{}.log", std::process::id()));
        let mut seen = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; exit 3"]);
        let status = run_logged(&mut command, &log, |line| seen.extend(line.map(String::from))).unwrap();
        let logged = std::fs::read_to_string(&log).unwrap();
        std::fs::remove_file(&log).unwrap();
        assert_eq!((status.code(), seen), (Some(3), vec!["one".to_string(), "two".to_string()]));
        assert!(logged.starts_with("$ ") && logged.ends_with("one\ntwo\n"), "{logged}");
    }
}
