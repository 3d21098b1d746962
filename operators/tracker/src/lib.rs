//! The tracker: detections, or poses, in; the same with identities out.
//!
//! `association` decides which detection is which `track`, `kalman` where a track will be, `camera` what all of them do
//! together, `border` where the picture ends, `appearance` who is who again by looks, `fighters` which two of the people
//! matter. None of them knows of the runtime: this file joins them to it.

#![forbid(unsafe_code)]

mod appearance;
mod association;
pub mod bench;
mod border;
mod camera;
mod fighters;
mod kalman;
mod portrait;
mod track;

pub use appearance::View;
pub use association::{Detection, TrackerState};
pub use fighters::Fighter;
pub use track::{TrackRow, TrackStage};

use serde::{Deserialize, Serialize};
use sideline_api::tables;
use sideline_api::{Config, Context, Error, Inputs, Operator, Outputs, PortType, Resources, Result, Spec};

/// Gives every person and ball an identity that lasts, and the two fighters their names.
#[derive(Clone, Debug, PartialEq, Config)]
pub struct TrackerConfig {
    /// Score from which a detection is sure: it is matched first and may begin a track. Higher gives fewer false tracks;
    /// lower follows people that the detector sees badly.
    #[config(default = 0.65, live, range(0, 1))]
    pub high_score: f32,
    /// Score below which a detection is passed over; between this and `high_score` it can only continue a track. Higher
    /// keeps noise from dragging tracks along; lower holds on to people half hidden.
    #[config(default = 0.1, live, range(0, 1))]
    pub low_score: f32,
    /// Score from which a detection begins a track. Higher gives fewer false tracks; lower sees new people sooner.
    #[config(default = 0.7, live, range(0, 1))]
    pub new_score: f32,
    /// Overlap (IoU) with a track's predicted box above which a sure detection may be it. Higher avoids wrong matches;
    /// lower follows fast people and low frame rates.
    #[config(default = 0.2, live, range(0, 1))]
    pub match_iou: f32,
    /// The same for detections that are not sure. Higher avoids wrong matches; lower bridges more of an occlusion.
    #[config(default = 0.3, live, range(0, 1))]
    pub low_match_iou: f32,
    /// How far from where it is expected a track may be found again by a sure detection that nothing else claims, in heights
    /// of its box, and always within what its motion makes likely. Higher finds people again after longer occlusion; lower
    /// avoids taking a newcomer for them; 0 asks for overlap.
    #[config(default = 0.7, live, range(0, 10))]
    pub reach: f32,
    /// Whether what most people's boxes do together is taken for the camera's motion, from six people on: all tracks, those
    /// out of sight too, are moved by it before they are matched. On, identities survive a camera that jerks or pans fast;
    /// off, nothing is made of a crowd that starts to run as one.
    #[config(default = true, live)]
    pub camera: bool,
    /// Seconds over which a track must be seen at every look, at least twice, to be confirmed; 0 confirms it at once. Higher
    /// gives fewer false tracks; lower shows new people sooner. What is there in the first frame of a stream is confirmed at
    /// once.
    #[config(default = 0.01, live, range(0, 10), former_frames = "confirm")]
    pub confirm_s: f64,
    /// Seconds for which an unseen track is `predicted` before it counts as `lost`. Higher fills longer gaps with guessed
    /// boxes; lower shows only what was seen. Nobody is guessed at who has been seen in less than ten frames, or who stands
    /// at the border of the picture and may have left it.
    #[config(default = 0.125, live, range(0, 10), former_frames = "predict")]
    pub predict_s: f64,
    /// Seconds for which a lost track is kept. Higher survives longer occlusion; lower avoids wrong revivals.
    #[config(default = 1.0, live, range(0, 100), former_frames = "buffer")]
    pub lost_buffer_s: f64,
    /// Seconds for which somebody whose track was given up is known again by looks, wherever they come back; needs the input
    /// `appearance`. Higher survives longer absence; lower avoids taking a stranger dressed alike for them.
    #[config(default = 5.0, live, range(0, 600))]
    pub remember: f32,
    /// How many people are named `fighter_1` and `fighter_2`; 0 names nobody. Lowering it takes names away.
    #[config(default = 0, live, range(0, 2))]
    pub fighters: u32,
    /// Seconds for which everybody is watched before the fighters are named. Higher tells them from bystanders more
    /// surely; lower names them sooner.
    #[config(default = 1.0, live, range(0, 60))]
    pub warm_up: f32,
}

