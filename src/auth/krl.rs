//! The binary lists that `ssh-keygen -k` makes (OpenSSH's PROTOCOL.krl): a header, and sections of what is revoked. As in sshd, one
//! thing that is not understood makes the whole list unusable, and signatures in it mean nothing: a list is believed for where it is.

use russh::keys::PublicKey;

use super::revoked::{Books, Revoked, Serials};

/// What a list begins with.
pub(super) const MAGIC: &[u8] = b"SSHKRL\n\0";

/// The one format there is.
const FORMAT: u32 = 1;

/// Sections.
const CERTIFICATES: u8 = 1;
const KEYS: u8 = 2;
const SHA1: u8 = 3;
const SIGNATURE: u8 = 4;
const SHA256: u8 = 5;
const EXTENSION: u8 = 255;

/// Sections of a section of certificates.
const SERIAL_LIST: u8 = 0x20;
const SERIAL_RANGE: u8 = 0x21;
const SERIAL_BITMAP: u8 = 0x22;
const KEY_IDS: u8 = 0x23;
const CERTIFICATE_EXTENSION: u8 = 0x39;

/// Why a list is unusable.
pub(super) type Reason = &'static str;

const CUT: Reason = "it ends too early";

/// Adds what `bytes` revokes, which begin with [`MAGIC`].
pub(super) fn parse(bytes: &[u8], list: &mut Revoked) -> Result<(), Reason> {
    let mut rest = Fields(bytes.strip_prefix(MAGIC).ok_or("it is no such list")?);
    if rest.number()? != FORMAT {
        return Err("it is of another version");
    }
    // Its number, its date and its flags, of which none is defined.
    rest.take(3 * size_of::<u64>())?;
    let (_reserved, _comment) = (rest.string()?, rest.string()?);
    while !rest.is_empty() {
        section(&mut rest, list)?;
    }
    Ok(())
}

fn section(rest: &mut Fields<'_>, list: &mut Revoked) -> Result<(), Reason> {
    let kind = rest.byte()?;
    let mut data = Fields(rest.string()?);
    match kind {
        CERTIFICATES => certificates(&mut data, list)?,
        KEYS => data.each(Fields::string, |key| {
            list.keys.insert(key.to_vec());
            Ok(())
        })?,
        SHA1 => data.each(Fields::string, |digest| {
            list.sha1.insert(digest.try_into().map_err(|_| "a fingerprint has a wrong length")?);
            Ok(())
        })?,
        SHA256 => data.each(Fields::string, |digest| {
            list.sha256.insert(digest.try_into().map_err(|_| "a fingerprint has a wrong length")?);
            Ok(())
        })?,
        // What was read is the key; what it has signed follows.
        SIGNATURE => rest.string().map(drop)?,
        EXTENSION => extension(&mut data)?,
        _ => return Err("it has a section that is not known"),
    }
    Ok(())
}

/// Those of one authority, or of every one.
fn certificates(data: &mut Fields<'_>, list: &mut Revoked) -> Result<(), Reason> {
    let (authority, _reserved) = (data.string()?, data.string()?);
    if !authority.is_empty() && PublicKey::from_bytes(authority).is_err() {
        return Err("the key of an authority is damaged");
    }
    let books = list.books.entry(authority.to_vec()).or_default();
    while !data.is_empty() {
        let kind = data.byte()?;
        let mut data = Fields(data.string()?);
        match kind {
            SERIAL_LIST => data.each(Fields::long, |serial| books.revoke(serial..=serial))?,
            SERIAL_RANGE => {
                let range = data.long()?..=data.long()?;
                data.must_end()?;
                books.revoke(range)?;
            }
            SERIAL_BITMAP => bitmap(&mut data, books)?,
            KEY_IDS => data.each(Fields::string, |id| {
                books.ids.insert(id.to_vec());
                Ok(())
            })?,
            CERTIFICATE_EXTENSION => extension(&mut data)?,
            _ => return Err("it has a section of certificates that is not known"),
        }
    }
    Ok(())
}

