//! Sound as 16-bit PCM WAV files, aligned to the media time of the frames.
//!
//! `speech.wav` begins at the first frame of its stream, like the video of `encode`, and contains silence where there
//! is no sound. Each further stream has its own file, `speech.NAME.wav`. If the format changes, or a file would exceed
//! the size limit of WAV, another file `speech.2.wav` is started. The `bext` chunk of a file (Broadcast Wave, EBU
//! Tech 3285) holds the name of its stream as description, and the media time of its beginning as time reference in
//! samples. The sizes in the header are updated with every write, so a file is playable to its end even after the
//! process was killed.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{ErrorKind, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use sideline_api::{
    Error, Header, Result, Table,
    arrow::{array::StructArray, schema::Fields},
    stream_file_name,
    tables::Audio,
};

use crate::dataset::write_error;

/// Size of the header in bytes: RIFF (12), `bext` (8 + 602), `fmt ` (8 + 16) and the head of `data` (8).
const HEADER_BYTES: u64 = 654;
/// Size of the `bext` chunk's content, in bytes.
const BEXT_BYTES: usize = 602;
/// Size of the description field in `bext`, in bytes; longer stream names are truncated.
const DESCRIPTION_BYTES: usize = 256;
/// Offset of the time reference in `bext`, in bytes.
const TIME_REFERENCE_OFFSET: usize = 338;
/// Maximum size of the samples in a file, in bytes: RIFF sizes have 32 bits.
const MAX_DATA_BYTES: u64 = u32::MAX as u64 - HEADER_BYTES;

/// Returns true for the columns of an audio table.
pub fn is_sound(fields: &Fields) -> bool {
    fields == Audio::fields()
}

/// The WAV files of one input.
pub struct WavFiles {
    folder: PathBuf,
    /// Name of the input.
    name: String,
    /// By stream, the media time of the first message, in nanoseconds.
    first_pts: BTreeMap<String, i64>,
    /// By stream, the file that is being written.
    open: BTreeMap<String, WavFile>,
    /// By description, the file that was reopened, until its stream comes.
    reopened: BTreeMap<String, WavFile>,
}

impl WavFiles {
    /// Creates an empty set of files, or with `resumes` reopens those that this run wrote.
    ///
    /// # Errors
    /// When existing files cannot be read.
    pub fn open(folder: &Path, name: &str, resumes: bool) -> Result<Self> {
        let mut wav_files = Self {
            folder: folder.to_owned(),
            name: name.into(),
            first_pts: BTreeMap::new(),
            open: BTreeMap::new(),
            reopened: BTreeMap::new(),
        };
        if resumes {
            for path in Self::list(folder, name)? {
                // A file of another program lacks the `bext` chunk of the recorder.
                let Some((description, wav)) = WavFile::reopen(&path)? else { continue };
                // Of several files of a stream, the one that ends last is continued.
                match wav_files.reopened.get(&description) {
                    Some(other) if other.media_time_ns(other.end()) >= wav.media_time_ns(wav.end()) => {}
                    _ => _ = wav_files.reopened.insert(description, wav),
                }
            }
        }
        Ok(wav_files)
    }

