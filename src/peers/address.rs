//! Which addresses are believed when others tell of them. Each that is dialled costs its owner packets, so a node does not let
//! itself be sent to just anywhere: what others tell of is dialled on this network, and on the internet only if a person says so.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Subnet;
use crate::config::QuicAddress;

/// Who tells of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Teller {
    /// mDNS, which passes on only what can be reached over the interface that it was heard on.
    Link,
    /// A peer whose own address is this.
    Peer(IpAddr),
}

/// What is believed.
#[derive(Debug, Clone, Default)]
pub(super) struct Belief {
    subnets: Vec<Subnet>,
}

impl Belief {
    pub(super) fn set_subnets(&mut self, subnets: Vec<Subnet>) {
        self.subnets = subnets;
    }

    /// Whether this is an address of this machine itself.
    pub(super) fn is_own(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.subnets.iter().any(|subnet| subnet.address == ip)
    }

    /// Whether to dial a multiaddr that somebody tells of; `public` is whether those on the internet are believed.
    pub(super) fn believes(&self, address: &str, teller: Teller, public: bool) -> bool {
        let Some((ip, port)) = parse(address) else { return false };
        // A zone is the name of an interface, and means nothing on another machine.
        let has_zone = address.starts_with("/ip6zone");
        let is_link_local_v6 = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        let is_dialable = port != 0 && !ip.is_unspecified() && !ip.is_multicast() && ip != Ipv4Addr::BROADCAST;
        if !is_dialable || has_zone != is_link_local_v6 || (has_zone && matches!(teller, Teller::Peer(_))) {
            return false;
        }
        match teller {
            _ if !ip.is_loopback() => public || is_private(ip) || self.is_on_link(ip),
            Teller::Link => true,
            Teller::Peer(own) => own.is_loopback() || self.subnets.iter().all(|it| it.address.is_loopback()),
        }
    }

    fn is_on_link(&self, ip: IpAddr) -> bool {
        self.subnets.iter().any(|subnet| contains(subnet, ip))
    }
}

/// The IP address and the port of a multiaddr.
fn parse(address: &str) -> Option<(IpAddr, u16)> {
    let ip = ip(address)?;
    let port = address.strip_suffix("/quic-v1")?.rsplit_once('/')?.1;
    Some((ip, port.parse().ok()?))
}

/// The IP address of a multiaddr, if it is one that this node can dial and has no name instead. An IPv4 address in the clothes
/// of IPv6 is one of IPv4.
pub(super) fn ip(address: &str) -> Option<IpAddr> {
    Some(address.parse::<QuicAddress>().ok()?.ip()?.to_canonical())
}

/// Whether to tell a peer at `to` of an address: one of the loopback or of a link means nothing elsewhere, and a zone nothing
/// on another machine.
pub(super) fn may_be_told(address: &str, to: IpAddr) -> bool {
    match ip(address) {
        Some(IpAddr::V4(ip)) if ip.is_link_local() => matches!(to, IpAddr::V4(to) if to.is_link_local()),
        Some(IpAddr::V6(ip)) if ip.is_unicast_link_local() => false,
        Some(ip) => !ip.is_loopback() || to.is_loopback(),
        None => false,
    }
}

