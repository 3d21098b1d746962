//! What a person, or a program, sees while a run is under way.

use std::{io::IsTerminal, time::Duration};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use indicatif::{ProgressBar, ProgressStyle};
use sideline_engine::{Progress, Running};

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Show {
    /// A line that moves, on a terminal; nothing elsewhere.
    Auto,
    /// One JSON object a second on standard output; the report then goes to standard error.
    Json,
    /// Nothing.
    None,
}

/// Interval between two updates of the line on a terminal.
const UPDATE: Duration = Duration::from_millis(100);
/// Interval between two lines of JSON.
const LINE: Duration = Duration::from_secs(1);

/// Shows progress until the run is over, whose end drops the sender of `over`. `frames`: how many there will be, where
/// that is known. A look at a run takes its locks, so nobody looks who shows nothing.
pub fn follow(running: &Running, show: Show, frames: Option<u64>, over: &Receiver<()>) {
    let waits = |interval| matches!(over.recv_timeout(interval), Err(RecvTimeoutError::Timeout));
    match show {
        Show::Json => {
            while waits(LINE) {
                json(&running.progress());
            }
            json(&running.progress());
        }
        Show::Auto if std::io::stderr().is_terminal() => {
            let bar = bar(frames);
            while waits(UPDATE) {
                let progress = running.progress();
                bar.set_position(progress.frames);
                bar.set_message(line(&progress));
            }
            bar.finish_and_clear();
        }
        Show::Auto | Show::None => _ = over.recv(),
    }
}

fn json(progress: &Progress) {
    outln!("{}", serde_json::to_string(progress).unwrap_or_default());
}

fn bar(frames: Option<u64>) -> ProgressBar {
    let bar = match frames {
        Some(frames) => ProgressBar::new(frames),
        None => ProgressBar::new_spinner(),
    };
    let template = match frames {
        Some(_) => "{bar:20} {pos}/{len} frames  {msg}  {eta} left",
        None => "{spinner} {pos} frames  {msg}  {elapsed}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

fn line(progress: &Progress) -> String {
    let mut line = format!("{:.1} fps  latency {:.0} ms", progress.fps, progress.latency_ms.p50);
    if progress.forgotten > 0 {
        line += &format!("  {} forgotten", progress.forgotten);
    }
    if progress.errors > 0 {
        line += &format!("  {} errors", progress.errors);
    }
    line
}
