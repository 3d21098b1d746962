//! Counts and times of each node, and the report of a run.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde::Serialize;
use sideline_api::{
    Error, Mode, StreamName,
    driver::{CallReport, Outcome, Phase},
    escape_stream_name, is_same_stream,
};

use crate::{
    SettingChange,
    counts::{FrameCounts, OperatorCounts},
};

/// Interval, in frames, at which the CPU time of a cheap operator is read. Reading it costs more than many of these
/// operators do.
pub const CPU_SAMPLE_INTERVAL_FRAMES: u64 = 32;

/// Counts that a lane keeps without a lock until it locks the node's meter, once per frame.
#[derive(Default)]
pub(crate) struct Tally {
    /// Messages of all kinds received on each input.
    inputs: Vec<u64>,
    /// Messages of all kinds sent.
    pub sent: u64,
    /// Messages dropped on side inputs since the start.
    pub side_dropped: u64,
    /// CPU time of the measured calls.
    pub cpu: Duration,
    /// Number of measured calls.
    pub cpu_samples: u64,
}

impl Tally {
    /// Counts a message received on an input.
    pub fn count_received(&mut self, input: usize) {
        if self.inputs.len() <= input {
            self.inputs.resize(input + 1, 0);
        }
        self.inputs[input] += 1;
    }
}

/// Counts and times of one node, updated by its lane.
pub(crate) struct Meter {
    /// Counts of messages and frames.
    pub counts: OperatorCounts,
    /// Messages of all kinds received on each input.
    pub inputs: Vec<u64>,
    /// Text of the first error or panic.
    pub first_error: Option<String>,
    /// Streams whose number of handled frames differs from the number given with their end.
    pub mismatches: Vec<FrameMismatch>,
    /// Additional counts of the operator, by name; set when it is closed.
    pub operator_counts: BTreeMap<String, u64>,
    /// CPU time of the measured calls.
    pub cpu: Duration,
    /// Number of measured calls.
    pub cpu_samples: u64,
    streams: Vec<StreamMeter>,
    wait: DurationHistogram,
    process: DurationHistogram,
    latency: DurationHistogram,
    /// Start of the first processed frame.
    first_started: Option<Instant>,
    /// End of the last processed frame.
    last_ended: Option<Instant>,
}

/// Frame count of one stream at a node.
struct StreamMeter {
    name: StreamName,
    /// Number of the next frame.
    next_frame: u64,
    /// Frames handled since the stream began.
    handled: u64,
}

/// Stream whose number of handled frames differs from its number of frames.
pub(crate) struct FrameMismatch {
    pub stream: StreamName,
    pub handled: u64,
    pub frames: u64,
}

/// Histogram of durations from 1 ns to 60 s, with a resolution of 1 %.
struct DurationHistogram(Option<Histogram<u32>>);

impl DurationHistogram {
    fn new() -> Self {
        // Two significant digits. These bounds are valid, so the result is never `None`.
        DurationHistogram(Histogram::new_with_bounds(1, 60_000_000_000, 2).ok())
    }
    fn record(&mut self, duration: Duration) {
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record((duration.as_nanos() as u64).max(1));
        }
    }
    fn quantiles(&self) -> Quantiles {
        let Some(histogram) = self.0.as_ref().filter(|h| !h.is_empty()) else { return Quantiles::default() };
        let ms = |q| histogram.value_at_quantile(q) as f64 * 1e-6;
        Quantiles { p50: ms(0.5), p95: ms(0.95), p99: ms(0.99), max: histogram.max() as f64 * 1e-6 }
    }
}

/// Quantiles of durations, ms.
#[derive(Clone, Copy, Debug, Default, Serialize, serde::Deserialize, PartialEq)]
pub struct Quantiles {
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Maximum.
    pub max: f64,
}

impl Meter {
    /// Creates a meter with all counts at zero.
    pub fn new() -> Self {
        Meter {
            counts: OperatorCounts::default(),
            inputs: vec![],
            first_error: None,
            mismatches: vec![],
            operator_counts: BTreeMap::new(),
            cpu: Duration::ZERO,
            cpu_samples: 0,
            streams: vec![],
            wait: DurationHistogram::new(),
            process: DurationHistogram::new(),
            latency: DurationHistogram::new(),
            first_started: None,
            last_ended: None,
        }
    }

