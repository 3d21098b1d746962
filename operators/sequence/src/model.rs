//! Sequence model: the contract of its file, and its inference.

use sideline_api::{Error, Failure, Result};
use sideline_inference::Session;
use sideline_sport::tables::JOINTS;

use crate::tracks::{INTERACTION, MOTION};

/// Allowed numbers of samples per window.
const LENGTHS: std::ops::RangeInclusive<i64> = 2..=60;
/// Allowed sample rates, samples per second.
const RATES: std::ops::RangeInclusive<f64> = 5.0..=240.0;
/// Tolerance on the sum of the probabilities: the rounding error that 15 of them in 16 bits may add up to.
const SUM_TOLERANCE: f32 = 0.01;

/// Classifier of motion windows, and the metadata of its file.
///
/// - Input `motion`, f32 [N, T, 198]: windows of velocities and accelerations of the table `motion`, NaN for unknown
///   values; N is dynamic, T is fixed. Optional input `interaction`, f32 [N, T, 6]; all NaN if there is no other
///   person.
/// - Output `probabilities`, f32 [N, L].
/// - `metadata_props`: `sideline.labels`, L names; `sideline.rate`, samples per second; `sideline.model`, the name of
///   the model; `sideline.joints`, numbers of the joints that it needs most. Lists are separated by spaces.
pub struct Classifier {
    session: Session,
    name: String,
    labels: String,
    /// Number of labels.
    width: usize,
    /// Samples per window.
    length: usize,
    /// Samples per second.
    rate: f64,
    /// Joints that the model needs most.
    joints: Vec<usize>,
    /// Index of the input `interaction`, if the model has it.
    interaction: Option<usize>,
}

impl Classifier {
    /// Checks inputs, outputs and metadata of the file, and runs the model once.
    ///
    /// # Errors
    /// If anything differs from the contract above, or the model does not accept NaN. Messages name the file, the
    /// expected and the actual value.
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
        for (index, input) in session.inputs().enumerate() {
            let shape = shape(input.name()).ok_or_else(|| {
                session.mismatch(format!("expected inputs `motion` and optionally `interaction`, it also has {input}"))
            })?;
            if input.name() == "interaction" {
                interaction = Some(index);
            }
            expected.push((input.name(), shape));
        }
        let expected: Vec<(&str, &[i64])> = expected.iter().map(|(name, shape)| (*name, shape.as_slice())).collect();
        session.expect_inputs(&expected)?;

        let metadata = Metadata { session: &session };
        let names = metadata.list("sideline.labels", "the labels, in the order of the output")?;
        if let Some(duplicate) = names.iter().enumerate().find(|(index, name)| names[..*index].contains(name)) {
            return Err(session.mismatch(format!("its metadata `sideline.labels` names `{}` twice", duplicate.1)));
        }
        check_output(&session, &names)?;
        let labels = names.join(" ");
        let [rate] = metadata.numbers("sideline.rate", "samples per second of a window", RATES)?[..] else {
            return Err(session.mismatch("its metadata `sideline.rate` must be one number, samples per second"));
        };
        let joints =
            metadata.numbers("sideline.joints", "numbers of the joints it needs most", 0.0..=JOINTS as f64 - 1.0)?;
        let joints = joints.into_iter().map(|joint| joint as usize).collect();
        let name = metadata.list("sideline.model", "the name of the model")?.join(" ");
        let width = names.len();
        let mut classifier = Self { session, name, labels, width, length, rate, joints, interaction };
        classifier.test_run()?;
        Ok(classifier)
    }

    /// Runs the model on the window of a motionless person, and on one without any known value.
    fn test_run(&mut self) -> Result<()> {
        let mut motion = vec![0.0; self.length * MOTION];
        motion.resize(2 * self.length * MOTION, f32::NAN);
        let no_partner = vec![f32::NAN; 2 * self.length * INTERACTION];
        let interaction = if self.interaction.is_some() { &no_partner[..] } else { &[] };
        match self.classify(2, &motion, interaction, |window| window as u32 + 1) {
            Ok(_) => Ok(()),
            Err(cause) if cause.failure == Failure::Gpu => Err(cause),
            Err(cause) => Err(self.session.mismatch(format!(
                "a test run failed, with one window of a motionless person and one without known values (NaN): {cause}"
            ))),
        }
    }

    /// Returns the device: `cpu`, `cuda` or `tensorrt`.
    pub fn device(&self) -> &'static str {
        self.session.device()
    }

    /// Returns the name of the model, from its metadata.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the names of the labels, separated by spaces.
    pub fn labels(&self) -> &str {
        &self.labels
    }

    /// Returns the number of samples per window, T.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Returns the samples per second.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// True if the model has the input `interaction`.
    pub fn takes_interaction(&self) -> bool {
        self.interaction.is_some()
    }

    /// Returns the share of known values in a window (T x 198), among the joints that the model needs most: 0 to 1.
    pub fn known_share(&self, window: &[f32]) -> f32 {
        let (mut known, mut all) = (0, 0);
        for joint in window.chunks_exact(3).enumerate().filter(|(index, _)| self.joints.contains(&(index % JOINTS))) {
            known += joint.1.iter().filter(|value| !value.is_nan()).count();
            all += 3;
        }
        known as f32 / all.max(1) as f32
    }

    /// Returns the probabilities for each of `windows` windows. `motion` holds T x 198 values per window, `interaction`
    /// T x 6, or none if the model does not take it. `track` returns the track of a window, for errors.
    ///
    /// # Errors
    /// If the run fails, or the output is no set of probabilities.
    pub fn classify(
        &mut self,
        windows: usize,
        motion: &[f32],
        interaction: &[f32],
        track: impl Fn(usize) -> u32,
    ) -> Result<Vec<Vec<f32>>> {
        // TensorRT would build an engine for every number of windows.
        let batch = if self.session.device() == "tensorrt" { 1 } else { windows.max(1) };
        let mut results = Vec::with_capacity(windows);
        let samples = batch * self.length;
        let mut interactions = interaction.chunks(samples * INTERACTION);
        for motion in motion.chunks(samples * MOTION) {
            let n = motion.len() / (self.length * MOTION);
            let shape = |values: usize| [n as i64, self.length as i64, values as i64];
            let (motion_shape, interaction_shape) = (shape(MOTION), shape(INTERACTION));
            let motion = (&motion_shape[..], motion);
            let interaction = (&interaction_shape[..], interactions.next().unwrap_or_default());
            let outputs = match self.interaction {
                None => self.session.run(&[motion])?,
                Some(0) => self.session.run(&[interaction, motion])?,
                Some(_) => self.session.run(&[motion, interaction])?,
            };
            let (shape, values) = outputs.tensor("probabilities")?;
            if shape != [n as i64, self.width as i64] {
                return Err(Error::model(format!(
                    "model `{}`: `probabilities` has the shape {shape:?}, expected [{n}, {}]",
                    self.name, self.width
                )));
            }
            for probabilities in values.chunks_exact(self.width) {
                let sum: f32 = probabilities.iter().sum();
                let in_range = probabilities.iter().all(|p| (0.0..=1.0 + SUM_TOLERANCE).contains(p));
                if !(in_range && (sum - 1.0).abs() <= SUM_TOLERANCE) {
                    return Err(Error::model(format!(
                        "track {}: model `{}` returned invalid probabilities {probabilities:?} (sum {sum})",
                        track(results.len()),
                        self.name
                    )));
                }
                results.push(probabilities.to_vec());
            }
        }
        Ok(results)
    }
}

