//! What one trust bundle says about a chain, check by check.

use std::ops::Range;

use rustls_pki_types::{CertificateDer, UnixTime};

use super::report::{Story, stretch};
use crate::identity::Identity;
use crate::revocation::{Finding, Verdict, date};
use crate::trust::{Account, Bundle, CHECKS, Check, Outcome, Proof};

/// What is shown, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown<'a> {
    pub(super) chain: &'a [CertificateDer<'static>],
    /// What the leaf says, if it can be read.
    pub(super) leaf: Option<&'a Identity>,
    pub(super) at: UnixTime,
}

/// Tells how a bundle came to its verdict.
pub(super) fn tell(story: &mut Story<'_>, bundle: &Bundle, account: &Account, shown: Shown<'_>) {
    story.section(format!("trust bundle {}", bundle.name()));
    for check in CHECKS.into_iter().filter(|it| *it != Check::DenyList) {
        let place = place(bundle, check);
        let name = check.as_str();
        match (account.outcome(check), &account.verdict) {
            (Outcome::NotReached, _) => story.not_reached(name),
            (Outcome::Failed, Err(refused)) => {
                story.fail(name, (refused.reason, &refused.detail), &place);
            }
            (_, _) => match detail(bundle, check, (account.path.as_ref(), shown)) {
                Detail::Asked(text) => story.pass(name, text, &place),
                Detail::NotAsked(text) => story.not_asked(name, text, &place),
            },
        }
        if check == Check::Crl && account.outcome(check) != Outcome::NotReached {
            tell_lists(story, bundle, account, shown);
        }
    }
    for note in account.path.iter().flat_map(Proof::notes) {
        let told = format!("would be {}: {}", note.reason, note.detail);
        story.note("reported only", told, &bundle.settings().span);
    }
}

/// The line that is worth a look.
fn place(bundle: &Bundle, check: Check) -> Range<usize> {
    let settings = bundle.settings();
    let first = match check {
        Check::Chain => settings.anchors.first(),
        Check::Crl => settings.crl.as_ref().and_then(|crl| crl.files.first()),
        _ => None,
    };
    first.map_or(&settings.span, |file| &file.span).clone()
}

enum Detail {
    Asked(String),
    NotAsked(String),
}

/// What was found where a check passed.
fn detail(bundle: &Bundle, check: Check, (path, shown): (Option<&Proof>, Shown<'_>)) -> Detail {
    use Detail::Asked;
    let not_asked = |why: &str| Detail::NotAsked(why.to_owned());
    let settings = bundle.settings();
    let Some(leaf) = shown.leaf else {
        return Asked(String::new());
    };
    let depth = path.map_or(0, Proof::depth);
    match check {
        Check::Readable => Asked(format!(
            "serial {}, sha256 {}",
            leaf.serial,
            leaf.sha256_hex()
        )),
        Check::Key => Asked(format!(
            "{} of {} bits",
            leaf.key.kind.as_str(),
            leaf.key.bits
        )),
        Check::Validity => Asked(validity(leaf, shown.at)),
        Check::Eku => Asked(settings.eku.as_str().to_owned()),
        Check::Chain => Asked(
            path.and_then(|path| bundle.anchor_of(path))
                .unwrap_or_default(),
        ),
        Check::NameConstraints => Asked("no CA forbids its names".to_owned()),
        Check::Depth => {
            let configured = match path.map_or(0, Proof::completed) {
                0 => String::new(),
                count => format!(" ({count} not sent but configured)"),
            };
            let most = settings.max_depth;
            Asked(format!("{depth} intermediates{configured}, at most {most}"))
        }
        Check::Lifetime => match settings.max_lifetime {
            None => not_asked("no max_lifetime"),
            Some(bound) => Asked(format!(
                "{}, at most {} ({})",
                stretch(leaf.not_after - leaf.not_before),
                stretch(i64::try_from(bound.limit.as_secs()).unwrap_or(i64::MAX)),
                bound.action.as_str()
            )),
        },
        Check::Pins if settings.spki_pins.is_empty() && settings.certificate_pins.is_empty() => {
            not_asked("no pins")
        }
        Check::Pins => Asked("a pinned key or certificate is in the chain".to_owned()),
        Check::TrustDomain if settings.trust_domains.is_empty() => not_asked("no trust_domains"),
        Check::TrustDomain => Asked(leaf.spiffe.clone().unwrap_or_default()),
        Check::DenyList => not_asked("looked at behind the bundles"),
        Check::Crl => match &settings.crl {
            None => not_asked("no crl table"),
            Some(crl) => Asked(format!(
                "scope {}, stale {}",
                crl.scope.as_str(),
                crl.stale.text()
            )),
        },
        Check::Ocsp => match (bundle.ocsp(), path) {
            (Some(_), Some(path)) => ocsp(bundle, path, shown),
            _ => not_asked("no ocsp table, or mode off"),
        },
    }
}

fn validity(leaf: &Identity, at: UnixTime) -> String {
    let now = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    format!(
        "{} to {}, {} left",
        date(leaf.not_before),
        date(leaf.not_after),
        stretch(leaf.not_after - now)
    )
}

/// What is known from the responder, or who is asked.
fn ocsp(bundle: &Bundle, path: &Proof, shown: Shown<'_>) -> Detail {
    let mode = bundle
        .ocsp()
        .map_or("", |ocsp| ocsp.settings().mode.as_str());
    let said = match bundle.ocsp_verdict(path, shown.chain, shown.at) {
        Some(Verdict::Good) => "good".to_owned(),
        Some(Verdict::Revoked { since, .. }) => format!("revoked since {}", date(since)),
        Some(Verdict::Unknown) => "the responder does not know the certificate".to_owned(),
        Some(Verdict::Unavailable(why)) => format!("no answer: {why}"),
        None => {
            let told = match bundle.ocsp_responder(path, shown.chain) {
                Some(address) => format!("{address} is asked before the first request"),
                None => "neither the bundle nor the certificate names a responder".to_owned(),
            };
            return Detail::NotAsked(format!("not known yet: {told} (mode {mode})"));
        }
    };
    Detail::Asked(format!("{said} (mode {mode})"))
}

/// Each list that speaks for a certificate of the path, and what it says.
fn tell_lists(story: &mut Story<'_>, bundle: &Bundle, account: &Account, shown: Shown<'_>) {
    let Some(path) = &account.path else { return };
    for finding in bundle.crl_findings(path, shown.chain, shown.at) {
        tell_finding(story, &finding, shown.at);
    }
}

fn tell_finding(story: &mut Story<'_>, finding: &Finding, at: UnixTime) {
    let now = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    let passes = if finding.passes { "passes" } else { "refused" };
    let told = format!("{} ({passes})", finding.status);
    story.note(&format!("serial {}", finding.serial), told, &(0..0));
    for said in &finding.lists {
        let list = &said.list;
        let told = format!(
            "{}; {}, made {} ago, next update {}, {}, {} entries",
            said.says,
            if list.delta { "delta list" } else { "list" },
            stretch(now - list.this_update),
            date(list.next_update),
            list.state(now),
            list.entries
        );
        story.note(&list.origin, told, &(0..0));
    }
}
