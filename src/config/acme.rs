//! Certificates from an authority that speaks ACME (RFC 8555): what is wanted, and how it stands.

use std::path::PathBuf;
use std::time::SystemTime;

use crate::error::Error;
#[cfg(feature = "acme")]
use crate::error::Result;

/// The directory of Let's Encrypt.
#[cfg(feature = "acme")]
pub(crate) const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// Names in one certificate, as Let's Encrypt has it.
#[cfg(feature = "acme")]
const MOST_DOMAINS: usize = 100;

/// A TLS certificate that a server gets, and renews, by itself. The authority proves that a domain leads here by connecting to its port
/// 443 (TLS-ALPN-01, RFC 8737), so that port has to lead to a TLS listener of the server. To use it is to agree to the terms of service
/// of the authority.
#[derive(Clone, Debug, Default)]
pub struct AcmeOptions {
    /// The names that the certificate is for, one at least; no patterns, no addresses.
    pub domains: Vec<String>,
    /// The URL of the authority's directory, `https://…`. Default: Let's Encrypt.
    pub directory: Option<String>,
    /// Folder for the account and the certificates, made for its owner alone. Default `$ALKNET_HOME/acme`, else
    /// `$XDG_STATE_HOME/alknet/acme`, else `~/.local/state/alknet/acme`.
    pub cache: Option<PathBuf>,
    /// Where the authority may write to: an address of mail. Default: none.
    pub contact: Option<String>,
}

#[cfg(feature = "acme")]
impl AcmeOptions {
    /// # Errors
    /// `ERR_ALKNET_CONFIG` for what no authority would take.
    pub(crate) fn check(&self) -> Result<()> {
        if self.domains.is_empty() || self.domains.len() > MOST_DOMAINS {
            let wrong = format!("ACME: a certificate is for 1 to {MOST_DOMAINS} domains");
            return Err(Error::config(wrong));
        }
        if let Some(domain) = self.domains.iter().find(|domain| !is_domain(domain)) {
            return Err(Error::config(format!("ACME: {domain:?} is no name of a host")).hint(
                "give names as in example.com; patterns and addresses cannot be had this way",
            ));
        }
        if !self.directory().starts_with("https://") {
            let wrong = format!("ACME: the directory {:?} is no https:// URL", self.directory());
            return Err(Error::config(wrong));
        }
        match &self.contact {
            Some(contact) if !contact.contains('@') || contact.contains(char::is_whitespace) => {
                Err(Error::config(format!("ACME: {contact:?} is no address of mail")))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn directory(&self) -> &str {
        self.directory.as_deref().unwrap_or(LETS_ENCRYPT)
    }
}

/// Letters, digits and `-` between dots, one dot at least, and not all digits (RFC 1123 §2.1).
#[cfg(feature = "acme")]
fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= 253
        && text.contains('.')
        && text.split('.').all(label)
        && last.bytes().any(|b| b.is_ascii_alphabetic())
}

/// How a certificate by ACME stands.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AcmeStatus {
    /// The names that it is for.
    pub domains: Vec<String>,
    /// When the certificate that is shown ends; `None` before there is one.
    pub valid_until: Option<SystemTime>,
    /// When the next attempt is made, for the first certificate or a renewal.
    pub next_attempt: Option<SystemTime>,
    /// Why the last attempt failed; `None` once one has succeeded.
    pub error: Option<Error>,
}

#[cfg(all(test, feature = "acme"))]
mod tests {
    use super::*;

    fn with(domains: &[&str]) -> AcmeOptions {
        let domains = domains.iter().map(|name| (*name).to_owned()).collect();
        AcmeOptions { domains, ..AcmeOptions::default() }
    }

    #[test]
    fn names_of_hosts_are_taken_and_nothing_else() {
        assert!(
            with(&["example.com", "a-b.example.com", "xn--mnchen-3ya.example"]).check().is_ok()
        );
        for wrong in [
            "",
            "localhost",
            "*.example.com",
            "192.0.2.1",
            "::1",
            "a b.example",
            "-a.example",
            "a..example",
        ] {
            assert!(with(&[wrong]).check().is_err(), "{wrong:?} was taken");
        }
        assert!(with(&[]).check().is_err());
        assert!(with(&["a.example"; 101]).check().is_err());
    }

    #[test]
    fn the_directory_is_reached_by_https_and_mail_has_an_address() {
        let options = with(&["example.com"]);
        assert_eq!(options.directory(), LETS_ENCRYPT);
        let plain =
            AcmeOptions { directory: Some("http://ca.example/d".into()), ..options.clone() };
        assert!(plain.check().is_err());
        for (contact, good) in
            [("ops@example.com", true), ("ops", false), ("o ps@example.com", false)]
        {
            let options = AcmeOptions { contact: Some(contact.into()), ..options.clone() };
            assert_eq!(options.check().is_ok(), good, "{contact}");
        }
    }
}
