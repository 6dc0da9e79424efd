//! Demands, and proofs that are looked at again.

use std::time::Duration;

use portcullis_config::{Config, Deny};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::*;
use crate::trust::DenyEntry;

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Ca {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    fn leaf(&self) -> Vec<CertificateDer<'static>> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "orders");
        params.is_ca = IsCa::ExplicitNoCa;
        let leaf = params.signed_by(&KeyPair::generate().unwrap(), &self.issuer);
        vec![leaf.unwrap().der().clone()]
    }
}

/// The bundle `t` with these anchors and more keys.
fn bundle(anchors: &[&Ca], toml: &str) -> Arc<Bundle> {
    let folder = tempfile::tempdir().unwrap();
    let pem: String = anchors.iter().map(|ca| ca.pem.as_str()).collect();
    std::fs::write(folder.path().join("ca.pem"), pem).unwrap();
    let text = format!(
        "[[listener]]\nbind = '127.0.0.1:1'\nprotocol = 'redirect'\n[trust.t]\nanchors = 'ca.pem'\n{toml}"
    );
    let file = folder.path().join("portcullis.toml");
    std::fs::write(&file, text).unwrap();
    let (config, _) = Config::load(&file).unwrap_or_else(|errors| panic!("{errors}"));
    Arc::new(Bundle::load(&config.trusts[0], folder.path(), None).unwrap())
}

fn demand(mode: ClientCertMode, bundles: &[&Arc<Bundle>]) -> Demand {
    let deny = Arc::new(DenyList::open(&Deny::default(), None).unwrap());
    Demand::new(
        mode,
        bundles.iter().map(|bundle| Arc::clone(bundle)).collect(),
        &deny,
    )
}

fn reason(result: Result<Met, Refused>) -> Option<Reason> {
    result.err().map(|refused| refused.reason)
}

#[test]
fn the_handshake_asks_what_lets_every_route_decide() {
    use ClientCertMode::{Accept, Ignore, Require, Unverified};
    for (site, routes, handshake) in [
        (Ignore, &[][..], Ignore),
        (Ignore, &[Require], Accept),
        (Ignore, &[Unverified], Unverified),
        (Ignore, &[Unverified, Require], Unverified),
        (Accept, &[Require], Accept),
        (Unverified, &[Require], Unverified),
        (Require, &[Require], Require),
    ] {
        let routes: Vec<_> = routes.iter().map(|mode| demand(*mode, &[])).collect();
        let asked = Demand::of_handshake(&demand(site, &[]), &routes);
        assert_eq!(asked.mode(), handshake, "{site:?}");
    }
}

#[test]
fn a_proof_holds_while_its_anchor_stays_and_falls_with_it() {
    let (ours, theirs) = (Ca::new("ours"), Ca::new("theirs"));
    let now = UnixTime::now();
    let first = demand(ClientCertMode::Require, &[&bundle(&[&ours, &theirs], "")]);
    let chain = ours.leaf();
    let shown = Shown::new(chain.clone(), first.verify(&chain, now).unwrap()).unwrap();
    assert!(first.met_by(&shown, now).is_ok());
    for (anchors, toml, expected) in [
        (&[&ours][..], "", None),
        (&[&ours, &theirs], "max_depth = 0", None),
        (&[&theirs], "", Some(Reason::ClientCertUnknownCa)),
        (
            &[&ours],
            "trust_domains = 'td'",
            Some(Reason::ClientCertTrustDomain),
        ),
    ] {
        let reloaded = demand(ClientCertMode::Require, &[&bundle(anchors, toml)]);
        assert_eq!(reason(reloaded.met_by(&shown, now)), expected, "{toml}");
    }
}

#[test]
fn a_proof_ends_with_its_certificate() {
    let ca = Ca::new("ours");
    let now = UnixTime::now();
    let demand = demand(ClientCertMode::Require, &[&bundle(&[&ca], "")]);
    let chain = ca.leaf();
    let proof = demand.verify(&chain, now).unwrap().unwrap();
    let end = Duration::from_secs(u64::try_from(proof.not_after()).unwrap());
    let shown = Shown::new(chain, Some(proof)).unwrap();
    let at = |time| reason(demand.met_by(&shown, UnixTime::since_unix_epoch(time)));
    assert_eq!(at(end), None);
    assert_eq!(
        at(end + Duration::from_secs(1)),
        Some(Reason::ClientCertExpired)
    );
}

#[test]
fn the_deny_list_counts_in_every_mode_that_asks() {
    let ca = Ca::new("ours");
    let now = UnixTime::now();
    let chain = ca.leaf();
    let entry = || {
        let serial = Identity::read(&chain[0]).unwrap().serial;
        DenyEntry::parse(&serial, None).unwrap()
    };
    for mode in [
        ClientCertMode::Accept,
        ClientCertMode::Require,
        ClientCertMode::Unverified,
    ] {
        let demand = demand(mode, &[&bundle(&[&ca], "")]);
        let shown = Shown::new(chain.clone(), demand.verify(&chain, now).unwrap()).unwrap();
        let before = demand.epoch();
        assert!(demand.met_by(&shown, now).is_ok());
        demand.deny().add(entry(), 0).unwrap();
        assert_ne!(demand.epoch(), before);
        assert_eq!(
            reason(demand.met_by(&shown, now)),
            Some(Reason::ClientCertDenied)
        );
        assert!(demand.verify(&chain, now).is_err());
    }
}

#[test]
fn without_a_certificate_nobody_is_somebody() {
    use ClientCertMode::{Accept, Ignore, Require, Unverified};
    let nobody = Shown::default();
    for mode in [Ignore, Accept, Unverified] {
        let met = demand(mode, &[]).met_by(&nobody, UnixTime::now()).unwrap();
        assert!(matches!(met.identity, ClientIdentity::Absent), "{mode:?}");
    }
    let required = demand(Require, &[]).met_by(&nobody, UnixTime::now());
    assert_eq!(reason(required), Some(Reason::ClientCertRequired));
}
