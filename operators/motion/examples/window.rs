//! Measures the trade-off of the key `window` between noise and delay: prints the errors on a simulated strike, and the
//! cost.
//!
//! `cargo run -p sideline-motion --example window`
//!
//! In the strike a wrist moves out 0.55 m in 0.2 s and back in 0.25 s, along minimum-jerk paths (Flash and Hogan, J.
//! Neuroscience 5, 1985). Gaussian noise is added to the moving coordinate.

use std::time::Instant;

use sideline_api::{
    Result, Values,
    config::Origin,
    testing::{Harness, Setup},
};
use sideline_eval::Random;
use sideline_sport::tables::{JOINTS, Motion, Pose};

const WRIST: usize = 15;

/// Returns position, velocity and acceleration on a minimum-jerk path of `length` meters in `seconds`.
fn minimum_jerk(t: f64, seconds: f64, length: f64) -> [f64; 3] {
    let s = (t / seconds).clamp(0.0, 1.0);
    let (v, a) = (length / seconds, length / seconds.powi(2));
    [
        length * s.powi(3) * (10.0 - 15.0 * s + 6.0 * s * s),
        v * 30.0 * (s * (1.0 - s)).powi(2),
        a * 60.0 * s * (1.0 - s) * (1.0 - 2.0 * s),
    ]
}

fn strike(t: f64) -> [f64; 3] {
    let (out, back) = (minimum_jerk(t, 0.2, 0.55), minimum_jerk(t - 0.2, 0.25, -0.55));
    std::array::from_fn(|i| out[i] + back[i])
}

/// Builds a body with a torso of one meter, so that values are in meters, and its left wrist at `x`.
fn pose(track: u32, x: f64) -> Pose {
    let mut world = [[0.5, -0.5, 0.0]; JOINTS];
    for (joint, place) in
        [(11, [0.2, -1.0, 0.0]), (12, [-0.2, -1.0, 0.0]), (23, [0.2, 0.0, 0.0]), (24, [-0.2, 0.0, 0.0])]
    {
        world[joint] = place;
    }
    world[WRIST] = [x as f32, -0.8, 0.0];
    let joints = [[0.5, 0.5, 0.0, 1.0]; JOINTS];
    Pose { track, x2: 1.0, y2: 1.0, score: 1.0, aspect: 1.0, joints, world, ..Pose::default() }
}

/// Returns the root mean square errors of velocity (m/s) and acceleration (m/s²).
fn errors(fps: f64, window: f64, sigma: f64) -> Result<(f64, f64)> {
    let mut random = Random::new(7);
    let (mut v, mut a, mut n) = (0.0, 0.0, 0.0);
    for _ in 0..100 {
        let mut values = Values::new();
        values.set("window", window, Origin::CommandLine);
        let mut motion = Harness::<sideline_motion::Motion>::with(
            values,
            Setup { interval: (1e9 / fps) as i64, ..Setup::default() },
        )?;
        let shift = random.uniform() / fps;
        for i in 0..(1.2 * fps) as usize {
            let t = i as f64 / fps - 0.5 + shift;
            let [place, velocity, acceleration] = strike(t);
            motion.push("poses", &[pose(1, place + sigma * random.normal())])?;
            let row: Motion = motion.expect("motion").remove(0);
            if (-0.1..0.6).contains(&t) {
                v += (f64::from(row.velocity[WRIST][0]) - velocity).powi(2);
                a += (f64::from(row.acceleration[WRIST][0]) - acceleration).powi(2);
                n += 1.0;
            }
        }
    }
    Ok(((v / n).sqrt(), (a / n).sqrt()))
}

fn main() -> Result<()> {
    println!("root mean square errors, m/s and m/s^2 (peak of the strike: 5.2 and 79)");
    for fps in [30.0, 60.0] {
        for sigma in [0.005, 0.01, 0.02] {
            println!("{fps} frames per second, noise {sigma} m");
            for window in [0.067, 0.1, 0.134, 0.167, 0.2] {
                let (v, a) = errors(fps, window, sigma)?;
                println!("  window {window:.3} s: velocity {v:.2}, acceleration {a:.1}");
            }
        }
    }
    let mut motion = Harness::<sideline_motion::Motion>::new(Values::new())?;
    let frames = 20_000;
    let poses: Vec<[Pose; 2]> = (0..64).map(|i| [pose(1, 0.01 * f64::from(i)), pose(2, 0.5)]).collect();
    let began = Instant::now();
    for i in 0..frames {
        motion.push("poses", &poses[i % 64])?;
        motion.next_message("motion");
        motion.outcomes();
    }
    println!(
        "two people: {:.1} us per frame, driver and test harness included",
        began.elapsed().as_secs_f64() * 1e6 / frames as f64
    );
    Ok(())
}
