//! Reader of SBU Kinect Interaction (Yun et al., CVPR workshops 2012): fifteen joints of each of two people.
//!
//! `sAAsBB/CLASS/NNN/skeleton_pos.txt`, one class per file. A line is a frame number and x y z of each joint of the
//! first person, then of the second, at fifteen frames per second. x and y are shares of the image size, z a share of
//! 7.8125 m. By the dataset's own description 2560 x, 1920 y and 1280 z are about millimeters. The image is not
//! mirrored: in these coordinates, the left side of a person who looks to the left of the image is the nearer one.
//!
//! In a kick, a push or a punch one of the two acts, and the files do not say which. The actor is taken to be the
//! person with the greater value in at least two of three measures: how close a striking limb comes to the other's
//! trunk, how far it reaches towards the other, and how fast it does so. The other person is idle, as both are in all
//! classes that are not an attack.

use std::path::{Path, PathBuf};

use super::{
    Dataset, DatasetKind, Joints, Labels, Library, MalformedLines, Person, RecordedPerson, Recording, Sample, Span,
    UNSEEN_JOINTS, parse_numbers, read_text, report_unusable_file, resample,
};

static DATASET: Dataset = Dataset { name: "sbu", kind: DatasetKind::Staged, license: "research", step: 15 };

/// Joints per person, and values per line.
const JOINT_COUNT: usize = 15;
const VALUES: usize = 1 + 2 * JOINT_COUNT * 3;
/// Frame rate, frames per second.
const FPS: f64 = 15.0;
/// Length of x, y and z = 1, m.
const UNIT_LENGTHS_M: [f64; 3] = [2.560, 1.920, 1.280];

/// Our joint for each joint of the dataset: head, neck, center of the trunk, left shoulder, elbow, hand, right
/// shoulder, elbow, hand, left hip, knee, foot, right hip, knee, foot.
const TO_OURS: [Option<usize>; JOINT_COUNT] = [
    Some(0),
    None,
    None,
    Some(11),
    Some(13),
    Some(15),
    Some(12),
    Some(14),
    Some(16),
    Some(23),
    Some(25),
    Some(27),
    Some(24),
    Some(26),
    Some(28),
];
const HANDS: [usize; 2] = [15, 16];
const FEET: [usize; 2] = [27, 28];
/// Corners of the trunk: shoulders and hips.
const TRUNK: [usize; 4] = [11, 12, 23, 24];

const IDLE: Labels = &["idle"];

/// Classes by their numbers from 1, with their labels and the limbs that strike.
const CLASSES: [(&str, Labels, [usize; 2]); 8] = [
    ("approaching", IDLE, HANDS),
    ("departing", IDLE, HANDS),
    ("kicking", &["front_kick", "side_kick"], FEET),
    ("pushing", &["push"], HANDS),
    ("shaking hands", IDLE, HANDS),
    ("hugging", &[], HANDS),
    ("exchanging objects", IDLE, HANDS),
    ("punching", &["jab", "cross", "hook", "uppercut"], HANDS),
];

/// Reads all files of the dataset; returns true if there were any.
pub fn read(files: &[PathBuf], library: &mut Library) -> bool {
    let mut found = false;
    for path in files {
        let Some(Take { pair, subjects, class, take }) = parse_path(path) else { continue };
        found = true;
        let Some((name, labels, limbs)) = CLASSES.get(class.wrapping_sub(1)) else {
            report_unusable_file(path, format!("class {class} is none of the 8 of SBU Kinect Interaction"), library);
            continue;
        };
        if labels.is_empty() {
            *library.excluded.entry(format!("sbu: {name}")).or_default() += 1;
            continue;
        }
        let Some(text) = read_text(path, library) else { continue };
        let people = parse_samples(&text, path, library).map(|samples| resample(&samples));
        if people[0].is_empty() {
            report_unusable_file(
                path,
                "no line of two people: a number, and x y z of 15 joints of each".into(),
                library,
            );
            continue;
        }
        let actor = find_actor(&people, *limbs);
        let recorded = ["a", "b"].into_iter().zip(people).enumerate().map(|(at, (side, joints))| {
            let labels = if at == actor { labels } else { IDLE };
            let spans = vec![Span { start: 0, end: joints.len(), labels, peak: None }];
            let person = Person { name: format!("{pair}-{side}"), spans, background: &[] };
            RecordedPerson { person, joints, hips_are_origin: false }
        });
        let name = format!("{pair}/{class:02}/{take}");
        library.recordings.push(Recording::from_people(&DATASET, name, subjects, recorded.collect()));
    }
    found
}

/// Recording, as named by its folders.
struct Take {
    pair: String,
    subjects: Vec<String>,
    class: usize,
    take: String,
}

