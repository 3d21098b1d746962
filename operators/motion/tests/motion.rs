//! What the motion operator says of bodies whose motion is known.

use std::f32::consts::{FRAC_PI_2, FRAC_PI_4, PI};

use sideline_api::{
    Body, Payload, Reason, Values,
    serde_json::{self, Value},
    tables::{JOINTS, Motion, Pose},
    testing::{Harness, Setup},
};
use sideline_motion::{ANGLES, MotionOperator};

const WRIST: usize = 15;

/// Upright, arms out sideways, right forearm up; torso 0.5 m. Metres, y downwards, from the middle of the hips.
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
        fighter: "fighter_1".into(),
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

/// The body with its left wrist away from its place, metres.
fn reaching(x: f64) -> Pose {
    let mut world = body();
    world[WRIST][0] += x as f32;
    pose(1, world)
}

struct Run(Harness<MotionOperator>);

impl Run {
    /// Frame numbers are tenths of a millisecond, so that a test chooses its times.
    fn new(values: impl Into<Values>) -> Self {
        Run(Harness::with(values, Setup { interval: 100_000, ..Setup::default() }).unwrap())
    }

    fn see(&mut self, seconds: f64, poses: &[Pose]) -> Vec<Motion> {
        let rows = Body::Data(Payload::Table(std::sync::Arc::new(sideline_api::Table::encode(poses))));
        self.0.push_at("poses", (seconds * 1e4).round() as u64, rows).unwrap();
        self.0.expect("motion")
    }

    /// The left wrist along x after it was at each of these places: velocity, acceleration.
    fn wrist(&mut self, times: &[f64], place: impl Fn(f64) -> f64) -> Vec<(f32, f32)> {
        times
            .iter()
            .map(|t| {
                // The place at the time the frame has, rounded to 0.1 ms.
                let row = &self.see(*t, &[reaching(place((t * 1e4).round() * 1e-4))])[0];
                (row.velocity[WRIST][0], row.acceleration[WRIST][0])
            })
            .collect()
    }
}

#[track_caller]
fn near(found: f32, expected: f64, tolerance: f64) {
    assert!((f64::from(found) - expected).abs() <= tolerance, "{found}, expected {expected}");
}

fn regular(fps: f64, seconds: f64) -> Vec<f64> {
    (0..(seconds * fps) as usize).map(|i| i as f64 / fps).collect()
}

#[test]
fn constant_velocity_and_acceleration_are_exact_at_any_frame_rate() {
    let uneven = [0.0, 0.02, 0.07, 0.08, 0.12, 0.2, 0.21, 0.25, 0.33, 0.34];
    for times in [regular(25.0, 0.4), regular(30.0, 0.4), regular(60.0, 0.4), uneven.to_vec()] {
        let steady = Run::new(Values::new()).wrist(&times, |t| 2.0 * t);
        assert!(steady[0].0.is_nan() && steady[1].1.is_nan(), "too little is known yet");
        for (velocity, _) in &steady[1..] {
            near(*velocity, 2.0 / 0.5, 1e-3); // in torsos of 0.5 m
        }
        let faster = Run::new(Values::new()).wrist(&times, |t| 0.3 - t + 3.0 * t * t);
        for (t, (velocity, acceleration)) in times.iter().zip(&faster).skip(2) {
            near(*velocity, (-1.0 + 6.0 * t) / 0.5, 1e-2);
            near(*acceleration, 6.0 / 0.5, 0.1);
        }
    }
}

#[test]
fn the_same_motion_is_the_same_at_25_and_50_frames() {
    let place = |t: f64| 0.1 * (6.0 * t).sin();
    let slow = Run::new(Values::new()).wrist(&regular(25.0, 1.0), place);
    let fast = Run::new(Values::new()).wrist(&regular(50.0, 1.0), place);
    for (i, (velocity, acceleration)) in slow.iter().enumerate().skip(4) {
        near(*velocity, f64::from(fast[2 * i].0), 0.06); // of 1.2 at most
        near(*acceleration, f64::from(fast[2 * i].1), 1.0); // of 7.2
    }
}

#[test]
fn size_and_place_do_not_matter() {
    let run = |scale: f32, shift: f32| {
        let mut run = Run::new(Values::new());
        let mut rows = vec![];
        for i in 0..6 {
            let mut pose = reaching(0.05 * f64::from(i * i));
            pose.world = pose.world.map(|place| place.map(|value| value * scale + shift * i as f32));
            rows = run.see(f64::from(i) / 30.0, &[pose]);
        }
        rows.remove(0)
    };
    let one = run(1.0, 0.0);
    for other in [run(2.5, 0.0), run(1.0, 0.3), run(0.7, -0.2)] {
        for joint in 0..JOINTS {
            for axis in 0..3 {
                near(other.velocity[joint][axis], one.velocity[joint][axis].into(), 1e-3);
                near(other.acceleration[joint][axis], one.acceleration[joint][axis].into(), 0.1);
            }
        }
        near(other.velocity_norm, one.velocity_norm.into(), 1e-3);
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
            let row = &run.see(t, &[reaching(2.0 * t * t)])[0];
            last = (row.velocity[WRIST][0], row.acceleration[WRIST][0]);
            if i >= 2 {
                near(last.0, 4.0 * t / 0.5, 1e-2);
            }
        }
    }
    near(last.1, 4.0 / 0.5, 0.1);
}

