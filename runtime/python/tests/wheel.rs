//! The wheel: installed into an environment of its own, it runs a flow with an operator in Python.

mod support;

use std::{path::Path, process::Command};

use sideline_testkit::{Capability, skip_test};
use support::{Bench, finish};

const OPERATOR: &str = "\
import sideline


@sideline.operator(reads={'frames': sideline.frames}, writes={'rows': sideline.table('light', mean=float)})
def light(frames):
    return [{'mean': frames.y.mean()}]
";

/// Returns a command with no variable that leads to the sources.
fn clean(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder);
    for variable in
        ["PYTHONPATH", "SIDELINE_PYTHON", "VIRTUAL_ENV", "LOG_LEVEL", "LOG_FILE", "DORA_ZENOH_CONFIG_OVERLAY"]
    {
        command.env_remove(variable);
    }
    command
}

#[test]
fn the_wheel_installed_into_a_new_environment_runs_a_flow() {
    let Some(bench) = Bench::new() else { return };
    if !bench.has_package("pip") {
        return;
    }
    let (python, folder) = (bench.interpreter(), bench.path());
    let succeed = |command: &mut Command| {
        let outcome = finish(command);
        assert_eq!(outcome.code, 0, "{command:?}\n{}", outcome.text);
        outcome.stdout
    };
    let pack = Path::new(env!("CARGO_MANIFEST_DIR")).join("pack.py");
    let printed = succeed(clean(python, folder).arg(pack).arg(bench.library()).arg("wheels"));
    let wheel = printed.trim();
    assert!(wheel.starts_with("wheels/sideline-") && wheel.contains("-cp311-abi3-"), "{wheel}");
    succeed(clean(python, folder).args(["-m", "venv", "--without-pip", "venv"]));
    let installed = folder.join("venv/bin/python");
    let install =
        ["-m", "pip", "--python", "venv", "install", "--quiet", "--no-deps", "--disable-pip-version-check", wheel];
    succeed(clean(python, folder).args(install));
    // NumPy comes from the environment of the tests, so that none is downloaded.
    let paths = "import sysconfig; print(sysconfig.get_paths()['purelib'])";
    let packages = succeed(clean(python, folder).args(["-c", paths]));
    let own = succeed(clean(&installed, folder).args(["-c", paths]));
    std::fs::write(Path::new(own.trim()).join("tests.pth"), packages).unwrap();

    let origin = succeed(clean(&installed, folder).args(["-c", "import sideline; print(sideline.__file__)"]));
    assert!(Path::new(origin.trim()).starts_with(folder.canonicalize().unwrap().join("venv")), "{origin}");
    bench.write_flow(OPERATOR, "");
    let sideline = folder.join("venv/bin/sideline");
    succeed(clean(&sideline, folder).args(["run", "flow.yml", "--output", "out"]));
    assert_eq!(bench.rows().len(), 40);
    let check = succeed(clean(python, folder).args(["-m", "pip", "--python", "venv", "show", "--files", "sideline"]));
    assert!(check.contains("Requires: numpy") && check.contains("sideline/_native.abi3.so"), "{check}");

    // Over dora, the operator is a node of its own, also where the only program `sideline` is that of the wheel.
    let beside = python.with_file_name("dora");
    if !beside.is_file() {
        skip_test(Capability::Dora, "no `dora` beside Python; `cargo xtask setup` installs it");
        return;
    }
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let no_sideline = std::env::split_paths(&inherited).filter(|folder| !folder.join("sideline").exists());
    let path = std::env::join_paths(std::iter::once(folder.join("venv/bin")).chain(no_sideline)).unwrap();
    succeed(clean(&beside, folder).args(["run", "flow.yml"]).env("PATH", &path));
    let run = std::fs::read_dir(folder.join("runs")).unwrap().next().unwrap().unwrap().path();
    succeed(clean(&sideline, folder).arg("result").arg(&run));
    let rows = |folder: &Path| std::fs::read_to_string(folder.join("rows.jsonl")).unwrap();
    assert_eq!(rows(&run), rows(&folder.join("out")));
}
