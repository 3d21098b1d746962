//! Tests of the readers of recorded moves: small files of each layout, and the published datasets where they are
//! available.

use std::{fmt::Write, fs, path::Path};

use sideline_eval::moves::{DatasetKind, FRAME_RATE, Library, MovesError, Recording, read_all};
use sideline_testkit::{Capability, skip_test};

fn write(root: &Path, name: &str, text: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn read(root: &Path) -> Library {
    read_all(root).unwrap()
}

/// Generates the file of a standing person of 1.8 m whose left arm moves back and forth, 200 lines per second, each
/// with its own positions.
fn vicon(lines: usize) -> String {
    let mut text = String::new();
    for line in 0..lines {
        let t = line as f64 / 200.0;
        let hand = 300.0 + 250.0 * (6.0 * t).sin();
        let sway = 3.0 * (2.0 * t).sin();
        let markers = [
            [sway, 0.0, 1800.0],
            [-250.0, hand - 300.0, 1150.0],
            [-250.0, hand, 1150.0],
            [250.0, 0.0, 1150.0],
            [250.0, 200.0, 1150.0],
            [-100.0, 0.0, 513.0],
            [-100.0, 0.0, 100.0],
            [100.0, 0.0, 513.0],
            [100.0, 0.0, 100.0],
        ];
        write!(text, "{line}").unwrap();
        for value in markers.as_flattened() {
            write!(text, " {value:.3}").unwrap();
        }
        text.push('\n');
    }
    text
}

#[test]
fn markers_become_poses_and_joints_without_markers_have_no_velocity() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "deep/er/sub9/aggressive/Pushing.txt", &vicon(400));
    write(root.path(), "deep/er/Sub9/Normal/txt/Standing.txt", &vicon(400));
    write(root.path(), "deep/er/sub9/normal/Waving.txt", &vicon(400));
    let library = read(root.path());
    assert_eq!(library.faults, []);
    assert_eq!(library.excluded["vicon: Waving"], 1);
    let [pushing, standing] = library.recordings.as_slice() else { panic!("{:?}", library.recordings) };
    assert_eq!(
        (pushing.dataset.name, pushing.dataset.kind, pushing.dataset.license),
        ("vicon", DatasetKind::Staged, "open")
    );
    assert_eq!((pushing.name.as_str(), pushing.people[0].name.as_str()), ("sub9/Pushing", "sub9"));
    assert_eq!(pushing.people[0].labels(10), ["push"]);
    assert_eq!(standing.people[0].labels(10), ["idle"]);
    assert_eq!(pushing.frames.len(), 60, "400 lines at 200 a second are two seconds");
    let mut torsos = 0;
    for pair in pushing.frames.windows(2) {
        let seen = |at: usize, joint: usize| pair[at][0].joints[joint][3] == 1.0;
        assert!(seen(0, 0) && seen(0, 15) && !seen(0, 7), "nose and wrist, no ear");
        for joint in [11, 12, 23, 24] {
            assert!(!(seen(0, joint) && seen(1, joint)), "{joint} would have a velocity");
        }
        if seen(0, 11) {
            torsos += 1;
            let torso = pair[0][0].world[23][1] - pair[0][0].world[11][1];
            assert!((torso - 0.288 * 1.8).abs() < 1e-4, "{torso}");
        }
    }
    assert_eq!(torsos, 2, "one per second");
    // z up became y down: the knees are below the hips, the head above.
    let pose = &pushing.frames[30][0];
    assert!(pose.world[25][1] > 0.3 && pose.world[0][1] < -0.6);
    let reach: Vec<f32> = pushing.frames.iter().map(|poses| poses[0].world[15][2]).collect();
    let spread = reach.iter().copied().fold(f32::MIN, f32::max) - reach.iter().copied().fold(f32::MAX, f32::min);
    assert!((spread - 0.5).abs() < 0.02, "the hand moves over 0.5 m, not {spread}");
}

