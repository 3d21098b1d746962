//! Which detection is which track: ByteTrack's two rounds (Zhang et al. 2022) on motion alone, then two that find the lost.
//!
//! A frame goes so: every track is foreseen; what the camera did beside that is made up for; sure detections go to tracks
//! by overlap; unsure ones to confirmed tracks still without; sure ones that are left to tracks by where those were last
//! seen (OC-SORT, Cao et al. 2023), then by how likely it is that a track came there; what remains begins new tracks.
//! Tried and left out, as they gained nothing on pedestrians (TUD) or players (SportsMOT boxes with detector noise), or
//! gained on one and lost on the other: OC-SORT's momentum and re-update, scores fused into the overlap, overlap of heights
//! (Hybrid-SORT), boxes buffered before they overlap (C-BIoU).

use serde::{Deserialize, Serialize};
use sideline_api::assignment::assign;

use crate::TrackerConfig;
use crate::appearance::{Appearance, View};
use crate::border::Borders;
use crate::camera;
use crate::fighters::Fighters;
use crate::kalman::CentredBox;
use crate::track::{Track, TrackRow};

/// A detection: corners in pixels, score 0 to 1, class.
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
    /// How sure the detector is, 0 to 1.
    pub score: f32,
    /// What it is. Only detections of a track's own class continue it.
    pub class: u16,
}

/// All a tracker knows: what is stored and restored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrackerState {
    frames: u64,
    last_id: u32,
    /// In the order of their birth.
    tracks: Vec<Track>,
    appearance: Appearance,
    fighters: Fighters,
    borders: Borders,
    /// Seconds since the last frame that was looked at.
    since: f64,
}

/// Overlap (IoU) with the place where it was last seen above which a detection may be a track.
const LAST_PLACE_IOU: f64 = 0.1;
/// Sightings without which nobody is confirmed, however far apart they are.
const SIGHTINGS: u32 = 2;
/// Tolerance of every comparison of media times, seconds: containers round them to a millisecond.
pub(crate) const ROUNDING_S: f64 = 1e-3;
/// The part of a camera's jump that is taken to go on in the next frames.
const CAMERA_GOES_ON: f64 = 0.15;
/// A hole in time, seconds, after which nobody is where he was: the tracks before it are given up.
const LONGEST_GAP: f64 = 5.0;

impl TrackerState {
    /// Takes in the detections of one frame, `seconds` after the one before, and writes a row per track to `rows`.
    ///
    /// `None` stands for a frame at which no detector looked: tracks move on and none is the worse for it. Detections that
    /// are not boxes (NaN, empty, inside out) or have no score are passed over.
    pub fn step(
        &mut self,
        config: &TrackerConfig,
        detections: Option<&[Detection]>,
        seconds: f64,
        rows: &mut Vec<TrackRow>,
    ) {
        self.step_with_views(config, detections, &[], seconds, rows);
    }

    /// As [`Self::step`], knowing how the detections look: `views` has one for each of them, or for none.
    pub fn step_with_views(
        &mut self,
        config: &TrackerConfig,
        detections: Option<&[Detection]>,
        views: &[View],
        seconds: f64,
        rows: &mut Vec<TrackRow>,
    ) {
        let seconds = if seconds.is_finite() { seconds.max(0.0) } else { 0.0 };
        if seconds > LONGEST_GAP {
            self.tracks.clear();
            self.appearance.clear();
            self.frames = 0;
        }
        self.since += seconds;
        self.tracks.iter_mut().for_each(|track| track.predict(seconds));
        let mut dropped = Vec::new();
        if let Some(detections) = detections {
            dropped = self.associate(config, detections, views);
            self.since = 0.0;
        }
        let spans = (config.remember, seconds as f32);
        let renamed = self.appearance.step(&mut self.tracks, dropped, views, spans, &mut self.last_id);
        self.fighters.rename(&renamed, &self.appearance);
        self.fighters.step(config, &self.tracks, &self.appearance, detections.is_some(), seconds);
        rows.clear();
        rows.extend(self.tracks.iter().map(|track| {
            let leaving = self.borders.touched_by(track.place().edges());
            track.row(config, self.fighters.name_of(track.id), leaving)
        }));
    }

