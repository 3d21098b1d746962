//! Tests of the interaction operator on people at known positions.

use std::f32::consts::{FRAC_PI_2, FRAC_PI_4, PI};

use sideline_api::{
    Body, Payload, Reason, Table, Values,
    serde_json::{self, Value},
    testing::{Harness, Setup},
};
use sideline_sport::tables::{Fighter, FighterName, Interaction, JOINTS, Pose};

/// Aspect ratio of the picture: twice as wide as high.
const ASPECT: f32 = 2.0;

/// Upright person `at` frame heights from the left, torso 0.2 frame heights, turned by `turn` radians: at 0 the chest
/// points at the camera, at pi/2 to the right of the picture.
#[derive(Clone, Copy)]
struct TestPerson {
    track: u32,
    at: f32,
    turn: f32,
    /// Torso length, frame heights.
    torso: f32,
    /// Position of the left index finger, frame heights from the midpoint of the hips.
    hand: [f32; 2],
}

fn person(track: u32, at: f32) -> TestPerson {
    TestPerson { track, at, turn: 0.0, torso: 0.2, hand: [0.05, -0.1] }
}

fn pose(subject: TestPerson) -> Pose {
    let (sin, cos) = subject.turn.sin_cos();
    let mut joints = [[0.0, 0.0, 0.0, 0.0]; JOINTS];
    let mut world = [[0.0; 3]; JOINTS];
    // x to the person's left before the turn, y down, torso lengths.
    for (joint, x, y) in [(0, 0.0, -1.5), (11, 0.3, -1.0), (12, -0.3, -1.0), (23, 0.2, 0.0), (24, -0.2, 0.0)] {
        world[joint] = [x * cos, y, x * sin];
        joints[joint] = [
            (subject.at + subject.torso * x * cos) / ASPECT,
            0.6 + subject.torso * y,
            subject.torso * x * sin / ASPECT,
            1.0,
        ];
    }
    joints[19] = [(subject.at + subject.hand[0]) / ASPECT, 0.6 + subject.hand[1], 0.0, 1.0];
    Pose {
        track: subject.track,
        x1: 0.0,
        y1: 0.0,
        x2: 1.0,
        y2: 1.0,
        score: 1.0,
        model: "hand".into(),
        aspect: ASPECT,
        joints,
        world,
    }
}

struct Run(Harness<sideline_interaction::Interaction>);

impl Run {
    /// Creates the operator. Frame numbers are milliseconds, so that a test chooses its times.
    fn new(values: impl Into<Values>) -> Self {
        Run(Harness::with(values, Setup { interval: 1_000_000, ..Setup::default() }).unwrap())
    }

    fn push(&mut self, ms: u64, people: &[Pose]) -> Vec<Interaction> {
        self.push_named(ms, people, &[])
    }

    fn push_named(&mut self, ms: u64, people: &[Pose], names: &[(u32, Fighter)]) -> Vec<Interaction> {
        let names: Vec<FighterName> =
            names.iter().map(|(track, fighter)| FighterName { track: *track, fighter: *fighter }).collect();
        let table = |rows| Body::Data(Payload::Table(std::sync::Arc::new(rows)));
        self.0.push_at("poses", ms, table(Pose::encode(people))).unwrap();
        self.0.push_at("fighters", ms, table(FighterName::encode(&names))).unwrap();
        self.0.expect("interaction")
    }

    fn push_pair(&mut self, ms: u64, a: TestPerson, b: TestPerson) -> Interaction {
        let mut rows = self.push(ms, &[pose(a), pose(b)]);
        assert_eq!(rows.len(), 1);
        rows.remove(0)
    }
}

fn measure(a: TestPerson, b: TestPerson) -> Interaction {
    Run::new(Values::new()).push_pair(0, a, b)
}

#[track_caller]
fn assert_near(found: f32, expected: f32, tolerance: f32) {
    assert!((found - expected).abs() <= tolerance, "{found}, expected {expected}");
}

