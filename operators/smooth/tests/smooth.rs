//! Tests of the smoothing operator on joints that rest, strike, vanish and come back.

use sideline_api::{
    Body, Payload, Reason, Table, Values,
    serde_json::{self, Value},
    testing::{Harness, Setup},
};
use sideline_smooth::Smooth;
use sideline_sport::tables::{JOINTS, Pose};

const WRIST: usize = 15;
const ASPECT: f32 = 1.5;

/// Builds an upright person: torso 0.2 frame heights and 0.5 m, left wrist `reach` torso lengths out.
fn pose(reach: f64) -> Pose {
    let mut joints = [[0.4, 0.5, 0.0, 1.0]; JOINTS];
    let mut world = [[0.0; 3]; JOINTS];
    for (joint, x, y) in
        [(11, 0.3, -1.0), (12, -0.3, -1.0), (23, 0.2, 0.0), (24, -0.2, 0.0), (WRIST, 0.3 + reach, -0.8)]
    {
        let (x, y) = (x as f32, y as f32);
        joints[joint] = [0.4 + 0.2 * x / ASPECT, 0.5 + 0.2 * y, 0.0, 1.0];
        world[joint] = [0.5 * x, 0.5 * y, 0.0];
    }
    let model = "hand".into();
    Pose { track: 1, x1: 1.0, y1: 2.0, x2: 3.0, y2: 4.0, score: 0.9, model, aspect: ASPECT, joints, world }
}

/// Returns the reach of the wrist, torso lengths: in the picture and in meters.
fn reach(pose: &Pose) -> [f64; 2] {
    let picture = (pose.joints[WRIST][0] - 0.4) * ASPECT / 0.2 - 0.3;
    [picture.into(), f64::from(pose.world[WRIST][0]) / 0.5 - 0.3]
}

struct Run(Harness<Smooth>);

impl Run {
    /// Creates the operator. Frame numbers are tenths of a millisecond, so that a test chooses its times.
    fn new(values: impl Into<Values>) -> Self {
        Run(Harness::with(values, Setup { interval: 100_000, ..Setup::default() }).unwrap())
    }

    fn push(&mut self, seconds: f64, poses: &[Pose]) -> Vec<Pose> {
        let rows = Body::Data(Payload::Table(std::sync::Arc::new(Pose::encode(poses))));
        self.0.push_at("poses", (seconds * 1e4).round() as u64, rows).unwrap();
        self.0.expect("smoothed_poses")
    }

    fn push_reach(&mut self, seconds: f64, place: f64) -> [f64; 2] {
        reach(&self.push(seconds, &[pose(place)])[0])
    }
}

/// Returns deterministic noise of -0.5 to 0.5: the fractional parts of multiples of an irrational number.
fn noise(i: u32) -> f64 {
    (f64::from(i + 1) * 0.754_877_666).fract() - 0.5
}

#[test]
fn jitter_at_rest_is_halved_in_both_coordinates_at_any_frame_rate() {
    for fps in [25.0, 30.0, 60.0] {
        let mut run = Run::new(Values::new());
        let (mut raw, mut smoothed) = (0.0, [0.0; 2]);
        let mut last = (0.0, [0.0; 2]);
        for i in 0..120 {
            let place = 0.03 * noise(i);
            let found = run.push_reach(f64::from(i) / fps, place);
            if i > 20 {
                raw += (place - last.0).powi(2);
                for k in 0..2 {
                    smoothed[k] += (found[k] - last.1[k]).powi(2);
                }
            }
            last = (place, found);
        }
        assert!(smoothed.iter().all(|sum| *sum < 0.25 * raw), "{fps}: {smoothed:?} of {raw}");
    }
}

#[test]
fn a_fast_strike_lags_by_less_than_a_third_of_a_frame() {
    // A wrist that moves out at 6 torso lengths per second after a rest.
    let place = |t: f64| 6.0 * (t - 0.5).max(0.0);
    for fps in [30.0, 60.0] {
        let mut run = Run::new(Values::new());
        for i in 0..(0.7 * fps) as u32 {
            let t = f64::from(i) / fps;
            let found = run.push_reach(t, place(t));
            // The filter needs the first two frames of the strike to detect it.
            if t > 0.5 + 2.5 / fps {
                for found in found {
                    let behind = (place(t) - found) / 6.0;
                    assert!(behind.abs() < 1.0 / (3.0 * fps), "{fps}: {:.1} ms behind at {t}", behind * 1e3);
                }
            }
        }
    }
}

