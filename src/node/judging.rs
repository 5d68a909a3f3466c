//! Hands what peers did to who judges them.

use std::{sync::Arc, time::Duration};

use smol::Timer;

use super::state::State;
use crate::{
    content::NodeId,
    library::follow::Deed,
    limits::peers::{CONDUCT_MS, CONDUCT_OF_A_KIND},
    peers::{Conduct, Event},
};

/// For as long as the node runs; nothing happens while no peer does anything.
pub(super) async fn run(state: Arc<State>) {
    loop {
        state.follower.deeds().any().await;
        // What is verified comes thousands of times a second.
        Timer::after(Duration::from_millis(CONDUCT_MS)).await;
        for (node, deed) in state.follower.deeds().take() {
            state.peering.judge(events(node, deed));
        }
    }
}

fn events(node: NodeId, deed: Deed) -> impl Iterator<Item = Event> {
    let verified = (deed.verified_bytes > 0).then_some(Conduct::Verified { bytes: deed.verified_bytes });
    let times = |count: u32, conduct| std::iter::repeat_n(conduct, count.min(CONDUCT_OF_A_KIND) as usize);
    verified
        .into_iter()
        .chain(times(deed.corrupt, Conduct::Corrupt))
        .chain(times(deed.violations, Conduct::Violation))
        .chain(times(deed.timeouts, Conduct::Timeout))
        .map(move |conduct| Event::Behaved { node, conduct })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deeds_become_events_and_stay_few() {
        let node = NodeId([1; 32]);
        let told = |deed| events(node, deed).collect::<Vec<_>>();
        assert_eq!(told(Deed::default()), []);
        let deed = Deed { verified_bytes: 7, corrupt: 1, violations: 2, timeouts: 0 };
        let kinds = [Conduct::Verified { bytes: 7 }, Conduct::Corrupt, Conduct::Violation, Conduct::Violation];
        assert_eq!(told(deed), kinds.map(|conduct| Event::Behaved { node, conduct }));
        let many = Deed { corrupt: u32::MAX, violations: u32::MAX, timeouts: u32::MAX, ..deed };
        assert_eq!(told(many).len(), 1 + 3 * CONDUCT_OF_A_KIND as usize);
    }
}
