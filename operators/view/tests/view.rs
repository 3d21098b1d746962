//! What `view` promises: the ball in the picture, no jerk, the limits of the picture, and what it does without a ball.

use sideline_api::{
    Alignment, Color, Encoding, Frame, Header, Message, Reason, Values,
    tables::{Ball, Track, View},
    testing::{Harness, Setup},
};
use sideline_view::ViewOperator;

fn frame(width: u32, height: u32) -> Frame {
    let bytes = Encoding::I420.planes(width as usize, height as usize).iter().map(|(bytes, rows)| bytes * rows).sum();
    Frame::from_packed(width, height, Encoding::I420, Color::assumed(height), vec![0u8; bytes]).unwrap()
}

fn ball(x: f64, y: f64, vx: f64, mode: &str) -> Ball {
    let (x, y, vx) = (x as f32, y as f32, vx as f32);
    let (measured, mode) = (true, mode.into());
    Ball { x, y, vx, vy: 0.0, ax: 0.0, ay: 0.0, radius: 6.0, score: 0.5, measured, missing: 0, mode, spread: 2.0 }
}

fn player(track: u32, x: f32, y: f32) -> Track {
    let (x1, y1, x2, y2) = (x - 20.0, y - 100.0, x + 20.0, y);
    let (fighter, state) = (String::new(), "confirmed".into());
    Track { track, fighter, state, x1, y1, x2, y2, score: 0.9, class: 0, age: 50 }
}

/// A camera over pictures of one size.
struct Stand {
    harness: Harness<ViewOperator>,
    size: (u32, u32),
}

impl Stand {
    fn new(keys: impl Into<Values>) -> Self {
        Self { harness: Harness::new(keys).unwrap(), size: (1920, 1080) }
    }

    fn see(&mut self, ball: Option<Ball>, tracks: &[Track]) -> View {
        self.harness.push_frame("frames", frame(self.size.0, self.size.1)).unwrap();
        self.harness.push("ball", ball.as_slice()).unwrap();
        self.harness.push("tracks", tracks).unwrap();
        let view = self.harness.expect::<View>("view").pop().unwrap();
        let (width, height) = (self.size.0 as f32, self.size.1 as f32);
        assert!(view.x - view.width / 2.0 > -0.01 && view.x + view.width / 2.0 < width + 0.01, "{view:?}");
        assert!(view.y - view.height / 2.0 > -0.01 && view.y + view.height / 2.0 < height + 0.01, "{view:?}");
        view
    }
}

fn inside(view: &View, x: f64, y: f64) -> bool {
    (x as f32 - view.x).abs() <= view.width / 2.0 && (y as f32 - view.y).abs() <= view.height / 2.0
}

#[test]
fn it_begins_wide_and_comes_to_the_ball() {
    let mut stand = Stand::new(Values::new());
    let first = stand.see(Some(ball(400.0, 300.0, 0.0, "normal")), &[]);
    assert_eq!((first.x, first.y, first.width, first.height, first.zoom), (960.0, 540.0, 1920.0, 1080.0, 1.0));
    let views: Vec<View> = (0..240).map(|_| stand.see(Some(ball(400.0, 300.0, 0.0, "normal")), &[])).collect();
    let last = views.last().unwrap();
    // Near the corner the crop ends at the picture's edge.
    assert!((last.x - 480.0).abs() < 60.0 && (last.y - 300.0).abs() < 60.0 && last.zoom > 1.9, "{last:?}");
    assert_eq!(last.follows, "ball");
    assert!(views.iter().all(|view| inside(view, 400.0, 300.0)));
}

#[test]
fn a_running_ball_stays_in_the_picture_and_the_camera_moves_evenly() {
    let mut stand = Stand::new(Values::new());
    (0..240).for_each(|_| drop(stand.see(Some(ball(500.0, 500.0, 0.0, "normal")), &[])));
    let at = |step: u32| 500.0 + 14.0 * f64::from(step);
    let views: Vec<View> = (0..60).map(|step| stand.see(Some(ball(at(step), 500.0, 420.0, "normal")), &[])).collect();
    assert!((0..60).zip(&views).all(|(step, view)| inside(view, at(step), 500.0)));
    let steps: Vec<f32> = views.windows(2).map(|two| two[1].x - two[0].x).collect();
    assert!(steps.windows(2).all(|two| (two[1] - two[0]).abs() < 3.0), "no jerk: {steps:?}");
    assert!(steps[59 - 1] > 13.0, "as fast as the ball: {steps:?}");
}

