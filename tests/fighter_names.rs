//! Identities of fighters: drawn people cross, clinch and leave the frame, and are processed by `reid`, `tracker` and
//! `fighters` as in modules/perception.yml. Scenes that cannot be resolved by boxes alone also run without appearance embeddings.
#![cfg(feature = "onnx")]

use std::collections::BTreeMap;

use sideline_api::{
    Alignment, Color, Encoding, Frame, Values,
    testing::{Harness, Setup},
};
use sideline_fighters::Fighters;
use sideline_reid::Reid;
use sideline_sport::{
    FighterNames,
    tables::{Appearance, Fighter, FighterName, Identity, JOINTS, Pose, Track},
};
use sideline_tracker::Tracker;

const WIDTH: usize = 640;
const HEIGHT: usize = 360;
/// Height of every person, px.
const PERSON_HEIGHT_PX: f32 = 150.0;
/// Y coordinate of the top of every head, px.
const HEAD_TOP_PX: f32 = 150.0;

/// Colors (Y, U, V) of shirt and trousers.
type Clothes = [[u8; 3]; 2];
const RED: Clothes = [[80, 100, 212], [60, 120, 140]];
const BLUE: Clothes = [[60, 200, 110], [200, 128, 128]];
const GREEN: Clothes = [[110, 84, 80], [50, 128, 128]];
const GRAY: Clothes = [[120, 128, 128], [70, 130, 126]];
const SKIN: [u8; 3] = [150, 108, 150];

/// Person drawn in one frame.
#[derive(Clone, Copy)]
struct DrawnPerson {
    /// Index of the person in [`Scene::cast`].
    person: usize,
    /// X coordinate of the center, px.
    x: f32,
    /// True when the pose model detects the person.
    has_pose: bool,
}

/// Person with a pose at an X coordinate.
fn at(person: usize, x: f32) -> DrawnPerson {
    DrawnPerson { person, x, has_pose: true }
}

/// Sequence of frames. Of the people in a frame, later ones are drawn in front of earlier ones.
#[derive(Clone)]
struct Scene {
    cast: Vec<Clothes>,
    rate: i64,
    frames: Vec<Vec<DrawnPerson>>,
}

impl Scene {
    fn new(cast: &[Clothes]) -> Self {
        Self { cast: cast.to_vec(), rate: 30, frames: Vec::new() }
    }

    /// Appends frames for some seconds. `people` returns the people at a fraction of that time, 0 to 1.
    fn play(mut self, seconds: f32, people: impl Fn(f32) -> Vec<DrawnPerson>) -> Self {
        let count = (seconds * self.rate as f32).round() as usize;
        self.frames.extend((1..=count).map(|frame| people(frame as f32 / count as f32)));
        self
    }

    /// Appends frames of people who do not move.
    fn stand(self, seconds: f32, people: &[DrawnPerson]) -> Self {
        self.play(seconds, |_| people.to_vec())
    }

    /// Runs the scene and returns the name of each person with a pose, for each frame. `with_appearance`: use
    /// appearance embeddings.
    fn names(&self, with_appearance: bool) -> Vec<BTreeMap<usize, Fighter>> {
        let interval = 1_000_000_000 / self.rate;
        let wired = |inputs: &[&'static str]| {
            let inputs = inputs.iter().map(|name| (*name, Alignment::Source(sideline_api::SourceId(0)))).collect();
            Setup { interval, inputs: Some(inputs), ..Setup::default() }
        };
        let mut reid = Harness::<Reid>::with([("every", 15)], wired(&["frames", "poses"])).unwrap();
        let inputs: &[_] = if with_appearance { &["poses", "appearance"] } else { &["poses"] };
        let mut tracker = Harness::<Tracker>::with(Values::new(), wired(inputs)).unwrap();
        let mut fighters = Harness::<Fighters>::with([("warm_up", 0.3)], wired(&["tracks", "identities"])).unwrap();
        let mut names = Vec::new();
        for (number, shown) in self.frames.iter().enumerate() {
            let inside = |shown: &&DrawnPerson| {
                shown.has_pose && shown.x > -0.1 * PERSON_HEIGHT_PX && shown.x < WIDTH as f32 + 0.1 * PERSON_HEIGHT_PX
            };
            let posed: Vec<&DrawnPerson> = shown.iter().filter(inside).collect();
            let poses: Vec<Pose> = posed.iter().map(|shown| pose(shown.x)).collect();
            if with_appearance {
                reid.push_frame("frames", draw(&self.cast, shown, number as u32)).unwrap();
                reid.push("poses", &poses).unwrap();
                tracker.push("appearance", &reid.expect::<Appearance>("appearance")).unwrap();
            }
            tracker.push("poses", &poses).unwrap();
            fighters.push("tracks", &tracker.expect::<Track>("tracks")).unwrap();
            fighters.push("identities", &tracker.expect::<Identity>("identities")).unwrap();
            let of_track = FighterNames::from_rows(&fighters.expect::<FighterName>("fighters"));
            let rows = tracker.expect::<Pose>("tracked_poses");
            names.push(
                posed.iter().zip(rows).map(|(shown, row)| (shown.person, of_track.fighter_of(row.track))).collect(),
            );
        }
        names
    }

