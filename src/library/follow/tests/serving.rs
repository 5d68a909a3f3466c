//! The side that is followed.

use super::*;

#[test]
fn the_server_answers_what_it_can() {
    let node = Node::new(1);
    let key = node.add(&library_of(node.folder.path(), &[("a", "1")])).collection.key;
    let nobody = CollectionKey { publisher: NodeId([0; 32]), ..key };
    block_on(async {
        let (mut here, there) = UnixStream::pair().unwrap();
        let server = smol::spawn(serve(there, Arc::clone(&node.library)));
        let mut ask = async |frame: crate::wire::Frame| {
            write_frame(&mut here, frame.kind, &frame.body).await.unwrap();
            read_frame(&mut here, Reply::MAX_BYTES).await.unwrap().unwrap()
        };
        let code = |frame: crate::wire::Frame| {
            assert_eq!(frame.kind, crate::wire::KIND_ERROR);
            crate::wire::decode::<crate::wire::ErrorReply>(&frame.body).unwrap().code
        };
        use crate::wire::{ErrorCode, Frame};
        assert_eq!(code(ask(Frame { kind: 77, body: vec![1, 2] }).await), ErrorCode::UnknownKind);
        assert_eq!(code(ask(Frame { kind: 2, body: vec![1, 2] }).await), ErrorCode::BadRequest);
        let root = |key| Request::Root(catalogue::RootRequest { collection: key }).to_frame();
        assert_eq!(code(ask(root(nobody)).await), ErrorCode::NotFound);
        let bytes = node.library.root_bytes(&key).unwrap().unwrap();
        let page = Root::verify(&bytes).unwrap().pages[0];
        assert_eq!(Reply::from_frame(ask(root(key)).await).unwrap(), Reply::Root(bytes));
        let pages =
            |key, hash| Request::Pages(catalogue::PagesRequest { collection: key, hashes: vec![hash] }).to_frame();
        assert_eq!(Reply::from_frame(ask(pages(nobody, page)).await).unwrap(), Reply::Page(vec![]));
        assert_eq!(Reply::from_frame(ask(pages(key, [0; 32])).await).unwrap(), Reply::Page(vec![]));
        let sent = node.library.page_bytes(&key, &[page]).unwrap().remove(0).unwrap();
        assert_eq!(Reply::from_frame(ask(pages(key, page)).await).unwrap(), Reply::Page(sent));
        let heads = ask(Request::Watch(Watch {}).to_frame()).await;
        let Ok(Reply::Heads(heads)) = Reply::from_frame(heads) else { panic!("no heads") };
        assert_eq!(heads.heads, node.library.heads());
        // And again after a change.
        node.add(&folder(node.folder.path(), "More", &[("b", "2")]));
        let Ok(Reply::Heads(heads)) = Reply::from_frame(read_frame(&mut here, 1 << 16).await.unwrap().unwrap()) else {
            panic!("no heads")
        };
        assert_eq!(heads.heads.len(), 2);
        drop(here);
        server.await.unwrap();
    });
}
