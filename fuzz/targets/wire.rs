//! Frames and messages from a peer.
#![no_main]

use allibrary::wire::{ErrorReply, announce::Announcement, blob, catalogue, decode, peers, read_frame};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    while let Ok(Some(mut frame)) = smol::block_on(read_frame(&mut rest, blob::Reply::MAX_BYTES)) {
        if let Ok(request) = blob::Request::from_frame(&frame) {
            assert_eq!(blob::Request::from_frame(&request.to_frame()).ok(), Some(request));
        }
        if let Ok(request) = catalogue::Request::from_frame(&frame) {
            assert_eq!(catalogue::Request::from_frame(&request.to_frame()).ok(), Some(request));
        }
        if let Ok(request) = peers::Request::from_frame(&frame) {
            assert_eq!(peers::Request::from_frame(&request.to_frame()).ok(), Some(request));
        }
        if let Ok(reply) = peers::Reply::from_frame(&frame) {
            assert_eq!(peers::Reply::from_frame(&reply.to_frame()).ok(), Some(reply));
        }
        if let Ok(news) = Announcement::from_bytes(&frame.body) {
            assert_eq!(Announcement::from_bytes(&news.to_bytes()).ok(), Some(news));
        }
        let _ = decode::<ErrorReply>(&frame.body);
        let _ = catalogue::Reply::from_frame(frame.clone());
        if let Ok(reply) = blob::Reply::from_frame(&mut frame) {
            assert_eq!(blob::Reply::from_frame(&mut reply.clone().into_frame()).ok(), Some(reply));
        }
    }
});