/// Parses the names of a file's folders.
fn parse_path(path: &Path) -> Option<Take> {
    if path.file_name()? != "skeleton_pos.txt" {
        return None;
    }
    let mut names = path.ancestors().skip(1).filter_map(|folder| folder.file_name()?.to_str());
    let (take, class, pair) = (names.next()?, names.next()?.parse().ok()?, names.next()?);
    let (a, b) = pair.strip_prefix('s')?.split_once('s')?;
    a.parse::<u32>().ok()?;
    b.parse::<u32>().ok()?;
    Some(Take { pair: pair.into(), subjects: vec![format!("s{a}"), format!("s{b}")], class, take: take.into() })
}

fn parse_samples(text: &str, path: &Path, library: &mut Library) -> [Vec<Sample>; 2] {
    let mut malformed = MalformedLines::default();
    let mut people = [vec![], vec![]];
    let mut first = None;
    for (line, row) in text.lines().enumerate().filter(|(_, row)| !row.trim().is_empty()) {
        let values = match parse_numbers(row.split(',').filter(|word| !word.trim().is_empty())) {
            Ok(values) if values.len() == VALUES => values,
            Ok(values) => {
                malformed.add(line + 1, format!("{} values, expected {VALUES}", values.len()));
                continue;
            }
            Err(problem) => {
                malformed.add(line + 1, problem);
                continue;
            }
        };
        // Missing frame numbers are gaps in time.
        let seconds = (values[0] - *first.get_or_insert(values[0])) / FPS;
        if people[0].last().is_some_and(|last: &Sample| last.seconds >= seconds) {
            malformed.add(line + 1, format!("frame {} comes after a later one", values[0]));
            continue;
        }
        for (person, values) in people.iter_mut().zip(values[1..].chunks(3 * JOINT_COUNT)) {
            let mut joints = UNSEEN_JOINTS;
            for (joint, position) in TO_OURS.into_iter().zip(values.chunks(3)) {
                if let Some(joint) = joint.filter(|_| position[2] > 0.0) {
                    joints[joint] = std::array::from_fn(|axis| (position[axis] * UNIT_LENGTHS_M[axis]) as f32);
                }
            }
            person.push(Sample { seconds, joints });
        }
    }
    malformed.report(path, library);
    people
}

/// Returns the index of the person who acts.
fn find_actor(people: &[Vec<Joints>; 2], limbs: [usize; 2]) -> usize {
    let measures = [0, 1].map(|person| attack_measures(&people[person], &people[1 - person], limbs));
    let second_leads = |measure: usize| measures[1][measure] > measures[0][measure];
    usize::from((0..3).filter(|measure| second_leads(*measure)).count() >= 2)
}

/// Measures how close a person's limbs come to the other's trunk (negative distance), how far they reach towards it,
/// and how fast.
fn attack_measures(person: &[Joints], other: &[Joints], limbs: [usize; 2]) -> [f32; 3] {
    let trunk_center = |joints: &Joints| -> [f32; 3] {
        std::array::from_fn(|axis| TRUNK.iter().map(|joint| joints[*joint][axis]).sum::<f32>() / TRUNK.len() as f32)
    };
    let subtract = |a: [f32; 3], b: [f32; 3]| -> [f32; 3] { std::array::from_fn(|axis| a[axis] - b[axis]) };
    let length = |v: [f32; 3]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
    let mut measures = [f32::NEG_INFINITY; 3];
    let mut previous_reach = f32::NAN;
    for (joints, other_joints) in person.iter().zip(other) {
        let (here, there) = (trunk_center(joints), trunk_center(other_joints));
        let direction = subtract(there, here);
        let reach = limbs.map(|limb| {
            let offset = subtract(joints[limb], here);
            offset.iter().zip(direction).map(|(a, b)| a * b).sum::<f32>() / length(direction)
        });
        let reach = reach.into_iter().fold(f32::NAN, f32::max);
        let near = limbs.map(|limb| length(subtract(joints[limb], there))).into_iter().fold(f32::NAN, f32::min);
        // `max` ignores NaN: a measure without data stays at negative infinity.
        measures = [measures[0].max(-near), measures[1].max(reach), measures[2].max(reach - previous_reach)];
        previous_reach = reach;
    }
    measures
}

#[cfg(test)]
mod tests {
    use sideline_sport::tables::JOINTS;

    use super::*;

    fn standing(x: f32) -> Joints {
        let mut joints = [[x, 0.0, 2.0]; JOINTS];
        for joint in [11, 12] {
            joints[joint][1] = -0.5;
        }
        joints
    }

    #[test]
    fn the_person_who_reaches_out_is_the_actor() {
        let still = vec![standing(1.0); 20];
        let punching: Vec<Joints> = (0..20)
            .map(|frame| {
                let mut joints = standing(0.0);
                joints[15][0] += 0.6 * (frame as f32 / 20.0);
                joints
            })
            .collect();
        assert_eq!(find_actor(&[punching.clone(), still.clone()], HANDS), 0);
        assert_eq!(find_actor(&[still, punching], HANDS), 1);
    }
}
