//! `cargo xtask setup`: system packages, `.venv`, models and clip. What is there already is left alone.

use std::process::Command;

use crate::{
    error::{Error, Result},
    house::House,
    progress::{Progress, Step},
    say, venv,
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
    pub fn files(self) -> &'static [&'static str] {
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
    say::out("All in place. Next: cargo xtask demo");
    Ok(0)
}

/// Puts everything in place, in [`STEPS`] steps.
///
/// # Errors
/// What could not be had, and how to mend it.
pub fn run(house: &House, progress: &mut Progress<'_>, python: Python) -> Result<()> {
    let mut step = progress.step("system packages")?;
    let _lock = venv::lock(house, &mut step)?;
    system_packages(house, step, python)?;
    venv::put_in_place(house, progress.step("Python packages")?, python)?;
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
}
