//! Pose: detects people in frames and the landmarks of their joints.
//!
//! `region` is the square around a person. `landmarks` runs a landmark model on it, which returns the joints and the region in
//! the next frame; `blazepose` and `movenet` decode the models' outputs. `detector` finds people who are not tracked yet,
//! `selector` selects the landmark model for `auto`, and `runner` runs and measures it. This file decides when each runs.
#![forbid(unsafe_code)]

mod blazepose;
pub mod detector;
pub mod landmarks;
mod model;
mod movenet;
pub mod region;
mod runner;
mod selector;

pub use model::{Model, ModelChoice};

use serde::{Deserialize, Serialize};
use sideline_api::{Config, Context, Frame, Inputs, Operator, Outputs, PortType, Resources, Result, Spec};
use sideline_sport::tables;
use sideline_vision::boxes::iou;

use detector::Detector;
use landmarks::Landmarks;
use region::PersonRegion;
use runner::LandmarkRunner;
use sideline_inference::Region;

/// Detects the joints of every person: 33 in pixels and in meters with BlazePose, 17 in pixels with MoveNet.
#[derive(Clone, Debug, PartialEq, Config)]
pub struct PoseConfig {
    /// Landmark model: `lite`, `full` or `heavy` (BlazePose), `movenet`, or `auto`. Heavier models are more accurate and slower:
    /// `full` takes about twice as long as `lite`, `heavy` nine times (`bench pose` measures them); `movenet` has COCO's 17
    /// joints without depth and metric coordinates, so motion has no velocities, and takes slightly less time than `full`.
    /// `auto` runs `full` in `complete` mode, where results must not depend on time; in live mode it begins with `lite`,
    /// switches to the heaviest BlazePose model that keeps up, at most every few seconds, and needs some 110 MB more memory.
    /// The column `model` names the model of each row.
    #[config(default = "lite")]
    pub model: ModelChoice,
    /// Maximum number of people whose crops are run as one batch; always 1 on TensorRT. Higher takes up to a twelfth less time
    /// per person (`bench pose`) and more memory; 1 runs each person alone, with the same joints.
    #[config(default = 4, live, range(1, 30))]
    pub batch: u32,
    /// Threads that share the people of a frame on a CPU; always 1 with `auto` in live mode. Higher reduces the latency if
    /// cores are free, and loads the model once per thread; lower leaves cores to other operators, and suffices for many
    /// streams.
    #[config(default = 2, range(1, 16))]
    pub threads: usize,
    /// Maximum number of people tracked at a time; larger people take precedence. Higher also tracks bystanders, for the
    /// tracker to choose from; lower saves one run of the landmark model per person and frame.
    #[config(default = 3, live, range(1, 30))]
    pub max_people: u32,
    /// Frames between two runs of the detector while fewer than `max_people` people are tracked; four times as many once that
    /// limit is reached. It also runs when a person is lost, and in every frame while no person is tracked. Higher saves time;
    /// lower detects new people sooner.
    #[config(default = 15, live, range(1, 3000))]
    pub detect_every: u32,
    /// Square tiles along the frame on which the detector runs in turn with the whole frame, one of them per frame. Higher
    /// detects smaller people in wide frames, but each person after more runs; 0 uses whole frames only.
    #[config(default = 3, live, range(0, 30))]
    pub tiles: u32,
    /// Minimum score of a detection to track the person. Higher gives fewer false people; lower finds people who are hard to
    /// see.
    #[config(default = 0.5, live, range(0, 1))]
    pub detect_score: f32,
    /// Score of the landmark model below which a person is lost. Higher loses people sooner and leaves them to the detector;
    /// lower keeps them longer, and may track an empty region. With MoveNet it is the mean of its joints' scores, scaled so
    /// that a person is as likely as not at 0.5.
    #[config(default = 0.5, live, range(0, 1))]
    pub pose_score: f32,
}

