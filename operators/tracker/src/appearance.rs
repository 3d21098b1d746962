//! Re-identification by appearance, for cases that boxes cannot decide: people who crossed, clinched, or were out of
//! sight.
//!
//! A track has a body (its box and motion) and an identity (its number). While the
//! track is separate from others, its reference embedding, a running mean, is updated. When its box overlaps another
//! one, or it is matched again after an absence, its identity becomes *uncertain*: the reference is frozen, and new
//! embeddings are collected separately as pending. As soon as a body has enough pending embeddings, all uncertain
//! bodies are compared with the references of all identities that are uncertain, lost or removed, and identities are
//! assigned to bodies with the greatest sum of similarities. A new track is uncertain from its first frame: the person
//! may have been tracked before.
//!
//! How similar two embeddings of one person are depends on the camera, the clothes and the method. So thresholds are
//! relative to the spread of each person's own embeddings ([`MeanEmbedding::margin`]). If two references are too
//! similar to tell apart, the association by boxes stands.

use serde::{Deserialize, Serialize};
use sideline_sport::tables::{Identity as Relation, IdentityRelation};

use crate::association::MIN_HITS_TO_CONFIRM;
use crate::kalman::CenterBox;
use crate::mean_embedding::MeanEmbedding;
use crate::track::Track;

/// Appearance embedding of a detected person in one frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Embedding {
    /// Share of the person that was visible, 0 to 1.
    pub quality: f32,
    /// Unit vector; empty if the person was not embedded in this frame.
    pub vector: Vec<f32>,
    /// Number of equally long pieces of the vector; an all-zero piece was not visible. 0 counts as 1.
    pub pieces: u16,
}

/// Quality below which an embedding is ignored.
const MIN_QUALITY: f32 = 0.5;
/// Pending embeddings required before an uncertain body is compared.
const MIN_PENDING: u32 = 3;
/// Similarity by which another identity must exceed a track's own before the two are exchanged.
const SWITCH_MARGIN: f32 = 0.04;
/// Similarity below the threshold of an identity at which a body found in its place is a stranger.
const STRANGER_MARGIN: f32 = 0.1;
/// Similarity by which an identity must exceed all others before a body takes it.
const RUNNER_UP_MARGIN: f32 = 0.02;
/// IoU from which two boxes may have exchanged their people.
const ENTANGLED_IOU: f64 = 0.25;
/// Intersection, as a share of the smaller box, from which a matched box may show a hidden person instead of its own.
const OCCLUDED_SHARE: f64 = 0.25;
/// Missed frames after which the identity of a track becomes uncertain.
const MAX_MISSED_FRAMES: u32 = 2;
/// Seconds for which an uncertain body waits for the others it was entangled with, a new track is undecided without
/// enough embeddings, and a hidden person is assumed to be behind the one matched there.
const DECISION_TIMEOUT_S: f32 = 1.0;
/// Seconds for which a new track may overlap in time with the identity that it takes over.
const MAX_OVERLAP_S: f32 = 0.2;
/// Seconds for which a track is compared with absent identities, apart from the time in which its identity is uncertain.
const MAX_NEW_TRACK_S: f64 = 1.0;
/// Weight of appearance against the gain of an association stage.
const APPEARANCE_WEIGHT: f64 = 2.0;
/// Gain of an assignment that is forbidden.
const FORBIDDEN: f64 = -1e3;

/// Appearance of one track; part of its state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TrackAppearance {
    /// Embeddings known to be of this identity.
    reference: MeanEmbedding,
    /// Embeddings collected since the identity became uncertain.
    pending: MeanEmbedding,
    /// Seconds since then; `None` while the identity is certain.
    uncertain_s: Option<f32>,
    /// Seconds since the box was last entangled with another.
    separate_s: f32,
    /// Seconds since the last match.
    absent_s: f32,
    /// The track was unmatched before, so the body may be a stranger's.
    was_absent: bool,
    /// Seconds since the last embedding.
    since_embedding_s: f32,
    /// Seconds for which the identity has been uncertain in total.
    total_uncertain_s: f64,
}

impl TrackAppearance {
    /// Creates the appearance of a new track, whose identity is uncertain.
    pub(crate) fn new() -> Self {
        Self { uncertain_s: Some(0.0), ..Self::default() }
    }

