//! Peers that watch a blob are told of all of it, once.

use futures::AsyncRead;

use super::*;
use crate::{
    limits::wire::{HAVE_INTERVAL_MS, HAVE_RANGES},
    store::Download,
    wire::blob::{Have, Watch},
};

fn watch(id: ContentId) -> Frame {
    Request::Watch(Watch { id }).to_frame()
}

async fn reply<R: AsyncRead + Unpin>(stream: &mut R) -> Reply {
    let mut frame = read_frame(stream, DATA_FRAME_BYTES).await.unwrap().unwrap();
    Reply::from_frame(&mut frame).unwrap()
}

async fn have<R: AsyncRead + Unpin>(stream: &mut R) -> Have {
    match reply(stream).await {
        Reply::Have(have) => have,
        other => panic!("{other:?}"),
    }
}

fn write(download: &Download, from: &Node, groups: impl Iterator<Item = u64>) {
    let mut blob = from.store.blob(&download.id()).unwrap();
    for group in groups {
        let range = group * GROUP_BYTES..((group + 1) * GROUP_BYTES).min(blob.size());
        download.write(range.clone(), &blob.encode(range).unwrap()).unwrap();
    }
}

#[test]
fn a_peer_is_told_what_is_here_and_what_comes() {
    let (origin, node) = (Node::new(), Node::new());
    let groups = 2 * HAVE_RANGES as u64 + 20;
    let content = bytes(1, (groups * GROUP_BYTES) as usize - 7);
    let (id, size) = (origin.share(&content), content.len() as u64);
    let (mut near, far) = UnixStream::pair().unwrap();
    let told = std::cell::RefCell::new(vec![0; groups as usize]);
    let take = |have: &Have| {
        assert_eq!((have.id, have.size), (id, size));
        for range in &have.ranges {
            let end = range.start + range.len;
            assert!(end.is_multiple_of(GROUP_BYTES) || end == size);
            (range.start / GROUP_BYTES..end.div_ceil(GROUP_BYTES))
                .for_each(|group| told.borrow_mut()[group as usize] += 1);
        }
        have.ranges.len()
    };
    let client = async {
        ask(&mut near, &watch(id)).await;
        assert_eq!(have(&mut near).await, Have { id, size: 0, ranges: [].into_iter().collect() });
        let download = node.store.download(id, size).unwrap();
        write(&download, &origin, [3].into_iter());
        let mut ranges = 0;
        while ranges == 0 {
            ranges = take(&have(&mut near).await);
        }
        // More than one message holds comes in several, at once.
        write(&download, &origin, (10..groups).step_by(2));
        while ranges < 2 + HAVE_RANGES {
            ranges += take(&have(&mut near).await);
        }
        let started = crate::clock::now();
        for _ in 0..3 {
            write(&download, &origin, [download.missing()[0].start / GROUP_BYTES].into_iter());
            take(&have(&mut near).await);
        }
        assert!(started.elapsed() >= Duration::from_millis(2 * HAVE_INTERVAL_MS), "{:?}", started.elapsed());
        let missing =
            download.missing().into_iter().flat_map(|it| it.start / GROUP_BYTES..it.end.div_ceil(GROUP_BYTES));
        write(&download, &origin, missing);
        download.finish(&name(&id)).unwrap();
        while told.borrow().contains(&0) {
            take(&have(&mut near).await);
        }
        drop(near);
    };
    assert_eq!(block_on(join(client, node.serve(far))).1.unwrap().requests, 1);
    assert!(told.borrow().iter().all(|times| *times == 1), "{told:?}");
}

#[test]
fn another_watch_takes_the_place_of_the_first_and_content_comes_between() {
    let (origin, node) = (Node::new(), Node::new());
    let content = bytes(2, 3 * MIB);
    let (id, size) = (origin.share(&content), content.len() as u64);
    let whole = node.share(b"small");
    let (mut near, far) = UnixStream::pair().unwrap();
    let client = async {
        let nothing = ContentId([9; 32]);
        ask(&mut near, &watch(nothing)).await;
        ask(&mut near, &watch(whole)).await;
        ask(&mut near, &watch(id)).await;
        assert_eq!(have(&mut near).await.id, nothing);
        let one = Range { start: 0, len: 5 };
        assert_eq!(have(&mut near).await, Have { id: whole, size: 5, ranges: [one].into_iter().collect() });
        assert_eq!(have(&mut near).await.id, id);
        let download = node.store.download(id, size).unwrap();
        write(&download, &origin, 0..16);
        ask(&mut near, &get(id, 0, MIB as u64)).await;
        // The answer is in order, whatever is told between its frames.
        let (mut content_bytes, mut told_bytes, mut ended) = (0, 0, false);
        while !ended || told_bytes < MIB as u64 {
            match reply(&mut near).await {
                Reply::Blob(blob) => assert_eq!(blob.ranges.iter().map(|it| it.len).sum::<u64>(), MIB as u64),
                Reply::Data(data) => content_bytes += data.range().len,
                Reply::Have(have) => told_bytes += have.ranges.iter().map(|it| it.len).sum::<u64>(),
                Reply::End => ended = true,
            }
        }
        assert_eq!((content_bytes, told_bytes), (MIB as u64, MIB as u64));
        drop(near);
    };
    assert_eq!(block_on(join(client, node.serve(far))).1.unwrap().bytes, MIB as u64);
}

#[test]
fn who_watches_needs_no_slot_and_keeps_none() {
    let node = Node::new();
    let content = bytes(3, MIB);
    let id = node.share(&content);
    let uploads = Uploads::new(1);
    let ((mut one, one_far), (mut two, two_far)) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
    let client = async {
        // This one has a slot, and watches what never comes.
        ask(&mut one, &watch(ContentId([9; 32]))).await;
        ask(&mut one, &get(id, 0, 1)).await;
        while !matches!(reply(&mut one).await, Reply::End) {}
        ask(&mut two, &watch(id)).await;
        assert_eq!(have(&mut two).await.size, MIB as u64);
        loop {
            ask(&mut two, &get(id, 0, 1)).await;
            let frame = read_frame(&mut two, DATA_FRAME_BYTES).await.unwrap().unwrap();
            if frame.kind != KIND_ERROR {
                break;
            }
            assert_eq!(decode::<ErrorReply>(&frame.body).unwrap().code, ErrorCode::Busy);
        }
        drop((one, two));
    };
    let serve = |far| serve(far, Arc::clone(&node.store), &uploads);
    // How they end does not matter: answers that nobody waits for are on their way.
    let _ = block_on(join(client, join(serve(one_far), serve(two_far))));
}
