//! Sideline home: the folder with the models, where the files that a flow names are searched for last.

use std::path::{Path, PathBuf};

use sideline_api::models::Models;
use sideline_system::owner::{self, TrustedAncestors};

/// Path of the model catalog relative to Sideline home; a folder with this file is a Sideline home.
const CATALOG: &str = "models/models.yml";

/// Result of the search for Sideline home.
#[derive(Debug, Default, PartialEq)]
pub struct HomeLookup {
    /// Sideline home, if it was found.
    pub home: Option<PathBuf>,
    /// A candidate found earlier that was rejected, since users other than this one and root can write to it, to a part of it
    /// or to a folder on the path to it.
    pub rejected: Option<PathBuf>,
}

impl HomeLookup {
    /// Returns a sentence on the rejected candidate for a message; empty if there is none.
    pub fn rejection_note(&self) -> String {
        let Some(folder) = &self.rejected else { return String::new() };
        let text = "is not used as Sideline home: other users than you and root can write to it or to a folder on the path \
                    to it; if you trust its contents, set SIDELINE_HOME to it";
        format!("{} {text}", folder.display())
    }
}

/// Searches for the folder that holds `models/models.yml`: `SIDELINE_HOME`, else the nearest parent folder of the flow
/// (`beside`), of the working directory or of the executable, else the user's data folder.
///
/// The models and libraries in it determine what this process executes. A candidate is therefore accepted only if no other
/// user than this one and root can have created or changed it; `SIDELINE_HOME` is accepted without a check.
pub fn locate(beside: &Path) -> HomeLookup {
    if let Some(home) = named() {
        return HomeLookup { home: Some(home), rejected: None };
    }
    let starts = [Some(beside.to_owned()), std::env::current_dir().ok(), std::env::current_exe().ok()];
    let ancestors = starts.into_iter().flatten().filter_map(|start| TrustedAncestors::walk(&start).ok());
    let data = std::env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/share")))
        .map(|data| data.join("sideline"));
    let data = data
        .filter(|data| data.is_dir())
        .map(|data| if owner::is_trusted(&data) { trusted_folder(data) } else { untrusted_folder(data) });
    first_home(ancestors.chain(data))
}

fn trusted_folder(folder: PathBuf) -> TrustedAncestors {
    TrustedAncestors { folders: vec![folder], stopped_at: None }
}

fn untrusted_folder(folder: PathBuf) -> TrustedAncestors {
    TrustedAncestors { folders: vec![], stopped_at: Some(folder) }
}

/// Returns the first home in some sequences of ancestors, and the first rejected candidate before it.
fn first_home(searches: impl IntoIterator<Item = TrustedAncestors>) -> HomeLookup {
    let mut lookup = HomeLookup::default();
    for ancestors in searches {
        for folder in ancestors.folders.into_iter().filter(|folder| folder.join(CATALOG).is_file()) {
            if owner::first_untrusted(&folder, Path::new(CATALOG)).is_none() {
                lookup.home = Some(folder);
                return lookup;
            }
            lookup.rejected.get_or_insert(folder);
        }
        let mut above = ancestors.stopped_at.iter().flat_map(|folder| folder.ancestors());
        if lookup.rejected.is_none() {
            lookup.rejected = above.find(|folder| folder.join(CATALOG).is_file()).map(Path::to_owned);
        }
    }
    lookup
}

/// Returns the home that `SIDELINE_HOME` names; `None` if the variable is not set or empty.
pub fn named() -> Option<PathBuf> {
    std::env::var_os("SIDELINE_HOME").filter(|home| !home.is_empty()).map(PathBuf::from)
}

/// Returns Sideline home, as found by [`locate`].
pub fn find(beside: &Path) -> Option<PathBuf> {
    locate(beside).home
}

/// Loads the model catalog of Sideline home. Returns an empty one if there is no home, or, with a warning, if the catalog is
/// invalid.
pub fn load_models(beside: &Path) -> Models {
    let lookup = locate(beside);
    if lookup.rejected.is_some() {
        tracing::warn!("{}", lookup.rejection_note());
    }
    let Some(home) = lookup.home else {
        tracing::debug!("no models/models.yml found; set SIDELINE_HOME to the folder that contains `models`");
        return Models::default();
    };
    Models::open(&home).unwrap_or_else(|error| {
        tracing::warn!(%error, "the model catalog cannot be read");
        Models::default()
    })
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt};

    use super::*;

    /// Makes a folder with a catalog, and returns the path of a flow two levels below it.
    fn make_home() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let flows = folder.path().join("shared/flows");
        std::fs::create_dir_all(&flows).unwrap();
        std::fs::create_dir(folder.path().join("models")).unwrap();
        std::fs::write(folder.path().join(CATALOG), "models: []").unwrap();
        set_mode(&folder.path().join("models"), 0o755);
        set_mode(&folder.path().join(CATALOG), 0o644);
        set_mode(&folder.path().join("shared"), 0o755);
        set_mode(&flows, 0o755);
        (folder, flows.join("flow.yml"))
    }

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn search_from(flow: &Path) -> HomeLookup {
        first_home([TrustedAncestors::walk(flow).unwrap()])
    }

    #[test]
    fn home_is_found_in_parent_folders_up_to_a_world_writable_one() {
        let (folder, flow) = make_home();
        let home = folder.path().to_owned();
        assert_eq!(search_from(&flow), HomeLookup { home: Some(home.clone()), rejected: None });
        for mode in [0o777, 0o1777] {
            set_mode(&folder.path().join("shared"), mode);
            let found = search_from(&flow);
            assert_eq!(found, HomeLookup { home: None, rejected: Some(home.clone()) });
            assert!(found.rejection_note().contains("set SIDELINE_HOME"));
        }
    }

    #[test]
    fn a_folder_whose_catalog_is_writable_by_others_is_rejected() {
        let (folder, flow) = make_home();
        for (place, mode) in [("models", 0o777), (CATALOG, 0o666)] {
            set_mode(&folder.path().join(place), mode);
            assert_eq!(search_from(&flow).home, None, "{place}");
            set_mode(&folder.path().join(place), 0o755);
        }
        assert_eq!(search_from(&flow).home.as_deref(), Some(folder.path()));
    }
}
