//! Multiaddresses: `[/ip6zone/<interface>]/ip4|ip6/<ip>/udp/<port>/quic-v1[/p2p/<peer>]`.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};

use super::Error;

/// The socket address, and the peer to expect there.
///
/// # Errors
/// None if this is no address of ours. An error if it is one, but of no use.
pub(super) fn parse(address: &Multiaddr) -> Option<Result<(SocketAddr, Option<PeerId>), Error>> {
    let mut parts = address.iter().peekable();
    let zone = match parts.peek()? {
        Protocol::Ip6zone(zone) => Some(zone.to_string()),
        _ => None,
    };
    if zone.is_some() {
        parts.next();
    }
    let ip = match parts.next()? {
        Protocol::Ip4(ip) if zone.is_none() => IpAddr::V4(ip),
        Protocol::Ip6(ip) => IpAddr::V6(ip),
        _ => return None,
    };
    let (Protocol::Udp(port), Protocol::QuicV1) = (parts.next()?, parts.next()?) else { return None };
    let peer = match parts.next() {
        None => None,
        Some(Protocol::P2p(peer)) => Some(peer),
        Some(_) => return None,
    };
    if parts.next().is_some() {
        return None;
    }
    Some(with_zone(ip, port, zone).map(|socket| (socket, peer)))
}

fn with_zone(ip: IpAddr, port: u16, zone: Option<String>) -> Result<SocketAddr, Error> {
    match (ip, zone) {
        (IpAddr::V6(ip), Some(zone)) => Ok(SocketAddrV6::new(ip, port, 0, interface_index(&zone)?).into()),
        (IpAddr::V6(ip), None) if ip.is_unicast_link_local() => Err(Error::ZoneMissing(ip)),
        (ip, _) => Ok(SocketAddr::new(ip, port)),
    }
}

/// The interface's number, of its name or its number in digits.
fn interface_index(zone: &str) -> Result<u32, Error> {
    if let Ok(index) = zone.parse() {
        return Ok(index);
    }
    let interfaces = if_addrs::get_if_addrs()?;
    let named = interfaces.iter().find(|interface| interface.name == zone);
    named.and_then(|interface| interface.index).ok_or_else(|| Error::NoSuchInterface(zone.to_owned()))
}

/// As we announce it: no zone, for our interface numbers mean nothing to others.
pub(super) fn listening(ip: IpAddr, port: u16) -> Multiaddr {
    Multiaddr::from(ip).with(Protocol::Udp(port)).with(Protocol::QuicV1)
}

/// As we dial it: a link-local address with its interface.
pub(super) fn remote(address: SocketAddr) -> Multiaddr {
    match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => Multiaddr::empty()
            .with(Protocol::Ip6zone(v6.scope_id().to_string().into()))
            .with(Protocol::Ip6(*v6.ip()))
            .with(Protocol::Udp(v6.port()))
            .with(Protocol::QuicV1),
        _ => listening(address.ip(), address.port()),
    }
}

/// The address that stands for all of this family.
pub(super) fn unspecified(like: &SocketAddr) -> SocketAddr {
    match like {
        SocketAddr::V4(_) => SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0),
        SocketAddr::V6(_) => SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
    }
}
