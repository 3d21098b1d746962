//! Recordings of people whose moves are known: readers of the layouts in which such data come.
//!
//! [`read_all`] walks a folder, at any depth, and knows the files by their names:
//!
//! | set | files | what they hold | kind |
//! |---|---|---|---|
//! | `vicon` | `subN/{aggressive,normal}/CLASS.txt` | nine markers of one person, one class a file | staged |
//! | `msr` | `aAA_sSS_eEE_skeleton.txt` | twenty Kinect joints of one person, one action a file | staged |
//! | `bouts` | `*.csv` of 595 columns | seventeen joints in the picture, windows of six frames of boxing matches | real |
//!
//! What was recorded becomes joints in the product's own order, metres where the layout knows them, at 30 frames a second
//! ([`Recording::frames`]); what was not seen is NaN. Labels are names of moves; a class in which the data do not tell
//! some of them apart is met by each of them. Broken lines are counted and named ([`Library::faults`]); a file of which
//! nothing can be read is a fault too. Only a folder without any such file is an error.

mod bouts;
mod msr;
mod resample;
mod vicon;

use std::path::{Path, PathBuf};

pub use resample::{RATE, Sample, resample};

/// Number of joints: MediaPipe's BlazePose topology, as in the product's tables.
pub const JOINTS: usize = 33;
/// x to the right, y down, z away from the camera, of each joint; NaN where not seen.
pub type Joints = [[f32; 3]; JOINTS];
/// No joint seen.
pub const UNSEEN: Joints = [[f32::NAN; 3]; JOINTS];

/// The shoulders, left and right.
const SHOULDERS: [usize; 2] = [11, 12];
/// The hips, left and right.
const HIPS: [usize; 2] = [23, 24];

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
         aAA_sSS_eEE_skeleton.txt (MSR Action3D), *.csv of 595 columns (boxing bouts). Unpack archives first, as in \
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
}

/// A stretch of a recording in which one thing was done.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Its first frame.
    pub start: usize,
    /// The frame after its last.
    pub end: usize,
    /// Names of moves, any of which is right; empty where the data have a class that none of our labels means.
    pub labels: Vec<&'static str>,
    /// First frame, fastest frame and last frame of the strike, where they are known.
    pub strike: Option<[usize; 3]>,
}

/// One person in one recording.
#[derive(Clone, Debug)]
pub struct Recording {
    /// Which set it is of.
    pub set: &'static Set,
    /// Who moves: a name within the set.
    pub person: String,
    /// The recording's name within the set: no two are alike.
    pub name: String,
    /// Joints of each frame, [`RATE`] frames a second.
    pub frames: Vec<Joints>,
    /// What was done, in order and without overlap; between spans nothing is known.
    pub spans: Vec<Span>,
    /// Joints are given from the middle of the hips: that is known also where the hips themselves were not seen.
    pub hips_are_origin: bool,
}

impl Recording {
    /// What was done in a frame; none where it is not known.
    #[must_use]
    pub fn span(&self, frame: usize) -> Option<&Span> {
        self.spans.iter().find(|span| (span.start..span.end).contains(&frame))
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
    /// The recordings, by set, person and name.
    pub recordings: Vec<Recording>,
    /// Lines and files that could not be used, in the order of their files.
    pub faults: Vec<Fault>,
    /// Classes of the data that none of our labels means, and how many recordings of each were left out.
    pub unmapped: std::collections::BTreeMap<String, usize>,
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
    let found = [vicon::read(&files, &mut library), msr::read(&files, &mut library), bouts::read(&files, &mut library)];
    if found.iter().all(|found| !found) {
        return Err(MovesError::Nothing { path: dir.to_owned() });
    }
    library.recordings.sort_by(|a, b| (a.set.name, &a.person, &a.name).cmp(&(b.set.name, &b.person, &b.name)));
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

/// A file's text; what is not UTF-8 in it becomes a broken line. None, and a fault, where it cannot be read.
fn text(path: &Path, library: &mut Library) -> Option<String> {
    match std::fs::read(path) {
        Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
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

/// Whole-file trouble.
fn unusable(path: &Path, problem: String, library: &mut Library) {
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
