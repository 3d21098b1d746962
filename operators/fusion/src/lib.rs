//! `fusion`: the motion of fighters and several models' predictions in; fused predictions and moves out.
//!
//! **Inputs.** `motion`, optionally `interaction`, and one input of any other name for the `predictions` of each model.
//! The file `weights` holds the labels, and the weight of each model for each label; a model is found in it by its own
//! name, from its model file.
//!
//! **Fused prediction.** Each row of motion has the weighted mean of the models' probabilities (Bayesian model
//! averaging, Hoeting et al. 1999). A model's weight for a label is the share of evidence that training measured, times
//! the recent agreement of the model with all others about this fighter. With `interaction`, labels that this fighter
//! has used more often at this distance gain. A model without a prediction leaves its weight to the others; if no model
//! has one, the column `unjudged` gives the reason.
//!
//! **Moves.** The time of a move comes from the motion, its label from the models. A limb that is much faster than
//! usual makes a burst. The slow motion before a strike, the return after it, and the simultaneous motion of other
//! limbs belong to the same move. The label comes from the windows whose focus is the peak of the burst (`focus` in the
//! weights file). If they see no move, such as a feint or a step, there is no row; if no label is probable enough, the
//! label is `unsure`. A row is sent `focus` and a few frames after the peak, or when the burst ends, and names its own
//! frames. Moves still pending at the end of the stream are sent with the closing message.
//!
//! **Ids.** The `id` of a move is derived from stream, session and track, and from frame, time and speed of the peak.
//! It is the same in every run over the same recording.
#![forbid(unsafe_code)]

mod averaging;
mod bursts;
mod fighter;
mod strikes;
mod weights;

pub use weights::{Limb, Weights};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sideline_api::{Config, Context, Error, Inputs, Operator, Outputs, PortType, Resources, Result, Spec};
use sideline_sport::{
    FIGHTERS_INPUT, FighterNames,
    tables::{Fighter, FighterName, Interaction, Motion, Move, PredictionStatus, Scores},
};

use bursts::{FrameTime, SpeedThresholds};
use fighter::{FighterState, FrameContext};

/// Fuses the predictions of several models, and detects and labels moves.
#[derive(Clone, Debug, PartialEq, Config)]
pub struct FusionConfig {
    /// Path of the file with labels, models and their evidence; a relative path is searched beside the flow, in the
    /// working directory and in Sideline home.
    #[config(default = "models/moves/fusion.yml")]
    pub weights: String,
    /// Confidence below which a move is `unsure`; the default is the gate of the weights file. Higher names fewer
    /// moves, more of them correctly.
    #[config(default = None, live, range(0, 1))]
    pub gate: Option<f64>,
    /// Minimum speed of a hand relative to the hips for a move, torso lengths per second (a torso is about half a
    /// meter). Higher misses slow pushes and clinches; lower has the models judge every gesture.
    #[config(default = 3.0, live, range(0.1, 100))]
    pub hand_speed: f32,
    /// Minimum speed of a foot relative to the other foot for a move, torso lengths per second. Higher misses slow
    /// knees; lower has the models judge every step.
    #[config(default = 5.0, live, range(0.1, 100))]
    pub foot_speed: f32,
    /// Minimum speed of the head relative to the feet for a move, torso lengths per second. Higher misses slow ducks;
    /// lower has the models judge every sway.
    #[config(default = 1.8, live, range(0.1, 100))]
    pub head_speed: f32,
    /// Minimum speed of a limb for a move as a multiple of its resting level. Higher finds fewer moves of restless
    /// fighters and in noisy poses; 1 leaves only the absolute minimum speeds.
    #[config(default = 2.0, live, range(1, 100))]
    pub above_rest: f32,
    /// Minimum displacement of a limb for a move, torso lengths. Higher misses short moves; lower has the models judge
    /// every twitch and the noise of poses.
    #[config(default = 0.3, live, range(0, 10))]
    pub travel: f32,
    /// Speed above which a joint counts as misread, torso lengths per second. Higher takes misread joints for strikes;
    /// lower misses the fastest strikes.
    #[config(default = 60.0, live, range(1, 10_000))]
    pub max_speed: f32,
    /// Minimum time between two strikes of one limb, seconds. Higher counts fast doubles as one; lower may count one
    /// strike twice in noisy poses.
    #[config(default = 0.2, live, range(0, 5))]
    pub refractory: f64,
    /// Time constant of the models' agreement about a fighter, seconds. Higher averages over longer experience; lower
    /// adapts faster; 0 uses only the evidence from training.
    #[config(default = 10.0, live, range(0, 3_600))]
    pub memory: f64,
    /// Use of a fighter's own statistics: true raises the probability of the moves that this fighter has made at the
    /// same distance; false ignores distance.
    #[config(default = true, live)]
    pub context: bool,
    /// Seconds without motion of a fighter after which open bursts end. Higher bridges longer gaps; lower reports the
    /// moves sooner.
    #[config(default = 0.5, live, range(0, 60))]
    pub max_gap: f64,
}

