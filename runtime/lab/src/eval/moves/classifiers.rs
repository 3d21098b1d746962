//! Classifiers of moves: the part of a flow from poses to moves, wired as in `dataflows/modules/moves.yml`, with
//! motion, interaction, models and fusion.

use std::path::{Path, PathBuf};

use sideline_api::{Body, Error, Failure, Header, OrFail, Payload, Result};
use sideline_eval::moves::{FRAME_RATE, Recording};
use sideline_sport::tables::{Interaction, Motion, Move, Scores};

use super::operator_runner::{MOVE_MODELS, OperatorFactory, OperatorRunner};

/// Name of the operator that fuses the predictions of all models.
pub const FUSION: &str = "fusion";

/// Metadata of a model, from its file.
pub struct ClassifierInfo {
    /// Name of the model.
    pub name: String,
    /// Length of a window, frames at the rate of the recordings.
    pub window: usize,
    /// Frames before the window's end at which the classified move has its peak.
    pub focus: usize,
    /// Training data: words such as `vicon:1-7`, `msr:1,3,5` or `synthetic`.
    pub trained_on: String,
}

impl ClassifierInfo {
    /// Returns true if a person of a dataset was in the training data. A person without a number counts as if they
    /// were: in doubt, a metric does not count as held out.
    pub fn was_trained_on(&self, dataset: &str, person: &str) -> bool {
        let number = person.trim_start_matches(|letter: char| !letter.is_ascii_digit()).parse::<u32>().ok();
        self.trained_on.split_whitespace().any(|word| match word.split_once(':') {
            None => word == dataset,
            Some((name, _)) if name != dataset => false,
            Some((_, numbers)) => {
                number.is_none_or(|number| numbers.split(',').any(|part| range_contains(part, number)))
            }
        })
    }
}

/// Returns true if `3` or `1-7` contains a number; text of another form contains all numbers.
fn range_contains(part: &str, number: u32) -> bool {
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    match (first.trim().parse::<u32>(), last.trim().parse::<u32>()) {
        (Ok(first), Ok(last)) => (first..=last).contains(&number),
        _ => true,
    }
}

/// Operators from poses to moves, driven frame by frame.
pub struct Classifiers {
    motion: OperatorRunner,
    interaction: OperatorRunner,
    models: Vec<(ClassifierInfo, OperatorRunner)>,
    fusion: Option<OperatorRunner>,
}

/// Prediction for a window.
pub struct Prediction {
    /// Index of the person.
    pub person: usize,
    /// Last frame of the window.
    pub frame: usize,
    /// Index of the classifier: a model, or after the last of them the fusion.
    pub classifier: usize,
    /// Labels of the probabilities, separated by spaces.
    pub labels: String,
    /// Probability of each label; empty if the window was not classified.
    pub probabilities: Vec<f32>,
}

/// Output of all operators for a recording.
#[derive(Default)]
pub struct RecordingOutputs {
    /// Motion by frame: a row for each person, in their order.
    pub motion: Vec<Vec<Motion>>,
    /// Interaction by frame: one row if there are two people.
    pub interaction: Vec<Vec<Interaction>>,
    /// Predictions for complete windows.
    pub predictions: Vec<Prediction>,
    /// Moves reported by the fusion.
    pub moves: Vec<Move>,
}

impl Classifiers {
    /// Creates only the operators `motion` and `interaction`.
    ///
    /// # Errors
    /// An operator cannot be created.
    pub fn features_only(factory: &OperatorFactory) -> Result<Self> {
        Ok(Self {
            motion: OperatorRunner::new(factory, "motion", "motion", &["poses"], &[])?,
            interaction: OperatorRunner::new(factory, "interaction", "interaction", &["poses"], &[])?,
            models: vec![],
            fusion: None,
        })
    }

