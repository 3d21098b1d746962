//! What the author of a Sideline operator sees.
//!
//! An operator is a struct with a documented configuration, declared ports and a `process` that is called once per
//! frame with all its inputs of that frame. Everything else is the runtime's: threads, queues, alignment, skipping,
//! state, restarts, numbers, transport. `operators/counter` is the smallest one; copy it to begin.
#![forbid(unsafe_code)]
// The macros of this crate name it by this path, also inside it.
extern crate self as sideline_api;

pub mod address;
pub mod assignment;
pub mod body;
pub mod boxes;
pub mod clock;
pub mod config;
mod context;
pub mod driver;
mod error;
mod excitement;
pub mod factory;
pub mod fit;
mod frame;
mod message;
pub mod models;
mod native;
pub mod one_euro;
mod operator;
mod pixels;
mod port;
mod random;
mod registry;
pub mod rhythm;
pub mod table;
pub mod tables;
#[path = "harness.rs"]
pub mod testing;
pub mod yaml;

pub use config::{Config, Values};
pub use context::{Context, Device, Inputs, Mode, Outputs, Resources, SourceContext, find_file};
pub use driver::{Driver, OnError};
pub use error::{Error, Failure, OrFail, Result};
pub use excitement::Excitement;
pub use factory::{DynOperator, Fault, Made, OperatorFactory, RunnableSource};
pub use frame::{Color, Encoding, Frame, Matrix, Plane};
pub use message::{Body, Header, Message, Payload, Reason, StreamName, is_same_stream};
pub use operator::{Captured, Closing, Operator, Source, State};
pub use pixels::Pixels;
pub use port::{Alignment, FEEDBACK_QUEUE, InputPort, OutputPort, PortType, SourceId, Spec, WiredInput};
pub use random::Random;
pub use registry::{Entry, Registry};
pub use serde_json;
/// Derives [`config::Config`] for a struct.
pub use sideline_derive::Config;
pub use table::{Column, Table, TableType};

/// The parts of Arrow that messages are made of.
pub mod arrow {
    pub use arrow_array as array;
    pub use arrow_buffer as buffer;
    pub use arrow_schema as schema;
}
