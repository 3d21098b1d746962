//! `sideline export`: the tables of a run as one flat table, for spreadsheets and notebooks.
//!
//! There is one row per (stream, frame, track), with the columns of `tracks`, `poses` (by joint name), `motion` and
//! `interaction` (from the side of the row's track), as far as they were recorded. A skipped frame has a row with the reason in
//! `skipped`. Tables without tracks, such as `counts`, are exported one at a time, row by row. Unknown values are empty in CSV
//! and null in JSON; Parquet keeps NaN.
//!
//! The events of a match are also exported in the formats of StatsBomb and Wyscout: see [`provider`].
//!
//! Rows are read and written in batches, so a match of two hours takes no more memory than a clip.

mod flatten;
mod join;
mod provider;
pub mod write;

use std::path::{Path, PathBuf};

use serde::Serialize;
use sideline_api::{Error, Failure, OrFail, Result};
use sideline_recording::RecordedTables;

use crate::{args, commands::print_json, print, record};

use join::TableJoin;

/// Summary of an export.
#[derive(Serialize)]
struct Summary {
    output: PathBuf,
    rows: u64,
    columns: usize,
    tables: Vec<String>,
    /// Tables of the run that were not exported, with the reason.
    left_out: Vec<String>,
    /// Reason why the run is incomplete; null if it is complete.
    partial: Option<String>,
}

/// Runs `sideline export`; returns the exit code.
///
/// # Errors
/// If the folder is not of a run, a table is unknown, or the file exists or cannot be written.
pub fn export(options: &args::Export) -> Result<u8> {
    match options.format.kind() {
        Ok(format) => export_flat(options, format),
        Err(provider) => provider::export(options, provider),
    }
}

/// Exports one flat table; returns the exit code.
fn export_flat(options: &args::Export, format: args::Format) -> Result<u8> {
    if options.stream.is_some() {
        return Err(Error::config(
            "`--stream` applies to the formats statsbomb and wyscout; a flat table contains all streams",
        ));
    }
    let tables = RecordedTables::open(&options.run)?;
    let (selected, mut left_out) = select_tables(&tables, &options.tables)?;
    let join = TableJoin::new(&tables, &selected)?;
    left_out.extend(
        join.empty_tables().map(|name| format!("{name}: no part of it was complete when the run was interrupted")),
    );
    let partial = incompleteness(&options.run, &join)?;
    let to_stdout = options.output.as_deref() == Some(Path::new("-"));
    let output = match &options.output {
        Some(output) => output.clone(),
        None => options.run.join(format!("export.{}", format.extension())),
    };
    let columns = join.schema().fields().len();
    let rows = if to_stdout {
        match write::to_stdout(format, join.schema()).and_then(|sink| join.write(sink)) {
            // The reader has closed the pipe, as `head` does.
            Err(_) if print::is_pipe_closed() => return Ok(0),
            written => written?,
        }
    } else {
        write_atomically(&output, options.overwrite, |draft| join.write(write::to_file(format, draft, join.schema())?))?
    };
    let summary = Summary { output, rows, columns, tables: selected, left_out, partial };
    if let (Some(reason), false) = (&summary.partial, options.json) {
        errln!("PARTIAL: {reason}");
    }
    match (to_stdout, options.json) {
        // The table itself is on standard output.
        (true, _) => {}
        (false, true) => print_json(&summary)?,
        (false, false) => {
            outln!("{}: {rows} rows, {columns} columns of {}", summary.output.display(), summary.tables.join(", "));
            for table in &summary.left_out {
                outln!("left out: {table}");
            }
        }
    }
    Ok(0)
}

/// Selects the tables to export: the requested ones, else all with tracks. Returns them, and the tables that are left out, with
/// the reason.
fn select_tables(tables: &RecordedTables, requested: &[String]) -> Result<(Vec<String>, Vec<String>)> {
    let mut by_track = vec![];
    let mut others = vec![];
    let names: Vec<String> =
        if requested.is_empty() { tables.names().map(Into::into).collect() } else { requested.to_vec() };
    for name in &names {
        match tables.table(name)?.schema()? {
            Some(schema) if !flatten::has_tracks(&schema) => others.push(name.clone()),
            // An empty table is left out, and reported, by the join.
            _ => by_track.push(name.clone()),
        }
    }
    if requested.is_empty() && !by_track.is_empty() {
        // Known tables are in the order of processing.
        let order = ["tracks", "poses", "motion", "interaction"];
        by_track.sort_by_key(|name| order.iter().position(|known| known == name).unwrap_or(order.len()));
        let left = others.iter().map(|name| format!("{name}: its rows have no track; `--tables {name}` exports it"));
        return Ok((by_track, left.collect()));
    }
    match (others.as_slice(), by_track.as_slice()) {
        ([], _) => Ok((by_track, vec![])),
        ([_], []) => Ok((others, vec![])),
        ([one, ..], _) => Err(Error::config(format!(
            "table `{one}`: its rows have no track, so it cannot be joined with {}; export it alone: `--tables {one}`",
            names.iter().filter(|name| *name != one).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        ))),
    }
}

/// Returns the reason why the run is incomplete; `None` if it is complete.
fn incompleteness(run: &Path, join: &TableJoin) -> Result<Option<String>> {
    let merged = record::merge(run)?;
    let failure = merged.failure.map(|(process, error)| format!("by `{process}`: {error}"));
    Ok(match (join.is_interrupted(), failure) {
        (false, failure) => failure,
        (true, failure) => Some(format!(
            "the recording was interrupted; its complete part is exported{}",
            failure.map(|failure| format!(" ({failure})")).unwrap_or_default()
        )),
    })
}

/// Writes to a draft beside the file, and renames it to the file at the end, so that no incomplete file is left.
fn write_atomically<T>(output: &Path, overwrite: bool, write: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    if output.exists() && !overwrite {
        return Err(Error::output(format!(
            "{}: the file exists; name another one with `--output`, or overwrite it with `--overwrite`",
            output.display()
        )));
    }
    let name = output.file_name().ok_or_else(|| Error::output(format!("{}: is not a file name", output.display())))?;
    let draft = output.with_file_name(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let result = write(&draft).and_then(|value| {
        std::fs::rename(&draft, output).or_fail(Failure::Output, || output.display().to_string())?;
        Ok(value)
    });
    if result.is_err() {
        let _ = std::fs::remove_file(&draft);
    }
    result
}
