//! Listening, also on addresses that are not there yet: those of a cable that is unplugged, or of a Wi-Fi that comes late.

use std::io;

use libp2p::{Multiaddr, Swarm, TransportError, multiaddr::Protocol};

use super::{behaviour::Behaviour, quic, service::NetworkError};

/// Ports that are tried after a default one that is taken.
const PORTS_TRIED: u16 = 20;

/// What is to be listened on, and no interface has.
#[derive(Debug, Default)]
pub(super) struct Awaited(Vec<Multiaddr>);

impl Awaited {
    /// Listens on an address, or on a later port where a default one is taken.
    pub(super) fn listen(
        &mut self,
        swarm: &mut Swarm<Behaviour>,
        address: &str,
        explicit: bool,
    ) -> Result<(), NetworkError> {
        let wanted: Multiaddr = address.parse().map_err(|_| NetworkError::Address(address.into()))?;
        let mut tried = wanted.clone();
        for _ in 0..PORTS_TRIED {
            match swarm.listen_on(tried.clone()) {
                Ok(_) => {
                    if tried != wanted {
                        log::warn!("{wanted} is taken: listening on {tried} instead");
                    }
                    return Ok(());
                }
                Err(error) if is_missing(&wanted, &error) => {
                    log::warn!("no interface has the address of {wanted}: it is listened on as soon as one has");
                    self.0.push(wanted);
                    return Ok(());
                }
                Err(error) if explicit => {
                    return Err(NetworkError::Listen { address: address.into(), reason: error.to_string() });
                }
                Err(error) => log::debug!("cannot listen on {tried}: {error}"),
            }
            tried = with_next_port(&tried);
        }
        // A machine without IPv6 is no reason to stay off; that nothing at all is listened on, the node notices.
        log::warn!("cannot listen on {wanted} or any of the {PORTS_TRIED} ports from there");
        Ok(())
    }

    /// Listens on what is there by now.
    pub(super) fn try_again(&mut self, swarm: &mut Swarm<Behaviour>) {
        self.0.retain(|address| match swarm.listen_on(address.clone()) {
            Ok(_) => {
                log::info!("an interface has the address of {address} now: listening on it");
                false
            }
            Err(error) => {
                if !is_missing(address, &error) {
                    log::warn!("cannot listen on {address}, and will try again: {error}");
                }
                true
            }
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As people read it.
    pub(super) fn names(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}

/// Whether it is an interface that lacks, and not the whole family of addresses.
fn is_missing(address: &Multiaddr, error: &TransportError<io::Error>) -> bool {
    let is_any = address.iter().any(|part| match part {
        Protocol::Ip4(ip) => ip.is_unspecified(),
        Protocol::Ip6(ip) => ip.is_unspecified(),
        _ => false,
    });
    let TransportError::Other(error) = error else { return false };
    let reason = error.get_ref().and_then(|reason| reason.downcast_ref::<quic::Error>());
    !is_any && reason.is_some_and(quic::Error::is_address_missing)
}

fn with_next_port(address: &Multiaddr) -> Multiaddr {
    let next = |protocol| match protocol {
        Protocol::Udp(port) => Protocol::Udp(port.wrapping_add(1)),
        other => other,
    };
    address.iter().map(next).collect()
}
