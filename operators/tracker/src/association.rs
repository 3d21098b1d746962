//! Association of detections with tracks: the two stages of ByteTrack (Zhang et al. 2022, arXiv:2110.06864), then two
//! stages that recover lost tracks.
//!
//! For each frame:
//!
//! 1. Every track predicts its box. The displacement that most boxes share beyond that is attributed to the camera and
//!    compensated.
//! 2. High-confidence detections are matched to confirmed tracks by IoU with the predicted box.
//! 3. Low-confidence detections are matched in the same way to the confirmed tracks still unmatched.
//! 4. The remaining high-confidence detections are matched to all tracks, tentative ones included, by IoU with the box
//!    of a track's last match (observation-centric recovery of OC-SORT, Cao et al. 2023).
//! 5. Then to confirmed tracks by the squared Mahalanobis distance from the predicted center, inside a gate.
//! 6. Those that are left start new tracks.
//!
//! Tried and left out, because they gained nothing on pedestrians (TUD) or players (SportsMOT boxes with detector
//! noise), or gained on one and lost on the other: momentum and re-update of OC-SORT, scores fused into the IoU, IoU of
//! heights (Hybrid-SORT), and boxes enlarged before matching (C-BIoU).

use serde::{Deserialize, Serialize};
use sideline_vision::assignment::assign;

use crate::TrackerConfig;
use sideline_sport::tables::Identity;

use crate::appearance::{Embedding, Gallery};
use crate::border::Borders;
use crate::camera;
use crate::kalman::CenterBox;
use crate::track::{Track, TrackRow};

/// Detection: corners in pixels, score and class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// Left edge.
    pub x1: f32,
    /// Top edge.
    pub y1: f32,
    /// Right edge.
    pub x2: f32,
    /// Bottom edge.
    pub y2: f32,
    /// Confidence of the detector, 0 to 1.
    pub score: f32,
    /// Class. A track is matched only with detections of its own class.
    pub class: u16,
}

/// Complete state of the tracker for one stream, as it is saved and restored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrackerState {
    frames: u64,
    last_id: u32,
    /// Tracks in the order of their first detections.
    tracks: Vec<Track>,
    gallery: Gallery,
    borders: Borders,
    /// Seconds since the last frame with detections.
    since_detections_s: f64,
}

/// IoU with the box of a track's last match above which the recovery stage may match a detection.
const LAST_BOX_IOU: f64 = 0.1;
/// Matches required before a track is confirmed, however long `confirm_s` is.
pub(crate) const MIN_HITS_TO_CONFIRM: u32 = 2;
/// Tolerance in comparisons of media times, seconds: containers round them to a millisecond.
pub(crate) const ROUNDING_S: f64 = 1e-3;
/// Share of a camera displacement that is added to the velocity of the tracks, because a pan usually continues.
const CAMERA_VELOCITY_SHARE: f64 = 0.15;
/// Gap in media time, seconds, after which all tracks are removed: no prediction holds for so long.
const MAX_TIME_GAP_S: f64 = 5.0;

impl TrackerState {
    /// Processes the detections of one frame, `seconds` after the previous one, and writes a row per track to `rows`.
    ///
    /// `None` stands for a frame on which the detector did not run: tracks are predicted, and none counts as missed.
    /// Detections without a valid box (NaN, empty, inverted) or without a score are ignored.
    pub fn step(
        &mut self,
        config: &TrackerConfig,
        detections: Option<&[Detection]>,
        seconds: f64,
        rows: &mut Vec<TrackRow>,
    ) {
        self.step_with_embeddings(config, detections, &[], seconds, rows);
    }

