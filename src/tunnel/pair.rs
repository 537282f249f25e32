//! A user's and an agent's multiplexer, joined by two rows of messages and nothing else.

use std::collections::VecDeque;

use bytes::Bytes;
use proptest::prelude::*;

use super::flow::{Pull, Stage, WINDOW};
use super::frame::{Header, Kind, MAX_PAYLOAD, Proto, decode, encode};
use super::mux::{Event, Fault, MAX_IDS, Mux, Side};

struct Pair {
    user: Mux,
    agent: Mux,
    asked: Vec<u32>,
    /// What went over: kind and payload's length, from the user first.
    log: [Vec<(u8, usize)>; 2],
}

impl Pair {
    fn new(extended: bool) -> Self {
        let user = Mux::new(Side::Opener { extended });
        Self {
            user,
            agent: Mux::new(Side::Acceptor { terminals: false }),
            asked: Vec::new(),
            log: Default::default(),
        }
    }

    /// Delivers until both are silent.
    fn run(&mut self) {
        loop {
            let mut moved = false;
            while let Some(message) = self.user.transmit() {
                moved = true;
                self.log[0].push((message[0], message.len() - 8));
                if let Ok(Some(Event::Asked { id, .. })) = self.agent.receive(&message) {
                    self.asked.push(id);
                }
            }
            while let Some(message) = self.agent.transmit() {
                moved = true;
                self.log[1].push((message[0], message.len() - 8));
                self.user.receive(&message).expect("a good message");
            }
            if !moved {
                return;
            }
        }
    }

    fn open(&mut self) -> u32 {
        let id = self.user.open(Proto::Tcp, 80).expect("room");
        self.run();
        assert_eq!(self.asked.pop(), Some(id));
        assert!(self.agent.accept(id));
        self.run();
        assert_eq!(self.user.stage(id), Some(&Stage::Open));
        id
    }

    fn said(&self, side: usize, kind: Kind) -> usize {
        self.log[side].iter().filter(|(k, _)| *k == kind as u8).count()
    }
}

/// Pushes as much of `bytes` as there is room for.
fn push(mux: &mut Mux, id: u32, bytes: &[u8]) -> usize {
    let n = mux.room(id).unwrap_or(0).min(bytes.len());
    if n > 0 {
        mux.push(id, Bytes::copy_from_slice(&bytes[..n]));
    }
    n
}

fn pull(mux: &mut Mux, id: u32) -> (Vec<u8>, Pull) {
    let mut all = Vec::new();
    loop {
        match mux.pull(id, 10_000) {
            Pull::Data(bytes) => all.extend_from_slice(&bytes),
            end => return (all, end),
        }
    }
}

#[test]
fn both_directions_end_on_their_own_between_ends_of_ours() {
    let mut pair = Pair::new(true);
    let id = pair.open();
    push(&mut pair.user, id, b"request");
    assert!(!pair.user.finish(id));
    pair.run();
    assert!(pair.user.finish(id), "the end went out");
    assert_eq!(pull(&mut pair.agent, id), (b"request".to_vec(), Pull::End));
    push(&mut pair.agent, id, b"reply");
    pair.agent.finish(id);
    pair.run();
    assert_eq!(pull(&mut pair.user, id), (b"reply".to_vec(), Pull::End));
    pair.user.close(id);
    pair.agent.close(id);
    pair.run();
    assert_eq!((pair.said(0, Kind::Close), pair.said(1, Kind::Close)), (0, 0));
    assert_eq!((pair.user.len(), pair.agent.len()), (0, 0));
}

#[test]
fn an_end_is_held_back_from_a_peer_that_would_take_it_for_both() {
    let mut pair = Pair::new(false);
    let id = pair.open();
    push(&mut pair.user, id, b"request");
    pair.user.finish(id);
    pair.run();
    assert_eq!(pair.said(0, Kind::Close), 0);
    assert_eq!(pull(&mut pair.agent, id), (b"request".to_vec(), Pull::Wait));
    push(&mut pair.agent, id, b"reply");
    pair.agent.finish(id);
    pair.run();
    assert_eq!(pair.said(1, Kind::Close), 1);
    assert_eq!(pull(&mut pair.user, id), (b"reply".to_vec(), Pull::End));
    pair.user.close(id);
    pair.run();
    assert_eq!(pair.said(0, Kind::Close), 1, "an agent keeps an id until it is told");
}

#[test]
fn an_end_is_not_held_back_for_ever() {
    let mut pair = Pair::new(false);
    let id = pair.open();
    pair.user.finish(id);
    for _ in 0..30 {
        assert!(pair.user.tick().is_empty());
    }
    assert_eq!(pair.user.tick(), [id]);
    pair.run();
    assert_eq!(pull(&mut pair.agent, id).1, Pull::End);
    assert_eq!(pull(&mut pair.user, id).1, Pull::End);
}