impl Default for TrackerConfig {
    fn default() -> Self {
        Self {
            high_score: 0.65,
            low_score: 0.1,
            new_score: 0.7,
            match_iou: 0.2,
            low_match_iou: 0.3,
            reach: 0.7,
            camera: true,
            confirm_s: 0.01,
            predict_s: 0.125,
            lost_buffer_s: 1.0,
            remember: 5.0,
            fighters: 0,
            warm_up: 1.0,
        }
    }
}

/// What the operator remembers of a stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Media time of the last frame, ns.
    pts: Option<i64>,
    tracker: TrackerState,
}

/// The operator. One of its inputs is wired: `detections`, or `poses`, whose boxes are then tracked and which go out
/// again with `track` and `fighter` filled in.
///
/// `tracks` has a row for every track in every frame, from its first detection until it is given up; `state` says whether
/// it was seen. A frame whose input is skipped (a detector with a stride) moves every track on and counts against none.
pub struct Tracker {
    config: TrackerConfig,
    input: &'static str,
}

impl Operator for Tracker {
    type Config = TrackerConfig;
    type State = Memory;

    fn spec() -> Spec {
        Spec::operator("tracker")
            .optional("detections", PortType::table::<tables::Detection>())
            .optional("poses", PortType::table::<tables::Pose>())
            .optional("appearance", PortType::table::<tables::Appearance>())
            .output("tracks", PortType::table::<tables::Track>())
            .output("tracked_poses", PortType::table::<tables::Pose>())
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
        consistent(&config)?;
        Ok(Self { config, input })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, memory: &mut Memory, out: &mut Outputs) -> Result<()> {
        let now = cx.header.pts;
        let seconds = memory.pts.map_or(0.0, |before| (now - before) as f64 * 1e-9);
        memory.pts = Some(now);

        let mut poses: Vec<tables::Pose> = Vec::new();
        let detections: Option<Vec<Detection>> = if self.input == "poses" {
            let seen = input.rows::<tables::Pose>("poses")?;
            seen.map(|rows| {
                poses = rows;
                poses.iter().map(Detection::from).collect()
            })
        } else {
            let seen = input.rows::<tables::Detection>("detections")?;
            seen.map(|rows| rows.iter().map(Detection::from).collect())
        };
        let views = views(input, detections.as_deref())?;
        let mut rows = Vec::new();
        memory.tracker.step_with_views(&self.config, detections.as_deref(), &views, seconds, &mut rows);

        for row in &rows {
            if let Some(pose) = row.detection.and_then(|index| poses.get_mut(index)) {
                pose.track = row.id;
                pose.fighter = name(row.fighter);
            }
        }
        let tracks: Vec<tables::Track> = rows.iter().map(tables::Track::from).collect();
        out.rows("tracks", &tracks)?;
        out.rows("tracked_poses", &poses)
    }

    fn reconfigure(&mut self, config: &TrackerConfig) -> Result<()> {
        consistent(config)?;
        self.config = config.clone();
        Ok(())
    }
}

fn consistent(config: &TrackerConfig) -> Result<()> {
    if config.low_score > config.high_score {
        let TrackerConfig { low_score, high_score, .. } = config;
        return Err(Error::config(format!("low_score {low_score} is above high_score {high_score}; lower it")));
    }
    Ok(())
}

/// How each detection looks; nothing where nobody looked.
fn views(input: &Inputs, detections: Option<&[Detection]>) -> Result<Vec<View>> {
    let Some(rows) = input.rows::<tables::Appearance>("appearance")? else { return Ok(Vec::new()) };
    let count = detections.map_or(0, <[_]>::len);
    let mut views = vec![View::default(); count];
    for row in rows {
        let Some(view) = views.get_mut(row.person as usize) else {
            return Err(Error::config(format!(
                "`appearance` describes person {} of a frame with {count}; wire reid and the tracker to the same poses or \
                 detections",
                row.person
            )));
        };
        *view = View { quality: row.quality, vector: row.vector, pieces: row.pieces };
    }
    Ok(views)
}