impl FusionConfig {
    fn speed_thresholds(&self) -> SpeedThresholds {
        SpeedThresholds {
            hand: self.hand_speed,
            foot: self.foot_speed,
            head: self.head_speed,
            above_rest: self.above_rest,
            max_speed: self.max_speed,
        }
    }
}

/// Maximum number of fighters kept per stream; those absent longest are removed first.
const MAX_FIGHTERS: usize = 64;

/// State of one stream: its fighters by track.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Fighters(BTreeMap<u32, FighterState>);

/// Fusion operator; see the [crate] documentation.
pub struct Fusion {
    config: FusionConfig,
    weights: Weights,
}

/// Inputs with a fixed meaning; all others are predictions.
const MOTION: &str = "motion";
const INTERACTION: &str = "interaction";

impl Operator for Fusion {
    type Config = FusionConfig;
    type State = Fighters;

    fn spec() -> Spec {
        Spec::operator("fusion")
            .required(MOTION, PortType::table::<Motion>())
            .optional(INTERACTION, PortType::table::<Interaction>())
            .optional(FIGHTERS_INPUT, PortType::table::<FighterName>())
            .any_inputs(PortType::table::<Scores>())
            .output("scores", PortType::table::<Scores>())
            .output("moves", PortType::table::<Move>())
    }

    fn new(config: FusionConfig, resources: &Resources) -> Result<Self> {
        let prediction_inputs = || resources.inputs.iter().filter(|input| is_prediction_input(&input.name));
        if prediction_inputs().next().is_none() {
            return Err(Error::config(
                "no model predictions are wired: add an input of any name for each model, such as `lstm: lstm/predictions`",
            ));
        }
        if let Some(side) = prediction_inputs().find(|input| !input.alignment.is_aligned()) {
            return Err(Error::config(format!(
                "input `{}` has `queue_policy: drop_oldest`, but predictions must be aligned with their \
                 frames: remove the policy",
                side.name
            )));
        }
        let weights = resources.find(&config.weights).map_err(|e| e.at("key `weights`"))?;
        Ok(Self { weights: Weights::read(&weights)?, config })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, state: &mut Fighters, out: &mut Outputs) -> Result<()> {
        let predictions = self.read_predictions(input)?;
        let interactions = input.rows::<Interaction>(INTERACTION)?.unwrap_or_default();
        let names = FighterNames::read(input)?;
        let frame = self.frame_context(cx);
        let (mut scores, mut moves) = (vec![], vec![]);
        for motion in input.rows::<Motion>(MOTION)?.unwrap_or_default().iter().filter(|motion| motion.track > 0) {
            let track = motion.track;
            let own = predictions.get(&track).map_or(&[][..], |own| &own.predictions);
            let pairs = interactions.iter().filter(|row| [row.track_a, row.track_b].contains(&track));
            let distance = pairs.map(|row| row.distance).fold(f32::NAN, f32::min);
            let fighter = names.fighter_of(track);
            let track_state = state.0.entry(track).or_default();
            if fighter != Fighter::None {
                track_state.name = fighter;
            }
            let fused = track_state.observe(&frame, motion, own, distance);
            let unjudged = match (&fused, predictions.get(&track)) {
                (Some(_), _) => PredictionStatus::Present,
                (None, own) => own.and_then(TrackPredictions::common_reason).unwrap_or(PredictionStatus::Unscored),
            };
            let probabilities = fused.map_or(vec![], |fused| fused.probabilities);
            scores.push(Scores {
                track,
                fighter,
                model: "fusion".into(),
                labels: self.weights.label_text.clone(),
                probabilities: probabilities.iter().map(|p| *p as f32).collect(),
                unjudged,
            });
        }
        for (track, fighter) in &mut state.0 {
            let is_absent = fighter.absent_s(frame.at) > self.config.max_gap;
            if is_absent {
                fighter.finish_bursts();
            }
            moves.extend(fighter.decide_moves(*track, &frame, is_absent));
        }
        while state.0.len() > MAX_FIGHTERS {
            let absent_s = |fighter: &FighterState| fighter.absent_s(frame.at);
            let oldest = state.0.iter().reduce(|a, b| if absent_s(b.1) > absent_s(a.1) { b } else { a });
            let oldest = oldest.map(|(track, _)| *track);
            oldest.and_then(|track| state.0.remove(&track));
        }
        moves.sort_by_key(|row| (row.peak, row.track));
        out.rows("scores", &scores)?;
        out.rows("moves", &moves)
    }

