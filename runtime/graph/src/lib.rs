//! Reads dataflow and module files, checks them, plans threads and queues.
//!
//! A flow is an ordinary dora dataflow file. It is read twice: by dora-core's own `Descriptor` and module expansion, so
//! that it always means what dora takes it to mean, and as a YAML tree with places, so that whatever is wrong is told
//! with line and column. A fused node (`args: run modules/perception.yml`) is flattened by the same expansion, as if it
//! had been written `module: modules/perception.yml`: both forms give the same graph with the same ids.
//!
//! [`Flow::read`] and [`Flow::from_descriptor`] read and check; [`Flow::plan_embedded`] and [`Flow::plan_for_node`] make
//! the [`plan::Plan`] of one process; [`render_plan`] prints what `sideline check` shows,
//! [`render_svg`] draws it.
#![forbid(unsafe_code)]

mod check;
mod diagnostic;
mod done;
mod expand;
mod files;
mod flow;
mod lanes;
mod memory;
mod picture;
pub mod plan;
mod print;
mod reader;
mod settings;
mod types;
mod wiring;

pub use diagnostic::{Diagnostic, Place, Severity};
pub use flow::{Flow, FlowInput, FlowNode, Module, Overrides, Process, ProcessKind, Sender};
pub use picture::{Live, render_svg};
pub use print::render_plan;
pub use types::{type_urn, write_type_files};
