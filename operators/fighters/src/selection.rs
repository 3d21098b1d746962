//! Selection of the two fighters among all tracked people, and assignment of the names `fighter_1` and `fighter_2`.

use serde::{Deserialize, Serialize};
use sideline_sport::tables::{Fighter, FighterName, Identity, IdentityRelation, Track, TrackState};

use crate::FightersConfig;

/// Tolerance in comparisons of media times, seconds: containers round them to a millisecond.
const ROUNDING_S: f64 = 1e-3;

// Weights of the terms of a person's score, each term 0 to 1.
/// Weight of the height, relative to the tallest person.
const HEIGHT_WEIGHT: f64 = 1.0;
/// Weight of the time in sight, relative to the warm-up.
const PRESENCE_WEIGHT: f64 = 0.5;
/// Weight of changes of width and height (strikes, ducking), relative to the most active person.
const ACTIVITY_WEIGHT: f64 = 0.5;
/// Weight of the closeness to the horizontal center of the scene.
const CENTER_WEIGHT: f64 = 0.3;
/// Weight of the closeness of a pair.
const CLOSENESS_WEIGHT: f64 = 1.0;

/// Seconds over which height and activity are averaged.
const AVERAGING_S: f64 = 2.0;
/// Distance from the place where a fighter vanished within which a new track takes the name: box heights at once, and
/// box heights per second since.
const HANDOVER_REACH: (f64, f64) = (0.75, 1.0);
/// Upper limit of that distance, box heights.
const MAX_HANDOVER_REACH: f64 = 2.5;
/// Maximum ratio of the new track's height to the fighter's; the minimum is the inverse.
const MAX_HEIGHT_RATIO: f64 = 1.6;
/// Seconds by which a new track may be older than the absence: the tracker may start it just before it loses the other.
const MAX_OVERLAP_S: f64 = 0.17;
/// Age above which a track is not new, seconds. An older one could come within the growing reach merely by waiting.
const MAX_NEW_TRACK_S: f64 = 0.5;
/// Seconds of absence after which a fighter is searched for among all people.
const MAX_ABSENCE_S: f64 = 3.0;

/// Selection state of one stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Selection {
    /// Ages of the tracks of the last frame.
    ages: Vec<TrackAge>,
    /// People with a track, detected or lost, ordered by track.
    people: Vec<Person>,
    /// Holders of `fighter_1` and `fighter_2`.
    holders: [Option<Holder>; 2],
    /// Seconds since the first person was observed, or since both names were withdrawn.
    observed_s: f64,
    /// Seconds since the last frame in which a track was detected.
    since_detections_s: f64,
    /// Rightmost edge of any box so far, pixels; stands in for the width of the picture, which the operator does not
    /// receive.
    scene_width: f64,
}

/// Time for which a track has existed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct TrackAge {
    track: u32,
    /// Seconds since the first detection.
    age_s: f64,
    /// Seconds for which the identity has been uncertain in total: names wait for it.
    uncertain_s: f64,
    /// The identity is uncertain in the last frame.
    is_uncertain: bool,
    /// The track has been confirmed in an earlier frame.
    was_confirmed: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Person {
    track: u32,
    /// Seconds in sight.
    present_s: f64,
    height: f64,
    /// Change of width and height, box heights per second.
    activity: f64,
    last_box: CenterBox,
}

/// Track that holds a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Holder {
    track: u32,
    /// Box of the last detection.
    last_box: CenterBox,
    /// True if the track was not detected in the last frame with detections.
    is_absent: bool,
    /// Seconds from its last detection to the last frame with detections.
    absent_s: f64,
    /// Track that had the name before it was handed over by position.
    previous: Option<u32>,
    /// Tracks within reach, with their distances, while appearance was still undecided. The distance is kept because
    /// people walk on meanwhile.
    undecided: Vec<(u32, f64)>,
}

/// Tracks of one frame, and what is known of their identities.
struct Scene<'a> {
    /// Confirmed tracks that were detected in this frame, with their boxes.
    detected: Vec<(&'a Track, CenterBox)>,
    tracks: &'a [Track],
    identities: &'a [Identity],
}

impl Scene<'_> {
    fn has_track(&self, track: u32) -> bool {
        self.tracks.iter().any(|row| row.track == track)
    }

    fn has_relation(&self, track: u32, other: Option<u32>, relation: IdentityRelation) -> bool {
        self.identities.iter().any(|row| row.track == track && row.other == other && row.relation == relation)
    }

    /// True while a number without a body may still be recognized.
    fn is_remembered(&self, track: u32) -> bool {
        self.has_relation(track, None, IdentityRelation::Remembered)
    }
}