    /// Like [`Self::step`], with appearance embeddings: `embeddings` has one for each detection, or is empty. Returns the
    /// relations of track numbers by appearance.
    pub fn step_with_embeddings(
        &mut self,
        config: &TrackerConfig,
        detections: Option<&[Detection]>,
        embeddings: &[Embedding],
        seconds: f64,
        rows: &mut Vec<TrackRow>,
    ) -> Vec<Identity> {
        let seconds = if seconds.is_finite() { seconds.max(0.0) } else { 0.0 };
        if seconds > MAX_TIME_GAP_S {
            self.tracks.clear();
            self.gallery.clear();
            self.frames = 0;
        }
        self.since_detections_s += seconds;
        self.tracks.iter_mut().for_each(|track| track.predict(seconds));
        let mut removed = Vec::new();
        if let Some(detections) = detections {
            removed = self.associate(config, detections, embeddings);
            self.since_detections_s = 0.0;
        }
        let spans = (config.remember, seconds as f32);
        let id_changes = self.gallery.step(&mut self.tracks, removed, embeddings, spans, &mut self.last_id);
        let identities = self.gallery.relations(&self.tracks, &id_changes);
        rows.clear();
        rows.extend(self.tracks.iter().map(|track| {
            let leaving = self.borders.is_touched_by(track.bbox().edges());
            track.row(config, leaving)
        }));
        identities
    }

    /// Runs the association stages, starts new tracks, and returns those that are removed.
    fn associate(&mut self, config: &TrackerConfig, detections: &[Detection], embeddings: &[Embedding]) -> Vec<Track> {
        self.tracks.iter_mut().for_each(|track| track.mark_missed(self.since_detections_s));
        let valid = |(index, detection): (usize, &Detection)| {
            let Detection { x1, y1, x2, y2, score, class } = *detection;
            let bbox = CenterBox::from_corners(x1, y1, x2, y2)?;
            (score >= config.low_score).then_some(Candidate { index, bbox, score: score.min(1.0), class })
        };
        let (mut high, mut low): (Vec<_>, Vec<_>) =
            detections.iter().enumerate().filter_map(valid).partition(|candidate| candidate.score >= config.high_score);
        high.iter().for_each(|candidate| self.borders.observe(candidate.bbox.edges()));

        if config.camera {
            self.compensate_camera(&high);
        }
        let confirmed = |track: &Track| track.confirmed;
        let iou = |track: &Track, candidate: &Candidate| track.bbox().iou(&candidate.bbox);
        let (min_iou, min_low_iou) = (f64::from(config.match_iou), f64::from(config.low_match_iou));
        self.run_stage(&mut high, embeddings, confirmed, |track, candidate| iou(track, candidate) - min_iou);
        self.run_stage(&mut low, embeddings, confirmed, |track, candidate| iou(track, candidate) - min_low_iou);
        self.run_stage(
            &mut high,
            embeddings,
            |_| true,
            |track, candidate| track.last_box.iou(&candidate.bbox) - LAST_BOX_IOU,
        );
        let reach = f64::from(config.reach);
        self.run_stage(&mut high, embeddings, confirmed, |track, candidate| track.gate_margin(candidate, reach));

        // Tracks that start in the first frame of a stream are confirmed at once: no earlier frame could confirm them.
        let confirm_at_once = self.frames == 0 || config.confirm_s <= 0.0;
        for candidate in high.iter().filter(|candidate| candidate.score >= config.new_score) {
            self.last_id += 1;
            self.tracks.push(Track::new(self.last_id, candidate, confirm_at_once));
        }
        for track in &mut self.tracks {
            track.confirmed |= track.hits >= MIN_HITS_TO_CONFIRM && track.matched_s >= config.confirm_s - ROUNDING_S;
        }
        self.frames += 1;
        let is_kept = |track: &mut Track| {
            track.missed_frames == 0 || (track.confirmed && track.missed_s <= config.lost_buffer_s + ROUNDING_S)
        };
        self.tracks.extract_if(.., |track| !is_kept(track)).collect()
    }

    /// Moves all tracks, lost ones too, by the displacement that the tracks matched in the previous frame share beyond
    /// their predictions.
    fn compensate_camera(&mut self, high: &[Candidate]) {
        let recent = self.tracks.iter().filter(|track| track.confirmed && track.missed_frames == 1);
        let predicted: Vec<CenterBox> = recent.map(Track::bbox).collect();
        let detected: Vec<CenterBox> = high.iter().map(|candidate| candidate.bbox).collect();
        let Some(shift) = camera::displacement(&predicted, &detected) else { return };
        let interval_s = self.since_detections_s;
        let velocity =
            shift.map(|shift| if interval_s > 0.0 { CAMERA_VELOCITY_SHARE * shift / interval_s } else { 0.0 });
        self.tracks.iter_mut().for_each(|track| track.displace(shift, velocity));
    }