    /// Returns the WAV files of an input, whoever made them. Names of inputs have no dot, so these are not files of another
    /// input.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(folder: &Path, name: &str) -> Result<Vec<PathBuf>> {
        let mut found = vec![];
        for entry in folder.read_dir().map_err(|cause| write_error(folder, cause))? {
            let path = entry.map_err(|cause| write_error(folder, cause))?.path();
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let rest = file.strip_prefix(name).and_then(|rest| rest.strip_suffix(".wav"));
            if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.')) {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }

    /// Writes the sound of a message to the file of its stream.
    ///
    /// # Errors
    /// When a row has no channels or no sample rate, or a file cannot be written.
    pub fn write(&mut self, header: &Header, rows: &StructArray) -> Result<()> {
        let stream = &*header.stream;
        if let Some(wav) = self.reopened.remove(description(stream)) {
            self.first_pts.insert(stream.into(), wav.media_time_ns(wav.origin));
            self.open.insert(stream.into(), wav);
        }
        let first_pts = *self.first_pts.entry(stream.into()).or_insert(header.pts);
        for row in Audio::decode(rows)?.iter().filter(|row| !row.samples.is_empty()) {
            if row.rate == 0 || row.channels == 0 {
                let text = format!("a row of sound has {} channels and {} samples per second", row.channels, row.rate);
                return Err(Error::other(format!("input `{}`, frame {}: {text}", self.name, header.frame)));
            }
            let fits = |wav: &WavFile| wav.format == (row.rate, row.channels) && wav.fits(row);
            if !self.open.get(stream).is_some_and(fits) {
                // The first file begins at the first frame; a later one begins with its first samples.
                let begin = if self.open.contains_key(stream) { row.start } else { first_pts };
                let wav = self.create_file(stream, begin, row)?;
                self.open.insert(stream.into(), wav);
            }
            if let Some(wav) = self.open.get_mut(stream) {
                wav.write(row)?;
            }
        }
        Ok(())
    }

    /// Creates a file under the first free name.
    fn create_file(&self, stream: &str, begin: i64, row: &Audio) -> Result<WavFile> {
        let is_only_stream = self.open.is_empty() && self.reopened.is_empty();
        let stream_part = match is_only_stream || self.open.contains_key(stream) {
            true => String::new(),
            false => format!(".{}", stream_file_name(stream)),
        };
        for number in 1.. {
            let number = if number == 1 { String::new() } else { format!(".{number}") };
            let path = self.folder.join(format!("{}{stream_part}{number}.wav", self.name));
            match File::options().read(true).write(true).create_new(true).open(&path) {
                Ok(file) => return WavFile::create(path, file, stream, begin, row),
                Err(cause) if cause.kind() == ErrorKind::AlreadyExists => {}
                Err(cause) => return Err(write_error(&path, cause)),
            }
        }
        Err(Error::output(format!("{}: no file name is free", self.folder.display())))
    }
}

/// Returns the description of a stream in the `bext` chunk: its name, truncated at a character.
fn description(stream: &str) -> &str {
    &stream[..stream.floor_char_boundary(DESCRIPTION_BYTES)]
}

/// One WAV file.
struct WavFile {
    path: PathBuf,
    file: File,
    /// Sample rate per second, and number of channels.
    format: (u32, u16),
    /// Index of the first sample, counted from media time 0.
    origin: i64,
    /// Number of samples per channel written so far.
    length: u64,
}

impl WavFile {
    /// Writes the header of a new file that begins at the media time `begin`, in nanoseconds.
    fn create(path: PathBuf, file: File, stream: &str, begin: i64, row: &Audio) -> Result<Self> {
        let mut wav = WavFile { path, file, format: (row.rate, row.channels), origin: 0, length: 0 };
        wav.origin = wav.sample_at(begin);
        let header = wav.header(stream);
        wav.file.write_all(&header).map_err(|cause| write_error(&wav.path, cause))?;
        Ok(wav)
    }

    /// Opens a file of the recorder to continue it, and returns it with its description. `None` for a file of another
    /// program.
    fn reopen(path: &Path) -> Result<Option<(String, WavFile)>> {
        let fail = |cause| write_error(path, cause);
        let mut file = File::options().read(true).write(true).open(path).map_err(fail)?;
        let mut head = [0; HEADER_BYTES as usize];
        match file.read_exact(&mut head) {
            Err(cause) if cause.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            read => read.map_err(fail)?,
        }
        let number =
            |at: usize, bytes: usize| head[at..at + bytes].iter().rev().fold(0_u64, |n, b| n << 8 | u64::from(*b));
        let is_from_recorder =
            head.starts_with(b"RIFF") && &head[12..16] == b"bext" && number(16, 4) == BEXT_BYTES as u64;
        let format = (number(634, 4) as u32, number(632, 2) as u16);
        if !is_from_recorder || format.0 == 0 || format.1 == 0 {
            return Ok(None);
        }
        let name = head[20..20 + DESCRIPTION_BYTES].split(|byte| *byte == 0).next().unwrap_or_default();
        let description = String::from_utf8_lossy(name).into_owned();
        let origin = number(20 + TIME_REFERENCE_OFFSET, 8) as i64;
        let bytes = file.metadata().map_err(fail)?.len().saturating_sub(HEADER_BYTES);
        let wav = WavFile { path: path.to_owned(), file, format, origin, length: bytes / (2 * u64::from(format.1)) };
        Ok(Some((description, wav)))
    }

