//! Who the client is, as its upstreams are told: each value is made when it is first wanted, once for a
//! connection and configuration, and cloned for each request.
//!
//! What is told follows from the identity of the handshake alone. A client's own copy counts only where
//! `forwarding.xfcc` trusts a role that the client has; a client that only possesses its certificate is told
//! about in `Client-Cert` and nowhere else, and marked there.

use std::cell::OnceCell;

use http::{HeaderMap, HeaderName, HeaderValue};
use portcullis_config::{IdentityForm, XfccMode};

use super::client::{Caller, Client, View};
use super::identity_tokens::{TokenCache, Untold};
use crate::identity::{ClientIdentity, Identity};
use crate::identity_fields::{client_cert, xfcc};
use crate::snapshot::Snapshot;
use crate::upstream::Target;

pub(super) const XFCC: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
pub(super) const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
pub(super) const CLIENT_CERT_CHAIN: HeaderName = HeaderName::from_static("client-cert-chain");
/// Ours: whether the chain of `Client-Cert` was verified, or only the possession of its key (RFC 8941 booleans).
pub(super) const CLIENT_CERT_VERIFIED: HeaderName = HeaderName::from_static("client-cert-verified");

/// What a client's certificate proves, as far as the demand that was met goes.
#[derive(Debug, Clone, Copy)]
enum Proof<'a> {
    /// It showed none.
    None,
    /// It has the key of a certificate whose chain nobody looked at.
    Possessed,
    /// The chain leads to a trust anchor of the site.
    Verified(&'a Identity),
}

impl<'a> Proof<'a> {
    fn of(client: &'a ClientIdentity) -> Self {
        match client {
            ClientIdentity::Absent | ClientIdentity::Unterminated | ClientIdentity::Local => {
                Proof::None
            }
            ClientIdentity::Unverified(_) => Proof::Possessed,
            ClientIdentity::Verified(identity) => Proof::Verified(identity),
        }
    }

    fn verified(self) -> Option<&'a Identity> {
        match self {
            Proof::None | Proof::Possessed => None,
            Proof::Verified(identity) => Some(identity),
        }
    }

    /// `Client-Cert-Verified`.
    fn mark(self) -> Option<HeaderValue> {
        match self {
            Proof::None => None,
            Proof::Possessed => Some(HeaderValue::from_static("?0")),
            Proof::Verified(_) => Some(HeaderValue::from_static("?1")),
        }
    }
}

/// The values of a connection under one configuration.
#[derive(Debug, Default)]
pub(super) struct IdentityHeaders {
    xfcc: OnceCell<Option<HeaderValue>>,
    leaf: OnceCell<Option<HeaderValue>>,
    chain: OnceCell<Option<HeaderValue>>,
    tokens: TokenCache,
}

/// What one request tells its upstream.
#[derive(Debug, Default)]
pub(super) struct Told<'a> {
    /// Where a signed identity stands, whether this request has one or not: nobody else may write it.
    pub(super) token_header: Option<&'a HeaderName>,
    /// What becomes of `X-Forwarded-Client-Cert`.
    pub(super) xfcc: ToldXfcc,
    /// `Client-Cert`.
    pub(super) leaf: Option<HeaderValue>,
    /// `Client-Cert-Chain`.
    pub(super) chain: Option<HeaderValue>,
    /// `Client-Cert-Verified`, which goes with either.
    pub(super) mark: Option<HeaderValue>,
    /// The signed identity.
    pub(super) token: Option<HeaderValue>,
}

/// Where signed identities stand in this configuration.
pub(super) fn token_header(snapshot: &Snapshot) -> Option<HeaderName> {
    let tokens = snapshot.identity_tokens.as_ref()?;
    Some(tokens.header.clone())
}

/// What becomes of `X-Forwarded-Client-Cert`.
#[derive(Debug, Default)]
pub(super) enum ToldXfcc {
    /// None is sent.
    #[default]
    Nothing,
    /// Ours alone.
    Set(HeaderValue),
    /// Ours behind the client's, or alone where that is absent or broken.
    Append(HeaderValue),
    /// The client's, unless it is broken.
    Forward,
}

