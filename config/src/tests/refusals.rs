//! Each mistake in tokens, names, listeners, sites and limits, made alone in a good configuration, is the one
//! error, at its place.

use super::{GOOD, load, told};

/// Replaces `from` in the good configuration and expects exactly one error.
pub(super) fn refused(from: &str, to: &str, error: &str) {
    assert!(GOOD.contains(from), "{from}");
    let told = told(&GOOD.replacen(from, to, 1));
    assert_eq!(told, [error], "{from} -> {to}");
}

/// Adds `text` at the end of the good configuration.
pub(super) fn refused_with(text: &str, error: &str) {
    let told = told(&format!("{GOOD}{text}"));
    assert_eq!(told, [error], "{text}");
}

pub(super) fn help(from: &str, to: &str) -> String {
    let errors = load(&GOOD.replacen(from, to, 1)).expect_err("refused");
    errors.errors()[0].help().unwrap_or_default().to_owned()
}

#[test]
fn the_good_one_is_good() {
    assert_eq!(told(GOOD), [""; 0]);
}

#[test]
fn an_empty_file_has_no_listener() {
    assert_eq!(told(""), ["-:- there is no listener"]);
}

#[test]
fn tokens_are_chosen_in_exactly_one_way() {
    let none = "2:1 this names no token: `token`, `serial` or `slot` is missing";
    refused("token = \"edge\"\n", "", none);
    let two = "5:10 a token is chosen by one of `slot`, `token` and `serial`, not by several";
    refused("token = \"edge\"\n", "slot = 1\nserial = \"2\"\n", two);
    refused("\"edge\"", "\"\"", "4:9 this is empty");
    refused("module = \"/lib/p11.so\"\n", "", "2:1 `module` is missing");
}

#[test]
fn hsm_bounds_are_kept() {
    refused(
        "token =",
        "sessions = 0\ntoken =",
        "4:12 must be between 1 and 1024",
    );
    refused(
        "token =",
        "queue = -1\ntoken =",
        "4:9 expected a number that is not negative and fits in 64 bits",
    );
    let longer = "4:12 the deadline of a signature is longer than `timeouts.handshake`";
    refused("token =", "deadline = \"11s\"\ntoken =", longer);
    refused(
        "token =",
        "deadline = \"0s\"\ntoken =",
        "4:12 must be between 1ms and 1h",
    );
}

#[test]
fn unknown_names_are_refused_with_a_suggestion() {
    refused(
        "roles = [\"callers\"]",
        "roles = [\"caller\"]",
        "20:10 no role is called `caller`",
    );
    assert_eq!(
        help("roles = [\"callers\"]", "roles = [\"caller\"]"),
        "did you mean `callers`?"
    );
    refused(
        "upstream = \"orders\"",
        "upstream = \"oders\"",
        "15:12 no upstream is called `oders`",
    );
    assert_eq!(
        help("upstream = \"orders\"", "upstream = \"oders\""),
        "did you mean `orders`?"
    );
    refused(
        "hosts = [",
        "listeners = \"publc\"\nhosts = [",
        "13:13 no listener is called `publc`",
    );
    refused(
        "bind =",
        "default_site = \"apj\"\nbind =",
        "8:16 no site is called `apj`",
    );
    refused(
        "object=api\" }",
        "object=api\", hsm = \"mein\" }",
        "14:69 no hsm is called `mein`",
    );
    refused(
        "token = \"edge\"",
        "tokn = \"edge\"",
        "4:1 unknown key `tokn`",
    );
    assert_eq!(
        help("token = \"edge\"", "tokn = \"edge\""),
        "did you mean `token`?"
    );
    refused(
        "mode = \"require\"",
        "mode = \"required\"",
        "9:24 unknown value `required`",
    );
    assert_eq!(
        help("mode = \"require\"", "mode = \"required\""),
        "did you mean \"require\"?"
    );
}

