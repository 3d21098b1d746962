//! The one binary, as a library: an author's own program is `sideline::main(sideline::registry().operator::<Mine>())`.
#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr, reason = "they panic where the reader has gone: see `print`")]

#[macro_use]
mod print;

mod args;
mod bench;
mod commands;
mod completions;
mod control;
mod eval;
mod export;
mod folder;
#[cfg(test)]
mod fuzz;
mod graph;
mod house;
mod logging;
mod many;
mod models;
#[cfg(feature = "dora")]
mod node;
mod progress;
mod record;
mod recorded;
mod run;
mod stage;
mod start_at;
mod stop;
mod timing;
mod typed;

use std::process::ExitCode;

use clap::Parser;
use sideline_api::{Registry, Result};

use args::{Bench, Cli, Command, Eval};

/// Every operator and node this build has.
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

/// Runs the command line with these operators; the one place where errors are printed.
pub fn main(registry: Registry) -> ExitCode {
    // Before any thread: the library reads the environment when it is loaded.
    #[cfg(feature = "onnx")]
    sideline_inference::environment::forbid_telemetry();
    // A node that dora started without the overlay starts again with it, before anything else.
    #[cfg(feature = "dora")]
    if sideline_dora::transport::started_by_dora() {
        match sideline_dora::transport::ensure() {
            Ok(None) => {}
            Ok(Some(warning)) => errln!("warning: {warning}"),
            Err(error) => {
                errln!("error: {error}");
                return error.failure.exit_code().into();
            }
        }
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => {
            let _ = usage.print();
            // Asking for help is no failure; a wrong command line is one of configuration.
            return if usage.use_stderr() { 1.into() } else { ExitCode::SUCCESS };
        }
    };
    let done = registry.check().and_then(|()| logging::start()).and_then(|()| dispatch(&cli.command, &registry));
    match done.and_then(all_printed) {
        Ok(code) => code.into(),
        Err(error) => {
            for line in error.message.lines() {
                // What is wrong with a flow begins with its place, as compilers write it.
                let mark = if line.contains(": error: ") { "" } else { "error: " };
                errln!("{mark}{line}");
            }
            error.failure.exit_code().into()
        }
    }
}

/// The exit code of a command; one that succeeded, and could not print what it was asked for, failed.
fn all_printed(code: u8) -> Result<u8> {
    match print::failure() {
        Some(error) if code == 0 => Err(error),
        _ => Ok(code),
    }
}

fn dispatch(command: &Command, registry: &Registry) -> Result<u8> {
    match command {
        Command::Run(options) => run::run(options, registry),
        Command::Check { flow, json, set, mode } => commands::check(flow, *json, set, *mode, registry),
        Command::List { json } => commands::list(*json, registry),
        Command::Inspect { what, json } => commands::inspect(what, *json, registry),
        Command::Graph { flow, output, mode } => graph::draw(flow, output.as_deref(), *mode, registry),
        Command::Stop { run, json } => control::stop(run.as_deref(), *json),
        Command::Set { settings, run, json } => control::set(run.as_deref(), settings, *json),
        Command::Result { run, json } => commands::result(run, *json),
        Command::Export(options) => export::export(options),
        Command::Completions { shell } => completions::print(*shell),
        Command::Models { command } => models::run(command),
        Command::Eval { command: Eval::Tracker(options) } => eval::tracker(options),
        Command::Eval { command: Eval::Moves(options) } => eval::moves::run(options, registry),
        Command::Eval { command: Eval::Football(options) } => eval::football::run(options, registry),
        Command::Eval { command: Eval::Detect(options) } => eval::detect::run(options, registry),
        Command::Eval { command: Eval::Smoothing { run, json, set } } => {
            eval::smoothing::run(run.as_deref(), *json, set)
        }
        Command::Bench { command } => match command {
            Bench::Hops { json } => bench::print(&bench::hops::run()?, *json),
            Bench::Preprocess { json } => bench::print(&bench::preprocess::run()?, *json),
            Bench::Detect { json, model } => bench::print(&bench::detect::run(model)?, *json),
            Bench::Pose { json } => bench::print(&bench::pose::run()?, *json),
            Bench::Tracker { json } => bench::print(&bench::tracker::run()?, *json),
            Bench::Match { json } => bench::print(&bench::football::run(registry)?, *json),
            Bench::Moves { json } => bench::print(&bench::moves::run(registry)?, *json),
            Bench::Film(options) => bench::print(&bench::film::run(options)?, options.json),
            Bench::Stream(options) => bench::print(&bench::stream::run(options)?, options.json),
            Bench::Fight(options) => bench::print(&bench::fight::run(options)?, options.json),
        },
    }
}
