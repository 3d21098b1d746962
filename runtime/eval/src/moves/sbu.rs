//! SBU Kinect Interaction (Yun et al., CVPR workshops 2012): fifteen joints of each of two people.
//!
//! `sAAsBB/CLASS/NNN/skeleton_pos.txt`, a class a file; a line is a frame's number and x y z of each joint of the one, then
//! of the other, fifteen frames a second. x and y are shares of the picture, z of 7.8125 m; by the data's own
//! description 2560 x, 1920 y and 1280 z are about millimetres. In these the left of somebody who looks to the left of
//! the picture is the nearer side: the picture is not mirrored.
//!
//! In a kick, a push, a punch one of the two acts, and the files do not tell who. It is taken to be who leads in two of
//! three: how near a striking limb comes to the other's trunk, how far it reaches towards the other, how fast it goes there.
//! The other is idle, as both are in all classes that are no attack.

use std::path::{Path, PathBuf};

use super::{
    Broken, Joints, Kind, Labels, Library, Person, Recorded, Recording, Sample, Set, Span, UNSEEN, numbers, resample,
    text, unusable,
};

static SET: Set = Set { name: "sbu", kind: Kind::Staged, licence: "research", step: 15 };

/// Joints of a person, and values of a line.
const COUNT: usize = 15;
const VALUES: usize = 1 + 2 * COUNT * 3;
/// Frames a second.
const FPS: f64 = 15.0;
/// Metres of a whole x, y and z.
const METRES: [f64; 3] = [2.560, 1.920, 1.280];

