//! Reader of MSR Action3D (Li, Zhang and Liu, CVPR workshops 2010): twenty joints of one person in front of a Kinect.
//!
//! `aAA_sSS_eEE_skeleton.txt` is action, subject and repetition. A frame is twenty lines of `x y z confidence`, x and y
//! in pixels of 320 x 240, z in depth units, at about fifteen frames per second. Back projection `X = (x - 160) z / f`,
//! `Y = (y - 120) z / f` with the focal length `f` = 285 pixels gives all three axes the same unit: an upper arm is
//! then as long towards the camera as across the image. One unit is 4 mm: people are then 1.5 to 1.9 m tall.
//!
//! The image is mirrored, as on a screen in front of the subject. x is negated, so that the arm that strikes in most
//! recordings, the right one by the dataset's instructions, is on the right side of a body that faces the camera. The
//! confidence is not usable (the center of the hips always has 0); a joint at 0 0 0 was not seen.

use std::path::PathBuf;

use super::{
    Dataset, DatasetKind, Labels, Library, MalformedLines, Person, RecordedPerson, Recording, Sample, Span,
    UNSEEN_JOINTS, parse_numbers, read_text, report_unusable_file, resample,
};

static DATASET: Dataset = Dataset { name: "msr", kind: DatasetKind::Staged, license: "research", step: 15 };

/// Joints per frame.
const JOINT_COUNT: usize = 20;
/// Frame rate, frames per second.
const FPS: f64 = 15.0;
/// Focal length and principal point, px.
const FOCAL_LENGTH_PX: f64 = 285.0;
const PRINCIPAL_POINT_PX: [f64; 2] = [160.0, 120.0];
/// Length of a depth unit, m.
const DEPTH_UNIT_M: f64 = 0.004;

/// Our joint for each joint of the dataset. The center of the shoulders, the spine and the center of the hips have
/// none.
const TO_OURS: [Option<usize>; JOINT_COUNT] = [
    Some(11),
    Some(12),
    None,
    None,
    Some(23),
    Some(24),
    None,
    Some(13),
    Some(14),
    Some(15),
    Some(16),
    Some(19),
    Some(20),
    Some(25),
    Some(26),
    Some(27),
    Some(28),
    Some(31),
    Some(32),
    Some(0),
];

/// Labels of the twenty actions, in the order of their numbers.
const ACTIONS: [(&str, Labels); 20] = [
    ("high arm wave", &[]),
    ("horizontal arm wave", &[]),
    ("hammer", &["hammer_fist"]),
    ("hand catch", &[]),
    ("forward punch", &["jab", "cross"]),
    ("high throw", &[]),
    ("draw x", &[]),
    ("draw tick", &[]),
    ("draw circle", &[]),
    ("hand clap", &[]),
    ("two hand wave", &[]),
    ("side boxing", &["jab", "cross", "hook"]),
    ("bend", &["duck"]),
    ("forward kick", &["front_kick"]),
    ("side kick", &["side_kick"]),
    ("jogging", &[]),
    ("tennis swing", &[]),
    ("tennis serve", &[]),
    ("golf swing", &[]),
    ("pick up and throw", &[]),
];

/// Reads all files of the dataset; returns true if there were any.
pub fn read(files: &[PathBuf], library: &mut Library) -> bool {
    let mut found = false;
    for path in files {
        let Some((action, subject, stem)) = path.file_name().and_then(|name| parse_name(name.to_str()?)) else {
            continue;
        };
        found = true;
        let Some((class, labels)) = ACTIONS.get(action.wrapping_sub(1)) else {
            report_unusable_file(path, format!("action {action} is none of the 20 of MSR Action3D"), library);
            continue;
        };
        if labels.is_empty() {
            *library.excluded.entry(format!("msr: {class}")).or_default() += 1;
            continue;
        }
        let Some(text) = read_text(path, library) else { continue };
        let joints = resample(&parse_samples(&text, path, library));
        if joints.is_empty() {
            report_unusable_file(
                path,
                format!("no frame of {JOINT_COUNT} joints, a line of `x y z confidence` each"),
                library,
            );
            continue;
        }
        let spans = vec![Span { start: 0, end: joints.len(), labels, peak: None }];
        let person = Person { name: format!("s{subject:02}"), spans, background: &[] };
        let subjects = vec![person.name.clone()];
        let recorded = vec![RecordedPerson { person, joints, hips_are_origin: false }];
        library.recordings.push(Recording::from_people(&DATASET, stem, subjects, recorded));
    }
    found
}

/// Parses action and subject from a file name; also returns the name without `_skeleton.txt`.
fn parse_name(name: &str) -> Option<(usize, usize, String)> {
    let stem = name.strip_suffix("_skeleton.txt")?;
    let mut parts = stem.split('_');
    let mut number = |letter: char| parts.next()?.strip_prefix(letter)?.parse().ok();
    let (action, subject, _) = (number('a')?, number('s')?, number('e')?);
    Some((action, subject, stem.to_owned()))
}

fn parse_samples(text: &str, path: &std::path::Path, library: &mut Library) -> Vec<Sample> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let mut malformed = MalformedLines::default();
    let mut samples = vec![];
    for (frame, rows) in lines.chunks(JOINT_COUNT).enumerate() {
        let first = frame * JOINT_COUNT + 1;
        if rows.len() < JOINT_COUNT {
            malformed.add(first, format!("the last frame has {} of {JOINT_COUNT} joints", rows.len()));
            continue;
        }
        let mut joints = UNSEEN_JOINTS;
        for (number, row) in rows.iter().enumerate() {
            match parse_numbers(row.split_whitespace()) {
                Ok(values) if values.len() == 4 => {
                    let [x, y, z] = [values[0], values[1], values[2]];
                    if let Some(joint) = TO_OURS[number].filter(|_| z > 0.0) {
                        let position = [
                            -(x - PRINCIPAL_POINT_PX[0]) * z / FOCAL_LENGTH_PX,
                            (y - PRINCIPAL_POINT_PX[1]) * z / FOCAL_LENGTH_PX,
                            z,
                        ];
                        joints[joint] = position.map(|value| (value * DEPTH_UNIT_M) as f32);
                    }
                }
                Ok(values) => {
                    malformed.add(first + number, format!("{} values, expected x y z confidence", values.len()))
                }
                Err(problem) => malformed.add(first + number, problem),
            }
        }
        samples.push(Sample { seconds: frame as f64 / FPS, joints });
    }
    malformed.report(path, library);
    samples
}
