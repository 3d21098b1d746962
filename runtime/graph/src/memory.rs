//! Queue sizes and shared memory of a flow that dora runs, checked against the number of frames in flight.

use dora_message::config::DEFAULT_QUEUE_SIZE;
use sideline_api::{Alignment, Mode, PortType};

use crate::{Diagnostic, Flow, ProcessKind, Sender};

/// Default size of dora's shared memory pool per node, in bytes.
pub(crate) const DEFAULT_POOL_BYTES: u64 = 8 << 20;
/// Assumed size of a frame in bytes, if the source does not configure one: 1080p in i420.
const ASSUMED_FRAME_BYTES: u64 = 1920 * 1080 * 3 / 2;

/// Returns the free bytes of /dev/shm; `None` on systems without it.
pub(crate) fn shared_memory_free() -> Option<u64> {
    let stat = rustix::fs::statvfs("/dev/shm").ok()?;
    Some(stat.f_bavail * stat.f_frsize)
}

/// Frames that one process sends to other processes.
pub(crate) struct FrameSender {
    /// Index into [`Flow::processes`].
    pub process: usize,
    /// Size of one frame, in bytes.
    pub frame_bytes: u64,
    /// Maximum number of frames held at once, over all outputs.
    pub max_frames: u64,
    /// Size of these frames, in bytes.
    pub total_bytes: u64,
    /// True if the frame size is assumed, not configured.
    pub is_assumed: bool,
}

/// Returns the processes that send frames to other processes, with the memory that these frames need.
pub(crate) fn frame_senders(flow: &Flow) -> Vec<FrameSender> {
    let mut senders: Vec<FrameSender> = vec![];
    for (p, _) in flow.processes.iter().enumerate() {
        let mut outputs = flow.border_outputs(p);
        outputs.sort_unstable_by_key(|(_, node, output)| (*node, *output));
        outputs.dedup_by_key(|(_, node, output)| (*node, *output));
        outputs.retain(|(_, node, output)| flow.nodes[*node].spec.outputs[*output].ty == PortType::Frame);
        let Some((_, node, _)) = outputs.first() else { continue };
        let size = frame_size(flow, flow.nodes[*node].source);
        let frame_bytes = size.unwrap_or(ASSUMED_FRAME_BYTES);
        let in_flight = flow.window as u64 + 4;
        let held = outputs.iter().map(|(name, ..)| foreign_queue_capacity(flow, p, name).saturating_add(in_flight));
        let max_frames = held.fold(0, u64::saturating_add);
        let total_bytes = frame_bytes.saturating_mul(max_frames);
        senders.push(FrameSender { process: p, frame_bytes, max_frames, total_bytes, is_assumed: size.is_none() });
    }
    senders
}

/// Returns the number of frames of an output that foreign programs may hold. The window does not include them, so each
/// of their queues may be full.
fn foreign_queue_capacity(flow: &Flow, process: usize, output: &str) -> u64 {
    let from = format!("{}/{output}", flow.processes[process].id);
    let foreign = flow.processes.iter().filter(|other| other.kind == ProcessKind::Foreign);
    let queues = foreign.flat_map(|other| other.inputs.iter().zip(&other.queues));
    queues.filter(|((_, text), _)| *text == from).fold(0, |sum, (_, queue)| sum.saturating_add(*queue as u64))
}

/// Returns the size of a frame in bytes, if the source has the key `size` (`1280x720`) or `width` and `height`. The
/// encoding is i420 unless the source has `encoding: rgb8`.
fn frame_size(flow: &Flow, source: sideline_api::SourceId) -> Option<u64> {
    let source = flow.nodes.iter().find(|node| node.spec.is_source && node.source == source)?;
    let value = |name: &str| source.resolved.iter().find(|(key, _)| *key == name).map(|(_, value)| value);
    let (width, height) = match value("size").and_then(|size| size.as_str()) {
        Some(size) => size.split_once('x').and_then(|(w, h)| Some((w.trim().parse().ok()?, h.trim().parse().ok()?)))?,
        None => (value("width")?.as_u64()?, value("height")?.as_u64()?),
    };
    let rgb = value("encoding").and_then(|encoding| encoding.as_str()).is_some_and(|name| name == "rgb8");
    let half_bytes_per_pixel = if rgb { 6 } else { 3 };
    (width > 0 && height > 0).then_some(u64::saturating_mul(width, height).saturating_mul(half_bytes_per_pixel) / 2)
}

