//! `sideline-lab bench operator`: time and allocations of one operator for each frame of a recorded run, compared with a stored
//! result.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use allocation_counter::AllocationInfo;
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sideline::program::{
    RecordedTables, column, find_operator, media_times_ns, stream_and_frame, table_rows, with_installed,
};
use sideline_api::{
    Alignment, Body, Color, Encoding, Error, Failure, Frame, Header, Message, OnError, OperatorFactory as Factory,
    OrFail, Payload, PortType, Reason, Registry, Result, SourceId, TableType, Values, WiredInput,
    arrow::array::{Array, StringArray, StructArray},
    config::{Origin, did_you_mean},
    driver::{CallReport, Driver, DriverOptions, Outcome, Outlet, Phase},
    table,
};

use crate::operator_runner::OperatorFactory;

/// Size of the frames that an operator with an input of frames gets, px.
const FRAME_SIZE: [u32; 2] = [1920, 1080];

/// Options of `bench operator`.
#[derive(Debug, Args)]
pub struct Options {
    /// Name of the operator, or the path of a plugin's library.
    pub operator: String,
    /// Folder of the run whose tables the operator reads; frames of video are gray.
    #[arg(long, value_name = "RUN")]
    pub recording: PathBuf,
    /// Read a recorded table at an input: `poses=smoothed`. By default the table of the input's name, else the only one of its
    /// type.
    #[arg(long = "input", value_name = "INPUT=TABLE", value_parser = parse_input)]
    pub inputs: Vec<(String, String)>,
    /// Set a key of the operator: `lost_buffer_s=2`.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = sideline::program::parse_key)]
    pub set: Vec<(String, Value)>,
    /// Repetitions of the recording, each with new state. The time of a frame is the minimum over them, since other programs can
    /// only make it longer.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Write the result to this file, to compare with later.
    #[arg(long, value_name = "FILE")]
    pub save_baseline: Option<PathBuf>,
    /// Compare with the result in this file.
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Print as JSON.
    #[arg(long)]
    pub json: bool,
}

fn parse_input(text: &str) -> Result<(String, String), String> {
    let (input, table) =
        text.split_once('=').ok_or_else(|| format!("`{text}` is not INPUT=TABLE, as in `poses=smoothed`"))?;
    Ok((input.into(), table.into()))
}

/// Result of the benchmark, also in the file of a baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    operator: String,
    /// True for an operator in a shared library, whose own allocations are not counted.
    is_plugin: bool,
    /// Keys that were set.
    keys: BTreeMap<String, Value>,
    /// Source of each wired input: the name of a recorded table, or `frames`.
    inputs: BTreeMap<String, String>,
    /// Frames of the recording.
    frames: u64,
    /// Frames that the operator processed; the others were skipped.
    processed: u64,
    process_us: Times,
    /// Allocations of memory on the calling thread, mean of a frame.
    allocations: f64,
    /// Allocated bytes, mean of a frame.
    allocated_bytes: f64,
}

/// Percentiles of the time of a frame, microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Times {
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
    mean: f64,
}

/// Result with that of the baseline.
#[derive(Debug, Serialize)]
pub struct Compared {
    #[serde(flatten)]
    measured: Measured,
    baseline: Option<Measured>,
    /// Ratio of each value to that of the baseline; above 1 is slower or more.
    ratios: Option<BTreeMap<&'static str, f64>>,
}

/// Runs the benchmark.
///
/// # Errors
/// When there is no such operator, its inputs are not in the recording, or the baseline is of other work.
pub fn run(options: &Options, registry: &Registry) -> Result<Compared> {
    let registry = with_installed(registry, Path::new("."))?;
    // Read first, so that a mistake does not cost the measurement.
    let baseline = options.baseline.as_deref().map(read_baseline).transpose()?;
    let factory = find_operator(&options.operator, &registry)?;
    let mut values = Values::new();
    for (key, value) in &options.set {
        values.set(key.clone(), value.clone(), Origin::CommandLine);
    }
    let spec = factory.spec(&values)?;
    if spec.is_source {
        return Err(Error::config(format!("`{}` is a source: it reads no tables", spec.name)));
    }
    let recording = RecordedTables::open(&options.recording)?;
    let inputs = Input::select(&spec.inputs, &recording, &options.inputs)?;
    let frames = read_frames(&recording, &inputs)?;
    let mut rounds = vec![];
    for _ in 0..options.rounds {
        rounds.push(run_round(&factory, &values, &registry, &inputs, &frames)?);
    }
    let measured = Measured {
        operator: spec.name.into(),
        is_plugin: factory.library().is_some(),
        keys: options.set.iter().cloned().collect(),
        inputs: inputs.iter().map(|input| (input.wired.name.clone(), input.source.clone())).collect(),
        frames: frames.len() as u64,
        processed: rounds.first().map_or(0, |round| round.times_ns.len() as u64),
        process_us: Times::from_rounds(&rounds),
        allocations: mean(&rounds, |round| round.allocations.count_total) / frames.len() as f64,
        allocated_bytes: mean(&rounds, |round| round.allocations.bytes_total) / frames.len() as f64,
    };
    if measured.processed == 0 {
        return Err(Error::input(format!("`{}` processed none of the {} recorded frames", spec.name, frames.len())));
    }
    if let Some(path) = &options.save_baseline {
        let text = serde_json::to_string_pretty(&measured).or_fail(Failure::Output, || path.display().to_string())?;
        std::fs::write(path, text + "\n").or_fail(Failure::Output, || path.display().to_string())?;
    }
    let baseline =
        baseline.map(|(path, baseline)| measured.check_comparable(path, &baseline).map(|()| baseline)).transpose()?;
    let ratios = baseline.as_ref().map(|baseline| measured.ratios(baseline));
    Ok(Compared { measured, baseline, ratios })
}

