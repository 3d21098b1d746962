//! `cargo xtask demo`: fight.yml on the clip, in one process or under dora.

use std::path::PathBuf;

use crate::{
    dora::Dora,
    error::{About, Error, Result},
    house::House,
    process::stopping,
    progress::{Progress, Step},
    results,
    setup::{self, Python},
};

const FLOW: &str = "dataflows/fight.yml";
const CLIP: &str = "models/clips/athletes.mp4";

/// The command; gives the exit code of `sideline`.
///
/// # Errors
/// What could not be had, built or started.
pub fn command(house: &House, dora: bool, frames: Option<u64>) -> Result<u8> {
    let mut progress = Progress::new(house, setup::STEPS + 2);
    setup::run(house, &mut progress, Python::Run)?;
    build(house, progress.step("build")?)?;
    if dora { under_dora(house, progress.step("run under dora")?) } else { alone(house, progress.step("run")?, frames) }
}

/// Builds `sideline`.
///
/// # Errors
/// When it does not build; cargo has said why.
pub fn build(house: &House, mut step: Step) -> Result<()> {
    step.say("cargo build -p sideline (the first time this takes several minutes)");
    match step.run_shown(house.cargo().args(["build", "-p", "sideline"]))? {
        0 => {
            step.done("built");
            Ok(())
        }
        _ => Err(Error::new("`sideline` does not build; cargo says why above")),
    }
}

/// In one process.
fn alone(house: &House, mut step: Step, frames: Option<u64>) -> Result<u8> {
    let folder = fresh_folder(house)?;
    let mut run = house.command(house.sideline());
    run.args(["run", FLOW, "--input", CLIP, "--output"]).arg(&folder);
    if let Some(frames) = frames {
        run.args(["--frames", &frames.to_string()]);
    }
    step.say(&format!("sideline run {FLOW} --input {CLIP} --output {}", house.short(&folder)));
    let code = step.run_shown(&mut run)?;
    step.done(how(code));
    if folder.is_dir() {
        results::print(house, &folder);
    }
    Ok(code)
}

fn how(code: u8) -> &'static str {
    match code {
        _ if stopping() => "stopped",
        0 => "done",
        _ => "failed, see above",
    }
}

/// A folder for a run that is not there yet: `runs/demo-N`.
fn fresh_folder(house: &House) -> Result<PathBuf> {
    let runs = house.root.join("runs");
    std::fs::create_dir_all(&runs).about(runs.display())?;
    let taken = std::fs::read_dir(&runs).about(runs.display())?.flatten();
    let taken: Vec<String> = taken.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    Ok(runs.join(format!("demo-{}", next_number(&taken))))
}

/// One more than the highest N of the names `demo-N`.
fn next_number(names: &[String]) -> u32 {
    names
        .iter()
        .filter_map(|name| name.strip_prefix("demo-")?.parse::<u32>().ok())
        .max()
        .map_or(1, |n| n.saturating_add(1))
}

/// One process per node, under a dora of its own.
fn under_dora(house: &House, mut step: Step) -> Result<u8> {
    step.say("starting dora");
    let dora = Dora::start(house)?;
    step.say(&format!("dora start {FLOW}"));
    let mut id = None;
    let ran = step.run_watched(
        dora.command(house).args(["start", "--attach", FLOW]),
        "`cargo xtask demo` runs the same flow in one process and says more",
        |line| id = id.take().or_else(|| dataflow_id(line)),
    );
    step.say("stopping dora");
    dora.stop();
    let folder = id.and_then(|id| run_folder(house, &id));
    // dora itself says only 0 or 1, and 0 when stopped: the run's own results decide.
    let Some(folder) = folder else {
        ran?;
        return Err(Error::new(format!(
            "the flow ran but left no folder in dataflows/runs; see the logs in {}",
            house.logs.display()
        )));
    };
    let code = step.run_shown(house.command(house.sideline()).arg("result").arg(&folder))?;
    step.done(how(code));
    results::print(house, &folder);
    // A run that wrote good results although dora saw a failure is not a good run.
    ran.map(|()| code).or_else(|error| if code == 0 { Err(error) } else { Ok(code) })
}

/// The id in dora's `dataflow start triggered: ID`.
fn dataflow_id(line: &str) -> Option<String> {
    let id = line.split_once("dataflow start triggered:")?.1.trim();
    (!id.is_empty() && id.chars().all(|c| c.is_ascii_hexdigit() || c == '-')).then(|| id.into())
}

/// The folder of a run under dora: in `runs` beside the flow, as it names no SIDELINE_RUN_DIR.
fn run_folder(house: &House, id: &str) -> Option<PathBuf> {
    Some(house.root.join("dataflows/runs").join(id)).filter(|folder| folder.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_demo_never_takes_an_old_ones_folder() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(next_number(&[]), 1);
        assert_eq!(next_number(&names(&["demo-2", "demo-10", "demo-x", "fight-99"])), 11);
    }

    #[test]
    fn the_dataflows_id_is_taken_from_doras_own_line() {
        let line = "dataflow start triggered: 01a1fd87-5f8d-7de4-92ff-4d7503ac5f0a";
        assert_eq!(dataflow_id(line).as_deref(), Some("01a1fd87-5f8d-7de4-92ff-4d7503ac5f0a"));
        assert_eq!(dataflow_id("09:54:30 stdout a: hello"), None);
        assert_eq!(dataflow_id("dataflow start triggered: ../x"), None);
    }
}
