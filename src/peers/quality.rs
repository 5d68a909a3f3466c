//! How good the way to a peer is, from what QUIC measures anyway.
//!
//! The score is a whole number from 0 (of no use) to 100, the product of three parts:
//!
//! ```text
//! score = 100 × delay × loss × answers
//!   delay   = 1 / (1 + (rtt + 2 × deviation) / 400 ms)     10 ms: 0.98, 100 ms: 0.80, 400 ms: 0.50
//!   loss    = (1 − lost / sent)⁴                            1 %: 0.96, 5 %: 0.81, 20 %: 0.41
//!   answers = 0.8 ^ failed probes in a row                  1: 0.80, 5: 0.33, 20: 0.01
//! ```
//!
//! It follows from what was told last, so new evidence counts at once. There is none before the first round trip.
//!
//! - `rtt` is the smoothed round-trip time of RFC 9002, section 5.3; `deviation` is RTTVAR of RFC 6298, section 2, over
//!   those samples after which something new was heard.
//! - `lost` and `sent` are packets, halved in weight every minute, so that a bad hour is forgotten.
//! - Bytes per second are a moving average with a time constant of 5 s; a fast path is not better than one that
//!   nobody uses, so they are no part of the score.

use std::time::{Duration, Instant};

use super::Sample;

/// In this time, what was lost and sent before loses half of its weight.
const HALF_LIFE: Duration = Duration::from_secs(60);
/// The time constant of the rates.
const RATE_WINDOW: Duration = Duration::from_secs(5);
/// A delay that halves the score.
const HALF_DELAY: Duration = Duration::from_millis(400);
/// With fewer packets, one that is lost would say too much.
const PACKETS_MIN: f64 = 10.0;

/// The quality of the way to one peer. See the [module](self) for the formula.
#[derive(Debug, Clone, Default)]
pub struct Quality {
    /// How a connection was when it was looked at last.
    last: Option<(Instant, Sample)>,
    rtt: Option<Duration>,
    deviation: Duration,
    sent_packets: f64,
    lost_packets: f64,
    sent_bytes_s: f64,
    received_bytes_s: f64,
    failed_probes: u32,
}

impl Quality {
    /// Takes note of a connection as it is at `now`. Another connection than before begins with new counters, and keeps what
    /// is known of the way.
    pub fn handle_sample(&mut self, now: Instant, new: &Sample) {
        let last = self.last.replace((now, new.clone())).filter(|(_, last)| last.connection == new.connection);
        if last.as_ref().is_none_or(|(_, last)| new.heard > last.heard) {
            self.handle_rtt(new.rtt);
        }
        let Some((at, last)) = last else { return };
        let passed = now.saturating_duration_since(at).as_secs_f64();
        let keep = 0.5_f64.powf(passed / HALF_LIFE.as_secs_f64());
        let sent = new.sent_packets.saturating_sub(last.sent_packets) as f64;
        let lost = new.lost_packets.saturating_sub(last.lost_packets) as f64;
        self.sent_packets = self.sent_packets * keep + sent;
        self.lost_packets = self.lost_packets * keep + lost;
        if passed > 0.0 {
            let weight = 1.0 - (-passed / RATE_WINDOW.as_secs_f64()).exp();
            let rate = |old: f64, bytes: u64| old + weight * (bytes as f64 / passed - old);
            self.sent_bytes_s = rate(self.sent_bytes_s, new.sent_bytes.saturating_sub(last.sent_bytes));
            self.received_bytes_s = rate(self.received_bytes_s, new.received_bytes.saturating_sub(last.received_bytes));
        }
    }

    /// Takes note of how many probes in a row were not answered; 0 when the peer was heard.
    pub fn handle_failures(&mut self, failed_probes: u32) {
        self.failed_probes = failed_probes;
    }

    /// RFC 6298, section 2: the deviation follows by a quarter.
    fn handle_rtt(&mut self, rtt: Duration) {
        self.deviation = match self.rtt {
            None => rtt / 2,
            Some(old) => (3 * self.deviation + old.abs_diff(rtt)) / 4,
        };
        self.rtt = Some(rtt);
    }

    /// The smoothed round-trip time.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// How much it varies.
    pub fn rtt_deviation(&self) -> Option<Duration> {
        self.rtt.map(|_| self.deviation)
    }

    /// Packets that were lost, 0 to 100; none before enough were sent.
    pub fn loss_percent(&self) -> Option<f32> {
        let percent = || (100.0 * self.lost_packets / self.sent_packets).min(100.0) as f32;
        (self.sent_packets >= PACKETS_MIN).then(percent)
    }

    /// Bytes of UDP payload that were sent in a second, lately.
    pub fn sent_bytes_s(&self) -> u64 {
        self.sent_bytes_s as u64
    }

    /// Bytes of UDP payload that were received in a second, lately.
    pub fn received_bytes_s(&self) -> u64 {
        self.received_bytes_s as u64
    }

