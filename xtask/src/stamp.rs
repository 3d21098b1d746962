//! What `.venv` was made of, so that a second set-up has nothing to do.
//!
//! Beside the environment lie copies of the requirements that were installed and the name of the Python: equal means done.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::error::{About, Result};

/// The stamps in one `.venv`.
pub struct Stamps {
    folder: PathBuf,
}

impl Stamps {
    /// Those of the environment `venv`.
    pub fn of(venv: &Path) -> Self {
        Stamps { folder: venv.join("sideline-setup") }
    }

    /// True if this was done with exactly this `content`.
    pub fn holds(&self, name: &str, content: &str) -> bool {
        fs::read_to_string(self.folder.join(name)).is_ok_and(|found| found == content)
    }

    /// Forgets one, before its work begins: what is interrupted must not look finished.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn forget(&self, name: &str) -> Result<()> {
        let path = self.folder.join(name);
        if path.exists() { fs::remove_file(&path).about(path.display()) } else { Ok(()) }
    }

    /// Remembers that this was done.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn remember(&self, name: &str, content: &str) -> Result<()> {
        fs::create_dir_all(&self.folder).about(self.folder.display())?;
        let path = self.folder.join(name);
        fs::write(&path, content).about(path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_holds_for_the_same_content_only_and_until_forgotten() {
        let venv = std::env::temp_dir().join(format!("xtask-stamps-{}", std::process::id()));
        let stamps = Stamps::of(&venv);
        assert!(!stamps.holds("requirements.txt", "numpy==2"));
        stamps.forget("requirements.txt").unwrap();
        stamps.remember("requirements.txt", "numpy==2").unwrap();
        assert!(stamps.holds("requirements.txt", "numpy==2"));
        assert!(!stamps.holds("requirements.txt", "numpy==3"));
        assert!(!stamps.holds("python", "numpy==2"));
        stamps.forget("requirements.txt").unwrap();
        assert!(!stamps.holds("requirements.txt", "numpy==2"));
        fs::remove_dir_all(&venv).unwrap();
    }
}
