//! What is counted of each node, and the report made of it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde::Serialize;
use sideline_api::{
    Error, Mode, StreamName,
    driver::{Outcome, Ran, Stage},
    is_same_stream,
};

use crate::{Change, gate::StreamCounts};

/// Every how many frames the CPU time of a cheap operator is read: reading it costs more than many of them do.
pub const CPU_SAMPLE: u64 = 32;

/// Counts that a lane keeps by itself until it locks the node's meter, once a frame.
#[derive(Default)]
pub(crate) struct Tally {
    /// Messages that came on each input, all kinds.
    inputs: Vec<u64>,
    /// Messages that went, all kinds.
    pub sent: u64,
    /// Side messages dropped in all.
    pub side_dropped: u64,
    /// CPU time of the calls that were measured.
    pub cpu: Duration,
    /// Number of the calls that were measured.
    pub cpu_samples: u64,
}

impl Tally {
    /// Counts a message of an input.
    pub fn came(&mut self, input: usize) {
        if self.inputs.len() <= input {
            self.inputs.resize(input + 1, 0);
        }
        self.inputs[input] += 1;
    }
}

/// Counts and times of one node, kept by its thread.
pub(crate) struct Meter {
    /// Messages that came, all kinds.
    pub received: u64,
    /// Of these, those of each input.
    pub inputs: Vec<u64>,
    /// Messages that went, all kinds.
    pub sent: u64,
    /// Frames that `process` handled.
    pub processed: u64,
    /// Frames skipped, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// Frames that failed.
    pub errors: u64,
    /// Frames that panicked.
    pub panics: u64,
    /// Text of the first error or panic.
    pub first_error: Option<String>,
    /// Failures at closing messages and ends, which are no frames.
    pub end_faults: u64,
    /// Streams of which more or fewer frames were handled than they had, as their ends say.
    pub mismatches: Vec<Mismatch>,
    /// Side messages forgotten.
    pub side_forgotten: u64,
    /// The operator's own counts, by name; told when it is closed.
    pub own: BTreeMap<String, u64>,
    /// CPU time of the calls that were measured.
    pub cpu: Duration,
    /// Number of the calls that were measured.
    pub cpu_samples: u64,
    streams: Vec<StreamMeter>,
    wait: Times,
    process: Times,
    latency: Times,
    began: Option<Instant>,
    ended: Option<Instant>,
}

/// Frames of one stream.
struct StreamMeter {
    name: StreamName,
    /// Number of the frame that comes next.
    next: u64,
    /// Frames handled since the stream began.
    handled: u64,
}

/// A stream whose frames were not all handled, or handled twice.
pub(crate) struct Mismatch {
    pub stream: StreamName,
    pub handled: u64,
    pub frames: u64,
}

/// A histogram of nanoseconds in steps of 1 %, up to a minute.
struct Times(Option<Histogram<u32>>);

impl Times {
    fn new() -> Self {
        // Two significant digits. `None` cannot happen with these bounds; then nothing is recorded.
        Times(Histogram::new_with_bounds(1, 60_000_000_000, 2).ok())
    }
    fn record(&mut self, time: Duration) {
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record((time.as_nanos() as u64).max(1));
        }
    }
    fn quantiles(&self) -> Quantiles {
        let Some(histogram) = self.0.as_ref().filter(|h| !h.is_empty()) else { return Quantiles::default() };
        let ms = |q| histogram.value_at_quantile(q) as f64 * 1e-6;
        Quantiles { p50: ms(0.5), p95: ms(0.95), p99: ms(0.99), max: histogram.max() as f64 * 1e-6 }
    }
}

/// Quantiles in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, serde::Deserialize, PartialEq)]
pub struct Quantiles {
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Greatest.
    pub max: f64,
}

impl Meter {
    /// A meter that has counted nothing.
    pub fn new() -> Self {
        Meter {
            received: 0,
            inputs: vec![],
            sent: 0,
            processed: 0,
            skipped: BTreeMap::new(),
            errors: 0,
            panics: 0,
            first_error: None,
            end_faults: 0,
            mismatches: vec![],
            side_forgotten: 0,
            own: BTreeMap::new(),
            cpu: Duration::ZERO,
            cpu_samples: 0,
            streams: vec![],
            wait: Times::new(),
            process: Times::new(),
            latency: Times::new(),
            began: None,
            ended: None,
        }
    }

