pub mod content;
pub mod limits;
pub mod network;
pub mod status;
pub mod wire;
