//! Streams that wait for an upload slot.

use futures::future::join_all;

use super::*;
use crate::limits::transfer::SLOT_QUEUE;

fn waits(uploads: &Uploads) -> uploads::Waiting {
    uploads.take().err().flatten().expect("all slots are taken, and few wait")
}

#[test]
fn a_slot_goes_to_who_waits_and_stays() {
    let uploads = Uploads::new(1);
    let mut slot = uploads.take().ok();
    assert!(slot.as_mut().is_some_and(|slot| !slot.is_over(false)), "nobody waits");
    let (one, gone, two, late) = (waits(&uploads), waits(&uploads), waits(&uploads), waits(&uploads));
    assert!(
        slot.as_mut().is_some_and(|slot| slot.is_over(false) && !slot.is_over(true)),
        "answers are sent to their end"
    );
    assert!(one.slot().now_or_never().is_none());
    drop(slot);
    let slot = one.slot().now_or_never().flatten().expect("it is its turn");
    assert!(two.slot().now_or_never().is_none());
    // One goes before its turn, and another when it has come.
    drop(gone);
    drop(slot);
    drop(two);
    assert!(late.slot().now_or_never().flatten().is_some());
    assert!(uploads.take().is_ok(), "all were given back");
}

#[test]
fn nobody_waits_in_vain_for_long() {
    let uploads = Uploads::new(0);
    let one = waits(&uploads);
    assert!(block_on(one.slot()).is_none());
    let two = waits(&uploads.of(NodeId([2; 32])));
    uploads.set_paused(Paused { all: false, peers: [NodeId([2; 32])].into() });
    assert!(two.slot().now_or_never().expect("it hears at once").is_none());
    uploads.set_slots(1);
    let slot = one.slot().now_or_never().flatten();
    assert!(slot.is_some());
    let queue = Vec::from_iter((1..SLOT_QUEUE).map(|_| waits(&uploads)));
    drop(one);
    let last = waits(&uploads);
    assert!(matches!(uploads.take(), Err(None)), "too many wait");
    drop((queue, last));
}

#[test]
fn streams_take_turns_and_nobody_is_refused() {
    let server = Node::new();
    let content = bytes(1, 2 * MIB);
    let (id, size) = (server.share(&content), content.len() as u64);
    let clients = [(); 4].map(|()| Node::new());
    let uploads = Uploads::new(1);
    let fetches = clients.iter().zip(1..).map(|(client, number)| {
        let (mut near, far) = UnixStream::pair().unwrap();
        let uploads = uploads.of(NodeId([number; 32]));
        let fetch = async move {
            client.fetch(&mut near, id, size).await.unwrap();
            drop(near);
        };
        let store = Arc::clone(&server.store);
        async move { join(fetch, serve(far, store, &uploads)).await.1.unwrap() }
    });
    for stats in block_on(join_all(fetches)) {
        assert_eq!(stats.bytes, size);
    }
    assert!(clients.iter().all(|client| client.content(id).unwrap() == content));
}

/// One that asks for all of a blob in one request has its slot for a turn, like others.
#[test]
fn a_long_answer_makes_way_in_its_midst() {
    let (server, client) = (Node::new(), Node::new());
    let long = server.share(&bytes(2, 64 * MIB));
    let content = bytes(3, MIB);
    let id = server.share(&content);
    let uploads = Uploads::new(1);
    let (mut greedy, greedy_far) = UnixStream::pair().unwrap();
    let slowly = async {
        ask(&mut greedy, &get(long, 0, 64 * MIB as u64)).await;
        let mut bytes = vec![0; 512 * 1024];
        while greedy.read_exact(&mut bytes).await.is_ok() {
            smol::Timer::after(PACE / 8).await;
        }
    };
    let greedy_served = serve(greedy_far, Arc::clone(&server.store), &uploads);
    let other = async {
        while uploads.sent_bytes() == 0 {
            smol::future::yield_now().await;
        }
        let uploads = uploads.of(NodeId([1; 32]));
        loop {
            let (mut near, far) = UnixStream::pair().unwrap();
            let fetch = client.fetch(&mut near, id, MIB as u64);
            let served =
                async { serve(far, Arc::clone(&server.store), &uploads).await.map_err(|_| FetchError::TooSlow) };
            match smol::future::or(fetch, async { served.await.map(drop) }).await {
                Err(FetchError::Busy { .. }) => {}
                fetched => return fetched.unwrap(),
            }
        }
    };
    let greedy = async {
        drop(join(slowly, greedy_served).await);
        panic!("it has its slot to the end");
    };
    block_on(smol::future::or(other, greedy));
    assert!(client.content(id).unwrap() == content);
}