/// Returns T, the number of samples in the input `motion`.
fn length(session: &Session) -> Result<usize> {
    let (min, max) = LENGTHS.into_inner();
    let expected = format!("input `motion` f32 [N, T, {MOTION}] expected, N open and T fixed, {min} to {max}");
    let Some(input) = session.inputs().find(|input| input.name() == "motion") else {
        let has: Vec<String> = session.inputs().map(|input| input.to_string()).collect();
        return Err(session.mismatch(format!("{expected}; it has {}", has.join(", "))));
    };
    match input.shape() {
        Some([-1, length, width]) if LENGTHS.contains(length) && *width == MOTION as i64 => Ok(*length as usize),
        _ => Err(session.mismatch(format!("{expected}; it has {input}"))),
    }
}

/// Checks that the output `probabilities` exists and has a value per label.
fn check_output(session: &Session, labels: &[String]) -> Result<()> {
    let width = labels.len() as i64;
    let Some(output) = session.outputs().find(|output| output.name() == "probabilities") else {
        let has: Vec<String> = session.outputs().map(|output| output.to_string()).collect();
        return Err(session.mismatch(format!("expected an output `probabilities`, it has {}", has.join(", "))));
    };
    match output.shape() {
        Some([_, count]) if *count == width || *count == -1 => Ok(()),
        Some([_, count]) => Err(session.mismatch(format!(
            "its metadata `sideline.labels` names {width} labels ({}) and its output `probabilities` has {count}",
            labels.join(" ")
        ))),
        _ => Err(session.mismatch(format!("expected output `probabilities` f32 [-1, {width}], it has {output}"))),
    }
}

/// Metadata of a model file.
struct Metadata<'s> {
    session: &'s Session,
}

impl Metadata<'_> {
    /// Returns the words under a key, at least one; `about` describes them in errors.
    fn list(&self, key: &str, about: &str) -> Result<Vec<String>> {
        let text = self.session.metadata(key)?.unwrap_or_default();
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        if words.is_empty() {
            return Err(self.session.mismatch(format!("its metadata has no `{key}`: {about}")));
        }
        Ok(words)
    }

    /// Returns the numbers under a key, at least one, all within `range`.
    fn numbers(&self, key: &str, about: &str, range: std::ops::RangeInclusive<f64>) -> Result<Vec<f64>> {
        let words = self.list(key, about)?;
        let number = |word: &String| {
            word.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
                let (min, max) = (range.start(), range.end());
                self.session.mismatch(format!("its metadata `{key}` is `{word}`, allowed is {min} to {max}: {about}"))
            })
        };
        words.iter().map(number).collect()
    }
}
