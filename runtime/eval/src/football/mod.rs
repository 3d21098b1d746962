//! Football matches in which everybody's place and the ball's are known, and what a detector would have seen of them.
//!
//! [`Match::read_all`] reads SoccerTrack's CSV files (Scott et al., CVPR workshops 2022); [`Noise`] makes detections from
//! the true boxes; [`ball`] and [`view`] measure what operators make of these, and hold simple peers to compare with.

pub mod ball;
mod csv;
mod noise;
mod pair;
pub mod play;
pub mod view;

use std::path::{Path, PathBuf};

use crate::Rect;

pub use noise::{Noise, Seen};

/// Frames a second of SoccerTrack.
pub const RATE: f64 = 30.0;

/// Width and height of SoccerTrack's stitched wide view, px. The files do not tell it.
const PANORAMA: (f64, f64) = (6500.0, 1000.0);

/// Why a match could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FootballError {
    /// A file or folder could not be opened.
    #[error("{}: {source}", .path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line is not what the layout asks for.
    #[error("{}:{line}: {problem}", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it, and what was expected.
        problem: String,
    },
    /// No file of boxes below a folder.
    #[error(
        "{}: no CSV of boxes at any depth. Looked for SoccerTrack's layout: lines that begin with TeamID, PlayerID, \
         Attributes (bb_left, bb_top, bb_width, bb_height), then a line a frame; beside it, with x and y in metres, the \
         places on the pitch",
        .path.display()
    )]
    Nothing {
        /// The folder searched.
        path: PathBuf,
    },
}

/// Somebody on the pitch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Player {
    /// Team, as the file writes it.
    pub team: String,
    /// Number within the team, as the file writes it.
    pub number: String,
}

/// What is true in one frame; `None` where the file says nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Truth<T> {
    /// Of each of [`Match::players`], in that order.
    pub players: Vec<Option<T>>,
    /// Of the ball.
    pub ball: Option<T>,
}

/// A stretch of a match.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    /// Name of the file of boxes, without its ending; with its folder where two are called alike.
    pub name: String,
    /// Number of the first frame, as the file counts.
    pub first: u64,
    /// Who plays.
    pub players: Vec<Player>,
    /// Boxes in the picture, px, of each frame.
    pub boxes: Vec<Truth<Rect>>,
    /// Places on the pitch, metres from one corner of its 105 x 68, of each frame; where there is such a file.
    pub places: Option<Vec<Truth<[f64; 2]>>>,
    /// Width and height of the picture, px.
    pub size: (f64, f64),
}

impl Match {
    /// Reads every match in a file or at any depth below a folder, in the order of their names.
    ///
    /// A file is known by its header, whatever it is called; others are passed over. A file of places belongs to the file
    /// of boxes with the same players and frames whose name is most like its own.
    ///
    /// # Errors
    /// No file of boxes, a file that cannot be opened, a line that is not what its header promises.
    pub fn read_all(path: &Path) -> Result<Vec<Self>, FootballError> {
        pair::read_all(path)
    }

    /// The middle of the true ball in a frame, px.
    #[must_use]
    pub fn ball(&self, frame: usize) -> Option<[f64; 2]> {
        self.boxes[frame].ball.as_ref().map(middle)
    }
}

/// The middle of a box.
#[must_use]
pub fn middle(rect: &Rect) -> [f64; 2] {
    [rect.x + rect.w / 2.0, rect.y + rect.h / 2.0]
}

/// Length of the way between two points.
#[must_use]
pub fn distance(a: [f64; 2], b: [f64; 2]) -> f64 {
    let (x, y) = (a[0] - b[0], a[1] - b[1]);
    (x * x + y * y).sqrt()
}
