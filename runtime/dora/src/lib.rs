//! Hosts the part of a plan in one process as a dora node: border ports become inputs and outputs of the node.
#![forbid(unsafe_code)]

mod host;
mod metadata;
mod node;
mod outputs;
mod peers;
mod single_sender;
pub mod transport;

pub use dora_message::descriptor::Descriptor;
pub use node::{Assignment, Node};