    /// Records one call, and merges the counts of its lane since the last one. `latency_ns` is the time from the
    /// capture of the frame to the end of the call.
    pub fn record_call(&mut self, call: &CallReport<'_>, latency_ns: i64, tally: &mut Tally) {
        self.merge(tally);
        let (header, ready, started, ended) = (call.header, call.ready, call.started, call.ended);
        match &call.outcome {
            Outcome::Error(text) if self.first_error.is_none() => self.first_error = Some(text.clone()),
            Outcome::Panic(text) if self.first_error.is_none() => self.first_error = Some(format!("panic: {text}")),
            _ => {}
        }
        self.counts.record(call.phase, &call.outcome);
        let stream = self.stream(&header.stream);
        match call.phase {
            Phase::Frame => {
                stream.next_frame = header.frame + 1;
                stream.handled += 1;
            }
            Phase::Closing => return,
            Phase::End { frames } => {
                let handled = std::mem::take(&mut stream.handled);
                if handled != frames {
                    self.mismatches.push(FrameMismatch { stream: header.stream.clone(), handled, frames });
                }
                return;
            }
        }
        self.wait.record(started.saturating_duration_since(ready));
        self.process.record(ended.saturating_duration_since(started));
        self.latency.record(Duration::from_nanos(latency_ns.max(0) as u64));
        self.first_started.get_or_insert(started);
        self.last_ended = Some(ended);
    }

    /// Returns the meter of a stream; adds one if the stream is new.
    fn stream(&mut self, name: &StreamName) -> &mut StreamMeter {
        let at = self.streams.iter().position(|known| is_same_stream(&known.name, name)).unwrap_or_else(|| {
            self.streams.push(StreamMeter { name: name.clone(), next_frame: 0, handled: 0 });
            self.streams.len() - 1
        });
        &mut self.streams[at]
    }

    /// Adds the counts of a lane and resets them.
    pub fn merge(&mut self, tally: &mut Tally) {
        if self.inputs.len() < tally.inputs.len() {
            self.inputs.resize(tally.inputs.len(), 0);
        }
        for (total, received) in self.inputs.iter_mut().zip(&mut tally.inputs) {
            *total += *received;
            self.counts.received += std::mem::take(received);
        }
        self.counts.sent += std::mem::take(&mut tally.sent);
        self.cpu += std::mem::take(&mut tally.cpu);
        self.cpu_samples += std::mem::take(&mut tally.cpu_samples);
        self.counts.side_dropped = tally.side_dropped;
    }

    /// Returns the number of the next frame of each stream.
    pub fn next_frames(&self) -> BTreeMap<String, u64> {
        self.streams.iter().map(|stream| (stream.name.to_string(), stream.next_frame)).collect()
    }

    /// Returns the rate of handled frames since the first one, frames per second.
    pub fn fps(&self) -> f64 {
        match (self.first_started, self.last_ended) {
            (Some(started), Some(ended)) if ended > started && self.counts.handled() > 1 => {
                (self.counts.handled() - 1) as f64 / (ended - started).as_secs_f64()
            }
            _ => 0.0,
        }
    }

    /// Returns quantiles of the processing time.
    pub fn process_ms(&self) -> Quantiles {
        self.process.quantiles()
    }

    /// Returns quantiles of the time from the capture of a frame to the sending of its outputs.
    pub fn latency_ms(&self) -> Quantiles {
        self.latency.quantiles()
    }

    /// Builds the report of the node.
    pub fn report(&self, node: &str, operator: &str) -> NodeReport {
        let scale = if self.cpu_samples == 0 { 0.0 } else { self.counts.handled() as f64 / self.cpu_samples as f64 };
        NodeReport {
            node: node.into(),
            operator: operator.into(),
            counts: self.counts.clone(),
            first_error: self.first_error.clone(),
            operator_counts: self.operator_counts.clone(),
            fps: self.fps(),
            cpu_s: self.cpu.as_secs_f64() * scale,
            wait_ms: self.wait.quantiles(),
            process_ms: self.process.quantiles(),
            latency_ms: self.latency.quantiles(),
        }
    }
}

