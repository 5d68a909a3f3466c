//! Real stores in temporary folders, over Unix sockets; peers that lie are written by hand.

use std::{io, path::PathBuf, pin::pin, sync::Arc, time::Duration};

use futures::{
    AsyncReadExt, AsyncWriteExt,
    future::{Either, join, select},
};
use proptest::prelude::*;
use smol::{block_on, net::unix::UnixStream};

use super::{pace::PACE, *};
use crate::{
    content::ContentId,
    limits::{
        GROUP_BYTES,
        transfer::{BUSY_RETRY_MS, PACE_BYTES, SMALL_BYTES},
        wire::{DATA_BYTES, DATA_FRAME_BYTES, PIPELINED_REQUESTS, REQUEST_BYTES},
    },
    store::{LibraryPath, Options, Store},
    wire::{
        ErrorCode, ErrorReply, Frame, KIND_ERROR,
        blob::{Blob, Data, Get, Range, Ranges, Reply, Request},
        decode, read_frame, write_frame,
    },
};

const MIB: usize = 1024 * 1024;

/// A node's store, and a folder for the files that it shares.
struct Node {
    folder: tempfile::TempDir,
    store: Arc<Store>,
}

impl Node {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&folder.path().join("data"), Options::default()).unwrap());
        Self { folder, store }
    }

    fn share(&self, bytes: &[u8]) -> ContentId {
        let (id, path) = (ContentId::of(bytes), self.shared(&ContentId::of(bytes)));
        std::fs::write(&path, bytes).unwrap();
        let imported = self.store.import_in_place(&path, &mut |_| std::ops::ControlFlow::Continue(())).unwrap();
        self.store.commit(vec![imported]).unwrap();
        id
    }

    /// Where the file stands that was shared.
    fn shared(&self, id: &ContentId) -> PathBuf {
        self.folder.path().join(format!("{id}.file"))
    }

    fn verified_bytes(&self, id: ContentId) -> u64 {
        self.store.blob(&id).map_or(0, |blob| blob.ranges().iter().map(|range| range.end - range.start).sum())
    }

    /// The bytes, if all of them are here.
    fn content(&self, id: ContentId) -> Option<Vec<u8>> {
        let mut blob = self.store.blob(&id).ok()?;
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < blob.size() {
            let start = bytes.len() as u64;
            bytes.extend(blob.read(start..(start + DATA_BYTES).min(blob.size())).ok()?);
        }
        Some(bytes)
    }

    async fn fetch(&self, stream: &mut UnixStream, id: ContentId, size: u64) -> Result<(), FetchError> {
        fetch_blob((stream, &mut Pace::default()), &self.store, id, size, &name(&id), &mut |_| {}).await
    }

    async fn serve(&self, stream: UnixStream) -> Result<ServeStats, ServeError> {
        serve(stream, Arc::clone(&self.store), &Uploads::new(2)).await
    }
}

fn name(id: &ContentId) -> LibraryPath {
    LibraryPath::new(&format!("books/{id}")).unwrap()
}

