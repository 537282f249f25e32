//! What must hold of a multiplexer whatever it is sent.
#![allow(clippy::expect_used, reason = "a property that does not hold is told by a panic")]

use bytes::Bytes;

use super::flow::Pull;
use super::frame::{HEADER, MAX_MESSAGE, decode, with_id};
use super::mux::{Event, MAX_IDS, Mux, Side};

/// Messages, each behind its length in one byte, to both kinds of ends, which answer what they can: what is sent is well formed, what
/// is held is bounded by what came, and once all ids are closed nothing is kept.
pub(crate) fn messages(data: &[u8]) {
    for side in [
        Side::Acceptor { terminals: false },
        Side::Acceptor { terminals: true },
        Side::Opener { extended: false },
        Side::Opener { extended: true },
    ] {
        let mut mux = Mux::new(side);
        if matches!(side, Side::Opener { .. }) {
            for port in 1..=3 {
                mux.open(super::frame::Proto::Tcp, port).expect("room for three");
            }
        }
        let (mut rest, mut came, mut ids) = (data, 0, vec![1, 2, 3]);
        while let Some((length, tail)) = rest.split_first() {
            let (message, tail) = tail.split_at(tail.len().min(usize::from(*length)));
            rest = tail;
            came += message.len();
            let message = Bytes::copy_from_slice(message);
            rewritten(&message);
            match mux.receive(&message) {
                Err(_) => assert!(message.len() < HEADER),
                Ok(None) => {}
                Ok(Some(Event::Changed(id))) => taken(&mut mux, id),
                Ok(Some(Event::Asked { id, port, .. })) => {
                    assert_ne!(port, 0);
                    ids.push(id);
                    if port.is_multiple_of(3) {
                        mux.refuse(id, "no");
                    } else {
                        assert!(mux.accept(id));
                    }
                }
            }
            assert!(mux.len() <= MAX_IDS);
            assert!(ids.iter().map(|id| mux.held(*id)).max() <= Some(came));
            sent(&mut mux);
        }
        mux.tick();
        ids.iter().for_each(|id| mux.close(*id));
        sent(&mut mux);
        assert_eq!((mux.len(), mux.crowded()), (0, None));
    }
}

/// Ids change and nothing else does.
fn rewritten(message: &Bytes) {
    let Ok((before, payload)) = decode(message) else { return };
    let (after, same) = decode(&with_id(message.clone(), !before.id)).expect("still a message");
    assert_eq!((after.kind, after.proto, after.port), (before.kind, before.proto, before.port));
    assert_eq!((after.id, same), (!before.id, payload));
}

/// Reads about half of the ids, and echoes.
fn taken(mux: &mut Mux, id: u32) {
    if id.is_multiple_of(2) {
        return;
    }
    loop {
        match mux.pull(id, 100) {
            Pull::Data(bytes) => {
                if mux.room(id).is_some_and(|room| room >= bytes.len()) {
                    mux.push(id, bytes);
                }
            }
            Pull::End => {
                mux.finish(id);
                return;
            }
            Pull::Wait | Pull::Failed(_) => return,
        }
    }
}

fn sent(mux: &mut Mux) {
    while let Some(message) = mux.transmit() {
        assert!(message.len() <= MAX_MESSAGE);
        assert!(decode(&message).expect("well formed").0.kind().is_some());
    }
}
