//! Libraries for tests: the examples of this crate, and a C library.
#![allow(dead_code, reason = "each test file uses only a part")]

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use sideline_api::OperatorFactory;
use sideline_plugin::{description_file, load};
use tempfile::TempDir;

/// Library of an operator in a folder of its own, with its description beside it.
pub struct Plugin {
    pub folder: TempDir,
    pub path: PathBuf,
}

impl Plugin {
    /// Copies an example of this crate, which cargo has built for the tests.
    pub fn example(name: &str) -> Self {
        let file = format!("lib{name}{}", std::env::consts::DLL_SUFFIX);
        let built = std::env::current_exe().unwrap();
        let built = built.parent().and_then(Path::parent).unwrap().join("examples").join(&file);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(file);
        std::fs::copy(&built, &path).unwrap_or_else(|error| panic!("{}: {error}", built.display()));
        load::describe(&path).unwrap();
        Plugin { folder, path }
    }

    /// Compiles a library with gcc; `None` if there is none.
    pub fn compile(name: &str, source: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let (file, path) = (folder.path().join("plugin.c"), folder.path().join(format!("lib{name}.so")));
        std::fs::write(&file, source).unwrap();
        let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("../abi/include");
        let output = Command::new("gcc")
            .args(["-std=c11", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-I"])
            .arg(include)
            .arg("-o")
            .args([&path, &file])
            .output();
        let output = output.ok()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(Plugin { folder, path })
    }

    pub fn factory(&self) -> Arc<dyn OperatorFactory> {
        load::factory(&self.path).unwrap_or_else(|error| panic!("{error}"))
    }

    pub fn description(&self) -> PathBuf {
        description_file(&self.path)
    }
}
