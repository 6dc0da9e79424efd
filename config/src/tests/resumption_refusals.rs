//! Resumption, ticket keys and Redis: what is refused and how it is told, then what is understood.

use std::time::Duration;

use super::{GOOD, good, load, told};
use crate::{HsmRef, RedisMode, ResumptionMode, SecretSource, TicketKeySource, WrapSource};

/// [`GOOD`] with `more` behind it; what `more` says begins at line 24.
fn refused(more: &str, expected: &[&str]) {
    assert_eq!(told(&format!("{GOOD}{more}")), expected, "{more}");
}

/// `keys` of `[tickets]`, with a Redis there to be named.
fn keys(value: &str, expected: &[&str]) {
    let more = format!("[redis.r]\nurls = \"redis://h\"\n[tickets]\nkeys = {value}\n");
    refused(&more, expected);
}

/// [`GOOD`] with `lines` in the table of its site, the first of them at line 12.
fn site(lines: &str) -> String {
    GOOD.replace("http2 = true\n", lines)
}

fn refused_site(lines: &str, expected: &[&str]) {
    assert_eq!(told(&site(lines)), expected, "{lines}");
}

#[test]
fn ticket_keys_come_from_one_known_source() {
    keys("\"radnom\"", &["27:8 unknown value `radnom`"]);
    keys(
        "5",
        &["27:8 expected a string or a table, found an integer"],
    );
    keys("{ fil = \"x\" }", &["27:10 unknown key `fil`"]);
    keys("{ }", &["27:8 this names no source of ticket keys"]);
    let several = "27:30 ticket keys come from one of `hsm`, `file` and `redis`, not from several";
    keys("{ file = \"a\", redis = \"r\" }", &[several]);
    keys("{ file = \"\" }", &["27:17 this path is empty"]);
    let nothing = "27:29 `via` does nothing here: no secret is in a token";
    keys("{ file = \"ab\", via = \"main\" }", &[nothing]);
    let nothing = "27:30 `wrap` does nothing here: only keys in Redis are wrapped";
    keys("{ file = \"ab\", wrap = \"file:a\" }", &[nothing]);
}

#[test]
fn keys_in_redis_are_wrapped() {
    keys("{ redis = \"r\" }", &["27:8 `wrap` is missing"]);
    let unknown = "27:18 no redis is called `q`";
    keys("{ redis = \"q\", wrap = \"file:w\" }", &[unknown]);
    let how = "27:30 this does not say what keys are wrapped with";
    keys("{ redis = \"r\", wrap = \"s3cret\" }", &[how]);
    keys(
        "{ redis = \"r\", wrap = \"file:\" }",
        &["27:30 this path is empty"],
    );
    let nothing = "27:46 `via` does nothing here: no secret is in a token";
    keys(
        "{ redis = \"r\", wrap = \"file:w\", via = \"main\" }",
        &[nothing],
    );
}

#[test]
fn a_secret_in_a_token_is_a_secret_and_has_a_name() {
    let written = "27:16 a secret in a token is written as `pkcs11:...`";
    keys("{ hsm = \"ticket-root\" }", &[written]);
    let label = "27:16 this URI names no object";
    keys("{ hsm = \"pkcs11:id=%01\" }", &[label]);
    for kind in ["private", "public", "cert", "data"] {
        keys(
            &format!("{{ hsm = \"pkcs11:object=t;type={kind}\" }}"),
            &["27:16 this URI names something else than a secret key"],
        );
    }
    let other = "27:16 no hsm has the token this secret names";
    keys("{ hsm = \"pkcs11:token=other;object=t\" }", &[other]);
    let named = "27:41 no hsm is called `mian`";
    keys("{ hsm = \"pkcs11:object=t\", via = \"mian\" }", &[named]);
    let twice = "27:36 this secret is listed twice";
    keys(
        "{ hsm = [\"pkcs11:object=t\", \"pkcs11:object=t\"] }",
        &[twice],
    );
    keys(
        "{ hsm = [] }",
        &["27:8 `hsm` has 1 to 4 secrets, the newest first"],
    );
    let pin = "27:16 `pin-source` does nothing here";
    keys("{ hsm = \"pkcs11:object=t?pin-source=file:x\" }", &[pin]);
}

