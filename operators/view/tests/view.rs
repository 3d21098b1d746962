//! Tests of the operator `view`: the ball stays in the crop, smooth motion, the bounds of the frame, behavior without a
//! ball.

use sideline_api::{
    Alignment, Color, Encoding, Frame, Header, Message, Reason, Values,
    testing::{Harness, Setup},
};
use sideline_sport::tables::{Ball, BallMode, Track, TrackState, View, ViewTarget};

fn frame(width: u32, height: u32) -> Frame {
    let bytes = Encoding::I420.planes(width as usize, height as usize).iter().map(|(bytes, rows)| bytes * rows).sum();
    Frame::from_packed(width, height, Encoding::I420, Color::default_for_height(height), vec![0u8; bytes]).unwrap()
}

fn ball(x: f64, y: f64, vx: f64, mode: BallMode) -> Ball {
    let (x, y, vx) = (x as f32, y as f32, vx as f32);
    let measured = true;
    Ball { x, y, vx, vy: 0.0, ax: 0.0, ay: 0.0, radius: 6.0, score: 0.5, measured, missing: 0, mode, spread: 2.0 }
}

fn player(track: u32, x: f32, y: f32) -> Track {
    let (x1, y1, x2, y2) = (x - 20.0, y - 100.0, x + 20.0, y);
    Track { track, state: TrackState::Confirmed, x1, y1, x2, y2, score: 0.9, age: 50, ..Track::default() }
}

/// A running operator with frames of one size.
struct ViewHarness {
    harness: Harness<sideline_view::View>,
    size: (u32, u32),
}

impl ViewHarness {
    fn new(keys: impl Into<Values>) -> Self {
        Self { harness: Harness::new(keys).unwrap(), size: (1920, 1080) }
    }

    fn push(&mut self, ball: Option<Ball>, tracks: &[Track]) -> View {
        self.harness.push_frame("frames", frame(self.size.0, self.size.1)).unwrap();
        self.harness.push("ball", ball.as_slice()).unwrap();
        self.harness.push("tracks", tracks).unwrap();
        let row = self.harness.expect::<View>("view").pop().unwrap();
        let (width, height) = (self.size.0 as f32, self.size.1 as f32);
        assert!(row.x - row.width / 2.0 > -0.01 && row.x + row.width / 2.0 < width + 0.01, "{row:?}");
        assert!(row.y - row.height / 2.0 > -0.01 && row.y + row.height / 2.0 < height + 0.01, "{row:?}");
        row
    }
}

fn contains(row: &View, x: f64, y: f64) -> bool {
    (x as f32 - row.x).abs() <= row.width / 2.0 && (y as f32 - row.y).abs() <= row.height / 2.0
}

#[test]
fn the_crop_starts_wide_and_moves_to_the_ball() {
    let mut view = ViewHarness::new(Values::new());
    let first = view.push(Some(ball(400.0, 300.0, 0.0, BallMode::Normal)), &[]);
    assert_eq!((first.x, first.y, first.width, first.height, first.zoom), (960.0, 540.0, 1920.0, 1080.0, 1.0));
    let views: Vec<View> = (0..240).map(|_| view.push(Some(ball(400.0, 300.0, 0.0, BallMode::Normal)), &[])).collect();
    let last = views.last().unwrap();
    // Near the corner the edge of the frame bounds the crop.
    assert!((last.x - 480.0).abs() < 60.0 && (last.y - 300.0).abs() < 60.0 && last.zoom > 1.9, "{last:?}");
    assert_eq!(last.follows, ViewTarget::Ball);
    assert!(views.iter().all(|view| contains(view, 400.0, 300.0)));
}

#[test]
fn a_running_ball_stays_in_the_crop_without_jerks() {
    let mut view = ViewHarness::new(Values::new());
    (0..240).for_each(|_| {
        view.push(Some(ball(500.0, 500.0, 0.0, BallMode::Normal)), &[]);
    });
    let at = |step: u32| 500.0 + 14.0 * f64::from(step);
    let views: Vec<View> =
        (0..60).map(|step| view.push(Some(ball(at(step), 500.0, 420.0, BallMode::Normal)), &[])).collect();
    assert!((0..60).zip(&views).all(|(step, view)| contains(view, at(step), 500.0)));
    let steps: Vec<f32> = views.windows(2).map(|two| two[1].x - two[0].x).collect();
    assert!(steps.windows(2).all(|two| (two[1] - two[0]).abs() < 3.0), "jerk: {steps:?}");
    assert!(steps[59 - 1] > 13.0, "slower than the ball: {steps:?}");
}

