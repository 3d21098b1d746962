//! Tests of the operator `team` with people drawn on a pitch.

use sideline_api::{Color, Encoding, Frame, Values, testing::Harness};
use sideline_sport::tables::{Role, Team, TeamName, Track, TrackState};

const WIDTH: usize = 640;
const HEIGHT: usize = 360;
const GRASS: [u8; 3] = [60, 110, 50];

/// A person: track, left edge, lower edge, color of the jersey.
type Person = (u32, f32, f32, [u8; 3]);

fn height_at(y: f32) -> f32 {
    40.0 + 0.1 * y
}

fn track(&(track, x, y, _): &Person) -> Track {
    Track {
        track,
        state: TrackState::Confirmed,
        x1: x,
        y1: y - height_at(y),
        x2: x + 0.4 * height_at(y),
        y2: y,
        score: 0.9,
        age: 5,
        ..Track::default()
    }
}

/// Draws a frame of grass, one half in the shade, and people with jersey, white shorts and skin.
fn paint(people: &[Person], seed: usize) -> Frame {
    let mut pixels = vec![0u8; 3 * WIDTH * HEIGHT];
    let mut noise = seed as u32 * 7919 + 1;
    let mut set_pixel = |x: usize, y: usize, color: [u8; 3]| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let off = (noise >> 27) as f32 - 16.0;
        let shade = if x < WIDTH / 2 { 0.7 } else { 1.0 };
        for (c, value) in color.into_iter().enumerate() {
            pixels[3 * (y * WIDTH + x) + c] = ((f32::from(value) + off) * shade).clamp(0.0, 255.0) as u8;
        }
    };
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            set_pixel(x, y, GRASS);
        }
    }
    for person in people {
        let b = track(person);
        let (w, h) = (b.x2 - b.x1, b.y2 - b.y1);
        for y in b.y1.max(0.0) as usize..(b.y2 as usize).min(HEIGHT) {
            for x in (b.x1 + 0.2 * w).max(0.0) as usize..((b.x2 - 0.2 * w) as usize).min(WIDTH) {
                let down = (y as f32 - b.y1) / h;
                let color = match down {
                    d if d < 0.17 => [190, 140, 110],
                    d if d < 0.5 => person.3,
                    d if d < 0.7 => [240, 240, 240],
                    _ => [190, 140, 110],
                };
                set_pixel(x, y, color);
            }
        }
    }
    Frame::from_packed(WIDTH as u32, HEIGHT as u32, Encoding::Rgb8, Color::default_for_height(360), pixels).unwrap()
}

const RED: [u8; 3] = [190, 30, 40];
const BLUE: [u8; 3] = [30, 60, 170];

/// Returns five players of each team, a goalkeeper in yellow on the left, one in light green on the right, and a
/// referee in black.
fn people(frame: usize) -> Vec<Person> {
    let sway = (frame as f32 / 10.0).sin() * 6.0;
    let mut all: Vec<Person> =
        vec![(21, 10.0, 200.0, [230, 220, 40]), (22, 600.0, 190.0, [120, 240, 140]), (23, 320.0, 300.0, [15, 15, 15])];
    for i in 0..5u16 {
        let y = 90.0 + 55.0 * f32::from(i);
        all.push((u32::from(i) + 1, 150.0 + 20.0 * f32::from(i % 3) + sway, y, RED));
        all.push((u32::from(i) + 11, 420.0 - 20.0 * f32::from(i % 3) + sway, y + 8.0, BLUE));
    }
    all
}

struct TeamHarness(Harness<sideline_team::Team>, usize);

impl TeamHarness {
    fn new(values: impl Into<Values>) -> Self {
        TeamHarness(Harness::new(values).unwrap(), 0)
    }

    fn push(&mut self, people: &[Person]) -> Vec<Team> {
        self.1 += 1;
        self.0.push_frame("frames", paint(people, self.1)).unwrap();
        self.0.push("tracks", &people.iter().map(track).collect::<Vec<_>>()).unwrap();
        self.0.expect("teams")
    }
}

fn team_and_role(rows: &[Team], track: u32) -> (TeamName, Role) {
    let row = rows.iter().find(|row| row.track == track).unwrap();
    (row.team, row.role)
}

