pub mod content;
pub mod limits;
pub mod network;
