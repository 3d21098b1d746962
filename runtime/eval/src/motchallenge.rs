//! Reader of the MOTChallenge layout: one folder per sequence with `gt/gt.txt`, optionally `det/det.txt` and
//! `seqinfo.ini`.
//!
//! A row is `frame,id,left,top,width,height,confidence[,...]`; frames count from 1. In ground truth the seventh value
//! is a flag: rows with 0 ('do not consider') are left out, as in the development kit. Values after the seventh differ
//! between the years (world position in 2015, class and visibility later) and are not read. Empty lines and lines that
//! begin with `#` are ignored, as are a byte order mark and Windows line endings.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use crate::{Noise, without_bom};

/// Frame rate without a `seqinfo.ini`, frames per second (that of the TUD sequences).
const DEFAULT_FRAME_RATE: f64 = 25.0;
/// Highest frame number, nine hours at 30 frames per second. Every frame up to the highest takes memory, even without
/// boxes.
const MAX_FRAME: f64 = 1e6;
/// Valid range of a frame rate, per second, and of an image width or height, px.
const FRAME_RATES: RangeInclusive<f64> = 0.1..=1000.0;
const IMAGE_SIDES: RangeInclusive<f64> = 1.0..=65_535.0;

/// Error while reading tracking data.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// A file or folder could not be opened.
    #[error("{}: {source}", .path.display())]
    Read {
        /// Path of the file or folder.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// A line does not match the layout.
    #[error("{}:{line}: {problem}", .path.display())]
    Line {
        /// Path of the file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// Problem, and the expected content.
        problem: String,
    },
    /// No sequence was found below a folder.
    #[error("{}: neither it nor a folder one or two levels below holds gt/gt.txt", .path.display())]
    NoSequence {
        /// Folder that was searched.
        path: PathBuf,
    },
    /// Detections of the sequence's own were requested, but it has none.
    #[error("{}: no det/det.txt; `--boxes noisy` makes boxes from the true ones", .path.display())]
    NoDetections {
        /// Folder of the sequence.
        path: PathBuf,
    },
    /// Two sequences below a folder have the same name.
    #[error("{}: another sequence is also called {name}; rename one of them, or give one folder", .path.display())]
    DuplicateName {
        /// Folder of the second sequence.
        path: PathBuf,
        /// Name that both have.
        name: String,
    },
}

/// Axis-aligned box in pixels: left, top, width, height.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rect {
    /// Left edge.
    pub x: f64,
    /// Top edge.
    pub y: f64,
    /// Width.
    pub w: f64,
    /// Height.
    pub h: f64,
}

impl Rect {
    /// Creates a box from its corners x1 y1 x2 y2.
    #[must_use]
    pub fn from_corners([x1, y1, x2, y2]: [f64; 4]) -> Self {
        Self { x: x1, y: y1, w: x2 - x1, h: y2 - y1 }
    }

    /// Returns the intersection over union (IoU), 0 to 1; 0 where neither box has an area.
    #[must_use]
    pub fn iou(&self, other: &Rect) -> f64 {
        let width = (self.x + self.w).min(other.x + other.w) - self.x.max(other.x);
        let height = (self.y + self.h).min(other.y + other.h) - self.y.max(other.y);
        let shared = width.max(0.0) * height.max(0.0);
        if shared > 0.0 { shared / (self.w * self.h + other.w * other.h - shared) } else { 0.0 }
    }
}

/// Box with an identity: an object of the ground truth, or a track of a result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LabeledBox {
    /// Identity, unique within a frame.
    pub id: i64,
    /// Box in the image, px.
    pub rect: Rect,
}

/// Detection: a box without identity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// Box in the image, px.
    pub rect: Rect,
    /// Detection score, 0 to 1 (see [`Sequence::read`]).
    pub score: f64,
}

/// Boxes by frame; index 0 is frame 1.
pub type Frames<T> = Vec<Vec<T>>;

/// Source of the detections given to a tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BoxSource {
    /// Detections of `det/det.txt`.
    Given,
    /// Ground-truth boxes with [`Noise`].
    Noisy,
}

