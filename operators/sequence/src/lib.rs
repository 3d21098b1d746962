//! `sequence`: motion in, a model's predictions about the last moments of each track out. The operator runs any model;
//! `dataflows/modules/moves.yml` has three nodes of it with one model each.
//!
//! **Windows.** A model is trained on windows with a number of samples at one rate, for example 30 samples at 30 per
//! second; its file states both. The motion of each track is kept with its media times and resampled linearly at that
//! rate, ending at the newest frame. So video at 25, 50 or 60 frames per second, and video with dropped frames, gives
//! equivalent windows. Samples in a gap longer than `max_gap`, or next to a NaN, are NaN: the models are trained on
//! such input.
//!
//! **Every row has an answer.** Every row of motion has a row in `predictions`: probabilities, or the reason for their
//! absence in the column `unjudged`. `short` means that the track is younger than the window (or than its share
//! `history`); `unseen` means that too few joints that the model needs are known. A model output that is no set of
//! probabilities is an error, not a row.
//!
//! **Implausible motion.** A joint faster than `max_speed` was misread and counts as not visible in that frame. If most
//! joints exceed half of it at once, no body moved so. Either the pose model swapped left and right, which shows in
//! opposite velocities: then the whole frame counts as not visible. Or the track has moved to another body: then its
//! history is discarded.
//!
//! All tracks of a frame go through the model in one run; frames are never delayed to fill a batch.
#![forbid(unsafe_code)]

pub mod model;
pub mod partner;
mod plausibility;
pub mod tracks;

use sideline_api::{Config, Context, Inputs, Operator, Outputs, PortType, Reason, Resources, Result, Spec};
use sideline_inference::Session;
use sideline_sport::{
    FIGHTERS_INPUT, FighterNames,
    tables::{FighterName, Interaction, Motion, PredictionStatus, Scores},
};

use model::Classifier;
use tracks::{Tracks, WindowSpec};

/// Classifies the motion of each track with a model, from a window of recent frames.
#[derive(Clone, Debug, PartialEq, Config)]
pub struct SequenceConfig {
    /// Model: a name in models.yml (`lstm`, `transformer`, `tcn`), or the path of an ONNX file, ending in `.onnx`; a
    /// relative path is searched beside the flow, in the working directory and in Sideline home. `models/train` creates
    /// such files.
    pub model: String,
    /// Frames from one prediction to the next. The frames between are part of the windows, and their output is
    /// `skipped: stride` (with `SIDELINE_STRIDE` they would be missing from the windows). Higher saves model runs, but
    /// moves are found later and less reliably; 1 predicts on every frame.
    #[config(default = 1, live, range(1, 300))]
    pub stride: u32,
    /// Minimum age of a track, as a share of the model's window; samples before its first frame are NaN. Higher waits
    /// for complete windows; lower predicts sooner and less reliably: at 0.75 the shipped kinds of models gave 0 to 6
    /// more wrong answers per hundred windows of their training data.
    #[config(default = 1.0, live, range(0.1, 1))]
    pub history: f64,
    /// Maximum time between two frames of a track that is interpolated, seconds. Higher interpolates over longer gaps;
    /// lower gives the model more NaN.
    #[config(default = 0.2, live, range(0, 1))]
    pub max_gap: f64,
    /// Seconds without a row after which a track's history is discarded. Higher predicts sooner after a gap, from
    /// windows that contain it; lower waits for a complete window.
    #[config(default = 0.5, live, range(0, 60))]
    pub forget: f64,
    /// Speed relative to the hips above which a joint counts as misread, torso lengths per second; the fastest fists
    /// and feet reach about 30. Most joints at half of it are no plausible motion. Higher lets more misread joints
    /// through to the model; lower cuts off fast strikes.
    #[config(default = 60.0, live, range(1, 10_000))]
    pub max_speed: f32,
    /// Minimum share of known values in a window, among the joints that the model needs most. At 0.3 the head and one
    /// arm are enough: people filmed from the hips up are classified. Higher classifies fewer windows, more reliably; 0
    /// classifies all, even empty ones.
    #[config(default = 0.3, live, range(0, 1))]
    pub known: f32,
}

/// Sequence operator; see the [crate] documentation.
pub struct Sequence {
    config: SequenceConfig,
    classifier: Classifier,
    /// Motion windows of the current frame, concatenated: T x 198 values each.
    motion: Vec<f32>,
    /// Interaction windows of the current frame, concatenated: T x 6 values each; empty if the model does not take
    /// them.
    interaction: Vec<f32>,
}

impl Operator for Sequence {
    type Config = SequenceConfig;
    type State = Tracks;

