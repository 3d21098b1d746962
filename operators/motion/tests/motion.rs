//! Tests of the motion operator on bodies with known motion.

use std::f32::consts::{FRAC_PI_2, FRAC_PI_4, PI};

use sideline_api::{
    Body, Payload, Reason, Values,
    serde_json::{self, Value},
    testing::{Harness, Setup},
};
use sideline_motion::ANGLES;
use sideline_sport::tables::{JOINTS, Motion, Pose};

const WRIST: usize = 15;

/// Builds an upright body, arms out sideways, right forearm up, torso 0.5 m. Meters from the midpoint of the hips, y
/// downwards.
fn body() -> [[f32; 3]; JOINTS] {
    let mut at = [[0.0, -0.8, 0.0]; JOINTS];
    for (joint, x, y) in [
        (11, 0.2, -0.5), // left shoulder, elbow, wrist, finger
        (13, 0.5, -0.5),
        (15, 0.8, -0.5),
        (19, 0.9, -0.5),
        (12, -0.2, -0.5), // right
        (14, -0.5, -0.5),
        (16, -0.5, -0.8),
        (20, -0.5, -0.9),
        (23, 0.2, 0.0), // left hip, knee, ankle, toes
        (25, 0.2, 0.4),
        (27, 0.2, 0.8),
        (31, 0.2, 0.9),
        (24, -0.2, 0.0), // right, the knee out to the side
        (26, -0.6, 0.4),
        (28, -0.6, 0.8),
        (32, -0.6, 0.9),
    ] {
        at[joint] = [x, y, 0.0];
    }
    at
}

fn pose(track: u32, world: [[f32; 3]; JOINTS]) -> Pose {
    Pose {
        track,
        x1: 0.0,
        y1: 0.0,
        x2: 1.0,
        y2: 1.0,
        score: 1.0,
        model: "test".into(),
        aspect: 16.0 / 9.0,
        joints: [[0.0, 0.0, 0.0, 1.0]; JOINTS],
        world,
    }
}

/// Builds the body with its left wrist moved by `x` meters.
fn reaching(x: f64) -> Pose {
    let mut world = body();
    world[WRIST][0] += x as f32;
    pose(1, world)
}

struct Run(Harness<sideline_motion::Motion>);

impl Run {
    /// Creates the operator. Frame numbers are tenths of a millisecond, so that a test chooses its times.
    fn new(values: impl Into<Values>) -> Self {
        Run(Harness::with(values, Setup { interval: 100_000, ..Setup::default() }).unwrap())
    }

    fn push(&mut self, seconds: f64, poses: &[Pose]) -> Vec<Motion> {
        let rows = Body::Data(Payload::Table(std::sync::Arc::new(sideline_api::Table::encode(poses))));
        self.0.push_at("poses", (seconds * 1e4).round() as u64, rows).unwrap();
        self.0.expect("motion")
    }

    /// Moves the left wrist along x by `place` and returns its velocity and acceleration at each time.
    fn wrist(&mut self, times: &[f64], place: impl Fn(f64) -> f64) -> Vec<(f32, f32)> {
        times
            .iter()
            .map(|t| {
                // The position at the time of the frame, which is rounded to 0.1 ms.
                let row = &self.push(*t, &[reaching(place((t * 1e4).round() * 1e-4))])[0];
                (row.velocity[WRIST][0], row.acceleration[WRIST][0])
            })
            .collect()
    }
}

#[track_caller]
fn assert_near(found: f32, expected: f64, tolerance: f64) {
    assert!((f64::from(found) - expected).abs() <= tolerance, "{found}, expected {expected}");
}

fn regular_times(fps: f64, seconds: f64) -> Vec<f64> {
    (0..(seconds * fps) as usize).map(|i| i as f64 / fps).collect()
}

#[test]
fn constant_velocity_and_acceleration_are_exact_at_any_frame_rate() {
    let uneven = [0.0, 0.02, 0.07, 0.08, 0.12, 0.2, 0.21, 0.25, 0.33, 0.34];
    for times in [regular_times(25.0, 0.4), regular_times(30.0, 0.4), regular_times(60.0, 0.4), uneven.to_vec()] {
        let steady = Run::new(Values::new()).wrist(&times, |t| 2.0 * t);
        assert!(steady[0].0.is_nan() && steady[1].1.is_nan(), "too few samples");
        for (velocity, _) in &steady[1..] {
            assert_near(*velocity, 2.0 / 0.5, 1e-3); // in torso lengths of 0.5 m
        }
        let faster = Run::new(Values::new()).wrist(&times, |t| 0.3 - t + 3.0 * t * t);
        for (t, (velocity, acceleration)) in times.iter().zip(&faster).skip(2) {
            assert_near(*velocity, (-1.0 + 6.0 * t) / 0.5, 1e-2);
            assert_near(*acceleration, 6.0 / 0.5, 0.1);
        }
    }
}

