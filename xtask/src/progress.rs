//! What is seen while steps are under way: a line that moves on a terminal, plain lines elsewhere.

use std::{
    io::IsTerminal,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    error::{About, Error, Result},
    house::House,
    process::{self, Group, run_logged, stopping},
    say,
};

/// How often a step without a terminal says that it is alive.
const PLAIN: Duration = Duration::from_secs(10);
/// How often the moving line moves.
const MOVING: Duration = Duration::from_millis(200);
/// Lines of a failed program's log that are shown.
const TAIL: usize = 15;

/// The steps of one command.
pub struct Progress<'a> {
    house: &'a House,
    terminal: bool,
    at: usize,
    of: usize,
}

impl<'a> Progress<'a> {
    /// A command of so many steps.
    pub fn new(house: &'a House, of: usize) -> Self {
        Progress { house, terminal: std::io::stderr().is_terminal(), at: 0, of }
    }

    /// Begins the next step; its name is also that of its log.
    ///
    /// # Errors
    /// When the user asked to stop, or an old log cannot be removed.
    pub fn step(&mut self, name: &str) -> Result<Step> {
        if stopping() {
            return Err(Error::interrupted(name));
        }
        self.at += 1;
        let log = self.house.logs.join(format!("{}.log", name.replace(' ', "-").to_lowercase()));
        if log.exists() {
            std::fs::remove_file(&log).about(log.display())?;
        }
        let now = Instant::now();
        let head = format!("[{}/{}] {name}", self.at, self.of);
        Ok(Step { head, name: name.into(), terminal: self.terminal, log, start: now, said: now, last: String::new() })
    }
}

/// One step; may run several programs.
pub struct Step {
    head: String,
    name: String,
    terminal: bool,
    log: PathBuf,
    start: Instant,
    said: Instant,
    /// The last line a program printed.
    last: String,
}

impl Step {
    /// Says what the step is about to do.
    pub fn say(&mut self, what: &str) {
        self.last = what.into();
        self.said = Instant::now();
        if self.terminal {
            self.draw();
        } else {
            say::err(format_args!("{}: {what}", self.head));
        }
    }

    /// Runs a program with its output in the step's log; `mend` says what to do when it fails.
    ///
    /// # Errors
    /// When it cannot be started or fails: the end of its output, the log's path and `mend`.
    pub fn run(&mut self, command: &mut Command, mend: &str) -> Result<()> {
        self.run_watched(command, mend, |_| ())
    }

    /// As [`Step::run`]; `line` sees each line.
    ///
    /// # Errors
    /// See [`Step::run`].
    pub fn run_watched(&mut self, command: &mut Command, mend: &str, mut line: impl FnMut(&str)) -> Result<()> {
        let log = self.log.clone();
        let status = run_logged(command, &log, |seen| match seen {
            Some(text) => {
                line(text);
                if !text.trim().is_empty() {
                    self.last = text.trim().into();
                }
            }
            None => self.alive(),
        });
        self.clear();
        let status = status?;
        if stopping() {
            return Err(Error::interrupted(&self.name));
        }
        if status.success() {
            return Ok(());
        }
        let text = std::fs::read(&log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        Err(Error::new(format!(
            "{}: `{}` failed ({status}); the end of what it said:\n{}\nAll of it: {}\nTo mend: {mend}",
            self.name,
            process::line(command),
            tail(&text),
            log.display()
        )))
    }

    /// Runs a program, prints what it prints and logs it too; `line` sees each line. True if it succeeded.
    ///
    /// # Errors
    /// When it cannot be started, or the user asked to stop.
    pub fn run_echoed(&mut self, command: &mut Command, mut line: impl FnMut(&str)) -> Result<bool> {
        let log = self.log.clone();
        let status = run_logged(command, &log, |seen| match seen {
            Some(text) => {
                self.clear();
                say::out(text);
                line(text);
                self.said = Instant::now();
                self.last = text.trim().into();
            }
            None => self.alive(),
        });
        self.clear();
        let status = status?;
        if stopping() { Err(Error::interrupted(&self.name)) } else { Ok(status.success()) }
    }

    /// Runs a program that shows itself what it does (cargo, sideline), on this program's own outputs; gives its exit code.
    ///
    /// # Errors
    /// When it cannot be started or was ended by a signal that the user did not send.
    pub fn run_shown(&mut self, command: &mut Command) -> Result<u8> {
        self.clear();
        let program = command.get_program().to_string_lossy().into_owned();
        let status = Group::start(command)?.wait()?;
        match status.code() {
            Some(code) => Ok(u8::try_from(code).unwrap_or(1)),
            None if stopping() => Err(Error::interrupted(&self.name)),
            None => Err(Error::new(format!(
                "{}: {program} was ended from outside ({status}); if the system ran out of memory, close other programs",
                self.name
            ))),
        }
    }

    /// Ends the step well.
    pub fn done(self, how: &str) {
        self.clear();
        say::err(format_args!("{}: {how} ({:.1} s)", self.head, self.start.elapsed().as_secs_f64()));
    }

    /// Seconds since it began.
    pub fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    fn alive(&mut self) {
        if self.said.elapsed() < if self.terminal { MOVING } else { PLAIN } {
            return;
        }
        self.said = Instant::now();
        if self.terminal {
            self.draw();
        } else {
            say::err(self.line(120));
        }
    }

    fn draw(&self) {
        say::raw_err(format_args!("\r\x1b[2K{}", self.line(79)));
    }

    fn line(&self, width: usize) -> String {
        let line = format!("{}  {:.0} s  {}", self.head, self.start.elapsed().as_secs_f64(), self.last);
        line.chars().filter(|c| !c.is_control()).take(width).collect()
    }

    fn clear(&self) {
        if self.terminal {
            say::raw_err("\r\x1b[2K");
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The last lines of a log, without those that draw a bar over and over.
pub fn tail(text: &str) -> String {
    let lines: Vec<&str> =
        text.lines().map(|line| line.rsplit('\r').find(|part| !part.is_empty()).unwrap_or("")).collect();
    let lines: Vec<&str> = lines.into_iter().filter(|line| !line.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(TAIL);
    lines[from..].iter().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_short_and_shows_only_the_last_state_of_a_bar() {
        let text: String = (0..40).map(|n| format!("line {n}\n\n")).collect();
        assert_eq!(tail(&text).lines().count(), TAIL);
        assert!(tail(&text).ends_with("    line 39"));
        assert_eq!(tail("10%\r20%\r\nend"), "    20%\n    end");
        assert_eq!(tail(""), "");
    }
}
