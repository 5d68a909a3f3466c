//! How what the library and the store say is told to people and programs.

use super::control::{CollectionInfo, FailureKind, ItemInfo, OpError};
use crate::{
    library::{Entry, LibraryError, Summary},
    network::identity::IdentityError,
    store::{ReadError, StoreError},
};

impl From<Summary> for CollectionInfo {
    fn from(summary: Summary) -> Self {
        Self {
            folder: summary.folder,
            name: summary.name,
            publisher: summary.key.publisher.to_string(),
            id: summary.key.id.to_string(),
            version: summary.version,
            items: summary.items,
            bytes: summary.bytes,
            held_items: summary.held_items,
            held_bytes: summary.held_bytes,
            mine: summary.mine,
        }
    }
}

impl From<Entry> for ItemInfo {
    fn from(Entry { item, held, fault, offered }: Entry) -> Self {
        Self {
            id: item.id.to_string(),
            path: item.path.into_string(),
            size_bytes: item.size,
            title: item.title.into_string(),
            author: item.author.into_string(),
            language: item.language.into_string(),
            held,
            fault: fault.map(|fault| fault.to_string()),
            offered,
        }
    }
}

impl From<StoreError> for OpError {
    fn from(error: StoreError) -> Self {
        let kind = match error {
            StoreError::Locked { .. } => FailureKind::InUse,
            StoreError::NoSpace { .. } | StoreError::OverQuota { .. } => FailureKind::NoSpace,
            StoreError::LibraryAway { .. } => FailureKind::Away,
            StoreError::NotFound(_) => FailureKind::NotFound,
            StoreError::Stopped => FailureKind::Gone,
            _ => FailureKind::Failed,
        };
        Self::new(kind, error)
    }
}

impl From<ReadError> for OpError {
    fn from(error: ReadError) -> Self {
        let kind = match error {
            ReadError::Store(error) => return error.into(),
            ReadError::NotFound(_) => FailureKind::NotFound,
            ReadError::Unavailable { .. } | ReadError::Damaged { .. } => FailureKind::Damaged,
            ReadError::Range { .. } => FailureKind::Failed,
        };
        Self::new(kind, error)
    }
}

impl From<LibraryError> for OpError {
    fn from(error: LibraryError) -> Self {
        let kind = match error {
            LibraryError::Store(error) => return error.into(),
            LibraryError::NoCollection | LibraryError::NoItem => FailureKind::NotFound,
            LibraryError::Away { .. } => FailureKind::Away,
            LibraryError::NeedsYes { .. } => FailureKind::Refused,
            LibraryError::TooManyCollections(_) | LibraryError::NotesFull => FailureKind::NoSpace,
            ref full if full.is_full_disk() => FailureKind::NoSpace,
            _ => FailureKind::Failed,
        };
        Self::new(kind, error)
    }
}

impl From<IdentityError> for OpError {
    fn from(error: IdentityError) -> Self {
        Self::new(FailureKind::Failed, error)
    }
}
