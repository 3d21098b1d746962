//! A plan's border as inputs and outputs of one dora node.
#![forbid(unsafe_code)]

mod host;
mod metadata;
mod node;
mod outputs;
mod peers;
pub mod transport;

pub use node::Node;
