//! Selection and names of the fighters, from rows as a tracker sends them.

use sideline_api::{
    Alignment, SourceId, Values,
    testing::{Harness, Setup},
};
use sideline_fighters::Fighters;
use sideline_sport::tables::{Fighter, FighterName, Identity, IdentityRelation, Track, TrackState};

/// Seconds for which the simulated tracker keeps a lost track.
const LOST_BUFFER_S: f64 = 1.0;
const FRAME_RATE: f64 = 30.0;

/// Standing person, with a box that is wider while the arms are out.
#[derive(Clone, Copy)]
struct Body {
    track: u32,
    cx: f32,
    height: f32,
    /// Change of the width from frame to frame, in heights.
    width_change: f32,
}

const LEFT: Body = Body { track: 1, cx: 560.0, height: 300.0, width_change: 0.06 };
const RIGHT: Body = Body { track: 2, cx: 760.0, ..LEFT };
/// As tall as the fighters, but at the edge and motionless.
const COACH: Body = Body { track: 3, cx: 1200.0, width_change: 0.0, ..LEFT };
const SPECTATOR: Body = Body { track: 4, cx: 660.0, height: 120.0, width_change: 0.0 };
/// The right fighter under a new number: too far away for the tracker, near enough for the name.
const BACK: Body = Body { track: 9, cx: 960.0, ..RIGHT };

/// Operator behind a simulated tracker, whose detector runs at every n-th frame.
struct Bout {
    harness: Harness<Fighters>,
    stride: u32,
    frame: u32,
    /// Rows of the tracks that still exist, each with the frame of its last detection and its number of detections.
    tracks: Vec<(Track, u32, u32)>,
    names: Vec<FighterName>,
}

impl Bout {
    fn new(values: impl Into<Values>) -> Self {
        Self::with(values, &["tracks"])
    }