/// Report of one operator.
#[derive(Clone, Debug, Serialize)]
pub struct NodeReport {
    /// Id of the node.
    pub node: String,
    /// Name of the operator.
    pub operator: String,
    /// Counts of messages and frames.
    #[serde(flatten)]
    pub counts: OperatorCounts,
    /// Text of the first error or panic.
    pub first_error: Option<String>,
    /// Additional counts of the operator: for `encode` to a server the frames that were sent, and those that were
    /// dropped.
    #[serde(rename = "own")]
    pub operator_counts: BTreeMap<String, u64>,
    /// Handled frames per second.
    pub fps: f64,
    /// CPU time on the lane's thread, s. Threads of an encoder are counted only in the CPU time of the process.
    pub cpu_s: f64,
    /// Time from the sending of the last input to the start of processing.
    pub wait_ms: Quantiles,
    /// Time from the start of processing to the sending of the outputs.
    pub process_ms: Quantiles,
    /// Time from the capture of the frame to the sending of the outputs.
    pub latency_ms: Quantiles,
}

/// Report of one source.
#[derive(Clone, Debug, Serialize)]
pub struct SourceReport {
    /// Id of the node.
    pub node: String,
    /// Frames decoded, admitted and dropped, of all streams.
    #[serde(flatten)]
    pub counts: FrameCounts,
    /// Admitted frames that not every sink had finished when the run ended.
    pub unfinished: u64,
    /// Reports of the streams.
    pub streams: Vec<StreamReport>,
    /// CPU time of the reader threads, s. Threads of a decoder are counted only in the CPU time of the process.
    pub cpu_s: f64,
}

impl SourceReport {
    /// Returns the number of frames that every sink has finished.
    pub fn finished(&self) -> u64 {
        self.counts.admitted - self.unfinished
    }
}

/// Report of one stream.
#[derive(Clone, Debug, Serialize)]
pub struct StreamReport {
    /// Name of the stream.
    pub stream: String,
    /// Frames decoded, admitted and dropped.
    #[serde(flatten)]
    pub counts: FrameCounts,
    /// Additional counts of the reader: for a network stream its sessions, reconnect attempts and alerts.
    #[serde(rename = "own")]
    pub reader_counts: BTreeMap<String, u64>,
}

/// Outcome of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    /// Every stream was processed to its end.
    Done,
    /// The user stopped the run; admitted frames were finished.
    Stopped,
    /// The run failed; the result files are correct but incomplete.
    Partial,
}

/// Cause of a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StopCause {
    /// A signal to this process.
    Signal,
    /// `sideline stop`, or dora stopped the dataflow.
    Request,
    /// Another process of the run was stopped before its streams ended.
    Peer,
}

/// Report of one process of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Outcome of the run.
    pub status: RunStatus,
    /// For a stopped run: number of frames that every sink had finished, summed over all streams. `None` in a process
    /// without a source.
    pub stopped_at_frame: Option<u64>,
    /// For a stopped run: cause of the stop.
    pub stop_cause: Option<StopCause>,
    /// Failure that made the run partial.
    pub failure: Option<Error>,
    /// Mode of the run.
    pub mode: Mode,
    /// True when a second run is guaranteed to write the same bytes.
    pub reproducible: bool,
    /// Reports of the sources.
    pub sources: Vec<SourceReport>,
    /// Reports of the operators, in the order of the plan.
    pub nodes: Vec<NodeReport>,
    /// Number of ignored messages of foreign nodes, by input.
    pub ignored: BTreeMap<String, u64>,
    /// Number of messages of foreign nodes without a frame number, by input. They are numbered by their arrival.
    pub unnumbered: BTreeMap<String, u64>,
    /// Changes of live settings, in order.
    pub changes: Vec<SettingChange>,
    /// Duration of the run, s.
    pub wall_s: f64,
    /// CPU time of the process, s.
    pub cpu_s: f64,
    /// Peak resident memory of the process, bytes.
    pub peak_memory: u64,
}

impl Report {
    /// Returns the exit code of the process.
    pub fn exit_code(&self) -> u8 {
        self.failure.as_ref().map_or(0, |failure| failure.failure.exit_code())
    }

