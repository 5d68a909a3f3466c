//! When to try again: exponential backoff with full jitter
//! (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).

use std::time::Duration;

/// Never sooner, so that retries cannot spin.
const FLOOR: Duration = Duration::from_millis(100);

/// How a peer that is missing is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconnect {
    /// Before the first retry, at most; it doubles with each.
    pub first: Duration,
    /// Between any two retries, at most.
    pub longest: Duration,
    /// After so many failures in a row a peer is given up for now.
    pub attempts: u32,
    /// Between two tries of a peer that was given up: the slow lane.
    pub slow: Duration,
}

impl Reconnect {
    /// How long to wait after `failures` failures in a row (1 or more): a random part of a ceiling that doubles up to
    /// `longest`; in the slow lane about `slow`.
    pub fn delay(&self, failures: u32, rng: &mut fastrand::Rng) -> Duration {
        if self.is_given_up(failures) {
            return self.slow_delay(rng);
        }
        let doublings = failures.saturating_sub(1).min(16);
        let ceiling = self.first.saturating_mul(1 << doublings).min(self.longest);
        ceiling.mul_f64(rng.f64()).max(FLOOR)
    }

    /// `slow`, give or take half of it: where many wait, one of them tries before long.
    pub fn slow_delay(&self, rng: &mut fastrand::Rng) -> Duration {
        self.slow.mul_f64(0.5 + rng.f64()).max(FLOOR)
    }

    /// Whether a peer is given up for now.
    pub fn is_given_up(&self, failures: u32) -> bool {
        failures >= self.attempts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const RECONNECT: Reconnect =
        Reconnect { first: SECOND, longest: Duration::from_secs(20), attempts: 10, slow: Duration::from_secs(300) };

    #[test]
    fn grows_jitters_and_stays_within_its_bounds() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut longest = |failures| (0..1000).map(|_| RECONNECT.delay(failures, &mut rng)).max().unwrap();
        assert!(longest(1) <= SECOND && longest(1) > SECOND / 2);
        assert!(longest(3) <= SECOND * 4 && longest(3) > SECOND * 3);
        assert!(longest(9) <= RECONNECT.longest && longest(9) > RECONNECT.longest / 2);
        assert!((0..1000).all(|_| RECONNECT.delay(1, &mut rng) >= FLOOR));
        let forever = Reconnect { attempts: u32::MAX, ..RECONNECT };
        assert!((0..1000).all(|_| forever.delay(u32::MAX - 1, &mut rng) <= RECONNECT.longest));
    }

    #[test]
    fn whoever_is_given_up_is_tried_in_the_slow_lane() {
        let mut rng = fastrand::Rng::with_seed(1);
        assert!(!RECONNECT.is_given_up(9) && RECONNECT.is_given_up(10));
        let delays: Vec<_> = (0..1000).map(|_| RECONNECT.delay(10, &mut rng)).collect();
        assert!(delays.iter().all(|delay| (SECOND * 150..=SECOND * 450).contains(delay)));
        let mean = delays.iter().sum::<Duration>() / 1000;
        assert!((SECOND * 285..SECOND * 315).contains(&mean), "{mean:?}");
    }
}
