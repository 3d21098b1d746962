//! `sideline graph`: a flow as a picture, with live rates while a run of it is on.

use std::{path::Path, time::Duration};

use sideline_api::{Failure, OrFail, Registry, Result};
use sideline_graph::{Live, render_svg};

use crate::{
    args::Mode,
    control::{self, Status},
    print, run,
};

/// Rates are those of this time.
const LOOK: Duration = Duration::from_secs(1);

/// Writes the picture.
///
/// # Errors
/// When the flow is wrong or the file cannot be written.
pub fn draw(path: &Path, output: Option<&Path>, mode: Option<Mode>, registry: &Registry) -> Result<u8> {
    let flow = run::read(path, registry, &run::overrides(path, &[], mode.map(Into::into)))?;
    let live = status(path).map(|status| live(&status));
    let svg = render_svg(&flow, live.as_ref());
    match output {
        Some(file) => std::fs::write(file, svg).or_fail(Failure::Output, || file.display().to_string())?,
        None => print::stdout(&svg),
    }
    Ok(0)
}

/// How the newest run of this flow is, with the rates of a second.
fn status(path: &Path) -> Option<Status> {
    let path = path.canonicalize().ok()?;
    let (_, mut connection) = control::runs().on.into_iter().rev().find(|(about, _)| about.flow == path)?;
    connection.status().ok()?;
    std::thread::sleep(LOOK);
    // Over meanwhile: then there is nothing live about it.
    connection.status().ok()
}

fn live(status: &Status) -> Live {
    let look = &status.look;
    let mut live = Live {
        heading: format!(
            "run {}: {:.1} s, {} frames, {} forgotten",
            status.about.run, look.progress.seconds, look.progress.frames, look.progress.forgotten
        ),
        ..Live::default()
    };
    for source in &look.sources {
        let forgotten = told(source.forgotten, "forgotten");
        live.nodes.insert(source.node.clone(), format!("{:.1} fps{forgotten}", source.fps));
    }
    for node in &look.nodes {
        let missing =
            told(node.skipped, "skipped") + &told(node.side_forgotten, "passed over") + &told(node.errors, "failed");
        let text = format!("{:.1} fps, work {}{missing}", node.fps, time(node.process_ms.p50));
        live.nodes.insert(node.node.clone(), text);
    }
    for edge in &look.edges {
        live.edges.insert((edge.node.clone(), edge.input.clone()), edge.per_second);
    }
    live
}

fn told(count: u64, what: &str) -> String {
    if count > 0 { format!(", {count} {what}") } else { String::new() }
}

fn time(ms: f64) -> String {
    if ms < 0.1 { format!("{:.0} µs", ms * 1e3) } else { format!("{ms:.1} ms") }
}
