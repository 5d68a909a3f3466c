use futures::executor::block_on;
use proptest::prelude::*;

use super::*;
use crate::content::{CollectionId, CollectionKey, ContentId, NodeId};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn on_the_wire(frame: &Frame) -> Vec<u8> {
    let mut bytes = Vec::new();
    block_on(write_frame(&mut bytes, frame.kind, &frame.body)).unwrap();
    bytes
}

fn key() -> CollectionKey {
    CollectionKey { publisher: NodeId([0x11; 32]), id: CollectionId([0x22; 16]) }
}

fn data(range: blob::Range, encoded: &[u8]) -> blob::Data {
    let encode = |body: &mut Vec<u8>| {
        body.extend_from_slice(encoded);
        Ok::<_, std::convert::Infallible>(())
    };
    blob::Data::build(range, vec![1; 9], encode).unwrap()
}

fn have(size: u64, ranges: &[(u64, u64)]) -> blob::Reply {
    let ranges = ranges.iter().map(|&(start, len)| blob::Range { start, len }).collect();
    blob::Reply::Have(blob::Have { id: ContentId([0x44; 32]), size, ranges })
}

/// The bytes of version 1. They never change: nodes in the field speak them.
#[test]
fn golden_bytes_of_version_1() {
    let (publisher, collection) = ("11".repeat(32), "22".repeat(16));
    let frames = [
        (catalogue::Request::Watch(catalogue::Watch {}).to_frame(), "0100000000".to_string()),
        (
            catalogue::Request::Root(catalogue::RootRequest { collection: key() }).to_frame(),
            format!("0230000000{publisher}{collection}"),
        ),
        (
            catalogue::Request::Pages(catalogue::PagesRequest { collection: key(), hashes: vec![[0x33; 32]] })
                .to_frame(),
            format!("0351000000{publisher}{collection}01{}", "33".repeat(32)),
        ),
        (
            catalogue::Reply::Heads(catalogue::Heads {
                heads: vec![catalogue::Head {
                    collection: key(),
                    version: 300,
                    name: Text::new("Bücher").unwrap(),
                    items: 2,
                    bytes: 5_000_000_000,
                }],
            })
            .into_frame(),
            format!("8141000000{}{publisher}{collection}ac0207{}0280e497d012", "01", hex("Bücher".as_bytes())),
        ),
        (catalogue::Reply::Root(vec![1, 2]).into_frame(), "82020000000102".into()),
        (catalogue::Reply::Page(vec![]).into_frame(), "8300000000".into()),
        (
            blob::Request::Get(blob::Get {
                id: ContentId([0x44; 32]),
                ranges: heapless::Vec::from_slice(&[blob::Range { start: 65536, len: 128 }]).unwrap(),
            })
            .to_frame(),
            format!("0126000000{}018080048001", "44".repeat(32)),
        ),
        (
            blob::Reply::Blob(blob::Blob {
                size: 1,
                ranges: heapless::Vec::from_slice(&[blob::Range { start: 0, len: 1 }]).unwrap(),
            })
            .into_frame(),
            "810400000001010001".into(),
        ),
        (blob::Reply::Data(data(blob::Range { start: 0, len: 2 }, &[7, 8])).into_frame(), "820400000000020708".into()),
        (blob::Reply::End.into_frame(), "8300000000".into()),
        (
            blob::Request::Watch(blob::Watch { id: ContentId([0x44; 32]) }).to_frame(),
            format!("0220000000{}", "44".repeat(32)),
        ),
        (
            have(131_076, &[(0, 65_536), (131_072, 4)]).into_frame(),
            format!("842c000000{}848008020080800480800804", "44".repeat(32)),
        ),
        (
            ErrorReply { code: ErrorCode::Busy, retry_ms: 500, detail: Text::new("full").unwrap() }.to_frame(),
            format!("ff0800000004f40304{}", hex(b"full")),
        ),
    ];
    for (frame, bytes) in frames {
        assert_eq!(hex(&on_the_wire(&frame)), bytes);
    }
}

