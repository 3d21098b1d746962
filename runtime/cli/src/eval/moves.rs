//! `sideline eval moves`: recordings of known moves, as the product sees them.

mod export;

use sideline_api::{
    Error, Result, Values,
    driver::read_config,
    tables::{JOINTS, Motion, Pose},
};
use sideline_eval::moves::{Joints, Library, RATE, Recording, read_all};
use sideline_motion::{MotionConfig, Person};

use crate::args::EvalMoves;

/// Faulty files of which each has a line of its own in a report; of more only the number is told.
const FAULTS_TOLD: usize = 8;

/// Reads what is below the folder and does what is asked for.
pub fn run(options: &EvalMoves) -> Result<u8> {
    let library = read_all(&options.dir).map_err(|error| Error::input(error.to_string()))?;
    tell_faults(&library);
    export::run(&library, &options.export, options.json)?;
    Ok(0)
}

/// Says on standard error what could not be read.
fn tell_faults(library: &Library) {
    for fault in library.faults.iter().take(FAULTS_TOLD) {
        eprintln!("{fault}");
    }
    if library.faults.len() > FAULTS_TOLD {
        eprintln!("and {} more files with faults", library.faults.len() - FAULTS_TOLD);
    }
}

/// The motion of each frame of a recording, by the product's own operator with its own defaults.
fn motion(recording: &Recording) -> Result<Vec<Motion>> {
    let config: MotionConfig = read_config(&Values::new(), "motion")?;
    let mut person = Person::default();
    let frames = recording.frames.iter().enumerate();
    Ok(frames.map(|(at, joints)| person.see(&pose(joints, recording.hips_are_origin), pts(at), &config)).collect())
}

/// Media time of a frame, ns.
fn pts(frame: usize) -> i64 {
    (frame as f64 * 1e9 / RATE).round() as i64
}

/// Joints as a pose model would have told them: what is NaN is there and hidden.
fn pose(joints: &Joints, hips_are_origin: bool) -> Pose {
    let mut world = *joints;
    if hips_are_origin && joints.iter().any(|joint| joint[0].is_finite()) {
        sideline_api::body::HIPS.into_iter().for_each(|hip| world[hip] = [0.0; 3]);
    }
    let seen = |joint: usize| if joints[joint][0].is_finite() { 1.0 } else { 0.0 };
    Pose {
        track: 1,
        fighter: "fighter_1".into(),
        x1: 0.0,
        y1: 0.0,
        x2: 0.0,
        y2: 0.0,
        score: 1.0,
        model: "recorded".into(),
        aspect: 1.0,
        joints: std::array::from_fn::<_, JOINTS, _>(|joint| {
            let [x, y, z] = world[joint];
            [x, y, z, seen(joint)]
        }),
        world,
    }
}
