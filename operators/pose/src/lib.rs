//! Pose: frames in, the joints of the people in them out.
//!
//! `region` is the square around a person. `landmarks` runs a model that places joints in it and tells where the person
//! will be looked for next: `blazepose` or `movenet` reads what it gave. `detector` is the model that finds people who are
//! not followed yet, `pace` chooses the landmark model where it is left open. This file says when each runs.
#![forbid(unsafe_code)]

pub mod bench;
mod blazepose;
pub mod detector;
pub mod landmarks;
mod looker;
mod model;
mod movenet;
mod pace;
pub mod region;

pub use model::{Choice, Model};

use serde::{Deserialize, Serialize};
use sideline_api::{
    Config, Context, Frame, Inputs, Operator, Outputs, PortType, Resources, Result, Spec, boxes::iou, tables,
};

use detector::Detector;
use landmarks::Landmarks;
use looker::Looker;
use region::PersonRegion;
use sideline_inference::Region;

/// Places joints on every person: BlazePose 33 in pixels and in metres, MoveNet 17 in pixels.
#[derive(Clone, Debug, PartialEq, Config)]
pub struct PoseConfig {
    /// `lite`, `full` or `heavy` (BlazePose), `movenet`, or `auto`. A heavier one places joints more exactly and takes longer:
    /// `full` about twice as long as `lite`, `heavy` nine times; `bench pose` measures them. `movenet` places COCO's 17
    /// joints without depth and metres, so that motion has no velocities; it takes a little less than `full`. `auto` runs,
    /// live, the heaviest of `lite`, `full` and `heavy` that keeps up: it begins with `lite`, looks at what frames take,
    /// changes at most every few seconds and logs each change with its figures; the column `model` says which saw a row.
    /// All three are in memory then, some 110 MB more. In `complete` mode time decides nothing, so that a run gives the same
    /// bytes again: there `auto` is `full`.
    #[config(default = "lite")]
    pub model: Choice,
    /// Most people of a frame whose crops go through the model in one run; on TensorRT always one. Higher takes up to a
    /// twelfth less time for each of several people (`bench pose`) and more memory; 1 runs it for each person alone, with
    /// the same joints.
    #[config(default = 4, live, range(1, 30))]
    pub batch: u32,
    /// Threads that the people of a frame are shared out among on a CPU; with `auto`, live, always one. Higher answers
    /// sooner where cores are free, and loads the model once for each; 1 leaves the cores to others, and many streams gain
    /// nothing from more.
    #[config(default = 2, range(1, 16))]
    pub threads: usize,
    /// Most people followed at a time; the largest are preferred. Higher also follows bystanders, from whom the tracker
    /// chooses; lower saves one run of the landmark model per person and frame.
    #[config(default = 3, live, range(1, 30))]
    pub max_people: u32,
    /// Frames between two looks of the detector while fewer than `max_people` are followed; four times as many while all
    /// places are taken. When somebody is lost it looks at once, and when nobody is followed in every frame. Higher saves
    /// time; lower sees new people sooner.
    #[config(default = 15, live, range(1, 3000))]
    pub detect_every: u32,
    /// Squares along the frame at which the detector looks in turn, besides the whole frame: one look per frame at most.
    /// Higher finds smaller people in wide frames, each after more looks; 0 looks at whole frames only.
    #[config(default = 3, live, range(0, 30))]
    pub tiles: u32,
    /// Score from which a detection is followed. Higher gives fewer false people; lower finds people seen badly.
    #[config(default = 0.5, live, range(0, 1))]
    pub detect_score: f32,
    /// Score of the landmark model below which a person is lost. Higher loses people sooner and lets the detector find
    /// them anew; lower holds on longer, and may stay where nobody is. MoveNet has no such score: there it is the mean of
    /// its joints' scores, scaled so that 0.5 is as likely a person as not.
    #[config(default = 0.5, live, range(0, 1))]
    pub pose_score: f32,
}

/// What the operator remembers of a stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Where each person is looked for, those followed longest first.
    regions: Vec<PersonRegion>,
    /// Frames since the detector looked.
    since_look: u32,
    /// Looks that the detector owes, one per frame, because somebody was lost.
    owed: u32,
    /// Number of the next look: which square it takes.
    look: u64,
}

/// Joints nearer than this share of the regions' size are one person's: two that are followed may come this near.
const SAME_JOINTS: f32 = 0.06;
/// Somebody new whose box overlaps (IoU) another's more than this is that other: the joints alone would not tell, a first
/// look may be a poor one.
const SAME_BOX: f32 = 0.5;
/// Where somebody was lost the detector looks at a square this much larger than their region.
const AROUND_LOST: f32 = 1.5;
/// A newcomer takes the place of somebody this much smaller when all places are taken.
const LARGER: f32 = 1.3;

/// The operator.
pub struct Pose {
    config: PoseConfig,
    detector: Detector,
    looker: Looker,
    /// The people of the frame in hand, those followed longest first.
    seen: Vec<Landmarks>,
}

impl Operator for Pose {
    type Config = PoseConfig;
    type State = Memory;

    fn spec() -> Spec {
        Spec::operator("pose")
            .heavy()
            .required("frames", PortType::Frame)
            .output("poses", PortType::table::<tables::Pose>())
    }

    fn models(config: &PoseConfig) -> Vec<String> {
        let landmarks = config.model.models().iter().map(|model| model.entry().to_owned());
        std::iter::once(detector::MODEL.to_owned()).chain(landmarks).collect()
    }

