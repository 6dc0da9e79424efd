//! Mistakes in keys, policy, routes and upstreams, each alone in a good configuration.

use super::refusals::{help, refused, refused_with};
use super::{GOOD, told};

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
    for path in [
        "/**/a", "/a**", "/a*/b", "**", "/{}", "/{a b}", "/a{b}", "/{a", "/a}",
    ] {
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
fn endpoints_are_http_and_https_addresses() {
    let url =
        |url: &str, error: &str| refused("http://127.0.0.1:8080", url, &format!("23:14 {error}"));
    url(
        "https://a:1",
        "this endpoint speaks TLS, and nothing says whom to believe there",
    );
    url("127.0.0.1:8080", "`127.0.0.1:8080` is no endpoint");
    url("http://a:1/path", "an endpoint has no path, query or user");
    url("http://u@a:1", "an endpoint has no path, query or user");
    for port in ["0", "65536", "x", "+1", ""] {
        url(
            &format!("http://a:{port}"),
            "a port is a number from 1 to 65535",
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
        "15:12 nothing says whom to believe at this address",
    );
}

#[test]
fn tls_to_an_upstream_says_whom_to_believe() {
    let plain = "endpoints = [\"http://127.0.0.1:8080\"]\n";
    let secure = "endpoints = [\"https://127.0.0.1:8080\"]\n";
    let tls = |tls: &str, error: &str| refused(plain, &format!("{secure}tls = {tls}\n"), error);
    tls("{}", "24:7 `trust` is missing");
    tls(
        "{ trust = \"nobody\" }",
        "24:17 no trust bundle is called `nobody`",
    );
    let named = |more: &str| format!("{{ trust = \"./ca.pem\", {more} }}");
    tls(
        &named("server_name = \"a b\""),
        "24:43 `a b` is no server name: the labels of a host name are 1 to 63 letters, digits, `-` or `_`",
    );
    for id in [
        "https://a/b",
        "spiffe://",
        "spiffe:///b",
        "spiffe://a/",
        "spiffe://a/b?c",
    ] {
        let error = format!("24:43 `{id}` is no SPIFFE ID");
        tls(&named(&format!("spiffe_ids = [\"{id}\"]")), &error);
    }
    refused(
        plain,
        &format!("{plain}tls = {{ trust = \"./ca.pem\" }}\n"),
        "23:14 this endpoint is without TLS, but the upstream has `tls`",
    );
}

#[test]
fn weights_and_ways_to_balance_mean_something() {
    let one = "endpoints = [\"http://127.0.0.1:8080\"]";
    let line = |line: &str, error: &str| refused(one, &format!("{one}\n{line}"), error);
    line(
        "balance = \"hash\"",
        "24:11 `balance = \"hash\"` needs `hash`",
    );
    line(
        "hash = \"identity\"",
        "24:8 `hash` does nothing without `balance = \"hash\"`",
    );
    for nothing in ["", "header:", "cookie:a b", "identity:x", "header"] {
        line(
            &format!("balance = \"hash\"\nhash = \"{nothing}\""),
            &format!("25:8 `{nothing}` is nothing to hash"),
        );
    }
    line("balance = \"fair\"", "24:11 unknown value `fair`");
    line("sticky = \"a;b\"", "24:10 `a;b` is no name for a cookie");
    let endpoint = |endpoint: &str, error: &str| {
        refused("\"http://127.0.0.1:8080\"", endpoint, error);
    };
    endpoint("{ weight = 2 }", "23:14 `url` is missing");
    endpoint(
        "{ url = \"http://a\", weight = 0 }",
        "23:43 must be between 1 and 1000",
    );
    endpoint(
        "{ url = \"http://a\", share = 1 }",
        "23:34 unknown key `share`",
    );
    endpoint(
        "\"http://a\", { url = \"http://a:80\", weight = 2 }",
        "23:34 this endpoint is listed twice",
    );
}

#[test]
fn ejection_and_health_checks_mean_something() {
    let one = "endpoints = [\"http://127.0.0.1:8080\"]";
    let line = |line: &str, error: &str| refused(one, &format!("{one}\n{line}"), error);
    for (share, at) in [("1.001", 26), ("-0.1", 26), ("nan", 26), ("0.0001", 26)] {
        line(
            &format!("ejection = {{ max_share = {share} }}"),
            &format!("24:{at} must be between 0 and 1"),
        );
    }
    line(
        "ejection = { max_share = \"0.5\" }",
        "24:26 expected a number with a fraction, found a string",
    );
    line(
        "ejection = { for = \"10ms\" }",
        "24:20 must be between 100ms and 1h",
    );
    line(
        "retries = { on = [503, 500] }",
        "24:24 an answer that is tried again is 502, 503 or 504",
    );
    line(
        "retries = { on = [503, 503] }",
        "24:24 this answer is listed twice",
    );
    line(
        "retries = { attempts = 6 }",
        "24:24 must be between 0 and 5",
    );
    line(
        "dns = { every = \"99ms\" }",
        "24:17 must be between 100ms and 1d",
    );
    line("health = { interval = \"1s\" }", "24:10 this asks nothing");
    line("health = { tcp = false }", "24:10 this asks nothing");
    line(
        "health = { tcp = true, path = \"/\" }",
        "24:18 an endpoint is asked one of `path`, `tcp` and `grpc`",
    );
    line(
        "health = { path = \"healthz\" }",
        "24:19 `healthz` is no path",
    );
    line("health = { path = \"/a b\" }", "24:19 `/a b` is no path");
    line(
        "health = { tcp = true, interval = \"1s\", timeout = \"2s\" }",
        "24:51 the next question comes before this is over",
    );
    line(
        "health = { tcp = true, healthy = 0 }",
        "24:34 must be between 1 and 100",
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
        ("trust_domain", "spiffe://td"),
        ("trust_domain", "TD"),
        ("trust_domain", ""),
        ("uri", "no-scheme"),
        ("uri", "https://*/a"),
        ("uri", "https://a/*/b"),
        ("uri", "https://a/b*"),
        ("uri", "urn:*"),
        ("uri", "https://a b"),
        ("policies", "1"),
        ("policies", "3.1"),
        ("policies", "1.02"),
        ("policies", "anyPolicy"),
    ];
    for (key, pattern) in bad {
        let line = format!("{key} = [\"{pattern}\"]");
        let told = told(&GOOD.replacen("dns = [\"*.clients.example.com\"]", &line, 1));
        assert_eq!(told.len(), 1, "{line}: {told:?}");
        assert!(told[0].contains("does not work"), "{line}: {told:?}");
    }
}

#[test]
fn name_patterns_have_known_attributes_with_values() {
    for (pattern, error) in [
        ("{}", "this matches every name: it has no attribute"),
        ("{ X = \"a\" }", "no attribute is called `X`"),
        ("{ \"1.\" = \"a\" }", "no attribute is called `1.`"),
        ("{ O = \"\" }", "the value of an attribute is not empty"),
        (
            "[{ O = \"a\" }, {}]",
            "this matches every name: it has no attribute",
        ),
        ("\"O=a\"", "expected a table, found a string"),
    ] {
        for key in ["subject", "issuer"] {
            let line = format!("{key} = {pattern}");
            let told = told(&GOOD.replacen("dns = [\"*.clients.example.com\"]", &line, 1));
            assert_eq!(told.len(), 1, "{line}: {told:?}");
            assert!(
                told[0].starts_with("18:") && told[0].ends_with(error),
                "{told:?}"
            );
        }
    }
    let help = help(
        "dns = [\"*.clients.example.com\"]",
        "subject = { emailAdress = \"a\" }",
    );
    assert_eq!(help, "did you mean `emailAddress`?");
}

#[test]
fn conditions_and_exceptions_of_rules_are_checked() {
    for (line, error) in [
        ("headers = {}", "`name` is missing"),
        (
            "headers = { name = \"a\" }",
            "this condition asks nothing of the header",
        ),
        (
            "headers = { name = \"a b\", values = \"c\" }",
            "this is no name of a header field",
        ),
        (
            "headers = { name = \"a\", values = \"b*c\" }",
            "`b*c` does not work: `*` stands only at the beginning or only at the end",
        ),
        (
            "headers = { name = \"a\", not_values = \"*b*\" }",
            "`*b*` does not work: `*` stands only at the beginning or only at the end",
        ),
        ("not_roles = \"nobody\"", "no role is called `nobody`"),
        (
            "not_hosts = \"other.example\"",
            "no site has the host `other.example`",
        ),
        (
            "not_methods = \"get\"",
            "`get` does not work: methods are case-sensitive and written in upper case",
        ),
        (
            "not_paths = \"/a/../b\"",
            "a path has no `.` or `..` segments: requests are compared without them",
        ),
        (
            "from = \"10.0.0.1/8\"",
            "`10.0.0.1/8` is no address block: it is longer than its prefix; the block is \"10.0.0.0/8\"",
        ),
        ("from = []", "`from` is empty"),
        (
            "not_from = \"x\"",
            "`x` is no address block: write \"10.0.0.0/8\", \"2001:db8::/32\" or one address",
        ),
        ("shadow = true", "`shadow` is for `action = \"deny\"` only"),
        (
            "action = \"allow\"\nshadow = true",
            "`shadow` is for `action = \"deny\"` only",
        ),
    ] {
        let told = told(&GOOD.replacen("paths =", &format!("{line}\npaths ="), 1));
        let found = told.iter().any(|told| told.ends_with(error));
        assert!(found && told.len() <= 2, "{line}: {told:?}");
    }
    let on_trial = "action = \"deny\"\nshadow = true\npaths =";
    assert_eq!(told(&GOOD.replacen("paths =", on_trial, 1)), [""; 0]);
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

#[test]
fn an_egress_is_for_programs_of_this_machine_and_named_hosts() {
    let egress = |lines: &str, error: &str| {
        let tables = format!("[[egress]]\n{lines}\n[upstream.orders]");
        refused("[upstream.orders]", &tables, error);
    };
    egress(
        "upstream = \"orders\"\nhosts = \"a\"",
        "22:1 `bind` is missing",
    );
    egress(
        "bind = \"127.0.0.1:1\"\nhosts = \"a\"",
        "22:1 `upstream` is missing",
    );
    let with = |more: &str| format!("bind = \"127.0.0.1:1\"\nupstream = \"orders\"\n{more}");
    egress(&with(""), "22:1 `hosts` is missing");
    let open = with("hosts = \"a\"").replace("127.0.0.1", "0.0.0.0");
    let error = "23:8 an egress takes plain text, so it listens on a loopback address";
    egress(&open, error);
    let bytes = with("").replace("orders", "tcp://127.0.0.1:2");
    let error = "25:9 `hosts` does nothing in front of a TCP upstream";
    egress(&(bytes.clone() + "hosts = \"a\""), error);
    let error = "25:9 `http2` does nothing in front of a TCP upstream";
    egress(&(bytes + "http2 = true"), error);
}

#[test]
fn rate_limits_are_counts_in_time() {
    let at_the_end = |table: &str, error: &str| {
        refused(
            "[upstream.orders]",
            &format!("{table}\n[upstream.orders]"),
            error,
        );
    };
    at_the_end("[rate_limit.a]\nper = \"all\"", "22:1 `rate` is missing");
    for rate in ["100", "0/s", "x/s", "+1/s", "1/w", "1.5/s", "/s"] {
        let error = format!("23:8 `{rate}` is no rate");
        at_the_end(&format!("[rate_limit.a]\nrate = \"{rate}\""), &error);
    }
    let error = "23:8 a rate is at most 1000000 a second";
    at_the_end("[rate_limit.a]\nrate = \"1000001/s\"", error);
    let error = "24:13 `when_away` does nothing without `redis`";
    at_the_end(
        "[rate_limit.a]\nrate = \"1/s\"\nwhen_away = \"allow\"",
        error,
    );
    let error = "24:9 must be between 1 and 1000000";
    at_the_end("[rate_limit.a]\nrate = \"1/s\"\nburst = 0", error);
    let with = "upstream = \"orders\"\nrate_limits = \"nobody\"";
    refused(
        "upstream = \"orders\"",
        with,
        "16:15 no rate limit is called `nobody`",
    );
}
