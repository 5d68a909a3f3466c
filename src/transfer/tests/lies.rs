//! Peers that serve lies.

use super::*;

pub(super) fn frames(replies: Vec<Reply>) -> Vec<Frame> {
    replies.into_iter().map(Reply::into_frame).collect()
}

pub(super) fn data(range: Range, encoded: &[u8]) -> Reply {
    let encode = |body: &mut Vec<u8>| {
        body.extend_from_slice(encoded);
        Ok::<_, io::Error>(())
    };
    Reply::Data(Data::build(range, vec![], encode).unwrap())
}

pub(super) fn flipped(reply: &Reply) -> Reply {
    let Reply::Data(honest) = reply else { panic!("only content can be flipped") };
    let mut encoded = honest.encoded().to_vec();
    *encoded.last_mut().unwrap() ^= 1;
    data(honest.range(), &encoded)
}

/// Answers each request as an honest peer would, changed by `lie`, until writing fails.
pub(super) async fn lying_server<T>(
    stream: &mut UnixStream,
    node: &Node,
    mut lie: impl FnMut(Vec<Reply>) -> Vec<Frame>,
) -> io::Result<T> {
    loop {
        let Ok(Some(frame)) = read_frame(stream, 1000).await else { return smol::future::pending().await };
        let Ok(Request::Get(get)) = Request::from_frame(&frame) else { panic!("the client asks well") };
        let mut blob = node.store.blob(&get.id).unwrap();
        let mut left = plan::announce(&get.ranges, &blob.ranges(), blob.size());
        let mut replies = vec![Reply::Blob(Blob { size: blob.size(), ranges: left.clone() })];
        while let Some(range) = plan::next_data(&mut left) {
            replies.push(data(range, &blob.encode(range.start..range.start + range.len).unwrap()));
        }
        replies.push(Reply::End);
        for frame in lie(replies) {
            write_frame(stream, frame.kind, &frame.body).await?;
        }
    }
}

/// What a fetch of 1.5 MiB makes of it; afterwards an honest peer must be able to complete it.
pub(super) fn fetch_from_liar(lie: impl FnMut(Vec<Reply>) -> Vec<Frame>) -> FetchError {
    let (server, client) = (Node::new(), Node::new());
    let content = bytes(0, 3 * MIB / 2);
    let (id, size) = (server.share(&content), content.len() as u64);
    let (mut near, mut far) = UnixStream::pair().unwrap();
    let lies = async { lying_server(&mut far, &server, lie).await.map_err(FetchError::Io)? };
    let error = block_on(smol::future::or(client.fetch(&mut near, id, size), lies)).unwrap_err();
    drop(near);
    assert!(client.verified_bytes(id) < size, "{error}");
    fetch_from(&server, &client, id, size).0.unwrap();
    assert!(client.content(id).unwrap() == content);
    error
}

pub(super) fn announced(size: u64, start: u64, len: u64) -> Reply {
    Reply::Blob(Blob { size, ranges: Ranges::from_iter([Range { start, len }]) })
}

#[test]
fn small_blobs_are_verified_one_by_one() {
    let (server, client) = (Node::new(), Node::new());
    let contents = [bytes(1, 100), bytes(2, 100), bytes(3, 100)];
    let ids = contents.each_ref().map(|content| server.share(content));
    let wants = ids.map(|id| SmallWant { id, size: 100, to: name(&id) }).to_vec();
    let (mut near, mut far) = UnixStream::pair().unwrap();
    let mut changed = 0;
    let lie = |mut replies: Vec<Reply>| {
        changed += 1;
        if changed == 2 {
            replies[1] = flipped(&replies[1]);
        }
        frames(replies)
    };
    let mut pace = Pace::default();
    let fetch = async {
        let (receiving, writing) = fetch_small((&mut near, &mut pace), &client.store, wants, |_| {});
        let (received, (outcomes, _)) = join(receiving, writing).await;
        received.map(|()| outcomes)
    };
    let lies = async { lying_server(&mut far, &server, lie).await.map_err(FetchError::Io)? };
    let outcomes = block_on(smol::future::or(fetch, lies)).unwrap();
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok());
    assert!(outcomes[1].as_ref().is_err_and(FetchError::is_violation), "{:?}", outcomes[1]);
    assert!(client.content(ids[1]).is_none());
}

