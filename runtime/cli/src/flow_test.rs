//! `sideline test`: tests of a flow, which feed rows into some of its outputs and state the rows that must follow.

mod compare;
mod file;
mod nodes;
mod table;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow_array::StructArray;
use arrow_schema::DataType;
use serde::Serialize;
use serde_json::Value;
use sideline_api::{
    Body, Error, Failure, Mode, OrFail, Payload, PortType, Reason, Registry, Result, TableType,
    arrow::array::{Array, StringArray},
    config::did_you_mean,
};
use sideline_graph::{Flow, OutputIndex, Place, RecordedTableName};
use sideline_recording::{RecordedTables, column, media_times_ns, stream_and_frame, table_rows};

use crate::{args, commands::print_json, home, run};

use compare::{Difference, compare};
use file::{Expectation, Frames, Named, RowPattern, Test, TestFile, TestInput};
use nodes::{EndFactory, FedFrames, READER, Received, SOURCE, lock};

/// Ending of the file with the tests of a flow, in place of `.yml`.
const ENDING: &str = "tests.yml";

/// Outcome of a test.
#[derive(Serialize)]
struct Outcome {
    name: String,
    passed: bool,
    difference: Option<Difference>,
}

/// Runs the tests of a flow; returns the exit code, 1 if a test failed.
///
/// # Errors
/// When the flow or the file of the tests has a mistake, or a run fails.
pub fn run(options: &args::Test, registry: &Registry) -> Result<u8> {
    let path = options.tests.clone().unwrap_or_else(|| options.flow.with_extension(ENDING));
    if !path.is_file() {
        return Err(Error::config(format!(
            "{}: there is no such file: the tests of {} are expected there; name another file with `--tests`",
            path.display(),
            options.flow.display()
        )));
    }
    let file = TestFile::read(&path)?;
    let selected: Vec<&Test> = match &options.only {
        None => file.tests.iter().collect(),
        Some(name) => file.tests.iter().filter(|test| test.name.text.contains(name.as_str())).collect(),
    };
    if selected.is_empty() {
        let name = options.only.as_deref().unwrap_or_default();
        let near = did_you_mean(name, file.tests.iter().map(|test| test.name.text.as_str()));
        return Err(Error::config(format!("{}: no test has `{name}` in its name{near}", path.display())));
    }
    let mut outcomes = vec![];
    for test in selected {
        let difference = run_test(test, &file.path, &options.flow, registry)?;
        if !options.json {
            match &difference {
                None => outln!("passed  {}", test.name.text),
                Some(difference) => {
                    outln!(
                        "FAILED  {}\n        {}:{}: {}",
                        test.name.text,
                        path.display(),
                        difference.line,
                        difference.text
                    );
                }
            }
        }
        outcomes.push(Outcome { name: test.name.text.clone(), passed: difference.is_none(), difference });
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.passed).count();
    if options.json {
        print_json(&outcomes)?;
    } else {
        outln!("{} passed, {failed} failed", outcomes.len() - failed);
    }
    Ok(if failed == 0 { 0 } else { Failure::Config.exit_code() })
}

/// Runs a test; returns the first difference.
fn run_test(test: &Test, file: &Path, path: &Path, registry: &Registry) -> Result<Option<Difference>> {
    let overrides = run::build_overrides(path, &test.set, Some(Mode::Complete));
    let mut flow = Flow::read(path, registry, &overrides).map_err(|mut problems| {
        // Problems without a file are those of overrides, which come from the test's `set`.
        for problem in problems.iter_mut().filter(|problem| problem.place.file.is_none()) {
            let Named { line, column, .. } = test.set_place;
            problem.place = Place { file: Some(file.to_owned()), line, column };
        }
        run::join_diagnostics(&problems, Failure::Config)
    })?;
    let outputs = test
        .expect
        .iter()
        .map(|expectation| find_output(&flow, &expectation.output, file))
        .collect::<Result<Vec<_>>>()?;
    for (expectation, output) in test.expect.iter().zip(&outputs) {
        check_expectation(&flow, *output, expectation, file)?;
    }
    let (fed, frames) = match &test.input {
        TestInput::Feed(feed) => feed_frames(&flow, test, feed, file)?,
        TestInput::Recording { folder, from } => recorded_frames(&flow, test, folder, from, file)?,
    };
    let mut read = outputs.clone();
    read.sort_unstable();
    read.dedup();
    let spec = flow.feed(SOURCE, &fed, READER, &read).map_err(|problems| {
        let texts: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
        test.name.error(file, format_args!("test `{}`: {}", test.name.text, texts.join("; ")))
    })?;
    let models = home::load_models(path);
    let missing = flow.check_models(&models);
    if !missing.is_empty() {
        return Err(run::join_diagnostics(&missing, Failure::Model));
    }
    let received = Received::default();
    let registry = registry.clone();
    let registry = registry.with(EndFactory::source(spec, frames)).with(EndFactory::reader(received.clone()));
    registry.check()?;
    let plan = flow.plan_embedded().map_err(|problems| run::join_diagnostics(&problems, Failure::Config))?;
    let folder = tempfile::tempdir().or_fail(Failure::Output, || "a folder for the test".to_owned())?;
    let options = sideline_engine::Options {
        device: flow.device,
        models: Arc::new(models),
        ..sideline_engine::Options::new("test", folder.path())
    };
    let report = sideline_engine::start(plan, &registry, options, None)?.wait();
    if let Some(failure) = report.failure {
        return Err(failure.at(format_args!("test `{}`", test.name.text)));
    }
    let received = lock(&received);
    let none = vec![];
    let names = flow.nodes.last().map(|reader| &reader.inputs[..]).unwrap_or_default();
    let mut compared = test.expect.iter().zip(&outputs).map(|(expectation, output)| {
        let at = read.iter().position(|known| known == output).unwrap_or_default();
        let messages = names.get(at).and_then(|input| received.get(&input.wired.name)).unwrap_or(&none);
        compare(expectation, messages)
    });
    Ok(compared.find_map(|difference| difference))
}

