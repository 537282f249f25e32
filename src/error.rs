//! Every failure that leaves the crate: a stable code for programs, a sentence for people.

mod usual;

use std::io;
use std::sync::Arc;

/// The result of everything fallible here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure it was. [`Code::as_str`] is what programs match on; docs/errors.md has a row for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// An option is missing, malformed or contradicts another.
    Config,
    /// A key could not be read as an OpenSSH key.
    KeyInvalid,
    /// The server did not accept the key for this user.
    AuthRejected,
    /// The server has as many sessions as it takes, in all or with this key.
    TooManySessions,
    /// No host key was given or is known to compare the server's with.
    HostKeyUnknown,
    /// The server's host key is not one of those given or known.
    HostKeyChanged,
    /// The server's host key is marked as revoked.
    HostKeyRevoked,
    /// A proxy could not be reached, or does not connect.
    Proxy,
    /// The TLS handshake failed: the certificate above all.
    Tls,
    /// The peer did not get through a phase of the handshake in time.
    HandshakeTimeout,
    /// The peer refused to open the channel.
    ChannelRejected,
    /// The session is over, and everything on it.
    SessionClosed,
    /// There is no session at the moment, and none came in time; attempts go on.
    Reconnecting,
    /// The peer does not speak SSH, or broke its rules.
    Protocol,
    /// An event frame is longer than the limit.
    FrameTooLarge,
    /// An event frame is not a valid envelope.
    FrameInvalid,
    /// The bus closed a stream because its events were not taken fast enough.
    SlowConsumer,
    /// There is a managed forwarder of that port or name already, and it does something else.
    ForwarderExists,
    /// There is no managed forwarder of that port or name.
    ForwarderNotFound,
    /// A fact of an operating system, here or at the far end of a channel, under its POSIX name.
    System(&'static str),
}

impl Code {
    /// The stable text: `ERR_ALKNET_…` or a POSIX name such as `ECONNREFUSED`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "ERR_ALKNET_CONFIG",
            Self::KeyInvalid => "ERR_ALKNET_KEY_INVALID",
            Self::AuthRejected => "ERR_ALKNET_AUTH_REJECTED",
            Self::TooManySessions => "ERR_ALKNET_TOO_MANY_SESSIONS",
            Self::HostKeyUnknown => "ERR_ALKNET_HOST_KEY_UNKNOWN",
            Self::HostKeyChanged => "ERR_ALKNET_HOST_KEY_CHANGED",
            Self::HostKeyRevoked => "ERR_ALKNET_HOST_KEY_REVOKED",
            Self::Proxy => "ERR_ALKNET_PROXY",
            Self::Tls => "ERR_ALKNET_TLS",
            Self::HandshakeTimeout => "ERR_ALKNET_HANDSHAKE_TIMEOUT",
            Self::ChannelRejected => "ERR_ALKNET_CHANNEL_REJECTED",
            Self::SessionClosed => "ERR_ALKNET_SESSION_CLOSED",
            Self::Reconnecting => "ERR_ALKNET_RECONNECTING",
            Self::Protocol => "ERR_ALKNET_PROTOCOL",
            Self::FrameTooLarge => "ERR_ALKNET_FRAME_TOO_LARGE",
            Self::FrameInvalid => "ERR_ALKNET_FRAME_INVALID",
            Self::SlowConsumer => "ERR_ALKNET_SLOW_CONSUMER",
            Self::ForwarderExists => "ERR_ALKNET_FORWARDER_EXISTS",
            Self::ForwarderNotFound => "ERR_ALKNET_FORWARDER_NOT_FOUND",
            Self::System(name) => name,
        }
    }

    /// Whether a further attempt to connect would give the same answer.
    pub(crate) fn is_permanent(self) -> bool {
        let host_key =
            matches!(self, Self::HostKeyUnknown | Self::HostKeyChanged | Self::HostKeyRevoked);
        host_key || matches!(self, Self::Config | Self::KeyInvalid)
    }
}