#[test]
fn distance_is_in_mean_torso_lengths() {
    assert_near(measure(person(1, 0.5), person(2, 1.3)).distance, 4.0, 1e-4);
    let large = |subject: TestPerson| TestPerson { torso: 0.4, ..subject };
    assert_near(measure(large(person(1, 0.1)), large(person(2, 1.7))).distance, 4.0, 1e-4);
    // Torsos of 0.2 and 0.4 frame heights: their mean counts.
    assert_near(measure(person(1, 0.5), large(person(2, 1.4))).distance, 3.0, 1e-4);
}

#[test]
fn closing_speed_does_not_depend_on_the_frame_rate() {
    for times in [[0_u64, 33, 67, 100, 133, 167, 200, 233], [0, 16, 50, 58, 75, 141, 150, 158]] {
        let mut run = Run::new(Values::new());
        for (i, ms) in times.into_iter().enumerate() {
            let t = ms as f32 * 1e-3;
            // Both walk 0.3 frame heights per second towards each other: 3 torso lengths per second together.
            let row = run.push_pair(ms, person(1, 0.3 + 0.3 * t), person(2, 1.7 - 0.3 * t));
            if i == 0 {
                assert!(row.closing_speed.is_nan(), "one sample gives no speed");
            } else {
                assert_near(row.closing_speed, 3.0, 0.01);
            }
        }
        let mut run = Run::new(Values::new());
        let away = times.map(|ms| run.push_pair(ms, person(1, 0.5), person(2, 1.0 + 0.2e-3 * ms as f32)).closing_speed);
        assert_near(away[7], -1.0, 0.01);
    }
}

#[test]
fn facing_is_the_angle_between_the_chest_and_the_other() {
    for (turn, expected) in [
        (FRAC_PI_2, 0.0),              // towards the other, to the right
        (0.0, FRAC_PI_2),              // towards the camera
        (PI, FRAC_PI_2),               // away from the camera
        (FRAC_PI_4, FRAC_PI_4),        // half towards the other
        (-FRAC_PI_4, 3.0 * FRAC_PI_4), // half away
        (-FRAC_PI_2, PI),              // away from the other
    ] {
        let row = measure(TestPerson { turn, ..person(1, 0.5) }, person(2, 1.3));
        assert_near(row.facing_a, expected, 1e-3);
        assert_near(row.facing_b, FRAC_PI_2, 1e-3);
        // Mirrored, the other person has the same angle.
        assert_near(measure(person(1, 0.5), TestPerson { turn: -turn, ..person(2, 1.3) }).facing_b, expected, 1e-3);
    }
}

#[test]
fn an_undefined_facing_is_nan() {
    let behind = measure(person(1, 0.5), person(2, 0.53));
    assert!(behind.facing_a.is_nan() && behind.facing_b.is_nan() && behind.distance < 0.2);
    let mut lying = pose(person(1, 0.5));
    lying.world = lying.world.map(|[x, y, z]| [y, x, z]);
    let mut flat = pose(person(2, 1.3));
    flat.world = [[f32::NAN; 3]; JOINTS];
    let row = &Run::new(Values::new()).push(0, &[lying, flat])[0];
    assert!(row.facing_a.is_nan() && row.facing_b.is_nan());
    assert_near(row.distance, 4.0, 1e-4);
}

#[test]
fn reach_falls_to_zero_as_an_arm_extends_to_the_other() {
    // At shoulder height the trunk of the other begins 0.3 torso lengths (0.06) left of the midpoint of the hips.
    let reaching = |x: f32| measure(TestPerson { hand: [x, -0.2], ..person(1, 0.5) }, person(2, 1.3)).reach_a;
    assert_near(reaching(0.24), 2.5, 1e-3);
    assert_near(reaching(0.64), 0.5, 1e-3);
    assert_near(reaching(0.74), 0.0, 1e-3);
    let row = measure(TestPerson { hand: [0.8, -0.1], ..person(1, 0.5) }, person(2, 1.3));
    assert_eq!(row.reach_a, 0.0, "over the trunk");
    assert!(row.reach_b > 3.0, "the other's arm hangs");
    // Beside the head, which is the line from neck to nose, 0.1 frame heights high.
    assert_near(measure(TestPerson { hand: [0.75, -0.29], ..person(1, 0.5) }, person(2, 1.3)).reach_a, 0.25, 1e-3);
}

