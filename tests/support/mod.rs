//! What the integration tests share. Each takes what it needs.
#![allow(dead_code, reason = "every test is a crate of its own and uses another part of this")]

pub mod disk;
pub mod most;
pub mod netns;
pub mod node;
pub mod page;
pub mod relay;
pub mod rot;