/// Where an attempt was when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// Reading options and keys.
    Config,
    /// Looking a name up.
    Dns,
    /// Connecting the transport.
    Tcp,
    /// Its TLS handshake.
    Tls,
    /// Its upgrade from HTTP to a WebSocket.
    Upgrade,
    /// Identification and key exchange.
    Kex,
    /// Checking who the server is.
    HostKey,
    /// Logging in.
    Auth,
    /// Opening a channel.
    Channel,
    /// On an open stream.
    Stream,
    /// Binding a listener.
    Listen,
}

impl Phase {
    /// The phase's name, as programs see it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Upgrade => "upgrade",
            Self::Kex => "kex",
            Self::HostKey => "hostkey",
            Self::Auth => "auth",
            Self::Channel => "channel",
            Self::Stream => "stream",
            Self::Listen => "listen",
        }
    }
}

/// A peer's reason for refusing a channel (RFC 4254 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Reason 1, and any code the RFC does not name.
    Prohibited,
    /// Reason 2.
    ConnectFailed,
    /// Reason 3.
    UnknownType,
    /// Reason 4.
    ResourceShortage,
}

impl Refusal {
    /// The reason's name, as programs see it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prohibited => "prohibited",
            Self::ConnectFailed => "connect-failed",
            Self::UnknownType => "unknown-type",
            Self::ResourceShortage => "resource-shortage",
        }
    }
}

/// A failure. `Display` is for people and may change; [`Error::code`] is for programs and may not.
///
/// Cheap to clone, because one lost session fails many streams.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", .0.message)]
pub struct Error(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    code: Code,
    message: String,
    phase: Option<Phase>,
    hint: Option<String>,
    syscall: Option<&'static str>,
    address: Option<String>,
    port: Option<u16>,
    fingerprint: Option<String>,
    hop: Option<String>,
    refusal: Option<Refusal>,
    #[allow(clippy::struct_field_names, reason = "the std name for what lies behind an error")]
    source: Option<Arc<io::Error>>,
}

