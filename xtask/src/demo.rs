//! `cargo xtask demo`: runs a flow on a clip, in one process or under dora.

use std::path::{Path, PathBuf};

use crate::{
    arguments::{DEMOS, Demo},
    dora::Dora,
    error::{Context, Error, Result},
    process::is_stopping,
    progress::{Progress, Step},
    results,
    setup::{self, Python},
    workspace::Workspace,
};

/// Runs a demo and returns the exit code of `sideline`.
///
/// # Errors
/// When the set-up or the build fails, or the demo cannot be started.
pub fn command(workspace: &Workspace, demo: Demo, dora: bool, frames: Option<u64>) -> Result<u8> {
    let mut progress = Progress::new(workspace, setup::STEPS + 2 + usize::from(demo.tone_over.is_some()));
    setup::run(workspace, &mut progress, Python::Run)?;
    if let Some(silent) = demo.tone_over {
        add_tone(workspace, silent, demo.clip, progress.step("clip with audio")?)?;
    }
    build(workspace, progress.step("build")?, dora)?;
    if dora {
        run_under_dora(workspace, demo, progress.step("run under dora")?)
    } else {
        run_in_one_process(workspace, demo, progress.step("run")?, frames)
    }
}

/// Builds `sideline`; without dora's crates, which take half of the first build, unless they are needed or already built.
///
/// # Errors
/// When the build fails; cargo has printed the cause.
pub fn build(workspace: &Workspace, mut step: Step, dora: bool) -> Result<()> {
    step.report("cargo build -p sideline (the first time this takes several minutes)");
    let mut cargo = workspace.cargo();
    cargo.args(["build", "-p", "sideline"]);
    if !dora && !has_dora_crates(workspace) {
        cargo.args(["--no-default-features", "--features", "media,onnx"]);
    }
    match step.run_shown(&mut cargo)? {
        0 => {
            step.done("built");
            Ok(())
        }
        _ => Err(Error::new("`sideline` does not build; see the output of cargo above")),
    }
}

/// Returns true if the build folder contains dora's crates: a build with other features would only compile more.
fn has_dora_crates(workspace: &Workspace) -> bool {
    let Ok(artifacts) = std::fs::read_dir(workspace.programs.join("deps")) else { return false };
    artifacts.flatten().any(|artifact| artifact.file_name().to_string_lossy().starts_with("libdora_node_api-"))
}

/// Makes a clip with a 60 ms tone of 880 Hz every second from a silent one; the video is copied without re-encoding.
fn add_tone(workspace: &Workspace, silent: &str, clip: &str, mut step: Step) -> Result<()> {
    if workspace.root.join(clip).is_file() {
        step.done("in place");
        return Ok(());
    }
    // Written under another name, so that an interrupted attempt is not taken for the clip.
    let part = workspace.root.join(clip).with_extension("part.mp4");
    let tone = "aevalsrc=0.4*sin(2*PI*880*t)*lt(mod(t\\,1)\\,0.06):s=44100";
    let mut make = workspace.command("ffmpeg");
    make.args(["-v", "error", "-y", "-i", silent, "-f", "lavfi", "-i", tone, "-map", "0:v", "-map", "1:a"]);
    make.args(["-c:v", "copy", "-c:a", "aac", "-shortest"]).arg(&part);
    step.report(&format!("making {clip}"));
    step.run(&mut make, "see the log; the demo without a name does not need this clip")?;
    std::fs::rename(&part, workspace.root.join(clip)).context(clip)?;
    step.done("made");
    Ok(())
}

/// Runs a demo in one process and returns the exit code of `sideline`.
fn run_in_one_process(workspace: &Workspace, demo: Demo, mut step: Step, frames: Option<u64>) -> Result<u8> {
    let Demo { flow, clip, .. } = demo;
    let folder = unused_folder(workspace, demo)?;
    let mut run = workspace.command(workspace.sideline());
    run.args(["run", flow, "--input", clip, "--output"]).arg(&folder);
    if let Some(frames) = frames {
        run.args(["--frames", &frames.to_string()]);
    }
    step.report(&format!("sideline run {flow} --input {clip} --output {}", workspace.short(&folder)));
    let code = step.run_shown(&mut run)?;
    step.done(outcome(code));
    if folder.is_dir() {
        results::print(workspace, &folder);
    }
    Ok(code)
}

/// Describes the outcome of a run.
fn outcome(code: u8) -> &'static str {
    match code {
        _ if is_stopping() => "stopped",
        0 => "done",
        _ => "failed, see above",
    }
}

/// Returns an unused folder for a run: `runs/demo-N`, or `runs/demo-NAME-N` for demos other than the default.
fn unused_folder(workspace: &Workspace, demo: Demo) -> Result<PathBuf> {
    let runs = workspace.root.join("runs");
    std::fs::create_dir_all(&runs).context(runs.display())?;
    let taken = std::fs::read_dir(&runs).context(runs.display())?.flatten();
    let taken: Vec<String> = taken.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let prefix = if demo == DEMOS[0] { "demo-".to_owned() } else { format!("demo-{}-", demo.name) };
    Ok(runs.join(format!("{prefix}{}", next_number(&prefix, &taken))))
}