#[test]
fn hidden_joints_give_nan_and_reset_the_closing_speed() {
    let mut run = Run::new(Values::new());
    let mut row = run.push_pair(0, person(1, 0.5), person(2, 1.3));
    for ms in [33, 67] {
        row = run.push_pair(ms, person(1, 0.5), person(2, 1.3));
    }
    assert_near(row.closing_speed, 0.0, 1e-3);
    let mut hidden = pose(person(1, 0.5));
    hidden.joints[23][3] = 0.2;
    hidden.joints[19][3] = 0.2;
    let row = run.push(100, &[hidden, pose(person(2, 1.3))]).remove(0);
    assert!(row.distance.is_nan() && row.closing_speed.is_nan() && row.facing_a.is_nan());
    assert!(row.reach_a.is_nan() && row.reach_b.is_nan(), "no hand of the one, no trunk to reach for the other");
    let row = run.push_pair(133, person(1, 0.5), person(2, 1.3));
    assert!(!row.distance.is_nan() && row.closing_speed.is_nan());
    assert_near(run.push_pair(167, person(1, 0.5), person(2, 1.3)).closing_speed, 0.0, 1e-3);
}

#[test]
fn named_fighters_are_the_only_pair() {
    let mut run = Run::new([("max_pairs", 2)]);
    let people = [(1, 0.3), (2, 0.5), (3, 1.7)].map(|(track, at)| pose(person(track, at)));
    let pairs = |rows: &[Interaction]| rows.iter().map(|row| (row.track_a, row.track_b)).collect::<Vec<_>>();
    assert_eq!(pairs(&run.push(0, &people)), [(1, 2), (2, 3)], "the nearest two");
    // fighter_1 comes first, whatever the number of the track.
    let (one, two, referee) = (pose(person(3, 1.7)), pose(person(1, 0.3)), people[1].clone());
    let names = [(3, Fighter::One), (1, Fighter::Two)];
    let rows = run.push_named(33, &[referee.clone(), two.clone(), one], &names);
    assert_eq!(pairs(&rows), [(3, 1)]);
    assert_eq!((rows[0].fighter_a, rows[0].fighter_b), (Fighter::One, Fighter::Two));
    let rows = run.push_named(67, &[referee, two], &names);
    assert_eq!(pairs(&rows), [], "the referee does not stand in for a fighter");
}

#[test]
fn empty_frames_and_people_without_identity_make_no_pair() {
    let mut run = Run::new(Values::new());
    assert_eq!(run.push(0, &[]), []);
    assert_eq!(run.push(33, &[pose(person(0, 0.3)), pose(person(0, 0.5)), pose(person(1, 0.9))]), []);
    run.0.skip("poses", Reason::Stride).unwrap();
    run.0.skip("fighters", Reason::Stride).unwrap();
    assert_eq!(run.0.expect_skipped("interaction"), Reason::Stride);
}

#[test]
fn a_pair_has_no_history_after_max_gap() {
    let mut run = Run::new([("max_gap", 0.3)]);
    for ms in [0, 33, 67] {
        run.push_pair(ms, person(1, 0.5), person(2, 1.3));
    }
    assert_near(run.push_pair(360, person(1, 0.5), person(2, 1.3)).closing_speed, 0.0, 1e-3);
    assert!(run.push_pair(700, person(1, 0.5), person(2, 1.3)).closing_speed.is_nan());
}

#[test]
fn the_state_survives_serialization() {
    let mut run = Run::new(Values::new());
    run.push_pair(0, person(1, 0.5), person(2, 1.3));
    let saved = serde_json::to_value(run.0.state("test").unwrap()).unwrap();
    let back: sideline_interaction::InteractionState = serde_json::from_value(saved.clone()).unwrap();
    assert_ne!(saved, Value::Null);
    assert_eq!(serde_json::to_value(back).unwrap(), saved);
}