/// State of a stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PoseState {
    /// Regions of the tracked people, those tracked longest first.
    regions: Vec<PersonRegion>,
    /// Frames since the detector ran.
    since_detection: u32,
    /// Runs of the detector that are due, one per frame, because a person was lost or a session began.
    due_detections: u32,
    /// Number of the detector's next search run, which selects the square.
    search_turn: u64,
}

/// Mean distance of the limbs, as a share of the regions' size, below which two sets of landmarks are of one person. Two
/// tracked people may come this close.
const MIN_LIMB_DISTANCE: f32 = 0.06;
/// IoU of the boxes above which a new person is one that is already tracked: joints alone would not suffice, as those of a
/// first frame may be poor.
const MAX_NEW_PERSON_IOU: f32 = 0.5;
/// Size of the square searched for a lost person, relative to the person's region.
const LOST_SEARCH_SCALE: f32 = 1.5;
/// Ratio of sizes above which a new person replaces the smallest tracked one once `max_people` is reached.
const REPLACE_SIZE_RATIO: f32 = 1.3;

/// The operator `pose`.
pub struct Pose {
    config: PoseConfig,
    detector: Detector,
    runner: LandmarkRunner,
    /// People of the current frame, those tracked longest first.
    people: Vec<Landmarks>,
}

impl Operator for Pose {
    type Config = PoseConfig;
    type State = PoseState;

    fn spec() -> Spec {
        Spec::operator("pose")
            .heavy()
            .required("frames", PortType::Frame)
            .output("poses", PortType::table::<tables::Pose>())
    }

    fn models(config: &PoseConfig) -> Vec<String> {
        let landmarks = config.model.models().iter().map(|model| model.catalog_name().to_owned());
        std::iter::once(detector::MODEL.to_owned()).chain(landmarks).collect()
    }

    fn new(config: PoseConfig, resources: &Resources) -> Result<Self> {
        let runner = LandmarkRunner::new(config.model, config.threads, resources)?;
        Ok(Self { detector: Detector::new(resources)?, runner, config, people: Vec::new() })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, state: &mut PoseState, out: &mut Outputs) -> Result<()> {
        let frame = input.frame("frames")?;
        self.runner.begin_frame();
        self.track(frame, state)?;
        let rows: Vec<tables::Pose> = self.people.iter().map(|person| self.row(frame, person)).collect();
        self.runner.end_frame(cx);
        out.rows("poses", &rows)
    }

    fn reconfigure(&mut self, config: &PoseConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }

    fn session_started(&mut self, _cx: &Context, state: &mut PoseState) -> Result<()> {
        // After a break in the stream people are elsewhere: the detector searches the whole frame and all tiles.
        *state = PoseState { due_detections: self.config.tiles + 1, ..PoseState::default() };
        Ok(())
    }
}

impl Pose {
    /// Tracks the people of the last frame, runs the detector if it is due, and fills `self.people`.
    fn track(&mut self, frame: &Frame, state: &mut PoseState) -> Result<()> {
        let max_people = self.config.max_people as usize;
        state.regions.truncate(max_people);
        self.people.clear();
        let regions = std::mem::take(&mut state.regions);
        let tracked = regions.len();
        let mut lost = None;
        for (region, person) in regions.iter().zip(self.detect_landmarks(frame, &regions)?) {
            match person {
                // Two regions may converge on one person: the one tracked longer is kept.
                Some(person)
                    if self.people.iter().all(|other| other.mean_limb_distance(&person) > MIN_LIMB_DISTANCE) =>
                {
                    self.people.push(person);
                }
                Some(_) => {}
                None => lost = lost.or(Some(*region)),
            }
        }
        if self.people.len() < tracked {
            // The detector searches the region of the lost person first, then the whole frame and all tiles.
            state.due_detections = self.config.tiles + 2;
        }
        state.since_detection = state.since_detection.saturating_add(1);
        if self.is_detection_due(state) {
            state.since_detection = 0;
            state.due_detections = state.due_detections.saturating_sub(1);
            let square = match lost {
                Some(region) => Region::square(region.x, region.y, region.size * LOST_SEARCH_SCALE, 0.0),
                None => {
                    state.search_turn += 1;
                    detector::search_square(frame, self.config.tiles as usize, state.search_turn - 1)
                }
            };
            for detection in self.detector.detect(frame, &square, self.config.detect_score)? {
                self.add_person(frame, &detection.region)?;
            }
        }
        if self.people.len() >= max_people {
            state.due_detections = 0;
        }
        state.regions.extend(self.people.iter().map(|person| person.next_region));
        Ok(())
    }

