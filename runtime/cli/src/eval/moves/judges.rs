//! The part of a flow from poses to moves, as `dataflows/modules/moves.yml` wires it: motion, interaction, models, fusion.

use std::path::{Path, PathBuf};

use sideline_api::{
    Body, Error, Failure, Header, OrFail, Payload, Result,
    tables::{Interaction, Motion, Move, Scores},
};
use sideline_eval::moves::{RATE, Recording};

use super::stage::{MOVE_MODELS, Stage, Workshop};

/// How the opinion of all of them is called.
pub const FUSION: &str = "fusion";

/// What a model's file says of itself.
pub struct About {
    /// Its name.
    pub name: String,
    /// Frames of a window, at the rate of recordings.
    pub window: usize,
    /// Frames before the window's end at which what it judges is fastest.
    pub focus: usize,
    /// What it was trained on: words such as `vicon:1-7`, `msr:1,3,5` or `synthetic`.
    pub trained_on: String,
}

impl About {
    /// Whether somebody of a set was in its training. Who has no number there counts as if they were: in doubt a figure is
    /// not one of people that the model has not seen.
    pub fn has_seen(&self, set: &str, person: &str) -> bool {
        let number = person.trim_start_matches(|letter: char| !letter.is_ascii_digit()).parse::<u32>().ok();
        self.trained_on.split_whitespace().any(|word| match word.split_once(':') {
            None => word == set,
            Some((name, _)) if name != set => false,
            Some((_, numbers)) => number.is_none_or(|number| numbers.split(',').any(|part| within(part, number))),
        })
    }
}

/// Whether `3` or `1-7` holds a number; what is neither holds all.
fn within(part: &str, number: u32) -> bool {
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    match (first.trim().parse::<u32>(), last.trim().parse::<u32>()) {
        (Ok(first), Ok(last)) => (first..=last).contains(&number),
        _ => true,
    }
}

/// See the [module](self).
pub struct Judges {
    motion: Stage,
    interaction: Stage,
    models: Vec<(About, Stage)>,
    fusion: Option<Stage>,
}

/// What a frame's window was taken for.
pub struct Opinion {
    /// Number of the person.
    pub person: usize,
    /// The window's last frame.
    pub frame: usize,
    /// Number of the judge: a model, or behind the last of them the fusion.
    pub judge: usize,
    /// What the probabilities are of.
    pub labels: String,
    /// Empty where it was not judged.
    pub probabilities: Vec<f32>,
}

/// All that was said of a recording.
#[derive(Default)]
pub struct Heard {
    /// For each frame a row for each person, in their order.
    pub motion: Vec<Vec<Motion>>,
    /// For each frame a row where there are two.
    pub interaction: Vec<Vec<Interaction>>,
    /// Opinions about windows that could be whole.
    pub opinions: Vec<Opinion>,
    /// Moves as they were told.
    pub moves: Vec<Move>,
}

impl Judges {
    /// Motion and interaction alone.
    ///
    /// # Errors
    /// An operator cannot be made.
    pub fn none(workshop: &Workshop) -> Result<Self> {
        Ok(Self {
            motion: Stage::new(workshop, "motion", "motion", &["poses"], &[])?,
            interaction: Stage::new(workshop, "interaction", "interaction", &["poses"], &[])?,
            models: vec![],
            fusion: None,
        })
    }

    /// The models of a folder, and what fuses them if its fusion.yml is there; or those of models.yml, and what fuses them. Without `interaction` nobody is told how two
    /// stand to each other.
    ///
    /// # Errors
    /// A model or the fusion's weights are missing or not as they must be.
    #[cfg(feature = "onnx")]
    pub fn new(workshop: &Workshop, folder: Option<&Path>, interaction: bool) -> Result<Self> {
        let mut judges = Self::none(workshop)?;
        let inputs: &[&str] = if interaction { &["motion", "interaction"] } else { &["motion"] };
        for model in models(folder)? {
            let about = about(workshop, &model)?;
            let stage = Stage::new(workshop, "sequence", &about.name, inputs, &[("model", model.into())])?;
            judges.models.push((about, stage));
        }
        if workshop.knows(FUSION) {
            let names = judges.models.iter().map(|(about, _)| about.name.as_str());
            let inputs: Vec<&str> = inputs.iter().copied().chain(names).collect();
            let weights = folder.map(|folder| folder.join("fusion.yml"));
            let keys: Vec<_> = weights.iter().map(|path| ("weights", text(path).into())).collect();
            // Models of one's own may be judged alone.
            if weights.is_none_or(|path| path.is_file()) {
                judges.fusion = Some(Stage::new(workshop, FUSION, FUSION, &inputs, &keys)?);
            }
        }
        Ok(judges)
    }

