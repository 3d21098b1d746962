//! One video file (mp4, or HLS with its segments beside it) per stream, and another one where the size or the color of the
//! pictures changes.

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions},
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use sideline_api::{Error, Failure, OrFail, Result, StreamName, tables::Audio};
use sideline_media::{
    SoundFormat,
    encode::{self, EncodeOptions, Encoder, Quality, Target},
};

use crate::writer::{Picture, Writer};

/// Files that this process wrote: it does not write them a second time, whichever node asks, also after a restart.
static WRITTEN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// The open files of one node.
pub struct Files {
    /// As configured, in the run folder.
    base: PathBuf,
    /// Name of the run, until its first frame: before that nothing of an earlier run is touched, as this one may not come
    /// to begin.
    beginning: Option<String>,
    /// True for a file of the run folder, unless an earlier run left it there: what this run wrote is not overwritten.
    keep: bool,
    options: EncodeOptions,
    first: Option<StreamName>,
    open: Vec<(StreamName, Encoder)>,
}

impl Files {
    /// The place of the files, which can be written; none is made yet.
    ///
    /// # Errors
    /// `Output` when the folder cannot be written, or H.264 cannot be encoded here.
    pub fn new(output: &Path, run_dir: &Path, run: &str, options: EncodeOptions) -> Result<Self> {
        encode::available()?;
        let base = run_dir.join(output);
        // Folders within the run folder are ours to make; elsewhere a missing one is more likely a slip of the pen.
        let keep = output.is_relative();
        if keep && let Some(folder) = base.parent() {
            std::fs::create_dir_all(folder).or_fail(Failure::Output, || format!("folder {}", folder.display()))?;
        }
        let files = Self { base, beginning: Some(run.into()), keep, options, first: None, open: vec![] };
        files.try_folder()?;
        Ok(files)
    }

    /// Makes sure that files can be made, so that a folder that cannot be written stops the run before its first frame.
    fn try_folder(&self) -> Result<()> {
        let name = self.base.file_name().unwrap_or_default().to_string_lossy();
        let trial = self.base.with_file_name(format!(".{name}.{}", std::process::id()));
        let made = match self.base.is_dir() {
            true => Err(ErrorKind::IsADirectory.into()),
            false => File::create(&trial),
        };
        let _ = std::fs::remove_file(&trial);
        made.map(drop).map_err(|cause| unwritable(&self.base, &cause))
    }

    /// Makes place for the files of this run, at its first frame.
    fn begin(&mut self) -> Result<()> {
        if let Some(run) = self.beginning.take_if(|_| self.keep) {
            self.keep = !of_earlier_run(&self.base, &run)?;
        }
        Ok(())
    }

    fn is_hls(&self) -> bool {
        self.base.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("m3u8"))
    }

    /// Makes the file `NAME`+`suffix`, or with `-2`, `-3`, ... after it, where that must not be overwritten.
    fn claim(&self, suffix: &str) -> Result<PathBuf> {
        let stem = self.base.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let ending = if self.is_hls() { "m3u8" } else { "mp4" };
        let mut written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
        for number in 1.. {
            let number = if number == 1 { String::new() } else { format!("-{number}") };
            let path = self.base.with_file_name(format!("{stem}{suffix}{number}.{ending}"));
            let made = if self.keep || written.contains(&path) {
                OpenOptions::new().write(true).create_new(true).open(&path)
            } else {
                File::create(&path)
            };
            match made {
                Ok(_) => {
                    written.insert(path.clone());
                    return Ok(path);
                }
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(cause) => return Err(unwritable(&path, &cause)),
            }
        }
        Err(Error::output(format!("{}: every number is taken", self.base.display())))
    }
}

impl Writer for Files {
    fn cuts(&self, stream: &str, picture: &Picture) -> bool {
        let differs = |encoder: &Encoder| picture.differs(encoder.size(), encoder.color());
        self.open.iter().any(|(name, encoder)| **name == *stream && differs(encoder))
    }

