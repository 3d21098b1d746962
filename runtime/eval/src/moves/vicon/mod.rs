//! Reader of Vicon Physical Action (Theodoridis, UCI Machine Learning Repository, 2011): nine markers of one person,
//! one class per file.
//!
//! `subN/{aggressive,normal}/CLASS.txt`; a line is a number and x y z, in mm with z up, of head, left elbow, left
//! wrist, right elbow, right wrist, left knee, left ankle, right knee, right ankle. A marker at 0 0 0 was not seen. The
//! two markers of a forearm or shank whose length deviates by a sixth are discarded as well. Lines are not frames: see
//! [`timestamps`]. The trunk has no marker: see [`trunk`].

mod timestamps;
mod trunk;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    Dataset, DatasetKind, Labels, Library, MalformedLines, Person, RecordedPerson, Recording, Sample, Span,
    UNSEEN_JOINTS, parse_numbers, read_text, report_unusable_file, resample,
};

static DATASET: Dataset = Dataset { name: "vicon", kind: DatasetKind::Staged, license: "open", step: 15 };

/// Number of markers, and the indices of head and knees, in the order of the columns.
const MARKERS: usize = 9;
const HEAD: usize = 0;
const KNEES: [usize; 2] = [5, 7];
/// Markers of each limb: elbow and wrist, knee and ankle.
const LIMBS: [[usize; 2]; 4] = [[1, 2], [3, 4], [5, 6], [7, 8]];
/// Our joint for each marker: nose, elbows, wrists, knees, ankles.
const TO_OURS: [usize; MARKERS] = [0, 13, 15, 14, 16, 25, 27, 26, 28];

/// Maximum deviation of a limb's length, as a share of it.
const LENGTH_TOLERANCE: f64 = 0.16;

/// Positions of the markers, mm; NaN where not seen.
type Markers = [[f64; 3]; MARKERS];

/// Labels of each class.
const CLASSES: [(&str, Labels); 20] = [
    ("elbowing", &["elbow"]),
    ("frontkicking", &["front_kick"]),
    ("hamering", &["hammer_fist"]),
    ("headering", &["headbutt"]),
    ("kneeing", &["knee"]),
    ("pulling", &[]),
    ("punching", &["jab", "cross", "hook", "uppercut"]),
    ("pushing", &["push"]),
    ("sidekicking", &["side_kick"]),
    ("slapping", &["slap"]),
    ("bowing", &[]),
    ("clapping", &[]),
    ("handshaking", &[]),
    ("hugging", &[]),
    ("jumping", &[]),
    ("running", &[]),
    ("seating", &[]),
    ("standing", &["idle"]),
    ("walking", &["idle"]),
    ("waving", &[]),
];

/// Classes of the published leave-one-person-out evaluation of this dataset: the tree ensembles that our models are
/// compared with choose among these.
const BASELINE_CLASSES: [&str; 8] =
    ["elbowing", "frontkicking", "hamering", "kneeing", "punching", "pushing", "sidekicking", "standing"];

/// Returns true for recordings of the eight classes of the published baseline.
#[must_use]
pub fn is_baseline(recording: &Recording) -> bool {
    let class = recording.name.rsplit('/').next().unwrap_or_default().to_lowercase();
    recording.dataset.name == DATASET.name && BASELINE_CLASSES.contains(&class.split('-').next().unwrap_or_default())
}

/// Content of one file.
struct RawRecording<'a> {
    path: &'a Path,
    class: String,
    labels: Labels,
    lines: Vec<Markers>,
}

