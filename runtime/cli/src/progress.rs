//! What a person, or a program, sees while a run is under way.

use std::{
    io::{IsTerminal, Write},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use sideline_api::address::conceal;
use sideline_engine::{Progress, Running};
use sideline_system::terminal::visible;

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Show {
    /// A line that moves, on a terminal; nothing elsewhere.
    Auto,
    /// One JSON object a second on standard output.
    Json,
    /// Nothing.
    None,
}

/// Shows progress until the run is over. `frames`: how many there will be, where that is known.
pub fn follow(running: &Running, show: Show, frames: Option<u64>, over: impl Fn() -> bool) {
    let bar = (show == Show::Auto && std::io::stderr().is_terminal()).then(|| bar(frames));
    let mut said = 0;
    while !over() {
        std::thread::sleep(Duration::from_millis(100));
        let progress = running.progress();
        if let Some(bar) = &bar {
            bar.set_position(progress.frames);
            bar.set_message(line(&progress));
        }
        if show == Show::Json && progress.seconds as u64 > said && !over() {
            said = progress.seconds as u64;
            say(&(serde_json::to_string(&progress).unwrap_or_default() + "\n"));
        }
    }
    if show == Show::Json {
        say(&(serde_json::to_string(&running.progress()).unwrap_or_default() + "\n"));
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
}

/// Prints on standard output. Whether anybody still reads makes no difference to a run: `print!` would panic.
pub fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(printable(text).as_bytes()).and_then(|()| out.flush());
}

/// Text as it may be printed: without the secrets of addresses, and with the control characters written out that a name of
/// a file, a run or a model may hold.
pub fn printable(text: &str) -> String {
    visible(&conceal(text)).into_owned()
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
