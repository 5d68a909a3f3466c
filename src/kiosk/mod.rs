//! The page: what readers get from a node with nothing but a browser.
//!
//! It may use `library`, `store` for reading, and `status`, and must never know peers or the network between nodes. There is
//! no script in it, and nothing of it comes from elsewhere.

mod address;
mod body;
mod content;
mod guard;
mod host;
mod media;
mod pages;
mod range;
mod readers;
mod route;
mod server;

pub use readers::Readers;

use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    sync::Arc,
};

use smol::Async;
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

use crate::{
    library::{Library, Summary, follow::Follower},
    limits::kiosk::PORT_TRIES,
    status::NodeStatus,
};

/// Why there is no page.
#[derive(Debug, Error)]
pub enum KioskError {
    /// The port is taken, or this user may not use it.
    #[error("the page can't listen on {addr}: {source}; choose another address with --http")]
    Listen { addr: SocketAddr, source: io::Error },
}

/// What the page shows.
pub struct Site {
    /// The collections and their files.
    pub library: Arc<Library>,
    /// Gets what is on other nodes; without it, only what is here is read.
    pub follower: Option<Arc<Follower>>,
    /// Asked for each time that somebody looks; may block for a moment.
    pub status: Arc<dyn Fn() -> NodeStatus + Send + Sync>,
    /// What the library is called, above all pages.
    pub name: String,
    /// The node's name on the network, `.local` included, if it has one.
    pub local_name: Option<String>,
    /// Those who are being sent more than [`READER_BYTES`](crate::limits::kiosk::READER_BYTES) of a file.
    pub readers: Readers,
}

impl Site {
    /// Whether what a collection lists and is not here can probably be read from other nodes.
    fn is_in_reach(&self, collection: &Summary) -> bool {
        self.follower.as_ref().is_some_and(|follower| follower.is_in_reach(&collection.key))
    }

    /// Whether a collection is copied to this node.
    fn is_mirrored(&self, collection: &Summary) -> bool {
        !collection.mine && self.follower.as_ref().is_none_or(|follower| follower.mirrors(collection))
    }
}

/// A page that listens.
pub struct Kiosk {
    listener: Async<TcpListener>,
    address: SocketAddr,
    site: Arc<Site>,
}

impl Kiosk {
    /// Listens on this address. If nobody chose it (`explicit` is false) and its port is taken, the next free port of the
    /// following ones is used, and the log says so; where there is no IPv6, IPv4 alone does.
    ///
    /// # Errors
    /// [`KioskError::Listen`] if the address can't be listened on.
    pub fn bind(addr: SocketAddr, explicit: bool, site: Site) -> Result<Self, KioskError> {
        let listen = if explicit { listen_on(addr) } else { listen_near(addr) };
        let failed = |source| KioskError::Listen { addr, source };
        let listener = listen.and_then(Async::try_from).map_err(failed)?;
        let address = listener.get_ref().local_addr().map_err(failed)?;
        if address.port() != addr.port() && addr.port() != 0 {
            log::warn!("port {} is taken: the page is on port {} instead", addr.port(), address.port());
        }
        Ok(Self { listener, address, site: Arc::new(site) })
    }

    /// The address it listens on, with the port that it really has.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves readers until `stop` is ready, then lets responses under way finish for less than a second.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let site = self.site;
        let handle = move |request, local| route::answer(site.clone(), request, local);
        server::serve(self.listener, server::Patience::default(), handle, stop).await;
    }
}

/// Tries the following ports as well, and IPv4 where there is no IPv6.
fn listen_near(addr: SocketAddr) -> io::Result<TcpListener> {
    let mut addr = addr;
    let mut listen = listen_on(addr);
    if addr.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && matches!(&listen, Err(error) if !is_taken(error)) {
        addr.set_ip(Ipv4Addr::UNSPECIFIED.into());
        listen = listen_on(addr);
    }
    for _ in 0..PORT_TRIES {
        match &listen {
            Err(error) if is_taken(error) && addr.port() < u16::MAX => addr.set_port(addr.port() + 1),
            _ => break,
        }
        listen = listen_on(addr);
    }
    listen
}

fn is_taken(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
}

fn listen_on(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted node gets its port back at once.
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        // One socket for both protocols, whatever the system's default.
        socket.set_only_v6(false)?;
    }
    socket.bind(&addr.into())?;
    socket.listen(128)?;
    Ok(socket.into())
}