    fn reconfigure(&mut self, config: &FusionConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }

    fn stream_ended(&mut self, cx: &Context, _: &Inputs, state: &mut Fighters, out: &mut Outputs) -> Result<()> {
        let frame = self.frame_context(cx);
        let mut moves = vec![];
        for (track, fighter) in &mut state.0 {
            fighter.finish_bursts();
            moves.extend(fighter.decide_moves(*track, &frame, true));
        }
        moves.sort_by_key(|row| (row.peak, row.track));
        if moves.is_empty() { Ok(()) } else { out.rows("moves", &moves) }
    }
}

/// Predictions of the models about one track.
#[derive(Default)]
struct TrackPredictions {
    /// Index of the model, and the probability of each label.
    predictions: Vec<(usize, Vec<f64>)>,
    /// Reasons of the models without a prediction.
    reasons: Vec<PredictionStatus>,
}

impl TrackPredictions {
    /// Returns the reason, if all models without a prediction give the same one.
    fn common_reason(&self) -> Option<PredictionStatus> {
        let first = self.reasons.first().filter(|first| **first != PredictionStatus::Present)?;
        self.reasons.iter().all(|reason| reason == first).then_some(*first)
    }
}

fn is_prediction_input(name: &str) -> bool {
    ![MOTION, INTERACTION, FIGHTERS_INPUT].contains(&name)
}

impl Fusion {
    fn frame_context<'a>(&'a self, cx: &'a Context) -> FrameContext<'a> {
        let header = cx.header;
        FrameContext {
            at: FrameTime { frame: header.frame, pts: header.pts },
            stream: (&header.stream, header.session),
            weights: &self.weights,
            config: &self.config,
        }
    }

    /// Reads the predictions of the frame by track. Of two by one model about one track the first counts.
    fn read_predictions(&self, input: &Inputs) -> Result<BTreeMap<u32, TrackPredictions>> {
        let mut tracks: BTreeMap<u32, TrackPredictions> = BTreeMap::new();
        for (port, _) in input.all().filter(|(port, _)| is_prediction_input(&port.name)) {
            for row in input.rows::<Scores>(&port.name)?.unwrap_or_default() {
                let track = tracks.entry(row.track).or_default();
                match self.weights.read_prediction(&port.name, &row)? {
                    Some((model, p)) if track.predictions.iter().all(|(other, _)| *other != model) => {
                        track.predictions.push((model, p));
                    }
                    Some(_) => {}
                    None => track.reasons.push(row.unjudged),
                }
            }
        }
        Ok(tracks)
    }
}
