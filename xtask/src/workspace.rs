//! Paths of the repository, the build folder and `.venv`, and commands that run in them.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use crate::error::{Context, Error, Result};

/// Paths that every command needs.
#[derive(Debug)]
pub struct Workspace {
    /// Root of the repository.
    pub root: PathBuf,
    /// Folder of built programs. It is that of this program, so that cargo's settings need not be evaluated.
    pub programs: PathBuf,
    /// Folder with the log of each step.
    pub logs: PathBuf,
}

impl Workspace {
    /// Finds the paths and creates the folder of logs.
    ///
    /// # Errors
    /// When this program is not in a build folder, or the folder of logs cannot be created.
    pub fn find() -> Result<Self> {
        // Read from cargo's environment at run time, because two clones may share a build folder.
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map_or(env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        let root = manifest.parent().filter(|root| root.join("Cargo.toml").is_file()).ok_or_else(|| {
            Error::new(format!("{} no longer exists: run this program as `cargo xtask`", manifest.display()))
        })?;
        let program = std::env::current_exe().context("this program's own path")?;
        let programs = program.parent().ok_or_else(|| Error::new("run this program as `cargo xtask`"))?;
        let logs = programs.parent().unwrap_or(programs).join("xtask-logs");
        std::fs::create_dir_all(&logs).context(logs.display())?;
        Ok(Workspace { root: root.into(), programs: programs.into(), logs })
    }

    /// Returns the path of a program of `.venv`, such as `python` or `dora`.
    pub fn venv(&self, program: &str) -> PathBuf {
        self.root.join(".venv/bin").join(program)
    }

    /// Returns the path of the built `sideline`.
    pub fn sideline(&self) -> PathBuf {
        self.programs.join("sideline")
    }

    /// Returns the path of the built `sideline-lab`.
    pub fn lab(&self) -> PathBuf {
        self.programs.join("sideline-lab")
    }

    /// Returns a command that runs `program` in the root of the repository, with `dora` and `sideline` on its PATH.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).env("PATH", self.path());
        // Sideline home is set explicitly because a home of the user would hide the models of the repository. It is set
        // also if the repository belongs to another user: whoever builds and runs its programs trusts it.
        command.env("SIDELINE_HOME", &self.root);
        command
    }

    /// Returns a cargo command in the root of the repository, with the same build folder as the cargo that started this
    /// program.
    pub fn cargo(&self) -> Command {
        let mut command = self.command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        if let Some(target) = std::env::var_os("CARGO_TARGET_DIR").filter(|target| !target.is_empty())
            && let Ok(absolute) = std::path::absolute(target)
        {
            command.env("CARGO_TARGET_DIR", absolute);
        }
        // Variables that `cargo run` sets for this program would look like a changed setting to build scripts such as
        // ring's: they and half of the dependencies would be rebuilt now, and again by the next `cargo build` of the
        // user.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_set_by_cargo_run)) {
            command.env_remove(name);
        }
        command
    }

    /// Formats a path, relative to the root if it is inside the repository.
    pub fn short<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }

    /// Returns the PATH of commands: the built programs, `.venv`, and the inherited PATH.
    fn path(&self) -> OsString {
        let own = [self.programs.clone(), self.root.join(".venv/bin")];
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let joined = std::env::join_paths(own.into_iter().chain(std::env::split_paths(&inherited)));
        // Joining fails only for a path that contains a colon.
        joined.unwrap_or(inherited)
    }
}

/// Returns true for variables that only `cargo run` sets, for the program that it runs.
fn is_set_by_cargo_run(name: &str) -> bool {
    let groups = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"];
    let single = ["CARGO", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE", "OUT_DIR", "LD_LIBRARY_PATH"];
    single.contains(&name) || groups.iter().any(|group| name.starts_with(group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_inherits_the_variables_of_the_user_but_not_those_of_cargo_run() {
        for name in ["CARGO_PKG_NAME", "CARGO_PKG_VERSION_MAJOR", "CARGO_MANIFEST_DIR", "CARGO", "OUT_DIR"] {
            assert!(is_set_by_cargo_run(name), "{name}");
        }
        for name in ["CARGO_TARGET_DIR", "CARGO_HOME", "CARGO_INCREMENTAL", "CARGO_TERM_COLOR", "RUSTFLAGS", "PATH"] {
            assert!(!is_set_by_cargo_run(name), "{name}");
        }
    }
}
