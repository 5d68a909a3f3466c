//! Many nodes on one link.

use std::collections::{BTreeSet, VecDeque};

use super::*;

const NODES: u8 = 32;

/// Nodes that hear all that any of them says.
struct Town {
    nodes: Vec<(Engine, BTreeSet<PeerId>)>,
    questions: u32,
    answers: u32,
}

impl Town {
    /// All say what they have to say at this moment, and answer.
    fn run(&mut self, now: Instant) {
        let mut packets = VecDeque::new();
        for (by, (node, _)) in self.nodes.iter_mut().enumerate() {
            node.handle_timeout(now);
            packets.extend(sent(node).into_iter().map(|it| (by, it.bytes)));
        }
        while let Some((by, bytes)) = packets.pop_front() {
            match packet::is_response(&Packet::parse(&bytes).unwrap()) {
                true => self.answers += 1,
                false => self.questions += 1,
            }
            let source = from(u8::try_from(by + 1).unwrap());
            for (other, (node, known)) in self.nodes.iter_mut().enumerate() {
                node.handle_packet(now, LINK, source, &bytes);
                packets.extend(sent(node).into_iter().map(|it| (other, it.bytes)));
                for event in events(node) {
                    match event {
                        Event::Discovered { peer, .. } => _ = known.insert(peer),
                        Event::Expired { peer } => _ = known.remove(&peer),
                        other => panic!("{other:?}"),
                    }
                }
            }
        }
    }

    fn next(&self) -> Instant {
        self.nodes.iter().filter_map(|(node, _)| node.next_timeout()).min().unwrap()
    }

    fn all_know_all(&self) -> bool {
        self.nodes.iter().all(|(_, known)| known.len() == self.nodes.len() - 1)
    }
}

#[test]
fn one_asks_for_all_and_each_answers_seldom() {
    let begin = crate::clock::now();
    let mut town = Town { nodes: Vec::new(), questions: 0, answers: 0 };
    // The power came back: one every tenth of a second.
    for number in 1..=NODES {
        let now = begin + u32::from(number) * SECOND / 10;
        town.nodes.push((named(now, number), BTreeSet::new()));
        town.run(now);
    }
    let mut now = begin;
    while !town.all_know_all() {
        now = town.next();
        town.run(now);
    }
    assert!(now < begin + 15 * SECOND, "after {:?}", now - begin);
    // Two announcements, and then each once in about a second and a half, with some ahead of their time.
    assert!(town.answers < u32::from(NODES) * 15, "{} answers to {} questions", town.answers, town.questions);

    while town.next() < begin + 3600 * SECOND {
        town.run(town.next());
    }
    (town.questions, town.answers) = (0, 0);
    while town.next() < begin + 7200 * SECOND {
        town.run(town.next());
    }
    assert!(town.all_know_all());
    // Each for itself would ask twelve times, and be answered by all others each time: 384 questions, 11,904 answers.
    assert!((12..36).contains(&town.questions), "{} questions in an hour", town.questions);
    assert!(town.answers <= town.questions * u32::from(NODES), "{} answers in an hour", town.answers);
}

#[test]
fn each_of_200_answers_once_in_ten_seconds_however_often_it_is_asked() {
    let begin = crate::clock::now();
    let mut engine = named(begin, 1);
    (2..=200).for_each(|number| deliver(begin, &mut named(begin, number), from(number), &mut engine));
    let mut answers = 0;
    for at in (0..60_000).step_by(100).map(|ms| begin + Duration::from_millis(ms)) {
        engine.handle_timeout(at);
        sent(&mut engine);
        engine.handle_packet(at, LINK, from(2), STOCK_QUERY);
        answers += sent(&mut engine).len();
    }
    // The first may come three seconds before its time.
    assert!((6..=7).contains(&answers), "{answers} answers in a minute");
}