    /// Runs one association stage: assigns candidates to the `eligible` tracks that are still unmatched in this frame,
    /// with the greatest sum of gains, where only gains above 0 allow a match. Appearance scales the gains where
    /// embeddings exist. Matched candidates are removed from `candidates`.
    fn run_stage(
        &mut self,
        candidates: &mut Vec<Candidate>,
        embeddings: &[Embedding],
        eligible: impl Fn(&Track) -> bool,
        gain: impl Fn(&Track, &Candidate) -> f64,
    ) {
        let unmatched = |track: &&mut Track| track.detection.is_none() && eligible(track);
        let mut tracks: Vec<&mut Track> = self.tracks.iter_mut().filter(unmatched).collect();
        if tracks.is_empty() || candidates.is_empty() {
            return;
        }
        let mut gains = Vec::with_capacity(tracks.len() * candidates.len());
        for track in &tracks {
            gains.extend(candidates.iter().map(|candidate| {
                let gain = if track.class == candidate.class { gain(track, candidate).max(0.0) } else { 0.0 };
                gain * track.appearance.gain_factor(embeddings.get(candidate.index))
            }));
        }
        let mut matched = vec![false; candidates.len()];
        for (track, candidate) in assign(tracks.len(), candidates.len(), &gains) {
            tracks[track].update(&candidates[candidate]);
            matched[candidate] = true;
        }
        let mut matched = matched.into_iter();
        candidates.retain(|_| matched.next() == Some(false));
    }
}

/// Detection with a valid box.
pub(crate) struct Candidate {
    /// Index of the detection in its frame.
    pub(crate) index: usize,
    pub(crate) bbox: CenterBox,
    pub(crate) score: f32,
    pub(crate) class: u16,
}

#[cfg(test)]
mod tests {
    use super::*;
    use sideline_sport::tables::TrackState;

    fn person(cx: f64, cy: f64) -> Detection {
        let (x1, y1) = (cx as f32 - 20.0, cy as f32 - 50.0);
        Detection { x1, y1, x2: x1 + 40.0, y2: y1 + 100.0, score: 0.9, class: 0 }
    }

    /// Tracker with the default configuration, and the frame rate of its input.
    struct Feed {
        state: TrackerState,
        config: TrackerConfig,
        rate: f64,
        rows: Vec<TrackRow>,
    }

    impl Feed {
        fn new() -> Self {
            Self { state: TrackerState::default(), config: TrackerConfig::default(), rate: 30.0, rows: Vec::new() }
        }

        fn step(&mut self, detections: &[Detection]) -> &[TrackRow] {
            self.state.step(&self.config, Some(detections), 1.0 / self.rate, &mut self.rows);
            &self.rows
        }

        /// Returns the track matched to the detection with this index in the last frame.
        fn matched_track(&self, detection: usize) -> Option<u32> {
            self.rows.iter().find(|row| row.detection == Some(detection)).map(|row| row.id)
        }
    }

    #[test]
    fn identities_survive_a_crossing() {
        let mut feed = Feed::new();
        for frame in 0..60 {
            let offset = f64::from(frame) * 5.0;
            feed.step(&[person(100.0 + offset, 200.0), person(400.0 - offset, 215.0)]);
            assert_eq!((feed.matched_track(0), feed.matched_track(1)), (Some(1), Some(2)), "frame {frame}");
        }
    }

    #[test]
    fn an_identity_survives_an_occlusion_no_longer_than_the_lost_buffer() {
        for (hidden, expected) in [(1, 1), (10, 1), (30, 1), (31, 2)] {
            let mut feed = Feed::new();
            let at = |frame: i32| person(100.0 + f64::from(frame) * 2.0, 200.0);
            for frame in 0..20 {
                feed.step(&[at(frame)]);
            }
            for frame in 20..20 + hidden {
                let states: Vec<_> = feed.step(&[]).iter().map(|row| row.state).collect();
                let expected: &[_] = match frame - 19 {
                    1..=3 => &[TrackState::Predicted],
                    4..=30 => &[TrackState::Lost],
                    _ => &[],
                };
                assert_eq!(states, expected, "{hidden} hidden, frame {frame}");
            }
            feed.step(&[at(20 + hidden)]);
            assert_eq!(feed.matched_track(0), Some(expected), "{hidden} frames hidden");
        }
    }

