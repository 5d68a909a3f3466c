//! The node: the only place that wires the parts together.
//!
//! It may use every part below, and must never know the command line.

pub mod control;
pub mod ops;
