//! Renders the output of `sideline check`: threads, processes, edges, shared memory, and the alternative form of each
//! module.

use sideline_api::{Alignment, Mode};

use crate::{Flow, Module, ProcessKind, Sender, memory};

/// Width of the output, in columns.
const WIDTH: usize = 80;

/// Renders the plan of a flow as text of at most 80 columns.
pub fn render_plan(flow: &Flow) -> String {
    let mut text = String::new();
    let mode = match flow.mode {
        Mode::Live => "live: a full window drops all frames but the newest",
        Mode::Complete => "complete: every frame is processed",
    };
    push_wrapped(&mut text, &format!("{} ({mode})", flow.path.display()));
    let limit = flow.stall_timeout.as_secs_f64();
    push_wrapped(
        &mut text,
        &format!("{} frames in flight per source; stall timeout {limit} s (SIDELINE_STALL_S)", flow.window),
    );
    threads(flow, &mut text);
    processes(flow, &mut text);
    edges(flow, &mut text);
    shared_memory(flow, &mut text);
    for module in &flow.modules {
        alternative_form(flow, module, &mut text);
    }
    text
}

/// Appends a line, wrapped at the output width. Continuation lines are indented by two more columns.
fn push_wrapped(text: &mut String, line: &str) {
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
        push_wrapped(text, &format!("\ndora only: {} is not a Sideline node", flow.foreign_node_ids().join(", ")));
        return;
    };
    let readers = plan.nodes.iter().filter(|node| node.is_source).count();
    push_wrapped(text, "");
    push_wrapped(text, &format!("in one process (sideline run): {} threads", plan.lanes + readers));
    for node in plan.nodes.iter().filter(|node| node.is_source) {
        push_wrapped(text, &format!("  {} (reads)", node.id));
    }
    for lane in 0..plan.lanes {
        let ids: Vec<&str> = plan.nodes.iter().filter(|n| n.lane.0 == lane).map(|n| n.id.as_str()).collect();
        push_wrapped(text, &format!("  {}", ids.join(", ")));
    }
}

fn processes(flow: &Flow, text: &mut String) {
    push_wrapped(text, "");
    push_wrapped(text, &format!("in {} processes (dora run {})", flow.processes.len(), flow.path.display()));
    let width = flow.processes.iter().map(|process| process.id.len()).max().unwrap_or_default();
    for (p, process) in flow.processes.iter().enumerate() {
        let content = match &process.kind {
            ProcessKind::Operator(name) => name.clone(),
            ProcessKind::Foreign => "not a Sideline node".into(),
            ProcessKind::Fused(file) => {
                let inner: Vec<&str> =
                    flow.nodes.iter().filter(|n| n.process == p).map(|n| n.operator.as_str()).collect();
                format!("{file} ({})", inner.join(", "))
            }
        };
        push_wrapped(text, &format!("  {:width$}  {content}", process.id));
    }
}

fn edges(flow: &Flow, text: &mut String) {
    push_wrapped(text, "");
    push_wrapped(text, "edges (=> between processes of dora)");
    for node in &flow.nodes {
        for input in &node.inputs {
            let reading = match input.wired.alignment {
                Alignment::Source(_) => format!("queue {}", flow.window + 4),
                Alignment::Side { queue } => format!("side input, the newest {queue}"),
                Alignment::Feedback => "feedback".into(),
            };
            let crosses_processes = match input.producer {
                Sender::Node { node: sender, .. } => flow.nodes[sender].process != node.process,
                Sender::Foreign(_) => true,
            };
            let arrow = if crosses_processes { "=>" } else { "->" };
            push_wrapped(
                text,
                &format!(
                    "  {} {arrow} {}.{}  {}, {reading}",
                    input.wired.from,
                    node.id,
                    input.wired.name,
                    input.wired.ty.name()
                ),
            );
        }
    }
    let sinks: Vec<&str> = flow.nodes.iter().filter(|node| node.is_sink).map(|node| node.id.as_str()).collect();
    push_wrapped(
        text,
        &format!(
            "  a frame is finished when {} finished it",
            match &sinks[..] {
                [] => "the source has".into(),
                [sink] => format!("{sink} has"),
                [first @ .., last] => format!("{} and {last} have", first.join(", ")),
            }
        ),
    );
}

fn shared_memory(flow: &Flow, text: &mut String) {
    let senders = memory::frame_senders(flow);
    if senders.is_empty() {
        return;
    }
    push_wrapped(text, "");
    push_wrapped(text, "shared memory under dora");
    for sender in senders {
        let process = &flow.processes[sender.process];
        let assumed = if sender.is_assumed { ", 1080p assumed" } else { "" };
        push_wrapped(
            text,
            &format!(
                "  {}  up to {} MB of frames in flight{assumed}; pool of {} MB",
                process.id,
                memory::mebibytes(sender.total_bytes),
                process.pool >> 20
            ),
        );
    }
}

/// Shows how to write a module in its alternative form: fused into one process, or expanded into one process per
/// operator.
fn alternative_form(flow: &Flow, module: &Module, text: &mut String) {
    let Module { id, file, .. } = module;
    let inner = format!("{id}.");
    let sinks: Vec<&str> =
        flow.nodes.iter().filter(|n| n.is_sink && n.id.starts_with(&inner)).map(|n| n.id.as_str()).collect();
    let (mut lines, intro) = if module.fused {
        (format!("    module: {file}\n"), "as one process per operator: replace `path`, `args`, `outputs` by")
    } else {
        let done = if sinks.is_empty() { vec![] } else { vec!["done"] };
        let outputs: Vec<&str> = module.outputs.iter().map(String::as_str).chain(done).collect();
        let outputs = outputs.join(", ");
        (
            format!("    path: sideline\n    args: run {file}\n    outputs: [{outputs}]\n"),
            "as one process: replace `module` by",
        )
    };
    if !sinks.is_empty() {
        let done = |ids: &[&str]| ids.iter().map(|id| format!("`done_{id}: {id}/done`")).collect::<Vec<_>>().join(", ");
        let (fused, expanded) = (done(&[id]), done(&sinks));
        let (old, new) = if module.fused { (fused, expanded) } else { (expanded, fused) };
        push_wrapped(&mut lines, &format!("    and at its source replace {old} by {new}"));
    }
    push_wrapped(text, "");
    push_wrapped(text, &format!("{id} ({}), {intro}", module.place));
    text.push_str(&lines);
}
