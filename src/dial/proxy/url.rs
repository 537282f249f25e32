//! Where a proxy is and who uses it, from a URL. No message repeats the text, which may have a password in it.

use std::str::FromStr;

use zeroize::Zeroizing;

use super::{Kind, Login, Proxy};
use crate::error::{Error, Result};
use crate::target::HostPort;

/// The ports of SOCKS (RFC 1928 §3) and of HTTP (RFC 9110 §4.2.1).
const SOCKS_PORT: u16 = 1080;
const HTTP_PORT: u16 = 80;

impl FromStr for Proxy {
    type Err = Error;

    /// # Errors
    /// `ERR_ALKNET_CONFIG`, with nothing of the text in it.
    fn from_str(text: &str) -> Result<Self> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| bad("must be a URL"))?;
        let (kind, port) = match scheme.to_ascii_lowercase().as_str() {
            "socks5" | "socks5h" => (Kind::Socks5, SOCKS_PORT),
            "http" => (Kind::Http, HTTP_PORT),
            _ => return Err(bad("is not of a kind that is known")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (login, at) = match rest.rsplit_once('@') {
            Some((login, at)) => (Some(self::login(login)?), at),
            None => (None, rest),
        };
        // Its own failure would repeat the text, which without its @ would be the password.
        let at =
            HostPort::parse(at, Some(port)).map_err(|_| bad("has no address that can be read"))?;
        if at.port == 0 {
            return Err(bad("needs a port from 1 to 65535"));
        }
        Ok(Self { kind, at, login })
    }
}

fn login(text: &str) -> Result<Login> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let user = decode(user)?.to_string();
    let password = decode(password)?;
    let fits = |text: &str| text.len() <= 255 && !text.chars().any(char::is_control);
    if user.is_empty() || user.contains(':') || !fits(&user) || !fits(&password) {
        return Err(bad(
            "has a user or a password that no proxy takes: 255 bytes at most, no colon in the user",
        ));
    }
    Ok(Login { user, password })
}

/// `%40` is `@` (RFC 3986 §2.1).
fn decode(text: &str) -> Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(bad("has a % that is not followed by two hex digits"));
        };
        bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
    }
    let text = str::from_utf8(&bytes).map_err(|_| bad("is not UTF-8 once it is decoded"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn bad(why: &str) -> Error {
    Error::config(format!("the proxy {why}"))
        .hint("give socks5://[user:password@]host:port or http://[user:password@]host:port")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Proxy {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn urls_of_proxies_say_where_and_who() {
        for (text, shown) in [
            ("socks5://127.0.0.1:1081", "socks5://127.0.0.1:1081"),
            ("SOCKS5H://proxy.example/", "socks5://proxy.example:1080"),
            ("http://[::1]:3128", "http://[::1]:3128"),
            ("http://proxy", "http://proxy:80"),
        ] {
            assert_eq!(parse(text).to_string(), shown);
            assert!(parse(text).login.is_none());
        }
        let login = parse("http://a%40b:p%3a@ss%25@proxy:1").login.expect("a login");
        assert_eq!((login.user.as_str(), login.password.as_str()), ("a@b", "p:@ss%"));
    }

    #[test]
    fn what_is_no_proxy_is_refused_and_not_repeated() {
        let long = "x".repeat(256);
        for text in [
            "",
            "secret:3128",
            "https://user:secret@proxy:1",
            "socks4://user:secret@proxy:1",
            "http://user:secret@proxy:0",
            "http://user:secret@:1",
            "http://user:secret@proxy:1/path",
            "http://user:secret",
            "http://:secret@proxy:1",
            "http://user%3a:secret@proxy:1",
            "http://user:secret%0d%0a@proxy:1",
            "http://user:secret%f@proxy:1",
            "http://user:secret%ff@proxy:1",
            &format!("http://user:{long}@proxy:1"),
        ] {
            let error = text.parse::<Proxy>().expect_err(text);
            let told = format!("{error} {error:?}");
            assert!(!told.contains("secret") && !told.contains(&long), "{told}");
        }
    }

    #[test]
    fn a_proxy_does_not_print_its_login() {
        let proxy = parse("socks5://user:secret@proxy:1");
        let shown = format!("{proxy:?} {proxy}");
        assert!(shown.contains("proxy:1") && !shown.contains("user") && !shown.contains("secret"));
    }
}
