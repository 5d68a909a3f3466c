//! Fetching from honest nodes.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::*;

#[test]
fn blobs_of_all_sizes_arrive() {
    let (server, client) = (Node::new(), Node::new());
    let group = GROUP_BYTES as usize;
    for len in [0, 1, group - 1, group, group + 1, 4 * group, 4 * group + 1, MIB - 1, 3 * MIB + 5, 20 * MIB] {
        let content = bytes(len as u32, len);
        let id = server.share(&content);
        let (result, stats) = fetch_from(&server, &client, id, len as u64);
        result.unwrap();
        assert!(client.content(id).unwrap() == content, "{len}");
        assert_eq!(stats.bytes, len as u64);
        let requests = len.div_ceil(MIB) as u64..=len.div_ceil(4 * group) as u64 + 1;
        assert!(requests.contains(&stats.requests), "{len}: {stats:?}");
    }
}

#[test]
fn one_stream_serves_many_fetches_and_progress_counts_up() {
    let (server, client) = (Node::new(), Node::new());
    let contents = [bytes(1, 2 * MIB), bytes(2, 70_000), bytes(3, 5)];
    let ids = contents.each_ref().map(|content| server.share(content));
    let (mut near, far) = UnixStream::pair().unwrap();
    let fetches = async {
        for (id, content) in ids.iter().zip(&contents) {
            let (mut seen, size) = (vec![], content.len() as u64);
            let missing = client.fetch(&mut near, ContentId([9; 32]), size).await;
            assert!(matches!(missing, Err(FetchError::NotFound)), "{missing:?}");
            let stream = (&mut near, &mut Pace::default());
            fetch_blob(stream, &client.store, *id, size, &name(id), &mut |bytes| seen.push(bytes)).await.unwrap();
            assert!(seen.is_sorted() && seen[0] == 0 && seen.last() == Some(&size), "{seen:?}");
        }
        drop(near);
    };
    block_on(join(fetches, server.serve(far))).1.unwrap();
}

/// Fetches until so much has arrived, and then drops everything, like a kill.
fn fetch_some(server: &Node, client: &Node, id: ContentId, size: u64, enough: u64) -> u64 {
    let (mut near, far) = UnixStream::pair().unwrap();
    let (stop, stopped) = smol::channel::bounded(1);
    let mut here = 0;
    block_on(async {
        let mut progress = |bytes| {
            here = bytes;
            if bytes >= enough {
                let _ = stop.try_send(());
            }
        };
        let to = name(&id);
        let mut pace = Pace::default();
        let fetch = pin!(fetch_blob((&mut near, &mut pace), &client.store, id, size, &to, &mut progress));
        let end = pin!(async {
            smol::future::or(stopped.recv(), async {
                server.serve(far).await.map(|_| ()).unwrap();
                Ok(())
            })
            .await
        });
        assert!(matches!(select(fetch, end).await, Either::Right(_)), "stopped before its end");
    });
    // What was being written when it was cut is finished on a thread of its own.
    let is_free = || client.store.download(id, size).is_ok();
    assert!((0..30_000).any(|_| is_free() || {
        std::thread::sleep(Duration::from_millis(1));
        false
    }));
    here
}

#[test]
fn a_fetch_continues_where_it_was_cut() {
    let (server, client) = (Node::new(), Node::new());
    let content = bytes(0, 12 * MIB);
    let (id, size) = (server.share(&content), content.len() as u64);
    let here = fetch_some(&server, &client, id, size, 5 * MIB as u64);
    assert!((5 * MIB as u64..size).contains(&here));
    let (result, stats) = fetch_from(&server, &client, id, size);
    result.unwrap();
    assert!(stats.bytes <= size - here + MIB as u64, "{} of {size} again, {here} were here", stats.bytes);
    assert!(client.content(id).unwrap() == content);
}

#[test]
fn a_partial_blob_is_passed_on() {
    let (origin, middle, last) = (Node::new(), Node::new(), Node::new());
    let content = bytes(0, 6 * MIB + 3);
    let (id, size) = (origin.share(&content), content.len() as u64);
    fetch_some(&origin, &middle, id, size, 3 * MIB as u64);
    let held = middle.verified_bytes(id);
    let (result, stats) = fetch_from(&middle, &last, id, size);
    assert!(matches!(result, Err(FetchError::NotFound)), "{result:?}");
    assert_eq!((stats.bytes, last.verified_bytes(id)), (held, held));
    let (result, stats) = fetch_from(&origin, &last, id, size);
    result.unwrap();
    assert_eq!(stats.bytes, size - held);
    assert!(last.content(id).unwrap() == content);
}

