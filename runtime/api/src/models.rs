//! Catalog of installed models: names, files and checksums from models.yml and from the user's registrations.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Error, Failure, OrFail, Result, config::did_you_mean, yaml};

/// `registry` of files that are committed beside models.yml, such as Sideline's own weights. They are never fetched.
pub const REPOSITORY: &str = "repository";

/// `registry` of models that a user has registered on this machine.
pub const USER: &str = "own";
/// Catalog of those models, relative to Sideline home. It is separate from models.yml, which belongs to the repository.
const USER_CATALOG: &str = "models/own/models.yml";

/// Entry of models.yml: a model or a clip.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct ModelEntry {
    /// Name of the model in configurations.
    pub name: String,
    /// Purpose in one sentence.
    #[serde(default)]
    pub about: String,
    /// Origin: `npm`, `pypi`, `debian`, [`REPOSITORY`] or [`USER`].
    #[serde(default)]
    pub registry: String,
    /// Package that contains the file; empty for a file of the repository.
    #[serde(default)]
    pub package: String,
    /// Version of the package, or of Sideline's own weights.
    #[serde(default)]
    pub version: String,
    /// Path of the file, relative to Sideline home.
    pub path: PathBuf,
    /// SHA-256 checksum of the file, in hexadecimal.
    pub sha256: String,
    /// License of the weights.
    #[serde(default, rename = "licence")]
    pub license: String,
    /// For a detector, the decoder of the operator `detect` that reads its outputs; else empty.
    #[serde(default)]
    pub decoder: String,
    /// For a detector, the names of its classes in order, or the single word `coco` or `coco91`; else empty.
    #[serde(default)]
    pub labels: Vec<String>,
}

impl ModelEntry {
    /// Returns the remedy for a file that is missing or changed, as the end of a message.
    pub fn repair_hint(&self) -> String {
        if self.registry == REPOSITORY {
            format!("it is part of the repository: `git checkout -- {}` restores it", self.path.display())
        } else if self.registry == USER {
            format!("register it again: `sideline models add FILE --name {}`", self.name)
        } else {
            format!("run `sideline models fetch {}`", self.name)
        }
    }
}

/// Returns the path if a configuration names a model file of the user: it ends in `.onnx` or contains a folder. Returns
/// `None` for a name in models.yml.
pub fn user_model_path(model: &str) -> Option<&Path> {
    let path = Path::new(model);
    let is_file = path.extension().is_some_and(|extension| extension == "onnx") || path.components().count() > 1;
    is_file.then_some(path)
}

#[derive(Default, Deserialize, Serialize)]
struct Catalog {
    models: Vec<ModelEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    clips: Vec<ModelEntry>,
}

impl Catalog {
    fn read(path: &Path) -> Result<Self> {
        let text = yaml::read_text(path).or_fail(Failure::Model, || path.display().to_string())?;
        yaml::from_str(&text).map_err(|error| Error::model(error.in_file(path.display())))
    }

    /// Reads the catalog of user models in a Sideline home; empty if there is none.
    fn read_user(home: &Path) -> Result<Self> {
        let path = home.join(USER_CATALOG);
        if path.is_file() { Self::read(&path) } else { Ok(Self::default()) }
    }
}

/// Catalog of models with the folder of their files.
#[derive(Clone, Debug, Default)]
pub struct Models {
    home: PathBuf,
    models: Vec<ModelEntry>,
    clips: Vec<ModelEntry>,
}

impl Models {
    /// Reads `models/models.yml` in a Sideline home, and the catalog of user models if there is one.
    ///
    /// # Errors
    /// When a file cannot be read or is not a catalog.
    pub fn open(home: impl Into<PathBuf>) -> Result<Self> {
        let home = home.into();
        let Catalog { mut models, clips } = Catalog::read(&home.join("models/models.yml"))?;
        models.extend(Catalog::read_user(&home)?.models);
        Ok(Self { home, models, clips })
    }