fn read_baseline(path: &Path) -> Result<(&Path, Measured)> {
    let text = std::fs::read_to_string(path).or_fail(Failure::Input, || path.display().to_string())?;
    let baseline = serde_json::from_str(&text).map_err(|cause| {
        Error::input(format!("{}: this is no result of `bench operator --save-baseline`: {cause}", path.display()))
    })?;
    Ok((path, baseline))
}

fn mean(rounds: &[Round], value: impl Fn(&Round) -> u64) -> f64 {
    rounds.iter().map(value).sum::<u64>() as f64 / rounds.len().max(1) as f64
}

impl Times {
    /// Calculates percentiles of the minimum time of each frame.
    fn from_rounds(rounds: &[Round]) -> Self {
        let frames = rounds.iter().map(|round| round.times_ns.len()).min().unwrap_or(0);
        let least = |frame: usize| rounds.iter().map(|round| round.times_ns[frame]).min().unwrap_or(0);
        let mut times: Vec<u64> = (0..frames).map(least).collect();
        times.sort_unstable();
        let quantile = |q: f64| {
            let at = ((times.len() as f64 * q) as usize).min(times.len().saturating_sub(1));
            times.get(at).map_or(f64::NAN, |ns| *ns as f64 * 1e-3)
        };
        let mean = times.iter().sum::<u64>() as f64 * 1e-3 / times.len().max(1) as f64;
        Self { p50: quantile(0.5), p90: quantile(0.9), p99: quantile(0.99), max: quantile(1.0), mean }
    }
}

impl Measured {
    /// Returns the measured values by name.
    fn values(&self) -> [(&'static str, f64); 7] {
        let times = &self.process_us;
        [
            ("p50", times.p50),
            ("p90", times.p90),
            ("p99", times.p99),
            ("max", times.max),
            ("mean", times.mean),
            ("allocations", self.allocations),
            ("allocated_bytes", self.allocated_bytes),
        ]
    }

    fn ratios(&self, baseline: &Self) -> BTreeMap<&'static str, f64> {
        let pairs = self.values().into_iter().zip(baseline.values());
        // Without allocations in both, the quotient is not a number.
        pairs.map(|((name, now), (_, before))| (name, if now == before { 1.0 } else { now / before })).collect()
    }

    /// Checks that a baseline is of the same work. Keys may differ: their effect is what is compared.
    fn check_comparable(&self, path: &Path, baseline: &Self) -> Result<()> {
        let place = path.display();
        if self.operator != baseline.operator {
            let (now, before) = (&self.operator, &baseline.operator);
            return Err(Error::config(format!("{place}: the baseline is of the operator `{before}`, not of `{now}`")));
        }
        if (self.frames, &self.inputs) != (baseline.frames, &baseline.inputs) {
            return Err(Error::config(format!(
                "{place}: the baseline is of {} frames with the inputs {}, not of {} frames with {}: give the same recording and \
                 inputs",
                baseline.frames,
                join(&baseline.inputs),
                self.frames,
                join(&self.inputs)
            )));
        }
        Ok(())
    }
}

fn join(inputs: &BTreeMap<String, String>) -> String {
    inputs.iter().map(|(input, source)| format!("{input}={source}")).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Measured { operator, frames, processed, inputs, .. } = &self.measured;
        writeln!(f, "{operator}: {processed} of {frames} frames processed, inputs {}", join(inputs))?;
        let header = if self.baseline.is_some() { format!("{:>12}{:>9}", "baseline", "ratio") } else { String::new() };
        write!(f, "{:<24}{:>12}{header}", "", "now")?;
        let before = self.baseline.as_ref().map(Measured::values);
        let units = ["us", "us", "us", "us", "us", "a frame", "a frame"];
        for (at, ((name, now), unit)) in self.measured.values().into_iter().zip(units).enumerate() {
            write!(f, "\n{:<24}{now:>12.2}", format!("{} ({unit})", name.replace('_', " ")))?;
            if let (Some(before), Some(ratios)) = (&before, &self.ratios) {
                write!(f, "{:>12.2}{:>9.2}", before[at].1, ratios[name])?;
            }
        }
        if self.measured.is_plugin {
            write!(f, "\nallocations within the library of the plugin are not counted")?;
        }
        Ok(())
    }
}