fn find_output(flow: &Flow, name: &Named, file: &Path) -> Result<OutputIndex> {
    flow.find_output(&name.text).map_err(|text| name.error(file, text))
}

/// Returns the type of an output's rows.
fn table_of(flow: &Flow, (node, output): OutputIndex, name: &Named, file: &Path) -> Result<TableType> {
    match flow.nodes[node].spec.outputs[output].ty {
        PortType::Table(table) => Ok(table),
        PortType::Frame | PortType::Any => {
            Err(name.error(file, format_args!("`{}` sends frames: a test gives and expects rows", name.text)))
        }
    }
}

/// Checks that the columns of an expectation exist and can have these values.
fn check_expectation(flow: &Flow, output: OutputIndex, expectation: &Expectation, file: &Path) -> Result<()> {
    let table = table_of(flow, output, &expectation.output, file)?;
    for (column, value) in expectation.rows.iter().flat_map(|row| &row.cells) {
        table::check(table, &column.text, value).map_err(|text| column.error(file, text))?;
    }
    for column in expectation.tolerances.keys() {
        if table.fields.find(column).is_none() {
            let near = did_you_mean(column, table.fields.iter().map(|field| field.name().as_str()));
            let text = format!("`tolerance`: the table `{}` has no column `{column}`{near}", table.name);
            return Err(expectation.output.error(file, text));
        }
    }
    Ok(())
}

/// Returns the outputs that a test feeds, and the frames with their rows.
fn feed_frames(
    flow: &Flow,
    test: &Test,
    feed: &[(Named, Vec<RowPattern>)],
    file: &Path,
) -> Result<(Vec<OutputIndex>, FedFrames)> {
    let mut outputs = vec![];
    let mut bodies = BTreeMap::new();
    let mut last = 0;
    for (name, patterns) in feed {
        let output = find_output(flow, name, file)?;
        if outputs.contains(&output) {
            return Err(name.error(file, format_args!("`{}` is fed twice", name.text)));
        }
        let table = table_of(flow, output, name, file)?;
        let messages = messages(table, patterns, file)?;
        last = last.max(messages.last_key_value().map_or(0, |(frame, _)| *frame));
        outputs.push(output);
        bodies.insert(flow.output_name(output), messages);
    }
    let count = test.frames.unwrap_or(last + 1);
    if last >= count {
        let text = format!("`frames` is {count}, and a row is fed in frame {last}");
        return Err(test.name.error(file, text));
    }
    let times = (0..count).map(|frame| (frame as f64 * 1e9 / test.fps).round() as i64).collect();
    Ok((outputs, FedFrames { stream: "test".into(), times, bodies, size: test.size }))
}

/// Converts the rows of an output to messages by frame.
fn messages(table: TableType, patterns: &[RowPattern], file: &Path) -> Result<BTreeMap<u64, Body>> {
    let mut rows: BTreeMap<u64, Vec<Vec<(&str, Value)>>> = BTreeMap::new();
    let mut skipped: BTreeMap<u64, &str> = BTreeMap::new();
    for pattern in patterns {
        let Frames::Range(first, last) = pattern.frames else { continue };
        for frame in first..=last {
            let share = if last > first { (frame - first) as f64 / (last - first) as f64 } else { 0.0 };
            if let Some(reason) = &pattern.skipped {
                skipped.insert(frame, reason);
                continue;
            }
            let cell = |(column, value): &'_ (Named, Value)| -> Result<Value> {
                let value = at_share(table, &column.text, value, share);
                table::check(table, &column.text, &value).map_err(|text| column.error(file, text))?;
                Ok(value)
            };
            let cells = pattern.cells.iter().map(|named| Ok((named.0.text.as_str(), cell(named)?)));
            rows.entry(frame).or_default().push(cells.collect::<Result<_>>()?);
        }
    }
    let mut messages: BTreeMap<u64, Body> = rows
        .into_iter()
        .map(|(frame, rows)| (frame, Body::Data(Payload::Table(Arc::new(table::build(table, &rows))))))
        .collect();
    messages.extend(skipped.into_iter().map(|(frame, reason)| (frame, Body::Skipped(Reason::from(reason)))));
    Ok(messages)
}

