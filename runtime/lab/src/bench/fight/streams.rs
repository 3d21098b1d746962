//! Several streams through one flow, with operators and models shared: throughput, latency and memory.

use std::path::{Path, PathBuf};

use serde::Serialize;
use sideline_api::{Error, Failure, OrFail, Result};

use super::{
    clip::Clip,
    measure::{RunMetrics, RunSetup},
};

/// Result for one number of streams.
#[derive(Debug, Serialize)]
pub struct StreamCountResult {
    /// Number of streams.
    streams: usize,
    /// Live run with each stream at the clip's own frame rate.
    live: RunMetrics,
    /// Share of frames dropped in the live run, percent.
    dropped_percent: f64,
    /// Throughput of all streams together on every frame, as fast as possible, frames per second.
    complete_fps: f64,
    /// Additional memory per stream, compared with the lowest number of streams, bytes.
    bytes_a_stream: Option<u64>,
}

/// Results by number of streams.
#[derive(Debug, Serialize)]
pub struct StreamScaling {
    /// Name of the video in every stream.
    video: String,
    /// Frame rate of each stream, frames per second.
    rate: f64,
    /// Result for each number of streams.
    #[serde(rename = "figures")]
    results: Vec<StreamCountResult>,
}

/// Parses a number of streams, `4`, or an inclusive range, `1..4`.
pub fn parse_range(text: &str) -> Result<(usize, usize), String> {
    let invalid = || format!("`{text}` is neither a number of streams, such as 4, nor a range, such as 1..4");
    let number = |text: &str| text.parse::<usize>().ok().filter(|n| (1..=64).contains(n)).ok_or_else(invalid);
    let (from, to) = match text.split_once("..") {
        Some((from, to)) => (number(from)?, number(to.trim_start_matches('='))?),
        None => (number(text)?, number(text)?),
    };
    if from > to { Err(invalid()) } else { Ok((from, to)) }
}

/// Measures throughput and latency for each number of streams.
///
/// # Errors
/// A run fails, or the flow does not have exactly one source.
pub fn run(setup: &RunSetup, clip: &Clip, (from, to): (usize, usize)) -> Result<StreamScaling> {
    let mut results: Vec<StreamCountResult> = Vec::new();
    for streams in from..=to {
        let flow = write_flow(setup, &clip.path, streams)?;
        let (report, poses) = setup.run_with_report(&flow, &[], Some(clip.fps))?;
        let live = report.metrics(poses);
        let (report, poses) = setup.run_with_report(&flow, &[], None)?;
        let lowest = results.first().map(|first| (first.live.peak_bytes, streams - first.streams));
        results.push(StreamCountResult {
            streams,
            dropped_percent: live.dropped_percent(),
            complete_fps: report.metrics(poses).fps,
            bytes_a_stream: lowest.map(|(bytes, added)| live.peak_bytes.saturating_sub(bytes) / added as u64),
            live,
        });
    }
    Ok(StreamScaling { video: clip.name.clone(), rate: clip.fps, results })
}

/// Writes the flow with several sources in place of its one, in a copy of its folder, since its modules are beside it.
fn write_flow(setup: &RunSetup, video: &Path, streams: usize) -> Result<PathBuf> {
    let place = || setup.flow.display().to_string();
    let text = std::fs::read_to_string(&setup.flow).or_fail(Failure::Config, place)?;
    let text = with_sources(&text, video, streams).ok_or_else(|| {
        Error::config(format!("{}: expected exactly one line `SOURCE: ...` to replace with several sources", place()))
    })?;
    let folder = setup.folder.join(format!("{streams}-streams"));
    copy_folder(&setup.flow.with_file_name("modules"), &folder.join("modules"))?;
    let flow = folder.join("fight.yml");
    std::fs::write(&flow, text).or_fail(Failure::Output, || flow.display().to_string())?;
    Ok(flow)
}

/// Replaces the one `SOURCE: ...` in the text of a flow with `SOURCES: [...]`.
fn with_sources(text: &str, video: &Path, streams: usize) -> Option<String> {
    let is_source = |line: &&str| line.trim_start().starts_with("SOURCE:");
    if text.lines().filter(is_source).count() != 1 {
        return None;
    }
    let names: Vec<String> = (1..=streams).map(|n| format!("stream{n}={}", video.display())).collect();
    // A list in `env:` is text for dora; the inner quotes are those of JSON.
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

impl std::fmt::Display for StreamScaling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}, several streams, live at {:.0} fps each, with shared models", self.video, self.rate)?;
        write!(
            f,
            "{:>7} {:>8} {:>8} {:>8} {:>8} {:>8} {:>9} {:>10} {:>16}",
            "streams", "fps", "p50 ms", "p95 ms", "p99 ms", "dropped", "memory MB", "per stream", "complete, fps"
        )?;
        for StreamCountResult { streams, live, dropped_percent, complete_fps, bytes_a_stream } in &self.results {
            let RunMetrics { fps, latency_ms: ms, peak_bytes, .. } = live;
            let each = bytes_a_stream.map_or("-".into(), |bytes| format!("{}", bytes / 1_000_000));
            write!(
                f,
                "\n{streams:>7} {fps:>8.1} {:>8.1} {:>8.1} {:>8.1} {dropped_percent:>6.1} % {:>9} {each:>10} {complete_fps:>16.1}",
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
    fn a_number_or_a_range_of_streams_is_parsed() {
        assert_eq!(parse_range("4"), Ok((4, 4)));
        assert_eq!(parse_range("1..4"), Ok((1, 4)));
        assert_eq!(parse_range("1..=4"), Ok((1, 4)));
        for wrong in ["", "0", "4..1", "1..", "a", "1..x", "65"] {
            assert!(parse_range(wrong).unwrap_err().contains("1..4"), "{wrong}");
        }
    }

    #[test]
    fn one_source_is_replaced_by_several() {
        let flow = "  env:\n    # the SOURCE: below\n    SOURCE: a.mp4\n  x: 1\n";
        let replaced = with_sources(flow, Path::new("/it's/b.mp4"), 2).unwrap();
        let list = r#"'["stream1=/it''s/b.mp4","stream2=/it''s/b.mp4"]'"#;
        assert_eq!(replaced, format!("  env:\n    # the SOURCE: below\n    SOURCES: {list}\n  x: 1\n"));
        assert_eq!(with_sources("nodes: []\n", Path::new("b"), 2), None);
        assert_eq!(with_sources(&format!("{flow}{flow}"), Path::new("b"), 2), None);
    }
}
