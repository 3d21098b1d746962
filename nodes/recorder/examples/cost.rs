//! Measures the cost of recording the poses of two people per frame as Parquet, as JSON Lines, and as both.
//!
//! `cargo run -p sideline-recorder --example cost -- FOLDER`, with an empty folder. The files are kept.

use std::{path::PathBuf, time::Instant};

use sideline_api::{
    Alignment, Error, Failure, Mode, OrFail, Result,
    testing::{Harness, Setup},
};
use sideline_recorder::Recorder;
use sideline_sport::tables::Pose;

const FRAMES: u32 = 3000;

/// Returns a pose whose joints move at different frequencies, so that values do not repeat, as in a real recording.
fn pose(track: u32, frame: u32) -> Pose {
    let wave = |i: usize| ((frame as f32 * (0.1 + 0.0137 * i as f32)).sin() + 1.0) * (0.3 + track as f32 * 0.1);
    Pose {
        track,
        x1: wave(1) * 500.0,
        y1: wave(2) * 100.0,
        x2: wave(3) * 900.0,
        y2: wave(4) * 700.0,
        score: wave(5),
        model: "blazepose_full".into(),
        aspect: 16.0 / 9.0,
        joints: std::array::from_fn(|j| std::array::from_fn(|k| wave(j * 4 + k))),
        world: std::array::from_fn(|j| std::array::from_fn(|k| if j == 32 { f32::NAN } else { wave(j * 3 + k + 200) })),
    }
}

fn main() -> Result<()> {
    let folder = std::env::args()
        .nth(1)
        .map(PathBuf::from)
        .ok_or_else(|| Error::config("the argument is missing: an empty folder"))?;
    for (parquet, jsonl) in [(true, false), (false, true), (true, true)] {
        let run_dir = folder.join(format!("parquet-{parquet}-jsonl-{jsonl}"));
        std::fs::create_dir_all(&run_dir).or_fail(Failure::Output, || run_dir.display().to_string())?;
        let setup = Setup {
            run_dir: run_dir.clone(),
            inputs: Some(vec![("poses", Alignment::Source(sideline_api::SourceId(0)))]),
            mode: Mode::Live,
            ..Setup::default()
        };
        let mut recorder = Harness::<Recorder>::with([("parquet", parquet), ("jsonl", jsonl)], setup)?;
        let (mut total, mut worst) = (0.0, 0.0_f64);
        for frame in 0..FRAMES {
            let poses = [pose(1, frame), pose(2, frame)];
            let start = Instant::now();
            recorder.push("poses", &poses)?;
            let push_us = start.elapsed().as_secs_f64() * 1e6;
            (total, worst) = (total + push_us, worst.max(push_us));
        }
        let start = Instant::now();
        recorder.close()?;
        let close_ms = start.elapsed().as_secs_f64() * 1e3;
        let size = |name: &str| std::fs::metadata(run_dir.join(name)).map_or(0, |file| file.len() / u64::from(FRAMES));
        println!(
            "parquet {parquet}, jsonl {jsonl}: {:.0} us per frame, worst {worst:.0} us, close {close_ms:.1} ms; \
             bytes per frame: parquet {}, jsonl {}",
            total / f64::from(FRAMES),
            size("poses.parquet"),
            size("poses.jsonl")
        );
    }
    Ok(())
}
