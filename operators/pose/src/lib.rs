//! Pose: frames in, the joints of the people in them out.
//!
//! `region` is the square around a person, `landmarks` the model that places joints in it and tells where the person will
//! be looked for next, `detector` the model that finds people who are not followed yet. This file says when each runs.
#![forbid(unsafe_code)]

pub mod detector;
pub mod landmarks;
pub mod region;

use serde::{Deserialize, Serialize};
use sideline_api::{Config, Context, Frame, Inputs, Operator, Outputs, PortType, Resources, Result, Spec, tables};

use detector::Detector;
use landmarks::{Landmarker, Landmarks};
use region::PersonRegion;
use sideline_inference::Region;

/// Which landmark model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Model {
    /// The fastest.
    Lite,
    /// More exact, at about twice the time.
    Full,
    /// The most exact; many times slower.
    Heavy,
}

impl Model {
    /// As written in configurations and in the column `model`.
    pub fn name(self) -> &'static str {
        match self {
            Model::Lite => "lite",
            Model::Full => "full",
            Model::Heavy => "heavy",
        }
    }

    fn file(self) -> &'static str {
        match self {
            Model::Lite => "blazepose_lite",
            Model::Full => "blazepose_full",
            Model::Heavy => "blazepose_heavy",
        }
    }
}

/// Places 33 joints on every person, in pixels and in metres.
#[derive(Clone, Debug, PartialEq, Config)]
pub struct PoseConfig {
    /// `lite`, `full` or `heavy`. A heavier one places joints more exactly and takes longer: `full` about twice as long as
    /// `lite`, `heavy` many times.
    #[config(default = "lite")]
    pub model: Model,
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
    /// them anew; lower holds on longer, and may stay where nobody is.
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
    landmarker: Landmarker,
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
        vec![detector::MODEL.into(), config.model.file().into()]
    }

    fn new(config: PoseConfig, resources: &Resources) -> Result<Self> {
        let landmarker = Landmarker::new(resources, config.model.file())?;
        Ok(Self { detector: Detector::new(resources)?, landmarker, config, seen: Vec::new() })
    }

    fn process(&mut self, _cx: &Context, input: &Inputs, memory: &mut Memory, out: &mut Outputs) -> Result<()> {
        let frame = input.frame("frames")?;
        self.follow(frame, memory)?;
        let rows: Vec<tables::Pose> = self.seen.iter().map(|seen| self.row(frame, seen)).collect();
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
        for region in &regions {
            match self.look_at(frame, region)? {
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
        let Some(first) = self.look_at(frame, region)? else { return Ok(()) };
        let Some(seen) = self.look_at(frame, &first.next)? else { return Ok(()) };
        let corners = seen.corners(frame.width() as f32, frame.height() as f32);
        let known = |other: &Landmarks| {
            let theirs = other.corners(frame.width() as f32, frame.height() as f32);
            detector::overlap(&corners, &theirs) > SAME_BOX || other.next.same_person(&seen.next)
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

    /// Runs the landmark model on a region; `None` when nobody is there.
    fn look_at(&mut self, frame: &Frame, region: &PersonRegion) -> Result<Option<Landmarks>> {
        let (width, height) = (frame.width() as f32, frame.height() as f32);
        if !region.usable(width, height) {
            return Ok(None);
        }
        let seen = self.landmarker.see(frame, region)?;
        let there = seen.is_finite() && seen.score >= self.config.pose_score && seen.next.usable(width, height);
        Ok(there.then_some(seen))
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
            model: self.config.model.name().into(),
            joints: seen.joints.map(|[x, y, z, visibility]| [x / width, y / height, z / width, visibility]),
            world: seen.world,
        }
    }
}
