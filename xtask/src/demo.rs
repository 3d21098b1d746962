//! `cargo xtask demo`: a flow on a clip, in one process or under dora.

use std::path::{Path, PathBuf};

use crate::{
    arguments::{SHOWS, Show},
    dora::Dora,
    error::{About, Error, Result},
    house::House,
    process::stopping,
    progress::{Progress, Step},
    results,
    setup::{self, Python},
};

/// The command; gives the exit code of `sideline`.
///
/// # Errors
/// What could not be had, built or started.
pub fn command(house: &House, show: Show, dora: bool, frames: Option<u64>) -> Result<u8> {
    let mut progress = Progress::new(house, setup::STEPS + 2 + usize::from(show.tone_over.is_some()));
    setup::run(house, &mut progress, Python::Run)?;
    if let Some(silent) = show.tone_over {
        lay_tone_over(house, silent, show.clip, progress.step("clip with sound")?)?;
    }
    build(house, progress.step("build")?)?;
    if dora {
        under_dora(house, show, progress.step("run under dora")?)
    } else {
        alone(house, show, progress.step("run")?, frames)
    }
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

/// Makes a clip with a tone of 60 ms at each second, of one that has nothing to be heard; pictures are copied as they are.
fn lay_tone_over(house: &House, silent: &str, clip: &str, mut step: Step) -> Result<()> {
    if house.root.join(clip).is_file() {
        step.done("in place");
        return Ok(());
    }
    // Under another name until it is whole.
    let part = house.root.join(clip).with_extension("part.mp4");
    let tone = "aevalsrc=0.4*sin(2*PI*880*t)*lt(mod(t\\,1)\\,0.06):s=44100";
    let mut make = house.command("ffmpeg");
    make.args(["-v", "error", "-y", "-i", silent, "-f", "lavfi", "-i", tone, "-map", "0:v", "-map", "1:a"]);
    make.args(["-c:v", "copy", "-c:a", "aac", "-shortest"]).arg(&part);
    step.say(&format!("making {clip}"));
    step.run(&mut make, "look at the log; the demo without a name needs no such clip")?;
    std::fs::rename(&part, house.root.join(clip)).about(clip)?;
    step.done("made");
    Ok(())
}

/// In one process.
fn alone(house: &House, show: Show, mut step: Step, frames: Option<u64>) -> Result<u8> {
    let Show { flow, clip, .. } = show;
    let folder = fresh_folder(house, show)?;
    let mut run = house.command(house.sideline());
    run.args(["run", flow, "--input", clip, "--output"]).arg(&folder);
    if let Some(frames) = frames {
        run.args(["--frames", &frames.to_string()]);
    }
    step.say(&format!("sideline run {flow} --input {clip} --output {}", house.short(&folder)));
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

/// A folder for a run that is not there yet: `runs/demo-N`, `runs/demo-sound-N`.
fn fresh_folder(house: &House, show: Show) -> Result<PathBuf> {
    let runs = house.root.join("runs");
    std::fs::create_dir_all(&runs).about(runs.display())?;
    let taken = std::fs::read_dir(&runs).about(runs.display())?.flatten();
    let taken: Vec<String> = taken.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let prefix = if show == SHOWS[0] { "demo-".to_owned() } else { format!("demo-{}-", show.name) };
    Ok(runs.join(format!("{prefix}{}", next_number(&prefix, &taken))))
}

/// One more than the highest N of the names `demo-N`, `demo-` being the prefix.
fn next_number(prefix: &str, names: &[String]) -> u32 {
    names
        .iter()
        .filter_map(|name| name.strip_prefix(prefix)?.parse::<u32>().ok())
        .max()
        .map_or(1, |n| n.saturating_add(1))
}

/// One process per node, under a dora of its own.
fn under_dora(house: &House, show: Show, mut step: Step) -> Result<u8> {
    let flow = flow_of_clip(house, show)?;
    step.say("starting dora");
    let dora = Dora::start(house)?;
    step.say(&format!("dora start {}", house.short(&flow)));
    let mut id = None;
    let ran = step.run_watched(
        dora.command(house).args(["start", "--attach"]).arg(&flow),
        "without `--dora` the same flow runs in one process and says more",
        |line| id = id.take().or_else(|| sideline_dora_texts::dataflow_id(line).map(String::from)),
    );
    step.say("stopping dora");
    dora.stop();
    let folder = id.and_then(|id| run_folder(&flow, &id));
    // dora itself says only 0 or 1, and 0 when stopped: the run's own results decide.
    let Some(folder) = folder else {
        ran?;
        return Err(Error::new(format!(
            "the flow ran but left no folder in `runs` beside {}; see the logs in {}",
            house.short(&flow),
            house.logs.display()
        )));
    };
    let code = step.run_shown(house.command(house.sideline()).arg("result").arg(&folder))?;
    step.done(how(code));
    results::print(house, &folder);
    // A run that wrote good results although dora saw a failure is not a good run.
    ran.map(|()| code).or_else(|error| if code == 0 { Err(error) } else { Ok(code) })
}

/// The flow, if it names the clip itself; else a copy in a folder of its own that does, as dora has no `--input`.
fn flow_of_clip(house: &House, show: Show) -> Result<PathBuf> {
    let flow = house.root.join(show.flow);
    let text = std::fs::read_to_string(&flow).about(flow.display())?;
    let Some(changed) = with_clip(&text, show.clip) else {
        return Err(Error::new(format!("{} names no `SOURCE:` to put the clip in its place", show.flow)));
    };
    if changed == text {
        return Ok(flow);
    }
    let folder = fresh_folder(house, show)?;
    let modules = flow.with_file_name("modules");
    copy_files(&modules, &folder.join("modules"))?;
    let copy = folder.join(flow.file_name().unwrap_or_default());
    std::fs::write(&copy, changed).about(copy.display())?;
    Ok(copy)
}

/// The text of a flow with this clip as its first source.
fn with_clip(flow: &str, clip: &str) -> Option<String> {
    let (before, rest) = flow.split_once("SOURCE: ")?;
    let end = rest.find('\n').unwrap_or(rest.len());
    Some(format!("{before}SOURCE: {clip}{}", &rest[end..]))
}

/// Copies the files of a folder, not what lies deeper.
fn copy_files(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).about(to.display())?;
    for entry in std::fs::read_dir(from).about(from.display())?.flatten() {
        if entry.path().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).about(entry.path().display())?;
        }
    }
    Ok(())
}

/// The folder of a run under dora: in `runs` beside the flow, as it names no SIDELINE_RUN_DIR.
fn run_folder(flow: &Path, id: &str) -> Option<PathBuf> {
    Some(flow.with_file_name("runs").join(id)).filter(|folder| folder.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_demo_never_takes_an_old_ones_folder() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let taken = names(&["demo-2", "demo-10", "demo-x", "fight-99", "demo-sound-4"]);
        assert_eq!(next_number("demo-", &[]), 1);
        assert_eq!((next_number("demo-", &taken), next_number("demo-sound-", &taken)), (11, 5));
    }

    #[test]
    fn every_demos_flow_is_there_and_takes_its_clip() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for show in SHOWS {
            let text = std::fs::read_to_string(root.join(show.flow)).unwrap();
            let changed = with_clip(&text, show.clip).unwrap();
            assert!(changed.contains(&format!("SOURCE: {}\n", show.clip)), "{}", show.name);
            // Each flow names the clip of its demo, but for one that is made first.
            assert_eq!(changed == text, show.tone_over.is_none(), "{}", show.name);
        }
        assert_eq!(with_clip("nodes: []", "x"), None);
    }
}