/// Reads all files of the dataset; returns true if there were any.
pub fn read(files: &[PathBuf], library: &mut Library) -> bool {
    let mut people: BTreeMap<String, Vec<RawRecording>> = BTreeMap::new();
    let mut found = false;
    for path in files {
        let Some((person, class)) = parse_path(path) else { continue };
        found = true;
        let Some((_, labels)) = CLASSES.iter().find(|(name, _)| *name == class.to_lowercase()) else {
            report_unusable_file(
                path,
                format!("`{class}` is none of the 20 classes of Vicon Physical Action"),
                library,
            );
            continue;
        };
        if labels.is_empty() {
            *library.excluded.entry(format!("vicon: {class}")).or_default() += 1;
            continue;
        }
        let Some(text) = read_text(path, library) else { continue };
        let lines = parse_lines(&text, path, library);
        if lines.len() < 2 {
            report_unusable_file(path, "no lines of a number and nine times x y z".into(), library);
            continue;
        }
        people.entry(person).or_default().push(RawRecording { path, class, labels, lines });
    }
    for (person, mut raws) in people {
        // Includes markers that were confused with each other: the more markers jump, the more reliably a jump is
        // detected.
        let timestamps = timestamps::timestamps(&raws);
        let height = trunk::height(&raws);
        discard_stretched_limbs(&mut raws);
        let mut names: BTreeMap<String, usize> = BTreeMap::new();
        for (raw, times) in raws.iter().zip(timestamps) {
            let samples: Vec<Sample> =
                times.iter().map(|(seconds, line)| to_sample(*seconds, &raw.lines[*line])).collect();
            let joints = trunk::normalize(resample(&samples), height);
            if joints.iter().flatten().all(|joint| joint[0].is_nan()) {
                report_unusable_file(
                    raw.path,
                    "head and knees are never seen together: nothing to measure from".into(),
                    library,
                );
                continue;
            }
            // The same person and class in another folder gets a numbered name.
            let occurrence = names.entry(raw.class.clone()).and_modify(|count| *count += 1).or_insert(1);
            let name = format!(
                "{person}/{}{}",
                raw.class,
                if *occurrence > 1 { format!("-{occurrence}") } else { String::new() }
            );
            let spans = vec![Span { start: 0, end: joints.len(), labels: raw.labels, peak: None }];
            let person = Person { name: person.clone(), spans, background: &[] };
            let subjects = vec![person.name.clone()];
            let recorded = vec![RecordedPerson { person, joints, hips_are_origin: true }];
            library.recordings.push(Recording::from_people(&DATASET, name, subjects, recorded));
        }
    }
    found
}

/// Parses person and class from the names of a file and its folders. Some copies of the dataset have a folder `txt` in
/// between, and capital letters.
fn parse_path(path: &Path) -> Option<(String, String)> {
    let class = path.file_name()?.to_str()?.strip_suffix(".txt")?;
    let folders = path.ancestors().skip(1).map_while(|folder| folder.file_name()?.to_str()).map(str::to_lowercase);
    let mut folders = folders.filter(|name| name != "txt");
    let (category, person) = (folders.next()?, folders.next()?);
    let numbered = person.strip_prefix("sub").is_some_and(|number| number.parse::<u32>().is_ok());
    (numbered && ["aggressive", "normal"].contains(&category.as_str())).then(|| (person, class.to_owned()))
}

fn parse_lines(text: &str, path: &Path, library: &mut Library) -> Vec<Markers> {
    let mut malformed = MalformedLines::default();
    let mut lines = vec![];
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match parse_numbers(line.split_whitespace()) {
            Ok(values) if values.len() == 1 + 3 * MARKERS => lines.push(std::array::from_fn(|marker| {
                let position: [f64; 3] = std::array::from_fn(|axis| values[1 + 3 * marker + axis]);
                if position == [0.0; 3] { [f64::NAN; 3] } else { position }
            })),
            Ok(values) => malformed.add(number + 1, format!("{} columns, expected {}", values.len(), 1 + 3 * MARKERS)),
            Err(problem) => malformed.add(number + 1, problem),
        }
    }
    malformed.report(path, library);
    lines
}

/// Discards limbs whose length differs from the median in this file and from the median in all files of the person:
/// their markers were confused with each other.
fn discard_stretched_limbs(raws: &mut [RawRecording]) {
    for [a, b] in LIMBS {
        let lengths = |raw: &RawRecording| -> Vec<f64> {
            raw.lines.iter().map(|line| distance(&line[a], &line[b])).filter(|length| length.is_finite()).collect()
        };
        let mut all: Vec<f64> = raws.iter().flat_map(lengths).collect();
        let overall = median(&mut all);
        for raw in raws.iter_mut() {
            let in_file = median(&mut lengths(raw));
            for line in &mut raw.lines {
                let length = distance(&line[a], &line[b]);
                if ![overall, in_file].iter().any(|median| (length / median - 1.0).abs() < LENGTH_TOLERANCE) {
                    line[a] = [f64::NAN; 3];
                    line[b] = [f64::NAN; 3];
                }
            }
        }
    }
}

fn distance(a: &[f64; 3], b: &[f64; 3]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

/// Returns the upper median; NaN of an empty slice.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Converts markers to joints, m: x to the right, y down, z away. Both hips are at the estimated center of the hips.
fn to_sample(seconds: f64, markers: &Markers) -> Sample {
    let mut joints = UNSEEN_JOINTS;
    let convert = |[x, y, z]: [f64; 3]| [x, -z, y].map(|value| (value * 1e-3) as f32);
    let hips = trunk::hips(markers);
    for hip in super::HIPS {
        joints[hip] = convert(hips);
    }
    for (joint, marker) in TO_OURS.into_iter().zip(markers) {
        joints[joint] = convert(*marker);
    }
    Sample { seconds, joints }
}
