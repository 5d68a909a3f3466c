//! What a process takes at most, for tests that go on and on.

use super::node::Node;

/// The most that a node took, and its fewest descriptors: those of files that are being written come and go, many at a time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Most {
    pub memory_kib: u64,
    pub descriptors: Option<usize>,
    pub threads: usize,
}

impl Most {
    pub fn look(&mut self, node: &Node<'_>) {
        let descriptors = node.descriptors();
        self.memory_kib = self.memory_kib.max(node.memory_kib("VmRSS"));
        self.descriptors = self.descriptors.map(|fewest| fewest.min(descriptors)).or(Some(descriptors));
        self.threads = self.threads.max(node.threads());
    }
}

/// What nodes took in the second half is not more than in the first, but for so much memory.
pub fn assert_flat(halves: [&[Most]; 2], more_kib: u64) {
    println!("first half {:?}\nsecond half {:?}", halves[0], halves[1]);
    for (at, (first, second)) in halves[0].iter().zip(halves[1]).enumerate() {
        assert!(second.memory_kib <= first.memory_kib + more_kib, "memory of node {at}: {first:?}, {second:?}");
        assert!(
            second.descriptors <= first.descriptors.map(|fewest| fewest + 2),
            "descriptors of node {at}: {first:?}, {second:?}"
        );
        assert!(second.threads <= first.threads + 2, "threads of node {at}: {first:?}, {second:?}");
    }
}

/// How long a test shall go on that takes an hour: `SOAK_SECONDS` says otherwise.
pub fn soak_seconds() -> u64 {
    std::env::var("SOAK_SECONDS").map_or(3600, |seconds| seconds.parse().expect("SOAK_SECONDS is a number"))
}