#[test]
fn the_camera_holds_still_within_the_dead_zone() {
    let mut view = ViewHarness::new([("dead_zone", 0.2)]);
    (0..300).for_each(|_| {
        view.push(Some(ball(960.0, 540.0, 0.0, BallMode::Normal)), &[]);
    });
    // Half of the narrowest crop is 480 px, a fifth of it 96.
    let wander = |step: u32| 960.0 + 60.0 * (f64::from(step) / 9.0).sin();
    let views: Vec<View> =
        (0..90).map(|step| view.push(Some(ball(wander(step), 540.0, 0.0, BallMode::Normal)), &[])).collect();
    assert!(views.iter().all(|view| (view.x - 960.0).abs() < 0.5), "{:?}", views.last());
}

#[test]
fn players_near_the_ball_widen_the_crop() {
    let mut close = ViewHarness::new(Values::new());
    let mut wide = ViewHarness::new(Values::new());
    let players = [player(1, 600.0, 600.0), player(2, 1300.0, 620.0)];
    let (mut a, mut b) = (None, None);
    for _ in 0..200 {
        a = Some(close.push(Some(ball(960.0, 540.0, 0.0, BallMode::Normal)), &[]));
        b = Some(wide.push(Some(ball(960.0, 540.0, 0.0, BallMode::Normal)), &players));
    }
    let (a, b) = (a.unwrap(), b.unwrap());
    assert!(
        a.zoom > 1.9 && b.zoom < a.zoom && contains(&b, 580.0, 600.0) && contains(&b, 1320.0, 600.0),
        "{a:?} {b:?}"
    );
}

#[test]
fn after_a_loss_the_crop_widens_and_then_follows_the_players() {
    let mut view = ViewHarness::new([("players_after", 2.0)]);
    (0..120).for_each(|_| {
        view.push(Some(ball(600.0, 540.0, 0.0, BallMode::Normal)), &[]);
    });
    let players: Vec<Track> = (0..5).map(|i| player(i + 1, 1300.0 + 40.0 * i as f32, 700.0)).collect();
    let views: Vec<View> =
        (0..240).map(|_| view.push(Some(ball(600.0, 540.0, 0.0, BallMode::Lost)), &players)).collect();
    assert!(
        views[..59].iter().all(|view| view.follows == ViewTarget::Ball)
            && views[62..].iter().all(|v| v.follows == ViewTarget::Players)
    );
    assert!(views.windows(2).all(|two| two[1].width >= two[0].width - 0.01), "the crop widens");
    let widened = views[58].width - views[0].width;
    assert!(widened > 100.0 && views[1].width - views[0].width < 40.0, "the crop widens too fast: {widened}");
    assert!(contains(&views[239], 1380.0, 650.0) && views[239].width > 1700.0, "{:?}", views[239]);
}

#[test]
fn mode_chaos_widens_the_crop_and_calms_the_camera() {
    let moved = |mode: BallMode| {
        let mut view = ViewHarness::new([("max_zoom", 1.5)]);
        (0..150).for_each(|_| {
            view.push(Some(ball(960.0, 540.0, 0.0, BallMode::Normal)), &[]);
        });
        let jumps = |step: u32| if (step / 4).is_multiple_of(2) { 760.0 } else { 1160.0 };
        let views: Vec<View> = (0..60).map(|step| view.push(Some(ball(jumps(step), 540.0, 0.0, mode)), &[])).collect();
        (views.windows(2).map(|two| (two[1].x - two[0].x).abs()).sum::<f32>(), views.last().unwrap().zoom)
    };
    let ((calm, zoom), (normal, _)) = (moved(BallMode::Chaos), moved(BallMode::Normal));
    assert!(calm < 0.5 * normal, "{calm} {normal}");
    assert!(zoom < 1.05, "{zoom}");
}

#[test]
fn without_a_ball_the_camera_follows_the_players_or_holds_still() {
    let mut view = ViewHarness::new(Values::new());
    let views: Vec<View> = (0..30).map(|_| view.push(None, &[])).collect();
    assert!(views.iter().all(|view| view.follows == ViewTarget::Hold && view.zoom == 1.0 && view.x == 960.0));
    let players: Vec<Track> = (0..4).map(|i| player(i + 1, 500.0, 600.0)).collect();
    assert_eq!(view.push(None, &players).follows, ViewTarget::Players);
}

