//! Callouts of moves at the fighter who made them, and captions at the bottom.

use serde_json::json;
use sideline_api::{
    Alignment,
    testing::{Harness, Setup, gray_frame},
};
use sideline_render::Render;
use sideline_sport::{
    Excitement,
    tables::{Commentary, Fighter, FighterName, Move, Track, TrackState},
};

fn track() -> Track {
    Track {
        track: 1,
        state: TrackState::Confirmed,
        x1: 250.0,
        y1: 150.0,
        x2: 390.0,
        y2: 330.0,
        score: 0.9,
        class: 0,
        age: 9,
    }
}

fn front_kick() -> Move {
    Move {
        id: "x".into(),
        track: 1,
        fighter: Fighter::One,
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

fn sentence() -> Commentary {
    Commentary {
        text: "Red lands a front kick, and that is a sentence long enough for two lines of this picture.".into(),
        fighter: Fighter::One,
        move_id: "x".into(),
        at: 1,
        excitement: Excitement::High,
    }
}

/// Returns the frames, of 150, in which something is drawn in a part of the image (left, top, right, bottom). The move and
/// the sentence come with frame 30.
fn frames_with_drawing(overlays: &[&str], part: [usize; 4]) -> Vec<u64> {
    let inputs = ["frames", "tracks", "fighters", "moves", "commentary"]
        .map(|name| (name, Alignment::Source(sideline_api::SourceId(0))));
    let setup = Setup { inputs: Some(inputs.to_vec()), ..Setup::default() };
    let mut render = Harness::<Render>::with([("overlays", json!(overlays))], setup).unwrap();
    let mut frames = vec![];
    for frame in 0..150 {
        render.push_frame("frames", gray_frame(640, 360, 128)).unwrap();
        render.push("tracks", &[track()]).unwrap();
        render.push("fighters", &[FighterName { track: 1, fighter: Fighter::One }]).unwrap();
        let (moves, sentences) = if frame == 30 { (vec![front_kick()], vec![sentence()]) } else { (vec![], vec![]) };
        render.push("moves", &moves).unwrap();
        render.push("commentary", &sentences).unwrap();
        let image = render.expect_frame("overlay");
        let (luma, stride) = image.plane(0);
        let [x1, y1, x2, y2] = part;
        if (y1..y2).any(|y| luma[y * stride + x1..y * stride + x2].iter().any(|pixel| *pixel != 128)) {
            frames.push(frame);
        }
    }
    frames
}

/// Area of callouts above the box of the track.
const CALLOUT_AREA: [usize; 4] = [200, 100, 440, 150];
/// Area of captions.
const CAPTION_AREA: [usize; 4] = [20, 270, 620, 350];

#[test]
fn a_move_is_displayed_at_its_fighter_for_a_second_and_the_sentence_as_a_caption() {
    let frames = frames_with_drawing(&["moves", "captions"], CALLOUT_AREA);
    assert_eq!((frames.first(), frames.len()), (Some(&30), 31), "{frames:?}");
    let frames = frames_with_drawing(&["moves", "captions"], CAPTION_AREA);
    // 1.5 s, and 50 ms for each of 91 characters, which is beyond the last frame.
    assert_eq!((frames.first(), frames.last()), (Some(&30), Some(&149)), "{frames:?}");
}

#[test]
fn moves_and_captions_can_be_disabled() {
    assert!(frames_with_drawing(&["captions"], CALLOUT_AREA).is_empty());
    assert!(frames_with_drawing(&["moves"], CAPTION_AREA).is_empty());
    assert!(!frames_with_drawing(&["moves"], CALLOUT_AREA).is_empty());
}
