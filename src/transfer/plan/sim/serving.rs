//! What a server does: slots, and frames that leave one after the other.

use std::time::Duration;

use super::{Action, Frame, Number, Ranges, Slots, Swarm, groups_in};
use crate::limits::{GROUP_BYTES, transfer::BUSY_RETRY_MS, wire::DATA_BYTES};

/// Where it keeps its slot, a stream that asks nothing has it for so long.
const SLOT_IDLE: Duration = Duration::from_secs(1);
const BUSY_RETRY: Duration = Duration::from_millis(BUSY_RETRY_MS as u64);
/// Frames of one stream that have left and have not come: the window of a stream.
const ON_THE_WAY: usize = 4;
const FRAME_GROUPS: u64 = DATA_BYTES / GROUP_BYTES;

impl Swarm {
    pub(super) fn handle_asked(&mut self, server: Number, client: Number, call: u32, ranges: &Ranges) {
        if !self.are_connected(server, client) {
            return;
        }
        let taken = self.taken(server);
        let Some(stream) = self.streams.get_mut(&(server, client)).filter(|stream| stream.call == call) else { return };
        if self.policy == Slots::Kept && !stream.has_slot && taken >= self.slots {
            self.schedule(self.delay(server, client), Action::Busy { server, client, call });
            return;
        }
        stream.has_slot |= self.policy == Slots::Kept;
        stream.used = self.now;
        let has = &self.hosts[server].has;
        for range in ranges {
            let mut groups = groups_in(has, range);
            assert_eq!(has.count_in(groups.clone()), groups.end - groups.start, "{server} lacks what it is asked for");
            while !groups.is_empty() {
                let frame = groups.start..groups.end.min((groups.start / FRAME_GROUPS + 1) * FRAME_GROUPS);
                groups.start = frame.end;
                stream.waiting.push_back((frame, false));
            }
        }
        if let Some(last) = stream.waiting.back_mut() {
            last.1 = true;
        }
        self.send_next(server);
    }

    /// Slots of a server that are taken.
    fn taken(&self, server: Number) -> usize {
        let has_slot = |client| self.streams.get(&(server, client)).is_some_and(|stream| stream.has_slot);
        self.hosts[server].neighbours.iter().filter(|client| has_slot(**client)).count()
    }

    pub(super) fn handle_busy(&mut self, server: Number, client: Number, call: u32) {
        let id = self.id(server);
        let Some(stream) = self.streams.get_mut(&(server, client)).filter(|stream| stream.call == call) else { return };
        if stream.busy_until > self.now {
            return;
        }
        stream.busy_until = self.now + BUSY_RETRY;
        if let Some(plan) = &mut self.hosts[client].plan {
            plan.handle_failed(id);
            self.schedule(BUSY_RETRY, Action::Look { client, server: Some(server) });
            self.look_at_all(client);
        }
    }

    /// The client closes a stream, or it breaks.
    pub(super) fn hang_up(&mut self, server: Number, client: Number) {
        if let Some(stream) = self.streams.get_mut(&(server, client)) {
            *stream = super::Stream { call: stream.call + 1, ..super::Stream::default() };
        }
        self.hosts[client].waiting.retain(|waiting| *waiting != server);
        self.give_place(client, server);
    }

    /// A server sends the next frame, of each stream in turn.
    pub(super) fn send_next(&mut self, server: Number) {
        let host = &self.hosts[server];
        if host.is_sending || !host.is_up {
            return;
        }
        let taken = self.taken(server);
        let may_send = |client: &&Number| {
            let stream = self.streams.get(&(server, **client));
            stream.is_some_and(|stream| {
                let may = stream.has_slot || taken < self.slots;
                may && !stream.waiting.is_empty() && stream.on_the_way < ON_THE_WAY
            })
        };
        let mut after = host.neighbours.range(host.served + 1..).chain(host.neighbours.range(..=host.served));
        let Some(client) = after.find(may_send).copied() else { return };
        let Some(stream) = self.streams.get_mut(&(server, client)) else { return };
        let Some((frame, is_last)) = stream.waiting.pop_front() else { return };
        stream.has_slot = self.policy == Slots::Kept || !is_last;
        let call = stream.call;
        stream.on_the_way += 1;
        let host = &mut self.hosts[server];
        (host.served, host.is_sending) = (client, true);
        let bytes = host.has.bytes(&frame);
        let took = Duration::from_secs_f64((bytes.end - bytes.start) as f64 / host.up);
        host.sent_bytes += bytes.end - bytes.start;
        self.schedule(took, Action::Sent { server, client, call, frame });
    }

    pub(super) fn handle_sent(&mut self, server: Number, client: Number, call: u32, frame: Frame) {
        self.hosts[server].is_sending = false;
        if self.are_connected(server, client) {
            let arrives = self.now + self.delay(server, client);
            let host = &mut self.hosts[client];
            let bytes = host.has.bytes(&frame);
            let took = Duration::from_secs_f64((bytes.end - bytes.start) as f64 / host.down);
            host.receives_until = host.receives_until.max(arrives) + took;
            let wait = host.receives_until - self.now;
            self.schedule(wait, Action::Arrived { server, client, call, frame });
        }
        if let Some(stream) = self.streams.get_mut(&(server, client)).filter(|stream| stream.call == call) {
            stream.used = self.now;
            if stream.waiting.is_empty() {
                self.schedule(SLOT_IDLE, Action::Idle { server, client, call });
            }
        }
        self.send_next(server);
    }

    pub(super) fn handle_idle(&mut self, server: Number, client: Number, call: u32) {
        if let Some(stream) = self.streams.get_mut(&(server, client)).filter(|stream| stream.call == call)
            && stream.waiting.is_empty()
            && self.now >= stream.used + SLOT_IDLE
        {
            stream.has_slot = false;
        }
    }
}
