//! Display of progress during a run, for people and for programs.

use std::{io::IsTerminal, time::Duration};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use indicatif::{ProgressBar, ProgressStyle};
use sideline_engine::{RunProgress, Running};

/// Display of progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ProgressMode {
    /// A progress bar, if standard error is a terminal.
    Auto,
    /// One JSON object per second on standard output; the report then goes to standard error.
    Json,
    /// No progress.
    None,
}

/// Interval between two updates of the progress bar.
const BAR_INTERVAL: Duration = Duration::from_millis(100);
/// Interval between two JSON objects.
const JSON_INTERVAL: Duration = Duration::from_secs(1);

/// Shows progress until the run has ended, which drops the sender of `end`. `frames` is the expected number of frames, if it is
/// known. Reading the progress takes locks of the run, so it is read only if it is shown.
pub fn show(running: &Running, mode: ProgressMode, frames: Option<u64>, end: &Receiver<()>) {
    let waits = |interval| matches!(end.recv_timeout(interval), Err(RecvTimeoutError::Timeout));
    match mode {
        ProgressMode::Json => {
            while waits(JSON_INTERVAL) {
                print_json_line(&running.progress());
            }
            print_json_line(&running.progress());
        }
        ProgressMode::Auto if std::io::stderr().is_terminal() => {
            let bar = new_bar(frames);
            while waits(BAR_INTERVAL) {
                let progress = running.progress();
                bar.set_position(progress.frames);
                bar.set_message(describe(&progress));
            }
            bar.finish_and_clear();
        }
        ProgressMode::Auto | ProgressMode::None => _ = end.recv(),
    }
}

fn print_json_line(progress: &RunProgress) {
    outln!("{}", serde_json::to_string(progress).unwrap_or_default());
}

fn new_bar(frames: Option<u64>) -> ProgressBar {
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

fn describe(progress: &RunProgress) -> String {
    let mut line = format!("{:.1} fps  latency {:.0} ms", progress.fps, progress.latency_ms.p50);
    if progress.dropped > 0 {
        line += &format!("  {} dropped", progress.dropped);
    }
    if progress.errors > 0 {
        line += &format!("  {} errors", progress.errors);
    }
    line
}
