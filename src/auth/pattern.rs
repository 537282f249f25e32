//! Patterns with `*` and `?`, networks, and lists of both as in `from="…"`: ssh_config(5), PATTERNS.

use std::net::IpAddr;

/// Whether `text` matches `pattern`, in which `*` stands for anything and `?` for one byte. ASCII case is ignored. Takes
/// time in the product of the lengths at most.
pub(super) fn glob(pattern: impl AsRef<[u8]>, text: impl AsRef<[u8]>) -> bool {
    fits(pattern.as_ref(), text.as_ref(), |one, other| one.eq_ignore_ascii_case(&other))
}

/// The same with case.
pub(super) fn glob_exact(pattern: &str, text: &str) -> bool {
    fits(pattern.as_bytes(), text.as_bytes(), |one, other| one == other)
}

fn fits(pattern: &[u8], text: &[u8], same: impl Fn(u8, u8) -> bool) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on when what follows the last `*` does not match: behind it, one byte further on.
    let mut retry = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                p += 1;
                retry = Some((p, t));
            }
            Some(sign) if *sign == b'?' || same(*sign, text[t]) => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((after, from)) = retry else { return false };
                p = after;
                t = from + 1;
                retry = Some((p, t));
            }
        }
    }
    pattern[p..].iter().all(|sign| *sign == b'*')
}

/// The addresses a key may be used from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sources(Vec<Source>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    negated: bool,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Network { address: IpAddr, prefix: u8 },
    Pattern(String),
}

impl Sources {
    /// Parses a list with commas. Names are allowed, and match nothing: an address is not looked up, for its name is what
    /// its owner says.
    pub(super) fn parse(list: &str) -> Result<Self, &'static str> {
        list.split(',').map(|entry| Source::parse(entry.trim())).collect::<Result<_, _>>().map(Self)
    }

    /// Whether an entry matches and no negated one does.
    pub(super) fn allow(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let shown = address.to_string();
        let found = |negated| {
            let mut entries = self.0.iter().filter(move |source| source.negated == negated);
            entries.any(|source| source.place.has(address, &shown))
        };
        found(false) && !found(true)
    }
}

impl Source {
    fn parse(entry: &str) -> Result<Self, &'static str> {
        let (negated, entry) = match entry.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, entry),
        };
        if entry.is_empty() {
            return Err("from= has an empty entry");
        }
        let place = Place::parse(entry)?;
        if let (true, Place::Pattern(pattern)) = (negated, &place)
            && pattern.bytes().any(|b| !(b.is_ascii_hexdigit() || b".:*?".contains(&b)))
        {
            return Err("from= excludes a name, and names of clients are not looked up");
        }
        Ok(Self { negated, place })
    }
}

impl Place {
    fn parse(entry: &str) -> Result<Self, &'static str> {
        let Some((address, prefix)) = entry.split_once('/') else {
            return Ok(match entry.parse::<IpAddr>() {
                Ok(address) => {
                    let address = address.to_canonical();
                    Self::Network { address, prefix: width(address) }
                }
                Err(_) => Self::Pattern(entry.to_owned()),
            });
        };
        let address: IpAddr = address.parse().map_err(|_| "from= has a network without address")?;
        let prefix = prefix
            .parse()
            .ok()
            .filter(|prefix| *prefix <= width(address))
            .ok_or("from= has a network with an impossible mask")?;
        if bits(address) != bits(address) & mask(address, prefix) {
            return Err("from= has a network whose address goes beyond its mask");
        }
        Ok(Self::Network { address, prefix })
    }

    fn has(&self, address: IpAddr, shown: &str) -> bool {
        match self {
            Self::Network { address: network, prefix } => {
                network.is_ipv4() == address.is_ipv4()
                    && bits(address) & mask(address, *prefix) == bits(*network)
            }
            Self::Pattern(pattern) => glob(pattern, shown),
        }
    }
}

const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => v6.into(),
    }
}

fn mask(address: IpAddr, prefix: u8) -> u128 {
    let free = u32::from(width(address) - prefix);
    u128::MAX.checked_shl(free).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(list: &str, address: &str) -> bool {
        let address = address.parse().unwrap_or_else(|e| panic!("{address}: {e}"));
        Sources::parse(list).unwrap_or_else(|e| panic!("{list}: {e}")).allow(address)
    }

    #[test]
    fn stars_and_question_marks_match_what_they_say() {
        for (pattern, text) in
            [("*", ""), ("a*c", "abbc"), ("a*b*c", "a-b-b-c"), ("?b", "AB"), ("10.*.1", "10.0.0.1")]
        {
            assert!(glob(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("", "a"), ("?", ""), ("a*c", "abcd"), ("a?c", "ac"), ("*a", "ab")]
        {
            assert!(!glob(pattern, text), "{pattern} {text}");
        }
        assert!(!glob("*a".repeat(2_000), "a".repeat(1_999)), "and in bounded time");
    }

    #[test]
    fn networks_addresses_and_patterns_allow() {
        for (list, address) in [
            ("10.0.0.0/8", "10.9.8.7"),
            ("10.9.8.7", "10.9.8.7"),
            ("192.168.?.*", "192.168.7.33"),
            ("2001:db8::/32", "2001:db8:1::9"),
            ("0.0.0.0/0", "8.8.8.8"),
            ("10.0.0.0/8", "::ffff:10.1.1.1"),
            ("*.example.com, 10.0.0.1", "10.0.0.1"),
            ("127.0.0.1,::1", "::1"),
        ] {
            assert!(allows(list, address), "{list} {address}");
        }
        for (list, address) in [
            ("10.0.0.0/8", "11.0.0.1"),
            ("10.0.0.0/8", "::10.0.0.1"),
            ("::/0", "10.0.0.1"),
            ("*.example.com", "10.0.0.1"),
            ("10.0.0.1/32", "10.0.0.2"),
        ] {
            assert!(!allows(list, address), "{list} {address}");
        }
    }

    #[test]
    fn a_negated_entry_wins_wherever_it_stands() {
        for list in ["10.0.0.0/8,!10.0.0.66", "!10.0.0.66,10.0.0.0/8", "*,!10.0.0.6?"] {
            assert!(!allows(list, "10.0.0.66"), "{list}");
            assert!(allows(list, "10.0.0.1"), "{list}");
        }
        assert!(!allows("!10.0.0.66", "10.0.0.1"), "nothing is allowed that no entry names");
    }

    #[test]
    fn lists_that_cannot_be_kept_are_refused() {
        for list in
            ["", "10.0.0.1,", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/x", "a/8", "*,!*.example.com"]
        {
            assert!(Sources::parse(list).is_err(), "{list}");
        }
    }
}