#[test]
fn what_came_before_a_close_is_delivered_to_the_service() {
    let mut agent = Mux::new(Side::Acceptor { terminals: false });
    let header = |kind: Kind, port| Header { kind: kind as u8, proto: 0, id: 9, port };
    let asked = agent.receive(&encode(header(Kind::Connect, 80), b""));
    assert_eq!(asked, Ok(Some(Event::Asked { id: 9, proto: Proto::Tcp, port: 80 })));
    // An original user does all this before it is answered.
    agent.receive(&encode(header(Kind::Data, 0), b"early")).expect("data");
    agent.receive(&encode(header(Kind::Close, 0), b"")).expect("a close");
    assert!(agent.accept(9));
    assert_eq!(pull(&mut agent, 9), (b"early".to_vec(), Pull::End));
    assert!(agent.is_deaf(9));
}

#[test]
fn a_window_is_all_that_is_sent_to_a_reader_who_stops() {
    let mut pair = Pair::new(true);
    let (stuck, moving) = (pair.open(), pair.open());
    let block = vec![7; MAX_PAYLOAD];
    let mut sent = 0;
    for _ in 0..64 {
        sent += push(&mut pair.user, stuck, &block);
        pair.run();
    }
    assert_eq!(pair.agent.held(stuck) as u64, WINDOW);
    assert!(sent as u64 > WINDOW, "the rest waits at the sender's");
    push(&mut pair.user, moving, b"by");
    pair.run();
    assert_eq!(pull(&mut pair.agent, moving).0, b"by");
    let (first, _) = pull(&mut pair.agent, stuck);
    pair.run();
    let (second, _) = pull(&mut pair.agent, stuck);
    assert_eq!(first.len() + second.len(), sent, "reading lets the rest come");
}

#[test]
fn more_than_was_granted_costs_the_id_alone() {
    let mut agent = Mux::new(Side::Acceptor { terminals: false });
    let of = |kind: Kind, id, port| Header { kind: kind as u8, proto: 0, id, port };
    for id in [1, 2] {
        agent.receive(&encode(of(Kind::Connect, id, 80), &WINDOW.to_be_bytes())).expect("asked");
        assert!(agent.accept(id));
    }
    let block = vec![0; MAX_PAYLOAD];
    for _ in 0..=WINDOW as usize / MAX_PAYLOAD {
        agent.receive(&encode(of(Kind::Data, 1, 0), &block)).expect("data");
    }
    assert!(agent.failure(1).is_some() && agent.failure(2).is_none());
    let said: Vec<_> = std::iter::from_fn(|| agent.transmit()).map(|m| (m[0], m[5])).collect();
    assert_eq!(said, [(2, 1), (2, 2), (Kind::Error as u8, 1)]);
}

#[test]
fn bulk_does_not_keep_others_from_their_turn() {
    let mut pair = Pair::new(true);
    let (bulk, small) = (pair.open(), pair.open());
    push(&mut pair.user, bulk, &vec![1; 256 * 1024]);
    push(&mut pair.user, small, b"x");
    let ids: Vec<u8> =
        std::iter::from_fn(|| pair.user.transmit()).map(|message| message[5]).collect();
    assert_eq!(ids, [bulk, small, bulk, bulk, bulk].map(|id| id as u8));
}

#[test]
fn a_peer_without_credits_is_told_to_wait_at_a_bound() {
    let mut pair = Pair::new(false);
    let id = pair.open();
    let block = vec![7; MAX_PAYLOAD];
    let mut came = 0;
    while pair.agent.crowded().is_none() {
        came += push(&mut pair.user, id, &block);
        pair.run();
        assert!(came < 20 << 20, "no bound");
    }
    assert_eq!(pair.agent.crowded(), Some(id));
    assert_eq!(pull(&mut pair.agent, id).0.len(), came);
    assert_eq!(pair.agent.crowded(), None);
}

#[test]
fn datagrams_stay_whole_and_too_many_are_dropped() {
    let mut pair = Pair::new(true);
    let id = pair.user.open(Proto::Udp, 53).expect("room");
    pair.run();
    assert!(pair.agent.accept(id));
    for datagram in [&b""[..], b"a", b"bc"] {
        pair.user.push(id, Bytes::copy_from_slice(datagram));
    }
    pair.run();
    for datagram in [&b""[..], b"a", b"bc"] {
        assert_eq!(pair.agent.pull(id, 1), Pull::Data(Bytes::copy_from_slice(datagram)));
    }
    for _ in 0..1000 {
        push(&mut pair.user, id, b"flood");
        pair.run();
    }
    assert_eq!(pull(&mut pair.agent, id).0.len(), 256 * 5);
    let largest = vec![7; 65_507];
    for _ in 0..100 {
        push(&mut pair.user, id, &largest);
        pair.run();
    }
    assert_eq!(pull(&mut pair.agent, id).0.len(), 17 * largest.len(), "a window, and no more");
}