#[test]
fn lies_are_violations() {
    type Lie = fn(Vec<Reply>) -> Vec<Frame>;
    let lies: [(&str, Lie); 15] = [
        ("wrong bytes", |mut replies| {
            replies[1] = flipped(&replies[1]);
            frames(replies)
        }),
        ("no bytes", |mut replies| {
            replies[1] = data(Range { start: 0, len: DATA_BYTES }, &[]);
            frames(replies)
        }),
        ("wrong size", |mut replies| {
            replies[0] = announced(3 * MIB as u64 / 2 + 1, 0, GROUP_BYTES);
            frames(replies)
        }),
        ("announces more", |mut replies| {
            replies[0] = announced(3 * MIB as u64 / 2, 0, 3 * MIB as u64 / 2);
            frames(replies)
        }),
        ("announces nonsense", |mut replies| {
            replies[0] = announced(3 * MIB as u64 / 2, u64::MAX, u64::MAX);
            frames(replies)
        }),
        ("announces twice", |mut replies| {
            replies.insert(1, replies[0].clone());
            frames(replies)
        }),
        ("does not announce", |replies| frames(replies[1..].to_vec())),
        ("wrong order", |mut replies| {
            replies.swap(1, 2);
            frames(replies)
        }),
        ("twice", |mut replies| {
            replies.insert(1, replies[1].clone());
            frames(replies)
        }),
        ("endless", |replies| frames([vec![replies[0].clone()], vec![replies[1].clone(); 100]].concat())),
        ("ends early", |mut replies| {
            replies.remove(replies.len() - 2);
            frames(replies)
        }),
        ("half a group", |mut replies| {
            replies[1] = data(Range { start: 0, len: 1024 }, &[0; 1024]);
            frames(replies)
        }),
        ("long frame", |replies| {
            let mut frames = frames(replies);
            frames[1].body.resize(DATA_FRAME_BYTES + 1, 0);
            frames
        }),
        ("unknown kind", |_| vec![Frame { kind: 0x42, body: vec![] }]),
        ("garbage", |_| vec![Frame { kind: 0x81, body: vec![0xff; 40] }, Frame { kind: KIND_ERROR, body: vec![0xff] }]),
    ];
    for (name, lie) in lies {
        let error = fetch_from_liar(lie);
        assert!(error.is_violation(), "{name}: {error:?}");
    }
}

#[test]
fn refusals_are_no_violations() {
    let refuse = |code, retry_ms| {
        fetch_from_liar(move |_| vec![ErrorReply { retry_ms, ..ErrorReply::new(code, "no") }.to_frame()])
    };
    assert!(matches!(refuse(ErrorCode::Busy, u32::MAX), FetchError::Busy { retry_ms: 60_000 }));
    assert!(matches!(refuse(ErrorCode::NotFound, 0), FetchError::NotFound));
    assert!(matches!(refuse(ErrorCode::Damaged, 0), FetchError::Damaged));
    assert!(matches!(refuse(ErrorCode::Internal, 0), FetchError::Refused { code: ErrorCode::Internal, .. }));
}

#[test]
fn a_cut_connection_is_nobodys_fault() {
    let client = Node::new();
    let (mut near, far) = UnixStream::pair().unwrap();
    drop(far);
    let error = block_on(client.fetch(&mut near, ContentId([1; 32]), 1 << 30)).unwrap_err();
    assert!(matches!(error, FetchError::Io(_)), "{error:?}");
}
