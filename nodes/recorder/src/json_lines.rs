//! A table as JSON Lines: one object per row.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
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

use crate::dataset::write_error;

/// Size of the buffer, in bytes, at which lines are written at any media time.
const MAX_BUFFERED_BYTES: usize = 1 << 16;

/// A JSON Lines file.
pub struct JsonLines {
    path: PathBuf,
    file: File,
    /// `"name":` of each column.
    keys: Vec<String>,
    /// Complete lines that are not written yet.
    buffer: Vec<u8>,
    /// Media time between flushes, in nanoseconds.
    flush_interval_ns: i64,
    /// Media time of the last flush, in nanoseconds.
    last_flush_ns: Option<i64>,
}

impl JsonLines {
    /// Checks that all columns can be written as JSON, before the file is created.
    ///
    /// # Errors
    /// `Config` for a column of an unsupported type.
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

    /// Opens a file for appending, after its last complete line.
    ///
    /// # Errors
    /// When a column type is not supported or the file cannot be opened.
    pub fn open(path: PathBuf, schema: &Schema, flush_interval_ns: i64) -> Result<Self> {
        Self::check(&path, schema)?;
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .and_then(|mut file| seek_after_last_line(&mut file).map(|()| file))
            .map_err(|cause| write_error(&path, cause))?;
        let keys = schema.fields().iter().map(|field| format!("{}:", serde_json::Value::from(field.name().as_str())));
        Ok(Self { path, file, keys: keys.collect(), buffer: vec![], flush_interval_ns, last_flush_ns: None })
    }

    /// Appends rows to the buffer, and writes it if it is large.
    ///
    /// # Errors
    /// When a value cannot be written as JSON or the file cannot be written.
    pub fn append(&mut self, batch: &RecordBatch) -> Result<()> {
        for row in 0..batch.num_rows() {
            for (i, (key, column)) in self.keys.iter().zip(batch.columns()).enumerate() {
                self.buffer.push(if i == 0 { b'{' } else { b',' });
                self.buffer.extend_from_slice(key.as_bytes());
                write_value(column, row, &mut self.buffer)?;
            }
            self.buffer.extend_from_slice(b"}\n");
        }
        if self.buffer.len() >= MAX_BUFFERED_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes the buffer if the flush interval has passed at the media time `pts`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn flush_if_due(&mut self, pts: i64) -> Result<()> {
        if pts - *self.last_flush_ns.get_or_insert(pts) < self.flush_interval_ns {
            return Ok(());
        }
        self.last_flush_ns = Some(pts);
        self.flush()
    }

    /// Writes the buffer.
    ///
    /// # Errors
    /// When the file cannot be written. It then ends after its last complete line, and the other lines are lost.
    pub fn flush(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let written = self.file.write_all(&self.buffer);
        if written.is_err() {
            // The first error is reported.
            let _ = seek_after_last_line(&mut self.file);
        }
        // Also after an error: while the disk is full, the buffer would grow without limit.
        self.buffer.clear();
        written.map_err(|cause| write_error(&self.path, cause))
    }

    /// Writes the buffer and closes the file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn close(mut self) -> Result<()> {
        self.flush()
    }
}

/// Truncates a last line that is incomplete because the process was killed or the disk is full, and seeks to the end.
fn seek_after_last_line(file: &mut File) -> std::io::Result<()> {
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
    Ok(())
}

/// Returns true if values of a type can be written as JSON.
fn can_write(ty: &DataType) -> bool {
    use DataType::*;
    match ty {
        Struct(fields) => fields.iter().all(|field| can_write(field.data_type())),
        List(item) | FixedSizeList(item, _) => can_write(item.data_type()),
        Utf8 | Boolean | Float32 | Float64 => true,
        other => other.is_integer(),
    }
}

/// Writes one value. NaN becomes `null`, since JSON has no NaN.
fn write_value(array: &dyn Array, row: usize, out: &mut Vec<u8>) -> Result<()> {
    if array.is_null(row) {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    match array.data_type() {
        DataType::Float32 => write_number::<Float32Type>(array, row, out),
        DataType::Float64 => write_number::<Float64Type>(array, row, out),
        DataType::UInt8 => write_number::<UInt8Type>(array, row, out),
        DataType::UInt16 => write_number::<UInt16Type>(array, row, out),
        DataType::UInt32 => write_number::<UInt32Type>(array, row, out),
        DataType::UInt64 => write_number::<UInt64Type>(array, row, out),
        DataType::Int8 => write_number::<Int8Type>(array, row, out),
        DataType::Int16 => write_number::<Int16Type>(array, row, out),
        DataType::Int32 => write_number::<Int32Type>(array, row, out),
        DataType::Int64 => write_number::<Int64Type>(array, row, out),
        DataType::Boolean => write_scalar(&array.as_boolean().value(row), out),
        DataType::Utf8 => write_scalar(array.as_string::<i32>().value(row), out),
        DataType::FixedSizeList(..) => {
            let list = array.as_fixed_size_list();
            let begin = list.value_offset(row) as usize;
            write_items(list.values(), begin..begin + list.value_length() as usize, out)
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let ends = list.value_offsets();
            write_items(list.values(), ends[row] as usize..ends[row + 1] as usize, out)
        }
        DataType::Struct(fields) => {
            out.push(b'{');
            for (i, (field, column)) in fields.iter().zip(array.as_struct().columns()).enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_scalar(field.name().as_str(), out)?;
                out.push(b':');
                write_value(column, row, out)?;
            }
            out.push(b'}');
            Ok(())
        }
        other => Err(Error::other(format!("a column of type {other} cannot be written as JSON"))),
    }
}

fn write_items(values: &dyn Array, range: std::ops::Range<usize>, out: &mut Vec<u8>) -> Result<()> {
    out.push(b'[');
    for i in range.clone() {
        if i > range.start {
            out.push(b',');
        }
        write_value(values, i, out)?;
    }
    out.push(b']');
    Ok(())
}

fn write_number<T: ArrowPrimitiveType>(array: &dyn Array, row: usize, out: &mut Vec<u8>) -> Result<()>
where
    T::Native: Serialize,
{
    write_scalar(&array.as_primitive::<T>().value(row), out)
}

/// Writes a number, boolean or text. A number that is not finite becomes `null`.
fn write_scalar<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<()> {
    serde_json::to_writer(out, value).map_err(Error::other)
}
