//! Data of sports video that operators share: tables of people, moves and football, the geometry of the human body in them,
//! and levels of excitement.
//!
//! The runtime knows none of this: it carries any table.
#![forbid(unsafe_code)]

pub mod body;
mod excitement;
pub mod tables;

pub use excitement::Excitement;