    /// Creates the models of a folder, with fusion if it contains a fusion.yml; without a folder, the models of
    /// models.yml with fusion. Without `interaction`, models and fusion do not get the table of that name.
    ///
    /// # Errors
    /// A model or the fusion's weights are missing or invalid.
    pub fn new(factory: &OperatorFactory, folder: Option<&Path>, interaction: bool) -> Result<Self> {
        let mut classifiers = Self::features_only(factory)?;
        let inputs: &[&str] = if interaction { &["motion", "interaction"] } else { &["motion"] };
        for model in model_names(folder)? {
            let info = read_metadata(factory, &model)?;
            let runner = OperatorRunner::new(factory, "sequence", &info.name, inputs, &[("model", model.into())])?;
            classifiers.models.push((info, runner));
        }
        if factory.has_operator(FUSION) {
            let names = classifiers.models.iter().map(|(info, _)| info.name.as_str());
            let inputs: Vec<&str> = inputs.iter().copied().chain(names).collect();
            let weights = folder.map(|folder| folder.join("fusion.yml"));
            let keys: Vec<_> = weights.iter().map(|path| ("weights", to_text(path).into())).collect();
            // A folder of custom models may have no fusion.
            if weights.is_none_or(|path| path.is_file()) {
                classifiers.fusion = Some(OperatorRunner::new(factory, FUSION, FUSION, &inputs, &keys)?);
            }
        }
        Ok(classifiers)
    }

    /// Returns the metadata of the models, in the order of their indices.
    pub fn models(&self) -> impl Iterator<Item = &ClassifierInfo> {
        self.models.iter().map(|(info, _)| info)
    }

    /// Returns the names of all classifiers, in the order of their indices.
    pub fn names(&self) -> Vec<String> {
        let fusion = self.fusion.iter().map(|_| FUSION.to_owned());
        self.models().map(|info| info.name.clone()).chain(fusion).collect()
    }

    /// Returns true if moves are reported, in addition to window predictions.
    pub fn reports_moves(&self) -> bool {
        self.fusion.is_some()
    }

    /// Returns the length of the longest window, and its focus.
    pub fn window(&self) -> (usize, usize) {
        self.models().map(|info| (info.window, info.focus)).max().unwrap_or((FRAME_RATE as usize, 0))
    }

    /// Processes a recording, with a prediction every `stride` frames.
    ///
    /// # Errors
    /// An operator fails.
    pub fn process(&mut self, recording: &Recording, stride: u32) -> Result<RecordingOutputs> {
        for (_, runner) in &mut self.models {
            runner.set("stride", stride.into())?;
        }
        let mut outputs = RecordingOutputs::default();
        for frame in 0..recording.frames.len() {
            self.process_frame(recording, frame, &mut outputs)?;
        }
        self.end_stream(&header(recording, recording.frames.len()), &mut outputs)?;
        Ok(outputs)
    }

    fn process_frame(&mut self, recording: &Recording, frame: usize, outputs: &mut RecordingOutputs) -> Result<()> {
        let header = header(recording, frame);
        let poses = &recording.frames[frame];
        self.motion.send_rows("poses", &header, poses)?;
        self.interaction.send_rows("poses", &header, poses)?;
        let motion: Vec<Motion> = self.motion.next_rows("motion")?.unwrap_or_default();
        let interaction: Vec<Interaction> = self.interaction.next_rows("interaction")?.unwrap_or_default();
        let (window, _) = self.window();
        if let Some(fusion) = &mut self.fusion {
            fusion.send_rows("motion", &header, &motion)?;
            fusion.send_rows("interaction", &header, &interaction)?;
        }
        let mut has_predictions = false;
        for (number, (info, runner)) in self.models.iter_mut().enumerate() {
            runner.send_rows("motion", &header, &motion)?;
            runner.send_rows("interaction", &header, &interaction)?;
            let body = runner.expect_next("predictions")?;
            if let Body::Data(Payload::Table(table)) = &body {
                has_predictions = true;
                let is_complete = frame + 1 >= window;
                let rows = if is_complete { <Scores as sideline_api::Table>::decode(table)? } else { vec![] };
                outputs.predictions.extend(rows.into_iter().map(|row| to_prediction(row, frame, number)));
            }
            if let Some(fusion) = &mut self.fusion {
                fusion.send(&info.name, &header, body)?;
            }
        }
        if let Some(fusion) = &mut self.fusion {
            let number = self.models.len();
            let rows: Vec<Scores> = fusion.next_rows("scores")?.unwrap_or_default();
            if has_predictions && frame + 1 >= window {
                outputs.predictions.extend(rows.into_iter().map(|row| to_prediction(row, frame, number)));
            }
            outputs.moves.extend(fusion.next_rows::<Move>("moves")?.unwrap_or_default());
        }
        outputs.motion.push(motion);
        outputs.interaction.push(interaction);
        Ok(())
    }

