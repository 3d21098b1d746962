//! Data at the border between host and plugin, in both directions. Only small tables of numbers are copied.

pub mod array;
pub mod exporter;
pub mod frame;
pub mod importer;
pub mod schema;
pub mod versioned;
