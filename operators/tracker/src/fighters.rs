//! Which two of the people in the picture are the fighters, and which of them is which.
//!
//! During a warm-up everybody is watched. Then the pair that is tall, near each other, in the middle, active and there all
//! the while is named: `fighter_1` stands on the left at that moment. From then on a name stays. It goes with its track
//! for as long as the tracker keeps it, or knows it again by its looks; when another track appears where the named one
//! vanished, of its size and not looking like somebody else, the name goes over to that one. Nobody else is ever named
//! while both names are taken.

use serde::{Deserialize, Serialize};

use crate::TrackerConfig;
use crate::appearance::{Appearance, Verdict};
use crate::kalman::CentredBox;
use crate::track::Track;

/// One of the two who matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Fighter {
    /// Stood on the left when the names were given.
    #[serde(rename = "fighter_1")]
    One,
    /// Stood on the right.
    #[serde(rename = "fighter_2")]
    Two,
}

impl Fighter {
    /// As the tables write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::One => "fighter_1",
            Self::Two => "fighter_2",
        }
    }
}

// What a person gathers towards being a fighter; each share is 0 to 1.
/// Height, against the tallest.
const HEIGHT_WEIGHT: f64 = 1.0;
/// Time in sight, against the warm-up.
const PRESENCE_WEIGHT: f64 = 0.5;
/// Changes of width and height (limbs thrown out, ducking), against the most active.
const ACTIVITY_WEIGHT: f64 = 0.5;
/// Closeness to the middle of what is seen of the scene.
const CENTRE_WEIGHT: f64 = 0.3;
/// How near a pair stands, in heights.
const CLOSENESS_WEIGHT: f64 = 1.0;

/// Seconds over which height and activity are averaged.
const MEMORY: f64 = 2.0;
/// How far from where a fighter vanished a new track may take the name, heights: at once, and more each second.
const REACH: (f64, f64) = (0.75, 1.0);
/// The most that may grow to, heights.
const GREATEST_REACH: f64 = 2.5;
/// The new track's height over the old one's, at most; and under it, at least, the inverse.
const SCALE: f64 = 1.6;
/// Frames a new track may be older than the gap: the tracker may have begun it just before it lost the other.
const OVERLAP: u32 = 5;
/// The age, frames, past which a track is no longer new: it could come within reach merely by waiting.
const YOUNG: u32 = 15;
/// Seconds after which a vanished fighter is searched for among all who are in sight.
const GIVEN_UP: f64 = 3.0;

