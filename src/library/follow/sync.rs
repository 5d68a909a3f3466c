//! Taking over newer versions of collections from one peer.

use std::{io, sync::Arc, time::Duration};

use futures::AsyncWriteExt;
use smol::channel::Receiver;
use thiserror::Error;

use super::{Connect, FollowEnd, Follower, Peer, Policy};
use crate::{
    clock::within,
    content::CollectionKey,
    library::{
        LibraryError, ManifestError, Root, RootError, apply::Adopted, manifest::Draft, page, page::PageHash, wait::with,
    },
    limits::{
        follow::{KNOWN, RETRY_MAX_MS, RETRY_MIN_MS, SLOW_PAUSE_MS},
        library::PAGE_BYTES,
        wire::PAGES_PER_REQUEST,
    },
    status::NoticeLevel,
    transfer::{Pace, at_pace},
    wire::{
        ErrorReply, FrameError, KIND_ERROR,
        catalogue::{self, Head, PagesRequest, Reply, Request, RootRequest},
        decode, read_frame, write_frame,
    },
};

/// Why a version was not taken over. The one that was there before stays.
#[derive(Debug, Error)]
enum SyncError {
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("the peer is too slow")]
    TooSlow,
    /// The peer can't answer now, or no longer has this version.
    #[error("the peer could not answer: {0}")]
    Refused(String),
    #[error("{0}")]
    Violation(String),
    #[error(transparent)]
    Library(#[from] LibraryError),
}

impl From<FrameError> for SyncError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Io(error) => Self::Io(error),
            error => Self::Violation(error.to_string()),
        }
    }
}

impl From<ManifestError> for SyncError {
    fn from(error: ManifestError) -> Self {
        if error.is_violation() { Self::Violation(error.to_string()) } else { Self::Library(error.into()) }
    }
}

impl From<RootError> for SyncError {
    fn from(error: RootError) -> Self {
        Self::Violation(error.to_string())
    }
}

/// Takes over what is newer whenever the heads change; again after a pause where it did not work.
pub(super) async fn run<C: Connect>(follower: &Arc<Follower>, peer: &Peer<C>, wake: Receiver<()>) -> FollowEnd {
    let mut session = Session { follower, peer, stream: None, pace: Pace::default() };
    let mut retry_ms = None;
    loop {
        let woken = match retry_ms {
            Some(pause) => within(Duration::from_millis(pause), wake.recv()).await.is_some(),
            None => wake.recv().await.is_ok(),
        };
        let mut all_well = true;
        for head in peer.heads() {
            match session.head(&head).await {
                Ok(well) => all_well &= well,
                Err(SyncError::Violation(reason)) => {
                    let reason = format!("collection {:?} ({}): {reason}", &*head.name, head.collection.id);
                    return FollowEnd::violation(reason);
                }
                Err(error) => {
                    log::info!("collection {:?} of peer {}: {error}", &*head.name, peer.node);
                    if let SyncError::Library(error) = &error {
                        let text = format!("{:?} is not mirrored any further: {error}", &*head.name);
                        follower.notices.put(&about(&head.collection), NoticeLevel::Error, text);
                    }
                    if matches!(error, SyncError::TooSlow) {
                        session.pace = Pace::default();
                        // Others may have what it has, and could not take it over meanwhile.
                        smol::Timer::after(Duration::from_millis(SLOW_PAUSE_MS)).await;
                    }
                    session.stream = None;
                    all_well = false;
                }
            }
        }
        retry_ms = match retry_ms {
            _ if all_well => None,
            Some(pause) if !woken => Some((2 * pause).min(RETRY_MAX_MS)),
            _ => Some(RETRY_MIN_MS),
        };
    }
}

/// What notices about a collection are about.
fn about(key: &CollectionKey) -> String {
    format!("collection {}", key.id)
}

struct Session<'a, C: Connect> {
    follower: &'a Arc<Follower>,
    peer: &'a Peer<C>,
    stream: Option<C::Stream>,
    pace: Pace,
}

