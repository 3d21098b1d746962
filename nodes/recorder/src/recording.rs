//! What is recorded of one input: its rows, and the frames it skipped.

use std::{
    fs::{File, TryLockError},
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use sideline_api::{
    Body, Error, Header, Message, Payload, PortType, Reason, Result, WiredInput,
    arrow::{
        array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, StructArray, UInt32Array, UInt64Array},
        schema::{DataType, Field, FieldRef, Fields, Schema, SchemaRef},
    },
};

use crate::{
    dataset::{Dataset, failed},
    lines::Lines,
    wave::{Waves, is_sound},
    whole,
};

/// How inputs are recorded: the recorder's configuration and mode.
#[derive(Clone, Copy)]
pub struct Options {
    /// Whether Parquet is written.
    pub parquet: bool,
    /// Whether JSON Lines are written.
    pub lines: bool,
    /// Media time after which JSON Lines are handed to the system, ns.
    pub flush_after: i64,
}

/// The files of one input.
pub struct Recording {
    name: String,
    folder: PathBuf,
    options: Options,
    /// Name of the run.
    run: String,
    /// Goes on with the files of the folder, instead of beginning them anew.
    resumes: bool,
    /// The table's columns, where the type of the input is known before its first row.
    fields: Option<Fields>,
    /// Until the first row, where the type of the input is not known before.
    rows: Option<Sheet>,
    /// Instead of rows, for sound.
    waves: Option<Waves>,
    /// Until the first skip.
    skipped: Option<Sheet>,
    /// Held locked: no two recorders write the same files.
    mark: File,
}

impl Recording {
    /// Takes the files of an input; they stay as they are until [`Recording::begin`].
    ///
    /// # Errors
    /// When they cannot be written, are being written by another recorder, or the table has columns that cannot be recorded.
    pub fn take(folder: &Path, run: &str, input: &WiredInput, options: Options) -> Result<Self> {
        let fields = match &input.ty {
            PortType::Table(table) => Some(table.fields.clone()),
            _ => None,
        };
        if let Some(fields) = fields.as_ref().filter(|fields| !is_sound(fields)) {
            let schema = schema(&input.name, fields)?;
            if options.lines {
                Lines::check(&lines_path(folder, &input.name), &schema)?;
            }
        }
        let (mark, resumes) = lock(folder, run, &input.name)?;
        Ok(Self {
            name: input.name.clone(),
            folder: folder.to_owned(),
            options,
            run: run.into(),
            resumes,
            fields,
            rows: None,
            waves: None,
            skipped: None,
            mark,
        })
    }

    /// Makes the files, in place of those of an earlier run: now this one has begun.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn begin(&mut self) -> Result<()> {
        if !self.resumes {
            remove(&self.folder, &self.name)?;
            let path = mark_path(&self.folder, &self.name);
            let mark = &mut self.mark;
            mark.set_len(0)
                .and_then(|()| mark.rewind())
                .and_then(|()| mark.write_all(self.run.as_bytes()))
                .map_err(|cause| failed(&path, cause))?;
        }
        match self.fields.take() {
            Some(fields) => self.open(&fields),
            None => Ok(()),
        }
    }

    /// True when it goes on with files that this run wrote before.
    pub fn resumes(&self) -> bool {
        self.resumes
    }

    /// Records one message.
    ///
    /// # Errors
    /// When it cannot be written, or is not a table.
    pub fn record(&mut self, message: &Message) -> Result<()> {
        let header = &message.header;
        match &message.body {
            Body::Data(Payload::Table(rows)) => self.rows(header, rows)?,
            Body::Skipped(reason) => self.skip(header, reason)?,
            Body::Data(Payload::Frame(_)) => {
                return Err(Error::config(format!(
                    "input `{}`: a frame came, the recorder writes tables; wire frames to `encode`",
                    self.name
                )));
            }
            Body::End { .. } => {}
        }
        Ok(())
    }

    /// Ends the row groups: what came so far survives a kill.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn cut(&mut self) -> Result<()> {
        self.rows.iter_mut().chain(&mut self.skipped).try_for_each(Sheet::cut)
    }

    /// Opens the files for rows of these columns.
    fn open(&mut self, fields: &Fields) -> Result<()> {
        if is_sound(fields) {
            self.waves = Some(Waves::open(&self.folder, &self.name, self.resumes)?);
        } else {
            self.rows = Some(self.sheet(&self.name, fields)?);
        }
        Ok(())
    }

    fn rows(&mut self, header: &Header, rows: &StructArray) -> Result<()> {
        if self.rows.is_none() && self.waves.is_none() {
            self.open(rows.fields())?;
        }
        match (&mut self.rows, &mut self.waves) {
            (Some(sheet), _) => sheet.write(header, rows.len(), rows.columns()),
            (None, Some(waves)) => waves.write(header, rows),
            (None, None) => Ok(()),
        }
    }

    fn skip(&mut self, header: &Header, reason: &Reason) -> Result<()> {
        if self.skipped.is_none() {
            let text = |name| Field::new(name, DataType::Utf8, false);
            self.skipped =
                Some(self.sheet(&skipped_name(&self.name), &Fields::from(vec![text("input"), text("reason")]))?);
        }
        let text = |text: &str| Arc::new(StringArray::from(vec![text])) as ArrayRef;
        match &mut self.skipped {
            Some(sheet) => sheet.write(header, 1, &[text(&self.name), text(&reason.to_string())]),
            None => Ok(()),
        }
    }

    fn sheet(&self, name: &str, fields: &Fields) -> Result<Sheet> {
        Sheet::open(&self.folder, name, fields, self.options, self.resumes)
    }

    /// Completes the files.
    ///
    /// # Errors
    /// When what is left cannot be written.
    pub fn close(self) -> Result<()> {
        let mut outcome = Ok(());
        for sheet in self.rows.into_iter().chain(self.skipped) {
            let closed = sheet.close();
            outcome = outcome.and(closed);
        }
        outcome
    }
}