    /// Returns the factor on the gain of matching a detection with this track, 0.5 to 1.5: above 1 if the embedding is
    /// similar to the reference, 1 if they cannot be compared.
    pub(crate) fn gain_factor(&self, embedding: Option<&Embedding>) -> f64 {
        match embedding {
            Some(embedding) if embedding.quality >= MIN_QUALITY && self.reference.is_comparable(&embedding.vector) => {
                (1.0 + APPEARANCE_WEIGHT * f64::from(self.reference.margin(&embedding.vector))).clamp(0.5, 1.5)
            }
            _ => 1.0,
        }
    }

    fn has_enough_pending(&self) -> bool {
        self.pending.count >= MIN_PENDING
    }

    /// True while there are too few embeddings to compare an uncertain identity with others, until the timeout.
    fn is_undecided(&self) -> bool {
        self.uncertain_s.is_some_and(|seconds| seconds < DECISION_TIMEOUT_S) && !self.has_enough_pending()
    }

    /// True if this is another person than that of a reference embedding; false also if they cannot be compared.
    fn is_different_from(&self, reference: &MeanEmbedding) -> bool {
        let own = if self.has_enough_pending() { &self.pending } else { &self.reference };
        reference.is_comparable(&own.mean) && reference.margin(&own.mean) < -STRANGER_MARGIN
    }

    fn mark_uncertain(&mut self) {
        self.uncertain_s = self.uncertain_s.or(Some(0.0));
        self.separate_s = 0.0;
        self.pending = MeanEmbedding::default();
    }

    /// Ends the uncertainty: the pending embeddings become part of the reference.
    fn mark_certain(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        (self.uncertain_s, self.was_absent) = (None, false);
        if self.reference.is_comparable(&pending.mean) {
            self.reference.add(&pending.mean, pending.pieces, 0.0);
        } else {
            self.reference = pending;
        }
    }
}

/// Identity, as it moves from one body to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Identity {
    id: u32,
    class: u16,
    age: u32,
    age_s: f64,
    reference: MeanEmbedding,
    /// Seconds since the last match.
    absent_s: f32,
    /// Seconds since the track was removed.
    removed_s: f32,
}

/// Gallery of the identities whose tracks were removed; part of the tracker's state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Gallery {
    identities: Vec<Identity>,
    /// Embeddings have arrived: the input `appearance` is wired.
    has_input: bool,
}

/// Changes of track numbers in one frame: the number before and after.
pub(crate) type IdChanges = Vec<(u32, u32)>;

impl Gallery {
    /// Processes one frame after the association by boxes: `tracks`, those `removed` in this frame, and the embeddings
    /// of its detections. `remember` is the time for which removed identities are kept, `seconds` the time since the
    /// last frame; `last_id` is the last number given. Returns the changes of numbers.
    pub(crate) fn step(
        &mut self,
        tracks: &mut Vec<Track>,
        removed: Vec<Track>,
        embeddings: &[Embedding],
        (remember, seconds): (f32, f32),
        last_id: &mut u32,
    ) -> IdChanges {
        self.has_input |= embeddings.iter().any(|embedding| !embedding.vector.is_empty());
        if !self.has_input {
            return Vec::new();
        }
        for identity in &mut self.identities {
            identity.absent_s += seconds;
            identity.removed_s += seconds;
            identity.age += 1;
            identity.age_s += f64::from(seconds);
        }
        let removed = removed.iter().map(Identity::from_track);
        self.identities.extend(removed.filter(|identity| identity.reference.has_data()));
        self.identities.retain(|identity| identity.removed_s <= remember);
        for index in 0..tracks.len() {
            let entangled = is_entangled(tracks, index);
            tracks[index].update_appearance(embeddings, entangled, seconds);
        }
        let changes = self.resolve(tracks, last_id);
        tracks.sort_by_key(|track| track.id);
        changes
    }

    /// Removes all identities.
    pub(crate) fn clear(&mut self) {
        self.identities.clear();
    }