/// What is known about the fighters; part of the tracker's state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fighters {
    /// Everybody in sight or lost by the tracker, ordered by identity.
    people: Vec<Person>,
    /// The holders of `fighter_1` and `fighter_2`.
    holders: [Option<Holder>; 2],
    /// Seconds since somebody was first seen, or since the last names were given up.
    watched: f64,
    /// Seconds since the last frame that was looked at.
    since: f64,
    /// Rightmost edge ever seen: the picture's width is not known here.
    width: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Person {
    id: u32,
    /// Seconds in sight.
    present: f64,
    height: f64,
    /// Change of width and height, in heights a second.
    activity: f64,
    last: CentredBox,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Holder {
    track: u32,
    /// Where it was last seen.
    place: CentredBox,
    /// Frames and seconds since.
    gone: u32,
    gone_seconds: f64,
    /// Who had the name before, if it was handed over by place.
    before: Option<u32>,
    /// Tracks that were near enough, and how near, while it was too early to tell by looks: they walk on meanwhile.
    waiting: Vec<(u32, f64)>,
}

impl Fighters {
    /// The name of a track, if it has one.
    pub(crate) fn name_of(&self, track: u32) -> Option<Fighter> {
        let holds = |holder: &Option<Holder>| holder.as_ref().is_some_and(|holder| holder.track == track);
        match &self.holders {
            [one, _] if holds(one) => Some(Fighter::One),
            [_, two] if holds(two) => Some(Fighter::Two),
            _ => None,
        }
    }

    /// Names follow people, not numbers: some tracks have been given others by looks.
    pub(crate) fn rename(&mut self, renamed: &[(u32, u32)], appearance: &Appearance) {
        for holder in self.holders.iter_mut().flatten() {
            // Of an exchange the name stays with the number, whose body is another now, or out of sight. A number that
            // ended was a newcomer's: what was handed over to it by place goes back to who had it.
            let ended = |from: u32| renamed.iter().all(|(_, to)| *to != from) && !appearance.remembers(from);
            if let Some((_, to)) = renamed.iter().find(|(from, _)| *from == holder.track && ended(*from)) {
                holder.track = holder.before.take().unwrap_or(*to);
            }
        }
    }

    /// Takes in the tracks of one frame; in one that was not `looked` at nobody appears and nobody vanishes.
    pub(crate) fn step(
        &mut self,
        config: &TrackerConfig,
        tracks: &[Track],
        appearance: &Appearance,
        looked: bool,
        seconds: f64,
    ) {
        let wanted = (config.fighters as usize).min(2);
        if wanted == 0 {
            *self = Self::default();
            return;
        }
        self.holders[wanted..].fill(None);
        self.since += seconds;
        if !looked {
            return;
        }
        let seconds = std::mem::take(&mut self.since);
        self.watch(tracks, seconds);
        self.follow(tracks, seconds);
        self.hand_over(tracks, appearance);

        let lost_for_good = |holder: &Holder| holder.given_up(appearance);
        if self.holders.iter().flatten().count() > 0 && self.holders.iter().flatten().all(lost_for_good) {
            // Nobody of them is left (a cut to another camera): begin anew.
            self.holders = [None, None];
            self.watched = 0.0;
        }
        if self.watched >= f64::from(config.warm_up) {
            self.name(config, tracks, appearance, wanted);
        }
    }

    /// Keeps what is known of everybody up to date.
    fn watch(&mut self, tracks: &[Track], seconds: f64) {
        if !self.people.is_empty() {
            self.watched += seconds;
        }
        self.people.retain(|person| tracks.iter().any(|track| track.id == person.id));
        for track in tracks.iter().filter(|track| track.confirmed && track.unseen == 0) {
            let place = track.place();
            self.width = self.width.max(place.cx + place.w / 2.0);
            match self.people.binary_search_by_key(&track.id, |person| person.id) {
                Ok(index) => self.people[index].update(place, seconds),
                Err(index) => self.people.insert(index, Person::new(track.id, place)),
            }
        }
    }

    /// Notes where the holders are, or for how long they have been gone.
    fn follow(&mut self, tracks: &[Track], seconds: f64) {
        for holder in self.holders.iter_mut().flatten() {
            match tracks.iter().find(|track| track.id == holder.track && track.unseen == 0) {
                Some(track) => *holder = Holder { before: holder.before, ..Holder::new(track) },
                None => {
                    holder.gone += 1;
                    holder.gone_seconds += seconds;
                }
            }
        }
    }

    /// Gives a vanished fighter's name to the new track nearest to where that one was last seen.
    ///
    /// Where looks are known, the new track must have been looked at, and must not look like somebody else.
    fn hand_over(&mut self, tracks: &[Track], appearance: &Appearance) {
        if self.holders.iter().flatten().all(|holder| holder.gone == 0) {
            return;
        }
        let unnamed = self.unnamed(tracks);
        let mut offers = Vec::new();
        for (slot, holder) in self.holders.iter_mut().enumerate() {
            let Some(holder) = holder.as_mut().filter(|holder| holder.gone > 0) else { continue };
            for track in &unnamed {
                if !holder.may_become(track) {
                    continue;
                }
                let known =
                    holder.waiting.iter().find(|(waiting, _)| *waiting == track.id).map(|(_, distance)| *distance);
                let distance = holder.distance(track).or(known);
                match appearance.verdict(track, holder.track, tracks) {
                    Verdict::Possible => offers.extend(distance.map(|distance| (distance, slot, track))),
                    Verdict::Open if known.is_none() => {
                        holder.waiting.extend(distance.map(|distance| (track.id, distance)));
                    }
                    Verdict::Open | Verdict::Other => {}
                }
            }
        }
        offers.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (_, slot, track) in offers {
            let vacant = self.holders[slot].as_ref().is_some_and(|holder| holder.gone > 0);
            if vacant && self.name_of(track.id).is_none() {
                let before = self.holders[slot].as_ref().map(|holder| holder.before.unwrap_or(holder.track));
                self.holders[slot] = Some(Holder { before, ..Holder::new(track) });
            }
        }
    }

    /// Fills the names nobody holds, or whose holder is given up, with those who fit best.
    fn name(&mut self, config: &TrackerConfig, tracks: &[Track], appearance: &Appearance, wanted: usize) {
        let vacant = |holder: &Option<Holder>| holder.as_ref().is_none_or(|holder| holder.given_up(appearance));
        let slots: Vec<usize> = (0..wanted).filter(|&slot| vacant(&self.holders[slot])).collect();
        if slots.is_empty() {
            return;
        }
        // Half the warm-up in sight is enough for a first naming; who comes in later has to stay for all of it.
        let share = if slots.len() == wanted { 0.5 } else { 1.0 };
        let least = share * f64::from(config.warm_up);
        let mut candidates = self.unnamed(tracks);
        candidates.retain(|track| self.person(track.id).is_some_and(|person| person.present >= least));

        let claim = |track: &Track| self.claim(config, track.id);
        let mut chosen: Vec<&Track> = if slots.len() == 2 {
            let pairs = candidates.iter().enumerate().flat_map(|(index, &a)| {
                candidates[index + 1..]
                    .iter()
                    .map(move |&b| (claim(a) + claim(b) + closeness(&a.place(), &b.place()), [a, b]))
            });
            best(pairs).map_or_else(Vec::new, Vec::from)
        } else {
            let other = self.holders[1 - slots[0]].as_ref().map(|holder| holder.place);
            let ones = candidates
                .iter()
                .map(|&track| (claim(track) + other.map_or(0.0, |other| closeness(&other, &track.place())), track));
            best(ones).into_iter().collect()
        };
        chosen.sort_by(|a, b| a.place().cx.total_cmp(&b.place().cx));
        for (slot, track) in slots.into_iter().zip(chosen) {
            self.holders[slot] = Some(Holder::new(track));
        }
    }

    fn unnamed<'a>(&self, tracks: &'a [Track]) -> Vec<&'a Track> {
        let unnamed = |track: &&Track| track.confirmed && track.unseen == 0 && self.name_of(track.id).is_none();
        tracks.iter().filter(unnamed).collect()
    }

    fn person(&self, id: u32) -> Option<&Person> {
        self.people.binary_search_by_key(&id, |person| person.id).ok().map(|index| &self.people[index])
    }

    /// What speaks for a person by itself.
    fn claim(&self, config: &TrackerConfig, id: u32) -> f64 {
        let Some(person) = self.person(id) else { return 0.0 };
        let greatest = |of: fn(&Person) -> f64| self.people.iter().map(of).fold(1e-9, f64::max);
        let off_centre = (2.0 * person.last.cx / self.width.max(1.0) - 1.0).abs().min(1.0);
        HEIGHT_WEIGHT * person.height / greatest(|person| person.height)
            + PRESENCE_WEIGHT * (person.present / f64::from(config.warm_up).max(1e-3)).min(1.0)
            + ACTIVITY_WEIGHT * person.activity / greatest(|person| person.activity)
            + CENTRE_WEIGHT * (1.0 - off_centre)
    }
}

