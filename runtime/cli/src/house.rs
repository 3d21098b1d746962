//! Sideline home: the folder with models, and with the files that a flow names without a path.

use std::path::{Path, PathBuf};

use sideline_api::models::Models;
use sideline_system::owner::{self, Ancestors};

/// The catalog that makes a folder a Sideline home, relative to it.
const CATALOG: &str = "models/models.yml";

/// Sideline home, and one that was found but not taken.
#[derive(Debug, Default, PartialEq)]
pub struct Lookup {
    /// The folder, where there is one.
    pub home: Option<PathBuf>,
    /// A nearer one that others than the user and root can change, or that lies above what they can.
    pub passed_over: Option<PathBuf>,
}

impl Lookup {
    /// The end of a message on what was passed over; empty where nothing was.
    pub fn note(&self) -> String {
        let Some(folder) = &self.passed_over else { return String::new() };
        let text = "is passed over: others than you and root can put files there, or on the way to it; if you trust \
                    what it holds, set SIDELINE_HOME to it";
        format!("{} {text}", folder.display())
    }
}

/// The folder that holds `models/models.yml`: `SIDELINE_HOME`, else looked for upwards from the flow (`beside`), the
/// working directory and the executable, else the user's data folder.
///
/// Its models and its libraries decide what this process does. So it is looked for only where nobody but the user and
/// root can have put it; what `SIDELINE_HOME` names is taken as it is.
pub fn look_up(beside: &Path) -> Lookup {
    if let Some(home) = std::env::var_os("SIDELINE_HOME") {
        return Lookup { home: Some(home.into()), passed_over: None };
    }
    let starts = [Some(beside.to_owned()), std::env::current_dir().ok(), std::env::current_exe().ok()];
    let ways = starts.into_iter().flatten().filter_map(|start| Ancestors::walk(&start).ok());
    let data = std::env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/share")))
        .map(|data| data.join("sideline"));
    let data =
        data.filter(|data| data.is_dir()).map(|data| if owner::is_trusted(&data) { only(data) } else { barred(data) });
    first(ways.chain(data))
}

fn only(folder: PathBuf) -> Ancestors {
    Ancestors { folders: vec![folder], barred: None }
}

fn barred(folder: PathBuf) -> Ancestors {
    Ancestors { folders: vec![], barred: Some(folder) }
}

/// The first home on some ways up.
fn first(ways: impl IntoIterator<Item = Ancestors>) -> Lookup {
    let mut lookup = Lookup::default();
    for way in ways {
        let (mut trusted, mut others) = (vec![], vec![]);
        for folder in way.folders.into_iter().filter(|folder| folder.join(CATALOG).is_file()) {
            let planted = owner::first_untrusted(&folder, Path::new(CATALOG)).is_some();
            if planted { &mut others } else { &mut trusted }.push(folder);
        }
        let above = way.barred.iter().flat_map(|folder| folder.ancestors());
        others.extend(above.filter(|folder| folder.join(CATALOG).is_file()).map(Path::to_owned));
        lookup.home = trusted.into_iter().next();
        if lookup.home.is_some() {
            break;
        }
        lookup.passed_over = lookup.passed_over.or(others.into_iter().next());
    }
    lookup
}

/// Sideline home ([`look_up`]).
pub fn home(beside: &Path) -> Option<PathBuf> {
    look_up(beside).home
}

/// The catalog of models; empty, with a warning, when there is no home or its catalog is broken.
pub fn models(beside: &Path) -> Models {
    let lookup = look_up(beside);
    if lookup.passed_over.is_some() {
        tracing::warn!("{}", lookup.note());
    }
    let Some(home) = lookup.home else {
        tracing::debug!("no models/models.yml found; set SIDELINE_HOME to the folder that holds `models`");
        return Models::default();
    };
    Models::open(&home).unwrap_or_else(|error| {
        tracing::warn!(%error, "the catalog of models cannot be read");
        Models::default()
    })
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt};

    use super::*;

    /// A folder with a catalog, and a flow two levels below it.
    fn house() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let flows = folder.path().join("shared/flows");
        std::fs::create_dir_all(&flows).unwrap();
        std::fs::create_dir(folder.path().join("models")).unwrap();
        std::fs::write(folder.path().join(CATALOG), "models: []").unwrap();
        set(&folder.path().join("models"), 0o755);
        set(&folder.path().join(CATALOG), 0o644);
        set(&folder.path().join("shared"), 0o755);
        set(&flows, 0o755);
        (folder, flows.join("flow.yml"))
    }

    fn set(path: &Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn look(flow: &Path) -> Lookup {
        first([Ancestors::walk(flow).unwrap()])
    }

    #[test]
    fn home_is_found_upwards_and_not_through_a_folder_that_all_may_write_to() {
        let (folder, flow) = house();
        let home = folder.path().to_owned();
        assert_eq!(look(&flow), Lookup { home: Some(home.clone()), passed_over: None });
        for mode in [0o777, 0o1777] {
            set(&folder.path().join("shared"), mode);
            let found = look(&flow);
            assert_eq!(found, Lookup { home: None, passed_over: Some(home.clone()) });
            assert!(found.note().contains("set SIDELINE_HOME"));
        }
    }

    #[test]
    fn a_catalog_that_others_may_have_written_makes_no_home() {
        let (folder, flow) = house();
        for (place, mode) in [("models", 0o777), (CATALOG, 0o666)] {
            set(&folder.path().join(place), mode);
            assert_eq!(look(&flow).home, None, "{place}");
            set(&folder.path().join(place), 0o755);
        }
        assert_eq!(look(&flow).home.as_deref(), Some(folder.path()));
    }
}
