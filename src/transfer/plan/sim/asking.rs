//! What a client does: it asks for what its plan says, on the streams that it has places for.

use std::time::Duration;

use super::{super::Next, Action, Number, Swarm};
use crate::limits::transfer::TURN_MS;

const TURN: Duration = Duration::from_millis(TURN_MS);

impl Swarm {
    pub(super) fn look_at_all(&mut self, client: Number) {
        for server in self.hosts[client].neighbours.clone() {
            self.look(client, server);
        }
    }

    /// A client asks a server for all that its plan says, and for which there is a place.
    pub(super) fn look(&mut self, client: Number, server: Number) {
        if self.may_ask(client, server) {
            self.ask(client, server);
        }
        self.give_place(client, server);
    }

    fn ask(&mut self, client: Number, server: Number) {
        let (id, now) = (self.id(server), self.instant());
        let stream = self.streams.entry((server, client)).or_default();
        if stream.busy_until > self.now || !self.hosts[client].neighbours.contains(&server) {
            return;
        }
        let call = stream.call;
        while let host = &mut self.hosts[client]
            && let Some(plan) = &mut host.plan
        {
            match plan.next_request(now, id) {
                Next::Ask(_) if !host.places.contains_key(&server) => {
                    plan.handle_failed(id);
                    return self.wait_for_place(client, server);
                }
                Next::Ask(ranges) => {
                    let (delay, ranges) = (self.delay(client, server), Box::new(ranges));
                    self.schedule(delay, Action::Asked { server, client, call, ranges });
                }
                Next::Wait { until: Some(until) } => {
                    let at = until - self.origin;
                    if self.hosts[client].looks_at.is_none_or(|planned| planned > at) {
                        self.hosts[client].looks_at = Some(at);
                        self.schedule(at.saturating_sub(self.now), Action::Look { client, server: None });
                    }
                    return;
                }
                Next::Wait { until: None } | Next::Done => return,
            }
        }
    }

    /// Takes a place if one is free. Whether something may be asked, if there is a place.
    fn may_ask(&mut self, client: Number, server: Number) -> bool {
        let host = &mut self.hosts[client];
        if let Some(since) = host.places.get(&server) {
            return host.waiting.is_empty() || self.now < *since + TURN;
        }
        if host.places.len() < self.places && host.waiting.is_empty() {
            host.places.insert(server, self.now);
        }
        true
    }

    fn wait_for_place(&mut self, client: Number, server: Number) {
        let waiting = &mut self.hosts[client].waiting;
        if !waiting.contains(&server) {
            waiting.push_back(server);
        }
    }

    /// Gives a place to whoever has waited longest, if nothing is owed on it.
    pub(super) fn give_place(&mut self, client: Number, server: Number) {
        let id = self.id(server);
        let host = &mut self.hosts[client];
        let is_owed = host.plan.as_ref().and_then(|plan| plan.sources.get(&id)).is_some_and(|it| it.asked_groups() > 0);
        if !is_owed
            && host.places.remove(&server).is_some()
            && let Some(next) = host.waiting.pop_front()
        {
            host.places.insert(next, self.now);
            self.schedule(Duration::ZERO, Action::Look { client, server: Some(next) });
        }
    }
}
