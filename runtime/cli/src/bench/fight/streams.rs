//! Several streams through one flow, each operator and model serving them all: frames a second, latency, memory.

use std::path::{Path, PathBuf};

use serde::Serialize;
use sideline_api::{Error, Failure, OrFail, Result};

use super::{
    clip::Clip,
    measure::{Measured, Setting},
};

/// The figures of so many streams.
#[derive(Debug, Serialize)]
pub struct Figures {
    /// How many.
    streams: usize,
    /// Live, each offered at the clip's own rate.
    live: Measured,
    /// Share dropped then, percent.
    dropped_percent: f64,
    /// Every frame, as fast as it goes: frames a second in all.
    complete_fps: f64,
    /// Memory beyond that of the fewest streams, for each stream more, bytes.
    bytes_a_stream: Option<u64>,
}

/// The figures by number of streams.
#[derive(Debug, Serialize)]
pub struct Streams {
    /// The video that every stream shows.
    video: String,
    /// Frames a second offered on each.
    rate: f64,
    /// Figures.
    figures: Vec<Figures>,
}

/// Reads `4` (that many alone) or `1..4` (both included).
pub fn range(text: &str) -> Result<(usize, usize), String> {
    let wrong = || format!("`{text}` is neither a number of streams, as 4, nor a range, as 1..4");
    let number = |text: &str| text.parse::<usize>().ok().filter(|n| (1..=64).contains(n)).ok_or_else(wrong);
    let (from, to) = match text.split_once("..") {
        Some((from, to)) => (number(from)?, number(to.trim_start_matches('='))?),
        None => (number(text)?, number(text)?),
    };
    if from > to { Err(wrong()) } else { Ok((from, to)) }
}

/// Measures.
///
/// # Errors
/// Those of the runs, and when the flow has not one source to put several in the place of.
pub fn run(setting: &Setting, clip: &Clip, (from, to): (usize, usize)) -> Result<Streams> {
    let mut figures: Vec<Figures> = Vec::new();
    for streams in from..=to {
        let flow = flow_of(setting, &clip.path, streams)?;
        let (report, poses) = setting.run(&flow, &[], Some(clip.fps))?;
        let live = report.measured(poses);
        let (report, poses) = setting.run(&flow, &[], None)?;
        let more = figures.first().map(|first| (first.live.peak_bytes, streams - first.streams));
        figures.push(Figures {
            streams,
            dropped_percent: live.dropped_percent(),
            complete_fps: report.measured(poses).fps,
            bytes_a_stream: more.map(|(bytes, more)| live.peak_bytes.saturating_sub(bytes) / more as u64),
            live,
        });
    }
    Ok(Streams { video: clip.name.clone(), rate: clip.fps, figures })
}

/// The flow with so many sources for its one, in a copy of its folder: a flow's modules lie beside it.
fn flow_of(setting: &Setting, video: &Path, streams: usize) -> Result<PathBuf> {
    let place = || setting.flow.display().to_string();
    let text = std::fs::read_to_string(&setting.flow).or_fail(Failure::Config, place)?;
    let text = with_sources(&text, video, streams).ok_or_else(|| {
        Error::config(format!("{}: has not exactly one line `SOURCE: ...` to put several sources in", place()))
    })?;
    let folder = setting.folder.join(format!("{streams}-streams"));
    copy_folder(&setting.flow.with_file_name("modules"), &folder.join("modules"))?;
    let flow = folder.join("fight.yml");
    std::fs::write(&flow, text).or_fail(Failure::Output, || flow.display().to_string())?;
    Ok(flow)
}

/// The text of a flow with `SOURCES: [...]` for its one `SOURCE: ...`.
fn with_sources(text: &str, video: &Path, streams: usize) -> Option<String> {
    let is_source = |line: &&str| line.trim_start().starts_with("SOURCE:");
    if text.lines().filter(is_source).count() != 1 {
        return None;
    }
    let names: Vec<String> = (1..=streams).map(|n| format!("stream{n}={}", video.display())).collect();
    // A list in `env:` is text for dora; the inner quotes are JSON's.
    let list = serde_json::to_string(&names).ok()?.replace('\'', "''");
    let lines = text.lines().map(|line| match line.split_once("SOURCE:") {
        Some((before, _)) if is_source(&line) => format!("{before}SOURCES: '{list}'"),
        _ => line.to_owned(),
    });
    Some(lines.collect::<Vec<_>>().join("\n") + "\n")
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).or_fail(Failure::Output, || to.display().to_string())?;
    let Ok(entries) = std::fs::read_dir(from) else { return Ok(()) };
    for entry in entries.flatten().filter(|entry| entry.path().is_file()) {
        let path = entry.path();
        std::fs::copy(&path, to.join(entry.file_name())).or_fail(Failure::Output, || path.display().to_string())?;
    }
    Ok(())
}

impl std::fmt::Display for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}, several streams of it, live at {:.0} fps each; models shared", self.video, self.rate)?;
        write!(
            f,
            "{:>7} {:>8} {:>8} {:>8} {:>8} {:>8} {:>9} {:>8} {:>16}",
            "streams", "fps", "p50 ms", "p95 ms", "p99 ms", "dropped", "memory MB", "a stream", "complete, fps"
        )?;
        for Figures { streams, live, dropped_percent, complete_fps, bytes_a_stream } in &self.figures {
            let Measured { fps, latency_ms: ms, peak_bytes, .. } = live;
            let each = bytes_a_stream.map_or("-".into(), |bytes| format!("{}", bytes / 1_000_000));
            write!(
                f,
                "\n{streams:>7} {fps:>8.1} {:>8.1} {:>8.1} {:>8.1} {dropped_percent:>6.1} % {:>9} {each:>8} {complete_fps:>16.1}",
                ms.p50,
                ms.p95,
                ms.p99,
                peak_bytes / 1_000_000
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_or_a_range_of_streams() {
        assert_eq!(range("4"), Ok((4, 4)));
        assert_eq!(range("1..4"), Ok((1, 4)));
        assert_eq!(range("1..=4"), Ok((1, 4)));
        for wrong in ["", "0", "4..1", "1..", "a", "1..x", "65"] {
            assert!(range(wrong).unwrap_err().contains("1..4"), "{wrong}");
        }
    }

    #[test]
    fn several_sources_stand_for_the_one() {
        let flow = "  env:\n    # the SOURCE: below\n    SOURCE: a.mp4\n  x: 1\n";
        let more = with_sources(flow, Path::new("/it's/b.mp4"), 2).unwrap();
        let list = r#"'["stream1=/it''s/b.mp4","stream2=/it''s/b.mp4"]'"#;
        assert_eq!(more, format!("  env:\n    # the SOURCE: below\n    SOURCES: {list}\n  x: 1\n"));
        assert_eq!(with_sources("nodes: []\n", Path::new("b"), 2), None);
        assert_eq!(with_sources(&format!("{flow}{flow}"), Path::new("b"), 2), None);
    }
}
