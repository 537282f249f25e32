//! Flow control between two ends, over loopback TCP: who is held up by whom, and who never is.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "this is a test")]

#[allow(dead_code, reason = "each file of tests uses a part of it")]
mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use alknet::{Error, Events, Observer, Read, Stream, Target};
use futures_util::FutureExt;
use futures_util::future::join_all;
use russh::ChannelMsg;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use support::{Host, MIB, SMALLEST, Silent, echo, ended, receive, send, until, watched};

/// The longest packet a server of ours allows.
const PACKET: usize = 60 * 1024;

/// The code of the failure that a read ends with, after what had arrived before.
async fn code_at_end(stream: &mut Stream) -> &'static str {
    let error = stream.read_to_end(&mut Vec::new()).await.expect_err("a failure");
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    inner.expect("a failure of ours").code().as_str()
}

/// Fills `reader` from `writer` and leaves it alone while `near` and `far` work, then reads everything.
async fn stall(writer: &mut Stream, reader: &mut Stream, near: &mut Stream, far: &mut Stream) {
    let work = async {
        until(|| reader.buffered().0 >= MIB).await;
        echo(near, far, 32 * MIB).await;
        assert_eq!(reader.buffered().0, MIB);
        receive(reader, 3, 8 * MIB).await;
    };
    tokio::join!(send(writer, 3, 8 * MIB), work);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_reader_of_a_client_holds_its_window_and_nobody_up() {
    watched(async {
        let host = Host::new(MIB as u32).await;
        let session = host.session(MIB as u32).await;
        let (mut reader, mut writer) = host.pair(&session).await;
        let (mut near, mut far) = host.pair(&session).await;
        stall(&mut writer, &mut reader, &mut near, &mut far).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_reader_of_a_server_holds_its_window_and_nobody_up() {
    watched(async {
        let host = Host::new(MIB as u32).await;
        let session = host.session(MIB as u32).await;
        let (mut writer, mut reader) = host.pair(&session).await;
        let (mut near, mut far) = host.pair(&session).await;
        stall(&mut writer, &mut reader, &mut near, &mut far).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_transfers_up_and_eight_down_complete_on_one_session() {
    watched(async {
        let host = Host::new(MIB as u32).await;
        let session = host.session(MIB as u32).await;
        let mut transfers = Vec::new();
        for tag in 0..16_u8 {
            let (near, far) = host.pair(&session).await;
            let (mut from, mut to) = if tag % 2 == 0 { (near, far) } else { (far, near) };
            transfers.push(async move {
                let sending = async {
                    send(&mut from, tag, 4 * MIB).await;
                    from.shutdown().await.expect("an end");
                };
                tokio::join!(sending, async {
                    receive(&mut to, tag, 4 * MIB).await;
                    ended(&mut to).await;
                });
            });
        }
        join_all(transfers).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_writes_16_mib_before_it_reads_16_mib_completes() {
    watched(async {
        let host = Host::new(SMALLEST).await;
        let session = host.session(SMALLEST).await;
        let (near, mut far) = host.pair(&session).await;
        let (mut near_in, mut near_out) = tokio::io::split(near);
        tokio::join!(send(&mut near_out, 1, 16 * MIB), receive(&mut near_in, 2, 16 * MIB), async {
            send(&mut far, 2, 16 * MIB).await;
            receive(&mut far, 1, 16 * MIB).await;
        });
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_close_leaves_100_mib_to_come_the_other_way() {
    watched(async {
        let host = Host::new(SMALLEST).await;
        let session = host.session(SMALLEST).await;
        let (mut near, mut far) = host.pair(&session).await;
        near.shutdown().await.expect("our end");
        ended(&mut far).await;
        let sending = async {
            send(&mut far, 4, 100 * MIB).await;
            far.shutdown().await.expect("their end");
        };
        tokio::join!(sending, receive(&mut near, 4, 100 * MIB));
        ended(&mut near).await;
        assert!(near.failure().is_none() && far.failure().is_none());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reading_side_that_is_never_polled_outlasts_more_than_100_window_adjusts() {
    watched(async {
        let host = Host::new(SMALLEST).await;
        let session = host.session(SMALLEST).await;
        let (mut near, mut far) = host.pair(&session).await;
        let (mut other, mut other_far) = host.pair(&session).await;
        // What stays unread at the near end all the while.
        send(&mut far, 5, SMALLEST as usize).await;
        // An SSH window of 512 KiB, refilled by halves: 64 MiB take 256 adjusts.
        tokio::join!(send(&mut near, 6, 64 * MIB), receive(&mut far, 6, 64 * MIB));
        near.shutdown().await.expect("an end");
        ended(&mut far).await;
        echo(&mut other, &mut other_far, MIB).await;
        let (mut new, mut new_far) = host.pair(&session).await;
        echo(&mut new, &mut new_far, MIB).await;
        receive(&mut near, 5, SMALLEST as usize).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn up_to_16_mib_unread_from_a_foreign_peer_hold_no_other_stream_up() {
    watched(async {
        let host = Host::new(SMALLEST).await;
        let handle = host.foreigner(None).await;
        let (mut writer, mut reader) = host.foreign_pair(&handle).await;
        let (mut near, mut far) = host.foreign_pair(&handle).await;
        send(&mut writer, 7, 16 * MIB).await;
        until(|| reader.buffered().0 >= 16 * MIB).await;
        echo(&mut near, &mut far, MIB).await;
        assert_eq!(reader.buffered().0, 16 * MIB);
        // More than that is paced, not lost.
        let more = async {
            send(&mut writer, 8, 16 * MIB).await;
            writer.shutdown().await.expect("an end");
        };
        tokio::join!(more, async {
            until(|| reader.buffered().0 > 16 * MIB).await;
            assert!(reader.buffered().0 <= 16 * MIB + PACKET);
            receive(&mut reader, 7, 16 * MIB).await;
            receive(&mut reader, 8, 16 * MIB).await;
            ended(&mut reader).await;
        });
    })
    .await;
}

/// Takes the 10 s that a consumer is given.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_peers_stream_that_is_not_read_at_all_is_closed_alone() {
    watched(async {
        let host = Host::new(SMALLEST).await;
        let handle = host.foreigner(None).await;
        let (writer, reader) = host.foreign_pair(&handle).await;
        let (mut near, mut far) = host.foreign_pair(&handle).await;
        let (mut writer_in, mut writer_out) = tokio::io::split(writer);
        let flood = async {
            send(&mut writer_out, 7, 24 * MIB).await;
            std::future::pending::<()>().await;
        };
        let work = async {
            until(|| reader.buffered().0 > 16 * MIB).await;
            assert!(reader.buffered().0 <= 16 * MIB + PACKET);
            // Held up until the other stream is given up.
            echo(&mut near, &mut far, MIB).await;
            let failure = reader.failure().expect("a failure");
            assert_eq!(failure.code().as_str(), "ECONNABORTED");
            ended(&mut writer_in).await;
        };
        tokio::select! {
            () = flood => {}
            () = work => {}
        }
        let (mut new, mut new_far) = host.foreign_pair(&handle).await;
        echo(&mut new, &mut new_far, MIB).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_sends_more_than_its_credit_loses_its_session() {
    watched(async {
        let host = Host::new(SMALLEST).await;
        let mut handle = host.foreigner(Some("SSH-2.0-alknet_0")).await;
        let (mut writer, mut reader) = host.foreign_pair(&handle).await;
        let (_near, mut far) = host.foreign_pair(&handle).await;
        let pattern = vec![0; 4 * MIB];
        let flood = async {
            // Fails when the session ends under it, which may be before or after the last byte was taken.
            let _ = writer.write_all(&pattern).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = flood => {}
            _ = &mut handle => {}
        }
        assert_eq!(code_at_end(&mut reader).await, "ERR_ALKNET_PROTOCOL");
        assert_eq!(code_at_end(&mut far).await, "ERR_ALKNET_PROTOCOL");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_stream_closes_its_channel_at_the_peer_and_no_other() {
    watched(async {
        let host = Host::new(SMALLEST).await;
        let session = host.session(SMALLEST).await;
        let (mut other, mut other_far) = host.pair(&session).await;
        let (near, mut far) = host.pair(&session).await;
        drop(near);
        assert_eq!(code_at_end(&mut far).await, "ECONNRESET");
        let (mut near, far) = host.pair(&session).await;
        drop(far);
        assert_eq!(code_at_end(&mut near).await, "ECONNRESET");
        echo(&mut other, &mut other_far, MIB).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_connect_leaves_no_session_behind() {
    watched(async {
        let server = Silent::new().await;
        let options = server.options();
        let target = Target::control();
        let serving = server.serve_one();
        tokio::pin!(serving);
        // Logged in, and the channel is asked for: now the attempt is dropped.
        tokio::select! {
            opened = alknet::connect(&options, &target) => panic!("nobody answers: {opened:?}"),
            () = &mut serving => panic!("the connection has ended by itself"),
            () = server.asked.notified() => {}
        }
        serving.await;
    })
    .await;
}

/// Reads all there is whenever it is told, from within the telling.
#[derive(Default)]
struct Eager {
    stream: OnceLock<Arc<Stream>>,
    read: AtomicUsize,
}

impl Eager {
    fn drain(&self) {
        while let Some(Read::Data(bytes)) = self.stream.get().map(|s| s.try_read(64 * 1024)) {
            self.read.fetch_add(bytes.len(), Ordering::AcqRel);
        }
    }
}

impl Observer for Eager {
    fn notify(&self, _events: Events) {
        self.drain();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observer_may_read_as_soon_as_it_is_told() {
    watched(async {
        let host = Host::new(MIB as u32).await;
        let session = host.session(MIB as u32).await;
        let (mut writer, reader) = host.pair(&session).await;
        let eager = Arc::new(Eager::default());
        reader.observe(Arc::<Eager>::clone(&eager));
        eager.stream.set(Arc::new(reader)).expect("set once");
        eager.drain();
        let all = until(|| eager.read.load(Ordering::Acquire) == 32 * MIB);
        tokio::join!(send(&mut writer, 1, 32 * MIB), all);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_leaves_the_first_close_to_its_client() {
    watched(async {
        let host = Host::new(MIB as u32).await;
        let handle = host.foreigner(Some("SSH-2.0-alknet_0")).await;
        // The first of a session may be its only one, and is closed at once.
        let _first = host.foreign_pair(&handle).await;
        let opened = handle.channel_open_direct_tcpip(alknet::CONTROL, 0, "127.0.0.1", 0);
        let (channel, far) = tokio::join!(opened, host.accept());
        let (mut channel, mut far) = (channel.expect("an open channel"), far);
        channel.eof().await.expect("an end of this side");
        far.read_to_end(&mut Vec::new()).await.expect("the end of the other");
        far.shutdown().await.expect("an end of that side");
        assert!(matches!(channel.wait().await, Some(ChannelMsg::Eof)));
        // What the server had to say of the first stream, it has said before the second is through.
        let (mut near, mut other) = host.foreign_pair(&handle).await;
        for byte in 0..3 {
            other.write_all(&[byte]).await.expect("room for a byte");
            near.read_exact(&mut [0]).await.expect("that byte");
        }
        assert!(channel.wait().now_or_never().is_none(), "the server was first");
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_was_granted_but_never_taken_is_closed() {
    watched(async {
        let host = Host::new(MIB as u32).await;
        let session = host.session(MIB as u32).await;
        let target = Target::control();
        let mut given_up = Box::pin(session.open(&target, Duration::from_secs(60)));
        assert!(given_up.as_mut().now_or_never().is_none());
        let mut granted = host.accept().await;
        // Answers come in the order of their requests: once this one is there, that of the first was too.
        let (mut ours, mut theirs) = host.pair(&session).await;
        drop(given_up);
        let mut rest = Vec::new();
        assert!(granted.read_to_end(&mut rest).await.is_err() || rest.is_empty());
        echo(&mut ours, &mut theirs, MIB).await;
    })
    .await;
}