    /// Ends the stream; the fusion's closing rows are included in the output.
    fn end_stream(&mut self, header: &Header, outputs: &mut RecordingOutputs) -> Result<()> {
        let features = [(&mut self.motion, "motion"), (&mut self.interaction, "interaction")];
        let models = self.models.iter_mut().map(|(_, runner)| (runner, "predictions"));
        for (runner, output) in features.into_iter().chain(models) {
            runner.end(header)?;
            while runner.next(output).is_some() {}
        }
        if let Some(fusion) = &mut self.fusion {
            fusion.end(header)?;
            while fusion.next("scores").is_some() {}
            while let Some(body) = fusion.next("moves") {
                if let Body::Data(Payload::Table(table)) = body {
                    outputs.moves.extend(<Move as sideline_api::Table>::decode(&table)?);
                }
            }
        }
        Ok(())
    }
}

fn to_prediction(row: Scores, frame: usize, classifier: usize) -> Prediction {
    let person = row.track.saturating_sub(1) as usize;
    Prediction { person, frame, classifier, labels: row.labels, probabilities: row.probabilities }
}

/// Returns the header of a frame. Every recording is a stream of its own, so that no state is kept between recordings.
fn header(recording: &Recording, frame: usize) -> Header {
    let pts = (frame as f64 * 1e9 / FRAME_RATE).round() as i64;
    let stream = format!("{}/{}", recording.dataset.name, recording.name);
    Header::new(stream, frame as u64, pts)
}

/// Returns the models as values of the key `model`: every ONNX file of a folder, or those of models.yml.
fn model_names(folder: Option<&Path>) -> Result<Vec<String>> {
    let Some(folder) = folder else { return Ok(MOVE_MODELS.map(Into::into).to_vec()) };
    let entries = std::fs::read_dir(folder).or_fail(Failure::Model, || folder.display().to_string())?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "onnx"));
    files.sort();
    if files.is_empty() {
        let message = format!("{}: no file that ends in .onnx; models/train creates them", folder.display());
        return Err(Error { failure: Failure::Model, ..Error::other(message) });
    }
    // A relative name without a folder would refer to models.yml.
    files
        .iter()
        .map(|path| std::path::absolute(path).map(|path| to_text(&path)))
        .collect::<std::io::Result<_>>()
        .or_fail(Failure::Model, || folder.display().to_string())
}

fn to_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Reads the metadata of a model's file.
fn read_metadata(factory: &OperatorFactory, model: &str) -> Result<ClassifierInfo> {
    let session = sideline_inference::Session::load(&factory.resources(model, vec![], vec![]), model)?;
    let entry = |key: &str| session.metadata(key).map(Option::unwrap_or_default);
    let number = |key: &str| Ok::<_, Error>(entry(key)?.parse::<f64>().ok().filter(|value| *value >= 0.0));
    let steps =
        session.inputs().find(|input| input.name() == "motion").and_then(|input| input.shape()?.get(1).copied());
    let scale = FRAME_RATE / number("sideline.rate")?.filter(|rate| *rate > 0.0).unwrap_or(FRAME_RATE);
    let frames = |steps: f64| (steps * scale).round() as usize;
    Ok(ClassifierInfo {
        name: entry("sideline.model")?,
        window: frames(steps.unwrap_or_default() as f64),
        focus: frames(number("sideline.focus")?.unwrap_or_default()),
        trained_on: entry("sideline.trained_on")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn training_persons_are_read_from_the_metadata() {
        let info = |words: &str| ClassifierInfo { name: "a".into(), window: 30, focus: 9, trained_on: words.into() };
        let model = info("vicon:1-5,7 synthetic");
        let trained = |dataset, person| model.was_trained_on(dataset, person);
        assert!(trained("vicon", "sub1") && trained("vicon", "sub7") && trained("synthetic", "12-1"));
        assert!(!trained("vicon", "sub6") && !trained("vicon", "sub10") && !trained("msr", "s01"));
        assert!(trained("vicon", "unnumbered"), "persons without a number count as trained on");
        assert!(info("vicon:all").was_trained_on("vicon", "sub9") && !info("").was_trained_on("vicon", "sub9"));
    }
}
