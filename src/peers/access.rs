//! Who may connect, by the lists of people, by what was learned, and by who is banned: what makes an [`Admission`].

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use thiserror::Error;

use super::{Admission, Lists, Options, Why};
use crate::{config::Auth, content::NodeId, limits, status};

/// A list has as many peers as it holds ([`KNOWN_PEERS`](limits::network::KNOWN_PEERS)). Nothing was changed; forget some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the list is full: forget some of its {} peers first", limits::network::KNOWN_PEERS)]
pub struct ListFull;

/// The lists, and what follows from them.
#[derive(Debug)]
pub(super) struct Access {
    lists: Lists,
    /// Until when.
    bans: BTreeMap<NodeId, Instant>,
    admission: Arc<Admission>,
    is_learning: bool,
    have_lists_changed: bool,
}

impl Access {
    pub(super) fn new(options: &Options, mut lists: Lists) -> Self {
        let bound = limits::network::KNOWN_PEERS;
        lists.allowed = lists.allowed.into_iter().take(bound).collect();
        lists.denied = lists.denied.into_iter().take(bound).collect();
        let mut access = Self {
            lists,
            bans: BTreeMap::new(),
            admission: Arc::default(),
            is_learning: false,
            have_lists_changed: false,
        };
        access.update(options);
        access
    }

    pub(super) fn lists(&self) -> &Lists {
        &self.lists
    }

    /// Whom the network is to let in.
    pub(super) fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    /// Makes the admission anew. Returns whether it is another one.
    pub(super) fn update(&mut self, options: &Options) -> bool {
        self.is_learning = options.auth == Auth::Learn && !self.lists.locked;
        let admission = Admission {
            open: options.auth == Auth::Open || self.is_learning,
            allowed: &self.lists.allowed | &options.allow,
            denied: &self.lists.denied | &options.deny,
            banned: self.bans.keys().copied().collect(),
        };
        let is_new = admission != *self.admission;
        if is_new {
            self.admission = Arc::new(admission);
        }
        is_new
    }

    pub(super) fn check(&self, node: &NodeId) -> Result<(), Why> {
        self.admission.check(node)
    }

    pub(super) fn allow(&mut self, node: NodeId) -> Result<(), ListFull> {
        if !self.lists.allowed.contains(&node) && self.lists.allowed.len() >= limits::network::KNOWN_PEERS {
            return Err(ListFull);
        }
        self.have_lists_changed |= self.lists.denied.remove(&node) | self.lists.allowed.insert(node);
        Ok(())
    }

    pub(super) fn deny(&mut self, node: NodeId) -> Result<(), ListFull> {
        if !self.lists.denied.contains(&node) && self.lists.denied.len() >= limits::network::KNOWN_PEERS {
            return Err(ListFull);
        }
        self.have_lists_changed |= self.lists.allowed.remove(&node) | self.lists.denied.insert(node);
        Ok(())
    }

    pub(super) fn forget(&mut self, node: NodeId) {
        self.bans.remove(&node);
        self.have_lists_changed |= self.lists.allowed.remove(&node) | self.lists.denied.remove(&node);
    }

    /// Ends learning: who is not allowed by now stays outside.
    pub(super) fn lock(&mut self) {
        self.have_lists_changed |= !self.lists.locked;
        self.lists.locked = true;
    }

    /// Writes down a peer that was let in, while the node learns. Returns whether it was new.
    pub(super) fn learn(&mut self, node: NodeId) -> bool {
        let is_new = self.is_learning && !self.admission.allowed.contains(&node);
        is_new && self.allow(node).is_ok()
    }

    /// Keeps a peer out until then. With too many of them, the one that is over first is lifted.
    pub(super) fn ban(&mut self, node: NodeId, until: Instant) {
        self.bans.insert(node, until);
        if self.bans.len() > limits::network::KNOWN_PEERS {
            let first = self.bans.iter().min_by_key(|(_, until)| **until).map(|(node, _)| *node);
            first.map(|node| self.bans.remove(&node));
        }
    }

    /// Ends a ban. Returns whether there was one.
    pub(super) fn pardon(&mut self, node: NodeId) -> bool {
        self.bans.remove(&node).is_some()
    }

    /// Until when a peer is banned.
    pub(super) fn banned_until(&self, node: &NodeId) -> Option<Instant> {
        self.bans.get(node).copied()
    }

