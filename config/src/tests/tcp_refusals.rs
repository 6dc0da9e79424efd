//! TCP routes and TCP upstreams: what is refused, then what is understood.

use super::refusals::{help, refused};
use super::{GOOD, good};

const TO: &str = "upstream = \"orders\"\n";
const UP: &str = "endpoints = [\"http://127.0.0.1:8080\"]\n";

#[test]
fn http_never_goes_through_as_bytes() {
    for name in ["h2", "http/1.1", "http/1.0", "h3", "h2c"] {
        let tcp = format!("{TO}tcp = [{{ alpn = \"{name}\", upstream = \"tcp://h:1\" }}]\n");
        refused(TO, &tcp, &format!("16:17 `{name}` is HTTP"));
    }
    let http = "tcp = [{ alpn = \"x\", upstream = \"orders\" }]\nupstream = \"orders\"\n";
    refused(TO, http, "15:33 the upstream `orders` speaks HTTP");
    let inline = "upstream = \"tcp://h:1\"\n";
    refused(TO, inline, "15:12 the upstream `tcp://h:1` speaks no HTTP");
}

#[test]
fn a_route_that_nobody_can_reach_is_refused() {
    let whole = format!("{TO}tcp = [{{ upstream = \"tcp://h:1\" }}]\n");
    let message = "16:8 a TCP route without `alpn` leaves nothing to the routes of this site";
    refused(TO, &whole, message);
    let two = "tcp = [{ upstream = \"tcp://h:1\" }, { upstream = \"tcp://h:2\" }]\n";
    refused(TO, two, "15:36 two TCP routes of this site have no `alpn`");
    let twice = "tcp = [{ alpn = [\"a\"], upstream = \"tcp://h:1\" }, { alpn = \"a\", upstream = \"tcp://h:2\" }]\n";
    refused(TO, twice, "15:59 this protocol is listed twice");
    let empty = "tcp = [{ alpn = [], upstream = \"tcp://h:1\" }]\n";
    refused(TO, empty, "15:8 `alpn` is empty, so no client gets here");
    refused(
        TO,
        "tcp = [{ alpn = \"\", upstream = \"tcp://h:1\" }]\n",
        "15:17 a protocol has 1 to 255 printable characters",
    );
    refused(
        TO,
        "tcp = [{ alpn = \"a\" }]\n",
        "15:8 `upstream` is missing",
    );
}

#[test]
fn early_data_never_reaches_a_tcp_upstream() {
    let early = format!(
        "{TO}resumption = {{ early_data = \"8KiB\" }}\ntcp = [{{ alpn = \"a\", upstream = \"tcp://h:1\" }}]\n"
    );
    let message =
        "10:1 this site takes early data, which a TCP upstream cannot tell from a copy of it";
    refused(TO, &early, message);
}

#[test]
fn an_upstream_is_written_as_it_is_spoken_to() {
    let tcp = "endpoints = [\"http://127.0.0.1:8080\"]\nprotocol = \"tcp\"\n";
    let message =
        "23:14 an upstream with `protocol = \"tcp\"` has endpoints like \"tcp://HOST:PORT\"";
    let both = super::told(&GOOD.replace(UP, tcp));
    assert!(both.iter().any(|it| it == message), "{both:?}");
    refused(
        UP,
        "endpoints = [\"tcp://127.0.0.1:8080\"]\n",
        "23:14 a tcp endpoint belongs to an upstream with `protocol = \"tcp\"`",
    );
    let no_port = format!("{UP}[upstream.x]\nendpoint = \"tcp://h\"\nprotocol = \"tcp\"\n");
    refused(UP, &no_port, "25:12 a tcp endpoint needs its port");
    for key in [
        "response_timeout = \"1s\"",
        "body_timeout = \"1s\"",
        "idle_timeout = \"1s\"",
        "identity = [\"xfcc\"]",
        "sticky = \"c\"",
    ] {
        let name = key.split_once(' ').unwrap_or_default().0;
        let more =
            format!("{UP}[upstream.x]\nendpoint = \"tcp://h:1\"\nprotocol = \"tcp\"\n{key}\n");
        let column = if name == "identity" {
            name.len() + 5
        } else {
            name.len() + 4
        };
        refused(
            UP,
            &more,
            &format!("27:{column} `{name}` does nothing on a tcp upstream"),
        );
    }
}

#[test]
fn what_balances_and_asks_connections_knows_no_request() {
    let tcp = |line: &str| {
        format!("{UP}[upstream.x]\nendpoint = \"tcp://h:1\"\nprotocol = \"tcp\"\n{line}\n")
    };
    let by_header = tcp("balance = \"hash\"\nhash = \"header:x\"");
    refused(
        UP,
        &by_header,
        "28:8 a connection has no header and no cookie",
    );
    let message = "27:10 a tcp upstream speaks no HTTP that could be asked";
    refused(UP, &tcp("health = { path = \"/\" }"), message);
    refused(UP, &tcp("health = { grpc = \"\" }"), message);
    let lines = "balance = \"hash\"\nhash = \"identity\"\nhealth = { tcp = true }\ntls = { trust = \"ca.pem\" }";
    good(&GOOD.replace(UP, &tcp(lines)));
    let both = tcp("tls = { trust = \"ca.pem\" }\nproxy_protocol = \"v2\"");
    refused(
        UP,
        &both,
        "28:18 a PROXY header and `tls` exclude each other",
    );
}

