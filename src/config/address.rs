//! Addresses of nodes, as far as a configuration needs to know them: QUIC over UDP, and nothing else.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use thiserror::Error;

use crate::content::NodeId;

/// Bytes of a host name (RFC 1035, section 2.3.4) and of a network interface's name (Linux `IFNAMSIZ` is 16).
const HOST_BYTES: usize = 253;
const INTERFACE_BYTES: usize = 15;

/// A multiaddr of the form `/ip4/192.0.2.1/udp/4720/quic-v1`; in place of `/ip4/…` also `/ip6/…`,
/// `/ip6zone/eth0/ip6/fe80::1`, `/dns/…`, `/dns4/…` and `/dns6/…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuicAddress {
    text: String,
    host: Host,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Host {
    Ip(IpAddr),
    Name,
}

impl QuicAddress {
    /// The multiaddr.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it can be listened on: an IP address, no name.
    pub(super) fn is_ip(&self) -> bool {
        self.ip().is_some()
    }

    /// Its IP address, unless it has a name instead.
    pub fn ip(&self) -> Option<IpAddr> {
        match self.host {
            Host::Ip(ip) => Some(ip),
            Host::Name => None,
        }
    }
}

impl fmt::Display for QuicAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// Why a text is no address of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ParseAddressError {
    /// No [`QuicAddress`].
    #[error("expected an address such as /ip4/192.168.1.7/udp/{port}/quic-v1", port = super::DEFAULT_PORT)]
    Address,
    /// No [`BootstrapPeer`].
    #[error("expected PEER_ID@ADDRESS, such as 12D3KooW…@/ip4/192.168.1.7/udp/{port}/quic-v1", port = super::DEFAULT_PORT)]
    Peer,
}

impl FromStr for QuicAddress {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        parse_host(text).map(|host| Self { text: text.to_owned(), host }).ok_or(ParseAddressError::Address)
    }
}

fn parse_host(text: &str) -> Option<Host> {
    let (address, port) = text.strip_prefix('/')?.strip_suffix("/quic-v1")?.rsplit_once("/udp/")?;
    port.parse::<u16>().ok()?;
    let mut parts = address.split('/');
    let host = match (parts.next()?, parts.next()?) {
        ("ip4", ip) => ip.parse::<Ipv4Addr>().ok().map(|ip| Host::Ip(ip.into())),
        ("ip6", ip) => ip.parse::<Ipv6Addr>().ok().map(|ip| Host::Ip(ip.into())),
        ("ip6zone", zone) if !zone.is_empty() && zone.len() <= INTERFACE_BYTES && parts.next() == Some("ip6") => {
            parts.next()?.parse::<Ipv6Addr>().ok().map(|ip| Host::Ip(ip.into()))
        }
        ("dns" | "dns4" | "dns6", name) => is_host_name(name).then_some(Host::Name),
        _ => None,
    }?;
    parts.next().is_none().then_some(host)
}

fn is_host_name(name: &str) -> bool {
    name.len() <= HOST_BYTES
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

/// A peer and where to dial it: `PEER_ID@MULTIADDR`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootstrapPeer {
    /// Who must answer.
    pub node: NodeId,
    /// Where.
    pub address: QuicAddress,
}

impl fmt::Display for BootstrapPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.node, self.address)
    }
}

impl FromStr for BootstrapPeer {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        let (node, address) = text.split_once('@').ok_or(ParseAddressError::Peer)?;
        let node = node.parse().map_err(|_| ParseAddressError::Peer)?;
        Ok(Self { node, address: address.parse().map_err(|_| ParseAddressError::Peer)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quic_addresses_and_nothing_else() {
        for good in [
            "/ip4/0.0.0.0/udp/0/quic-v1",
            "/ip6/::1/udp/65535/quic-v1",
            "/ip6zone/eth0/ip6/fe80::1/udp/4720/quic-v1",
            "/dns/mirror.example/udp/4720/quic-v1",
        ] {
            let address: QuicAddress = good.parse().unwrap();
            assert_eq!(address.to_string(), good);
            assert!(good.parse::<libp2p::Multiaddr>().is_ok(), "{good} is no multiaddr");
            assert_eq!(address.is_ip(), !good.starts_with("/dns"));
        }
        for bad in [
            "",
            "/",
            "/quic-v1",
            "192.168.1.7:4720",
            "/ip4/192.168.1.7/tcp/4720",
            "/ip4/192.168.1.7/udp/4720",
            "/ip4/192.168.1.7/udp/65536/quic-v1",
            "/ip4/192.168.1.300/udp/4720/quic-v1",
            "/ip4/::1/udp/4720/quic-v1",
            "/ip6zone//ip6/fe80::1/udp/4720/quic-v1",
            "/ip6zone/eth0/udp/4720/quic-v1",
            "/dns//udp/4720/quic-v1",
            "/dns/a b/udp/4720/quic-v1",
            "/ip4/1.2.3.4/ip4/1.2.3.4/udp/4720/quic-v1",
        ] {
            assert_eq!(bad.parse::<QuicAddress>(), Err(ParseAddressError::Address), "{bad:?}");
        }
    }

    #[test]
    fn bootstrap_peers() {
        let text = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA@/ip4/192.0.2.1/udp/4720/quic-v1";
        assert_eq!(text.parse::<BootstrapPeer>().unwrap().to_string(), text);
        for bad in ["", "@", "12D3KooW@/ip4/192.0.2.1/udp/4720/quic-v1", &text[..52], &text.replace("udp", "tcp")] {
            assert_eq!(bad.parse::<BootstrapPeer>(), Err(ParseAddressError::Peer), "{bad:?}");
        }
    }
}
