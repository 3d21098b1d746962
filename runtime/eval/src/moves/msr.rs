//! MSR Action3D (Li, Zhang and Liu, CVPR workshops 2010): twenty joints of one person in front of a Kinect.
//!
//! `aAA_sSS_eEE_skeleton.txt` is action, subject and repetition; twenty lines a frame of `x y z confidence`, x and y in
//! pixels of 320 x 240, z in depth units, about fifteen frames a second. A pixel counts the more metres the further away
//! it is: `X = (x - 160) z / f`, `Y = (y - 120) z / f` with the focal length `f` = 285 pixels make all three axes one
//! unit, in which an upper arm is as long towards the camera as across the picture. One unit is 4 mm: people are then 1.5
//! to 1.9 m tall.
//!
//! The picture is mirrored, as on a screen that one stands before: x is turned about, so that the arm that strikes in most
//! recordings, which was to be the right one, is on the right side of a body that faces the camera. The confidence says
//! nothing of use (the middle of the hips always has 0); a joint at 0 0 0 was not seen.

use std::path::PathBuf;

use super::{
    Broken, Kind, Labels, Library, Person, Recorded, Recording, Sample, Set, Span, UNSEEN, numbers, resample, text,
    unusable,
};

static SET: Set = Set { name: "msr", kind: Kind::Staged, licence: "research", step: 15 };

/// Joints a frame.
const COUNT: usize = 20;
/// Frames a second.
const FPS: f64 = 15.0;
/// Focal length, px, and the picture's middle.
const FOCAL: f64 = 285.0;
const CENTRE: [f64; 2] = [160.0, 120.0];
/// Metres of a unit of depth.
const UNIT: f64 = 0.004;

/// Our joint for each of theirs; the middle of the shoulders, the spine and the middle of the hips have none.
const TO_OURS: [Option<usize>; COUNT] = [
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

/// The twenty actions, in order of their numbers, and the moves that they may be.
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

/// Reads what there is of the set; whether there was any.
pub fn read(files: &[PathBuf], library: &mut Library) -> bool {
    let mut found = false;
    for path in files {
        let Some((action, subject, stem)) = path.file_name().and_then(|name| parts(name.to_str()?)) else { continue };
        found = true;
        let Some((class, labels)) = ACTIONS.get(action.wrapping_sub(1)) else {
            unusable(path, format!("action {action} is none of the 20 of MSR Action3D"), library);
            continue;
        };
        if labels.is_empty() {
            *library.left_out.entry(format!("msr: {class}")).or_default() += 1;
            continue;
        }
        let Some(text) = text(path, library) else { continue };
        let joints = resample(&samples(&text, path, library));
        if joints.is_empty() {
            unusable(path, format!("no frame of {COUNT} joints, a line of `x y z confidence` each"), library);
            continue;
        }
        let spans = vec![Span { start: 0, end: joints.len(), labels, peak: None }];
        let person = Person { name: format!("s{subject:02}"), spans, otherwise: &[] };
        let subjects = vec![person.name.clone()];
        let recorded = vec![Recorded { person, joints, hips_are_origin: false }];
        library.recordings.push(Recording::of(&SET, stem, subjects, recorded));
    }
    found
}

/// Action, subject and the name without `_skeleton.txt`.
fn parts(name: &str) -> Option<(usize, usize, String)> {
    let stem = name.strip_suffix("_skeleton.txt")?;
    let mut parts = stem.split('_');
    let mut number = |letter: char| parts.next()?.strip_prefix(letter)?.parse().ok();
    let (action, subject, _) = (number('a')?, number('s')?, number('e')?);
    Some((action, subject, stem.to_owned()))
}

fn samples(text: &str, path: &std::path::Path, library: &mut Library) -> Vec<Sample> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let mut broken = Broken::default();
    let mut samples = vec![];
    for (frame, rows) in lines.chunks(COUNT).enumerate() {
        let first = frame * COUNT + 1;
        if rows.len() < COUNT {
            broken.add(first, format!("the last frame has {} of {COUNT} joints", rows.len()));
            continue;
        }
        let mut joints = UNSEEN;
        for (number, row) in rows.iter().enumerate() {
            match numbers(row.split_whitespace()) {
                Ok(values) if values.len() == 4 => {
                    let [x, y, z] = [values[0], values[1], values[2]];
                    if let Some(joint) = TO_OURS[number].filter(|_| z > 0.0) {
                        let metres = [-(x - CENTRE[0]) * z / FOCAL, (y - CENTRE[1]) * z / FOCAL, z];
                        joints[joint] = metres.map(|value| (value * UNIT) as f32);
                    }
                }
                Ok(values) => broken.add(first + number, format!("{} values, expected x y z confidence", values.len())),
                Err(problem) => broken.add(first + number, problem),
            }
        }
        samples.push(Sample { seconds: frame as f64 / FPS, joints });
    }
    broken.tell(path, library);
    samples
}
