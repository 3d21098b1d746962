//! Where Sideline's own files are: models, and what a flow names without a path.

use std::path::{Path, PathBuf};

use sideline_api::models::Models;

/// The folder that holds `models/models.yml`: `SIDELINE_HOME`, else looked for upwards from the flow (`beside`), the
/// working directory and the executable, else the user's data folder.
pub fn home(beside: &Path) -> Option<PathBuf> {
    if let Some(home) = std::env::var_os("SIDELINE_HOME") {
        return Some(home.into());
    }
    let starts = [std::path::absolute(beside).ok(), std::env::current_dir().ok(), std::env::current_exe().ok()];
    let data = std::env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/share")))
        .map(|data| data.join("sideline"));
    starts
        .into_iter()
        .flatten()
        .flat_map(|start| start.ancestors().map(Path::to_owned).collect::<Vec<_>>())
        .chain(data)
        .find(|folder| folder.join("models/models.yml").is_file())
}

/// The catalogue of models; empty, with a warning, when there is no house or its catalogue is broken.
pub fn models(beside: &Path) -> Models {
    let Some(home) = home(beside) else {
        tracing::debug!("no models/models.yml found; set SIDELINE_HOME to the folder that holds `models`");
        return Models::default();
    };
    Models::open(&home).unwrap_or_else(|error| {
        tracing::warn!(%error, "the catalogue of models cannot be read");
        Models::default()
    })
}
