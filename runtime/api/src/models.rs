//! The models that are installed: models.yml tells their names, files and checksums.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Error, Failure, OrFail, Result, config::did_you_mean, yaml};

/// The `registry` of files that are committed beside models.yml, as our own weights are: nothing is fetched for them.
pub const REPOSITORY: &str = "repository";

/// The `registry` of models that a user registered on this machine.
pub const OWN: &str = "own";
/// Where those are listed, relative to the folder that holds `models/`: beside models.yml, which is the repository's.
const OWN_CATALOGUE: &str = "models/own/models.yml";

/// One model or clip of models.yml.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct ModelEntry {
    /// Name that configurations use.
    pub name: String,
    /// What it does.
    #[serde(default)]
    pub about: String,
    /// Where it comes from: `npm`, `pypi`, `debian`, [`REPOSITORY`] or [`OWN`].
    #[serde(default)]
    pub registry: String,
    /// Package it comes from; empty for a file of the repository.
    #[serde(default)]
    pub package: String,
    /// Version of the package, or of our own weights.
    #[serde(default)]
    pub version: String,
    /// File, relative to the folder that holds `models/`.
    pub path: PathBuf,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Licence of the weights.
    #[serde(default)]
    pub licence: String,
    /// Of a detector: which decoder of the operator `detect` reads what it gives; else empty.
    #[serde(default)]
    pub decoder: String,
    /// Of a detector: what its classes are called, in their order, or the one word `coco` or `coco91`; else empty.
    #[serde(default)]
    pub labels: Vec<String>,
}

impl ModelEntry {
    /// What puts the file in place where it is missing or changed: the end of a message.
    pub fn mend(&self) -> String {
        if self.registry == REPOSITORY {
            format!("it is part of the repository: `git checkout -- {}` brings it back", self.path.display())
        } else if self.registry == OWN {
            format!("register it again: `sideline models add FILE --name {}`", self.name)
        } else {
            format!("run `sideline models fetch {}`", self.name)
        }
    }
}

/// The path of a model of one's own, where that is what a configuration names: it ends in `.onnx`, or has a folder before
/// it. `None` for a name of models.yml.
pub fn own_file(model: &str) -> Option<&Path> {
    let path = Path::new(model);
    let is_file = path.extension().is_some_and(|ending| ending == "onnx") || path.components().count() > 1;
    is_file.then_some(path)
}

#[derive(Default, Deserialize, Serialize)]
struct Catalogue {
    models: Vec<ModelEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    clips: Vec<ModelEntry>,
}

impl Catalogue {
    fn read(path: &Path) -> Result<Self> {
        let text = yaml::read_text(path).or_fail(Failure::Model, || path.display().to_string())?;
        yaml::from_str(&text).map_err(|broken| Error::model(broken.in_file(path.display())))
    }

    /// The models registered in a house; none where none ever was.
    fn own(home: &Path) -> Result<Self> {
        let path = home.join(OWN_CATALOGUE);
        if path.is_file() { Self::read(&path) } else { Ok(Self::default()) }
    }
}

/// The catalogue of models and where their files lie.
#[derive(Clone, Debug, Default)]
pub struct Models {
    home: PathBuf,
    models: Vec<ModelEntry>,
    clips: Vec<ModelEntry>,
}

impl Models {
    /// Reads `models/models.yml` in the house of Sideline, and what was registered there beside it.
    ///
    /// # Errors
    /// When a file cannot be read or is not a catalogue.
    pub fn open(home: impl Into<PathBuf>) -> Result<Self> {
        let home = home.into();
        let Catalogue { mut models, clips } = Catalogue::read(&home.join("models/models.yml"))?;
        models.extend(Catalogue::own(&home)?.models);
        Ok(Self { home, models, clips })
    }