#[test]
fn damaged_bytes_are_not_sent_and_the_rest_is_kept() {
    let (server, client) = (Node::new(), Node::new());
    let mut content = bytes(0, 8 * MIB);
    let (id, size) = (server.share(&content), content.len() as u64);
    content[5 * MIB] ^= 1;
    std::fs::write(server.shared(&id), &content).unwrap();
    let (result, _) = fetch_from(&server, &client, id, size);
    assert!(matches!(result, Err(FetchError::Damaged | FetchError::NotFound)), "{result:?}");
    let kept = client.verified_bytes(id);
    assert!(kept < size);
    content[5 * MIB] ^= 1;
    let healthy = Node::new();
    healthy.share(&content);
    let (result, stats) = fetch_from(&healthy, &client, id, size);
    result.unwrap();
    assert_eq!(stats.bytes, size - kept);
    assert!(client.content(id).unwrap() == content);
}

#[test]
fn small_blobs_arrive_in_batches() {
    let (server, client) = (Node::new(), Node::new());
    let contents: Vec<_> = (0..500).map(|seed| bytes(seed, seed as usize * 619 % (SMALL_BYTES as usize + 1))).collect();
    let mut wants: Vec<_> = contents
        .iter()
        .map(|content| (server.share(content), content.len() as u64))
        .map(|(id, size)| SmallWant { id, size, to: name(&id) })
        .collect();
    let missing = ContentId([7; 32]);
    wants.insert(100, SmallWant { id: missing, size: 9, to: name(&missing) });
    let total: u64 = wants.iter().map(|want| want.size).sum();
    let (mut near, far) = UnixStream::pair().unwrap();
    let fetch = async {
        let kept = Arc::new(AtomicU64::new(0));
        let (mut pace, told) = (Pace::default(), Arc::clone(&kept));
        let progress = move |bytes| told.store(bytes, Relaxed);
        let (receiving, writing) = fetch_small((&mut near, &mut pace), &client.store, wants.clone(), progress);
        let (received, (outcomes, written)) = join(receiving, writing).await;
        received.and(written.map_err(FetchError::from)).unwrap();
        assert_eq!((outcomes.len(), kept.load(Relaxed)), (501, total - 9));
        for (at, outcome) in outcomes.into_iter().enumerate() {
            assert_eq!(at == 100, matches!(outcome, Err(FetchError::NotFound)), "{at}: {outcome:?}");
        }
        drop(near);
    };
    block_on(join(fetch, server.serve(far))).1.unwrap();
    for content in contents {
        assert!(client.content(ContentId::of(&content)).unwrap() == content);
    }
}

#[test]
fn of_small_blobs_what_came_before_a_break_is_written_and_told() {
    let (server, client) = (Node::new(), Node::new());
    let contents: Vec<_> = (0..300).map(|seed| bytes(seed, 10_000)).collect();
    let want = |content: &Vec<u8>| {
        let id = server.share(content);
        SmallWant { id, size: 10_000, to: name(&id) }
    };
    let wants: Vec<_> = contents.iter().map(want).collect();
    // Of some answers, the last does not come whole.
    let mut cut = drops(link(&server.store, &Uploads::new(2)), 5_000, Duration::ZERO, 401);
    let mut pace = Pace::default();
    let (receiving, writing) = fetch_small((&mut cut, &mut pace), &client.store, wants.clone(), |_| {});
    let (received, (outcomes, written)) = block_on(join(receiving, writing));
    assert!(matches!(received, Err(FetchError::Io(_))), "{received:?}");
    written.unwrap();
    assert!((1..=200).contains(&outcomes.len()) && outcomes.iter().all(Result::is_ok), "{}", outcomes.len());
    for (at, content) in contents.iter().enumerate() {
        assert_eq!(client.content(ContentId::of(content)).is_some(), at < outcomes.len(), "{at}");
    }
}
