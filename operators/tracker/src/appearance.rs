//! Who is who again by looks, after boxes alone could not tell: people who crossed, clinched, or were out of sight.
//!
//! A track has a body (its box and motion) and an identity (its number, and with it its name). While it goes its way
//! alone, its portrait, a mean of how it looked, is kept up to date. Once it overlaps another, or comes back into sight, its
//! identity is *open*: the portrait is left as it was, and what is seen from then on is gathered beside it. As soon as it has
//! been seen well a few times, all open bodies are compared with all portraits whose owner is open, lost or gone, and
//! identities are put to the bodies that they fit best in sum. A new track is open from its first frame: it may be somebody
//! who was here before.
//!
//! How alike two views of one person are differs by camera, clothes and method, so nothing here is an absolute number: each
//! portrait knows how alike its own views were. Where two portraits cannot be told apart nothing is changed, and what the
//! boxes said stays.

use serde::{Deserialize, Serialize};

use crate::kalman::CentredBox;
use crate::portrait::Portrait;
use crate::track::Track;

/// How a detected person looks in this frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// How much of the person was seen, 0 to 1.
    pub quality: f32,
    /// Unit vector; empty where nobody looked.
    pub vector: Vec<f32>,
    /// Pieces of equal length that it is made of; one of zeros was not seen. None counts as one.
    pub pieces: u16,
}

/// Quality from which a view is believed.
const GOOD: f32 = 0.5;
/// Good views of an open body before it is compared.
const VIEWS: u32 = 3;
/// How much more alike another portrait has to be than a track's own before they are exchanged.
const CLEARLY: f32 = 0.04;
/// How much less alike than the least somebody has to be, who is where another was lost, to be a stranger.
const STRANGER: f32 = 0.1;
/// How much more a newcomer has to be like one portrait than like any other.
const APART: f32 = 0.02;
/// Overlap (IoU) from which two boxes might be taken for each other.
const ENTANGLED: f64 = 0.25;
/// The same as a share of the smaller box, where only one of the two is seen: it may be either of them.
const HIDDEN: f64 = 0.25;
/// Frames out of sight after which a track's identity is open.
const GAP: u32 = 2;
/// Seconds for which an open body waits for the others it was entangled with, a name for a new one to be looked at, and
/// somebody hidden counts as still behind the one who is seen there.
const PATIENCE: f32 = 1.0;
/// Seconds for which a new track may have been there before the one it takes over from was seen for the last time.
const TOGETHER: f32 = 0.2;
/// How much looks count against overlap while boxes are matched.
const WEIGHT: f64 = 2.0;
/// Stands for what must not be chosen.
const NEVER: f64 = -1e3;

/// What a track knows of its own looks; part of its state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Looks {
    /// Believed.
    portrait: Portrait,
    /// Gathered since the identity is open.
    fresh: Portrait,
    /// Seconds since then; `None` while nothing is in doubt.
    open: Option<f32>,
    /// Seconds since it was last entangled.
    free: f32,
    /// Seconds out of sight.
    hidden: f32,
    /// It was out of sight, so the body may be a stranger's.
    reseen: bool,
    /// Seconds since the last view.
    since: f32,
    /// Frames for which a new track has been open: the fighters' names wait for it.
    pub(crate) waited: u32,
}

impl Looks {
    /// Of a new track.
    pub(crate) fn newborn() -> Self {
        Self { open: Some(0.0), ..Self::default() }
    }

    /// How much more (above 1) or less (below) than its overlap says a detection is this track, by looks.
    pub(crate) fn agreement(&self, view: Option<&View>) -> f64 {
        match view {
            Some(view) if view.quality >= GOOD && self.portrait.comparable(&view.vector) => {
                (1.0 + WEIGHT * f64::from(self.portrait.fits(&view.vector))).clamp(0.5, 1.5)
            }
            _ => 1.0,
        }
    }

    fn ready(&self) -> bool {
        self.fresh.views >= VIEWS
    }

    fn reopen(&mut self) {
        self.open = self.open.or(Some(0.0));
        self.free = 0.0;
        self.fresh = Portrait::default();
    }

    /// Nothing is in doubt any more: what was gathered belongs to the portrait.
    fn close(&mut self) {
        let fresh = std::mem::take(&mut self.fresh);
        (self.open, self.reseen) = (None, false);
        if self.portrait.comparable(&fresh.mean) {
            self.portrait.add(&fresh.mean, fresh.pieces, 0.0);
        } else {
            self.portrait = fresh;
        }
    }
}

