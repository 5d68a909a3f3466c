//! Places for the streams that large blobs arrive on: they bound the memory that all of them together fill. What readers wait for
//! comes first.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use smol::channel::{Receiver, Sender, bounded};

use crate::{clock, limits::transfer::TURN_MS};

/// So many streams receive at a time; the others wait for their turn, first come, first served; those that readers wait for
/// before the others.
pub struct Places(Mutex<Queue>);

struct Queue {
    /// None, while anybody waits.
    free: usize,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    turn: Sender<()>,
    has_readers: bool,
}

/// One of them; dropping it gives it to whoever has waited longest.
pub(super) struct Place<'a> {
    of: &'a Places,
    since: Instant,
}

impl Places {
    /// So many places.
    pub fn new(places: usize) -> Self {
        Self(Mutex::new(Queue { free: places, waiting: VecDeque::new() }))
    }

    pub(super) fn try_take(&self) -> Option<Place<'_>> {
        let mut queue = self.queue();
        queue.free = queue.free.checked_sub(1)?;
        Some(self.place())
    }

    pub(super) async fn take(&self, has_readers: bool) -> Place<'_> {
        let receiver = {
            // One look: a place that is given back in between would wait for nobody.
            let mut queue = self.queue();
            if let Some(free) = queue.free.checked_sub(1) {
                queue.free = free;
                return self.place();
            }
            let (turn, receiver) = bounded(1);
            let at = if has_readers { queue.waiting.partition_point(|it| it.has_readers) } else { queue.waiting.len() };
            queue.waiting.insert(at, Waiting { turn, has_readers });
            receiver
        };
        let ticket = Ticket { of: self, receiver };
        // The queue keeps the other end until it sends.
        let _ = ticket.receiver.recv().await;
        self.place()
    }

    fn place(&self) -> Place<'_> {
        Place { of: self, since: clock::now() }
    }

    fn give(&self) {
        let mut queue = self.queue();
        while let Some(next) = queue.waiting.pop_front() {
            if next.turn.try_send(()).is_ok() {
                return;
            }
        }
        queue.free += 1;
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Each change is complete in itself.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// Whether it is somebody else's turn, where there are readers for what comes, or not.
    pub(super) fn is_over(&self, now: Instant, has_readers: bool) -> bool {
        let took = now.saturating_duration_since(self.since);
        let next_is_first = |next: &Waiting| took >= Duration::from_millis(TURN_MS) || next.has_readers && !has_readers;
        // One that went away before its turn is there until then.
        self.of.queue().waiting.iter().find(|next| !next.turn.is_closed()).is_some_and(next_is_first)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.of.give();
    }
}

/// Somebody who waits, and may go before it is his turn.
struct Ticket<'a> {
    of: &'a Places,
    receiver: Receiver<()>,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.receiver.close();
        if self.receiver.try_recv().is_ok() {
            self.of.give();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn places_go_to_who_waited_longest() {
        let places = Places::new(2);
        let (one, two) = (places.try_take().unwrap(), places.try_take().unwrap());
        assert!(places.try_take().is_none());
        let later = one.since + Duration::from_millis(TURN_MS);
        assert!(!one.is_over(later, false), "nobody waits");
        let (mut third, mut fourth, mut gone) =
            (Box::pin(places.take(false)), Box::pin(places.take(false)), Box::pin(places.take(false)));
        assert!((&mut third).now_or_never().is_none() && (&mut gone).now_or_never().is_none());
        assert!((&mut fourth).now_or_never().is_none());
        assert!(one.is_over(later, false) && one.is_over(later, true) && !one.is_over(one.since, false));
        drop(one);
        assert!(places.try_take().is_none(), "it is not for who comes now");
        let third = third.now_or_never().unwrap();
        // One goes away before its turn, and another when it has come.
        drop(two);
        drop(gone);
        drop(third);
        let fourth = fourth.now_or_never().unwrap();
        let fifth = places.try_take().unwrap();
        assert!(places.try_take().is_none());
        drop((fourth, fifth));
        assert_eq!(places.queue().free, 2);
    }

    #[test]
    fn who_has_readers_comes_first() {
        let places = Places::new(1);
        let one = places.try_take().unwrap();
        let mut waiting = [false, true, false, true].map(|has_readers| Box::pin(places.take(has_readers)));
        assert!(!one.is_over(one.since, false));
        for it in &mut waiting {
            assert!(it.now_or_never().is_none());
        }
        assert!(one.is_over(one.since, false) && !one.is_over(one.since, true));
        let [first, second, third, fourth] = waiting;
        // One reader goes away before his turn.
        drop(second);
        assert!(one.is_over(one.since, false));
        drop(one);
        let place = fourth.now_or_never().unwrap();
        assert!(!place.is_over(place.since, false), "no other reader waits");
        drop(place);
        drop(first.now_or_never().unwrap());
        drop(third.now_or_never().unwrap());
    }
}