    /// Returns the names at the end, and the number of frames with a false name.
    fn outcome(&self, with_appearance: bool) -> (Vec<Fighter>, usize) {
        let names = self.names(with_appearance);
        let is_right = |person: &usize, name: &Fighter| [Fighter::None, Fighter::from_index(*person)].contains(name);
        let wrong = names.iter().filter(|frame| frame.iter().any(|(person, name)| !is_right(person, name))).count();
        (names.last().unwrap().values().copied().collect(), wrong)
    }

    /// Asserts the names at the end with appearance embeddings, and at most `max_wrong` frames with a false name.
    fn assert_kept_by_appearance(&self, expected: &[Fighter], max_wrong: usize) {
        let (names, wrong) = self.outcome(true);
        assert_eq!(names, expected, "{wrong} frames with a false name");
        assert!(wrong <= max_wrong, "{wrong} frames with a false name");
    }

    /// Asserts that boxes alone do not give these names at the end.
    fn assert_lost_by_boxes(&self, expected: &[Fighter]) {
        assert_ne!(self.outcome(false).0, expected, "the scene can be resolved by boxes alone, so it tests nothing");
    }
}

/// Interpolates linearly.
fn between(from: f32, to: f32, fraction: f32) -> f32 {
    from + (to - from) * fraction
}

/// Pose of a person who stands upright with hanging arms.
fn pose(x: f32) -> Pose {
    let mut joints = [[0.0; 4]; JOINTS];
    let mut put = |joint: usize, dx: f32, dy: f32| {
        let (px, py) = (x + dx * PERSON_HEIGHT_PX, HEAD_TOP_PX + dy * PERSON_HEIGHT_PX);
        let inside = px >= 0.0 && px < WIDTH as f32;
        joints[joint] = [px / WIDTH as f32, py / HEIGHT as f32, 0.0, if inside { 0.95 } else { 0.1 }];
    };
    (0..11).for_each(|joint| put(joint, 0.0, 0.08));
    for (side, sign) in [(0, 1.0), (1, -1.0)] {
        for (joint, dx, dy) in [
            (7, 0.03, 0.07),
            (11, 0.10, 0.20),
            (13, 0.14, 0.35),
            (15, 0.15, 0.48),
            (17, 0.15, 0.50),
            (19, 0.15, 0.50),
            (21, 0.15, 0.50),
            (23, 0.07, 0.53),
            (25, 0.07, 0.74),
            (27, 0.07, 0.94),
            (29, 0.07, 0.96),
            (31, 0.08, 0.97),
        ] {
            put(joint + side, sign * dx, dy);
        }
    }
    let (x1, x2) = ((x - 0.19 * PERSON_HEIGHT_PX).max(0.0), (x + 0.19 * PERSON_HEIGHT_PX).min(WIDTH as f32));
    Pose {
        track: 0,
        x1,
        y1: HEAD_TOP_PX,
        x2,
        y2: HEAD_TOP_PX + PERSON_HEIGHT_PX,
        score: 0.95,
        model: "drawn".into(),
        aspect: WIDTH as f32 / HEIGHT as f32,
        joints,
        world: [[0.0; 3]; JOINTS],
    }
}

