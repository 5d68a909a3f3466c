//! What all tasks of a node share, and how it is shown.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{Arc, OnceLock},
    time::Instant,
};

use super::{
    control::{OpError, Reply, Request},
    disks,
    monitor::Monitor,
    ops,
    peering::Peering,
    rebuild::Rebuild,
    scrub::{self, Scrub},
};
use crate::{
    clock,
    config::Config,
    library::{Library, follow::Follower},
    limits,
    status::{NodeStatus, StoreStatus},
    transfer::Uploads,
};

pub(super) struct State {
    pub(super) library: Arc<Library>,
    pub(super) follower: Arc<Follower>,
    pub(super) peering: Peering,
    pub(super) uploads: Uploads,
    pub(super) rebuild: Rebuild,
    pub(super) scrub: Scrub,
    monitor: Monitor,
    page: OnceLock<SocketAddr>,
    reserve_bytes: u64,
    quota_bytes: u64,
    started: Instant,
}

impl State {
    pub(super) fn new(
        library: Arc<Library>,
        follower: Arc<Follower>,
        peering: Peering,
        rebuild: Rebuild,
        config: &Config,
    ) -> Self {
        Self {
            library,
            follower,
            peering,
            uploads: Uploads::new(limits::transfer::UPLOAD_SLOTS),
            rebuild,
            scrub: Scrub::new(&config.scrub),
            monitor: Monitor::new(Path::new("/"), &config.data, &config.mirror.folder, clock::now()),
            page: OnceLock::new(),
            reserve_bytes: config.mirror.reserve.0,
            quota_bytes: config.mirror.quota.0,
            started: clock::now(),
        }
    }

    /// Tells where the page is, once.
    pub(super) fn set_page(&self, address: SocketAddr) {
        // A node has one page; a second call would be a mistake without consequences.
        let _ = self.page.set(address);
    }

    pub(super) fn page(&self) -> Option<SocketAddr> {
        self.page.get().copied()
    }

    /// Everything as it is now; may block for a moment.
    pub(super) fn status(&self) -> NodeStatus {
        NodeStatus { system: self.monitor.status(clock::now()), ..self.brief() }
    }

    /// The same without what the machine must be asked for.
    pub(super) fn brief(&self) -> NodeStatus {
        let totals = self.library.store().totals();
        let mut notices: Vec<_> = self.rebuild.notice().into_iter().collect();
        notices.extend(disks::notices(&self.library));
        notices.extend(self.peering.notices());
        notices.extend(self.follower.notices());
        notices.extend(scrub::notices(self.library.store()));
        NodeStatus {
            node: self.library.node_id().to_string(),
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_s: clock::now().duration_since(self.started).as_secs(),
            pages: self.page().map(page_addresses).unwrap_or_default(),
            listen: self.peering.listen(),
            peers: self.peering.peers(),
            transfers: self.follower.transfers(clock::now()),
            store: StoreStatus {
                collections: self.library.collections().len() as u64,
                blobs: totals.blobs,
                bytes: totals.bytes,
                free_bytes: totals.free_bytes,
                reserve_bytes: self.reserve_bytes,
                library_bytes: totals.library_bytes,
                quota_bytes: self.quota_bytes,
            },
            scrub: self.scrub.status(totals.bytes),
            notices,
            ..NodeStatus::default()
        }
    }

    /// A number that changes whenever content came or went.
    pub(super) fn activity(&self) -> u64 {
        let totals = self.library.store().totals();
        totals.blobs.wrapping_add(totals.bytes).wrapping_add(self.uploads.sent_bytes())
    }

    /// Does what a client asks for.
    pub(super) fn perform(
        &self,
        request: Request,
        on_reply: &mut dyn FnMut(Reply) -> Result<(), OpError>,
    ) -> Result<(), OpError> {
        match request {
            Request::Status => on_reply(Reply::Status(Box::new(self.status()))),
            Request::List { .. } | Request::Get { .. } | Request::Verify { .. } => {
                ops::perform(&self.library, request, on_reply)
            }
            request => {
                self.rebuild.check_over()?;
                ops::perform(&self.library, request, on_reply)
            }
        }
    }
}

/// Where a page that listens on `address` can be opened: the address itself, or that of every interface, those that other
/// machines can use first.
fn page_addresses(address: SocketAddr) -> Vec<String> {
    let mut ips = match address.ip().is_unspecified() {
        true => interface_addresses(),
        false => vec![address.ip()],
    };
    ips.retain(|ip| address.is_ipv6() || ip.is_ipv4());
    ips.sort_by_key(|ip| (ip.is_loopback(), ip.is_ipv6()));
    ips.into_iter().map(|ip| format!("http://{}/", SocketAddr::new(ip, address.port()))).collect()
}

fn interface_addresses() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        log::warn!("cannot list the network interfaces: {error}");
        Vec::new()
    });
    // A browser cannot be told the scope of a link-local IPv6 address.
    let usable = |ip: &IpAddr| !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    interfaces.iter().map(if_addrs::Interface::ip).filter(usable).collect()
}
