//! Data of sports video that operators share: tables of people, moves and football, the geometry of the human body in them,
//! and levels of excitement.
//!
//! The runtime knows none of this: it carries any table.
#![forbid(unsafe_code)]

pub mod body;
mod class_names;
mod excitement;
mod fighter_names;
pub mod tables;

pub use class_names::ClassNames;
pub use excitement::Excitement;
pub use fighter_names::{FIGHTERS_INPUT, FighterNames};
