//! A table as JSON Lines: one object a row.

use std::{
    fs::File,
    io::{ErrorKind, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde::Serialize;
use sideline_api::{
    Error, Result,
    arrow::{
        array::{
            Array, RecordBatch,
            cast::AsArray,
            types::{
                ArrowPrimitiveType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
                UInt16Type, UInt32Type, UInt64Type,
            },
        },
        schema::{DataType, Schema},
    },
    serde_json,
};

use crate::dataset::failed;

/// Bytes after which lines are written whatever the media time.
const ENOUGH: usize = 1 << 16;

/// A file of lines.
pub struct Lines {
    path: PathBuf,
    file: File,
    /// `"name":` of each column.
    keys: Vec<String>,
    /// Whole lines that are not yet written.
    waiting: Vec<u8>,
    flush_after: i64,
    /// Media time of the last flush.
    flushed: Option<i64>,
}

impl Lines {
    /// Makes sure that rows of these columns can be written, before the file is there.
    pub fn check(path: &Path, schema: &Schema) -> Result<()> {
        if let Some(field) = schema.fields().iter().find(|field| !can_write(field.data_type())) {
            return Err(Error::config(format!(
                "{}: column `{}: {}` cannot be written as JSON; set `jsonl: false`",
                path.display(),
                field.name(),
                field.data_type()
            )));
        }
        Ok(())
    }

    /// Opens a file and goes on where its last whole line ends.
    pub fn open(path: PathBuf, schema: &Schema, flush_after: i64) -> Result<Self> {
        Self::check(&path, schema)?;
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .and_then(after_last_line)
            .map_err(|cause| failed(&path, cause))?;
        let keys = schema.fields().iter().map(|field| format!("{}:", serde_json::Value::from(field.name().as_str())));
        Ok(Self { path, file, keys: keys.collect(), waiting: vec![], flush_after, flushed: None })
    }

    /// Removes the file.
    pub fn remove(path: &Path) -> Result<()> {
        match std::fs::remove_file(path) {
            Err(cause) if cause.kind() != ErrorKind::NotFound => Err(failed(path, cause)),
            _ => Ok(()),
        }
    }

    /// Adds the rows.
    pub fn append(&mut self, batch: &RecordBatch) -> Result<()> {
        for row in 0..batch.num_rows() {
            for (i, (key, column)) in self.keys.iter().zip(batch.columns()).enumerate() {
                self.waiting.push(if i == 0 { b'{' } else { b',' });
                self.waiting.extend_from_slice(key.as_bytes());
                value(column, row, &mut self.waiting)?;
            }
            self.waiting.extend_from_slice(b"}\n");
        }
        if self.waiting.len() >= ENOUGH { self.flush() } else { Ok(()) }
    }

    /// Writes what waits, if enough media time has passed.
    pub fn flush_if_due(&mut self, pts: i64) -> Result<()> {
        if pts - *self.flushed.get_or_insert(pts) < self.flush_after {
            return Ok(());
        }
        self.flushed = Some(pts);
        self.flush()
    }

    /// Writes what waits.
    pub fn flush(&mut self) -> Result<()> {
        if !self.waiting.is_empty() {
            self.file.write_all(&self.waiting).map_err(|cause| failed(&self.path, cause))?;
            self.waiting.clear();
        }
        Ok(())
    }

    /// Writes the rest.
    pub fn close(mut self) -> Result<()> {
        self.flush()
    }
}

/// Cuts off a last line that a kill left half written, and goes to the end.
fn after_last_line(mut file: File) -> std::io::Result<File> {
    let mut end = file.metadata()?.len();
    let mut block = [0; 4096];
    while end > 0 {
        let begin = end.saturating_sub(block.len() as u64);
        let block = &mut block[..(end - begin) as usize];
        file.seek(SeekFrom::Start(begin))?;
        file.read_exact(block)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            end = begin + at as u64 + 1;
            break;
        }
        end = begin;
    }
    file.set_len(end)?;
    file.seek(SeekFrom::Start(end))?;
    Ok(file)
}

fn can_write(ty: &DataType) -> bool {
    use DataType::*;
    match ty {
        Struct(fields) => fields.iter().all(|field| can_write(field.data_type())),
        List(item) | FixedSizeList(item, _) => can_write(item.data_type()),
        Utf8 | Boolean | Float32 | Float64 => true,
        other => other.is_integer(),
    }
}

/// One value. JSON has no NaN: `null` stands for it.
fn value(array: &dyn Array, row: usize, out: &mut Vec<u8>) -> Result<()> {
    if array.is_null(row) {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    match array.data_type() {
        DataType::Float32 => number::<Float32Type>(array, row, out),
        DataType::Float64 => number::<Float64Type>(array, row, out),
        DataType::UInt8 => number::<UInt8Type>(array, row, out),
        DataType::UInt16 => number::<UInt16Type>(array, row, out),
        DataType::UInt32 => number::<UInt32Type>(array, row, out),
        DataType::UInt64 => number::<UInt64Type>(array, row, out),
        DataType::Int8 => number::<Int8Type>(array, row, out),
        DataType::Int16 => number::<Int16Type>(array, row, out),
        DataType::Int32 => number::<Int32Type>(array, row, out),
        DataType::Int64 => number::<Int64Type>(array, row, out),
        DataType::Boolean => scalar(&array.as_boolean().value(row), out),
        DataType::Utf8 => scalar(array.as_string::<i32>().value(row), out),
        DataType::FixedSizeList(..) => {
            let list = array.as_fixed_size_list();
            let begin = list.value_offset(row) as usize;
            items(list.values(), begin..begin + list.value_length() as usize, out)
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let ends = list.value_offsets();
            items(list.values(), ends[row] as usize..ends[row + 1] as usize, out)
        }
        DataType::Struct(fields) => {
            out.push(b'{');
            for (i, (field, column)) in fields.iter().zip(array.as_struct().columns()).enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                scalar(field.name().as_str(), out)?;
                out.push(b':');
                value(column, row, out)?;
            }
            out.push(b'}');
            Ok(())
        }
        other => Err(Error::other(format!("a column of type {other} cannot be written as JSON"))),
    }
}

fn items(values: &dyn Array, range: std::ops::Range<usize>, out: &mut Vec<u8>) -> Result<()> {
    out.push(b'[');
    for i in range.clone() {
        if i > range.start {
            out.push(b',');
        }
        value(values, i, out)?;
    }
    out.push(b']');
    Ok(())
}

fn number<T: ArrowPrimitiveType>(array: &dyn Array, row: usize, out: &mut Vec<u8>) -> Result<()>
where
    T::Native: Serialize,
{
    scalar(&array.as_primitive::<T>().value(row), out)
}

/// A number, truth value or text; a number that is not finite becomes `null`.
fn scalar<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<()> {
    serde_json::to_writer(out, value).map_err(Error::other)
}
