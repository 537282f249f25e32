//! What we negotiate and the numbers behind a session, for both roles.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::{Algorithm, Certificate, EcdsaCurve, HashAlg, PrivateKey};
use russh::{
    Limits, MethodKind, MethodSet, Names, Preferred, SshId, cipher, client, compression, kex, mac,
    server,
};

use crate::error::{Error, Result};

/// Our identification (RFC 4253 §4.2): the major version says which credits we speak, nothing tells the build.
pub(super) const IDENT: &str = "SSH-2.0-alknet_0";

/// Largest channel packet. 32 KiB, the usual size, costs a fifth more processor time per byte; 64 KiB and above is too much for
/// some peers. Foreign peers' own limits are respected.
const PACKET: u32 = 60 * 1024;

/// Messages from a session's loop to a channel; they are taken at once, so this only absorbs bursts.
const QUEUE: usize = 32;

/// Messages from the channels to a server's loop, which seals all that wait before it writes: as much as a cache holds.
const BATCH: usize = 8;

/// How long a refused log-in takes, whatever stands against it, and how much more or less (reference table: reject time).
const REJECTION_TIME: Duration = Duration::from_millis(300);
const REJECTION_JITTER: Duration = Duration::from_millis(50);

/// Least and largest credit window: docs/wire.md.
pub(super) const WINDOW: std::ops::RangeInclusive<u32> = 256 * 1024..=16 * 1024 * 1024;

/// Default credit window. Half of it costs a fifth of the throughput between two programs on one machine: their threads are woken
/// twice as often.
pub(crate) const DEFAULT_WINDOW: u32 = 4 * 1024 * 1024;

/// Bytes of one direction after which keys are exchanged anew. Below, a session does little else; above, RFC 4253 §9 warns.
const REKEY_BYTES: std::ops::RangeInclusive<u32> = 1024 * 1024..=DEFAULT_REKEY_BYTES;

/// Default of the same: 1 GiB (RFC 4253 §9). russh does it after an hour, too.
pub(crate) const DEFAULT_REKEY_BYTES: u32 = 1 << 30;

/// When silence means that the peer is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence after which the peer is asked. Zero turns it off.
    pub interval: Duration,
    /// Unanswered questions that end the session: half an interval after the last of them, or 52.5 s by default.
    pub count: u32,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self { interval: Duration::from_secs(15), count: 3 }
    }
}

impl Keepalive {
    fn interval(self) -> Option<Duration> {
        (!self.interval.is_zero()).then_some(self.interval)
    }

    /// How long a peer may say nothing: all questions, and half an interval for the answer to the last.
    pub(super) fn silence(self) -> Option<Duration> {
        self.interval().map(|interval| interval * self.count.max(1) + interval / 2)
    }

    /// Twice what keepalives allow: the net below the net, for a peer that answers them and nothing else.
    fn inactivity(self) -> Option<Duration> {
        self.interval().map(|interval| interval * self.count.max(1) * 2)
    }
}

/// What a session of either role is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionSettings {
    pub(crate) window: u32,
    pub(crate) keepalive: Keepalive,
    pub(crate) rekey_bytes: u32,
}

impl SessionSettings {
    /// # Errors
    /// `ERR_ALKNET_CONFIG` when a number is out of its range.
    pub(crate) fn checked(self) -> Result<Self> {
        if !WINDOW.contains(&self.window) {
            return Err(Error::config("window must be 256 KiB to 16 MiB"));
        }
        if !REKEY_BYTES.contains(&self.rekey_bytes) {
            return Err(Error::config("rekeyBytes must be 1 MiB to 1 GiB"));
        }
        Ok(self)
    }

    fn limits(self) -> Limits {
        let bytes = self.rekey_bytes as usize;
        Limits { rekey_write_limit: bytes, rekey_read_limit: bytes, ..Limits::default() }
    }
}

/// `host_keys` are the types of host key that are known of the server: they are asked for first. With `certificates`, those of all types
/// come before.
pub(super) fn client(
    settings: SessionSettings,
    host_keys: &[Algorithm],
    certificates: bool,
) -> Arc<client::Config> {
    let SessionSettings { window, keepalive, .. } = settings;
    let mut preferred = preferred();
    let is_known = |offered: &Algorithm| {
        host_keys.iter().any(|known| match offered {
            // The hash is a matter of the signature: the key is the same.
            Algorithm::Rsa { .. } => matches!(known, Algorithm::Rsa { .. }),
            _ => known == offered,
        })
    };
    preferred.key.to_mut().sort_by_key(|offered| !is_known(offered));
    if certificates {
        preferred.host_key_certificates = preferred.key.clone();
    }
    Arc::new(client::Config {
        client_id: SshId::Standard(Cow::Borrowed(IDENT)),
        limits: settings.limits(),
        window_size: window.saturating_mul(2),
        maximum_packet_size: PACKET,
        channel_buffer_size: QUEUE,
        preferred,
        inactivity_timeout: keepalive.inactivity(),
        keepalive_interval: keepalive.interval(),
        keepalive_max: keepalive.count as usize,
        ..client::Config::default()
    })
}

