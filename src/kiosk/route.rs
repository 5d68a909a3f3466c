//! From a request to its response.

use std::{
    net::SocketAddr,
    sync::{Arc, LazyLock},
};

use bytes::Bytes;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Version,
    body::{Body as _, Incoming},
    header::{self, HeaderValue},
    http::request::Parts,
};
use matchit::{Params, Router};
use maud::Markup;

use super::{
    Site, address,
    body::Body,
    content::{content, fetched},
    host::{self, Host},
    pages::{self, Failure},
};
use crate::{
    content::CollectionKey,
    library::{Entry, Summary},
    limits::kiosk::{ITEMS_PER_PAGE, QUERY_BYTES},
    status::metrics,
};

/// Pages load their style, pictures and films from this node, and nothing else.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; media-src 'self'; form-action 'self'; \
    frame-ancestors 'none'; base-uri 'none'";
/// The version in the address of the style sheet changes with it.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

#[derive(Debug, Clone, Copy)]
enum Route {
    Collections,
    Collection,
    Search,
    Item,
    Content,
    Folder,
    Status,
    StatusJson,
    Metrics,
    Fixed { content_type: &'static str, cache: &'static str, bytes: &'static [u8] },
}

static ROUTES: LazyLock<Router<Route>> = LazyLock::new(|| {
    let fixed = |content_type, cache, bytes| Route::Fixed { content_type, cache, bytes };
    let mut router = Router::new();
    for (path, route) in [
        ("/", Route::Collections),
        ("/collection/{folder}", Route::Collection),
        ("/search", Route::Search),
        ("/item/{folder}/{*path}", Route::Item),
        ("/c/{folder}", Route::Folder),
        ("/c/{folder}/", Route::Content),
        ("/c/{folder}/{*path}", Route::Content),
        ("/status", Route::Status),
        ("/status.json", Route::StatusJson),
        ("/metrics", Route::Metrics),
        ("/health", fixed("text/plain", "no-store", b"ok\n")),
        ("/robots.txt", fixed("text/plain", "max-age=86400", b"User-agent: *\nDisallow: /\n")),
        ("/favicon.ico", fixed("image/x-icon", "max-age=86400", include_bytes!("favicon.ico"))),
        ("/style.css", fixed("text/css; charset=utf-8", FOR_EVER, pages::STYLE.as_bytes())),
    ] {
        router.insert(path, route).expect("the routes differ");
    }
    router
});

/// Answers one request that came in at the address `local`.
pub async fn answer(site: Arc<Site>, request: Request<Incoming>, local: SocketAddr) -> Response<Body> {
    let (request, _) = request.into_parts();
    let is_head = request.method == Method::HEAD;
    let required = request.version >= Version::HTTP_11;
    let response = match host::judge(&request.uri, &request.headers, required, local, site.local_name.as_deref()) {
        Host::Foreign => redirect(&host::canonical(local)),
        Host::Invalid => failed(&site, Failure::BadRequest),
        Host::Ours if !is_head && request.method != Method::GET => failed(&site, Failure::Method),
        Host::Ours => {
            let asked = Arc::clone(&site);
            let response = match smol::unblock(move || respond(&asked, &request, local)).await {
                Ok(response) => fetched(&site, response).await,
                failed => failed,
            };
            response.unwrap_or_else(|failure| failed(&site, failure))
        }
    };
    finish(response, is_head)
}

/// What all responses have.
fn finish(mut response: Response<Body>, is_head: bool) -> Response<Body> {
    let len = response.body().size_hint().exact();
    let has_body = response.status() != StatusCode::NOT_MODIFIED;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    if let Some(len) = len.filter(|_| has_body && !headers.contains_key(header::CONTENT_LENGTH)) {
        headers.insert(header::CONTENT_LENGTH, len.into());
    }
    if is_head {
        *response.body_mut() = Body::Whole(Bytes::new());
    }
    response
}

/// Answers a GET or HEAD under one of our names. Blocks.
fn respond(site: &Site, request: &Parts, local: SocketAddr) -> Result<Response<Body>, Failure> {
    let found = ROUTES.at(request.uri.path()).map_err(|_| Failure::NotFound)?;
    let query = request.uri.query().unwrap_or("");
    match found.value {
        Route::Collections => Ok(page(StatusCode::OK, pages::collections(&site.name, &site.library.collections()))),
        Route::Collection => collection(site, &found.params, query),
        Route::Search => search(site, query),
        Route::Item => {
            let (collection, path) = place(site, &found.params)?;
            let entry = entry(site, &collection, &path)?.ok_or(Failure::NotFound)?;
            Ok(page(StatusCode::OK, pages::item(&site.name, &collection, &entry, site.is_in_reach(&collection))))
        }
        Route::Content => file(site, &found.params, request),
        Route::Folder => {
            let (collection, path) = place(site, &found.params)?;
            Ok(redirect(&address::item_url("/c", &collection.folder, &path)))
        }
        Route::Status => {
            let status = (site.status)();
            // Where the reader is connected, others on that network can connect too.
            let canonical = host::canonical(local);
            let address = match status.pages.first() {
                Some(best) if local.ip().to_canonical().is_loopback() => best,
                _ => &canonical,
            };
            Ok(page(StatusCode::OK, pages::status(&site.name, address, &status)))
        }
        Route::StatusJson => {
            let json = serde_json::to_vec(&(site.status)()).map_err(internal)?;
            Ok(plain("application/json", "no-store", Bytes::from(json)))
        }
        // Whoever reads this may read all of the status: it tells nothing that is not on the status page.
        Route::Metrics => {
            Ok(plain("text/plain; version=0.0.4; charset=utf-8", "no-store", Bytes::from(metrics(&(site.status)()))))
        }
        Route::Fixed { content_type, cache, bytes } => Ok(plain(content_type, cache, Bytes::from_static(bytes))),
    }
}

fn collection(site: &Site, params: &Params<'_, '_>, query: &str) -> Result<Response<Body>, Failure> {
    let (collection, _) = place(site, params)?;
    let number = page_number(query)?;
    // One more than a page tells whether there is another page.
    let entries = site.library.items(&collection.key, offset(number), ITEMS_PER_PAGE + 1).map_err(internal)?;
    if entries.is_empty() && number > 1 {
        return Err(Failure::NotFound);
    }
    let place = pages::Place { is_in_reach: site.is_in_reach(&collection), is_mirrored: site.is_mirrored(&collection) };
    Ok(page(StatusCode::OK, pages::collection(&site.name, &collection, place, &entries, number)))
}

fn search(site: &Site, query: &str) -> Result<Response<Body>, Failure> {
    let mut words = address::query_value(query, "q").unwrap_or_default();
    let end = words.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= QUERY_BYTES).last();
    words.truncate(end.unwrap_or(0));
    let number = page_number(query)?;
    let found = site.library.search(words.trim(), None, offset(number), ITEMS_PER_PAGE).map_err(internal)?;
    if found.hits.is_empty() && number > 1 {
        return Err(Failure::NotFound);
    }
    let reach = |key: &CollectionKey| site.follower.as_ref().is_some_and(|follower| follower.is_in_reach(key));
    Ok(page(StatusCode::OK, pages::search(&site.name, words.trim(), &found, number, &reach)))
}

