//! What is called out in the pictures: moves at who made them, and sentences below.

use serde_json::json;
use sideline_api::{
    Alignment, Color, Encoding, Frame,
    tables::{Commentary, Move, Track},
    testing::{Harness, Setup},
};
use sideline_render::Render;

fn grey(width: u32, height: u32) -> Frame {
    let bytes = vec![128u8; (width * height * 3 / 2) as usize];
    Frame::from_packed(width, height, Encoding::I420, Color::assumed(height), bytes).unwrap()
}

fn track() -> Track {
    let fighter = "fighter_1".into();
    Track {
        track: 1,
        fighter,
        state: "tracked".into(),
        x1: 250.0,
        y1: 150.0,
        x2: 390.0,
        y2: 330.0,
        score: 0.9,
        class: 0,
        age: 9,
    }
}

fn jab() -> Move {
    Move {
        id: "x".into(),
        track: 1,
        fighter: "fighter_1".into(),
        label: "front_kick".into(),
        start: 0,
        peak: 1,
        end: 2,
        limb: "left_foot".into(),
        confidence: 0.87,
        speed: 9.0,
        labels: String::new(),
        probabilities: vec![],
        models: String::new(),
        weights: vec![],
    }
}

fn said() -> Commentary {
    Commentary {
        text: "Red lands a front kick, and that is a sentence long enough for two lines of this picture.".into(),
        fighter: "fighter_1".into(),
        move_id: "x".into(),
        at: 1,
        excitement: "high".into(),
    }
}

/// Frames in which pixels of a part of the picture are drawn on, of 150; the move and the sentence come with frame 30.
fn drawn(overlays: &[&str], part: [usize; 4]) -> Vec<u64> {
    let inputs =
        ["frames", "tracks", "moves", "commentary"].map(|name| (name, Alignment::Source(sideline_api::SourceId(0))));
    let setup = Setup { inputs: Some(inputs.to_vec()), ..Setup::default() };
    let mut render = Harness::<Render>::with([("overlays", json!(overlays))], setup).unwrap();
    let mut frames = vec![];
    for frame in 0..150 {
        render.push_frame("frames", grey(640, 360)).unwrap();
        render.push("tracks", &[track()]).unwrap();
        let (moves, sentences) = if frame == 30 { (vec![jab()], vec![said()]) } else { (vec![], vec![]) };
        render.push("moves", &moves).unwrap();
        render.push("commentary", &sentences).unwrap();
        let shown = render.expect_frame("overlay");
        let (luma, stride) = shown.plane(0);
        let [x1, y1, x2, y2] = part;
        if (y1..y2).any(|y| luma[y * stride + x1..y * stride + x2].iter().any(|pixel| *pixel != 128)) {
            frames.push(frame);
        }
    }
    frames
}

/// Above the track's box, and where captions stand.
const ABOVE: [usize; 4] = [200, 100, 440, 150];
const BELOW: [usize; 4] = [20, 270, 620, 350];

#[test]
fn a_move_stands_at_its_fighter_for_a_second_and_the_sentence_below() {
    let frames = drawn(&["moves", "captions"], ABOVE);
    assert_eq!((frames.first(), frames.len()), (Some(&30), 31), "{frames:?}");
    let frames = drawn(&["moves", "captions"], BELOW);
    // 1.5 s, and 50 ms for each of 91 letters: beyond the last frame.
    assert_eq!((frames.first(), frames.last()), (Some(&30), Some(&149)), "{frames:?}");
}

#[test]
fn moves_and_captions_can_be_switched_off() {
    assert!(drawn(&["captions"], ABOVE).is_empty());
    assert!(drawn(&["moves"], BELOW).is_empty());
    assert!(!drawn(&["moves"], ABOVE).is_empty());
}
