//! An authenticated byte stream from here to there, over SSH.
//!
//! [`connect`] opens a stream to a server, [`serve`] accepts them. A [`Stream`] is `AsyncRead + AsyncWrite`, has half-close, and its
//! own flow control: a reader that stops stops nobody else. Everything runs on the caller's tokio runtime; the library
//! installs no signal handler, logger or global.

#![forbid(unsafe_code)]

mod auth;
mod backoff;
#[cfg(feature = "cli")]
pub mod cli;
mod client;
mod config;
mod dial;
mod error;
pub mod event;
mod forward;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
#[cfg(feature = "ws")]
#[allow(dead_code, unused_imports, reason = "a room of several callers, who take what they need")]
mod http;
mod io;
mod listen;
#[cfg(all(unix, feature = "cli"))]
mod manage;
#[cfg(feature = "nats")]
mod nats;
#[cfg(any(feature = "acme", all(unix, feature = "cli")))]
#[allow(dead_code, reason = "a room of several callers, who take what they need")]
mod private;
#[doc(hidden)]
pub mod runtime;
mod scope;
mod server;
mod ssh;
mod target;
mod transport;
#[cfg(feature = "ws")]
#[cfg_attr(
    not(feature = "cli"),
    allow(dead_code, unused_imports, reason = "only the command line has all of its pieces")
)]
mod tunnel;

pub use auth::{CertificateInfo, KeyInfo, KeySource, Limits, Passphrase, Penalties, Trust};
pub use client::{
    ChannelManager, ConnectOptions, ForwardOptions, Jump, LocalForwarder, Metrics, Proxy,
    Reconnect, RemoteForwarder, Route, SocksForwarder, SocksLogin, Standing, connect,
    count_agent_keys, inspect_key, open_session,
};
#[cfg(feature = "ws")]
pub use client::{Tunnel, TunnelOptions};
pub use config::{
    AcmeOptions, AcmeStatus, Bind, Family, PortForwardSpec, RelayStatus, TlsVersion, Transport,
};
pub use error::{Code, Error, Phase, Refusal, Result, posix_name};
pub use forward::ForwardMetrics;
pub use server::{Authorize, BusOptions, EventBus, ForwardPolicy, ServeOptions, Server, serve};
pub use ssh::{Events, Info, Keepalive, Observer, Read, Session, Stream};
pub use target::{CONTROL, HostPort, Target};