/// Sequence with its detections and its ground truth.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// Name of the folder.
    pub name: String,
    /// Frame rate, frames per second.
    pub frame_rate: f64,
    /// Source of `detections`.
    pub box_source: BoxSource,
    /// Input of the tracker.
    pub detections: Frames<Detection>,
    /// Ground truth.
    pub truth: Frames<LabeledBox>,
}

impl Sequence {
    /// Reads the sequence in `folder`. Without a requested box source, the sequence's own detections are used if there
    /// are any.
    ///
    /// Given scores within 0 to 1 are used as they are. Detectors of the benchmark also write margins and log-odds: if
    /// any score of a file is outside 0 to 1, the file's own range is mapped to 0..1 (a file with a single value: all
    /// 1). Noise needs the image size: that of `seqinfo.ini`, else the extent of the true boxes.
    ///
    /// # Errors
    /// A file is missing, a line does not match the layout, or a value of `seqinfo.ini` is out of range.
    pub fn read(folder: &Path, boxes: Option<BoxSource>, noise: &Noise) -> Result<Self, EvalError> {
        let given = folder.join("det/det.txt");
        let boxes = boxes.unwrap_or(if given.is_file() { BoxSource::Given } else { BoxSource::Noisy });
        let name =
            folder.canonicalize().ok().and_then(|folder| Some(folder.file_name()?.to_string_lossy().into_owned()));
        let name = name.unwrap_or_else(|| folder.display().to_string());
        let truth = read_ground_truth(&folder.join("gt/gt.txt"))?;
        let info = folder.join("seqinfo.ini");
        let frame_rate = read_seqinfo(&info, "frameRate", &FRAME_RATES)?.unwrap_or(DEFAULT_FRAME_RATE);
        let detections = match boxes {
            BoxSource::Given if !given.is_file() => return Err(EvalError::NoDetections { path: folder.to_owned() }),
            BoxSource::Given => read_detections(&given)?,
            BoxSource::Noisy => {
                let (right, bottom) = extent(&truth);
                let side = |key, extent| Ok(read_seqinfo(&info, key, &IMAGE_SIDES)?.unwrap_or(extent));
                let size = (side("imWidth", right)?, side("imHeight", bottom)?);
                noise.detect(&name, &truth, size, frame_rate)
            }
        };
        Ok(Self { name, frame_rate, box_source: boxes, detections, truth })
    }

    /// Reads every sequence of `dir`, in the order of their names: `dir` itself, the folders in it, or the folders in
    /// those.
    ///
    /// # Errors
    /// There is no sequence, two have the same name, or [`Sequence::read`] fails for one.
    pub fn read_all(dir: &Path, boxes: Option<BoxSource>, noise: &Noise) -> Result<Vec<Self>, EvalError> {
        let mut level = vec![dir.to_owned()];
        for _ in 0..3 {
            let found: Vec<&PathBuf> = level.iter().filter(|folder| folder.join("gt/gt.txt").is_file()).collect();
            if !found.is_empty() {
                let mut names = BTreeSet::new();
                return found
                    .into_iter()
                    .map(|folder| {
                        let sequence = Self::read(folder, boxes, noise)?;
                        if names.insert(sequence.name.clone()) {
                            Ok(sequence)
                        } else {
                            Err(EvalError::DuplicateName { path: folder.clone(), name: sequence.name })
                        }
                    })
                    .collect();
            }
            level = level.iter().map(|folder| folders_in(folder)).collect::<Result<Vec<_>, _>>()?.concat();
            level.sort_by(|a, b| (a.file_name(), a).cmp(&(b.file_name(), b)));
        }
        Err(EvalError::NoSequence { path: dir.to_owned() })
    }
}

fn folders_in(folder: &Path) -> Result<Vec<PathBuf>, EvalError> {
    let unreadable = |source| EvalError::Read { path: folder.to_owned(), source };
    let entries = std::fs::read_dir(folder).map_err(unreadable)?;
    let mut folders = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    folders.retain(|folder| folder.is_dir());
    Ok(folders)
}

