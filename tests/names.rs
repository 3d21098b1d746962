//! Fighters keep their names: drawn people cross, clinch, and leave the picture, through `reid` and `tracker` as in
//! modules/perception.yml. Each scene that boxes alone cannot tell is played without looks too.
#![cfg(feature = "onnx")]

use std::collections::BTreeMap;

use serde_json::Value;
use sideline_api::{
    Alignment, Color, Encoding, Frame,
    tables::{Appearance, JOINTS, Pose, Track},
    testing::{Harness, Setup},
};
use sideline_reid::Reid;
use sideline_tracker::Tracker;

const WIDTH: usize = 640;
const HEIGHT: usize = 360;
/// Height of everybody, px, and of their heads' tops.
const TALL: f32 = 150.0;
const TOP: f32 = 150.0;

/// Y, U, V of shirts and trousers.
type Clothes = [[u8; 3]; 2];
const RED: Clothes = [[80, 100, 212], [60, 120, 140]];
const BLUE: Clothes = [[60, 200, 110], [200, 128, 128]];
const GREEN: Clothes = [[110, 84, 80], [50, 128, 128]];
const GREY: Clothes = [[120, 128, 128], [70, 130, 126]];
const SKIN: [u8; 3] = [150, 108, 150];

/// A person in one frame: whose clothes, where, and whether the pose model sees them.
#[derive(Clone, Copy)]
struct Shown {
    who: usize,
    x: f32,
    posed: bool,
}

fn at(who: usize, x: f32) -> Shown {
    Shown { who, x, posed: true }
}

/// What happens, frame by frame; who comes later in a frame stands in front.
#[derive(Clone)]
struct Scene {
    cast: Vec<Clothes>,
    rate: i64,
    frames: Vec<Vec<Shown>>,
}

impl Scene {
    fn new(cast: &[Clothes]) -> Self {
        Self { cast: cast.to_vec(), rate: 30, frames: Vec::new() }
    }

    /// Plays for some seconds; `who` is told how far it is, 0 to 1.
    fn play(mut self, seconds: f32, who: impl Fn(f32) -> Vec<Shown>) -> Self {
        let count = (seconds * self.rate as f32).round() as usize;
        self.frames.extend((1..=count).map(|frame| who(frame as f32 / count as f32)));
        self
    }

    fn stand(self, seconds: f32, who: &[Shown]) -> Self {
        self.play(seconds, |_| who.to_vec())
    }

    /// Names that each person bears in each frame; `None` where they have no pose.
    fn names(&self, looks: bool) -> Vec<BTreeMap<usize, String>> {
        let interval = 1_000_000_000 / self.rate;
        let wired = |inputs: &[&'static str]| {
            let inputs = inputs.iter().map(|name| (*name, Alignment::Source(sideline_api::SourceId(0)))).collect();
            Setup { interval, inputs: Some(inputs), ..Setup::default() }
        };
        let mut reid = Harness::<Reid>::with([("every", 15)], wired(&["frames", "poses"])).unwrap();
        let inputs: &[_] = if looks { &["poses", "appearance"] } else { &["poses"] };
        let values = [("fighters", Value::from(2)), ("warm_up", Value::from(0.3))];
        let mut tracker = Harness::<Tracker>::with(values, wired(inputs)).unwrap();
        let mut names = Vec::new();
        for (number, shown) in self.frames.iter().enumerate() {
            let inside = |shown: &&Shown| shown.posed && shown.x > -0.1 * TALL && shown.x < WIDTH as f32 + 0.1 * TALL;
            let posed: Vec<&Shown> = shown.iter().filter(inside).collect();
            let poses: Vec<Pose> = posed.iter().map(|shown| pose(shown.x)).collect();
            if looks {
                reid.push_frame("frames", draw(&self.cast, shown, number as u32)).unwrap();
                reid.push("poses", &poses).unwrap();
                tracker.push("appearance", &reid.expect::<Appearance>("appearance")).unwrap();
            }
            tracker.push("poses", &poses).unwrap();
            tracker.expect::<Track>("tracks");
            let rows = tracker.expect::<Pose>("tracked_poses");
            names.push(posed.iter().zip(rows).map(|(shown, row)| (shown.who, row.fighter)).collect());
        }
        names
    }

    /// Names at the end, and in how many frames somebody bore another's.
    fn outcome(&self, looks: bool) -> (Vec<String>, usize) {
        let names = self.names(looks);
        let right = |who: &usize, name: &str| name.is_empty() || (*who < 2 && name == format!("fighter_{}", who + 1));
        let wrong = names.iter().filter(|frame| frame.iter().any(|(who, name)| !right(who, name))).count();
        (names.last().unwrap().values().cloned().collect(), wrong)
    }

    /// By looks all end with their own names; false ones lasted for `most` frames in sum.
    fn kept_by_looks(&self, expected: &[&str], most: usize) {
        let (names, wrong) = self.outcome(true);
        assert_eq!(names, expected, "{wrong} frames with a false name");
        assert!(wrong <= most, "{wrong} frames with a false name");
    }

