//! A plan's border as inputs and outputs of one dora node.
#![forbid(unsafe_code)]

mod metadata;
mod node;
pub mod transport;

pub use node::Node;
