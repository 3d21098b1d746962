//! Multi-object tracker: detections or poses in, tracks with persistent identities out.
//!
//! `association` matches detections with tracks, `kalman` predicts boxes, `camera` compensates camera motion, `border`
//! estimates the borders of the picture, and `appearance` re-identifies people by embeddings. These modules do not depend
//! on the runtime; this file connects them to it.

#![forbid(unsafe_code)]

mod appearance;
mod association;
mod border;
mod camera;
mod kalman;
mod mean_embedding;
mod track;

pub use appearance::Embedding;
pub use association::{Detection, TrackerState};
pub use track::TrackRow;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sideline_api::{Config, Context, Error, Inputs, Operator, Outputs, Payload, PortType, Resources, Result, Spec};
use sideline_sport::{ClassNames, tables};

/// Tracks people and balls with persistent identities.
#[derive(Clone, Debug, PartialEq, Config)]
#[config(moved(fighters = "fighters", warm_up = "fighters"))]
pub struct TrackerConfig {
    /// Score from which a detection counts as high-confidence: it is matched in the first association stage and may
    /// start a track. Higher gives fewer false tracks; lower follows people whom the detector sees badly.
    #[config(default = 0.65, live, range(0, 1))]
    pub high_score: f32,
    /// Score below which a detection is ignored. Those between this and `high_score` can only continue a track. Higher
    /// keeps noise from pulling tracks away; lower keeps tracks of half-hidden people.
    #[config(default = 0.1, live, range(0, 1))]
    pub low_score: f32,
    /// Score from which an unmatched detection starts a track. Higher gives fewer false tracks; lower tracks new people
    /// sooner.
    #[config(default = 0.7, live, range(0, 1))]
    pub new_score: f32,
    /// IoU with a track's predicted box above which a high-confidence detection can match it. Higher avoids wrong
    /// matches; lower follows fast people and low frame rates.
    #[config(default = 0.2, live, range(0, 1))]
    pub match_iou: f32,
    /// IoU with a track's predicted box above which a low-confidence detection can match it. Higher avoids wrong
    /// matches; lower bridges more of an occlusion.
    #[config(default = 0.3, live, range(0, 1))]
    pub low_match_iou: f32,
    /// Maximum distance between a track's predicted center and an unmatched high-confidence detection that continues
    /// it, in heights of the track's box; the motion model's gate applies as well. Higher recovers people after longer
    /// occlusion; lower avoids confusing them with new people; 0 recovers by overlap only.
    #[config(default = 0.7, live, range(0, 10))]
    pub reach: f32,
    /// Camera motion compensation: with six or more tracks, the displacement that most boxes share moves all tracks,
    /// lost ones too, before they are matched. True keeps identities when the camera jerks or pans fast; false does not
    /// mistake a crowd that starts to run for camera motion.
    #[config(default = true, live)]
    pub camera: bool,
    /// Seconds for which a new track must be matched in every frame with detections, at least twice, to be confirmed; 0
    /// confirms at once. Higher gives fewer false tracks; lower shows new people sooner. Tracks of a stream's first
    /// frame are confirmed at once.
    #[config(default = 0.01, live, range(0, 10), former_frames = "confirm")]
    pub confirm_s: f64,
    /// Seconds for which an unmatched track is `predicted` before it becomes `lost`. Higher fills longer gaps with
    /// predicted boxes; lower shows only detected ones. Tracks with fewer than ten matches, and those at the border of
    /// the picture, which may have left it, are not predicted.
    #[config(default = 0.125, live, range(0, 10), former_frames = "predict")]
    pub predict_s: f64,
    /// Seconds for which a lost track is kept. Higher survives longer occlusion; lower avoids wrong matches with new
    /// people.
    #[config(default = 1.0, live, range(0, 100), former_frames = "buffer")]
    pub lost_buffer_s: f64,
    /// Seconds for which a removed identity is kept in the appearance gallery and recognized anywhere in the picture;
    /// needs the input `appearance`. Higher survives longer absence; lower avoids confusion with strangers in similar
    /// clothes.
    #[config(default = 5.0, live, range(0, 600))]
    pub remember: f32,
}

/// State of one stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamState {
    /// Media time of the last frame, ns.
    pts: Option<i64>,
    tracker: TrackerState,
}

/// Tracker operator. One of its inputs is wired: `detections`, or `poses`, whose boxes are tracked and which are sent
/// on with `track` filled in.
///
/// `tracks` has a row for every track in every frame, from its first detection until it is removed; the column `state`
/// says if it was matched. `identities` holds the relations of track numbers by appearance. On a frame whose input is skipped (a detector with a stride) tracks are predicted, and none
/// counts as missed.
pub struct Tracker {
    config: TrackerConfig,
    input: &'static str,
    /// Names of the classes, from the last detections.
    names: Option<ClassNames>,
}

impl Operator for Tracker {
    type Config = TrackerConfig;
    type State = StreamState;