    /// Gives each detection to a track, begins new ones, and returns those that are given up.
    fn associate(&mut self, config: &TrackerConfig, detections: &[Detection], views: &[View]) -> Vec<Track> {
        self.tracks.iter_mut().for_each(|track| track.miss(self.since));
        let sound = |(index, detection): (usize, &Detection)| {
            let Detection { x1, y1, x2, y2, score, class } = *detection;
            let place = CentredBox::from_corners(x1, y1, x2, y2)?;
            (score >= config.low_score).then_some(Candidate { index, place, score: score.min(1.0), class })
        };
        let (mut sure, mut unsure): (Vec<_>, Vec<_>) =
            detections.iter().enumerate().filter_map(sound).partition(|candidate| candidate.score >= config.high_score);
        sure.iter().for_each(|candidate| self.borders.see(candidate.place.edges()));

        if config.camera {
            self.follow_camera(&sure);
        }
        let confirmed = |track: &Track| track.confirmed;
        let overlap = |track: &Track, candidate: &Candidate| track.place().iou(&candidate.place);
        let (least, least_unsure) = (f64::from(config.match_iou), f64::from(config.low_match_iou));
        self.round(&mut sure, views, confirmed, |track, candidate| overlap(track, candidate) - least);
        self.round(&mut unsure, views, confirmed, |track, candidate| overlap(track, candidate) - least_unsure);
        self.round(
            &mut sure,
            views,
            |_| true,
            |track, candidate| track.last_place.iou(&candidate.place) - LAST_PLACE_IOU,
        );
        self.round(&mut sure, views, confirmed, |track, candidate| track.likely_at(candidate, f64::from(config.reach)));

        // At the beginning of a stream all that is there is believed: there was no frame in which it could have been seen.
        let believed = self.frames == 0 || config.confirm_s <= 0.0;
        for candidate in sure.iter().filter(|candidate| candidate.score >= config.new_score) {
            self.last_id += 1;
            self.tracks.push(Track::new(self.last_id, candidate, believed));
        }
        for track in &mut self.tracks {
            track.confirmed |= track.hits >= SIGHTINGS && track.seen_s >= config.confirm_s - ROUNDING_S;
        }
        self.frames += 1;
        let kept = |track: &mut Track| {
            track.unseen == 0 || (track.confirmed && track.unseen_s <= config.lost_buffer_s + ROUNDING_S)
        };
        self.tracks.extract_if(.., |track| !kept(track)).collect()
    }

    /// Moves every track, those out of sight too, by what those in sight made together beside what was foreseen of them.
    fn follow_camera(&mut self, sure: &[Candidate]) {
        let in_sight = self.tracks.iter().filter(|track| track.confirmed && track.unseen == 1);
        let foreseen: Vec<CentredBox> = in_sight.map(Track::place).collect();
        let detected: Vec<CentredBox> = sure.iter().map(|candidate| candidate.place).collect();
        let Some(by) = camera::displacement(&foreseen, &detected) else { return };
        let faster = by.map(|by| if self.since > 0.0 { CAMERA_GOES_ON * by / self.since } else { 0.0 });
        self.tracks.iter_mut().for_each(|track| track.displace(by, faster));
    }

    /// Pairs the candidates with those tracks not seen yet in this frame that are `eligible`, for the greatest gain in sum,
    /// each gain above 0; where looks are known they count too. Candidates that found a track are taken out.
    fn round(
        &mut self,
        candidates: &mut Vec<Candidate>,
        views: &[View],
        eligible: impl Fn(&Track) -> bool,
        gain: impl Fn(&Track, &Candidate) -> f64,
    ) {
        let free = |track: &&mut Track| track.detection.is_none() && eligible(track);
        let mut tracks: Vec<&mut Track> = self.tracks.iter_mut().filter(free).collect();
        if tracks.is_empty() || candidates.is_empty() {
            return;
        }
        let mut gains = Vec::with_capacity(tracks.len() * candidates.len());
        for track in &tracks {
            gains.extend(candidates.iter().map(|candidate| {
                let gain = if track.class == candidate.class { gain(track, candidate).max(0.0) } else { 0.0 };
                gain * track.looks.agreement(views.get(candidate.index))
            }));
        }
        let mut found = vec![false; candidates.len()];
        for (track, candidate) in assign(tracks.len(), candidates.len(), &gains) {
            tracks[track].see(&candidates[candidate]);
            found[candidate] = true;
        }
        let mut found = found.into_iter();
        candidates.retain(|_| found.next() == Some(false));
    }
}

/// A detection that is a box.
pub(crate) struct Candidate {
    /// Which of the frame's detections.
    pub(crate) index: usize,
    pub(crate) place: CentredBox,
    pub(crate) score: f32,
    pub(crate) class: u16,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TrackStage;