    /// Counts one call, and what its lane has counted since the one before. `latency` is the time since the capture of the
    /// frame, nanoseconds.
    pub fn ran(&mut self, ran: &Ran<'_>, latency: i64, tally: &mut Tally) {
        self.take(tally);
        let (header, ready, started, ended) = (ran.header, ran.ready, ran.started, ran.ended);
        let (fault, text) = match &ran.outcome {
            Outcome::Error(text) => (true, text.clone()),
            Outcome::Panic(text) => (true, format!("panic: {text}")),
            Outcome::Done | Outcome::Skipped(_) => (false, String::new()),
        };
        if fault {
            self.first_error.get_or_insert(text);
        }
        let stream = self.stream(&header.stream);
        match ran.stage {
            Stage::Frame => {
                stream.next = header.frame + 1;
                stream.handled += 1;
            }
            Stage::Closing => {
                self.end_faults += u64::from(fault);
                return;
            }
            Stage::End { frames } => {
                let handled = std::mem::take(&mut stream.handled);
                if handled != frames {
                    self.mismatches.push(Mismatch { stream: header.stream.clone(), handled, frames });
                }
                self.end_faults += u64::from(fault);
                return;
            }
        }
        match &ran.outcome {
            Outcome::Done => self.processed += 1,
            Outcome::Skipped(reason) => *self.skipped.entry(reason.to_string()).or_default() += 1,
            Outcome::Error(_) => self.errors += 1,
            Outcome::Panic(_) => self.panics += 1,
        }
        self.wait.record(started.saturating_duration_since(ready));
        self.process.record(ended.saturating_duration_since(started));
        self.latency.record(Duration::from_nanos(latency.max(0) as u64));
        self.began.get_or_insert(started);
        self.ended = Some(ended);
    }

    fn stream(&mut self, name: &StreamName) -> &mut StreamMeter {
        let at = self.streams.iter().position(|known| is_same_stream(&known.name, name)).unwrap_or_else(|| {
            self.streams.push(StreamMeter { name: name.clone(), next: 0, handled: 0 });
            self.streams.len() - 1
        });
        &mut self.streams[at]
    }

    /// Takes over what a lane has counted.
    pub fn take(&mut self, tally: &mut Tally) {
        if self.inputs.len() < tally.inputs.len() {
            self.inputs.resize(tally.inputs.len(), 0);
        }
        for (all, came) in self.inputs.iter_mut().zip(&mut tally.inputs) {
            *all += *came;
            self.received += std::mem::take(came);
        }
        self.sent += std::mem::take(&mut tally.sent);
        self.cpu += std::mem::take(&mut tally.cpu);
        self.cpu_samples += std::mem::take(&mut tally.cpu_samples);
        self.side_forgotten = tally.side_dropped;
    }

    /// Of each stream, the frame that comes next.
    pub fn next_frames(&self) -> BTreeMap<String, u64> {
        self.streams.iter().map(|stream| (stream.name.to_string(), stream.next)).collect()
    }

    /// Frames handled in any way.
    pub fn handled(&self) -> u64 {
        self.processed + self.skipped.values().sum::<u64>() + self.errors + self.panics
    }

    /// Frames a second since its first frame.
    pub fn fps(&self) -> f64 {
        match (self.began, self.ended) {
            (Some(began), Some(ended)) if ended > began && self.handled() > 1 => {
                (self.handled() - 1) as f64 / (ended - began).as_secs_f64()
            }
            _ => 0.0,
        }
    }

    /// Time that `process` took.
    pub fn work(&self) -> Quantiles {
        self.process.quantiles()
    }

    /// Time from capture to its outputs.
    pub fn latency(&self) -> Quantiles {
        self.latency.quantiles()
    }

