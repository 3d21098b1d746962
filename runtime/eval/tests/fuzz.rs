//! Fuzz tests of the readers of external data: malformed files are read or rejected with an error, and use memory only
//! in proportion to their content.

use std::{fmt::Write, path::Path};

use sideline_eval::{BoxSource, Noise, Sequence, football::Match, moves, read_boxes, read_ground_truth};
use sideline_testkit::fuzz;

const ROWS: &str = "1,1,10,20,30,60,1,1,1\n2,1,12.5,20,30,60,1,1,1\n2,7,100,20,30,60,0,-1,-1,-1\n";
const SEQINFO: &str = "[Sequence]\r\nframeRate = 50\r\nimWidth=640\r\nimHeight=360\r\n";

/// Temporary folder whose file `path` is rewritten for each case.
struct File {
    folder: tempfile::TempDir,
    path: &'static str,
}

impl File {
    fn new(path: &'static str) -> Self {
        let file = File { folder: tempfile::tempdir().unwrap(), path };
        std::fs::create_dir_all(file.folder.path().join(path).parent().unwrap()).unwrap();
        file
    }

    /// Writes the case; returns the folder.
    fn with(&self, text: &str) -> &Path {
        std::fs::write(self.folder.path().join(self.path), text).unwrap();
        self.folder.path()
    }
}

#[test]
fn fuzz_motchallenge_rows() {
    let file = File::new("gt/gt.txt");
    fuzz::text("motchallenge_rows", &[ROWS, "1,-1,0,0,9,9,-3.5\n"], &[",", ",,", "\u{feff}"], |text| {
        let folder = file.with(text);
        let path = folder.join(file.path);
        if let Err(error) = read_ground_truth(&path).and_then(|_| read_boxes(&path)) {
            assert!(error.to_string().contains("gt.txt"), "the error does not name the file: {error}");
        }
    });
}

#[test]
fn fuzz_motchallenge_sequence() {
    let file = File::new("seqinfo.ini");
    for (path, text) in [("gt/gt.txt", ROWS), ("det/det.txt", ROWS)] {
        let path = file.folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    fuzz::text("motchallenge_sequence", &[SEQINFO], &["frameRate=", "imWidth=", "imHeight="], |text| {
        let folder = file.with(text);
        for boxes in [BoxSource::Given, BoxSource::Noisy] {
            match Sequence::read(folder, Some(boxes), &Noise::default()) {
                Ok(sequence) => assert!((0.1..=1000.0).contains(&sequence.frame_rate)),
                Err(error) => {
                    assert!(error.to_string().contains("seqinfo.ini"), "the error does not name the file: {error}")
                }
            }
        }
    });
}

#[test]
fn fuzz_soccertrack_csv() {
    let boxes = "TeamID,0,0,0,0,BALL,BALL,BALL,BALL\nPlayerID,1,1,1,1,0,0,0,0\n\
        Attributes,bb_left,bb_top,bb_width,bb_height,bb_left,bb_top,bb_width,bb_height\nframe,,,,,,,,\n\
        0,10,20,30,40,50,60,7,8\n1.0,11,20,30,40,nan,,7,8\n";
    let places = "TeamID,0,0,1,1,2,2\nPlayerID,1,1,1,1,0,0\nAttributes,x,y,x,y,x,y\n0,1.5,2,3,4,5,6\n1,1,2,3,4,,\n";
    let file = File::new("match.csv");
    let words = ["TeamID", "BALL", "Attributes", "bb_left", "conf", "x", "frame", ",", ",,,"];
    fuzz::text("soccertrack_csv", &[boxes, places], &words, |text| {
        for game in Match::read_all(file.with(text)).into_iter().flatten() {
            assert!((0..game.boxes.len()).filter_map(|frame| game.ball_center(frame)).count() <= game.boxes.len());
        }
    });
}

/// Generates lines of `columns` numbers: positions on a body that moves as a whole.
fn numbers(lines: usize, columns: usize, between: char) -> String {
    let mut text = String::new();
    for line in 1..=lines {
        let _ = write!(text, "{line}");
        (1..columns).for_each(|column| write!(text, "{between}{}", line + column * 13 % 100).unwrap());
        text.push('\n');
    }
    text
}

fn fuzz_recordings(name: &str, path: &'static str, corpus: &str) {
    let file = File::new(path);
    let folder = file.with(corpus);
    assert_eq!(moves::read_all(folder).unwrap().faults.len(), 0, "the corpus must match the layout");
    fuzz::text(name, &[corpus], &[",", " "], |text| {
        if let Ok(library) = moves::read_all(file.with(text)) {
            assert!(library.faults.iter().all(|fault| fault.path.ends_with(path)));
        }
    });
}

#[test]
fn fuzz_vicon_recordings() {
    fuzz_recordings("vicon_recordings", "sub1/aggressive/punching.txt", &numbers(40, 28, ' '));
}

#[test]
fn fuzz_msr_recordings() {
    fuzz_recordings("msr_recordings", "a04_s01_e01_skeleton.txt", &numbers(40, 4, ' '));
}

#[test]
fn fuzz_sbu_recordings() {
    fuzz_recordings("sbu_recordings", "s01s02/08/001/skeleton_pos.txt", &numbers(5, 91, ','));
}

#[test]
fn fuzz_bout_recordings() {
    let windows: String = (0..3).map(|window| format!("m,{window},0,6,0,0,1,{}\n", vec!["0"; 588].join(","))).collect();
    fuzz_recordings("bout_recordings", "bout.csv", &windows);
}