/// Bytes that differ everywhere, and for each seed.
fn bytes(seed: u32, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Fetches from an honest node over a fresh connection.
fn fetch_from(server: &Node, client: &Node, id: ContentId, size: u64) -> (Result<(), FetchError>, ServeStats) {
    let (mut near, far) = UnixStream::pair().unwrap();
    let fetch = async {
        let result = client.fetch(&mut near, id, size).await;
        drop(near);
        result
    };
    let (result, stats) = block_on(join(fetch, server.serve(far)));
    (result, stats.unwrap())
}

#[test]
fn futures_can_be_spawned() {
    fn spawnable<T: Send>(_: T) {}
    let node = Node::new();
    let (mut near, far) = UnixStream::pair().unwrap();
    let uploads = Uploads::new(1);
    spawnable(serve(far, Arc::clone(&node.store), &uploads));
    let id = ContentId::of(b"");
    spawnable(fetch_blob((&mut near, &mut Pace::default()), &node.store, id, 0, &name(&id), &mut |_| {}));
    spawnable(fetch_small((&mut near, &mut Pace::default()), &node.store, vec![], &mut |_| {}));
}

#[test]
fn a_throttled_peer_gets_what_others_leave() {
    let uploads = Uploads::new(4);
    let throttled = uploads.throttled();
    let (a, b) = (throttled.take().unwrap(), throttled.take());
    assert!(b.is_some() && throttled.take().is_none(), "half of them");
    let others = [uploads.take(), uploads.take()];
    assert!(others.iter().all(Option::is_some) && uploads.take().is_none());
    drop((a, b));
    assert!(throttled.take().is_none(), "others have more than half");
    assert!(uploads.take().is_some(), "they may have all");
    drop(others);
    assert!(throttled.take().is_some());
}

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
        assert_eq!(stats.requests, len.div_ceil(MIB) as u64);
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
    let contents: Vec<_> = (0..500).map(|seed| bytes(seed, seed as usize * 131 % 40_000)).collect();
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
        let mut kept = 0;
        let stream = (&mut near, &mut Pace::default());
        let outcomes = fetch_small(stream, &client.store, wants.clone(), &mut |bytes| kept = bytes).await.unwrap();
        assert_eq!((outcomes.len(), kept), (501, total - 9));
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
    let fetch = async { fetch_small((&mut near, &mut pace), &client.store, wants, &mut |_| {}).await };
    let lies = async { lying_server(&mut far, &server, lie).await.map_err(FetchError::Io)? };
    let outcomes = block_on(smol::future::or(fetch, lies)).unwrap();
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok());
    assert!(outcomes[1].as_ref().is_err_and(FetchError::is_violation), "{:?}", outcomes[1]);
    assert!(client.content(ids[1]).is_none());
}

// Peers that serve lies.

fn frames(replies: Vec<Reply>) -> Vec<Frame> {
    replies.into_iter().map(Reply::into_frame).collect()
}

fn data(range: Range, encoded: &[u8]) -> Reply {
    let encode = |body: &mut Vec<u8>| {
        body.extend_from_slice(encoded);
        Ok::<_, io::Error>(())
    };
    Reply::Data(Data::build(range, vec![], encode).unwrap())
}

fn flipped(reply: &Reply) -> Reply {
    let Reply::Data(honest) = reply else { panic!("only content can be flipped") };
    let mut encoded = honest.encoded().to_vec();
    *encoded.last_mut().unwrap() ^= 1;
    data(honest.range(), &encoded)
}