/// A number, and a bit for it and each one after it; the bits are a number themselves, the last of them that of the first.
fn bitmap(data: &mut Fields<'_>, books: &mut Books) -> Result<(), Reason> {
    let (first, bits) = (data.long()?, data.string()?);
    data.must_end()?;
    if bits.first().is_some_and(|high| high & 0x80 != 0) {
        return Err("a bitmap is no number");
    }
    if first == 0 && bits.last().is_some_and(|low| low & 1 != 0) {
        return Err(NO_SERIAL);
    }
    let zeros = bits.iter().take_while(|byte| **byte == 0).count();
    let bits = bits[zeros..].to_vec();
    let unused = bits.first().map_or(0, |high| high.leading_zeros());
    let width = (bits.len() as u64).saturating_mul(8).saturating_sub(unused.into());
    if first.checked_add(width.saturating_sub(1)).is_none() {
        return Err("a bitmap goes beyond the last number");
    }
    books.serials.push(Serials::Bitmap { first, bits });
    Ok(())
}

/// What a later version may add. Unlike the rest it says of itself whether it must be understood.
fn extension(data: &mut Fields<'_>) -> Result<(), Reason> {
    let (_name, critical, _contents) = (data.string()?, data.byte()?, data.string()?);
    data.must_end()?;
    match critical {
        0 => Ok(()),
        _ => Err("it has a critical extension that is not known"),
    }
}

/// 0 is the number of every certificate whose authority does not count.
const NO_SERIAL: Reason =
    "it revokes number 0, which is none, or a range that ends before it begins";

impl Books {
    fn revoke(&mut self, range: std::ops::RangeInclusive<u64>) -> Result<(), Reason> {
        if *range.start() == 0 || range.is_empty() {
            return Err(NO_SERIAL);
        }
        self.serials.push(Serials::Range(range));
        Ok(())
    }
}

