//! Several peers that send one blob.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use futures::future::join_all;

use super::{
    lies::{flipped, frames, lying_server},
    *,
};
use crate::{limits::transfer::LOOK_TRIES, wire::blob::Have};

/// A peer, what it was asked to do, and what it brought.
struct Peer {
    number: u8,
    link: Box<dyn Fn() -> UnixStream + Sync>,
    brought_bytes: AtomicU64,
}

impl Peer {
    fn new(number: u8, link: impl Fn() -> UnixStream + Sync + 'static) -> Self {
        Self { number, link: Box::new(link), brought_bytes: AtomicU64::new(0) }
    }

    /// An honest one.
    fn serving(number: u8, node: &Node) -> Self {
        let store = Arc::clone(&node.store);
        Self::new(number, move || link(&store, &Uploads::new(8)))
    }

    fn brought(&self) -> u64 {
        self.brought_bytes.load(Relaxed)
    }

    async fn fetch(&self, swarm: &Swarm, places: &Places) -> Result<Fetched, FetchError> {
        let (mut near, mut pace) = ((self.link)(), Pace::default());
        let open = || std::future::ready(Ok((self.link)())).boxed();
        let provider = Provider {
            node: NodeId([self.number; 32]),
            stream: (&mut near, &mut pace),
            open: &open,
            is_for_readers: false,
        };
        let progress = &mut |new, _| _ = self.brought_bytes.fetch_add(new, Relaxed);
        let fetched = super::super::fetch(swarm, provider, places, progress).await?.0;
        if let Fetched::Whole(whole) = &fetched {
            whole.finish(&name(&swarm.id()))?;
        }
        Ok(fetched)
    }
}

/// A stream on which so many bytes come, and then nothing more.
fn stalls(near: UnixStream, bytes: usize) -> UnixStream {
    let (mut here, there) = UnixStream::pair().unwrap();
    let (mut asked, mut asks) = (near.clone(), here.clone());
    smol::spawn(async move { drop(smol::io::copy(&mut asks, &mut asked).await) }).detach();
    smol::spawn(async move {
        let _ = smol::io::copy(near.take(bytes as u64), &mut here).await;
        std::future::pending::<()>().await;
    })
    .detach();
    there
}

fn swarm(client: &Node, id: ContentId, size: u64) -> Swarm {
    Swarm::new(Arc::clone(&client.store), NodeId([0; 32]), id, size)
}

/// Fetches from all of them together.
fn fetch_from_all(client: &Node, content: &[u8], peers: &[Peer]) -> Vec<Result<Fetched, FetchError>> {
    let (id, places) = (ContentId::of(content), Places::new(4));
    let swarm = swarm(client, id, content.len() as u64);
    block_on(join_all(peers.iter().map(|peer| peer.fetch(&swarm, &places))))
}

#[test]
fn all_that_have_a_blob_send_parts_of_it() {
    let content = bytes(1, 24 * MIB + 5);
    let (client, nodes) = (Node::new(), [Node::new(), Node::new(), Node::new()]);
    nodes.iter().for_each(|node| _ = node.share(&content));
    let peers: Vec<_> = (1..).zip(&nodes).map(|(number, node)| Peer::serving(number, node)).collect();
    let fetched = fetch_from_all(&client, &content, &peers);
    let kept = fetched.iter().filter(|it| matches!(it, Ok(Fetched::Whole(_)))).count();
    assert!(
        kept == 1 && fetched.iter().all(|it| matches!(it, Ok(Fetched::Whole(_) | Fetched::Elsewhere))),
        "{fetched:?}"
    );
    assert!(client.content(ContentId::of(&content)).unwrap() == content);
    let brought: Vec<_> = peers.iter().map(Peer::brought).collect();
    assert_eq!(brought.iter().sum::<u64>(), content.len() as u64, "each byte is counted once");
    assert!(brought.iter().all(|bytes| *bytes > MIB as u64), "{brought:?}");
}

