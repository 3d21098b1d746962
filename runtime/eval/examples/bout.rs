//! Writes a generated bout as JSON, for inspection: `cargo run --example bout -- [SEED] [LABEL] > bout.json`. With a
//! label it is a drill of that move.

use sideline_eval::bout::{Bout, BoutSettings};

fn main() -> Result<(), String> {
    let mut words = std::env::args().skip(1);
    let seed = words.next().map_or(Ok(1), |word| word.parse().map_err(|_| format!("{word:?} is not a seed")))?;
    let settings = match words.next() {
        Some(label) => BoutSettings::drill(seed, &label)?,
        None => BoutSettings { seed, ..BoutSettings::default() },
    };
    let bout = Bout::generate(&settings);
    let frames: Vec<_> =
        bout.frames.iter().map(|poses| poses.iter().map(|pose| pose.joints.to_vec()).collect::<Vec<_>>()).collect();
    let world: Vec<_> =
        bout.frames.iter().map(|poses| poses.iter().map(|pose| pose.world.to_vec()).collect::<Vec<_>>()).collect();
    let strikes = bout.strikes.iter().map(|s| {
        serde_json::json!({"fighter": s.fighter, "label": s.label, "limb": s.limb, "speed": s.speed,
            "frames": [s.start_frame, s.peak_frame, s.end_frame], "seconds": [s.start, s.peak, s.end]})
    });
    let strikes: Vec<_> = strikes.collect();
    println!("{}", serde_json::json!({"rate": settings.rate, "frames": frames, "world": world, "strikes": strikes}));
    Ok(())
}
