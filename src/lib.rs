pub mod config;
pub mod content;
pub mod library;
pub mod limits;
pub mod network;
pub mod peers;
pub mod status;
pub mod wire;