/// What is left to be read, in the types of RFC 4251 §5.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Reason> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(CUT)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Reason> {
        self.take(N)?.try_into().map_err(|_| CUT)
    }

    fn byte(&mut self) -> Result<u8, Reason> {
        self.array().map(u8::from_be_bytes)
    }

    fn number(&mut self) -> Result<u32, Reason> {
        self.array().map(u32::from_be_bytes)
    }

    fn long(&mut self) -> Result<u64, Reason> {
        self.array().map(u64::from_be_bytes)
    }

    fn string(&mut self) -> Result<&'a [u8], Reason> {
        let length = usize::try_from(self.number()?).map_err(|_| CUT)?;
        self.take(length)
    }

    /// Reads one after the other to the end.
    fn each<T>(
        &mut self,
        read: impl Fn(&mut Self) -> Result<T, Reason>,
        mut add: impl FnMut(T) -> Result<(), Reason>,
    ) -> Result<(), Reason> {
        while !self.is_empty() {
            add(read(self)?)?;
        }
        Ok(())
    }

    fn must_end(&self) -> Result<(), Reason> {
        match self.is_empty() {
            true => Ok(()),
            false => Err("a section is longer than what it holds"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything before the first section.
    fn head() -> Vec<u8> {
        [MAGIC, &1_u32.to_be_bytes(), &[0; 24], &string(b""), &string(b"a comment")].concat()
    }

    fn string(bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).unwrap();
        [&length.to_be_bytes(), bytes].concat()
    }

    fn section(kind: u8, data: &[u8]) -> Vec<u8> {
        [&[kind][..], &string(data)].concat()
    }

    fn longs(numbers: &[u64]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
    }

    fn bits(first: u64, bits: &[u8]) -> Vec<u8> {
        section(SERIAL_BITMAP, &[longs(&[first]), string(bits)].concat())
    }

    /// One section, of certificates of every authority.
    fn of_all(sections: &[u8]) -> Vec<u8> {
        section(CERTIFICATES, &[&string(b""), &string(b""), sections].concat())
    }

    fn read(sections: &[u8]) -> Result<Revoked, Reason> {
        let mut list = Revoked::default();
        parse(&[&head(), sections].concat(), &mut list).map(|()| list)
    }

    fn serials(sections: &[u8]) -> Vec<u64> {
        let list = read(&of_all(sections)).unwrap();
        let near = (0..64).chain(u64::MAX - 64..=u64::MAX);
        near.filter(|serial| list.books[&Vec::new()].serials.iter().any(|s| s.have(*serial)))
            .collect()
    }

    #[test]
    fn numbers_are_in_lists_in_ranges_and_in_bitmaps_up_to_the_last() {
        const LAST: u64 = u64::MAX;
        assert_eq!(serials(&section(SERIAL_LIST, &longs(&[1, 7, LAST]))), [1, 7, LAST]);
        assert_eq!(serials(&section(SERIAL_RANGE, &longs(&[3, 5]))), [3, 4, 5]);
        assert_eq!(serials(&bits(8, &[0b1, 0b1000_0001])), [8, 15, 16]);
        assert_eq!(serials(&bits(LAST - 1, &[0, 0b11])), [LAST - 1, LAST]);
        assert_eq!(serials(&bits(9, &[])), [0_u64; 0]);
        assert_eq!(serials(&bits(0, &[0b10])), [1]);
    }

    #[test]
    fn signatures_and_extensions_that_need_not_be_understood_are_passed_over() {
        let extension = |critical| {
            let data = [string(b"x@y"), vec![critical], string(b"contents")].concat();
            (section(EXTENSION, &data), of_all(&section(CERTIFICATE_EXTENSION, &data)))
        };
        let key = section(KEYS, &string(b"blob"));
        let signed = [section(SIGNATURE, b"key"), string(b"signature")].concat();
        let (whole, inner) = extension(0);
        let list = read(&[signed, whole, inner, key].concat()).unwrap();
        assert!(list.keys.contains(&b"blob"[..]));
        for refused in [extension(1).0, extension(1).1] {
            assert_eq!(
                read(&refused).unwrap_err(),
                "it has a critical extension that is not known"
            );
        }
    }

    #[test]
    fn what_is_not_understood_makes_the_list_unusable() {
        let range = |from, to| of_all(&section(SERIAL_RANGE, &longs(&[from, to])));
        for (sections, why) in [
            (section(9, b""), "a section that is not known"),
            (of_all(&section(0x24, b"")), "section of certificates that is not known"),
            (range(0, 5), "number 0"),
            (range(5, 4), "ends before"),
            (of_all(&section(SERIAL_LIST, &longs(&[0]))), "number 0"),
            (of_all(&bits(0, &[1])), "number 0"),
            (of_all(&bits(1, &[0x80])), "no number"),
            (of_all(&bits(u64::MAX, &[0b10])), "beyond the last"),
            (of_all(&section(SERIAL_RANGE, &longs(&[1, 2, 3]))), "longer"),
            (of_all(&section(SERIAL_LIST, &[0; 7])), "too early"),
            (section(CERTIFICATES, &[string(b"ca"), string(b"")].concat()), "authority is damaged"),
            (section(SHA1, &string(&[0; 32])), "wrong length"),
            (section(SHA256, &string(&[0; 20])), "wrong length"),
            (vec![KEYS, 0xff, 0xff, 0xff, 0xff], "too early"),
            (section(SIGNATURE, b"key"), "too early"),
        ] {
            let refused = read(&sections).unwrap_err();
            assert!(refused.contains(why), "{refused}, not {why}");
        }
        let whole = [head(), section(KEYS, &string(b"blob"))].concat();
        let cut = (MAGIC.len()..whole.len()).filter(|length| *length != head().len());
        for length in cut {
            assert!(parse(&whole[..length], &mut Revoked::default()).is_err(), "{length}");
        }
        let mut later = whole;
        later[MAGIC.len() + 3] = 2;
        assert_eq!(parse(&later, &mut Revoked::default()), Err("it is of another version"));
    }
}
