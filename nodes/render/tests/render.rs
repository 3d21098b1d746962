//! Behavior of the node in a run: frames and tables as inputs, rendered frames as output.

use std::sync::Arc;

use serde_json::json;
use sideline_api::{
    Alignment, Color, Encoding, Failure, Frame, Mode, Operator, Reason,
    config::{Config, Values},
    testing::{Harness, Setup, gray_frame},
};
use sideline_render::{Render, RenderConfig};
use sideline_sport::tables::{Fighter, FighterName, JOINTS, Motion, Pose, Track, TrackState};

const SIZE: (u32, u32) = (320, 240);

/// Returns the track number of a fighter or another person.
fn number(fighter: Fighter) -> u32 {
    fighter.index().map_or(3, |index| index as u32 + 1)
}

/// Returns a pose of which only the left upper arm is visible, along y = 120 from x = 80 to 240.
fn arm(fighter: Fighter) -> Pose {
    let mut joints = [[f32::NAN; 4]; JOINTS];
    joints[11] = [0.25, 0.5, 0.0, 0.9];
    joints[13] = [0.75, 0.5, 0.0, 0.9];
    Pose {
        track: number(fighter),
        x1: 60.0,
        y1: 10.0,
        x2: 260.0,
        y2: 230.0,
        score: 0.9,
        model: "hand".into(),
        aspect: 16.0 / 9.0,
        joints,
        world: [[0.0; 3]; JOINTS],
    }
}

fn track(state: TrackState, [x1, y1, x2, y2]: [f32; 4]) -> Track {
    Track { track: 1, state, x1, y1, x2, y2, score: 0.9, class: 0, age: 9 }
}

/// Returns a configuration with only these overlays.
fn only(overlays: &[&str]) -> Values {
    Values::from([("overlays", json!(overlays))])
}

fn wired() -> Option<Vec<(&'static str, Alignment)>> {
    Some(
        ["frames", "poses", "tracks", "fighters", "motion"]
            .map(|name| (name, Alignment::Source(sideline_api::SourceId(0))))
            .to_vec(),
    )
}

struct Bench {
    render: Harness<Render>,
}

impl Bench {
    fn new(values: Values) -> Self {
        Self::with(values, Setup::default())
    }

    fn with(values: Values, setup: Setup) -> Self {
        let inputs = setup.inputs.or_else(wired);
        Self { render: Harness::with(values, Setup { inputs, ..setup }).unwrap() }
    }

    /// Pushes a frame with all its tables and returns the rendered frame.
    fn draw(&mut self, frame: Frame, poses: &[Pose], tracks: &[Track]) -> Drawn {
        self.push(frame, poses, tracks);
        Drawn(self.render.expect_frame("overlay"))
    }

    fn push(&mut self, frame: Frame, poses: &[Pose], tracks: &[Track]) {
        self.render.push_frame("frames", frame).unwrap();
        self.render.push("poses", poses).unwrap();
        self.render.push("tracks", tracks).unwrap();
        let names = Fighter::FIGHTERS.map(|fighter| FighterName { track: number(fighter), fighter });
        self.render.push("fighters", &names).unwrap();
        self.render.push::<Motion>("motion", &[]).unwrap();
    }

    fn skip_tables(&mut self, frame: Frame) {
        self.render.push_frame("frames", frame).unwrap();
        for table in ["poses", "tracks", "fighters", "motion"] {
            self.render.skip(table, Reason::Error).unwrap();
        }
    }
}

struct Drawn(Arc<Frame>);

impl Drawn {
    fn y(&self, x: usize, y: usize) -> u8 {
        let (luma, stride) = self.0.plane(0);
        luma[y * stride + x]
    }

    /// Returns U and V at a pixel.
    fn uv(&self, x: usize, y: usize) -> (u8, u8) {
        let [u, v] = [1, 2].map(|i| {
            let (plane, stride) = self.0.plane(i);
            plane[y / 2 * stride + x / 2]
        });
        (u, v)
    }

    /// Returns the number of pixels that differ from the background.
    fn drawn_pixels(&self) -> usize {
        self.0.plane(0).0.iter().filter(|y| y.abs_diff(90) > 6).count()
    }
}