#[test]
fn a_secret_that_fits_several_tokens_needs_via() {
    let more = "[hsm.two]\nmodule = \"m\"\nserial = \"2\"\n[tickets]\nkeys = { hsm = \"pkcs11:object=t\" }\n";
    let named = GOOD.replace("object=api\"", "object=api\", hsm = \"main\"");
    let errors = load(&format!("{named}{more}")).expect_err("refused");
    let error = &errors.errors()[0];
    assert_eq!(error.message(), "this secret can be in several tokens");
    let help = "add `via = \"NAME\"` with one of `main`, `two`; where they hold the same keys, make them an `[hsm_group.NAME]`";
    assert_eq!(error.help(), Some(help));
    assert_eq!(errors.errors().len(), 1);
    let more = more.replace("object=t\"", "object=t;type=secret-key\", via = \"two\"");
    let config = good(&format!("{named}{more}"));
    let TicketKeySource::Hsm(roots) = &config.tickets.keys else {
        panic!("{:?}", config.tickets.keys);
    };
    assert_eq!(roots[0].hsm, HsmRef::Token(1));
}

#[test]
fn bounds_of_tickets_are_kept() {
    let one = |line: &str, error: &str| refused(&format!("[tickets]\n{line}\n"), &[error]);
    one("rotate = \"500ms\"", "25:10 must be between 1s and 7d");
    one("max_outage = \"31d\"", "25:14 must be between 1s and 30d");
    one("clock_skew = \"2h\"", "25:14 must be between 0ms and 1h");
    one(
        "max_size = \"64KiB\"",
        "25:12 must be between 256B and 32KiB",
    );
    one(
        "generation = -1",
        "25:14 expected a number that is not negative and fits in 64 bits",
    );
    one(
        "fleet = \"\"",
        "25:9 a fleet name has 1 to 128 printable characters",
    );
    one(
        "fleet = \"a\\nb\"",
        "25:9 a fleet name has 1 to 128 printable characters",
    );
    let many = "25:10 with a key every 1s, sessions of 7d need too many keys at once";
    refused(
        "[tickets]\nrotate = \"1s\"\n[resumption]\nlifetime = \"7d\"\nmax_lineage = \"7d\"\n",
        &[many],
    );
}

#[test]
fn keys_in_redis_fit_into_their_record() {
    let redis = |rotate: &str, more: &str| {
        format!(
            "[redis.r]\nurls = \"redis://h\"\n[tickets]\nkeys = {{ redis = \"r\", wrap = \"file:w\" }}\nrotate = \"{rotate}\"\n{more}"
        )
    };
    let many = "28:10 with a key every 28s, sessions of 4h need too many keys at once";
    refused(&redis("28s", ""), &[many]);
    refused(&redis("29s", ""), &[]);
    // A key opens for longer where clocks differ.
    let many = "28:10 with a key every 29s, sessions of 4h need too many keys at once";
    refused(&redis("29s", "clock_skew = \"1h\"\n"), &[many]);
    let errors = load(&format!("{GOOD}{}", redis("1s", ""))).expect_err("refused");
    let help =
        "a record in Redis holds 512 keys: raise `rotate`, or lower `lifetime` or `clock_skew`";
    assert_eq!(errors.errors()[0].help(), Some(help));
    // Other sources hold more of them.
    refused("[tickets]\nrotate = \"1s\"\n", &[]);
}

#[test]
fn bounds_of_resumption_are_kept() {
    let one = |line: &str, error: &str| refused(&format!("[resumption]\n{line}\n"), &[error]);
    one("mode = \"on\"", "25:8 unknown value `on`");
    one("tickets = 9", "25:11 must be between 0 and 8");
    one("lifetime = \"8d\"", "25:12 must be between 1s and 7d");
    one("early_data = 0", "25:14 must be between 1B and 14KiB");
    one("early_data_store = \"x\"", "25:20 no redis is called `x`");
    let longer = "25:12 a session of the site `api` would live for 2d, and the lineage it belongs to for 1d only";
    one("lifetime = \"2d\"", longer);
    let shorter = "25:15 a session of the site `api` would live for 4h, and the lineage it belongs to for 1h only";
    one("max_lineage = \"1h\"", shorter);
    let limits = |line: &str, error: &str| refused(&format!("[limits]\n{line}\n"), &[error]);
    limits("sessions = 0", "25:12 must be between 16 and 16777216");
    limits(
        "session_memory = \"1KiB\"",
        "25:18 must be between 64KiB and 64GiB",
    );
}

#[test]
fn early_data_needs_sessions_that_are_used_once_and_tls_1_3() {
    for mode in ["tickets", "off"] {
        let more = format!("[resumption]\nearly_data = \"1KiB\"\nmode = \"{mode}\"\n");
        let error = format!(
            "25:14 early data of the site `api` needs sessions that are used once, and its `mode` is `{mode}`"
        );
        refused(&more, &[&error]);
    }
    refused_site(
        "resumption.early_data = 9\ntls.versions = [\"1.2\"]\n",
        &["12:25 early data needs TLS 1.3, which the site `api` does not have"],
    );
    refused_site(
        "[site.resumption]\nmode = \"stateful\"\nearly_data = 9\n[[site]]\nname = \"x\"\n",
        &[
            "10:1 `hosts` is missing",
            "10:1 `certificate` is missing",
            "10:1 this site leads nowhere: `upstream` is missing",
        ],
    );
}