    /// And by boxes alone they do not.
    fn lost_by_boxes(&self, expected: &[&str]) {
        assert_ne!(self.outcome(false).0, expected, "the scene is too easy to show anything");
    }
}

fn between(from: f32, to: f32, share: f32) -> f32 {
    from + (to - from) * share
}

/// A person who stands upright, arms hanging.
fn pose(x: f32) -> Pose {
    let mut joints = [[0.0; 4]; JOINTS];
    let mut put = |joint: usize, dx: f32, dy: f32| {
        let (px, py) = (x + dx * TALL, TOP + dy * TALL);
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
    let (x1, x2) = ((x - 0.19 * TALL).max(0.0), (x + 0.19 * TALL).min(WIDTH as f32));
    Pose {
        track: 0,
        fighter: String::new(),
        x1,
        y1: TOP,
        x2,
        y2: TOP + TALL,
        score: 0.95,
        model: "drawn".into(),
        aspect: WIDTH as f32 / HEIGHT as f32,
        joints,
        world: [[0.0; 3]; JOINTS],
    }
}

/// The people before a wall with a pattern; the picture trembles a little from frame to frame.
fn draw(cast: &[Clothes], shown: &[Shown], number: u32) -> Frame {
    let mut planes = [vec![0; WIDTH * HEIGHT], vec![0; WIDTH * HEIGHT], vec![0; WIDTH * HEIGHT]];
    let mut noise = 0x9e37_79b9_u32.wrapping_mul(number + 1);
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let mut colour = [90 + ((x / 40 + y / 60) % 3 * 30) as u8, 124, 132];
            for one in shown {
                let (dx, dy) = ((x as f32 + 0.5 - one.x) / TALL, (y as f32 + 0.5 - TOP) / TALL);
                let [shirt, trousers] = cast[one.who];
                let part = match () {
                    () if dx.hypot(dy - 0.08) < 0.075 => Some(SKIN),
                    () if dx.abs() < 0.115 && (0.16..0.52).contains(&dy) => Some(shirt),
                    () if (0.1..0.18).contains(&dx.abs()) && (0.18..0.32).contains(&dy) => Some(shirt),
                    () if (0.11..0.18).contains(&dx.abs()) && (0.32..0.54).contains(&dy) => Some(SKIN),
                    () if dx.abs() < 0.115 && (0.52..0.98).contains(&dy) => Some(trousers),
                    () => None,
                };
                colour = part.unwrap_or(colour);
            }
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let tremble = (noise >> 28) as u8;
            for (plane, value) in planes.iter_mut().zip(colour) {
                plane[y * WIDTH + x] = value.saturating_add(tremble).saturating_sub(8);
            }
        }
    }
    let mut bytes = planes[0].clone();
    for plane in &planes[1..] {
        for y in (0..HEIGHT).step_by(2) {
            bytes.extend((0..WIDTH).step_by(2).map(|x| plane[y * WIDTH + x]));
        }
    }
    Frame::from_packed(WIDTH as u32, HEIGHT as u32, Encoding::I420, Color::assumed(360), bytes).unwrap()
}

/// Two who stand apart long enough to be named.
fn bout(left: Clothes, right: Clothes) -> Scene {
    Scene::new(&[left, right]).stand(1.5, &[at(0, 200.0), at(1, 440.0)])
}

#[test]
fn names_survive_a_crossing_whichever_way_they_part() {
    let meet = |scene: Scene| {
        scene
            .play(0.7, |t| vec![at(0, between(200.0, 310.0, t)), at(1, between(440.0, 330.0, t))])
            // Who stands behind has no pose; the one in front turns round there.
            .play(0.6, |t| vec![Shown { posed: false, ..at(0, 315.0) }, at(1, between(330.0, 315.0, t))])
    };
    let through = meet(bout(RED, BLUE))
        .play(0.7, |t| vec![at(0, between(320.0, 440.0, t)), at(1, between(310.0, 200.0, t))])
        .stand(1.0, &[at(0, 440.0), at(1, 200.0)]);
    let back = meet(bout(RED, BLUE))
        .play(0.7, |t| vec![at(0, between(310.0, 200.0, t)), at(1, between(320.0, 440.0, t))])
        .stand(1.0, &[at(0, 200.0), at(1, 440.0)]);
    let own = ["fighter_1", "fighter_2"];
    through.kept_by_looks(&own, 20);
    back.kept_by_looks(&own, 20);
    assert!(
        through.outcome(false).0 != own || back.outcome(false).0 != own,
        "boxes alone know no difference between the two: one of them must go wrong"
    );
}

