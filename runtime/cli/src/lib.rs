//! The program `sideline` as a library: [`registry`] has the shipped operators, [`main`] runs the command line with them and
//! with those of your own.
//!
//! ```no_run
//! # use sideline_api::*;
//! # /// Counts people.
//! # #[derive(Clone, Config)]
//! # pub struct PeopleConfig {}
//! # pub struct People;
//! # impl Operator for People {
//! #     type Config = PeopleConfig;
//! #     type State = ();
//! #     fn spec() -> Spec { Spec::operator("people").required("frames", PortType::Frame) }
//! #     fn new(_: PeopleConfig, _: &Resources) -> Result<Self> { Ok(People) }
//! #     fn process(&mut self, _: &Context, _: &Inputs, _: &mut (), _: &mut Outputs) -> Result<()> { Ok(()) }
//! # }
//! fn main() -> std::process::ExitCode {
//!     sideline::main(sideline::registry().operator::<People>())
//! }
//! ```
//!
//! [`Flow`] runs a flow from the code of a program and passes on its rows while it runs; [`Graph`] builds one without YAML.
//!
//! Operators depend on `sideline-api` alone; `sideline-graph` and `sideline-engine` run a flow without the command line.
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
mod flow;
mod flow_test;
#[cfg(test)]
mod fuzz;
mod graph;
mod graph_builder;
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
mod python;
mod record;
mod reference;
mod run;
mod run_folder;
mod run_outputs;
mod shell_paths;
mod start_at;
mod stop_signal;
mod tap;
mod test_operator;
mod timing;
mod utf8;

use std::{ffi::OsString, path::Path, process::ExitCode};

use sideline_api::{Error, Registry, Result};

use args::{Cli, Command};
pub use flow::{Flow, Running};
pub use graph_builder::{Graph, Node};
pub use python::{PythonHost, PythonTargets};
pub use sideline_engine::{OperatorFailure, RunProgress, meter::Report};
pub use tap::Batch;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/from-code.md")]
struct FromCodePage;

/// Returns the registry of all operators and nodes in this build.
pub fn registry() -> Registry {
    let registry = Registry::new()
        .source::<sideline_synthetic::Synthetic>()
        .operator::<sideline_counter::Counter>()
        .operator::<sideline_rehearse::Rehearse>()
        .operator::<sideline_tracker::Tracker>()
        .operator::<sideline_fighters::Fighters>()
        .operator::<sideline_ball::Ball>()
        .operator::<sideline_view::View>()
        .operator::<sideline_smooth::Smooth>()
        .operator::<sideline_motion::Motion>()
        .operator::<sideline_interaction::Interaction>()
        .operator::<sideline_commentary::Commentary>()
        .operator::<sideline_team::Team>()
        .operator::<sideline_match::Pitch>()
        .operator::<sideline_match::Possession>()
        .operator::<sideline_match::Events>()
        .operator::<sideline_match::Formation>()
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
    let registry = plugins::with_replay(registry);
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
    let (registry, here) = (&registry, Path::new("."));
    match command {
        Command::Run(options) if options.reload && !exist => {
            Err(Error::config(format!("--reload: {} has no operator in Python", options.target)))
        }
        Command::Run(options) => run::run(options, &plugins::with_plugins_of(options, registry)?),
        Command::Check { flow, json, set, mode } => {
            let registry = plugins::with_installed(registry, flow)?;
            commands::check(flow, *json, set, *mode, &plugins::with_flow(&registry, flow), description.as_deref())
        }
        Command::List { json } => commands::list(*json, &plugins::with_installed(registry, here)?),
        Command::Inspect { target, json } => {
            inspect::inspect(target, *json, &plugins::with_installed(registry, Path::new(target))?)
        }
        Command::Types { target } => inspect::types(target, &plugins::with_installed(registry, here)?),
        Command::Graph { flow, output, mode } => {
            let registry = plugins::with_installed(registry, flow)?;
            graph::draw(flow, output.as_deref(), *mode, &plugins::with_flow(&registry, flow))
        }
        Command::Describe { library, json } => plugins::describe(library, *json),
        Command::TestOperator(options) => test_operator::run(options, &plugins::with_installed(registry, here)?),
        Command::Test(options) => {
            let registry = plugins::with_installed(registry, &options.flow)?;
            flow_test::run(options, &plugins::with_flow(&registry, &options.flow))
        }
        Command::New { template } => new::run(template, registry),
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
