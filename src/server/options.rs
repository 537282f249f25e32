//! What a server is told.

use std::path::PathBuf;

use super::{BusOptions, ForwardPolicy};
use crate::auth::{KeySource, Limits, Passphrase};
use crate::config::{AcmeOptions, TlsVersion, Transport};
use crate::dial::Proxy;
use crate::ssh::{DEFAULT_REKEY_BYTES, DEFAULT_WINDOW, Keepalive};

/// How to serve.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Addresses to listen on, `host:port` or `tcp://host:port`; port 0 takes a free one. One address and many transports: each listens
    /// there. As many of either: one of each. Default `0.0.0.0` at the port of the transport, 22 for TCP.
    pub listen: Vec<String>,
    /// How bytes travel. Empty, the default, is TCP.
    pub transport: Vec<Transport>,
    /// The file of the key whose public half is the endpoint id, for iroh: Ed25519 in OpenSSH format, made if it is not there. Default
    /// `None`: a fresh key, and so another id at each start. On Unix, one server of a machine at a time: `EADDRINUSE` for a second.
    pub iroh_key: Option<PathBuf>,
    /// The relay by which iroh can be reached too, as a URL. Default `None`: no relay.
    pub iroh_relay: Option<String>,
    /// PEM certificates that vouch for the relay's TLS besides the public authorities. Default `None`.
    pub tls_ca: Option<KeySource>,
    /// The host key; made afresh when missing. The file must be readable by its owner only. RSA: 3,072 bits at least.
    pub host_key: Option<KeySource>,
    /// The host key's passphrase, if it has one.
    pub host_key_passphrase: Option<Passphrase>,
    /// The host key's OpenSSH certificate, shown to clients that ask for one; the others see the key. Read once.
    pub host_certificate: Option<KeySource>,
    /// Who may log in: sshd(8), AUTHORIZED_KEYS FILE FORMAT, as docs/keys.md tells. A file must not be writable by others, and is
    /// read again when it has changed. Required, unless there is a `cert_authority`.
    pub authorized_keys: Option<KeySource>,
    /// Public keys whose user certificates may log in, in lines as those of `authorized_keys`, options included.
    pub cert_authority: Option<KeySource>,
    /// What may not log in whatever else is said: lines with a public key, `SHA256:…`, `serial: N`, `serial: N-M` or `id: NAME`, or the
    /// binary list that `ssh-keygen -k` makes of such lines. Like the other two, a file must not be writable by others, and is read again when it has changed.
    pub revoked_keys: Option<KeySource>,
    /// For TLS: the certificate and those that vouch for it, in PEM form, its own first. A file is read again when it has changed.
    pub tls_cert: Option<KeySource>,
    /// For TLS: the private key of the certificate, in PEM form. The file must be readable by its owner only.
    pub tls_key: Option<KeySource>,
    /// For TLS: a certificate that an authority issues and the server renews, instead of the other two. Default `None`.
    pub acme: Option<AcmeOptions>,
    /// With `acme`: PEM certificates that vouch for the authority's own server, instead of the public authorities.
    pub acme_ca: Option<KeySource>,
    /// For TLS: the oldest version that is spoken. Default 1.3.
    pub tls_min: TlsVersion,
    /// Has who does not speak SSH see a web server on the ports of [`Transport::Tls`] and [`Transport::Wss`]. Default false.
    pub stealth: bool,
    /// Names by which clients may call a WebSocket's server, without ports. Default: any.
    pub ws_hosts: Vec<String>,
    /// Origins (`https://app.example`) of web pages that may open the WebSocket. Programs send none, and may. Default: none.
    pub ws_origins: Vec<String>,
    /// Takes key files whatever their owner and mode: for containers whose mounts cannot have others. Default false.
    pub insecure_permissions: bool,
    /// When silence means that a peer is gone.
    pub keepalive: Keepalive,
    /// Bytes a peer may send before they are consumed, per stream. Default 4 MiB.
    pub window: u32,
    /// Bytes of one direction after which keys are exchanged anew, 1 MiB to 1 GiB. Default 1 GiB.
    pub rekey_bytes: u32,
    /// Bounds.
    pub limits: Limits,
    /// What clients may reach through this server, and where they may listen. Default `None`: nothing but [`crate::CONTROL`].
    pub forwarding: Option<ForwardPolicy>,
    /// What TCP targets of clients are dialled through. Names are left to it; see docs/proxies.md for what that means. Default `None`.
    pub proxy: Option<Proxy>,
    /// Whether streams to [`crate::CONTROL`] are accepted, for [`crate::Server::accept`] to take. Default true.
    pub control: bool,
    /// Bridges these streams to an in-process bus; then [`crate::Server::accept`] gets none. Default `None`.
    pub bus: Option<BusOptions>,
    /// Address at which counters are served for Prometheus, over HTTP and to whoever can connect. Port 0 takes a free one. Default `None`.
    pub metrics: Option<String>,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            listen: vec!["0.0.0.0".into()],
            transport: Vec::new(),
            iroh_key: None,
            iroh_relay: None,
            tls_ca: None,
            host_key: None,
            host_key_passphrase: None,
            host_certificate: None,
            authorized_keys: None,
            cert_authority: None,
            revoked_keys: None,
            tls_cert: None,
            tls_key: None,
            acme: None,
            acme_ca: None,
            tls_min: TlsVersion::default(),
            stealth: false,
            ws_hosts: Vec::new(),
            ws_origins: Vec::new(),
            insecure_permissions: false,
            keepalive: Keepalive::default(),
            window: DEFAULT_WINDOW,
            rekey_bytes: DEFAULT_REKEY_BYTES,
            limits: Limits::default(),
            forwarding: None,
            proxy: None,
            control: true,
            bus: None,
            metrics: None,
        }
    }
}