#[test]
fn within_the_dead_zone_nothing_moves() {
    let mut stand = Stand::new([("dead_zone", 0.2)]);
    (0..300).for_each(|_| drop(stand.see(Some(ball(960.0, 540.0, 0.0, "normal")), &[])));
    // The half of the narrowest crop is 480 px, a fifth of it 96.
    let wander = |step: u32| 960.0 + 60.0 * (f64::from(step) / 9.0).sin();
    let views: Vec<View> = (0..90).map(|step| stand.see(Some(ball(wander(step), 540.0, 0.0, "normal")), &[])).collect();
    assert!(views.iter().all(|view| (view.x - 960.0).abs() < 0.5), "{:?}", views.last());
}

#[test]
fn players_near_the_ball_widen_the_crop() {
    let mut close = Stand::new(Values::new());
    let mut wide = Stand::new(Values::new());
    let players = [player(1, 600.0, 600.0), player(2, 1300.0, 620.0)];
    let (mut a, mut b) = (None, None);
    for _ in 0..200 {
        a = Some(close.see(Some(ball(960.0, 540.0, 0.0, "normal")), &[]));
        b = Some(wide.see(Some(ball(960.0, 540.0, 0.0, "normal")), &players));
    }
    let (a, b) = (a.unwrap(), b.unwrap());
    assert!(a.zoom > 1.9 && b.zoom < a.zoom && inside(&b, 580.0, 600.0) && inside(&b, 1320.0, 600.0), "{a:?} {b:?}");
}

#[test]
fn a_lost_ball_is_waited_for_while_the_crop_widens_and_then_the_players_are_followed() {
    let mut stand = Stand::new([("players_after", 2.0)]);
    (0..120).for_each(|_| drop(stand.see(Some(ball(600.0, 540.0, 0.0, "normal")), &[])));
    let players: Vec<Track> = (0..5).map(|i| player(i + 1, 1300.0 + 40.0 * i as f32, 700.0)).collect();
    let views: Vec<View> = (0..240).map(|_| stand.see(Some(ball(600.0, 540.0, 0.0, "lost")), &players)).collect();
    assert!(
        views[..59].iter().all(|view| view.follows == "ball") && views[62..].iter().all(|v| v.follows == "players")
    );
    assert!(views.windows(2).all(|two| two[1].width >= two[0].width - 0.01), "it widens");
    let widened = views[58].width - views[0].width;
    assert!(widened > 100.0 && views[1].width - views[0].width < 40.0, "slowly: {widened}");
    assert!(inside(&views[239], 1380.0, 650.0) && views[239].width > 1700.0, "{:?}", views[239]);
}

#[test]
fn chaos_is_wide_and_calm() {
    let moved = |mode: &str| {
        let mut stand = Stand::new([("max_zoom", 1.5)]);
        (0..150).for_each(|_| drop(stand.see(Some(ball(960.0, 540.0, 0.0, "normal")), &[])));
        let jumps = |step: u32| if (step / 4).is_multiple_of(2) { 760.0 } else { 1160.0 };
        let views: Vec<View> = (0..60).map(|step| stand.see(Some(ball(jumps(step), 540.0, 0.0, mode)), &[])).collect();
        (views.windows(2).map(|two| (two[1].x - two[0].x).abs()).sum::<f32>(), views.last().unwrap().zoom)
    };
    let ((calm, zoom), (normal, _)) = (moved("chaos"), moved("normal"));
    assert!(calm < 0.5 * normal, "{calm} {normal}");
    assert!(zoom < 1.05, "{zoom}");
}

#[test]
fn without_any_ball_it_follows_the_players_or_holds() {
    let mut stand = Stand::new(Values::new());
    let views: Vec<View> = (0..30).map(|_| stand.see(None, &[])).collect();
    assert!(views.iter().all(|view| view.follows == "hold" && view.zoom == 1.0 && view.x == 960.0));
    let players: Vec<Track> = (0..4).map(|i| player(i + 1, 500.0, 600.0)).collect();
    assert_eq!(stand.see(None, &players).follows, "players");
}

