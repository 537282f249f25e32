//! The numbers of SOCKS5, for the end that asks and the end that is asked: RFC 1928 and, for a user and a password, RFC 1929.

pub(crate) const VERSION: u8 = 5;
/// Of what says a user and a password (RFC 1929 §2).
pub(crate) const PASSWORD_VERSION: u8 = 1;

/// Ways to log in (RFC 1928 §3).
pub(crate) const NO_LOGIN: u8 = 0;
pub(crate) const PASSWORD: u8 = 2;
pub(crate) const NONE_ACCEPTED: u8 = 0xff;

/// The one command of RFC 1928 §4 that is spoken here.
pub(crate) const CONNECT: u8 = 1;

/// Kinds of addresses (RFC 1928 §5).
pub(crate) const IPV4: u8 = 1;
pub(crate) const NAME: u8 = 3;
pub(crate) const IPV6: u8 = 4;

/// What came of a request (RFC 1928 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Success = 0,
    Failure = 1,
    NotAllowed = 2,
    NetworkUnreachable = 3,
    HostUnreachable = 4,
    Refused = 5,
    Expired = 6,
    Command = 7,
    AddressType = 8,
}

impl Reply {
    /// The reply of this number, if there is one.
    pub(super) fn of(number: u8) -> Option<Self> {
        const ALL: [Reply; 9] = [
            Reply::Success,
            Reply::Failure,
            Reply::NotAllowed,
            Reply::NetworkUnreachable,
            Reply::HostUnreachable,
            Reply::Refused,
            Reply::Expired,
            Reply::Command,
            Reply::AddressType,
        ];
        ALL.get(usize::from(number)).copied()
    }
}