#[test]
fn names_survive_a_clinch_in_which_one_pose_is_lost() {
    for rate in [30, 60] {
        // One skeleton is left, on the one who is in front; when they part it is on the one or on the other. To boxes
        // both look the same.
        let clinch = |seen: usize| {
            let hidden = |who: usize| Shown { posed: false, ..at(who, 335.0) };
            Scene { rate, ..Scene::new(&[RED, BLUE]) }
                .stand(1.5, &[at(0, 200.0), at(1, 440.0)])
                .play(0.5, |t| vec![at(0, between(200.0, 300.0, t)), at(1, between(440.0, 340.0, t))])
                .play(1.2, |t| vec![hidden(1), at(0, between(300.0, 330.0, t))])
                .play(0.3, |_| vec![hidden(1 - seen), at(seen, 330.0)])
                .play(0.5, |t| vec![at(1 - seen, between(335.0, 430.0, t)), at(seen, between(330.0, 210.0, t))])
                .stand(1.0, &[at(1 - seen, 430.0), at(seen, 210.0)])
        };
        let own = ["fighter_1", "fighter_2"];
        // Till they part there is nothing to tell by.
        let most = rate as usize * 2 / 3;
        clinch(0).kept_by_looks(&own, most);
        clinch(1).kept_by_looks(&own, most);
        assert!(clinch(0).outcome(false).0 != own || clinch(1).outcome(false).0 != own, "at {rate} fps");
    }
}

#[test]
fn a_fighter_who_leaves_for_two_seconds_comes_back_on_the_other_side_under_his_name() {
    for rate in [30, 60] {
        let scene = Scene { rate, ..Scene::new(&[RED, BLUE, GREY]) }
            .stand(1.5, &[at(2, 560.0), at(0, 200.0), at(1, 400.0)])
            .play(0.5, |t| vec![at(2, 560.0), at(0, between(200.0, -60.0, t)), at(1, 400.0)])
            .stand(2.0, &[at(2, 560.0), at(1, 330.0)])
            .play(0.5, |t| vec![at(2, 560.0), at(0, between(700.0, 480.0, t)), at(1, between(330.0, 250.0, t))])
            .stand(0.2, &[at(2, 560.0), at(0, 480.0), at(1, 250.0)]);
        scene.kept_by_looks(&["fighter_1", "fighter_2", ""], 0);
        scene.lost_by_boxes(&["fighter_1", "fighter_2", ""]);
    }
}

#[test]
fn both_leave_for_two_seconds_and_come_back_on_changed_sides() {
    let scene = Scene::new(&[RED, BLUE])
        .stand(1.5, &[at(0, 200.0), at(1, 440.0)])
        .play(0.5, |t| vec![at(0, between(200.0, -60.0, t)), at(1, between(440.0, 700.0, t))])
        .stand(2.0, &[])
        .play(0.6, |t| vec![at(1, between(-60.0, 200.0, t)), at(0, between(700.0, 440.0, t))])
        .stand(1.0, &[at(1, 200.0), at(0, 440.0)]);
    scene.kept_by_looks(&["fighter_1", "fighter_2"], 0);
    scene.lost_by_boxes(&["fighter_1", "fighter_2"]);
}

#[test]
fn a_stranger_who_comes_where_a_fighter_left_does_not_get_the_name() {
    let scene = Scene::new(&[RED, BLUE, GREEN])
        .stand(1.5, &[at(0, 200.0), at(1, 440.0)])
        .play(0.5, |t| vec![at(0, between(200.0, -60.0, t)), at(1, 440.0)])
        .stand(0.5, &[at(1, 440.0)])
        .play(0.5, |t| vec![at(2, between(-60.0, 180.0, t)), at(1, 440.0)])
        .stand(1.5, &[at(2, 180.0), at(1, 440.0)]);
    let names = ["fighter_2", ""];
    // For as long as nothing but an edge of the stranger is seen, it may be the one who left a moment ago.
    scene.kept_by_looks(&names, 5);
    scene.lost_by_boxes(&names);
    let back = scene
        .play(0.5, |t| vec![at(2, 180.0), at(1, 440.0), at(0, between(700.0, 570.0, t))])
        .stand(1.0, &[at(2, 180.0), at(1, 440.0), at(0, 570.0)]);
    back.kept_by_looks(&["fighter_1", "fighter_2", ""], 5);
}

#[test]
fn of_two_dressed_alike_nothing_false_is_said() {
    let leaves = bout(BLUE, BLUE)
        .play(0.5, |t| vec![at(0, between(200.0, -60.0, t)), at(1, 440.0)])
        .stand(2.0, &[at(1, 300.0)])
        .play(0.8, |t| vec![at(0, between(700.0, 480.0, t)), at(1, 300.0)])
        .stand(0.5, &[at(0, 480.0), at(1, 300.0)]);
    let (names, wrong) = leaves.outcome(true);
    assert_eq!((names[1].as_str(), wrong), ("fighter_2", 0), "{names:?}");
    // What boxes tell is told as without looks: two who pass each other without losing a pose.
    let crossing = bout(BLUE, BLUE)
        .play(2.0, |t| vec![at(0, between(200.0, 440.0, t)), at(1, between(440.0, 200.0, t))])
        .stand(1.0, &[at(0, 440.0), at(1, 200.0)]);
    assert_eq!(crossing.names(true).last(), crossing.names(false).last());
}
