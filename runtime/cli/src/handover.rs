//! Handover of the commands `eval` and `bench` to the program `sideline-lab`.

use std::{ffi::OsString, io::ErrorKind, os::unix::process::CommandExt, path::PathBuf, process::Command};

use sideline_api::Error;

/// Program of the commands `eval` and `bench`.
const LAB: &str = "sideline-lab";

/// Replaces this process by `sideline-lab` with the same arguments, which do not hold the name of the program: the one beside this program, else the one on PATH.
///
/// Returns only if that fails, with the error.
pub fn replace_by_lab(arguments: &[OsString]) -> Error {
    let beside = std::env::current_exe().map(|program| program.with_file_name(LAB)).unwrap_or_default();
    let lab = if beside.is_file() { beside.clone() } else { PathBuf::from(LAB) };
    let cause = Command::new(&lab).args(arguments).exec();
    match cause.kind() {
        ErrorKind::NotFound => Error::config(format!(
            "`eval` and `bench` are commands of the program `{LAB}`, which is neither at {} nor on PATH; build it with `cargo \
             build -p {LAB}`",
            beside.display()
        )),
        _ => Error::config(cause).at(lab.display()),
    }
}
