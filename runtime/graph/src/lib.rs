//! Reads dataflow and module files, checks them, and plans threads and queues.
//!
//! A flow is an ordinary dora dataflow file. It is parsed twice: by dora-core's own `Descriptor` and module expansion,
//! so that it has the same meaning as under dora, and as a YAML tree with positions, so that every problem is reported
//! with its line and column. A fused node (`args: run modules/perception.yml`) is flattened by the same expansion as
//! the equivalent `module: modules/perception.yml`: both forms give the same graph with the same ids.
//!
//! [`Flow::read`] and [`Flow::from_descriptor`] read and check a flow; [`Flow::plan_embedded`] and
//! [`Flow::plan_for_node`] build the [`plan::Plan`] of one process; [`render_plan`] renders the output of `sideline
//! check`.
#![forbid(unsafe_code)]

mod attach;
mod diagnostic;
mod expand;
mod files;
mod flow;
mod memory;
mod names;
pub mod plan;
mod planner;
mod print;
mod settings;
mod sinks;
mod type_files;
mod wiring;

pub use diagnostic::{Diagnostic, Place, Severity};
pub use files::{operator_targets, operator_targets_in};
pub use flow::{Flow, FlowInput, FlowNode, Module, Overrides, Process, ProcessKind, Sender};
pub use print::render_plan;
pub use type_files::{render_type_files, type_urn};
