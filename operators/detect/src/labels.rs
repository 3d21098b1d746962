//! What a model's classes are called, and which of them are wanted.

use std::{collections::BTreeMap, path::Path};

use sideline_api::{Error, Failure, OrFail, Resources, Result, config::did_you_mean, yaml};
use sideline_inference::Session;

/// COCO's 80 classes (Lin et al. 2014), in the order in which models number them.
const COCO: [&str; 80] = [
    "person",
    "bicycle",
    "car",
    "motorcycle",
    "airplane",
    "bus",
    "train",
    "truck",
    "boat",
    "traffic light",
    "fire hydrant",
    "stop sign",
    "parking meter",
    "bench",
    "bird",
    "cat",
    "dog",
    "horse",
    "sheep",
    "cow",
    "elephant",
    "bear",
    "zebra",
    "giraffe",
    "backpack",
    "umbrella",
    "handbag",
    "tie",
    "suitcase",
    "frisbee",
    "skis",
    "snowboard",
    "sports ball",
    "kite",
    "baseball bat",
    "baseball glove",
    "skateboard",
    "surfboard",
    "tennis racket",
    "bottle",
    "wine glass",
    "cup",
    "fork",
    "knife",
    "spoon",
    "bowl",
    "banana",
    "apple",
    "sandwich",
    "orange",
    "broccoli",
    "carrot",
    "hot dog",
    "pizza",
    "donut",
    "cake",
    "chair",
    "couch",
    "potted plant",
    "bed",
    "dining table",
    "toilet",
    "tv",
    "laptop",
    "mouse",
    "remote",
    "keyboard",
    "cell phone",
    "microwave",
    "oven",
    "toaster",
    "sink",
    "refrigerator",
    "book",
    "clock",
    "vase",
    "scissors",
    "teddy bear",
    "hair drier",
    "toothbrush",
];
/// Numbers of COCO's categories, 0 to 90, that no class has.
const GAPS: [usize; 11] = [0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83];

/// The names of `coco` (80 classes) or `coco91` (numbered as COCO's categories are, with gaps); `None` for another word.
pub fn known(word: &str) -> Option<Vec<String>> {
    match word {
        "coco" => Some(COCO.map(String::from).into()),
        "coco91" => {
            let mut names = COCO.into_iter();
            let name = |number| if GAPS.contains(&number) { "" } else { names.next().unwrap_or_default() };
            Some((0..91).map(name).map(String::from).collect())
        }
        _ => None,
    }
}

/// The names that one word stands for, or the names themselves, as models.yml holds them.
pub fn resolved(labels: &[String]) -> Vec<String> {
    match labels {
        [word] => known(word).unwrap_or_else(|| labels.to_vec()),
        _ => labels.to_vec(),
    }
}

/// Reads names from a file: one a line, where an empty line is a class that is never wanted, or a list or table as metadata
/// hold it.
///
/// # Errors
/// When the file cannot be read or holds no name.
pub fn from_file(path: &Path) -> Result<Vec<String>> {
    let text = yaml::read_text(path).or_fail(Failure::Config, || path.display().to_string())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let names = match text.trim_start().starts_with(['{', '[']) {
        true => of_metadata(text).ok_or_else(|| {
            Error::config(format!("{}: neither a list nor a table of names; write one a line", path.display()))
        })?,
        false => text.trim_end().lines().map(|line| line.trim().to_owned()).collect(),
    };
    if names.iter().all(String::is_empty) {
        return Err(Error::config(format!("{}: no names in it; write one a line", path.display())));
    }
    Ok(names)
}

/// The names that the key `labels` stands for; `None` where it is empty.
///
/// # Errors
/// When the file is missing or empty.
pub fn of_key(key: &str, resources: &Resources) -> Result<Option<Vec<String>>> {
    if key.is_empty() {
        return Ok(None);
    }
    if let Some(names) = known(key) {
        return Ok(Some(names));
    }
    let file = resources.find(key).map_err(|missing| {
        Error::config(format!("`labels` is neither `coco` nor `coco91`, and as a file: {}", missing.message))
    })?;
    from_file(&file).map(Some)
}

