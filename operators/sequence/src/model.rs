//! A model of moves: what its file must hold, and the asking of it.

use sideline_api::{Error, Failure, Result, tables::JOINTS};
use sideline_inference::Session;

use crate::tracks::{INTERACTION, MOTION};

/// Samples a window may have.
const LENGTHS: std::ops::RangeInclusive<i64> = 2..=60;
/// Samples a second a window may have.
const RATES: std::ops::RangeInclusive<f64> = 5.0..=240.0;
/// How far the sum of probabilities may be from 1: what 15 of them in 16 bits may add up to.
const SUM: f32 = 0.01;

/// A model and what its file says of it.
///
/// - input `motion`, f32 [N, T, 198]: windows of the table `motion`'s velocities and accelerations, NaN for what was not seen; T
///   is fixed, N open. Input `interaction`, f32 [N, T, 6], may be there; all of it is NaN where nobody else is.
/// - output `probabilities`, f32 [N, L].
/// - `metadata_props`: `sideline.labels`, L names; `sideline.rate`, samples a second; `sideline.model`, its name;
///   `sideline.joints`, numbers of the joints that it needs most. Lists are separated by spaces.
pub struct Classifier {
    session: Session,
    name: String,
    labels: String,
    /// Number of labels.
    width: usize,
    length: usize,
    rate: f64,
    joints: Vec<usize>,
    /// Which of the inputs is `interaction`, of two.
    interaction: Option<usize>,
}

impl Classifier {
    /// Reads what the file says of itself, and asks the model once.
    ///
    /// # Errors
    /// When anything is missing or other than stated above, or the model cannot do without what is NaN. Each names the
    /// file, what was expected, and what it has.
    pub fn new(session: Session) -> Result<Self> {
        let length = length(&session)?;
        let steps = length as i64;
        let shape = |name: &str| match name {
            "motion" => Some([-1, steps, MOTION as i64]),
            "interaction" => Some([-1, steps, INTERACTION as i64]),
            _ => None,
        };
        let mut interaction = None;
        let mut expected = Vec::new();
        for (at, input) in session.inputs().enumerate() {
            let shape = shape(input.name()).ok_or_else(|| {
                session.unlike(format!("inputs `motion` and perhaps `interaction` are expected, it has {input} too"))
            })?;
            if input.name() == "interaction" {
                interaction = Some(at);
            }
            expected.push((input.name(), shape));
        }
        let expected: Vec<(&str, &[i64])> = expected.iter().map(|(name, shape)| (*name, shape.as_slice())).collect();
        session.expect_inputs(&expected)?;

        let said = Said { session: &session };
        let names = said.list("sideline.labels", "the labels, in the order of its output")?;
        if let Some(twice) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
            return Err(session.unlike(format!("its metadata `sideline.labels` names `{}` twice", twice.1)));
        }
        check_output(&session, &names)?;
        let labels = names.join(" ");
        let [rate] = said.numbers("sideline.rate", "samples a second of its window", RATES)?[..] else {
            return Err(session.unlike("its metadata `sideline.rate` must be one number, samples a second"));
        };
        let joints =
            said.numbers("sideline.joints", "numbers of the joints it needs most", 0.0..=JOINTS as f64 - 1.0)?;
        let joints = joints.into_iter().map(|joint| joint as usize).collect();
        let name = said.list("sideline.model", "its name")?.join(" ");
        let width = names.len();
        let mut classifier = Self { session, name, labels, width, length, rate, joints, interaction };
        classifier.try_out()?;
        Ok(classifier)
    }

    /// Asks the model about somebody still, and about somebody of whom nothing is seen.
    fn try_out(&mut self) -> Result<()> {
        let mut motion = vec![0.0; self.length * MOTION];
        motion.resize(2 * self.length * MOTION, f32::NAN);
        let alone = vec![f32::NAN; 2 * self.length * INTERACTION];
        let interaction = if self.interaction.is_some() { &alone[..] } else { &[] };
        match self.classify(2, &motion, interaction, |window| window as u32 + 1) {
            Ok(_) => Ok(()),
            Err(cause) if cause.failure == Failure::Gpu => Err(cause),
            Err(cause) => Err(self.session.unlike(format!(
                "asked about two windows, of somebody still and of somebody unseen (NaN), it failed: {cause}"
            ))),
        }
    }

    /// Where it runs: `cpu`, `cuda` or `tensorrt`.
    pub fn device(&self) -> &'static str {
        self.session.device()
    }

    /// Its own name for itself.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Names of the labels, separated by spaces.
    pub fn labels(&self) -> &str {
        &self.labels
    }

    /// Samples in a window: T.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Samples a second.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// True when it also asks how two stand to each other.
    pub fn takes_interaction(&self) -> bool {
        self.interaction.is_some()
    }

    /// The share of a window (T x 198), of the joints that the model needs most, that is known: 0..1.
    pub fn known(&self, window: &[f32]) -> f32 {
        let (mut known, mut all) = (0, 0);
        for joint in window.chunks_exact(3).enumerate().filter(|(at, _)| self.joints.contains(&(at % JOINTS))) {
            known += joint.1.iter().filter(|value| !value.is_nan()).count();
            all += 3;
        }
        known as f32 / all.max(1) as f32
    }

    /// Probabilities for each of so many windows: `motion` holds T x 198 values of each, `interaction` T x 6, or nothing where
    /// the model does not take it. `track` tells errors whose window it is.
    ///
    /// # Errors
    /// When the run fails, or the model gives what is no set of probabilities.
    pub fn classify(
        &mut self,
        windows: usize,
        motion: &[f32],
        interaction: &[f32],
        track: impl Fn(usize) -> u32,
    ) -> Result<Vec<Vec<f32>>> {
        // TensorRT would build an engine for each number of windows.
        let batch = if self.session.device() == "tensorrt" { 1 } else { windows.max(1) };
        let mut given = Vec::with_capacity(windows);
        let moments = batch * self.length;
        let mut others = interaction.chunks(moments * INTERACTION);
        for motion in motion.chunks(moments * MOTION) {
            let n = motion.len() / (self.length * MOTION);
            let shape = |each: usize| [n as i64, self.length as i64, each as i64];
            let (ours, theirs) = (shape(MOTION), shape(INTERACTION));
            let motion = (&ours[..], motion);
            let interaction = (&theirs[..], others.next().unwrap_or_default());
            let outputs = match self.interaction {
                None => self.session.run(&[motion])?,
                Some(0) => self.session.run(&[interaction, motion])?,
                Some(_) => self.session.run(&[motion, interaction])?,
            };
            let (shape, values) = outputs.tensor("probabilities")?;
            if shape != [n as i64, self.width as i64] {
                return Err(Error::model(format!(
                    "model `{}`: `probabilities` has the shape {shape:?} where [{n}, {}] was due",
                    self.name, self.width
                )));
            }
            for probabilities in values.chunks_exact(self.width) {
                let sum: f32 = probabilities.iter().sum();
                let sound = probabilities.iter().all(|p| (0.0..=1.0 + SUM).contains(p)) && (sum - 1.0).abs() <= SUM;
                if !sound {
                    return Err(Error::model(format!(
                        "track {}: model `{}` gave no probabilities but {probabilities:?} (sum {sum})",
                        track(given.len()),
                        self.name
                    )));
                }
                given.push(probabilities.to_vec());
            }
        }
        Ok(given)
    }
}

