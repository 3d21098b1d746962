//! Where exported rows go: one writer for each format. Another format is a variant of `Format` and a [`Sink`].

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use arrow_array::{
    Array, RecordBatch,
    cast::AsArray,
    types::{
        Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
        UInt64Type,
    },
};
use arrow_schema::{DataType, SchemaRef};
use parquet::{arrow::ArrowWriter, basic::Compression, file::properties::WriterProperties};
use serde_json::Value;
use sideline_api::{Error, Failure, OrFail, Result};

use crate::{args::Format, print::Stdout};

/// Takes the rows of an export, some at a time.
pub trait Sink {
    /// Writes rows; all have the schema of the export.
    fn rows(&mut self, rows: &RecordBatch) -> Result<()>;
    /// Writes what belongs at the end.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// A sink that writes a file.
pub fn to_file(format: Format, path: &Path, schema: SchemaRef) -> Result<Box<dyn Sink>> {
    let file = File::create(path).or_fail(Failure::Output, || path.display().to_string())?;
    let out = Out { path: path.to_owned(), file: Box::new(BufWriter::with_capacity(1 << 16, file)) };
    Ok(match format {
        Format::Csv => Box::new(Csv::begin(out, &schema)?),
        Format::Json => Box::new(Json { out, first: true }),
        Format::Parquet => Box::new(Parquet::begin(out, schema)?),
    })
}

/// A sink that writes to standard output.
pub fn to_stdout(format: Format, schema: SchemaRef) -> Result<Box<dyn Sink>> {
    let out = Out { path: "standard output".into(), file: Box::new(BufWriter::with_capacity(1 << 16, Stdout)) };
    Ok(match format {
        Format::Csv => Box::new(Csv::begin(out, &schema)?),
        Format::Json => Box::new(Json { out, first: true }),
        Format::Parquet => {
            return Err(Error::config("Parquet does not go to standard output: name a file with `--output`"));
        }
    })
}

struct Out {
    path: PathBuf,
    file: Box<dyn Write + Send>,
}

impl Out {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).or_fail(Failure::Output, || self.path.display().to_string())
    }

    fn finish(mut self) -> Result<()> {
        self.file.flush().or_fail(Failure::Output, || self.path.display().to_string())
    }
}

/// Comma-separated values (RFC 4180), a line of names first; what is not known is empty.
struct Csv {
    out: Out,
}

impl Csv {
    fn begin(mut out: Out, schema: &SchemaRef) -> Result<Self> {
        let names: Vec<String> = schema.fields().iter().map(|field| quoted(field.name())).collect();
        out.put((names.join(",") + "\r\n").as_bytes())?;
        Ok(Self { out })
    }
}

impl Sink for Csv {
    fn rows(&mut self, rows: &RecordBatch) -> Result<()> {
        let mut line = String::new();
        for row in 0..rows.num_rows() {
            line.clear();
            for (i, column) in rows.columns().iter().enumerate() {
                if i > 0 {
                    line.push(',');
                }
                match json(column, row) {
                    Value::Null => {}
                    Value::String(text) => line += &quoted(&text),
                    other => line += &other.to_string(),
                }
            }
            line += "\r\n";
            self.out.put(line.as_bytes())?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.out.finish()
    }
}

/// Text in quotes where it needs them.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// One array of objects, a row a line; what is not known is null.
struct Json {
    out: Out,
    first: bool,
}

impl Sink for Json {
    fn rows(&mut self, rows: &RecordBatch) -> Result<()> {
        let schema = rows.schema();
        for row in 0..rows.num_rows() {
            let values = schema.fields().iter().zip(rows.columns());
            let object: serde_json::Map<String, Value> =
                values.map(|(field, column)| (field.name().clone(), json(column, row))).collect();
            self.out.put(if std::mem::take(&mut self.first) { b"[\n" } else { b",\n" })?;
            self.out.put(Value::Object(object).to_string().as_bytes())?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.out.put(if self.first { b"[]\n" } else { b"\n]\n" })?;
        self.out.finish()
    }
}

/// One Parquet file; NaN stays, null is what no table had a row for.
struct Parquet {
    path: PathBuf,
    writer: ArrowWriter<Box<dyn Write + Send>>,
}

impl Parquet {
    fn begin(out: Out, schema: SchemaRef) -> Result<Self> {
        // No version and no date: the same run gives the same bytes.
        let properties = WriterProperties::builder()
            .set_created_by("sideline".into())
            .set_compression(Compression::ZSTD(Default::default()))
            .build();
        let Out { path, file } = out;
        let writer = ArrowWriter::try_new(file, schema, Some(properties))
            .or_fail(Failure::Output, || path.display().to_string())?;
        Ok(Self { path, writer })
    }
}

impl Sink for Parquet {
    fn rows(&mut self, rows: &RecordBatch) -> Result<()> {
        self.writer.write(rows).or_fail(Failure::Output, || self.path.display().to_string())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        let file = self.writer.into_inner().or_fail(Failure::Output, || self.path.display().to_string())?;
        Out { path: self.path, file }.finish()
    }
}

/// A value as JSON; NaN and what is not there are null.
pub fn json(array: &dyn Array, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        // Written by way of its own digits: 0.1 is not 0.10000000149011612.
        DataType::Float32 => number(array.as_primitive::<Float32Type>().value(row).to_string()),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row).into(),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(row).into(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(row).into(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).into(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row).into(),
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Utf8 => array.as_string::<i32>().value(row).into(),
        DataType::List(_) => items(&array.as_list::<i32>().value(row)),
        DataType::FixedSizeList(..) => items(&array.as_fixed_size_list().value(row)),
        DataType::Struct(fields) => {
            let columns = fields.iter().zip(array.as_struct().columns());
            Value::Object(columns.map(|(field, column)| (field.name().clone(), json(column, row))).collect())
        }
        // The recorder writes no others.
        _ => Value::Null,
    }
}

fn items(list: &dyn Array) -> Value {
    Value::Array((0..list.len()).map(|i| json(list, i)).collect())
}

fn number(digits: String) -> Value {
    digits.parse::<f64>().map_or(Value::Null, Into::into)
}

#[cfg(test)]
mod tests {
    use arrow_array::{Float32Array, StringArray};
    use serde_json::json as value;

    use super::*;

    #[test]
    fn what_is_not_known_is_null_and_digits_are_those_of_the_number() {
        let floats = Float32Array::from(vec![Some(0.1), Some(f32::NAN), None, Some(-3.0)]);
        let found: Vec<Value> = (0..4).map(|row| json(&floats, row)).collect();
        assert_eq!(found, [value!(0.1), Value::Null, Value::Null, value!(-3.0)]);
        assert_eq!(json(&StringArray::from(vec!["a"]), 0), "a");
    }

    #[test]
    fn text_is_quoted_where_a_reader_would_stumble() {
        assert_eq!(quoted("fighter_1"), "fighter_1");
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
