//! Where requests go, with what TLS to there takes: proven certificates and bundles.

use std::sync::Arc;

use portcullis_config::{Config, Upstream, UpstreamTls};

use super::SnapshotError;
use crate::certificates::{Tokens, load_certificate};
use crate::trust::Bundle;
use crate::upstream::{ClientTls, Target};

/// A target, and how it is spoken to over TLS in this snapshot.
type Reached = (Arc<Target>, Option<Arc<ClientTls>>);

/// The targets of a configuration, in its order. Targets whose settings did not change are those of `old`, and nothing of
/// them is changed: the configuration may still be refused.
pub(super) fn build(
    config: &Config,
    (trust, tokens): (&[Vec<Arc<Bundle>>], &Tokens),
    old: &[Arc<Target>],
    errors: &mut Vec<SnapshotError>,
) -> Vec<Reached> {
    let mut made = Vec::with_capacity(config.upstreams.len());
    for (upstream, bundles) in config.upstreams.iter().zip(trust) {
        let tls = match &upstream.tls {
            None => Ok(None),
            Some(tls) => client_tls(config, (upstream, tls), bundles, tokens).map(Some),
        };
        match tls {
            Ok(tls) => {
                let tls = tls.map(Arc::new);
                made.push((Target::reuse(upstream, tls.as_ref(), old), tls));
            }
            Err(error) => errors.push(error),
        }
    }
    made
}

fn client_tls(
    config: &Config,
    (upstream, tls): (&Upstream, &UpstreamTls),
    bundles: &[Arc<Bundle>],
    tokens: &Tokens,
) -> Result<ClientTls, SnapshotError> {
    let certificate = match &tls.certificate {
        None => None,
        Some(certificate) => {
            let proven = load_certificate(config, certificate, tls.key_policy, tokens);
            Some(proven.map_err(|error| SnapshotError::of_certificate(certificate, &error))?)
        }
    };
    let made = ClientTls::new(tls, upstream.protocol, bundles.to_vec(), certificate);
    made.map_err(|error| SnapshotError {
        span: upstream
            .endpoints
            .first()
            .map(|endpoint| endpoint.span.clone())
            .unwrap_or_default(),
        message: format!("upstream {}: {error}", upstream.name),
    })
}
