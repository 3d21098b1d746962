//! The interface for authors of Sideline operators.
//!
//! An operator is a struct with a documented configuration, declared ports and a `process` method that is called once per
//! frame with all its inputs of that frame. The runtime does everything else: threads, queues, alignment, skipping,
//! state, restarts, message numbers, transport. [`Operator`] has an example with its test, [`Source`] one of a producer of
//! frames; `operators/counter` is an operator to copy.
#![forbid(unsafe_code)]
// The macros of this crate refer to it by this path, also inside the crate itself.
extern crate self as sideline_api;

pub mod clock;
pub mod config;
mod context;
pub mod driver;
mod error;
pub mod factory;
mod frame;
mod message;
pub mod models;
mod native;
mod operator;
mod pixels;
pub mod port;
mod random;
mod registry;
pub mod table;
pub mod tables;
pub mod testing;
pub mod typed_ports;
pub mod yaml;

pub use config::{Config, Values};
pub use context::{Context, Device, Inputs, Mode, Outputs, Resources, SourceContext, find_file};
pub use driver::{Driver, OnError};
pub use error::{Error, Failure, OrFail, Result, RunPlace};
pub use factory::{DynOperator, DynSource, Fault, Instance, OperatorFactory};
pub use frame::{Color, Encoding, Frame, Matrix, Plane};
pub use message::{
    Body, Header, Message, Payload, Reason, StreamName, escape_stream_name, is_same_stream, stream_file_name,
};
pub use operator::{CapturedFrame, ClosingRows, Operator, Source, State};
pub use pixels::Pixels;
pub use port::{Alignment, FEEDBACK_QUEUE, InputPort, OutputPort, PortType, SourceId, Spec, WiredInput};
pub use random::Random;
pub use registry::{Entry, Registry};
pub use serde;
pub use serde_json;
/// Derives [`config::Config`], and the ports of [`typed_ports`], for a struct.
pub use sideline_derive::{Config, InputPorts, OutputPorts};
pub use table::{Column, Table, TableType};
pub use typed_ports::{InputPorts, OutputPorts};

/// Arrow crates that appear in the types of this crate.
pub mod arrow {
    pub use arrow_array as array;
    pub use arrow_buffer as buffer;
    pub use arrow_schema as schema;
}
