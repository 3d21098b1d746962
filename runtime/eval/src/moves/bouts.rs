//! Boxing matches, labelled by hand: seventeen joints in the picture, in windows of six frames.
//!
//! `*.csv` of 595 columns without a heading: match, window number, first frame, the frame after the last, a 0, number of the person
//! among those of the window, label (0 nothing, 1 straight, 2 hook, 3 uppercut), and for each of six frames x and y of the
//! 17 joints of COCO in pixels (0 0: not seen) and 32 angles with a flag each, which are not read. A window begins three
//! frames after the one before it. The person's number is not an identity: windows are joined where the three frames that
//! they share are the same to the last digit. There is no depth: z is 0. The frame rate is not told; 30 is taken.
//!
//! Whether a straight was a jab or a cross the labels do not tell.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    Broken, Joints, Kind, Labels, Library, Person, RATE, Recorded, Recording, Sample, Set, Span, UNSEEN, numbers,
    resample, text,
};

static SET: Set = Set { name: "bouts", kind: Kind::Real, licence: "research", step: 3 };

const COLUMNS: usize = 595;
/// Frames of a window, and those that it shares with the next.
const WINDOW: usize = 6;
const SHARED: usize = 3;
/// Columns before the first frame, and of a frame.
const HEAD: usize = 7;
const FRAME: usize = 98;

/// Our joint for each of COCO's: nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles.
const TO_OURS: [usize; 17] = [0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28];

/// The moves that a label may be, by its number.
const LABELS: [Labels; 4] = [&["idle"], &["jab", "cross"], &["hook"], &["uppercut"]];

/// Windows that follow each other.
struct Track {
    first: usize,
    frames: Vec<Joints>,
    labels: Vec<usize>,
}

/// Reads what there is of the set; whether there was any.
pub fn read(files: &[PathBuf], library: &mut Library) -> bool {
    let mut found = false;
    for path in files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "csv")) {
        let Some(text) = text(path, library) else { continue };
        // Other tables may lie about.
        if !text.lines().any(|line| line.split(',').count() == COLUMNS) {
            continue;
        }
        found = true;
        let file = path.file_stem().unwrap_or_default().to_string_lossy();
        for (name, tracks) in tracks(&text, path, library) {
            for (number, track) in tracks.into_iter().enumerate() {
                let name = format!("{file}/{name}-{:05}-{number}", track.first);
                library.recordings.push(recording(name, &file, &track));
            }
        }
    }
    found
}

fn recording(name: String, bout: &str, track: &Track) -> Recording {
    let samples: Vec<Sample> = track
        .frames
        .iter()
        .enumerate()
        .map(|(frame, joints)| Sample { seconds: frame as f64 / RATE, joints: *joints })
        .collect();
    let joints = resample(&samples);
    let mut spans: Vec<Span> = vec![];
    for (frame, label) in track.labels.iter().enumerate().take(joints.len()).filter(|(_, label)| **label > 0) {
        match spans.last_mut().filter(|span| span.end == frame && span.labels == LABELS[*label]) {
            Some(span) => span.end = frame + 1,
            None => spans.push(Span { start: frame, end: frame + 1, labels: LABELS[*label], peak: None }),
        }
    }
    // The windows were laid over the strikes: their middle is the best guess of the peak.
    spans.iter_mut().for_each(|span| span.peak = Some((span.start + span.end) / 2));
    // Two fight; which of them a track is the file does not tell, and it may be the referee.
    let subjects = [1, 2].map(|number| format!("{bout}-{number}")).to_vec();
    let person = Person { name: bout.to_owned(), spans, otherwise: LABELS[0] };
    Recording::of(&SET, name, subjects, vec![Recorded { person, joints, hips_are_origin: false }])
}

/// One row.
struct Window {
    number: usize,
    label: usize,
    frames: [Joints; WINDOW],
}

/// The tracks of each match in a file, in the order in which they begin.
fn tracks(text: &str, path: &Path, library: &mut Library) -> BTreeMap<String, Vec<Track>> {
    let mut broken = Broken::default();
    let mut matches: BTreeMap<String, Vec<Window>> = BTreeMap::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match window(line) {
            Ok((name, window)) => matches.entry(name).or_default().push(window),
            Err(problem) => broken.add(number + 1, problem),
        }
    }
    broken.tell(path, library);
    matches.into_iter().map(|(name, windows)| (name, chained(windows))).collect()
}

/// Joins the windows of a match.
fn chained(mut windows: Vec<Window>) -> Vec<Track> {
    windows.sort_by_key(|window| window.number);
    let mut tracks: Vec<(usize, Track)> = vec![];
    for window in windows {
        let continues = |(last, track): &&mut (usize, Track)| {
            *last + 1 == window.number && same(&track.frames[track.frames.len() - SHARED..], &window.frames[..SHARED])
        };
        match tracks.iter_mut().find(continues) {
            Some((last, track)) => {
                *last = window.number;
                track.frames.extend(&window.frames[SHARED..]);
                let begun = track.labels.len() - SHARED;
                // A strike that one of two windows is of is in the frames that they share.
                for label in &mut track.labels[begun..] {
                    *label = if *label == 0 { window.label } else { *label };
                }
                track.labels.resize(track.frames.len(), window.label);
            }
            None => {
                let track =
                    Track { first: window.number, frames: window.frames.to_vec(), labels: vec![window.label; WINDOW] };
                tracks.push((window.number, track));
            }
        }
    }
    tracks.into_iter().map(|(_, track)| track).collect()
}

/// The same places to the last digit.
fn same(a: &[Joints], b: &[Joints]) -> bool {
    let bits =
        |frames: &[Joints]| -> Vec<u32> { frames.as_flattened().as_flattened().iter().map(|v| v.to_bits()).collect() };
    bits(a) == bits(b)
}

fn window(line: &str) -> Result<(String, Window), String> {
    let words: Vec<&str> = line.split(',').collect();
    if words.len() != COLUMNS {
        return Err(format!("{} columns, expected {COLUMNS}", words.len()));
    }
    let whole = |column: usize, what: &str| {
        words[column]
            .trim()
            .parse::<usize>()
            .map_err(|_| format!("column {}: `{}` is no {what}", column + 1, words[column]))
    };
    let (number, label) = (whole(1, "window number")?, whole(6, "label")?);
    if label >= LABELS.len() {
        return Err(format!("column 7: label {label}, expected 0 to {}", LABELS.len() - 1));
    }
    let values = numbers(words[HEAD..].iter().copied())?;
    let mut frames = [UNSEEN; WINDOW];
    for (frame, values) in frames.iter_mut().zip(values.chunks(FRAME)) {
        for (joint, place) in TO_OURS.into_iter().zip(values.chunks(2)) {
            if place != [0.0; 2] {
                frame[joint] = [place[0] as f32, place[1] as f32, 0.0];
            }
        }
    }
    Ok((words[0].to_owned(), Window { number, label, frames }))
}
