//! `cargo xtask setup`: system packages, `.venv`, models and clip. What is there already is left alone.

use std::process::Command;

use crate::{
    error::{About, Error, Result},
    house::House,
    progress::{Progress, Step},
    stamp::Stamps,
};

/// How many steps [`run`] shows.
pub const STEPS: usize = 3;

/// Debian packages that building and running need: FFmpeg's libraries, what bindgen reads their headers with, tools, and the
/// voice of `speech`.
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

/// Debian packages that only tests need: servers of streams.
const TEST_PACKAGES: [&str; 7] = [
    "nginx-light",
    "libnginx-mod-rtmp",
    "python3-gi",
    "gir1.2-gst-rtsp-server-1.0",
    "gstreamer1.0-tools",
    "gstreamer1.0-plugins-good",
    "gstreamer1.0-plugins-ugly",
];

/// The oldest Python that the pinned packages run on.
const PYTHON: (u32, u32) = (3, 11);

/// Which Python packages are wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Python {
    /// What running needs.
    Run,
    /// And what the peers of benchmarks need.
    Peers,
    /// And what only tests need.
    Test,
}

impl Python {
    /// The files of requirements in the repository, the base first.
    fn files(self) -> &'static [&'static str] {
        const ALL: [&str; 3] =
            ["models/requirements.txt", "tests/peers/requirements.txt", "models/requirements-test.txt"];
        match self {
            Python::Run => &ALL[..1],
            Python::Peers => &ALL[..2],
            Python::Test => &ALL,
        }
    }
}

/// The command.
///
/// # Errors
/// See [`run`].
pub fn command(house: &House) -> Result<u8> {
    run(house, &mut Progress::new(house, STEPS), Python::Run)?;
    println!("All in place. Next: cargo xtask demo");
    Ok(0)
}

/// Puts everything in place, in [`STEPS`] steps.
///
/// # Errors
/// What could not be had, and how to mend it.
pub fn run(house: &House, progress: &mut Progress<'_>, python: Python) -> Result<()> {
    system_packages(house, progress.step("system packages")?, python)?;
    python_packages(house, progress.step("Python packages")?, python)?;
    let mut step = progress.step("models and clips")?;
    let mut fetch = house.command(house.venv("python"));
    fetch.args(["models/convert/fetch.py", "--all"]).env("PYTHONUNBUFFERED", "1");
    step.run(
        &mut fetch,
        "check that the registries of npm and pip can be reached (network, proxy), then run this again",
    )?;
    step.done("in place");
    Ok(())
}

fn system_packages(house: &House, mut step: Step, python: Python) -> Result<()> {
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
    let mut query = house.command("dpkg-query");
    query.args(["-W", "-f", "${Package} ${db:Status-Status}\n"]).args(&wanted);
    let Ok(answer) = query.output() else {
        step.done(
            "not checked: this is no Debian or Ubuntu; what is wanted goes there by the names in xtask/src/setup.rs",
        );
        return Ok(());
    };
    let missing = missing(&wanted, &String::from_utf8_lossy(&answer.stdout));
    if missing.is_empty() {
        step.done("there already");
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
    step.say(&format!("installing {}", missing.join(" ")));
    for line in ["apt-get update", &install] {
        let mut words = line.split(' ');
        let mut apt = if root {
            house.command(words.next().unwrap_or("apt-get"))
        } else {
            // sudo passes no variables on: `env` behind it sets this one.
            let mut sudo = house.command("sudo");
            sudo.args(["-n", "env", "DEBIAN_FRONTEND=noninteractive"]);
            sudo
        };
        apt.args(words).env("DEBIAN_FRONTEND", "noninteractive");
        step.run(&mut apt, &format!("run `{line}` by hand and see what it asks for, then run this again"))?;
    }
    step.done(&format!("{} installed", missing.len()));
    Ok(())
}

/// Which of `wanted` are not installed, by dpkg-query's lines `NAME STATUS`; it leaves out what it has never heard of.
fn missing<'a>(wanted: &[&'a str], answer: &str) -> Vec<&'a str> {
    let installed = |name: &str| answer.lines().any(|line| line.strip_suffix(" installed") == Some(name));
    wanted.iter().copied().filter(|name| !installed(name)).collect()
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