#[test]
fn a_limb_is_drawn_at_its_position_in_the_color_of_the_fighter() {
    let mut bench = Bench::new(only(&["skeletons"]));
    let frames = [Fighter::One, Fighter::Two, Fighter::None]
        .map(|fighter| bench.draw(gray_frame(SIZE.0, SIZE.1, 90), &[arm(fighter)], &[]));
    for frame in &frames {
        assert!(frame.y(160, 120).abs_diff(90) > 20, "on the arm: {}", frame.y(160, 120));
        assert!(frame.y(160, 100).abs_diff(90) < 4 && frame.y(40, 120).abs_diff(90) < 4, "beside it");
    }
    let (u, v) = frames[0].uv(160, 120);
    assert!(v > 150 && u < 110, "fighter_1 is red to orange: {u}, {v}");
    let (u, v) = frames[1].uv(160, 120);
    assert!(u > 140 && v < 110, "fighter_2 is blue to cyan: {u}, {v}");
    let (u, v) = frames[2].uv(160, 120);
    assert!(u.abs_diff(128) < 8 && v.abs_diff(128) < 8, "other people are gray: {u}, {v}");
}

#[test]
fn occluded_and_missing_joints_are_not_drawn() {
    let mut bench = Bench::new(only(&["skeletons"]));
    let mut hidden = arm(Fighter::One);
    hidden.joints[13][3] = 0.3;
    hidden.joints[11] = [f32::NAN, 0.5, 0.0, 0.9];
    assert_eq!(bench.draw(gray_frame(SIZE.0, SIZE.1, 90), &[hidden], &[]).drawn_pixels(), 0);
}

#[test]
fn boxes_are_clipped_at_the_image_and_invalid_boxes_are_left_out() {
    let mut bench = Bench::new(only(&["boxes", "labels", "skeletons"]));
    let rects = [
        [-500.0, -500.0, 100.0, 120.0],
        [300.0, 200.0, 9000.0, 9000.0],
        [f32::NAN, 0.0, 50.0, 50.0],
        [f32::NEG_INFINITY, 0.0, f32::INFINITY, 50.0],
        [200.0, 200.0, 100.0, 100.0],
        [-90.0, -90.0, -10.0, -10.0],
        [1e9, 1e9, 2e9, 2e9],
    ];
    let frames = rects.map(|rect| {
        bench.draw(gray_frame(SIZE.0, SIZE.1, 90), &[arm(Fighter::Two)], &[track(TrackState::Confirmed, rect)])
    });
    bench.draw(gray_frame(5, 3, 90), &[arm(Fighter::None)], &[track(TrackState::Confirmed, [0.0, 0.0, 4.0, 2.0])]);
    let (_, v) = frames[0].uv(99, 50);
    assert!(v > 136, "the right edge of the first box is in the image, and red: {v}");
}

#[test]
fn labels_are_moved_into_the_image_and_tentative_tracks_have_none() {
    let label = |state: TrackState, rect| {
        let mut bench = Bench::new(only(&["labels"]));
        bench.draw(gray_frame(SIZE.0, SIZE.1, 90), &[], &[track(state, rect)]).drawn_pixels()
    };
    let whole = label(TrackState::Confirmed, [100.0, 100.0, 200.0, 200.0]);
    assert!(whole > 300, "{whole} px");
    for rect in [[-40.0, -30.0, 60.0, 100.0], [300.0, 4.0, 400.0, 90.0], [310.0, 230.0, 400.0, 300.0]] {
        let moved = label(TrackState::Confirmed, rect);
        assert!(moved.abs_diff(whole) < whole / 20, "{rect:?}: {moved} of {whole} px");
    }
    assert_eq!(label(TrackState::Tentative, [100.0, 100.0, 200.0, 200.0]), 0);
}

#[test]
fn labels_of_overlapping_people_do_not_overlap() {
    let drawn = |fighters: &[Fighter]| {
        let mut bench = Bench::new(only(&["labels"]));
        let rect = [100.0, 100.0, 200.0, 200.0];
        let tracks: Vec<Track> = fighters
            .iter()
            .map(|fighter| Track { track: number(*fighter), ..track(TrackState::Confirmed, rect) })
            .collect();
        bench.draw(gray_frame(SIZE.0, SIZE.1, 90), &[], &tracks).drawn_pixels()
    };
    let (one, other) = (drawn(&[Fighter::One]), drawn(&[Fighter::Two]));
    assert!(drawn(&[Fighter::One, Fighter::Two]).abs_diff(one + other) < one / 20);
}

