//! One table on its way to disk.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, StructArray, UInt32Array, UInt64Array};
use arrow_json::{WriterBuilder, writer::LineDelimited};
use arrow_schema::{DataType, Field, Schema};
use parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder},
    basic::Compression,
    file::properties::{EnabledStatistics, WriterProperties},
};
use sideline_api::{Body, Failure, Header, OrFail, Payload, PortType, Reason, Result};

/// What is written, and in what portions.
#[derive(Clone, Copy, Debug)]
pub struct Formats {
    /// Parquet.
    pub parquet: bool,
    /// JSON Lines.
    pub jsonl: bool,
    /// Frames in a row group.
    pub row_group: u64,
}

/// The files of one input: its rows, and the frames it skipped.
pub struct TableFile {
    rows: Writer,
    skipped: Writer,
}

impl TableFile {
    /// Files for an input. One of a known type is there even if no row ever comes.
    pub fn new(folder: &Path, name: &str, ty: PortType, formats: Formats) -> Result<Self> {
        let mut rows = Writer::new(folder, name.to_owned(), formats);
        if let PortType::Table(table) = ty {
            rows.open(table.empty().fields().iter().cloned())?;
        }
        Ok(TableFile { rows, skipped: Writer::new(folder, format!("{name}.skipped"), formats) })
    }

    /// Records what an input brought for one frame.
    pub fn record(&mut self, header: &Header, body: &Body) -> Result<()> {
        match body {
            Body::Data(Payload::Table(table)) => self.rows.write(header, table),
            Body::Skipped(reason) => self.skipped.write(header, &reason_row(reason)),
            // A foreign node may send frames where nobody could know its type.
            Body::Data(Payload::Frame(_)) => Err(sideline_api::Error::config(format!(
                "input `{}` brings frames, a recorder takes tables",
                self.rows.name
            ))),
            Body::End => Ok(()),
        }
    }

    /// Writes what is left and joins the parts.
    pub fn finish(&mut self) -> Result<()> {
        self.rows.finish().and(self.skipped.finish())
    }
}

fn reason_row(reason: &Reason) -> StructArray {
    let column: ArrayRef = Arc::new(StringArray::from(vec![reason.to_string()]));
    StructArray::from(vec![(Arc::new(Field::new("reason", DataType::Utf8, false)), column)])
}

struct Writer {
    name: String,
    folder: PathBuf,
    formats: Formats,
    /// Set by the first rows, or at once where the type is known.
    open: Option<Open>,
}

struct Open {
    schema: Arc<Schema>,
    json: Option<arrow_json::Writer<BufWriter<File>, LineDelimited>>,
    waiting: Vec<RecordBatch>,
    /// Frame that begins the row group at hand, by the number of the group.
    group: u64,
    parts: Vec<PathBuf>,
}

impl Writer {
    fn new(folder: &Path, name: String, formats: Formats) -> Self {
        Writer { name, folder: folder.to_owned(), formats, open: None }
    }

    fn path(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{}.{ending}", self.name))
    }

    fn open(&mut self, columns: impl Iterator<Item = Arc<Field>>) -> Result<()> {
        let header = [
            Field::new("stream", DataType::Utf8, false),
            Field::new("session", DataType::UInt32, false),
            Field::new("frame", DataType::UInt64, false),
            Field::new("pts", DataType::Int64, false),
        ];
        let schema = Arc::new(Schema::new(header.into_iter().map(Arc::new).chain(columns).collect::<Vec<_>>()));
        let json = if self.formats.jsonl {
            let path = self.path("jsonl");
            let file = File::create(&path).or_fail(Failure::Output, || path.display().to_string())?;
            Some(WriterBuilder::new().with_explicit_nulls(true).build(BufWriter::new(file)))
        } else {
            None
        };
        self.open = Some(Open { schema, json, waiting: vec![], group: 0, parts: vec![] });
        Ok(())
    }

