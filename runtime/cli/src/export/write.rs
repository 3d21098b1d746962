//! Writers of exported rows, one per format. To add a format, add a variant of `Format` and a [`Sink`].

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

/// Destination of the rows of an export.
pub trait Sink {
    /// Writes a batch of rows, with the schema of the export.
    fn write_rows(&mut self, rows: &RecordBatch) -> Result<()>;
    /// Writes the end of the file.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// Creates a sink that writes to a file.
pub fn to_file(format: Format, path: &Path, schema: SchemaRef) -> Result<Box<dyn Sink>> {
    let file = File::create(path).or_fail(Failure::Output, || path.display().to_string())?;
    let out = Output { path: path.to_owned(), file: Box::new(BufWriter::with_capacity(1 << 16, file)) };
    Ok(match format {
        Format::Csv => Box::new(Csv::begin(out, &schema)?),
        Format::Json => Box::new(Json { out, first: true }),
        Format::Parquet => Box::new(Parquet::begin(out, schema)?),
    })
}

/// Creates a sink that writes to standard output.
///
/// # Errors
/// For Parquet, which is written to files only.
pub fn to_stdout(format: Format, schema: SchemaRef) -> Result<Box<dyn Sink>> {
    let out = Output { path: "standard output".into(), file: Box::new(BufWriter::with_capacity(1 << 16, Stdout)) };
    Ok(match format {
        Format::Csv => Box::new(Csv::begin(out, &schema)?),
        Format::Json => Box::new(Json { out, first: true }),
        Format::Parquet => {
            return Err(Error::config("Parquet cannot be written to standard output: name a file with `--output`"));
        }
    })
}

/// A buffered output with its name for error messages.
struct Output {
    path: PathBuf,
    file: Box<dyn Write + Send>,
}

impl Output {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).or_fail(Failure::Output, || self.path.display().to_string())
    }

    fn finish(mut self) -> Result<()> {
        self.file.flush().or_fail(Failure::Output, || self.path.display().to_string())
    }
}

/// Comma-separated values (RFC 4180), with the column names in the first line; unknown values are empty.
struct Csv {
    out: Output,
}

impl Csv {
    fn begin(mut out: Output, schema: &SchemaRef) -> Result<Self> {
        let names: Vec<String> = schema.fields().iter().map(|field| quote(field.name())).collect();
        out.write((names.join(",") + "\r\n").as_bytes())?;
        Ok(Self { out })
    }
}

impl Sink for Csv {
    fn write_rows(&mut self, rows: &RecordBatch) -> Result<()> {
        let mut line = String::new();
        for row in 0..rows.num_rows() {
            line.clear();
            for (i, column) in rows.columns().iter().enumerate() {
                if i > 0 {
                    line.push(',');
                }
                match to_json(column, row) {
                    Value::Null => {}
                    Value::String(text) => line += &quote(&text),
                    other => line += &other.to_string(),
                }
            }
            line += "\r\n";
            self.out.write(line.as_bytes())?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.out.finish()
    }
}

/// Quotes a CSV field if it needs quotes.
fn quote(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// One JSON array of objects, with one row per line; unknown values are null.
struct Json {
    out: Output,
    first: bool,
}

impl Sink for Json {
    fn write_rows(&mut self, rows: &RecordBatch) -> Result<()> {
        let schema = rows.schema();
        for row in 0..rows.num_rows() {
            let values = schema.fields().iter().zip(rows.columns());
            let object: serde_json::Map<String, Value> =
                values.map(|(field, column)| (field.name().clone(), to_json(column, row))).collect();
            self.out.write(if std::mem::take(&mut self.first) { b"[\n" } else { b",\n" })?;
            self.out.write(Value::Object(object).to_string().as_bytes())?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.out.write(if self.first { b"[]\n" } else { b"\n]\n" })?;
        self.out.finish()
    }
}

/// One Parquet file. NaN is kept; values of tables without a row are null.
struct Parquet {
    path: PathBuf,
    writer: ArrowWriter<Box<dyn Write + Send>>,
}

impl Parquet {
    fn begin(out: Output, schema: SchemaRef) -> Result<Self> {
        // Without version and date, the same run gives the same bytes.
        let properties = WriterProperties::builder()
            .set_created_by("sideline".into())
            .set_compression(Compression::ZSTD(Default::default()))
            .build();
        let Output { path, file } = out;
        let writer = ArrowWriter::try_new(file, schema, Some(properties))
            .or_fail(Failure::Output, || path.display().to_string())?;
        Ok(Self { path, writer })
    }
}

impl Sink for Parquet {
    fn write_rows(&mut self, rows: &RecordBatch) -> Result<()> {
        self.writer.write(rows).or_fail(Failure::Output, || self.path.display().to_string())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        let file = self.writer.into_inner().or_fail(Failure::Output, || self.path.display().to_string())?;
        Output { path: self.path, file }.finish()
    }
}

/// Converts a value to JSON; NaN and null become null.
pub fn to_json(array: &dyn Array, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        // Converted by its shortest decimal form, so that 0.1 does not become 0.10000000149011612.
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
            Value::Object(columns.map(|(field, column)| (field.name().clone(), to_json(column, row))).collect())
        }
        // The recorder writes no other types.
        _ => Value::Null,
    }
}

fn items(list: &dyn Array) -> Value {
    Value::Array((0..list.len()).map(|i| to_json(list, i)).collect())
}

fn number(digits: String) -> Value {
    digits.parse::<f64>().map_or(Value::Null, Into::into)
}

#[cfg(test)]
mod tests {
    use arrow_array::{Float32Array, StringArray};
    use serde_json::json;

    use super::*;

    #[test]
    fn nan_and_null_become_null_and_floats_keep_their_shortest_decimal_form() {
        let floats = Float32Array::from(vec![Some(0.1), Some(f32::NAN), None, Some(-3.0)]);
        let found: Vec<Value> = (0..4).map(|row| to_json(&floats, row)).collect();
        assert_eq!(found, [json!(0.1), Value::Null, Value::Null, json!(-3.0)]);
        assert_eq!(to_json(&StringArray::from(vec!["a"]), 0), "a");
    }

    #[test]
    fn text_with_commas_or_quotes_is_quoted() {
        assert_eq!(quote("fighter_1"), "fighter_1");
        assert_eq!(quote("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
