//! Answering `/allibrary/catalogue/1`.

use std::{io, sync::Arc, time::Duration};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, future::Either, future::select, io::BufReader};
use thiserror::Error;

use super::{Library, LibraryError, wait::with};
use crate::{
    clock::within,
    content::CollectionKey,
    limits::{
        follow::{HEADS_INTERVAL_MS, IDLE_MS, STALL_MS},
        wire::REQUEST_BYTES,
    },
    wire::{
        ErrorCode, ErrorReply, Frame, FrameError,
        catalogue::{Heads, Reply, Request},
        read_frame, write_frame,
    },
};

/// Why a stream was ended.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The client broke the rules of the frames, or the connection broke.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The client reads too slowly, or asks nothing.
    #[error("the client took too long")]
    Timeout,
    /// The client said something behind its last request.
    #[error("a request behind the one that was to be the last")]
    AfterWatch,
}

impl ServeError {
    /// Whether only a faulty or hostile peer brings this about.
    pub fn is_violation(&self) -> bool {
        match self {
            Self::Frame(error) => error.is_violation(),
            Self::AfterWatch => true,
            Self::Timeout => false,
        }
    }
}

impl From<io::Error> for ServeError {
    fn from(error: io::Error) -> Self {
        Self::Frame(error.into())
    }
}

/// Pages in memory at a time, of each stream.
const PAGES_AT_ONCE: usize = 2;

/// Serves the catalogue on one stream until it ends.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: S, library: Arc<Library>) -> Result<(), ServeError> {
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::with_capacity(1024, reader);
    loop {
        let idle = Duration::from_millis(IDLE_MS);
        let Some(frame) = within(idle, read_frame(&mut reader, REQUEST_BYTES)).await.ok_or(ServeError::Timeout)??
        else {
            return Ok(());
        };
        match Request::from_frame(&frame) {
            Ok(Request::Watch(_)) => return watch(reader, writer, library).await,
            Ok(Request::Root(request)) => {
                let reply = with(&library, move |library| library.root_bytes(&request.collection)).await;
                send(&mut writer, &answer(reply, Reply::Root)).await?;
            }
            Ok(Request::Pages(request)) => {
                for hashes in request.hashes.chunks(PAGES_AT_ONCE) {
                    send_pages(&mut writer, &library, request.collection, hashes.to_vec()).await?;
                }
            }
            Err(FrameError::Unexpected(kind)) => {
                let words = format!("requests of kind {kind} are unknown here");
                send(&mut writer, &ErrorReply::new(ErrorCode::UnknownKind, &words).to_frame()).await?;
            }
            Err(error) => {
                send(&mut writer, &ErrorReply::new(ErrorCode::BadRequest, &error.to_string()).to_frame()).await?;
            }
        }
    }
}

/// Sends the heads at once and after each change, until the client goes.
async fn watch<R, W>(mut reader: R, mut writer: W, library: Arc<Library>) -> Result<(), ServeError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut changes = library.subscribe();
    let mut byte = [0];
    let mut end = std::pin::pin!(reader.read(&mut byte));
    loop {
        send(&mut writer, &Reply::Heads(Heads { heads: library.heads() }).into_frame()).await?;
        // Many changes in a row are told together.
        let pause = async {
            smol::Timer::after(Duration::from_millis(HEADS_INTERVAL_MS)).await;
            changes.changed().await;
        };
        match select(std::pin::pin!(pause), &mut end).await {
            Either::Left(_) => {}
            Either::Right((Ok(0), _)) => return Ok(()),
            Either::Right((Ok(_), _)) => return Err(ServeError::AfterWatch),
            Either::Right((Err(error), _)) => return Err(error.into()),
        }
    }
}

async fn send_pages<W: AsyncWrite + Unpin>(
    writer: &mut W,
    library: &Arc<Library>,
    collection: CollectionKey,
    hashes: Vec<[u8; 32]>,
) -> Result<(), ServeError> {
    let count = hashes.len();
    match with(library, move |library| library.page_bytes(&collection, &hashes)).await {
        Ok(pages) => {
            for page in pages {
                send(writer, &Reply::Page(page.unwrap_or_default()).into_frame()).await?;
            }
        }
        Err(error) => {
            log::warn!("pages could not be read: {error}");
            for _ in 0..count {
                send(writer, &ErrorReply::new(ErrorCode::Internal, "the page could not be read").to_frame()).await?;
            }
        }
    }
    Ok(())
}

fn answer(found: Result<Option<Vec<u8>>, LibraryError>, reply: fn(Vec<u8>) -> Reply) -> Frame {
    match found {
        Ok(Some(bytes)) => reply(bytes).into_frame(),
        Ok(None) => ErrorReply::new(ErrorCode::NotFound, "no such collection here").to_frame(),
        Err(error) => {
            log::warn!("a collection could not be read: {error}");
            ErrorReply::new(ErrorCode::Internal, "the collection could not be read").to_frame()
        }
    }
}

async fn send<W: AsyncWrite + Unpin>(writer: &mut W, frame: &Frame) -> Result<(), ServeError> {
    let write = async {
        write_frame(writer, frame.kind, &frame.body).await?;
        writer.flush().await
    };
    Ok(within(Duration::from_millis(STALL_MS), write).await.ok_or(ServeError::Timeout)??)
}