#[test]
fn motion_does_not_depend_on_the_frame_rate() {
    let place = |t: f64| 0.1 * (6.0 * t).sin();
    let slow = Run::new(Values::new()).wrist(&regular_times(25.0, 1.0), place);
    let fast = Run::new(Values::new()).wrist(&regular_times(50.0, 1.0), place);
    for (i, (velocity, acceleration)) in slow.iter().enumerate().skip(4) {
        assert_near(*velocity, f64::from(fast[2 * i].0), 0.06); // the velocity is 1.2 at most
        assert_near(*acceleration, f64::from(fast[2 * i].1), 1.0); // the acceleration is 7.2 at most
    }
}

#[test]
fn motion_does_not_depend_on_size_and_position() {
    let run = |scale: f32, shift: f32| {
        let mut run = Run::new(Values::new());
        let mut rows = vec![];
        for i in 0..6 {
            let mut pose = reaching(0.05 * f64::from(i * i));
            pose.world = pose.world.map(|place| place.map(|value| value * scale + shift * i as f32));
            rows = run.push(f64::from(i) / 30.0, &[pose]);
        }
        rows.remove(0)
    };
    let one = run(1.0, 0.0);
    for other in [run(2.5, 0.0), run(1.0, 0.3), run(0.7, -0.2)] {
        for joint in 0..JOINTS {
            for axis in 0..3 {
                assert_near(other.velocity[joint][axis], one.velocity[joint][axis].into(), 1e-3);
                assert_near(other.acceleration[joint][axis], one.acceleration[joint][axis].into(), 0.1);
            }
        }
        assert_near(other.velocity_norm, one.velocity_norm.into(), 1e-3);
    }
}

#[test]
fn skipped_frames_only_widen_the_step() {
    let mut run = Run::new(Values::new());
    let mut last = (0.0, 0.0);
    for i in 0..12 {
        let t = f64::from(i) * 0.04;
        if [4, 5, 6, 9].contains(&i) {
            run.0.skip("poses", Reason::Stride).unwrap();
            assert_eq!(run.0.expect_skipped("motion"), Reason::Stride);
        } else {
            let row = &run.push(t, &[reaching(2.0 * t * t)])[0];
            last = (row.velocity[WRIST][0], row.acceleration[WRIST][0]);
            if i >= 2 {
                assert_near(last.0, 4.0 * t / 0.5, 1e-2);
            }
        }
    }
    assert_near(last.1, 4.0 / 0.5, 0.1);
}

#[test]
fn a_joint_that_was_hidden_has_no_history() {
    let mut run = Run::new(Values::new());
    let known: Vec<(bool, bool, bool)> = (0..9)
        .map(|i| {
            let t = f64::from(i) / 30.0;
            let mut pose = reaching(t);
            if i == 4 {
                pose.joints[WRIST][3] = 0.2;
            }
            let row = &run.push(t, &[pose])[0];
            assert!(!row.velocity[WRIST + 1][0].is_nan() || i == 0, "the other wrist keeps its history");
            let is_known = |value: f32| !value.is_nan();
            (is_known(row.velocity[WRIST][0]), is_known(row.acceleration[WRIST][0]), is_known(row.joint_angles[0]))
        })
        .collect();
    let since_visible = [(false, false), (true, false), (true, true), (true, true)];
    for (i, (velocity, acceleration, angle)) in known.into_iter().enumerate() {
        let expected = if i == 4 { (false, false) } else { since_visible[if i < 4 { i } else { (i - 5).min(3) }] };
        assert_eq!((velocity, acceleration), expected, "frame {i}");
        assert_eq!(angle, i != 4, "an angle needs no history");
    }
}

#[test]
fn a_track_has_no_history_after_max_gap() {
    let mut run = Run::new([("max_gap", 0.3)]);
    run.wrist(&[0.0, 0.04, 0.08], |t| t);
    let rows = run.push(0.38, &[reaching(0.38)]);
    assert_near(rows[0].velocity[WRIST][0], 2.0, 1e-3);
    let rows = run.push(0.69, &[reaching(0.69)]);
    assert_eq!((rows.len(), rows[0].track), (1, 1));
    assert!(rows[0].velocity_norm.is_nan() && rows[0].velocity.as_flattened().iter().all(|v| v.is_nan()));
    run.push(1.5, &[]);
    assert!(run.0.state("test").unwrap().is_empty(), "the history is discarded");
}