fn read_detections(path: &Path) -> Result<Frames<Detection>, EvalError> {
    let mut detections: Frames<Detection> = Vec::new();
    for row in read_rows(path)? {
        frame_mut(&mut detections, row.frame).push(Detection { rect: row.rect, score: row.seventh });
    }
    normalize_scores(&mut detections);
    Ok(detections)
}

/// Returns the rightmost and the lowest edge of all boxes, px.
fn extent(truth: &Frames<LabeledBox>) -> (f64, f64) {
    let rects = truth.iter().flatten().map(|labeled| labeled.rect);
    rects.fold((1.0, 1.0), |(right, bottom), rect| (right.max(rect.x + rect.w), bottom.max(rect.y + rect.h)))
}

/// Reads a ground-truth file, without the rows whose flag is 0.
///
/// # Errors
/// The file is missing, a line does not match the layout, or an identity appears twice in one frame.
pub fn read_ground_truth(path: &Path) -> Result<Frames<LabeledBox>, EvalError> {
    read_labeled_boxes(path, |row| row.seventh != 0.0)
}

/// Reads all rows of a result file, or of any file of boxes with identities.
///
/// # Errors
/// Same as [`read_ground_truth`].
pub fn read_boxes(path: &Path) -> Result<Frames<LabeledBox>, EvalError> {
    read_labeled_boxes(path, |_| true)
}

/// Greatest identity: integers up to this are exact as floating-point numbers.
const MAX_ID: f64 = 1e15;

/// One line of a file.
struct Row {
    line: usize,
    frame: usize,
    id: i64,
    rect: Rect,
    /// Seventh value: the score of a detection, the flag of a ground-truth row.
    seventh: f64,
}

fn read_labeled_boxes(path: &Path, keep: impl Fn(&Row) -> bool) -> Result<Frames<LabeledBox>, EvalError> {
    let mut frames: Frames<LabeledBox> = Vec::new();
    let mut identities = BTreeSet::new();
    for row in read_rows(path)? {
        if !keep(&row) {
            continue;
        }
        if !identities.insert((row.frame, row.id)) {
            let problem = format!("identity {} appears twice in frame {}", row.id, row.frame);
            return Err(EvalError::Line { path: path.to_owned(), line: row.line, problem });
        }
        frame_mut(&mut frames, row.frame).push(LabeledBox { id: row.id, rect: row.rect });
    }
    Ok(frames)
}

fn frame_mut<T>(frames: &mut Frames<T>, frame: usize) -> &mut Vec<T> {
    if frames.len() < frame {
        frames.resize_with(frame, Vec::new);
    }
    &mut frames[frame - 1]
}

fn read_rows(path: &Path) -> Result<Vec<Row>, EvalError> {
    let text = std::fs::read_to_string(path).map_err(|source| EvalError::Read { path: path.to_owned(), source })?;
    let has_content = |text: &str| !text.is_empty() && !text.starts_with('#');
    let lines = without_bom(&text).lines().enumerate().filter(|(_, text)| has_content(text.trim()));
    lines
        .map(|(index, text)| {
            let line = index + 1;
            parse_row(line, text).map_err(|problem| EvalError::Line { path: path.to_owned(), line, problem })
        })
        .collect()
}

fn parse_row(line: usize, text: &str) -> Result<Row, String> {
    const NAMES: [&str; 7] = ["frame", "id", "left", "top", "width", "height", "confidence"];
    let mut values = [0.0; 7];
    let mut fields = text.split(',').map(str::trim);
    for (value, name) in values.iter_mut().zip(NAMES) {
        let field = fields.next().ok_or_else(|| format!("{name} is missing; a row is {}", NAMES.join(",")))?;
        *value = field
            .parse()
            .ok()
            .filter(|number: &f64| number.is_finite())
            .ok_or_else(|| format!("{name} is {field:?}, not a number"))?;
    }
    let [frame, id, x, y, w, h, seventh] = values;
    // Some files write integers as 1.0, so they are parsed as floating-point numbers and checked.
    if frame < 1.0 || frame.fract() != 0.0 || frame > MAX_FRAME {
        return Err(format!("frame is {frame}; frames are whole numbers from 1 to {MAX_FRAME}"));
    }
    if id.fract() != 0.0 || id.abs() > MAX_ID {
        return Err(format!("id is {id}, not a whole number of up to 15 digits"));
    }
    if w < 0.0 || h < 0.0 {
        return Err(format!("the box is {w} wide and {h} high"));
    }
    Ok(Row { line, frame: frame as usize, id: id as i64, rect: Rect { x, y, w, h }, seventh })
}

