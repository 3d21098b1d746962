//! Where `pitch` places people and the ball.

mod support;

use sideline_api::{
    Alignment, Color, Encoding, Frame, Values,
    tables::{Place, Track},
    testing::{Harness, Setup},
};
use sideline_match::Pitch;
use support::{SCALE, calibration, lies, stands};

fn pitch(values: impl Into<Values>, wired: &[&'static str]) -> sideline_api::Result<Harness<Pitch>> {
    let inputs = wired.iter().map(|name| (*name, Alignment::Source(sideline_api::SourceId(0)))).collect();
    Harness::with(values, Setup { inputs: Some(inputs), ..Setup::default() })
}

#[test]
fn feet_and_ball_come_to_lie_where_they_are_in_metres() {
    let folder = tempfile::tempdir().unwrap();
    let path = calibration(folder.path()).display().to_string();
    let mut pitch = pitch([("calibration", path)], &["tracks", "ball"]).unwrap();
    pitch.push("tracks", &[stands(7, [30.0, 20.0]), Track { state: "lost".into(), ..stands(8, [1.0, 1.0]) }]).unwrap();
    pitch.push("ball", &[lies([104.9, 68.9])]).unwrap();
    let places: Vec<Place> = pitch.expect("places");
    assert_eq!(places.iter().map(|place| place.track).collect::<Vec<_>>(), [7, 0], "who is lost has no place");
    assert!((places[0].x - 30.0).abs() < 1e-3 && (places[0].y - 20.0).abs() < 1e-3, "{places:?}");
    assert!(places[0].inside && !places[1].inside && places[0].scale == 1.0 && places[0].unit == "m");
    assert!((places[1].y - 68.9).abs() < 1e-3, "the ball's lowest point");
}

#[test]
fn a_ball_in_the_hands_is_where_its_holder_stands() {
    let folder = tempfile::tempdir().unwrap();
    let path = calibration(folder.path()).display().to_string();
    let mut pitch = pitch([("calibration", path)], &["tracks", "ball"]).unwrap();
    pitch.push("tracks", &[stands(7, [30.0, 20.0])]).unwrap();
    // A metre above the feet is a metre up the picture, which is a metre further away on the ground.
    pitch.push("ball", &[lies([30.1, 19.0])]).unwrap();
    let places: Vec<Place> = pitch.expect("places");
    assert!((places[1].y - 20.0).abs() < 1e-3 && (places[1].x - 30.1).abs() < 1e-3, "{places:?}");
}

#[test]
fn without_a_calibration_places_are_pixels_and_know_how_long_a_metre_is() {
    let mut pitch = pitch(Values::new(), &["tracks", "ball"]).unwrap();
    // Half as tall in the upper half of the picture as in the lower.
    let people: Vec<Track> = (0..20u16)
        .map(|i| {
            let y = 200.0 + 40.0 * f32::from(i);
            let tall = 0.1 * y;
            Track { x1: 100.0, x2: 100.0 + 0.4 * tall, y1: y - tall, y2: y, ..stands(u32::from(i) + 1, [0.0; 2]) }
        })
        .collect();
    for _ in 0..60 {
        pitch.push("tracks", &people).unwrap();
        pitch.push("ball", &[lies([10.0, 20.0])]).unwrap();
    }
    let places: Vec<Place> = (0..60).map(|_| pitch.expect("places")).last().unwrap();
    for place in places.iter().filter(|place| place.track > 0) {
        let expected = 0.1 * place.y / 1.75;
        assert!((place.scale / expected - 1.0).abs() < 0.1, "{place:?}, {expected}");
        assert!(place.unit == "px" && place.inside);
    }
    let ball = places.last().unwrap();
    assert_eq!((ball.x, ball.y), (10.0 * SCALE, 20.0 * SCALE));
}

#[test]
fn a_calibration_of_another_size_is_scaled_to_the_video() {
    let folder = tempfile::tempdir().unwrap();
    let path = calibration(folder.path());
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("size: [2100, 1360]\n{text}")).unwrap();
    let value = path.display().to_string();
    let Err(error) = pitch([("calibration", value.clone())], &["tracks"]) else { panic!("no `frames`") };
    assert!(error.message.contains("has a `size`") && error.message.contains("`frames`"), "{error}");
    let mut pitch = pitch([("calibration", value)], &["tracks", "frames"]).unwrap();
    let (w, h) = (1050, 680);
    let frame = Frame::from_packed(w, h, Encoding::Rgb8, Color::assumed(h), vec![0u8; (3 * w * h) as usize]).unwrap();
    let half = |v: f32| v / 2.0;
    let full = stands(1, [30.0, 20.0]);
    let small = Track { x1: half(full.x1), y1: half(full.y1), x2: half(full.x2), y2: half(full.y2), ..full };
    pitch.push("tracks", &[small]).unwrap();
    pitch.push_frame("frames", frame).unwrap();
    let places: Vec<Place> = pitch.expect("places");
    assert!((places[0].x - 30.0).abs() < 1e-3 && (places[0].y - 20.0).abs() < 1e-3, "{places:?}");
}

#[test]
fn what_cannot_work_is_refused_before_the_start() {
    let Err(error) = pitch(Values::new(), &[]) else { panic!("nothing is wired") };
    assert!(error.message.contains("neither `tracks` nor `ball` is wired"), "{error}");
    let Err(error) = pitch([("calibration", "no_such.yml")], &["tracks"]) else { panic!("no such file") };
    assert!(error.message.contains("key `calibration`: no_such.yml: no such file"), "{error}");
    assert_eq!(error.failure.exit_code(), 1);
}