/// What a pair gathers by standing near each other: all where they stand in one place, a third at a height's distance.
fn closeness(a: &CentredBox, b: &CentredBox) -> f64 {
    CLOSENESS_WEIGHT * (-(a.cx - b.cx).hypot(a.cy - b.cy) / (0.5 * (a.h + b.h))).exp()
}

/// The one with the greatest score; the first of equals, so that the order of birth decides and not chance.
fn best<T>(scored: impl Iterator<Item = (f64, T)>) -> Option<T> {
    let greater = |held: (f64, T), next: (f64, T)| if next.0 > held.0 { next } else { held };
    scored.reduce(greater).map(|(_, one)| one)
}

impl Person {
    fn new(id: u32, place: CentredBox) -> Self {
        Self { id, present: 0.0, height: place.h, activity: 0.0, last: place }
    }

    fn update(&mut self, place: CentredBox, seconds: f64) {
        self.present += seconds;
        if seconds > 0.0 {
            // A true mean at first, then one that forgets over MEMORY.
            let share = (seconds / self.present.min(MEMORY)).min(1.0);
            let change = ((place.w - self.last.w).abs() + (place.h - self.last.h).abs()) / (place.h * seconds);
            self.height += share * (place.h - self.height);
            self.activity += share * (change - self.activity);
        }
        self.last = place;
    }
}