impl Selection {
    /// Updates the names with the tracks of a frame, `seconds` after the previous one, and returns them. `identities` are
    /// the rows of re-identification, if there are any.
    pub fn update(
        &mut self,
        tracks: &[Track],
        identities: &[Identity],
        seconds: f64,
        config: &FightersConfig,
    ) -> Vec<FighterName> {
        let is_detected = |track: &&Track| track.state == TrackState::Confirmed;
        let detected =
            tracks.iter().filter(is_detected).filter_map(|track| Some((track, CenterBox::from_track(track)?)));
        let scene = Scene { detected: detected.collect(), tracks, identities };
        self.update_ages(&scene, seconds);
        self.apply_number_changes(&scene);
        self.update_names(&scene, seconds, config);
        for age in &mut self.ages {
            age.was_confirmed |= scene.detected.iter().any(|(track, _)| track.track == age.track);
        }
        let names = tracks.iter().map(|row| FighterName { track: row.track, fighter: self.fighter_of(row.track) });
        names.filter(|name| name.fighter != Fighter::None).collect()
    }

    fn update_ages(&mut self, scene: &Scene, seconds: f64) {
        self.ages.retain(|age| scene.has_track(age.track));
        for row in scene.tracks {
            let is_uncertain = [IdentityRelation::Uncertain, IdentityRelation::Undecided]
                .into_iter()
                .any(|relation| scene.has_relation(row.track, None, relation));
            match self.ages.iter_mut().find(|age| age.track == row.track) {
                Some(age) => {
                    age.age_s += seconds;
                    age.uncertain_s += if age.is_uncertain { seconds } else { 0.0 };
                    age.is_uncertain = is_uncertain;
                }
                None => self.ages.push(TrackAge {
                    track: row.track,
                    // A number that was recognized has the age of its earlier track.
                    age_s: f64::from(row.age) * seconds,
                    uncertain_s: if is_uncertain { seconds } else { 0.0 },
                    is_uncertain,
                    was_confirmed: false,
                }),
            }
        }
    }

    /// Returns the fighter that a track is.
    fn fighter_of(&self, track: u32) -> Fighter {
        let holds = |holder: &Option<Holder>| holder.as_ref().is_some_and(|holder| holder.track == track);
        self.holders.iter().position(holds).map_or(Fighter::None, Fighter::from_index)
    }

    /// Moves names to the new numbers of their people after re-identification.
    fn apply_number_changes(&mut self, scene: &Scene) {
        let is_change = |row: &&Identity| row.relation == IdentityRelation::Renumbered;
        let changes: Vec<(u32, u32)> =
            scene.identities.iter().filter(is_change).filter_map(|row| Some((row.other?, row.track))).collect();
        for slot in 0..self.holders.len() {
            let Some(holder) = &mut self.holders[slot] else { continue };
            // In an exchange a name stays with its number, which has another body now or is remembered. A number that
            // ended belonged to a new track: a name that was handed over to it by position goes back to its previous
            // holder.
            let has_ended = |from: u32| changes.iter().all(|(_, to)| *to != from) && !scene.is_remembered(from);
            if let Some((_, to)) = changes.iter().find(|(from, _)| *from == holder.track && has_ended(*from)) {
                holder.track = holder.previous.take().unwrap_or(*to);
                // A track that took this name while the other fighter was absent may be that fighter, who has a name already.
                let number = holder.track;
                if self.holders[1 - slot].as_ref().is_some_and(|other| other.track == number) {
                    self.holders[slot] = None;
                }
            }
        }
    }

    /// Updates people and names. In a frame in which no track was detected only time passes, since the detector may not have
    /// run: no person appears or vanishes.
    fn update_names(&mut self, scene: &Scene, seconds: f64, config: &FightersConfig) {
        let count = (config.fighters as usize).min(2);
        self.holders[count..].fill(None);
        self.since_detections_s += seconds;
        if scene.detected.is_empty() && !scene.tracks.is_empty() {
            return;
        }
        let seconds = std::mem::take(&mut self.since_detections_s);
        self.update_people(scene, seconds);
        self.update_holders(scene, seconds);
        self.hand_over(scene);

        let has_expired = |holder: &Holder| holder.has_expired(scene);
        if self.holders.iter().flatten().count() > 0 && self.holders.iter().flatten().all(has_expired) {
            // All fighters are gone (a cut to another camera): start over.
            self.holders = [None, None];
            self.observed_s = 0.0;
        }
        if self.observed_s >= f64::from(config.warm_up) {
            self.assign_names(config, scene, count);
        }
    }

    /// Updates the statistics of all people.
    fn update_people(&mut self, scene: &Scene, seconds: f64) {
        if !self.people.is_empty() {
            self.observed_s += seconds;
        }
        self.people.retain(|person| scene.has_track(person.track));
        for (track, bbox) in &scene.detected {
            self.scene_width = self.scene_width.max(bbox.cx + bbox.w / 2.0);
            match self.people.binary_search_by_key(&track.track, |person| person.track) {
                Ok(index) => self.people[index].update(*bbox, seconds),
                Err(index) => self.people.insert(index, Person::new(track.track, *bbox)),
            }
        }
    }