#[test]
fn who_the_client_is_can_be_told_over_connections_of_its_own_alone() {
    let http = format!("{UP}proxy_protocol = \"v2\"\n");
    let message =
        "24:18 an HTTP upstream gets no PROXY header: its connections are shared by many clients";
    refused(UP, &http, message);
    assert!(help(UP, &http).contains("X-Forwarded-For"));
    for version in ["", "proxy_protocol = \"v1\"\n"] {
        let more = format!(
            "{UP}[upstream.x]\nendpoint = \"tcp://h:1\"\nprotocol = \"tcp\"\ntls_info = true\n{version}"
        );
        refused(
            UP,
            &more,
            "27:12 `tls_info` is told in PROXY protocol 2 alone",
        );
    }
}

#[test]
fn a_name_leads_to_one_place() {
    let site = "hosts = [\"api.example.com\"]\n";
    let passthrough = |lines: &str| {
        let table = format!("[[passthrough]]\n{lines}\n[[site]]\nname = \"api\"\n");
        GOOD.replace("[[site]]\nname = \"api\"\n", &table)
    };
    let taken = passthrough("names = \"API.example.com\"\nupstream = \"tcp://h:1\"");
    let told = super::told(&taken);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].ends_with("`api.example.com` is on the listener `public` already"),
        "{told:?}"
    );
    for (lines, message) in [
        ("upstream = \"tcp://h:1\"", "10:1 `names` is missing"),
        (
            "names = []\nupstream = \"tcp://h:1\"",
            "10:1 `names` is empty, so this passthrough is never served",
        ),
        ("names = \"a.b\"", "10:1 `upstream` is missing"),
        (
            "names = \"a.b\"\nupstream = \"orders\"",
            "12:12 the upstream `orders` speaks HTTP",
        ),
        (
            "names = \"a.b\"\nupstream = \"http://h\"",
            "12:12 the upstream `http://h` speaks HTTP",
        ),
        (
            "names = \"a.b\"\nlisteners = []\nupstream = \"tcp://h:1\"",
            "10:1 `listeners` is empty, so this passthrough is never served",
        ),
        (
            "names = \"a.b\"\nlisteners = \"x\"\nupstream = \"tcp://h:1\"",
            "12:13 no listener is called `x`",
        ),
    ] {
        assert_eq!(super::told(&passthrough(lines)), [message], "{lines}");
    }
    assert!(GOOD.contains(site));
}

#[test]
fn a_listener_may_have_nothing_but_a_passthrough_and_rules_may_name_it() {
    let more = "[[listener]]\nname = \"raw\"\nbind = \"0.0.0.0:5432\"\n[[passthrough]]\nnames = \"db.b.c\"\n\
                listeners = \"raw\"\nupstream = \"tcp://h:1\"\n[[rule]]\nroles = \"anyone\"\nhosts = \"db.b.c\"\n";
    let public = "hosts = [\"api.example.com\"]\nlisteners = \"public\"\n";
    let text = GOOD.replace("hosts = [\"api.example.com\"]\n", public) + more;
    let config = good(&text);
    assert_eq!(config.passthroughs[0].name(), "db.b.c");
    let crate::ListenerKind::Https {
        sites,
        passthroughs,
        ..
    } = &config.listeners[1].kind
    else {
        panic!("{config:?}");
    };
    assert_eq!(
        (sites.as_slice(), passthroughs.as_slice()),
        (&[][..], &[0][..])
    );
}

#[test]
fn connections_go_by_the_protocol_they_chose() {
    let mixed =
        "upstream = \"orders\"\ntcp = [{ alpn = [\"mqtt\", \"x\"], upstream = \"tcp://h:1\" }]\n";
    let config = good(&GOOD.replace(TO, mixed));
    let site = &config.sites[0];
    assert_eq!(site.alpn(), ["mqtt", "x", "h2", "http/1.1"]);
    let to = |alpn: Option<&str>| {
        site.tcp_route(alpn.map(str::as_bytes))
            .map(|route| route.upstream)
    };
    assert_eq!(
        (to(Some("x")), to(Some("h2")), to(None)),
        (Some(1), None, None)
    );
    let whole =
        "tcp = [{ alpn = \"a\", upstream = \"tcp://h:1\" }, { upstream = \"tcp://h:2\" }]\n";
    let config = good(&GOOD.replace(TO, whole));
    let site = &config.sites[0];
    assert_eq!(site.alpn(), ["a"]);
    let to = |alpn: Option<&str>| {
        site.tcp_route(alpn.map(str::as_bytes))
            .map(|route| route.upstream)
    };
    assert_eq!((to(Some("a")), to(None)), (Some(1), Some(2)));
}
