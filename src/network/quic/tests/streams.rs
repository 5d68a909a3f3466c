//! Streams.

use super::*;

#[test]
fn streams_open_both_ways_on_both_families() {
    smol::block_on(async {
        for family in [V4, V6] {
            let (_a, mut dialled, _b, mut accepted) = pair(family).await;
            for dialler_opens in [true, false] {
                let (from, to) =
                    if dialler_opens { (&mut dialled, &mut accepted) } else { (&mut accepted, &mut dialled) };
                let (mut ours, mut theirs) = stream(from, to).await;
                ours.write_all(b"question").await.unwrap();
                ours.close().await.unwrap();
                let mut heard = String::new();
                soon(theirs.read_to_string(&mut heard)).await.unwrap();
                assert_eq!(heard, "question");
                // One half is closed, the other still speaks.
                theirs.write_all(b"answer").await.unwrap();
                theirs.close().await.unwrap();
                heard.clear();
                soon(ours.read_to_string(&mut heard)).await.unwrap();
                assert_eq!(heard, "answer");
            }
        }
    });
}

#[test]
fn much_arrives_whole() {
    const BYTES: usize = 32 * 1024 * 1024;
    smol::block_on(async {
        let (_a, mut dialled, _b, mut accepted) = pair(V4).await;
        let (mut ours, mut theirs) = stream(&mut dialled, &mut accepted).await;
        let send = async {
            let chunk: Vec<u8> = (0..65_521).map(|at| (at % 251) as u8).collect();
            let mut left = BYTES;
            while left > 0 {
                let now = left.min(chunk.len());
                ours.write_all(&chunk[..now]).await.unwrap();
                left -= now;
            }
            ours.close().await.unwrap();
        };
        let receive = async {
            let (mut buffer, mut total) = (vec![0; 100_000], 0);
            loop {
                let count = theirs.read(&mut buffer).await.unwrap();
                if count == 0 {
                    break total;
                }
                assert!((0..count).all(|at| buffer[at] == ((total + at) % 65_521 % 251) as u8));
                total += count;
            }
        };
        assert_eq!(join(send, receive).map(|(_, total)| total).await, BYTES);
    });
}

#[test]
fn a_dropped_stream_is_reset_not_ended() {
    smol::block_on(async {
        let (_a, mut dialled, _b, mut accepted) = pair(V4).await;
        let (mut ours, mut theirs) = stream(&mut dialled, &mut accepted).await;
        ours.write_all(b"half of it").await.unwrap();
        drop(ours);
        let error = soon(theirs.read_to_end(&mut Vec::new())).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        let error = soon(async {
            loop {
                if let Err(error) = theirs.write_all(&[0; 1000]).await {
                    break error;
                }
            }
        });
        assert_eq!(error.await.kind(), std::io::ErrorKind::BrokenPipe);
    });
}

#[test]
fn streams_are_limited_and_come_back() {
    smol::block_on(async {
        let (_a, mut dialled, _b, mut accepted) = pair(V4).await;
        let mut streams = Vec::new();
        for _ in 0..limits::STREAMS_PER_CONNECTION {
            streams.push(stream(&mut dialled, &mut accepted).await);
        }
        let one_more = poll_fn(|cx| Poll::Ready(dialled.poll_outbound_unpin(cx).is_pending()));
        assert!(one_more.await);
        // The peer hears of free places once an eighth is free.
        streams.truncate(streams.len() - streams.len() / 8 - 1);
        stream(&mut dialled, &mut accepted).await;
    });
}

#[test]
fn streams_that_nobody_reads_any_more_come_back() {
    smol::block_on(async {
        let (_a, mut dialled, _b, mut accepted) = pair(V4).await;
        for _ in 0..2 * limits::STREAMS_PER_CONNECTION {
            let (mut ours, mut theirs) = soon(stream(&mut dialled, &mut accepted)).await;
            let writing = async { while theirs.write_all(&[0; 10_000]).await.is_ok() {} };
            let reading = async {
                ours.read_exact(&mut [0; 1000]).await.unwrap();
                drop(ours);
            };
            soon(join(writing, reading)).await;
        }
    });
}
