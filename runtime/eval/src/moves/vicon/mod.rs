//! Vicon Physical Action (Theodoridis, UCI Machine Learning Repository, 2011): nine markers of one person, one class a
//! file.
//!
//! `subN/{aggressive,normal}/CLASS.txt`; a line is a number and x y z, in mm with z up, of head, left elbow, left wrist,
//! right elbow, right wrist, left knee, left ankle, right knee, right ankle. A marker at 0 0 0 was not seen; so was none
//! of a forearm or shank that is suddenly a sixth longer or shorter than it is. Lines are not frames: see [`clock`]. The
//! trunk has no marker: see [`trunk`].

mod clock;
mod trunk;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    Broken, Kind, Labels, Library, Person, Recorded, Recording, Sample, Set, Span, UNSEEN, numbers, resample, text,
    unusable,
};

static SET: Set = Set { name: "vicon", kind: Kind::Staged, licence: "open", step: 15 };

/// Markers, in the order of the columns.
const MARKERS: usize = 9;
const HEAD: usize = 0;
const KNEES: [usize; 2] = [5, 7];
/// Elbow and wrist, knee and ankle.
const LIMBS: [[usize; 2]; 4] = [[1, 2], [3, 4], [5, 6], [7, 8]];
/// Our joint for each marker: nose, elbows, wrists, knees, ankles.
const TO_OURS: [usize; MARKERS] = [0, 13, 15, 14, 16, 25, 27, 26, 28];

/// How much of its length a limb may seem longer or shorter.
const STRETCH: f64 = 0.16;

/// Places of the markers, mm; NaN where not seen.
type Markers = [[f64; 3]; MARKERS];

/// The classes, and the moves that they may be.
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

/// The classes on which leaving one person out was first tried with these data: the tree ensembles that ours are compared
/// with choose among these.
const BASELINE: [&str; 8] =
    ["elbowing", "frontkicking", "hamering", "kneeing", "punching", "pushing", "sidekicking", "standing"];

/// Whether a recording is of one of the eight classes with which ours are compared.
#[must_use]
pub fn baseline(recording: &Recording) -> bool {
    let class = recording.name.rsplit('/').next().unwrap_or_default().to_lowercase();
    recording.set.name == SET.name && BASELINE.contains(&class.split('-').next().unwrap_or_default())
}

/// One file.
struct Raw<'a> {
    path: &'a Path,
    class: String,
    labels: Labels,
    lines: Vec<Markers>,
}

/// Reads what there is of the set; whether there was any.
pub fn read(files: &[PathBuf], library: &mut Library) -> bool {
    let mut people: BTreeMap<String, Vec<Raw>> = BTreeMap::new();
    let mut found = false;
    for path in files {
        let Some((person, class)) = place(path) else { continue };
        found = true;
        let Some((_, labels)) = CLASSES.iter().find(|(name, _)| *name == class.to_lowercase()) else {
            unusable(path, format!("`{class}` is none of the 20 classes of Vicon Physical Action"), library);
            continue;
        };
        if labels.is_empty() {
            *library.left_out.entry(format!("vicon: {class}")).or_default() += 1;
            continue;
        }
        let Some(text) = text(path, library) else { continue };
        let lines = lines(&text, path, library);
        if lines.len() < 2 {
            unusable(path, "no lines of a number and nine times x y z".into(), library);
            continue;
        }
        people.entry(person).or_default().push(Raw { path, class, labels, lines });
    }
    for (person, mut raws) in people {
        // With all markers, also those that are mistaken for each other: the more of them leap, the surer is the leap.
        let clocks = clock::clocks(&raws);
        let height = trunk::height(&raws);
        forget_stretched(&mut raws);
        let mut names: BTreeMap<String, usize> = BTreeMap::new();
        for (raw, times) in raws.iter().zip(clocks) {
            let samples: Vec<Sample> =
                times.iter().map(|(seconds, line)| sample(*seconds, &raw.lines[*line])).collect();
            let joints = trunk::show(resample(&samples), height);
            if joints.iter().flatten().all(|joint| joint[0].is_nan()) {
                unusable(raw.path, "head and knees are never seen together: nothing to measure from".into(), library);
                continue;
            }
            // The same person and class again, in another folder: numbered.
            let again = names.entry(raw.class.clone()).and_modify(|count| *count += 1).or_insert(1);
            let name =
                format!("{person}/{}{}", raw.class, if *again > 1 { format!("-{again}") } else { String::new() });
            let spans = vec![Span { start: 0, end: joints.len(), labels: raw.labels, peak: None }];
            let person = Person { name: person.clone(), spans, otherwise: &[] };
            let subjects = vec![person.name.clone()];
            let recorded = vec![Recorded { person, joints, hips_are_origin: true }];
            library.recordings.push(Recording::of(&SET, name, subjects, recorded));
        }
    }
    found
}

/// Person and class of a file, by the names of its folders. Some copies have a folder `txt` between, and capitals.
fn place(path: &Path) -> Option<(String, String)> {
    let class = path.file_name()?.to_str()?.strip_suffix(".txt")?;
    let folders = path.ancestors().skip(1).map_while(|folder| folder.file_name()?.to_str()).map(str::to_lowercase);
    let mut folders = folders.filter(|name| name != "txt");
    let (manner, person) = (folders.next()?, folders.next()?);
    let numbered = person.strip_prefix("sub").is_some_and(|number| number.parse::<u32>().is_ok());
    (numbered && ["aggressive", "normal"].contains(&manner.as_str())).then(|| (person, class.to_owned()))
}

fn lines(text: &str, path: &Path, library: &mut Library) -> Vec<Markers> {
    let mut broken = Broken::default();
    let mut lines = vec![];
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match numbers(line.split_whitespace()) {
            Ok(values) if values.len() == 1 + 3 * MARKERS => lines.push(std::array::from_fn(|marker| {
                let place: [f64; 3] = std::array::from_fn(|axis| values[1 + 3 * marker + axis]);
                if place == [0.0; 3] { [f64::NAN; 3] } else { place }
            })),
            Ok(values) => broken.add(number + 1, format!("{} columns, expected {}", values.len(), 1 + 3 * MARKERS)),
            Err(problem) => broken.add(number + 1, problem),
        }
    }
    broken.tell(path, library);
    lines
}

/// Takes away limbs that have another length than in most of this file and in most of the person's files: markers that
/// were taken for each other.
fn forget_stretched(raws: &mut [Raw]) {
    for [a, b] in LIMBS {
        let lengths = |raw: &Raw| -> Vec<f64> {
            raw.lines.iter().map(|line| distance(&line[a], &line[b])).filter(|length| length.is_finite()).collect()
        };
        let mut all: Vec<f64> = raws.iter().flat_map(lengths).collect();
        let usual = median(&mut all);
        for raw in raws.iter_mut() {
            let here = median(&mut lengths(raw));
            for line in &mut raw.lines {
                let length = distance(&line[a], &line[b]);
                if ![usual, here].iter().any(|usual| (length / usual - 1.0).abs() < STRETCH) {
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

/// NaN of nothing.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What was seen, in metres, x to the right, y down, z away; with the middle of the hips as both hips.
fn sample(seconds: f64, markers: &Markers) -> Sample {
    let mut joints = UNSEEN;
    let turned = |[x, y, z]: [f64; 3]| [x, -z, y].map(|value| (value * 1e-3) as f32);
    let hips = trunk::hips(markers);
    for hip in super::HIPS {
        joints[hip] = turned(hips);
    }
    for (joint, marker) in TO_OURS.into_iter().zip(markers) {
        joints[joint] = turned(*marker);
    }
    Sample { seconds, joints }
}