/// Whether a track may be somebody who is out of sight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is too early to tell: the track was not seen well yet.
    Open,
    /// It looks like somebody else.
    Other,
    /// Looks do not forbid it: nothing is known of one of them, or they are alike, and so are others.
    Possible,
}

/// An identity: what goes over from one body to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Identity {
    id: u32,
    class: u16,
    age: u32,
    portrait: Portrait,
    /// Seconds since it was last seen, and since its track was given up.
    away: f32,
    gone: f32,
}

/// What is remembered of looks beside the tracks' own; part of the tracker's state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Appearance {
    /// Those whose tracks were given up.
    gone: Vec<Identity>,
    /// Looks have come: the input is wired.
    used: bool,
}

/// In one frame: the number a track had, and the one it has now.
pub(crate) type Renamed = Vec<(u32, u32)>;

impl Appearance {
    /// Takes in one frame: `tracks` as the boxes have it, those `dropped` in it, and the detections' looks. Tells whose
    /// number changed; `last_id` is the last number given.
    pub(crate) fn step(
        &mut self,
        tracks: &mut Vec<Track>,
        dropped: Vec<Track>,
        views: &[View],
        (remember, seconds): (f32, f32),
        last_id: &mut u32,
    ) -> Renamed {
        self.used |= views.iter().any(|view| !view.vector.is_empty());
        if !self.used {
            return Vec::new();
        }
        for identity in &mut self.gone {
            identity.away += seconds;
            identity.gone += seconds;
            identity.age += 1;
        }
        self.gone.extend(dropped.iter().map(Identity::of).filter(|identity| identity.portrait.known()));
        self.gone.retain(|identity| identity.gone <= remember);
        for index in 0..tracks.len() {
            let entangled = entangled(tracks, index);
            tracks[index].look(views, entangled, seconds);
        }
        let renamed = self.resolve(tracks, last_id);
        tracks.sort_by_key(|track| track.id);
        renamed
    }

    /// Forgets everybody.
    pub(crate) fn clear(&mut self) {
        self.gone.clear();
    }

    /// Whether a track may be an identity that is out of sight.
    pub(crate) fn verdict(&self, track: &Track, identity: u32, tracks: &[Track]) -> Verdict {
        let looks = &track.looks;
        if self.used && !looks.ready() && looks.open.is_some_and(|open| open < PATIENCE) {
            return Verdict::Open;
        }
        let lost = tracks.iter().find(|lost| lost.id == identity).map(|lost| &lost.looks.portrait);
        let gone = || self.gone.iter().find(|gone| gone.id == identity).map(|gone| &gone.portrait);
        let seen = if looks.ready() { &looks.fresh } else { &looks.portrait };
        match lost.or_else(gone) {
            Some(portrait) if portrait.comparable(&seen.mean) && portrait.fits(&seen.mean) < -STRANGER => {
                Verdict::Other
            }
            _ => Verdict::Possible,
        }
    }

    /// True while the looks of an identity whose track was given up are remembered.
    pub(crate) fn remembers(&self, identity: u32) -> bool {
        self.gone.iter().any(|gone| gone.id == identity)
    }

    /// Puts identities to the open bodies that they fit best.
    fn resolve(&mut self, tracks: &mut Vec<Track>, last_id: &mut u32) -> Renamed {
        let visible = |track: &Track| track.unseen == 0 && track.looks.open.is_some();
        if !tracks.iter().any(|track| visible(track) && track.looks.ready()) {
            return Vec::new();
        }
        // Those who were entangled are judged together; but one who is not seen well does not keep the others for ever.
        let awaited = |track: &Track| {
            visible(track) && track.looks.portrait.known() && !track.looks.ready() && track.looks.free < PATIENCE
        };
        if tracks.iter().any(awaited) {
            return Vec::new();
        }
        let judged = |track: &Track| visible(track) && (track.looks.ready() || track.looks.portrait.known());
        let bodies: Vec<usize> = (0..tracks.len()).filter(|&at| judged(&tracks[at])).collect();
        let everybody: Vec<Identity> = tracks.iter().map(Identity::of).chain(self.gone.drain(..)).collect();
        let chosen = choose(tracks, &bodies, &everybody);
        self.exchange(tracks, &bodies, everybody, &chosen, last_id)
    }

