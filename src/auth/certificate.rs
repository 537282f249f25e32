//! Certificates of OpenSSH (PROTOCOL.certkeys): what must hold of one before it means anything. Decides on what it is handed, reads
//! nothing. A reason for a refusal is for the log: a peer is told nothing but that it was refused.

use std::net::IpAddr;

use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, Certificate, HashAlg};

use super::key_line::{Authority, RSA_BITS};
use super::key_rules::KeyRules;
use super::pattern::{Sources, glob};

/// The extension without which a certificate forwards nothing, as in sshd.
const PORT_FORWARDING: &str = "permit-port-forwarding";

/// Why a certificate is refused.
pub(super) type Refusal = &'static str;

/// What a user certificate says of itself, once its authority has been believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateInfo {
    /// Its name in the authority's books: `ssh-keygen -I`.
    pub id: String,
    /// Its number there: `ssh-keygen -z`; 0 when the authority does not count.
    pub serial: u64,
    /// The names it stands for: `ssh-keygen -n`.
    pub principals: Vec<String>,
    /// `SHA256:…` of the authority's key.
    pub ca_fingerprint: String,
}

impl CertificateInfo {
    pub(crate) fn of(certificate: &Certificate) -> Self {
        Self {
            id: certificate.key_id().to_owned(),
            serial: certificate.serial(),
            principals: certificate.valid_principals().to_vec(),
            ca_fingerprint: certificate.signature_key().fingerprint(HashAlg::Sha256).to_string(),
        }
    }
}

/// What `certificate` lets `user` do who comes from `source` at `now` (Unix seconds), given a line that names its authority. The
/// limits of both apply. That its owner has the key was proved before.
pub(super) fn user_rules(
    certificate: &Certificate,
    authority: &Authority,
    user: &str,
    source: Option<IpAddr>,
    now: i64,
) -> Result<KeyRules, Refusal> {
    check(certificate, CertType::User, &authority.key, now)?;
    let named = certificate.valid_principals();
    let is_named = |name: &str| named.iter().any(|principal| principal == name);
    let stands = match &authority.principals {
        Some(wanted) => wanted.iter().any(|name| is_named(name)),
        None => is_named(user),
    };
    if !stands {
        return Err("the certificate does not stand for this user");
    }
    let mut rules = authority.rules.clone();
    rules.admit(source, now)?;
    for (name, value) in certificate.critical_options().iter() {
        match name.as_str() {
            "source-address" if !is_from(value, source)? => {
                return Err("the certificate is not for use from this address");
            }
            // A touch of a token, which no key has that is taken here.
            "source-address" | "verify-required" => {}
            "force-command" => rules.command = true,
            _ => return Err("the certificate has a critical option that is not known"),
        }
    }
    rules.no_forwarding |= !certificate.extensions().contains_key(PORT_FORWARDING);
    Ok(rules)
}

/// What must hold of the certificate of a server that was reached as `host`, without a port.
pub(super) fn check_host(
    certificate: &Certificate,
    authority: &KeyData,
    host: &str,
    now: i64,
) -> Result<(), Refusal> {
    check(certificate, CertType::Host, authority, now)?;
    let named = certificate.valid_principals();
    // As in ssh: without names it is for any host that the authority is believed for.
    if !named.is_empty() && !named.iter().any(|pattern| glob(pattern, host)) {
        return Err("it is for other hosts");
    }
    // None is defined for hosts.
    match certificate.critical_options().is_empty() {
        true => Ok(()),
        false => Err("it has a critical option that is not known"),
    }
}

/// What must hold of every certificate.
fn check(
    certificate: &Certificate,
    purpose: CertType,
    authority: &KeyData,
    now: i64,
) -> Result<(), Refusal> {
    if certificate.cert_type() != purpose {
        return Err(match purpose {
            CertType::User => "the certificate is for a host",
            CertType::Host => "it is for a user",
        });
    }
    if certificate.signature_key() != authority {
        return Err("another authority has signed it");
    }
    if !is_sound(certificate.public_key()) || !is_sound(authority) {
        return Err("a key of this type or size is not accepted");
    }
    if matches!(certificate.signature().algorithm(), Algorithm::Rsa { hash: None }) {
        return Err("it is signed with SHA-1");
    }
    let now = u64::try_from(now).unwrap_or(0);
    if now < certificate.valid_after() {
        return Err("the certificate is not valid yet");
    }
    if now >= certificate.valid_before() {
        return Err("the certificate has expired");
    }
    let ours = [authority.fingerprint(HashAlg::Sha256)];
    certificate.validate_at(now, &ours).map_err(|_| "its signature is wrong")
}

