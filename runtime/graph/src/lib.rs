//! Reads dataflow and module files, checks them, plans threads and queues.
#![forbid(unsafe_code)]

pub mod plan;
