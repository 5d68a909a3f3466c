//! The addresses of one peer, best first.

use crate::limits;

/// An address that was never answered at is forgotten after so many dials that came to nothing.
const TRIES: u32 = 10;
/// One that was, after so many: a week in the slow lane.
const TRIES_PROVEN: u32 = 10_000;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    text: String,
    /// Named in the configuration.
    is_bootstrap: bool,
    /// The peer has answered there.
    is_proven: bool,
    /// Dials in a row that came to nothing.
    failures: u32,
}

/// At most [`ADDRESSES_PER_PEER`](limits::network::ADDRESSES_PER_PEER): first those that the peer has answered at, the last one
/// first; then those that were heard of, the newest first.
#[derive(Debug, Clone, Default)]
pub(super) struct Addresses(Vec<Address>);

impl Addresses {
    /// Adds addresses that somebody told of, or the configuration. Returns whether there was a new one.
    pub(super) fn hear(&mut self, texts: impl IntoIterator<Item = String>, is_bootstrap: bool) -> bool {
        let mut is_news = false;
        let mut at = self.0.iter().take_while(|address| address.is_proven).count();
        for text in texts.into_iter().take(limits::network::ADDRESSES_PER_PEER) {
            if let Some(known) = self.0.iter_mut().find(|known| known.text == text) {
                known.failures = 0;
                known.is_bootstrap |= is_bootstrap;
            } else {
                self.0.insert(at, Address { text, is_bootstrap, is_proven: false, failures: 0 });
                (at, is_news) = (at + 1, true);
            }
        }
        self.shrink();
        is_news
    }

    /// Takes note that the peer answered at an address. Returns whether it was another one before.
    pub(super) fn prove(&mut self, text: &str) -> bool {
        let known = self.0.iter().position(|known| known.text == text).map(|at| self.0.remove(at));
        let is_news = !(known.as_ref().is_some_and(|known| known.is_proven) && self.0.iter().all(|it| !it.is_proven));
        let is_bootstrap = known.is_some_and(|known| known.is_bootstrap);
        self.0.insert(0, Address { text: text.into(), is_bootstrap, is_proven: true, failures: 0 });
        self.shrink();
        is_news
    }

    /// Takes note that nobody answered at any of these, and forgets those that are dead.
    pub(super) fn fail(&mut self, tried: &[String]) {
        for address in self.0.iter_mut().filter(|address| tried.contains(&address.text)) {
            address.failures = address.failures.saturating_add(1);
        }
        let bound = |address: &Address| if address.is_proven { TRIES_PROVEN } else { TRIES };
        self.0.retain(|address| address.is_bootstrap || address.failures < bound(address));
    }

    /// Takes note that somebody else answered at these: those that the peer never answered at are forgotten, the others have
    /// to be proven again.
    pub(super) fn disprove(&mut self, tried: &[String]) {
        self.0.retain(|address| address.is_bootstrap || address.is_proven || !tried.contains(&address.text));
        for address in self.0.iter_mut().filter(|address| tried.contains(&address.text)) {
            address.is_proven = false;
        }
        self.0.sort_by_key(|address| !address.is_proven);
    }

    pub(super) fn clear(&mut self) {
        self.0.retain(|address| address.is_bootstrap);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn is_proven(&self) -> bool {
        self.0.first().is_some_and(|address| address.is_proven)
    }

    /// All, best first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|address| address.text.as_str())
    }

    /// Those that are worth remembering and telling of, best first.
    pub(super) fn proven(&self) -> impl Iterator<Item = &str> {
        let proven = self.0.iter().filter(|address| address.is_proven);
        proven.take(limits::network::ADDRESSES_REMEMBERED).map(|address| address.text.as_str())
    }

    fn shrink(&mut self) {
        while self.0.len() > limits::network::ADDRESSES_PER_PEER {
            let last = self.0.iter().rposition(|address| !address.is_bootstrap);
            self.0.remove(last.unwrap_or(self.0.len() - 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(proven: &[&str], heard: &[&str]) -> Addresses {
        let mut addresses = Addresses::default();
        addresses.hear(heard.iter().map(ToString::to_string), false);
        for text in proven.iter().rev() {
            addresses.prove(text);
        }
        addresses
    }

    fn all(addresses: &Addresses) -> Vec<&str> {
        addresses.iter().collect()
    }

    #[test]
    fn what_proved_good_stays_first() {
        let mut addresses = addresses(&["a", "b"], &["c"]);
        assert!(addresses.hear(["d".into(), "e".into(), "a".into()], false));
        assert_eq!(all(&addresses), ["a", "b", "d", "e", "c"]);
        assert!(!addresses.hear(["d".into()], false), "that is nothing new");
        assert!(addresses.prove("e"));
        assert_eq!(all(&addresses), ["e", "a", "b", "d", "c"]);
        assert_eq!(addresses.proven().collect::<Vec<_>>(), ["e", "a", "b"]);
    }

    #[test]
    fn there_is_a_bound_and_bootstrap_addresses_are_within() {
        let mut addresses = Addresses::default();
        addresses.hear(["boot".into()], true);
        addresses.prove("good");
        for number in 0..100 {
            addresses.hear([number.to_string()], false);
        }
        assert_eq!(addresses.0.len(), limits::network::ADDRESSES_PER_PEER);
        assert_eq!(addresses.iter().next(), Some("good"));
        assert_eq!(addresses.iter().last(), Some("boot"));
        addresses.hear((0..100).map(|number| format!("boot{number}")), true);
        assert_eq!(addresses.0.len(), limits::network::ADDRESSES_PER_PEER);
        addresses.clear();
        assert!(addresses.iter().all(|text| text.starts_with("boot")) && !addresses.is_proven());
    }

    #[test]
    fn dead_addresses_are_forgotten() {
        let mut addresses = addresses(&["good"], &["bad", "other"]);
        addresses.hear(["boot".into()], true);
        let tried: Vec<String> = ["good", "bad", "boot"].map(String::from).into();
        for _ in 1..TRIES {
            addresses.fail(&tried);
        }
        addresses.hear(["bad".into()], false);
        addresses.fail(&tried);
        assert_eq!(all(&addresses).len(), 4, "it was heard of again");
        for _ in 0..TRIES {
            addresses.fail(&tried);
        }
        assert_eq!(all(&addresses), ["good", "boot", "other"]);
        for _ in 0..TRIES_PROVEN {
            addresses.fail(&tried);
        }
        assert_eq!(all(&addresses), ["boot", "other"]);
    }

    #[test]
    fn where_somebody_else_answers_the_peer_is_not() {
        let mut addresses = addresses(&["was", "is"], &["told"]);
        addresses.disprove(&["was".into(), "told".into()]);
        assert_eq!(all(&addresses), ["is", "was"]);
        assert_eq!(addresses.proven().collect::<Vec<_>>(), ["is"]);
        addresses.disprove(&["was".into(), "is".into()]);
        assert!(!addresses.is_proven());
    }
}
