//! Reader of boxing matches labeled by hand: seventeen joints in the image, in windows of six frames.
//!
//! `*.csv` of 595 columns without a heading: match, window number, first frame, the frame after the last, a 0, number
//! of the person among those of the window, label (0 none, 1 straight, 2 hook, 3 uppercut), and for each of six frames
//! x and y of the 17 COCO joints in pixels (0 0: not seen) and 32 angles with a flag each, which are not read. A window
//! starts three frames after the previous one. The person's number is not an identity: windows are joined where the
//! three frames that they share are identical to the last digit. There is no depth: z is 0. The files do not contain
//! the frame rate; 30 is assumed.
//!
//! The labels do not distinguish between a jab and a cross: both are straights.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    Dataset, DatasetKind, FRAME_RATE, Joints, Labels, Library, MalformedLines, Person, RecordedPerson, Recording,
    Sample, Span, UNSEEN_JOINTS, parse_numbers, read_text, resample,
};

static DATASET: Dataset = Dataset { name: "bouts", kind: DatasetKind::Real, license: "research", step: 3 };

/// Columns of a file.
const COLUMNS: usize = 595;
/// Frames of a window, and frames that it shares with the next one.
const WINDOW_FRAMES: usize = 6;
const SHARED_FRAMES: usize = 3;
/// Columns before the first frame, and columns of a frame.
const HEADER_COLUMNS: usize = 7;
const FRAME_COLUMNS: usize = 98;

/// Our joint for each COCO joint: nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles.
const TO_OURS: [usize; 17] = [0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28];

/// Labels of our moves, by the label number of the dataset.
const LABELS: [Labels; 4] = [&["idle"], &["jab", "cross"], &["hook"], &["uppercut"]];

/// Consecutive windows of one person.
struct Track {
    /// Number of the first window.
    first_window: usize,
    frames: Vec<Joints>,
    labels: Vec<usize>,
}

/// Reads all files of the dataset; returns true if there were any.
pub fn read(files: &[PathBuf], library: &mut Library) -> bool {
    let mut found = false;
    for path in files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "csv")) {
        let Some(text) = read_text(path, library) else { continue };
        // Other CSV files may be in the folder.
        if !text.lines().any(|line| line.split(',').count() == COLUMNS) {
            continue;
        }
        found = true;
        let file = path.file_stem().unwrap_or_default().to_string_lossy();
        for (name, tracks) in parse_tracks(&text, path, library) {
            for (number, track) in tracks.into_iter().enumerate() {
                let name = format!("{file}/{name}-{:05}-{number}", track.first_window);
                library.recordings.push(to_recording(name, &file, &track));
            }
        }
    }
    found
}

fn to_recording(name: String, bout: &str, track: &Track) -> Recording {
    let samples: Vec<Sample> = track
        .frames
        .iter()
        .enumerate()
        .map(|(frame, joints)| Sample { seconds: frame as f64 / FRAME_RATE, joints: *joints })
        .collect();
    let joints = resample(&samples);
    let mut spans: Vec<Span> = vec![];
    for (frame, label) in track.labels.iter().enumerate().take(joints.len()).filter(|(_, label)| **label > 0) {
        match spans.last_mut().filter(|span| span.end == frame && span.labels == LABELS[*label]) {
            Some(span) => span.end = frame + 1,
            None => spans.push(Span { start: frame, end: frame + 1, labels: LABELS[*label], peak: None }),
        }
    }
    // The windows were placed around the strikes: their center is the best estimate of the peak.
    spans.iter_mut().for_each(|span| span.peak = Some((span.start + span.end) / 2));
    // Two people fight. The file does not say which of them a track is, and it may be the referee.
    let subjects = [1, 2].map(|number| format!("{bout}-{number}")).to_vec();
    let person = Person { name: bout.to_owned(), spans, background: LABELS[0] };
    Recording::from_people(&DATASET, name, subjects, vec![RecordedPerson { person, joints, hips_are_origin: false }])
}

/// Window of six frames: one row of a file.
struct Window {
    number: usize,
    label: usize,
    frames: [Joints; WINDOW_FRAMES],
}

/// Parses the tracks of each match in a file, in the order of their first windows.
fn parse_tracks(text: &str, path: &Path, library: &mut Library) -> BTreeMap<String, Vec<Track>> {
    let mut malformed = MalformedLines::default();
    let mut matches: BTreeMap<String, Vec<Window>> = BTreeMap::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match parse_window(line) {
            Ok((name, window)) => matches.entry(name).or_default().push(window),
            Err(problem) => malformed.add(number + 1, problem),
        }
    }
    malformed.report(path, library);
    matches.into_iter().map(|(name, windows)| (name, join_windows(windows))).collect()
}

/// Joins the windows of a match into tracks.
fn join_windows(mut windows: Vec<Window>) -> Vec<Track> {
    windows.sort_by_key(|window| window.number);
    let mut tracks: Vec<(usize, Track)> = vec![];
    for window in windows {
        let continues = |(last, track): &&mut (usize, Track)| {
            *last + 1 == window.number
                && are_identical(&track.frames[track.frames.len() - SHARED_FRAMES..], &window.frames[..SHARED_FRAMES])
        };
        match tracks.iter_mut().find(continues) {
            Some((last, track)) => {
                *last = window.number;
                track.frames.extend(&window.frames[SHARED_FRAMES..]);
                let shared_start = track.labels.len() - SHARED_FRAMES;
                // A strike in either of two windows applies to the frames that they share.
                for label in &mut track.labels[shared_start..] {
                    *label = if *label == 0 { window.label } else { *label };
                }
                track.labels.resize(track.frames.len(), window.label);
            }
            None => {
                let track = Track {
                    first_window: window.number,
                    frames: window.frames.to_vec(),
                    labels: vec![window.label; WINDOW_FRAMES],
                };
                tracks.push((window.number, track));
            }
        }
    }
    tracks.into_iter().map(|(_, track)| track).collect()
}

/// Returns true if all coordinates are identical, bit by bit.
fn are_identical(a: &[Joints], b: &[Joints]) -> bool {
    let bits =
        |frames: &[Joints]| -> Vec<u32> { frames.as_flattened().as_flattened().iter().map(|v| v.to_bits()).collect() };
    bits(a) == bits(b)
}

fn parse_window(line: &str) -> Result<(String, Window), String> {
    let words: Vec<&str> = line.split(',').collect();
    if words.len() != COLUMNS {
        return Err(format!("{} columns, expected {COLUMNS}", words.len()));
    }
    let parse_column = |column: usize, name: &str| {
        words[column]
            .trim()
            .parse::<usize>()
            .map_err(|_| format!("column {}: `{}` is not a {name}", column + 1, words[column]))
    };
    let (number, label) = (parse_column(1, "window number")?, parse_column(6, "label")?);
    if label >= LABELS.len() {
        return Err(format!("column 7: label {label}, expected 0 to {}", LABELS.len() - 1));
    }
    let values = parse_numbers(words[HEADER_COLUMNS..].iter().copied())?;
    let mut frames = [UNSEEN_JOINTS; WINDOW_FRAMES];
    for (frame, values) in frames.iter_mut().zip(values.chunks(FRAME_COLUMNS)) {
        for (joint, position) in TO_OURS.into_iter().zip(values.chunks(2)) {
            if position != [0.0; 2] {
                frame[joint] = [position[0] as f32, position[1] as f32, 0.0];
            }
        }
    }
    Ok((words[0].to_owned(), Window { number, label, frames }))
}