/// Draws the people before a patterned wall, with noise that differs from frame to frame.
fn draw(cast: &[Clothes], shown: &[DrawnPerson], number: u32) -> Frame {
    let mut planes = [vec![0; WIDTH * HEIGHT], vec![0; WIDTH * HEIGHT], vec![0; WIDTH * HEIGHT]];
    let mut noise = 0x9e37_79b9_u32.wrapping_mul(number + 1);
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let mut color = [90 + ((x / 40 + y / 60) % 3 * 30) as u8, 124, 132];
            for one in shown {
                let (dx, dy) =
                    ((x as f32 + 0.5 - one.x) / PERSON_HEIGHT_PX, (y as f32 + 0.5 - HEAD_TOP_PX) / PERSON_HEIGHT_PX);
                let [shirt, trousers] = cast[one.person];
                let part = match () {
                    () if dx.hypot(dy - 0.08) < 0.075 => Some(SKIN),
                    () if dx.abs() < 0.115 && (0.16..0.52).contains(&dy) => Some(shirt),
                    () if (0.1..0.18).contains(&dx.abs()) && (0.18..0.32).contains(&dy) => Some(shirt),
                    () if (0.11..0.18).contains(&dx.abs()) && (0.32..0.54).contains(&dy) => Some(SKIN),
                    () if dx.abs() < 0.115 && (0.52..0.98).contains(&dy) => Some(trousers),
                    () => None,
                };
                color = part.unwrap_or(color);
            }
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let offset = (noise >> 28) as u8;
            for (plane, value) in planes.iter_mut().zip(color) {
                plane[y * WIDTH + x] = value.saturating_add(offset).saturating_sub(8);
            }
        }
    }
    let mut bytes = planes[0].clone();
    for plane in &planes[1..] {
        for y in (0..HEIGHT).step_by(2) {
            bytes.extend((0..WIDTH).step_by(2).map(|x| plane[y * WIDTH + x]));
        }
    }
    Frame::from_packed(WIDTH as u32, HEIGHT as u32, Encoding::I420, Color::default_for_height(360), bytes).unwrap()
}

/// Scene of two people who stand apart long enough to be named.
fn bout(left: Clothes, right: Clothes) -> Scene {
    Scene::new(&[left, right]).stand(1.5, &[at(0, 200.0), at(1, 440.0)])
}

#[test]
fn names_are_kept_when_fighters_cross_or_turn_back() {
    let meet = |scene: Scene| {
        scene
            .play(0.7, |t| vec![at(0, between(200.0, 310.0, t)), at(1, between(440.0, 330.0, t))])
            // The person behind has no pose; the one in front turns around.
            .play(0.6, |t| vec![DrawnPerson { has_pose: false, ..at(0, 315.0) }, at(1, between(330.0, 315.0, t))])
    };
    let through = meet(bout(RED, BLUE))
        .play(0.7, |t| vec![at(0, between(320.0, 440.0, t)), at(1, between(310.0, 200.0, t))])
        .stand(1.0, &[at(0, 440.0), at(1, 200.0)]);
    let back = meet(bout(RED, BLUE))
        .play(0.7, |t| vec![at(0, between(310.0, 200.0, t)), at(1, between(320.0, 440.0, t))])
        .stand(1.0, &[at(0, 200.0), at(1, 440.0)]);
    let own = Fighter::FIGHTERS;
    through.assert_kept_by_appearance(&own, 20);
    back.assert_kept_by_appearance(&own, 20);
    assert!(
        through.outcome(false).0 != own || back.outcome(false).0 != own,
        "boxes alone cannot distinguish the two scenes, so one of them must give false names"
    );
}

#[test]
fn names_are_kept_through_a_clinch_in_which_one_pose_is_lost() {
    for rate in [30, 60] {
        // Only the person in front has a pose; when they part it is the one or the other. Boxes alone cannot
        // distinguish the two cases.
        let clinch = |visible: usize| {
            let hidden = |person: usize| DrawnPerson { has_pose: false, ..at(person, 335.0) };
            Scene { rate, ..Scene::new(&[RED, BLUE]) }
                .stand(1.5, &[at(0, 200.0), at(1, 440.0)])
                .play(0.5, |t| vec![at(0, between(200.0, 300.0, t)), at(1, between(440.0, 340.0, t))])
                .play(1.2, |t| vec![hidden(1), at(0, between(300.0, 330.0, t))])
                .play(0.3, |_| vec![hidden(1 - visible), at(visible, 330.0)])
                .play(0.5, |t| vec![at(1 - visible, between(335.0, 430.0, t)), at(visible, between(330.0, 210.0, t))])
                .stand(1.0, &[at(1 - visible, 430.0), at(visible, 210.0)])
        };
        let own = Fighter::FIGHTERS;
        // Until they part, nothing distinguishes the two cases.
        let max_wrong = rate as usize * 2 / 3;
        clinch(0).assert_kept_by_appearance(&own, max_wrong);
        clinch(1).assert_kept_by_appearance(&own, max_wrong);
        assert!(clinch(0).outcome(false).0 != own || clinch(1).outcome(false).0 != own, "at {rate} fps");
    }
}