    fn spec() -> Spec {
        // Heavy: several models then run side by side on a frame where cores are free.
        Spec::operator("sequence")
            .heavy()
            .required("motion", PortType::table::<Motion>())
            .optional("interaction", PortType::table::<Interaction>())
            .optional(FIGHTERS_INPUT, PortType::table::<FighterName>())
            .output("predictions", PortType::table::<Scores>())
    }

    fn models(config: &SequenceConfig) -> Vec<String> {
        vec![config.model.clone()]
    }

    fn new(config: SequenceConfig, resources: &Resources) -> Result<Self> {
        let classifier = Classifier::new(Session::load(resources, &config.model)?)?;
        if classifier.takes_interaction() && resources.inputs.iter().all(|input| input.name != "interaction") {
            let model = classifier.name();
            tracing::info!(model, "`interaction` is not wired: the model runs without it");
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
        self.observe(&rows, &pairs, tracks, now);
        if !tracks.is_due(self.config.stride) {
            return out.skip("predictions", Reason::Stride);
        }
        let predictions = self.predict(&rows, &FighterNames::read(input)?, tracks, now)?;
        out.rows("predictions", &predictions)
    }

    fn reconfigure(&mut self, config: &SequenceConfig) -> Result<()> {
        self.config = config.clone();
        Ok(())
    }

    fn session_started(&mut self, cx: &Context, tracks: &mut Tracks) -> Result<()> {
        tracks.start_session(cx.header.session);
        Ok(())
    }

    fn stream_ended(&mut self, _: &Context, _: &Inputs, tracks: &mut Tracks, _: &mut Outputs) -> Result<()> {
        let counts = tracks.counts();
        let model = self.classifier.name();
        let (judged, short, unseen, jumps) = (counts.judged, counts.short, counts.unseen, counts.jumps);
        tracing::info!(model, judged, short, unseen, jumps, "windows of motion");
        Ok(())
    }
}

impl Sequence {
    fn window_spec(&self) -> WindowSpec {
        WindowSpec::new(&self.config, &self.classifier)
    }

    /// Adds the motion of a frame to the histories of its tracks.
    fn observe(&self, rows: &[Motion], pairs: &[Interaction], tracks: &mut Tracks, now: i64) {
        let spec = self.window_spec();
        tracks.remove_absent(now, &spec);
        for row in rows {
            tracks.push(row, partner::nearest(row.track, pairs), now, &spec);
        }
    }

    /// Returns a row for each row of motion; the windows of all tracks go through the model together.
    fn predict(&mut self, rows: &[Motion], names: &FighterNames, tracks: &mut Tracks, now: i64) -> Result<Vec<Scores>> {
        let statuses = self.build_windows(rows, tracks, now);
        let with_window: Vec<usize> =
            (0..rows.len()).filter(|index| statuses[*index] == PredictionStatus::Present).collect();
        let track = |window: usize| rows[with_window[window]].track;
        let results = self.classifier.classify(with_window.len(), &self.motion, &self.interaction, track)?;
        let mut results = results.into_iter();
        let predictions = rows.iter().zip(statuses).map(|(row, status)| {
            tracks.count(status);
            let is_present = status == PredictionStatus::Present;
            Scores {
                track: row.track,
                fighter: names.fighter_of(row.track),
                model: self.classifier.name().to_owned(),
                labels: self.classifier.labels().to_owned(),
                probabilities: if is_present { results.next().unwrap_or_default() } else { vec![] },
                unjudged: status,
            }
        });
        Ok(predictions.collect())
    }

    /// Builds the window of each row; returns for each row if there is one, or why not.
    fn build_windows(&mut self, rows: &[Motion], tracks: &Tracks, now: i64) -> Vec<PredictionStatus> {
        let spec = self.window_spec();
        self.motion.clear();
        self.interaction.clear();
        rows.iter().map(|row| self.append_window(row.track, tracks, now, &spec)).collect()
    }

    /// Appends a track's window to the buffers; returns if there is one, or why not.
    fn append_window(&mut self, track: u32, tracks: &Tracks, now: i64, spec: &WindowSpec) -> PredictionStatus {
        let begin = self.motion.len();
        let interaction = self.classifier.takes_interaction().then_some(&mut self.interaction);
        if !tracks.append_window(track, now, spec, &mut self.motion, interaction) {
            return PredictionStatus::Short;
        }
        if self.classifier.known_share(&self.motion[begin..]) < self.config.known {
            self.motion.truncate(begin);
            self.interaction.truncate(begin / tracks::MOTION * tracks::INTERACTION);
            return PredictionStatus::Unseen;
        }
        PredictionStatus::Present
    }
}
