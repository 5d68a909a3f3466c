//! Peers that take their time.

use super::{
    lies::{announced, data, fetch_from_liar, frames},
    *,
};

#[test]
fn a_peer_that_falls_silent_is_left() {
    let started = crate::clock::now();
    let mut told = false;
    let error = fetch_from_liar(|replies| {
        let first = if told { vec![] } else { frames(replies[..2].to_vec()) };
        told = true;
        first
    });
    assert!(matches!(error, FetchError::TooSlow), "{error:?}");
    assert!(started.elapsed() >= PACE);
}

/// Writes so slowly that a group of [`GROUP_BYTES`] is through just before a peer that were silent would be given up.
async fn trickle(stream: &mut UnixStream, bytes: &[u8]) -> io::Result<()> {
    for piece in bytes.chunks(GROUP_BYTES as usize / 16) {
        smol::Timer::after(PACE / 20).await;
        stream.write_all(piece).await?;
    }
    Ok(())
}

#[test]
fn a_peer_that_sends_in_drops_is_left_and_what_it_sent_is_kept() {
    let (server, client) = (Node::new(), Node::new());
    let content = bytes(0, 3 * MIB);
    let (id, size) = (server.share(&content), content.len() as u64);
    let (mut near, mut far) = UnixStream::pair().unwrap();
    let mut blob = server.store.blob(&id).unwrap();
    let drops = async {
        for reply in std::iter::once(announced(size, 0, DATA_BYTES)).chain((0..).map(|group| {
            let range = Range { start: group * GROUP_BYTES, len: GROUP_BYTES };
            data(range, &blob.encode(range.start..range.start + range.len).unwrap())
        })) {
            let frame = reply.into_frame();
            let mut bytes = vec![];
            write_frame(&mut bytes, frame.kind, &frame.body).await.unwrap();
            trickle(&mut far, &bytes).await.map_err(FetchError::Io)?;
        }
        Ok(())
    };
    let error = block_on(smol::future::or(client.fetch(&mut near, id, size), drops)).unwrap_err();
    assert!(matches!(error, FetchError::TooSlow), "{error:?}");
    let kept = client.verified_bytes(id);
    assert!((GROUP_BYTES..PACE_BYTES).contains(&kept), "{kept}");
    let (result, stats) = fetch_from(&server, &client, id, size);
    result.unwrap();
    assert_eq!(stats.bytes, size - kept);
}

#[test]
fn a_peer_that_takes_in_drops_is_left() {
    let server = Node::new();
    let id = server.share(&bytes(0, 8 * MIB));
    let (mut near, far) = UnixStream::pair().unwrap();
    let drops = async {
        for group in 0..PIPELINED_REQUESTS as u64 {
            ask(&mut near, &get(id, group * GROUP_BYTES, 1)).await;
        }
        let mut piece = vec![0; GROUP_BYTES as usize / 16];
        while near.read_exact(&mut piece).await.is_ok() {
            smol::Timer::after(PACE / 20).await;
        }
    };
    let (served, ()) = block_on(join(server.serve(far), drops));
    assert!(matches!(served, Err(ServeError::TooSlow)), "{served:?}");
}

#[test]
fn a_client_that_does_not_read_loses_its_slot() {
    let (server, client) = (Node::new(), Node::new());
    let content = bytes(0, 4 * MIB);
    let (id, size) = (server.share(&content), content.len() as u64);
    let uploads = Uploads::new(1);
    let (mut greedy, greedy_far) = UnixStream::pair().unwrap();
    let (mut near, far) = UnixStream::pair().unwrap();
    let test = async {
        let small = server.share(b"small");
        ask(&mut greedy, &get(small, 0, 5)).await;
        for _ in 0..70 {
            ask(&mut greedy, &get(id, 0, size)).await;
        }
        let served = serve(greedy_far, Arc::clone(&server.store), &uploads);
        let refused = async {
            while uploads.sent_bytes() == 0 {
                smol::future::yield_now().await;
            }
            client.fetch(&mut near, id, size).await
        };
        let (served, refused) = join(served, refused).await;
        assert!(matches!(served, Err(ServeError::TooSlow)), "{served:?}");
        assert!(matches!(refused, Err(FetchError::Busy { retry_ms: BUSY_RETRY_MS })), "{refused:?}");
        client.fetch(&mut near, id, size).await.unwrap();
        Ok(())
    };
    let other = async { serve(far, Arc::clone(&server.store), &uploads).await.map(|stats| panic!("{stats:?}")) };
    block_on(smol::future::or(test, other)).unwrap();
    assert!(client.content(id).unwrap() == content);
}
