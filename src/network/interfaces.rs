//! The machine's interfaces, and when to look at them: as soon as the kernel says that something has changed.

use std::{
    future::Future,
    io,
    net::IpAddr,
    os::fd::OwnedFd,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use async_io::{Async, Timer};
use if_addrs::{IfAddr, Interface};
use rustix::net::{
    AddressFamily, RecvFlags, SocketFlags, SocketType, bind, netlink::SocketAddrNetlink, recv, socket_with,
};

use crate::{clock, peers::Subnet};

/// Changes come in bursts, one message for each address: so long more are waited for.
const SETTLE: Duration = Duration::from_millis(50);
/// It is looked this often though nothing was heard: a message may be lost.
const INTERVAL: Duration = Duration::from_secs(60);
/// It is looked this often where the kernel does not tell.
const INTERVAL_UNTOLD: Duration = Duration::from_secs(10);
/// Interfaces that come and go, and IPv4 and IPv6 addresses that do (rtnetlink(7): `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR`,
/// `RTMGRP_IPV6_IFADDR`).
const GROUPS: u32 = 0x1 | 0x10 | 0x100;

/// Tells when to look at the interfaces: at once, after each change, and now and then.
#[derive(Debug)]
pub(super) struct Changes {
    socket: Option<Async<OwnedFd>>,
    timer: Timer,
    /// The timer waits for a burst to end.
    settling: bool,
}

impl Changes {
    pub(super) fn new() -> Self {
        let socket = open().map_err(|error| log::debug!("changes of the network are not told: {error}")).ok();
        Self { socket, timer: Timer::at(clock::now()), settling: false }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.poll_told(cx) && !self.settling {
            self.settling = true;
            self.timer.set_after(SETTLE);
        }
        if Pin::new(&mut self.timer).poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.settling = false;
        self.timer.set_after(if self.socket.is_some() { INTERVAL } else { INTERVAL_UNTOLD });
        Poll::Ready(())
    }

    /// Whether the kernel has told of a change; if not, it will wake us.
    fn poll_told(&mut self, cx: &mut Context<'_>) -> bool {
        let mut told = false;
        let mut message = [0; 4096];
        while let Some(socket) = &self.socket {
            match recv(socket, &mut message, RecvFlags::DONTWAIT).map_err(io::Error::from) {
                Ok(_) => told = true,
                // There were too many to keep.
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) => told = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if socket.poll_readable(cx).is_pending() {
                        break;
                    }
                }
                Err(error) => {
                    log::debug!("changes of the network are no longer told: {error}");
                    self.socket = None;
                    told = true;
                }
            }
        }
        told
    }
}

fn open() -> io::Result<Async<OwnedFd>> {
    // Without a protocol it is NETLINK_ROUTE.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
    Async::new_nonblocking(socket)
}

/// The networks that this machine is on: those of the interfaces that have a carrier.
pub(super) fn subnets() -> Vec<Subnet> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        log::warn!("cannot list the network interfaces: {error}");
        Vec::new()
    });
    let mut subnets: Vec<_> = interfaces.iter().filter(|interface| interface.is_oper_up()).map(subnet).collect();
    subnets.sort_unstable();
    subnets.dedup();
    subnets
}

fn subnet(interface: &Interface) -> Subnet {
    let prefix_bits = match &interface.addr {
        IfAddr::V4(v4) => v4.prefixlen,
        IfAddr::V6(v6) => v6.prefixlen,
    };
    Subnet { address: interface.ip(), prefix_bits }
}

/// The addresses of all interfaces.
pub(super) fn addresses() -> io::Result<impl Iterator<Item = IpAddr>> {
    Ok(if_addrs::get_if_addrs()?.into_iter().map(|interface| interface.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_lets_itself_be_heard_and_the_first_look_is_now() {
        smol::block_on(async {
            let mut changes = Changes::new();
            assert!(changes.socket.is_some());
            futures::future::poll_fn(|cx| changes.poll(cx)).await;
            assert!(smol::future::poll_once(futures::future::poll_fn(|cx| changes.poll(cx))).await.is_none());
        });
    }

    #[test]
    fn the_loopback_is_a_network() {
        let lo = Subnet { address: [127, 0, 0, 1].into(), prefix_bits: 8 };
        assert!(subnets().contains(&lo), "{:?}", subnets());
        assert!(addresses().unwrap().any(|address| address == lo.address));
    }
}