/// RFC 1918, section 3; RFC 4193; RFC 3927; RFC 4291, section 2.5.6.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Whether the first bits are the same. A network of no bits would be the whole internet.
fn contains(subnet: &Subnet, ip: IpAddr) -> bool {
    let bits = u32::from(subnet.prefix_bits);
    let differ = match (subnet.address, ip) {
        (IpAddr::V4(net), IpAddr::V4(ip)) => (u32::from(net) ^ u32::from(ip)).leading_zeros(),
        (IpAddr::V6(net), IpAddr::V6(ip)) => (u128::from(net) ^ u128::from(ip)).leading_zeros(),
        _ => return false,
    };
    let width = if ip.is_ipv4() { Ipv4Addr::BITS } else { Ipv6Addr::BITS };
    bits > 0 && differ >= bits.min(width)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LAN: Teller = Teller::Peer(IpAddr::V4(Ipv4Addr::new(192, 168, 1, 2)));
    const LOOPBACK: Teller = Teller::Peer(IpAddr::V4(Ipv4Addr::LOCALHOST));

    fn belief(subnets: &[(&str, u8)]) -> Belief {
        let subnet = |(address, prefix_bits): &(&str, u8)| Subnet {
            address: address.parse().unwrap(),
            prefix_bits: *prefix_bits,
        };
        Belief { subnets: subnets.iter().map(subnet).collect() }
    }

    fn quic(host: &str) -> String {
        format!("{host}/udp/4720/quic-v1")
    }

    #[test]
    fn nobody_is_told_what_means_something_here_alone() {
        let told = |address: &str, to: &str| may_be_told(&quic(address), to.parse().unwrap());
        assert!(told("/ip4/192.168.1.7", "192.168.1.9") && told("/ip6/fd00::7", "192.168.1.9"));
        assert!(told("/ip4/127.0.0.1", "127.0.0.1") && !told("/ip4/127.0.0.1", "192.168.1.9"));
        assert!(told("/ip4/169.254.1.1", "169.254.2.2") && !told("/ip4/169.254.1.1", "192.168.1.9"));
        assert!(!told("/ip6zone/eth0/ip6/fe80::7", "fe80::9") && !told("/dns4/example.org", "127.0.0.1"));
    }

    #[test]
    fn what_is_on_this_network_is_believed_and_the_internet_if_a_person_says_so() {
        let belief = belief(&[("127.0.0.1", 8), ("203.0.113.9", 24), ("2001:db8::9", 64)]);
        for near in [
            "/ip4/10.1.2.3",
            "/ip4/172.16.0.1",
            "/ip4/192.168.1.1",
            "/ip4/169.254.1.1",
            "/ip6/fd00::1",
            "/ip4/203.0.113.200",
            "/ip6/2001:db8::1",
        ] {
            assert!(belief.believes(&quic(near), LAN, false), "{near}");
            assert!(belief.believes(&quic(near), Teller::Link, false), "{near}");
        }
        for far in
            ["/ip4/203.0.114.1", "/ip4/8.8.8.8", "/ip4/172.32.0.1", "/ip6/2001:db8:0:1::1", "/ip6/::ffff:8.8.8.8"]
        {
            assert!(!belief.believes(&quic(far), LAN, false), "{far}");
            assert!(!belief.believes(&quic(far), Teller::Link, false), "{far}");
            assert!(belief.believes(&quic(far), LAN, true), "{far}");
        }
        for never in [
            "/ip4/0.0.0.0",
            "/ip4/224.0.0.251",
            "/ip4/255.255.255.255",
            "/ip6/::",
            "/ip6/ff02::fb",
            "/ip6/fe80::1",
            "/dns/example.org",
        ] {
            assert!(!belief.believes(&quic(never), LAN, true), "{never}");
        }
        assert!(!belief.believes("/ip4/10.1.2.3/udp/0/quic-v1", LAN, true));
        assert!(!belief.believes("10.1.2.3:4720", LAN, true));
    }

    #[test]
    fn a_zone_is_believed_of_this_machine_alone() {
        let zoned = quic("/ip6zone/eth0/ip6/fe80::1");
        assert!(Belief::default().believes(&zoned, Teller::Link, false));
        assert!(!Belief::default().believes(&zoned, LAN, true));
        assert!(!Belief::default().believes(&quic("/ip6zone/eth0/ip6/fd00::1"), Teller::Link, true));
    }

    #[test]
    fn the_loopback_is_believed_of_who_is_on_it() {
        let belief = belief(&[("127.0.0.1", 8), ("192.168.1.9", 24)]);
        for loopback in ["/ip4/127.0.0.1", "/ip6/::1", "/ip6/::ffff:127.0.0.1"] {
            assert!(belief.believes(&quic(loopback), LOOPBACK, false), "{loopback}");
            assert!(belief.believes(&quic(loopback), Teller::Link, false), "{loopback}");
            assert!(!belief.believes(&quic(loopback), LAN, true), "{loopback}");
        }
        assert!(super::tests::belief(&[("127.0.0.1", 8)]).believes(&quic("/ip4/127.0.0.1"), LAN, false));
        assert!(belief.is_own("127.0.0.2".parse().unwrap()) && belief.is_own("192.168.1.9".parse().unwrap()));
        assert!(!belief.is_own("192.168.1.8".parse().unwrap()));
    }

    /// An address bit by bit.
    fn bits(ip: IpAddr) -> Vec<bool> {
        let octets = match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        octets.iter().flat_map(|octet| (0..8).rev().map(move |bit| octet >> bit & 1 == 1)).collect()
    }

    proptest! {
        #[test]
        fn a_network_contains_what_begins_with_the_same_bits(
            address: IpAddr, ip: IpAddr, near in 0_u32..140, prefix_bits in 0_u8..140,
        ) {
            // Chance alone hardly ever finds neighbours.
            let ip = match (address, ip) {
                (IpAddr::V4(a), IpAddr::V4(b)) => {
                    IpAddr::from(Ipv4Addr::from(u32::from(a) ^ u32::from(b).checked_shr(near).unwrap_or(0)))
                }
                (IpAddr::V6(a), IpAddr::V6(b)) => {
                    IpAddr::from(Ipv6Addr::from(u128::from(a) ^ u128::from(b).checked_shr(near).unwrap_or(0)))
                }
                _ => ip,
            };
            let (net, other) = (bits(address), bits(ip));
            let count = usize::from(prefix_bits).min(net.len());
            let naive = net.len() == other.len() && count > 0 && net[..count] == other[..count];
            prop_assert_eq!(contains(&Subnet { address, prefix_bits }, ip), naive);
        }

        #[test]
        fn whatever_is_told_is_no_panic(text in "(/ip4|/ip6|/ip6zone|/udp|/quic-v1|/[0-9a-f:.]{0,8}){0,8}") {
            let _ = Belief::default().believes(&text, LAN, true);
        }
    }
}