    #[test]
    fn lost_buffer_does_not_depend_on_the_frame_rate() {
        for rate in [10.0, 25.0, 29.97, 30.0, 60.0] {
            for (hidden_s, expected) in [(0.9, 1), (1.2, 2)] {
                let mut feed = Feed::new();
                feed.rate = rate;
                for _ in 0..20 {
                    feed.step(&[person(300.0, 200.0)]);
                }
                for _ in 0..(hidden_s * rate) as usize {
                    feed.step(&[]);
                }
                feed.step(&[person(300.0, 200.0)]);
                assert_eq!(feed.matched_track(0), Some(expected), "{hidden_s} s hidden at {rate} frames a second");
            }
        }
    }

    #[test]
    fn confirmation_time_does_not_depend_on_the_frame_rate() {
        for rate in [10.0, 30.0, 60.0] {
            let mut feed = Feed::new();
            (feed.rate, feed.config.confirm_s) = (rate, 0.5);
            feed.step(&[]);
            let confirmed = (0..).find(|_| feed.step(&[person(300.0, 200.0)])[0].state == TrackState::Confirmed);
            assert_eq!(
                confirmed,
                Some((0.5 * rate) as i32),
                "frames after the first detection at {rate} frames a second"
            );
        }
    }

    #[test]
    fn a_change_of_frame_rate_keeps_identities_and_motion() {
        let mut feed = Feed::new();
        let mut seconds = 0.0;
        for (rate, frames) in [(60.0, 60), (15.0, 15), (7.5, 8), (30.0, 30)] {
            feed.rate = rate;
            for _ in 0..frames {
                seconds += 1.0 / rate;
                let cx = 100.0 + 150.0 * seconds;
                feed.step(&[person(cx, 200.0), person(900.0 - cx, 260.0)]);
                assert_eq!(
                    (feed.matched_track(0), feed.matched_track(1)),
                    (Some(1), Some(2)),
                    "{rate} fps, {seconds} s"
                );
            }
            let [x1, _, x2, _] = feed.rows[0].corners;
            assert!((f64::from(x1 + x2) / 2.0 - 100.0 - 150.0 * seconds).abs() < 2.0);
        }
    }

    #[test]
    fn low_confidence_detections_continue_a_track_and_start_none() {
        let mut feed = Feed::new();
        feed.step(&[person(100.0, 200.0)]);
        let low = |cx| Detection { score: 0.3, ..person(cx, 200.0) };
        for _ in 0..5 {
            feed.step(&[low(100.0), low(500.0)]);
            assert_eq!((feed.rows.len(), feed.matched_track(0)), (1, Some(1)));
        }
    }

    #[test]
    fn a_track_is_tentative_until_its_second_match() {
        let mut feed = Feed::new();
        assert!(feed.step(&[]).is_empty());
        assert_eq!(feed.step(&[person(100.0, 200.0)])[0].state, TrackState::Tentative);
        assert_eq!(feed.step(&[person(101.0, 200.0)])[0].state, TrackState::Confirmed);
        assert_eq!(feed.step(&[person(102.0, 200.0), person(500.0, 200.0)]).len(), 2);
        assert_eq!(feed.step(&[person(103.0, 200.0)]).len(), 1, "a tentative track that is not matched is removed");
    }

    #[test]
    fn invalid_detections_are_ignored() {
        let mut feed = Feed::new();
        let valid = person(100.0, 200.0);
        let broken = [
            Detection { x1: f32::NAN, ..valid },
            Detection { y2: f32::INFINITY, ..valid },
            Detection { x2: valid.x1, ..valid },
            Detection { y2: valid.y1 - 5.0, ..valid },
            Detection { score: f32::NAN, ..valid },
            valid,
        ];
        for _ in 0..3 {
            assert_eq!(feed.step(&broken).len(), 1);
            assert_eq!(feed.matched_track(5), Some(1));
        }
        feed.rate = 0.0;
        let [x1, ..] = feed.step(&broken)[0].corners;
        assert!((x1 - valid.x1).abs() < 1.0, "an interval that is not finite counts as 0");
    }

