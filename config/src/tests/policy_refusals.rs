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
