//! What all tasks of a node share, and how it is shown.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU64,
    path::Path,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Instant, SystemTime},
};

use super::{
    control::{FailureKind, OpError, Reply, Request},
    controls::Controls,
    diagnose::{self, Facts},
    disks,
    exchange::Answered,
    get::get,
    monitor::Monitor,
    ops,
    peering::Peering,
    rebuild::Rebuild,
    scrub::{self, Scrub},
    start,
};
use crate::{
    clock,
    config::{Bytes, Changes, Config, ConfigError, Hours, Sources},
    content::NodeId,
    library::{Library, follow::Follower},
    limits::transfer::{SLOT_BYTES_S, UPLOAD_SLOTS},
    status::{ControlStatus, Finding, NodeStatus, PeerStatus, StoreStatus, TrafficStatus},
    transfer::{Rates, Uploads},
};

pub(super) struct State {
    pub(super) library: Arc<Library>,
    pub(super) follower: Arc<Follower>,
    pub(super) peering: Peering,
    pub(super) uploads: Uploads,
    pub(super) rebuild: Rebuild,
    pub(super) scrub: Scrub,
    pub(super) controls: Controls,
    /// Whether the page sends somebody a file. Held while rates are set: the last word holds.
    is_reading: Mutex<bool>,
    monitor: Monitor,
    page: OnceLock<SocketAddr>,
    /// What holds now.
    config: Mutex<Config>,
    /// Where it came from.
    sources: Sources,
    /// Whom it was told lately whom this node knows.
    pub(super) answered: Answered,
    started: Instant,
}

impl State {
    pub(super) fn new(
        library: Arc<Library>,
        follower: Arc<Follower>,
        peering: Peering,
        rebuild: Rebuild,
        controls: Controls,
        config: &Config,
        sources: Sources,
    ) -> Self {
        let state = Self {
            library,
            follower,
            peering,
            uploads: Uploads::new(UPLOAD_SLOTS),
            rebuild,
            scrub: Scrub::new(&config.scrub),
            controls,
            is_reading: Mutex::new(false),
            monitor: Monitor::new(Path::new("/"), &config.data, &config.mirror.folder, clock::now()),
            page: OnceLock::new(),
            config: Mutex::new(config.clone()),
            sources,
            answered: Answered::default(),
            started: clock::now(),
        };
        state.set_rates(None);
        state.set_said_of_peers();
        state
    }

    /// How many peers this node takes at most.
    pub(super) fn capacity(&self) -> u16 {
        let config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        u16::try_from(config.network.max_peers).unwrap_or(u16::MAX)
    }

    /// How long this node has been running, in seconds.
    pub(super) fn uptime_s(&self) -> u32 {
        u32::try_from(clock::now().duration_since(self.started).as_secs()).unwrap_or(u32::MAX)
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
        let brief = self.brief();
        let findings = self.findings(&brief.peers, &brief.listen, None);
        NodeStatus { system: self.monitor.status(clock::now()), findings, ..brief }
    }