    /// When the next ban is over.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.bans.values().min().copied()
    }

    /// Ends what bans are over; returns whose.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Vec<NodeId> {
        let over: Vec<_> = self.bans.iter().filter(|(_, until)| **until <= now).map(|(node, _)| *node).collect();
        for node in &over {
            self.bans.remove(node);
        }
        over
    }

    /// What people are shown.
    pub(super) fn status(&self, node: &NodeId) -> status::Access {
        match &*self.admission {
            admission if admission.denied.contains(node) => status::Access::Denied,
            admission if admission.allowed.contains(node) => status::Access::Allowed,
            _ => status::Access::Unlisted,
        }
    }

    /// Whether the lists have changed since this was asked last.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.have_lists_changed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ME: NodeId = NodeId([0; 32]);
    const A: NodeId = NodeId([1; 32]);
    const B: NodeId = NodeId([2; 32]);
    const C: NodeId = NodeId([3; 32]);

    fn options(auth: Auth) -> Options {
        Options { auth, ..Options::new(ME, 1) }
    }

    #[test]
    fn each_way_of_admitting_does_what_it_says() {
        for (auth, stranger, locked) in [
            (Auth::Open, Ok(()), Ok(())),
            (Auth::Learn, Ok(()), Err(Why::NotAllowed)),
            (Auth::Allowlist, Err(Why::NotAllowed), Err(Why::NotAllowed)),
        ] {
            let options = options(auth);
            let mut access = Access::new(&options, Lists::default());
            assert_eq!(access.check(&A), stranger, "{auth:?}");
            access.allow(B).unwrap();
            access.deny(C).unwrap();
            assert!(access.update(&options));
            assert_eq!((access.check(&B), access.check(&C)), (Ok(()), Err(Why::NotAllowed)), "{auth:?}");
            access.lock();
            access.update(&options);
            assert_eq!((access.check(&A), access.check(&B)), (locked, Ok(())), "{auth:?}");
            assert!(access.take_changed() && !access.take_changed());
            assert!(!access.update(&options), "nothing is new");
        }
    }

    #[test]
    fn an_emptied_allowlist_admits_nobody() {
        let mut options = options(Auth::Allowlist);
        options.allow = [A].into();
        let mut access = Access::new(&options, Lists { allowed: [B].into(), ..Lists::default() });
        assert_eq!((access.check(&A), access.check(&B)), (Ok(()), Ok(())));
        access.forget(B);
        options.allow.clear();
        assert!(access.update(&options));
        assert_eq!((access.check(&A), access.check(&B)), (Err(Why::NotAllowed), Err(Why::NotAllowed)));
    }

    #[test]
    fn what_is_denied_is_denied_whatever_else_is_said() {
        let mut options = options(Auth::Open);
        (options.allow, options.deny) = ([A, B].into(), [A].into());
        let mut access = Access::new(&options, Lists { allowed: [A].into(), ..Lists::default() });
        access.deny(B).unwrap();
        access.update(&options);
        assert_eq!((access.check(&A), access.check(&B)), (Err(Why::NotAllowed), Err(Why::NotAllowed)));
        assert_eq!(
            [A, B, C].map(|node| access.status(&node)),
            [status::Access::Denied, status::Access::Denied, status::Access::Unlisted]
        );
        access.allow(B).unwrap();
        access.update(&options);
        assert_eq!((access.check(&B), access.status(&B)), (Ok(()), status::Access::Allowed));
    }

    #[test]
    fn learning_writes_down_who_comes_until_it_is_over() {
        let options = options(Auth::Learn);
        let mut access = Access::new(&options, Lists::default());
        assert!(access.learn(A) && access.take_changed());
        access.update(&options);
        assert!(!access.learn(A) && !access.take_changed(), "it is known by now");
        access.lock();
        access.update(&options);
        assert!(!access.learn(B));
        assert_eq!((access.check(&A), access.check(&B)), (Ok(()), Err(Why::NotAllowed)));
        assert!(access.lists().locked);
    }

    #[test]
    fn the_lists_are_bounded() {
        let node = |number: usize| {
            let mut key = [9; 32];
            key[..8].copy_from_slice(&(number as u64).to_be_bytes());
            NodeId(key)
        };
        let options = options(Auth::Learn);
        let bound = limits::network::KNOWN_PEERS;
        let lists = Lists { allowed: (0..2 * bound).map(node).collect(), ..Lists::default() };
        let mut access = Access::new(&options, lists);
        assert_eq!(access.lists().allowed.len(), bound);
        assert_eq!(access.allow(node(bound)), Err(ListFull));
        assert_eq!(access.allow(node(0)), Ok(()), "it stands there already");
        assert!(!access.learn(A));
        for number in 0..bound {
            access.deny(node(number)).unwrap();
        }
        assert_eq!((access.lists().allowed.len(), access.deny(A)), (0, Err(ListFull)));
        let now = crate::clock::now();
        for number in 0..=bound {
            access.ban(node(number), now + Duration::from_secs(1 + number as u64));
        }
        assert_eq!((access.bans.len(), access.banned_until(&node(0))), (bound, None), "the one that is over first");
    }

    #[test]
    fn a_ban_ends_when_its_time_is_over_or_by_pardon() {
        let now = crate::clock::now();
        let options = options(Auth::Open);
        let mut access = Access::new(&options, Lists::default());
        assert_eq!(access.next_timeout(), None);
        access.ban(A, now + Duration::from_secs(1));
        access.ban(B, now + Duration::from_secs(2));
        access.update(&options);
        assert_eq!((access.check(&A), access.check(&C)), (Err(Why::Banned), Ok(())));
        assert_eq!(access.handle_timeout(access.next_timeout().unwrap()), [A]);
        assert!(access.pardon(B) && !access.pardon(B));
        assert!(access.update(&options));
        assert_eq!((access.check(&A), access.check(&B)), (Ok(()), Ok(())));
        assert!(!access.take_changed(), "bans are no lists");
    }
}