/// Input that is wired, and its messages.
struct Input {
    wired: WiredInput,
    /// Name of the recorded table, or `frames`.
    source: String,
    table: Option<TableType>,
}

impl Input {
    /// Finds the source of each input: as named, else the table of its name, else the only one of its type. An optional input
    /// without one is not wired.
    fn select(
        ports: &[sideline_api::InputPort],
        recording: &RecordedTables,
        named: &[(String, String)],
    ) -> Result<Vec<Self>> {
        for (input, _) in named {
            let Some(port) = ports.iter().find(|port| port.name == input) else {
                let near = did_you_mean(input, ports.iter().map(|port| port.name));
                return Err(Error::config(format!("the operator has no input `{input}`{near}")));
            };
            if !matches!(port.ty, PortType::Table(_)) {
                return Err(Error::config(format!("input `{input}` reads no table: leave out `--input {input}=...`")));
            }
        }
        let mut inputs = vec![];
        for port in ports {
            let table = match port.ty {
                PortType::Frame => None,
                PortType::Table(table) => Some(table),
                PortType::Any => continue,
            };
            let source = match table {
                None => Some("frames".to_owned()),
                Some(table) => {
                    let chosen = named.iter().find(|(input, _)| input == port.name).map(|(_, table)| table.as_str());
                    find_table(recording, port.name, table, chosen)?
                }
            };
            match source {
                Some(source) => {
                    let alignment = Alignment::Source(SourceId(0));
                    let wired = WiredInput::new(port.name, port, format!("recording/{source}"), alignment);
                    inputs.push(Self { wired, source, table });
                }
                None if port.required => {
                    return Err(Error::input(format!(
                        "the recording has no table for the required input `{}`: name one with `--input {}=TABLE`; there are {}",
                        port.name,
                        port.name,
                        recording.names().collect::<Vec<_>>().join(", ")
                    )));
                }
                None => {}
            }
        }
        if inputs.iter().all(|input| input.table.is_none()) {
            return Err(Error::input("the operator reads none of the recorded tables"));
        }
        Ok(inputs)
    }
}

fn find_table(
    recording: &RecordedTables,
    input: &str,
    table: TableType,
    chosen: Option<&str>,
) -> Result<Option<String>> {
    let fits = |name: &str| -> Result<Result<()>> {
        let Some(schema) = recording.table(name)?.schema()? else { return Ok(Err(Error::input("it has no rows"))) };
        let empty = table_rows(&arrow_array::RecordBatch::new_empty(schema))?;
        Ok(table.check(empty.data_type()))
    };
    if let Some(name) = chosen {
        fits(name)?.map_err(|error| error.at(format_args!("`--input {input}={name}`")))?;
        return Ok(Some(name.to_owned()));
    }
    let mut fitting = vec![];
    for name in recording.names() {
        if fits(name)?.is_ok() {
            fitting.push(name);
        }
    }
    let same = fitting.iter().find(|name| **name == input);
    Ok(same.or(fitting.first().filter(|_| fitting.len() == 1)).map(|name| (*name).to_owned()))
}

/// Messages of one frame: its time, and the body of each input.
struct InputFrame {
    pts: i64,
    bodies: Vec<Body>,
}

