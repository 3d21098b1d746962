//! `sideline-lab`: evaluations and benchmarks of the operators and flows of Sideline.
#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr, reason = "they panic on a closed pipe: see `sideline::program`")]

mod args;
mod bench;
mod eval;
mod operator_runner;
mod sideline_program;

use sideline::program::run_command_line;
use sideline_api::{Registry, Result};

use args::{Bench, Cli, Command, Eval};

fn main() -> std::process::ExitCode {
    let registry = sideline::registry();
    let arguments: Vec<_> = std::env::args_os().collect();
    let code = run_command_line(&registry, &arguments, |cli: &Cli| match &cli.command {
        Command::Eval { command } => evaluate(command, &registry),
        Command::Bench { command } => benchmark(command, &registry),
    });
    code.into()
}

fn evaluate(command: &Eval, registry: &Registry) -> Result<u8> {
    match command {
        Eval::Tracker(options) => eval::tracker(options),
        #[cfg(feature = "onnx")]
        Eval::Moves(options) => eval::moves::run(options, registry),
        Eval::Football(options) => eval::football::run(options, registry),
        #[cfg(all(feature = "media", feature = "onnx"))]
        Eval::Detect(options) => eval::detect::run(options, registry),
        Eval::Smoothing { run, json, set } => eval::smoothing::run(run.as_deref(), *json, set),
    }
}

fn benchmark(command: &Bench, registry: &Registry) -> Result<u8> {
    match command {
        Bench::Hops { json } => bench::print(&bench::hops::run()?, *json),
        #[cfg(feature = "onnx")]
        Bench::Preprocess { json } => bench::print(&bench::preprocess::run()?, *json),
        #[cfg(feature = "onnx")]
        Bench::Detect { json, model } => bench::print(&bench::detect::run(model)?, *json),
        #[cfg(feature = "onnx")]
        Bench::Pose { json } => bench::print(&bench::pose::run()?, *json),
        Bench::Tracker { json } => bench::print(&bench::tracker::run()?, *json),
        Bench::Match { json } => bench::print(&bench::football::run(registry)?, *json),
        #[cfg(feature = "onnx")]
        Bench::Moves { json } => bench::print(&bench::moves::run(registry)?, *json),
        #[cfg(feature = "media")]
        Bench::Film(options) => bench::print(&bench::film::run(options)?, options.json),
        #[cfg(feature = "media")]
        Bench::Stream(options) => bench::print(&bench::stream::run(options)?, options.json),
        Bench::Operator(options) => bench::print(&bench::operator::run(options, registry)?, options.json),
        Bench::Fight(options) => bench::print(&bench::fight::run(options)?, options.json),
    }
}