    /// Returns the relations of track numbers in this frame, with the `changes` of numbers in it. None without embeddings.
    pub(crate) fn relations(&self, tracks: &[Track], changes: &IdChanges) -> Vec<Relation> {
        if !self.has_input {
            return Vec::new();
        }
        let row = |track, other, relation| Relation { track, other, relation };
        let mut rows: Vec<Relation> =
            changes.iter().map(|(from, to)| row(*to, Some(*from), IdentityRelation::Renumbered)).collect();
        rows.extend(self.identities.iter().map(|identity| row(identity.id, None, IdentityRelation::Remembered)));
        for track in tracks.iter().filter(|track| track.appearance.uncertain_s.is_some()) {
            let is_undecided = track.appearance.is_undecided();
            let relation = if is_undecided { IdentityRelation::Undecided } else { IdentityRelation::Uncertain };
            rows.push(row(track.id, None, relation));
        }
        let lost = tracks.iter().filter(|track| track.missed_frames > 0);
        let lost = lost.map(|track| (track.id, &track.appearance.reference));
        let remembered = self.identities.iter().map(|identity| (identity.id, &identity.reference));
        let absent: Vec<(u32, &MeanEmbedding)> = lost.chain(remembered).collect();
        for track in tracks.iter().filter(|track| track.missed_frames == 0 && track.is_new()) {
            let different = absent.iter().filter(|(_, reference)| track.appearance.is_different_from(reference));
            rows.extend(different.map(|(other, _)| row(track.id, Some(*other), IdentityRelation::Different)));
        }
        rows
    }

    /// Assigns identities to the uncertain bodies.
    fn resolve(&mut self, tracks: &mut Vec<Track>, last_id: &mut u32) -> IdChanges {
        let is_uncertain = |track: &Track| track.missed_frames == 0 && track.appearance.uncertain_s.is_some();
        if !tracks.iter().any(|track| is_uncertain(track) && track.appearance.has_enough_pending()) {
            return Vec::new();
        }
        // Bodies that were entangled are decided together, but one without good embeddings delays the others no longer
        // than the timeout.
        let is_awaited = |track: &Track| {
            let appearance = &track.appearance;
            is_uncertain(track)
                && appearance.reference.has_data()
                && !appearance.has_enough_pending()
                && appearance.separate_s < DECISION_TIMEOUT_S
        };
        if tracks.iter().any(is_awaited) {
            return Vec::new();
        }
        let takes_part = |track: &Track| {
            is_uncertain(track) && (track.appearance.has_enough_pending() || track.appearance.reference.has_data())
        };
        let bodies: Vec<usize> = (0..tracks.len()).filter(|&index| takes_part(&tracks[index])).collect();
        let identities: Vec<Identity> =
            tracks.iter().map(Identity::from_track).chain(self.identities.drain(..)).collect();
        let chosen = choose_identities(tracks, &bodies, &identities);
        self.apply(tracks, &bodies, identities, &chosen, last_id)
    }

    /// Gives each body the identity chosen for it, or a new one. `identities` are those of the tracks, then those of
    /// the gallery.
    fn apply(
        &mut self,
        tracks: &mut Vec<Track>,
        bodies: &[usize],
        identities: Vec<Identity>,
        chosen: &[Option<usize>],
        last_id: &mut u32,
    ) -> IdChanges {
        let mut changes = Vec::new();
        let is_absent = |track: &Track| track.missed_frames > 0 && track.appearance.reference.has_data();
        let any_absent = identities.len() > tracks.len() || tracks.iter().any(is_absent);
        let mut unassigned: Vec<Option<Identity>> = identities.into_iter().map(Some).collect();
        // Tracks whose identity moved to another body.
        let mut is_replaced = vec![false; tracks.len()];
        for (&body, choice) in bodies.iter().zip(chosen) {
            let track = &mut tracks[body];
            let before = track.id;
            match choice.and_then(|index| unassigned[index].take()) {
                Some(identity) => track.take_identity(identity),
                None => {
                    *last_id += 1;
                    let class = track.class;
                    track.take_identity(Identity {
                        id: *last_id,
                        class,
                        age: 0,
                        age_s: 0.0,
                        reference: MeanEmbedding::default(),
                        absent_s: 0.0,
                        removed_s: 0.0,
                    });
                }
            }
            // A new track stays uncertain for a while if it matches no absent identity: the first embeddings may show a
            // person only in part, at the border of the picture.
            let is_new = *choice == Some(body) && !track.appearance.reference.has_data();
            let is_early =
                any_absent && track.appearance.uncertain_s.is_some_and(|seconds| seconds < DECISION_TIMEOUT_S);
            if track.appearance.has_enough_pending() && !(is_new && is_early) {
                track.appearance.mark_certain();
            }
            if track.id != before {
                changes.push((before, track.id));
            }
            if let Some(index) = choice.filter(|index| *index < is_replaced.len() && !bodies.contains(index)) {
                is_replaced[index] = true;
            }
        }
        for (index, identity) in unassigned.into_iter().enumerate() {
            // An identity whose body went to another one is absent now; one of the gallery still is.
            let has_no_body = index >= is_replaced.len() || bodies.contains(&index);
            self.identities.extend(identity.filter(|identity| has_no_body && identity.reference.has_data()));
        }
        let mut is_replaced = is_replaced.into_iter();
        tracks.retain(|_| is_replaced.next() != Some(true));
        changes
    }
}

