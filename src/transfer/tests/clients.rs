//! Clients that misbehave, or ask much.

use super::*;

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
fn busy_ends_a_batch_of_small_blobs() {
    let (server, client) = (Node::new(), Node::new());
    let id = server.share(&bytes(0, SMALL_BYTES as usize));
    let wants = vec![SmallWant { id, size: SMALL_BYTES, to: name(&id) }; 100];
    let (mut near, far) = UnixStream::pair().unwrap();
    let uploads = Uploads::new(0);
    let fetch = async {
        let mut pace = Pace::default();
        let (receiving, writing) = fetch_small((&mut near, &mut pace), &client.store, wants, |_| {});
        let (received, (outcomes, _)) = join(receiving, writing).await;
        drop(near);
        assert!(matches!(received, Err(FetchError::Busy { retry_ms: BUSY_RETRY_MS })));
        outcomes
    };
    let (outcomes, served) = block_on(join(fetch, serve(far, Arc::clone(&server.store), &uploads)));
    assert!((1..=65).contains(&outcomes.len()));
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