    /// Formats the table that is printed at the end of a run, 80 columns wide.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for source in &self.sources {
            text += &format!("{}: {}\n", source.node, source.counts);
            for stream in source.streams.iter().filter(|_| source.streams.len() > 1) {
                text += &format!("  {}: {}\n", escape_stream_name(&stream.stream), stream.counts);
            }
            if source.unfinished > 0 {
                text += &format!("  {} admitted frames were not finished\n", source.unfinished);
            }
            for stream in source.streams.iter().filter(|stream| !stream.reader_counts.is_empty()) {
                text +=
                    &format!("  {}: {}\n", escape_stream_name(&stream.stream), format_counts(&stream.reader_counts));
            }
        }
        if !self.nodes.is_empty() {
            text += &format!(
                "\n{:<20} {:>7} {:>7} {:>5} {:>7} {:>8} {:>8} {:>10}\n",
                "node", "frames", "skipped", "error", "fps", "wait p95", "work p95", "latency p95"
            );
        }
        for node in &self.nodes {
            let counts = &node.counts;
            let skipped = counts.total_skipped();
            text += &format!(
                "{:<20} {:>7} {:>7} {:>5} {:>7.1} {:>6.2}ms {:>6.2}ms {:>9.1}ms\n",
                clip_start(&node.node, 20),
                counts.processed,
                skipped,
                counts.failed_frames(),
                node.fps,
                node.wait_ms.p95,
                node.process_ms.p95,
                node.latency_ms.p95
            );
            if skipped > 0 {
                let reasons: Vec<String> = counts.skipped.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
                text += &format!("  skipped: {}\n", reasons.join(", "));
            }
            if counts.side_dropped > 0 {
                text += &format!("  {} messages dropped on side inputs\n", counts.side_dropped);
            }
            if !node.operator_counts.is_empty() {
                text += &format!("  {}\n", format_counts(&node.operator_counts));
            }
            if counts.end_failures > 0 {
                text +=
                    &format!("  failed at {}\n", count_of(counts.end_failures, "end of a stream", "ends of streams"));
            }
            if counts.ends_while_restarting > 0 {
                let streams = count_of(counts.ends_while_restarting, "stream", "streams");
                text += &format!("  {streams} ended while a restart was pending\n");
            }
            if let Some(error) = &node.first_error {
                text += &format!("  first error: {error}\n");
            }
        }
        for (input, count) in &self.ignored {
            text += &format!("input {input}: {count} messages of a foreign node were ignored\n");
        }
        for (input, count) in &self.unnumbered {
            text += &format!(
                "input {input}: {count} messages of a foreign node have no frame number (`sl_frame`): their `frame` counts \
                 arrivals, so they match no frame of a source\n"
            );
        }
        text += &format!(
            "\n{:.1} s, {:.1} s of CPU, {} MB peak, {}\n",
            self.wall_s,
            self.cpu_s,
            self.peak_memory / 1_000_000,
            match (self.status, self.stopped_at_frame) {
                (RunStatus::Done, _) => "done".to_owned(),
                (RunStatus::Stopped, frames) => describe_stop(frames),
                (RunStatus::Partial, _) => "PARTIAL".to_owned(),
            }
        );
        text
    }
}

/// Describes a stop after a number of frames that every sink had finished; `None` if it is not known.
pub fn describe_stop(frames: Option<u64>) -> String {
    frames
        .map_or_else(|| "stopped".to_owned(), |frames| format!("stopped after {}", count_of(frames, "frame", "frames")))
}

/// Formats a count with its noun in the singular or the plural.
pub fn count_of(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Formats counts with their names: `alerts 0, sessions 2`.
fn format_counts(counts: &BTreeMap<String, u64>) -> String {
    let formatted: Vec<String> = counts.iter().map(|(name, n)| format!("{} {n}", name.replace('_', " "))).collect();
    formatted.join(", ")
}

/// Shortens a text to `width` characters by cutting off its start.
fn clip_start(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    // The end of `module.operator` distinguishes nodes better than its start.
    let tail: String = text.chars().skip(text.chars().count() - (width - 1)).collect();
    format!("…{tail}")
}

/// Returns the CPU time of this process.
pub fn process_cpu() -> Duration {
    cpu_time(rustix::time::ClockId::ProcessCPUTime)
}

/// Returns the CPU time of this thread.
pub fn thread_cpu() -> Duration {
    cpu_time(rustix::time::ClockId::ThreadCPUTime)
}

/// Reads a CPU clock.
fn cpu_time(clock: rustix::time::ClockId) -> Duration {
    let time = rustix::time::clock_gettime(clock);
    Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec.clamp(0, 999_999_999) as u32)
}

/// Returns the peak resident memory of this process, bytes; 0 where the system does not report it.
pub fn peak_memory() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status.lines().find(|line| line.starts_with("VmHWM:"))?.to_owned();
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        })
        .map_or(0, |kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_is_described_by_its_number_of_frames() {
        let described = [None, Some(0), Some(1), Some(14)].map(describe_stop);
        assert_eq!(
            described,
            ["stopped", "stopped after 0 frames", "stopped after 1 frame", "stopped after 14 frames"]
        );
    }
}