    fn spec() -> Spec {
        Spec::operator("tracker")
            .optional("detections", PortType::table::<tables::Detection>())
            .optional("poses", PortType::table::<tables::Pose>())
            .optional("appearance", PortType::table::<tables::Appearance>())
            .output("tracks", PortType::table::<tables::Track>())
            .output("tracked_poses", PortType::table::<tables::Pose>())
            .output("identities", PortType::table::<tables::Identity>())
    }

    fn new(config: TrackerConfig, resources: &Resources) -> Result<Self> {
        let input = match (resources.is_wired("detections"), resources.is_wired("poses")) {
            (true, false) => "detections",
            (false, true) => "poses",
            (false, false) => {
                return Err(Error::config("nothing is wired to the tracker; wire its input `detections` or `poses`"));
            }
            (true, true) => {
                return Err(Error::config(
                    "both `detections` and `poses` are wired to the tracker; it takes one of them: remove the other",
                ));
            }
        };
        check_config(&config)?;
        Ok(Self { config, input, names: None })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, state: &mut StreamState, out: &mut Outputs) -> Result<()> {
        let now = cx.header.pts;
        let seconds = state.pts.map_or(0.0, |before| (now - before) as f64 * 1e-9);
        state.pts = Some(now);

        let mut poses: Vec<tables::Pose> = Vec::new();
        let detections: Option<Vec<Detection>> = if self.input == "poses" {
            let rows = input.rows::<tables::Pose>("poses")?;
            rows.map(|rows| {
                poses = rows;
                poses.iter().map(Detection::from).collect()
            })
        } else {
            let rows = input.rows::<tables::Detection>("detections")?;
            rows.map(|rows| rows.iter().map(Detection::from).collect())
        };
        let embeddings = read_embeddings(input, detections.as_deref())?;
        let mut rows = Vec::new();
        let identities =
            state.tracker.step_with_embeddings(&self.config, detections.as_deref(), &embeddings, seconds, &mut rows);

        for row in &rows {
            if let Some(pose) = row.detection.and_then(|index| poses.get_mut(index)) {
                pose.track = row.id;
            }
        }
        let tracks: Vec<tables::Track> = rows.iter().map(tables::Track::from).collect();
        if let Some(Payload::Table(detections)) = input.payload("detections") {
            self.names = ClassNames::from_table::<tables::Track>(detections, self.names.take());
        }
        out.table("tracks", Arc::new(ClassNames::encode(self.names.as_ref(), &tracks)))?;
        out.rows("tracked_poses", &poses)?;
        out.rows("identities", &identities)
    }

    fn reconfigure(&mut self, config: &TrackerConfig) -> Result<()> {
        check_config(config)?;
        self.config = config.clone();
        Ok(())
    }
}

fn check_config(config: &TrackerConfig) -> Result<()> {
    if config.low_score > config.high_score {
        let TrackerConfig { low_score, high_score, .. } = config;
        return Err(Error::config(format!("low_score {low_score} is above high_score {high_score}; lower it")));
    }
    Ok(())
}

/// Reads the embedding of each detection; empty if none was computed in this frame.
fn read_embeddings(input: &Inputs, detections: Option<&[Detection]>) -> Result<Vec<Embedding>> {
    let Some(rows) = input.rows::<tables::Appearance>("appearance")? else { return Ok(Vec::new()) };
    let count = detections.map_or(0, <[_]>::len);
    let mut embeddings = vec![Embedding::default(); count];
    for row in rows {
        let Some(embedding) = embeddings.get_mut(row.person as usize) else {
            return Err(Error::config(format!(
                "`appearance` describes person {} of a frame with {count} people; wire reid and the tracker to the same \
                 poses or detections",
                row.person
            )));
        };
        *embedding = Embedding { quality: row.quality, vector: row.vector, pieces: row.pieces };
    }
    Ok(embeddings)
}

impl From<&tables::Detection> for Detection {
    fn from(row: &tables::Detection) -> Self {
        let tables::Detection { x1, y1, x2, y2, score, class, .. } = *row;
        Self { x1, y1, x2, y2, score, class }
    }
}

impl From<&tables::Pose> for Detection {
    fn from(row: &tables::Pose) -> Self {
        // Poses are of people only, so there is one class.
        Self { x1: row.x1, y1: row.y1, x2: row.x2, y2: row.y2, score: row.score, class: 0 }
    }
}

