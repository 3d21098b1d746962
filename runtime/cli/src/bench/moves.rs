//! From motion to moves: three models and fusion for two fighters, on one core, beside the bare models.

use serde::Serialize;
use sideline_api::{Registry, Result};
#[cfg(feature = "onnx")]
use {
    crate::{
        bench::processor_ns,
        stage::{MOVE_MODELS as MODELS, Stage, Workshop},
    },
    sideline_api::{
        Body, Error, Header, Payload, Table,
        tables::{Interaction, Motion},
    },
    sideline_eval::bout::{Bout, Setting},
    sideline_sequence::bench::Bare,
};

use super::Spread;

/// What three models and fusion may take for two fighters, milliseconds a frame.
const BUDGET_MS: f64 = 5.0;

/// The figures of one model, milliseconds of processor time a frame.
#[derive(Debug, Serialize)]
pub struct ModelCost {
    /// Name in models.yml.
    pub model: &'static str,
    /// Where it ran.
    pub device: &'static str,
    /// The operator: from rows of motion to rows of opinions.
    pub operator_ms: Spread,
    /// The bare model, both fighters in one run: median.
    pub together_ms: f64,
    /// The bare model, a run for each fighter: median.
    pub apart_ms: f64,
}

/// The figures.
#[derive(Debug, Serialize)]
pub struct MovesCost {
    /// Fighters in every frame.
    pub fighters: usize,
    /// Frames that were measured.
    pub frames: usize,
    /// Each model.
    pub models: Vec<ModelCost>,
    /// The operator `fusion`, milliseconds of processor time a frame.
    pub fusion_ms: Spread,
    /// All four operators, one after the other on one core, milliseconds of processor time a frame.
    pub all_ms: Spread,
    /// Medians: all / the three bare models, both fighters in one run.
    pub ratio: f64,
    /// Medians: the three bare models, a run for each fighter / both in one run.
    pub apart_ratio: f64,
}

/// Times of one model, ns a frame: the operator, the bare model for both fighters, and for one after the other.
#[cfg(feature = "onnx")]
type Times = [Vec<u64>; 3];

/// Measures on a generated bout, everything in every frame, so that the machine's moods hit all alike.
///
/// # Errors
/// When a model is missing or broken.
#[cfg(feature = "onnx")]
pub fn run(registry: &Registry) -> Result<MovesCost> {
    let workshop = Workshop::new(registry);
    let stage = |operator, inputs: &[&str]| Stage::new(&workshop, operator, operator, inputs, &[]);
    let (mut motion, mut interaction) = (stage("motion", &["poses"])?, stage("interaction", &["poses"])?);
    let mut models: Vec<(Stage, Bare, Times)> = Vec::new();
    for model in MODELS {
        let keys = [("model", model.into())];
        let operator = Stage::new(&workshop, "sequence", model, &["motion", "interaction"], &keys)?;
        models.push((operator, Bare::new(&workshop.resources(model, vec![], vec![]), model)?, Times::default()));
    }
    let [lstm, transformer, tcn] = MODELS;
    let mut fusion = stage("fusion", &["motion", "interaction", lstm, transformer, tcn])?;
    let (mut fusions, mut alls) = (Vec::new(), Vec::new());
    let setting = Setting { seconds: 40.0, ..Setting::default() };
    for (frame, poses) in Bout::generate(&setting).frames.iter().enumerate() {
        let pts = (frame as f64 * 1e9 / setting.rate) as i64;
        let header = Header::new("bench", frame as u64, pts);
        motion.rows("poses", &header, poses)?;
        interaction.rows("poses", &header, poses)?;
        let (moving, standing) = (motion.said("motion")?, interaction.said("interaction")?);
        let (rows, pairs) = (rows::<Motion>(&moving)?, rows::<Interaction>(&standing)?);
        let (mut all, mut judged, mut opinions) = (0, true, Vec::new());
        for ((operator, bare, [operators, together, apart]), model) in models.iter_mut().zip(MODELS) {
            let began = processor_ns();
            operator.send("motion", &header, moving.clone())?;
            operator.send("interaction", &header, standing.clone())?;
            let took = processor_ns() - began;
            all += took;
            opinions.push((model, operator.said("opinions")?));
            judged &= bare.see(&rows, &pairs, pts) == setting.fighters;
            if judged {
                operators.push(took);
                for (times, one_run) in [(together, true), (apart, false)] {
                    let began = processor_ns();
                    bare.ask(one_run)?;
                    times.push(processor_ns() - began);
                }
            }
        }
        let began = processor_ns();
        for (input, body) in [("motion", moving), ("interaction", standing)].into_iter().chain(opinions) {
            fusion.send(input, &header, body)?;
        }
        let took = processor_ns() - began;
        fusion.said("scores")?;
        if judged {
            fusions.push(took);
            alls.push(all + took);
        }
    }

    let cost = |((_, bare, [operator, together, apart]), model): (&mut (Stage, Bare, Times), _)| ModelCost {
        model,
        device: bare.device(),
        operator_ms: Spread::ms(operator),
        together_ms: Spread::ms(together).p50,
        apart_ms: Spread::ms(apart).p50,
    };
    let models: Vec<ModelCost> = models.iter_mut().zip(MODELS).map(cost).collect();
    let (frames, all_ms) = (alls.len(), Spread::ms(&mut alls));
    let together: f64 = models.iter().map(|model| model.together_ms).sum();
    let apart: f64 = models.iter().map(|model| model.apart_ms).sum();
    Ok(MovesCost {
        fighters: setting.fighters,
        frames,
        models,
        fusion_ms: Spread::ms(&mut fusions),
        all_ms,
        ratio: all_ms.p50 / together,
        apart_ratio: apart / together,
    })
}

/// The rows of a message.
#[cfg(feature = "onnx")]
fn rows<T: Table>(body: &Body) -> Result<Vec<T>> {
    match body {
        Body::Data(Payload::Table(rows)) => T::decode(rows),
        other => Err(Error::other(format!("rows of {} were due, {} came", T::NAME, other.kind()))),
    }
}

/// Without models there is nothing to measure.
///
/// # Errors
/// Always.
#[cfg(not(feature = "onnx"))]
pub fn run(_: &Registry) -> Result<MovesCost> {
    Err(sideline_api::Error::config("this build has no models: build with the feature `onnx`"))
}

impl std::fmt::Display for MovesCost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = format!("{} fighters, CPU ms a frame", self.fighters);
        writeln!(f, "{place:<34} {:>8} {:>8} {:>16} {:>12}", "p50", "p99", "bare, together", "bare, apart")?;
        for cost in &self.models {
            let name = format!("{} ({})", cost.model, cost.device);
            let ms = cost.operator_ms;
            writeln!(
                f,
                "{name:<34} {:>8.2} {:>8.2} {:>16.2} {:>12.2}",
                ms.p50, ms.p99, cost.together_ms, cost.apart_ms
            )?;
        }
        writeln!(f, "{:<34} {:>8.2} {:>8.2}", "fusion", self.fusion_ms.p50, self.fusion_ms.p99)?;
        writeln!(f, "{:<34} {:>8.2} {:>8.2}   budget {BUDGET_MS}", "all", self.all_ms.p50, self.all_ms.p99)?;
        write!(f, "all / bare models {:.2}; a run for each fighter / both in one {:.2}", self.ratio, self.apart_ratio)
    }
}
