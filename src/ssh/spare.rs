//! Spare channels: opened in advance and named later, so that a stream's first bytes need not wait for a round trip (docs/wire.md).
//!
//! A client names what it wants in a header, its stream's bytes right behind; the server answers on the channel itself.

use std::net::SocketAddr;

use russh::ChannelOpenFailure;

use crate::target::Target;

/// What a channel is opened for that is to be named later: a reserved name.
pub(super) const NAME: &str = "alknet-spare";

/// Longest header, its length included: a host's name has 253 bytes and a socket's path 107; beyond, an open of the usual kind asks.
pub(super) const LONGEST: usize = 1024;

/// Longest text of a refusal in bytes; longer ones are cut.
const LONGEST_TEXT: usize = 256;

/// What stands before either header.
const TCP: u8 = 1;
const UNIX: u8 = 2;

/// The answer's first byte; a refusal has the reason's number (RFC 4254 §5.1) there.
const ACCEPTED: u8 = 0;

/// What is read at the beginning of bytes, and its length; `Ok(None)` when there is more to come.
pub(super) type Found<T> = Result<Option<(T, usize)>, &'static str>;

/// What a header asks for, in the words of the opens of RFC 4254 §7.2 and of OpenSSH's PROTOCOL §2.4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Named {
    Tcp { host: String, port: u32, originator: String, originator_port: u32 },
    Unix { path: String },
}

impl Named {
    /// The same question as an open for `target` on behalf of `origin`.
    pub(super) fn of(target: &Target, origin: Option<SocketAddr>) -> Self {
        match target.to_open() {
            Some((host, port)) => {
                let (originator, originator_port) = originator(origin);
                Self::Tcp { host, port, originator, originator_port }
            }
            None => Self::Unix { path: target.to_string() },
        }
    }

    /// The header. `None` when it would be too long.
    pub(super) fn header(&self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; 4];
        match self {
            Self::Tcp { host, port, originator, originator_port } => {
                bytes.push(TCP);
                put_text(&mut bytes, host);
                bytes.extend(port.to_be_bytes());
                put_text(&mut bytes, originator);
                bytes.extend(originator_port.to_be_bytes());
            }
            Self::Unix { path } => {
                bytes.push(UNIX);
                put_text(&mut bytes, path);
            }
        }
        let length = u32::try_from(bytes.len() - 4).ok()?;
        bytes[..4].copy_from_slice(&length.to_be_bytes());
        (bytes.len() <= LONGEST).then_some(bytes)
    }

    /// Reads a header.
    pub(super) fn read(bytes: &[u8]) -> Found<Self> {
        let mut rest = bytes;
        let Some(length) = number(&mut rest) else { return Ok(None) };
        let length = length as usize;
        if length + 4 > LONGEST {
            return Err("the header of a spare channel is too long");
        }
        let Some(mut body) = rest.get(..length) else { return Ok(None) };
        let named = Self::body(&mut body).filter(|_| body.is_empty());
        let named = named.ok_or("the header of a spare channel is none")?;
        Ok(Some((named, length + 4)))
    }

    fn body(bytes: &mut &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        *bytes = rest;
        match *kind {
            TCP => Some(Self::Tcp {
                host: text(bytes)?,
                port: number(bytes)?,
                originator: text(bytes)?,
                originator_port: number(bytes)?,
            }),
            UNIX => Some(Self::Unix { path: text(bytes)? }),
            _ => None,
        }
    }
}

/// The originator (RFC 4254 §7.2): this program itself has no address of its own.
pub(super) fn originator(origin: Option<SocketAddr>) -> (String, u32) {
    let address = origin.map_or_else(|| "127.0.0.1".into(), |at| at.ip().to_string());
    (address, origin.map_or(0, |at| u32::from(at.port())))
}

/// A server's answer to a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Accepted,
    Refused { code: u32, text: String },
}

impl Verdict {
    pub(super) fn refused(why: &ChannelOpenFailure) -> Self {
        let text = match why {
            ChannelOpenFailure::Other { reason, .. } => reason.clone(),
            _ => String::new(),
        };
        Self::Refused { code: why.code(), text }
    }

    /// As it is sent.
    pub(super) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Accepted => vec![ACCEPTED],
            Self::Refused { code, text } => {
                let end = text.floor_char_boundary(LONGEST_TEXT);
                // Reasons beyond those of the RFC are of no use here.
                let mut bytes =
                    vec![u8::try_from(*code).ok().filter(|code| *code != ACCEPTED).unwrap_or(1)];
                put_text(&mut bytes, &text[..end]);
                bytes
            }
        }
    }

    /// Reads an answer.
    pub(super) fn read(bytes: &[u8]) -> Found<Self> {
        let Some((code, mut rest)) = bytes.split_first() else { return Ok(None) };
        match *code {
            ACCEPTED => return Ok(Some((Self::Accepted, 1))),
            1..=4 => {}
            _ => return Err("the answer on a spare channel is none"),
        }
        let Some(length) = number(&mut rest) else { return Ok(None) };
        let length = length as usize;
        if length > LONGEST_TEXT {
            return Err("the answer on a spare channel is too long");
        }
        let Some(text) = rest.get(..length) else { return Ok(None) };
        let text = String::from_utf8_lossy(text).into_owned();
        Ok(Some((Self::Refused { code: u32::from(*code), text }, 5 + length)))
    }
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    bytes.extend(length.to_be_bytes());
    bytes.extend(text.as_bytes());
}

fn number(bytes: &mut &[u8]) -> Option<u32> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_be_bytes(*number))
}

fn text(bytes: &mut &[u8]) -> Option<String> {
    let length = number(bytes)? as usize;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    String::from_utf8(text.to_vec()).ok()
}