#[test]
fn names_are_unique() {
    let listener = "[[listener]]\nname = \"public\"\nbind = \"0.0.0.0:1\"\nclient_cert = { mode = \"require\", trust = \"clients.pem\" }\n";
    refused_with(listener, "25:8 two listeners are called `public`");
    refused_with(
        "[[role]]\nname = \"callers\"\ndns = \"a.b\"\n",
        "25:8 two roles are called `callers`",
    );
    let rule =
        "[[rule]]\nroles = \"verified\"\n[[rule]]\nname = \"rule-2\"\nroles = \"verified\"\n";
    refused_with(rule, "27:8 two rules are called `rule-2`");
    refused_with("[upstream.orders]\n", "24:11 `orders` is given twice");
    let site = "[[site]]\nname = \"api\"\nhosts = \"b.c\"\ncertificate = { chain = \"a\", key = \"pkcs11:\" }\nupstream = \"orders\"\n";
    refused_with(site, "25:8 two sites are called `api`");
}

#[test]
fn role_names_that_are_always_there_cannot_be_taken() {
    refused_with(
        "[[role]]\nname = \"anyone\"\ndns = \"a.b\"\n",
        "25:8 `anyone` is a role that is always there",
    );
}

#[test]
fn hosts_and_addresses_are_unique() {
    let site = "[[site]]\nname = \"b\"\nhosts = \"API.example.com.\"\ncertificate = { chain = \"a\", key = \"pkcs11:\" }\nupstream = \"orders\"\n";
    refused_with(
        site,
        "26:9 `api.example.com` is on the listener `public` already",
    );
    refused(
        "[\"api.example.com\"]",
        "[\"a.b\", \"A.B\"]",
        "13:17 this host is listed twice",
    );
    refused_with(
        "[[listener]]\nprotocol = \"redirect\"\nbind = \"0.0.0.0:8443\"\n",
        "26:8 `0.0.0.0:8443` is bound already",
    );
    refused_with(
        "[admin]\nbind = \"0.0.0.0:8443\"\n",
        "25:8 `0.0.0.0:8443` is bound already",
    );
    refused(
        "0.0.0.0:8443",
        "localhost:8443",
        "8:8 `localhost:8443` is no address with port",
    );
}

#[test]
fn client_certificates_and_trust_belong_together() {
    let needs = "9:24 `mode = \"require\"` needs `trust`";
    refused(", trust = \"clients.pem\"", "", needs);
    refused("trust = \"clients.pem\"", "trust = []", needs);
    refused(
        "\"require\", trust = \"clients.pem\"",
        "\"accept\"",
        "9:24 `mode = \"accept\"` needs `trust`",
    );
    let nothing = "9:43 `trust` does nothing with `mode = \"ignore\"`: no certificate is asked for";
    refused("\"require\"", "\"ignore\" ", nothing);
    refused("mode = \"require\", ", "", "9:15 `mode` is missing");
}

#[test]
fn listeners_that_ask_differently_need_a_site_that_decides() {
    let listener = "[[listener]]\nname = \"inside\"\nbind = \"0.0.0.0:1\"\n";
    let differently =
        "10:1 the listeners `public` and `inside` ask differently for client certificates";
    refused_with(listener, differently);
    let decided = GOOD.replace(
        "name = \"api\"",
        "name = \"api\"\nclient_cert = { mode = \"ignore\" }",
    );
    assert_eq!(told(&format!("{decided}{listener}")), [""; 0]);
}

#[test]
fn listeners_have_sites_and_only_what_does_something() {
    let lonely = "[[listener]]\nname = \"x\"\nbind = \"0.0.0.0:1\"\n";
    let text = GOOD.replace("name = \"api\"", "name = \"api\"\nlisteners = [\"public\"]");
    assert_eq!(
        told(&format!("{text}{lonely}")),
        ["25:1 no site is on the listener `x`"]
    );
    let site = format!("{text}{lonely}default_site = \"api\"\n");
    assert_eq!(
        told(&site)[1],
        "28:16 the site `api` is not on this listener"
    );
    let redirect = "[[listener]]\nname = \"r\"\nbind = \"0.0.0.0:1\"\nprotocol = \"redirect\"\n";
    refused_with(
        &format!("{redirect}strict_sni = true\n"),
        "28:14 `strict_sni` does nothing on a redirect listener",
    );
    refused_with(
        &format!("{redirect}http3 = true\n"),
        "28:9 `http3` does nothing on a redirect listener",
    );
    refused_with(
        &format!("{redirect}redirect_port = 0\n"),
        "28:17 must be between 1 and 65535",
    );
    refused(
        "bind =",
        "redirect_port = 443\nbind =",
        "8:17 `redirect_port` does nothing on an https listener",
    );
    let on_redirect = GOOD.replace(
        "name = \"api\"",
        "name = \"api\"\nlisteners = [\"public\", \"r\"]",
    );
    assert_eq!(
        told(&format!("{on_redirect}{redirect}")),
        ["12:24 the listener `r` only redirects"]
    );
}