impl IdentityHeaders {
    /// Everything this upstream is told with one request. Waits only where an identity must be signed.
    pub(super) async fn tell<'a>(
        &self,
        client: &Client,
        (view, caller): (&'a View, &Caller),
        target: &Target,
    ) -> Result<Told<'a>, Untold> {
        let proof = Proof::of(&caller.identity);
        let tokens = view.snapshot.identity_tokens.as_ref();
        let mut told = Told {
            token_header: tokens.map(|tokens| &tokens.header),
            ..Told::default()
        };
        for form in &target.settings.identity {
            match form.value {
                IdentityForm::Xfcc => told.xfcc = self.xfcc(client, (view, caller), proof),
                IdentityForm::ClientCert => {
                    told.mark = proof.mark();
                    told.leaf = told.mark.as_ref().and_then(|_| self.leaf(client));
                }
                IdentityForm::ClientCertChain => {
                    told.mark = proof.mark();
                    told.chain = told.mark.as_ref().and_then(|_| self.chain(client));
                }
                IdentityForm::Jwt => {
                    if let (Some(identity), Some(tokens)) = (proof.verified(), tokens) {
                        let audience = tokens.settings.audience.as_deref();
                        let audience = audience.unwrap_or(&target.name);
                        let wanted = (identity, &*client.facts.site, audience);
                        // Boxed: most connections never wait here, and all would pay for its size.
                        told.token = Some(Box::pin(self.tokens.token(tokens, wanted)).await?);
                    }
                }
            }
        }
        Ok(told)
    }

    fn xfcc(
        &self,
        client: &Client,
        (view, caller): (&View, &Caller),
        proof: Proof<'_>,
    ) -> ToldXfcc {
        let settings = &view.snapshot.forwarding.xfcc;
        let Some(identity) = proof.verified() else {
            return ToldXfcc::Nothing;
        };
        let trusted = settings.trusted.iter().any(|role| caller.roles.has(role));
        if settings.mode == XfccMode::Forward && trusted {
            return ToldXfcc::Forward;
        }
        if !settings.mode.says() {
            return ToldXfcc::Nothing;
        }
        let ours = self.xfcc.get_or_init(|| {
            let first = view
                .site
                .and_then(|site| view.snapshot.sites[site].certificates.first());
            let by = first.map_or(&[][..], |certificate| &certificate.uris);
            let text = xfcc::element(identity, client.shown.chain(), by, &settings.details);
            HeaderValue::try_from(text).ok()
        });
        match (ours, settings.mode) {
            (Some(ours), XfccMode::Append) if trusted => ToldXfcc::Append(ours.clone()),
            (Some(ours), _) => ToldXfcc::Set(ours.clone()),
            (None, _) => ToldXfcc::Nothing,
        }
    }

    fn leaf(&self, client: &Client) -> Option<HeaderValue> {
        let make = || {
            bounded(
                client_cert::leaf(client.shown.chain().first()?),
                "client-cert",
            )
        };
        self.leaf.get_or_init(make).clone()
    }

    fn chain(&self, client: &Client) -> Option<HeaderValue> {
        let make = || {
            client.shown.chain().get(1)?;
            bounded(
                client_cert::chain(client.shown.chain()),
                "client-cert-chain",
            )
        };
        self.chain.get_or_init(make).clone()
    }
}

fn bounded(value: Option<String>, field: &'static str) -> Option<HeaderValue> {
    if value.is_none() {
        let most = client_cert::MAX;
        tracing::debug!(
            field,
            most,
            "not sent: the certificates of the client are too large"
        );
    }
    HeaderValue::try_from(value?).ok()
}