#[test]
fn what_a_peer_corrupts_others_send() {
    let content = bytes(2, 16 * MIB);
    let (client, good) = (Node::new(), Node::new());
    let id = good.share(&content);
    let bad = Arc::new(Node::new());
    bad.share(&content);
    let rotten = Peer::new(7, move || {
        let (near, mut far) = UnixStream::pair().unwrap();
        let bad = Arc::clone(&bad);
        smol::spawn(async move {
            let rot = |mut replies: Vec<Reply>| {
                if let [_, data, ..] = &mut replies[..] {
                    *data = flipped(data);
                }
                frames(replies)
            };
            let _ = lying_server::<()>(&mut far, &bad, rot).await;
        })
        .detach();
        near
    });
    let peers = [rotten, Peer::serving(1, &good)];
    let fetched = fetch_from_all(&client, &content, &peers);
    assert!(matches!(fetched[0], Err(FetchError::Violation(Violation::WrongBytes))), "{fetched:?}");
    assert!(matches!(fetched[1], Ok(Fetched::Whole(_))), "{fetched:?}");
    assert!(client.content(id).unwrap() == content);
}

/// Answers all that is watched with these frames, and has nothing of all that is asked for; how often it was asked.
fn boasting(number: u8, size: u64, boasts: Vec<Frame>) -> (Peer, Arc<AtomicU64>) {
    let asked = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&asked);
    let peer = Peer::new(number, move || {
        let (near, mut far) = UnixStream::pair().unwrap();
        let (boasts, asked) = (boasts.clone(), Arc::clone(&counted));
        smol::spawn(async move {
            while let Ok(Some(frame)) = read_frame(&mut far, REQUEST_BYTES).await {
                let replies = match Request::from_frame(&frame).unwrap() {
                    Request::Watch(_) => boasts.clone(),
                    Request::Get(_) => {
                        asked.fetch_add(1, Relaxed);
                        frames(vec![Reply::Blob(Blob { size, ranges: Ranges::new() }), Reply::End])
                    }
                };
                for reply in replies {
                    let _ = write_frame(&mut far, reply.kind, &reply.body).await;
                }
            }
        })
        .detach();
        near
    });
    (peer, asked)
}

fn has(id: ContentId, size: u64, ranges: &[(u64, u64)]) -> Frame {
    let ranges = ranges.iter().map(|(start, len)| Range { start: *start, len: *len }).collect();
    Reply::Have(Have { id, size, ranges }).into_frame()
}

/// One that sends slowly enough for others to be asked.
fn unhurried(number: u8, node: &Node) -> Peer {
    let store = Arc::clone(&node.store);
    Peer::new(number, move || drops(link(&store, &Uploads::new(8)), 64 * 1024, Duration::from_millis(5), usize::MAX))
}

#[test]
fn who_boasts_of_what_it_lacks_is_asked_a_few_times_and_made_up_for() {
    let content = bytes(8, 12 * MIB);
    let (client, good) = (Node::new(), Node::new());
    let (id, size) = (good.share(&content), content.len() as u64);
    let (boaster, asked) = boasting(2, size, vec![has(id, size, &[(0, size)])]);
    let peers = [unhurried(1, &good), boaster];
    let fetched = fetch_from_all(&client, &content, &peers);
    assert!(fetched.iter().all(Result::is_ok), "{fetched:?}");
    assert!(client.content(id).unwrap() == content);
    assert_eq!((peers[0].brought(), peers[1].brought()), (size, 0));
    let asked = asked.load(Relaxed);
    assert!((1..100).contains(&asked), "it was asked {asked} times");
}