impl From<&TrackRow> for tables::Track {
    fn from(row: &TrackRow) -> Self {
        let [x1, y1, x2, y2] = row.corners;
        Self { track: row.id, state: row.state, x1, y1, x2, y2, score: row.score, class: row.class, age: row.age }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sideline_api::{
        Alignment, Body, Reason, Values,
        testing::{Harness, Setup},
    };
    use sideline_sport::tables::TrackState;

    fn harness(input: &'static str, values: impl Into<Values>) -> Harness<Tracker> {
        let inputs = Some(vec![(input, Alignment::Source(sideline_api::SourceId(0)))]);
        Harness::with(values, Setup { inputs, ..Setup::default() }).unwrap()
    }

    fn person(x: f32) -> tables::Detection {
        tables::Detection { x1: x, y1: 100.0, x2: x + 60.0, y2: 260.0, score: 0.9, class: 0, refined: false }
    }

    fn pose(x: f32) -> tables::Pose {
        tables::Pose {
            track: 0,
            x1: x,
            y1: 100.0,
            x2: x + 60.0,
            y2: 260.0,
            score: 0.9,
            model: "lite".into(),
            aspect: 16.0 / 9.0,
            joints: [[0.5; 4]; tables::JOINTS],
            world: [[0.0; 3]; tables::JOINTS],
        }
    }

    #[test]
    fn detections_become_tracks_with_stable_numbers() {
        let mut harness = harness("detections", Values::new());
        for frame in 0..10 {
            let step = frame as f32 * 4.0;
            harness.push("detections", &[person(100.0 + step), person(700.0 - step)]).unwrap();
            let tracks: Vec<tables::Track> = harness.expect("tracks");
            assert_eq!(tracks.iter().map(|track| track.track).collect::<Vec<_>>(), [1, 2]);
            assert!(tracks.iter().all(|track| track.state == TrackState::Confirmed && track.age == frame));
            assert!((tracks[0].x1 - 100.0 - step).abs() < 3.0);
            assert!(harness.expect::<tables::Pose>("tracked_poses").is_empty());
        }
    }

    #[test]
    fn tracks_have_the_class_names_of_the_detections_also_while_they_are_predicted() {
        let mut harness = harness("detections", Values::new());
        let names = ClassNames::new::<tables::Detection>(&["player".into(), "ball".into()]).unwrap();
        let rows = ClassNames::encode(Some(&names), &[person(100.0)]);
        harness.push_body("detections", Body::Data(Payload::Table(Arc::new(rows)))).unwrap();
        harness.skip("detections", Reason::Stride).unwrap();
        for _ in 0..2 {
            let Body::Data(Payload::Table(tracks)) = harness.next_message("tracks").unwrap().body else { panic!() };
            let found = ClassNames::from_table::<tables::Track>(&tracks, None).unwrap();
            assert_eq!(found.labels(), ["player", "ball"]);
        }
    }

    #[test]
    fn poses_are_sent_on_with_identity() {
        let mut harness = harness("poses", Values::new());
        harness.push("poses", &[pose(500.0), pose(400.0), pose(f32::NAN)]).unwrap();
        harness.expect::<tables::Track>("tracks");
        let poses: Vec<tables::Pose> = harness.expect("tracked_poses");
        assert_eq!(poses.iter().map(|pose| pose.track).collect::<Vec<_>>(), [1, 2, 0]);
    }

    #[test]
    fn keys_of_the_fighters_name_the_operator_that_has_them() {
        let error = Harness::<Tracker>::new([("warm_up", 0.3)]).err().unwrap();
        assert!(error.message.contains("any more; it is a key of the operator `fighters` now"), "{error}");
    }

    #[test]
    fn a_skipped_frame_is_predicted_and_counts_as_no_miss() {
        let mut harness = harness("detections", [("lost_buffer_s", 0.02)]);
        for frame in 0..30 {
            let states: Vec<TrackState> = if frame % 5 == 0 {
                harness.push("detections", &[person(100.0 + frame as f32 * 3.0)]).unwrap();
                harness.expect::<tables::Track>("tracks").into_iter().map(|track| track.state).collect()
            } else {
                harness.skip("detections", Reason::Stride).unwrap();
                harness.expect::<tables::Track>("tracks").into_iter().map(|track| track.state).collect()
            };
            assert_eq!(
                states,
                [if frame % 5 == 0 { TrackState::Confirmed } else { TrackState::Predicted }],
                "frame {frame}"
            );
        }
    }

    #[test]
    fn a_live_setting_applies_from_the_next_frame() {
        let mut harness = harness("detections", Values::new());
        harness.push("detections", &[person(100.0)]).unwrap();
        harness.expect::<tables::Track>("tracks");
        harness.set("lost_buffer_s", 0).unwrap();
        harness.push::<tables::Detection>("detections", &[]).unwrap();
        assert!(harness.expect::<tables::Track>("tracks").is_empty());
    }

    #[test]
    fn inconsistent_configuration_and_wiring_are_rejected() {
        let error = Harness::<Tracker>::new([("low_score", 0.9)]).err().unwrap();
        assert!(error.message.contains("it takes one of them"), "{error}");
        let none = Setup { inputs: Some(vec![]), ..Setup::default() };
        let error = Harness::<Tracker>::with(Values::new(), none).err().unwrap();
        assert!(error.message.contains("wire its input `detections` or `poses`"), "{error}");
        let one =
            Setup { inputs: Some(vec![("poses", Alignment::Source(sideline_api::SourceId(0)))]), ..Setup::default() };
        let error = Harness::<Tracker>::with([("low_score", 0.9)], one).err().unwrap();
        assert!(error.message.contains("low_score 0.9 is above high_score 0.65"), "{error}");
    }
}
