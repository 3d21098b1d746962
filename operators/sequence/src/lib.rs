//! `sequence`: motion in; what a model makes of each track's last moments out. One operator, any model: three nodes of it
//! with a model each stand in `dataflows/modules/moves.yml`.
//!
//! **Windows.** A model is trained on windows of so many samples at one rate (30 at 30 a second, say; its file tells). Each
//! track's motion is kept with its media times and drawn anew at that rate, ending at the newest frame, by straight lines
//! between frames: so video at 25, 50 or 60 frames a second and frames that were dropped give the windows they should.
//! What lies in a hole longer than `max_gap`, and beside a NaN, is NaN: the models are trained to do without.
//!
//! **Nothing is judged in silence.** Every row of motion has a row in `opinions`: probabilities, or in the column
//! `unjudged` why there are none: `short`, the track is younger than the window (or than its share `history`); `unseen`,
//! too little of the joints that the model needs is known in it. What a model gives that is no set of probabilities is an
//! error, not a row.
//!
//! **Jumps.** A joint faster than `max_speed` was misread: it counts as not seen in that frame. Where most joints at once are
//! faster than half of it, no body moved so. Either the pose model exchanged left and right, which shows in that they go
//! opposite ways: nothing counts as seen in that frame. Or the track is on another body: its past is not that body's, and it
//! begins anew.
//!
//! All tracks of a frame go through the model in one run; frames are never held back to fill a batch.
#![forbid(unsafe_code)]

pub mod bench;
mod model;
mod pairs;
mod reading;
pub mod tracks;

use sideline_api::{
    Config, Context, Inputs, Operator, Outputs, PortType, Reason, Resources, Result, Spec,
    tables::{Interaction, Motion, Scores},
};
use sideline_inference::Session;

use model::Classifier;
use tracks::{Limits, Tracks, Unjudged};

/// Judges by a model what each track does, from a window of its motion.
#[derive(Clone, Debug, PartialEq, Config)]
pub struct SequenceConfig {
    /// A model of models.yml (`lstm`, `transformer`, `tcn`), or the path of an ONNX file of one's own, which ends in `.onnx`:
    /// beside the flow, in the working directory or in the house of Sideline. `models/train` makes such files.
    pub model: String,
    /// Frames from one judgement to the next; those between fill the windows all the same, and their output is
    /// `skipped: stride`. Higher saves the model's time and finds moves later and less surely; 1 judges every frame.
    /// (`SIDELINE_STRIDE` would leave the frames between out of the windows too.)
    #[config(default = 1, live, range(1, 300))]
    pub stride: u32,
    /// Least share of the model's window that a track must be old; the window before its first frame is NaN. 1 judges whole
    /// windows; lower judges newcomers sooner and less well: with 0.75, models of the shipped kinds gave 0 to 6 more wrong
    /// answers in a hundred windows of what they were trained on.
    #[config(default = 1.0, live, range(0.1, 1))]
    pub history: f64,
    /// Longest time between two frames of a track, seconds, that a straight line bridges. Higher guesses over longer holes;
    /// lower gives the model more NaN.
    #[config(default = 0.2, live, range(0, 1))]
    pub max_gap: f64,
    /// Seconds after which an unseen track is forgotten and, seen again, begins anew. Higher judges sooner after a hole, from
    /// windows that have it in them; lower waits for a whole window.
    #[config(default = 0.5, live, range(0, 60))]
    pub forget: f64,
    /// Speed beside the hips above which a joint was misread, torso lengths per second; the fastest fists and feet reach
    /// about 30. Most joints at half of it are no body's motion. Higher lets more misreadings through to
    /// the model; lower cuts off fast strikes.
    #[config(default = 60.0, live, range(1, 10_000))]
    pub max_speed: f32,
    /// Least share of a window's values, of the joints that the model needs most, that must be known. With 0.3, head and one
    /// arm in view are enough: somebody filmed from the hips up is judged. Higher judges fewer and surer windows; 0 judges
    /// all, also one of which nothing was seen.
    #[config(default = 0.3, live, range(0, 1))]
    pub known: f32,
}

/// See the documentation of the [crate].
pub struct Sequence {
    config: SequenceConfig,
    classifier: Classifier,
    /// The windows of the frame in hand, one behind the other: T x 198 each.
    motion: Vec<f32>,
    /// The same of how two stand to each other: T x 6 each; empty where the model does not ask for it.
    interaction: Vec<f32>,
}

impl Operator for Sequence {
    type Config = SequenceConfig;
    type State = Tracks;

    fn spec() -> Spec {
        // Several models of a frame then run side by side where cores are free.
        Spec::operator("sequence")
            .heavy()
            .required("motion", PortType::table::<Motion>())
            .optional("interaction", PortType::table::<Interaction>())
            .output("opinions", PortType::table::<Scores>())
    }

