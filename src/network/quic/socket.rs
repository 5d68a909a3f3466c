//! A UDP socket with what makes QUIC quick on Linux: batches (GSO, GRO, recvmmsg), ECN, no fragments.

use std::{
    io::{self, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    task::{Context, Poll},
};

use async_io::Async;
use bytes::BytesMut;
use quinn_proto::{EcnCodepoint, Transmit};
use quinn_udp::{RecvMeta, UdpSocketState};
use socket2::{Domain, Protocol, Type};

use crate::limits::network::{RECEIVE_BUFFER_BYTES, RECEIVE_BUFFERS, SOCKET_BUFFER_BYTES};

pub(super) struct Socket {
    io: Async<UdpSocket>,
    state: UdpSocketState,
    local: SocketAddr,
}

impl Socket {
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // Only a wish: the kernel has a maximum of its own.
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
        socket.bind(&address.into())?;
        let io = Async::new(UdpSocket::from(socket))?;
        let state = UdpSocketState::new(io.get_ref().into())?;
        let local = io.get_ref().local_addr()?;
        Ok(Self { io, state, local })
    }

    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    pub(super) fn max_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    pub(super) fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }

    /// Sends, or says that the kernel has no room. Other failures count as a lost packet.
    pub(super) fn send(&self, transmit: &Transmit, contents: &[u8]) -> bool {
        let transmit = quinn_udp::Transmit {
            destination: transmit.destination,
            ecn: transmit.ecn.and_then(|ecn| quinn_udp::EcnCodepoint::from_bits(ecn as u8)),
            contents: &contents[..transmit.size],
            segment_size: transmit.segment_size,
            src_ip: transmit.src_ip,
        };
        self.state.send(self.io.get_ref().into(), &transmit).is_ok()
    }

    pub(super) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_writable(cx)
    }

    pub(super) fn poll_receive(&self, cx: &mut Context<'_>, buffers: &mut Buffers) -> Poll<io::Result<usize>> {
        loop {
            let mut slices = buffers.bytes.chunks_exact_mut(RECEIVE_BUFFER_BYTES).map(IoSliceMut::new);
            let mut slices: [_; RECEIVE_BUFFERS] = std::array::from_fn(|_| slices.next().expect("one for each"));
            match self.state.recv(self.io.get_ref().into(), &mut slices, &mut buffers.metas) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => match self.io.poll_readable(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                },
                result => return Poll::Ready(result),
            }
        }
    }
}

/// Where datagrams arrive.
pub(super) struct Buffers {
    bytes: Box<[u8]>,
    metas: [RecvMeta; RECEIVE_BUFFERS],
}

/// Datagrams of one sender, that the kernel has joined.
pub(super) struct Received<'a> {
    pub(super) from: SocketAddr,
    pub(super) to: Option<std::net::IpAddr>,
    pub(super) ecn: Option<EcnCodepoint>,
    /// One datagram after the other.
    bytes: &'a [u8],
    /// Bytes of each but the last, which may be shorter.
    stride: usize,
}

impl Received<'_> {
    /// Each datagram in memory of its own. quinn-proto keeps stream data that is not read yet in the memory in which it came,
    /// and reckons that this is one datagram: of one buffer for all, a byte would hold [`RECEIVE_BUFFER_BYTES`].
    pub(super) fn datagrams(&self) -> impl Iterator<Item = BytesMut> {
        self.bytes.chunks(self.stride.max(1)).map(BytesMut::from)
    }
}

impl Buffers {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; RECEIVE_BUFFERS * RECEIVE_BUFFER_BYTES].into_boxed_slice(),
            metas: [RecvMeta::default(); RECEIVE_BUFFERS],
        }
    }

    /// What the last `count` filled buffers hold.
    pub(super) fn received(&self, count: usize) -> impl Iterator<Item = Received<'_>> {
        self.bytes.chunks_exact(RECEIVE_BUFFER_BYTES).zip(&self.metas).take(count).map(|(bytes, meta)| Received {
            from: meta.addr,
            to: meta.dst_ip,
            ecn: meta.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8)),
            bytes: &bytes[..meta.len],
            stride: meta.stride,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_holds_no_memory_but_its_own() {
        let from = SocketAddr::from(([127, 0, 0, 1], 1));
        let received = Received { from, to: None, ecn: None, bytes: &[7; 2500], stride: 1200 };
        let datagrams: Vec<_> = received.datagrams().map(BytesMut::freeze).collect();
        assert_eq!(datagrams.iter().map(|datagram| datagram.len()).collect::<Vec<_>>(), [1200, 1200, 100]);
        assert!(datagrams.iter().all(bytes::Bytes::is_unique));
        // What the kernel says is not trusted.
        assert_eq!(Received { stride: 0, ..received }.datagrams().count(), 2500);
    }
}
