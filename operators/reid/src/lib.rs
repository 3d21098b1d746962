//! Re-identification: frames and the people in them in, an appearance embedding of each person out.
//!
//! `body` selects the visible points of each part of a person, `color` computes an embedding from the colors at these
//! points, `embedding` computes one with a model, and `schedule` decides which people the model embeds in a frame. The
//! tracker compares the embeddings.
#![forbid(unsafe_code)]

pub mod body;
pub mod color;
mod embedding;
mod schedule;

use serde::{Deserialize, Serialize};
use sideline_api::{Config, Context, Error, Frame, Inputs, Operator, Outputs, PortType, Resources, Result, Spec};
use sideline_sport::tables;
use sideline_vision::boxes::iou;

use body::{Body, PARTS, Sample};
use embedding::Embedder;
use schedule::EmbeddingSchedule;

/// Method that computes the embeddings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Color histograms of the parts of the body.
    Color,
    /// A neural network.
    Embedding,
}

/// Computes an appearance embedding of each person, by which the tracker recognizes them.
#[derive(Clone, Debug, PartialEq, Config)]
pub struct ReidConfig {
    /// `color`: histograms of the colors on each part of the body, in every frame; almost free, and tells people in
    /// different clothes apart. `embedding`: a MobileNetV2 run on each person at intervals; it distinguishes patterns
    /// too, and a run costs as much as the pose of one more person.
    #[config(default = "color")]
    pub method: Method,
    /// With `embedding`: frames between two embeddings of a person. New people, and people who have just separated, are
    /// embedded sooner. Higher saves time; lower follows changes sooner.
    #[config(default = 15, live, range(1, 3000))]
    pub every: u32,
    /// With `embedding`: maximum number of people embedded per frame; the others wait. Higher tells people apart sooner
    /// after they separate; lower keeps the time per frame more even.
    #[config(default = 1, live, range(1, 30), former = "looks")]
    pub max_embeddings: u32,
}

/// Re-identification operator. One of `poses` and `detections` is wired; `appearance` has a row for each of its rows,
/// in the same order.
pub struct Reid {
    config: ReidConfig,
    input: &'static str,
    /// Model session; present with `embedding` only.
    embedder: Option<Embedder>,
    /// Visible points of the current person; a buffer that is reused.
    samples: Vec<Sample>,
}

impl Operator for Reid {
    type Config = ReidConfig;
    type State = EmbeddingSchedule;

    fn spec() -> Spec {
        // Not marked heavy: it usually takes 0.05 ms, so it runs on the lane of the poses that it describes.
        Spec::operator("reid")
            .required("frames", PortType::Frame)
            .optional("poses", PortType::table::<tables::Pose>())
            .optional("detections", PortType::table::<tables::Detection>())
            .output("appearance", PortType::table::<tables::Appearance>())
    }

    fn models(config: &ReidConfig) -> Vec<String> {
        match config.method {
            Method::Color => vec![],
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
            Method::Color => None,
            Method::Embedding => Some(Embedder::new(resources)?),
        };
        Ok(Self { config, input, embedder, samples: Vec::new() })
    }

    fn process(
        &mut self,
        _cx: &Context,
        input: &Inputs,
        schedule: &mut EmbeddingSchedule,
        out: &mut Outputs,
    ) -> Result<()> {
        let frame = input.frame("frames")?;
        let (width, height) = (frame.width() as f32, frame.height() as f32);
        let bodies: Vec<Body> = if self.input == "poses" {
            let Some(poses) = input.rows::<tables::Pose>("poses")? else { return forward_skip(input, "poses", out) };
            poses.iter().map(|pose| Body::from_pose(pose, width, height)).collect()
        } else {
            let Some(rows) = input.rows::<tables::Detection>("detections")? else {
                return forward_skip(input, "detections", out);
            };
            rows.iter().map(Body::from_detection).collect()
        };
        let rows = self.describe(frame, &bodies, schedule)?;
        out.rows("appearance", &rows)
    }

    fn reconfigure(&mut self, config: &ReidConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }

    fn session_started(&mut self, _cx: &Context, schedule: &mut EmbeddingSchedule) -> Result<()> {
        *schedule = EmbeddingSchedule::default();
        Ok(())
    }
}

/// Skips the output with the reason for which the input was skipped.
fn forward_skip(input: &Inputs, name: &str, out: &mut Outputs) -> Result<()> {
    match input.message(name).map(|message| &message.body) {
        Some(sideline_api::Body::Skipped(reason)) => out.skip("appearance", reason.clone()),
        _ => Ok(()),
    }
}

impl Reid {
    fn describe(
        &mut self,
        frame: &Frame,
        bodies: &[Body],
        schedule: &mut EmbeddingSchedule,
    ) -> Result<Vec<tables::Appearance>> {
        let mut rows = Vec::with_capacity(bodies.len());
        for person in 0..bodies.len() {
            let quality = self.sample_visible(frame, bodies, person);
            let vector = match self.config.method {
                Method::Color if quality > 0.0 => color::describe(frame, &self.samples)?,
                _ => Vec::new(),
            };
            let pieces = if self.embedder.is_none() { PARTS as u16 } else { 1 };
            rows.push(tables::Appearance { person: person as u32, quality, vector, pieces });
        }
        if let Some(embedder) = &mut self.embedder {
            let qualities: Vec<f32> = rows.iter().map(|row| row.quality).collect();
            for person in schedule.select(&self.config, bodies, &qualities) {
                rows[person].vector = embedder.embed(frame, &bodies[person].corners())?;
            }
        }
        Ok(rows)
    }

    /// Fills `self.samples` with the points at which a person is not hidden; returns the quality, the visible share of
    /// the person.
    fn sample_visible(&mut self, frame: &Frame, bodies: &[Body], person: usize) -> f32 {
        let body = &bodies[person];
        let [x1, y1, x2, y2] = body.corners();
        // This form of the comparison rejects NaN as well.
        if !(x2 - x1 >= 1.0 && y2 - y1 >= 1.0) {
            self.samples.clear();
            return 0.0;
        }
        body.sample_points(&mut self.samples);
        let (mut all, mut visible) = ([0; PARTS], [0; PARTS]);
        let (width, height) = (frame.width() as f32, frame.height() as f32);
        let overlapping: Vec<&Body> = bodies
            .iter()
            .enumerate()
            .filter(|(other, body)| *other != person && iou(&body.corners(), &[x1, y1, x2, y2]) > 0.0)
            .map(|(_, body)| body)
            .collect();
        self.samples.retain(|sample| {
            all[sample.part] += 1;
            let [x, y] = sample.at;
            let is_inside = x >= 0.0 && y >= 0.0 && x < width && y < height;
            let is_visible = is_inside && !overlapping.iter().any(|other| other.covers(sample.at));
            visible[sample.part] += usize::from(is_visible);
            is_visible
        });
        body::quality(&visible, &all, matches!(body, Body::Box(_)), y2 - y1)
    }
}
