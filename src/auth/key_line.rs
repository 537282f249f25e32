//! One line of an `authorized_keys` file: sshd(8), AUTHORIZED_KEYS FILE FORMAT. Reasons never quote the line: what was pasted
//! into it may be a secret.

use std::borrow::Cow;

use russh::keys::parse_public_key_base64;
use russh::keys::ssh_key::public::KeyData;

use super::key_options::Options;
use super::key_rules::KeyRules;

/// Bits of an RSA key that logs in: NIST SP 800-131A, and what the `rsa` crate verifies.
pub(super) const RSA_BITS: std::ops::RangeInclusive<u32> = 2048..=8192;

/// Why a line is refused.
pub(super) type Reason = Cow<'static, str>;

/// A line that is whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A key that logs in.
    Key(KeyData, KeyRules),
    /// `cert-authority`: a key that signs certificates, and never logs in itself.
    Authority(Authority),
}

/// A key that signs the certificates of users.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Authority {
    pub(super) key: KeyData,
    pub(super) rules: KeyRules,
    /// Names of which a certificate must have one, instead of the user's.
    pub(super) principals: Option<Vec<String>>,
}

/// Parses a line. `None` for blank lines and comments.
pub(super) fn parse(line: &str) -> Result<Option<Line>, Reason> {
    parse_with(Options::default(), line)
}

/// Parses a line of a file of authorities: every key in it is one, with `cert-authority` in front or not.
pub(super) fn parse_authority(line: &str) -> Result<Option<Line>, Reason> {
    parse_with(Options::of_authority(), line)
}

fn parse_with(mut parsed: Options, line: &str) -> Result<Option<Line>, Reason> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    if line.starts_with("-----BEGIN ") {
        return Err("a private key or a PEM file has no place here".into());
    }
    let (options, rest) = match is_key_type(word(line).0) {
        true => ("", line),
        false => split_options(line)?,
    };
    parsed.read(options)?;
    let key = parse_key(rest)?;
    parsed.finish(key).map(Some)
}

/// The first word, and what follows it.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start_matches(BLANK);
    text.split_once(BLANK).unwrap_or((text, ""))
}

const BLANK: [char; 2] = [' ', '\t'];

/// No option begins like a key type.
fn is_key_type(word: &str) -> bool {
    ["ssh-", "ecdsa-", "sk-"].iter().any(|start| word.starts_with(start))
}

/// Splits at the first blank that is not quoted.
fn split_options(line: &str) -> Result<(&str, &str), Reason> {
    let bytes = line.as_bytes();
    let (mut at, mut quoted) = (0, false);
    while at < bytes.len() && (quoted || !matches!(bytes[at], b' ' | b'\t')) {
        match bytes[at] {
            b'\\' if bytes.get(at + 1) == Some(&b'"') => at += 1,
            b'"' => quoted = !quoted,
            _ => {}
        }
        at += 1;
    }
    if quoted {
        return Err("a quote is not closed".into());
    }
    Ok((&line[..at], &line[at..]))
}

fn parse_key(text: &str) -> Result<KeyData, Reason> {
    let (kind, rest) = word(text);
    match kind {
        "ssh-ed25519" | "ecdsa-sha2-nistp256" | "ecdsa-sha2-nistp384" | "ecdsa-sha2-nistp521" => {}
        "ssh-rsa" if cfg!(feature = "rsa") => {}
        "ssh-rsa" => return Err("this build knows no RSA".into()),
        "ssh-dss" => return Err("DSA keys are not accepted".into()),
        "" => return Err("there is no key".into()),
        _ if kind.contains("-cert-v01@") => {
            return Err("this is a certificate, not a key".into());
        }
        _ if kind.starts_with("sk-") => {
            let why = "keys of security tokens (sk-) are not accepted: whether somebody touched the token is not checked";
            return Err(why.into());
        }
        _ => return Err("this is no key type".into()),
    }
    let (blob, _comment) = word(rest);
    let key = parse_public_key_base64(blob).map_err(|_| "the key is damaged")?;
    if key.algorithm().as_str() != kind {
        return Err("the key is of another type than it says".into());
    }
    if let KeyData::Rsa(rsa) = key.key_data()
        && !RSA_BITS.contains(&rsa.key_size())
    {
        return Err(rsa_reason(rsa.key_size()).into());
    }
    Ok(key.key_data().clone())
}