#[test]
fn nonsense_of_what_a_peer_has_breaks_the_rules() {
    let content = bytes(9, 6 * MIB);
    let (id, size) = (ContentId::of(&content), content.len() as u64);
    let group = GROUP_BYTES;
    for (what, nonsense) in [
        ("beyond its end", has(id, size, &[(0, size + 1)])),
        ("twice", has(id, size, &[(0, 2 * group), (group, group)])),
        ("out of order", has(id, size, &[(group, group), (0, group)])),
        ("nothing at all", has(id, size, &[(0, 0)])),
        ("overflowing", has(id, u64::MAX, &[(u64::MAX, 2)])),
        ("of another blob", has(ContentId([9; 32]), size, &[(0, size)])),
        ("an answer that nobody asked for", Reply::End.into_frame()),
        ("no message", Frame { kind: 0x84, body: vec![0xff; 40] }),
    ] {
        let (client, good) = (Node::new(), Node::new());
        good.share(&content);
        let fetched = fetch_from_all(&client, &content, &[unhurried(1, &good), boasting(2, size, vec![nonsense]).0]);
        assert!(fetched[1].as_ref().is_err_and(FetchError::is_violation), "{what}: {fetched:?}");
        assert!(fetched[0].is_ok() && client.content(id).unwrap() == content, "{what}: {fetched:?}");
    }
}

#[test]
fn a_peer_that_falls_silent_in_the_middle_is_made_up_for() {
    let content = bytes(10, 16 * MIB);
    let (client, nodes) = (Node::new(), [Node::new(), Node::new()]);
    nodes.iter().for_each(|node| _ = node.share(&content));
    let store = Arc::clone(&nodes[0].store);
    let silent = Peer::new(1, move || stalls(link(&store, &Uploads::new(8)), 2 * MIB));
    let peers = [silent, Peer::serving(2, &nodes[1])];
    let fetched = fetch_from_all(&client, &content, &peers);
    assert!(fetched.iter().all(Result::is_ok), "{fetched:?}");
    assert!(client.content(ContentId::of(&content)).unwrap() == content);
    assert!(peers[0].brought() > 0 && peers[0].brought() <= 2 * MIB as u64, "{}", peers[0].brought());
}

#[test]
fn a_peer_that_goes_away_is_made_up_for() {
    let content = bytes(3, 16 * MIB);
    let (client, nodes) = (Node::new(), [Node::new(), Node::new()]);
    let id = nodes.each_ref().map(|node| node.share(&content))[0];
    let store = Arc::clone(&nodes[0].store);
    let dying = Peer::new(1, move || drops(link(&store, &Uploads::new(8)), 64 * 1024, Duration::ZERO, 40));
    let fetched = fetch_from_all(&client, &content, &[dying, Peer::serving(2, &nodes[1])]);
    assert!(matches!(fetched[0], Err(FetchError::Io(_))) && matches!(fetched[1], Ok(Fetched::Whole(_))), "{fetched:?}");
    assert!(client.content(id).unwrap() == content);
}

#[test]
fn a_slow_peer_holds_nobody_up() {
    let content = bytes(4, 32 * MIB);
    let (client, nodes) = (Node::new(), [Node::new(), Node::new()]);
    nodes.iter().for_each(|node| _ = node.share(&content));
    let store = Arc::clone(&nodes[0].store);
    // Some 600 KB in a second: alone it would need a minute.
    let slow =
        Peer::new(1, move || drops(link(&store, &Uploads::new(8)), 30_000, Duration::from_millis(50), usize::MAX));
    let peers = [slow, Peer::serving(2, &nodes[1])];
    let started = crate::clock::now();
    let fetched = fetch_from_all(&client, &content, &peers);
    assert!(fetched.iter().all(Result::is_ok), "{fetched:?}");
    assert!(started.elapsed() < Duration::from_secs(40), "{:?}", started.elapsed());
    assert!(peers[1].brought() > 16 * MIB as u64);
}