#[test]
fn statistics_repeat_in_complete_mode_and_follow_the_clock_in_live_mode() {
    let run = |mode, step: i64| {
        let mut bench = Bench::with(only(&["stats"]), Setup { mode, ..Setup::default() });
        let draw = |_| {
            bench.render.clock().advance(step);
            bench.skip_tables(gray_frame(SIZE.0, SIZE.1, 90));
            bench.render.expect_frame("overlay").plane(0).0.to_vec()
        };
        (0..40).map(draw).collect::<Vec<_>>()
    };
    assert!(run(Mode::Complete, 33_000_000) == run(Mode::Complete, 71_000_000), "independent of the clock");
    assert!(run(Mode::Live, 33_000_000) != run(Mode::Live, 71_000_000));
}

#[test]
fn frames_of_every_encoding_are_rendered() {
    let mut bench = Bench::new(only(&["skeletons"]));
    let (w, h) = SIZE;
    for (encoding, bytes) in [(Encoding::Nv12, w * h * 3 / 2), (Encoding::Rgb8, w * h * 3), (Encoding::Bgr8, w * h * 3)]
    {
        let frame =
            Frame::from_packed(w, h, encoding, Color::default_for_height(h), vec![128u8; bytes as usize]).unwrap();
        let drawn = bench.draw(frame, &[arm(Fighter::One)], &[]);
        let (u, v) = drawn.uv(160, 120);
        assert!(v > 150 && u < 120, "{u}, {v}");
        assert!(drawn.uv(160, 60).0.abs_diff(128) < 4);
    }
}

#[test]
fn live_keys_change_the_next_frame() {
    let mut bench = Bench::new(only(&["skeletons"]));
    let before = bench.draw(gray_frame(SIZE.0, SIZE.1, 90), &[arm(Fighter::One)], &[]).drawn_pixels();
    bench.render.set("overlays", "[boxes]").unwrap();
    let after = bench.draw(gray_frame(SIZE.0, SIZE.1, 90), &[arm(Fighter::One)], &[]).drawn_pixels();
    assert!(before > 100 && after == 0, "{before} {after}");
    let error = bench.render.set("overlays", "[bals]").unwrap_err();
    assert!(
        error.message.contains("`bals` is none of skeletons, boxes,") && error.message.contains("did you mean `ball`?"),
        "{error}"
    );
    bench.render.set("overlays", "[skeletons]").unwrap();
    assert!(bench.render.set("crop", "[1, 2]").is_err());
    let unchanged = bench.draw(gray_frame(SIZE.0, SIZE.1, 90), &[arm(Fighter::One)], &[]).drawn_pixels();
    assert_eq!(unchanged, before, "the refused value changed nothing");
}

#[test]
fn the_spec_declares_one_required_input_and_the_live_keys() {
    let spec = Render::spec();
    assert_eq!((spec.name, spec.is_heavy, spec.outputs.len()), ("render", true, 1));
    let required: Vec<_> = spec.inputs.iter().filter(|port| port.required).map(|port| port.name).collect();
    assert_eq!(required, ["frames"]);
    let live: Vec<_> = RenderConfig::keys().into_iter().filter(|key| key.live).map(|key| key.name).collect();
    assert_eq!(live, ["overlays", "visibility", "follow", "crop", "home", "away", "pitch"]);
}

#[test]
fn a_frame_with_other_readers_is_not_modified() {
    let mut bench = Bench::new(only(&["boxes"]));
    let frame = gray_frame(SIZE.0, SIZE.1, 90);
    let drawn = bench.draw(frame.clone(), &[], &[track(TrackState::Confirmed, [100.0, 100.0, 200.0, 200.0])]);
    assert_eq!((drawn.0.width(), drawn.0.height(), drawn.0.encoding()), (SIZE.0, SIZE.1, Encoding::I420));
    assert!(drawn.drawn_pixels() > 300 && frame.plane(0).0.iter().all(|luma| *luma == 90));
}

#[test]
fn a_flow_without_a_reader_of_the_overlay_does_not_start() {
    let setup = Setup { read_outputs: Some(vec![]), inputs: wired(), ..Setup::default() };
    let error = Harness::<Render>::with(only(&[]), setup).map(|_| ()).unwrap_err();
    assert!(error.failure == Failure::Config && error.message.contains("`encode`"), "{error}");
}