    /// Gives each body the identity chosen for it, or a new one. `everybody` is the tracks' identities, then those gone.
    fn exchange(
        &mut self,
        tracks: &mut Vec<Track>,
        bodies: &[usize],
        everybody: Vec<Identity>,
        chosen: &[Option<usize>],
        last_id: &mut u32,
    ) -> Renamed {
        let mut renamed = Vec::new();
        let away = |track: &Track| track.unseen > 0 && track.looks.portrait.known();
        let somebody_is_away = everybody.len() > tracks.len() || tracks.iter().any(away);
        let mut left: Vec<Option<Identity>> = everybody.into_iter().map(Some).collect();
        let mut bodiless = vec![false; tracks.len()];
        for (&body, choice) in bodies.iter().zip(chosen) {
            let track = &mut tracks[body];
            let before = track.id;
            match choice.and_then(|at| left[at].take()) {
                Some(identity) => track.become_identity(identity),
                None => {
                    *last_id += 1;
                    let class = track.class;
                    track.become_identity(Identity {
                        id: *last_id,
                        class,
                        age: 0,
                        portrait: Portrait::default(),
                        away: 0.0,
                        gone: 0.0,
                    });
                }
            }
            // Nobody's likeness does not make a newcomer somebody new at once: the first views may be of an edge.
            let new = *choice == Some(body) && !track.looks.portrait.known();
            let early = somebody_is_away && track.looks.open.is_some_and(|open| open < PATIENCE);
            if track.looks.ready() && !(new && early) {
                track.looks.close();
            }
            if track.id != before {
                renamed.push((before, track.id));
            }
            if let Some(at) = choice.filter(|at| *at < bodiless.len() && !bodies.contains(at)) {
                bodiless[at] = true;
            }
        }
        for (at, identity) in left.into_iter().enumerate() {
            // Whoever lost the body to another is out of sight; who was gone still is.
            let homeless = at >= bodiless.len() || bodies.contains(&at);
            self.gone.extend(identity.filter(|identity| homeless && identity.portrait.known()));
        }
        let mut bodiless = bodiless.into_iter();
        tracks.retain(|_| bodiless.next() != Some(true));
        renamed
    }
}

impl Identity {
    fn of(track: &Track) -> Self {
        let Track { id, class, age, .. } = *track;
        Self { id, class, age, portrait: track.looks.portrait.clone(), away: track.looks.hidden, gone: 0.0 }
    }
}

impl Track {
    /// Takes in how the track looks in this frame.
    fn look(&mut self, views: &[View], entangled: bool, seconds: f32) {
        let looks = &mut self.looks;
        looks.since += seconds;
        if let Some(open) = &mut looks.open {
            *open += seconds;
            looks.waited += 1;
        }
        if self.unseen > 0 {
            looks.hidden += seconds;
            if self.unseen > GAP {
                looks.reopen();
                looks.reseen = true;
            }
            return;
        }
        looks.hidden = 0.0;
        looks.free += seconds;
        if entangled {
            looks.reopen();
            return;
        }
        let view = self.detection.and_then(|detection| views.get(detection));
        if let Some(view) = view.filter(|view| view.quality >= GOOD && !view.vector.is_empty()) {
            let since = std::mem::take(&mut looks.since);
            let portrait = if looks.open.is_some() { &mut looks.fresh } else { &mut looks.portrait };
            portrait.add(&view.vector, view.pieces, since);
        }
    }

    fn become_identity(&mut self, identity: Identity) {
        let Identity { id, age, portrait, .. } = identity;
        self.confirmed |= portrait.known();
        (self.id, self.age, self.looks.portrait) = (id, age, portrait);
    }
}