    /// Updates the last boxes of the holders, or the time of their absence.
    fn update_holders(&mut self, scene: &Scene, seconds: f64) {
        for holder in self.holders.iter_mut().flatten() {
            match scene.detected.iter().find(|(track, _)| track.track == holder.track) {
                Some((track, bbox)) => {
                    *holder = Holder { previous: holder.previous, ..Holder::new(track.track, *bbox) }
                }
                None => {
                    holder.is_absent = true;
                    holder.absent_s += seconds;
                }
            }
        }
    }

    /// Hands the name of a vanished fighter over to the new track nearest to the fighter's last box.
    ///
    /// A new track whose appearance cannot be compared yet waits; one that looks different does not get the name.
    fn hand_over(&mut self, scene: &Scene) {
        if self.holders.iter().flatten().all(|holder| !holder.is_absent) {
            return;
        }
        let unnamed = self.unnamed_tracks(scene);
        let mut offers = Vec::new();
        for (slot, holder) in self.holders.iter_mut().enumerate() {
            let Some(holder) = holder.as_mut().filter(|holder| holder.is_absent) else { continue };
            for (track, bbox) in &unnamed {
                if !self.ages.iter().any(|age| age.track == *track && holder.accepts(age)) {
                    continue;
                }
                let earlier = holder.undecided.iter().find(|(id, _)| id == track).map(|(_, distance)| *distance);
                let distance = holder.distance(bbox).or(earlier);
                if scene.has_relation(*track, None, IdentityRelation::Undecided) {
                    if earlier.is_none() {
                        holder.undecided.extend(distance.map(|distance| (*track, distance)));
                    }
                } else if !scene.has_relation(*track, Some(holder.track), IdentityRelation::Different) {
                    offers.extend(distance.map(|distance| (distance, slot, *track, *bbox)));
                }
            }
        }
        offers.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (_, slot, track, bbox) in offers {
            let is_vacant = self.holders[slot].as_ref().is_some_and(|holder| holder.is_absent);
            if is_vacant && self.fighter_of(track) == Fighter::None {
                let previous = self.holders[slot].as_ref().map(|holder| holder.previous.unwrap_or(holder.track));
                self.holders[slot] = Some(Holder { previous, ..Holder::new(track, bbox) });
            }
        }
    }

    /// Gives names that no track holds, or whose holder has expired, to the people with the highest scores.
    fn assign_names(&mut self, config: &FightersConfig, scene: &Scene, count: usize) {
        let is_vacant = |holder: &Option<Holder>| holder.as_ref().is_none_or(|holder| holder.has_expired(scene));
        let slots: Vec<usize> = (0..count).filter(|&slot| is_vacant(&self.holders[slot])).collect();
        if slots.is_empty() {
            return;
        }
        // For the first assignment half the warm-up in sight is enough. A later replacement must be present for all of
        // it.
        let share = if slots.len() == count { 0.5 } else { 1.0 };
        let min_present_s = share * f64::from(config.warm_up);
        let mut candidates = self.unnamed_tracks(scene);
        candidates.retain(|(track, _)| self.person(*track).is_some_and(|person| person.present_s >= min_present_s));

        let score = |track: u32| self.score(config, track);
        let mut chosen: Vec<(u32, CenterBox)> = if slots.len() == 2 {
            let pairs = candidates.iter().enumerate().flat_map(|(index, a)| {
                candidates[index + 1..].iter().map(move |b| (score(a.0) + score(b.0) + closeness(&a.1, &b.1), [*a, *b]))
            });
            highest_scoring(pairs).map_or_else(Vec::new, Vec::from)
        } else {
            let other = self.holders[1 - slots[0]].as_ref().map(|holder| holder.last_box);
            let singles = candidates.iter().map(|candidate| {
                (score(candidate.0) + other.map_or(0.0, |other| closeness(&other, &candidate.1)), *candidate)
            });
            highest_scoring(singles).into_iter().collect()
        };
        chosen.sort_by(|a, b| a.1.cx.total_cmp(&b.1.cx));
        for (slot, (track, bbox)) in slots.into_iter().zip(chosen) {
            self.holders[slot] = Some(Holder::new(track, bbox));
        }
    }

    /// Returns the detected tracks without a name, with their boxes.
    fn unnamed_tracks(&self, scene: &Scene) -> Vec<(u32, CenterBox)> {
        let all = scene.detected.iter().map(|(track, bbox)| (track.track, *bbox));
        all.filter(|(track, _)| self.fighter_of(*track) == Fighter::None).collect()
    }

