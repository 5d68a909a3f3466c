//! Which names a page is asked for under. A browser that was told that some other name lives at our address (DNS rebinding,
//! or a captive portal in front of us) is sent to the address itself, and so never takes our answers for that name's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hyper::{HeaderMap, Uri, header};

/// What a request's host turns out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// This node, or none was named, as HTTP/1.0 may.
    Ours,
    /// Some other name.
    Foreign,
    /// Missing, doubled or no host at all: 400 (RFC 9112, section 3.2).
    Invalid,
}

/// Judges a request that came in at the address `local`. `name` is the node's own `.local` name, if it has one.
pub fn judge(uri: &Uri, headers: &HeaderMap, required: bool, local: SocketAddr, name: Option<&str>) -> Host {
    let mut values = headers.get_all(header::HOST).iter();
    let value = match (values.next(), values.next()) {
        (_, Some(_)) => return Host::Invalid,
        (None, None) if required => return Host::Invalid,
        (value, None) => value.map(|value| value.to_str().unwrap_or("\0")),
    };
    // Clients that take us for a proxy say it in the first line, and then that counts (RFC 9112, section 3.2.2).
    let Some(text) = uri.authority().map(|authority| authority.as_str()).or(value) else { return Host::Ours };
    let Some((host, port)) = split(text) else { return Host::Invalid };
    if is_loopback(host) {
        // Any port: whoever forwards a port of their own machine to us asks for that one.
        return Host::Ours;
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    let ours = address(host).is_some_and(|ip| ip == local.ip().to_canonical())
        || name.is_some_and(|name| host.eq_ignore_ascii_case(name));
    if ours && port == local.port() { Host::Ours } else { Host::Foreign }
}

/// The address to send everyone to who asks for another name.
pub fn canonical(local: SocketAddr) -> String {
    format!("http://{}/", SocketAddr::new(local.ip().to_canonical(), local.port()))
}

/// Host and port of `uri-host [ ":" port ]`; none if it is something else.
fn split(text: &str) -> Option<(&str, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let end = 2 + rest.find(']')?;
            (&text[..end], text[end..].strip_prefix(':').or_else(|| text[end..].is_empty().then_some(""))?)
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte);
    let valid =
        if host.starts_with('[') { address(host).is_some() } else { !host.is_empty() && host.bytes().all(is_name) };
    let port = match port {
        "" => 80,
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok()?,
        _ => return None,
    };
    valid.then_some((host, port))
}

fn address(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[') {
        Some(rest) => {
            // A link-local address may name its interface.
            let inner = rest.strip_suffix(']')?;
            let ip = inner.split_once('%').map_or(inner, |(ip, _)| ip);
            ip.parse::<Ipv6Addr>().ok().map(|ip| IpAddr::V6(ip).to_canonical())
        }
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || address(host).is_some_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(host: &str, local: &str) -> Host {
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, host.parse().unwrap());
        judge(&Uri::from_static("/"), &headers, true, local.parse().unwrap(), Some("library-7.local"))
    }

    #[test]
    fn our_names() {
        for host in [
            "192.168.1.5:8080",
            "library-7.local:8080",
            "Library-7.LOCAL:8080",
            "library-7.local.:8080",
            "localhost:8080",
            "LocalHost",
            "127.0.0.1:8080",
            "localhost:9000",
            "[::1]:8080",
            "127.0.0.1",
        ] {
            assert_eq!(ask(host, "192.168.1.5:8080"), Host::Ours, "{host}");
        }
        assert_eq!(ask("192.168.1.5", "192.168.1.5:80"), Host::Ours);
        assert_eq!(ask("192.168.1.5:", "192.168.1.5:80"), Host::Ours);
        assert_eq!(ask("192.168.1.5:8080", "[::ffff:192.168.1.5]:8080"), Host::Ours);
        assert_eq!(ask("[fe80::1]:8080", "[fe80::1]:8080"), Host::Ours);
        assert_eq!(ask("[fe80::1%eth0]:8080", "[fe80::1]:8080"), Host::Ours);
    }

    #[test]
    fn other_names() {
        for host in [
            "evil.example:8080",
            "evil.example",
            "192.168.1.5",
            "192.168.1.5:81",
            "192.168.1.6:8080",
            "library-7.local",
            "library-7.local.evil.example:8080",
            "localhost.evil.example:8080",
            "[fe80::2]:8080",
            "0.0.0.0:8080",
            "1.2.3:8080",
            "connectivitycheck.gstatic.com",
        ] {
            assert_eq!(ask(host, "192.168.1.5:8080"), Host::Foreign, "{host}");
        }
    }

    #[test]
    fn no_names() {
        for host in [
            "",
            " ",
            "a b",
            "a/b",
            "user@host",
            "host:port",
            "host:80:80",
            "host:99999",
            "[::1",
            "[::1]x",
            "[x]",
            "a\"b",
        ] {
            assert_eq!(ask(host, "192.168.1.5:8080"), Host::Invalid, "{host}");
        }
    }

    #[test]
    fn missing_doubled_and_absolute() {
        let local = "192.168.1.5:8080".parse().unwrap();
        let none = HeaderMap::new();
        assert_eq!(judge(&Uri::from_static("/"), &none, true, local, None), Host::Invalid);
        assert_eq!(judge(&Uri::from_static("/"), &none, false, local, None), Host::Ours);
        let mut two = HeaderMap::new();
        two.append(header::HOST, "localhost".parse().unwrap());
        assert_eq!(judge(&Uri::from_static("http://evil.example/"), &two, true, local, None), Host::Foreign);
        two.append(header::HOST, "localhost".parse().unwrap());
        assert_eq!(judge(&Uri::from_static("/"), &two, true, local, None), Host::Invalid);
    }

    #[test]
    fn the_canonical_address_can_be_typed() {
        assert_eq!(canonical("[::ffff:10.0.0.1]:8080".parse().unwrap()), "http://10.0.0.1:8080/");
        assert_eq!(canonical("[fd00::1]:80".parse().unwrap()), "http://[fd00::1]:80/");
    }
}
