//! A pipe in every order that two threads can take its steps in: nobody who waits is forgotten, nothing is lost or told twice.
//!
//! How to run it: CONTRIBUTING.md. loom finds the orders, and says when one of them stands still.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use loom::future::block_on;
use loom::thread;

use super::pipe::{CAPACITY, PipeEnd, pipe};
use super::{Events, Face, Observer, Read};

/// More than a pipe holds in the model, so that its writer must wait.
const TEXT: &[u8] = b"abc";

async fn write_all(end: &PipeEnd, mut bytes: &[u8]) {
    poll_fn(|cx| {
        while !bytes.is_empty() {
            match end.write(bytes, Some(cx.waker())).unwrap() {
                0 => return Poll::Pending,
                n => bytes = &bytes[n..],
            }
        }
        Poll::Ready(())
    })
    .await;
}

async fn read_to_end(end: &PipeEnd) -> Vec<u8> {
    let mut all = Vec::new();
    poll_fn(|cx| {
        loop {
            match end.read(2, Some(cx.waker())) {
                Read::Data(bytes) => all.extend_from_slice(&bytes),
                Read::Eof => return Poll::Ready(()),
                Read::Pending => return Poll::Pending,
                Read::Failed(why) => panic!("{why}"),
            }
        }
    })
    .await;
    all
}

/// Counts what it is told.
#[derive(Default)]
struct Told {
    closed: AtomicUsize,
    finished: AtomicUsize,
}

impl Observer for Told {
    fn notify(&self, events: Events) {
        let count = |counter: &AtomicUsize, event: Events| {
            if events.bits() & event.bits() != 0 {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        };
        count(&self.closed, Events::CLOSED);
        count(&self.finished, Events::FINISHED);
    }
}

#[test]
fn a_writer_and_a_reader_who_wait_for_each_other_are_both_woken() {
    const { assert!(TEXT.len() > CAPACITY) };
    loom::model(|| {
        let (near, far) = pipe();
        let writing = thread::spawn(move || {
            block_on(write_all(&near, TEXT));
            near.finish(None).unwrap();
            near
        });
        assert_eq!(block_on(read_to_end(&far)), TEXT);
        drop(writing.join());
    });
}

#[test]
fn an_end_that_goes_away_wakes_who_waits_to_read_and_to_write() {
    loom::model(|| {
        let (near, far) = pipe();
        let going = thread::spawn(move || drop(far));
        let lost = block_on(poll_fn(|cx| match near.write(TEXT, Some(cx.waker())) {
            Ok(0) => Poll::Pending,
            Ok(_) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Err(why) => Poll::Ready(why),
        }));
        assert_eq!(lost.code().as_str(), "EPIPE");
        assert!(block_on(read_to_end(&near)).is_empty());
        going.join().unwrap();
    });
}

#[test]
fn the_end_is_told_once_at_each_side_however_both_end_at_once() {
    loom::model(|| {
        let told: [Arc<Told>; 2] = Default::default();
        let (near, far) = pipe();
        near.observe(Arc::clone(&told[0]) as Arc<dyn Observer>);
        far.observe(Arc::clone(&told[1]) as Arc<dyn Observer>);
        let other = thread::spawn(move || {
            far.finish(None).unwrap();
            far
        });
        near.finish(None).unwrap();
        let far = other.join().unwrap();
        for side in &told {
            assert_eq!(side.closed.load(Ordering::Relaxed), 1);
            assert_eq!(side.finished.load(Ordering::Relaxed), 1);
        }
        drop((near, far));
        assert!(told.iter().all(|side| side.closed.load(Ordering::Relaxed) == 1));
    });
}