    fn write(&mut self, header: &Header, table: &StructArray) -> Result<()> {
        if self.open.is_none() {
            self.open(table.fields().iter().cloned())?;
        }
        let group = header.frame / self.formats.row_group;
        let path = self.path("jsonl");
        let Some(open) = &mut self.open else { return Ok(()) };
        // Groups are cut by the frame's number, never by time: a second run cuts them at the same place.
        let full = group != open.group;
        let batch = with_header(&open.schema, header, table).or_fail(Failure::Output, || &self.name)?;
        if full {
            self.cut()?;
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        open.group = group;
        if batch.num_rows() == 0 {
            return Ok(());
        }
        if let Some(json) = &mut open.json {
            json.write(&batch).or_fail(Failure::Output, || path.display().to_string())?;
        }
        if self.formats.parquet {
            open.waiting.push(batch);
        }
        Ok(())
    }

    /// Makes the rows that wait a part of their own, whole before it has its name.
    fn cut(&mut self) -> Result<()> {
        let (folder, text) = (self.path("parts"), self.path("jsonl"));
        let Some(open) = &mut self.open else { return Ok(()) };
        if let Some(json) = &mut open.json {
            json.get_mut().flush().or_fail(Failure::Output, || text.display().to_string())?;
        }
        if open.waiting.is_empty() {
            return Ok(());
        }
        std::fs::create_dir_all(&folder).or_fail(Failure::Output, || folder.display().to_string())?;
        let path = folder.join(format!("{:06}.parquet", open.parts.len()));
        write_whole(&path, &open.schema, |writer| {
            open.waiting
                .iter()
                .try_for_each(|batch| writer.write(batch).or_fail(Failure::Output, || path.display().to_string()))
        })?;
        open.waiting.clear();
        open.parts.push(path);
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.cut()?;
        let (whole, folder) = (self.path("parquet"), self.path("parts"));
        let Some(open) = self.open.take() else { return Ok(()) };
        if !self.formats.parquet {
            return Ok(());
        }
        let place = || whole.display().to_string();
        write_whole(&whole, &open.schema, |writer| {
            for part in &open.parts {
                let file = File::open(part).or_fail(Failure::Output, || part.display().to_string())?;
                let reader = ParquetRecordBatchReaderBuilder::try_new(file)
                    .and_then(|builder| builder.build())
                    .or_fail(Failure::Output, || part.display().to_string())?;
                for batch in reader {
                    writer
                        .write(&batch.or_fail(Failure::Output, || part.display().to_string())?)
                        .or_fail(Failure::Output, place)?;
                }
                writer.flush().or_fail(Failure::Output, place)?;
            }
            Ok(())
        })?;
        if !open.parts.is_empty() {
            std::fs::remove_dir_all(&folder).or_fail(Failure::Output, || folder.display().to_string())?;
        }
        Ok(())
    }
}

/// Writes a Parquet file beside its place and moves it there when it is whole.
fn write_whole(
    path: &Path,
    schema: &Arc<Schema>,
    fill: impl FnOnce(&mut ArrowWriter<BufWriter<File>>) -> Result<()>,
) -> Result<()> {
    let unfinished = path.with_extension("unfinished");
    let place = || unfinished.display().to_string();
    let file = File::create(&unfinished).or_fail(Failure::Output, place)?;
    // Nothing in it may depend on the day or the build.
    let properties = WriterProperties::builder()
        .set_created_by("sideline".into())
        .set_compression(Compression::ZSTD(Default::default()))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .build();
    let mut writer =
        ArrowWriter::try_new(BufWriter::new(file), schema.clone(), Some(properties)).or_fail(Failure::Output, place)?;
    fill(&mut writer)?;
    writer.close().or_fail(Failure::Output, place)?;
    std::fs::rename(&unfinished, path).or_fail(Failure::Output, || path.display().to_string())
}

fn with_header(
    schema: &Arc<Schema>,
    header: &Header,
    table: &StructArray,
) -> Result<RecordBatch, arrow_schema::ArrowError> {
    use arrow_array::Array;
    let n = table.len();
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&header.stream, n))),
        Arc::new(UInt32Array::from_value(header.session, n)),
        Arc::new(UInt64Array::from_value(header.frame, n)),
        Arc::new(Int64Array::from_value(header.pts, n)),
    ];
    columns.extend(table.columns().iter().cloned());
    RecordBatch::try_new(schema.clone(), columns)
}