    /// The node's part of the report.
    pub fn report(&self, node: &str, operator: &str) -> NodeReport {
        let scale = if self.cpu_samples == 0 { 0.0 } else { self.handled() as f64 / self.cpu_samples as f64 };
        NodeReport {
            node: node.into(),
            operator: operator.into(),
            received: self.received,
            sent: self.sent,
            processed: self.processed,
            skipped: self.skipped.clone(),
            errors: self.errors + self.end_faults,
            panics: self.panics,
            first_error: self.first_error.clone(),
            side_forgotten: self.side_forgotten,
            own: self.own.clone(),
            fps: self.fps(),
            cpu_s: self.cpu.as_secs_f64() * scale,
            wait_ms: self.wait.quantiles(),
            process_ms: self.process.quantiles(),
            latency_ms: self.latency.quantiles(),
        }
    }
}

/// What one node did.
#[derive(Clone, Debug, Serialize)]
pub struct NodeReport {
    /// Id of the node.
    pub node: String,
    /// Name of the operator.
    pub operator: String,
    /// Messages that came, all kinds.
    pub received: u64,
    /// Messages that went, all kinds.
    pub sent: u64,
    /// Frames that `process` handled.
    pub processed: u64,
    /// Frames skipped, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// Frames that failed.
    pub errors: u64,
    /// Frames that panicked.
    pub panics: u64,
    /// Text of the first error or panic.
    pub first_error: Option<String>,
    /// Side messages forgotten because newer ones came.
    pub side_forgotten: u64,
    /// The operator's own counts: for `encode` to a server the frames that were sent, and those that were dropped.
    pub own: BTreeMap<String, u64>,
    /// Frames a second.
    pub fps: f64,
    /// CPU seconds on the node's own thread (threads of an encoder are in the process's figure only).
    pub cpu_s: f64,
    /// From the last input's sending to the start of `process`.
    pub wait_ms: Quantiles,
    /// From the start of `process` to the sending of its outputs.
    pub process_ms: Quantiles,
    /// From the capture of the frame to the sending of its outputs.
    pub latency_ms: Quantiles,
}

/// What one source did.
#[derive(Clone, Debug, Serialize)]
pub struct SourceReport {
    /// Id of the node.
    pub node: String,
    /// Frames decoded: admitted + forgotten.
    pub decoded: u64,
    /// Frames that entered the graph.
    pub admitted: u64,
    /// Frames that did not, because the window was full, or the run was ended.
    pub forgotten: u64,
    /// Of the admitted frames, those that not every sink had finished when the run ended.
    pub unfinished: u64,
    /// The same for each of its streams.
    pub streams: Vec<StreamReport>,
    /// CPU seconds of the threads that decode (a decoder's own threads are in the process's figure only).
    pub cpu_s: f64,
}

/// What came of one stream.
#[derive(Clone, Debug, Serialize)]
pub struct StreamReport {
    /// Its name.
    pub stream: String,
    /// Frames decoded: admitted + forgotten.
    pub decoded: u64,
    /// Frames that entered the graph.
    pub admitted: u64,
    /// Frames that did not.
    pub forgotten: u64,
    /// Its reader's own counts, beside these: for a stream on the network its sessions, reconnect attempts, alerts.
    pub own: BTreeMap<String, u64>,
}

impl From<(StreamName, StreamCounts)> for StreamReport {
    fn from((stream, StreamCounts { decoded, admitted, forgotten, own }): (StreamName, StreamCounts)) -> Self {
        StreamReport {
            stream: stream.to_string(),
            decoded,
            admitted,
            forgotten,
            own: own.into_iter().map(|(name, n)| (name.into(), n)).collect(),
        }
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Every stream to its end.
    Done,
    /// Ended by the user; everything begun was finished.
    Stopped,
    /// Something failed; what is in the files is right but not all.
    Partial,
}

/// What a process did, start to end.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// How it ended.
    pub status: Status,
    /// For `stopped`: frames that every sink had finished by then, of the source that came furthest; none in a process without
    /// a source.
    pub stopped_at_frame: Option<u64>,
    /// Why it is partial.
    pub failure: Option<Error>,
    /// Live or complete.
    pub mode: Mode,
    /// True when a second run must give the same bytes.
    pub reproducible: bool,
    /// Sources.
    pub sources: Vec<SourceReport>,
    /// Operators, in the order of the plan.
    pub nodes: Vec<NodeReport>,
    /// Messages of nodes that are not ours which could not be read, by input.
    pub ignored: BTreeMap<String, u64>,
    /// Keys that were changed while it ran, in order.
    pub changes: Vec<Change>,
    /// From start to end, seconds.
    pub wall_s: f64,
    /// CPU of the process, seconds.
    pub cpu_s: f64,
    /// Most memory the process held, bytes.
    pub peak_memory: u64,
}