impl Identity {
    fn from_track(track: &Track) -> Self {
        let Track { id, class, age, age_s, .. } = *track;
        let TrackAppearance { reference, absent_s, .. } = &track.appearance;
        Self { id, class, age, age_s, reference: reference.clone(), absent_s: *absent_s, removed_s: 0.0 }
    }
}

impl Track {
    /// True for a track that is compared with all absent identities. A track is new at least until the frame in which it is
    /// confirmed, since it is not named before.
    fn is_new(&self) -> bool {
        self.confirmed_s == 0.0
            || self.hits <= MIN_HITS_TO_CONFIRM
            || self.age_s - self.appearance.total_uncertain_s <= MAX_NEW_TRACK_S
    }

    /// Updates the appearance with the embedding of this frame's match.
    fn update_appearance(&mut self, embeddings: &[Embedding], entangled: bool, seconds: f32) {
        let appearance = &mut self.appearance;
        appearance.since_embedding_s += seconds;
        if let Some(uncertain_s) = &mut appearance.uncertain_s {
            *uncertain_s += seconds;
            appearance.total_uncertain_s += f64::from(seconds);
        }
        if self.missed_frames > 0 {
            appearance.absent_s += seconds;
            if self.missed_frames > MAX_MISSED_FRAMES {
                appearance.mark_uncertain();
                appearance.was_absent = true;
            }
            return;
        }
        appearance.absent_s = 0.0;
        appearance.separate_s += seconds;
        if entangled {
            appearance.mark_uncertain();
            return;
        }
        let embedding = self.detection.and_then(|detection| embeddings.get(detection));
        let usable = |embedding: &&Embedding| embedding.quality >= MIN_QUALITY && !embedding.vector.is_empty();
        if let Some(embedding) = embedding.filter(usable) {
            let since = std::mem::take(&mut appearance.since_embedding_s);
            let mean =
                if appearance.uncertain_s.is_some() { &mut appearance.pending } else { &mut appearance.reference };
            mean.add(&embedding.vector, embedding.pieces, since);
        }
    }

    fn take_identity(&mut self, identity: Identity) {
        let Identity { id, age, age_s, reference, .. } = identity;
        self.confirmed |= reference.has_data();
        (self.id, self.age, self.age_s, self.appearance.reference) = (id, age, age_s, reference);
    }
}

/// Solves the assignment of identities to bodies: for each body the index of its identity, or `None` for a new one.
fn choose_identities(tracks: &[Track], bodies: &[usize], identities: &[Identity]) -> Vec<Option<usize>> {
    // One column per identity, then one per body for a new identity.
    let columns = identities.len() + bodies.len();
    let mut gains = vec![FORBIDDEN; bodies.len() * columns];
    for (row, &body) in bodies.iter().enumerate() {
        let gains = &mut gains[row * columns..(row + 1) * columns];
        for (index, identity) in identities.iter().enumerate() {
            // A matched track whose identity is certain keeps it.
            let is_free = index >= tracks.len() || tracks[index].missed_frames > 0 || bodies.contains(&index);
            if is_free && identity.class == tracks[body].class {
                gains[index] = assignment_gain(&tracks[body], body == index, index, identities);
            }
        }
        let appearance = &tracks[body].appearance;
        gains[identities.len() + row] = match (appearance.reference.has_data(), appearance.was_absent) {
            (true, true) if appearance.has_enough_pending() => f64::from(-STRANGER_MARGIN),
            _ => FORBIDDEN,
        };
    }
    let (rows, solution) = lsap::solve(bodies.len(), columns, &gains, true).unwrap_or_default();
    let mut chosen: Vec<Option<usize>> = bodies.iter().copied().map(Some).collect();
    for (row, column) in rows.into_iter().zip(solution) {
        if gains[row * columns + column] > FORBIDDEN {
            chosen[row] = Some(column).filter(|column| *column < identities.len());
        }
    }
    chosen
}