/// Whether a key of this type and size may be certified, or certify.
fn is_sound(key: &KeyData) -> bool {
    match key {
        KeyData::Ed25519(_) | KeyData::Ecdsa(_) => true,
        KeyData::Rsa(rsa) => cfg!(feature = "rsa") && RSA_BITS.contains(&rsa.key_size()),
        _ => false,
    }
}

/// Whether `source` is in a list of addresses and networks. There are no patterns and no exceptions in it, as in sshd.
fn is_from(list: &str, source: Option<IpAddr>) -> Result<bool, Refusal> {
    let plain = |entry: &str| {
        let address = entry.trim().split('/').next().unwrap_or_default();
        address.parse::<IpAddr>().is_ok()
    };
    if !list.split(',').all(plain) {
        return Err("the certificate has a source-address that is not understood");
    }
    let sources = Sources::parse(list)
        .map_err(|_| "the certificate has a source-address that is not understood")?;
    Ok(source.is_some_and(|source| sources.allow(source)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use russh::keys::PrivateKey;
    use russh::keys::ssh_key::certificate::Builder;

    use super::*;
    use crate::auth::HostKey;
    use crate::auth::key_line::{self, Line};

    /// An authority and somebody else's key.
    struct World {
        authority: Arc<PrivateKey>,
        key: Arc<PrivateKey>,
    }

    impl World {
        fn new() -> Self {
            let key = || HostKey::load_or_make(None).expect("a key").private;
            Self { authority: key(), key: key() }
        }

        /// Valid from 100 to 200, for `anna`, with leave to forward.
        fn certificate(&self, change: impl FnOnce(&mut Builder)) -> Certificate {
            self.blank(|builder| {
                builder.valid_principal("anna").expect("a name");
                builder.extension(PORT_FORWARDING, "").expect("an extension");
                change(builder);
            })
        }

        fn blank(&self, change: impl FnOnce(&mut Builder)) -> Certificate {
            let public = self.key.public_key().key_data().clone();
            let mut builder = Builder::new(vec![7; 32], public, 100, 200).expect("a builder");
            builder.serial(7).and_then(|b| b.key_id("id")).expect("its name");
            change(&mut builder);
            builder.sign(&*self.authority).expect("a certificate")
        }

        fn line(&self, options: &str) -> Authority {
            let key = self.authority.public_key().to_openssh().expect("its text");
            match key_line::parse_authority(&format!("{options} {key}")) {
                Ok(Some(Line::Authority(authority))) => authority,
                other => panic!("{options}: {other:?}"),
            }
        }

        fn judge(&self, options: &str, certificate: &Certificate) -> Result<KeyRules, Refusal> {
            let source = Some(IpAddr::from([10, 0, 0, 1]));
            user_rules(certificate, &self.line(options), "anna", source, 150)
        }
    }

    fn plain(_: &mut Builder) {}

    fn critical(name: &str, value: &str) -> impl FnOnce(&mut Builder) {
        move |builder| {
            builder.critical_option(name, value).expect("an option");
        }
    }

    fn principal(name: &str) -> impl FnOnce(&mut Builder) {
        move |builder| {
            builder.valid_principal(name).expect("a name");
        }
    }

    #[test]
    fn a_certificate_of_an_authority_lets_in_whom_it_names() {
        let world = World::new();
        let rules = world.judge("", &world.certificate(plain)).expect("admitted");
        assert!(rules.may_open("db", 1) && rules.may_listen("", 1) && rules.may_reach_program());
        let other = user_rules(&world.certificate(plain), &world.line(""), "berta", None, 150);
        assert!(other.is_err_and(|why| why.contains("stand for")));
        let nobody = world.blank(|builder| {
            builder.all_principals_valid().expect("no name");
        });
        assert!(world.judge("", &nobody).is_err(), "no name is not every name");
    }

    #[test]
    fn names_of_the_line_stand_instead_of_the_users() {
        let world = World::new();
        let admin = world.blank(principal("admin"));
        assert!(world.judge("", &admin).is_err());
        assert!(world.judge(r#"principals="root,admin""#, &admin).is_ok());
        assert!(world.judge(r#"principals="root""#, &world.certificate(plain)).is_err());
    }

    #[test]
    fn it_is_valid_from_its_first_second_to_before_its_last() {
        let world = World::new();
        let certificate = world.certificate(plain);
        let line = world.line("");
        for (now, good) in [(99, false), (100, true), (199, true), (200, false), (-1, false)] {
            let judged = user_rules(&certificate, &line, "anna", None, now);
            assert_eq!(judged.is_ok(), good, "{now}");
        }
    }

    #[test]
    fn limits_of_line_and_certificate_both_hold() {
        let world = World::new();
        for (options, option, good) in [
            (r#"from="10.0.0.0/8""#, "10.0.0.1", true),
            (r#"from="11.0.0.0/8""#, "10.0.0.1", false),
            ("", "11.0.0.0/8", false),
            ("", "11.0.0.0/8,10.0.0.0/8", true),
            ("", "10.*", false),
            ("", "0.0.0.0/0,!10.0.0.2", false),
            ("", "", false),
            (r#"expiry-time="19700101000200Z""#, "10.0.0.1", false),
        ] {
            let certificate = world.certificate(critical("source-address", option));
            let judged = world.judge(options, &certificate);
            assert_eq!(judged.is_ok(), good, "{options} {option} {judged:?}");
        }
        let certificate = world.certificate(critical("source-address", "0.0.0.0/0"));
        let unknown = user_rules(&certificate, &world.line(""), "anna", None, 150);
        assert!(unknown.is_err(), "a source that is not known is in no list");
    }

    #[test]
    fn forwarding_wants_the_extension_and_the_line_to_allow_it() {
        let world = World::new();
        let bare = world.blank(principal("anna"));
        for (options, certificate, good) in [
            ("", &world.certificate(plain), true),
            ("permit-port-forwarding", &world.certificate(plain), true),
            ("restrict", &world.certificate(plain), false),
            ("", &bare, false),
            ("port-forwarding", &bare, false),
        ] {
            let rules = world.judge(options, certificate).expect("admitted");
            assert_eq!(rules.may_open("db", 1), good, "{options}");
            assert!(rules.may_reach_program());
        }
        let rules = world.judge(r#"permitopen="db:1""#, &world.certificate(plain)).expect("in");
        assert!(rules.may_open("db", 1) && !rules.may_open("db", 2));
    }

    #[test]
    fn critical_options_are_known_or_refuse_and_extensions_are_ignored() {
        let world = World::new();
        let forced = world.certificate(critical("force-command", "date"));
        let rules = world.judge("", &forced).expect("admitted");
        assert!(!rules.may_open("db", 1) && !rules.may_reach_program());
        let verified = world.certificate(critical("verify-required", ""));
        assert!(world.judge("", &verified).is_ok());
        let strange = world.certificate(critical("no-pty@example.org", ""));
        assert!(world.judge("", &strange).is_err_and(|why| why.contains("critical")));
        let extended = world.certificate(|builder| {
            builder.extension("shiny@example.org", "yes").expect("an extension");
        });
        assert!(world.judge("", &extended).is_ok());
    }

    #[test]
    fn a_host_certificate_and_one_that_others_signed_or_changed_let_nobody_in() {
        let (world, other) = (World::new(), World::new());
        let host = world.certificate(|builder| {
            builder.cert_type(CertType::Host).expect("a type");
        });
        assert!(world.judge("", &host).is_err_and(|why| why.contains("host")));
        assert!(world.judge("", &other.certificate(plain)).is_err());
        let signed = world.certificate(plain).to_bytes().expect("its bytes");
        let name = signed.windows(4).position(|at| at == b"anna").expect("the name");
        let mut changed = signed.clone();
        changed[name..name + 4].copy_from_slice(b"root");
        let changed = Certificate::from_bytes(&changed).expect("still a certificate");
        let judged = user_rules(&changed, &world.line(""), "root", None, 150);
        assert!(judged.is_err_and(|why| why.contains("signature")));
    }

    #[test]
    fn a_host_certificate_is_for_the_hosts_it_names() {
        let world = World::new();
        let authority = world.authority.public_key().key_data();
        let named = |names: &[&str]| {
            world.blank(|builder| {
                builder.cert_type(CertType::Host).expect("a type");
                for name in names {
                    builder.valid_principal(*name).expect("a name");
                }
                if names.is_empty() {
                    builder.all_principals_valid().expect("any host");
                }
            })
        };
        for (names, good) in [
            (&["a.example"][..], true),
            (&["b.example", "A.Example"], true),
            (&["*.example"], true),
            (&["b.example"], false),
            (&[], true),
        ] {
            let judged = check_host(&named(names), authority, "a.example", 150);
            assert_eq!(judged.is_ok(), good, "{names:?}");
        }
        assert!(check_host(&named(&["a"]), authority, "a", 200).is_err(), "it has expired");
        assert!(check_host(&world.certificate(plain), authority, "anna", 150).is_err());
    }
}