#[test]
fn teams_goalkeepers_and_referee_are_separated_and_named_from_the_left() {
    let mut run = TeamHarness::new(Values::new());
    let first = run.push(&people(0));
    assert!(
        first.iter().all(|row| row.team == TeamName::None && row.confidence == 0.0),
        "assigned before enough samples"
    );
    let rows = (1..45).map(|frame| run.push(&people(frame))).last().unwrap();
    for track in 1..=5 {
        assert_eq!(team_and_role(&rows, track), (TeamName::One, Role::Player), "track {track}");
        assert_eq!(team_and_role(&rows, track + 10), (TeamName::Two, Role::Player), "track {}", track + 10);
    }
    assert_eq!(team_and_role(&rows, 21), (TeamName::One, Role::Goalkeeper));
    assert_eq!(team_and_role(&rows, 22), (TeamName::Two, Role::Goalkeeper));
    assert_eq!(team_and_role(&rows, 23), (TeamName::None, Role::Referee));
    let confidence = |track: u32| rows.iter().find(|row| row.track == track).unwrap().confidence;
    assert!(confidence(1) > 0.9 && confidence(21) <= 0.5 && confidence(23) <= 0.5, "roles are guesses");
    let jersey = rows.iter().find(|row| row.track == 11).unwrap().jersey;
    assert!(jersey.iter().zip(BLUE).all(|(found, paint)| (found - f32::from(paint)).abs() < 25.0), "{jersey:?}");
}

#[test]
fn a_hidden_player_keeps_the_team_and_has_no_jersey_sample() {
    let mut run = TeamHarness::new(Values::new());
    (0..45).for_each(|frame| drop(run.push(&people(frame))));
    for frame in 45..60 {
        let mut all = people(frame);
        // Track 1 (red) stands behind track 11 (blue), which is drawn over it.
        let at = all.iter().position(|person| person.0 == 1).unwrap();
        let other = all.iter().find(|person| person.0 == 11).copied().unwrap();
        let hidden = (1, other.1 + 3.0, other.2 - 2.0, RED);
        all.remove(at);
        all.insert(0, hidden);
        let rows = run.push(&all);
        assert_eq!(team_and_role(&rows, 1), (TeamName::One, Role::Player));
        assert!(rows.iter().find(|row| row.track == 1).unwrap().jersey[0].is_nan());
    }
}

#[test]
fn a_track_that_switches_to_another_person_changes_teams() {
    let mut run = TeamHarness::new([("memory", 1.0)]);
    (0..45).for_each(|frame| drop(run.push(&people(frame))));
    let mut rows = vec![];
    for frame in 45..150 {
        let mut all = people(frame);
        for person in &mut all {
            person.0 = match person.0 {
                1 => 11,
                11 => 1,
                other => other,
            };
        }
        rows = run.push(&all);
    }
    assert_eq!((team_and_role(&rows, 1).0, team_and_role(&rows, 11).0), (TeamName::Two, TeamName::One));
}

#[test]
fn a_single_team_becomes_team_1_after_one_team_after_s() {
    let mut run = TeamHarness::new([("one_team_after_s", 1.0)]);
    let reds = |frame| people(frame).into_iter().filter(|person| person.3 == RED).collect::<Vec<_>>();
    let early = (0..20).map(|frame| run.push(&reds(frame))).last().unwrap();
    assert!(early.iter().all(|row| row.team == TeamName::None), "the second team may still appear: {early:?}");
    let rows = (20..60).map(|frame| run.push(&reds(frame))).last().unwrap();
    assert!(rows.iter().all(|row| row.team == TeamName::One && row.confidence <= 0.5), "{rows:?}");
    let rows = (60..120).map(|frame| run.push(&people(frame))).last().unwrap();
    assert_ne!(team_and_role(&rows, 1).0, team_and_role(&rows, 11).0, "the second team is not found");
}

#[test]
fn equal_frames_give_equal_rows() {
    let all_rows = || {
        let mut run = TeamHarness::new(Values::new());
        let rows: Vec<Team> = (0..40).flat_map(|frame| run.push(&people(frame))).collect();
        format!("{rows:?}")
    };
    assert_eq!(all_rows(), all_rows());
}