    fn person(&self, track: u32) -> Option<&Person> {
        self.people.binary_search_by_key(&track, |person| person.track).ok().map(|index| &self.people[index])
    }

    /// Returns the score of a single person, apart from the closeness to another.
    fn score(&self, config: &FightersConfig, track: u32) -> f64 {
        let Some(person) = self.person(track) else { return 0.0 };
        let greatest = |value: fn(&Person) -> f64| self.people.iter().map(value).fold(1e-9, f64::max);
        let off_center = (2.0 * person.last_box.cx / self.scene_width.max(1.0) - 1.0).abs().min(1.0);
        HEIGHT_WEIGHT * person.height / greatest(|person| person.height)
            + PRESENCE_WEIGHT * (person.present_s / f64::from(config.warm_up).max(1e-3)).min(1.0)
            + ACTIVITY_WEIGHT * person.activity / greatest(|person| person.activity)
            + CENTER_WEIGHT * (1.0 - off_center)
    }
}

/// Returns the score of a pair's distance: [`CLOSENESS_WEIGHT`] at distance 0, falling to 1/e of it at one box height.
fn closeness(a: &CenterBox, b: &CenterBox) -> f64 {
    CLOSENESS_WEIGHT * (-(a.cx - b.cx).hypot(a.cy - b.cy) / (0.5 * (a.h + b.h))).exp()
}

/// Returns the item with the highest score, the first among equals: the order of the tracks decides, so the result is
/// deterministic.
fn highest_scoring<T>(scored: impl Iterator<Item = (f64, T)>) -> Option<T> {
    let higher = |best: (f64, T), next: (f64, T)| if next.0 > best.0 { next } else { best };
    scored.reduce(higher).map(|(_, item)| item)
}

impl Person {
    fn new(track: u32, bbox: CenterBox) -> Self {
        Self { track, present_s: 0.0, height: bbox.h, activity: 0.0, last_box: bbox }
    }

    fn update(&mut self, bbox: CenterBox, seconds: f64) {
        self.present_s += seconds;
        if seconds > 0.0 {
            // The arithmetic mean at first, later an exponential one with the time constant AVERAGING_S.
            let share = (seconds / self.present_s.min(AVERAGING_S)).min(1.0);
            let change = ((bbox.w - self.last_box.w).abs() + (bbox.h - self.last_box.h).abs()) / (bbox.h * seconds);
            self.height += share * (bbox.h - self.height);
            self.activity += share * (change - self.activity);
        }
        self.last_box = bbox;
    }
}

impl Holder {
    fn new(track: u32, bbox: CenterBox) -> Self {
        Self { track, last_box: bbox, is_absent: false, absent_s: 0.0, previous: None, undecided: Vec::new() }
    }

    /// True if the name can be given to another person: the holder is absent for long, and cannot be recognized any more.
    fn has_expired(&self, scene: &Scene) -> bool {
        self.absent_s > MAX_ABSENCE_S && !scene.is_remembered(self.track)
    }

    /// True if a track is new, and did not start while the holder was in sight.
    fn accepts(&self, track: &TrackAge) -> bool {
        let waited_s = track.age_s - track.uncertain_s;
        // A track has no name before it is confirmed, for which a detector with a long stride may need longer.
        let is_new = waited_s <= MAX_NEW_TRACK_S + ROUNDING_S || !track.was_confirmed;
        is_new && track.age_s <= self.absent_s + MAX_OVERLAP_S + ROUNDING_S
    }

    /// Returns the distance of a box from the holder's last box, in box heights; `None` beyond the reach, or if the
    /// height differs too much.
    fn distance(&self, bbox: &CenterBox) -> Option<f64> {
        let ratio = bbox.h / self.last_box.h;
        let distance = (bbox.cx - self.last_box.cx).hypot(bbox.cy - self.last_box.cy) / self.last_box.h;
        let reach = (HANDOVER_REACH.0 + HANDOVER_REACH.1 * self.absent_s).min(MAX_HANDOVER_REACH);
        ((MAX_HEIGHT_RATIO.recip()..=MAX_HEIGHT_RATIO).contains(&ratio) && distance <= reach).then_some(distance)
    }
}

/// Axis-aligned box given by its center and size, pixels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct CenterBox {
    cx: f64,
    cy: f64,
    w: f64,
    h: f64,
}

impl CenterBox {
    /// Returns the box of a track; `None` if it is empty or not finite.
    fn from_track(track: &Track) -> Option<Self> {
        let [x1, y1, x2, y2] = [track.x1, track.y1, track.x2, track.y2].map(f64::from);
        let bbox = Self { cx: (x1 + x2) / 2.0, cy: (y1 + y2) / 2.0, w: x2 - x1, h: y2 - y1 };
        (bbox.cx.is_finite() && bbox.cy.is_finite() && bbox.w > 0.0 && bbox.h > 0.0).then_some(bbox)
    }
}
