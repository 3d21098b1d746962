//! Class names of a model, and the selection of classes by name.

use std::{collections::BTreeMap, path::Path};

use sideline_api::{Error, Failure, OrFail, Resources, Result, config::did_you_mean, yaml};
use sideline_inference::Session;

/// The 80 classes of COCO (Lin et al. 2014), in the order in which models number them.
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
/// Numbers of COCO's categories, 0 to 90, that are unused.
const UNUSED_CATEGORIES: [usize; 11] = [0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83];

/// Returns the names of `coco` (80 classes) or `coco91` (numbered as COCO's categories, with gaps); `None` for another
/// word.
pub fn builtin(word: &str) -> Option<Vec<String>> {
    match word {
        "coco" => Some(COCO.map(String::from).into()),
        "coco91" => {
            let mut names = COCO.into_iter();
            let name = |number| if UNUSED_CATEGORIES.contains(&number) { "" } else { names.next().unwrap_or_default() };
            Some((0..91).map(name).map(String::from).collect())
        }
        _ => None,
    }
}

/// Resolves the labels of an entry in models.yml: a list of names, or one word for a built-in list.
pub fn resolve(labels: &[String]) -> Vec<String> {
    match labels {
        [word] => builtin(word).unwrap_or_else(|| labels.to_vec()),
        _ => labels.to_vec(),
    }
}

/// Reads names from a file: one per line, where an empty line is a class that is never selected, or a list or table as
/// in metadata.
///
/// # Errors
/// The file cannot be read or holds no name.
pub fn from_file(path: &Path) -> Result<Vec<String>> {
    let text = yaml::read_text(path).or_fail(Failure::Config, || path.display().to_string())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let names = match text.trim_start().starts_with(['{', '[']) {
        true => parse_metadata(text).ok_or_else(|| {
            Error::config(format!("{}: neither a list nor a table of names; write one name per line", path.display()))
        })?,
        false => text.trim_end().lines().map(|line| line.trim().to_owned()).collect(),
    };
    if names.iter().all(String::is_empty) {
        return Err(Error::config(format!("{}: contains no names; write one name per line", path.display())));
    }
    Ok(names)
}

/// Returns the names of the key `labels`; `None` where it is empty.
///
/// # Errors
/// The file is missing or empty.
pub fn from_key(key: &str, resources: &Resources) -> Result<Option<Vec<String>>> {
    if key.is_empty() {
        return Ok(None);
    }
    if let Some(names) = builtin(key) {
        return Ok(Some(names));
    }
    let file = resources.find(key).map_err(|missing| {
        Error::config(format!("`labels` is neither `coco` nor `coco91`, and as a file: {}", missing.message))
    })?;
    from_file(&file).map(Some)
}

/// Metadata keys under which exporters write class names.
const METADATA_KEYS: [&str; 4] = ["names", "class_names", "classes", "labels"];

/// Reads the class names from a model's metadata; `None` where it has none.
///
/// # Errors
/// ONNX Runtime cannot read the metadata.
pub fn from_model(session: &Session) -> Result<Option<Vec<String>>> {
    for key in METADATA_KEYS {
        if let Some(names) = session.metadata(key)?.as_deref().and_then(parse_metadata) {
            return Ok(Some(names));
        }
    }
    Ok(None)
}

/// Parses names in the formats of exporters: a dictionary from numbers to names, in Python or JSON notation, or from
/// names to numbers; a list; one name per line, or separated by commas; `coco`, `coco91`.
pub fn parse_metadata(text: &str) -> Option<Vec<String>> {
    let text = text.trim();
    if let Some(names) = builtin(text) {
        return Some(names);
    }
    if let Ok(names) = yaml::from_str::<Vec<String>>(text) {
        return (!names.is_empty()).then_some(names);
    }
    if text.starts_with('{') || text.contains(": ") {
        return parse_numbered(text);
    }
    let separator = if text.contains('\n') { '\n' } else { ',' };
    let names: Vec<String> = text.split(separator).map(|name| name.trim().to_owned()).collect();
    names.iter().any(|name| !name.is_empty()).then_some(names)
}

/// Parses a dictionary of numbers and names into the order of the numbers; a missing number is a class without a name.
fn parse_numbered(text: &str) -> Option<Vec<String>> {
    let integer_keys = || yaml::from_str::<BTreeMap<usize, String>>(text).ok();
    // JSON keys are always strings.
    let string_keys = || {
        let names: BTreeMap<String, String> = yaml::from_str(text).ok()?;
        names.into_iter().map(|(number, name)| Some((number.trim().parse().ok()?, name))).collect()
    };
    let inverted = || {
        let numbers: BTreeMap<String, usize> = yaml::from_str(text).ok()?;
        Some(numbers.into_iter().map(|(name, number)| (number, name)).collect())
    };
    let names: BTreeMap<usize, String> = integer_keys().or_else(string_keys).or_else(inverted)?;
    let max = *names.keys().next_back()?;
    // An absurd class number must not exhaust memory.
    (max < usize::from(u16::MAX))
        .then(|| (0..=max).map(|number| names.get(&number).cloned().unwrap_or_default()).collect())
}