#[test]
fn a_step_is_never_longer_than_allowed() {
    let mut stand = Stand::new([("max_step", 9.0), ("smoothing_min_cutoff", 50.0)]);
    stand.size = (6500, 1000);
    let views: Vec<View> = (0..90).map(|_| stand.see(Some(ball(600.0, 500.0, 0.0, "normal")), &[])).collect();
    // 9 px in a picture of 1080 are 8.3 here; narrowing at the edge may add nothing to it.
    assert!(views.windows(2).all(|two| (two[1].x - two[0].x).abs() < 8.4));
    assert!(views[89].x < 3250.0 - 500.0);
}

#[test]
fn a_picture_of_any_shape_holds_the_crop() {
    for (size, keys) in [
        ((640, 360), [("width", 1920), ("height", 1080)]),
        ((400, 800), [("width", 1280), ("height", 720)]),
        ((1920, 1080), [("width", 720), ("height", 1280)]),
        ((6500, 1000), [("width", 4000), ("height", 1000)]),
    ] {
        let mut stand = Stand::new(keys);
        stand.size = size;
        let at = |step: u32| f64::from(size.0) * (0.5 + 0.6 * (f64::from(step) / 15.0).sin());
        let views: Vec<View> = (0..90).map(|step| stand.see(Some(ball(at(step), 90.0, 0.0, "normal")), &[])).collect();
        let aspect = keys[0].1 as f32 / keys[1].1 as f32;
        assert!(views.iter().all(|view| (view.width / view.height / aspect - 1.0).abs() < 1e-3 && view.zoom >= 0.999));
    }
}

#[test]
fn a_new_connection_begins_in_the_middle() {
    let mut stand = Stand::new(Values::new());
    let moved = (0..150).map(|_| stand.see(Some(ball(300.0, 300.0, 0.0, "normal")), &[])).last().unwrap();
    assert!(moved.x < 900.0, "{moved:?}");
    let header = Header { session: 1, ..stand.harness.header(150) };
    let n = 150;
    let message = |body| Message { header: header.clone(), n, body };
    use sideline_api::{Body, Payload, Table};
    let table = |rows| Body::Data(Payload::Table(std::sync::Arc::new(rows)));
    stand.harness.accept("frames", message(Body::Data(Payload::Frame(frame(1920, 1080).into())))).unwrap();
    stand.harness.accept("ball", message(table(Ball::encode(&[ball(300.0, 300.0, 0.0, "normal")])))).unwrap();
    stand.harness.accept("tracks", message(table(Track::encode(&[])))).unwrap();
    let view = stand.harness.expect::<View>("view").pop().unwrap();
    assert_eq!((view.x, view.zoom), (960.0, 1.0));
}

#[test]
fn what_is_wired_or_set_wrongly_is_told() {
    let inputs = Some(vec![("frames", Alignment::Source(sideline_api::SourceId(0)))]);
    let error = Harness::<ViewOperator>::with(Values::new(), Setup { inputs, ..Setup::default() }).err().unwrap();
    assert!(error.message.contains("there is nothing to follow; wire its input `ball`"), "{error}");
    let error = Harness::<ViewOperator>::new([("width", 16_000), ("height", 100)]).err().unwrap();
    assert!(error.message.contains("16000 x 100 is no picture's shape"), "{error}");
}

#[test]
fn live_keys_change_it_and_a_refused_one_leaves_the_old() {
    let mut stand = Stand::new(Values::new());
    let settle =
        |stand: &mut Stand| (0..300).map(|_| stand.see(Some(ball(960.0, 540.0, 0.0, "normal")), &[])).last().unwrap();
    assert!(settle(&mut stand).zoom > 1.9);
    stand.harness.set("max_zoom", 1.25).unwrap();
    assert!((settle(&mut stand).zoom - 1.25).abs() < 0.02);
    assert!(stand.harness.set("max_zoom", 0.5).is_err() && stand.harness.set("width", 640).is_err());
    assert!((settle(&mut stand).zoom - 1.25).abs() < 0.02);
}

#[test]
fn a_frame_of_which_nothing_is_known_has_a_row_too() {
    let mut stand = Stand::new(Values::new());
    stand.see(Some(ball(960.0, 540.0, 0.0, "normal")), &[]);
    stand.harness.push_frame("frames", frame(1920, 1080)).unwrap();
    stand.harness.skip("ball", Reason::Error).unwrap();
    stand.harness.skip("tracks", Reason::Error).unwrap();
    assert_eq!(stand.harness.expect::<View>("view")[0].follows, "ball");
}
