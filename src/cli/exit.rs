//! Exit codes: what scripts branch on. docs/cli.md has the table.

use crate::error::{Code, Error, Phase};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit(u8);

impl Exit {
    /// It did what it was asked.
    pub const OK: Self = Self(0);
    /// A failure without a number of its own.
    pub const FAILED: Self = Self(1);
    /// The command line itself is wrong.
    pub const USAGE: Self = Self(2);
    /// The other end cannot be reached, or the connection broke.
    pub const UNREACHABLE: Self = Self(3);
    /// The log-in was refused.
    pub const AUTH: Self = Self(4);
    /// The other end is not who it should be.
    pub const IDENTITY: Self = Self(5);
    /// A listener could not be bound, or a forward was refused.
    pub const FORWARD: Self = Self(6);
    /// An option, key or file cannot be used.
    pub const CONFIG: Self = Self(8);
    /// It took too long, as timeout(1) says it.
    pub const TIMED_OUT: Self = Self(124);
    /// Interrupted a second time before it had drained, as shells say it of SIGINT.
    pub const INTERRUPTED: Self = Self(130);

    /// Nobody read what it showed any more, as shells say it of SIGPIPE.
    pub const UNHEARD: Self = Self(141);

    /// That of another program.
    #[cfg(any(unix, feature = "ws"))]
    pub(super) const fn of_program(code: u8) -> Self {
        Self(code)
    }

    /// What `status --exit-code` answers: 0, 1 or 3, as the Linux Standard Base has it for services.
    #[cfg(unix)]
    pub(super) const fn of_service(code: u8) -> Self {
        Self(code)
    }

    /// The number.
    pub const fn code(self) -> u8 {
        self.0
    }
}

impl From<&Error> for Exit {
    fn from(error: &Error) -> Self {
        match (error.code(), error.phase()) {
            (Code::Config | Code::KeyInvalid, _) | (_, Some(Phase::Config)) => Self::CONFIG,
            (Code::AuthRejected, _) => Self::AUTH,
            (Code::HostKeyUnknown | Code::HostKeyChanged | Code::HostKeyRevoked, _) => {
                Self::IDENTITY
            }
            (Code::HandshakeTimeout | Code::System("ETIMEDOUT"), _) => Self::TIMED_OUT,
            (Code::SessionClosed | Code::Reconnecting | Code::Protocol | Code::Tls, _)
            | (
                _,
                Some(
                    Phase::Dns
                    | Phase::Tcp
                    | Phase::Tls
                    | Phase::Upgrade
                    | Phase::Kex
                    | Phase::Auth,
                ),
            ) => Self::UNREACHABLE,
            (_, Some(Phase::Listen | Phase::Channel)) | (Code::ChannelRejected, _) => Self::FORWARD,
            _ => Self::FAILED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_told_by_the_number() {
        let refused = Error::new(Code::System("ECONNREFUSED"), "x");
        for (error, exit) in [
            (Error::config("x"), Exit::CONFIG),
            (Error::new(Code::AuthRejected, "x").at(Phase::Auth), Exit::AUTH),
            (Error::new(Code::HostKeyChanged, "x").at(Phase::HostKey), Exit::IDENTITY),
            (refused.clone().at(Phase::Tcp), Exit::UNREACHABLE),
            (Error::new(Code::System("EADDRINUSE"), "x").at(Phase::Listen), Exit::FORWARD),
            (Error::new(Code::System("ETIMEDOUT"), "x").at(Phase::Tcp), Exit::TIMED_OUT),
            (refused, Exit::FAILED),
        ] {
            assert_eq!(Exit::from(&error), exit, "{error:?}");
        }
    }
}
