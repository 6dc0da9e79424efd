//! Trust bundles, demands on clients, and the deny list: what is refused and how it is told.

use super::{GOOD, good, told};
use crate::{ClientCertMode, Eku, StalePolicy};

/// [`GOOD`] with `more` behind it; what `more` says begins at line 24.
fn refused(more: &str, expected: &[&str]) {
    assert_eq!(told(&format!("{GOOD}{more}")), expected, "{more}");
}

/// [`GOOD`] with another `client_cert` of the listener.
fn listener(client_cert: &str) -> Vec<String> {
    told(&GOOD.replace(
        "{ mode = \"require\", trust = \"clients.pem\" }",
        client_cert,
    ))
}

/// [`GOOD`] whose site has this mode and one route with this demand.
fn route(site: &str, route: &str) -> Vec<String> {
    let tables = format!(
        "client_cert = {site}\nroute = [{{ path = \"/a\", upstream = \"orders\", client_cert = {route} }}]\n"
    );
    told(&GOOD.replace("http2 = true\n", &tables))
}

#[test]
fn bundles_that_cannot_work_are_refused() {
    refused("[trust.t]\n", &["24:1 `anchors` is missing"]);
    let empty = "24:1 `anchors` is empty, so this bundle would refuse everybody";
    refused("[trust.t]\nanchors = []\n", &[empty]);
    refused(
        "[trust.t]\nanchors = \"a\"\nmax_depth = 7\n",
        &["26:13 must be between 0 and 6"],
    );
    refused(
        "[trust.t]\nanchors = \"a\"\nmin_rsa_bits = 1024\n",
        &["26:16 must be between 2048 and 16384"],
    );
    let useless = "26:23 `max_lifetime_action` does nothing without `max_lifetime`";
    refused(
        "[trust.t]\nanchors = \"a\"\nmax_lifetime_action = \"report\"\n",
        &[useless],
    );
    let domain =
        "26:17 `spiffe://td` does not work: write the trust domain alone, as in \"example.org\"";
    refused(
        "[trust.t]\nanchors = \"a\"\ntrust_domains = \"spiffe://td\"\n",
        &[domain],
    );
    let eku = "26:7 unknown value `require`";
    refused("[trust.t]\nanchors = \"a\"\neku = \"require\"\n", &[eku]);
}

#[test]
fn revocation_that_asks_nobody_or_over_https_is_refused() {
    let head = "[trust.t]\nanchors = \"a\"\n";
    let nothing = "26:1 no revocation list is named here";
    refused(
        &format!("{head}[trust.t.crl]\nstale = \"soft\"\n"),
        &[nothing],
    );
    let https = "27:8 lists and answers are not fetched over https";
    refused(
        &format!("{head}[trust.t.crl]\nurls = \"https://a/b\"\n"),
        &[https],
    );
    let stale = "28:9 unknown value `strict`";
    refused(
        &format!("{head}[trust.t.crl]\nfiles = \"a\"\nstale = \"strict\"\n"),
        &[stale],
    );
    refused(
        &format!("{head}[trust.t.ocsp]\n"),
        &["26:1 `mode` is missing"],
    );
    let place = "28:13 lists and answers are not fetched over https";
    refused(
        &format!("{head}[trust.t.ocsp]\nmode = \"hard\"\nresponder = \"https://a\"\n"),
        &[place],
    );
}

#[test]
fn demands_that_contradict_themselves_are_refused() {
    assert_eq!(
        listener("{ mode = \"accept\" }"),
        ["9:24 `mode = \"accept\"` needs `trust`"]
    );
    let useless = "9:42 `trust` does nothing with `mode = \"ignore\"`: no certificate is asked for";
    assert_eq!(
        listener("{ mode = \"ignore\", trust = \"a.pem\" }"),
        [useless]
    );
    let useless = "9:46 `trust` does nothing with `mode = \"unverified\"`: no chain is looked at";
    assert_eq!(
        listener("{ mode = \"unverified\", trust = \"a.pem\" }"),
        [useless]
    );
    let nobody = "9:43 no trust bundle is called `clients`";
    assert_eq!(
        listener("{ mode = \"require\", trust = \"clients\" }"),
        [nobody]
    );
    assert_eq!(
        listener("{ trust = \"a.pem\" }"),
        ["9:15 `mode` is missing"]
    );
}

#[test]
fn a_route_may_ask_more_than_its_site_and_never_less() {
    let (ignore, open) = ("{ mode = \"ignore\" }", "{ mode = \"unverified\" }");
    let (accept, require) = (
        "{ mode = \"accept\", trust = \"a.pem\" }",
        "{ mode = \"require\", trust = \"a.pem\" }",
    );
    for (site, more, right) in [
        (ignore, open, true),
        (ignore, accept, true),
        (ignore, require, true),
        (open, require, true),
        (open, accept, true),
        (open, ignore, false),
        (accept, require, true),
        (accept, "{ mode = \"require\" }", true),
        (accept, open, false),
        (accept, ignore, false),
        (require, accept, false),
        (require, ignore, false),
        (require, open, false),
        (require, "{ mode = \"require\", trust = \"b.pem\" }", true),
    ] {
        let told = route(site, more);
        assert_eq!(told.is_empty(), right, "{site} {more} {told:?}");
        assert!(
            right || told[0].contains("the handshake comes before the path"),
            "{told:?}"
        );
    }
    assert_eq!(
        route(ignore, "{ mode = \"require\" }"),
        ["13:69 `mode = \"require\"` needs `trust`"]
    );
}

#[test]
fn what_is_denied_must_be_something_that_can_be_compared() {
    let serial =
        "25:10 `xyz` does not work: a serial number has 1 to 40 hex digits, with or without colons";
    refused("[deny]\nserial = \"xyz\"\n", &[serial]);
    let spiffe = "25:10 `orders` does not work: a SPIFFE ID begins with `spiffe://`";
    refused("[deny]\nspiffe = \"orders\"\n", &[spiffe]);
}

#[test]
fn bundles_are_understood_and_shared_by_name() {
    let config = good(
        &(GOOD.replace(
            "trust = \"clients.pem\"",
            "trust = [\"clients\", \"./more.pem\"]",
        ) + "[trust.clients]\nanchors = \"a.pem\"\neku = \"required\"\nmax_lifetime = \"1d\"\n\
               [trust.clients.crl]\nfiles = \"crl\"\nstale = \"6h\"\n[deny]\nserial = \"00:AB\"\n"),
    );
    let demand = &config.sites[0].client_cert;
    assert_eq!(demand.mode, ClientCertMode::Require);
    let [named, file] = &demand.trust[..] else {
        panic!("{demand:?}");
    };
    assert!(std::sync::Arc::ptr_eq(named, &config.trusts[0]));
    assert_eq!((named.eku, file.eku), (Eku::Required, Eku::IfPresent));
    assert!(file.name.ends_with("/more.pem"), "{}", file.name);
    let crl = named.crl.as_ref().unwrap();
    assert_eq!(
        crl.stale,
        StalePolicy::Grace(std::time::Duration::from_secs(21_600))
    );
    assert_eq!(config.deny.serial, ["ab"]);
}
