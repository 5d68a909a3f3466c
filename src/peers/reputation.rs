//! What a peer is known for: a score of its own conduct towards this node. What others say of it counts for nothing, so no
//! peer can lower another's.
//!
//! The score goes from -100 to 100. It begins at 0 and decays towards 0 with a half-life of an hour:
//!
//! | conduct | score |
//! |---|---|
//! | verified bytes | +1 for each 16 MiB |
//! | a request that was not answered in time | -2 |
//! | a broken rule of a protocol | -20 |
//! | corrupt data | -25 |
//!
//! Merits soften what follows, but do not pay for it: whoever sends corrupt data or breaks a rule begins at 25 at most,
//! however much it has sent. Below -20 a peer comes last and gets less; at -60 it is banned for ten minutes, twice as long
//! each time again, up to a day. After a ban it is on probation at -25. Of bans it has served, one is forgotten for each day
//! without another. So a peer whose disk rots is kept off for some minutes at first, and one that does nothing but harm costs
//! at most four corrupt pieces a ban.

use std::time::{Duration, Instant};

use super::Conduct;

/// In this time the score loses half of itself.
const HALF_LIFE: Duration = Duration::from_secs(3600);
/// Below it a peer is throttled.
const THROTTLED: f32 = -20.0;
/// At it, or below, a peer is banned.
const BANNED: f32 = -60.0;
/// Where it begins after a ban.
const PROBATION: f32 = -25.0;
/// What is left of merits when a peer does harm.
const CREDIT: f32 = 25.0;
/// The first ban.
const BAN: Duration = Duration::from_secs(10 * 60);
/// The longest ban.
const BAN_LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Time without a ban after which one is forgotten.
const BAN_FORGOTTEN: Duration = Duration::from_secs(24 * 3600);
/// Verified bytes that are worth one point.
const BYTES_PER_POINT: f32 = 16.0 * 1024.0 * 1024.0;

/// What a peer may expect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// What everybody gets.
    Good,
    /// Less than that.
    Throttled,
    /// Nothing before then.
    Banned { until: Instant },
}

/// What one peer is known for. See the [module](self) for the rules.
#[derive(Debug, Clone)]
pub struct Reputation {
    /// As of `at`.
    score: f32,
    at: Instant,
    /// When the last ban ends, or has ended.
    ban_end: Option<Instant>,
    /// Bans up to then that were not forgotten.
    bans: u32,
}

impl Reputation {
    /// A peer with what is remembered of it: its score (0 for nobody in particular; out of bounds is brought within), and
    /// what is left of its ban.
    pub fn new(now: Instant, score: f32, banned_for: Duration) -> Self {
        let score = if score.is_nan() { 0.0 } else { score.clamp(-100.0, 100.0) };
        let ban_end = (!banned_for.is_zero()).then(|| now + banned_for.min(BAN_LONGEST));
        Self { score, at: ban_end.unwrap_or(now), ban_end, bans: u32::from(ban_end.is_some()) }
    }

    /// Takes note of what the peer did. What is told of it while it is banned happened before, and was paid for.
    pub fn handle_conduct(&mut self, now: Instant, conduct: Conduct) {
        if matches!(self.standing(now), Standing::Banned { .. }) {
            return;
        }
        let score = self.score(now);
        let score = match conduct {
            Conduct::Verified { bytes } => score + bytes as f32 / BYTES_PER_POINT,
            Conduct::Timeout => score - 2.0,
            Conduct::Violation => score.min(CREDIT) - 20.0,
            Conduct::Corrupt => score.min(CREDIT) - 25.0,
        };
        (self.score, self.at) = (score.clamp(-100.0, 100.0), now);
        if self.score <= BANNED {
            self.ban(now);
        }
    }

    fn ban(&mut self, now: Instant) {
        if let Some(end) = self.ban_end {
            let forgotten = now.saturating_duration_since(end).as_secs() / BAN_FORGOTTEN.as_secs();
            self.bans = self.bans.saturating_sub(u32::try_from(forgotten).unwrap_or(u32::MAX));
        }
        let end = now + BAN.saturating_mul(1 << self.bans.min(16)).min(BAN_LONGEST);
        self.bans = self.bans.saturating_add(1);
        self.ban_end = Some(end);
        // Its score waits until the ban is over.
        (self.score, self.at) = (PROBATION, end);
    }

    /// -100 to 100.
    pub fn score(&self, now: Instant) -> f32 {
        let passed = now.saturating_duration_since(self.at).as_secs_f32();
        self.score * 0.5_f32.powf(passed / HALF_LIFE.as_secs_f32())
    }

