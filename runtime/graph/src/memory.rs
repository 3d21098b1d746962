//! Queues and shared memory of a flow run by dora: whether what is in flight has room.

use sideline_api::PortType;

use crate::{Diagnostic, Flow, ProcessKind, Sender};

/// dora's pool of shared memory per node, when nothing else is said.
pub(crate) const DEFAULT_POOL: u64 = 8 << 20;
/// A 1080p frame in i420, taken where a source does not say how large its frames are.
const ASSUMED_FRAME: u64 = 1920 * 1080 * 3 / 2;

/// Free bytes of /dev/shm, where there is one.
pub(crate) fn shared_memory_free() -> Option<u64> {
    let stat = rustix::fs::statvfs("/dev/shm").ok()?;
    Some(stat.f_bavail * stat.f_frsize)
}

/// Frames that one process sends to others.
pub(crate) struct FramesOut {
    /// Index into the flow's processes.
    pub process: usize,
    /// Bytes of one frame.
    pub frame: u64,
    /// Frames that are held at once at most, all outputs together.
    pub frames: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// True when the size of a frame is a guess.
    pub assumed: bool,
}

/// Who sends frames out of its process, and how much.
pub(crate) fn frames_out(flow: &Flow) -> Vec<FramesOut> {
    let mut out: Vec<FramesOut> = vec![];
    for (p, _) in flow.processes.iter().enumerate() {
        let mut outputs = flow.border_outputs(p);
        outputs.sort_unstable_by_key(|(_, node, output)| (*node, *output));
        outputs.dedup_by_key(|(_, node, output)| (*node, *output));
        outputs.retain(|(_, node, output)| flow.nodes[*node].spec.outputs[*output].ty == PortType::Frame);
        let Some((_, node, _)) = outputs.first() else { continue };
        let size = frame_size(flow, flow.nodes[*node].source);
        let frame = size.unwrap_or(ASSUMED_FRAME);
        let window = flow.window as u64 + 4;
        let held = outputs.iter().map(|(name, ..)| foreign_queues(flow, p, name).saturating_add(window));
        let frames = held.fold(0, u64::saturating_add);
        out.push(FramesOut { process: p, frame, frames, bytes: frame.saturating_mul(frames), assumed: size.is_none() });
    }
    out
}

/// Frames of an output that programs which are not ours may hold: no window knows of them, so each has its queue full.
fn foreign_queues(flow: &Flow, process: usize, output: &str) -> u64 {
    let from = format!("{}/{output}", flow.processes[process].id);
    let foreign = flow.processes.iter().filter(|other| other.kind == ProcessKind::Foreign);
    let queues = foreign.flat_map(|other| other.inputs.iter().zip(&other.queues));
    queues.filter(|((_, text), _)| *text == from).fold(0, |sum, (_, queue)| sum.saturating_add(*queue as u64))
}

/// Bytes of a frame, when the source says `size: 1280x720` or `width` and `height`; of i420 unless it says `rgb8`.
fn frame_size(flow: &Flow, source: sideline_api::SourceId) -> Option<u64> {
    let source = flow.nodes.iter().find(|node| node.spec.source && node.source == source)?;
    let value = |name: &str| source.resolved.iter().find(|(key, _)| *key == name).map(|(_, value)| value);
    let (width, height) = match value("size").and_then(|size| size.as_str()) {
        Some(size) => size.split_once('x').and_then(|(w, h)| Some((w.trim().parse().ok()?, h.trim().parse().ok()?)))?,
        None => (value("width")?.as_u64()?, value("height")?.as_u64()?),
    };
    let rgb = value("encoding").and_then(|encoding| encoding.as_str()).is_some_and(|name| name == "rgb8");
    let halves = if rgb { 6 } else { 3 };
    (width > 0 && height > 0).then_some(u64::saturating_mul(width, height).saturating_mul(halves) / 2)
}

/// An ordinary input between processes holds window + 4 messages, else dora forgets the oldest.
pub(crate) fn check_queues(flow: &Flow, found: &mut Vec<Diagnostic>) {
    let need = flow.window + 4;
    for node in &flow.nodes {
        let process = &flow.processes[node.process];
        for input in node.inputs.iter().filter(|input| input.alignment.is_ordinary()) {
            let Sender::Node { node: sender, .. } = input.from else { continue };
            if flow.nodes[sender].process == node.process {
                continue;
            }
            let at = process.inputs.iter().position(|(name, _)| *name == input.border);
            let Some(holds) = at.map(|at| process.queues[at]) else { continue };
            if holds < need {
                let text = format!(
                    "input `{}`: dora keeps {holds} messages for it, but {need} may be under way (window + 4): write `queue_size: {need}`",
                    input.border
                );
                let fused = matches!(process.kind, ProcessKind::Fused(_));
                let place = if fused { process.place.clone() } else { input.place.clone() };
                found.push(Diagnostic::error(place, Some(&process.id), text).for_dora());
            }
        }
    }
}

/// Frames in flight fit into the pool of the node that sends them, and all pools into /dev/shm.
pub(crate) fn check_shared_memory(flow: &Flow, free: Option<u64>, found: &mut Vec<Diagnostic>) {
    let senders = frames_out(flow);
    for sender in &senders {
        let process = &flow.processes[sender.process];
        if sender.bytes <= process.pool {
            continue;
        }
        let text = format!(
            "{} frames of {:.1} MB{} are under way at most, but dora's shared memory for this node is {} MB, and the rest is copied: write `shared_memory_pool_size: {}MB`",
            sender.frames,
            sender.frame as f64 / 1e6,
            if sender.assumed { " (1080p assumed)" } else { "" },
            process.pool >> 20,
            megabytes(sender.bytes).next_power_of_two(),
        );
        found.push(Diagnostic::error(process.place.clone(), Some(&process.id), text).for_dora());
    }
    let pools = senders.iter().map(|sender| flow.processes[sender.process].pool.max(sender.bytes));
    let pools = pools.fold(0, u64::saturating_add);
    if let Some(free) = free.filter(|free| *free < pools) {
        let process = &flow.processes[senders[0].process];
        let text = format!(
            "the flow's frames need {} MB of shared memory, /dev/shm has {} MB free: enlarge it (`mount -o remount,size=`, Docker's `--shm-size`), or fuse nodes that exchange frames",
            megabytes(pools),
            free >> 20
        );
        found.push(Diagnostic::error(process.place.clone(), Some(&process.id), text).for_dora());
    }
}

pub(crate) fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}
