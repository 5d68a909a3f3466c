//! When to try again: exponential backoff with full jitter
//! (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).

use std::time::Duration;

/// Before the first retry, at most.
const BASE: Duration = Duration::from_secs(1);
/// Between any two retries, at most.
const CAP: Duration = Duration::from_secs(60);
/// Never sooner, so that retries cannot spin.
const FLOOR: Duration = Duration::from_millis(100);

/// How long to wait after `failures` failures in a row (1 or more): a random part of a ceiling that doubles up to [`CAP`].
pub fn delay(failures: u32, rng: &mut fastrand::Rng) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let ceiling = BASE.saturating_mul(1 << doublings).min(CAP);
    ceiling.mul_f64(rng.f64()).max(FLOOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_jitters_and_stays_within_its_bounds() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut longest = |failures| (0..1000).map(|_| delay(failures, &mut rng)).max().unwrap();
        assert!(longest(1) <= BASE && longest(1) > BASE / 2);
        assert!(longest(3) <= BASE * 4 && longest(3) > BASE * 3);
        assert!(longest(u32::MAX) <= CAP && longest(u32::MAX) > CAP / 2);
        assert!((0..1000).all(|_| delay(1, &mut rng) >= FLOOR));
    }
}
