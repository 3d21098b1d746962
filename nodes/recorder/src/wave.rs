//! Sound as WAV files, 16-bit PCM, on the time line of the pictures.
//!
//! `speech.wav` begins with the first frame of its stream, as the video of `encode` does, and has silence where there is no
//! sound. A further stream has a file of its own, `speech.NAME.wav`; where the format changes, or a file would be larger than
//! WAV allows, another one begins, `speech.2.wav`. Which stream a file is of, and which media time it begins at, stands in
//! its `bext` chunk (Broadcast Wave, EBU Tech 3285): description, and time reference in samples. The sizes in the header are
//! kept up with what is written, so after a kill a file plays to its end.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{ErrorKind, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use sideline_api::{
    Error, Header, Result, Table,
    arrow::{array::StructArray, schema::Fields},
    tables::Audio,
};

use crate::dataset::failed;

/// Where the samples begin: behind RIFF (12), `bext` (8 + 602), `fmt ` (8 + 16) and the head of `data` (8).
const HEAD: u64 = 654;
const BEXT: usize = 602;
/// Characters of a stream's name that the description holds.
const DESCRIPTION: usize = 256;
/// Place of the time reference in `bext`.
const TIME_REFERENCE: usize = 338;
/// Most bytes of samples in a file: sizes have 32 bits.
const MOST: u64 = u32::MAX as u64 - HEAD;

/// True for tables of sound.
pub fn is_sound(fields: &Fields) -> bool {
    fields == Audio::fields()
}

/// The sound files of one input.
pub struct Waves {
    folder: PathBuf,
    name: String,
    /// Media time of the first message of each stream, ns.
    began: BTreeMap<String, i64>,
    open: BTreeMap<String, Wave>,
}

impl Waves {
    /// Begins, or goes on with the files that this run wrote.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn open(folder: &Path, name: &str, resumes: bool) -> Result<Self> {
        let mut waves =
            Self { folder: folder.to_owned(), name: name.into(), began: BTreeMap::new(), open: BTreeMap::new() };
        if resumes {
            for path in files(folder, name)? {
                // What is no file of ours has no chunk that says what it is.
                let Some((stream, wave)) = Wave::reopen(&path)? else { continue };
                waves.began.insert(stream.clone(), wave.ns(wave.origin));
                // Of several of one stream, the one that ends last.
                match waves.open.get(&stream) {
                    Some(other) if other.ns(other.next()) >= wave.ns(wave.next()) => {}
                    _ => _ = waves.open.insert(stream, wave),
                }
            }
        }
        Ok(waves)
    }

    /// Removes what an earlier run left.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(folder: &Path, name: &str) -> Result<()> {
        files(folder, name)?.iter().try_for_each(|path| fs::remove_file(path).map_err(|cause| failed(path, cause)))
    }

    /// Writes the sound of a message.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, header: &Header, rows: &StructArray) -> Result<()> {
        let stream = &*header.stream;
        let began = *self.began.entry(stream.into()).or_insert(header.pts);
        for row in Audio::decode(rows)?.iter().filter(|row| !row.samples.is_empty()) {
            if row.rate == 0 || row.channels == 0 {
                let text = format!("a row of sound with {} channels of {} samples a second", row.channels, row.rate);
                return Err(Error::other(format!("input `{}`, frame {}: {text}", self.name, header.frame)));
            }
            let fits = |wave: &Wave| wave.format == (row.rate, row.channels) && wave.holds(row);
            if !self.open.get(stream).is_some_and(fits) {
                // The first begins with the pictures; one that takes over begins where it does.
                let begin = if self.open.contains_key(stream) { row.start } else { began };
                let wave = self.begin(stream, begin, row)?;
                self.open.insert(stream.into(), wave);
            }
            if let Some(wave) = self.open.get_mut(stream) {
                wave.write(row)?;
            }
        }
        Ok(())
    }

    fn begin(&self, stream: &str, begin: i64, row: &Audio) -> Result<Wave> {
        let plain = self.open.is_empty() || self.open.contains_key(stream);
        let legible = |c: char| if c.is_alphanumeric() || "-_".contains(c) { c } else { '_' };
        let of_stream =
            if plain { String::new() } else { format!(".{}", stream.chars().map(legible).collect::<String>()) };
        for number in 1.. {
            let number = if number == 1 { String::new() } else { format!(".{number}") };
            let path = self.folder.join(format!("{}{of_stream}{number}.wav", self.name));
            match File::options().read(true).write(true).create_new(true).open(&path) {
                Ok(file) => return Wave::begin(path, file, stream, begin, row),
                Err(cause) if cause.kind() == ErrorKind::AlreadyExists => {}
                Err(cause) => return Err(failed(&path, cause)),
            }
        }
        Err(Error::output(format!("{}: every number is taken", self.folder.display())))
    }
}

