//! The library: collections, what they list, publishing them and following those of other nodes.
//!
//! It may use `transfer`, `store`, `wire`, `status` and the ground, and must never know libp2p, HTTP or sled.

mod catalogue;
mod item;
mod manifest;
mod names;
mod page;
mod publish;
mod root;

pub use catalogue::{Entry, Hit, SearchPage, Summary};
pub use item::Item;
pub use manifest::ManifestError;
pub use page::PageError;
pub use publish::{AddEvent, AddReport, AddRequest};
pub use root::{Root, RootError};
