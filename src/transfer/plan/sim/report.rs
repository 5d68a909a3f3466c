//! What came of a run.

use std::{fmt, time::Duration};

use super::{Host, Swarm};

/// What a run is judged by.
#[derive(Debug)]
pub(super) struct Report {
    /// Nodes that got the blob.
    pub(super) receivers: usize,
    /// Until the last of them had it.
    pub(super) took: Duration,
    /// The shortest time that the links allow.
    pub(super) ideal: Duration,
    /// Bytes that those sent who had the blob, over its own.
    pub(super) seed_copies: f64,
    /// Bytes that came, over those that were missing.
    pub(super) received_copies: f64,
    /// Jain's index over how long each receiver took, compared to what its own links allow: 1 is fair.
    pub(super) fairness: f64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "to {:3}: {:6.2} s, {:.3} x ideal, seeds sent {:.3} copies, each received {:.3}, fairness {:.3}",
            self.receivers,
            self.took.as_secs_f64(),
            self.over_ideal(),
            self.seed_copies,
            self.received_copies,
            self.fairness
        )
    }
}

impl Swarm {
    /// What came of a run in which all nodes have got the blob, or had it.
    pub(super) fn report(&self) -> Report {
        let size = self.size as f64;
        let seeds = || self.hosts.iter().filter(|host| host.received_bytes == 0);
        let receivers = || self.hosts.iter().filter(|host| host.received_bytes > 0);
        let count = receivers().count() as f64;
        let up = |host: &Host| host.up;
        // Everything leaves the seeds once, comes to each receiver, and leaves somebody for each of them.
        let (seeds_up, all_up) = (seeds().map(up).sum::<f64>(), self.hosts.iter().map(up).sum::<f64>());
        let together = (size / seeds_up).max(size * count / all_up);
        let ideal = receivers().map(|host| size / host.down).fold(together, f64::max);
        let took = receivers().filter_map(|host| host.done).max().unwrap_or_default();
        let wait = |host: &Host| Some((host.done? - host.joined).as_secs_f64() / together.max(size / host.down));
        let waits = Vec::from_iter(receivers().filter_map(wait));
        let (sum, squares) = (waits.iter().sum::<f64>(), waits.iter().map(|wait| wait * wait).sum::<f64>());
        Report {
            receivers: count as usize,
            took,
            ideal: Duration::from_secs_f64(ideal),
            seed_copies: seeds().map(|host| host.sent_bytes as f64).sum::<f64>() / size,
            received_copies: receivers().map(|host| host.received_bytes as f64).sum::<f64>() / (size * count),
            fairness: sum * sum / (waits.len() as f64 * squares),
        }
    }
}

impl Report {
    /// How many times the ideal the run took.
    pub(super) fn over_ideal(&self) -> f64 {
        self.took.as_secs_f64() / self.ideal.as_secs_f64()
    }
}
