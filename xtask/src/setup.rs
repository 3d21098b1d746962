//! `cargo xtask setup`: installs system packages, `.venv`, models and clips. Installed packages are kept.

use std::process::Command;

use crate::{
    error::{Error, Result},
    output,
    progress::{Progress, Step},
    venv,
    workspace::Workspace,
};

/// Number of steps of [`run`].
pub const STEPS: usize = 3;

/// Debian packages for building and running: FFmpeg's libraries, bindgen's dependencies for their headers, tools, and
/// the speech synthesizer of the operator `speech`.
const PACKAGES: [&str; 13] = [
    "ffmpeg",
    "libavcodec-dev",
    "libavformat-dev",
    "libavutil-dev",
    "libswscale-dev",
    "libavdevice-dev",
    "libavfilter-dev",
    "libswresample-dev",
    "libclang-dev",
    "clang",
    "pkg-config",
    "cmake",
    "espeak-ng",
];

/// Debian packages that only tests need: streaming servers.
const TEST_PACKAGES: [&str; 7] = [
    "nginx-light",
    "libnginx-mod-rtmp",
    "python3-gi",
    "gir1.2-gst-rtsp-server-1.0",
    "gstreamer1.0-tools",
    "gstreamer1.0-plugins-good",
    "gstreamer1.0-plugins-ugly",
];

/// Set of Python packages to install; each set includes the previous one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Python {
    /// Packages for running flows.
    Run,
    /// Packages of the programs that benchmarks compare with.
    Peers,
    /// Packages of tests.
    Test,
}

impl Python {
    /// Returns the requirements files in the repository, the base first.
    pub fn files(self) -> &'static [&'static str] {
        const ALL: [&str; 4] = [
            "models/requirements.txt",
            "tests/peers/requirements.txt",
            "models/requirements-test.txt",
            "docs/requirements.txt",
        ];
        match self {
            Python::Run => &ALL[..1],
            Python::Peers => &ALL[..2],
            Python::Test => &ALL,
        }
    }
}

/// Installs the prerequisites.
///
/// # Errors
/// See [`run`].
pub fn command(workspace: &Workspace) -> Result<u8> {
    run(workspace, &mut Progress::new(workspace, STEPS), Python::Run)?;
    output::print_line("Set-up complete. Next: cargo xtask demo");
    Ok(0)
}

/// Installs the prerequisites, in [`STEPS`] steps.
///
/// # Errors
/// When something cannot be installed; the message says how to fix it.
pub fn run(workspace: &Workspace, progress: &mut Progress<'_>, python: Python) -> Result<()> {
    let mut step = progress.step("system packages")?;
    let _lock = venv::lock(workspace, &mut step)?;
    install_system_packages(workspace, step, python)?;
    venv::install(workspace, progress.step("Python packages")?, python)?;
    let mut step = progress.step("models and clips")?;
    let mut fetch = workspace.command(workspace.venv("python"));
    fetch.args(["models/convert/fetch.py", "--all"]).env("PYTHONUNBUFFERED", "1");
    step.run(
        &mut fetch,
        "check that the registries of npm and pip can be reached (network, proxy), then run this command again",
    )?;
    step.done("installed");
    Ok(())
}

/// Installs missing Debian packages.
fn install_system_packages(workspace: &Workspace, mut step: Step, python: Python) -> Result<()> {
    let mut wanted: Vec<&str> = PACKAGES.to_vec();
    if python == Python::Test {
        wanted.extend(TEST_PACKAGES);
    }
    if !succeeds("python3", &["-c", "import venv, ensurepip"]) {
        wanted.extend(["python3", "python3-venv"]);
    }
    if !succeeds("npm", &["--version"]) {
        wanted.push("npm");
    }
    let mut query = workspace.command("dpkg-query");
    query.args(["-W", "-f", "${Package} ${db:Status-Status}\n"]).args(&wanted);
    let Ok(output) = query.output() else {
        step.done(
            "not checked: this is not Debian or Ubuntu; install the equivalents of the packages in xtask/src/setup.rs",
        );
        return Ok(());
    };
    let missing = missing(&wanted, &String::from_utf8_lossy(&output.stdout));
    if missing.is_empty() {
        step.done("already installed");
        return Ok(());
    }
    let install = format!("apt-get install -y --no-install-recommends {}", missing.join(" "));
    let root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.trim_ascii() == b"0");
    if !root && !succeeds("sudo", &["-n", "true"]) {
        return Err(Error::new(format!(
            "system packages are missing, and installing them needs a password. Run this line, then this command again:\n  \
             sudo apt-get update && sudo {install}"
        )));
    }
    step.report(&format!("installing {}", missing.join(" ")));
    for line in ["apt-get update", &install] {
        let mut words = line.split(' ');
        let mut apt = if root {
            workspace.command(words.next().unwrap_or("apt-get"))
        } else {
            // sudo does not pass environment variables on, so `env` sets this one.
            let mut sudo = workspace.command("sudo");
            sudo.args(["-n", "env", "DEBIAN_FRONTEND=noninteractive"]);
            sudo
        };
        apt.args(words).env("DEBIAN_FRONTEND", "noninteractive");
        step.run(&mut apt, &format!("run `{line}` by hand and see what it asks for, then run this command again"))?;
    }
    step.done(&format!("{} installed", missing.len()));
    Ok(())
}

/// Returns the packages of `wanted` that are not installed according to the lines `NAME STATUS` of dpkg-query, which
/// omits unknown packages.
fn missing<'a>(wanted: &[&'a str], output: &str) -> Vec<&'a str> {
    let installed = |name: &str| output.lines().any(|line| line.strip_suffix(" installed") == Some(name));
    wanted.iter().copied().filter(|name| !installed(name)).collect()
}

/// Returns true if a program can be run and succeeds.
fn succeeds(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_missing_unless_dpkg_reports_them_installed() {
        let output = "clang installed\ncmake config-files\nlibclang-dev not-installed\nclang-14 installed\n";
        assert_eq!(missing(&["clang", "cmake", "libclang-dev", "ffmpeg"], output), ["cmake", "libclang-dev", "ffmpeg"]);
        assert_eq!(missing(&["clang"], ""), ["clang"]);
        assert!(missing(&[], output).is_empty());
    }
}