/// Our joint for each of theirs: head, neck, middle of the trunk, left shoulder, elbow, hand, the same right, left hip,
/// knee, foot, the same right.
const TO_OURS: [Option<usize>; COUNT] = [
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
/// Corners of the trunk, and what is in it for certain.
const TRUNK: [usize; 4] = [11, 12, 23, 24];

const IDLE: Labels = &["idle"];

/// The classes by their numbers from 1, the moves that they may be, and what strikes.
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

/// Reads what there is of the set; whether there was any.
pub fn read(files: &[PathBuf], library: &mut Library) -> bool {
    let mut found = false;
    for path in files {
        let Some(Place { pair, subjects, class, take }) = place(path) else { continue };
        found = true;
        let Some((name, labels, limbs)) = CLASSES.get(class.wrapping_sub(1)) else {
            unusable(path, format!("class {class} is none of the 8 of SBU Kinect Interaction"), library);
            continue;
        };
        if labels.is_empty() {
            *library.left_out.entry(format!("sbu: {name}")).or_default() += 1;
            continue;
        }
        let Some(text) = text(path, library) else { continue };
        let people = samples(&text, path, library).map(|samples| resample(&samples));
        if people[0].is_empty() {
            unusable(path, "no line of two people: a number, and x y z of 15 joints of each".into(), library);
            continue;
        }
        let actor = actor(&people, *limbs);
        let recorded = ["a", "b"].into_iter().zip(people).enumerate().map(|(at, (side, joints))| {
            let labels = if at == actor { labels } else { IDLE };
            let spans = vec![Span { start: 0, end: joints.len(), labels, peak: None }];
            let person = Person { name: format!("{pair}-{side}"), spans, otherwise: &[] };
            Recorded { person, joints, hips_are_origin: false }
        });
        let name = format!("{pair}/{class:02}/{take}");
        library.recordings.push(Recording::of(&SET, name, subjects, recorded.collect()));
    }
    found
}

struct Place {
    pair: String,
    subjects: Vec<String>,
    class: usize,
    take: String,
}

/// What the names of a file's folders tell.
fn place(path: &Path) -> Option<Place> {
    if path.file_name()? != "skeleton_pos.txt" {
        return None;
    }
    let mut names = path.ancestors().skip(1).filter_map(|folder| folder.file_name()?.to_str());
    let (take, class, pair) = (names.next()?, names.next()?.parse().ok()?, names.next()?);
    let (a, b) = pair.strip_prefix('s')?.split_once('s')?;
    a.parse::<u32>().ok()?;
    b.parse::<u32>().ok()?;
    Some(Place { pair: pair.into(), subjects: vec![format!("s{a}"), format!("s{b}")], class, take: take.into() })
}

fn samples(text: &str, path: &Path, library: &mut Library) -> [Vec<Sample>; 2] {
    let mut broken = Broken::default();
    let mut people = [vec![], vec![]];
    let mut first = None;
    for (line, row) in text.lines().enumerate().filter(|(_, row)| !row.trim().is_empty()) {
        let values = match numbers(row.split(',').filter(|word| !word.trim().is_empty())) {
            Ok(values) if values.len() == VALUES => values,
            Ok(values) => {
                broken.add(line + 1, format!("{} values, expected {VALUES}", values.len()));
                continue;
            }
            Err(problem) => {
                broken.add(line + 1, problem);
                continue;
            }
        };
        // Frames that were left out leave a hole in time.
        let seconds = (values[0] - *first.get_or_insert(values[0])) / FPS;
        if people[0].last().is_some_and(|last: &Sample| last.seconds >= seconds) {
            broken.add(line + 1, format!("frame {} comes after a later one", values[0]));
            continue;
        }
        for (person, values) in people.iter_mut().zip(values[1..].chunks(3 * COUNT)) {
            let mut joints = UNSEEN;
            for (joint, place) in TO_OURS.into_iter().zip(values.chunks(3)) {
                if let Some(joint) = joint.filter(|_| place[2] > 0.0) {
                    joints[joint] = std::array::from_fn(|axis| (place[axis] * METRES[axis]) as f32);
                }
            }
            person.push(Sample { seconds, joints });
        }
    }
    broken.tell(path, library);
    people
}

/// Which of the two acts.
fn actor(people: &[Vec<Joints>; 2], limbs: [usize; 2]) -> usize {
    let signs = [0, 1].map(|me| signs(&people[me], &people[1 - me], limbs));
    let leads = |sign: usize| signs[1][sign] > signs[0][sign];
    usize::from((0..3).filter(|sign| leads(*sign)).count() >= 2)
}

/// How near (negative), how far towards the other and how fast one's limbs come.
fn signs(me: &[Joints], other: &[Joints], limbs: [usize; 2]) -> [f32; 3] {
    let middle = |joints: &Joints| -> [f32; 3] {
        std::array::from_fn(|axis| TRUNK.iter().map(|joint| joints[*joint][axis]).sum::<f32>() / TRUNK.len() as f32)
    };
    let minus = |a: [f32; 3], b: [f32; 3]| -> [f32; 3] { std::array::from_fn(|axis| a[axis] - b[axis]) };
    let length = |v: [f32; 3]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
    let mut signs = [f32::NEG_INFINITY; 3];
    let mut before = f32::NAN;
    for (mine, theirs) in me.iter().zip(other) {
        let (here, there) = (middle(mine), middle(theirs));
        let way = minus(there, here);
        let reach = limbs.map(|limb| {
            let out = minus(mine[limb], here);
            out.iter().zip(way).map(|(a, b)| a * b).sum::<f32>() / length(way)
        });
        let reach = reach.into_iter().fold(f32::NAN, f32::max);
        let near = limbs.map(|limb| length(minus(mine[limb], there))).into_iter().fold(f32::NAN, f32::min);
        // What is NaN leads in nothing.
        signs = [signs[0].max(-near), signs[1].max(reach), signs[2].max(reach - before)];
        before = reach;
    }
    signs
}

#[cfg(test)]
mod tests {
    use sideline_api::tables::JOINTS;

    use super::*;

    fn standing(x: f32) -> Joints {
        let mut joints = [[x, 0.0, 2.0]; JOINTS];
        for joint in [11, 12] {
            joints[joint][1] = -0.5;
        }
        joints
    }

    #[test]
    fn who_reaches_out_is_the_one_who_acts() {
        let still = vec![standing(1.0); 20];
        let punching: Vec<Joints> = (0..20)
            .map(|frame| {
                let mut joints = standing(0.0);
                joints[15][0] += 0.6 * (frame as f32 / 20.0);
                joints
            })
            .collect();
        assert_eq!(actor(&[punching.clone(), still.clone()], HANDS), 0);
        assert_eq!(actor(&[still, punching], HANDS), 1);
    }
}