impl<C: Connect> Session<'_, C> {
    /// Takes over the version of this head if it is newer and wanted; `false` if that is to be tried again.
    async fn head(&mut self, head: &Head) -> Result<bool, SyncError> {
        let Follower { library, collections, notices, .. } = &**self.follower;
        let policy = self.follower.policy();
        let key = head.collection;
        let mine = key.publisher == library.node_id();
        if !(mine || policy.knows(&key, &head.name)) || !library.wants_version(&key, head.version) {
            return Ok(true);
        }
        let Some(_claim) = collections.claim(key) else { return Ok(false) };
        let root_bytes = self.root(head).await?;
        let root = Arc::new(Root::verify(&root_bytes)?);
        if root.collection != key {
            return Err(RootError::WrongCollection.into());
        }
        if root.version < head.version {
            return Err(SyncError::Violation(format!(
                "version {} was announced, and {} sent",
                head.version, root.version
            )));
        }
        let about = about(&key);
        if !mine && !policy.knows(&key, &root.name) {
            return Ok(true);
        }
        if !mine && !policy.wants(&key, &root.name) && !self.may_know(&policy, &key) {
            return Ok(true);
        }
        if let Some(why) = policy.refuses(&library.collections(), &key, root.items).filter(|_| !mine) {
            notices.put(&about, NoticeLevel::Warning, format!("{:?} is not mirrored any further: {why}", &*root.name));
            return Ok(true);
        }
        let most = root.pages.len() as u64 * PAGE_BYTES as u64;
        if let Err(error) = with(library, move |library| library.store().check_free(most)).await {
            let text = format!("{:?} is not mirrored any further: {error}", &*root.name);
            notices.put(&about, NoticeLevel::Error, text);
            return Ok(false);
        }
        let Some(draft) = self.pages(&root).await? else { return Ok(false) };
        let adopted = {
            let root = Arc::clone(&root);
            with(library, move |library| library.adopt(&root, &root_bytes, draft)).await?
        };
        notices.clear(&about);
        if adopted == Adopted::Newest {
            log::info!("{:?} is at version {} now, from peer {}", &*root.name, root.version, self.peer.node);
        }
        Ok(true)
    }

    /// Whether there is room among what is known and not mirrored.
    fn may_know(&self, policy: &Policy, key: &CollectionKey) -> bool {
        let all = self.follower.library.collections();
        let known = all.iter().filter(|it| it.key != *key && !it.mine && !policy.wants(&it.key, &it.name));
        known.count() < KNOWN
    }

    async fn root(&mut self, head: &Head) -> Result<Vec<u8>, SyncError> {
        self.send(&Request::Root(RootRequest { collection: head.collection })).await?;
        match self.receive().await? {
            Reply::Root(bytes) => Ok(bytes),
            _ => Err(SyncError::Violation("an answer that nobody asked for".into())),
        }
    }

    /// The pages of this version, those that are not here from the peer; none if the peer has moved on meanwhile.
    async fn pages(&mut self, root: &Arc<Root>) -> Result<Option<Draft>, SyncError> {
        let (library, key) = (&self.follower.library, root.collection);
        let mut draft = with(library, move |library| library.draft(&key)).await?;
        for start in (0..root.pages.len()).step_by(PAGES_PER_REQUEST) {
            let range = start..(start + PAGES_PER_REQUEST).min(root.pages.len());
            let wanted = Arc::clone(root);
            let here = range.clone();
            let mut pages = with(library, move |library| library.page_bytes(&key, &wanted.pages[here])).await?;
            let hashes = &root.pages[range];
            let missing: Vec<PageHash> =
                pages.iter().zip(hashes).filter(|(page, _)| page.is_none()).map(|(_, hash)| *hash).collect();
            if !missing.is_empty() {
                self.send(&Request::Pages(PagesRequest { collection: key, hashes: missing })).await?;
            }
            for (page, hash) in pages.iter_mut().zip(hashes).filter(|(page, _)| page.is_none()) {
                let Reply::Page(bytes) = self.receive().await? else {
                    return Err(SyncError::Violation("an answer that nobody asked for".into()));
                };
                if bytes.is_empty() {
                    // The rest of the answers is of no use.
                    self.stream = None;
                    return Ok(None);
                }
                if page::hash(&bytes) != *hash {
                    return Err(ManifestError::PageHash.into());
                }
                *page = Some(bytes);
            }
            draft = smol::unblock(move || {
                pages.iter().flatten().try_for_each(|page| draft.push_page(page)).map(|()| draft)
            })
            .await?;
        }
        draft.check(root)?;
        Ok(Some(draft))
    }

    async fn send(&mut self, request: &Request) -> Result<(), SyncError> {
        if self.stream.is_none() {
            self.stream = Some(self.peer.connect.open(self.peer.node, catalogue::PROTOCOL).await?);
        }
        let stream = self.stream.as_mut().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
        let frame = request.to_frame();
        let write = async {
            write_frame(stream, frame.kind, &frame.body).await?;
            stream.flush().await
        };
        Ok(at_pace(&mut self.pace, write).await.ok_or(SyncError::TooSlow)??)
    }

    async fn receive(&mut self) -> Result<Reply, SyncError> {
        let stream = self.stream.as_mut().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
        let read = read_frame(stream, Reply::MAX_BYTES);
        let frame = at_pace(&mut self.pace, read).await.ok_or(SyncError::TooSlow)??;
        let frame = frame.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        self.pace.count_frame(frame.body.len());
        if frame.kind == KIND_ERROR {
            let reply: ErrorReply = decode(&frame.body)?;
            return Err(SyncError::Refused(reply.detail.into_string()));
        }
        Ok(Reply::from_frame(frame)?)
    }
}
