//! AlLibrary node: a library mirror for small boards.
//!
//! The crate is one program in parts. [`node::Node`] is a running node, and where to begin; `ARCHITECTURE.md` is the map, and
//! each part's own page says what it is for, what it may use and what it must never know.

#![deny(unsafe_code)]

pub mod cli;
pub mod clock;
pub mod config;
pub mod content;
pub mod groups;
pub mod kiosk;
pub mod library;
pub mod limits;
pub mod network;
pub mod node;
pub mod peers;
pub mod status;
pub mod store;
pub mod tasks;
pub mod transfer;
pub mod wire;