/// For each body the identity, by index, that it is; `None` for a new one.
fn choose(tracks: &[Track], bodies: &[usize], everybody: &[Identity]) -> Vec<Option<usize>> {
    // After the identities, a column for each body: that it is somebody new.
    let columns = everybody.len() + bodies.len();
    let mut gains = vec![NEVER; bodies.len() * columns];
    for (row, &body) in bodies.iter().enumerate() {
        let gains = &mut gains[row * columns..(row + 1) * columns];
        for (at, identity) in everybody.iter().enumerate() {
            // A body in plain view that nothing is in doubt about keeps its identity.
            let free = at >= tracks.len() || tracks[at].unseen > 0 || bodies.contains(&at);
            if free && identity.class == tracks[body].class {
                gains[at] = gain(&tracks[body], body == at, at, everybody);
            }
        }
        let looks = &tracks[body].looks;
        gains[everybody.len() + row] = match (looks.portrait.known(), looks.reseen) {
            (true, true) if looks.ready() => f64::from(-STRANGER),
            _ => NEVER,
        };
    }
    let (rows, found) = lsap::solve(bodies.len(), columns, &gains, true).unwrap_or_default();
    let mut chosen: Vec<Option<usize>> = bodies.iter().copied().map(Some).collect();
    for (row, column) in rows.into_iter().zip(found) {
        if gains[row * columns + column] > NEVER {
            chosen[row] = Some(column).filter(|column| *column < everybody.len());
        }
    }
    chosen
}

/// What speaks for a body being an identity, by index of `everybody`.
fn gain(track: &Track, own: bool, at: usize, everybody: &[Identity]) -> f64 {
    let looks = &track.looks;
    let portrait = &everybody[at].portrait;
    if own {
        // Of a newcomer nothing is known: anybody who fits at all is likelier.
        let fit = if looks.ready() && portrait.comparable(&looks.fresh.mean) {
            portrait.fits(&looks.fresh.mean)
        } else {
            0.0
        };
        let held = if portrait.known() { CLEARLY } else { 0.0 };
        return f64::from(fit + held);
    }
    if !portrait.known() {
        return NEVER;
    }
    // Nobody is in two places: a newcomer is none of those who were seen beside it.
    if !looks.portrait.known() && looks.open.unwrap_or(0.0) > everybody[at].away + TOGETHER {
        return NEVER;
    }
    if !looks.ready() {
        // Not seen well: it gives its identity away only to one who is.
        return f64::from(-CLEARLY);
    }
    let fresh = &looks.fresh.mean;
    if !portrait.comparable(fresh) || portrait.fits(fresh) < 0.0 {
        return NEVER;
    }
    let rival = |(other, identity): (usize, &Identity)| {
        other != at && identity.id != track.id && identity.class == track.class && identity.portrait.comparable(fresh)
    };
    let rivals = everybody.iter().enumerate().filter(|&one| rival(one));
    let nearest = rivals.map(|(_, identity)| identity.portrait.likeness(fresh)).fold(-1.0, f32::max);
    if portrait.likeness(fresh) < nearest + APART { NEVER } else { f64::from(portrait.fits(fresh)) }
}

