//! The program `sideline` as a library: a program with operators of its own is
//! `sideline::main(sideline::registry().operator::<Mine>())`.
#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr, reason = "they panic on a closed pipe: see `print`")]

#[macro_use]
mod print;

mod args;
mod batch;
mod commands;
mod completions;
mod control;
pub mod embed;
mod export;
#[cfg(test)]
mod fuzz;
mod graph;
mod handover;
mod home;
mod logging;
mod models;
#[cfg(feature = "dora")]
mod node;
pub mod program;
mod progress;
mod python;
mod record;
mod recorded_tables;
mod reference;
mod run;
mod run_folder;
mod run_outputs;
mod shell_paths;
mod start_at;
mod stop_signal;
mod timing;
mod utf8;

use std::{ffi::OsString, process::ExitCode};

use sideline_api::{Error, Registry, Result};

use args::{Cli, Command};
pub use python::{PythonHost, PythonTargets};

/// Returns the registry of all operators and nodes in this build.
pub fn registry() -> Registry {
    let registry = Registry::new()
        .source::<sideline_synthetic::Synthetic>()
        .operator::<sideline_counter::Counter>()
        .operator::<sideline_rehearse::Rehearse>()
        .operator::<sideline_tracker::Tracker>()
        .operator::<sideline_ball::BallOperator>()
        .operator::<sideline_view::ViewOperator>()
        .operator::<sideline_smooth::Smooth>()
        .operator::<sideline_motion::MotionOperator>()
        .operator::<sideline_interaction::InteractionOperator>()
        .operator::<sideline_commentary::CommentaryOperator>()
        .operator::<sideline_team::TeamOperator>()
        .operator::<sideline_match::Pitch>()
        .operator::<sideline_match::PossessionOperator>()
        .operator::<sideline_match::Events>()
        .operator::<sideline_match::FormationOperator>()
        .operator::<sideline_match::Stats>()
        .operator::<sideline_speech::Speech>()
        .operator::<sideline_fusion::Fusion>()
        .operator::<sideline_recorder::Recorder>();
    #[cfg(feature = "media")]
    let registry = registry
        .source::<sideline_capture::Capture>()
        .operator::<sideline_render::Render>()
        .operator::<sideline_encode::Encode>()
        .operator::<sideline_preview::Preview>();
    #[cfg(feature = "onnx")]
    let registry = registry
        .operator::<sideline_pose::Pose>()
        .operator::<sideline_detect::Detect>()
        .operator::<sideline_reid::Reid>()
        .operator::<sideline_sequence::Sequence>();
    registry
}

/// Runs the command line with these operators. Errors are printed here and nowhere else.
pub fn main(registry: Registry) -> ExitCode {
    run_main(registry, None).into()
}

/// Runs the command line in an interpreter of Python, which loads the operators in Python of a flow; returns the exit code.
pub fn main_in_python(registry: Registry, host: &PythonHost<'_>) -> u8 {
    run_main(registry, Some(host))
}

fn run_main(registry: Registry, host: Option<&PythonHost<'_>>) -> u8 {
    // First of all, a node that dora started without the transport overlay restarts itself with it.
    #[cfg(feature = "dora")]
    if sideline_dora::transport::started_by_dora() {
        let restart = host.map_or_else(python::native_restart_command, |host| Ok(host.restart_command()));
        match restart.and_then(|mut restart| sideline_dora::transport::ensure_overlay(&mut restart)) {
            Ok(None) => {}
            Ok(Some(warning)) => errln!("warning: {warning}"),
            Err(error) => {
                errln!("error: {error}");
                return error.failure.exit_code();
            }
        }
    }
    let arguments = match host {
        Some(host) => std::iter::once("sideline".into()).chain(host.arguments.iter().cloned()).collect(),
        None => std::env::args_os().collect::<Vec<_>>(),
    };
    let version = if host.is_some() { python::check_version() } else { Ok(()) };
    program::run_command_line(&registry, &arguments, |cli: &Cli| {
        version?;
        dispatch(&cli.command, &registry, host, &arguments)
    })
}

fn dispatch(
    command: &Command,
    registry: &Registry,
    host: Option<&PythonHost<'_>>,
    arguments: &[OsString],
) -> Result<u8> {
    let python::PythonOperators { registry, description, exist } = python::add_operators(command, registry, host);
    let registry = &registry;
    match command {
        Command::Run(options) if options.reload && !exist => {
            Err(Error::config(format!("--reload: {} has no operator in Python", options.target)))
        }
        Command::Run(options) => run::run(options, registry),
        Command::Check { flow, json, set, mode } => {
            commands::check(flow, *json, set, *mode, registry, description.as_deref())
        }
        Command::List { json } => commands::list(*json, registry),
        Command::Inspect { target, json } => commands::inspect(target, *json, registry),
        Command::Graph { flow, output, mode } => graph::draw(flow, output.as_deref(), *mode, registry),
        Command::Stop { run, json } => control::stop(run.as_deref(), *json),
        Command::Set { settings, run, json } => control::set(run.as_deref(), settings, *json),
        Command::Result { run, json } => commands::result(run, *json),
        Command::Export(options) => export::export(options),
        Command::Completions { shell } => completions::print(*shell),
        Command::Reference { folder } => reference::write(folder, registry),
        Command::Models { command } => models::run(command),
        Command::Eval { .. } | Command::Bench { .. } => Err(handover::replace_by_lab(&arguments[1..])),
    }
}