    /// Registers a user's model under `entry.name`, replacing an earlier registration of that name. The file is copied into
    /// Sideline home and its checksum is stored; `entry` gives the other fields. `validate` is called with the copy before
    /// anything is registered or replaced, because a model may need further files, which are not copied. Returns the stored
    /// entry.
    ///
    /// # Errors
    /// When the name is invalid or in models.yml, Sideline home is not writable, or `validate` fails.
    pub fn register(
        &mut self,
        file: &Path,
        entry: ModelEntry,
        validate: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<ModelEntry> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        let name = entry.name.clone();
        if name.is_empty() || name.starts_with('.') || !name.chars().all(is_allowed) || user_model_path(&name).is_some()
        {
            return Err(Error::config(format!(
                "`{name}` is no name for a model: a name has letters, digits, `_`, `-` and `.`, and does not end in .onnx; \
                 give one with `--name`"
            )));
        }
        if self.models.iter().any(|model| model.name == name && model.registry != USER) {
            return Err(Error::config(format!("models.yml has a model `{name}`: give another name with `--name`")));
        }
        let path = PathBuf::from(format!("models/own/{name}.onnx"));
        let folder = self.home.join("models/own");
        std::fs::create_dir_all(&folder).or_fail(Failure::Output, || folder.display().to_string())?;
        let copy = StagedFile::new(&self.home.join(&path));
        copy.write(|staged| std::fs::copy(file, staged).map(drop))?;
        validate(&copy.staged)?;
        let entry = ModelEntry { registry: USER.into(), path, sha256: sha256(&copy.staged)?, ..entry };
        let mut user = Catalog::read_user(&self.home)?;
        user.models.retain(|model| model.name != name);
        user.models.push(entry.clone());
        let text = serde_yaml::to_string(&user).or_fail(Failure::Model, || USER_CATALOG.to_owned())?;
        copy.commit()?;
        let catalog = StagedFile::new(&self.home.join(USER_CATALOG));
        catalog.write(|staged| std::fs::write(staged, &text))?;
        catalog.commit()?;
        self.models.retain(|model| model.name != name);
        self.models.push(entry.clone());
        Ok(entry)
    }

    /// Returns Sideline home, the folder that contains `models/`.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Returns all models.
    pub fn models(&self) -> &[ModelEntry] {
        &self.models
    }

    /// Returns all clips.
    pub fn clips(&self) -> &[ModelEntry] {
        &self.clips
    }

    /// Returns the path and the entry of a model whose file exists. The content is not verified.
    ///
    /// # Errors
    /// When the model is unknown or its file is missing.
    pub fn find_installed(&self, name: &str) -> Result<(PathBuf, &ModelEntry)> {
        let entry = self.models.iter().find(|entry| entry.name == name).ok_or_else(|| {
            if self.models.is_empty() {
                return Error::model(format!(
                    "model `{name}` is needed, and no models/models.yml was found above the flow, the working directory or \
                     the program: set SIDELINE_HOME to the folder that contains `models`"
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
                entry.repair_hint()
            )));
        }
        Ok((path, entry))
    }

    /// Returns the path of a model file after verifying its checksum.
    ///
    /// # Errors
    /// When the model is unknown, or its file is missing or changed.
    pub fn verify(&self, name: &str) -> Result<PathBuf> {
        let (path, entry) = self.find_installed(name)?;
        let found = sha256(&path)?;
        if found != entry.sha256 {
            return Err(Error::model(format!(
                "model `{name}`: {} has SHA-256 {found}, models.yml says {}: delete it, then {}",
                path.display(),
                entry.sha256,
                entry.repair_hint()
            )));
        }
        Ok(path)
    }
}

/// Temporary file beside the file that it will replace atomically. Dropping it before [`Self::commit`] removes it.
struct StagedFile {
    file: PathBuf,
    staged: PathBuf,
}

impl StagedFile {
    fn new(file: &Path) -> Self {
        Self { file: file.to_owned(), staged: file.with_extension(format!("{}.part", std::process::id())) }
    }