/// True when a track's box might be another's.
fn entangled(tracks: &[Track], index: usize) -> bool {
    let track = &tracks[index];
    let place = track.place();
    track.unseen == 0
        && tracks.iter().enumerate().any(|(other, one)| {
            other != index
                && one.class == track.class
                && if one.unseen == 0 {
                    place.iou(&one.place()) > ENTANGLED
                } else {
                    let behind =
                        |other: &CentredBox| place.shared(other) > HIDDEN * (place.w * place.h).min(other.w * other.h);
                    one.confirmed && one.looks.hidden < PATIENCE && (behind(&one.place()) || behind(&one.last_place))
                }
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Detection, TrackRow, TrackerConfig, TrackerState};

    const RED: [f32; 3] = [0.95, 0.3, 0.1];
    const BLUE: [f32; 3] = [0.2, 0.3, 0.95];

    struct Stage {
        state: TrackerState,
        config: TrackerConfig,
        rows: Vec<TrackRow>,
        frame: u32,
    }

    impl Stage {
        fn new() -> Self {
            let (state, config) = (TrackerState::default(), TrackerConfig::default());
            Self { state, config, rows: Vec::new(), frame: 0 }
        }

        /// Frames of people who stand somewhere.
        fn show(&mut self, frames: u32, people: &[(f32, [f32; 3])]) {
            let still: Vec<_> = people.iter().map(|(x, looks)| ([*x, *x], *looks)).collect();
            self.walk(frames, &still);
        }

        /// Frames of people: from where to where they walk, and how they look, give or take a little.
        fn walk(&mut self, frames: u32, people: &[([f32; 2], [f32; 3])]) {
            for frame in 1..=frames {
                self.frame += 1;
                let way = frame as f32 / frames as f32;
                let person = |x: f32| Detection { x1: x, y1: 100.0, x2: x + 60.0, y2: 260.0, score: 0.9, class: 0 };
                let detections: Vec<_> =
                    people.iter().map(|([from, to], _)| person(from + (to - from) * way)).collect();
                let tremble = if self.frame.is_multiple_of(2) { 0.03 } else { -0.03 };
                let views: Vec<_> = people
                    .iter()
                    .map(|(_, [r, g, b])| View {
                        quality: 0.9,
                        vector: vec![*r, *g + tremble, *b - tremble],
                        pieces: 1,
                    })
                    .collect();
                self.state.step_with_views(&self.config, Some(&detections), &views, 1.0 / 30.0, &mut self.rows);
            }
        }

        /// Numbers of those seen in the last frame, in the order they were shown.
        fn numbers(&self) -> Vec<u32> {
            let mut seen: Vec<_> = self.rows.iter().filter_map(|row| Some((row.detection?, row.id))).collect();
            seen.sort_unstable();
            seen.into_iter().map(|(_, id)| id).collect()
        }
    }

    #[test]
    fn who_was_gone_for_longer_than_the_buffer_is_known_again_anywhere() {
        for (seconds, expected) in [(2, vec![1, 2]), (8, vec![1, 3])] {
            let mut stage = Stage::new();
            stage.show(30, &[(100.0, RED), (400.0, BLUE)]);
            stage.show(30 * seconds, &[(100.0, RED)]);
            stage.show(5, &[(100.0, RED), (900.0, BLUE)]);
            assert_eq!(
                stage.numbers(),
                expected,
                "after {seconds} s; the buffer of 1 s and `remember` are over after 6"
            );
        }
    }

    /// Two walk up to each other and, close together, change places within a frame: boxes cannot tell.
    fn meeting(left: [f32; 3], right: [f32; 3]) -> Stage {
        let mut stage = Stage::new();
        stage.show(30, &[(100.0, left), (300.0, right)]);
        stage.walk(30, &[([100.0, 195.0], left), ([300.0, 205.0], right)]);
        stage.show(10, &[(195.0, left), (205.0, right)]);
        assert_eq!(stage.numbers(), [1, 2]);
        stage.walk(30, &[([205.0, 300.0], left), ([195.0, 100.0], right)]);
        stage
    }

    #[test]
    fn two_whose_boxes_were_exchanged_have_their_numbers_back() {
        assert_eq!(meeting(RED, BLUE).numbers(), [1, 2]);
    }

    #[test]
    fn two_who_look_alike_keep_what_the_boxes_said() {
        let mut alike = meeting(RED, RED);
        assert_eq!(alike.numbers(), [2, 1]);
        alike.show(90, &[(300.0, RED)]);
        alike.show(10, &[(300.0, RED), (900.0, RED)]);
        assert_eq!(alike.numbers(), [2, 3], "it may be the first one, it may be anybody");
    }

    #[test]
    fn who_was_in_sight_beside_another_is_not_that_other() {
        let mut stage = Stage::new();
        stage.show(30, &[(100.0, RED), (300.0, BLUE)]);
        stage.show(10, &[(100.0, RED)]);
        stage.show(10, &[(100.0, RED), (600.0, RED)]);
        stage.show(60, &[(600.0, RED)]);
        assert_eq!(stage.numbers(), [3]);
    }

    #[test]
    fn a_stranger_in_the_place_of_one_who_left_is_somebody_new() {
        let mut stage = Stage::new();
        stage.show(30, &[(100.0, RED)]);
        stage.show(10, &[]);
        stage.show(5, &[(100.0, BLUE)]);
        assert_eq!(stage.numbers(), [2]);
        stage.show(5, &[(100.0, BLUE), (600.0, RED)]);
        assert_eq!(stage.numbers(), [2, 1]);
    }

    #[test]
    fn a_restored_state_knows_people_again() {
        let mut stage = Stage::new();
        stage.show(30, &[(100.0, RED), (400.0, BLUE)]);
        stage.show(60, &[]);
        let stored = serde_json::to_string(&stage.state).unwrap();
        let mut restored = Stage { state: serde_json::from_str(&stored).unwrap(), ..Stage::new() };
        for stage in [&mut stage, &mut restored] {
            stage.show(5, &[(100.0, BLUE), (400.0, RED)]);
            assert_eq!(stage.numbers(), [2, 1]);
        }
        assert_eq!(stage.rows, restored.rows);
    }
}