fn skipped_name(input: &str) -> String {
    format!("{input}.skipped")
}

fn mark_path(folder: &Path, input: &str) -> PathBuf {
    folder.join(format!(".{input}.run"))
}

fn lines_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.jsonl"))
}

/// Removes what an earlier run recorded of an input.
fn remove(folder: &Path, input: &str) -> Result<()> {
    for name in [input.to_owned(), skipped_name(input)] {
        Sheet::remove(folder, &name)?;
    }
    Waves::remove(folder, input)
}

/// Removes what an earlier run recorded in a folder, for a run that takes its place. Marks stay: those of its own inputs are
/// locked by then, and are written over when they begin.
///
/// # Errors
/// When something of it cannot be removed.
pub fn remove_recorded(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder).map_err(|cause| failed(folder, cause))? {
        let mark = entry.map_err(|cause| failed(folder, cause))?.file_name();
        let input = mark.to_str().and_then(|mark| mark.strip_prefix('.')?.strip_suffix(".run"));
        // Names of inputs have no dot; the mark of a video has one.
        let Some(input) = input.filter(|input| !input.contains('.')) else { continue };
        remove(folder, input)?;
    }
    Lines::remove(&folder.join(whole::FILE))
}

/// Locks the files of an input, and says whether they are of this run already: the recorder was made anew.
///
/// The hidden file that is locked holds the name of the run. It is no part of the tables, which name no run.
fn lock(folder: &Path, run: &str, input: &str) -> Result<(File, bool)> {
    let path = mark_path(folder, input);
    let fail = |cause| failed(&path, cause);
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(fail)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(Error::config(format!(
                "input `{input}`: another recorder writes `{input}` into {}; give one of the two a `folder`",
                folder.display()
            )));
        }
        Err(TryLockError::Error(cause)) => return Err(fail(cause)),
    }
    let mut before = String::new();
    file.read_to_string(&mut before).map_err(fail)?;
    Ok((file, before == run))
}

/// A table in both forms.
struct Sheet {
    schema: SchemaRef,
    dataset: Option<Dataset>,
    lines: Option<Lines>,
}

impl Sheet {
    fn open(folder: &Path, name: &str, fields: &Fields, options: Options, resumes: bool) -> Result<Self> {
        let schema = schema(name, fields)?;
        let dataset = match options.parquet {
            true => Some(Dataset::open(folder.join(format!("{name}.parquet")), schema.clone(), resumes)?),
            false => None,
        };
        let lines = match options.lines {
            true => Some(Lines::open(lines_path(folder, name), &schema, options.flush_after)?),
            false => None,
        };
        Ok(Self { schema, dataset, lines })
    }

    /// Removes what an earlier run left in both forms.
    fn remove(folder: &Path, name: &str) -> Result<()> {
        Dataset::remove(&folder.join(format!("{name}.parquet")))?;
        Lines::remove(&lines_path(folder, name))
    }

    fn write(&mut self, header: &Header, rows: usize, columns: &[ArrayRef]) -> Result<()> {
        if rows > 0 {
            let mut all: Vec<ArrayRef> = vec![
                Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&*header.stream, rows))),
                Arc::new(UInt32Array::from_value(header.session, rows)),
                Arc::new(UInt64Array::from_value(header.frame, rows)),
                Arc::new(Int64Array::from_value(header.pts, rows)),
            ];
            all.extend(columns.iter().cloned());
            let batch = RecordBatch::try_new(self.schema.clone(), all).map_err(|cause| {
                Error::other(format!("frame {}: the table changed its columns: {cause}", header.frame))
            })?;
            if let Some(dataset) = &mut self.dataset {
                dataset.append(&batch)?;
            }
            if let Some(lines) = &mut self.lines {
                lines.append(&batch)?;
            }
        }
        self.lines.as_mut().map_or(Ok(()), |lines| lines.flush_if_due(header.pts))
    }

    fn cut(&mut self) -> Result<()> {
        self.lines.as_mut().map_or(Ok(()), Lines::flush)?;
        self.dataset.as_mut().map_or(Ok(()), Dataset::cut)
    }

    fn close(self) -> Result<()> {
        let lines = self.lines.map_or(Ok(()), Lines::close);
        self.dataset.map_or(Ok(()), Dataset::close).and(lines)
    }
}

/// The recorder's columns, then the table's.
fn schema(name: &str, fields: &Fields) -> Result<SchemaRef> {
    let own = [
        Field::new("stream", DataType::Utf8, false),
        Field::new("session", DataType::UInt32, false),
        Field::new("frame", DataType::UInt64, false),
        Field::new("pts", DataType::Int64, false),
    ];
    if let Some(taken) = own.iter().find(|column| fields.find(column.name()).is_some()) {
        return Err(Error::config(format!(
            "table `{name}` has a column `{0}`: the recorder writes one of that name itself; \
             call it otherwise (a row about another frame names it `at`)",
            taken.name()
        )));
    }
    let all: Vec<FieldRef> = own.into_iter().map(Arc::new).chain(fields.iter().cloned()).collect();
    Ok(Arc::new(Schema::new(all)))
}
