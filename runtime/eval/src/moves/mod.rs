//! Recordings of people whose moves are known: readers of the layouts in which such data come.
//!
//! [`read_all`] walks a folder, at any depth, and knows the files by their names:
//!
//! | set | files | what they hold | kind |
//! |---|---|---|---|
//! | `vicon` | `subN/{aggressive,normal}/CLASS.txt` | nine markers of one person, one class a file | staged |
//! | `msr` | `aAA_sSS_eEE_skeleton.txt` | twenty Kinect joints of one person, one action a file | staged |
//! | `sbu` | `sAAsBB/CLASS/NNN/skeleton_pos.txt` | fifteen Kinect joints of two people, one class a file | staged |
//! | `bouts` | `*.csv` of 595 columns | seventeen joints in the picture, windows of six frames of boxing matches | real |
//! | `synthetic` | none: [`synthetic`] | [`crate::bout`] | synthetic |
//!
//! What was recorded becomes poses as the product has them, metres where the layout knows them, at 30 frames a second
//! ([`Recording::frames`]); what was not seen is NaN. Labels are names of moves; a class in which the data do not tell
//! some of them apart is met by each of them. Broken lines are counted and named ([`Library::faults`]); a file of which
//! nothing can be read is a fault too. Only a folder without any such file is an error.

mod bouts;
mod generated;
mod msr;
mod resample;
mod sbu;
pub mod score;
mod vicon;

use std::path::{Path, PathBuf};

use sideline_api::{
    body::{HIPS, SHOULDERS},
    tables::{JOINTS, Pose},
};

pub use generated::synthetic;
pub use resample::RATE;
use resample::{Sample, resample};
pub use vicon::baseline as vicon_baseline;

/// x to the right, y down, z away from the camera, of each joint; NaN where not seen.
type Joints = [[f32; 3]; JOINTS];
/// No joint seen.
const UNSEEN: Joints = [[f32::NAN; 3]; JOINTS];

/// Why no recordings could be read.
#[derive(Debug, thiserror::Error)]
pub enum MovesError {
    /// A folder or file could not be opened.
    #[error("{}: {source}", .path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// No file of a known layout below a folder.
    #[error(
        "{}: no recordings at any depth. Looked for: subN/{{aggressive,normal}}/CLASS.txt (Vicon Physical Action), \
         aAA_sSS_eEE_skeleton.txt (MSR Action3D), sAAsBB/CLASS/NNN/skeleton_pos.txt (SBU Kinect Interaction), *.csv of 595 columns (boxing bouts). Unpack archives first, as in \
         `tar xf FILE.tar.xz`, `unxz FILE.csv.xz`",
        .path.display()
    )]
    Nothing {
        /// The folder searched.
        path: PathBuf,
    },
}

/// How the people of a set came to move as they did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Asked to show the move.
    Staged,
    /// Made by a program.
    Synthetic,
    /// Filmed in earnest.
    Real,
}

impl Kind {
    /// The name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Synthetic => "synthetic",
            Self::Real => "real",
        }
    }
}

/// A set of recordings: where they are from and what may be done with them.
#[derive(Debug, PartialEq, Eq)]
pub struct Set {
    /// Its short name.
    pub name: &'static str,
    /// How its people came to move.
    pub kind: Kind,
    /// `open`: weights made from it may be given away. `research`: it may test, not train, what is shipped.
    pub licence: &'static str,
    /// Frames from one window that is judged to the next: half a second; where recordings are shorter than two windows, the
    /// step of the data's own.
    pub step: u32,
}

/// Names of moves, any of which is right; none where the data have a class that none of our labels means.
pub type Labels = &'static [&'static str];

/// A stretch of a recording in which one thing was done.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Its first frame.
    pub start: usize,
    /// The frame after its last.
    pub end: usize,
    /// What it was.
    pub labels: Labels,
    /// The frame in which it was fastest, where it is one move and not a repetition of it.
    pub peak: Option<usize>,
}

/// Somebody in a recording.
#[derive(Clone, Debug)]
pub struct Person {
    /// Who it is: a name within the set.
    pub name: String,
    /// What they did, in order of its beginning.
    pub spans: Vec<Span>,
    /// What they did where no span is.
    pub otherwise: Labels,
}

