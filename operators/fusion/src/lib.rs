//! `fusion`: several models' opinions and the motion that they are about in; one opinion, and moves, out.
//!
//! **Inputs.** `motion`, optionally `interaction`, and under any other names the `opinions` of as many models as there are.
//! The file `weights` says what they tell apart and how much each is to be believed about what; a model's own name, from
//! its file, finds it there.
//!
//! **One opinion.** The weighted mean of the models' probabilities (Bayesian model averaging, Hoeting et al. 1999), row by
//! row of the motion. Weights are the share of evidence that training measured for each label, times how well each model has
//! agreed with all together about this fighter lately; with `interaction`, labels that this fighter has used more
//! often at this distance gain. A model without an opinion leaves its weight to the others; where none has one, the row says
//! why in `unjudged`.
//!
//! **Moves.** When a move was, the limbs say; what it was, the models. A limb that is much faster than the body usually is
//! makes a burst. The slow way before a strike, the way back, and what the rest of the body does with it are parts
//! of one move. Its label is judged by the windows that have its peak where the models' windows look (`focus` in the file);
//! where they say that it was no move, a feint or a step, there is no row; where none is sure enough it is `unsure`. A row
//! comes `focus` and a few frames after the peak, or when the limb's way ends, and names its own frames. What is pending at the
//! end of the stream comes in the closing message.
//!
//! **Names.** A move's `id` is made of stream, session, track, and frame, time and speed of the peak: the same in every run
//! over the same recording.
#![forbid(unsafe_code)]

mod average;
mod bursts;
mod fighter;
mod strikes;
mod weights;

pub use weights::{Limb, Weights};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sideline_api::{
    Config, Context, Error, Inputs, Operator, Outputs, PortType, Resources, Result, Spec,
    tables::{Interaction, Motion, Move, Scores},
};

use bursts::{Limits, Moment};
use fighter::{Fighter, Frame};

/// Makes one opinion of several models', and moves of it and of how limbs move.
#[derive(Clone, Debug, PartialEq, Config)]
pub struct FusionConfig {
    /// File with labels, models and their evidence: beside the flow, in the working directory or in the house of Sideline.
    #[config(default = "models/moves/fusion.yml")]
    pub weights: String,
    /// Confidence below which a move is `unsure`; by default the weights file's. Higher names fewer moves and more of them
    /// rightly.
    #[config(default = None, live, range(0, 1))]
    pub gate: Option<f64>,
    /// Least speed of a hand beside the hips that may be a move, torso lengths per second (a torso is about half a metre).
    /// Higher overlooks slow pushes and clinches; lower asks the models about every gesture.
    #[config(default = 3.0, live, range(0.1, 100))]
    pub hand_speed: f32,
    /// Least speed of a foot beside the other, torso lengths per second. Higher overlooks slow knees; lower asks the
    /// models about every step.
    #[config(default = 5.0, live, range(0.1, 100))]
    pub foot_speed: f32,
    /// Least speed of the head beside the feet, torso lengths per second. Higher overlooks slow ducks; lower asks the models
    /// about every sway.
    #[config(default = 1.8, live, range(0.1, 100))]
    pub head_speed: f32,
    /// How many times faster than its resting level a limb must be. Higher finds fewer moves of the restless and in noisy
    /// poses; 1 leaves the least speeds alone.
    #[config(default = 2.0, live, range(1, 100))]
    pub above_rest: f32,
    /// Least way of a limb that may be a move, torso lengths. Higher overlooks short moves; lower asks the models about
    /// every twitch, and about the noise of poses.
    #[config(default = 0.3, live, range(0, 10))]
    pub travel: f32,
    /// Speed above which a joint was misread, torso lengths per second. Higher lets misreadings strike; lower overlooks the
    /// fastest.
    #[config(default = 60.0, live, range(1, 10_000))]
    pub max_speed: f32,
    /// Least time from one strike of a limb to its next, seconds. Higher counts fast doubles as one; lower may count one
    /// twice where poses are noisy.
    #[config(default = 0.2, live, range(0, 5))]
    pub refractory: f64,
    /// Seconds for which it counts how a model agreed with the others about a fighter. Higher trusts by longer experience;
    /// lower follows it faster; 0 trusts all as training did.
    #[config(default = 10.0, live, range(0, 3_600))]
    pub memory: f64,
    /// Whether what a fighter has done at this distance makes it likelier there.
    #[config(default = true, live)]
    pub context: bool,
    /// Seconds after which the limbs of an unseen fighter have stopped. Higher bridges longer holes; lower closes moves
    /// sooner.
    #[config(default = 0.5, live, range(0, 60))]
    pub max_gap: f64,
}

impl FusionConfig {
    fn limits(&self) -> Limits {
        Limits {
            hand: self.hand_speed,
            foot: self.foot_speed,
            head: self.head_speed,
            above_rest: self.above_rest,
            misread: self.max_speed,
        }
    }
}

/// Fighters of a stream that are remembered at most, seen or not; the longest unseen are forgotten.
const MOST_FIGHTERS: usize = 64;

/// What is remembered of a stream: its fighters, by their tracks.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Fighters(BTreeMap<u32, Fighter>);

/// See the documentation of the [crate].
pub struct Fusion {
    config: FusionConfig,
    weights: Weights,
}

