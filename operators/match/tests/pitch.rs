//! Tests of the operator `pitch`: places of people and the ball.

mod support;

use sideline_api::{
    Alignment, Color, Encoding, Frame, Values,
    testing::{Harness, Setup},
};
use sideline_match::Pitch;
use sideline_sport::tables::{Place, Track, TrackState, Unit};
use support::{SCALE, ball_at, person_at, write_calibration};

fn pitch_harness(values: impl Into<Values>, wired: &[&'static str]) -> sideline_api::Result<Harness<Pitch>> {
    let inputs = wired.iter().map(|name| (*name, Alignment::Source(sideline_api::SourceId(0)))).collect();
    Harness::with(values, Setup { inputs: Some(inputs), ..Setup::default() })
}

#[test]
fn people_and_ball_are_placed_in_meters_with_a_calibration() {
    let folder = tempfile::tempdir().unwrap();
    let path = write_calibration(folder.path()).display().to_string();
    let mut pitch = pitch_harness([("calibration", path)], &["tracks", "ball"]).unwrap();
    pitch
        .push("tracks", &[person_at(7, [30.0, 20.0]), Track { state: TrackState::Lost, ..person_at(8, [1.0, 1.0]) }])
        .unwrap();
    pitch.push("ball", &[ball_at([104.9, 68.9])]).unwrap();
    let places: Vec<Place> = pitch.expect("places");
    assert_eq!(places.iter().map(|place| place.track).collect::<Vec<_>>(), [7, 0], "a lost track has no place");
    assert!((places[0].x - 30.0).abs() < 1e-3 && (places[0].y - 20.0).abs() < 1e-3, "{places:?}");
    assert!(places[0].inside && !places[1].inside && places[0].scale == 1.0 && places[0].unit == Unit::Meters);
    assert!((places[1].y - 68.9).abs() < 1e-3, "the ball's lowest point");
}

#[test]
fn a_ball_in_the_hands_is_placed_at_its_holders_feet() {
    let folder = tempfile::tempdir().unwrap();
    let path = write_calibration(folder.path()).display().to_string();
    let mut pitch = pitch_harness([("calibration", path)], &["tracks", "ball"]).unwrap();
    pitch.push("tracks", &[person_at(7, [30.0, 20.0])]).unwrap();
    // One meter above the feet is one meter up in the frame, which is one meter farther away on the ground.
    pitch.push("ball", &[ball_at([30.1, 19.0])]).unwrap();
    let places: Vec<Place> = pitch.expect("places");
    assert!((places[1].y - 20.0).abs() < 1e-3 && (places[1].x - 30.1).abs() < 1e-3, "{places:?}");
}

#[test]
fn places_without_a_calibration_are_in_pixels_with_a_scale() {
    let mut pitch = pitch_harness(Values::new(), &["tracks", "ball"]).unwrap();
    // Half as tall in the upper half of the frame as in the lower.
    let people: Vec<Track> = (0..20u16)
        .map(|i| {
            let y = 200.0 + 40.0 * f32::from(i);
            let height = 0.1 * y;
            Track {
                x1: 100.0,
                x2: 100.0 + 0.4 * height,
                y1: y - height,
                y2: y,
                ..person_at(u32::from(i) + 1, [0.0; 2])
            }
        })
        .collect();
    for _ in 0..60 {
        pitch.push("tracks", &people).unwrap();
        pitch.push("ball", &[ball_at([10.0, 20.0])]).unwrap();
    }
    let places: Vec<Place> = (0..60).map(|_| pitch.expect("places")).last().unwrap();
    for place in places.iter().filter(|place| place.track > 0) {
        let expected = 0.1 * place.y / 1.75;
        assert!((place.scale / expected - 1.0).abs() < 0.1, "{place:?}, {expected}");
        assert!(place.unit == Unit::Pixels && place.inside);
    }
    let ball = places.last().unwrap();
    assert_eq!((ball.x, ball.y), (10.0 * SCALE, 20.0 * SCALE));
}

#[test]
fn a_calibration_of_another_size_is_scaled_to_the_video() {
    let folder = tempfile::tempdir().unwrap();
    let path = write_calibration(folder.path());
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("size: [2100, 1360]\n{text}")).unwrap();
    let value = path.display().to_string();
    let Err(error) = pitch_harness([("calibration", value.clone())], &["tracks"]) else { panic!("no `frames`") };
    assert!(error.message.contains("has a `size`") && error.message.contains("`frames`"), "{error}");
    let mut pitch = pitch_harness([("calibration", value)], &["tracks", "frames"]).unwrap();
    let (w, h) = (1050, 680);
    let frame = Frame::from_packed(w, h, Encoding::Rgb8, Color::default_for_height(h), vec![0u8; (3 * w * h) as usize])
        .unwrap();
    let half = |v: f32| v / 2.0;
    let full = person_at(1, [30.0, 20.0]);
    let small = Track { x1: half(full.x1), y1: half(full.y1), x2: half(full.x2), y2: half(full.y2), ..full };
    pitch.push("tracks", &[small]).unwrap();
    pitch.push_frame("frames", frame).unwrap();
    let places: Vec<Place> = pitch.expect("places");
    assert!((places[0].x - 30.0).abs() < 1e-3 && (places[0].y - 20.0).abs() < 1e-3, "{places:?}");
}

#[test]
fn invalid_configurations_are_refused_at_the_start() {
    let Err(error) = pitch_harness(Values::new(), &[]) else { panic!("no input is connected") };
    assert!(error.message.contains("neither `tracks` nor `ball` is connected"), "{error}");
    let Err(error) = pitch_harness([("calibration", "no_such.yml")], &["tracks"]) else { panic!("no such file") };
    assert!(error.message.contains("key `calibration`: no_such.yml: no such file"), "{error}");
    assert_eq!(error.failure.exit_code(), 1);
}