#[test]
fn a_silent_udp_id_ends_and_a_busy_one_does_not() {
    let mut pair = Pair::new(false);
    let ids = [53, 54].map(|port| pair.user.open(Proto::Udp, port).expect("room"));
    pair.run();
    ids.iter().for_each(|id| assert!(pair.agent.accept(*id)));
    pair.run();
    for _ in 0..61 {
        pair.user.push(ids[1], Bytes::from_static(b"x"));
        pair.run();
        pair.agent.tick();
    }
    pair.run();
    assert_eq!(pair.agent.room(ids[0]), None);
    assert!(pair.agent.room(ids[1]).is_some());
    assert_eq!(pull(&mut pair.user, ids[0]).1, Pull::End);
}

#[test]
fn an_agent_answers_pings_and_ends_who_never_reads() {
    let mut agent = Mux::new(Side::Acceptor { terminals: false });
    let ping = encode(Header { kind: Kind::Ping as u8, proto: 0, id: 5, port: 0 }, b"");
    agent.receive(&ping).expect("a ping");
    let pong = agent.transmit().expect("a pong");
    assert_eq!(decode(&pong).expect("a message").0.kind(), Some(Kind::Pong));
    assert_eq!(pong[5], 5);
    let flood = (0..10 * MAX_IDS).find_map(|_| agent.receive(&ping).err());
    assert_eq!(flood, Some(Fault::Flood));
}

#[test]
fn refusals_and_losses_have_their_reason() {
    let mut pair = Pair::new(true);
    let id = pair.user.open(Proto::Tcp, 1).expect("room");
    pair.run();
    pair.agent.refuse(id, "Connection refused (os error 111)\u{1b}[2J");
    pair.run();
    assert_eq!(pair.user.failure(id), Some("Connection refused (os error 111)[2J"));
    let open = pair.open();
    pair.agent.close(open);
    pair.run();
    assert!(matches!(pull(&mut pair.user, open).1, Pull::Failed(_)), "no end was said");
    let lost = pair.open();
    pair.user.lose("the tunnel is gone");
    assert_eq!(pull(&mut pair.user, lost).1, Pull::Failed("the tunnel is gone".into()));
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64, failure_persistence: None, ..ProptestConfig::default()
    })]

    /// Several connections, each with bytes both ways, pushed, carried and read in any order: all arrive, in order, and end.
    #[test]
    fn every_byte_arrives_whatever_the_order(
        extended in any::<bool>(),
        lengths in prop::collection::vec((0_usize..300_000, 0_usize..300_000), 1..5),
        steps in prop::collection::vec((any::<u8>(), 1_usize..100_000), 0..200),
    ) {
        let mut pair = Pair::new(extended);
        let bytes = |id: u32, length: usize| -> Vec<u8> {
            (0..length).map(|i| (i as u32 * 7 + i as u32 / 251 + id) as u8).collect()
        };
        let mut flows: Vec<_> = lengths.iter().map(|(up, down)| {
            let id = pair.open();
            (id, bytes(id, *up), bytes(id, *down), [0; 2], [vec![], vec![]])
        }).collect();
        let mut wires = [VecDeque::new(), VecDeque::new()];
        let rounds = (0..).map(|i| (i as u8, 60_000)).take(2_000);
        for (what, size) in steps.into_iter().chain(rounds) {
            let count = flows.len();
            let (id, up, down, at, got) = &mut flows[usize::from(what) / 4 % count];
            match what % 4 {
                0 => at[0] += push(&mut pair.user, *id, &up[at[0]..up.len().min(at[0] + size)]),
                1 => at[1] += push(&mut pair.agent, *id, &down[at[1]..down.len().min(at[1] + size)]),
                2 => {
                    wires[0].extend(std::iter::from_fn(|| pair.user.transmit()).take(size % 7 + 1));
                    wires[1].extend(std::iter::from_fn(|| pair.agent.transmit()).take(size % 7 + 1));
                }
                _ => {
                    for _ in 0..size % 5 + 1 {
                        if let Some(message) = wires[0].pop_front() {
                            pair.agent.receive(&message).expect("good");
                        }
                        if let Some(message) = wires[1].pop_front() {
                            pair.user.receive(&message).expect("good");
                        }
                    }
                    got[0].extend(pull(&mut pair.agent, *id).0);
                    got[1].extend(pull(&mut pair.user, *id).0);
                }
            }
        }
        for (id, up, down, _, got) in &flows {
            prop_assert!(&got[0] == up && &got[1] == down, "id {id}");
        }
        prop_assert_eq!((pair.user.held(1), pair.agent.held(1)), (0, 0));
    }
}