#[test]
fn a_route_takes_no_early_data_where_its_site_takes_none() {
    let route = "route = [{ path = \"/a\", upstream = \"orders\", early_data = true }]\n";
    refused_site(route, &["12:59 this site takes no early data"]);
    refused_site(&route.replace("true", "false"), &[]);
    let on = format!("resumption = {{ early_data = 9 }}\n{route}");
    let config = good(&site(&on));
    assert_eq!(config.sites[0].resumption.early_data, 9);
    assert!(config.sites[0].routes[0].early_data && !config.sites[0].routes[1].early_data);
    // What could not be read may have allowed it.
    let broken = format!("resumption = {{ early_data = true }}\n{route}");
    let told = told(&site(&broken));
    assert_eq!(
        told,
        ["12:29 expected a string or an integer, found `true` or `false`"]
    );
}

#[test]
fn a_store_without_early_data_does_nothing() {
    let lines = "resumption.early_data_store = \"r\"\n";
    let text = format!("{}[redis.r]\nurls = \"redis://h\"\n", site(lines));
    let nothing = "12:31 `early_data_store` does nothing: this site takes no early data";
    assert_eq!(told(&text), [nothing]);
}

#[test]
fn a_redirect_listener_resumes_nothing() {
    refused(
        "[[listener]]\nbind = \"0.0.0.0:1\"\nprotocol = \"redirect\"\nresumption.mode = \"off\"\n",
        &["27:1 `resumption` does nothing on a redirect listener"],
    );
}

#[test]
fn listeners_that_differ_need_a_site_that_decides_key_by_key() {
    let second = "[[listener]]\nname = \"two\"\nbind = \"0.0.0.0:1\"\nclient_cert = { mode = \"require\", trust = \"clients.pem\" }\nresumption = { mode = \"tickets\", tickets = 1 }\n";
    let differ = |key: &str| {
        format!(
            "10:1 the listeners `public` and `two` say different things about `resumption.{key}`"
        )
    };
    refused(second, &[&differ("mode"), &differ("tickets")]);
    let text = format!("{}{second}", site("resumption.mode = \"off\"\n"));
    assert_eq!(told(&text), [differ("tickets")]);
    let text = format!(
        "{}{second}",
        site("resumption = { mode = \"off\", tickets = 3 }\n")
    );
    assert_eq!(told(&text), [""; 0]);
    // What the top level says of one is what the other says itself.
    let text = format!("{GOOD}{second}[resumption]\nmode = \"tickets\"\ntickets = 1\n");
    let resumption = good(&text).sites[0].resumption;
    assert_eq!(
        (resumption.mode, resumption.tickets),
        (ResumptionMode::Tickets, 1)
    );
}

#[test]
fn a_site_inherits_key_by_key() {
    let listener = GOOD.replace(
        "name = \"public\"\n",
        "name = \"public\"\nresumption = { tickets = 4, lifetime = \"2h\" }\n",
    );
    let text = listener.replace("http2 = true\n", "resumption = { lifetime = \"3h\" }\n");
    let top = "[resumption]\nmode = \"stateful\"\ntickets = 5\nlifetime = \"1h\"\n";
    let resumption = good(&format!("{text}{top}")).sites[0].resumption;
    assert_eq!(resumption.mode, ResumptionMode::Stateful);
    assert_eq!(resumption.tickets, 4);
    assert_eq!(resumption.lifetime, Duration::from_secs(3 * 3600));
    assert_eq!(resumption.max_lineage, Duration::from_secs(86_400));
    assert_eq!((resumption.early_data, resumption.store), (0, None));
}

#[test]
fn addresses_of_redis_are_addresses() {
    let urls =
        |value: &str, error: &str| refused(&format!("[redis.r]\nurls = {value}\n"), &[error]);
    refused("[redis.r]\n", &["24:1 `urls` is missing"]);
    urls("[]", "24:1 `urls` has 1 to 64 addresses");
    urls("\"http://h\"", "25:8 this is no address of a Redis");
    urls("\"h:6379\"", "25:8 this is no address of a Redis");
    urls(
        "\"redis://\"",
        "25:8 `` is no host: a host name has 1 to 253 characters",
    );
    urls("\"redis://h:0\"", "25:8 a port is a number from 1 to 65535");
    urls("\"redis://h/x\"", "25:8 `x` is no number of a database");
    urls(
        "\"redis://h?a=b\"",
        "25:8 an address has no query and no fragment",
    );
    urls(
        "[\"redis://a\", \"redis://b\"]",
        "25:22 `mode = \"single\"` is one server, with one address",
    );
    let cluster = |value: &str, error: &str| {
        refused(
            &format!("[redis.r]\nurls = {value}\nmode = \"cluster\"\n"),
            &[error],
        );
    };
    cluster(
        "\"redis://h/1\"",
        "25:8 a Cluster has no numbered databases",
    );
    cluster(
        "[\"redis://h\", \"redis://H.:6379/\"]",
        "25:22 this address is listed twice",
    );
    cluster(
        "[\"redis://h\", \"rediss://i\"]",
        "25:22 some of these addresses are with TLS, some without",
    );
}