    /// What holds now.
    fn config(&self) -> Config {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why a peer, or any, is not seen; may block for a moment.
    pub(super) fn diagnose(&self, peer: Option<&str>) -> Vec<Finding> {
        self.findings(&self.peering.peers(), &self.peering.listen(), peer)
    }

    fn findings(&self, peers: &[PeerStatus], listen: &[String], peer: Option<&str>) -> Vec<Finding> {
        let config = self.config();
        let damaged_lists = self.peering.damaged_lists();
        let strangers = self.peering.strangers();
        let facts = Facts {
            me: &self.library.node_id().to_string(),
            listen,
            awaited: &self.peering.awaited(),
            peers: &[peers, &strangers].concat(),
            max_peers: config.network.max_peers as usize,
            auth: config.network.auth,
            is_locked: self.peering.is_locked(),
            mdns: config.network.mdns,
            heard: &self.peering.heard(),
            addresses: interfaces().iter().filter(|it| it.is_oper_up() && !it.is_loopback()).count(),
            own_id_elsewhere: self.peering.own_id_elsewhere(),
            damaged_lists: damaged_lists.as_deref(),
            clock: clock::wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
        };
        diagnose::diagnose(&facts, peer)
    }

    /// Reads the configuration again and takes up what it can; may block for a moment.
    pub(super) fn reload(&self) -> Result<Changes, ConfigError> {
        let new = Config::load(&self.sources)?;
        let (config, changes) = {
            let mut current = self.config.lock().unwrap_or_else(PoisonError::into_inner);
            let (config, changes) = current.reload(&new);
            *current = config.clone();
            (config, changes)
        };
        let is_of = |section: &str| changes.live.iter().any(|key| key.split('.').next() == Some(section));
        log::set_max_level(config.log.level);
        if is_of("mirror") {
            self.library.store().set_bounds(config.mirror.reserve.0, config.mirror.quota.0);
            self.follower.set_policy(start::policy(&config, self.library.node_id(), self.controls.wishes()));
        }
        if is_of("transfer") {
            self.set_rates(None);
            self.set_hours(config.transfer.hours);
        }
        if is_of("scrub") {
            self.scrub.set_config(&config.scrub);
        }
        self.peering.set_config(&config, self.library.node_id(), is_of("mirror"));
        if !changes.live.is_empty() {
            log::info!("the configuration was read again: {} changed", changes.live.join(", "));
        }
        if !changes.restart.is_empty() {
            log::warn!("{} changed as well, and will hold after a restart", changes.restart.join(", "));
        }
        Ok(changes)
    }

    /// When anything is fetched.
    pub(super) fn hours(&self) -> Hours {
        self.config().transfer.hours
    }

    /// Does as the owner's word and the hour have it from now on.
    pub(super) fn apply_controls(&self) {
        self.set_said_of_peers();
        self.follower.set_policy(start::policy(&self.config(), self.library.node_id(), self.controls.wishes()));
        self.peering.follow_anew();
    }

    fn set_said_of_peers(&self) {
        self.uploads.set_paused(self.controls.paused());
        self.uploads.set_priorities(self.controls.peer_priorities());
    }

    /// The page has begun to send somebody a file, or sends nothing to anybody any more.
    pub(super) fn set_reading(&self, is_reading: bool) {
        self.set_rates(Some(is_reading));
    }

    /// Keeps to the rates of the configuration from now on; with readers, if that is known anew.
    fn set_rates(&self, with_readers: Option<bool>) {
        let mut is_reading = self.is_reading.lock().unwrap_or_else(PoisonError::into_inner);
        *is_reading = with_readers.unwrap_or(*is_reading);
        let transfer = self.config().transfer;
        let beside = Some(transfer.rate_beside_readers).filter(|_| *is_reading);
        let rates = |total: Bytes, per_peer: Bytes| Rates {
            total: [Some(total), beside].into_iter().flatten().filter_map(|rate| NonZeroU64::new(rate.0)).min(),
            per_peer: NonZeroU64::new(per_peer.0),
        };
        let enough_for = match transfer.upload_rate.0 {
            0 => u64::MAX,
            rate => (rate / SLOT_BYTES_S).max(1),
        };
        self.uploads.set_slots(usize::try_from(enough_for.min(transfer.upload_slots.into())).unwrap_or(1));
        self.uploads.limiter().set_rates(rates(transfer.upload_rate, transfer.upload_rate_per_peer));
        self.follower.limiter().set_rates(rates(transfer.download_rate, transfer.download_rate_per_peer));
    }

    /// The same without what the machine must be asked for.
    pub(super) fn brief(&self) -> NodeStatus {
        let (config, totals) = (self.config(), self.library.store().totals());
        let mut notices: Vec<_> = self.rebuild.notice().into_iter().collect();
        notices.extend(disks::notices(&self.library));
        notices.extend(self.peering.notices());
        notices.extend(self.controls.notices());
        notices.extend(self.follower.notices());
        notices.extend(scrub::notices(self.library.store()));
        let mut transfers = self.follower.transfers(clock::now());
        let controls = ControlStatus {
            upload_rate: config.transfer.upload_rate.0,
            download_rate: config.transfer.download_rate.0,
            ..self.controls.status(&self.library, &mut transfers)
        };
        NodeStatus {
            node: self.library.node_id().to_string(),
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_s: clock::now().duration_since(self.started).as_secs(),
            pages: self.page().map(page_addresses).unwrap_or_default(),
            listen: self.peering.listen(),
            peers: self.peering.peers(),
            transfers,
            controls,
            traffic: self.traffic(),
            store: StoreStatus {
                collections: self.library.collections().len() as u64,
                blobs: totals.blobs,
                bytes: totals.bytes,
                free_bytes: totals.free_bytes,
                reserve_bytes: config.mirror.reserve.0,
                library_bytes: totals.library_bytes,
                quota_bytes: config.mirror.quota.0,
            },
            scrub: self.scrub.status(totals.bytes),
            notices,
            ..NodeStatus::default()
        }
    }

    fn traffic(&self) -> TrafficStatus {
        let [slots, sending, waiting] = self.uploads.counts().map(|count| count as u64);
        TrafficStatus {
            fetched_bytes: self.follower.deeds().verified_bytes(),
            sent_bytes: self.uploads.sent_bytes(),
            sending,
            slots,
            waiting,
            reading: self.follower.reads() as u64,
        }
    }

    /// The upload slots, as this peer may have them.
    pub(super) fn uploads_for(&self, peer: &NodeId) -> Uploads {
        let uploads = self.uploads.of(*peer);
        if self.peering.is_throttled(peer) { uploads.throttled() } else { uploads }
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
            Request::Diagnose { peer } => {
                self.diagnose(peer.as_deref()).into_iter().try_for_each(|finding| on_reply(Reply::Finding(finding)))
            }
            Request::Reload => {
                let changes = self.reload().map_err(|error| OpError::new(FailureKind::Configuration, error))?;
                let names = |keys: Vec<&str>| keys.into_iter().map(str::to_owned).collect();
                on_reply(Reply::Reloaded { live: names(changes.live), restart: names(changes.restart) })
            }
            Request::Peers { change, peers } => {
                self.peering.change(change, &ops::peer_ids(&peers)?)?;
                on_reply(Reply::PeersChanged { change, peers })
            }
            Request::Transfers { change, names } => {
                self.change_transfers(change, &names)?;
                on_reply(Reply::TransfersChanged { change, names })
            }
            Request::Get { id } => get(&self.library, Some(&self.follower), &id, on_reply),
            Request::List { .. } | Request::Verify { .. } => ops::perform(&self.library, request, on_reply),
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
    // A browser cannot be told the scope of a link-local IPv6 address.
    let usable = |ip: &IpAddr| !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    interfaces().iter().map(if_addrs::Interface::ip).filter(usable).collect()
}

fn interfaces() -> Vec<if_addrs::Interface> {
    if_addrs::get_if_addrs().unwrap_or_else(|error| {
        log::warn!("cannot list the network interfaces: {error}");
        Vec::new()
    })
}