    fn with(values: impl Into<Values>, inputs: &[&'static str]) -> Self {
        let inputs = inputs.iter().map(|name| (*name, Alignment::Source(SourceId(0)))).collect();
        let setup = Setup { interval: (1e9 / FRAME_RATE) as i64, inputs: Some(inputs), ..Setup::default() };
        let harness = Harness::with(values, setup).unwrap();
        Self { harness, stride: 1, frame: 0, tracks: vec![], names: vec![] }
    }

    /// Simulates the tracker on frames with these people, and pushes its rows.
    fn show(&mut self, frames: u32, bodies: &[Body]) {
        for _ in 0..frames {
            self.step(bodies);
            let rows: Vec<Track> = self.tracks.iter().map(|(row, ..)| row.clone()).collect();
            self.harness.push("tracks", &rows).unwrap();
            self.names = self.harness.expect("fighters");
        }
    }

    /// Like [`Self::show`], with rows of re-identification in each frame.
    fn show_with(&mut self, frames: u32, bodies: &[Body], identities: &[Identity]) {
        for _ in 0..frames {
            self.harness.push("identities", identities).unwrap();
            self.show(1, bodies);
        }
    }

    fn step(&mut self, bodies: &[Body]) {
        self.frame += 1;
        let (frame, has_detections) = (self.frame, self.frame.is_multiple_of(self.stride));
        let swing = if frame % 4 < 2 { 1.0 } else { -1.0 };
        for (row, ..) in &mut self.tracks {
            row.age += 1;
            if row.state == TrackState::Confirmed {
                row.state = TrackState::Predicted;
            }
        }
        for body in bodies.iter().filter(|_| has_detections) {
            let (w, h) = (body.height * (0.4 + body.width_change * swing) / 2.0, body.height / 2.0);
            let index = self.tracks.iter().position(|(row, ..)| row.track == body.track).unwrap_or_else(|| {
                self.tracks.push((Track { track: body.track, score: 0.9, ..Track::default() }, frame, 0));
                self.tracks.len() - 1
            });
            let (row, last, hits) = &mut self.tracks[index];
            (row.x1, row.y1, row.x2, row.y2) = (body.cx - w, 400.0 - h, body.cx + w, 400.0 + h);
            *hits += 1;
            *last = frame;
            // Tracks of the first frame are confirmed at once.
            let is_confirmed = *hits > 1 || frame == self.stride;
            row.state = if is_confirmed { TrackState::Confirmed } else { TrackState::Tentative };
        }
        if has_detections {
            let lost_s = |last: u32| f64::from(frame - last) / FRAME_RATE;
            self.tracks.retain(|(_, last, _)| lost_s(*last) <= LOST_BUFFER_S);
            for (row, last, _) in &mut self.tracks {
                if *last < frame {
                    row.state = TrackState::Lost;
                }
            }
        }
    }

    /// Returns the tracks that hold each name.
    fn named(&self) -> [Option<u32>; 2] {
        Fighter::FIGHTERS.map(|fighter| self.names.iter().find(|row| row.fighter == fighter).map(|row| row.track))
    }
}

#[test]
fn the_fighting_pair_is_named_and_bystanders_are_not() {
    let mut bout = Bout::new(Values::new());
    bout.show(20, &[COACH, RIGHT, SPECTATOR, LEFT]);
    assert_eq!(bout.names, [], "no names before the warm-up is over");
    bout.show(20, &[COACH, RIGHT, SPECTATOR, LEFT]);
    assert_eq!(bout.named(), [Some(1), Some(2)]);
    assert_eq!(bout.names.len(), 2);
}

#[test]
fn names_stay_when_the_fighters_change_sides() {
    let mut bout = Bout::new(Values::new());
    bout.show(40, &[LEFT, RIGHT]);
    for step in 0..50 {
        let offset = 4.0 * step as f32;
        bout.show(1, &[Body { cx: 560.0 + offset, ..LEFT }, Body { cx: 760.0 - offset, ..RIGHT }]);
    }
    assert_eq!(bout.named(), [Some(1), Some(2)]);
}

#[test]
fn a_fighter_recovered_under_another_number_keeps_the_name() {
    for hidden in [5, 29, 60] {
        let mut bout = Bout::new(Values::new());
        bout.show(40, &[LEFT, RIGHT, COACH]);
        bout.show(hidden, &[LEFT, COACH]);
        bout.show(3, &[LEFT, COACH, BACK]);
        assert_eq!(bout.named(), [Some(1), Some(9)], "{hidden} frames hidden");
    }
}

#[test]
fn a_name_is_handed_over_to_a_new_track_at_any_detector_stride() {
    for (stride, missed) in [1, 3, 10, 16].into_iter().flat_map(|stride| [(stride, 1), (stride, 2)]) {
        let mut bout = Bout { stride, ..Bout::new(Values::new()) };
        bout.show(stride * 48_u32.div_ceil(stride), &[LEFT, RIGHT, COACH]);
        assert_eq!(bout.named(), [Some(1), Some(2)], "stride {stride}");
        bout.show(stride * missed, &[LEFT, COACH]);
        bout.show(stride * 5_u32.div_ceil(stride).max(2), &[LEFT, COACH, BACK]);
        assert_eq!(bout.named(), [Some(1), Some(9)], "stride {stride}, {missed} detections missed");
    }
}

#[test]
fn a_name_is_not_handed_over_to_a_distant_or_smaller_or_older_track() {
    let mut bout = Bout::new(Values::new());
    bout.show(40, &[LEFT, RIGHT, SPECTATOR]);
    let newcomer = Body { track: 8, cx: 150.0, ..COACH };
    let child = Body { track: 9, height: 140.0, cx: 900.0, ..RIGHT };
    bout.show(40, &[LEFT, SPECTATOR, newcomer, child]);
    assert_eq!(bout.named(), [Some(1), None]);
}

#[test]
fn after_a_cut_two_new_fighters_are_named() {
    let mut bout = Bout::new(Values::new());
    bout.show(40, &[LEFT, RIGHT]);
    let elsewhere = |body: Body| Body { track: body.track + 10, cx: body.cx - 450.0, height: 150.0, ..body };
    bout.show(150, &[elsewhere(RIGHT), elsewhere(LEFT)]);
    assert_eq!(bout.named(), [Some(11), Some(12)]);
}

#[test]
fn fighters_sets_how_many_people_are_named() {
    let mut bout = Bout::new([("fighters", 1)]);
    bout.show(40, &[SPECTATOR, LEFT]);
    assert_eq!(bout.named(), [Some(1), None]);
    bout.harness.set("fighters", 0).unwrap();
    bout.show(1, &[SPECTATOR, LEFT]);
    assert_eq!(bout.names, []);
}

const IDENTITIES: [&str; 2] = ["tracks", "identities"];

#[test]
fn a_name_follows_a_person_who_is_recognized_under_another_number() {
    let mut bout = Bout::with(Values::new(), &IDENTITIES);
    bout.show_with(40, &[LEFT, RIGHT], &[]);
    let remembered = Identity { track: 2, other: None, relation: IdentityRelation::Remembered };
    // Longer than a name waits for a fighter who is not remembered, and with another person beside.
    bout.show_with(120, &[LEFT, COACH], std::slice::from_ref(&remembered));
    assert_eq!(bout.named(), [Some(1), None]);
    bout.show_with(1, &[LEFT, COACH, Body { cx: 300.0, ..RIGHT }], &[remembered]);
    bout.show_with(1, &[LEFT, COACH, Body { cx: 300.0, ..RIGHT }], &[]);
    assert_eq!(bout.named(), [Some(1), Some(2)]);
}

#[test]
fn a_newly_named_track_that_is_recognized_as_the_absent_fighter_has_one_name() {
    let mut bout = Bout::with(Values::new(), &IDENTITIES);
    bout.show_with(40, &[LEFT, RIGHT], &[]);
    let remembered = Identity { track: 2, other: None, relation: IdentityRelation::Remembered };
    // Both vanish. The left one cannot be recognized, so after a while a newcomer takes the name.
    let newcomer = Body { track: 9, cx: 1400.0, ..RIGHT };
    bout.show_with(150, &[newcomer, SPECTATOR], std::slice::from_ref(&remembered));
    assert_eq!(bout.named(), [Some(9), None]);
    // It is the right one.
    let renumbered = Identity { track: 2, other: Some(9), relation: IdentityRelation::Renumbered };
    bout.tracks.iter_mut().filter(|(row, ..)| row.track == 9).for_each(|(row, ..)| row.track = 2);
    bout.show_with(1, &[Body { track: 2, ..newcomer }, SPECTATOR], &[renumbered]);
    let names: Vec<(u32, Fighter)> = bout.names.iter().map(|row| (row.track, row.fighter)).collect();
    assert_eq!(
        names,
        [(2, Fighter::Two), (4, Fighter::One)],
        "one name for each; the free one goes to the other person"
    );
}

#[test]
fn a_name_handed_over_by_position_goes_back_when_the_number_ends() {
    let mut bout = Bout::with(Values::new(), &IDENTITIES);
    bout.show_with(40, &[LEFT, RIGHT], &[]);
    bout.show_with(5, &[LEFT], &[]);
    bout.show_with(3, &[LEFT, BACK], &[]);
    assert_eq!(bout.named(), [Some(1), Some(9)]);
    let renumbered = Identity { track: 2, other: Some(9), relation: IdentityRelation::Renumbered };
    bout.tracks.retain(|(row, ..)| row.track != 9);
    bout.show_with(1, &[LEFT, Body { track: 2, ..BACK }], &[renumbered]);
    assert_eq!(bout.named(), [Some(1), Some(2)]);
}

#[test]
fn a_track_that_looks_different_gets_no_name_and_one_that_cannot_be_compared_yet_waits() {
    let undecided = Identity { track: 9, other: None, relation: IdentityRelation::Undecided };
    let different = Identity { track: 9, other: Some(2), relation: IdentityRelation::Different };
    for (verdict, expected) in [(vec![], Some(9)), (vec![different], None)] {
        let mut bout = Bout::with(Values::new(), &IDENTITIES);
        bout.show_with(40, &[LEFT, RIGHT], &[]);
        bout.show_with(5, &[LEFT], &[]);
        bout.show_with(25, &[LEFT, BACK], std::slice::from_ref(&undecided));
        assert_eq!(bout.named(), [Some(1), Some(2)], "the lost track still has the name");
        bout.show_with(1, &[LEFT, BACK], &verdict);
        assert_eq!(bout.named(), [Some(1), expected]);
    }
}