/// Returns the gain of giving a body the identity at `index`; `own` if it is the body's present one.
fn assignment_gain(track: &Track, own: bool, index: usize, identities: &[Identity]) -> f64 {
    let appearance = &track.appearance;
    let reference = &identities[index].reference;
    if own {
        // A new track has no reference and so a gain of 0: any identity that fits is preferred.
        let margin = if appearance.has_enough_pending() && reference.is_comparable(&appearance.pending.mean) {
            reference.margin(&appearance.pending.mean)
        } else {
            0.0
        };
        let bonus = if reference.has_data() { SWITCH_MARGIN } else { 0.0 };
        return f64::from(margin + bonus);
    }
    if !reference.has_data() {
        return FORBIDDEN;
    }
    // A new track that was tracked beside an identity cannot be the same person.
    let tracked_s = appearance.uncertain_s.unwrap_or(0.0);
    if !appearance.reference.has_data() && tracked_s > identities[index].absent_s + MAX_OVERLAP_S {
        return FORBIDDEN;
    }
    if !appearance.has_enough_pending() {
        // Without enough embeddings a body takes another identity only if its own goes to a body that has enough.
        return f64::from(-SWITCH_MARGIN);
    }
    let pending = &appearance.pending.mean;
    if !reference.is_comparable(pending) || reference.margin(pending) < 0.0 {
        return FORBIDDEN;
    }
    let is_rival = |(other, identity): (usize, &Identity)| {
        other != index
            && identity.id != track.id
            && identity.class == track.class
            && identity.reference.is_comparable(pending)
    };
    let rivals = identities.iter().enumerate().filter(|&rival| is_rival(rival));
    let runner_up = rivals.map(|(_, identity)| identity.reference.similarity(pending)).fold(-1.0, f32::max);
    if reference.similarity(pending) < runner_up + RUNNER_UP_MARGIN {
        FORBIDDEN
    } else {
        f64::from(reference.margin(pending))
    }
}

/// True if the box of a matched track may show another person: it overlaps another matched box, or may hide a person
/// who was lost there.
fn is_entangled(tracks: &[Track], index: usize) -> bool {
    let track = &tracks[index];
    let bbox = track.bbox();
    track.missed_frames == 0
        && tracks.iter().enumerate().any(|(other_index, other)| {
            other_index != index
                && other.class == track.class
                && if other.missed_frames == 0 {
                    bbox.iou(&other.bbox()) > ENTANGLED_IOU
                } else {
                    let may_hide = |hidden: &CenterBox| {
                        bbox.intersection(hidden) > OCCLUDED_SHARE * (bbox.w * bbox.h).min(hidden.w * hidden.h)
                    };
                    other.confirmed
                        && other.appearance.absent_s < DECISION_TIMEOUT_S
                        && (may_hide(&other.bbox()) || may_hide(&other.last_box))
                }
        })
}

#[cfg(test)]
mod tests {
    use sideline_sport::tables::TrackState;

    use super::*;
    use crate::{Detection, TrackRow, TrackerConfig, TrackerState};

    const RED: [f32; 3] = [0.95, 0.3, 0.1];
    const BLUE: [f32; 3] = [0.2, 0.3, 0.95];

    /// Tracker that is shown people of given colors.
    struct Scene {
        state: TrackerState,
        config: TrackerConfig,
        rows: Vec<TrackRow>,
        relations: Vec<Relation>,
        frame: u32,
    }