/// An item's bytes; for a folder, its index page.
fn file(site: &Site, params: &Params<'_, '_>, request: &Parts) -> Result<Response<Body>, Failure> {
    let (collection, path) = place(site, params)?;
    let is_folder = path.is_empty() || path.ends_with('/');
    if !is_folder && let Some(entry) = entry(site, &collection, &path)? {
        return content(site, &collection, &entry, request);
    }
    let slash = if is_folder { "" } else { "/" };
    match entry(site, &collection, &format!("{path}{slash}index.html"))? {
        Some(index) if is_folder => content(site, &collection, &index, request),
        Some(_) => Ok(redirect(&address::item_url("/c", &collection.folder, &format!("{path}/")))),
        None if path.is_empty() => Ok(redirect(&format!("/collection/{}", address::encode(&collection.folder)))),
        None => Err(Failure::NotFound),
    }
}

/// The collection of the address, and the path in it.
fn place(site: &Site, params: &Params<'_, '_>) -> Result<(Summary, String), Failure> {
    let decode = |name| address::decode_path(params.get(name).unwrap_or("")).ok_or(Failure::BadRequest);
    let (folder, path) = (decode("folder")?, decode("path")?);
    Ok((site.library.collection(&folder).ok_or(Failure::NotFound)?, path))
}

fn entry(site: &Site, collection: &Summary, path: &str) -> Result<Option<Entry>, Failure> {
    site.library.item(&collection.key, path).map_err(internal)
}

/// Pages are counted from 1.
fn page_number(query: &str) -> Result<u64, Failure> {
    match address::query_value(query, "page") {
        None => Ok(1),
        Some(text) => text.parse().ok().filter(|&page: &u32| page > 0).map(u64::from).ok_or(Failure::BadRequest),
    }
}

fn offset(page: u64) -> u64 {
    (page - 1) * ITEMS_PER_PAGE as u64
}

fn internal(error: impl std::fmt::Display) -> Failure {
    log::error!("a page could not be made: {error}");
    Failure::Internal
}

fn failed(site: &Site, failure: Failure) -> Response<Body> {
    let mut response = page(failure.status(), pages::failure(&site.name, failure));
    let headers: &mut HeaderMap = response.headers_mut();
    match failure {
        Failure::Method => {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        Failure::Busy => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        Failure::NotHere | Failure::Damaged | Failure::Nobody { .. } | Failure::Slow | Failure::NoRoom => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
        }
        Failure::Range { size } => {
            let range = HeaderValue::try_from(format!("bytes */{size}")).expect("digits are a header value");
            headers.insert(header::CONTENT_RANGE, range);
        }
        _ => {}
    }
    response
}

fn page(status: StatusCode, markup: Markup) -> Response<Body> {
    let mut response = plain("text/html; charset=utf-8", "no-cache", Bytes::from(markup.into_string()));
    *response.status_mut() = status;
    let policy = HeaderValue::from_static(PAGE_POLICY);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

fn plain(content_type: &'static str, cache: &'static str, bytes: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::Whole(bytes));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    response
}

/// Sends the client to this encoded address, this time: what it asked for may be there tomorrow.
fn redirect(to: &str) -> Response<Body> {
    let location = HeaderValue::try_from(to).expect("an encoded address is a header value");
    let mut response = plain("text/plain", "no-store", Bytes::from(format!("{to}\n")));
    *response.status_mut() = StatusCode::FOUND;
    response.headers_mut().insert(header::LOCATION, location);
    response
}