/// Answers each request as an honest peer would, changed by `lie`, until writing fails.
async fn lying_server<T>(
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
fn fetch_from_liar(lie: impl FnMut(Vec<Reply>) -> Vec<Frame>) -> FetchError {
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

fn announced(size: u64, start: u64, len: u64) -> Reply {
    Reply::Blob(Blob { size, ranges: Ranges::from_iter([Range { start, len }]) })
}

#[test]
fn lies_are_violations() {
    type Lie = fn(Vec<Reply>) -> Vec<Frame>;
    let lies: [(&str, Lie); 15] = [
        ("wrong bytes", |mut replies| {
            replies[2] = flipped(&replies[2]);
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
        for reply in std::iter::once(announced(size, 0, MIB as u64)).chain((0..).map(|group| {
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
fn a_cut_connection_is_nobodys_fault() {
    let client = Node::new();
    let (mut near, far) = UnixStream::pair().unwrap();
    drop(far);
    let error = block_on(client.fetch(&mut near, ContentId([1; 32]), 1 << 30)).unwrap_err();
    assert!(matches!(error, FetchError::Io(_)), "{error:?}");
}

// Clients that misbehave.

fn get(id: ContentId, start: u64, len: u64) -> Frame {
    Request::Get(Get { id, ranges: Ranges::from_iter([Range { start, len }]) }).to_frame()
}

async fn ask(stream: &mut UnixStream, frame: &Frame) {
    write_frame(stream, frame.kind, &frame.body).await.unwrap();
}

/// The codes of error replies until the stream ends; anything else is code `Other`.
async fn replies(stream: &mut UnixStream) -> Vec<ErrorCode> {
    let mut codes = vec![];
    while let Ok(Some(frame)) = read_frame(stream, DATA_FRAME_BYTES).await {
        let code = || decode::<ErrorReply>(&frame.body).unwrap().code;
        codes.push(if frame.kind == KIND_ERROR { code() } else { ErrorCode::Other });
    }
    codes
}

#[test]
fn each_request_has_its_answer() {
    let node = Node::new();
    let id = node.share(&bytes(0, 100));
    let (mut near, far) = UnixStream::pair().unwrap();
    let client = async {
        ask(&mut near, &get(ContentId([1; 32]), 0, 1)).await;
        ask(&mut near, &Frame { kind: 77, body: vec![1, 2, 3] }).await;
        ask(&mut near, &get(id, u64::MAX - 1, 1)).await;
        ask(&mut near, &Frame { kind: 1, body: vec![0xff] }).await;
        ask(&mut near, &get(id, 0, 100)).await;
        replies(&mut near).await
    };
    let (codes, served) = block_on(join(client, node.serve(far)));
    use ErrorCode::{BadRequest, NotFound, Other, UnknownKind};
    assert_eq!(codes, [NotFound, UnknownKind, Other, Other, BadRequest], "nothing after the bad one");
    assert!(served.unwrap_err().is_violation());
}

#[test]
fn a_frame_too_long_for_a_request_ends_the_stream() {
    let node = Node::new();
    let (mut near, far) = UnixStream::pair().unwrap();
    let client = async {
        near.write_all(&[1]).await.unwrap();
        near.write_all(&(REQUEST_BYTES as u32 + 1).to_le_bytes()).await.unwrap();
        replies(&mut near).await
    };
    let (codes, served) = block_on(join(client, node.serve(far)));
    assert_eq!(codes, [ErrorCode::BadRequest]);
    assert!(served.unwrap_err().is_violation());
}

#[test]
fn more_requests_than_the_queue_takes_are_answered_too() {
    let node = Node::new();
    let id = node.share(&bytes(0, 100));
    let (near, far) = UnixStream::pair().unwrap();
    let client = async {
        let (mut reader, mut writer) = near.split();
        let write = async {
            for _ in 0..500 {
                let frame = get(id, 0, 100);
                write_frame(&mut writer, frame.kind, &frame.body).await.unwrap();
            }
            writer.close().await.unwrap();
        };
        let read = async {
            for _ in 0..1500 {
                read_frame(&mut reader, DATA_FRAME_BYTES).await.unwrap().unwrap();
            }
        };
        join(write, read).await;
    };
    let stats = block_on(join(client, node.serve(far))).1.unwrap();
    assert_eq!(stats, ServeStats { requests: 500, bytes: 50_000 });
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

#[test]
fn busy_ends_a_batch_of_small_blobs() {
    let (server, client) = (Node::new(), Node::new());
    let id = server.share(&bytes(0, SMALL_BYTES as usize));
    let wants = vec![SmallWant { id, size: SMALL_BYTES, to: name(&id) }; 100];
    let (mut near, far) = UnixStream::pair().unwrap();
    let uploads = Uploads::new(0);
    let fetch = async {
        let stream = (&mut near, &mut Pace::default());
        let outcomes = fetch_small(stream, &client.store, wants, &mut |_| {}).await.unwrap();
        drop(near);
        outcomes
    };
    let (outcomes, served) = block_on(join(fetch, serve(far, Arc::clone(&server.store), &uploads)));
    assert_eq!(outcomes.len(), 100);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(FetchError::Busy { retry_ms: BUSY_RETRY_MS }))));
    assert!(served.unwrap().requests <= 65);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nonsense_is_answered_or_refused(
        frames in proptest::collection::vec((0..3u8, proptest::collection::vec(any::<u8>(), 0..60)), 0..20),
        rest in proptest::collection::vec(any::<u8>(), 0..10),
    ) {
        thread_local!(static NODE: Node = Node::new());
        let (near, far) = UnixStream::pair().unwrap();
        let client = async {
            let (mut reader, mut writer) = near.split();
            let write = async {
                for (kind, body) in frames {
                    let _ = write_frame(&mut writer, kind, &body).await;
                }
                let _ = writer.write_all(&rest).await;
                let _ = writer.close().await;
            };
            let mut answers = vec![];
            join(write, reader.read_to_end(&mut answers)).await.1
        };
        let _ = NODE.with(|node| block_on(join(client, node.serve(far))));
    }
}