    fn write(&self, write: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<()> {
        write(&self.staged).or_fail(Failure::Output, || self.failure_message())
    }

    /// Renames the temporary file to the final name.
    fn commit(self) -> Result<()> {
        std::fs::rename(&self.staged, &self.file).or_fail(Failure::Output, || self.failure_message())
    }

    fn failure_message(&self) -> String {
        format!("{}: the folder must be writable, or set SIDELINE_HOME to a writable copy of it", self.file.display())
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.staged);
        // Removes the folder only if it was created for this file: it is then empty.
        let _ = self.staged.parent().map(std::fs::remove_dir);
    }
}

/// Returns the SHA-256 checksum of a file, in hexadecimal.
///
/// # Errors
/// When it is not a regular file (a device or a pipe may have no end), or cannot be read.
pub fn sha256(path: &Path) -> Result<String> {
    let metadata = std::fs::metadata(path).or_fail(Failure::Model, || path.display().to_string())?;
    if !metadata.is_file() {
        let kind = if metadata.is_dir() { "a folder" } else { "a device or pipe" };
        return Err(Error::model(format!("{} is {kind}, not a model file", path.display())));
    }
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
    fn a_checksum_of_a_device_is_refused_without_reading_it() {
        let error = sha256(Path::new("/dev/zero")).unwrap_err();
        assert!(error.message.contains("a device or pipe") && error.failure == Failure::Model, "{error}");
        assert!(sha256(Path::new("/")).unwrap_err().message.contains("a folder"));
    }

    #[test]
    fn paths_are_distinguished_from_names() {
        for path in ["own.onnx", "folder/own", "../own.onnx", "/own.onnx"] {
            assert_eq!(user_model_path(path), Some(Path::new(path)));
        }
        for name in ["lstm", "blazepose_lite", "v1.2"] {
            assert_eq!(user_model_path(name), None);
        }
    }

    #[test]
    fn a_file_of_the_repository_is_restored_by_git_and_any_other_is_fetched() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("models")).unwrap();
        let catalog = "models:\n\
            - {name: ours, registry: repository, path: models/ours.onnx, sha256: 00}\n\
            - {name: theirs, registry: npm, path: models/theirs.onnx, sha256: 00}\n";
        std::fs::write(folder.path().join("models/models.yml"), catalog).unwrap();
        let models = Models::open(folder.path()).unwrap();
        let error = |name: &str| models.verify(name).unwrap_err().message;
        for state in ["is not installed", "has SHA-256"] {
            let (ours, theirs) = (error("ours"), error("theirs"));
            assert!(ours.contains(state) && ours.contains("`git checkout -- models/ours.onnx`"), "{ours}");
            assert!(theirs.contains(state) && theirs.contains("`sideline models fetch theirs`"), "{theirs}");
            for name in ["ours", "theirs"] {
                std::fs::write(folder.path().join(format!("models/{name}.onnx")), b"another").unwrap();
            }
        }
    }

    #[test]
    fn a_registered_model_is_listed_with_the_others_and_its_checksum_is_verified() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("models")).unwrap();
        let catalog = "models:\n- {name: theirs, registry: npm, path: models/theirs.onnx, sha256: 00}\n";
        std::fs::write(folder.path().join("models/models.yml"), catalog).unwrap();
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
        assert_eq!(models.find_installed("mine").unwrap().1, &entry);
        assert_eq!(std::fs::read(models.verify("mine").unwrap()).unwrap(), b"weights");
        // Registering never changes models.yml.
        assert_eq!(std::fs::read_to_string(folder.path().join("models/models.yml")).unwrap(), catalog);
        // A second registration replaces the first. A file that is changed afterwards fails the checksum.
        add(b"better weights", "mine").unwrap();
        let models = Models::open(folder.path()).unwrap();
        assert_eq!(models.models().len(), 2);
        let path = models.verify("mine").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"better weights");
        std::fs::write(path, b"other weights").unwrap();
        let changed = models.verify("mine").unwrap_err().message;
        assert!(changed.contains("`sideline models add FILE --name mine`"), "{changed}");
        // A copy that fails the validation replaces nothing.
        std::fs::write(&file, b"useless").unwrap();
        let entry = ModelEntry { name: "mine".into(), ..ModelEntry::default() };
        let refused = Models::open(folder.path()).unwrap().register(&file, entry, |copy| {
            assert_eq!(std::fs::read(copy).unwrap(), b"useless");
            Err(Error::model("no"))
        });
        assert_eq!(refused.unwrap_err().message, "no");
        let left: Vec<_> = std::fs::read_dir(folder.path().join("models/own")).unwrap().flatten().collect();
        assert_eq!(left.len(), 2, "the model and the catalog: {left:?}");
        assert_eq!(std::fs::read(folder.path().join("models/own/mine.onnx")).unwrap(), b"other weights");
        for (name, expected) in
            [("theirs", "models.yml has a model `theirs`"), ("a/b", "no name"), ("x.onnx", "no name")]
        {
            let refused = add(b"weights", name).unwrap_err().message;
            assert!(refused.contains(expected), "{refused}");
        }
    }
}