/// Returns one more than the highest N of the names `{prefix}N`.
fn next_number(prefix: &str, names: &[String]) -> u32 {
    names
        .iter()
        .filter_map(|name| name.strip_prefix(prefix)?.parse::<u32>().ok())
        .max()
        .map_or(1, |n| n.saturating_add(1))
}

/// Runs a demo with one process per node, under a private dora instance, and returns the exit code of the run.
fn run_under_dora(workspace: &Workspace, demo: Demo, mut step: Step) -> Result<u8> {
    let flow = flow_with_clip(workspace, demo)?;
    step.report("starting dora");
    let dora = Dora::start(workspace)?;
    step.report(&format!("dora start {}", workspace.short(&flow)));
    let mut id = None;
    let ran = step.run_watched(
        dora.command(workspace).args(["start", "--attach"]).arg(&flow),
        "run without `--dora`: the same flow then runs in one process, with more detailed messages",
        |line| id = id.take().or_else(|| sideline_dora_texts::dataflow_id(line).map(String::from)),
    );
    step.report("stopping dora");
    dora.stop();
    let folder = id.and_then(|id| run_folder(&flow, &id));
    // dora itself exits with 0 or 1 only, and with 0 when stopped, so the results of the run decide.
    let Some(folder) = folder else {
        ran?;
        return Err(Error::new(format!(
            "the flow ran but wrote no folder to `runs` beside {}; see the logs in {}",
            workspace.short(&flow),
            workspace.logs.display()
        )));
    };
    let code = step.run_shown(workspace.command(workspace.sideline()).arg("result").arg(&folder))?;
    step.done(outcome(code));
    results::print(workspace, &folder);
    // A failure reported by dora fails the demo even if the results of the run are good.
    ran.map(|()| code).or_else(|error| if code == 0 { Err(error) } else { Ok(code) })
}

/// Returns the flow file if its source is the clip; otherwise that of a modified copy in a folder of its own, because
/// dora has no `--input`.
fn flow_with_clip(workspace: &Workspace, demo: Demo) -> Result<PathBuf> {
    let flow = workspace.root.join(demo.flow);
    let text = std::fs::read_to_string(&flow).context(flow.display())?;
    let Some(changed) = with_clip(&text, demo.clip) else {
        return Err(Error::new(format!("{} has no `SOURCE:` that can be replaced by the clip", demo.flow)));
    };
    if changed == text {
        return Ok(flow);
    }
    let folder = unused_folder(workspace, demo)?;
    let modules = flow.with_file_name("modules");
    copy_files(&modules, &folder.join("modules"))?;
    let copy = folder.join(flow.file_name().unwrap_or_default());
    std::fs::write(&copy, changed).context(copy.display())?;
    Ok(copy)
}

/// Replaces the first source in the text of a flow by a clip; `None` if there is no source.
fn with_clip(flow: &str, clip: &str) -> Option<String> {
    let (before, rest) = flow.split_once("SOURCE: ")?;
    let end = rest.find('\n').unwrap_or(rest.len());
    Some(format!("{before}SOURCE: {clip}{}", &rest[end..]))
}

/// Copies the files of a folder, without subfolders.
fn copy_files(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).context(to.display())?;
    for entry in std::fs::read_dir(from).context(from.display())?.flatten() {
        if entry.path().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).context(entry.path().display())?;
        }
    }
    Ok(())
}

/// Returns the folder of a run under dora: in `runs` beside the flow, since the flow does not set SIDELINE_RUN_DIR.
fn run_folder(flow: &Path, id: &str) -> Option<PathBuf> {
    Some(flow.with_file_name("runs").join(id)).filter(|folder| folder.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demo_never_reuses_the_folder_of_an_earlier_one() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let taken = names(&["demo-2", "demo-10", "demo-x", "fight-99", "demo-sound-4"]);
        assert_eq!(next_number("demo-", &[]), 1);
        assert_eq!((next_number("demo-", &taken), next_number("demo-sound-", &taken)), (11, 5));
    }

    #[test]
    fn the_flow_of_every_demo_exists_and_accepts_its_clip() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for demo in DEMOS {
            let text = std::fs::read_to_string(root.join(demo.flow)).unwrap();
            let changed = with_clip(&text, demo.clip).unwrap();
            assert!(changed.contains(&format!("SOURCE: {}\n", demo.clip)), "{}", demo.name);
            // Each flow names the clip of its demo, except for the clip that is made from another one.
            assert_eq!(changed == text, demo.tone_over.is_none(), "{}", demo.name);
        }
        assert_eq!(with_clip("nodes: []", "x"), None);
    }
}