#[test]
fn malformed_lines_are_reported_and_the_rest_is_read() {
    let root = tempfile::tempdir().unwrap();
    let mut text = vicon(400);
    text.insert_str(0, "0 1 2 three\n");
    text.push_str("400 1 2 3\n401 1");
    write(root.path(), "sub1/aggressive/Kneeing.txt", &text);
    write(root.path(), "sub1/aggressive/Slapping.txt", "nothing\nof use\n");
    write(root.path(), "sub1/aggressive/Juggling.txt", &vicon(10));
    write(root.path(), "a05_s01_e01_skeleton.txt", &"126 81 674 1\n".repeat(20 * 30 + 7));
    let library = read(root.path());
    assert_eq!(library.recordings.len(), 2);
    let faults: Vec<String> = library.faults.iter().map(ToString::to_string).collect();
    let faults = faults.join("\n");
    for expected in [
        "Kneeing.txt:1: `three` is not a number; 3 such lines left out",
        "Slapping.txt: no lines of a number and nine times x y z (the first: `nothing` is not a number)",
        "Juggling.txt: `Juggling` is none of the 20 classes",
        "a05_s01_e01_skeleton.txt:601: the last frame has 7 of 20 joints; left out",
    ] {
        assert!(faults.contains(expected), "{expected}\nis not in\n{faults}");
    }
}

#[test]
fn the_three_axes_of_a_kinect_have_one_unit() {
    let root = tempfile::tempdir().unwrap();
    // Shoulders 40 px apart at a depth of 700 units, the right hand 100 units nearer than its shoulder.
    let frame: String = (1..=20)
        .map(|joint| match joint {
            1 => "140 100 700 1\n",
            2 => "180 100 700 1\n",
            11 => "180 100 600 1\n",
            _ => "160 120 700 1\n",
        })
        .collect();
    write(root.path(), "x/a12_s03_e02_skeleton.txt", &frame.repeat(15));
    write(root.path(), "x/a01_s03_e02_skeleton.txt", &frame.repeat(15));
    let library = read(root.path());
    let [boxing] = library.recordings.as_slice() else { panic!("{:?}", library.recordings) };
    assert_eq!(library.excluded["msr: high arm wave"], 1);
    assert_eq!(boxing.people[0].labels(0), ["jab", "cross", "hook"]);
    assert_eq!(boxing.frames.len(), 29, "15 frames a second became 30");
    let world = &boxing.frames[5][0].world;
    let close = |a: f32, b: f64| assert!((f64::from(a) - b).abs() < 1e-4, "{a}, not {b}");
    close(world[11][0] - world[12][0], 40.0 * 700.0 / 285.0 * 0.004);
    close(world[12][2] - world[16][2], 0.4);
    assert!(world[12][0] < world[11][0], "the right side of a person who faces the camera is at the left of the image");
}

/// Generates window `number` of one person who stands at `x` and moves one pixel per frame.
fn window(number: usize, person: usize, label: usize, x: f64) -> String {
    let first = 3 * (number - 1) + 1;
    let mut text = format!("bout,{number},{first},{},0,{person},{label}", first + 6);
    for frame in 0..6 {
        for joint in 0..17 {
            let there = x + (first + frame) as f64 + 10.0 * f64::from(joint);
            write!(text, ",{there},{}", if joint == 4 { 0.0 } else { there / 2.0 }).unwrap();
        }
        text.push_str(&",45.5,1".repeat(32));
    }
    text + "\n"
}

#[test]
fn windows_of_one_person_are_joined_with_their_labels() {
    let root = tempfile::tempdir().unwrap();
    let mut text = String::new();
    for number in 1..=6 {
        // The person's number is not an identity: it changes.
        text += &window(number, number % 2, usize::from(number == 3) * 2, 100.0);
        text += &window(number, 1 - number % 2, 0, 900.0);
    }
    text += "bout,7,19,25,0,0,1,5\n";
    text += &window(7, 0, 4, 100.0);
    write(root.path(), "some.csv", &text);
    write(root.path(), "other.csv", "a,b\n1,2\n");
    let library = read(root.path());
    assert_eq!(library.recordings.len(), 2);
    let [fault] = library.faults.as_slice() else { panic!("{:?}", library.faults) };
    assert_eq!((fault.line, fault.lines, fault.problem.as_str()), (13, 2, "8 columns, expected 595"));
    let struck: Vec<&Recording> = library.recordings.iter().filter(|r| !r.people[0].spans.is_empty()).collect();
    let [recording] = struck.as_slice() else { panic!("{struck:?}") };
    assert_eq!((recording.dataset.kind, recording.frames.len()), (DatasetKind::Real, 21));
    let person = &recording.people[0];
    assert_eq!((person.spans[0].start, person.spans[0].end, person.spans[0].peak), (6, 12, Some(9)));
    assert_eq!(person.window_labels(0..=20, 9), ["hook"]);
    assert_eq!(person.labels(2), ["idle"]);
    assert_eq!(recording.frames[0][0].joints[8][3], 1.0, "a joint at y = 0 alone is seen");
}

