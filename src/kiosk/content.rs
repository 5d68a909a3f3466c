//! Answers with the bytes of items. What publishers put into a library is not trusted: it may look as it likes, and may do
//! nothing.

use std::io;

use bytes::Bytes;
use hyper::{
    Method, Response, StatusCode,
    header::{self, HeaderValue},
    http::request::Parts,
};

use super::{
    Site, address,
    body::{Body, Elsewhere, FileBody, Read},
    media,
    pages::Failure,
    range::{self, Answer},
    readers::Reader,
};
use crate::{
    library::{
        Entry, Item, Summary,
        follow::{ReadingError, Whose},
    },
    limits::kiosk::READER_BYTES,
    store::Store,
};

/// Books keep their styles, pictures and films, all from this node. Nothing of them runs, sends forms or loads anything from
/// elsewhere. `allow-same-origin` lets a book load its own fonts and pictures; without `allow-scripts` it gives nothing away.
const SANDBOX: &str = "sandbox allow-same-origin allow-downloads allow-popups allow-popups-to-escape-sandbox; \
    default-src 'self' data:; style-src 'self' data: 'unsafe-inline'; script-src 'none'; connect-src 'none'; \
    form-action 'none'; base-uri 'self'; frame-ancestors 'self'";
/// Browsers refuse to show a PDF in a sandbox, or under rules for scripts: their viewers are plug-ins, and sandboxes of
/// their own.
const PDF: &str = "frame-ancestors 'self'";
/// Paths stay when files change: browsers ask each time, and are told by the tag that nothing changed.
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");

/// The answer to a GET or HEAD for the item's bytes. Blocks.
pub fn content(site: &Site, collection: &Summary, entry: &Entry, request: &Parts) -> Result<Response<Body>, Failure> {
    let item = &entry.item;
    if !entry.held && !site.is_in_reach(collection) {
        return Err(if entry.fault.is_some() { Failure::Damaged } else { Failure::NotHere });
    }
    let tag = format!("\"{}\"", item.id);
    let (status, range) = match range::evaluate(&request.method, &request.headers, &tag, item.size) {
        Answer::Full => (StatusCode::OK, 0..item.size),
        Answer::Partial(range) => (StatusCode::PARTIAL_CONTENT, range),
        Answer::NotModified => (StatusCode::NOT_MODIFIED, 0..0),
        Answer::PreconditionFailed => return Err(Failure::Changed),
        Answer::Unsatisfiable => return Err(Failure::Range { size: item.size }),
    };
    let mut response = Response::builder()
        .status(status)
        .header(header::ETAG, tag)
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::CACHE_CONTROL, REVALIDATE);
    if status != StatusCode::NOT_MODIFIED {
        let media = media::of(&item.path);
        let policy = if media.content_type == "application/pdf" { PDF } else { SANDBOX };
        response = response
            .header(header::CONTENT_TYPE, &*media.content_type)
            .header(header::CONTENT_LENGTH, range.end - range.start)
            .header(header::CONTENT_SECURITY_POLICY, policy);
        if request.uri.query() == Some("download") {
            response = response.header(header::CONTENT_DISPOSITION, address::attachment(&item.path));
        }
    }
    if status == StatusCode::PARTIAL_CONTENT {
        let within = format!("bytes {}-{}/{}", range.start, range.end - 1, item.size);
        response = response.header(header::CONTENT_RANGE, within);
    }
    let body = if range.is_empty() || request.method == Method::HEAD {
        Body::Whole(Bytes::new())
    } else {
        let reader = (range.end - range.start > READER_BYTES).then(|| site.readers.enter());
        if !entry.held {
            let elsewhere = Elsewhere { collection: collection.key, item: item.clone(), range, reader };
            return response.body(Body::Elsewhere(Box::new(elsewhere))).map_err(|error| no_response(item, &error));
        }
        let read = read(site.library.store(), entry, reader)?;
        Body::File(FileBody::open(read, range).map_err(|_| Failure::Damaged)?)
    };
    response.body(body).map_err(|error| no_response(item, &error))
}

fn no_response(item: &Item, error: &hyper::http::Error) -> Failure {
    log::error!("no response for {}: {error}", item.path);
    Failure::Internal
}

/// The same response with the first bytes of its body, if they are elsewhere.
pub async fn fetched(site: &Site, mut response: Response<Body>) -> Result<Response<Body>, Failure> {
    let Body::Elsewhere(elsewhere) = response.body_mut() else { return Ok(response) };
    let Elsewhere { collection, item, range, reader } = &mut **elsewhere;
    let follower = site.follower.as_ref().ok_or(Failure::NotHere)?;
    let opened = async {
        let reading = follower.read(collection, item, range.clone(), Whose::Page).await?;
        FileBody::open_elsewhere(reading, range.clone(), reader.take()).await
    };
    let body = opened.await.map_err(|error| {
        log::info!("{} can't be read from other nodes: {error}", item.path);
        match error {
            ReadingError::Nobody { connected } => Failure::Nobody { connected },
            ReadingError::Slow => Failure::Slow,
            ReadingError::Busy => Failure::Busy,
            ReadingError::NoRoom { .. } => Failure::NoRoom,
            ReadingError::Off | ReadingError::Unwanted => Failure::NotHere,
            ReadingError::Library(_) | ReadingError::Store(_) | ReadingError::Fetch(_) | ReadingError::Read(_) => {
                Failure::Internal
            }
        }
    })?;
    *response.body_mut() = Body::File(body);
    Ok(response)
}

/// Reads the verified bytes of an item, for this reader. Says in the log what is wrong with it.
fn read(store: &Store, entry: &Entry, reader: Option<Reader>) -> Result<Read, Failure> {
    let (path, size) = (entry.item.path.clone(), entry.item.size);
    let mut blob = store.blob(&entry.item.id).map_err(|error| {
        log::error!("{path} can't be read: {error}");
        Failure::Damaged
    })?;
    if blob.size() != size {
        log::error!("{path} has {} bytes, its collection lists {size}", blob.size());
        return Err(Failure::Damaged);
    }
    Ok(Box::new(move |range| {
        // It is one until the body is dropped.
        let _ = &reader;
        blob.read(range).map_err(|error| {
            log::error!("{path} can't be read: {error}");
            io::Error::other(error)
        })
    }))
}
