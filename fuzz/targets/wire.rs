//! Frames and messages from a peer.
#![no_main]

use allibrary::wire::{ErrorReply, blob, catalogue, decode, read_frame};
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
        let _ = decode::<ErrorReply>(&frame.body);
        let _ = catalogue::Reply::from_frame(frame.clone());
        let _ = blob::Reply::from_frame(&mut frame);
    }
});
