//! Pages that say why there is nothing, and what to do.

use hyper::StatusCode;
use maud::{Markup, html};

use super::Frame;

/// Why a request is not answered with what it asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The address or the host can't be read.
    BadRequest,
    /// Nothing has this address.
    NotFound,
    /// Something else than GET or HEAD.
    Method,
    /// The client wants an older file.
    Changed,
    /// The range is outside the file of this many bytes.
    Range { size: u64 },
    /// The item is known, its bytes are not here.
    NotHere,
    /// They are on other nodes, none of which is among the so many that are connected.
    Nobody { connected: usize },
    /// They are on other nodes, which do not send them.
    Slow,
    /// They are on other nodes, of which too much is read at a time.
    Busy,
    /// They are on other nodes, and have no room here.
    NoRoom,
    /// Its bytes were here, and are damaged or gone.
    Damaged,
    /// The node itself failed; the log says how.
    Internal,
}

impl Failure {
    /// The status code.
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Changed => StatusCode::PRECONDITION_FAILED,
            Self::Range { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::NotHere | Self::Nobody { .. } | Self::Slow | Self::Busy | Self::NoRoom | Self::Damaged => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::BadRequest => {
                ("This address can't be read", "Something in it is broken. Start again from the library.")
            }
            Self::NotFound => ("There is nothing here", "The title may have been moved or removed. Try the search."),
            Self::Method => ("This can only be read", "The library answers GET and HEAD requests, nothing else."),
            Self::Changed => ("This file has changed", "It is no longer what the request was about. Load it again."),
            Self::Range { .. } => {
                ("This part does not exist", "The file is shorter than that. Load it from its beginning.")
            }
            Self::NotHere => (
                "Not here yet",
                "This node knows of the title, and fetches it as soon as it meets a node that has it. Try again later.",
            ),
            Self::Nobody { .. } => (
                "Nobody who is on has this now",
                "It is on another node, and none of those that are connected has it now. It comes back when one that has it is on.",
            ),
            Self::Slow => ("This does not come", "It is on another node, which does not send it now. Try again later."),
            Self::Busy => (
                "Busy: too much is read from other nodes",
                "This title is on another node, and as many as can be are being read from there. Try again in a few seconds.",
            ),
            Self::NoRoom => (
                "There is no room for this",
                "It is on another node, and larger than what this one can keep of such. The one who looks after this node can \
                 make room: mirror.cache and mirror.quota in its configuration, and its disk.",
            ),
            Self::Damaged => (
                "This file is not available now",
                "It is gone or no longer what it was when it was added, or its disk is unplugged. The one who looks after \
                 this node can bring it back: “allibrary status” and “allibrary verify” name what is wrong.",
            ),
            Self::Internal => ("Something went wrong", "The node could not read its library. Its log says why."),
        }
    }
}

/// The page for it.
pub fn failure(site: &str, failure: Failure) -> Markup {
    let (title, text) = failure.words();
    Frame::new(site, title).around(html! {
        h1 { (title) }
        p { (text) }
        @if let Failure::Nobody { connected } = failure { p.note { "Connected nodes: " (connected) } }
        p { a.button href="/" { "To the library" } }
    })
}
