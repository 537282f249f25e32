//! One order, from its names to the certificate.

use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Identifier, NewOrder, Order, OrderStatus, Problem,
    RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use zeroize::Zeroizing;

use super::pace::Kind;
use super::web::Unanswered;
use crate::error::{Code, Error, Phase};
use crate::transport::certificate::Certificate;

/// How long the authority may look whether the domain leads here, and how long it may write the certificate. Within the attempt's limit.
const LOOK_LIMIT: Duration = Duration::from_secs(120);

/// Why there is no certificate.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    pub(super) kind: Kind,
}

impl Failure {
    /// The authority said no, or nothing that makes sense.
    pub(super) fn refused(why: impl std::fmt::Display) -> Self {
        let error = Error::new(Code::Tls, format!("ACME: {why}")).at(Phase::Tls);
        Self { error, kind: Kind::Refused }
    }

    /// Something here failed.
    pub(super) fn local(error: Error) -> Self {
        Self { error, kind: Kind::Unreached }
    }
}

impl From<instant_acme::Error> for Failure {
    fn from(error: instant_acme::Error) -> Self {
        match error {
            instant_acme::Error::Api(problem) => {
                let kind = match problem.r#type.as_deref().and_then(|kind| kind.rsplit(':').next())
                {
                    Some("rateLimited") => Kind::Limited(None),
                    Some("accountDoesNotExist") => Kind::Forgotten,
                    _ => Kind::Refused,
                };
                Self { kind, ..Self::refused(told(&problem)) }
            }
            instant_acme::Error::Other(cause) => match cause.downcast::<Unanswered>() {
                Ok(unanswered) => Self { error: unanswered.error, kind: unanswered.kind },
                Err(other) => Self::refused(other),
            },
            other => Self::refused(other),
        }
    }
}

/// What the authority says is wrong, for one line of a log.
pub(super) fn told(problem: &Problem) -> String {
    let text = problem.detail.as_deref().or(problem.r#type.as_deref()).unwrap_or("it said no");
    let kind = problem.r#type.as_deref().and_then(|kind| kind.rsplit(':').next()).unwrap_or("");
    format!("{} ({})", text.escape_debug(), kind.escape_debug()).chars().take(500).collect()
}

/// Orders a certificate for `domains` and answers the challenges through `shown`. The key, then the chain, in PEM form.
pub(super) async fn issue(
    account: &Account,
    domains: &[String],
    shown: &Certificate,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let identifiers: Vec<_> = domains.iter().cloned().map(Identifier::Dns).collect();
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
    answer_challenges(&mut order, shown).await?;
    let patience = RetryPolicy::default().timeout(LOOK_LIMIT);
    match order.poll_ready(&patience).await {
        Ok(OrderStatus::Ready) => {}
        Ok(_) | Err(instant_acme::Error::Api(_)) => return Err(why_invalid(&mut order).await),
        Err(other) => return Err(other.into()),
    }
    let key = KeyPair::generate().map_err(Failure::refused)?;
    let mut params = CertificateParams::new(domains).map_err(Failure::refused)?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key).map_err(Failure::refused)?;
    order.finalize_csr(request.der()).await?;
    let chain = order.poll_certificate(&patience).await?;
    let mut pem = Zeroizing::new(Vec::with_capacity(chain.len() + 512));
    pem.extend_from_slice(Zeroizing::new(key.serialize_pem()).as_bytes());
    pem.extend_from_slice(chain.as_bytes());
    Ok(pem)
}

async fn answer_challenges(order: &mut Order, shown: &Certificate) -> Result<(), Failure> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let domain = authorization.identifier().to_string();
        let mut challenge = authorization.challenge(ChallengeType::TlsAlpn01).ok_or_else(|| {
            Failure::refused("the authority does not offer the challenge TLS-ALPN-01")
        })?;
        let digest = challenge.key_authorization().digest();
        answer(&domain, digest.as_ref(), shown)?;
        challenge.set_ready().await?;
    }
    Ok(())
}

/// Shows the authority the certificate that it asks for (RFC 8737 §3).
fn answer(domain: &str, digest: &[u8], shown: &Certificate) -> Result<(), Failure> {
    let mut params = CertificateParams::new(vec![domain.to_owned()]).map_err(Failure::refused)?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate().map_err(Failure::refused)?;
    let certificate = params.self_signed(&key).map_err(Failure::refused)?;
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    shown.answer_challenge(domain, certificate.der().clone(), key.into())?;
    Ok(())
}

/// What the authority found when it looked.
async fn why_invalid(order: &mut Order) -> Failure {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let domain = authorization.identifier().to_string();
        let Ok(state) = authorization.refresh().await else { continue };
        let found = state.challenges.iter().find_map(|challenge| challenge.error.as_ref());
        if let Some(problem) = found {
            return Failure::refused(format!(
                "{domain} was not found to lead here: {}",
                told(problem)
            ));
        }
    }
    Failure::refused("the authority has declared the order invalid")
}
