//! `sideline-lab bench moves`: time per frame from motion to moves with three models and fusion, for two fighters on one
//! core, compared with the bare models.

use serde::Serialize;
use sideline_api::{Body, Error, Header, Payload, Registry, Resources, Result, Table, Values, driver::read_config};
use sideline_eval::bout::{Bout, BoutSettings};
use sideline_inference::Session;
use sideline_sequence::{
    SequenceConfig,
    model::Classifier,
    partner,
    tracks::{INTERACTION, MOTION, Tracks, WindowSpec},
};
use sideline_sport::tables::{Interaction, Motion};

use super::{Percentiles, thread_cpu_ns};
use crate::operator_runner::{MOVE_MODELS as MODELS, OperatorFactory, OperatorRunner};

/// Time budget of three models and fusion for two fighters, milliseconds per frame.
const BUDGET_MS: f64 = 5.0;

/// Result for one model, milliseconds of processor time per frame.
#[derive(Debug, Serialize)]
pub struct ModelCost {
    /// Name in models.yml.
    pub model: &'static str,
    /// Device on which the model ran.
    pub device: &'static str,
    /// Operator `sequence`, from motion rows to probabilities.
    pub operator_ms: Percentiles,
    /// Median of the bare model, both fighters in one run.
    pub together_ms: f64,
    /// Median of the bare model, one run per fighter.
    pub apart_ms: f64,
}

/// Result of `sideline-lab bench moves`.
#[derive(Debug, Serialize)]
pub struct MovesCost {
    /// Fighters in every frame.
    pub fighters: usize,
    /// Measured frames.
    pub frames: usize,
    /// Result for each model.
    pub models: Vec<ModelCost>,
    /// Operator `fusion`, milliseconds of processor time per frame.
    pub fusion_ms: Percentiles,
    /// All four operators, one after the other on one core, milliseconds of processor time per frame.
    pub all_ms: Percentiles,
    /// Median of all operators divided by the sum of the three bare models' medians, both fighters in one run.
    pub ratio: f64,
    /// Sum of the three bare models' medians with one run per fighter, divided by that with both in one run.
    pub apart_ratio: f64,
}

/// Times of one model per frame, ns: operator, bare model for both fighters in one run, bare model for one after the
/// other.
type Times = [Vec<u64>; 3];

/// Measures on a generated bout, all parts in every frame, so that changes in the machine's load affect all alike.
///
/// # Errors
/// A model is missing or invalid.
pub fn run(registry: &Registry) -> Result<MovesCost> {
    let factory = OperatorFactory::new(registry);
    let runner = |operator, inputs: &[&str]| OperatorRunner::new(&factory, operator, operator, inputs, &[]);
    let (mut motion, mut interaction) = (runner("motion", &["poses"])?, runner("interaction", &["poses"])?);
    let mut models: Vec<(OperatorRunner, BareModel, Times)> = Vec::new();
    for model in MODELS {
        let keys = [("model", model.into())];
        let operator = OperatorRunner::new(&factory, "sequence", model, &["motion", "interaction"], &keys)?;
        models.push((operator, BareModel::new(&factory.resources(model, vec![], vec![]), model)?, Times::default()));
    }
    let [lstm, transformer, tcn] = MODELS;
    let mut fusion = runner("fusion", &["motion", "interaction", lstm, transformer, tcn])?;
    let (mut fusion_times, mut all_times) = (Vec::new(), Vec::new());
    let settings = BoutSettings { seconds: 40.0, ..BoutSettings::default() };
    for (frame, poses) in Bout::generate(&settings).frames.iter().enumerate() {
        let pts = (frame as f64 * 1e9 / settings.rate) as i64;
        let header = Header::new("bench", frame as u64, pts);
        motion.send_rows("poses", &header, poses)?;
        interaction.send_rows("poses", &header, poses)?;
        let (motion_body, interaction_body) = (motion.expect_next("motion")?, interaction.expect_next("interaction")?);
        let (rows, pairs) = (decode_rows::<Motion>(&motion_body)?, decode_rows::<Interaction>(&interaction_body)?);
        let (mut all_ns, mut all_windows_ready, mut predictions) = (0, true, Vec::new());
        for ((operator, bare, [operators, together, apart]), model) in models.iter_mut().zip(MODELS) {
            let start = thread_cpu_ns();
            operator.send("motion", &header, motion_body.clone())?;
            operator.send("interaction", &header, interaction_body.clone())?;
            let elapsed_ns = thread_cpu_ns() - start;
            all_ns += elapsed_ns;
            predictions.push((model, operator.expect_next("predictions")?));
            all_windows_ready &= bare.observe(&rows, &pairs, pts) == settings.fighters;
            if all_windows_ready {
                operators.push(elapsed_ns);
                for (times, one_run) in [(together, true), (apart, false)] {
                    let start = thread_cpu_ns();
                    bare.run(one_run)?;
                    times.push(thread_cpu_ns() - start);
                }
            }
        }
        let start = thread_cpu_ns();
        for (input, body) in [("motion", motion_body), ("interaction", interaction_body)].into_iter().chain(predictions)
        {
            fusion.send(input, &header, body)?;
        }
        let elapsed_ns = thread_cpu_ns() - start;
        fusion.expect_next("scores")?;
        if all_windows_ready {
            fusion_times.push(elapsed_ns);
            all_times.push(all_ns + elapsed_ns);
        }
    }

    let cost =
        |((_, bare, [operator, together, apart]), model): (&mut (OperatorRunner, BareModel, Times), _)| ModelCost {
            model,
            device: bare.classifier.device(),
            operator_ms: Percentiles::ms_from_ns(operator),
            together_ms: Percentiles::ms_from_ns(together).p50,
            apart_ms: Percentiles::ms_from_ns(apart).p50,
        };
    let models: Vec<ModelCost> = models.iter_mut().zip(MODELS).map(cost).collect();
    let (frames, all_ms) = (all_times.len(), Percentiles::ms_from_ns(&mut all_times));
    let together: f64 = models.iter().map(|model| model.together_ms).sum();
    let apart: f64 = models.iter().map(|model| model.apart_ms).sum();
    Ok(MovesCost {
        fighters: settings.fighters,
        frames,
        models,
        fusion_ms: Percentiles::ms_from_ns(&mut fusion_times),
        all_ms,
        ratio: all_ms.p50 / together,
        apart_ratio: apart / together,
    })
}

