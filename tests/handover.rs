//! `sideline eval` and `sideline bench` hand over to the program `sideline-lab`.

mod support;

use std::{
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use support::{Bench, CommandResult, SIDELINE, copy_program, finish, wait};

/// Writes a program that prints its name, its arguments and its input, writes to standard error and exits with 7.
fn write_lab(bench: &Bench, path: &str) {
    let script = bench.write(
        path,
        "#!/bin/sh\necho \"program $0\"\nfor argument in \"$@\"; do echo \"argument <$argument>\"; done\n\
         while read -r line; do echo \"input <$line>\"; done\necho \"to standard error\" >&2\nexit 7\n",
    );
    std::fs::set_permissions(script, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Makes `sideline` available in a folder of the test.
fn sideline_in(bench: &Bench, folder: &str) -> PathBuf {
    let program = bench.path().join(folder).join("sideline");
    std::fs::create_dir_all(program.parent().unwrap()).unwrap();
    copy_program(SIDELINE, &program);
    program
}

/// Runs a program with arguments and an input, and on its PATH these folders and those of the shell.
fn run(bench: &Bench, program: &Path, arguments: &[&str], path: &str, input: &str) -> CommandResult {
    let mut command: Command = bench.command(program);
    command.args(arguments).env("PATH", format!("{path}:/usr/bin:/bin"));
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    wait(child)
}

#[test]
fn eval_and_bench_become_the_lab_beside_the_program_with_all_arguments_and_streams() {
    let bench = Bench::new();
    let program = sideline_in(&bench, "own");
    write_lab(&bench, "own/sideline-lab");
    write_lab(&bench, "other/sideline-lab");
    let other = bench.path().join("other").display().to_string();
    for arguments in [
        &["eval", "moves", "a folder", "--json", "--", "-x"][..],
        &["eval", "--help"],
        &["eval", "--", "moves"],
        &["bench", "fight", "-h"],
        &["bench"],
    ] {
        let ended = run(&bench, &program, arguments, &other, "one\ntwo\n");
        let mut expected = format!("program {}\n", bench.path().join("own/sideline-lab").display());
        for argument in arguments {
            expected += &format!("argument <{argument}>\n");
        }
        expected += "input <one>\ninput <two>\nto standard error\n";
        assert_eq!((ended.code, ended.text), (7, expected), "{arguments:?}");
    }
}

#[test]
fn a_lab_on_path_is_found_and_a_missing_one_is_reported_with_the_command_that_builds_it() {
    let bench = Bench::new();
    let program = sideline_in(&bench, "own");
    write_lab(&bench, "other/sideline-lab");
    let other = bench.path().join("other").display().to_string();
    let ended = run(&bench, &program, &["bench", "hops"], &other, "");
    assert!(ended.code == 7 && ended.text.contains("other/sideline-lab\n"), "{} {}", ended.code, ended.text);
    for command in ["eval", "bench"] {
        let ended = run(&bench, &program, &[command, "--help"], "/nowhere", "");
        assert_eq!(ended.code, 1, "{}", ended.text);
        assert!(ended.text.contains("build it with `cargo build -p sideline-lab`"), "{}", ended.text);
    }
}

#[test]
fn help_lists_the_commands_of_the_lab() {
    let bench = Bench::new();
    let ended = finish(bench.command(SIDELINE).arg("--help"));
    let line =
        |command: &str| ended.text.lines().find(|line| line.trim_start().starts_with(command)).unwrap_or_default();
    assert!(line("eval").contains("Measure the accuracy of operators against ground truth"), "{}", ended.text);
    assert!(line("bench").contains("Measure run times"), "{}", ended.text);
}