/// What a server's sessions run with.
pub(crate) struct ServerConfigs {
    strict: Arc<server::Config>,
    /// Without chacha20, which needs strict key exchange.
    careful: Arc<server::Config>,
    silence: Option<Duration>,
}

impl ServerConfigs {
    pub(crate) fn new(
        key: &PrivateKey,
        certificate: Option<&Certificate>,
        settings: SessionSettings,
        attempts: u32,
    ) -> Self {
        let mut careful = preferred();
        careful.cipher = Cow::Borrowed(&[cipher::AES_128_GCM, cipher::AES_256_GCM]);
        Self {
            strict: server(key, certificate, settings, attempts, preferred()),
            careful: server(key, certificate, settings, attempts, careful),
            silence: settings.keepalive.silence(),
        }
    }

    /// As [`Keepalive::silence`].
    pub(super) fn silence(&self) -> Option<Duration> {
        self.silence
    }

    /// That of a session whose client does strict key exchange or not.
    pub(super) fn of_session(&self, is_strict: bool) -> Arc<server::Config> {
        Arc::clone(if is_strict { &self.strict } else { &self.careful })
    }
}

/// How long an answer to a refused log-in is put off.
pub(super) fn rejection_time() -> Duration {
    REJECTION_TIME - REJECTION_JITTER + REJECTION_JITTER.mul_f64(2.0 * fastrand::f64())
}

fn server(
    key: &PrivateKey,
    certificate: Option<&Certificate>,
    settings: SessionSettings,
    attempts: u32,
    preferred: Preferred,
) -> Arc<server::Config> {
    let SessionSettings { window, keepalive, .. } = settings;
    Arc::new(server::Config {
        server_id: SshId::Standard(Cow::Borrowed(IDENT)),
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        // Constant, so that an unknown key and an unknown user take the same time; the handler adds the jitter.
        auth_rejection_time: REJECTION_TIME - REJECTION_JITTER,
        // Clients ask with "none" first to learn the methods.
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![key.clone()],
        certificates: certificate.cloned().into_iter().collect(),
        limits: settings.limits(),
        window_size: window.saturating_mul(2),
        maximum_packet_size: PACKET,
        channel_buffer_size: QUEUE,
        event_buffer_size: BATCH,
        preferred,
        max_auth_attempts: attempts as usize,
        inactivity_timeout: keepalive.inactivity(),
        keepalive_interval: keepalive.interval(),
        keepalive_max: keepalive.count as usize,
        ..server::Config::default()
    })
}

/// Whether an attacker in between could take messages out at the start of the session: chacha20-poly1305 without strict key exchange
/// (CVE-2023-48795). AES-GCM is safe either way.
pub(super) fn is_open_to_terrapin(names: &Names) -> bool {
    names.cipher == cipher::CHACHA20_POLY1305 && !names.strict_kex()
}

/// AES-GCM first: with AES instructions it costs a third of chacha20. No SHA-1, no CBC, no classic Diffie-Hellman, no compression.
fn preferred() -> Preferred {
    const RSA_512: Algorithm = Algorithm::Rsa { hash: Some(HashAlg::Sha512) };
    const RSA_256: Algorithm = Algorithm::Rsa { hash: Some(HashAlg::Sha256) };
    Preferred {
        kex: Cow::Borrowed(&[
            kex::MLKEM768X25519_SHA256,
            kex::CURVE25519,
            kex::CURVE25519_PRE_RFC_8731,
            kex::EXTENSION_SUPPORT_AS_CLIENT,
            kex::EXTENSION_SUPPORT_AS_SERVER,
            kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
            kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
        ]),
        key: Cow::Borrowed(&[
            Algorithm::Ed25519,
            Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
            Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
            Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
            RSA_512,
            RSA_256,
        ]),
        cipher: Cow::Borrowed(&[
            cipher::AES_128_GCM,
            cipher::AES_256_GCM,
            cipher::CHACHA20_POLY1305,
        ]),
        mac: Cow::Borrowed(&[mac::HMAC_SHA512_ETM, mac::HMAC_SHA256_ETM]),
        compression: Cow::Borrowed(&[compression::NONE]),
        ..Preferred::default()
    }
}