    fn models(config: &SequenceConfig) -> Vec<String> {
        vec![config.model.clone()]
    }

    fn new(config: SequenceConfig, resources: &Resources) -> Result<Self> {
        let classifier = Classifier::new(Session::load(resources, &config.model)?)?;
        if classifier.takes_interaction() && resources.inputs.iter().all(|input| input.name != "interaction") {
            let (node, model) = (&resources.node, classifier.name());
            tracing::info!(node, model, "`interaction` is not wired: the model judges without it");
        }
        Ok(Self { config, classifier, motion: vec![], interaction: vec![] })
    }

    fn process(&mut self, cx: &Context, input: &Inputs, tracks: &mut Tracks, out: &mut Outputs) -> Result<()> {
        let rows = input.rows::<Motion>("motion")?.unwrap_or_default();
        let pairs = match self.classifier.takes_interaction() {
            true => input.rows::<Interaction>("interaction")?.unwrap_or_default(),
            false => vec![],
        };
        let now = cx.header.pts;
        self.take_in(&rows, &pairs, tracks, now);
        if !tracks.due(self.config.stride) {
            return out.skip("opinions", Reason::Stride);
        }
        let opinions = self.judge(&rows, tracks, now)?;
        out.rows("opinions", &opinions)
    }

    fn reconfigure(&mut self, config: &SequenceConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }

    fn session_started(&mut self, cx: &Context, tracks: &mut Tracks) -> Result<()> {
        tracks.begin(cx.header.session);
        Ok(())
    }

    fn stream_ended(&mut self, cx: &Context, _: &Inputs, tracks: &mut Tracks, _: &mut Outputs) -> Result<()> {
        let (counts, stream) = (tracks.counts(), &*cx.header.stream);
        let model = self.classifier.name();
        let (judged, short, unseen, jumps) = (counts.judged, counts.short, counts.unseen, counts.jumps);
        tracing::info!(node = cx.node, stream, model, judged, short, unseen, jumps, "windows of motion");
        Ok(())
    }
}

impl Sequence {
    fn limits(&self) -> Limits {
        let ns = |seconds: f64| (seconds * 1e9) as i64;
        Limits {
            length: self.classifier.length(),
            rate: self.classifier.rate(),
            history: self.config.history,
            max_gap: ns(self.config.max_gap),
            forget: ns(self.config.forget),
            max_speed: self.config.max_speed,
        }
    }

    /// Remembers how the tracks of a frame move.
    fn take_in(&self, rows: &[Motion], pairs: &[Interaction], tracks: &mut Tracks, now: i64) {
        let limits = self.limits();
        tracks.forget(now, &limits);
        for row in rows {
            tracks.see(row, pairs::of(row.track, pairs), now, &limits);
        }
    }

    /// A row for each row of motion; the windows of all go through the model together.
    fn judge(&mut self, rows: &[Motion], tracks: &mut Tracks, now: i64) -> Result<Vec<Scores>> {
        let unjudged = self.windows(rows, tracks, now);
        let asked: Vec<usize> = (0..rows.len()).filter(|at| unjudged[*at].is_none()).collect();
        let track = |window: usize| rows[asked[window]].track;
        let given = self.classifier.classify(asked.len(), &self.motion, &self.interaction, track)?;
        let mut given = given.into_iter();
        let opinions = rows.iter().zip(unjudged).map(|(row, unjudged)| {
            tracks.count(unjudged);
            Scores {
                track: row.track,
                fighter: row.fighter.clone(),
                model: self.classifier.name().to_owned(),
                labels: self.classifier.labels().to_owned(),
                probabilities: if unjudged.is_none() { given.next().unwrap_or_default() } else { vec![] },
                unjudged: unjudged.map_or_else(String::new, |why| why.name().to_owned()),
            }
        });
        Ok(opinions.collect())
    }

    /// Draws the window of each row, one behind the other; says of each why it has none.
    fn windows(&mut self, rows: &[Motion], tracks: &Tracks, now: i64) -> Vec<Option<Unjudged>> {
        let limits = self.limits();
        self.motion.clear();
        self.interaction.clear();
        rows.iter().map(|row| self.window(row.track, tracks, now, &limits)).collect()
    }

    /// Puts a track's window behind those that are there; else says why there is none.
    fn window(&mut self, track: u32, tracks: &Tracks, now: i64, limits: &Limits) -> Option<Unjudged> {
        let begin = self.motion.len();
        let interaction = self.classifier.takes_interaction().then_some(&mut self.interaction);
        if !tracks.window(track, now, limits, &mut self.motion, interaction) {
            return Some(Unjudged::Short);
        }
        if self.classifier.known(&self.motion[begin..]) < self.config.known {
            self.motion.truncate(begin);
            self.interaction.truncate(begin / tracks::MOTION * tracks::INTERACTION);
            return Some(Unjudged::Unseen);
        }
        None
    }
}