#[test]
fn a_lost_joint_is_nan_and_begins_anew() {
    let mut run = Run::new(Values::new());
    let known: Vec<(bool, bool, bool)> = (0..9)
        .map(|i| {
            let t = f64::from(i) / 30.0;
            let mut pose = reaching(t);
            if i == 4 {
                pose.joints[WRIST][3] = 0.2;
            }
            let row = &run.see(t, &[pose])[0];
            assert!(!row.velocity[WRIST + 1][0].is_nan() || i == 0, "the other wrist is not concerned");
            let nan = |value: f32| !value.is_nan();
            (nan(row.velocity[WRIST][0]), nan(row.acceleration[WRIST][0]), nan(row.joint_angles[0]))
        })
        .collect();
    let seen = [(false, false), (true, false), (true, true), (true, true)];
    for (i, (velocity, acceleration, angle)) in known.into_iter().enumerate() {
        let expected = if i == 4 { (false, false) } else { seen[if i < 4 { i } else { (i - 5).min(3) }] };
        assert_eq!((velocity, acceleration), expected, "frame {i}");
        assert_eq!(angle, i != 4, "an angle needs no past");
    }
}

#[test]
fn a_track_unseen_for_long_begins_anew() {
    let mut run = Run::new([("max_gap", 0.3)]);
    run.wrist(&[0.0, 0.04, 0.08], |t| t);
    let rows = run.see(0.38, &[reaching(0.38)]);
    near(rows[0].velocity[WRIST][0], 2.0, 1e-3);
    let rows = run.see(0.69, &[reaching(0.69)]);
    assert_eq!((rows.len(), rows[0].track), (1, 1));
    assert!(rows[0].velocity_norm.is_nan() && rows[0].velocity.as_flattened().iter().all(|v| v.is_nan()));
    run.see(1.5, &[]);
    assert!(run.0.state("test").unwrap().is_empty(), "forgotten");
}

#[test]
fn two_tracks_do_not_mix_and_people_without_one_have_no_row() {
    let mut run = Run::new(Values::new());
    let mut rows = vec![];
    for i in 0..5 {
        let t = f64::from(i) * 0.04;
        let (left, right) = (reaching(t), Pose { track: 2, fighter: "fighter_2".into(), ..reaching(-3.0 * t) });
        let nobody = Pose { track: 0, ..reaching(0.0) };
        // The order of rows changes, the identities do not.
        rows = run.see(t, &if i % 2 == 0 { [left, nobody, right] } else { [right, left, nobody] });
    }
    assert_eq!(
        rows.iter().map(|r| (r.track, r.fighter.as_str())).collect::<Vec<_>>(),
        [(1, "fighter_1"), (2, "fighter_2")]
    );
    near(rows[0].velocity[WRIST][0], 2.0, 1e-3);
    near(rows[1].velocity[WRIST][0], -6.0, 1e-3);
}

#[test]
fn angles_of_a_known_body() {
    let row = &Run::new(Values::new()).see(0.0, &[pose(1, body())])[0];
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
        near(row.joint_angles[i], expected.into(), 1e-5);
    }
}

#[test]
fn the_norm_is_that_of_all_known_velocities() {
    let mut run = Run::new(Values::new());
    let mut row = None;
    for i in 0..3 {
        let mut pose = reaching(0.03 * f64::from(i));
        pose.world[27][1] += 0.04 * i as f32;
        pose.joints[28][3] = f32::NAN;
        row = run.see(f64::from(i) * 0.1, &[pose]).pop();
    }
    // 0.3 and 0.4 m/s are 0.5 together, over a torso of 0.5 m.
    near(row.unwrap().velocity_norm, 1.0, 1e-4);
}

#[test]
fn a_model_without_world_coordinates_gives_rows_of_nan() {
    let mut run = Run::new(Values::new());
    run.see(0.0, &[pose(1, [[f32::NAN; 3]; JOINTS])]);
    let rows = run.see(0.1, &[pose(1, [[f32::NAN; 3]; JOINTS])]);
    assert_eq!(rows.len(), 1);
    assert!(rows[0].velocity_norm.is_nan() && rows[0].joint_angles.iter().all(|angle| angle.is_nan()));
}

#[test]
fn a_run_of_bent_poses_does_not_change_the_scale() {
    let mut run = Run::new(Values::new());
    let mut rows = vec![];
    for i in 0..12 {
        let t = f64::from(i) * 0.04;
        let mut pose = reaching(t);
        if i > 8 {
            pose.world[11][1] = -0.2;
            pose.world[12][1] = -0.2;
        }
        rows = run.see(t, &[pose]);
    }
    near(rows[0].velocity[WRIST][0], 2.0, 1e-3);
}

#[test]
fn two_poses_of_a_track_in_a_frame_divide_by_no_zero() {
    let mut run = Run::new(Values::new());
    run.see(0.0, &[reaching(0.0)]);
    let rows = run.see(0.1, &[reaching(9.0), reaching(0.1)]);
    near(rows[1].velocity[WRIST][0], 2.0, 1e-3);
}

#[test]
fn the_state_survives_being_saved() {
    let mut run = Run::new(Values::new());
    run.wrist(&[0.0, 0.04], |t| t);
    let saved = serde_json::to_value(run.0.state("test").unwrap()).unwrap();
    let back: sideline_motion::People = serde_json::from_value(saved.clone()).unwrap();
    assert_ne!(saved, Value::Null);
    assert_eq!(serde_json::to_value(back).unwrap(), saved);
}