#[test]
fn a_password_of_redis_is_named_and_never_told() {
    let lines = [
        "urls = \"redis://user:s3kr1t@h\"",
        "urls = \"redis:/user:s3kr1t@h\"",
        "urls = [\"redis://h\", \"redis://s3kr1t@h\"]",
        "urls = \"redis://h\"\npassword = \"s3kr1t\"",
        "urls = \"redis://h\"\npasword = \"s3kr1t\"",
        "urls = \"redis://h\"\npw = \"s3kr1t\"",
        "urls = \"redis://h\"\npassword = \"s3kr1t",
        "urls = \"redis://h\"\npassword = \"fd:3s3kr1t\"",
        "urls = [\"redis://u:s3kr1t@h\"",
    ];
    for line in lines {
        let errors = load(&format!("{GOOD}[redis.r]\n{line}\n")).expect_err(line);
        for shown in [
            errors.to_string(),
            errors.render(true),
            format!("{errors:?}"),
        ] {
            assert!(!shown.contains("s3kr1t"), "{shown}\n--- of ---\n{line}");
        }
    }
    let once = "26:12 a password that is needed again and again cannot be read once only";
    refused(
        "[redis.r]\nurls = \"redis://h\"\npassword = \"prompt\"\n",
        &[once],
    );
    let user = "26:8 `user` does nothing without `password`";
    refused("[redis.r]\nurls = \"redis://h\"\nuser = \"u\"\n", &[user]);
}

#[test]
fn what_stands_behind_redis_is_told_whole() {
    let one = |lines: &str, error: &str| {
        refused(
            &format!("[redis.r]\nurls = \"redis://h\"\n{lines}\n"),
            &[error],
        );
    };
    one(
        "mode = \"sentinel\"",
        "26:8 `mode = \"sentinel\"` needs `master`",
    );
    one(
        "master = \"m\"",
        "26:10 `master` does nothing without `mode = \"sentinel\"`",
    );
    one("timeout = \"0ms\"", "26:11 must be between 1ms and 10s");
    one(
        "connect_timeout = \"2m\"",
        "26:19 must be between 10ms and 1m",
    );
    one("ca = \"ca.pem\"", "26:6 `ca` does nothing without TLS");
    let braces =
        "26:10 a prefix has 1 to 128 letters, digits, `-`, `_`, `.` and `:`, and nothing else";
    one("prefix = \"{a}\"", braces);
    let tls = "[redis.r]\nurls = \"rediss://h\"\n";
    refused(tls, &[]);
    let half = "26:15 `certificate` does nothing without `key`";
    refused(&format!("{tls}certificate = \"c.pem\"\n"), &[half]);
    let half = "26:7 `key` does nothing without `certificate`";
    refused(&format!("{tls}key = \"k.pem\"\n"), &[half]);
    let twice = "[redis.r]\nurls = \"redis://h\"\n[redis.r]\nurls = \"redis://h\"\n";
    assert!(!told(&format!("{GOOD}{twice}")).is_empty());
}

#[test]
fn keys_through_redis_are_understood() {
    let more = r#"
[redis.r]
urls = ["rediss://One.example.com", "rediss://[::0001]:7"]
mode = "sentinel"
master = "mymaster"
password = "env:REDIS"
[tickets]
keys = { redis = "r", wrap = "pkcs11:object=wrap" }
"#;
    let config = good(&format!("{GOOD}{more}"));
    let TicketKeySource::Redis { store, wrap } = &config.tickets.keys else {
        panic!("{:?}", config.tickets.keys);
    };
    assert!(matches!(wrap, WrapSource::Token(secret) if secret.hsm == HsmRef::Token(0)));
    let redis = &config.redis[*store];
    let urls: Vec<_> = redis.urls.iter().map(|url| url.value.as_str()).collect();
    assert_eq!(urls, ["rediss://one.example.com:26379", "rediss://[::1]:7"]);
    let master = "mymaster".to_owned();
    assert_eq!(redis.mode, RedisMode::Sentinel { master });
    let password = redis.password.as_ref().map(|source| &source.value);
    assert_eq!(password, Some(&SecretSource::Env("REDIS".to_owned())));
}
