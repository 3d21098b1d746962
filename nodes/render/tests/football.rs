//! Overlays of a match, and the crop of a virtual camera.

use std::sync::Arc;

use serde_json::{Value, json};
use sideline_api::{
    Alignment, Color, Encoding, Frame, Reason, Values,
    testing::{Harness, Setup, gray_frame},
};
use sideline_render::Render;
use sideline_sport::tables::{
    Ball, BallMode, Event, EventKind, Place, Possession, PossessionState, Role, Team, TeamName, Track, TrackState,
    Unit, View, ViewTarget,
};

const SIZE: (u32, u32) = (1280, 720);
const BACKGROUND: u8 = 90;

/// Creates a harness with these inputs besides the frames.
fn render(inputs: &[&'static str], keys: &[(&str, Value)]) -> Harness<Render> {
    let wired =
        ["frames"].iter().chain(inputs).map(|name| (*name, Alignment::Source(sideline_api::SourceId(0)))).collect();
    let mut values = Values::new();
    for (key, value) in keys {
        values.set(*key, value.clone(), sideline_api::config::Origin::CommandLine);
    }
    Harness::with(values, Setup { inputs: Some(wired), ..Setup::default() }).unwrap()
}

fn only(overlays: &[&str]) -> (&'static str, Value) {
    ("overlays", json!(overlays))
}

struct Drawn(Arc<Frame>);

impl Drawn {
    fn y(&self, x: usize, y: usize) -> u8 {
        let (luma, stride) = self.0.plane(0);
        luma[y * stride + x]
    }

    fn uv(&self, x: usize, y: usize) -> (u8, u8) {
        let [u, v] = [1, 2].map(|i| {
            let (plane, stride) = self.0.plane(i);
            plane[y / 2 * stride + x / 2]
        });
        (u, v)
    }

    /// Returns the number of pixels that differ from the background in a part of the image: left, top, right, bottom.
    fn drawn_pixels(&self, [x1, y1, x2, y2]: [usize; 4]) -> usize {
        (y1..y2).map(|y| (x1..x2).filter(|x| self.y(*x, y).abs_diff(BACKGROUND) > 6).count()).sum()
    }

    /// Returns the number of pixels that differ from the background in the whole image.
    fn all_drawn_pixels(&self) -> usize {
        self.drawn_pixels([0, 0, self.0.width() as usize, self.0.height() as usize])
    }
}

fn ball(x: f32, y: f32, measured: bool) -> Ball {
    Ball {
        x,
        y,
        vx: 0.0,
        vy: 0.0,
        ax: 0.0,
        ay: 0.0,
        radius: 8.0,
        score: if measured { 0.7 } else { 0.0 },
        measured,
        missing: u32::from(!measured),
        mode: BallMode::Normal,
        spread: 2.0,
    }
}

fn track(track: u32, state: TrackState, [x1, y1, x2, y2]: [f32; 4]) -> Track {
    Track { track, state, x1, y1, x2, y2, score: 0.9, age: 9, ..Track::default() }
}

fn team(track: u32, team: TeamName, role: Role, jersey: [f32; 3]) -> Team {
    Team { track, team, role, confidence: 0.9, jersey }
}

fn place(track: u32, x: f32, y: f32, unit: Unit) -> Place {
    Place { track, x, y, unit, scale: 1.0, measured: true, inside: true }
}

fn view(x: f32, y: f32, width: f32, height: f32) -> View {
    View { x, y, width, height, zoom: 2.0, follows: ViewTarget::Ball, picture_width: 1280, picture_height: 720 }
}

fn event(kind: EventKind, track: u32, complete: bool) -> Event {
    Event {
        id: "e".into(),
        kind,
        at: 0,
        end: 1,
        team: TeamName::One,
        track,
        to: 0,
        complete,
        x: 0.0,
        y: 0.0,
        end_x: 0.0,
        end_y: 0.0,
        unit: Unit::Pixels,
        confidence: 0.9,
    }
}

fn possession(team: TeamName, share_1: f32) -> Possession {
    let state = if team == TeamName::None { PossessionState::Loose } else { PossessionState::Controlled };
    Possession { team, track: 1, state, distance: 1.0, share_1, share_2: 1.0 - share_1 }
}

#[test]
fn the_ball_has_a_ring_that_is_dashed_if_its_position_is_predicted() {
    let mut render = render(&["ball"], &[only(&["ball"])]);
    let mut draw = |rows: &[Ball]| {
        render.push_frame("frames", gray_frame(SIZE.0, SIZE.1, BACKGROUND)).unwrap();
        render.push("ball", rows).unwrap();
        Drawn(render.expect_frame("overlay"))
    };
    let measured = draw(&[ball(400.0, 300.0, true)]);
    // The radius of the ring is 1.5 times that of the ball.
    assert!(measured.y(412, 300).abs_diff(BACKGROUND) > 60 && measured.y(400, 288).abs_diff(BACKGROUND) > 60);
    assert_eq!(measured.y(400, 300), BACKGROUND, "the ball itself is not covered");
    assert_eq!(measured.all_drawn_pixels(), measured.drawn_pixels([380, 280, 420, 320]));
    let predicted = draw(&[ball(400.0, 300.0, false)]);
    let (solid, dashed) = (measured.all_drawn_pixels() as f32, predicted.all_drawn_pixels() as f32);
    assert!(dashed > 0.35 * solid && dashed < 0.65 * solid, "{dashed} of {solid} px");
    assert_eq!(draw(&[]).all_drawn_pixels(), 0);
    let lost = Ball { mode: BallMode::Lost, ..ball(400.0, 300.0, false) };
    assert_eq!(draw(&[lost]).all_drawn_pixels(), 0);
    assert_eq!(draw(&[ball(f32::NAN, 300.0, true)]).all_drawn_pixels(), 0);
}

#[test]
fn the_trail_of_the_ball_is_a_second_long() {
    let mut render = render(&["ball"], &[only(&["trail"])]);
    let mut counts = vec![];
    for frame in 0..60 {
        render.push_frame("frames", gray_frame(SIZE.0, SIZE.1, BACKGROUND)).unwrap();
        let at = 100.0 + 20.0 * frame.min(20) as f32;
        render.push("ball", &[ball(at, 300.0, true)]).unwrap();
        let drawn = Drawn(render.expect_frame("overlay"));
        counts.push((drawn.drawn_pixels([90, 290, 300, 310]), drawn.drawn_pixels([300, 290, 520, 310])));
    }
    assert!(counts[9].0 > 200 && counts[9].1 == 0, "{:?}", counts[9]);
    assert!(counts[20].1 > counts[20].0, "older positions are fainter: {:?}", counts[20]);
    assert_eq!(counts[55].0, 0, "positions older than a second are removed");
}

#[test]
fn boxes_have_the_colors_of_the_jerseys_and_lost_tracks_have_none() {
    let inputs = ["tracks", "teams"];
    let draw_box = |overlays: &[&str], state: TrackState, jersey: [f32; 3]| {
        let mut render = render(&inputs, &[only(overlays)]);
        render.push_frame("frames", gray_frame(SIZE.0, SIZE.1, BACKGROUND)).unwrap();
        render.push("tracks", &[track(7, state, [200.0, 200.0, 280.0, 400.0])]).unwrap();
        render.push("teams", &[team(7, TeamName::Two, Role::Player, jersey)]).unwrap();
        Drawn(render.expect_frame("overlay"))
    };
    let red = draw_box(&["boxes", "teams"], TrackState::Confirmed, [180.0, 20.0, 30.0]);
    let (u, v) = red.uv(200, 300);
    assert!(v > 180 && u < 120, "{u}, {v}");
    let blue = draw_box(&["boxes", "teams"], TrackState::Predicted, [20.0, 40.0, 180.0]);
    let (u, v) = blue.uv(200, 300);
    assert!(u > 140 && v < 128, "{u}, {v}");
    let plain = draw_box(&["boxes"], TrackState::Confirmed, [180.0, 20.0, 30.0]);
    let (u, v) = plain.uv(200, 300);
    assert!(plain.all_drawn_pixels() > 500 && u.abs_diff(128) < 8 && v.abs_diff(128) < 8, "{u}, {v}");
    assert_eq!(draw_box(&["boxes", "teams"], TrackState::Lost, [0.0; 3]).all_drawn_pixels(), 0);
}

#[test]
fn team_colors_stay_while_the_teams_are_skipped() {
    let mut render = render(&["tracks", "teams"], &[only(&["boxes", "teams"])]);
    let mut colors = vec![];
    for has_teams in [true, false] {
        render.push_frame("frames", gray_frame(SIZE.0, SIZE.1, BACKGROUND)).unwrap();
        render.push("tracks", &[track(7, TrackState::Confirmed, [200.0, 200.0, 280.0, 400.0])]).unwrap();
        match has_teams {
            true => render.push("teams", &[team(7, TeamName::One, Role::Player, [180.0, 20.0, 30.0])]).unwrap(),
            false => render.skip("teams", Reason::Stride).unwrap(),
        }
        colors.push(Drawn(render.expect_frame("overlay")).uv(200, 300));
    }
    assert_eq!(colors[0], colors[1]);
}

/// Returns a frame with a bright square of 40 px around a center.
fn marked(x: usize, y: usize) -> Frame {
    let mut bytes = gray_frame(1920, 1080, BACKGROUND).into_packed_mut();
    for row in y - 20..y + 20 {
        bytes[row * 1920 + x - 20..row * 1920 + x + 20].fill(220);
    }
    Frame::from_packed(1920, 1080, Encoding::I420, Color::default_for_height(1080), bytes).unwrap()
}

#[test]
fn the_frame_is_cropped_to_the_view_and_overlays_are_drawn_on_the_crop() {
    let keys = [only(&["boxes"]), ("width", json!(1280)), ("height", json!(720))];
    let mut render = render(&["tracks", "view"], &keys);
    let boxes = [
        track(1, TrackState::Confirmed, [1270.0, 370.0, 1330.0, 430.0]),
        track(2, TrackState::Confirmed, [10.0, 10.0, 60.0, 90.0]),
    ];
    let mut draw = |view: Option<View>| {
        render.push_frame("frames", marked(1300, 400)).unwrap();
        render.push("tracks", &boxes).unwrap();
        match view {
            Some(view) => render.push("view", &[view]).unwrap(),
            None => render.push::<View>("view", &[]).unwrap(),
        }
        Drawn(render.expect_frame("overlay"))
    };
    // Before the first row of `view`: the whole frame, scaled by two thirds.
    let wide = draw(None);
    assert_eq!((wide.0.width(), wide.0.height()), SIZE);
    assert!(wide.y(866, 267) > 210 && wide.drawn_pixels([6, 6, 45, 64]) > 100);
    // 960 x 540 around (1300, 400), enlarged by a third.
    let near = draw(Some(view(1300.0, 400.0, 960.0, 540.0)));
    assert_eq!((near.0.width(), near.0.height()), SIZE);
    assert!(
        near.y(640, 360) > 215 && near.y(640 - 24, 360 - 24) > 200 && near.y(640 - 30, 360).abs_diff(BACKGROUND) < 6
    );
    // The first box extends 30 px from the center of the square; the second is outside the view.
    assert!(near.drawn_pixels([596, 340, 604, 380]) > 30, "its left edge at 600");
    assert_eq!(near.all_drawn_pixels(), near.drawn_pixels([590, 310, 690, 410]));
    let still = draw(None);
    assert_eq!(still.0.plane(0).0, near.0.plane(0).0, "the camera keeps its position");
    // A view beyond the edge of the frame is moved inside; an invalid view does not move the camera.
    let corner = draw(Some(view(1900.0, 20.0, 960.0, 540.0)));
    assert!(corner.y((1300 - 960) * 4 / 3, 533) > 215);
    let invalid = draw(Some(view(f32::NAN, 20.0, 960.0, 540.0)));
    assert_eq!(invalid.0.plane(0).0, corner.0.plane(0).0);
}

#[test]
fn the_output_size_stays_when_the_frames_become_smaller() {
    let keys = [only(&["crop", "stats"]), ("height", json!(360))];
    let mut render = render(&["view"], &keys);
    for (width, height, rows) in [(1920, 1080, vec![view(1800.0, 1000.0, 640.0, 360.0)]), (1280, 720, vec![])] {
        render.push_frame("frames", gray_frame(width, height, BACKGROUND)).unwrap();
        render.push("view", &rows).unwrap();
        let drawn = render.expect_frame("overlay");
        assert_eq!((drawn.width(), drawn.height()), (640, 360), "from frames of {width}x{height}");
    }
}

#[test]
fn the_output_size_is_that_of_the_camera_and_another_aspect_ratio_is_refused() {
    let drawn = |keys: &[(&str, Value)]| {
        let mut render = render(&["view"], &[&[only(&[])], keys].concat());
        render.push_frame("frames", gray_frame(1920, 1080, BACKGROUND)).unwrap();
        render.push("view", &[view(960.0, 540.0, 960.0, 540.0)])?;
        let frame = render.expect_frame("overlay");
        Ok::<_, sideline_api::Error>((frame.width(), frame.height()))
    };
    assert_eq!(drawn(&[]).unwrap(), (1280, 720));
    assert_eq!(drawn(&[("width", json!(640))]).unwrap(), (640, 360));
    assert_eq!(drawn(&[("width", json!(854)), ("height", json!(480))]).unwrap(), (854, 480));
    let refused = drawn(&[("width", json!(640)), ("height", json!(640))]).unwrap_err();
    assert!(refused.message.contains("another aspect ratio than the 1280 x 720"), "{refused}");
    let whole = drawn(&[("width", json!(640)), ("height", json!(640)), ("follow", json!(false))]);
    assert_eq!(whole.unwrap(), (640, 640), "the whole frame may have any output size");
}

#[test]
fn a_view_moves_with_subpixel_precision() {
    let keys = [only(&[]), ("width", json!(960)), ("height", json!(540))];
    let mut render = render(&["view"], &keys);
    let edge = |render: &mut Harness<Render>, x: f32| {
        render.push_frame("frames", marked(1300, 400)).unwrap();
        render.push("view", &[view(x, 400.0, 960.0, 540.0)]).unwrap();
        let drawn = Drawn(render.expect_frame("overlay"));
        // Position of the square's edge, from its coverage of the pixels.
        (440..480).map(|x| (f32::from(drawn.y(x, 270)) - 90.0) / 130.0).sum::<f32>()
    };
    let (before, after) = (edge(&mut render, 1300.0), edge(&mut render, 1300.25));
    assert!((after - before - 0.25).abs() < 0.05, "{before} {after}");
}

#[test]
fn follow_switches_between_the_crop_and_the_outline_of_the_view() {
    let mut render = render(&["view"], &[only(&["crop"]), ("follow", json!(false))]);
    let mut draw = |follow: bool| {
        render.set("follow", follow).unwrap();
        render.push_frame("frames", gray_frame(1920, 1080, BACKGROUND)).unwrap();
        render.push("view", &[view(960.0, 540.0, 640.0, 360.0)]).unwrap();
        Drawn(render.expect_frame("overlay"))
    };
    let whole = draw(false);
    assert_eq!(whole.0.width(), 1920);
    assert!(whole.drawn_pixels([636, 500, 646, 580]) > 80, "its left edge");
    assert_eq!(whole.drawn_pixels([0, 0, 630, 1080]) + whole.drawn_pixels([660, 380, 1260, 640]), 0);
    assert_eq!(draw(true).all_drawn_pixels(), 0, "no outline on the cropped frame");
}

#[test]
fn the_key_crop_selects_the_visible_part_if_no_view_is_wired() {
    let mut render = render(&[], &[only(&[]), ("crop", json!("[1200, 300, 400, 200]"))]);
    render.push_frame("frames", marked(1300, 400)).unwrap();
    let part = Drawn(render.expect_frame("overlay"));
    assert_eq!((part.0.width(), part.0.height()), (400, 200));
    assert!(part.y(100, 100) == 220 && part.y(75, 100) == BACKGROUND);
    render.set("crop", "[]").unwrap();
    render.push_frame("frames", marked(1300, 400)).unwrap();
    assert_eq!(render.expect_frame("overlay").width(), 1920);
}

#[test]
fn invalid_sizes_and_rectangles_are_refused_with_a_remedy() {
    for (key, value, words) in [
        ("width", json!(641), "write 642"),
        ("crop", json!("[1, 2, 3]"), "left, top, width, height"),
        ("crop", json!("[0, 0, 0, 100]"), "is not a rectangle"),
        ("pitch", json!("[105]"), "meters"),
        ("overlays", json!("[minmap]"), "did you mean `minimap`?"),
    ] {
        let error = Harness::<Render>::new([(key, value)]).map(|_| ()).unwrap_err();
        assert!(error.message.contains(key) && error.message.contains(words), "{error}");
    }
}

/// Area of the scoreboard.
const SCOREBOARD_AREA: [usize; 4] = [320, 8, 960, 70];

#[test]
fn the_scoreboard_displays_names_possession_and_passes() {
    let mut render = render(&["possession", "events"], &[only(&["scoreboard"])]);
    let mut draw = |rows: &[Possession], events: &[Event]| {
        render.push_frame("frames", gray_frame(SIZE.0, SIZE.1, BACKGROUND)).unwrap();
        render.push("possession", rows).unwrap();
        render.push("events", events).unwrap();
        Drawn(render.expect_frame("overlay"))
    };
    assert_eq!(draw(&[], &[]).all_drawn_pixels(), 0, "no row of `possession` yet");
    let first = draw(&[possession(TeamName::One, 0.6)], &[]);
    assert!(
        first.drawn_pixels(SCOREBOARD_AREA) > 10_000 && first.drawn_pixels(SCOREBOARD_AREA) == first.all_drawn_pixels()
    );
    let same = draw(&[], &[]);
    assert_eq!(same.0.plane(0).0, first.0.plane(0).0, "a frame without a row changes nothing");
    let bytes = |drawn: &Drawn| drawn.0.plane(0).0.to_vec();
    let counted =
        draw(&[possession(TeamName::One, 0.6)], &[event(EventKind::Pass, 1, true), event(EventKind::Pass, 1, false)]);
    assert_ne!(bytes(&counted), bytes(&first));
    let shared = draw(&[possession(TeamName::One, 0.2)], &[]);
    assert_ne!(bytes(&shared), bytes(&counted));
    // The bar is split at a fifth of its length.
    let (u, v) = shared.uv(640 + 20, 28);
    let (left_u, left_v) = counted.uv(640 + 4, 28);
    assert!((u, v) != (left_u, left_v), "{u} {v}");
    render.set("home", "FC United").unwrap();
    render.push_frame("frames", gray_frame(SIZE.0, SIZE.1, BACKGROUND)).unwrap();
    render.push("possession", &[possession(TeamName::One, 0.2)]).unwrap();
    render.push::<Event>("events", &[]).unwrap();
    assert_ne!(bytes(&Drawn(render.expect_frame("overlay"))), bytes(&shared));
}

#[test]
fn the_minimap_displays_positions_in_meters() {
    let map = |rows: &[Place]| {
        let mut render = render(&["places"], &[only(&["minimap"])]);
        render.push_frame("frames", gray_frame(SIZE.0, SIZE.1, BACKGROUND)).unwrap();
        render.push("places", rows).unwrap();
        Drawn(render.expect_frame("overlay"))
    };
    let corner = [940, 480, 1280, 720];
    let middle = map(&[place(0, 52.5, 34.0, Unit::Meters)]);
    assert!(middle.drawn_pixels(corner) > 20_000 && middle.drawn_pixels(corner) == middle.all_drawn_pixels());
    let beside = map(&[place(0, 20.0, 34.0, Unit::Meters)]);
    let differ = |x1: usize, x2: usize| (x1..x2).any(|x| (480..720).any(|y| middle.y(x, y) != beside.y(x, y)));
    assert!(differ(960, 1100) && differ(1100, 1200) && !differ(1200, 1280), "the ball moved to the left");
    assert_eq!(map(&[place(0, 640.0, 300.0, Unit::Pixels)]).all_drawn_pixels(), 0);
    assert_eq!(map(&[]).all_drawn_pixels(), 0);
    let far = map(&[
        place(0, 52.5, 34.0, Unit::Meters),
        place(4, 500.0, 34.0, Unit::Meters),
        place(5, f32::NAN, 0.0, Unit::Meters),
    ]);
    assert_eq!(far.0.plane(0).0, middle.0.plane(0).0, "people far off the pitch are left out");
}

#[test]
fn an_event_is_displayed_at_its_player_for_a_second_and_a_carry_is_not() {
    let frames = |kind: EventKind, overlays: &[&str]| {
        let mut render = render(&["tracks", "events"], &[only(overlays)]);
        let mut frames = vec![];
        for frame in 0..60 {
            render.push_frame("frames", gray_frame(SIZE.0, SIZE.1, BACKGROUND)).unwrap();
            render.push("tracks", &[track(7, TrackState::Confirmed, [600.0, 300.0, 660.0, 440.0])]).unwrap();
            let rows = if frame == 10 { vec![event(kind, 7, true)] } else { vec![] };
            render.push("events", &rows).unwrap();
            if Drawn(render.expect_frame("overlay")).drawn_pixels([560, 250, 700, 300]) > 100 {
                frames.push(frame);
            }
        }
        (frames.first().copied(), frames.len())
    };
    assert_eq!(frames(EventKind::Pass, &["events"]), (Some(10), 31));
    assert_eq!(frames(EventKind::ThrowIn, &["events", "moves"]), (Some(10), 31));
    assert_eq!(frames(EventKind::Carry, &["events"]), (None, 0));
    assert_eq!(frames(EventKind::Pass, &["moves"]), (None, 0));
}
