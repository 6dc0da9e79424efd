//! Each semantic mistake, made alone in a good configuration, is the one error, at its place.

use super::{GOOD, load, told};

/// Replaces `from` in the good configuration and expects exactly one error.
fn refused(from: &str, to: &str, error: &str) {
    assert!(GOOD.contains(from), "{from}");
    let told = told(&GOOD.replacen(from, to, 1));
    assert_eq!(told, [error], "{from} -> {to}");
}

/// Adds `text` at the end of the good configuration.
fn refused_with(text: &str, error: &str) {
    let told = told(&format!("{GOOD}{text}"));
    assert_eq!(told, [error], "{text}");
}

fn help(from: &str, to: &str) -> String {
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
fn keys_are_in_one_token_or_allowed_by_name() {
    let key = "\"pkcs11:object=api\"";
    refused(
        key,
        "\"file:server.key\"",
        "14:42 this software key is not allowed",
    );
    assert!(help(key, "\"file:server.key\"").starts_with("add to `[keys]`: software = [\"file:/"));
    refused(
        key,
        "\"server.key\"",
        "14:42 a key is written as `pkcs11:...` or `file:PATH`",
    );
    refused(
        key,
        "\"pkcs11:token=other;object=api\"",
        "14:42 no hsm has the token this key names",
    );
    refused(
        key,
        "\"pkcs11:object=a;object=b\"",
        "14:42 this is no PKCS#11 URI: attribute `object` is given twice",
    );
    refused(
        key,
        "\"pkcs11:token=x\", hsm = \"main\"",
        "14:66 the key names another token than this hsm",
    );
    let second = "[hsm.spare]\nmodule = \"/lib/p11.so\"\nslot = 7\n";
    refused_with(second, "14:42 this key can be in several tokens");
    let named = GOOD.replace("pkcs11:object=api", "pkcs11:token=edge;object=api");
    assert_eq!(told(&format!("{named}{second}")), [""; 0]);
    let without = GOOD.replace(
        "[hsm.main]\nmodule = \"/lib/p11.so\"\ntoken = \"edge\"\npin = \"env:PIN\"\n",
        "",
    );
    assert_eq!(
        told(&without),
        ["10:42 this key is in a token, but there is no `[hsm.NAME]`"]
    );
}

#[test]
fn permissions_for_keys_are_of_the_right_kind() {
    refused_with(
        "[keys]\nsoftware = [\"pkcs11:object=a\"]\n",
        "25:13 this key is in a token, not in software",
    );
    refused_with(
        "[keys]\nextractable = [\"file:a\"]\n",
        "25:16 this key is a file, not in a token",
    );
    let allowed = GOOD.replace("pkcs11:object=api", "file:./server.key");
    assert_eq!(
        told(&format!(
            "{allowed}[keys]\nsoftware = [\"file:server.key\"]\n"
        )),
        [""; 0]
    );
}

#[test]
fn paths_of_rules_are_canonical() {
    for path in [
        "orders", "/a/../b", "/./a", "//a", "/a//b", "/%61", "/a;v=1", "/a\\\\b", "/a?b", "/a b",
        "/ä", "",
    ] {
        let told = told(&GOOD.replacen("/orders/**", path, 1));
        assert_eq!(told.len(), 1, "{path}: {told:?}");
        assert!(told[0].starts_with("21:10 a path "), "{path}: {told:?}");
    }
    for path in ["/a/*", "/**/a", "/a**", "/a*/b", "**"] {
        let told = told(&GOOD.replacen("/orders/**", path, 1));
        assert_eq!(told.len(), 1, "{path}: {told:?}");
        assert!(
            told[0].starts_with("21:10 `**` stands only as"),
            "{path}: {told:?}"
        );
    }
}

#[test]
fn routes_are_unique_canonical_and_lead_somewhere() {
    let site = |lines: &str, error: &str| refused("upstream = \"orders\"\n", lines, error);
    site("", "10:1 this site leads nowhere: `upstream` is missing");
    site("[[site.route]]\n", "15:1 `upstream` is missing");
    site(
        "[[site.route]]\npath = \"/a/**\"\nupstream = \"orders\"\n",
        "16:8 a route takes everything below its path; it has no wildcards",
    );
    site(
        "[[site.route]]\npath = \"/a/../b\"\nupstream = \"orders\"\n",
        "16:8 a path has no `.` or `..` segments: requests are compared without them",
    );
    let twice = "[[site.route]]\npath = \"/a\"\nupstream = \"orders\"\n[[site.route]]\npath = \"/a/\"\nupstream = \"orders\"\n";
    site(twice, "19:8 two routes of this site have the path `/a`");
    site(
        "upstream = \"orders\"\nroute = [{ upstream = \"orders\" }]\n",
        "16:10 two routes of this site have the path `/`",
    );
}

#[test]
fn endpoints_are_plain_http_addresses() {
    let url =
        |url: &str, error: &str| refused("http://127.0.0.1:8080", url, &format!("23:14 {error}"));
    url("https://a:1", "TLS to upstreams is not supported yet");
    url("127.0.0.1:8080", "`127.0.0.1:8080` is no endpoint");
    url("http://a:1/path", "an endpoint has no path, query or user");
    url("http://u@a:1", "an endpoint has no path, query or user");
    for port in ["0", "65536", "x", "+1", ""] {
        url(
            &format!("http://a:{port}"),
            "the port of an endpoint is a number from 1 to 65535",
        );
    }
    refused(
        "endpoints = [\"http://127.0.0.1:8080\"]\n",
        "",
        "22:1 `endpoints` is missing",
    );
    refused(
        "endpoints = ",
        "endpoint = \"http://a:1\"\nendpoints = ",
        "23:12 give `endpoint` or `endpoints`, not both",
    );
    refused(
        "upstream = \"orders\"",
        "upstream = \"https://a\"",
        "15:12 TLS to upstreams is not supported yet",
    );
}

#[test]
fn roles_and_rules_mean_somebody() {
    refused(
        "dns = [\"*.clients.example.com\"]\n",
        "",
        "16:1 this role matches nobody: it has no pattern",
    );
    refused("roles = [\"callers\"]\n", "", "19:1 `roles` is missing");
    refused(
        "roles = [\"callers\"]\n",
        "roles = []\n",
        "19:1 `roles` is empty, so this rule is about nobody",
    );
    refused(
        "paths = [\"/orders/**\"]",
        "paths = []",
        "19:1 `paths` is empty",
    );
    refused(
        "paths =",
        "hosts = \"apy.example.com\"\npaths =",
        "21:9 no site has the host `apy.example.com`",
    );
    for method in ["get", "GET POST", "*", "", "G\\u0000"] {
        let told =
            told(&GOOD.replacen("paths =", &format!("methods = [\"{method}\"]\npaths ="), 1));
        assert!(
            told.len() == 1 && told[0].starts_with("21:12 "),
            "{method}: {told:?}"
        );
    }
}

#[test]
fn patterns_of_roles_are_well_formed() {
    let bad = [
        ("spiffe", "a"),
        ("spiffe", "spiffe://"),
        ("spiffe", "spiffe://TD/a"),
        ("spiffe", "spiffe://td/*/a"),
        ("spiffe", "spiffe://td/a//b"),
        ("spiffe", "spiffe://td/a/"),
        ("spiffe", "spiffe://td/a*"),
        ("spiffe", "spiffe://td/../a"),
        ("dns", "*"),
        ("dns", "a.*.b"),
        ("dns", "1.2.3.4"),
        ("common_name", ""),
        ("sha256", "aa:bb"),
        ("sha256", "zz"),
    ];
    for (key, pattern) in bad {
        let line = format!("{key} = [\"{pattern}\"]");
        let told = told(&GOOD.replacen("dns = [\"*.clients.example.com\"]", &line, 1));
        assert_eq!(told.len(), 1, "{line}: {told:?}");
        assert!(told[0].contains("does not work"), "{line}: {told:?}");
    }
}

#[test]
fn address_blocks_admin_and_log_are_checked() {
    for net in [
        "10.0.0.1/8",
        "10.0.0.0/33",
        "a",
        "::ffff:10.0.0.0/104",
        "10.0.0.0/-1",
        "10.0.0.0/",
    ] {
        let told = told(&format!("{GOOD}[forwarding]\ntrusted_hops = [\"{net}\"]\n"));
        assert!(
            told.len() == 1 && told[0].contains("is no address block"),
            "{net}: {told:?}"
        );
    }
    refused_with(
        "[log]\naccess = \"stdot\"\n",
        "25:10 `stdot` is no log target",
    );
    refused_with("[log]\nlevel = \"inof\"\n", "25:9 `inof` is no log level");
    refused_with(
        "[admin]\nbind = \"no\"\n",
        "25:8 `no` is no address with port",
    );
}