#[test]
fn what_is_half_here_goes_on_to_others_while_the_rest_comes() {
    let content = bytes(5, 12 * MIB);
    let (origin, middle, last) = (Node::new(), Node::new(), Node::new());
    let (id, size) = (origin.share(&content), content.len() as u64);
    let store = Arc::clone(&origin.store);
    let seed =
        Peer::new(1, move || drops(link(&store, &Uploads::new(8)), 64 * 1024, Duration::from_millis(5), usize::MAX));
    let relay = Peer::serving(2, &middle);
    let (places, one, two) = (Places::new(4), swarm(&middle, id, size), swarm(&last, id, size));
    // It has nothing when it is asked first, and a swarm with two members listens.
    let silent = Peer::serving(3, &Node::new());
    let end = async {
        let both = [&silent, &relay].map(|peer| peer.fetch(&two, &places));
        for fetched in join_all(both).await {
            match fetched.unwrap() {
                Fetched::Whole(_) => return,
                Fetched::Idle { held_bytes } => {
                    assert_eq!(held_bytes, 0);
                }
                Fetched::Elsewhere => panic!("nobody else finishes"),
            }
        }
        // Whoever had nothing is waited for apart, and asked again.
        let open = || std::future::ready(Ok(link(&middle.store, &Uploads::new(8)))).boxed();
        wait_for_more(&open, id, 0).await;
        assert!(middle.verified_bytes(id) < size, "it is half here");
        loop {
            match relay.fetch(&two, &places).await.unwrap() {
                Fetched::Whole(_) => return,
                Fetched::Idle { held_bytes } => {
                    let open = || std::future::ready(Ok((relay.link)())).boxed();
                    wait_for_more(&open, id, held_bytes).await;
                }
                Fetched::Elsewhere => panic!("nobody else finishes"),
            }
        }
    };
    let (seeded, ()) = block_on(join(seed.fetch(&one, &places), end));
    assert!(matches!(seeded, Ok(Fetched::Whole(_))), "{seeded:?}");
    assert!(last.content(id).unwrap() == content);
    assert_eq!(relay.brought(), size);
}

#[test]
fn a_busy_peer_is_left_and_others_go_on() {
    let content = bytes(7, 6 * MIB);
    let (client, nodes) = (Node::new(), [Node::new(), Node::new()]);
    nodes.iter().for_each(|node| _ = node.share(&content));
    let store = Arc::clone(&nodes[0].store);
    let busy = Peer::new(1, move || link(&store, &Uploads::new(0)));
    let fetched = fetch_from_all(&client, &content, &[busy, Peer::serving(2, &nodes[1])]);
    assert!(matches!(fetched[0], Err(FetchError::Busy { retry_ms: BUSY_RETRY_MS })), "{fetched:?}");
    assert!(matches!(fetched[1], Ok(Fetched::Whole(_))), "{fetched:?}");
}

#[test]
fn more_peers_than_places_take_turns() {
    let content = bytes(6, 8 * MIB);
    let (client, nodes) = (Node::new(), [Node::new(), Node::new(), Node::new()]);
    nodes.iter().for_each(|node| _ = node.share(&content));
    let peers: Vec<_> = (1..).zip(&nodes).map(|(number, node)| Peer::serving(number, node)).collect();
    let swarm = swarm(&client, ContentId::of(&content), content.len() as u64);
    let places = Places::new(1);
    let fetched = block_on(join_all(peers.iter().map(|peer| peer.fetch(&swarm, &places))));
    assert!(fetched.iter().all(Result::is_ok), "{fetched:?}");
    assert!(client.content(ContentId::of(&content)).unwrap() == content);
}

/// Where many come at once, a peer drops some streams that it has a place for a moment later.
#[test]
fn who_is_dropped_before_anything_is_told_looks_again() {
    let node = Node::new();
    let id = node.share(&bytes(8, MIB));
    let tries = AtomicU32::new(0);
    let open = || {
        let is_dropped = tries.fetch_add(1, Relaxed) < LOOK_TRIES;
        let stream =
            if is_dropped { UnixStream::pair().map(|(near, _)| near) } else { Ok(link(&node.store, &Uploads::new(1))) };
        std::future::ready(stream).boxed()
    };
    let heard = block_on(crate::clock::within(Duration::from_secs(60), wait_for_more(&open, id, 0)));
    assert_eq!((heard, tries.into_inner()), (Some(()), LOOK_TRIES + 1));
}