#[test]
fn a_site_needs_an_https_listener() {
    let text = GOOD.replace(
        "client_cert = { mode = \"require\", trust = \"clients.pem\" }",
        "protocol = \"redirect\"",
    );
    assert_eq!(
        told(&text),
        ["10:1 this site is never served: there is no https listener"]
    );
}

#[test]
fn tls_policies_can_work() {
    let tls = |table: &str, error: &str| {
        refused(
            "upstream = \"orders\"",
            &format!("upstream = \"orders\"\ntls = {table}"),
            error,
        );
    };
    tls("{ versions = [] }", "16:7 `versions` is empty");
    tls("{ versions = [\"1.1\"] }", "16:21 unknown value `1.1`");
    tls(
        "{ versions = [\"1.3\", \"1.3\"] }",
        "16:28 this is listed twice",
    );
    let other = "16:41 this suite is of TLS 1.2, which is not among the versions";
    let suites = "{ versions = [\"1.3\"], suites = [\"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\", \"TLS_AES_128_GCM_SHA256\"] }";
    tls(suites, &other.replace("41", "33").replace("16:33", "16:39"));
    let no12 = "16:7 no suite is of TLS 1.2, so that version cannot work";
    tls("{ suites = [\"TLS_AES_128_GCM_SHA256\"] }", no12);
    tls(
        "{ suites = [\"TLS_RSA_WITH_AES_128_CBC_SHA\"] }",
        "16:19 unknown value `TLS_RSA_WITH_AES_128_CBC_SHA`",
    );
    tls("{ groups = [] }", "16:7 `groups` is empty");
}

#[test]
fn limits_and_timeouts_are_sane() {
    refused_with(
        "[limits]\nconnections = 0\n",
        "25:15 must be between 1 and 16777216",
    );
    refused_with(
        "[limits]\nbody = 0\n",
        "25:8 must be between 1B and 1048576GiB",
    );
    refused_with(
        "[limits]\nclient_hello = \"1KiB\"\n",
        "25:16 must be between 4KiB and 1MiB",
    );
    refused_with(
        "[limits]\nheader_bytes = \"1Kb\"\n",
        "25:16 `1Kb` is no size: a size is written like \"64KiB\", \"1MiB\", \"10MB\" or 4096 (bytes)",
    );
    refused_with(
        "[timeouts]\nidle = \"0s\"\n",
        "25:8 must be between 1ms and 1d",
    );
    refused_with(
        "[timeouts]\nclient_hello = \"20s\"\n",
        "25:16 `client_hello` is longer than `handshake`, of which it is a part",
    );
    refused_with(
        "[timeouts]\ndrain = \"1s\"\n",
        "25:9 `drain_idle` is longer than `drain`, of which it is a part",
    );
    refused(
        "[hsm.main]",
        "workers = 0\n[hsm.main]",
        "2:11 must be between 1 and 1024",
    );
}

#[test]
fn whom_to_believe_about_clients_is_said_exactly() {
    let with = |text: &str| format!("bind = \"0.0.0.0:8443\"\n{text}\n");
    let bind = "bind = \"0.0.0.0:8443\"\n";
    refused(bind, &with("proxy_protocol = {}"), "9:18 `from` is missing");
    refused(
        bind,
        &with("proxy_protocol = { from = [] }"),
        "9:18 `from` is empty, so every connection would be closed",
    );
    for everybody in ["0.0.0.0/0", "::/0"] {
        refused(
            bind,
            &with(&format!("proxy_protocol = {{ from = [\"{everybody}\"] }}")),
            "9:28 everybody would be a trusted proxy",
        );
    }
    refused(
        bind,
        &with("http3 = true\nproxy_protocol = { from = [\"10.0.0.0/8\"] }"),
        "9:9 `http3` and `proxy_protocol` exclude each other: datagrams have no header",
    );
}
