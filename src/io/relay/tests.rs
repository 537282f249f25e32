//! Tests of the relay, against streams in memory.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use super::*;

const MIB: usize = 1024 * 1024;

/// What a relay may be between.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Memory,
    #[cfg(unix)]
    Sockets,
}

const KINDS: &[Kind] = &[
    Kind::Memory,
    #[cfg(unix)]
    Kind::Sockets,
];

impl Kind {
    fn pair(self) -> (BoxIo, BoxIo) {
        match self {
            Self::Memory => {
                let (outer, inner) = duplex(1024);
                (Box::new(outer), Box::new(inner))
            }
            #[cfg(unix)]
            Self::Sockets => {
                let (outer, inner) = UnixStream::pair().expect("two sockets");
                (Box::new(outer), Box::new(inner))
            }
        }
    }

    /// The outer ends of a relay, and its result.
    #[expect(clippy::disallowed_methods, reason = "a test has no scope")]
    fn relayed(self, relays: &Arc<Relays>) -> (BoxIo, BoxIo, JoinHandle<io::Result<()>>) {
        let ((a, near), (b, far)) = (self.pair(), self.pair());
        let relays = Arc::clone(relays);
        (a, b, tokio::spawn(async move { relay(near, far, &relays).await }))
    }

    /// The outer ends of a pair, and the pair.
    fn paired(self, limit: Duration) -> (BoxIo, BoxIo, Pair) {
        let ((a, near), (b, far)) = (self.pair(), self.pair());
        (a, b, Pair::new(near, far, limit))
    }
}

/// Bytes of which no piece looks like another.
fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|i| (i * 7 + i / 251 + i / 65_521) as u8).collect()
}

async fn send(to: &mut BoxIo, bytes: &[u8]) {
    to.write_all(bytes).await.expect("a write");
    to.shutdown().await.expect("an end");
}

#[tokio::test]
async fn a_half_close_is_passed_on_and_the_answer_comes_back() {
    for kind in KINDS {
        let relays = Arc::default();
        let (mut a, mut b, done) = kind.relayed(&relays);
        send(&mut a, b"question").await;
        let mut heard = String::new();
        b.read_to_string(&mut heard).await.expect("the end");
        assert_eq!(heard, "question");
        let (said, mut answer) = (bytes(3 * MIB + 5), Vec::new());
        tokio::join!(send(&mut b, &said), a.read_to_end(&mut answer)).1.expect("the answer");
        assert!(answer == said, "{kind:?}: the answer differs");
        done.await.expect("a relay").expect("a good end");
        let carried = [&relays.up, &relays.down].map(|count| count.load(Ordering::Relaxed));
        assert_eq!(carried, [8, said.len() as u64], "{kind:?}");
    }
}

#[tokio::test]
async fn much_goes_both_ways_at_once_between_small_messages() {
    for kind in KINDS {
        let (mut a, mut b, done) = kind.relayed(&Arc::default());
        for round in 0..3 {
            let (up, down) = (bytes(MIB + round), bytes(2 * MIB + round));
            let (mut came_up, mut came_down) = (vec![0; up.len()], vec![0; down.len()]);
            let ((mut from_a, mut to_a), (mut from_b, mut to_b)) =
                (tokio::io::split(&mut a), tokio::io::split(&mut b));
            let (one, two, three, four) = tokio::join!(
                to_a.write_all(&up),
                to_b.write_all(&down),
                from_b.read_exact(&mut came_up),
                from_a.read_exact(&mut came_down),
            );
            one.and(two).expect("writes");
            three.and(four).expect("reads");
            assert!(came_up == up && came_down == down, "{kind:?}: bytes differ");
            a.write_all(b"small").await.expect("a write");
            let mut small = [0; 5];
            b.read_exact(&mut small).await.expect("a read");
            assert_eq!(&small, b"small");
        }
        tokio::join!(send(&mut a, b""), send(&mut b, b""));
        done.await.expect("a relay").expect("a good end");
    }
}

#[tokio::test]
async fn a_half_closed_relay_in_which_nothing_moves_is_ended() {
    for kind in KINDS {
        let (mut a, mut b, mut pair) = kind.paired(Duration::from_millis(20));
        b.write_all(b"before").await.expect("room");
        a.shutdown().await.expect("an end");
        let relays = Relays::default();
        let error = poll_fn(|cx| pair.poll(cx, &relays)).await.expect_err("the reaper");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(pair);
        let mut heard = Vec::new();
        a.read_to_end(&mut heard).await.expect("the end");
        assert_eq!(heard, b"before");
    }
}

#[tokio::test]
async fn an_open_relay_in_which_nothing_moves_is_ended_where_silence_has_a_limit() {
    for kind in KINDS {
        let (mut a, mut b, mut pair) = kind.paired(HALF_CLOSED_LIMIT);
        a.write_all(&bytes(100_000)[..1000]).await.expect("room");
        let relays = Relays::new(Some(Duration::from_millis(20)));
        let error = poll_fn(|cx| pair.poll(cx, &relays)).await.expect_err("the limit");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(pair);
        let mut heard = Vec::new();
        b.read_to_end(&mut heard).await.expect("the end");
        assert_eq!(heard.len(), 1000, "{kind:?}");
    }
}

#[tokio::test]
async fn any_byte_starts_the_silence_anew_and_the_shorter_limit_holds() {
    let (_a, _b, mut pair) = Kind::Memory.paired(HALF_CLOSED_LIMIT);
    let (hour, minute) = (Duration::from_secs(3600), Duration::from_secs(60));
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(pair.watch(&mut cx, hour, false).is_pending());
    let began = pair.moved_at;
    assert!(pair.watch(&mut cx, hour, false).is_pending());
    assert_eq!(pair.moved_at, began);
    assert!(pair.watch(&mut cx, minute, true).is_pending());
    assert!(pair.moved_at > began, "the clock is finer than a poll");
    let until = pair.reaper.as_ref().expect("it runs").deadline();
    assert_eq!(until, pair.moved_at + minute);
}

#[tokio::test]
async fn silence_is_no_reason_to_end_while_both_sides_are_open() {
    let (_a, _b, mut pair) = Kind::Memory.paired(Duration::ZERO);
    let mut cx = Context::from_waker(std::task::Waker::noop());
    for _ in 0..3 {
        assert!(pair.poll(&mut cx, &Relays::default()).is_pending());
    }
    assert!(pair.reaper.is_none());
}
