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

    /// A CA below this one.
    fn below(&self, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
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
    completed(anchors, &[], toml)
}

/// The same that knows intermediates.
fn completed(anchors: &[&Ca], intermediates: &[&Ca], toml: &str) -> Arc<Bundle> {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, cas: &[&Ca]| {
        let pem: String = cas.iter().map(|ca| ca.pem.as_str()).collect();
        std::fs::write(folder.path().join(name), pem).unwrap();
    };
    put("ca.pem", anchors);
    put("between.pem", intermediates);
    let toml = match intermediates {
        [] => toml.to_owned(),
        _ => format!("intermediates = 'between.pem'\n{toml}"),
    };
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

fn requires(bundle: &Arc<Bundle>) -> Demand {
    demand(ClientCertMode::Require, &[bundle])
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

#[test]
fn an_intermediate_that_is_known_need_not_be_sent_and_is_no_anchor() {
    let (ours, theirs) = (Ca::new("ours"), Ca::new("theirs"));
    let (between, strange) = (ours.below("between"), theirs.below("strange"));
    let now = UnixTime::now();
    let knows = completed(&[&ours], &[&between, &strange], "max_depth = 1");
    let proof = requires(&knows)
        .verify(&between.leaf(), now)
        .unwrap()
        .unwrap();
    assert_eq!((proof.depth(), proof.completed()), (1, 1));
    for (bundle, chain) in [
        (&knows, strange.leaf()),
        (&bundle(&[&ours], ""), between.leaf()),
        (&completed(&[&ours], &[&strange], ""), between.leaf()),
    ] {
        let refused = requires(bundle).verify(&chain, now).unwrap_err();
        assert_eq!(refused.reason, Reason::ClientCertUnknownCa);
    }
    // One that is sent as well is taken as sent.
    let mut whole = between.leaf();
    whole.push(knows.intermediates()[0].1.clone());
    let proof = requires(&knows).verify(&whole, now).unwrap().unwrap();
    assert_eq!((proof.depth(), proof.completed()), (1, 0));
}

#[test]
fn a_proof_falls_with_an_intermediate_that_only_the_bundle_knew() {
    let ours = Ca::new("ours");
    let (between, other) = (ours.below("between"), ours.below("other"));
    let now = UnixTime::now();
    let first = demand(
        ClientCertMode::Require,
        &[&completed(&[&ours], &[&between], "")],
    );
    let chain = between.leaf();
    let proof = first.verify(&chain, now).unwrap();
    let shown = Shown::new(chain, proof).unwrap();
    for (intermediates, expected) in [
        (&[&other, &between][..], None),
        (&[&other], Some(Reason::ClientCertUnknownCa)),
        (&[], Some(Reason::ClientCertUnknownCa)),
    ] {
        let reloaded = completed(&[&ours], intermediates, "");
        let reloaded = demand(ClientCertMode::Require, &[&reloaded]);
        assert_eq!(reason(reloaded.met_by(&shown, now)), expected);
    }
}

#[test]
fn a_client_that_is_written_down_is_recalled_while_its_intermediates_are_known() {
    let ours = Ca::new("ours");
    let between = ours.below("between");
    let now = UnixTime::now();
    let knows = completed(&[&ours], &[&between], "");
    let bare = between.leaf();
    let whole = vec![bare[0].clone(), knows.intermediates()[0].1.clone()];
    let known = knows.intermediates()[0].1.to_vec();
    for chain in [bare, whole] {
        let proof = requires(&knows).verify(&chain, now).unwrap();
        let ders: Vec<&[u8]> = chain.iter().map(|der| der.as_ref()).collect();
        let mut written = Vec::new();
        requires(&knows)
            .write_client(&ders, proof.as_ref(), &mut written)
            .unwrap();
        let copied = written.windows(known.len()).any(|bytes| bytes == known);
        assert!(!copied, "it is referred to");
        let read = requires(&knows).read_client(&written).unwrap();
        assert_eq!(read.chain(), chain);
        assert!(read.proof().unwrap().is_same(&proof.unwrap()));
        assert!(requires(&knows).met_by(&read, now).is_ok());
        // Nothing is believed of what refers to a certificate that is gone.
        match requires(&bundle(&[&ours], "")).read_client(&written) {
            Err(why) => assert_eq!(why, crate::trust::Forgotten::UnknownIntermediate),
            Ok(read) => {
                let met = requires(&bundle(&[&ours], "")).met_by(&read, now);
                assert_eq!(reason(met), Some(Reason::ClientCertUnknownCa));
            }
        }
    }
}

#[test]
fn a_client_that_is_written_down_wrongly_is_nobody_and_never_a_panic() {
    let ours = Ca::new("ours");
    let between = ours.below("between");
    let now = UnixTime::now();
    let knows = requires(&completed(&[&ours], &[&between], ""));
    let chain = between.leaf();
    let proof = knows.verify(&chain, now).unwrap();
    let ders: Vec<&[u8]> = chain.iter().map(|der| der.as_ref()).collect();
    let mut written = Vec::new();
    knows
        .write_client(&ders, proof.as_ref(), &mut written)
        .unwrap();
    for end in 0..written.len() {
        assert!(knows.read_client(&written[..end]).is_err(), "cut at {end}");
    }
    for at in 0..written.len() {
        for change in [1, 0x40, 0x80, 0xff] {
            let mut changed = written.clone();
            changed[at] ^= change;
            if let Ok(read) = knows.read_client(&changed) {
                let _ = knows.met_by(&read, now);
            }
        }
    }
}

#[test]
fn a_chain_that_was_verified_before_is_asked_everything_anew() {
    let (ours, theirs) = (Ca::new("ours"), Ca::new("theirs"));
    let now = UnixTime::now();
    let chain = ours.leaf();
    let at = |secs| UnixTime::since_unix_epoch(Duration::from_secs(secs));
    let refusal = |bundle: &Arc<Bundle>, chain: &[CertificateDer<'_>], now| {
        let verdict = requires(bundle).verify(chain, now);
        verdict.err().map(|refused| refused.reason)
    };
    let both = bundle(&[&ours, &theirs], "");
    for _ in 0..2 {
        assert_eq!(refusal(&both, &chain, now), None);
    }
    let removed = refusal(&bundle(&[&theirs], ""), &chain, now);
    assert_eq!(removed, Some(Reason::ClientCertUnknownCa));
    let pinned = "spki_pins = ['sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=']";
    let pinned = refusal(&bundle(&[&ours], pinned), &chain, now);
    assert_eq!(pinned, Some(Reason::ClientCertNotPinned));
    // rcgen's certificates are good from 1975 to 4096.
    let late = refusal(&both, &chain, at(100_000_000_000));
    assert_eq!(late, Some(Reason::ClientCertExpired));
    let early = refusal(&both, &chain, at(100_000_000));
    assert_eq!(early, Some(Reason::ClientCertNotYetValid));
    let mut forged = chain[0].to_vec();
    *forged.last_mut().unwrap() ^= 1;
    assert!(refusal(&both, &[forged.into()], now).is_some());
    assert_eq!(refusal(&both, &chain, now), None);
}