    fn header(&self, stream: &str) -> Vec<u8> {
        let (rate, channels) = self.format;
        let frame = 2 * channels;
        let mut head = b"RIFF\0\0\0\0WAVEbext".to_vec();
        head.extend((BEXT_BYTES as u32).to_le_bytes());
        // Date and originator stay empty, so that equal sound gives equal files.
        let mut bext = [0; BEXT_BYTES];
        let description = description(stream).as_bytes();
        bext[..description.len()].copy_from_slice(description);
        bext[TIME_REFERENCE_OFFSET..TIME_REFERENCE_OFFSET + 8].copy_from_slice(&self.origin.to_le_bytes());
        // Version of the `bext` format.
        bext[TIME_REFERENCE_OFFSET + 8] = 1;
        head.extend(bext);
        head.extend(b"fmt \x10\0\0\0\x01\0");
        head.extend(channels.to_le_bytes());
        head.extend(rate.to_le_bytes());
        head.extend((rate.saturating_mul(u32::from(frame))).to_le_bytes());
        head.extend(frame.to_le_bytes());
        head.extend(b"\x10\0data\0\0\0\0");
        head
    }

    /// Returns the index of the sample at a media time in nanoseconds.
    fn sample_at(&self, ns: i64) -> i64 {
        let value = i128::from(ns) * i128::from(self.format.0);
        (value + 500_000_000).div_euclid(1_000_000_000) as i64
    }

    /// Returns the media time of a sample in nanoseconds.
    fn media_time_ns(&self, sample: i64) -> i64 {
        (i128::from(sample) * 1_000_000_000 / i128::from(self.format.0)) as i64
    }

    /// Returns the index of the sample after the last one.
    fn end(&self) -> i64 {
        self.origin + self.length as i64
    }

    /// Returns true if the file stays within the size limit of WAV with the samples of a row.
    fn fits(&self, row: &Audio) -> bool {
        let channels = i64::from(self.format.1);
        let end = self.sample_at(row.start) + row.samples.len() as i64 / channels - self.origin;
        end.max(0) as u64 * 2 * channels as u64 <= MAX_DATA_BYTES
    }

    /// Writes samples at their media time. Silence before them is a hole in the file, which uses no disk space. Samples
    /// that overlap earlier ones are skipped.
    fn write(&mut self, row: &Audio) -> Result<()> {
        let channels = usize::from(self.format.1);
        // Times are rounded, so samples within a millisecond of the end are taken as contiguous.
        let tolerance = i64::from(self.format.0) / 1000;
        let at = self.sample_at(row.start);
        let from = if (at - self.end()).abs() <= tolerance { self.end() } else { at.max(self.end()) };
        let overlap = if (at - self.end()).abs() <= tolerance { 0 } else { (from - at) as usize };
        let samples = row.samples.get(overlap.saturating_mul(channels)..).unwrap_or_default();
        if samples.is_empty() {
            return Ok(());
        }
        let complete = samples.len() - samples.len() % channels;
        let value =
            |sample: &f32| if sample.is_finite() { (sample.clamp(-1.0, 1.0) * 32_767.0).round() as i16 } else { 0 };
        let bytes: Vec<u8> = samples[..complete].iter().flat_map(|sample| value(sample).to_le_bytes()).collect();
        let offset = HEADER_BYTES + (from - self.origin) as u64 * 2 * channels as u64;
        self.length = (from - self.origin) as u64 + (complete / channels) as u64;
        let data = (self.length * 2 * channels as u64).min(MAX_DATA_BYTES) as u32;
        self.write_at(offset, &bytes)
            .and_then(|()| self.write_at(4, &(data + HEADER_BYTES as u32 - 8).to_le_bytes()))
            .and_then(|()| self.write_at(HEADER_BYTES - 4, &data.to_le_bytes()))
            .map_err(|cause| write_error(&self.path, cause))
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.file.seek(SeekFrom::Start(offset))?;
        self.file.write_all(bytes)
    }
}
