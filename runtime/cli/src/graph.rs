//! `sideline graph`: draws a flow as SVG, with live rates if the flow is running.

mod diagram;

use std::{path::Path, time::Duration};

use sideline_api::{Failure, OrFail, Registry, Result};

use crate::{
    args::Mode,
    control::{self, StatusReport},
    print, run,
};
use diagram::{LiveStats, render_svg};

/// Interval over which rates are measured.
const RATE_INTERVAL: Duration = Duration::from_secs(1);

/// Runs `sideline graph`; returns the exit code.
///
/// # Errors
/// If the flow is invalid, or the file cannot be written.
pub fn draw(path: &Path, output: Option<&Path>, mode: Option<Mode>, registry: &Registry) -> Result<u8> {
    let flow = run::read_flow(path, registry, &run::build_overrides(path, &[], mode.map(Into::into)))?;
    let live = status(path).map(|status| live_stats(&status));
    let svg = render_svg(&flow, live.as_ref());
    match output {
        Some(file) => std::fs::write(file, svg).or_fail(Failure::Output, || file.display().to_string())?,
        None => print::stdout(&svg),
    }
    Ok(0)
}

/// Returns the status of the newest run of this flow, with rates over one second; `None` if the flow is not running.
fn status(path: &Path) -> Option<StatusReport> {
    let path = path.canonicalize().ok()?;
    let mut runs = control::list_runs().responding.into_iter().rev();
    let (_, mut connection) = runs.find(|(info, _)| info.flow == path)?;
    connection.status().ok()?;
    std::thread::sleep(RATE_INTERVAL);
    // An error means that the run has ended meanwhile.
    connection.status().ok()
}

fn live_stats(status: &StatusReport) -> LiveStats {
    let snapshot = &status.snapshot;
    let mut live = LiveStats {
        heading: format!(
            "run {}: {:.1} s, {} frames, {} dropped",
            status.info.run, snapshot.progress.seconds, snapshot.progress.frames, snapshot.progress.dropped
        ),
        ..LiveStats::default()
    };
    for source in &snapshot.sources {
        let dropped = describe_count(source.counts.dropped, "dropped");
        live.nodes.insert(source.node.clone(), format!("{:.1} fps{dropped}", source.fps));
    }
    for node in &snapshot.nodes {
        let missing = describe_count(node.skipped, "skipped")
            + &describe_count(node.side_dropped, "dropped on side inputs")
            + &describe_count(node.errors, "failed");
        let text = format!("{:.1} fps, work {}{missing}", node.fps, format_ms(node.process_ms.p50));
        live.nodes.insert(node.node.clone(), text);
    }
    for edge in &snapshot.edges {
        live.edges.insert((edge.node.clone(), edge.input.clone()), edge.per_second);
    }
    live
}

fn describe_count(count: u64, label: &str) -> String {
    if count > 0 { format!(", {count} {label}") } else { String::new() }
}

fn format_ms(ms: f64) -> String {
    if ms < 0.1 { format!("{:.0} µs", ms * 1e3) } else { format!("{ms:.1} ms") }
}
