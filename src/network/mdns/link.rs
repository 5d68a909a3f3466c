//! One interface and one address family: the scope in which multicast DNS packets are sent, heard and believed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libp2p::{Multiaddr, multiaddr::Protocol};

/// Which of the two multicast groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// What tells one link from all others: the interface's index and the family.
pub(super) type LinkId = (u32, Family);

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) id: LinkId,
    /// The interface's name, as in `eth0`.
    pub(super) name: String,
    /// Only this machine hears what is said here.
    pub(super) loopback: bool,
    /// The interface's addresses of both families, with the bits of their network's prefix.
    pub(super) addresses: Vec<(IpAddr, u8)>,
}

impl Link {
    /// Whether a neighbour on this link has this address.
    fn reaches(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V6(ip) if ip.is_unicast_link_local() => !self.loopback,
            _ if ip.is_loopback() => self.loopback,
            _ => self.addresses.iter().any(|&(own, prefix)| same_network(own, ip, prefix)),
        }
    }

    /// Whether packets from this address are heard at all: those of the link (RFC 6762, section 11), and those of
    /// private networks, since two of them may share a cable.
    pub(super) fn hears(&self, source: IpAddr) -> bool {
        let private = match source {
            IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unique_local(),
        };
        self.reaches(source) || (private && !self.loopback)
    }

    /// An announced address as we would dial it, or none if there is nothing to believe.
    ///
    /// A stranger can name any address of the world. Only those on the link and the packet's own source are believed.
    /// Another address of the source's family becomes the source, as stock libp2p does: such a node names the
    /// addresses of all its interfaces on each of them.
    pub(super) fn localise(&self, announced: &Multiaddr, source: IpAddr) -> Option<Multiaddr> {
        let mut parts = announced.iter().skip_while(|part| matches!(part, Protocol::Ip6zone(_)));
        let named = ip_of(&parts.next()?)?;
        let believed = match named {
            _ if named == source || self.reaches(named) => named,
            _ if Family::of(named) == Family::of(source) => source,
            _ => return None,
        };
        let mut address = Multiaddr::empty();
        if matches!(believed, IpAddr::V6(ip) if ip.is_unicast_link_local()) {
            address.push(Protocol::Ip6zone(self.name.as_str().into()));
        }
        address.push(believed.into());
        Some(parts.fold(address, Multiaddr::with))
    }

    /// A listen address as it is announced on this link, or none if it is none of this link.
    ///
    /// Zones mean something on their own machine only, so none is announced.
    pub(super) fn announced(&self, listen: &Multiaddr) -> Option<Multiaddr> {
        let mut parts = listen.iter().skip_while(|part| matches!(part, Protocol::Ip6zone(_)));
        let ip = ip_of(&parts.next()?)?;
        // Each family tells its own, as stock libp2p knows no others; the loopback has but one to tell both.
        let told = self.loopback || Family::of(ip) == self.id.1;
        let ours = self.addresses.iter().any(|&(own, _)| own == ip);
        (told && ours).then(|| parts.fold(Multiaddr::from(ip), Multiaddr::with))
    }
}

fn ip_of(part: &Protocol) -> Option<IpAddr> {
    match part {
        Protocol::Ip4(ip) => Some((*ip).into()),
        Protocol::Ip6(ip) => Some((*ip).into()),
        _ => None,
    }
}

fn same_network(a: IpAddr, b: IpAddr, prefix: u8) -> bool {
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => u128::from(Ipv4Addr::to_bits(ip)) << 96,
        IpAddr::V6(ip) => Ipv6Addr::to_bits(ip),
    };
    // A prefix of nothing would put the whole world on the link.
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
    Family::of(a) == Family::of(b) && prefix > 0 && (bits(a) ^ bits(b)) & mask == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(addresses: &[(&str, u8)], loopback: bool) -> Link {
        let addresses: Vec<_> = addresses.iter().map(|(ip, prefix)| (ip.parse().unwrap(), *prefix)).collect();
        Link { id: (2, Family::of(addresses[0].0)), name: "eth0".into(), loopback, addresses }
    }

    fn localised(link: &Link, announced: &str, source: &str) -> Option<String> {
        link.localise(&announced.parse().unwrap(), source.parse().unwrap()).map(|address| address.to_string())
    }

    #[test]
    fn believes_what_is_on_the_link_and_rewrites_the_rest() {
        let eth = link(&[("10.1.0.5", 16)], false);
        let near = localised(&eth, "/ip4/10.1.9.9/udp/7/quic-v1", "10.1.0.9");
        assert_eq!(near.as_deref(), Some("/ip4/10.1.9.9/udp/7/quic-v1"));
        for foreign in ["8.8.8.8", "127.0.0.1", "172.17.0.1", "0.0.0.0", "224.0.0.251"] {
            let address = localised(&eth, &format!("/ip4/{foreign}/udp/7/quic-v1"), "10.1.0.9");
            assert_eq!(address.as_deref(), Some("/ip4/10.1.0.9/udp/7/quic-v1"), "{foreign}");
        }
        for useless in ["/ip6/2001:db8::1/udp/7/quic-v1", "/dns4/example.org/udp/7/quic-v1", "/udp/7"] {
            assert_eq!(localised(&eth, useless, "10.1.0.9"), None, "{useless}");
        }
    }

    #[test]
    fn link_local_addresses_get_the_zone_they_were_heard_in() {
        let eth = link(&[("fe80::5", 64)], false);
        let zoned = Some("/ip6zone/eth0/ip6/fe80::9/udp/7/quic-v1");
        assert_eq!(localised(&eth, "/ip6/fe80::9/udp/7/quic-v1", "fe80::9").as_deref(), zoned);
        assert_eq!(localised(&eth, "/ip6zone/wlan7/ip6/fe80::9/udp/7/quic-v1", "fe80::9").as_deref(), zoned);
        assert_eq!(localised(&eth, "/ip6/2001:db8::1/udp/7/quic-v1", "fe80::9").as_deref(), zoned);
    }

    #[test]
    fn hears_neighbours_only() {
        let eth = link(&[("192.0.2.5", 24), ("fe80::5", 64)], false);
        for near in ["192.0.2.9", "192.168.7.7", "169.254.1.1", "fe80::1", "fd00::1"] {
            assert!(eth.hears(near.parse().unwrap()), "{near}");
        }
        for far in ["198.51.100.1", "127.0.0.1", "2001:db8::1", "::1"] {
            assert!(!eth.hears(far.parse().unwrap()), "{far}");
        }
        assert!(!same_network("0.0.0.0".parse().unwrap(), "8.8.8.8".parse().unwrap(), 0));
    }

    #[test]
    fn announces_the_addresses_of_its_interface_and_family() {
        let eth = link(&[("fe80::5", 64), ("10.1.0.5", 16)], false);
        let announced = |listen: &str| eth.announced(&listen.parse().unwrap()).map(|address| address.to_string());
        let here = Some("/ip6/fe80::5/udp/7/quic-v1");
        assert_eq!(announced("/ip6/fe80::5/udp/7/quic-v1").as_deref(), here);
        assert_eq!(announced("/ip6zone/eth0/ip6/fe80::5/udp/7/quic-v1").as_deref(), here);
        assert_eq!(announced("/ip4/10.1.0.5/udp/7/quic-v1"), None);
        assert_eq!(announced("/ip6/fe80::6/udp/7/quic-v1"), None);
    }
}