/// Returns true for two names of one class: `Player` and `player` are equal.
fn is_same_name(a: &str, b: &str) -> bool {
    a.trim().to_lowercase() == b.trim().to_lowercase()
}

/// The classes that a key selects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClassFilter {
    /// Per class: true where it is selected.
    pub classes: Vec<bool>,
}

impl ClassFilter {
    /// Selects classes by name, ignoring case; `all` selects every class with a name. `optional` names may be missing,
    /// since no model has all of them.
    ///
    /// # Errors
    /// The model does not have a named class; the error suggests the most similar name.
    pub fn new(key: &str, selected: &[String], optional: &[&str], labels: &[String]) -> Result<Self> {
        let named = || labels.iter().map(String::as_str).filter(|label| !label.is_empty());
        let is_missing = |name: &&String| {
            !is_same_name(name, "all")
                && !optional.iter().any(|optional| is_same_name(name, optional))
                && !labels.iter().any(|label| is_same_name(label, name))
        };
        if let Some(name) = selected.iter().find(is_missing) {
            let hint = did_you_mean(name, named().collect::<Vec<_>>());
            return Err(Error::config(format!("`{key}`: the model has no class `{name}`{hint}")));
        }
        let is_selected = |label: &String| {
            !label.is_empty() && selected.iter().any(|name| is_same_name(name, label) || is_same_name(name, "all"))
        };
        Ok(Self { classes: labels.iter().map(is_selected).collect() })
    }

    /// Returns true where no class is selected.
    pub fn is_empty(&self) -> bool {
        !self.classes.contains(&true)
    }

    /// Returns true for a selected class.
    pub fn contains(&self, class: u16) -> bool {
        self.classes.get(usize::from(class)) == Some(&true)
    }

    /// Returns the union of two selections.
    pub fn union(mut self, other: &Self) -> Self {
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
    fn coco_has_both_numberings() {
        let (short, long) = (builtin("coco").unwrap(), builtin("coco91").unwrap());
        assert_eq!((short.len(), short[0].as_str(), short[32].as_str()), (80, "person", "sports ball"));
        assert_eq!((long.len(), long[1].as_str(), long[37].as_str()), (91, "person", "sports ball"));
        assert_eq!((long[0].as_str(), long[12].as_str(), long[90].as_str()), ("", "", "toothbrush"));
        assert_eq!(builtin("voc"), None);
    }

    #[test]
    fn names_are_parsed_from_metadata_formats() {
        let found = parse_metadata("{0: 'person', 1: \"driver's seat\", 3: 'ball'}").unwrap();
        assert_eq!(found, ["person", "driver's seat", "", "ball"]);
        assert_eq!(parse_metadata("{99999999999: 'x'}"), None);
        assert_eq!(parse_metadata(" \n"), None);
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
            assert_eq!(parse_metadata(written).unwrap(), ["person", "ball"], "{written}");
        }
        assert_eq!(parse_metadata("coco").unwrap().len(), 80);
    }

    #[test]
    fn class_names_ignore_case() {
        let labels = names(&["Player", "BALL"]);
        let people = ClassFilter::new("people", &names(&["person", "player"]), &["Person"], &labels).unwrap();
        assert_eq!(people.classes, [true, false]);
        assert_eq!(ClassFilter::new("classes", &names(&["ALL"]), &[], &labels).unwrap().classes, [true, true]);
    }

    #[test]
    fn an_unknown_class_is_refused_with_a_suggestion() {
        let labels = names(&["player", "", "ball"]);
        let wrong = ClassFilter::new("classes", &names(&["plaier"]), &[], &labels).unwrap_err();
        assert_eq!(wrong.message, "`classes`: the model has no class `plaier`; did you mean `player`?");
        let far = ClassFilter::new("classes", &names(&["xyz"]), &[], &labels).unwrap_err();
        assert!(far.message.ends_with("no class `xyz`; there are player, ball"), "{}", far.message);
        let usual = ClassFilter::new("people", &names(&["person", "player"]), &["person"], &labels).unwrap();
        assert_eq!(usual.classes, [true, false, false]);
        assert_eq!(ClassFilter::new("classes", &names(&["all"]), &[], &labels).unwrap().classes, [true, false, true]);
    }

    #[test]
    fn label_files_are_read_and_one_without_names_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("labels.txt");
        std::fs::write(&file, "player\n\nball\n\n").unwrap();
        assert_eq!(from_file(&file).unwrap(), ["player", "", "ball"]);
        std::fs::write(&file, "\u{feff}{\"0\": \"player\", \"1\": \"ball\"}\n").unwrap();
        assert_eq!(from_file(&file).unwrap(), ["player", "ball"]);
        std::fs::write(&file, "\n \n").unwrap();
        assert!(from_file(&file).unwrap_err().message.contains("contains no names"));
    }
}