/// Ports that are no opinions.
const MOTION: &str = "motion";
const INTERACTION: &str = "interaction";

impl Operator for Fusion {
    type Config = FusionConfig;
    type State = Fighters;

    fn spec() -> Spec {
        Spec::operator("fusion")
            .required(MOTION, PortType::table::<Motion>())
            .optional(INTERACTION, PortType::table::<Interaction>())
            .any_inputs(PortType::table::<Scores>())
            .output("scores", PortType::table::<Scores>())
            .output("moves", PortType::table::<Move>())
    }

    fn new(config: FusionConfig, resources: &Resources) -> Result<Self> {
        let opinions = || resources.inputs.iter().filter(|input| is_opinion(&input.name));
        if opinions().next().is_none() {
            return Err(Error::config(
                "no model's opinions are wired: add an input of any name for each, such as `lstm: lstm/opinions`",
            ));
        }
        if let Some(side) = opinions().find(|input| !input.alignment.is_ordinary()) {
            return Err(Error::config(format!(
                "input `{}` has `queue_policy: drop_oldest`, and opinions belong to their frames: leave the policy out",
                side.name
            )));
        }
        let weights = resources.find(&config.weights).map_err(|e| e.at("key `weights`"))?;
        Ok(Self { weights: Weights::read(&weights)?, config })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, state: &mut Fighters, out: &mut Outputs) -> Result<()> {
        let opinions = self.opinions(input)?;
        let distances = input.rows::<Interaction>(INTERACTION)?.unwrap_or_default();
        let frame = self.frame(cx);
        let (mut scores, mut moves) = (vec![], vec![]);
        for motion in input.rows::<Motion>(MOTION)?.unwrap_or_default().iter().filter(|motion| motion.track > 0) {
            let (track, fighter) = (motion.track, motion.fighter.clone());
            let own = opinions.get(&track).map_or(&[][..], |own| &own.judged);
            let near = distances.iter().filter(|row| [row.track_a, row.track_b].contains(&track));
            let distance = near.map(|row| row.distance).fold(f32::NAN, f32::min);
            let fused = state.0.entry(track).or_default().see(&frame, motion, own, distance);
            let unjudged = match (&fused, opinions.get(&track)) {
                (Some(_), _) => String::new(),
                (None, own) => own.and_then(Opinions::reason).unwrap_or(UNSCORED).into(),
            };
            let probabilities = fused.map_or(vec![], |fused| fused.probabilities);
            scores.push(Scores {
                track,
                fighter,
                model: "fusion".into(),
                labels: self.weights.text.clone(),
                probabilities: probabilities.iter().map(|p| *p as f32).collect(),
                unjudged,
            });
        }
        for (track, fighter) in &mut state.0 {
            let gone = frame.at.since(fighter.seen) > self.config.max_gap;
            if gone {
                fighter.stop();
            }
            moves.extend(fighter.moves(*track, &frame, gone));
        }
        while state.0.len() > MOST_FIGHTERS {
            let oldest = state.0.iter().min_by_key(|(_, fighter)| fighter.seen.pts).map(|(track, _)| *track);
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
        let frame = self.frame(cx);
        let mut moves = vec![];
        for (track, fighter) in &mut state.0 {
            fighter.stop();
            moves.extend(fighter.moves(*track, &frame, true));
        }
        moves.sort_by_key(|row| (row.peak, row.track));
        if moves.is_empty() { Ok(()) } else { out.rows("moves", &moves) }
    }
}

/// Why a row is unjudged where the models do not agree on a reason.
const UNSCORED: &str = "unscored";

/// What the models said of one track.
#[derive(Default)]
struct Opinions {
    judged: Vec<(usize, Vec<f64>)>,
    /// Why those who did not judge did not.
    reasons: Vec<String>,
}

impl Opinions {
    /// The reason that all gave.
    fn reason(&self) -> Option<&str> {
        let first = self.reasons.first().filter(|first| !first.is_empty())?;
        self.reasons.iter().all(|reason| reason == first).then_some(first)
    }
}

fn is_opinion(name: &str) -> bool {
    name != MOTION && name != INTERACTION
}

impl Fusion {
    fn frame<'a>(&'a self, cx: &'a Context) -> Frame<'a> {
        let header = cx.header;
        Frame {
            at: Moment { frame: header.frame, pts: header.pts },
            stream: (&header.stream, header.session),
            weights: &self.weights,
            config: &self.config,
        }
    }

    /// The opinions of the frame by track; of two from one model about one track the first counts.
    fn opinions(&self, input: &Inputs) -> Result<BTreeMap<u32, Opinions>> {
        let mut tracks: BTreeMap<u32, Opinions> = BTreeMap::new();
        for (port, _) in input.all().filter(|(port, _)| is_opinion(&port.name)) {
            for row in input.rows::<Scores>(&port.name)?.unwrap_or_default() {
                let opinions = tracks.entry(row.track).or_default();
                match self.weights.opinion(&port.name, &row)? {
                    Some((model, p)) if opinions.judged.iter().all(|(other, _)| *other != model) => {
                        opinions.judged.push((model, p));
                    }
                    Some(_) => {}
                    None => opinions.reasons.push(row.unjudged),
                }
            }
        }
        Ok(tracks)
    }
}
