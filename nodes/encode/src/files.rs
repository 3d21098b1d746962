//! Output to files: one video file (MP4, or HLS with its segments beside it) per stream, and a new one whenever the frame size
//! or the color description changes.

use std::{
    collections::BTreeSet,
    fs::{File, Metadata, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use sideline_api::{Error, Failure, OrFail, Result, StreamName, serde_json, stream_file_name, tables::Audio};
use sideline_media::{
    AudioFormat,
    encode::{self, EncodeOptions, Encoder, Quality, Target},
};

use crate::writer::{FramePlanes, Writer};

/// Files written by this process. None is overwritten by another node of the process, nor after a restart.
static WRITTEN_FILES: Mutex<WrittenFiles> =
    Mutex::new(WrittenFiles { paths: BTreeSet::new(), identities: BTreeSet::new() });

/// Files by path, and by identity: one file may have several paths, by hard and symbolic links.
struct WrittenFiles {
    /// Needed as well: an HLS playlist is another file with every segment.
    paths: BTreeSet<PathBuf>,
    identities: BTreeSet<FileIdentity>,
}

/// Device, inode and, where the file system has it, creation time of a file: the inode of a removed file becomes another's.
type FileIdentity = (u64, u64, Option<SystemTime>);

impl WrittenFiles {
    fn lock() -> MutexGuard<'static, Self> {
        WRITTEN_FILES.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn identify(metadata: &Metadata) -> FileIdentity {
        (metadata.dev(), metadata.ino(), metadata.created().ok())
    }

    fn contains(&self, path: &Path) -> bool {
        self.paths.contains(path)
            || std::fs::metadata(path).is_ok_and(|found| self.identities.contains(&Self::identify(&found)))
    }

    fn insert(&mut self, path: PathBuf, file: &File) {
        self.identities.extend(file.metadata().map(|found| Self::identify(&found)));
        self.paths.insert(path);
    }

    /// Forgets a file that is about to be removed.
    fn forget(&mut self, path: &Path) {
        if let Ok(found) = std::fs::metadata(path) {
            self.identities.remove(&Self::identify(&found));
        }
    }
}

/// The open video files of one node.
pub struct VideoFiles {
    /// Configured path, in the run folder if it is relative.
    base: PathBuf,
    /// Name of the run until its first frame, then `None`. Files of an earlier run are left alone until then, since this run
    /// may fail before it begins.
    pending_run: Option<String>,
    /// True if existing files are not overwritten: in the run folder.
    keeps_existing: bool,
    options: EncodeOptions,
    first: Option<StreamName>,
    open: Vec<(StreamName, Encoder)>,
}

impl VideoFiles {
    /// Checks that the folder can be written to; no video file is created yet.
    ///
    /// # Errors
    /// `Output` if the folder cannot be written to, or H.264 cannot be encoded on this machine.
    pub fn new(output: &Path, run_dir: &Path, run: &str, options: EncodeOptions) -> Result<Self> {
        encode::check_encoder()?;
        let base = run_dir.join(output);
        // Folders within the run folder are created; elsewhere a missing folder is more likely a typing error.
        let keeps_existing = output.is_relative();
        if keeps_existing && let Some(folder) = base.parent() {
            std::fs::create_dir_all(folder).or_fail(Failure::Output, || format!("folder {}", folder.display()))?;
        }
        let files = Self { base, pending_run: Some(run.into()), keeps_existing, options, first: None, open: vec![] };
        files.check_folder()?;
        Ok(files)
    }

    /// Creates and removes a probe file, so that a folder that cannot be written to stops the run before its first frame.
    fn check_folder(&self) -> Result<()> {
        let name = self.base.file_name().unwrap_or_default().to_string_lossy();
        let probe = self.base.with_file_name(format!(".{name}.{}", std::process::id()));
        let created = match self.base.is_dir() {
            true => Err(ErrorKind::IsADirectory.into()),
            false => File::create(&probe),
        };
        let _ = std::fs::remove_file(&probe);
        created.map(drop).map_err(|cause| write_error(&self.base, &cause))
    }

    /// Removes the files of an earlier run, at the first frame of this one.
    fn begin(&mut self) -> Result<()> {
        match self.pending_run.take() {
            Some(run) if self.keeps_existing => replace_earlier_run(&self.base, &run),
            _ => Ok(()),
        }
    }

    fn is_hls(&self) -> bool {
        is_playlist(&self.base)
    }

    /// Creates the file `NAME` + `suffix`, or the first of `-2`, `-3`, ... after it that does not exist, if files must not be
    /// overwritten.
    fn create_file(&self, suffix: &str) -> Result<PathBuf> {
        let stem = self.base.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let extension = if self.is_hls() { "m3u8" } else { "mp4" };
        let mut written = WrittenFiles::lock();
        for number in 1.. {
            let number = if number == 1 { String::new() } else { format!("-{number}") };
            let name = format!("{stem}{suffix}{number}.{extension}");
            let path = self.base.with_file_name(&name);
            if self.keeps_existing && self.is_hls() && segment_path(&path, 0).exists() {
                continue;
            }
            let created = if self.keeps_existing || written.contains(&path) {
                OpenOptions::new().write(true).create_new(true).open(&path)
            } else {
                File::create(&path)
            };
            match created {
                Ok(file) => {
                    if self.keeps_existing {
                        add_to_marker(&self.base, &name).inspect_err(|_| _ = std::fs::remove_file(&path))?;
                    }
                    written.insert(path.clone(), &file);
                    return Ok(path);
                }
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(cause) => return Err(write_error(&path, &cause)),
            }
        }
        Err(Error::output(format!("{}: no free file name is left", self.base.display())))
    }
}

impl Writer for VideoFiles {
    fn needs_new_output(&self, stream: &str, frame: &FramePlanes) -> bool {
        let differs = |encoder: &Encoder| frame.differs_from(encoder.size(), encoder.color());
        self.open.iter().any(|(name, encoder)| **name == *stream && differs(encoder))
    }

    fn write(&mut self, stream: &StreamName, pts: i64, frame: FramePlanes, audio: &[Audio]) -> Result<()> {
        let FramePlanes { planes, size, color } = frame;
        let is_cut = self.needs_new_output(stream, &frame);
        let open = self.open.iter().position(|(name, _)| name == stream);
        let open_format = open.and_then(|i| self.open[i].1.audio_format());
        // A frame without rows does not end the audio track: more may follow.
        let format = audio.last().map(|row| AudioFormat { rate: row.rate, channels: row.channels }).or(open_format);
        if let Some(i) = open
            && (is_cut || format != open_format)
        {
            // This audio precedes the frame, so it belongs to the old file.
            self.write_audio(stream, audio)?;
            finish(self.open.swap_remove(i))?;
        }
        let at = match self.open.iter().position(|(name, _)| name == stream) {
            Some(at) => at,
            None => {
                self.begin()?;
                let first = &*self.first.get_or_insert_with(|| stream.clone()) == stream;
                let suffix = if first { String::new() } else { format!("-{}", stream_file_name(stream)) };
                let path = self.create_file(&suffix)?;
                let options = EncodeOptions { color: Some(color), audio: format, ..self.options.clone() };
                let target = if self.is_hls() { Target::Hls(path.clone()) } else { Target::File(path.clone()) };
                let encoder = Encoder::open(target, size.0, size.1, options).inspect_err(|_| {
                    // The file is empty. On a full disk one would be left for every restart.
                    WrittenFiles::lock().forget(&path);
                    let _ = std::fs::remove_file(&path);
                })?;
                self.open.push((stream.clone(), encoder));
                self.open.len() - 1
            }
        };
        self.open[at].1.write_planes(planes, pts)?;
        self.write_audio(stream, audio)
    }

    fn write_audio(&mut self, stream: &str, audio: &[Audio]) -> Result<()> {
        let Some((_, encoder)) = self.open.iter_mut().find(|(name, _)| **name == *stream) else { return Ok(()) };
        let format = encoder.audio_format();
        let fits = |row: &&Audio| format == Some(AudioFormat { rate: row.rate, channels: row.channels });
        audio.iter().filter(fits).try_for_each(|row| encoder.write_audio(row.start, &row.samples))
    }

    fn set_bitrate(&mut self, bits_per_s: usize) {
        self.options.quality = match self.options.quality {
            Quality::Bitrate(_) => Quality::Bitrate(bits_per_s),
            constant => constant,
        };
        self.open.iter_mut().for_each(|(_, encoder)| encoder.set_bitrate(bits_per_s));
    }

    fn end(&mut self, stream: &str) -> Result<()> {
        match self.open.iter().position(|(name, _)| &**name == stream) {
            Some(i) => finish(self.open.swap_remove(i)),
            None => Ok(()),
        }
    }

    fn close(&mut self) -> Result<()> {
        let results: Vec<Result<()>> = self.open.drain(..).map(finish).collect();
        results.into_iter().collect()
    }
}

/// Returns the path of the marker of an output: a hidden file with the name of the run, and a line of JSON with the name of
/// each file that it made.
fn marker_path(base: &Path) -> PathBuf {
    base.with_file_name(format!(".{}{MARKER_SUFFIX}", base.file_name().unwrap_or_default().to_string_lossy()))
}

/// File name suffix of markers.
const MARKER_SUFFIX: &str = ".run";

/// Videos that a run made in its folder.
#[derive(Debug, PartialEq, Eq)]
pub struct MarkedVideos {
    /// Name of the run.
    pub run: String,
    /// The existing videos, playlists and segments, and last the marker.
    pub files: Vec<PathBuf>,
}

impl MarkedVideos {
    /// Reads the marker of an output: the path that the key `output` of `encode` names. `None` if no run has written to it, or
    /// only to a path outside its folder.
    pub fn read(output: &Path) -> Option<Self> {
        let marker = marker_path(output);
        let text = std::fs::read_to_string(&marker).ok()?;
        let mut lines = text.lines();
        let run = lines.next()?.to_owned();
        let mut files = vec![];
        for name in lines.filter_map(|line| serde_json::from_str::<String>(line).ok()) {
            // A name leads to no other folder, whoever wrote the marker.
            if Path::new(&name).file_name().is_some_and(|part| *part == *name) {
                let path = output.with_file_name(name);
                let segments = (0..).map(|number| segment_path(&path, number)).take_while(|segment| segment.is_file());
                let segments: Vec<PathBuf> = if is_playlist(&path) { segments.collect() } else { vec![] };
                files.extend(std::iter::once(path).chain(segments).filter(|path| path.is_file()));
            }
        }
        files.push(marker);
        Some(Self { run, files })
    }
}

/// Removes the videos that an earlier run made, and marks the name as this run's. A video that is not in the marker was not made
/// by a run, and stays.
fn replace_earlier_run(base: &Path, run: &str) -> Result<()> {
    let marked = MarkedVideos::read(base);
    if marked.as_ref().is_some_and(|marked| marked.run == run) {
        return Ok(());
    }
    for path in marked.into_iter().flat_map(|marked| marked.files) {
        std::fs::remove_file(&path).or_fail(Failure::Output, || path.display().to_string())?;
    }
    let marker = marker_path(base);
    std::fs::write(&marker, format!("{run}\n")).or_fail(Failure::Output, || marker.display().to_string())
}

/// Adds the name of a file to the marker of an output.
fn add_to_marker(base: &Path, name: &str) -> Result<()> {
    let marker = marker_path(base);
    let line = format!("{}\n", serde_json::Value::from(name));
    let mut file =
        OpenOptions::new().append(true).open(&marker).or_fail(Failure::Output, || marker.display().to_string())?;
    file.write_all(line.as_bytes()).or_fail(Failure::Output, || marker.display().to_string())
}

/// Returns the path of a segment of an HLS playlist.
fn segment_path(playlist: &Path, number: u32) -> PathBuf {
    let stem = playlist.file_stem().unwrap_or_default().to_string_lossy();
    playlist.with_file_name(format!("{stem}-{number:05}.ts"))
}

fn is_playlist(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("m3u8"))
}

fn write_error(path: &Path, cause: &std::io::Error) -> Error {
    let folder = path.parent().unwrap_or(Path::new("."));
    let hint = if folder.is_dir() { "" } else { "; its folder does not exist: create it" };
    Error::output(format!(
        "key `output`: {} cannot be written: {cause}{hint}, or set `output` to another path",
        path.display()
    ))
}

fn finish((stream, encoder): (StreamName, Encoder)) -> Result<()> {
    let path = encoder.path().to_owned();
    let stats = encoder.finish()?;
    tracing::info!(%stream, frames = stats.frames, bytes = stats.bytes, "video written: {}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use sideline_api::Color;

    use super::*;

    fn write(files: &mut VideoFiles, stream: &str, pts: i64) {
        let planes = [(&[128; 256][..], 16), (&[128; 64][..], 8), (&[128; 64][..], 8)];
        let frame = FramePlanes { planes, size: (16, 16), color: Color::default_for_height(16) };
        files.write(&stream.into(), pts, frame, &[]).unwrap();
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            folder.read_dir().unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| !name.starts_with('.'));
        names.sort();
        names
    }

    #[test]
    fn each_stream_has_its_own_file_and_the_first_takes_the_configured_name() {
        let folder = tempfile::tempdir().unwrap();
        let mut files =
            VideoFiles::new("ring/fight.mp4".as_ref(), folder.path(), "run", EncodeOptions::default()).unwrap();
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
            let mut files = VideoFiles::new(output, folder.path(), "run", EncodeOptions::default()).unwrap();
            files.close().unwrap();
        }
        let held = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(["x.mp4", "x-2.mp4", ".x.mp4.run", "elsewhere.mp4"].iter().all(|name| held(name) == "old"));
        assert_eq!(folder.path().read_dir().unwrap().count(), 4, "the probe file is removed");
    }

    #[test]
    fn videos_of_an_earlier_run_are_replaced_and_videos_that_no_run_made_stay() {
        let folder = tempfile::tempdir().unwrap();
        let write_old = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        for name in ["x.mp4", "x-right.mp4", "x-3.mp4", "x-2.mp4", "clip.mp4"] {
            write_old(name, "old");
        }
        write_old(".x.mp4.run", "first\n\"x.mp4\"\n\"x-right.mp4\"\n\"x-3.mp4\"\n");
        let mut files = VideoFiles::new("x.mp4".as_ref(), folder.path(), "second", EncodeOptions::default()).unwrap();
        ["left", "2"].iter().for_each(|stream| write(&mut files, stream, 0));
        files.close().unwrap();
        assert_eq!(names(folder.path()), ["clip.mp4", "x-2-2.mp4", "x-2.mp4", "x.mp4"]);
        let size = |name: &str| folder.path().join(name).metadata().unwrap().len();
        assert!(size("clip.mp4") == 3 && size("x-2.mp4") == 3 && size("x-2-2.mp4") > 500 && size("x.mp4") > 500);
        let marked = MarkedVideos::read(&folder.path().join("x.mp4")).unwrap();
        let files = ["x.mp4", "x-2-2.mp4", ".x.mp4.run"].map(|name| folder.path().join(name));
        assert_eq!(marked, MarkedVideos { run: "second".into(), files: files.into() });
    }

    #[test]
    fn segments_that_no_run_made_stay_and_those_of_a_run_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("x-00000.ts"), "the user's").unwrap();
        let mut files = VideoFiles::new("x.m3u8".as_ref(), folder.path(), "run", EncodeOptions::default()).unwrap();
        write(&mut files, "left", 0);
        files.close().unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("x-00000.ts")).unwrap(), "the user's");
        let marked = MarkedVideos::read(&folder.path().join("x.m3u8")).unwrap();
        let names: Vec<_> = marked.files.iter().map(|path| path.file_name().unwrap()).collect();
        assert_eq!(names, ["x-2.m3u8", "x-2-00000.ts", ".x.m3u8.run"]);
    }

    #[test]
    fn a_marker_names_files_in_its_own_folder_only() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("clip.mp4"), "the user's").unwrap();
        let base = folder.path().join("videos/x.mp4");
        std::fs::create_dir(folder.path().join("videos")).unwrap();
        std::fs::write(marker_path(&base), "run\n\"../clip.mp4\"\n\"..\"\nclip.mp4\n").unwrap();
        assert_eq!(MarkedVideos::read(&base).unwrap().files, [marker_path(&base)]);
    }

    #[test]
    fn two_nodes_whose_outputs_are_links_to_one_file_write_two_videos() {
        let (run, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let outputs = ["a.mp4", "b.mp4"].map(|name| other.path().join(name));
        std::fs::write(&outputs[0], "old").unwrap();
        std::fs::hard_link(&outputs[0], &outputs[1]).unwrap();
        let mut nodes =
            outputs.map(|output| VideoFiles::new(&output, run.path(), "run", EncodeOptions::default()).unwrap());
        nodes.iter_mut().for_each(|files| write(files, "left", 0));
        nodes.iter_mut().for_each(|files| files.close().unwrap());
        assert_eq!(names(other.path()), ["a.mp4", "b-2.mp4", "b.mp4"]);
    }

    #[test]
    fn a_file_whose_encoder_cannot_be_opened_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = VideoFiles::new("x.mp4".as_ref(), folder.path(), "run", EncodeOptions::default()).unwrap();
        let frame = FramePlanes { planes: [(&[], 20_000); 3], size: (20_000, 4), color: Color::default_for_height(4) };
        let error = files.write(&"a".into(), 0, frame, &[]).unwrap_err();
        assert!(error.failure == Failure::Output && error.message.contains("20000x4"), "{error}");
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn an_old_file_outside_the_run_folder_is_overwritten_but_not_one_of_this_process() {
        let (run, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let output = other.path().join("out.mp4");
        std::fs::write(&output, "old").unwrap();
        for _ in 0..2 {
            let mut files = VideoFiles::new(&output, run.path(), "run", EncodeOptions::default()).unwrap();
            write(&mut files, "a", 0);
            files.close().unwrap();
        }
        assert_eq!(names(other.path()), ["out-2.mp4", "out.mp4"]);
        assert!(output.metadata().unwrap().len() > 500);
        assert!(names(run.path()).is_empty());
    }
}
