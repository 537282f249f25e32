//! When a certificate is renewed, and how long an authority is left alone after a failure. Pure: no clock but what it is handed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use der::asn1::{AnyRef, GeneralizedTime, UtcTime};
use der::{Decode, Reader, SliceReader, Tag, Tagged};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

/// From when to when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) from: SystemTime,
    pub(super) until: SystemTime,
}

/// Why an attempt failed, as far as it decides when the next is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The authority was not reached, or something here failed: trying again costs nobody much.
    Unreached,
    /// It said no; five times in an hour is what Let's Encrypt allows for a name that does not lead here.
    Refused,
    /// It does not know the account any more: a new one is made.
    Forgotten,
    /// It wants to be left alone, for so long if it said.
    Limited(Option<Duration>),
}

/// Lifetimes below it are renewed at their half, others when a third is left (as Let's Encrypt recommends).
const SHORT: Duration = Duration::from_secs(10 * 24 * 3600);

/// Longest pause that an authority is granted: the windows of Let's Encrypt's limits are a week at the most.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// When a certificate is to be renewed.
pub(super) fn renewal(validity: Validity) -> SystemTime {
    let life = validity.until.duration_since(validity.from).unwrap_or_default();
    validity.from + if life < SHORT { life / 2 } else { life / 3 * 2 }
}

/// The pause after a failure, the first being failure 0. `chance` is a random number from 0 to 1: many servers must not come back in step.
pub(super) fn pause(kind: Kind, failures: u32, chance: f64) -> Duration {
    let doubled = |first: u64, longest: u64| {
        let seconds = first.saturating_mul(1 << failures.min(20)).min(longest);
        Duration::from_secs(seconds).mul_f64(1.0 + 0.2 * chance.clamp(0.0, 1.0))
    };
    match kind {
        Kind::Unreached | Kind::Forgotten => doubled(1, 600),
        Kind::Refused => doubled(60, 6 * 3600),
        // An hour at least (reference table: ACME).
        Kind::Limited(asked) => {
            doubled(3600, 24 * 3600).max(asked.unwrap_or_default().min(LONGEST))
        }
    }
}

impl Validity {
    /// Of the first certificate in PEM form.
    pub(super) fn of_pem(pem: &[u8]) -> Option<Self> {
        let certificate = CertificateDer::from_pem_slice(pem).ok()?;
        Self::of_der(&certificate).ok()
    }

    /// Of a certificate (RFC 5280 §4.1): version, number, algorithm and issuer stand before it.
    fn of_der(der: &[u8]) -> der::Result<Self> {
        let mut signed = SliceReader::new(AnyRef::from_der(der)?.value())?;
        let mut fields = SliceReader::new(AnyRef::decode(&mut signed)?.value())?;
        if AnyRef::decode(&mut fields)?.tag() != Tag::Integer {
            AnyRef::decode(&mut fields)?;
        }
        AnyRef::decode(&mut fields)?;
        AnyRef::decode(&mut fields)?;
        let mut times = SliceReader::new(AnyRef::decode(&mut fields)?.value())?;
        Ok(Self { from: time(&mut times)?, until: time(&mut times)? })
    }
}

fn time<'a>(times: &mut impl Reader<'a>) -> der::Result<SystemTime> {
    let any = AnyRef::decode(times)?;
    let since_1970 = match any.tag() {
        Tag::UtcTime => any.decode_as::<UtcTime>()?.to_unix_duration(),
        _ => any.decode_as::<GeneralizedTime>()?.to_unix_duration(),
    };
    Ok(UNIX_EPOCH + since_1970)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn the_times_of_a_certificate_are_read_from_it() {
        for (years, seconds) in [
            ((2020, 2021), [1_577_836_800, 1_609_459_200]),
            ((2049, 2051), [2_493_072_000, 2_556_144_000]),
        ] {
            let mut params = CertificateParams::new(vec!["example.com".into()]).unwrap();
            params.not_before = date_time_ymd(years.0, 1, 1);
            params.not_after = date_time_ymd(years.1, 1, 1);
            let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            let [from, until] = seconds.map(|s| UNIX_EPOCH + Duration::from_secs(s));
            assert_eq!(
                Validity::of_pem(certificate.pem().as_bytes()),
                Some(Validity { from, until })
            );
        }
        assert_eq!(Validity::of_pem(b"nothing"), None);
        assert!(Validity::of_der(&[0x30, 3, 0x30, 1, 0]).is_err());
    }

    #[test]
    fn a_third_of_a_long_life_and_half_of_a_short_one_are_left_at_renewal() {
        let due = |days: u32| {
            let validity = Validity { from: UNIX_EPOCH, until: UNIX_EPOCH + DAY * days };
            renewal(validity).duration_since(UNIX_EPOCH).unwrap()
        };
        assert_eq!((due(90), due(6)), (DAY * 60, DAY * 3));
    }

    #[test]
    fn pauses_grow_and_an_authority_that_wants_to_be_left_alone_is() {
        let seconds = |kind, failures| pause(kind, failures, 0.0).as_secs();
        assert_eq!([0, 1, 5, 20, 99].map(|n| seconds(Kind::Unreached, n)), [1, 2, 32, 600, 600]);
        assert_eq!([0, 1, 5, 20].map(|n| seconds(Kind::Refused, n)), [60, 120, 1920, 21_600]);
        assert_eq!(seconds(Kind::Limited(None), 0), 3600);
        assert_eq!(seconds(Kind::Limited(Some(DAY * 2)), 0), 2 * 24 * 3600);
        assert_eq!(seconds(Kind::Limited(Some(Duration::MAX)), 0), 7 * 24 * 3600);
        assert_eq!(pause(Kind::Refused, 0, 1.0).as_secs(), 72);
    }
}