    fn is_detection_due(&self, state: &PoseState) -> bool {
        let every = self.config.detect_every;
        if self.people.len() >= self.config.max_people as usize {
            state.since_detection >= every.saturating_mul(4)
        } else {
            self.people.is_empty() || state.due_detections > 0 || state.since_detection >= every
        }
    }

    /// Starts to track a detected person who is new, if there is room.
    fn add_person(&mut self, frame: &Frame, region: &PersonRegion) -> Result<()> {
        if self.people.iter().any(|person| person.next_region.is_same_person(region)) {
            return Ok(());
        }
        // Once the limit is reached, only a much smaller person is replaced.
        let mut replaced = None;
        if self.people.len() >= self.config.max_people as usize {
            let sizes = self.people.iter().map(|person| person.next_region.size).enumerate();
            match sizes.min_by(|a, b| a.1.total_cmp(&b.1)) {
                Some((smallest, size)) if size * REPLACE_SIZE_RATIO < region.size => replaced = Some(smallest),
                _ => return Ok(()),
            }
        }
        // Run twice: the detector's region is coarse, and the joints of the first frame are to be as good as later ones.
        let Some(first) = self.detect_landmarks(frame, &[*region])?.pop().flatten() else { return Ok(()) };
        let Some(person) = self.detect_landmarks(frame, &[first.next_region])?.pop().flatten() else { return Ok(()) };
        let corners = person.clipped_box(frame.width() as f32, frame.height() as f32);
        let is_same = |other: &Landmarks| {
            let other_corners = other.clipped_box(frame.width() as f32, frame.height() as f32);
            iou(&corners, &other_corners) > MAX_NEW_PERSON_IOU || other.next_region.is_same_person(&person.next_region)
        };
        if self.people.iter().any(is_same) {
            return Ok(());
        }
        if let Some(smallest) = replaced {
            self.people.remove(smallest);
        }
        self.people.push(person);
        Ok(())
    }

    /// Runs the landmark model on some regions; `None` for each region without a person.
    fn detect_landmarks(&mut self, frame: &Frame, regions: &[PersonRegion]) -> Result<Vec<Option<Landmarks>>> {
        let (width, height) = (frame.width() as f32, frame.height() as f32);
        let usable: Vec<PersonRegion> =
            regions.iter().copied().filter(|region| region.is_usable(width, height)).collect();
        let mut found = self.runner.detect(frame, &usable, self.config.batch as usize)?.into_iter();
        let is_person = |landmarks: &Landmarks| {
            landmarks.score >= self.config.pose_score && landmarks.next_region.is_usable(width, height)
        };
        let people = regions.iter().map(|region| {
            let landmarks = if region.is_usable(width, height) { found.next().flatten() } else { None };
            landmarks.filter(is_person)
        });
        Ok(people.collect())
    }

    /// Returns a row of the table `poses`.
    fn row(&self, frame: &Frame, person: &Landmarks) -> tables::Pose {
        let (width, height) = (frame.width() as f32, frame.height() as f32);
        let [x1, y1, x2, y2] = person.clipped_box(width, height);
        tables::Pose {
            x1,
            y1,
            x2,
            y2,
            score: person.score,
            model: self.runner.model().name().into(),
            aspect: width / height,
            joints: person.joints.map(|[x, y, z, visibility]| [x / width, y / height, z / width, visibility]),
            world: person.world,
            ..tables::Pose::default()
        }
    }
}
