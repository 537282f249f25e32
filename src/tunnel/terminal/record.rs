//! What a runner and whoever has the shell say to each other, on a stream of bytes: a kind, a length of two bytes (big-endian), and
//! what it is.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::message::Size;

/// Bytes of a record before its contents.
const HEADER: usize = 3;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// Keys, or what they and the shell made: at most 65 535 bytes.
    Bytes(Bytes),
    /// Towards the shell: the first record, and whenever it changes.
    Size(Size),
    /// From the shell, last: how it ended.
    Exit(u8),
    /// From where the shell should be, last: why there is none.
    Failed(String),
}

impl Record {
    pub(super) fn encode(&self) -> Bytes {
        let (kind, contents): (u8, &[u8]) = match self {
            Self::Bytes(bytes) => (1, bytes),
            Self::Size(Size { rows, cols }) => {
                let ([a, b], [c, d]) = (rows.to_be_bytes(), cols.to_be_bytes());
                return Bytes::copy_from_slice(&[2, 0, 4, a, b, c, d]);
            }
            Self::Exit(code) => return Bytes::copy_from_slice(&[3, 0, 1, *code]),
            Self::Failed(why) => (4, why.as_bytes()),
        };
        let contents = &contents[..contents.len().min(usize::from(u16::MAX))];
        let mut record = BytesMut::with_capacity(HEADER + contents.len());
        record.put_u8(kind);
        record.put_u16(contents.len() as u16);
        record.put_slice(contents);
        record.freeze()
    }

    fn decode(kind: u8, contents: Bytes) -> Option<Self> {
        match (kind, contents.as_ref()) {
            (1, _) => Some(Self::Bytes(contents)),
            (2, &[a, b, c, d]) => {
                let size =
                    Size { rows: u16::from_be_bytes([a, b]), cols: u16::from_be_bytes([c, d]) };
                Some(Self::Size(size))
            }
            (3, &[code]) => Some(Self::Exit(code)),
            (4, why) => Some(Self::Failed(String::from_utf8_lossy(why).into_owned())),
            _ => None,
        }
    }
}

/// Records as they come.
pub(super) struct Records<R> {
    from: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> Records<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, buffer: BytesMut::new() }
    }

    /// The next one; `None` at the end of the stream. Cancel-safe.
    ///
    /// # Errors
    /// Those of the stream; `InvalidData` for what is no record, `UnexpectedEof` for one that is cut.
    pub(super) async fn next(&mut self) -> io::Result<Option<Record>> {
        loop {
            if let Some(&[kind, a, b]) = self.buffer.first_chunk::<HEADER>() {
                let length = usize::from(u16::from_be_bytes([a, b]));
                if self.buffer.len() >= HEADER + length {
                    self.buffer.advance(HEADER);
                    let contents = self.buffer.split_to(length).freeze();
                    let record = Record::decode(kind, contents);
                    return record.map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into());
                }
            }
            if self.from.read_buf(&mut self.buffer).await? == 0 {
                return match self.buffer.is_empty() {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn records_cut_anywhere_come_whole() {
        let all = [
            Record::Size(Size { rows: 50, cols: 132 }),
            Record::Bytes(Bytes::from_static(b"\xf0\x9f")),
            Record::Bytes(Bytes::new()),
            Record::Exit(130),
            Record::Failed("no shell".to_owned()),
        ];
        let wire: Vec<u8> = all.iter().flat_map(Record::encode).collect();
        assert_eq!(&wire[..7], &[2, 0, 4, 0, 50, 0, 132]);
        for size in 1..=wire.len() {
            let (mut near, far) = tokio::io::duplex(64);
            let mut records = Records::new(far);
            for piece in wire.chunks(size) {
                near.write_all(piece).await.expect("room");
            }
            drop(near);
            for record in &all {
                assert_eq!(records.next().await.expect("a record").as_ref(), Some(record));
            }
            assert_eq!(records.next().await.expect("the end"), None);
        }
    }

    #[tokio::test]
    async fn what_is_no_record_is_an_error() {
        for (wire, kind) in [
            (&[9, 0, 0][..], io::ErrorKind::InvalidData),
            (&[2, 0, 1, 0], io::ErrorKind::InvalidData),
            (&[1, 0, 2, 0], io::ErrorKind::UnexpectedEof),
            (&[1], io::ErrorKind::UnexpectedEof),
        ] {
            assert_eq!(Records::new(wire).next().await.expect_err("an error").kind(), kind);
        }
    }
}
