//! Football matches with ground truth for all players and the ball, and simulated detections of them.
//!
//! [`Match::read_all`] reads SoccerTrack's CSV files (Scott et al., CVPR workshops 2022); [`Noise`] simulates
//! detections from the true boxes; [`ball`], [`view`] and [`play`] score the output of operators, with baselines to
//! compare with.

pub mod ball;
mod csv;
mod discovery;
mod noise;
pub mod play;
pub mod view;

use std::path::{Path, PathBuf};

use crate::Rect;

pub use noise::{MatchDetections, Noise};

/// Frame rate of SoccerTrack, frames per second.
pub const FRAME_RATE: f64 = 30.0;

/// Width and height of SoccerTrack's stitched wide view, px. The files do not contain it.
const PANORAMA_SIZE_PX: (f64, f64) = (6500.0, 1000.0);

/// Error while reading a match.
#[derive(Debug, thiserror::Error)]
pub enum FootballError {
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
    /// No file of boxes was found below a folder.
    #[error(
        "{}: no CSV of boxes at any depth. Looked for SoccerTrack's layout: lines that begin with TeamID, PlayerID, \
         Attributes (bb_left, bb_top, bb_width, bb_height), then one line per frame; optionally \
         a second file with x and y, the positions on the pitch in meters",
        .path.display()
    )]
    NoMatch {
        /// Folder that was searched.
        path: PathBuf,
    },
}

/// Player on the pitch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Player {
    /// Team, as written in the file.
    pub team: String,
    /// Number within the team, as written in the file.
    pub number: String,
}

/// Ground truth of one frame; `None` where the file has no value.
#[derive(Clone, Debug, PartialEq)]
pub struct GroundTruth<T> {
    /// Value of each of [`Match::players`], in that order.
    pub players: Vec<Option<T>>,
    /// Value of the ball.
    pub ball: Option<T>,
}

/// Section of a match.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    /// Name of the file of boxes without its extension; with its folder where two names are the same.
    pub name: String,
    /// Number of the first frame, as written in the file.
    pub first_frame: u64,
    /// Players, in the order of the file.
    pub players: Vec<Player>,
    /// Boxes in the image by frame, px.
    pub boxes: Vec<GroundTruth<Rect>>,
    /// Positions on the pitch by frame, meters from one corner of its 105 x 68 m; `None` without such a file.
    pub positions: Option<Vec<GroundTruth<[f64; 2]>>>,
    /// Width and height of the image, px.
    pub size: (f64, f64),
}

impl Match {
    /// Reads every match in a file or at any depth below a folder, in the order of their names.
    ///
    /// Files are recognized by their header, whatever their name; other files are ignored. A file of positions belongs
    /// to the file of boxes with the same players and frames whose name is most similar.
    ///
    /// # Errors
    /// There is no file of boxes, a file cannot be opened, or a line does not match its header.
    pub fn read_all(path: &Path) -> Result<Vec<Self>, FootballError> {
        discovery::read_all(path)
    }

    /// Returns the center of the true ball in a frame, px.
    #[must_use]
    pub fn ball_center(&self, frame: usize) -> Option<[f64; 2]> {
        self.boxes[frame].ball.as_ref().map(center)
    }
}

/// Returns the center of a box.
#[must_use]
pub fn center(rect: &Rect) -> [f64; 2] {
    [rect.x + rect.w / 2.0, rect.y + rect.h / 2.0]
}

/// Returns the distance between two points.
#[must_use]
pub fn distance(a: [f64; 2], b: [f64; 2]) -> f64 {
    let (x, y) = (a[0] - b[0], a[1] - b[1]);
    (x * x + y * y).sqrt()
}