    impl Scene {
        fn new() -> Self {
            let (state, config) = (TrackerState::default(), TrackerConfig::default());
            Self { state, config, rows: Vec::new(), relations: Vec::new(), frame: 0 }
        }

        /// Shows people who stand still, each at a position and with a color.
        fn show(&mut self, frames: u32, people: &[(f32, [f32; 3])]) {
            let still: Vec<_> = people.iter().map(|(x, color)| ([*x, *x], *color)).collect();
            self.walk(frames, &still);
        }

        /// Shows people who walk from one position to another, each with a color that varies a little.
        fn walk(&mut self, frames: u32, people: &[([f32; 2], [f32; 3])]) {
            for frame in 1..=frames {
                self.frame += 1;
                let share = frame as f32 / frames as f32;
                let person = |x: f32| Detection { x1: x, y1: 100.0, x2: x + 60.0, y2: 260.0, score: 0.9, class: 0 };
                let detections: Vec<_> =
                    people.iter().map(|([from, to], _)| person(from + (to - from) * share)).collect();
                let noise = if self.frame.is_multiple_of(2) { 0.03 } else { -0.03 };
                let embeddings: Vec<_> = people
                    .iter()
                    .map(|(_, [r, g, b])| Embedding {
                        quality: 0.9,
                        vector: vec![*r, *g + noise, *b - noise],
                        pieces: 1,
                    })
                    .collect();
                self.relations = self.state.step_with_embeddings(
                    &self.config,
                    Some(&detections),
                    &embeddings,
                    1.0 / 30.0,
                    &mut self.rows,
                );
            }
        }

        /// Returns the track numbers of the last frame's detections, in the order they were shown.
        fn numbers(&self) -> Vec<u32> {
            let mut matched: Vec<_> = self.rows.iter().filter_map(|row| Some((row.detection?, row.id))).collect();
            matched.sort_unstable();
            matched.into_iter().map(|(_, id)| id).collect()
        }
    }

    #[test]
    fn remember_limits_how_long_a_removed_identity_is_recognized() {
        for (seconds, expected) in [(2, vec![1, 2]), (8, vec![1, 3])] {
            let mut scene = Scene::new();
            scene.show(30, &[(100.0, RED), (400.0, BLUE)]);
            scene.show(30 * seconds, &[(100.0, RED)]);
            scene.show(5, &[(100.0, RED), (900.0, BLUE)]);
            assert_eq!(
                scene.numbers(),
                expected,
                "after {seconds} s; the lost buffer of 1 s and `remember` end after 6 s"
            );
        }
    }

    /// Shows two people who meet and change places within one frame, where boxes cannot tell them apart.
    fn meeting(left: [f32; 3], right: [f32; 3]) -> Scene {
        let mut scene = Scene::new();
        scene.show(30, &[(100.0, left), (300.0, right)]);
        scene.walk(30, &[([100.0, 195.0], left), ([300.0, 205.0], right)]);
        scene.show(10, &[(195.0, left), (205.0, right)]);
        assert_eq!(scene.numbers(), [1, 2]);
        scene.walk(30, &[([205.0, 300.0], left), ([195.0, 100.0], right)]);
        scene
    }

    #[test]
    fn exchanged_boxes_are_corrected_by_appearance() {
        assert_eq!(meeting(RED, BLUE).numbers(), [1, 2]);
    }

    #[test]
    fn similar_people_keep_the_association_by_boxes() {
        let mut alike = meeting(RED, RED);
        assert_eq!(alike.numbers(), [2, 1]);
        alike.show(90, &[(300.0, RED)]);
        alike.show(10, &[(300.0, RED), (900.0, RED)]);
        assert_eq!(alike.numbers(), [2, 3], "two identities fit, so neither is taken");
    }

    #[test]
    fn a_person_tracked_beside_another_does_not_take_that_identity() {
        let mut scene = Scene::new();
        scene.show(30, &[(100.0, RED), (300.0, BLUE)]);
        scene.show(10, &[(100.0, RED)]);
        scene.show(10, &[(100.0, RED), (600.0, RED)]);
        scene.show(60, &[(600.0, RED)]);
        assert_eq!(scene.numbers(), [3]);
    }

