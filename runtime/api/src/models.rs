//! The models that are installed: models.yml tells their names, files and checksums.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::{Error, Failure, OrFail, Result, config::did_you_mean};

/// One model or clip of models.yml.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct ModelEntry {
    /// Name that configurations use.
    pub name: String,
    /// What it does.
    #[serde(default)]
    pub about: String,
    /// Package it comes from.
    #[serde(default)]
    pub package: String,
    /// Version of the package.
    #[serde(default)]
    pub version: String,
    /// File, relative to the folder that holds `models/`.
    pub path: PathBuf,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Licence of the weights.
    #[serde(default)]
    pub licence: String,
}

#[derive(Deserialize)]
struct Catalogue {
    models: Vec<ModelEntry>,
    #[serde(default)]
    clips: Vec<ModelEntry>,
}

/// The catalogue of models and where their files lie.
#[derive(Clone, Debug, Default)]
pub struct Models {
    home: PathBuf,
    models: Vec<ModelEntry>,
    clips: Vec<ModelEntry>,
}

impl Models {
    /// Reads `models/models.yml` in the house of Sideline.
    ///
    /// # Errors
    /// When the file cannot be read or is not a catalogue.
    pub fn open(home: impl Into<PathBuf>) -> Result<Self> {
        let home = home.into();
        let path = home.join("models/models.yml");
        let text = std::fs::read_to_string(&path).or_fail(Failure::Model, || path.display().to_string())?;
        let read: Catalogue = serde_yaml::from_str(&text).or_fail(Failure::Model, || path.display().to_string())?;
        Ok(Self { home, models: read.models, clips: read.clips })
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
                "model `{name}` is not installed ({} is missing): run `sideline models fetch {name}`",
                path.display()
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
                "model `{name}`: {} has SHA-256 {found}, models.yml says {}: delete it and run `sideline models fetch {name}`",
                path.display(),
                entry.sha256
            )));
        }
        Ok(path)
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
