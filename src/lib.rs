#![deny(unsafe_code)]

pub mod cli;
pub mod config;
pub mod content;
pub mod kiosk;
pub mod library;
pub mod limits;
pub mod network;
pub mod node;
pub mod peers;
pub mod status;
pub mod store;
pub mod transfer;
pub mod wire;