/// The sound files of an input: no other input's, as the names of those have no dot.
fn files(folder: &Path, name: &str) -> Result<Vec<PathBuf>> {
    let mut found = vec![];
    for entry in folder.read_dir().map_err(|cause| failed(folder, cause))? {
        let path = entry.map_err(|cause| failed(folder, cause))?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let rest = file.strip_prefix(name).and_then(|rest| rest.strip_suffix(".wav"));
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.')) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// One file.
struct Wave {
    path: PathBuf,
    file: File,
    /// Samples a second, channels.
    format: (u32, u16),
    /// Number of the first sample, by media time.
    origin: i64,
    /// Samples of each channel so far.
    length: u64,
}

impl Wave {
    fn begin(path: PathBuf, file: File, stream: &str, begin: i64, row: &Audio) -> Result<Self> {
        let mut wave = Wave { path, file, format: (row.rate, row.channels), origin: 0, length: 0 };
        wave.origin = wave.sample(begin);
        let head = wave.head(stream);
        wave.file.write_all(&head).map_err(|cause| failed(&wave.path, cause))?;
        Ok(wave)
    }

    /// Opens a file of ours to go on with it, and says of which stream it is.
    fn reopen(path: &Path) -> Result<Option<(String, Wave)>> {
        let fail = |cause| failed(path, cause);
        let mut file = File::options().read(true).write(true).open(path).map_err(fail)?;
        let mut head = [0; HEAD as usize];
        match file.read_exact(&mut head) {
            Err(cause) if cause.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            read => read.map_err(fail)?,
        }
        let number =
            |at: usize, bytes: usize| head[at..at + bytes].iter().rev().fold(0_u64, |n, b| n << 8 | u64::from(*b));
        let ours = head.starts_with(b"RIFF") && &head[12..16] == b"bext" && number(16, 4) == BEXT as u64;
        let format = (number(634, 4) as u32, number(632, 2) as u16);
        if !ours || format.0 == 0 || format.1 == 0 {
            return Ok(None);
        }
        let name = head[20..20 + DESCRIPTION].split(|byte| *byte == 0).next().unwrap_or_default();
        let stream = String::from_utf8_lossy(name).into_owned();
        let origin = number(20 + TIME_REFERENCE, 8) as i64;
        let bytes = file.metadata().map_err(fail)?.len().saturating_sub(HEAD);
        let wave = Wave { path: path.to_owned(), file, format, origin, length: bytes / (2 * u64::from(format.1)) };
        Ok(Some((stream, wave)))
    }

    fn head(&self, stream: &str) -> Vec<u8> {
        let (rate, channels) = self.format;
        let frame = 2 * channels;
        let mut head = b"RIFF\0\0\0\0WAVEbext".to_vec();
        head.extend((BEXT as u32).to_le_bytes());
        // No date and no originator: the same sound makes the same file.
        let mut bext = [0; BEXT];
        let name = stream.len().min(DESCRIPTION);
        bext[..name].copy_from_slice(&stream.as_bytes()[..name]);
        bext[TIME_REFERENCE..TIME_REFERENCE + 8].copy_from_slice(&self.origin.to_le_bytes());
        // Its version.
        bext[TIME_REFERENCE + 8] = 1;
        head.extend(bext);
        head.extend(b"fmt \x10\0\0\0\x01\0");
        head.extend(channels.to_le_bytes());
        head.extend(rate.to_le_bytes());
        head.extend((rate.saturating_mul(u32::from(frame))).to_le_bytes());
        head.extend(frame.to_le_bytes());
        head.extend(b"\x10\0data\0\0\0\0");
        head
    }

    /// Number of the sample that is heard at a time in nanoseconds.
    fn sample(&self, ns: i64) -> i64 {
        let value = i128::from(ns) * i128::from(self.format.0);
        (value + 500_000_000).div_euclid(1_000_000_000) as i64
    }

    fn ns(&self, sample: i64) -> i64 {
        (i128::from(sample) * 1_000_000_000 / i128::from(self.format.0)) as i64
    }

    /// Number of the sample behind the last one.
    fn next(&self) -> i64 {
        self.origin + self.length as i64
    }

    /// True when the file stays within the size that WAV allows.
    fn holds(&self, row: &Audio) -> bool {
        let channels = i64::from(self.format.1);
        let end = self.sample(row.start) + row.samples.len() as i64 / channels - self.origin;
        end.max(0) as u64 * 2 * channels as u64 <= MOST
    }

    /// Puts samples at their time. Between them and those before there is silence: a hole in the file, no bytes on the
    /// disk. What was written is not written again.
    fn write(&mut self, row: &Audio) -> Result<()> {
        let channels = usize::from(self.format.1);
        // Times are rounded: within a millisecond samples follow each other.
        let slack = i64::from(self.format.0) / 1000;
        let at = self.sample(row.start);
        let from = if (at - self.next()).abs() <= slack { self.next() } else { at.max(self.next()) };
        let known = if (at - self.next()).abs() <= slack { 0 } else { (from - at) as usize };
        let samples = row.samples.get(known.saturating_mul(channels)..).unwrap_or_default();
        if samples.is_empty() {
            return Ok(());
        }
        let whole = samples.len() - samples.len() % channels;
        let value =
            |sample: &f32| if sample.is_finite() { (sample.clamp(-1.0, 1.0) * 32_767.0).round() as i16 } else { 0 };
        let bytes: Vec<u8> = samples[..whole].iter().flat_map(|sample| value(sample).to_le_bytes()).collect();
        let place = HEAD + (from - self.origin) as u64 * 2 * channels as u64;
        self.length = (from - self.origin) as u64 + (whole / channels) as u64;
        let data = (self.length * 2 * channels as u64).min(MOST) as u32;
        self.put(place, &bytes)
            .and_then(|()| self.put(4, &(data + HEAD as u32 - 8).to_le_bytes()))
            .and_then(|()| self.put(HEAD - 4, &data.to_le_bytes()))
            .map_err(|cause| failed(&self.path, cause))
    }

    fn put(&mut self, at: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.file.seek(SeekFrom::Start(at))?;
        self.file.write_all(bytes)
    }
}