/// T of the input `motion`.
fn length(session: &Session) -> Result<usize> {
    let (least, most) = LENGTHS.into_inner();
    let wanted = format!("input `motion` f32 [N, T, {MOTION}] expected, N open and T fixed, {least} to {most}");
    let Some(input) = session.inputs().find(|input| input.name() == "motion") else {
        let has: Vec<String> = session.inputs().map(|input| input.to_string()).collect();
        return Err(session.unlike(format!("{wanted}; it has {}", has.join(", "))));
    };
    match input.shape() {
        Some([-1, length, width]) if LENGTHS.contains(length) && *width == MOTION as i64 => Ok(*length as usize),
        _ => Err(session.unlike(format!("{wanted}; it has {input}"))),
    }
}

/// That there is an output `probabilities`, of a value for each label.
fn check_output(session: &Session, labels: &[String]) -> Result<()> {
    let width = labels.len() as i64;
    let Some(output) = session.outputs().find(|output| output.name() == "probabilities") else {
        let has: Vec<String> = session.outputs().map(|output| output.to_string()).collect();
        return Err(session.unlike(format!("an output `probabilities` is expected, it has {}", has.join(", "))));
    };
    match output.shape() {
        Some([_, count]) if *count == width || *count == -1 => Ok(()),
        Some([_, count]) => Err(session.unlike(format!(
            "its metadata `sideline.labels` names {width} labels ({}) and its output `probabilities` has {count}",
            labels.join(" ")
        ))),
        _ => Err(session.unlike(format!("output `probabilities` f32 [-1, {width}] expected, it has {output}"))),
    }
}

/// What a file says of itself.
struct Said<'s> {
    session: &'s Session,
}

impl Said<'_> {
    /// Words under a key, at least one; `about` says what they should be.
    fn list(&self, key: &str, about: &str) -> Result<Vec<String>> {
        let text = self.session.metadata(key)?.unwrap_or_default();
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        if words.is_empty() {
            return Err(self.session.unlike(format!("its metadata has no `{key}`: {about}")));
        }
        Ok(words)
    }

    /// Numbers of a range under a key, at least one.
    fn numbers(&self, key: &str, about: &str, range: std::ops::RangeInclusive<f64>) -> Result<Vec<f64>> {
        let words = self.list(key, about)?;
        let number = |word: &String| {
            word.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
                let (least, most) = (range.start(), range.end());
                self.session
                    .unlike(format!("its metadata `{key}` says `{word}` where {least} to {most} is allowed: {about}"))
            })
        };
        words.iter().map(number).collect()
    }
}