    /// Registers a model under `entry.name`, in the place of one that was registered under it before: its file is copied into
    /// the Sideline home, its checksum kept. `entry` says the rest of what is known of it. `prove` is given the copy before
    /// anything is registered or replaced: a file may need others beside it, which are not copied. Returns the entry as it
    /// is listed now.
    ///
    /// # Errors
    /// When the name is no plain word or one of models.yml, the Sideline home cannot be written, or `prove` fails.
    pub fn register(
        &mut self,
        file: &Path,
        entry: ModelEntry,
        prove: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<ModelEntry> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        let name = entry.name.clone();
        if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) || own_file(&name).is_some() {
            return Err(Error::config(format!(
                "`{name}` is no name for a model: letters, digits, `_`, `-` and `.` make one, and it does not end in .onnx; \
                 give one with `--name`"
            )));
        }
        if self.models.iter().any(|model| model.name == name && model.registry != OWN) {
            return Err(Error::config(format!("models.yml has a model `{name}`: give another name with `--name`")));
        }
        let path = PathBuf::from(format!("models/own/{name}.onnx"));
        let folder = self.home.join("models/own");
        std::fs::create_dir_all(&folder).or_fail(Failure::Output, || folder.display().to_string())?;
        let copy = Part::of(&self.home.join(&path));
        copy.write(|part| std::fs::copy(file, part).map(drop))?;
        prove(&copy.part)?;
        let entry = ModelEntry { registry: OWN.into(), path, sha256: sha256(&copy.part)?, ..entry };
        let mut own = Catalogue::own(&self.home)?;
        own.models.retain(|model| model.name != name);
        own.models.push(entry.clone());
        let text = serde_yaml::to_string(&own).or_fail(Failure::Model, || OWN_CATALOGUE.to_owned())?;
        copy.put()?;
        let catalogue = Part::of(&self.home.join(OWN_CATALOGUE));
        catalogue.write(|part| std::fs::write(part, &text))?;
        catalogue.put()?;
        self.models.retain(|model| model.name != name);
        self.models.push(entry.clone());
        Ok(entry)
    }

    /// The folder that holds `models/`.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// All models.
    pub fn models(&self) -> &[ModelEntry] {
        &self.models
    }

    /// All clips.
    pub fn clips(&self) -> &[ModelEntry] {
        &self.clips
    }

    /// The file of a model, which exists; its content is not read.
    ///
    /// # Errors
    /// When the model is unknown or its file is missing.
    pub fn present(&self, name: &str) -> Result<(PathBuf, &ModelEntry)> {
        let entry = self.models.iter().find(|entry| entry.name == name).ok_or_else(|| {
            if self.models.is_empty() {
                return Error::model(format!(
                    "model `{name}` is needed, and no models/models.yml was found from the flow, the working directory or \
                     the program upwards: set SIDELINE_HOME to the folder that holds `models`"
                ));
            }
            let names: Vec<&str> = self.models.iter().map(|entry| entry.name.as_str()).collect();
            Error::model(format!(
                "there is no model `{name}` in models.yml{}",
                did_you_mean(name, names.iter().copied())
            ))
        })?;
        let path = self.home.join(&entry.path);
        if !path.is_file() {
            return Err(Error::model(format!(
                "model `{name}` is not installed ({} is missing): {}",
                path.display(),
                entry.mend()
            )));
        }
        Ok((path, entry))
    }

    /// The file of a model, its checksum verified.
    ///
    /// # Errors
    /// When the model is unknown, its file missing or changed.
    pub fn verified(&self, name: &str) -> Result<PathBuf> {
        let (path, entry) = self.present(name)?;
        let found = sha256(&path)?;
        if found != entry.sha256 {
            return Err(Error::model(format!(
                "model `{name}`: {} has SHA-256 {found}, models.yml says {}: delete it, then {}",
                path.display(),
                entry.sha256,
                entry.mend()
            )));
        }
        Ok(path)
    }
}

/// A file that is written beside the one it will replace, so that there is at every moment the old one, the new one, or none.
/// Dropped before [`Self::put`] it leaves nothing behind.
struct Part {
    file: PathBuf,
    part: PathBuf,
}

impl Part {
    fn of(file: &Path) -> Self {
        Self { file: file.to_owned(), part: file.with_extension(format!("{}.part", std::process::id())) }
    }

    fn write(&self, write: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<()> {
        write(&self.part).or_fail(Failure::Output, || self.refusal())
    }

    /// Puts what was written in the file's place.
    fn put(self) -> Result<()> {
        std::fs::rename(&self.part, &self.file).or_fail(Failure::Output, || self.refusal())
    }

    fn refusal(&self) -> String {
        format!("{}: the folder must be writable, or set SIDELINE_HOME to a copy of it that is", self.file.display())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.part);
        // Only a folder that was made for it is empty.
        let _ = self.part.parent().map(std::fs::remove_dir);
    }
}

/// SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// When the file cannot be read.
pub fn sha256(path: &Path) -> Result<String> {
    let mut file = std::fs::File::open(path).or_fail(Failure::Model, || path.display().to_string())?;
    let mut hash = Sha256::new();
    let mut block = vec![0; 1 << 16];
    loop {
        let n = file.read(&mut block).or_fail(Failure::Model, || path.display().to_string())?;
        if n == 0 {
            break;
        }
        hash.update(&block[..n]);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_from_names() {
        for path in ["own.onnx", "folder/own", "../own.onnx", "/own.onnx"] {
            assert_eq!(own_file(path), Some(Path::new(path)));
        }
        for name in ["lstm", "blazepose_lite", "v1.2"] {
            assert_eq!(own_file(name), None);
        }
    }

    #[test]
    fn a_file_of_the_repository_is_mended_from_there_and_any_other_is_fetched() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("models")).unwrap();
        let catalogue = "models:\n\
            - {name: ours, registry: repository, path: models/ours.onnx, sha256: 00}\n\
            - {name: theirs, registry: npm, path: models/theirs.onnx, sha256: 00}\n";
        std::fs::write(folder.path().join("models/models.yml"), catalogue).unwrap();
        let models = Models::open(folder.path()).unwrap();
        let wrong = |name: &str| models.verified(name).unwrap_err().message;
        for state in ["is not installed", "has SHA-256"] {
            let (ours, theirs) = (wrong("ours"), wrong("theirs"));
            assert!(ours.contains(state) && ours.contains("`git checkout -- models/ours.onnx`"), "{ours}");
            assert!(theirs.contains(state) && theirs.contains("`sideline models fetch theirs`"), "{theirs}");
            for name in ["ours", "theirs"] {
                std::fs::write(folder.path().join(format!("models/{name}.onnx")), b"another").unwrap();
            }
        }
    }

    #[test]
    fn a_registered_model_is_listed_beside_the_others_with_its_checksum() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("models")).unwrap();
        let catalogue = "models:\n- {name: theirs, registry: npm, path: models/theirs.onnx, sha256: 00}\n";
        std::fs::write(folder.path().join("models/models.yml"), catalogue).unwrap();
        let file = folder.path().join("exported.onnx");
        let add = |bytes: &[u8], name: &str| {
            std::fs::write(&file, bytes).unwrap();
            let entry = ModelEntry { name: name.into(), decoder: "yolov8".into(), ..ModelEntry::default() };
            Models::open(folder.path()).unwrap().register(&file, entry, |_| Ok(()))
        };
        let entry = add(b"weights", "mine").unwrap();
        std::fs::remove_file(&file).unwrap();
        let models = Models::open(folder.path()).unwrap();
        assert_eq!(models.models().iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["theirs", "mine"]);
        assert_eq!(models.present("mine").unwrap().1, &entry);
        assert_eq!(std::fs::read(models.verified("mine").unwrap()).unwrap(), b"weights");
        // models.yml is not ours to write.
        assert_eq!(std::fs::read_to_string(folder.path().join("models/models.yml")).unwrap(), catalogue);
        // Again: the new one counts. Changed behind our back: the checksum tells.
        add(b"better weights", "mine").unwrap();
        let models = Models::open(folder.path()).unwrap();
        assert_eq!(models.models().len(), 2);
        let path = models.verified("mine").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"better weights");
        std::fs::write(path, b"other weights").unwrap();
        let changed = models.verified("mine").unwrap_err().message;
        assert!(changed.contains("`sideline models add FILE --name mine`"), "{changed}");
        // A copy that proves nothing good replaces nothing.
        std::fs::write(&file, b"useless").unwrap();
        let entry = ModelEntry { name: "mine".into(), ..ModelEntry::default() };
        let refused = Models::open(folder.path()).unwrap().register(&file, entry, |copy| {
            assert_eq!(std::fs::read(copy).unwrap(), b"useless");
            Err(Error::model("no"))
        });
        assert_eq!(refused.unwrap_err().message, "no");
        let left: Vec<_> = std::fs::read_dir(folder.path().join("models/own")).unwrap().flatten().collect();
        assert_eq!(left.len(), 2, "the model and the catalogue: {left:?}");
        assert_eq!(std::fs::read(folder.path().join("models/own/mine.onnx")).unwrap(), b"other weights");
        for (name, said) in [("theirs", "models.yml has a model `theirs`"), ("a/b", "no name"), ("x.onnx", "no name")] {
            let refused = add(b"weights", name).unwrap_err().message;
            assert!(refused.contains(said), "{refused}");
        }
    }
}
