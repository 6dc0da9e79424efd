//! Mistakes in upstreams, ways out and rate limits, each alone in a good configuration.

use super::refusals::refused;

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