    /// 0 to 100; none before the first sample.
    pub fn score(&self) -> Option<u8> {
        let delay = (self.rtt? + 2 * self.deviation).as_secs_f64() / HALF_DELAY.as_secs_f64();
        let loss = f64::from(self.loss_percent().unwrap_or(0.0)) / 100.0;
        let answers = 0.8_f64.powi(self.failed_probes.min(100) as i32);
        Some((100.0 / (1.0 + delay) * (1.0 - loss).powi(4) * answers).round() as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::NodeId;

    fn sample(heard: Instant, rtt_ms: u64, packets: (u64, u64), bytes: (u64, u64)) -> Sample {
        Sample {
            node: NodeId([1; 32]),
            connection: 1,
            heard,
            rtt: Duration::from_millis(rtt_ms),
            sent_packets: packets.0,
            lost_packets: packets.1,
            sent_bytes: bytes.0,
            received_bytes: bytes.1,
        }
    }

    /// A peer with this round trip and loss, looked at every second.
    fn settled(rtt_ms: u64, loss_percent: u64) -> Quality {
        let (start, mut quality) = (crate::clock::now(), Quality::default());
        for second in 0..60 {
            let now = start + Duration::from_secs(second);
            quality.handle_sample(now, &sample(now, rtt_ms, (100 * second, loss_percent * second), (0, 0)));
        }
        quality
    }

    #[test]
    fn the_score_is_what_the_formula_says() {
        assert_eq!(Quality::default().score(), None);
        for (rtt_ms, loss, score) in [(0, 0, 100), (10, 0, 98), (100, 0, 80), (400, 0, 50), (0, 20, 41), (100, 5, 65)] {
            assert_eq!(settled(rtt_ms, loss).score(), Some(score), "{rtt_ms} ms, {loss} %");
        }
        assert_eq!(settled(0, 100).score(), Some(0));
        let mut quality = settled(0, 0);
        for (failed, score) in [(1, 80), (5, 33), (20, 1), (u32::MAX, 0), (0, 100)] {
            quality.handle_failures(failed);
            assert_eq!(quality.score(), Some(score), "{failed} failed probes count at once");
        }
    }

    #[test]
    fn the_deviation_follows_the_round_trip_when_something_was_heard() {
        let (start, mut quality) = (crate::clock::now(), Quality::default());
        quality.handle_sample(start, &sample(start, 100, (1, 0), (0, 0)));
        assert_eq!(quality.rtt_deviation(), Some(Duration::from_millis(50)));
        // Nothing new: the old measurement is no second one.
        quality.handle_sample(start + Duration::from_secs(1), &sample(start, 100, (2, 0), (0, 0)));
        assert_eq!(quality.rtt_deviation(), Some(Duration::from_millis(50)));
        let now = start + Duration::from_secs(2);
        quality.handle_sample(now, &sample(now, 300, (3, 0), (0, 0)));
        assert_eq!(quality.rtt(), Some(Duration::from_millis(300)));
        assert_eq!(quality.rtt_deviation(), Some(Duration::from_micros((3 * 50_000 + 200_000) / 4)));
    }

    #[test]
    fn loss_is_forgotten_and_few_packets_say_nothing() {
        let (start, mut quality) = (crate::clock::now(), Quality::default());
        quality.handle_sample(start, &sample(start, 1, (0, 0), (0, 0)));
        quality.handle_sample(start, &sample(start, 1, (9, 9), (0, 0)));
        assert_eq!(quality.loss_percent(), None);
        quality.handle_sample(start, &sample(start, 1, (100, 50), (0, 0)));
        assert_eq!(quality.loss_percent(), Some(50.0));
        let later = start + HALF_LIFE;
        quality.handle_sample(later, &sample(later, 1, (150, 50), (0, 0)));
        assert_eq!(quality.loss_percent(), Some(25.0), "half of 50 lost; half of 100 and 50 sent");
    }

    #[test]
    fn rates_follow_and_a_new_connection_begins_anew() {
        let (start, mut quality) = (crate::clock::now(), Quality::default());
        for second in 0..=60 {
            let now = start + Duration::from_secs(second);
            quality.handle_sample(now, &sample(now, 1, (0, 0), (1000 * second, 500 * second)));
        }
        assert!((990..=1000).contains(&quality.sent_bytes_s()), "{}", quality.sent_bytes_s());
        assert!((490..=500).contains(&quality.received_bytes_s()));
        let now = start + Duration::from_secs(61);
        quality.handle_sample(now, &Sample { connection: 2, ..sample(now, 1, (5, 5), (9_000_000, 0)) });
        assert!(quality.sent_bytes_s() <= 1000, "what it carried before is not of this second");
        // Counters that run backwards are no reason to fall over.
        quality.handle_sample(now, &Sample { connection: 2, ..sample(now, 1, (0, 0), (0, 0)) });
        assert_eq!(quality.score(), Some(100));
    }
}