#[test]
fn tracks_are_separate_and_people_without_a_track_have_no_row() {
    let mut run = Run::new(Values::new());
    let mut rows = vec![];
    for i in 0..5 {
        let t = f64::from(i) * 0.04;
        let (left, right) = (reaching(t), Pose { track: 2, ..reaching(-3.0 * t) });
        let untracked = Pose { track: 0, ..reaching(0.0) };
        // The order of rows changes, the identities do not.
        rows = run.push(t, &if i % 2 == 0 { [left, untracked, right] } else { [right, left, untracked] });
    }
    assert_eq!(rows.iter().map(|r| r.track).collect::<Vec<_>>(), [1, 2]);
    assert_near(rows[0].velocity[WRIST][0], 2.0, 1e-3);
    assert_near(rows[1].velocity[WRIST][0], -6.0, 1e-3);
}

#[test]
fn angles_of_a_body_are_those_of_its_construction() {
    let row = &Run::new(Values::new()).push(0.0, &[pose(1, body())])[0];
    for (name, expected) in [
        ("left_elbow", PI),
        ("right_elbow", FRAC_PI_2),
        ("left_armpit", FRAC_PI_2),
        ("left_shoulder", PI),
        ("left_hip", PI),
        ("right_hip", PI - FRAC_PI_4),
        ("left_groin", FRAC_PI_2),
        ("left_knee", PI),
        ("right_knee", PI - FRAC_PI_4),
        ("right_ankle", PI),
        ("right_wrist", PI),
    ] {
        let i = ANGLES.iter().position(|angle| angle.0 == name).unwrap();
        assert_near(row.joint_angles[i], expected.into(), 1e-5);
    }
}

#[test]
fn velocity_norm_covers_all_known_velocities() {
    let mut run = Run::new(Values::new());
    let mut row = None;
    for i in 0..3 {
        let mut pose = reaching(0.03 * f64::from(i));
        pose.world[27][1] += 0.04 * i as f32;
        pose.joints[28][3] = f32::NAN;
        row = run.push(f64::from(i) * 0.1, &[pose]).pop();
    }
    // 0.3 and 0.4 m/s are 0.5 together, over a torso of 0.5 m.
    assert_near(row.unwrap().velocity_norm, 1.0, 1e-4);
}

#[test]
fn a_model_without_world_coordinates_gives_rows_of_nan() {
    let mut run = Run::new(Values::new());
    run.push(0.0, &[pose(1, [[f32::NAN; 3]; JOINTS])]);
    let rows = run.push(0.1, &[pose(1, [[f32::NAN; 3]; JOINTS])]);
    assert_eq!(rows.len(), 1);
    assert!(rows[0].velocity_norm.is_nan() && rows[0].joint_angles.iter().all(|angle| angle.is_nan()));
}

#[test]
fn bent_poses_do_not_change_the_torso_length() {
    let mut run = Run::new(Values::new());
    let mut rows = vec![];
    for i in 0..12 {
        let t = f64::from(i) * 0.04;
        let mut pose = reaching(t);
        if i > 8 {
            pose.world[11][1] = -0.2;
            pose.world[12][1] = -0.2;
        }
        rows = run.push(t, &[pose]);
    }
    assert_near(rows[0].velocity[WRIST][0], 2.0, 1e-3);
}

#[test]
fn two_poses_of_a_track_in_a_frame_give_finite_values() {
    let mut run = Run::new(Values::new());
    run.push(0.0, &[reaching(0.0)]);
    let rows = run.push(0.1, &[reaching(9.0), reaching(0.1)]);
    assert_near(rows[1].velocity[WRIST][0], 2.0, 1e-3);
}

#[test]
fn the_state_survives_serialization() {
    let mut run = Run::new(Values::new());
    run.wrist(&[0.0, 0.04], |t| t);
    let saved = serde_json::to_value(run.0.state("test").unwrap()).unwrap();
    let back: sideline_motion::MotionState = serde_json::from_value(saved.clone()).unwrap();
    assert_ne!(saved, Value::Null);
    assert_eq!(serde_json::to_value(back).unwrap(), saved);
}

#[test]
fn the_names_of_the_angles_are_those_of_the_table() {
    assert_eq!(ANGLES.map(|(name, _)| name), sideline_sport::body::ANGLE_NAMES);
}
