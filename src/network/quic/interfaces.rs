//! Which addresses this machine has, and when they change.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use async_io::Timer;
use futures::Stream;

use crate::clock;

/// How often we look.
const INTERVAL: Duration = Duration::from_secs(10);

/// Looks at the machine's addresses, now and every ten seconds.
pub(super) struct Interfaces(Timer);

impl Interfaces {
    pub(super) fn new() -> Self {
        Self(Timer::interval_at(clock::now(), INTERVAL))
    }

    /// The addresses of all interfaces that are up.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<BTreeSet<IpAddr>> {
        loop {
            if Pin::new(&mut self.0).poll_next(cx).is_pending() {
                return Poll::Pending;
            }
            match if_addrs::get_if_addrs() {
                Ok(interfaces) => return Poll::Ready(interfaces.iter().map(if_addrs::Interface::ip).collect()),
                Err(error) => log::warn!("cannot list the network interfaces: {error}"),
            }
        }
    }
}