/// Reads the messages of the recording's first stream, frame by frame.
fn read_frames(recording: &RecordedTables, inputs: &[Input]) -> Result<Vec<InputFrame>> {
    let mut stream: Option<String> = None;
    let mut times: BTreeMap<u64, i64> = BTreeMap::new();
    let mut rows: Vec<BTreeMap<u64, Vec<Arc<StructArray>>>> = vec![];
    let mut skipped_frames: Vec<BTreeMap<u64, Reason>> = vec![];
    for input in inputs {
        let mut found: BTreeMap<u64, Vec<Arc<StructArray>>> = BTreeMap::new();
        if input.table.is_some() {
            for batch in recording.table(&input.source)?.batches()? {
                let batch = batch?;
                let (streams, frames) = stream_and_frame(&batch)?;
                let pts = media_times_ns(&batch)?;
                let table = table_rows(&batch)?;
                for (row, frame) in frames.into_iter().enumerate() {
                    let stream = stream.get_or_insert_with(|| streams.value(row).to_owned());
                    if streams.value(row) == stream {
                        times.entry(frame).or_insert(pts[row]);
                        found.entry(frame).or_default().push(Arc::new(table.slice(row, 1)));
                    }
                }
            }
        }
        rows.push(found);
        let mut skips: BTreeMap<u64, Reason> = BTreeMap::new();
        if let Some(skipped) = recording.skipped_frames(&input.source).filter(|_| input.table.is_some()) {
            for batch in skipped.batches()? {
                let batch = batch?;
                let (streams, frames) = stream_and_frame(&batch)?;
                let reasons = column::<StringArray>(&batch, "reason")?;
                let of_stream =
                    (0..frames.len()).filter(|row| stream.as_deref().is_none_or(|name| name == streams.value(*row)));
                skips.extend(of_stream.map(|row| (frames[row], Reason::from(reasons.value(row)))));
            }
        }
        skipped_frames.push(skips);
    }
    let [width, height] = FRAME_SIZE;
    let bytes = width as usize * height as usize * 3 / 2;
    let color = Color::default_for_height(height);
    let picture = Arc::new(Frame::from_packed(width, height, Encoding::I420, color, vec![128_u8; bytes])?);
    let ends = times.first_key_value().zip(times.last_key_value());
    let Some(((first, _), (last, _))) = ends else {
        return Err(Error::input("the recorded tables of the inputs have no rows"));
    };
    let mut pts = 0;
    let mut frames = vec![];
    for frame in *first..=*last {
        // A frame without a row has the time of the frame before.
        pts = times.get(&frame).copied().unwrap_or(pts);
        let bodies = inputs.iter().zip(rows.iter_mut().zip(&skipped_frames)).map(|(input, (rows, skipped))| {
            if let Some(reason) = skipped.get(&frame) {
                return Ok(Body::Skipped(reason.clone()));
            }
            Ok(Body::Data(match (input.table, rows.remove(&frame)) {
                (None, _) => Payload::Frame(picture.clone()),
                (Some(_), Some(rows)) => Payload::Table(table::concat(&rows)?),
                (Some(table), None) => Payload::Table(Arc::new(table.empty())),
            }))
        });
        frames.push(InputFrame { pts, bodies: bodies.collect::<Result<_>>()? });
    }
    Ok(frames)
}

/// Times and allocations of one repetition.
struct Round {
    /// Time of each processed frame, ns.
    times_ns: Vec<u64>,
    allocations: AllocationInfo,
}

/// Outlet that keeps the times of the calls and discards the messages.
#[derive(Default)]
struct Calls {
    times_ns: Vec<u64>,
    failure: Option<String>,
}

impl Outlet for Calls {
    fn send(&mut self, _: usize, _: Message) {}
    fn report(&mut self, report: CallReport<'_>) {
        match report.outcome {
            Outcome::Done if report.phase == Phase::Frame => {
                self.times_ns.push((report.ended - report.started).as_nanos() as u64);
            }
            Outcome::Error(text) | Outcome::Panic(text) => self.failure = Some(text),
            Outcome::Done | Outcome::Skipped(_) | Outcome::EndedWhileRestarting => {}
        }
    }
}

/// Runs the recording once, through the driver of a run.
fn run_round(
    factory: &Arc<dyn Factory>,
    values: &Values,
    registry: &Registry,
    inputs: &[Input],
    frames: &[InputFrame],
) -> Result<Round> {
    let spec = factory.spec(values)?;
    let outputs = spec.outputs.iter().map(|port| port.name.to_owned()).collect();
    let wired = inputs.iter().map(|input| input.wired.clone()).collect();
    let resources = OperatorFactory::new(registry).resources(spec.name, wired, outputs);
    let options = DriverOptions { on_error: OnError::Stop, stride: 1 };
    let mut driver = Driver::new(factory.clone(), values.clone(), resources, options)?;
    let mut calls = Calls { times_ns: Vec::with_capacity(frames.len()), failure: None };
    let mut messages: Vec<Vec<Message>> = vec![];
    for (number, frame) in frames.iter().enumerate() {
        let header = Header::new("bench", number as u64, frame.pts);
        let of_frame =
            frame.bodies.iter().map(|body| Message { header: header.clone(), n: number as u64, body: body.clone() });
        messages.push(of_frame.collect());
    }
    let mut outcome = Ok(());
    let allocations = allocation_counter::measure(|| {
        let sent = messages.drain(..).flat_map(|frame| frame.into_iter().enumerate());
        outcome =
            sent.into_iter().try_for_each(|(port, message)| driver.accept(port, message, Instant::now(), &mut calls));
    });
    outcome.and_then(|()| driver.close())?;
    match calls.failure {
        Some(failure) => Err(Error::other(failure)),
        None => Ok(Round { times_ns: calls.times_ns, allocations }),
    }
}
