//! What the interaction operator says of people whose places are known.

use std::f32::consts::{FRAC_PI_2, FRAC_PI_4, PI};

use sideline_api::{
    Body, Payload, Reason, Table, Values,
    serde_json::{self, Value},
    tables::{Interaction, JOINTS, Pose},
    testing::{Harness, Setup},
};
use sideline_interaction::InteractionOperator;

/// Shape of the picture: twice as wide as high.
const ASPECT: f32 = 2.0;

/// A person `at` frame heights from the left, upright, torso 0.2 frame heights, who has turned by `turn` radians: at 0
/// the chest points at the camera, at pi/2 to the right of the picture.
#[derive(Clone, Copy)]
struct Someone {
    track: u32,
    fighter: &'static str,
    at: f32,
    turn: f32,
    /// Torso length, frame heights.
    torso: f32,
    /// Place of the left index finger, frame heights from the middle of the hips.
    hand: [f32; 2],
}

fn someone(track: u32, at: f32) -> Someone {
    Someone { track, fighter: "", at, turn: 0.0, torso: 0.2, hand: [0.05, -0.1] }
}

fn pose(who: Someone) -> Pose {
    let (sin, cos) = who.turn.sin_cos();
    let mut joints = [[0.0, 0.0, 0.0, 0.0]; JOINTS];
    let mut world = [[0.0; 3]; JOINTS];
    // x to the person's left before the turn, y down, torso lengths.
    for (joint, x, y) in [(0, 0.0, -1.5), (11, 0.3, -1.0), (12, -0.3, -1.0), (23, 0.2, 0.0), (24, -0.2, 0.0)] {
        world[joint] = [x * cos, y, x * sin];
        joints[joint] =
            [(who.at + who.torso * x * cos) / ASPECT, 0.6 + who.torso * y, who.torso * x * sin / ASPECT, 1.0];
    }
    joints[19] = [(who.at + who.hand[0]) / ASPECT, 0.6 + who.hand[1], 0.0, 1.0];
    Pose {
        track: who.track,
        fighter: who.fighter.into(),
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

struct Run(Harness<InteractionOperator>);

impl Run {
    /// Frame numbers are milliseconds, so that a test chooses its times.
    fn new(values: impl Into<Values>) -> Self {
        Run(Harness::with(values, Setup { interval: 1_000_000, ..Setup::default() }).unwrap())
    }

    fn see(&mut self, ms: u64, people: &[Pose]) -> Vec<Interaction> {
        let rows = Body::Data(Payload::Table(std::sync::Arc::new(Pose::encode(people))));
        self.0.push_at("poses", ms, rows).unwrap();
        self.0.expect("interaction")
    }

    fn one(&mut self, ms: u64, a: Someone, b: Someone) -> Interaction {
        let mut rows = self.see(ms, &[pose(a), pose(b)]);
        assert_eq!(rows.len(), 1);
        rows.remove(0)
    }
}

fn look(a: Someone, b: Someone) -> Interaction {
    Run::new(Values::new()).one(0, a, b)
}

#[track_caller]
fn near(found: f32, expected: f32, tolerance: f32) {
    assert!((found - expected).abs() <= tolerance, "{found}, expected {expected}");
}

#[test]
fn distance_is_counted_in_torsos_whatever_the_size_of_the_people() {
    near(look(someone(1, 0.5), someone(2, 1.3)).distance, 4.0, 1e-4);
    let large = |who: Someone| Someone { torso: 0.4, ..who };
    near(look(large(someone(1, 0.1)), large(someone(2, 1.7))).distance, 4.0, 1e-4);
    // One of 0.2 and one of 0.4: their mean.
    near(look(someone(1, 0.5), large(someone(2, 1.4))).distance, 3.0, 1e-4);
}

#[test]
fn a_known_approach_has_its_speed_at_any_frame_rate() {
    for times in [[0_u64, 33, 67, 100, 133, 167, 200, 233], [0, 16, 50, 58, 75, 141, 150, 158]] {
        let mut run = Run::new(Values::new());
        for (i, ms) in times.into_iter().enumerate() {
            let t = ms as f32 * 1e-3;
            // Both walk 0.3 frame heights a second towards each other: 3 torsos a second together.
            let row = run.one(ms, someone(1, 0.3 + 0.3 * t), someone(2, 1.7 - 0.3 * t));
            if i == 0 {
                assert!(row.closing_speed.is_nan(), "nothing is known yet");
            } else {
                near(row.closing_speed, 3.0, 0.01);
            }
        }
        let mut run = Run::new(Values::new());
        let away = times.map(|ms| run.one(ms, someone(1, 0.5), someone(2, 1.0 + 0.2e-3 * ms as f32)).closing_speed);
        near(away[7], -1.0, 0.01);
    }
}

#[test]
fn a_turn_is_the_angle_between_chest_and_the_other() {
    for (turn, expected) in [
        (FRAC_PI_2, 0.0),              // towards the other, who stands to the right
        (0.0, FRAC_PI_2),              // towards the camera
        (PI, FRAC_PI_2),               // away from it
        (FRAC_PI_4, FRAC_PI_4),        // half towards the other
        (-FRAC_PI_4, 3.0 * FRAC_PI_4), // half away
        (-FRAC_PI_2, PI),              // the back turned
    ] {
        let row = look(Someone { turn, ..someone(1, 0.5) }, someone(2, 1.3));
        near(row.facing_a, expected, 1e-3);
        near(row.facing_b, FRAC_PI_2, 1e-3);
        // Seen from the other side everything is mirrored.
        near(look(someone(1, 0.5), Someone { turn: -turn, ..someone(2, 1.3) }).facing_b, expected, 1e-3);
    }
}

#[test]
fn an_angle_that_cannot_be_known_is_nan() {
    let behind = look(someone(1, 0.5), someone(2, 0.53));
    assert!(behind.facing_a.is_nan() && behind.facing_b.is_nan() && behind.distance < 0.2);
    let mut lying = pose(someone(1, 0.5));
    lying.world = lying.world.map(|[x, y, z]| [y, x, z]);
    let mut flat = pose(someone(2, 1.3));
    flat.world = [[f32::NAN; 3]; JOINTS];
    let row = &Run::new(Values::new()).see(0, &[lying, flat])[0];
    assert!(row.facing_a.is_nan() && row.facing_b.is_nan());
    near(row.distance, 4.0, 1e-4);
}

#[test]
fn an_extended_arm_brings_reach_down_to_the_touch() {
    // The trunk of the other begins 0.3 torsos (0.06) left of the hips' middle at shoulder height.
    let reaching = |x: f32| look(Someone { hand: [x, -0.2], ..someone(1, 0.5) }, someone(2, 1.3)).reach_a;
    near(reaching(0.24), 2.5, 1e-3);
    near(reaching(0.64), 0.5, 1e-3);
    near(reaching(0.74), 0.0, 1e-3);
    let row = look(Someone { hand: [0.8, -0.1], ..someone(1, 0.5) }, someone(2, 1.3));
    assert_eq!(row.reach_a, 0.0, "over the trunk");
    assert!(row.reach_b > 3.0, "the other's arm hangs");
    // Beside the head: the line from neck to nose, 0.1 frame heights high.
    near(look(Someone { hand: [0.75, -0.29], ..someone(1, 0.5) }, someone(2, 1.3)).reach_a, 0.25, 1e-3);
}

#[test]
fn what_is_not_seen_is_nan_and_the_speed_begins_anew() {
    let mut run = Run::new(Values::new());
    let mut row = run.one(0, someone(1, 0.5), someone(2, 1.3));
    for ms in [33, 67] {
        row = run.one(ms, someone(1, 0.5), someone(2, 1.3));
    }
    near(row.closing_speed, 0.0, 1e-3);
    let mut hidden = pose(someone(1, 0.5));
    hidden.joints[23][3] = 0.2;
    hidden.joints[19][3] = 0.2;
    let row = run.see(100, &[hidden, pose(someone(2, 1.3))]).remove(0);
    assert!(row.distance.is_nan() && row.closing_speed.is_nan() && row.facing_a.is_nan());
    assert!(row.reach_a.is_nan() && row.reach_b.is_nan(), "no hand of the one, no trunk to reach for the other");
    let row = run.one(133, someone(1, 0.5), someone(2, 1.3));
    assert!(!row.distance.is_nan() && row.closing_speed.is_nan());
    near(run.one(167, someone(1, 0.5), someone(2, 1.3)).closing_speed, 0.0, 1e-3);
}

#[test]
fn fighters_once_named_are_the_only_pair() {
    let mut run = Run::new([("max_pairs", 2)]);
    let people = [(1, 0.3), (2, 0.5), (3, 1.7)].map(|(track, at)| pose(someone(track, at)));
    let pairs = |rows: &[Interaction]| rows.iter().map(|row| (row.track_a, row.track_b)).collect::<Vec<_>>();
    assert_eq!(pairs(&run.see(0, &people)), [(1, 2), (2, 3)], "the nearest two");
    let named = |who: Someone, fighter: &'static str| pose(Someone { fighter, ..who });
    // fighter_1 comes first, whatever its number.
    let (one, two) = (named(someone(3, 1.7), "fighter_1"), named(someone(1, 0.3), "fighter_2"));
    let rows = run.see(33, &[people[1].clone(), two.clone(), one]);
    assert_eq!(pairs(&rows), [(3, 1)]);
    assert_eq!((rows[0].fighter_a.as_str(), rows[0].fighter_b.as_str()), ("fighter_1", "fighter_2"));
    assert_eq!(pairs(&run.see(67, &[people[1].clone(), two])), [], "the referee does not stand in for a fighter");
}

#[test]
fn nobody_and_people_without_identity_make_no_pair() {
    let mut run = Run::new(Values::new());
    assert_eq!(run.see(0, &[]), []);
    assert_eq!(run.see(33, &[pose(someone(0, 0.3)), pose(someone(0, 0.5)), pose(someone(1, 0.9))]), []);
    run.0.skip("poses", Reason::Stride).unwrap();
    assert_eq!(run.0.expect_skipped("interaction"), Reason::Stride);
}

#[test]
fn a_pair_unseen_for_long_begins_anew() {
    let mut run = Run::new([("max_gap", 0.3)]);
    for ms in [0, 33, 67] {
        run.one(ms, someone(1, 0.5), someone(2, 1.3));
    }
    near(run.one(360, someone(1, 0.5), someone(2, 1.3)).closing_speed, 0.0, 1e-3);
    assert!(run.one(700, someone(1, 0.5), someone(2, 1.3)).closing_speed.is_nan());
}

#[test]
fn the_state_survives_being_saved() {
    let mut run = Run::new(Values::new());
    run.one(0, someone(1, 0.5), someone(2, 1.3));
    let saved = serde_json::to_value(run.0.state("test").unwrap()).unwrap();
    let back: sideline_interaction::Pairs = serde_json::from_value(saved.clone()).unwrap();
    assert_ne!(saved, Value::Null);
    assert_eq!(serde_json::to_value(back).unwrap(), saved);
}