    /// Without ONNX Runtime there is nobody who judges.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(feature = "onnx"))]
    pub fn new(_: &Workshop, _: Option<&Path>, _: bool) -> Result<Self> {
        Err(Error::config("this `sideline` was built without the feature `onnx`: it has no models of moves"))
    }

    /// The models, in the order of their numbers.
    pub fn models(&self) -> impl Iterator<Item = &About> {
        self.models.iter().map(|(about, _)| about)
    }

    /// Names of all judges, in the order of their numbers.
    pub fn names(&self) -> Vec<String> {
        let fusion = self.fusion.iter().map(|_| FUSION.to_owned());
        self.models().map(|about| about.name.clone()).chain(fusion).collect()
    }

    /// Whether moves are told, and not windows alone judged.
    pub fn tell_moves(&self) -> bool {
        self.fusion.is_some()
    }

    /// Longest window and its focus.
    pub fn window(&self) -> (usize, usize) {
        self.models().map(|about| (about.window, about.focus)).max().unwrap_or((RATE as usize, 0))
    }

    /// Shows a recording to all, a judgement every `stride` frames.
    ///
    /// # Errors
    /// What would stop a run.
    pub fn hear(&mut self, recording: &Recording, stride: u32) -> Result<Heard> {
        for (_, stage) in &mut self.models {
            stage.set("stride", stride.into())?;
        }
        let mut heard = Heard::default();
        for frame in 0..recording.frames.len() {
            self.frame(recording, frame, &mut heard)?;
        }
        self.end(&header(recording, recording.frames.len()), &mut heard)?;
        Ok(heard)
    }

    fn frame(&mut self, recording: &Recording, frame: usize, heard: &mut Heard) -> Result<()> {
        let header = header(recording, frame);
        let poses = &recording.frames[frame];
        self.motion.rows("poses", &header, poses)?;
        self.interaction.rows("poses", &header, poses)?;
        let motion: Vec<Motion> = self.motion.next_rows("motion")?.unwrap_or_default();
        let interaction: Vec<Interaction> = self.interaction.next_rows("interaction")?.unwrap_or_default();
        let (window, _) = self.window();
        if let Some(fusion) = &mut self.fusion {
            fusion.rows("motion", &header, &motion)?;
            fusion.rows("interaction", &header, &interaction)?;
        }
        let mut judged = false;
        for (number, (about, stage)) in self.models.iter_mut().enumerate() {
            stage.rows("motion", &header, &motion)?;
            stage.rows("interaction", &header, &interaction)?;
            let body = stage.said("opinions")?;
            if let Body::Data(Payload::Table(table)) = &body {
                judged = true;
                let whole = frame + 1 >= window;
                let rows = if whole { <Scores as sideline_api::Table>::decode(table)? } else { vec![] };
                heard.opinions.extend(rows.into_iter().map(|row| opinion(row, frame, number)));
            }
            if let Some(fusion) = &mut self.fusion {
                fusion.send(&about.name, &header, body)?;
            }
        }
        if let Some(fusion) = &mut self.fusion {
            let number = self.models.len();
            let rows: Vec<Scores> = fusion.next_rows("scores")?.unwrap_or_default();
            if judged && frame + 1 >= window {
                heard.opinions.extend(rows.into_iter().map(|row| opinion(row, frame, number)));
            }
            heard.moves.extend(fusion.next_rows::<Move>("moves")?.unwrap_or_default());
        }
        heard.motion.push(motion);
        heard.interaction.push(interaction);
        Ok(())
    }