#[test]
fn movement_per_frame_never_exceeds_max_step() {
    let mut view = ViewHarness::new([("max_step", 9.0), ("smoothing_min_cutoff", 50.0)]);
    view.size = (6500, 1000);
    let views: Vec<View> = (0..90).map(|_| view.push(Some(ball(600.0, 500.0, 0.0, BallMode::Normal)), &[])).collect();
    // 9 px at a height of 1080 are 8.3 here; zooming in at the edge must not add to it.
    assert!(views.windows(2).all(|two| (two[1].x - two[0].x).abs() < 8.4));
    assert!(views[89].x < 3250.0 - 500.0);
}

#[test]
fn the_crop_fits_frames_of_any_aspect_ratio() {
    for (size, keys) in [
        ((640, 360), [("width", 1920), ("height", 1080)]),
        ((400, 800), [("width", 1280), ("height", 720)]),
        ((1920, 1080), [("width", 720), ("height", 1280)]),
        ((6500, 1000), [("width", 4000), ("height", 1000)]),
    ] {
        let mut view = ViewHarness::new(keys);
        view.size = size;
        let at = |step: u32| f64::from(size.0) * (0.5 + 0.6 * (f64::from(step) / 15.0).sin());
        let views: Vec<View> =
            (0..90).map(|step| view.push(Some(ball(at(step), 90.0, 0.0, BallMode::Normal)), &[])).collect();
        let aspect = keys[0].1 as f32 / keys[1].1 as f32;
        assert!(views.iter().all(|view| (view.width / view.height / aspect - 1.0).abs() < 1e-3 && view.zoom >= 0.999));
    }
}

#[test]
fn a_new_connection_restarts_in_the_center() {
    let mut view = ViewHarness::new(Values::new());
    let moved = (0..150).map(|_| view.push(Some(ball(300.0, 300.0, 0.0, BallMode::Normal)), &[])).last().unwrap();
    assert!(moved.x < 900.0, "{moved:?}");
    let header = Header { session: 1, ..view.harness.header(150) };
    let n = 150;
    let message = |body| Message { header: header.clone(), n, body };
    use sideline_api::{Body, Payload, Table};
    let table = |rows| Body::Data(Payload::Table(std::sync::Arc::new(rows)));
    view.harness.accept("frames", message(Body::Data(Payload::Frame(frame(1920, 1080).into())))).unwrap();
    view.harness.accept("ball", message(table(Ball::encode(&[ball(300.0, 300.0, 0.0, BallMode::Normal)])))).unwrap();
    view.harness.accept("tracks", message(table(Track::encode(&[])))).unwrap();
    let row = view.harness.expect::<View>("view").pop().unwrap();
    assert_eq!((row.x, row.zoom), (960.0, 1.0));
}

#[test]
fn wrong_wiring_and_invalid_keys_are_refused() {
    let inputs = Some(vec![("frames", Alignment::Source(sideline_api::SourceId(0)))]);
    let error =
        Harness::<sideline_view::View>::with(Values::new(), Setup { inputs, ..Setup::default() }).err().unwrap();
    assert!(error.message.contains("no input to follow; connect `ball`"), "{error}");
    let error = Harness::<sideline_view::View>::new([("width", 16_000), ("height", 100)]).err().unwrap();
    assert!(error.message.contains("16000 x 100 is not a usable aspect ratio"), "{error}");
}

#[test]
fn live_settings_apply_and_a_refused_one_keeps_the_old_value() {
    let mut view = ViewHarness::new(Values::new());
    let settle = |view: &mut ViewHarness| {
        (0..300).map(|_| view.push(Some(ball(960.0, 540.0, 0.0, BallMode::Normal)), &[])).last().unwrap()
    };
    assert!(settle(&mut view).zoom > 1.9);
    view.harness.set("max_zoom", 1.25).unwrap();
    assert!((settle(&mut view).zoom - 1.25).abs() < 0.02);
    assert!(view.harness.set("max_zoom", 0.5).is_err() && view.harness.set("width", 640).is_err());
    assert!((settle(&mut view).zoom - 1.25).abs() < 0.02);
}

#[test]
fn a_frame_with_skipped_inputs_has_a_row() {
    let mut view = ViewHarness::new(Values::new());
    view.push(Some(ball(960.0, 540.0, 0.0, BallMode::Normal)), &[]);
    view.harness.push_frame("frames", frame(1920, 1080)).unwrap();
    view.harness.skip("ball", Reason::Error).unwrap();
    view.harness.skip("tracks", Reason::Error).unwrap();
    assert_eq!(view.harness.expect::<View>("view")[0].follows, ViewTarget::Ball);
}
