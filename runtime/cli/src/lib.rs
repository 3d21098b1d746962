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
mod export;
#[cfg(test)]
mod fuzz;
mod graph;
mod handover;
mod home;
mod inspect;
mod logging;
mod models;
mod new;
#[cfg(feature = "dora")]
mod node;
mod plugins;
pub mod program;
mod progress;
mod record;
mod recorded_tables;
mod reference;
mod run;
mod run_folder;
mod run_outputs;
mod shell_paths;
mod start_at;
mod stop_signal;
mod test_operator;
mod timing;
mod utf8;

use std::{path::Path, process::ExitCode};

use sideline_api::{Registry, Result};

use args::{Cli, Command};

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
    // First of all, a node that dora started without the transport overlay restarts itself with it.
    #[cfg(feature = "dora")]
    if sideline_dora::transport::started_by_dora() {
        match sideline_dora::transport::ensure_overlay() {
            Ok(None) => {}
            Ok(Some(warning)) => errln!("warning: {warning}"),
            Err(error) => {
                errln!("error: {error}");
                return error.failure.exit_code().into();
            }
        }
    }
    program::run_command_line(&registry, |cli: &Cli| dispatch(&cli.command, &registry))
}

fn dispatch(command: &Command, registry: &Registry) -> Result<u8> {
    match command {
        Command::Run(options) => {
            let registry = plugins::with_installed(registry)?;
            run::run(options, &plugins::with_flow(&registry, Path::new(&options.target)))
        }
        Command::Check { flow, json, set, mode } => {
            let registry = plugins::with_installed(registry)?;
            commands::check(flow, *json, set, *mode, &plugins::with_flow(&registry, flow))
        }
        Command::List { json } => commands::list(*json, &plugins::with_installed(registry)?),
        Command::Inspect { target, json } => inspect::inspect(target, *json, &plugins::with_installed(registry)?),
        Command::Types { target } => inspect::types(target, &plugins::with_installed(registry)?),
        Command::Graph { flow, output, mode } => {
            let registry = plugins::with_installed(registry)?;
            graph::draw(flow, output.as_deref(), *mode, &plugins::with_flow(&registry, flow))
        }
        Command::Describe { library, json } => plugins::describe(library, *json),
        Command::TestOperator(options) => test_operator::run(options, &plugins::with_installed(registry)?),
        Command::New { template } => new::run(template),
        Command::Stop { run, json } => control::stop(run.as_deref(), *json),
        Command::Set { settings, run, json } => control::set(run.as_deref(), settings, *json),
        Command::Result { run, json } => commands::result(run, *json),
        Command::Export(options) => export::export(options),
        Command::Completions { shell } => completions::print(*shell),
        Command::Reference { folder } => reference::write(folder, registry),
        Command::Models { command } => models::run(command),
        Command::Eval { .. } | Command::Bench { .. } => Err(handover::replace_by_lab()),
    }
}