fn normalize_scores(frames: &mut Frames<Detection>) {
    let scores = || frames.iter().flatten().map(|detection| detection.score);
    let (least, greatest) = scores().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), s| (a.min(s), b.max(s)));
    if least >= 0.0 && greatest <= 1.0 {
        return;
    }
    for detection in frames.iter_mut().flatten() {
        let range = greatest - least;
        detection.score = if range > 0.0 { (detection.score - least) / range } else { 1.0 };
    }
}

/// Reads a number of `seqinfo.ini`; `None` without the file or the key.
///
/// # Errors
/// The value is not a number within `range`.
fn read_seqinfo(seqinfo: &Path, key: &str, range: &RangeInclusive<f64>) -> Result<Option<f64>, EvalError> {
    let Ok(text) = std::fs::read_to_string(seqinfo) else { return Ok(None) };
    let value = |line: &str| Some(line.trim().strip_prefix(key)?.trim_start().strip_prefix('=')?.trim().to_owned());
    let Some((line, value)) =
        without_bom(&text).lines().enumerate().find_map(|(index, line)| Some((index + 1, value(line)?)))
    else {
        return Ok(None);
    };
    match value.parse() {
        Ok(number) if range.contains(&number) => Ok(Some(number)),
        _ => {
            let problem = format!("{key} is {value:?}, not a number from {} to {}", range.start(), range.end());
            Err(EvalError::Line { path: seqinfo.to_owned(), line, problem })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary_file(name: &str, text: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("sideline-eval-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn rows_flagged_zero_are_skipped_in_ground_truth_only() {
        let path = temporary_file("flag", "2,7,1,2,3,4,1,-1,-1,-1\n2,8,1,2,3,4,0,-1,-1,-1\n");
        let truth = read_ground_truth(&path).unwrap();
        assert_eq!(truth, [vec![], vec![LabeledBox { id: 7, rect: Rect { x: 1.0, y: 2.0, w: 3.0, h: 4.0 } }]]);
        assert_eq!(read_boxes(&path).unwrap()[1].len(), 2);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn sequences_are_found_two_levels_down_with_given_or_noisy_boxes() {
        let folder = std::env::temp_dir().join(format!("sideline-eval-levels-{}", std::process::id()));
        let write = |path: &str, text: &str| {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let read = |boxes| Sequence::read_all(&folder, boxes, &Noise { miss: 0.0, ..Noise::default() });
        let error = Sequence::read_all(&folder, None, &Noise::default()).unwrap_err().to_string();
        assert!(error.contains("sideline-eval-levels"), "{error}");
        write("train/readme.txt", "");
        let error = read(None).unwrap_err().to_string();
        assert!(error.ends_with("neither it nor a folder one or two levels below holds gt/gt.txt"), "{error}");

        let truth = "1,1,10,20,30,60,1,1,1\n2,1,10,20,30,60,1,1,1\n";
        write("train/b/gt/gt.txt", truth);
        write("train/b/seqinfo.ini", "[Sequence]\r\nframeRate = 50\r\nimWidth=640\r\nimHeight=360\r\n");
        write("train/a/gt/gt.txt", truth);
        write("train/a/det/det.txt", "1,-1,10,20,30,60,0.5\n");
        let found = read(None).unwrap();
        let facts: Vec<_> = found.iter().map(|s| (s.name.as_str(), s.frame_rate, s.box_source)).collect();
        assert_eq!(facts, [("a", 25.0, BoxSource::Given), ("b", 50.0, BoxSource::Noisy)]);
        assert_eq!((found[0].detections.len(), found[1].detections.len()), (1, 2));
        assert!(read(Some(BoxSource::Noisy)).unwrap().iter().all(|sequence| sequence.box_source == BoxSource::Noisy));
        let error = read(Some(BoxSource::Given)).unwrap_err().to_string();
        assert!(error.ends_with("b: no det/det.txt; `--boxes noisy` makes boxes from the true ones"), "{error}");
        write("test/a/gt/gt.txt", truth);
        let error = read(None).unwrap_err().to_string();
        assert!(error.contains("another sequence is also called a"), "{error}");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn byte_order_mark_windows_line_endings_empty_lines_and_comments_are_ignored() {
        let path = temporary_file("windows", "\u{feff}1,7,1,2,3,4,1\r\n\r\n# taken by hand\r\n2,7,1,2,3,4,1\r\n");
        let truth = read_ground_truth(&path).unwrap();
        assert_eq!(truth.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn errors_name_file_line_and_value() {
        for (name, text, expected) in [
            ("word", "1,1,0,0,9,9,1\n1,2,0,zero,9,9,1\n", ":2: top is \"zero\", not a number"),
            ("short", "1,1,0,0\n", ":1: width is missing"),
            ("frame", "0,1,0,0,9,9,1\n", ":1: frame is 0"),
            ("far", "9000000,1,0,0,9,9,1\n", ":1: frame is 9000000; frames are whole numbers from 1 to 1000000"),
            ("great", "1,1e16,0,0,9,9,1\n", ":1: id is 10000000000000000, not a whole number"),
            ("size", "1,1,0,0,-9,9,1\n", ":1: the box is -9 wide"),
            ("twice", "1,1,0,0,9,9,1\n\n1,1,5,0,9,9,1\n", ":3: identity 1 appears twice in frame 1"),
        ] {
            let path = temporary_file(name, text);
            let message = read_ground_truth(&path).unwrap_err().to_string();
            assert!(message.starts_with(&*path.to_string_lossy()) && message.contains(expected), "{message}");
            std::fs::remove_file(path).unwrap();
        }
        let missing = read_boxes(Path::new("/nowhere/gt.txt")).unwrap_err().to_string();
        assert!(missing.starts_with("/nowhere/gt.txt: "), "{missing}");
    }

    #[test]
    fn seqinfo_values_out_of_range_are_refused_with_their_line() {
        let folder = std::env::temp_dir().join(format!("sideline-eval-seqinfo-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("gt")).unwrap();
        std::fs::write(folder.join("gt/gt.txt"), "1,1,10,20,30,60,1,1,1\n").unwrap();
        for (text, expected) in [
            ("[Sequence]\nframeRate=1e-300\n", "seqinfo.ini:2: frameRate is \"1e-300\", not a number from 0.1 to 1000"),
            ("imWidth = wide\n", "seqinfo.ini:1: imWidth is \"wide\", not a number from 1 to 65535"),
        ] {
            std::fs::write(folder.join("seqinfo.ini"), text).unwrap();
            let message = Sequence::read(&folder, Some(BoxSource::Noisy), &Noise::default()).unwrap_err().to_string();
            assert!(message.ends_with(expected), "{message}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn scores_outside_the_unit_range_are_mapped_to_it() {
        let with = |scores: &[f64]| {
            let rect = Rect { x: 0.0, y: 0.0, w: 1.0, h: 1.0 };
            let mut frames = vec![scores.iter().map(|&score| Detection { rect, score }).collect::<Vec<_>>()];
            normalize_scores(&mut frames);
            frames[0].iter().map(|detection| detection.score).collect::<Vec<_>>()
        };
        assert_eq!(with(&[0.25, 0.5]), [0.25, 0.5]);
        assert_eq!(with(&[-2.0, 0.0, 6.0]), [0.0, 0.25, 1.0]);
        assert_eq!(with(&[-1.0, -1.0]), [1.0, 1.0]);
    }
}
