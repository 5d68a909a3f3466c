//! What a service manager is told of the node, as sd_notify(3) has it; where there is none, nothing is told to anybody.

use std::{
    env, io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

use futures::future::pending;
use smol::Timer;

use super::super::out::{count, size};
use crate::{clock, status::NodeStatus};

/// A manager that takes nothing for so long is not waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// The service manager that started this process.
pub(super) struct Service {
    manager: Option<(UnixDatagram, SocketAddr)>,
    /// It takes the process for dead if it was told nothing for so long.
    watchdog: Option<Duration>,
}

impl Service {
    /// As the environment names it.
    pub(super) fn of_environment() -> Self {
        let manager = connect().unwrap_or_else(|error| {
            log::warn!("the service manager can't be told how the node is: {error}");
            None
        });
        let number = |name| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        // Meant for another process, it was inherited by mistake.
        let is_mine = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|us| is_mine && *us > 0).map(Duration::from_micros);
        Self { manager, watchdog }
    }

    /// The node has started, or has done with its configuration.
    pub(super) fn ready(&self) {
        self.tell("READY=1");
    }

    /// The configuration is read again, until the next [`Service::ready`].
    pub(super) fn reloading(&self) {
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", clock::monotonic_us()));
    }

    /// The node stops.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// What the node does, in words, which the manager shows.
    pub(super) fn does(&self, what: &str) {
        // A message has a line for each thing that is told.
        self.tell(&format!("STATUS={}", what.replace('\n', "; ")));
    }

    /// Tells that the node lives, for ever, each time after it has shown that it does.
    pub(super) async fn keep_alive<T>(&self, shows_life: impl AsyncFn()) -> T {
        let Some(limit) = self.watchdog else { return pending().await };
        loop {
            shows_life().await;
            self.tell("WATCHDOG=1");
            Timer::after(limit / 3).await;
        }
    }

    fn tell(&self, message: &str) {
        let Some((socket, manager)) = &self.manager else { return };
        if let Err(error) = socket.send_to_addr(message.as_bytes(), manager) {
            log::warn!("the service manager was not told {message:?}: {error}");
        }
    }
}

fn connect() -> io::Result<Option<(UnixDatagram, SocketAddr)>> {
    let Some(name) = env::var_os("NOTIFY_SOCKET") else { return Ok(None) };
    let manager = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(Some((socket, manager)))
}

/// What a node does, in a line.
pub(super) fn in_short(status: &NodeStatus) -> String {
    let peers = status.peers.iter().filter(|peer| peer.state == crate::status::PeerState::Connected).count();
    let copying = match status.transfers.len() {
        0 => String::new(),
        transfers => format!("; copying {}", count(transfers as u64, "collection")),
    };
    let store = &status.store;
    let held = (count(store.blobs, "file"), size(store.bytes), count(peers as u64, "peer"));
    format!("{} ({}), {} connected{copying}", held.0, held.1, held.2)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn only_a_node_that_shows_life_is_told_of() {
        let (socket, manager) = (UnixDatagram::unbound().unwrap(), tempfile::tempdir().unwrap());
        let path = manager.path().join("notify");
        let told = UnixDatagram::bind(&path).unwrap();
        told.set_nonblocking(true).unwrap();
        let manager = Some((socket, SocketAddr::from_pathname(&path).unwrap()));
        let service = Service { manager, watchdog: Some(Duration::from_millis(3)) };
        let asked = Cell::new(0);
        // It lives twice, and then hangs.
        let shows_life = async || {
            asked.set(asked.get() + 1);
            if asked.get() == 3 {
                pending().await
            }
        };
        let hangs = async {
            while asked.get() < 3 {
                smol::future::yield_now().await;
            }
        };
        smol::block_on(smol::future::or(service.keep_alive(shows_life), hangs));
        let mut buffer = [0; 64];
        for _ in 0..2 {
            let bytes = told.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..bytes], b"WATCHDOG=1");
        }
        assert_eq!(told.recv(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
