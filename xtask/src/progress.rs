//! Progress of the steps of a command: a status line that is redrawn on a terminal, plain lines elsewhere.

use std::{
    io::IsTerminal,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    error::{Context, Error, Result},
    output,
    process::{self, ProcessGroup, is_stopping, run_logged},
    workspace::Workspace,
};

/// Interval of status lines where there is no terminal.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);
/// Interval at which the status line on a terminal is redrawn.
const REDRAW_INTERVAL: Duration = Duration::from_millis(200);
/// Number of lines shown of the log of a failed program.
const TAIL_LINES: usize = 15;

/// Progress through the steps of a command.
pub struct Progress<'a> {
    workspace: &'a Workspace,
    is_terminal: bool,
    current: usize,
    total: usize,
}

impl<'a> Progress<'a> {
    /// Creates the progress of a command with `total` steps.
    pub fn new(workspace: &'a Workspace, total: usize) -> Self {
        Progress { workspace, is_terminal: std::io::stderr().is_terminal(), current: 0, total }
    }

    /// Begins the next step. Its log is named after it.
    ///
    /// # Errors
    /// When a signal asked to stop, or an old log cannot be removed.
    pub fn step(&mut self, name: &str) -> Result<Step> {
        if is_stopping() {
            return Err(Error::interrupted(name));
        }
        self.current += 1;
        let log = self.workspace.logs.join(format!("{}.log", name.replace(' ', "-").to_lowercase()));
        if log.exists() {
            std::fs::remove_file(&log).context(log.display())?;
        }
        let now = Instant::now();
        let heading = format!("[{}/{}] {name}", self.current, self.total);
        Ok(Step {
            heading,
            name: name.into(),
            is_terminal: self.is_terminal,
            log,
            started_at: now,
            last_shown: now,
            status: String::new(),
        })
    }
}

/// Step of a command, which may run several programs.
pub struct Step {
    /// Number and name of the step, for messages.
    heading: String,
    name: String,
    is_terminal: bool,
    log: PathBuf,
    started_at: Instant,
    /// Time at which the status was last shown.
    last_shown: Instant,
    /// Last report, or last line printed by a program.
    status: String,
}

impl Step {
    /// Shows the current activity of the step.
    pub fn report(&mut self, activity: &str) {
        self.status = activity.into();
        self.last_shown = Instant::now();
        if self.is_terminal {
            self.draw();
        } else {
            output::eprint_line(format_args!("{}: {activity}", self.heading));
        }
    }

    /// Runs a program and writes its output to the log of the step. `fix`: advice for the user if the program fails.
    ///
    /// # Errors
    /// When the program cannot be started or fails; the message has the end of its output, the path of the log, and
    /// `fix`.
    pub fn run(&mut self, command: &mut Command, fix: &str) -> Result<()> {
        self.run_watched(command, fix, |_| ())
    }

    /// Runs a program as [`Step::run`] does, and calls `on_line` with each line of its output.
    ///
    /// # Errors
    /// See [`Step::run`].
    pub fn run_watched(&mut self, command: &mut Command, fix: &str, mut on_line: impl FnMut(&str)) -> Result<()> {
        let log = self.log.clone();
        let status = run_logged(command, &log, |output| match output {
            Some(text) => {
                on_line(text);
                if !text.trim().is_empty() {
                    self.status = text.trim().into();
                }
            }
            None => self.refresh(),
        });
        self.clear();
        let status = status?;
        if is_stopping() {
            return Err(Error::interrupted(&self.name));
        }
        if status.success() {
            return Ok(());
        }
        let text = std::fs::read(&log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        Err(Error::new(format!(
            "{}: `{}` failed ({status}); the end of its output:\n{}\nLog: {}\nTo fix this: {fix}",
            self.name,
            process::command_line(command),
            tail(&text),
            log.display()
        )))
    }

    /// Runs a program, prints and logs its output, and calls `on_line` with each line. Returns true if it succeeded.
    ///
    /// # Errors
    /// When the program cannot be started, or a signal asked to stop.
    pub fn run_echoed(&mut self, command: &mut Command, mut on_line: impl FnMut(&str)) -> Result<bool> {
        let log = self.log.clone();
        let status = run_logged(command, &log, |output| match output {
            Some(text) => {
                self.clear();
                output::print_line(text);
                on_line(text);
                self.last_shown = Instant::now();
                self.status = text.trim().into();
            }
            None => self.refresh(),
        });
        self.clear();
        let status = status?;
        if is_stopping() { Err(Error::interrupted(&self.name)) } else { Ok(status.success()) }
    }

    /// Runs a program that shows its own progress (cargo, sideline) with the standard streams of this program, and
    /// returns its exit code.
    ///
    /// # Errors
    /// When the program cannot be started, or was ended by a signal that the user did not send.
    pub fn run_shown(&mut self, command: &mut Command) -> Result<u8> {
        self.clear();
        let program = command.get_program().to_string_lossy().into_owned();
        let status = ProcessGroup::start(command)?.wait()?;
        match status.code() {
            Some(code) => Ok(u8::try_from(code).unwrap_or(1)),
            None if is_stopping() => Err(Error::interrupted(&self.name)),
            None => Err(Error::new(format!(
                "{}: {program} was killed by a signal ({status}); if the system ran out of memory, close other programs",
                self.name
            ))),
        }
    }

    /// Ends the step and prints its outcome and duration.
    pub fn done(self, outcome: &str) {
        self.clear();
        output::eprint_line(format_args!(
            "{}: {outcome} ({:.1} s)",
            self.heading,
            self.started_at.elapsed().as_secs_f64()
        ));
    }

    /// Returns the time since the start of the step, s.
    pub fn seconds(&self) -> f64 {
        self.started_at.elapsed().as_secs_f64()
    }

    /// Shows the status again if its interval has passed.
    fn refresh(&mut self) {
        if self.last_shown.elapsed() < if self.is_terminal { REDRAW_INTERVAL } else { PLAIN_INTERVAL } {
            return;
        }
        self.last_shown = Instant::now();
        if self.is_terminal {
            self.draw();
        } else {
            output::eprint_line(self.status_line(120));
        }
    }

    /// Redraws the status line on the terminal.
    fn draw(&self) {
        output::eprint_raw(format_args!("\r\x1b[2K{}", self.status_line(79)));
    }

    /// Formats the status line, at most `width` characters wide.
    fn status_line(&self, width: usize) -> String {
        let line = format!("{}  {:.0} s  {}", self.heading, self.started_at.elapsed().as_secs_f64(), self.status);
        line.chars().filter(|c| !c.is_control()).take(width).collect()
    }

    /// Clears the status line on the terminal.
    fn clear(&self) {
        if self.is_terminal {
            output::eprint_raw("\r\x1b[2K");
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Returns the last lines of a log, indented. Of a line that was redrawn, such as a progress bar, only the last state
/// is kept.
pub fn tail(text: &str) -> String {
    let lines: Vec<&str> =
        text.lines().map(|line| line.rsplit('\r').find(|part| !part.is_empty()).unwrap_or("")).collect();
    let lines: Vec<&str> = lines.into_iter().filter(|line| !line.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(TAIL_LINES);
    lines[from..].iter().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_has_few_lines_and_only_the_last_state_of_a_progress_bar() {
        let text: String = (0..40).map(|n| format!("line {n}\n\n")).collect();
        assert_eq!(tail(&text).lines().count(), TAIL_LINES);
        assert!(tail(&text).ends_with("    line 39"));
        assert_eq!(tail("10%\r20%\r\nend"), "    20%\n    end");
        assert_eq!(tail(""), "");
    }
}
