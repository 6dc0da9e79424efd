//! Where requests go, with what TLS to there takes: proven certificates and bundles.

use std::sync::Arc;

use portcullis_config::{Config, Upstream, UpstreamTls};

use super::SnapshotError;
use crate::certificates::{Tokens, load_certificate};
use crate::trust::Bundle;
use crate::upstream::{ClientTls, Target};

/// The targets of a configuration, in its order. Targets whose settings did not change are those of `old`.
pub(super) fn build(
    config: &Config,
    (trust, tokens): (&[Vec<Arc<Bundle>>], &Tokens),
    old: &[Arc<Target>],
    errors: &mut Vec<SnapshotError>,
) -> Vec<Arc<Target>> {
    let mut made = Vec::with_capacity(config.upstreams.len());
    for (upstream, bundles) in config.upstreams.iter().zip(trust) {
        let tls = match &upstream.tls {
            None => Ok(None),
            Some(tls) => client_tls(config, (upstream, tls), bundles, tokens).map(Some),
        };
        match tls {
            Ok(tls) => made.push((upstream, tls)),
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Vec::new(); // Nothing of a configuration that is refused may reach the targets in use.
    }
    let targets = made.into_iter();
    targets
        .map(|(upstream, tls)| Target::reuse(upstream, tls, old))
        .collect()
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
