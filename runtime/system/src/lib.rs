//! Safe use of a machine that has other users, and of sockets that any local program may open.
//!
//! - [`owner`]: checks of file ownership and permissions; folders and files private to this user.
//! - [`serve`]: one socket server for TCP and Unix sockets, with a guaranteed shutdown.
//! - [`deadline`]: reads and writes bounded by one deadline.
//! - [`terminal`]: escapes control characters in text printed on a terminal.
#![forbid(unsafe_code)]

pub mod deadline;
pub mod owner;
pub mod serve;
pub mod terminal;