    fn write(&mut self, stream: &StreamName, pts: i64, picture: Picture, sound: &[Audio]) -> Result<()> {
        let Picture { planes, size, color } = picture;
        let cut = self.cuts(stream, &picture);
        let open = self.open.iter().position(|(name, _)| name == stream);
        let heard = open.and_then(|i| self.open[i].1.sound());
        // Frames without rows say nothing of the sound: there may be more.
        let format = sound.last().map(|row| SoundFormat { rate: row.rate, channels: row.channels }).or(heard);
        if let Some(i) = open
            && (cut || format != heard)
        {
            // It was heard before this frame, so with the pictures of that file.
            self.write_sound(stream, sound)?;
            finish(self.open.swap_remove(i))?;
        }
        let at = match self.open.iter().position(|(name, _)| name == stream) {
            Some(at) => at,
            None => {
                self.begin()?;
                let first = &*self.first.get_or_insert_with(|| stream.clone()) == stream;
                let suffix = if first { String::new() } else { format!("-{}", file_name(stream)) };
                let path = self.claim(&suffix)?;
                let options = EncodeOptions { color: Some(color), sound: format, ..self.options.clone() };
                let target = if self.is_hls() { Target::Hls(path.clone()) } else { Target::File(path.clone()) };
                let encoder = Encoder::open(target, size.0, size.1, options).inspect_err(|_| {
                    // No frame is in it. Left there, a full disk would gather one such file for every restart.
                    let _ = std::fs::remove_file(&path);
                })?;
                self.open.push((stream.clone(), encoder));
                self.open.len() - 1
            }
        };
        self.open[at].1.write_planes(planes, pts)?;
        self.write_sound(stream, sound)
    }

    fn write_sound(&mut self, stream: &str, sound: &[Audio]) -> Result<()> {
        let Some((_, encoder)) = self.open.iter_mut().find(|(name, _)| **name == *stream) else { return Ok(()) };
        let format = encoder.sound();
        let fits = |row: &&Audio| format == Some(SoundFormat { rate: row.rate, channels: row.channels });
        sound.iter().filter(fits).try_for_each(|row| encoder.write_sound(row.start, &row.samples))
    }

    fn set_bitrate(&mut self, bits: usize) {
        self.options.quality = match self.options.quality {
            Quality::Bitrate(_) => Quality::Bitrate(bits),
            constant => constant,
        };
        self.open.iter_mut().for_each(|(_, encoder)| encoder.set_bitrate(bits));
    }

    fn end(&mut self, stream: &str) -> Result<()> {
        match self.open.iter().position(|(name, _)| &**name == stream) {
            Some(i) => finish(self.open.swap_remove(i)),
            None => Ok(()),
        }
    }

    fn close(&mut self) -> Result<()> {
        let ends: Vec<Result<()>> = self.open.drain(..).map(finish).collect();
        ends.into_iter().collect()
    }
}

/// The mark of the videos of a name: a hidden file that holds the name of the run that made them.
fn mark(base: &Path) -> PathBuf {
    base.with_file_name(format!(".{}{MARK}", base.file_name().unwrap_or_default().to_string_lossy()))
}

/// Ending of marks.
const MARK: &str = ".run";

/// True when an earlier run left videos of this name: the new one takes its place, as tables do. Where there is no mark, a
/// video is somebody else's and stays.
fn of_earlier_run(base: &Path, run: &str) -> Result<bool> {
    let mark = mark(base);
    let before = std::fs::read_to_string(&mark).ok();
    let earlier = before.as_ref().is_some_and(|before| before != run);
    if earlier {
        remove_series(base)?;
    }
    if before.as_deref() != Some(run) {
        std::fs::write(&mark, run).or_fail(Failure::Output, || mark.display().to_string())?;
    }
    Ok(earlier)
}

/// Removes the further files of a name, `NAME-2.mp4` and on, and segments of HLS: they would pass for a later run's.
fn remove_series(base: &Path) -> Result<()> {
    let stem = base.file_stem().unwrap_or_default().to_string_lossy();
    let ending = base.extension().unwrap_or_default().to_string_lossy();
    let further = (2..).map(|number| base.with_file_name(format!("{stem}-{number}.{ending}")));
    let segments = (0..).map(|number| base.with_file_name(format!("{stem}-{number:05}.ts")));
    for path in further.take_while(|path| path.is_file()).chain(segments.take_while(|path| path.is_file())) {
        std::fs::remove_file(&path).or_fail(Failure::Output, || path.display().to_string())?;
    }
    Ok(())
}