    /// Tracks ten people who stand still while the camera jerks sideways every third of a second, by more than their width.
    /// The third person is not detected during one jerk. Returns the track of each person in the last frame.
    fn jerked(camera: bool) -> Vec<Option<u32>> {
        let mut feed = Feed::new();
        feed.config.camera = camera;
        for frame in 0..65 {
            let pan = 50.0 * f64::from(frame / 10);
            let row =
                (0..10).map(|index| person(500.0 + 75.0 * f64::from(index) + 17.0 * f64::from(index % 3) - pan, 200.0));
            let mut people: Vec<Detection> = row.collect();
            if (28..32).contains(&frame) {
                people[2].score = 0.0;
            }
            feed.step(&people);
        }
        (0..10).map(|index| feed.matched_track(index)).collect()
    }

    #[test]
    fn camera_compensation_keeps_identities_when_the_camera_jerks() {
        let expected: Vec<_> = (1..=10).map(Some).collect();
        assert_eq!(jerked(true), expected);
        assert_ne!(jerked(false), expected);
    }

    #[test]
    fn reach_limits_how_far_a_lost_track_is_reacquired() {
        for (reach, expected) in [(0.0, 2), (0.7, 1)] {
            let mut feed = Feed::new();
            feed.config.reach = reach;
            for frame in 0..20 {
                feed.step(&[person(100.0 + f64::from(frame), 200.0)]);
            }
            for _ in 0..12 {
                feed.step(&[]);
            }
            feed.step(&[person(170.0, 200.0)]);
            assert_eq!(feed.matched_track(0), Some(expected), "reach {reach}");
        }
    }

    #[test]
    fn boxes_are_predicted_only_for_long_tracks_away_from_the_border() {
        for (frames, x, expected) in
            [(20, 300.0, TrackState::Predicted), (5, 300.0, TrackState::Lost), (20, 20.0, TrackState::Lost)]
        {
            let mut feed = Feed::new();
            for _ in 0..frames {
                feed.step(&[person(x, 200.0)]);
            }
            assert_eq!(feed.step(&[])[0].state, expected, "{frames} frames at {x}");
        }
    }

    #[test]
    fn a_track_is_not_matched_with_another_class() {
        let mut feed = Feed::new();
        feed.step(&[person(100.0, 200.0)]);
        feed.step(&[Detection { class: 1, ..person(100.0, 200.0) }]);
        assert_eq!(feed.matched_track(0), Some(2));
    }

    #[test]
    fn a_long_time_gap_removes_all_tracks_and_reuses_no_id() {
        let mut feed = Feed::new();
        feed.step(&[person(100.0, 200.0)]);
        feed.rate = 0.1;
        assert_eq!(feed.step(&[person(100.0, 200.0)])[0].id, 2);
    }

    #[test]
    fn a_restored_state_gives_the_same_tracks() {
        let detection = |found: &sideline_eval::Detection| {
            let rect = found.rect;
            let [x1, y1, x2, y2] = [rect.x, rect.y, rect.x + rect.w, rect.y + rect.h].map(|corner| corner as f32);
            Detection { x1, y1, x2, y2, score: found.score as f32, class: 0 }
        };
        let crowd: Vec<Vec<Detection>> =
            sideline_eval::crossing_crowd(8, 60).iter().map(|frame| frame.iter().map(detection).collect()).collect();
        let mut feed = Feed::new();
        for frame in &crowd[..40] {
            feed.step(frame);
        }
        let stored = serde_json::to_string(&feed.state).unwrap();
        let mut restored =
            Feed { state: serde_json::from_str(&stored).unwrap(), config: feed.config.clone(), ..Feed::new() };
        for frame in &crowd[40..] {
            assert_eq!(feed.step(frame), restored.step(frame));
        }
    }
}
