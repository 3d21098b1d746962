//! Draws a hand-made scene, two fighters and two others, to look at and to measure.
//!
//! `cargo run -p sideline-render --example overlay -- WIDTH HEIGHT [IN.yuv [OUT.yuv]]`: raw I420 in and out;
//! the time of drawing one frame goes to standard output.

use std::{error::Error, time::Instant};

use sideline_api::{
    Color, Config, Values,
    tables::{JOINTS, Motion, Pose, Track},
};
use sideline_render::{
    RenderConfig, Show, Shown,
    canvas::Canvas,
    lens::Lens,
    overlay::{Look, Overlay, Scene},
    text::Text,
};

/// A boxer on her guard, seen from her left: joint, x, y in a picture of 640 x 720.
const BOXER: [(usize, f32, f32); 31] = [
    (0, 425.0, 226.0),
    (2, 437.0, 208.0),
    (5, 429.0, 208.0),
    (7, 470.0, 212.0),
    (8, 452.0, 210.0),
    (11, 505.0, 282.0),
    (12, 472.0, 272.0),
    (13, 424.0, 352.0),
    (14, 446.0, 322.0),
    (15, 396.0, 306.0),
    (16, 432.0, 286.0),
    (17, 380.0, 262.0),
    (18, 416.0, 250.0),
    (19, 386.0, 240.0),
    (20, 426.0, 240.0),
    (21, 398.0, 258.0),
    (22, 434.0, 256.0),
    (23, 534.0, 412.0),
    (24, 494.0, 408.0),
    (25, 526.0, 540.0),
    (26, 448.0, 540.0),
    (27, 602.0, 655.0),
    (28, 432.0, 690.0),
    (29, 618.0, 672.0),
    (30, 440.0, 706.0),
    (31, 580.0, 688.0),
    (32, 384.0, 712.0),
    (1, 437.0, 208.0),
    (3, 440.0, 207.0),
    (4, 429.0, 208.0),
    (6, 428.0, 208.0),
];

/// The boxer in a picture of 1280 x 720, `place` mapping her x.
fn pose(track: u32, fighter: &str, place: impl Fn(f32, f32) -> (f32, f32), size: (f32, f32)) -> Pose {
    let mut joints = [[f32::NAN; 4]; JOINTS];
    let mut rect = [f32::MAX, f32::MAX, f32::MIN, f32::MIN];
    for (joint, x, y) in BOXER {
        let (x, y) = place(x, y);
        joints[joint] = [x / 1280.0, y / 720.0, 0.0, 0.9];
        rect = [rect[0].min(x), rect[1].min(y), rect[2].max(x), rect[3].max(y)];
    }
    let (sx, sy) = (size.0 / 1280.0, size.1 / 720.0);
    Pose {
        track,
        fighter: fighter.into(),
        x1: (rect[0] - 12.0) * sx,
        y1: (rect[1] - 44.0) * sy,
        x2: (rect[2] + 12.0) * sx,
        y2: (rect[3] + 4.0) * sy,
        score: 0.9,
        model: "hand".into(),
        aspect: 16.0 / 9.0,
        joints,
        world: [[0.0; 3]; JOINTS],
    }
}

fn track(of: &Pose, state: &str) -> Track {
    Track {
        track: of.track,
        fighter: of.fighter.clone(),
        state: state.into(),
        x1: of.x1,
        y1: of.y1,
        x2: of.x2,
        y2: of.y2,
        score: 0.9,
        class: 0,
        age: 40,
    }
}

fn motion(track: u32, velocity_norm: f32) -> Motion {
    Motion {
        track,
        fighter: String::new(),
        velocity: [[0.0; 3]; 33],
        acceleration: [[0.0; 3]; 33],
        joint_angles: [0.0; 20],
        velocity_norm,
    }
}

fn scene(size: (f32, f32)) -> Scene {
    let poses = vec![
        pose(1, "fighter_1", |x, y| (640.0 - x, y), size),
        pose(3, "fighter_2", |x, y| (640.0 + x, y), size),
        pose(7, "", |x, y| (540.0 + 0.25 * x, 300.0 + 0.25 * y), size),
        pose(12, "", |x, y| (1150.0 + 0.3 * x, -60.0 + 0.3 * y), size),
    ];
    let states = ["confirmed", "confirmed", "confirmed", "predicted"];
    Scene {
        tracks: Some(poses.iter().zip(states).map(|(pose, state)| track(pose, state)).collect()),
        motion: Some(vec![motion(1, 31.0), motion(3, 9.0)]),
        poses: Some(poses),
        ..Scene::default()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let (width, height): (u32, u32) = (args[1].parse()?, args[2].parse()?);
    let picture = match args.get(3) {
        Some(path) => std::fs::read(path)?,
        None => vec![110; (width * height) as usize * 3 / 2],
    };
    let size = (width as f32, height as f32);
    let scene = scene(size);
    let mut text = Text::new()?;
    let mut drawn = vec![];
    let all = vec![Show::Skeletons, Show::Boxes, Show::Labels, Show::Stats];
    let parts = all.iter().map(|part| vec![*part]).chain([all.clone()]);
    for overlays in parts.collect::<Vec<_>>() {
        let config =
            RenderConfig { overlays, ..RenderConfig::from_values(&Values::new()).map_err(|e| e[0].to_string())? };
        let look = Look { config: &config, lens: Lens::plain(width, height) };
        let shown = Shown::default();
        let stats = Some("29.8 fps   38 ms   dropped 2");
        let mut times = vec![];
        for _ in 0..200 {
            drawn.clone_from(&picture);
            let start = Instant::now();
            let mut canvas = Canvas::new(&mut drawn, width, height).ok_or("the picture is too short")?;
            Overlay::new(&mut canvas, &mut text, Color::assumed(height), look).draw(&scene, &shown, stats);
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        println!("draw {:?} {width}x{height}: p50 {:.3} ms, p99 {:.3} ms", config.overlays, times[100], times[198]);
    }
    if let Some(out) = args.get(4) {
        std::fs::write(out, &drawn)?;
    }
    Ok(())
}
