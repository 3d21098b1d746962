//! Re-identification: frames and the people in them in, what each looks like out, so that a tracker knows them again.
//!
//! `body` says which points of the picture show which part of a person and which are hidden, `colour` makes a vector of
//! what they show, `embedding` one by a model, `turns` decides whom the model looks at in a frame. Whose vectors are alike
//! is for the tracker to judge.
#![forbid(unsafe_code)]

pub mod body;
pub mod colour;
mod embedding;
mod turns;

use serde::{Deserialize, Serialize};
use sideline_api::{
    Config, Context, Error, Frame, Inputs, Operator, Outputs, PortType, Resources, Result, Spec, boxes::iou, tables,
};

use body::{Body, PARTS, Sample};
use embedding::Embedder;
use turns::Turns;

/// How a vector is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Colours of the parts of the body.
    Colour,
    /// A model.
    Embedding,
}

/// Describes how each person looks, so that they are known again.
#[derive(Clone, Debug, PartialEq, Config)]
pub struct ReidConfig {
    /// `colour`: the colours of clothes and skin on each part of the body, in every frame; costs next to nothing, and tells
    /// apart who is dressed differently. `embedding`: a MobileNetV2 looks at each person now and then; it sees patterns too,
    /// and costs as much as finding the joints of one more person.
    #[config(default = "colour")]
    pub method: Method,
    /// With `embedding`: frames between two looks at a person while nothing happens. New people and those who were near
    /// another are looked at sooner. Higher saves time; lower follows changes sooner.
    #[config(default = 15, live, range(1, 3000))]
    pub every: u32,
    /// With `embedding`: people looked at in one frame at most; the others wait their turn. Higher tells people apart
    /// sooner after they parted; lower keeps the time a frame takes even.
    #[config(default = 1, live, range(1, 30))]
    pub looks: u32,
}

/// The operator. One of `poses` and `detections` is wired; `appearance` has a row for each of its rows, in their order.
pub struct Reid {
    config: ReidConfig,
    input: &'static str,
    /// With `embedding`.
    embedder: Option<Embedder>,
    /// Points of the person in hand.
    samples: Vec<Sample>,
}

impl Operator for Reid {
    type Config = ReidConfig;
    type State = Turns;

    fn spec() -> Spec {
        // Not heavy: as a rule it takes a twentieth of a millisecond, and rides on the thread of the poses it describes.
        Spec::operator("reid")
            .required("frames", PortType::Frame)
            .optional("poses", PortType::table::<tables::Pose>())
            .optional("detections", PortType::table::<tables::Detection>())
            .output("appearance", PortType::table::<tables::Appearance>())
    }

    fn models(config: &ReidConfig) -> Vec<String> {
        match config.method {
            Method::Colour => vec![],
            Method::Embedding => vec![embedding::MODEL.into()],
        }
    }

    fn new(config: ReidConfig, resources: &Resources) -> Result<Self> {
        let input = match (resources.is_wired("poses"), resources.is_wired("detections")) {
            (true, false) => "poses",
            (false, true) => "detections",
            (false, false) => {
                return Err(Error::config("no people are wired to reid; wire its input `poses` or `detections`"));
            }
            (true, true) => {
                return Err(Error::config(
                    "both `poses` and `detections` are wired to reid; it takes one of them: remove the other",
                ));
            }
        };
        let embedder = match config.method {
            Method::Colour => None,
            Method::Embedding => Some(Embedder::new(resources)?),
        };
        Ok(Self { config, input, embedder, samples: Vec::new() })
    }

    fn process(&mut self, _cx: &Context, input: &Inputs, turns: &mut Turns, out: &mut Outputs) -> Result<()> {
        let frame = input.frame("frames")?;
        let (width, height) = (frame.width() as f32, frame.height() as f32);
        let bodies: Vec<Body> = if self.input == "poses" {
            let Some(poses) = input.rows::<tables::Pose>("poses")? else { return pass_on(input, "poses", out) };
            poses.iter().map(|pose| Body::of_pose(pose, width, height)).collect()
        } else {
            let Some(rows) = input.rows::<tables::Detection>("detections")? else {
                return pass_on(input, "detections", out);
            };
            rows.iter().map(Body::of_detection).collect()
        };
        let rows = self.describe(frame, &bodies, turns)?;
        out.rows("appearance", &rows)
    }

    fn reconfigure(&mut self, config: &ReidConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }

    fn session_started(&mut self, _cx: &Context, turns: &mut Turns) -> Result<()> {
        *turns = Turns::default();
        Ok(())
    }
}

/// Nobody was looked for in this frame: so it is said here too, with the same reason.
fn pass_on(input: &Inputs, name: &str, out: &mut Outputs) -> Result<()> {
    match input.message(name).map(|message| &message.body) {
        Some(sideline_api::Body::Skipped(reason)) => out.skip("appearance", reason.clone()),
        _ => Ok(()),
    }
}

impl Reid {
    fn describe(&mut self, frame: &Frame, bodies: &[Body], turns: &mut Turns) -> Result<Vec<tables::Appearance>> {
        let mut rows = Vec::with_capacity(bodies.len());
        for person in 0..bodies.len() {
            let quality = self.look_over(frame, bodies, person);
            let vector = match self.config.method {
                Method::Colour if quality > 0.0 => colour::describe(frame, &self.samples)?,
                _ => Vec::new(),
            };
            let pieces = if self.embedder.is_none() { PARTS as u16 } else { 1 };
            rows.push(tables::Appearance { person: person as u32, quality, vector, pieces });
        }
        if let Some(embedder) = &mut self.embedder {
            let qualities: Vec<f32> = rows.iter().map(|row| row.quality).collect();
            for person in turns.take(&self.config, bodies, &qualities) {
                rows[person].vector = embedder.describe(frame, &bodies[person].corners())?;
            }
        }
        Ok(rows)
    }

    /// Fills `self.samples` with the points at which a person is seen unhidden; gives how much of them that is.
    fn look_over(&mut self, frame: &Frame, bodies: &[Body], person: usize) -> f32 {
        let body = &bodies[person];
        let [x1, y1, x2, y2] = body.corners();
        // Written so that NaN is refused as well.
        if !(x2 - x1 >= 1.0 && y2 - y1 >= 1.0) {
            self.samples.clear();
            return 0.0;
        }
        body.samples(&mut self.samples);
        let (mut all, mut seen) = ([0; PARTS], [0; PARTS]);
        let (width, height) = (frame.width() as f32, frame.height() as f32);
        let near: Vec<&Body> = bodies
            .iter()
            .enumerate()
            .filter(|(other, body)| *other != person && iou(&body.corners(), &[x1, y1, x2, y2]) > 0.0)
            .map(|(_, body)| body)
            .collect();
        self.samples.retain(|sample| {
            all[sample.part] += 1;
            let [x, y] = sample.at;
            let shown =
                x >= 0.0 && y >= 0.0 && x < width && y < height && !near.iter().any(|one| one.covers(sample.at));
            seen[sample.part] += usize::from(shown);
            shown
        });
        body::quality(&seen, &all, matches!(body, Body::Box(_)), y2 - y1)
    }
}