/// Returns the value of a column at a share of a range of frames: `{from: 0, to: 10}` is a number between the two.
fn at_share(table: TableType, column: &str, value: &Value, share: f64) -> Value {
    let Some((_, field)) = table.fields.find(column) else { return value.clone() };
    let ends = value.as_object().filter(|ends| ends.len() == 2 && field.data_type().is_numeric());
    let end = |name| ends.and_then(|ends| ends.get(name)).and_then(Value::as_f64);
    match end("from").zip(end("to")) {
        Some((from, to)) => {
            let number = from + (to - from) * share;
            let is_float = matches!(field.data_type(), DataType::Float32 | DataType::Float64);
            if is_float { number.into() } else { (number.round() as i64).into() }
        }
        None => value.clone(),
    }
}

/// Returns the outputs before a node that a recording has, and the frames of its first stream with their rows.
fn recorded_frames(
    flow: &Flow,
    test: &Test,
    folder: &Named,
    from: &Named,
    file: &Path,
) -> Result<(Vec<OutputIndex>, FedFrames)> {
    let tables = flow.recorded_before(&from.text).map_err(|text| from.error(file, text))?;
    let run: PathBuf = file.parent().unwrap_or(Path::new("")).join(&folder.text);
    let mut recorded = Recorded::default();
    let mut bodies = BTreeMap::new();
    for RecordedTableName { output, folder: subfolder, table } in &tables {
        let opened = if subfolder.is_empty() {
            RecordedTables::open(&run)
        } else {
            RecordedTables::open_folder(&run.join(subfolder))
        };
        let opened = opened.map_err(|error| folder.error(file, error))?;
        let expected = table_of(flow, *output, folder, file)?;
        let messages = recorded.read(&opened, table, expected).map_err(|error| folder.error(file, error))?;
        let ends = opened.last_frames().map_err(|error| folder.error(file, error))?.unwrap_or_default();
        let end = recorded.stream.as_ref().and_then(|stream| ends.get(stream)).map(|last| last.frame);
        recorded.last = recorded.last.or(end);
        bodies.insert(flow.output_name(*output), messages);
    }
    // Rows after the last frame, which bear the next number, are not fed.
    let last = recorded.last.unwrap_or_else(|| recorded.times.last_key_value().map_or(0, |(frame, _)| *frame));
    let count = test.frames.unwrap_or(last + 1);
    // A frame without a row has the time of the frame before.
    let mut times: Vec<i64> = vec![];
    for frame in 0..count {
        let before = times.last().copied().unwrap_or_default();
        times.push(recorded.times.get(&frame).copied().unwrap_or(before));
    }
    let stream = recorded.stream.unwrap_or_else(|| "test".into());
    Ok((tables.iter().map(|table| table.output).collect(), FedFrames { stream, times, bodies, size: test.size }))
}

/// Messages of the first stream of a recording.
#[derive(Default)]
struct Recorded {
    stream: Option<String>,
    /// Last frame, if the recording states it.
    last: Option<u64>,
    /// Media time of each frame with a row, ns.
    times: BTreeMap<u64, i64>,
}

impl Recorded {
    /// Reads the messages of a table by frame.
    fn read(&mut self, tables: &RecordedTables, name: &str, expected: TableType) -> Result<BTreeMap<u64, Body>> {
        let mut rows: BTreeMap<u64, Vec<Arc<StructArray>>> = BTreeMap::new();
        for batch in tables.table(name)?.batches()? {
            let batch = batch?;
            let all = table_rows(&batch)?;
            expected.check(all.data_type())?;
            for (row, frame) in self.frames(&batch)? {
                rows.entry(frame).or_default().push(Arc::new(all.slice(row, 1)));
            }
        }
        let mut messages = BTreeMap::new();
        for (frame, rows) in rows {
            messages.insert(frame, Body::Data(Payload::Table(sideline_api::table::concat(&rows)?)));
        }
        if let Some(skipped) = tables.skipped_frames(name) {
            for batch in skipped.batches()? {
                let batch = batch?;
                let reasons = column::<StringArray>(&batch, "reason")?;
                for (row, frame) in self.frames(&batch)? {
                    messages.insert(frame, Body::Skipped(Reason::from(reasons.value(row))));
                }
            }
        }
        Ok(messages)
    }

    /// Returns the rows of the first stream with their frames, and notes their times.
    fn frames(&mut self, batch: &arrow_array::RecordBatch) -> Result<Vec<(usize, u64)>> {
        let (streams, frames) = stream_and_frame(batch)?;
        let times = media_times_ns(batch)?;
        let mut found = vec![];
        for (row, frame) in frames.into_iter().enumerate() {
            let stream = self.stream.get_or_insert_with(|| streams.value(row).to_owned());
            if streams.value(row) == stream {
                self.times.entry(frame).or_insert(times[row]);
                found.push((row, frame));
            }
        }
        Ok(found)
    }
}