impl Error {
    /// A failure with a code and a sentence: lower case, no full stop, what was attempted and on what.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            code,
            message: message.into(),
            phase: None,
            hint: None,
            syscall: None,
            address: None,
            port: None,
            fingerprint: None,
            hop: None,
            refusal: None,
            source: None,
        }))
    }

    /// A system failure, under the POSIX name that belongs to it.
    pub fn system(syscall: &'static str, what: &str, source: io::Error) -> Self {
        let name = posix_name(&source);
        let message = format!("{syscall} {name} {what}");
        Self::new(Code::System(name), message).with(|inner| {
            inner.syscall = Some(syscall);
            inner.source = Some(Arc::new(source));
        })
    }

    /// An option that cannot be used.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(Code::Config, message).at(Phase::Config)
    }

    /// A mistake on the command line rather than in what it names.
    #[cfg(all(unix, feature = "cli"))]
    pub(crate) fn unphased(self) -> Self {
        self.with(|inner| inner.phase = None)
    }

    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// Says where it happened.
    #[must_use]
    pub fn at(self, phase: Phase) -> Self {
        self.with(|inner| inner.phase = Some(phase))
    }

    /// Says which system call it was.
    #[must_use]
    pub fn by(self, syscall: &'static str) -> Self {
        self.with(|inner| inner.syscall = Some(syscall))
    }

    /// Says what to do about it.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        self.with(|inner| inner.hint = Some(hint.into()))
    }

    /// Says which address it was about.
    #[must_use]
    pub fn address(self, address: impl Into<String>, port: u16) -> Self {
        self.with(|inner| {
            inner.address = Some(address.into());
            inner.port = Some(port);
        })
    }

    /// Names the host key that was shown.
    #[must_use]
    pub fn fingerprint(self, fingerprint: impl Into<String>) -> Self {
        self.with(|inner| inner.fingerprint = Some(fingerprint.into()))
    }

    /// Says at which server on the way it happened, unless it is known already.
    #[must_use]
    pub(crate) fn on_hop(self, name: &str) -> Self {
        match self.hop() {
            Some(_) => self,
            None => self.with(|inner| {
                inner.message = format!("jump {name}: {}", inner.message);
                inner.hop = Some(name.to_owned());
            }),
        }
    }

    /// Keeps a peer's reason for refusing a channel.
    #[must_use]
    pub fn refused(self, refusal: Refusal) -> Self {
        self.with(|inner| inner.refusal = Some(refusal))
    }

    /// Keeps the system error behind it.
    #[must_use]
    pub fn caused_by(self, source: io::Error) -> Self {
        self.with(|inner| inner.source = Some(Arc::new(source)))
    }

    /// The kind of failure.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// Where it happened, when known.
    pub fn phase(&self) -> Option<Phase> {
        self.0.phase
    }

    /// What to do about it, when known.
    pub fn help(&self) -> Option<&str> {
        self.0.hint.as_deref().or_else(|| usual::help(self))
    }

    /// The system call that failed.
    pub fn syscall(&self) -> Option<&'static str> {
        self.0.syscall
    }

    /// The address it was about.
    pub fn about(&self) -> (Option<&str>, Option<u16>) {
        (self.0.address.as_deref(), self.0.port)
    }

    /// Host key failures: what the server showed.
    pub fn shown_fingerprint(&self) -> Option<&str> {
        self.0.fingerprint.as_deref()
    }

    /// The server on the way ([`crate::Jump`]) at which it happened, as `host:port`; none when it was the last one.
    pub fn hop(&self) -> Option<&str> {
        self.0.hop.as_deref()
    }

    /// Channel refusals: the peer's reason. Proxies: theirs.
    pub fn refusal(&self) -> Option<Refusal> {
        self.0.refusal
    }

    /// The system error behind it.
    pub fn cause(&self) -> Option<&io::Error> {
        self.0.source.as_deref()
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.code() {
            Code::System("ECONNREFUSED") => io::ErrorKind::ConnectionRefused,
            Code::System("ECONNRESET") => io::ErrorKind::ConnectionReset,
            Code::System("EPIPE") => io::ErrorKind::BrokenPipe,
            Code::System("ETIMEDOUT") | Code::HandshakeTimeout => io::ErrorKind::TimedOut,
            Code::SessionClosed => io::ErrorKind::ConnectionAborted,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// The POSIX name of an I/O error, as Node and people spell it. `EIO` when there is none.
pub fn posix_name(error: &io::Error) -> &'static str {
    use io::ErrorKind as K;
    match error.kind() {
        K::ConnectionRefused => "ECONNREFUSED",
        K::ConnectionReset => "ECONNRESET",
        K::ConnectionAborted => "ECONNABORTED",
        K::NotConnected => "ENOTCONN",
        K::AddrInUse => "EADDRINUSE",
        K::AddrNotAvailable => "EADDRNOTAVAIL",
        K::BrokenPipe => "EPIPE",
        K::TimedOut => "ETIMEDOUT",
        K::PermissionDenied => "EACCES",
        K::NotFound => "ENOENT",
        K::HostUnreachable => "EHOSTUNREACH",
        K::NetworkUnreachable => "ENETUNREACH",
        K::NetworkDown => "ENETDOWN",
        K::IsADirectory => "EISDIR",
        K::NotADirectory => "ENOTDIR",
        K::StorageFull => "ENOSPC",
        K::QuotaExceeded => "EDQUOT",
        K::FileTooLarge => "EFBIG",
        K::ReadOnlyFilesystem => "EROFS",
        K::InvalidInput => "EINVAL",
        K::OutOfMemory => "ENOMEM",
        _ if matches!(error.raw_os_error(), Some(23 | 24)) => "EMFILE",
        _ => "EIO",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_error_keeps_its_name_and_its_source() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let error = Error::system("connect", "127.0.0.1:1", refused).at(Phase::Tcp);
        assert_eq!(error.code().as_str(), "ECONNREFUSED");
        assert_eq!(error.to_string(), "connect ECONNREFUSED 127.0.0.1:1");
        assert_eq!(error.cause().map(io::Error::kind), Some(io::ErrorKind::ConnectionRefused));
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::ConnectionRefused);
    }
}