impl Report {
    /// The exit code of the process.
    pub fn exit_code(&self) -> u8 {
        self.failure.as_ref().map_or(0, |failure| failure.failure.exit_code())
    }

    /// The table printed at the end; 80 columns.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for source in &self.sources {
            text += &format!(
                "{}: {} decoded = {} admitted + {} forgotten\n",
                source.node, source.decoded, source.admitted, source.forgotten
            );
            for of in source.streams.iter().filter(|_| source.streams.len() > 1) {
                text += &format!(
                    "  {}: {} decoded = {} admitted + {} forgotten\n",
                    of.stream, of.decoded, of.admitted, of.forgotten
                );
            }
            if source.unfinished > 0 {
                text += &format!("  {} admitted frames were not finished\n", source.unfinished);
            }
            for of in source.streams.iter().filter(|of| !of.own.is_empty()) {
                text += &format!("  {}: {}\n", of.stream, listed(&of.own));
            }
        }
        if !self.nodes.is_empty() {
            text += &format!(
                "\n{:<20} {:>7} {:>7} {:>5} {:>7} {:>8} {:>8} {:>10}\n",
                "node", "frames", "skipped", "error", "fps", "wait p95", "work p95", "latency p95"
            );
        }
        for node in &self.nodes {
            let skipped: u64 = node.skipped.values().sum();
            text += &format!(
                "{:<20} {:>7} {:>7} {:>5} {:>7.1} {:>6.2}ms {:>6.2}ms {:>9.1}ms\n",
                clip(&node.node, 20),
                node.processed,
                skipped,
                node.errors + node.panics,
                node.fps,
                node.wait_ms.p95,
                node.process_ms.p95,
                node.latency_ms.p95
            );
            if skipped > 0 {
                let reasons: Vec<String> = node.skipped.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
                text += &format!("  skipped: {}\n", reasons.join(", "));
            }
            if node.side_forgotten > 0 {
                text += &format!("  {} side messages forgotten\n", node.side_forgotten);
            }
            if !node.own.is_empty() {
                text += &format!("  {}\n", listed(&node.own));
            }
            if let Some(error) = &node.first_error {
                text += &format!("  first error: {error}\n");
            }
        }
        for (input, count) in &self.ignored {
            text += &format!("input {input}: {count} messages of a node that is not ours were left out\n");
        }
        text += &format!(
            "\n{:.1} s, {:.1} s of CPU, {} MB at most, {}\n",
            self.wall_s,
            self.cpu_s,
            self.peak_memory / 1_000_000,
            match (self.status, self.stopped_at_frame) {
                (Status::Done, _) => "done".to_owned(),
                (Status::Stopped, Some(frame)) => format!("stopped at frame {frame}"),
                (Status::Stopped, None) => "stopped".to_owned(),
                (Status::Partial, _) => "PARTIAL".to_owned(),
            }
        );
        text
    }
}

/// Counts and their names: `alerts 0, failed tries 2`.
fn listed(counts: &BTreeMap<String, u64>) -> String {
    let listed: Vec<String> = counts.iter().map(|(name, n)| format!("{} {n}", name.replace('_', " "))).collect();
    listed.join(", ")
}

fn clip(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    // The end of `module.operator` tells more than its beginning.
    let tail: String = text.chars().skip(text.chars().count() - (width - 1)).collect();
    format!("…{tail}")
}

/// CPU time of this process.
pub fn process_cpu() -> Duration {
    cpu(rustix::time::ClockId::ProcessCPUTime)
}

/// CPU time of this thread.
pub fn thread_cpu() -> Duration {
    cpu(rustix::time::ClockId::ThreadCPUTime)
}

fn cpu(clock: rustix::time::ClockId) -> Duration {
    let time = rustix::time::clock_gettime(clock);
    Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec.clamp(0, 999_999_999) as u32)
}

/// Most memory this process held, bytes; 0 where the system does not tell.
pub fn peak_memory() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status.lines().find(|line| line.starts_with("VmHWM:"))?.to_owned();
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        })
        .map_or(0, |kib| kib * 1024)
}