    #[test]
    fn a_stranger_in_the_place_of_a_lost_person_gets_a_new_identity() {
        let mut scene = Scene::new();
        scene.show(30, &[(100.0, RED)]);
        scene.show(10, &[]);
        scene.show(5, &[(100.0, BLUE)]);
        assert_eq!(scene.numbers(), [2]);
        scene.show(5, &[(100.0, BLUE), (600.0, RED)]);
        assert_eq!(scene.numbers(), [2, 1]);
    }

    #[test]
    fn a_restored_state_recognizes_people() {
        let mut scene = Scene::new();
        scene.show(30, &[(100.0, RED), (400.0, BLUE)]);
        scene.show(60, &[]);
        let stored = serde_json::to_string(&scene.state).unwrap();
        let mut restored = Scene { state: serde_json::from_str(&stored).unwrap(), ..Scene::new() };
        for scene in [&mut scene, &mut restored] {
            scene.show(5, &[(100.0, BLUE), (400.0, RED)]);
            assert_eq!(scene.numbers(), [2, 1]);
        }
        assert_eq!(scene.rows, restored.rows);
    }
    #[test]
    fn relations_report_what_is_known_of_new_and_absent_numbers() {
        let (undecided, remembered) = (IdentityRelation::Undecided, IdentityRelation::Remembered);
        let mut scene = Scene::new();
        scene.show(30, &[(100.0, RED), (400.0, BLUE)]);
        assert_eq!(scene.relations, [], "both identities are certain and in sight");
        scene.show(60, &[(100.0, RED)]);
        assert_eq!(scene.relations, [Relation { track: 2, other: None, relation: remembered }]);
        // A stranger far from where the other person was lost.
        let green = [0.3, 0.95, 0.2];
        scene.show(1, &[(100.0, RED), (900.0, green)]);
        assert!(
            scene.relations.contains(&Relation { track: 3, other: None, relation: undecided }),
            "{:?}",
            scene.relations
        );
        scene.show(9, &[(100.0, RED), (900.0, green)]);
        let different = Relation { track: 3, other: Some(2), relation: IdentityRelation::Different };
        assert!(scene.relations.contains(&different), "{:?}", scene.relations);
        let is_undecided = |row: &Relation| row.relation == undecided;
        assert!(!scene.relations.iter().any(is_undecided), "{:?}", scene.relations);
        scene.show(60, &[(100.0, RED), (900.0, green)]);
        assert!(!scene.relations.contains(&different), "the track is not new any more: {:?}", scene.relations);
    }

    #[test]
    fn a_stranger_is_reported_in_the_frame_of_the_confirmation_however_late_it_is() {
        let mut scene = Scene::new();
        scene.config.confirm_s = 3.0;
        scene.show(30, &[(100.0, RED), (400.0, BLUE)]);
        scene.show(5, &[(100.0, RED)]);
        let green = [0.3, 0.95, 0.2];
        let different = Relation { track: 3, other: Some(2), relation: IdentityRelation::Different };
        let is_tentative = |scene: &Scene| scene.rows.last().unwrap().state == TrackState::Tentative;
        for _ in 0..90 {
            scene.show(1, &[(100.0, RED), (900.0, green)]);
            assert!(is_tentative(&scene));
        }
        scene.show(1, &[(100.0, RED), (900.0, green)]);
        assert!(!is_tentative(&scene), "confirmed after 3 s");
        assert!(scene.relations.contains(&different), "{:?}", scene.relations);
        scene.show(1, &[(100.0, RED), (900.0, green)]);
        assert!(!scene.relations.contains(&different), "the track is not new any more: {:?}", scene.relations);
    }

    #[test]
    fn relations_report_the_number_that_a_recognized_person_had_before() {
        let mut scene = Scene::new();
        scene.show(30, &[(100.0, RED), (400.0, BLUE)]);
        scene.show(60, &[(100.0, RED)]);
        let renumbered = Relation { track: 2, other: Some(3), relation: IdentityRelation::Renumbered };
        let frames = (0..10).filter(|_| {
            scene.show(1, &[(100.0, RED), (900.0, BLUE)]);
            scene.relations.contains(&renumbered)
        });
        assert_eq!(frames.count(), 1, "in the frame of the change only");
        assert_eq!(scene.numbers(), [1, 2]);
    }
}