/// Checks that every ordinary input between processes can queue window + 4 messages. dora drops the oldest message of a
/// full queue.
pub(crate) fn check_queues(flow: &Flow, diagnostics: &mut Vec<Diagnostic>) {
    let required = flow.window + 4;
    for node in &flow.nodes {
        let process = &flow.processes[node.process];
        for input in node.inputs.iter().filter(|input| input.wired.alignment.is_aligned()) {
            let Sender::Node { node: sender, .. } = input.producer else { continue };
            if flow.nodes[sender].process == node.process {
                continue;
            }
            let index = process.inputs.iter().position(|(name, _)| *name == input.border);
            let Some(capacity) = index.map(|index| process.queues[index]) else { continue };
            if capacity < required {
                let text = format!(
                    "input `{}`: dora queues {capacity} messages for it, but {required} may be in flight (window + 4): write `queue_size: {required}`",
                    input.border
                );
                let fused = matches!(process.kind, ProcessKind::Fused(_));
                let place = if fused { process.place.clone() } else { input.place.clone() };
                diagnostics.push(Diagnostic::error(place, Some(&process.id), text).for_dora());
            }
        }
    }
}

/// Warns, in `complete` mode, of queues from and to foreign programs that hold fewer messages than may be in flight: no window
/// waits for these programs, so a slow one loses messages.
pub(crate) fn check_foreign_queues(flow: &Flow, diagnostics: &mut Vec<Diagnostic>) {
    if flow.mode == Mode::Live {
        return;
    }
    let mend = "write a `queue_size` for all messages that may wait, up to one per frame";
    for node in &flow.nodes {
        for input in &node.inputs {
            let (Sender::Foreign(sender), Alignment::Side { queue }) = (input.producer, input.wired.alignment) else {
                continue;
            };
            if queue > DEFAULT_QUEUE_SIZE {
                continue;
            }
            let text = format!(
                "input `{}`: `{}` is not a Sideline node, so the newest {queue} of its messages are kept and older ones dropped, \
                 also in `complete` mode: {mend}",
                input.wired.name, flow.processes[sender].id
            );
            diagnostics.push(Diagnostic::warning(input.place.clone(), Some(&node.id), text).for_dora());
        }
    }
    let is_ours = |from: &str| {
        let id = from.split('/').next().unwrap_or_default();
        flow.processes.iter().any(|process| process.id == id && process.kind != ProcessKind::Foreign)
    };
    for process in flow.processes.iter().filter(|process| process.kind == ProcessKind::Foreign) {
        for ((name, from), queue) in process.inputs.iter().zip(&process.queues) {
            if *queue <= DEFAULT_QUEUE_SIZE && is_ours(from) {
                let text = format!(
                    "input `{name}`: dora keeps the newest {queue} messages for a node that is not Sideline's and drops older \
                     ones, also in `complete` mode: {mend}"
                );
                diagnostics.push(Diagnostic::warning(process.place.clone(), Some(&process.id), text).for_dora());
            }
        }
    }
}

/// Checks that the frames in flight fit into the pool of the node that sends them, and that all pools fit into
/// /dev/shm.
pub(crate) fn check_shared_memory(flow: &Flow, free: Option<u64>, diagnostics: &mut Vec<Diagnostic>) {
    let senders = frame_senders(flow);
    for sender in &senders {
        let process = &flow.processes[sender.process];
        if sender.total_bytes <= process.pool {
            continue;
        }
        let text = format!(
            "up to {} frames of {:.1} MB{} are in flight, but dora's shared memory pool for this node has {} MB, and frames beyond it are copied: write `shared_memory_pool_size: {}MB`",
            sender.max_frames,
            sender.frame_bytes as f64 / 1e6,
            if sender.is_assumed { " (1080p assumed)" } else { "" },
            process.pool >> 20,
            mebibytes(sender.total_bytes).next_power_of_two(),
        );
        diagnostics.push(Diagnostic::error(process.place.clone(), Some(&process.id), text).for_dora());
    }
    let pools = senders.iter().map(|sender| flow.processes[sender.process].pool.max(sender.total_bytes));
    let pools = pools.fold(0, u64::saturating_add);
    if let Some(free) = free.filter(|free| *free < pools) {
        let process = &flow.processes[senders[0].process];
        let text = format!(
            "the frames of the flow need {} MB of shared memory, but /dev/shm has {} MB free: enlarge it (`mount -o remount,size=`, Docker's `--shm-size`), or fuse the nodes that exchange frames",
            mebibytes(pools),
            free >> 20
        );
        diagnostics.push(Diagnostic::error(process.place.clone(), Some(&process.id), text).for_dora());
    }
}

/// Converts bytes to MiB, rounded up.
pub(crate) fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}