/// Keys of a model's metadata under which exporters write the names of its classes.
const METADATA_KEYS: [&str; 4] = ["names", "class_names", "classes", "labels"];

/// Reads the names that a model's own metadata give its classes; `None` where they give none.
///
/// # Errors
/// When ONNX Runtime cannot read the metadata.
pub fn of_model(session: &Session) -> Result<Option<Vec<String>>> {
    for key in METADATA_KEYS {
        if let Some(names) = session.metadata(key)?.as_deref().and_then(of_metadata) {
            return Ok(Some(names));
        }
    }
    Ok(None)
}

/// Reads names as exporters write them: a dictionary from numbers to names, as Python prints it or as JSON, or from names to
/// numbers; a list; one name a line, or between commas; `coco`, `coco91`.
pub fn of_metadata(text: &str) -> Option<Vec<String>> {
    let text = text.trim();
    if let Some(names) = known(text) {
        return Some(names);
    }
    if let Ok(names) = yaml::from_str::<Vec<String>>(text) {
        return (!names.is_empty()).then_some(names);
    }
    if text.starts_with('{') || text.contains(": ") {
        return numbered(text);
    }
    let separator = if text.contains('\n') { '\n' } else { ',' };
    let names: Vec<String> = text.split(separator).map(|name| name.trim().to_owned()).collect();
    names.iter().any(|name| !name.is_empty()).then_some(names)
}

/// Reads a dictionary of numbers and names into the order of the numbers; a number without a name is a class without one.
fn numbered(text: &str) -> Option<Vec<String>> {
    let keys = || yaml::from_str::<BTreeMap<usize, String>>(text).ok();
    // JSON knows no other keys than text.
    let quoted = || {
        let names: BTreeMap<String, String> = yaml::from_str(text).ok()?;
        names.into_iter().map(|(number, name)| Some((number.trim().parse().ok()?, name))).collect()
    };
    let inverted = || {
        let numbers: BTreeMap<String, usize> = yaml::from_str(text).ok()?;
        Some(numbers.into_iter().map(|(name, number)| (number, name)).collect())
    };
    let names: BTreeMap<usize, String> = keys().or_else(quoted).or_else(inverted)?;
    let most = *names.keys().next_back()?;
    // A model of more classes than anybody has names for is not to fill the memory.
    (most < usize::from(u16::MAX))
        .then(|| (0..=most).map(|number| names.get(&number).cloned().unwrap_or_default()).collect())
}

/// True for two names of one class: people write `Player` and `player`.
fn same(a: &str, b: &str) -> bool {
    a.trim().to_lowercase() == b.trim().to_lowercase()
}

/// The classes that a key wants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chosen {
    /// For each class whether it is wanted.
    pub classes: Vec<bool>,
}

impl Chosen {
    /// The classes of these names, whatever their case; `all` is every one that has a name. `usual` are names that may be
    /// missing, since no model has all of them.
    ///
    /// # Errors
    /// Names a class that the model does not have, with the nearest that it has.
    pub fn new(key: &str, wanted: &[String], usual: &[&str], labels: &[String]) -> Result<Self> {
        let named = || labels.iter().map(String::as_str).filter(|label| !label.is_empty());
        let missing = |name: &&String| {
            !same(name, "all")
                && !usual.iter().any(|usual| same(name, usual))
                && !labels.iter().any(|label| same(label, name))
        };
        if let Some(name) = wanted.iter().find(missing) {
            let near = did_you_mean(name, named().collect::<Vec<_>>());
            return Err(Error::config(format!("`{key}`: the model has no class `{name}`{near}")));
        }
        let wanted =
            |label: &String| !label.is_empty() && wanted.iter().any(|name| same(name, label) || same(name, "all"));
        Ok(Self { classes: labels.iter().map(wanted).collect() })
    }

