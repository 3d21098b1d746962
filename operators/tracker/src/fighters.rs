//! Selection of the two fighters among all people, and assignment of the names `fighter_1` and `fighter_2`.
//!
//! All people are observed during a warm-up. Then the pair that is tallest, nearest to each other, most central, most
//! active and longest in sight is named; `fighter_1` is the one on the left at that moment. From then on a name follows
//! its track for as long as the tracker keeps the track, or recognizes the identity by appearance. When a new track of
//! similar size appears where a named one vanished, and its appearance does not contradict, the name is handed over to
//! it. No third person is named while both names are held.

use serde::{Deserialize, Serialize};
use sideline_sport::tables::Fighter;

use crate::TrackerConfig;
use crate::appearance::{AppearanceMatch, Gallery};
use crate::association::{MIN_HITS_TO_CONFIRM, ROUNDING_S};
use crate::kalman::CenterBox;
use crate::track::Track;

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

/// Selection state; part of the tracker's state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fighters {
    /// People with a track, matched or lost, ordered by identity.
    people: Vec<Person>,
    /// Holders of `fighter_1` and `fighter_2`.
    holders: [Option<Holder>; 2],
    /// Seconds since the first person was observed, or since both names were withdrawn.
    observed_s: f64,
    /// Seconds since the last frame with detections.
    since_detections_s: f64,
    /// Rightmost edge of any box so far, pixels; stands in for the width of the picture, which the tracker does not
    /// receive.
    scene_width: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Person {
    id: u32,
    /// Seconds in sight.
    present_s: f64,
    height: f64,
    /// Change of width and height, box heights per second.
    activity: f64,
    last_box: CenterBox,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Holder {
    track: u32,
    /// Box of the last match.
    last_box: CenterBox,
    /// True if the track was not matched in the last frame with detections.
    is_absent: bool,
    /// Seconds from the last match to the last frame with detections.
    absent_s: f64,
    /// Identity that had the name before it was handed over by position.
    previous: Option<u32>,
    /// Tracks within reach, with their distances, while appearance was still undecided. The distance is kept because
    /// people walk on meanwhile.
    undecided: Vec<(u32, f64)>,
}

impl Fighters {
    /// Returns the fighter that a track is.
    pub(crate) fn fighter_of(&self, track: u32) -> Fighter {
        let holds = |holder: &Option<Holder>| holder.as_ref().is_some_and(|holder| holder.track == track);
        match &self.holders {
            [one, _] if holds(one) => Fighter::One,
            [_, two] if holds(two) => Fighter::Two,
            _ => Fighter::None,
        }
    }

    /// Moves names to the new numbers of their people after re-identification.
    pub(crate) fn apply_id_changes(&mut self, changes: &[(u32, u32)], gallery: &Gallery) {
        for holder in self.holders.iter_mut().flatten() {
            // In an exchange a name stays with its number, which has another body now or is in the gallery. A number
            // that ended belonged to a new track: a name that was handed over to it by position goes back to its
            // previous holder.
            let has_ended = |from: u32| changes.iter().all(|(_, to)| *to != from) && !gallery.contains(from);
            if let Some((_, to)) = changes.iter().find(|(from, _)| *from == holder.track && has_ended(*from)) {
                holder.track = holder.previous.take().unwrap_or(*to);
            }
        }
    }

    /// Updates the names with the tracks of one frame. Without `has_detections` only time passes: no person appears or
    /// vanishes in such a frame.
    pub(crate) fn step(
        &mut self,
        config: &TrackerConfig,
        tracks: &[Track],
        gallery: &Gallery,
        has_detections: bool,
        seconds: f64,
    ) {
        let count = (config.fighters as usize).min(2);
        if count == 0 {
            *self = Self::default();
            return;
        }
        self.holders[count..].fill(None);
        self.since_detections_s += seconds;
        if !has_detections {
            return;
        }
        let seconds = std::mem::take(&mut self.since_detections_s);
        self.update_people(tracks, seconds);
        self.update_holders(tracks, seconds);
        self.hand_over(tracks, gallery);

        let has_expired = |holder: &Holder| holder.has_expired(gallery);
        if self.holders.iter().flatten().count() > 0 && self.holders.iter().flatten().all(has_expired) {
            // All fighters are gone (a cut to another camera): start over.
            self.holders = [None, None];
            self.observed_s = 0.0;
        }
        if self.observed_s >= f64::from(config.warm_up) {
            self.assign_names(config, tracks, gallery, count);
        }
    }

    /// Updates the statistics of all people.
    fn update_people(&mut self, tracks: &[Track], seconds: f64) {
        if !self.people.is_empty() {
            self.observed_s += seconds;
        }
        self.people.retain(|person| tracks.iter().any(|track| track.id == person.id));
        for track in tracks.iter().filter(|track| track.confirmed && track.missed_frames == 0) {
            let bbox = track.bbox();
            self.scene_width = self.scene_width.max(bbox.cx + bbox.w / 2.0);
            match self.people.binary_search_by_key(&track.id, |person| person.id) {
                Ok(index) => self.people[index].update(bbox, seconds),
                Err(index) => self.people.insert(index, Person::new(track.id, bbox)),
            }
        }
    }

    /// Updates the last boxes of the holders, or the time of their absence.
    fn update_holders(&mut self, tracks: &[Track], seconds: f64) {
        for holder in self.holders.iter_mut().flatten() {
            match tracks.iter().find(|track| track.id == holder.track && track.missed_frames == 0) {
                Some(track) => *holder = Holder { previous: holder.previous, ..Holder::new(track) },
                None => {
                    holder.is_absent = true;
                    holder.absent_s += seconds;
                }
            }
        }
    }

    /// Hands the name of a vanished fighter over to the new track nearest to the fighter's last box.
    ///
    /// If embeddings exist, the new track must have enough of them, and must not be a different person by appearance.
    fn hand_over(&mut self, tracks: &[Track], gallery: &Gallery) {
        if self.holders.iter().flatten().all(|holder| !holder.is_absent) {
            return;
        }
        let unnamed = self.unnamed_tracks(tracks);
        let mut offers = Vec::new();
        for (slot, holder) in self.holders.iter_mut().enumerate() {
            let Some(holder) = holder.as_mut().filter(|holder| holder.is_absent) else { continue };
            for track in &unnamed {
                if !holder.accepts(track) {
                    continue;
                }
                let earlier = holder.undecided.iter().find(|(id, _)| *id == track.id).map(|(_, distance)| *distance);
                let distance = holder.distance(track).or(earlier);
                match gallery.compare(track, holder.track, tracks) {
                    AppearanceMatch::Compatible => offers.extend(distance.map(|distance| (distance, slot, track))),
                    AppearanceMatch::Undecided if earlier.is_none() => {
                        holder.undecided.extend(distance.map(|distance| (track.id, distance)));
                    }
                    AppearanceMatch::Undecided | AppearanceMatch::Different => {}
                }
            }
        }
        offers.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (_, slot, track) in offers {
            let is_vacant = self.holders[slot].as_ref().is_some_and(|holder| holder.is_absent);
            if is_vacant && self.fighter_of(track.id) == Fighter::None {
                let previous = self.holders[slot].as_ref().map(|holder| holder.previous.unwrap_or(holder.track));
                self.holders[slot] = Some(Holder { previous, ..Holder::new(track) });
            }
        }
    }

    /// Gives names that no track holds, or whose holder has expired, to the people with the highest scores.
    fn assign_names(&mut self, config: &TrackerConfig, tracks: &[Track], gallery: &Gallery, count: usize) {
        let is_vacant = |holder: &Option<Holder>| holder.as_ref().is_none_or(|holder| holder.has_expired(gallery));
        let slots: Vec<usize> = (0..count).filter(|&slot| is_vacant(&self.holders[slot])).collect();
        if slots.is_empty() {
            return;
        }
        // For the first assignment half the warm-up in sight is enough. A later replacement must be present for all of
        // it.
        let share = if slots.len() == count { 0.5 } else { 1.0 };
        let min_present_s = share * f64::from(config.warm_up);
        let mut candidates = self.unnamed_tracks(tracks);
        candidates.retain(|track| self.person(track.id).is_some_and(|person| person.present_s >= min_present_s));

        let score = |track: &Track| self.score(config, track.id);
        let mut chosen: Vec<&Track> = if slots.len() == 2 {
            let pairs = candidates.iter().enumerate().flat_map(|(index, &a)| {
                candidates[index + 1..]
                    .iter()
                    .map(move |&b| (score(a) + score(b) + closeness(&a.bbox(), &b.bbox()), [a, b]))
            });
            highest_scoring(pairs).map_or_else(Vec::new, Vec::from)
        } else {
            let other = self.holders[1 - slots[0]].as_ref().map(|holder| holder.last_box);
            let singles = candidates
                .iter()
                .map(|&track| (score(track) + other.map_or(0.0, |other| closeness(&other, &track.bbox())), track));
            highest_scoring(singles).into_iter().collect()
        };
        chosen.sort_by(|a, b| a.bbox().cx.total_cmp(&b.bbox().cx));
        for (slot, track) in slots.into_iter().zip(chosen) {
            self.holders[slot] = Some(Holder::new(track));
        }
    }

    fn unnamed_tracks<'a>(&self, tracks: &'a [Track]) -> Vec<&'a Track> {
        let is_unnamed =
            |track: &&Track| track.confirmed && track.missed_frames == 0 && self.fighter_of(track.id) == Fighter::None;
        tracks.iter().filter(is_unnamed).collect()
    }

    fn person(&self, id: u32) -> Option<&Person> {
        self.people.binary_search_by_key(&id, |person| person.id).ok().map(|index| &self.people[index])
    }

    /// Returns the score of a single person, apart from the closeness to another.
    fn score(&self, config: &TrackerConfig, id: u32) -> f64 {
        let Some(person) = self.person(id) else { return 0.0 };
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
    fn new(id: u32, bbox: CenterBox) -> Self {
        Self { id, present_s: 0.0, height: bbox.h, activity: 0.0, last_box: bbox }
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
    fn new(track: &Track) -> Self {
        Self {
            track: track.id,
            last_box: track.bbox(),
            is_absent: false,
            absent_s: 0.0,
            previous: None,
            undecided: Vec::new(),
        }
    }

    /// True if the name can be given to another person: the holder is absent for long, and no longer in the gallery.
    fn has_expired(&self, gallery: &Gallery) -> bool {
        self.absent_s > MAX_ABSENCE_S && !gallery.contains(self.track)
    }

    /// True if a track is new, and did not start while the holder was in sight.
    fn accepts(&self, track: &Track) -> bool {
        let waited_s = track.age_s - track.appearance.total_uncertain_s;
        // A track has no name before it is confirmed, for which a detector with a long stride may need longer.
        let is_new = waited_s <= MAX_NEW_TRACK_S + ROUNDING_S || track.hits <= MIN_HITS_TO_CONFIRM;
        is_new && track.age_s <= self.absent_s + MAX_OVERLAP_S + ROUNDING_S
    }

    /// Returns the distance of a track from the holder's last box, in box heights; `None` beyond the reach, or if the
    /// height differs too much.
    fn distance(&self, track: &Track) -> Option<f64> {
        let bbox = track.bbox();
        let ratio = bbox.h / self.last_box.h;
        let distance = (bbox.cx - self.last_box.cx).hypot(bbox.cy - self.last_box.cy) / self.last_box.h;
        let reach = (HANDOVER_REACH.0 + HANDOVER_REACH.1 * self.absent_s).min(MAX_HANDOVER_REACH);
        ((MAX_HEIGHT_RATIO.recip()..=MAX_HEIGHT_RATIO).contains(&ratio) && distance <= reach).then_some(distance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Detection, TrackRow, TrackerState};

    /// Standing person, with a box that is wider while the arms are out.
    #[derive(Clone, Copy)]
    struct Body {
        cx: f32,
        cy: f32,
        height: f32,
        /// Change of the width from frame to frame, in heights.
        width_change: f32,
    }

    const LEFT: Body = Body { cx: 560.0, cy: 400.0, height: 300.0, width_change: 0.06 };
    const RIGHT: Body = Body { cx: 760.0, ..LEFT };
    /// As tall as the fighters, but at the edge and motionless.
    const COACH: Body = Body { cx: 1200.0, width_change: 0.0, ..LEFT };
    const SPECTATOR: Body = Body { cx: 660.0, cy: 250.0, height: 120.0, width_change: 0.0 };

    struct Bout {
        state: TrackerState,
        config: TrackerConfig,
        frame: u32,
        /// The detector runs at every n-th frame.
        stride: u32,
        rows: Vec<TrackRow>,
    }

    impl Bout {
        fn new(fighters: u32) -> Self {
            let config = TrackerConfig { fighters, ..TrackerConfig::default() };
            Self { state: TrackerState::default(), config, frame: 0, stride: 1, rows: Vec::new() }
        }

        fn show(&mut self, frames: u32, bodies: &[Body]) {
            for _ in 0..frames {
                self.frame += 1;
                let swing = if self.frame % 4 < 2 { 1.0 } else { -1.0 };
                let detections = bodies.iter().map(|body| {
                    let (w, h) = (body.height * (0.4 + body.width_change * swing) / 2.0, body.height / 2.0);
                    let (x1, y1, x2, y2) = (body.cx - w, body.cy - h, body.cx + w, body.cy + h);
                    Detection { x1, y1, x2, y2, score: 0.9, class: 0 }
                });
                let detections: Vec<_> = detections.collect();
                let detections = self.frame.is_multiple_of(self.stride).then_some(&detections[..]);
                self.state.step(&self.config, detections, 1.0 / 30.0, &mut self.rows);
            }
        }

        /// Returns the index of the body shown last that holds each name.
        fn named(&self) -> [Option<usize>; 2] {
            Fighter::FIGHTERS.map(|name| self.rows.iter().find(|row| row.fighter == name).and_then(|row| row.detection))
        }
    }

    #[test]
    fn the_fighting_pair_is_named_and_bystanders_are_not() {
        let mut bout = Bout::new(2);
        bout.show(20, &[COACH, RIGHT, SPECTATOR, LEFT]);
        assert_eq!(bout.named(), [None, None], "no names before the warm-up is over");
        bout.show(20, &[COACH, RIGHT, SPECTATOR, LEFT]);
        assert_eq!(bout.named(), [Some(3), Some(1)]);
        assert_eq!(bout.rows.iter().filter(|row| row.fighter != Fighter::None).count(), 2);
    }

    #[test]
    fn names_stay_when_the_fighters_change_sides() {
        let mut bout = Bout::new(2);
        bout.show(40, &[LEFT, RIGHT]);
        for step in 0..50 {
            let offset = 4.0 * step as f32;
            bout.show(1, &[Body { cx: 560.0 + offset, ..LEFT }, Body { cx: 760.0 - offset, cy: 440.0, ..RIGHT }]);
        }
        assert_eq!(bout.named(), [Some(0), Some(1)]);
    }

    #[test]
    fn a_fighter_recovered_under_another_number_keeps_the_name() {
        for hidden in [5, 29, 60] {
            let mut bout = Bout::new(2);
            bout.config.reach = 0.0;
            bout.show(40, &[LEFT, RIGHT, COACH]);
            bout.show(hidden, &[LEFT, COACH]);
            // Too far from the lost track's box to be matched with it, near enough for the name to be handed over.
            let back = Body { cx: 960.0, ..RIGHT };
            bout.show(3, &[LEFT, COACH, back]);
            assert_eq!(bout.named(), [Some(0), Some(2)], "{hidden} frames hidden");
            assert!(bout.rows.iter().any(|row| row.fighter == Fighter::Two && row.id > 3));
        }
    }

    #[test]
    fn a_name_is_handed_over_to_a_new_track_at_any_detector_stride() {
        for (stride, missed) in [1, 3, 10, 16].into_iter().flat_map(|stride| [(stride, 1), (stride, 2)]) {
            let mut bout = Bout { stride, ..Bout::new(2) };
            bout.config.reach = 0.0;
            bout.show(stride * 48_u32.div_ceil(stride), &[LEFT, RIGHT, COACH]);
            assert_eq!(bout.named(), [Some(0), Some(1)], "stride {stride}");
            bout.show(stride * missed, &[LEFT, COACH]);
            let back = Body { cx: 960.0, ..RIGHT };
            bout.show(stride * 5_u32.div_ceil(stride).max(2), &[LEFT, COACH, back]);
            assert_eq!(bout.named(), [Some(0), Some(2)], "stride {stride}, {missed} detections missed");
        }
    }

    #[test]
    fn a_name_is_not_handed_over_to_a_distant_or_smaller_or_older_track() {
        let mut bout = Bout::new(2);
        bout.show(40, &[LEFT, RIGHT, SPECTATOR]);
        let newcomer = Body { cx: 150.0, ..COACH };
        let child = Body { height: 140.0, cx: 900.0, ..RIGHT };
        bout.show(40, &[LEFT, SPECTATOR, newcomer, child]);
        assert_eq!(bout.named(), [Some(0), None]);
    }

    #[test]
    fn after_a_cut_two_new_fighters_are_named() {
        let mut bout = Bout::new(2);
        bout.show(40, &[LEFT, RIGHT]);
        let elsewhere = |body: Body| Body { cx: body.cx - 450.0, height: 150.0, ..body };
        bout.show(150, &[elsewhere(RIGHT), elsewhere(LEFT)]);
        assert_eq!(bout.named(), [Some(1), Some(0)]);
    }

    #[test]
    fn fighters_sets_how_many_people_are_named() {
        let mut bout = Bout::new(1);
        bout.show(40, &[SPECTATOR, LEFT]);
        assert_eq!(bout.named(), [Some(1), None]);
        bout.config.fighters = 0;
        bout.show(1, &[SPECTATOR, LEFT]);
        assert_eq!(bout.named(), [None, None]);
    }
}
