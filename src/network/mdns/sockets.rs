//! The interfaces of this machine, and a socket for each link.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket},
};

use async_io::Async;
use if_addrs::IfAddr;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

use super::{
    engine::PORT,
    link::{Family, Link, LinkId},
};
use crate::limits::network::MDNS_LINKS;

const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);

/// Lists the links of the interfaces that are up, and all addresses of this machine.
///
/// `only` names the interfaces to use; without names it is all but point-to-point ones (tunnels have no neighbours).
pub(super) fn links(only: &[String]) -> io::Result<(Vec<Link>, Vec<IpAddr>)> {
    let mut interfaces: Vec<Link> = Vec::new();
    let mut own = Vec::new();
    for interface in if_addrs::get_if_addrs()? {
        own.push(interface.ip());
        let wanted = if only.is_empty() { !interface.is_p2p() } else { only.contains(&interface.name) };
        let Some(index) = interface.index.filter(|_| wanted && interface.is_oper_up()) else { continue };
        let address = match &interface.addr {
            IfAddr::V4(v4) => (v4.ip.into(), v4.prefixlen),
            IfAddr::V6(v6) => (v6.ip.into(), v6.prefixlen),
        };
        if let Some(known) = interfaces.iter_mut().find(|known| known.id.0 == index) {
            known.addresses.push(address);
        } else {
            let (id, loopback) = ((index, Family::V4), interface.is_loopback());
            interfaces.push(Link { id, name: interface.name, loopback, addresses: vec![address] });
        }
    }
    let mut links = Vec::new();
    for interface in interfaces {
        for family in [Family::V4, Family::V6] {
            // Linux routes no IPv6 multicast over the loopback.
            let usable = family == Family::V4 || !interface.loopback;
            if usable && interface.addresses.iter().any(|(ip, _)| Family::of(*ip) == family) {
                links.push(Link { id: (interface.id.0, family), ..interface.clone() });
            }
        }
    }
    links.truncate(MDNS_LINKS);
    own.sort_unstable();
    Ok((links, own))
}

/// Opens the socket of a link: it hears and says what goes to the group there, and nothing else.
///
/// Bound to the group's address, so no packet of a stranger from elsewhere gets in, and other responders on this
/// machine keep what is sent to the machine's own address.
pub(super) fn open(link: &Link) -> io::Result<Async<UdpSocket>> {
    let domain = if link.id.1 == Family::V4 { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    // Enough to share the port. Not SO_REUSEPORT: Linux then hands a packet to but one of the sockets that have it, the
    // one of another interface or another node of the same user.
    socket.set_reuse_address(true)?;
    let index = link.id.0;
    match link.id.1 {
        Family::V4 => {
            let own = link.addresses.iter().find_map(|(ip, _)| match ip {
                IpAddr::V4(ip) => Some(ip),
                IpAddr::V6(_) => None,
            });
            let own = own.ok_or(io::ErrorKind::AddrNotAvailable)?;
            // Without this Linux hands over the packets of other interfaces too.
            socket.set_multicast_all_v4(false)?;
            socket.join_multicast_v4_n(&GROUP_V4, &InterfaceIndexOrAddress::Index(index))?;
            // By index and address: two interfaces may share an address, and the loopback needs to be told.
            rustix::net::sockopt::set_ip_multicast_if_with_ifindex(&socket, &GROUP_V4, own, index)?;
            socket.set_multicast_loop_v4(true)?;
            socket.set_multicast_ttl_v4(255)?;
        }
        Family::V6 => {
            socket.set_only_v6(true)?;
            socket.join_multicast_v6(&GROUP_V6, index)?;
            socket.set_multicast_if_v6(index)?;
            socket.set_multicast_loop_v6(true)?;
            socket.set_multicast_hops_v6(255)?;
        }
    }
    socket.bind(&group(link.id).into())?;
    Async::new_nonblocking(socket.into())
}

/// Where everyone on a link listens.
pub(super) fn group((index, family): LinkId) -> SocketAddr {
    match family {
        Family::V4 => SocketAddr::from((GROUP_V4, PORT)),
        Family::V6 => SocketAddrV6::new(GROUP_V6, PORT, 0, index).into(),
    }
}
