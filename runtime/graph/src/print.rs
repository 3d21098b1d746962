//! What `sideline check` shows of a flow: threads, processes, edges, memory, and the other form of its modules.

use sideline_api::{Alignment, Mode};

use crate::{Flow, Module, ProcessKind, Sender, memory};

const WIDTH: usize = 80;

/// The plan of a flow, in at most 80 columns.
pub fn render_plan(flow: &Flow) -> String {
    let mut text = String::new();
    let mode = match flow.mode {
        Mode::Live => "live: when the window is full, the newest frame wins",
        Mode::Complete => "complete: every frame is handled",
    };
    put(&mut text, &format!("{} ({mode})", flow.path.display()));
    let limit = flow.stall.as_secs_f64();
    put(
        &mut text,
        &format!("{} frames in flight per source; a frame may take {limit} s (SIDELINE_STALL_S)", flow.window),
    );
    threads(flow, &mut text);
    processes(flow, &mut text);
    edges(flow, &mut text);
    shared_memory(flow, &mut text);
    for module in &flow.modules {
        other_form(flow, module, &mut text);
    }
    text
}

/// Adds a line, broken where it is too long; what follows is indented like its second column.
fn put(text: &mut String, line: &str) {
    let indent = line.len() - line.trim_start().len() + 2;
    let mut rest = line.to_owned();
    while rest.chars().count() > WIDTH {
        let limit = rest.char_indices().nth(WIDTH).map_or(rest.len(), |(at, _)| at);
        let Some(cut) = rest[..limit].rfind(' ').filter(|cut| *cut > indent) else { break };
        text.push_str(rest[..cut].trim_end());
        text.push('\n');
        rest = format!("{:indent$}{}", "", rest[cut..].trim_start());
    }
    text.push_str(rest.trim_end());
    text.push('\n');
}

fn threads(flow: &Flow, text: &mut String) {
    let Ok(plan) = flow.plan_embedded() else {
        put(text, &format!("\nfor dora only: {} is not ours", flow.foreign().join(", ")));
        return;
    };
    let readers = plan.nodes.iter().filter(|node| node.is_source).count();
    put(text, "");
    put(text, &format!("in one process (sideline run): {} threads", plan.lanes + readers));
    for node in plan.nodes.iter().filter(|node| node.is_source) {
        put(text, &format!("  {} (reads)", node.id));
    }
    for lane in 0..plan.lanes {
        let ids: Vec<&str> = plan.nodes.iter().filter(|n| n.lane.0 == lane).map(|n| n.id.as_str()).collect();
        put(text, &format!("  {}", ids.join(", ")));
    }
}

fn processes(flow: &Flow, text: &mut String) {
    put(text, "");
    put(text, &format!("in {} processes (dora run {})", flow.processes.len(), flow.path.display()));
    let width = flow.processes.iter().map(|process| process.id.len()).max().unwrap_or_default();
    for (p, process) in flow.processes.iter().enumerate() {
        let what = match &process.kind {
            ProcessKind::Operator(name) => name.clone(),
            ProcessKind::Foreign => "not ours".into(),
            ProcessKind::Fused(file) => {
                let inner: Vec<&str> =
                    flow.nodes.iter().filter(|n| n.process == p).map(|n| n.operator.as_str()).collect();
                format!("{file} ({})", inner.join(", "))
            }
        };
        put(text, &format!("  {:width$}  {what}", process.id));
    }
}

fn edges(flow: &Flow, text: &mut String) {
    put(text, "");
    put(text, "edges (=> between processes of dora)");
    for node in &flow.nodes {
        for input in &node.inputs {
            let how = match input.alignment {
                Alignment::Source(_) => format!("queue {}", input.queue),
                Alignment::Side { queue } => format!("side, the newest {queue}"),
                Alignment::Feedback => "feedback".into(),
            };
            let crosses = match input.from {
                Sender::Node { node: sender, .. } => flow.nodes[sender].process != node.process,
                Sender::Foreign(_) => true,
            };
            let arrow = if crosses { "=>" } else { "->" };
            put(text, &format!("  {} {arrow} {}.{}  {}, {how}", input.text, node.id, input.name, input.ty.name()));
        }
    }
    let leaves: Vec<&str> = flow.nodes.iter().filter(|node| node.sink).map(|node| node.id.as_str()).collect();
    put(
        text,
        &format!(
            "  a frame is done when {} done with it",
            match &leaves[..] {
                [] => "the source is".into(),
                [one] => format!("{one} is"),
                [most @ .., last] => format!("{} and {last} are", most.join(", ")),
            }
        ),
    );
}

fn shared_memory(flow: &Flow, text: &mut String) {
    let senders = memory::frames_out(flow);
    if senders.is_empty() {
        return;
    }
    put(text, "");
    put(text, "shared memory under dora");
    for sender in senders {
        let process = &flow.processes[sender.process];
        let assumed = if sender.assumed { ", 1080p assumed" } else { "" };
        put(
            text,
            &format!(
                "  {}  {} MB of frames in flight at most{assumed}; its pool is {} MB",
                process.id,
                memory::megabytes(sender.bytes),
                process.pool >> 20
            ),
        );
    }
}

/// A module written the other way: one process for all its operators, or one for each.
fn other_form(flow: &Flow, module: &Module, text: &mut String) {
    let Module { id, file, .. } = module;
    let inner = format!("{id}.");
    let leaves: Vec<&str> =
        flow.nodes.iter().filter(|n| n.sink && n.id.starts_with(&inner)).map(|n| n.id.as_str()).collect();
    let (mut lines, intro) = if module.fused {
        (format!("    module: {file}\n"), "one process per operator of it: replace `path`, `args`, `outputs` by")
    } else {
        let done = if leaves.is_empty() { vec![] } else { vec!["done"] };
        let outputs: Vec<&str> = module.outputs.iter().map(String::as_str).chain(done).collect();
        let outputs = outputs.join(", ");
        (
            format!("    path: sideline\n    args: run {file}\n    outputs: [{outputs}]\n"),
            "one process for all of it: replace `module` by",
        )
    };
    if !leaves.is_empty() {
        let done = |ids: &[&str]| ids.iter().map(|id| format!("`done_{id}: {id}/done`")).collect::<Vec<_>>().join(", ");
        let (fused, expanded) = (done(&[id]), done(&leaves));
        let (old, new) = if module.fused { (fused, expanded) } else { (expanded, fused) };
        put(&mut lines, &format!("    and at its source {old} by {new}"));
    }
    put(text, "");
    put(text, &format!("{id} ({}), {intro}", module.place));
    text.push_str(&lines);
}