#[test]
fn later_versions_are_understood() {
    let mut frame = catalogue::Request::Watch(catalogue::Watch {}).to_frame();
    frame.body.extend_from_slice(b"a field of version 1.1");
    assert!(matches!(catalogue::Request::from_frame(&frame), Ok(catalogue::Request::Watch(_))));
    frame.kind = 77;
    assert!(matches!(catalogue::Request::from_frame(&frame), Err(FrameError::Unexpected(77))));
    // Error code 999, of a later version.
    let reply: ErrorReply = decode(&[0xe7, 0x07, 0, 0]).unwrap();
    assert_eq!(reply.code, ErrorCode::Other);
}

#[test]
fn frames_are_bounded() {
    let bytes = on_the_wire(&Frame { kind: 1, body: vec![0; 100] });
    let read = |bytes: &[u8], max| block_on(read_frame(&mut &*bytes, max));
    assert!(matches!(read(&bytes, 100), Ok(Some(Frame { kind: 1, .. }))));
    assert!(matches!(read(&bytes, 99), Err(FrameError::TooLong { len: 100, max: 99 })));
    assert!(matches!(read(&bytes[..50], 100), Err(FrameError::Io(_))));
    assert!(matches!(read(&bytes[..3], 100), Err(FrameError::Io(_))));
    assert!(matches!(read(&[], 100), Ok(None)));
    // Used memory keeps nothing of what it held, and the body may be longer than one step of its growth.
    let long = Frame { kind: 1, body: (0..200_000u32).map(|at| at as u8).collect() };
    for used in [0, 5, 100_000, 300_000] {
        let again = block_on(read_frame_into(&mut &*on_the_wire(&long), 300_000, vec![9; used]));
        assert_eq!(again.unwrap().as_ref(), Some(&long));
    }
    // 4 GiB announced, nothing sent.
    assert!(matches!(read(&[1, 255, 255, 255, 255], 100), Err(FrameError::TooLong { .. })));
}

#[test]
fn data_stays_in_the_body_of_its_frame() {
    let range = blob::Range { start: 65536, len: 3 };
    let sent = data(range, &[7, 8, 9]);
    let Ok(blob::Reply::Data(received)) = blob::Reply::from_frame(&mut blob::Reply::Data(sent.clone()).into_frame())
    else {
        panic!("data reads as data");
    };
    assert_eq!((received.range(), received.encoded()), (range, &[7, 8, 9][..]));
    assert_eq!(received, sent);
    let long = blob::Range { start: 0, len: limits::wire::DATA_BYTES + 1 };
    assert!(blob::Reply::from_frame(&mut blob::Reply::Data(data(long, &[])).into_frame()).is_err());
}

fn introduction(addresses: usize) -> peers::Introduction {
    let address = peers::Address::new("/ip4/10.0.0.1/udp/1/quic-v1").unwrap();
    peers::Introduction { node: NodeId([0x33; 32]), capacity: 5, uptime_s: 300, addresses: vec![address; addresses] }
}

#[test]
fn hearsay_is_bounded() {
    let known = |others: usize, addresses: usize| {
        let others = vec![introduction(addresses); others];
        let sent = peers::Reply::Known(peers::Known { capacity: 128, uptime_s: 7, others });
        peers::Reply::from_frame(&sent.to_frame()).map(|received| assert_eq!(received, sent))
    };
    known(limits::wire::INTRODUCTIONS, limits::wire::TOLD_ADDRESSES).unwrap();
    known(0, 0).unwrap();
    assert!(known(limits::wire::INTRODUCTIONS + 1, 0).is_err());
    assert!(known(1, limits::wire::TOLD_ADDRESSES + 1).is_err());
    let news = |addresses: usize| {
        let sent = announcement(addresses);
        announce::Announcement::from_bytes(&sent.to_bytes()).map(|received| assert_eq!(received, sent))
    };
    news(limits::wire::TOLD_ADDRESSES).unwrap();
    assert!(news(limits::wire::TOLD_ADDRESSES + 1).is_err());
    let long = [announcement(1).to_bytes(), vec![0; limits::wire::ANNOUNCEMENT_BYTES]].concat();
    assert!(matches!(announce::Announcement::from_bytes(&long), Err(FrameError::TooLong { .. })));
    let other = Frame { kind: 9, body: Vec::new() };
    assert!(matches!(peers::Request::from_frame(&other), Err(FrameError::Unexpected(9))));
    assert!(matches!(peers::Reply::from_frame(&other), Err(FrameError::Unexpected(9))));
}