/// Model of an operator, and the windows of the current frame.
struct BareModel {
    classifier: Classifier,
    spec: WindowSpec,
    tracks: Tracks,
    windows: usize,
    /// Windows of motion, concatenated.
    motion: Vec<f32>,
    /// Windows of interaction, concatenated; empty if the model does not take them.
    interaction: Vec<f32>,
}

impl BareModel {
    fn new(resources: &Resources, model: &str) -> Result<Self> {
        let config: SequenceConfig = read_config(&Values::from([("model", model)]), "sequence")?;
        let classifier = Classifier::new(Session::load(resources, model)?)?;
        let spec = WindowSpec::new(&config, &classifier);
        Ok(Self { classifier, spec, tracks: Tracks::default(), windows: 0, motion: vec![], interaction: vec![] })
    }

    /// Adds a frame at media time `now` (ns) and builds its windows; returns their number.
    fn observe(&mut self, rows: &[Motion], pairs: &[Interaction], now: i64) -> usize {
        self.tracks.remove_absent(now, &self.spec);
        self.motion.clear();
        self.interaction.clear();
        self.windows = 0;
        for row in rows {
            self.tracks.push(row, partner::nearest(row.track, pairs), now, &self.spec);
            let interaction = self.classifier.takes_interaction().then_some(&mut self.interaction);
            self.windows +=
                usize::from(self.tracks.append_window(row.track, now, &self.spec, &mut self.motion, interaction));
        }
        self.windows
    }

    /// Runs the model on the windows of the frame: `together` in one run, else one after the other.
    fn run(&mut self, together: bool) -> Result<()> {
        let (windows, runs) = if together { (self.windows, 1) } else { (1, self.windows) };
        let length = windows * self.spec.length;
        let mut interactions = self.interaction.chunks(length * INTERACTION);
        for motion in self.motion.chunks(length * MOTION).take(runs) {
            self.classifier.classify(windows, motion, interactions.next().unwrap_or_default(), |_| 0)?;
        }
        Ok(())
    }
}

/// Decodes the rows of a message.
fn decode_rows<T: Table>(body: &Body) -> Result<Vec<T>> {
    match body {
        Body::Data(Payload::Table(rows)) => T::decode(rows),
        other => Err(Error::other(format!("expected rows of {}, received {}", T::NAME, other.kind()))),
    }
}

impl std::fmt::Display for MovesCost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let title = format!("{} fighters, CPU ms per frame", self.fighters);
        writeln!(f, "{title:<34} {:>8} {:>8} {:>16} {:>12}", "p50", "p99", "model, both", "one each")?;
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
        write!(
            f,
            "all operators / bare models: {:.2}; one model run per fighter / both in one: {:.2}",
            self.ratio, self.apart_ratio
        )
    }
}