impl Told<'_> {
    /// The value of `X-Forwarded-Client-Cert`, given what the client sent and Connection did not name.
    pub(super) fn xfcc(&self, inbound: &HeaderMap) -> Option<HeaderValue> {
        match &self.xfcc {
            ToldXfcc::Nothing => None,
            ToldXfcc::Set(ours) => Some(ours.clone()),
            ToldXfcc::Forward => HeaderValue::try_from(kept(inbound)?).ok(),
            ToldXfcc::Append(ours) => {
                let Some(mut list) = kept(inbound) else {
                    return Some(ours.clone());
                };
                list.push(',');
                list.push_str(ours.to_str().ok()?);
                HeaderValue::try_from(list).ok()
            }
        }
    }

    /// Writes everything but `X-Forwarded-Client-Cert`, whose old value was removed by then.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        if let Some(leaf) = &self.leaf {
            headers.insert(CLIENT_CERT, leaf.clone());
        }
        if let Some(chain) = &self.chain {
            headers.insert(CLIENT_CERT_CHAIN, chain.clone());
        }
        if let Some(mark) = self
            .mark
            .as_ref()
            .filter(|_| self.leaf.is_some() || self.chain.is_some())
        {
            headers.insert(CLIENT_CERT_VERIFIED, mark.clone());
        }
        if let (Some(name), Some(token)) = (self.token_header, &self.token) {
            headers.insert(name.clone(), token.clone());
        }
    }
}

/// The client's own value, its lines joined. `None` where it is absent, or a line is not well-formed to its end:
/// a quote that is open there would take in what follows.
fn kept(inbound: &HeaderMap) -> Option<String> {
    let mut lines = Vec::new();
    for value in inbound.get_all(XFCC) {
        let line = value.to_str().ok();
        let Some(line) = line.filter(|line| xfcc::parse(line).is_some()) else {
            tracing::debug!("a trusted client's x-forwarded-client-cert is broken: removed");
            return None;
        };
        lines.push(line);
    }
    let list = lines.join(",");
    (!list.is_empty() && list.len() <= xfcc::MAX).then_some(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inbound(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(XFCC, HeaderValue::try_from(*value).unwrap());
        }
        headers
    }

    fn sent(xfcc: ToldXfcc, values: &[&str]) -> Option<String> {
        let told = Told {
            xfcc,
            ..Told::default()
        };
        let value = told.xfcc(&inbound(values))?;
        Some(value.to_str().unwrap().to_owned())
    }

    fn ours() -> HeaderValue {
        HeaderValue::from_static("Hash=00")
    }

    #[test]
    fn a_broken_copy_is_dropped_in_every_mode() {
        for broken in [
            &["Hash=1;"][..],
            &["Subject=\"a"],
            &["Hash=1", "x"],
            &["\u{e9}"],
            &[""],
        ] {
            assert_eq!(sent(ToldXfcc::Nothing, broken), None);
            assert_eq!(sent(ToldXfcc::Forward, broken), None);
            for mode in [ToldXfcc::Set(ours()), ToldXfcc::Append(ours())] {
                assert_eq!(sent(mode, broken).as_deref(), Some("Hash=00"), "{broken:?}");
            }
        }
        // An open quote in one line must not swallow the next, nor ours.
        assert_eq!(
            sent(ToldXfcc::Forward, &["Subject=\"a", "b\";Hash=1"]).as_deref(),
            None
        );
    }

    #[test]
    fn a_copy_of_a_trusted_client_is_kept_and_of_others_not() {
        let theirs = &["By=a;Hash=1", "Hash=2"][..];
        assert_eq!(sent(ToldXfcc::Nothing, theirs), None);
        assert_eq!(
            sent(ToldXfcc::Set(ours()), theirs).as_deref(),
            Some("Hash=00")
        );
        let append = sent(ToldXfcc::Append(ours()), theirs);
        assert_eq!(append.as_deref(), Some("By=a;Hash=1,Hash=2,Hash=00"));
        let forward = sent(ToldXfcc::Forward, theirs);
        assert_eq!(forward.as_deref(), Some("By=a;Hash=1,Hash=2"));
        assert_eq!(sent(ToldXfcc::Forward, &[]), None);
    }
}
