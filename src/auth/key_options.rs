//! The options in front of a key in `authorized_keys`: sshd(8).

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use russh::keys::ssh_key::public::KeyData;

use super::key_line::{Authority, Line, Reason};
use super::key_rules::{KeyRules, Permit};
use super::pattern::Sources;

/// The options of a line while it is read.
#[derive(Default)]
pub(super) struct Options {
    rules: KeyRules,
    authority: bool,
    principals: Option<Vec<String>>,
    permit_port_forwarding: bool,
}

impl Options {
    /// Those of a line that names an authority whether it says so or not.
    pub(super) fn of_authority() -> Self {
        Self { authority: true, ..Self::default() }
    }

    pub(super) fn read(&mut self, text: &str) -> Result<(), Reason> {
        let mut rest = text;
        let mut number = 1;
        while !rest.is_empty() {
            let end = rest.find(['=', ',']).unwrap_or(rest.len());
            let name = rest[..end].to_ascii_lowercase();
            let value = match rest[end..].strip_prefix('=') {
                Some(quoted) => {
                    let (value, after) = unquote(quoted)
                        .ok_or_else(|| format!("option {number} lacks its quotes"))?;
                    rest = after;
                    Some(value)
                }
                None => {
                    rest = &rest[end..];
                    None
                }
            };
            let known = match &value {
                Some(value) => self.set(&name, value)?,
                None => self.flag(&name),
            };
            if !known {
                return Err(format!("option {number} is not known").into());
            }
            rest = match rest.strip_prefix(',') {
                Some("") => return Err("the options end with a comma".into()),
                Some(next) => next,
                None if rest.is_empty() => rest,
                None => return Err(format!("option {number} has no comma behind it").into()),
            };
            number += 1;
        }
        Ok(())
    }

    /// An option without a value. False when there is none of this name.
    fn flag(&mut self, name: &str) -> bool {
        match name {
            "restrict" | "no-port-forwarding" => self.rules.no_forwarding = true,
            "port-forwarding" => self.rules.no_forwarding = false,
            "cert-authority" => self.authority = true,
            "permit-port-forwarding" => self.permit_port_forwarding = true,
            // Terminals, agents, X11 and start scripts are not offered to anybody; keys of tokens are refused as such.
            "pty"
            | "no-pty"
            | "agent-forwarding"
            | "no-agent-forwarding"
            | "x11-forwarding"
            | "no-x11-forwarding"
            | "user-rc"
            | "no-user-rc"
            | "no-touch-required"
            | "verify-required" => {}
            _ => return false,
        }
        true
    }

    /// An option with a value. False when there is none of this name.
    fn set(&mut self, name: &str, value: &str) -> Result<bool, Reason> {
        let rules = &mut self.rules;
        match name {
            "from" if rules.from.is_some() => return Err("from= is there twice".into()),
            "from" => rules.from = Some(Sources::parse(value)?),
            "expiry-time" => {
                let time = parse_time(value).ok_or("expiry-time= is not YYYYMMDD[HHMM[SS]][Z]")?;
                rules.expires = Some(rules.expires.map_or(time, |before| before.min(time)));
            }
            "command" if rules.command => return Err("command= is there twice".into()),
            "command" => rules.command = true,
            "permitopen" => {
                rules.open.push(Permit::open(value).ok_or("permitopen= is not host:port")?);
            }
            "permitlisten" => {
                rules.listen.push(Permit::listen(value).ok_or("permitlisten= is not [host:]port")?);
            }
            "permitpublish" => rules.publish.push(value.to_owned()),
            "permitsubscribe" => rules.subscribe.push(value.to_owned()),
            "principals" if self.principals.is_some() => {
                return Err("principals= is there twice".into());
            }
            "principals" => {
                self.principals =
                    Some(value.split(',').map(|name| name.trim().to_owned()).collect());
            }
            "environment" if value.split_once('=').is_none_or(|(name, _)| name.is_empty()) => {
                return Err("environment= is not NAME=value".into());
            }
            // No program is run that could have an environment, and no network device is made.
            "environment" | "tunnel" => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub(super) fn finish(self, key: KeyData) -> Result<Line, Reason> {
        let Self { rules, authority, principals, permit_port_forwarding } = self;
        if authority {
            // Forwarding always wants the certificate to carry the extension, so this option has nothing to add.
            return Ok(Line::Authority(Authority { key, rules, principals }));
        }
        if principals.is_some() || permit_port_forwarding {
            return Err("an option belongs to cert-authority, which is missing".into());
        }
        Ok(Line::Key(key, rules))
    }
}

/// A quoted value and what follows it. `\"` is a quote; every other backslash is itself.
fn unquote(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut end = 0;
    loop {
        end += inner[end..].find('"')?;
        if !inner[..end].ends_with('\\') {
            break;
        }
        end += 1;
    }
    Some((inner[..end].replace("\\\"", "\""), &inner[end + 1..]))
}

/// `YYYYMMDD[HHMM[SS]]`, local time unless `Z` follows, as Unix seconds.
fn parse_time(text: &str) -> Option<i64> {
    let (digits, zone) = match text.strip_suffix(['Z', 'z']).or_else(|| text.strip_suffix("UTC")) {
        Some(digits) => (digits, TimeZone::UTC),
        None => (text, TimeZone::system()),
    };
    if !matches!(digits.len(), 8 | 12 | 14) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number = |at: std::ops::Range<usize>| -> i8 {
        digits.get(at).and_then(|part| part.parse().ok()).unwrap_or(0)
    };
    let year = digits[..4].parse().ok()?;
    let (month, day) = (number(4..6), number(6..8));
    let time = DateTime::new(year, month, day, number(8..10), number(10..12), number(12..14), 0);
    time.ok()?.to_zoned(zone).ok().map(|moment| moment.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_backslash_before_a_quote_is_taken_away() {
        let (value, rest) = unquote(r#""a\"b\c",x"#).unwrap_or_default();
        assert_eq!((value.as_str(), rest), (r#"a"b\c"#, ",x"));
        assert_eq!(unquote("x"), None);
        assert_eq!(unquote("\"x"), None);
    }

    #[test]
    fn times_are_utc_with_a_z_and_local_without() {
        for (text, seconds) in [
            ("19700102Z", 86_400),
            ("197001020001Z", 86_460),
            ("19700102000102z", 86_462),
            ("20380119031408UTC", 1 << 31),
        ] {
            assert_eq!(parse_time(text), Some(seconds), "{text}");
        }
        let local = parse_time("20200601").unwrap_or_default();
        let utc = parse_time("20200601Z").unwrap_or_default();
        let offset = TimeZone::system().to_offset(jiff::Timestamp::from_second(local).unwrap());
        assert_eq!(utc - local, i64::from(offset.seconds()));
        for text in ["", "Z", "2020", "20201301Z", "20200132Z", "2020010125Z", "202001012500Z", "x"]
        {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }
}