    /// Ends the stream; what is said last is heard too.
    fn end(&mut self, header: &Header, heard: &mut Heard) -> Result<()> {
        let stages =
            [&mut self.motion, &mut self.interaction].into_iter().chain(self.models.iter_mut().map(|(_, s)| s));
        for stage in stages {
            stage.end(header)?;
            for output in ["motion", "interaction", "opinions"] {
                while stage.next(output).is_some() {}
            }
        }
        if let Some(fusion) = &mut self.fusion {
            fusion.end(header)?;
            while fusion.next("scores").is_some() {}
            while let Some(body) = fusion.next("moves") {
                if let Body::Data(Payload::Table(table)) = body {
                    heard.moves.extend(<Move as sideline_api::Table>::decode(&table)?);
                }
            }
        }
        Ok(())
    }
}

fn opinion(row: Scores, frame: usize, judge: usize) -> Opinion {
    let person = row.track.saturating_sub(1) as usize;
    Opinion { person, frame, judge, labels: row.labels, probabilities: row.probabilities }
}

/// Every recording is a stream of its own: nothing of one is remembered in the next.
fn header(recording: &Recording, frame: usize) -> Header {
    let pts = (frame as f64 * 1e9 / RATE).round() as i64;
    let stream = format!("{}/{}", recording.set.name, recording.name);
    Header::new(stream, frame as u64, pts)
}

/// As the key `model` names them: every ONNX file of a folder, or those of models.yml.
fn models(folder: Option<&Path>) -> Result<Vec<String>> {
    let Some(folder) = folder else { return Ok(MOVE_MODELS.map(Into::into).to_vec()) };
    let entries = std::fs::read_dir(folder).or_fail(Failure::Model, || folder.display().to_string())?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "onnx"));
    files.sort();
    if files.is_empty() {
        let message = format!("{}: no file that ends in .onnx; models/train makes them", folder.display());
        return Err(Error { failure: Failure::Model, ..Error::other(message) });
    }
    // Absolute: a name without a folder would be one of models.yml.
    files
        .iter()
        .map(|path| std::path::absolute(path).map(|path| text(&path)))
        .collect::<std::io::Result<_>>()
        .or_fail(Failure::Model, || folder.display().to_string())
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Reads what a model's file says of itself.
#[cfg(feature = "onnx")]
fn about(workshop: &Workshop, model: &str) -> Result<About> {
    let session = sideline_inference::Session::load(&workshop.resources(model, vec![], vec![]), model)?;
    let said = |key: &str| session.metadata(key).map(Option::unwrap_or_default);
    let number = |key: &str| Ok::<_, Error>(said(key)?.parse::<f64>().ok().filter(|value| *value >= 0.0));
    let steps =
        session.inputs().find(|input| input.name() == "motion").and_then(|input| input.shape()?.get(1).copied());
    let scale = RATE / number("sideline.rate")?.filter(|rate| *rate > 0.0).unwrap_or(RATE);
    let frames = |steps: f64| (steps * scale).round() as usize;
    Ok(About {
        name: said("sideline.model")?,
        window: frames(steps.unwrap_or_default() as f64),
        focus: frames(number("sideline.focus")?.unwrap_or_default()),
        trained_on: said("sideline.trained_on")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_in_the_training_is_read_from_the_models_own_words() {
        let about = |words: &str| About { name: "a".into(), window: 30, focus: 9, trained_on: words.into() };
        let model = about("vicon:1-5,7 synthetic");
        let seen = |set, person| model.has_seen(set, person);
        assert!(seen("vicon", "sub1") && seen("vicon", "sub7") && seen("synthetic", "12-1"));
        assert!(!seen("vicon", "sub6") && !seen("vicon", "sub10") && !seen("msr", "s01"));
        assert!(seen("vicon", "somebody"), "in doubt it has");
        assert!(about("vicon:all").has_seen("vicon", "sub9") && !about("").has_seen("vicon", "sub9"));
    }
}
