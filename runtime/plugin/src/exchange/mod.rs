//! Data at the border between host and plugin, in both directions and without copies.

pub mod array;
pub mod frame;
pub mod schema;
pub mod versioned;