/// Removes the videos that an earlier run left in its folder, for a run that takes its place.
///
/// # Errors
/// `Output` when one cannot be removed.
pub fn remove_videos(folder: &Path) -> Result<()> {
    let entries = std::fs::read_dir(folder).or_fail(Failure::Output, || folder.display().to_string())?;
    for entry in entries {
        let name = entry.or_fail(Failure::Output, || folder.display().to_string())?.file_name();
        let video = name.to_str().and_then(|name| name.strip_prefix('.')?.strip_suffix(MARK));
        // Marks of tables have no ending.
        let Some(video) = video.filter(|video| video.ends_with(".mp4") || video.ends_with(".m3u8")) else { continue };
        let base = folder.join(video);
        remove_series(&base)?;
        for path in [mark(&base), base] {
            match std::fs::remove_file(&path) {
                Err(cause) if cause.kind() != ErrorKind::NotFound => {
                    return Err(cause).or_fail(Failure::Output, || path.display().to_string());
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn unwritable(path: &Path, cause: &std::io::Error) -> Error {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mend = if folder.is_dir() { "" } else { "; its folder does not exist: make it" };
    Error::output(format!(
        "key `output`: {} cannot be written: {cause}{mend}, or set `output` to another place",
        path.display()
    ))
}

fn finish((stream, encoder): (StreamName, Encoder)) -> Result<()> {
    let path = encoder.path().to_owned();
    let stats = encoder.finish()?;
    tracing::info!(%stream, frames = stats.frames, bytes = stats.bytes, "video written: {}", path.display());
    Ok(())
}

/// A stream's name as part of a file's name or an address.
pub fn file_name(stream: &str) -> String {
    stream.chars().map(|c| if c.is_alphanumeric() || "-_".contains(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use sideline_api::Color;

    use super::*;

    fn write(files: &mut Files, stream: &str, pts: i64) {
        let planes = [(&[128; 256][..], 16), (&[128; 64][..], 8), (&[128; 64][..], 8)];
        let picture = Picture { planes, size: (16, 16), color: Color::assumed(16) };
        files.write(&stream.into(), pts, picture, &[]).unwrap();
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            folder.read_dir().unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| !name.starts_with('.'));
        names.sort();
        names
    }

    #[test]
    fn each_stream_has_its_file_and_the_first_the_plain_name() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = Files::new("ring/fight.mp4".as_ref(), folder.path(), "run", EncodeOptions::default()).unwrap();
        for i in 0..3 {
            write(&mut files, "left", i);
            write(&mut files, "rtmp://a/b", i);
        }
        files.end("left").unwrap();
        files.end("never seen").unwrap();
        write(&mut files, "2", 0);
        files.close().unwrap();
        let ring = folder.path().join("ring");
        assert_eq!(names(&ring), ["fight-2.mp4", "fight-rtmp___a_b.mp4", "fight.mp4"]);
        assert!(names(&ring).iter().all(|name| ring.join(name).metadata().unwrap().len() > 500));
    }

    #[test]
    fn nothing_of_an_earlier_run_is_touched_before_the_first_frame() {
        let folder = tempfile::tempdir().unwrap();
        let old = |name: &str| std::fs::write(folder.path().join(name), "old").unwrap();
        ["x.mp4", "x-2.mp4", ".x.mp4.run"].into_iter().for_each(old);
        let elsewhere = folder.path().join("elsewhere.mp4");
        std::fs::write(&elsewhere, "old").unwrap();
        for output in [Path::new("x.mp4"), &elsewhere] {
            let mut files = Files::new(output, folder.path(), "run", EncodeOptions::default()).unwrap();
            files.close().unwrap();
        }
        let held = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(["x.mp4", "x-2.mp4", ".x.mp4.run", "elsewhere.mp4"].iter().all(|name| held(name) == "old"));
        assert_eq!(folder.path().read_dir().unwrap().count(), 4, "and nothing is left behind");
    }

    #[test]
    fn videos_of_an_earlier_run_are_removed_and_those_of_nobody_stay() {
        let folder = tempfile::tempdir().unwrap();
        let old = |name: &str| std::fs::write(folder.path().join(name), "old").unwrap();
        ["x.mp4", "x-2.mp4", ".x.mp4.run", "y.m3u8", "y-00000.ts", ".y.m3u8.run", "clip.mp4", ".poses.run"]
            .into_iter()
            .for_each(old);
        remove_videos(folder.path()).unwrap();
        assert_eq!(names(folder.path()), ["clip.mp4"]);
        assert!(folder.path().join(".poses.run").is_file(), "that is of a table");
    }

    #[test]
    fn a_file_that_could_not_be_begun_is_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = Files::new("x.mp4".as_ref(), folder.path(), "run", EncodeOptions::default()).unwrap();
        let picture = Picture { planes: [(&[], 20_000); 3], size: (20_000, 4), color: Color::assumed(4) };
        let error = files.write(&"a".into(), 0, picture, &[]).unwrap_err();
        assert!(error.failure == Failure::Output && error.message.contains("20000x4"), "{error}");
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn an_old_file_elsewhere_is_replaced_but_not_one_of_this_run() {
        let (run, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let output = other.path().join("out.mp4");
        std::fs::write(&output, "of yesterday").unwrap();
        for _ in 0..2 {
            let mut files = Files::new(&output, run.path(), "run", EncodeOptions::default()).unwrap();
            write(&mut files, "a", 0);
            files.close().unwrap();
        }
        assert_eq!(names(other.path()), ["out-2.mp4", "out.mp4"]);
        assert!(output.metadata().unwrap().len() > 500);
        assert!(names(run.path()).is_empty());
    }
}