fn python_packages(house: &House, mut step: Step, python: Python) -> Result<()> {
    let system = system_python(house)?;
    let venv = house.root.join(".venv");
    let stamps = Stamps::of(&venv);
    let mut wanted = Vec::new();
    for file in python.files() {
        let path = house.root.join(file);
        wanted.push((*file, std::fs::read_to_string(&path).about(path.display())?));
    }
    // A changed base may bring what the tests' packages were not chosen for: then those are installed again too.
    let base = wanted[0].1.clone();
    for (_, content) in wanted.iter_mut().skip(1) {
        content.push_str(&base);
    }
    let made = stamps.holds("python", &system.identity) && house.venv("python").exists();
    wanted.retain(|(file, content)| !made || !stamps.holds(&stamp(file), content));
    if made && wanted.is_empty() {
        step.done("there already");
        return Ok(());
    }
    if !made {
        step.say("making .venv");
        stamps.forget("python")?;
        let mut make = house.command(&system.program);
        make.args(["-m", "venv", "--clear"]).arg(&venv);
        step.run(&mut make, "install Python's venv (Debian: apt-get install -y python3-venv), then run this again")?;
        stamps.remember("python", &system.identity)?;
    }
    for (file, content) in &wanted {
        step.say(&format!("installing {file}"));
        stamps.forget(&stamp(file))?;
        let mut pip = house.command(house.venv("python"));
        pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off", "-r"]);
        pip.arg(house.root.join(file));
        step.run(&mut pip, "check that pip's registry can be reached (network, proxy), then run this again")?;
        stamps.remember(&stamp(file), content)?;
    }
    step.done("installed");
    Ok(())
}

/// The name of the stamp of a file of requirements.
fn stamp(file: &str) -> String {
    file.replace('/', "-")
}

/// The Python that `.venv` is made with.
struct SystemPython {
    /// The program itself, even when an environment, perhaps this very `.venv`, is active.
    program: String,
    /// What `.venv` depends on: version, place, and where the environment stands (its scripts name it).
    identity: String,
}

fn system_python(house: &House) -> Result<SystemPython> {
    let script =
        "import sys; print(*sys.version_info[:3], sep='.'); print(sys._base_executable); print(sys.base_prefix)";
    // Not by `House::command`, which would find the Python of `.venv` first.
    let output =
        Command::new("python3").args(["-c", script]).output().about("python3 cannot be started; install it")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match (version(&text), text.lines().nth(1)) {
        (Some(found), Some(program)) if found >= PYTHON => {
            Ok(SystemPython { program: program.into(), identity: format!("{text}{}\n", house.root.display()) })
        }
        (Some((major, minor)), Some(_)) => Err(Error::new(format!(
            "python3 is Python {major}.{minor}, the pinned packages want {}.{} or newer: put a newer python3 first on PATH",
            PYTHON.0, PYTHON.1
        ))),
        _ => Err(Error::new(format!(
            "python3 does not say its version; try `python3 --version`. It said: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ))),
    }
}

/// Major and minor version of `3.11.7...`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.lines().next()?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_missing_unless_dpkg_says_installed() {
        let answer = "clang installed\ncmake config-files\nlibclang-dev not-installed\nclang-14 installed\n";
        assert_eq!(missing(&["clang", "cmake", "libclang-dev", "ffmpeg"], answer), ["cmake", "libclang-dev", "ffmpeg"]);
        assert_eq!(missing(&["clang"], ""), ["clang"]);
        assert!(missing(&[], answer).is_empty());
    }

    #[test]
    fn pythons_version_is_read_by_number() {
        assert_eq!(version("3.11.7\n/usr\n"), Some((3, 11)));
        assert!(version("3.9.1").is_some_and(|found| found < PYTHON));
        assert_eq!(version("three"), None);
        assert_eq!(version(""), None);
    }
}