#[test]
fn a_joint_visible_again_starts_at_its_new_position() {
    let mut run = Run::new(Values::new());
    for i in 0..10 {
        run.push_reach(f64::from(i) / 30.0, 0.0);
    }
    let mut hidden = pose(0.7);
    hidden.joints[WRIST][3] = 0.3;
    assert_eq!(run.push(0.34, std::slice::from_ref(&hidden))[0], hidden, "passed through");
    // Exact up to rounding: no part of the old position remains.
    let back = run.push_reach(0.37, 1.0);
    assert!(back.iter().all(|found| (found - 1.0).abs() < 1e-5), "{back:?}");
}

#[test]
fn a_track_back_after_max_gap_starts_at_its_new_position() {
    let mut run = Run::new([("max_gap", 0.2)]);
    for i in 0..10 {
        run.push_reach(f64::from(i) / 30.0, 0.0);
    }
    assert!(run.push_reach(0.45, 0.1)[0] < 0.09, "a short gap is smoothed over");
    assert_eq!(run.push(0.66, &[pose(0.5)])[0], pose(0.5));
    run.push(1.5, &[]);
    assert!(run.0.state("test").unwrap().is_empty(), "the filters are removed");
}

#[test]
fn other_columns_and_people_without_a_track_are_not_changed() {
    let mut run = Run::new(Values::new());
    let mut untracked = pose(0.0);
    untracked.track = 0;
    for i in 0..5 {
        let t = f64::from(i) / 30.0;
        let step = 0.02 * noise(i);
        let mut flat = pose(step);
        flat.world = [[f32::NAN; 3]; JOINTS];
        flat.joints[0] = [f32::NAN; 4];
        for joint in &mut flat.joints {
            joint[2] = f32::NAN;
        }
        let rows = run.push(t, &[untracked.clone(), flat.clone()]);
        assert_eq!(rows[0], untracked);
        let rest = |pose: &Pose| (pose.track, pose.x1, pose.y2, pose.score, pose.model.clone());
        assert_eq!(rest(&rows[1]), rest(&flat));
        assert!(rows[1].world.as_flattened().iter().all(|value| value.is_nan()));
        assert!(rows[1].joints.iter().all(|joint| joint[2].is_nan()));
        assert!(rows[1].joints[0][0].is_nan() && rows[1].joints[WRIST][3] == 1.0);
        assert!(
            i == 0 || rows[1].joints[WRIST][0] != flat.joints[WRIST][0],
            "a model without world coordinates is smoothed too"
        );
    }
}

#[test]
fn disabling_passes_poses_through_and_enabling_resets_the_filters() {
    let mut run = Run::new(Values::new());
    run.push_reach(0.0, 0.0);
    assert_ne!(run.push(0.03, &[pose(0.1)])[0], pose(0.1));
    run.0.set("enabled", false).unwrap();
    assert_eq!(run.push(0.06, &[pose(0.2)])[0], pose(0.2));
    run.0.set("enabled", true).unwrap();
    assert_eq!(run.push(0.09, &[pose(0.3)])[0], pose(0.3), "no filter state is left from before");
    run.0.set("min_cutoff", 100.0).unwrap();
    let found = run.push_reach(0.12, 0.31)[0];
    assert!((found - 0.31).abs() < 1e-3, "{found}: the key is a live setting");
}

#[test]
fn skipped_frames_and_repeated_times_give_finite_values() {
    let mut run = Run::new(Values::new());
    run.push_reach(0.0, 0.0);
    run.0.skip("poses", Reason::Stride).unwrap();
    assert_eq!(run.0.expect_skipped("smoothed_poses"), Reason::Stride);
    let twice = run.push(0.07, &[pose(0.01), pose(0.02)]);
    assert!(twice.iter().flat_map(reach).all(f64::is_finite));
}

#[test]
fn the_state_survives_serialization() {
    let mut run = Run::new(Values::new());
    run.push_reach(0.0, 0.0);
    run.push_reach(0.03, 0.1);
    let saved = serde_json::to_value(run.0.state("test").unwrap()).unwrap();
    let back: sideline_smooth::SmoothState = serde_json::from_value(saved.clone()).unwrap();
    assert_ne!(saved, Value::Null);
    assert_eq!(serde_json::to_value(back).unwrap(), saved);
}