    /// True where no class is wanted.
    pub fn is_empty(&self) -> bool {
        !self.classes.contains(&true)
    }

    /// True for a class that is wanted.
    pub fn has(&self, class: u16) -> bool {
        self.classes.get(usize::from(class)) == Some(&true)
    }

    /// These and others.
    pub fn with(mut self, other: &Self) -> Self {
        self.classes.iter_mut().zip(&other.classes).for_each(|(mine, theirs)| *mine |= theirs);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn coco_is_numbered_in_both_ways() {
        let (short, long) = (known("coco").unwrap(), known("coco91").unwrap());
        assert_eq!((short.len(), short[0].as_str(), short[32].as_str()), (80, "person", "sports ball"));
        assert_eq!((long.len(), long[1].as_str(), long[37].as_str()), (91, "person", "sports ball"));
        assert_eq!((long[0].as_str(), long[12].as_str(), long[90].as_str()), ("", "", "toothbrush"));
        assert_eq!(known("voc"), None);
    }

    #[test]
    fn names_come_out_of_metadata() {
        let found = of_metadata("{0: 'person', 1: \"driver's seat\", 3: 'ball'}").unwrap();
        assert_eq!(found, ["person", "driver's seat", "", "ball"]);
        assert_eq!(of_metadata("{99999999999: 'x'}"), None);
        assert_eq!(of_metadata(" \n"), None);
        for written in [
            r#"{"0": "person", "1": "ball"}"#,
            "{0: 'person', 1: 'ball'}",
            "{'person': 0, 'ball': 1}",
            "['person', 'ball']",
            r#"["person", "ball"]"#,
            "person\nball",
            "person, ball",
            "0: person\n1: ball\n",
        ] {
            assert_eq!(of_metadata(written).unwrap(), ["person", "ball"], "{written}");
        }
        assert_eq!(of_metadata("coco").unwrap().len(), 80);
    }

    #[test]
    fn case_does_not_tell_classes_apart() {
        let labels = names(&["Player", "BALL"]);
        let people = Chosen::new("people", &names(&["person", "player"]), &["Person"], &labels).unwrap();
        assert_eq!(people.classes, [true, false]);
        assert_eq!(Chosen::new("classes", &names(&["ALL"]), &[], &labels).unwrap().classes, [true, true]);
    }

    #[test]
    fn a_class_the_model_does_not_have_is_named_with_the_nearest() {
        let labels = names(&["player", "", "ball"]);
        let wrong = Chosen::new("classes", &names(&["plaier"]), &[], &labels).unwrap_err();
        assert_eq!(wrong.message, "`classes`: the model has no class `plaier`; did you mean `player`?");
        let far = Chosen::new("classes", &names(&["xyz"]), &[], &labels).unwrap_err();
        assert!(far.message.ends_with("no class `xyz`; there are player, ball"), "{}", far.message);
        let usual = Chosen::new("people", &names(&["person", "player"]), &["person"], &labels).unwrap();
        assert_eq!(usual.classes, [true, false, false]);
        assert_eq!(Chosen::new("classes", &names(&["all"]), &[], &labels).unwrap().classes, [true, false, true]);
    }

    #[test]
    fn a_file_without_names_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("labels.txt");
        std::fs::write(&file, "player\n\nball\n\n").unwrap();
        assert_eq!(from_file(&file).unwrap(), ["player", "", "ball"]);
        std::fs::write(&file, "\u{feff}{\"0\": \"player\", \"1\": \"ball\"}\n").unwrap();
        assert_eq!(from_file(&file).unwrap(), ["player", "ball"]);
        std::fs::write(&file, "\n \n").unwrap();
        assert!(from_file(&file).unwrap_err().message.contains("no names in it"));
    }
}