/// Why an RSA key of so many bits does not log in.
pub(super) fn rsa_reason(bits: u32) -> String {
    let (least, most) = (RSA_BITS.start(), RSA_BITS.end());
    format!("an RSA key must have {least} to {most} bits, this one has {bits}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    fn rules(options: &str) -> KeyRules {
        match parse(&format!("{options} {KEY} a comment")) {
            Ok(Some(Line::Key(_, rules))) => rules,
            other => panic!("{options}: {other:?}"),
        }
    }

    fn refused(line: &str) -> String {
        match parse(line) {
            Err(reason) => {
                let quoted =
                    line.split([' ', ',', '=']).find(|w| w.len() > 12 && reason.contains(w));
                assert_eq!(quoted, None, "{reason}");
                reason.into_owned()
            }
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn plain_keys_comments_tabs_and_line_ends_are_read() {
        for line in [
            KEY.to_owned(),
            format!("  {KEY}\r"),
            format!("\t{}\tsomebody at \"home", KEY.replace(' ', "\t \t")),
            format!("{KEY} # no comment"),
        ] {
            assert!(matches!(parse(&line), Ok(Some(Line::Key(..)))), "{line}");
        }
        for line in ["", "  \t", "# ssh-ed25519", "\t# x", "\r"] {
            assert_eq!(parse(line), Ok(None), "{line}");
        }
    }

    #[test]
    fn options_are_read_in_order_and_in_any_case() {
        assert_eq!(rules("no-pty,No-X11-Forwarding,NO-AGENT-FORWARDING"), KeyRules::default());
        assert!(rules("restrict").no_forwarding && rules("No-Port-Forwarding").no_forwarding);
        assert!(!rules("restrict,port-forwarding").no_forwarding);
        assert!(rules("port-forwarding,restrict").no_forwarding);
        assert!(rules("restrict,pty,user-rc,no-user-rc,X11-forwarding").no_forwarding);
    }

    #[test]
    fn quoted_values_may_have_blanks_commas_and_quotes() {
        let rules = rules(
            r#"command="echo \"a, b\" ssh-rsa",environment="A=b c",permitopen="db:1",permitopen="[::1]:*",tunnel="0""#,
        );
        assert!(rules.command);
        assert_eq!(rules.open.len(), 2);
    }

    #[test]
    fn from_and_permits_reach_the_rules() {
        let rules = rules(r#"from="10.0.0.0/8,!10.0.0.1",permitlisten="8080",permitopen="a:1""#);
        assert!(rules.admit(Some([10, 0, 0, 2].into()), 0).is_ok());
        assert!(rules.admit(Some([10, 0, 0, 1].into()), 0).is_err());
        assert!(rules.may_listen("", 8080) && !rules.may_listen("", 1));
        assert!(rules.may_open("a", 1) && !rules.may_open("b", 1));
    }

    #[test]
    fn the_earlier_of_two_expiry_times_counts() {
        let rules = rules(r#"expiry-time="19700103Z",expiry-time="19700102Z""#);
        assert!(rules.admit(None, 86_399).is_ok() && rules.admit(None, 86_400).is_err());
    }

    #[test]
    fn authorities_are_told_from_keys() {
        let line = format!("CERT-AUTHORITY,principals=\"a,b\",permit-port-forwarding {KEY}");
        match parse(&line) {
            Ok(Some(Line::Authority(authority))) => {
                assert_eq!(authority.principals, Some(vec!["a".into(), "b".into()]));
            }
            other => panic!("{other:?}"),
        }
        for options in ["", "cert-authority ", "principals=\"a\" "] {
            let line = format!("{options}{KEY}");
            assert!(matches!(parse_authority(&line), Ok(Some(Line::Authority(_)))), "{line}");
        }
        for options in ["principals=\"a\"", "permit-port-forwarding"] {
            assert!(refused(&format!("{options} {KEY}")).contains("cert-authority"));
        }
    }

    #[test]
    fn a_line_that_is_not_understood_is_refused_with_a_reason() {
        for (line, reason) in [
            (format!("frmo=\"10.0.0.0/8\" {KEY}"), "option 1 is not known"),
            (format!("restrict,no-restrict {KEY}"), "option 2 is not known"),
            (format!("restrict=\"yes\" {KEY}"), "option 1 is not known"),
            (format!("from {KEY}"), "option 1 is not known"),
            (format!("from=10.0.0.1 {KEY}"), "option 1 lacks its quotes"),
            (format!("from=\"10.0.0.1 {KEY}"), "a quote is not closed"),
            (format!("from=\"10.0.0.1\"restrict {KEY}"), "option 1 has no comma"),
            (format!("restrict, {KEY}"), "comma"),
            (format!("restrict,,pty {KEY}"), "option 2 is not known"),
            (format!("from=\"a\",from=\"b\" {KEY}"), "twice"),
            (format!("command=\"a\",command=\"b\" {KEY}"), "twice"),
            (format!("expiry-time=\"tomorrow\" {KEY}"), "YYYYMMDD"),
            (format!("permitopen=\"db\" {KEY}"), "host:port"),
            (format!("permitlisten=\"x\" {KEY}"), "[host:]port"),
            (format!("environment=\"A\" {KEY}"), "NAME=value"),
            ("restrict".into(), "there is no key"),
            ("ssh-ed25519".into(), "damaged"),
            ("ssh-ed25519 AAAA".into(), "damaged"),
            ("ssh-ed25519 !!!!".into(), "damaged"),
            (KEY.replace("ssh-ed25519", "ssh-rsa"), "another type"),
            (KEY.replace("ssh-ed25519", "ssh-dss"), "DSA"),
            (KEY.replace("ssh-ed25519", "sk-ssh-ed25519@openssh.com"), "sk-"),
            (KEY.replace("ssh-ed25519", "ssh-ed25519-cert-v01@openssh.com"), "certificate"),
            (KEY.replace("ssh-ed25519", "ssh-quantum"), "no key type"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----".into(), "private key"),
            ("b3BlbnNzaC1rZXktdjEAAAAABG5vbmU=".into(), "option 1"),
        ] {
            let told = refused(&line);
            assert!(told.contains(reason), "{line}: {told}");
        }
    }

    #[test]
    fn no_cut_and_no_byte_in_the_way_makes_it_panic() {
        let whole =
            format!(r#"from="10.0.0.0/8",command="a \"b\"",expiry-time="20300101Z" {KEY} c"#);
        for end in 0..whole.len() {
            let _ = parse(&whole[..end]);
            for odd in ["\"", "\\", ",", "=", " ", "é", "\0"] {
                let _ = parse(&format!("{}{odd}{}", &whole[..end], &whole[end..]));
            }
        }
    }
}
