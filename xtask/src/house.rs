//! Where things are: the repository, the build, `.venv`.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use crate::error::{About, Error, Result};

/// The places every command needs.
#[derive(Debug)]
pub struct House {
    /// The repository's root.
    pub root: PathBuf,
    /// The folder of built programs: this one's own, so that cargo's settings need not be read again.
    pub programs: PathBuf,
    /// Where each step's output goes.
    pub logs: PathBuf,
}

impl House {
    /// Looks for them and makes the folder of logs.
    ///
    /// # Errors
    /// When this program does not stand in a build folder, or the logs' folder cannot be made.
    pub fn find() -> Result<Self> {
        // Asked of cargo now, not when this was built: two clones may share a build folder.
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map_or(env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        let root = manifest.parent().filter(|root| root.join("Cargo.toml").is_file()).ok_or_else(|| {
            Error::new(format!("{} is not there any more: start this as `cargo xtask`", manifest.display()))
        })?;
        let this = std::env::current_exe().about("this program's own path")?;
        let programs = this.parent().ok_or_else(|| Error::new("start this as `cargo xtask`"))?;
        let logs = programs.parent().unwrap_or(programs).join("xtask-logs");
        std::fs::create_dir_all(&logs).about(logs.display())?;
        Ok(House { root: root.into(), programs: programs.into(), logs })
    }

    /// A program of the `.venv`, as `python` or `dora`.
    pub fn venv(&self, program: &str) -> PathBuf {
        self.root.join(".venv/bin").join(program)
    }

    /// The built `sideline`.
    pub fn sideline(&self) -> PathBuf {
        self.programs.join("sideline")
    }

    /// `program`, to be run in the repository's root, with `dora` and `sideline` on its PATH.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).env("PATH", self.path());
        // The user's own home would hide this one's models. It is named, as the repository may belong to another user than
        // the one who runs this: who builds and runs its programs trusts it.
        command.env("SIDELINE_HOME", &self.root);
        command
    }

    /// cargo, in the repository's root, with the same build folder as the cargo that started this.
    pub fn cargo(&self) -> Command {
        let mut command = self.command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        if let Some(target) = std::env::var_os("CARGO_TARGET_DIR").filter(|target| !target.is_empty())
            && let Ok(absolute) = std::path::absolute(target)
        {
            command.env("CARGO_TARGET_DIR", absolute);
        }
        // What `cargo run` told this program about itself would look to build scripts (ring's) like a changed setting: they,
        // and half of the dependencies, would be built again, and once more by the user's own next `cargo build`.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(told_by_cargo_run)) {
            command.env_remove(name);
        }
        command
    }

    /// A path of the house, short where it is inside the repository.
    pub fn short<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }

    fn path(&self) -> OsString {
        let own = [self.programs.clone(), self.root.join(".venv/bin")];
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let joined = std::env::join_paths(own.into_iter().chain(std::env::split_paths(&inherited)));
        // Only a path with a colon in it cannot be joined.
        joined.unwrap_or(inherited)
    }
}

/// True for the variables that `cargo run` sets for the program it runs, and nothing else does.
fn told_by_cargo_run(name: &str) -> bool {
    let groups = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"];
    let single = ["CARGO", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE", "OUT_DIR", "LD_LIBRARY_PATH"];
    single.contains(&name) || groups.iter().any(|group| name.starts_with(group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_is_told_what_the_user_set_and_not_what_cargo_run_set() {
        for name in ["CARGO_PKG_NAME", "CARGO_PKG_VERSION_MAJOR", "CARGO_MANIFEST_DIR", "CARGO", "OUT_DIR"] {
            assert!(told_by_cargo_run(name), "{name}");
        }
        for name in ["CARGO_TARGET_DIR", "CARGO_HOME", "CARGO_INCREMENTAL", "CARGO_TERM_COLOR", "RUSTFLAGS", "PATH"] {
            assert!(!told_by_cargo_run(name), "{name}");
        }
    }
}