    fn person(cx: f64, cy: f64) -> Detection {
        let (x1, y1) = (cx as f32 - 20.0, cy as f32 - 50.0);
        Detection { x1, y1, x2: x1 + 40.0, y2: y1 + 100.0, score: 0.9, class: 0 }
    }

    /// A tracker with the default settings that is fed frames at a rate.
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

        fn see(&mut self, detections: &[Detection]) -> &[TrackRow] {
            self.state.step(&self.config, Some(detections), 1.0 / self.rate, &mut self.rows);
            &self.rows
        }

        /// The track that took the detection with this index in the last frame.
        fn holder(&self, detection: usize) -> Option<u32> {
            self.rows.iter().find(|row| row.detection == Some(detection)).map(|row| row.id)
        }
    }

    #[test]
    fn identities_survive_a_crossing() {
        let mut feed = Feed::new();
        for frame in 0..60 {
            let way = f64::from(frame) * 5.0;
            feed.see(&[person(100.0 + way, 200.0), person(400.0 - way, 215.0)]);
            assert_eq!((feed.holder(0), feed.holder(1)), (Some(1), Some(2)), "frame {frame}");
        }
    }

    #[test]
    fn an_identity_survives_an_occlusion_as_long_as_the_buffer_and_no_longer() {
        for (hidden, expected) in [(1, 1), (10, 1), (30, 1), (31, 2)] {
            let mut feed = Feed::new();
            let at = |frame: i32| person(100.0 + f64::from(frame) * 2.0, 200.0);
            for frame in 0..20 {
                feed.see(&[at(frame)]);
            }
            for frame in 20..20 + hidden {
                let stages: Vec<_> = feed.see(&[]).iter().map(|row| row.stage).collect();
                let expected: &[_] = match frame - 19 {
                    1..=3 => &[TrackStage::Predicted],
                    4..=30 => &[TrackStage::Lost],
                    _ => &[],
                };
                assert_eq!(stages, expected, "{hidden} hidden, frame {frame}");
            }
            feed.see(&[at(20 + hidden)]);
            assert_eq!(feed.holder(0), Some(expected), "{hidden} frames hidden");
        }
    }

    #[test]
    fn a_lost_track_is_kept_as_long_whatever_the_frame_rate() {
        for rate in [10.0, 25.0, 29.97, 30.0, 60.0] {
            for (hidden_s, expected) in [(0.9, 1), (1.2, 2)] {
                let mut feed = Feed::new();
                feed.rate = rate;
                for _ in 0..20 {
                    feed.see(&[person(300.0, 200.0)]);
                }
                for _ in 0..(hidden_s * rate) as usize {
                    feed.see(&[]);
                }
                feed.see(&[person(300.0, 200.0)]);
                assert_eq!(feed.holder(0), Some(expected), "{hidden_s} s hidden at {rate} frames a second");
            }
        }
    }

    #[test]
    fn a_track_is_confirmed_after_as_long_whatever_the_frame_rate() {
        for rate in [10.0, 30.0, 60.0] {
            let mut feed = Feed::new();
            (feed.rate, feed.config.confirm_s) = (rate, 0.5);
            feed.see(&[]);
            let confirmed = (0..).find(|_| feed.see(&[person(300.0, 200.0)])[0].stage == TrackStage::Confirmed);
            assert_eq!(confirmed, Some((0.5 * rate) as i32), "looks after the first at {rate} frames a second");
        }
    }

    #[test]
    fn a_change_of_frame_rate_changes_no_identity_and_no_motion() {
        let mut feed = Feed::new();
        let mut seconds = 0.0;
        for (rate, frames) in [(60.0, 60), (15.0, 15), (7.5, 8), (30.0, 30)] {
            feed.rate = rate;
            for _ in 0..frames {
                seconds += 1.0 / rate;
                let cx = 100.0 + 150.0 * seconds;
                feed.see(&[person(cx, 200.0), person(900.0 - cx, 260.0)]);
                assert_eq!((feed.holder(0), feed.holder(1)), (Some(1), Some(2)), "{rate} fps, {seconds} s");
            }
            let [x1, _, x2, _] = feed.rows[0].corners;
            assert!((f64::from(x1 + x2) / 2.0 - 100.0 - 150.0 * seconds).abs() < 2.0);
        }
    }

    #[test]
    fn unsure_detections_continue_a_track_and_begin_none() {
        let mut feed = Feed::new();
        feed.see(&[person(100.0, 200.0)]);
        let unsure = |cx| Detection { score: 0.3, ..person(cx, 200.0) };
        for _ in 0..5 {
            feed.see(&[unsure(100.0), unsure(500.0)]);
            assert_eq!((feed.rows.len(), feed.holder(0)), (1, Some(1)));
        }
    }

    #[test]
    fn a_track_is_tentative_until_it_is_seen_again() {
        let mut feed = Feed::new();
        assert!(feed.see(&[]).is_empty());
        assert_eq!(feed.see(&[person(100.0, 200.0)])[0].stage, TrackStage::Tentative);
        assert_eq!(feed.see(&[person(101.0, 200.0)])[0].stage, TrackStage::Confirmed);
        assert_eq!(feed.see(&[person(102.0, 200.0), person(500.0, 200.0)]).len(), 2);
        assert_eq!(feed.see(&[person(103.0, 200.0)]).len(), 1, "seen once and gone: it was nothing");
    }

    #[test]
    fn detections_that_are_no_boxes_are_passed_over() {
        let mut feed = Feed::new();
        let sound = person(100.0, 200.0);
        let broken = [
            Detection { x1: f32::NAN, ..sound },
            Detection { y2: f32::INFINITY, ..sound },
            Detection { x2: sound.x1, ..sound },
            Detection { y2: sound.y1 - 5.0, ..sound },
            Detection { score: f32::NAN, ..sound },
            sound,
        ];
        for _ in 0..3 {
            assert_eq!(feed.see(&broken).len(), 1);
            assert_eq!(feed.holder(5), Some(1));
        }
        feed.rate = 0.0;
        let [x1, ..] = feed.see(&broken)[0].corners;
        assert!((x1 - sound.x1).abs() < 1.0, "an interval that is no number is none");
    }

    /// Ten people stand about while the camera jerks sideways every third of a second, by more than their width; the third
    /// of them is out of sight during one jerk.
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
            feed.see(&people);
        }
        (0..10).map(|index| feed.holder(index)).collect()
    }

    #[test]
    fn identities_survive_a_camera_that_jerks_where_it_is_followed() {
        let expected: Vec<_> = (1..=10).map(Some).collect();
        assert_eq!(jerked(true), expected);
        assert_ne!(jerked(false), expected);
    }

    #[test]
    fn who_is_found_near_where_he_was_expected_is_the_same_as_far_as_reach_says() {
        for (reach, expected) in [(0.0, 2), (0.7, 1)] {
            let mut feed = Feed::new();
            feed.config.reach = reach;
            for frame in 0..20 {
                feed.see(&[person(100.0 + f64::from(frame), 200.0)]);
            }
            for _ in 0..12 {
                feed.see(&[]);
            }
            feed.see(&[person(170.0, 200.0)]);
            assert_eq!(feed.holder(0), Some(expected), "reach {reach}");
        }
    }

    #[test]
    fn nobody_is_guessed_at_whose_motion_is_not_known_or_who_may_have_left() {
        for (frames, x, expected) in
            [(20, 300.0, TrackStage::Predicted), (5, 300.0, TrackStage::Lost), (20, 20.0, TrackStage::Lost)]
        {
            let mut feed = Feed::new();
            for _ in 0..frames {
                feed.see(&[person(x, 200.0)]);
            }
            assert_eq!(feed.see(&[])[0].stage, expected, "{frames} frames at {x}");
        }
    }

    #[test]
    fn a_ball_never_becomes_a_person() {
        let mut feed = Feed::new();
        feed.see(&[person(100.0, 200.0)]);
        feed.see(&[Detection { class: 1, ..person(100.0, 200.0) }]);
        assert_eq!(feed.holder(0), Some(2));
    }

    #[test]
    fn a_long_hole_in_time_gives_everybody_up_but_no_number_twice() {
        let mut feed = Feed::new();
        feed.see(&[person(100.0, 200.0)]);
        feed.rate = 0.1;
        assert_eq!(feed.see(&[person(100.0, 200.0)])[0].id, 2);
    }

    #[test]
    fn a_restored_state_goes_on_as_if_nothing_had_been() {
        let crowd = crate::bench::crossing_crowd(8, 60);
        let mut feed = Feed::new();
        feed.config.fighters = 2;
        for frame in &crowd[..40] {
            feed.see(frame);
        }
        let stored = serde_json::to_string(&feed.state).unwrap();
        let mut restored =
            Feed { state: serde_json::from_str(&stored).unwrap(), config: feed.config.clone(), ..Feed::new() };
        for frame in &crowd[40..] {
            assert_eq!(feed.see(frame), restored.see(frame));
        }
    }
}