fn name(fighter: Option<Fighter>) -> String {
    fighter.map_or_else(String::new, |fighter| fighter.as_str().to_owned())
}

impl From<&tables::Detection> for Detection {
    fn from(row: &tables::Detection) -> Self {
        let tables::Detection { x1, y1, x2, y2, score, class, .. } = *row;
        Self { x1, y1, x2, y2, score, class }
    }
}

impl From<&tables::Pose> for Detection {
    fn from(row: &tables::Pose) -> Self {
        // Poses are of people only: one class.
        Self { x1: row.x1, y1: row.y1, x2: row.x2, y2: row.y2, score: row.score, class: 0 }
    }
}

impl From<&TrackRow> for tables::Track {
    fn from(row: &TrackRow) -> Self {
        let [x1, y1, x2, y2] = row.corners;
        Self {
            track: row.id,
            fighter: name(row.fighter),
            state: row.stage.as_str().to_owned(),
            x1,
            y1,
            x2,
            y2,
            score: row.score,
            class: row.class,
            age: row.age,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sideline_api::{
        Alignment, Reason, Values,
        testing::{Harness, Setup},
    };

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
            fighter: String::new(),
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
    fn the_declared_defaults_are_those_of_the_code() {
        let declared = TrackerConfig::from_values(&Values::new()).unwrap();
        assert_eq!(declared, TrackerConfig::default());
    }

    #[test]
    fn detections_become_tracks_that_keep_their_number() {
        let mut harness = harness("detections", Values::new());
        for frame in 0..10 {
            let step = frame as f32 * 4.0;
            harness.push("detections", &[person(100.0 + step), person(700.0 - step)]).unwrap();
            let tracks: Vec<tables::Track> = harness.expect("tracks");
            assert_eq!(tracks.iter().map(|track| track.track).collect::<Vec<_>>(), [1, 2]);
            assert!(tracks.iter().all(|track| track.state == "confirmed" && track.age == frame));
            assert!((tracks[0].x1 - 100.0 - step).abs() < 3.0);
            assert!(harness.expect::<tables::Pose>("tracked_poses").is_empty());
        }
    }

    #[test]
    fn poses_go_out_with_identity_and_name() {
        let mut harness = harness("poses", [("fighters", 2)]);
        let mut last = Vec::new();
        for _ in 0..40 {
            harness.push("poses", &[pose(500.0), pose(400.0), pose(f32::NAN)]).unwrap();
            last = harness.expect::<tables::Pose>("tracked_poses");
            harness.expect::<tables::Track>("tracks");
        }
        let seen: Vec<_> = last.iter().map(|pose| (pose.track, pose.fighter.as_str())).collect();
        assert_eq!(seen, [(1, "fighter_2"), (2, "fighter_1"), (0, "")]);
    }

    #[test]
    fn a_skipped_frame_predicts_and_counts_against_no_track() {
        let mut harness = harness("detections", [("lost_buffer_s", 0.02)]);
        for frame in 0..30 {
            let states: Vec<String> = if frame % 5 == 0 {
                harness.push("detections", &[person(100.0 + frame as f32 * 3.0)]).unwrap();
                harness.expect::<tables::Track>("tracks").into_iter().map(|track| track.state).collect()
            } else {
                harness.skip("detections", Reason::Stride).unwrap();
                harness.expect::<tables::Track>("tracks").into_iter().map(|track| track.state).collect()
            };
            assert_eq!(states, [if frame % 5 == 0 { "confirmed" } else { "predicted" }], "frame {frame}");
        }
    }

    #[test]
    fn a_live_change_counts_from_the_next_frame() {
        let mut harness = harness("detections", Values::new());
        harness.push("detections", &[person(100.0)]).unwrap();
        harness.expect::<tables::Track>("tracks");
        harness.set("lost_buffer_s", 0).unwrap();
        harness.push::<tables::Detection>("detections", &[]).unwrap();
        assert!(harness.expect::<tables::Track>("tracks").is_empty());
    }

    #[test]
    fn settings_and_wirings_without_sense_are_refused() {
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