    /// What the peer may expect at `now`.
    pub fn standing(&self, now: Instant) -> Standing {
        match self.ban_end {
            Some(until) if until > now => Standing::Banned { until },
            _ if self.score(now) < THROTTLED => Standing::Throttled,
            _ => Standing::Good,
        }
    }

    /// Forgets everything, at a person's wish.
    pub fn reset(&mut self, now: Instant) {
        *self = Self::new(now, 0.0, Duration::ZERO);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn stranger() -> (Reputation, Instant) {
        let now = crate::clock::now();
        (Reputation::new(now, 0.0, Duration::ZERO), now)
    }

    /// Lets it send corrupt data until it is banned; returns how often it could, and until when the ban lasts.
    fn harm(reputation: &mut Reputation, now: Instant) -> (u32, Instant) {
        for count in 1..100 {
            reputation.handle_conduct(now, Conduct::Corrupt);
            if let Standing::Banned { until } = reputation.standing(now) {
                return (count, until);
            }
        }
        panic!("it is never banned: {reputation:?}");
    }

    #[test]
    fn the_score_follows_conduct_and_decays_towards_nothing() {
        let (mut reputation, now) = stranger();
        reputation.handle_conduct(now, Conduct::Verified { bytes: 640 * MIB });
        assert_eq!(reputation.score(now), 40.0);
        assert_eq!(reputation.score(now + HALF_LIFE), 20.0);
        reputation.handle_conduct(now + HALF_LIFE, Conduct::Timeout);
        assert_eq!(reputation.score(now + HALF_LIFE), 18.0);
        reputation.handle_conduct(now, Conduct::Verified { bytes: u64::MAX });
        assert_eq!(reputation.score(now), 100.0);
        assert_eq!(reputation.standing(now), Standing::Good);
    }

    #[test]
    fn harm_is_throttled_then_banned_whatever_was_before() {
        let (mut reputation, now) = stranger();
        reputation.handle_conduct(now, Conduct::Violation);
        assert_eq!(reputation.standing(now), Standing::Good, "once may be a mistake");
        reputation.handle_conduct(now, Conduct::Violation);
        assert_eq!(reputation.standing(now), Standing::Throttled);
        reputation.handle_conduct(now, Conduct::Violation);
        assert_eq!(reputation.standing(now), Standing::Banned { until: now + BAN });
        let (mut reputation, now) = stranger();
        assert_eq!(harm(&mut reputation, now).0, 3);
        let (mut reputation, now) = stranger();
        reputation.handle_conduct(now, Conduct::Verified { bytes: u64::MAX });
        assert_eq!(harm(&mut reputation, now).0, 4, "merits buy one");
    }

    #[test]
    fn bans_end_grow_are_bounded_and_forgotten() {
        let (mut reputation, mut now) = stranger();
        let mut bans = Vec::new();
        for _ in 0..20 {
            let (_, until) = harm(&mut reputation, now);
            bans.push(until - now);
            reputation.handle_conduct(now, Conduct::Corrupt);
            assert_eq!(reputation.standing(now), Standing::Banned { until }, "what is under way was paid for");
            now = until;
            assert_eq!(reputation.standing(now), Standing::Throttled, "on probation");
        }
        assert_eq!(bans[..3], [BAN, 2 * BAN, 4 * BAN]);
        assert_eq!(bans[19], BAN_LONGEST);
        assert_eq!(reputation.standing(now + HALF_LIFE), Standing::Good);
        now += 18 * BAN_FORGOTTEN;
        assert_eq!(harm(&mut reputation, now).1, now + 4 * BAN, "two of twenty are left");
        now += 100 * BAN_FORGOTTEN;
        assert_eq!(harm(&mut reputation, now).1, now + BAN);
    }

    #[test]
    fn what_is_remembered_may_be_anything() {
        let now = crate::clock::now();
        for (score, is) in [(f32::NAN, 0.0), (f32::INFINITY, 100.0), (-1e9, -100.0), (12.0, 12.0)] {
            assert_eq!(Reputation::new(now, score, Duration::ZERO).score(now), is);
        }
        let mut banned = Reputation::new(now, -25.0, Duration::MAX);
        assert_eq!(banned.standing(now), Standing::Banned { until: now + BAN_LONGEST });
        assert_eq!(banned.score(now + BAN_LONGEST), -25.0);
        let again = now + BAN_LONGEST;
        assert_eq!(harm(&mut banned, again).1, again + 2 * BAN, "it is not the first");
        banned.reset(again);
        assert_eq!((banned.standing(again), banned.score(again)), (Standing::Good, 0.0));
    }
}