    fn new(config: PoseConfig, resources: &Resources) -> Result<Self> {
        let looker = Looker::new(config.model, config.threads, resources)?;
        Ok(Self { detector: Detector::new(resources)?, looker, config, seen: Vec::new() })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, memory: &mut Memory, out: &mut Outputs) -> Result<()> {
        let frame = input.frame("frames")?;
        self.looker.begin();
        self.follow(frame, memory)?;
        let rows: Vec<tables::Pose> = self.seen.iter().map(|seen| self.row(frame, seen)).collect();
        self.looker.end(cx);
        out.rows("poses", &rows)
    }

    fn reconfigure(&mut self, config: &PoseConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }

    fn session_started(&mut self, _cx: &Context, memory: &mut Memory) -> Result<()> {
        // After a break in the stream people stand elsewhere: a whole round of looks.
        *memory = Memory { owed: self.config.tiles + 1, ..Memory::default() };
        Ok(())
    }
}

impl Pose {
    /// Looks where people were in the last frame, for new ones if it is time, and fills `self.seen`.
    fn follow(&mut self, frame: &Frame, memory: &mut Memory) -> Result<()> {
        let places = self.config.max_people as usize;
        memory.regions.truncate(places);
        self.seen.clear();
        let regions = std::mem::take(&mut memory.regions);
        let followed = regions.len();
        let mut lost = None;
        for (region, seen) in regions.iter().zip(self.look_at(frame, &regions)?) {
            match seen {
                // Two regions may slide onto one person: who is followed longer stays.
                Some(seen) if self.seen.iter().all(|other| other.distance(&seen) > SAME_JOINTS) => self.seen.push(seen),
                Some(_) => {}
                None => lost = lost.or(Some(*region)),
            }
        }
        if self.seen.len() < followed {
            // A whole round of looks, the first of them where somebody was.
            memory.owed = self.config.tiles + 2;
        }
        memory.since_look = memory.since_look.saturating_add(1);
        if self.time_to_detect(memory) {
            memory.since_look = 0;
            memory.owed = memory.owed.saturating_sub(1);
            let square = match lost {
                Some(region) => Region::square(region.x, region.y, region.size * AROUND_LOST, 0.0),
                None => {
                    memory.look += 1;
                    detector::square(frame, self.config.tiles as usize, memory.look - 1)
                }
            };
            for detection in self.detector.detect(frame, &square, self.config.detect_score)? {
                self.take_in(frame, &detection.region)?;
            }
        }
        if self.seen.len() >= places {
            memory.owed = 0;
        }
        memory.regions.extend(self.seen.iter().map(|seen| seen.next));
        Ok(())
    }

    fn time_to_detect(&self, memory: &Memory) -> bool {
        let every = self.config.detect_every;
        if self.seen.len() >= self.config.max_people as usize {
            memory.since_look >= every.saturating_mul(4)
        } else {
            self.seen.is_empty() || memory.owed > 0 || memory.since_look >= every
        }
    }

    /// Follows a detected person, if they are new and there is a place.
    fn take_in(&mut self, frame: &Frame, region: &PersonRegion) -> Result<()> {
        if self.seen.iter().any(|seen| seen.next.same_person(region)) {
            return Ok(());
        }
        // Once all places are taken, only that of a much smaller person is to be had.
        let mut place = None;
        if self.seen.len() >= self.config.max_people as usize {
            let sizes = self.seen.iter().map(|seen| seen.next.size).enumerate();
            match sizes.min_by(|a, b| a.1.total_cmp(&b.1)) {
                Some((smallest, size)) if size * LARGER < region.size => place = Some(smallest),
                _ => return Ok(()),
            }
        }
        // Twice: the detector's region is a rough one, and the first frame's joints are to be as good as later ones.
        let Some(first) = self.look_at(frame, &[*region])?.pop().flatten() else { return Ok(()) };
        let Some(seen) = self.look_at(frame, &[first.next])?.pop().flatten() else { return Ok(()) };
        let corners = seen.corners(frame.width() as f32, frame.height() as f32);
        let known = |other: &Landmarks| {
            let theirs = other.corners(frame.width() as f32, frame.height() as f32);
            iou(&corners, &theirs) > SAME_BOX || other.next.same_person(&seen.next)
        };
        if self.seen.iter().any(known) {
            return Ok(());
        }
        if let Some(smallest) = place {
            self.seen.remove(smallest);
        }
        self.seen.push(seen);
        Ok(())
    }

    /// Runs the landmark model on some regions; `None` for each in which nobody is.
    fn look_at(&mut self, frame: &Frame, regions: &[PersonRegion]) -> Result<Vec<Option<Landmarks>>> {
        let (width, height) = (frame.width() as f32, frame.height() as f32);
        let usable: Vec<PersonRegion> = regions.iter().copied().filter(|region| region.usable(width, height)).collect();
        let mut seen = self.looker.see(frame, &usable, self.config.batch as usize)?.into_iter();
        let there = |seen: &Landmarks| seen.score >= self.config.pose_score && seen.next.usable(width, height);
        let answers = regions.iter().map(|region| {
            let answer = if region.usable(width, height) { seen.next().flatten() } else { None };
            answer.filter(there)
        });
        Ok(answers.collect())
    }

    /// A row of the table `poses`.
    fn row(&self, frame: &Frame, seen: &Landmarks) -> tables::Pose {
        let (width, height) = (frame.width() as f32, frame.height() as f32);
        let [x1, y1, x2, y2] = seen.corners(width, height);
        tables::Pose {
            track: 0,
            fighter: String::new(),
            x1,
            y1,
            x2,
            y2,
            score: seen.score,
            model: self.looker.model().name().into(),
            aspect: width / height,
            joints: seen.joints.map(|[x, y, z, visibility]| [x / width, y / height, z / width, visibility]),
            world: seen.world,
        }
    }
}