impl Holder {
    fn new(track: &Track) -> Self {
        Self { track: track.id, place: track.place(), gone: 0, gone_seconds: 0.0, before: None, waiting: Vec::new() }
    }

    /// True when the name is to be had again: gone for long, and not to be known again by looks either.
    fn given_up(&self, appearance: &Appearance) -> bool {
        self.gone_seconds > GIVEN_UP && !appearance.remembers(self.track)
    }

    /// True when a track is new, and did not begin while the holder was in sight.
    fn may_become(&self, track: &Track) -> bool {
        track.age <= self.gone + OVERLAP && track.age.saturating_sub(track.looks.waited) <= YOUNG
    }

    /// How far a track is from where the holder was last seen, in heights; `None` beyond reach or of another size.
    fn distance(&self, track: &Track) -> Option<f64> {
        let place = track.place();
        let scale = place.h / self.place.h;
        let distance = (place.cx - self.place.cx).hypot(place.cy - self.place.cy) / self.place.h;
        let reach = (REACH.0 + REACH.1 * self.gone_seconds).min(GREATEST_REACH);
        ((SCALE.recip()..=SCALE).contains(&scale) && distance <= reach).then_some(distance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Detection, TrackRow, TrackerState};

    /// A person of a height, whose box is as wide as the arms reach.
    #[derive(Clone, Copy)]
    struct Body {
        cx: f32,
        cy: f32,
        height: f32,
        /// How much the width changes from frame to frame, in heights.
        lively: f32,
    }

    const LEFT: Body = Body { cx: 560.0, cy: 400.0, height: 300.0, lively: 0.06 };
    const RIGHT: Body = Body { cx: 760.0, ..LEFT };
    /// As tall as they are, at the edge, still.
    const COACH: Body = Body { cx: 1200.0, lively: 0.0, ..LEFT };
    const SPECTATOR: Body = Body { cx: 660.0, cy: 250.0, height: 120.0, lively: 0.0 };

    struct Bout {
        state: TrackerState,
        config: TrackerConfig,
        frame: u32,
        rows: Vec<TrackRow>,
    }

    impl Bout {
        fn new(fighters: u32) -> Self {
            let config = TrackerConfig { fighters, ..TrackerConfig::default() };
            Self { state: TrackerState::default(), config, frame: 0, rows: Vec::new() }
        }

        fn show(&mut self, frames: u32, bodies: &[Body]) {
            for _ in 0..frames {
                self.frame += 1;
                let swing = if self.frame % 4 < 2 { 1.0 } else { -1.0 };
                let detections = bodies.iter().map(|body| {
                    let (w, h) = (body.height * (0.4 + body.lively * swing) / 2.0, body.height / 2.0);
                    let (x1, y1, x2, y2) = (body.cx - w, body.cy - h, body.cx + w, body.cy + h);
                    Detection { x1, y1, x2, y2, score: 0.9, class: 0 }
                });
                let detections: Vec<_> = detections.collect();
                self.state.step(&self.config, Some(&detections), 1.0 / 30.0, &mut self.rows);
            }
        }

        /// Who has which name: the index of the body shown last.
        fn named(&self) -> [Option<usize>; 2] {
            [Fighter::One, Fighter::Two]
                .map(|name| self.rows.iter().find(|row| row.fighter == Some(name)).and_then(|row| row.detection))
        }
    }

    #[test]
    fn the_two_who_fight_are_named_and_the_bystanders_are_not() {
        let mut bout = Bout::new(2);
        bout.show(20, &[COACH, RIGHT, SPECTATOR, LEFT]);
        assert_eq!(bout.named(), [None, None], "nobody before the warm-up is over");
        bout.show(20, &[COACH, RIGHT, SPECTATOR, LEFT]);
        assert_eq!(bout.named(), [Some(3), Some(1)]);
        assert_eq!(bout.rows.iter().filter(|row| row.fighter.is_some()).count(), 2);
    }

    #[test]
    fn names_stay_when_the_fighters_change_sides() {
        let mut bout = Bout::new(2);
        bout.show(40, &[LEFT, RIGHT]);
        for step in 0..50 {
            let way = 4.0 * step as f32;
            bout.show(1, &[Body { cx: 560.0 + way, ..LEFT }, Body { cx: 760.0 - way, cy: 440.0, ..RIGHT }]);
        }
        assert_eq!(bout.named(), [Some(0), Some(1)]);
    }

    #[test]
    fn a_fighter_found_again_under_another_number_has_his_name_again() {
        for hidden in [5, 29, 60] {
            let mut bout = Bout::new(2);
            bout.config.reach = 0.0;
            bout.show(40, &[LEFT, RIGHT, COACH]);
            bout.show(hidden, &[LEFT, COACH]);
            // Too far from the lost track's box to be matched with it, near enough to be the same man.
            let back = Body { cx: 960.0, ..RIGHT };
            bout.show(3, &[LEFT, COACH, back]);
            assert_eq!(bout.named(), [Some(0), Some(2)], "{hidden} frames hidden");
            assert!(bout.rows.iter().any(|row| row.fighter == Some(Fighter::Two) && row.id > 3));
        }
    }

    #[test]
    fn a_vanished_fighters_name_goes_to_nobody_far_or_of_another_size_or_long_there() {
        let mut bout = Bout::new(2);
        bout.show(40, &[LEFT, RIGHT, SPECTATOR]);
        let newcomer = Body { cx: 150.0, ..COACH };
        let child = Body { height: 140.0, cx: 900.0, ..RIGHT };
        bout.show(40, &[LEFT, SPECTATOR, newcomer, child]);
        assert_eq!(bout.named(), [Some(0), None]);
    }

    #[test]
    fn after_a_cut_two_are_named_anew() {
        let mut bout = Bout::new(2);
        bout.show(40, &[LEFT, RIGHT]);
        let elsewhere = |body: Body| Body { cx: body.cx - 450.0, height: 150.0, ..body };
        bout.show(150, &[elsewhere(RIGHT), elsewhere(LEFT)]);
        assert_eq!(bout.named(), [Some(1), Some(0)]);
    }

    #[test]
    fn one_or_no_fighter_can_be_asked_for() {
        let mut bout = Bout::new(1);
        bout.show(40, &[SPECTATOR, LEFT]);
        assert_eq!(bout.named(), [Some(1), None]);
        bout.config.fighters = 0;
        bout.show(1, &[SPECTATOR, LEFT]);
        assert_eq!(bout.named(), [None, None]);
    }
}