impl Person {
    /// What was done in a frame: of several spans the one whose peak is nearest.
    #[must_use]
    pub fn span(&self, frame: usize) -> Option<&Span> {
        let there = self.spans.iter().filter(|span| (span.start..span.end).contains(&frame));
        there.min_by_key(|span| span.peak.map_or(0, |peak| peak.abs_diff(frame)))
    }

    /// What was done in a frame.
    #[must_use]
    pub fn labels(&self, frame: usize) -> Labels {
        self.span(frame).map_or(self.otherwise, |span| span.labels)
    }

    /// What a window is about: the move whose peak is nearest to `focus` frames before its end, among those whose peak is in
    /// it; else what was done at that frame.
    #[must_use]
    pub fn about(&self, window: std::ops::RangeInclusive<usize>, focus: usize) -> Labels {
        let at = window.end().saturating_sub(focus);
        let peaks = self.spans.iter().filter_map(|span| Some((span.peak?, span)));
        let nearest = peaks.filter(|(peak, _)| window.contains(peak)).min_by_key(|(peak, _)| peak.abs_diff(at));
        match nearest {
            Some((_, span)) => span.labels,
            None => {
                let whole = self.spans.iter().find(|span| span.peak.is_none() && (span.start..span.end).contains(&at));
                whole.map_or(self.otherwise, |span| span.labels)
            }
        }
    }
}

/// One or two people over some time.
#[derive(Clone, Debug)]
pub struct Recording {
    /// Which set it is of.
    pub set: &'static Set,
    /// The recording's name within the set: no two are alike.
    pub name: String,
    /// Who took part, known or not which of `people` they are.
    pub subjects: Vec<String>,
    /// Track 1, perhaps track 2.
    pub people: Vec<Person>,
    /// Poses of each frame, [`RATE`] frames a second, of all people in order.
    pub frames: Vec<Vec<Pose>>,
}

/// What a layout tells of one person.
struct Recorded {
    person: Person,
    joints: Vec<Joints>,
    /// Joints are given from the middle of the hips: that is known also where the hips themselves were not seen.
    hips_are_origin: bool,
}

impl Recording {
    /// Whether every move of everybody is known by its peak.
    #[must_use]
    pub fn knows_every_move(&self) -> bool {
        self.set.kind == Kind::Synthetic
    }

    /// Of people who were recorded equally long.
    fn of(set: &'static Set, name: String, subjects: Vec<String>, recorded: Vec<Recorded>) -> Self {
        let length = recorded.iter().map(|one| one.joints.len()).min().unwrap_or_default();
        let frames = (0..length).map(|frame| {
            let poses = recorded.iter().enumerate();
            poses.map(|(at, one)| pose(at as u32 + 1, &one.joints[frame], one.hips_are_origin)).collect()
        });
        let frames = frames.collect();
        Self { set, name, subjects, people: recorded.into_iter().map(|one| one.person).collect(), frames }
    }
}

/// Joints as a pose model would tell them: what is NaN is there and hidden. Unlike a camera's, picture and world have one
/// unit.
fn pose(track: u32, joints: &Joints, hips_are_origin: bool) -> Pose {
    let mut world = *joints;
    if hips_are_origin && joints.iter().any(|joint| joint[0].is_finite()) {
        HIPS.into_iter().for_each(|hip| world[hip] = [0.0; 3]);
    }
    let seen = |joint: usize| if joints[joint][0].is_finite() { 1.0 } else { 0.0 };
    Pose {
        track,
        fighter: format!("fighter_{track}"),
        x1: f32::NAN,
        y1: f32::NAN,
        x2: f32::NAN,
        y2: f32::NAN,
        score: 1.0,
        model: "recorded".into(),
        aspect: 1.0,
        joints: std::array::from_fn(|joint| {
            let [x, y, z] = world[joint];
            [x, y, z, seen(joint)]
        }),
        world,
    }
}

/// Something in a file that could not be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// The file.
    pub path: PathBuf,
    /// The first such line, from 1; 0 where the file as a whole is meant.
    pub line: usize,
    /// How many lines.
    pub lines: usize,
    /// What is wrong with the first of them.
    pub problem: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.line, self.lines) {
            (0, _) => write!(out, "{}: {}", self.path.display(), self.problem),
            (line, 0..=1) => write!(out, "{}:{line}: {}; left out", self.path.display(), self.problem),
            (line, lines) => {
                write!(out, "{}:{line}: {}; {lines} such lines left out", self.path.display(), self.problem)
            }
        }
    }
}