fn announcement(addresses: usize) -> announce::Announcement {
    let peers::Introduction { node, addresses, .. } = introduction(addresses);
    announce::Announcement { collection: key(), version: 300, node, addresses }
}

/// The bytes of version 1, of what nodes tell of each other.
#[test]
fn golden_bytes_of_hearsay() {
    let (publisher, collection, node) = ("11".repeat(32), "22".repeat(16), "33".repeat(32));
    let address = format!("1b{}", hex(b"/ip4/10.0.0.1/udp/1/quic-v1"));
    let ask = peers::Request::Ask(peers::Ask {});
    assert_eq!(hex(&on_the_wire(&ask.to_frame())), "0100000000");
    assert_eq!(peers::Request::from_frame(&ask.to_frame()).unwrap(), ask);
    let known = peers::Reply::Known(peers::Known { capacity: 128, uptime_s: 7, others: vec![introduction(1)] });
    let body = format!("80010701{node}05ac0201{address}");
    let length = hex(&u32::try_from(body.len() / 2).unwrap().to_le_bytes());
    assert_eq!(hex(&on_the_wire(&known.to_frame())), format!("81{length}{body}"));
    let news = announcement(1).to_bytes();
    assert_eq!(hex(&news), format!("{publisher}{collection}ac02{node}01{address}"));
}

#[test]
fn texts_are_bounded_and_printable() {
    assert_eq!(Text::<4>::new("abcd").as_deref(), Some("abcd"));
    assert_eq!(Text::<4>::new("abcde"), None);
    assert_eq!(Text::<4>::new("a\u{1b}b"), None);
    assert_eq!(&*Text::<4>::cut("aé\nçd"), "aé");
    assert!(decode::<Text<4>>(&encode(&"abcde")).is_err());
}

#[test]
fn ranges_ascend_and_do_not_overflow() {
    let get = |ranges: &[(u64, u64)]| {
        let ranges = ranges.iter().map(|&(start, len)| blob::Range { start, len }).collect();
        blob::Request::from_frame(&blob::Request::Get(blob::Get { id: ContentId([0; 32]), ranges }).to_frame())
    };
    assert!(get(&[(0, 1), (1, 1), (9, 5)]).is_ok());
    assert!(get(&[(0, 2), (1, 1)]).is_err());
    assert!(get(&[(0, 0)]).is_err());
    assert!(get(&[(u64::MAX, 2)]).is_err());
}

#[test]
fn what_a_peer_has_lies_in_its_blob() {
    let read = |size, ranges: &[(u64, u64)]| {
        let mut frame = have(size, ranges).into_frame();
        blob::Reply::from_frame(&mut frame).map(|read| assert_eq!(read, have(size, ranges)))
    };
    read(0, &[]).unwrap();
    read(10, &[(0, 1), (1, 9)]).unwrap();
    read(u64::MAX, &[(0, u64::MAX)]).unwrap();
    for wrong in [&[(0, 11)][..], &[(10, 1)], &[(5, 1), (5, 1)], &[(5, 1), (2, 1)], &[(3, 0)], &[(u64::MAX, 2)]] {
        assert!(read(10, wrong).is_err(), "{wrong:?}");
    }
    let most: Vec<_> = (0..limits::wire::HAVE_RANGES as u64).map(|at| (2 * at, 1)).collect();
    read(1000, &most).unwrap();
    assert!(have(1000, &most).into_frame().body.len() <= blob::Reply::MAX_BYTES);
}

proptest! {
    #[test]
    fn garbage_is_refused_without_harm(kind: u8, body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let frame = Frame { kind, body };
        let _ = catalogue::Request::from_frame(&frame);
        let _ = catalogue::Reply::from_frame(frame.clone());
        let _ = blob::Request::from_frame(&frame);
        let _ = blob::Reply::from_frame(&mut frame.clone());
        let _ = peers::Request::from_frame(&frame);
        let _ = peers::Reply::from_frame(&frame);
        let _ = announce::Announcement::from_bytes(&frame.body);
        let _ = decode::<ErrorReply>(&frame.body);
        let bytes = on_the_wire(&frame);
        let _ = block_on(read_frame(&mut &*frame.body, 200));
        prop_assert_eq!(block_on(read_frame(&mut &*bytes, 300)).unwrap(), Some(frame));
    }
}
