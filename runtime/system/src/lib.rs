//! Safe use of a machine that has other users, and of sockets that anybody may open.
//!
//! - [`owner`]: whose files are acted on; folders and files of this user alone.
//! - [`serve`]: one socket server for TCP and Unix sockets, that always stops.
//! - [`timed`]: reads and writes that end by a deadline.
//! - [`terminal`]: text that cannot steer the terminal it is printed on.
#![forbid(unsafe_code)]

pub mod owner;
pub mod serve;
pub mod terminal;
pub mod timed;
