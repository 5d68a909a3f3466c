//! What peers can fill, and no more.

use super::*;

/// Writes to all of them until at least so much was taken, and then nothing for a second; returns how much it was.
async fn fill(streams: &mut [Stream], at_least: u64) -> u64 {
    let written = AtomicU64::new(0);
    let write = async |stream: &mut Stream| loop {
        written.fetch_add(stream.write(&[7; 10_000]).await.unwrap() as u64, Relaxed);
    };
    let quiet = async {
        let mut before = 0;
        loop {
            Timer::after(Duration::from_secs(1)).await;
            let now = written.load(Relaxed);
            if now >= at_least && now == before {
                return now;
            }
            before = now;
        }
    };
    let all = join_all(streams.iter_mut().map(write)).map(|_: Vec<()>| unreachable!("they write without end"));
    select(std::pin::pin!(all), std::pin::pin!(quiet)).await.factor_first().0
}

/// Carries so much that the windows of both ends are wide, if there are places.
async fn carry(ours: &mut Stream, theirs: &mut Stream) {
    let bytes = limits::WIDE_AFTER_BYTES as usize;
    let write = async { ours.write_all(&vec![7; bytes]).await.unwrap() };
    let read = async { theirs.read_exact(&mut vec![0; bytes]).await.unwrap() };
    soon(join(write, read)).await;
}

const NARROW_BYTES: u64 = limits::CONNECTION_WINDOW_BYTES as u64 + limits::SEND_WINDOW_BYTES;
const WIDE_BYTES: u64 = limits::WIDE_CONNECTION_WINDOW_BYTES as u64 + limits::WIDE_SEND_WINDOW_BYTES;

#[test]
fn a_stream_that_nobody_reads_takes_no_more_than_its_window_and_holds_up_no_other() {
    smol::block_on(async {
        let (_a, mut dialled, _b, mut accepted) = pair(V4).await;
        let (mut ours, mut theirs) = stream(&mut dialled, &mut accepted).await;
        carry(&mut ours, &mut theirs).await;
        let window = u64::from(limits::STREAM_WINDOW_BYTES);
        let written = soon(fill(&mut [ours], window / 4 * 3)).await;
        assert!(written <= window + limits::WIDE_SEND_WINDOW_BYTES, "{written}");
        let (mut other, mut other_end) = stream(&mut dialled, &mut accepted).await;
        other.write_all(b"hello").await.unwrap();
        soon(other_end.read_exact(&mut [0; 5])).await.unwrap();
        drop(theirs);
    });
}

/// What so many peers fill, after each connection has carried much, one after the other, or not. So many of them get wide
/// windows.
async fn filled(peers: usize, carried: bool, wide: usize) -> Vec<u64> {
    let mut b = Node::new();
    let (_, address) = b.listen(V4).await;
    let nodes: Vec<Node> = (0..peers).map(|_| Node::new()).collect();
    let mut connections = Vec::new();
    for node in &nodes {
        let (_, mut dialled) = node.dial(&address).await.unwrap();
        let (_, mut accepted) = b.accept().await;
        let (mut ours, mut theirs) = stream(&mut dialled, &mut accepted).await;
        if carried {
            carry(&mut ours, &mut theirs).await;
        }
        connections.push((dialled, accepted, ours, theirs));
    }
    let fillers = connections.iter_mut().enumerate().map(async |(at, (dialled, ..))| {
        let mut streams = Vec::new();
        for _ in 1..limits::STREAMS_PER_CONNECTION {
            streams.push(open(dialled).await);
        }
        let window = if at < wide { limits::WIDE_CONNECTION_WINDOW_BYTES } else { limits::CONNECTION_WINDOW_BYTES };
        // Credit is given in steps of an eighth.
        (fill(&mut streams, u64::from(window) / 4 * 3).await, streams)
    });
    soon(join_all(fillers)).await.into_iter().map(|(written, _)| written).collect()
}

#[test]
fn peers_that_fill_all_their_streams_take_no_more_than_their_windows_of_which_some_are_wide() {
    const WIDE: usize = limits::WIDE_CONNECTIONS;
    smol::block_on(async {
        let full = filled(20, false, 0).await;
        assert!(full.iter().all(|written| *written <= NARROW_BYTES), "{full:?}");
        let full = filled(WIDE + 4, true, WIDE).await;
        assert!(full[..WIDE].iter().all(|written| *written <= WIDE_BYTES), "{full:?}");
        assert!(full[WIDE..].iter().all(|written| *written <= NARROW_BYTES), "{full:?}");
    });
}
