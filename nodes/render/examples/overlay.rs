//! Draws a synthetic scene with two fighters and two other people, for inspection and as a benchmark.
//!
//! `cargo run -p sideline-render --example overlay -- WIDTH HEIGHT [IN.yuv [OUT.yuv]]`: input and output are raw I420; the
//! time of drawing one frame is printed to standard output.

use std::{error::Error, time::Instant};

use sideline_api::Color;
use sideline_render::{
    OverlayKind, RenderConfig, RenderState,
    canvas::Canvas,
    overlay::{Overlay, Scene, Style},
    text::TextRenderer,
    viewport::Viewport,
};
use sideline_sport::{
    FighterNames,
    tables::{Fighter, FighterName, JOINTS, Motion, Pose, Track, TrackState},
};

/// Boxer in guard position, seen from her left: joint, x, y in an image of 640 x 720.
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

/// Returns the pose of the boxer, mapped by `map` into an image of 1280 x 720 and scaled to `size`.
fn pose(track: u32, map: impl Fn(f32, f32) -> (f32, f32), size: (f32, f32)) -> Pose {
    let mut joints = [[f32::NAN; 4]; JOINTS];
    let mut rect = [f32::MAX, f32::MAX, f32::MIN, f32::MIN];
    for (joint, x, y) in BOXER {
        let (x, y) = map(x, y);
        joints[joint] = [x / 1280.0, y / 720.0, 0.0, 0.9];
        rect = [rect[0].min(x), rect[1].min(y), rect[2].max(x), rect[3].max(y)];
    }
    let (sx, sy) = (size.0 / 1280.0, size.1 / 720.0);
    Pose {
        track,
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

fn track(pose: &Pose, state: TrackState) -> Track {
    Track {
        track: pose.track,
        state,
        x1: pose.x1,
        y1: pose.y1,
        x2: pose.x2,
        y2: pose.y2,
        score: 0.9,
        class: 0,
        age: 40,
    }
}

fn motion(track: u32, velocity_norm: f32) -> Motion {
    Motion { track, velocity_norm, ..Motion::default() }
}

fn scene(size: (f32, f32)) -> Scene {
    let poses = vec![
        pose(1, |x, y| (640.0 - x, y), size),
        pose(3, |x, y| (640.0 + x, y), size),
        pose(7, |x, y| (540.0 + 0.25 * x, 300.0 + 0.25 * y), size),
        pose(12, |x, y| (1150.0 + 0.3 * x, -60.0 + 0.3 * y), size),
    ];
    let states = [TrackState::Confirmed, TrackState::Confirmed, TrackState::Confirmed, TrackState::Predicted];
    let names = [(1, Fighter::One), (3, Fighter::Two)].map(|(track, fighter)| FighterName { track, fighter });
    Scene {
        names: FighterNames::from_rows(&names),
        tracks: Some(poses.iter().zip(states).map(|(pose, state)| track(pose, state)).collect()),
        motion: Some(vec![motion(1, 31.0), motion(3, 9.0)]),
        poses: Some(poses),
        ..Scene::default()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let (width, height): (u32, u32) = (args[1].parse()?, args[2].parse()?);
    let background = match args.get(3) {
        Some(path) => std::fs::read(path)?,
        None => vec![110; (width * height) as usize * 3 / 2],
    };
    let size = (width as f32, height as f32);
    let scene = scene(size);
    let mut text = TextRenderer::new()?;
    let mut image = vec![];
    let all = vec![OverlayKind::Skeletons, OverlayKind::Boxes, OverlayKind::Labels, OverlayKind::Stats];
    let selections = all.iter().map(|kind| vec![*kind]).chain([all.clone()]);
    for overlays in selections.collect::<Vec<_>>() {
        let config = RenderConfig { overlays, ..RenderConfig::default() };
        let style = Style { config: &config, viewport: Viewport::full_frame(width, height) };
        let state = RenderState::default();
        let stats = Some("29.8 fps   38 ms   dropped 2");
        let mut times_ms = vec![];
        for _ in 0..200 {
            image.clone_from(&background);
            let start = Instant::now();
            let mut canvas = Canvas::new(&mut image, width, height).ok_or("the image is too short")?;
            Overlay::new(&mut canvas, &mut text, Color::default_for_height(height), style).draw(&scene, &state, stats);
            times_ms.push(start.elapsed().as_secs_f64() * 1e3);
        }
        times_ms.sort_by(f64::total_cmp);
        let (p50, p99) = (times_ms[100], times_ms[198]);
        println!("draw {:?} {width}x{height}: p50 {p50:.3} ms, p99 {p99:.3} ms", config.overlays);
    }
    if let Some(out) = args.get(4) {
        std::fs::write(out, &image)?;
    }
    Ok(())
}