#[test]
fn a_fighter_who_leaves_for_two_seconds_and_returns_on_the_other_side_keeps_the_name() {
    for rate in [30, 60] {
        let scene = Scene { rate, ..Scene::new(&[RED, BLUE, GRAY]) }
            .stand(1.5, &[at(2, 560.0), at(0, 200.0), at(1, 400.0)])
            .play(0.5, |t| vec![at(2, 560.0), at(0, between(200.0, -60.0, t)), at(1, 400.0)])
            .stand(2.0, &[at(2, 560.0), at(1, 330.0)])
            .play(0.5, |t| vec![at(2, 560.0), at(0, between(700.0, 480.0, t)), at(1, between(330.0, 250.0, t))])
            .stand(0.2, &[at(2, 560.0), at(0, 480.0), at(1, 250.0)]);
        scene.assert_kept_by_appearance(&[Fighter::One, Fighter::Two, Fighter::None], 0);
        scene.assert_lost_by_boxes(&[Fighter::One, Fighter::Two, Fighter::None]);
    }
}

#[test]
fn fighters_who_leave_for_two_seconds_and_return_on_swapped_sides_keep_their_names() {
    let scene = Scene::new(&[RED, BLUE])
        .stand(1.5, &[at(0, 200.0), at(1, 440.0)])
        .play(0.5, |t| vec![at(0, between(200.0, -60.0, t)), at(1, between(440.0, 700.0, t))])
        .stand(2.0, &[])
        .play(0.6, |t| vec![at(1, between(-60.0, 200.0, t)), at(0, between(700.0, 440.0, t))])
        .stand(1.0, &[at(1, 200.0), at(0, 440.0)]);
    scene.assert_kept_by_appearance(&Fighter::FIGHTERS, 0);
    scene.assert_lost_by_boxes(&Fighter::FIGHTERS);
}

#[test]
fn a_stranger_who_enters_where_a_fighter_left_does_not_get_the_name() {
    let scene = Scene::new(&[RED, BLUE, GREEN])
        .stand(1.5, &[at(0, 200.0), at(1, 440.0)])
        .play(0.5, |t| vec![at(0, between(200.0, -60.0, t)), at(1, 440.0)])
        .stand(0.5, &[at(1, 440.0)])
        .play(0.5, |t| vec![at(2, between(-60.0, 180.0, t)), at(1, 440.0)])
        .stand(1.5, &[at(2, 180.0), at(1, 440.0)]);
    let names = [Fighter::Two, Fighter::None];
    // While only an edge of the stranger is visible, it may be the fighter who left a moment ago.
    scene.assert_kept_by_appearance(&names, 5);
    scene.assert_lost_by_boxes(&names);
    let back = scene
        .play(0.5, |t| vec![at(2, 180.0), at(1, 440.0), at(0, between(700.0, 570.0, t))])
        .stand(1.0, &[at(2, 180.0), at(1, 440.0), at(0, 570.0)]);
    back.assert_kept_by_appearance(&[Fighter::One, Fighter::Two, Fighter::None], 5);
}

#[test]
fn fighters_dressed_alike_get_no_false_names() {
    let leaves = bout(BLUE, BLUE)
        .play(0.5, |t| vec![at(0, between(200.0, -60.0, t)), at(1, 440.0)])
        .stand(2.0, &[at(1, 300.0)])
        .play(0.8, |t| vec![at(0, between(700.0, 480.0, t)), at(1, 300.0)])
        .stand(0.5, &[at(0, 480.0), at(1, 300.0)]);
    let (names, wrong) = leaves.outcome(true);
    assert_eq!((names[1], wrong), (Fighter::Two, 0), "{names:?}");
    // Two who cross without losing a pose are resolved by boxes, as without appearance embeddings.
    let crossing = bout(BLUE, BLUE)
        .play(2.0, |t| vec![at(0, between(200.0, 440.0, t)), at(1, between(440.0, 200.0, t))])
        .stand(1.0, &[at(0, 440.0), at(1, 200.0)]);
    assert_eq!(crossing.names(true).last(), crossing.names(false).last());
}