/// What was found below a folder.
#[derive(Debug, Default)]
pub struct Library {
    /// The recordings, by set and name.
    pub recordings: Vec<Recording>,
    /// Lines and files that could not be used, in the order of their files.
    pub faults: Vec<Fault>,
    /// What was left out, and how many recordings or files of it: classes that none of our labels means, files of the same
    /// data in forms that are of no use here.
    pub left_out: std::collections::BTreeMap<String, usize>,
}

/// Reads every recording at any depth below `dir`.
///
/// # Errors
/// `dir` cannot be listed, or holds no file of a known layout.
pub fn read_all(dir: &Path) -> Result<Library, MovesError> {
    let mut files = vec![];
    list(dir, &mut files)?;
    files.sort();
    let mut library = Library::default();
    of_no_use(&files, &mut library);
    let read = [vicon::read, msr::read, sbu::read, bouts::read];
    let found: Vec<bool> = read.iter().map(|read| read(&files, &mut library)).collect();
    if !found.contains(&true) {
        return Err(MovesError::Nothing { path: dir.to_owned() });
    }
    library.recordings.sort_by(|a, b| (a.set.name, &a.name).cmp(&(b.set.name, &b.name)));
    library.faults.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(library)
}

/// Files below a folder; links to folders are not followed, so that no circle is walked.
fn list(dir: &Path, files: &mut Vec<PathBuf>) -> Result<(), MovesError> {
    let unreadable = |source| MovesError::Read { path: dir.to_owned(), source };
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let path = entry.path();
        match entry.file_type().map_err(unreadable)? {
            kind if kind.is_dir() => list(&path, files)?,
            _ if path.is_file() => files.push(path),
            _ => {}
        }
    }
    Ok(())
}

/// Names what comes with these data and cannot be used, so that nobody thinks it was.
fn of_no_use(files: &[PathBuf], library: &mut Library) {
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let why = match &*name {
            "boxing_stills.json" => "boxing_stills.json: single poses, no motion",
            "skeleton_A.mat" | "skeleton_B.mat" => "skeleton_A.mat, skeleton_B.mat: skeleton_pos.txt is read instead",
            _ => continue,
        };
        *library.left_out.entry(why.to_owned()).or_default() += 1;
    }
}

/// A file's text; what is not UTF-8 in it becomes a broken line. None, and a fault, where it cannot be read.
fn text(path: &Path, library: &mut Library) -> Option<String> {
    match std::fs::read(path) {
        Ok(bytes) => Some(crate::without_bom(&String::from_utf8_lossy(&bytes)).to_owned()),
        Err(error) => {
            library.faults.push(Fault { path: path.to_owned(), line: 0, lines: 0, problem: error.to_string() });
            None
        }
    }
}

/// Counts the broken lines of one file.
#[derive(Default)]
struct Broken {
    first: Option<(usize, String)>,
    lines: usize,
}

impl Broken {
    fn add(&mut self, line: usize, problem: String) {
        self.first.get_or_insert((line, problem));
        self.lines += 1;
    }

    /// Reports what was counted.
    fn tell(self, path: &Path, library: &mut Library) {
        if let Some((line, problem)) = self.first {
            library.faults.push(Fault { path: path.to_owned(), line, lines: self.lines, problem });
        }
    }
}

/// Whole-file trouble: it says more than the broken lines of the file do.
fn unusable(path: &Path, problem: String, library: &mut Library) {
    if let Some(lines) = library.faults.pop_if(|last| last.path == path) {
        let problem = format!("{problem} (the first: {})", lines.problem);
        library.faults.push(Fault { path: path.to_owned(), line: 0, lines: 0, problem });
        return;
    }
    library.faults.push(Fault { path: path.to_owned(), line: 0, lines: 0, problem });
}

/// The numbers of a line, all finite; what is wrong where one is not.
fn numbers<'a>(words: impl Iterator<Item = &'a str>) -> Result<Vec<f64>, String> {
    words
        .map(|word| match word.trim().parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(value),
            _ => Err(format!("`{word}` is not a number")),
        })
        .collect()
}
