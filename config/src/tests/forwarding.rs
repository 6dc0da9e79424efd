//! Mistakes in what upstreams are told about clients; then what is understood.

use std::time::Duration;

use super::refusals::{help, refused, refused_with};
use super::{GOOD, good, told};
use crate::{HsmRef, IdentityForm, RoleRef, XfccDetail, XfccMode};

#[test]
fn a_copy_is_kept_only_with_somebody_to_trust_and_nobody_is_trusted_in_vain() {
    for mode in ["append", "forward"] {
        let needs = format!("25:8 `mode = \"{mode}\"` needs `trusted`");
        refused_with(&format!("[forwarding.xfcc]\nmode = \"{mode}\"\n"), &needs);
        let empty = format!("[forwarding.xfcc]\nmode = \"{mode}\"\ntrusted = []\n");
        refused_with(&empty, &needs);
    }
    let vain = "`trusted` does nothing here: no copy of a client is kept";
    refused_with(
        "[forwarding.xfcc]\ntrusted = \"callers\"\n",
        &format!("25:11 {vain}"),
    );
    for mode in ["set", "sanitize"] {
        let text = format!("[forwarding.xfcc]\nmode = \"{mode}\"\ntrusted = [\"callers\"]\n");
        refused_with(&text, &format!("26:12 {vain}"));
    }
}

#[test]
fn who_is_trusted_has_a_role_that_exists_and_proves_something() {
    let append = "[forwarding.xfcc]\nmode = \"append\"\n";
    refused_with(
        &format!("{append}trusted = [\"anyone\"]\n"),
        "26:12 `anyone` proves nothing, so it cannot be trusted",
    );
    refused_with(
        &format!("{append}trusted = [\"caller\"]\n"),
        "26:12 no role is called `caller`",
    );
    refused_with(
        &format!("{append}trusted = [\"callers\", \"callers\"]\n"),
        "26:23 this role is listed twice",
    );
    let end = "endpoints = [\"http://127.0.0.1:8080\"]";
    let wrong = format!("{end}\n{append}trusted = [\"caller\"]");
    assert_eq!(help(end, &wrong), "did you mean `callers`?");
}

#[test]
fn details_stand_where_an_element_is_made() {
    for mode in ["sanitize", "forward\"\ntrusted = \"verified"] {
        let text = format!("[forwarding.xfcc]\nmode = \"{mode}\"\ndetails = [\"cert\"]\n");
        let told = told(&format!("{GOOD}{text}"));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("`details` does nothing"), "{told:?}");
    }
    refused_with(
        "[forwarding.xfcc]\ndetails = [\"uri\", \"uri\"]\n",
        "25:19 this detail is listed twice",
    );
}

#[test]
fn the_key_that_signs_identities_is_named_as_that_of_a_certificate() {
    refused_with("[forwarding.jwt]\n", "24:1 `key` is missing");
    refused_with(
        "[forwarding.jwt]\nkey = \"file:a.key\"\n",
        "25:7 this software key is not allowed",
    );
    refused_with(
        "[forwarding.jwt]\nkey = \"pkcs11:token=other;object=a\"\n",
        "25:7 no hsm has the token this key names",
    );
    refused_with(
        "[forwarding.jwt]\nkey = \"pkcs11:object=a\"\nhsm = \"mian\"\n",
        "26:7 no hsm is called `mian`",
    );
}

#[test]
fn the_header_of_the_token_is_our_own() {
    let header = |name: &str| {
        let jwt = "[forwarding.jwt]\nkey = \"pkcs11:object=a\"\n";
        told(&format!("{GOOD}{jwt}header = \"{name}\"\n"))
    };
    for name in [
        "",
        "X-Identity",
        "x_identity",
        "x identity",
        "x-identity:",
        "ü",
    ] {
        let told = header(name);
        assert!(
            told.len() == 1 && told[0].contains("is no name"),
            "{told:?}"
        );
    }
    for name in [
        "host",
        "te",
        "authorization",
        "content-length",
        "transfer-encoding",
        "client-cert",
        "client-cert-verified",
        "x-forwarded-client-cert",
        "x-request-id",
        "cookie",
        "via",
    ] {
        let told = header(name);
        assert!(
            told.len() == 1 && told[0].contains("another meaning"),
            "{told:?}"
        );
    }
    assert_eq!(header("tenant-identity"), [""; 0]);
}

#[test]
fn a_token_is_wanted_only_where_a_key_signs() {
    let end = "endpoints = [\"http://127.0.0.1:8080\"]";
    refused(
        end,
        &format!("{end}\nidentity = [\"xfcc\", \"jwt\"]"),
        "24:21 no key is there to sign identities with",
    );
    refused(
        end,
        &format!("{end}\nidentity = [\"xfcc\", \"xfcc\"]"),
        "24:21 this form is listed twice",
    );
    // A key that is wrong is one mistake, not two.
    let both = format!("{end}\nidentity = [\"jwt\"]\n[forwarding.jwt]");
    refused(end, &both, "25:1 `key` is missing");
}

#[test]
fn without_a_word_upstreams_are_told_by_xfcc_alone() {
    let config = good(GOOD);
    let xfcc = &config.forwarding.xfcc;
    assert_eq!((xfcc.mode, xfcc.trusted.len()), (XfccMode::Set, 0));
    let details = [XfccDetail::Subject, XfccDetail::Uri, XfccDetail::Dns];
    assert_eq!(xfcc.details, details);
    assert!(config.forwarding.jwt.is_none());
    let upstream = &config.upstreams[0];
    assert!(upstream.wants(IdentityForm::Xfcc) && upstream.identity.len() == 1);
}

#[test]
fn what_is_written_is_understood() {
    let text = "identity = []\n[forwarding]\n\
        xfcc = { mode = \"forward\", trusted = [\"callers\", \"verified\"] }\n\
        jwt = { key = \"pkcs11:object=identity\" }\n";
    let config = good(&format!("{GOOD}{text}"));
    let trusted = &config.forwarding.xfcc.trusted;
    assert_eq!(*trusted, [RoleRef::Role(0), RoleRef::Verified]);
    let jwt = config.forwarding.jwt.as_ref().expect("a key");
    assert_eq!(jwt.hsm, Some(HsmRef::Token(0)));
    assert_eq!(
        (&*jwt.header, &*jwt.issuer),
        ("x-client-identity", "portcullis")
    );
    assert_eq!(
        (&jwt.audience, jwt.lifetime),
        (&None, Duration::from_secs(60))
    );
    assert!(config.upstreams[0].identity.is_empty());
}