#[test]
fn one_of_two_people_in_a_recording_is_the_actor() {
    let root = tempfile::tempdir().unwrap();
    let mut text = String::new();
    for frame in 0..20 {
        write!(text, "{}", frame + 100).unwrap();
        for person in 0..2 {
            for joint in 0..15 {
                // Both face each other, 0.4 of the image apart; the second's left hand approaches the first.
                let mut x = if person == 0 { 0.3 } else { 0.7 };
                let y = 0.3 + 0.02 * f64::from(joint);
                if person == 1 && joint == 5 {
                    x -= 0.015 * f64::from(frame);
                }
                write!(text, ",{x},{y},1.6").unwrap();
            }
        }
        text.push('\n');
    }
    write(root.path(), "set/s02s05/08/001/skeleton_pos.txt", &text);
    write(root.path(), "set/s02s05/06/001/skeleton_pos.txt", &text);
    write(root.path(), "set/s02s05/09/001/skeleton_pos.txt", &text);
    let library = read(root.path());
    let [recording] = library.recordings.as_slice() else { panic!("{:?}", library.recordings) };
    assert_eq!((library.excluded["sbu: hugging"], library.faults.len()), (1, 1));
    assert_eq!(recording.subjects, ["s02", "s05"]);
    assert_eq!(recording.people[0].labels(5), ["idle"]);
    assert_eq!(recording.people[1].labels(5), ["jab", "cross", "hook", "uppercut"]);
    assert_eq!(recording.frames.len(), 39);
    assert!(recording.frames.iter().all(|poses| poses.len() == 2 && poses[1].track == 2));
}

#[test]
fn the_error_of_a_folder_without_recordings_names_the_layouts() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "sub/readme.txt", "hello");
    let error = read_all(root.path()).unwrap_err();
    assert!(matches!(error, MovesError::NoRecordings { .. }));
    let text = error.to_string();
    for expected in ["sub", "skeleton.txt", "skeleton_pos.txt", "595 columns", "tar xf"] {
        assert!(text.contains(expected), "{text}");
    }
    assert!(matches!(read_all(&root.path().join("nowhere")), Err(MovesError::Read { .. })));
}

/// The published datasets, where they are next to the checkout.
#[test]
fn the_published_datasets_are_read_completely() {
    let archives = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/moves");
    let vicon = archives.join("vicon_physical_action_sub1-7.tar.xz");
    if !vicon.is_file() {
        return skip_test(Capability::Data, format_args!("no {}", vicon.display()));
    }
    let root = tempfile::tempdir().unwrap();
    for archive in [vicon, archives.join("msr_action3d_train.tar.xz")] {
        let status = std::process::Command::new("tar").arg("xf").arg(&archive).arg("-C").arg(root.path()).status();
        assert!(status.unwrap().success(), "{}", archive.display());
    }
    let library = read(root.path());
    assert_eq!(library.faults, [], "no line is malformed");
    let recordings =
        |dataset: &str| library.recordings.iter().filter(|r| r.dataset.name == dataset).collect::<Vec<_>>();
    assert_eq!((recordings("vicon").len(), recordings("msr").len()), (7 * 11, 84));
    // A line is not a frame of the cameras: with a frame per line, a file would last 15 to 30 s.
    let seconds: Vec<f64> = recordings("vicon").iter().map(|r| r.frames.len() as f64 / FRAME_RATE).collect();
    let mean = seconds.iter().sum::<f64>() / seconds.len() as f64;
    assert!((4.0..10.0).contains(&mean), "{mean} s");
    // Wrists are mostly seen, and hardly ever faster than a fist can be.
    let (mut seen, mut steps, mut fast) = (0, 0, 0);
    for pair in recordings("vicon").iter().flat_map(|r| r.frames.windows(2)) {
        let [a, b] = [pair[0][0].world[15], pair[1][0].world[15]];
        let step = (0..3).map(|axis| (a[axis] - b[axis]).powi(2)).sum::<f32>().sqrt();
        steps += 1;
        seen += u32::from(step.is_finite());
        fast += u32::from(step * 30.0 > 15.0);
    }
    assert!(f64::from(seen) > 0.9 * f64::from(steps), "{seen} of {steps}");
    assert!(f64::from(fast) < 0.005 * f64::from(steps), "{fast} of {steps} above 15 m/s");
}
