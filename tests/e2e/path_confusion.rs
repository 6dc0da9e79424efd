//! No spelling of a path leads around a rule, and what was decided on is what the upstream is sent.

use http::Method;
use portcullis_bench::echo::Echo;

use crate::harness::{
    Client, Connection, Gateway, RawTls, Site, client_ca, client_leaf, status_of,
};

/// Spellings that some HTTP stack would read as `/users/1`, or as something else than another would.
const CONFUSING: [&str; 42] = [
    "/orders/../users/1",
    "/orders/./../users/1",
    "/orders/x/../../users/1",
    "/orders//../users/1",
    "/orders/..",
    "/orders/.",
    "/./users/1",
    "/../users/1",
    "//users/1",
    "//localhost/users/1",
    "/orders//1",
    "/orders/%2e%2e/users/1",
    "/orders/%2E%2E/users/1",
    "/orders/.%2e/users/1",
    "/orders/%2e/1",
    "/orders/..%2fusers/1",
    "/orders%2f..%2fusers%2f1",
    "/orders%2F1",
    "/%2fusers/1",
    "/orders/%252e%252e/users/1",
    "/orders/%25/1",
    "/orders/..;/users/1",
    "/orders;/../users/1",
    "/orders;x=1/1",
    "/orders/%3b/1",
    "/orders/..\\users\\1",
    "/orders\\..\\users\\1",
    "\\users\\1",
    "/orders/..%5cusers%5c1",
    "/orders/%c0%ae%c0%ae/users/1",
    "/orders/..%c0%afusers/1",
    "/orders/%e0%80%ae%e0%80%ae/users/1",
    "/orders/%f0%80%80%af1",
    "/orders/%00",
    "/orders/%00/../users/1",
    "/orders/%0a",
    "/orders/%7f",
    "/orders/%",
    "/orders/%4",
    "/orders/%zz",
    "/orders/%u002e%u002e/users/1",
    "/orders/#/../users/1",
];

/// Plainly something else than what is allowed.
const FORBIDDEN: [&str; 7] = [
    "/users/1",
    "/%75sers/1",
    "/USERS/1",
    "/ORDERS/1",
    "/ordersx",
    "/",
    "/users/1?/orders/1",
];

/// What was asked for, and what the upstream is to be sent.
const ALLOWED: [(&str, &str); 10] = [
    ("/orders", "/orders"),
    ("/orders/", "/orders/"),
    ("/orders/1?x=1", "/orders/1?x=1"),
    ("/orders/1?/../users/1", "/orders/1?/../users/1"),
    ("/orders/1?q=%2e%2e%2f", "/orders/1?q=%2e%2e%2f"),
    ("/%6frders/%31", "/orders/1"),
    ("/orders/a%20b", "/orders/a%20b"),
    ("/orders/%c3%a9?%c3%a9", "/orders/%C3%A9?%c3%a9"),
    ("/orders/...", "/orders/..."),
    ("/orders/a:b@c,d+e!$&'()*=~", "/orders/a:b@c,d+e!$&'()*=~"),
];

async fn gateway(echo: &Echo) -> Gateway {
    Gateway::builder()
        .client_cert("require", client_ca())
        .role("name = 'orders'\nspiffe = ['spiffe://test.portcullis/orders']")
        .rule("roles = ['orders']\npaths = ['/orders/**']")
        .upstream(echo)
        .spawn()
        .await
}

fn orders() -> Client {
    Client::new().certificate(&client_leaf("orders"))
}

/// The status of a GET with exactly this target, over HTTP/1.1.
async fn status(gateway: &Gateway, target: &str) -> u16 {
    let mut raw = RawTls::connect(&orders(), gateway.address()).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let answer = raw.exchange(request).await.unwrap();
    status_of(&answer).unwrap_or_else(|| panic!("{target}: {answer}"))
}

#[tokio::test]
async fn no_confusing_path_passes_over_http1() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo).await;
    for target in CONFUSING {
        assert_eq!(status(&gateway, target).await, 400, "{target}");
        let absolute = format!("https://localhost{target}");
        let status = status(&gateway, &absolute).await;
        assert!(matches!(status, 400 | 421), "{absolute}: {status}");
    }
    for target in FORBIDDEN {
        assert_eq!(status(&gateway, target).await, 403, "{target}");
    }
    assert_eq!(echo.record().connection_count(), 0);
}

#[tokio::test]
async fn no_confusing_path_passes_over_http2() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo).await;
    let mut connection = orders().h2().connect(gateway.address()).await.unwrap();
    // Our client does not send what cannot stand in a URI at all.
    let sendable = CONFUSING
        .into_iter()
        .filter(|target| target.starts_with('/') && !target.contains('#'));
    for target in sendable {
        assert_eq!(h2_status(&mut connection, target).await, 400, "{target}");
    }
    for target in FORBIDDEN {
        assert_eq!(h2_status(&mut connection, target).await, 403, "{target}");
    }
    assert_eq!(echo.record().connection_count(), 0);
}

async fn h2_status(connection: &mut Connection, target: &str) -> u16 {
    let answer = connection.request(Method::GET, target).await.unwrap();
    answer.status.as_u16()
}

#[tokio::test]
async fn the_upstream_is_sent_exactly_what_was_decided_on() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo).await;
    let mut connection = orders().h2().connect(gateway.address()).await.unwrap();
    for (target, expected) in ALLOWED {
        assert_eq!(status(&gateway, target).await, 200, "{target}");
        assert_eq!(h2_status(&mut connection, target).await, 200, "{target}");
        let absolute = format!("https://localhost{target}");
        assert_eq!(status(&gateway, &absolute).await, 200, "{absolute}");
        let raw = echo.record().raw().concat();
        let raw = String::from_utf8(raw).unwrap();
        let heads = raw.lines().filter(|line| line.ends_with(" HTTP/1.1"));
        let heads: Vec<&str> = heads.collect();
        let expected = format!("GET {expected} HTTP/1.1");
        assert_eq!(heads, [expected.as_str(); 3], "{target}");
        echo.record().clear();
    }
}

/// Rules that let `/orders/1` pass and keep `/users/1` in, each in its own way.
const RULES: [&[&str]; 6] = [
    &["roles = ['anyone']\npaths = ['/orders/**']"],
    &["roles = ['anyone']\npaths = ['/orders/1', '/orders/{id}/**']"],
    &[
        "roles = ['anyone']",
        "roles = ['anyone']\npaths = ['/users/**']\naction = 'deny'",
    ],
    &[
        "roles = ['anyone']",
        "roles = ['anyone']\npaths = ['/users', '/users/{id}/**']\naction = 'deny'",
    ],
    &["roles = ['anyone']\nnot_paths = ['/users/**']"],
    &[
        "roles = ['anyone']",
        "roles = ['anyone']\nnot_paths = ['/orders/**']\naction = 'deny'",
    ],
];

/// Ways to write `/users/1` that differ in one place or in all.
fn spellings() -> Vec<String> {
    let plain = "/users/1";
    let encoded = |byte: u8, upper| match upper {
        true => format!("%{byte:02X}"),
        false => format!("%{byte:02x}"),
    };
    let mut all: Vec<String> = [false, true]
        .iter()
        .map(|upper| {
            let rest = plain[1..].bytes().map(|byte| encoded(byte, *upper));
            format!("/{}", rest.collect::<String>())
        })
        .collect();
    for (at, byte) in plain.bytes().enumerate().skip(1) {
        let (before, after) = (&plain[..at], &plain[at + 1..]);
        let inside = [
            encoded(byte, false),
            encoded(byte, true),
            format!("%25{byte:02x}"),
            format!("{}/", char::from(byte)),
            format!("{};x=1", char::from(byte)),
            format!("{}%00", char::from(byte)),
            format!("/./{}", char::from(byte)),
            format!("/x/../{}", char::from(byte)),
            format!("\\{}", char::from(byte)),
        ];
        all.extend(
            inside
                .iter()
                .map(|inside| format!("{before}{inside}{after}")),
        );
    }
    all
}

#[tokio::test]
async fn no_spelling_leads_around_any_kind_of_rule() {
    let echo = Echo::start().await.unwrap();
    let spellings = spellings();
    let targets = CONFUSING
        .into_iter()
        .chain(spellings.iter().map(String::as_str));
    let targets: Vec<&str> = targets.collect();
    for rules in RULES {
        let gateway = Gateway::builder().upstream(&echo);
        let gateway = rules
            .iter()
            .fold(gateway, |gateway, rule| gateway.rule(rule));
        let gateway = gateway.spawn().await;
        let mut h2 = Client::new().h2().connect(gateway.address()).await.unwrap();
        for target in &targets {
            let mut raw = RawTls::connect(&Client::new(), gateway.address())
                .await
                .unwrap();
            let head =
                format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            let answer = status_of(&raw.exchange(head).await.unwrap());
            assert!(
                matches!(answer, Some(200 | 400 | 403)),
                "{target}: {answer:?}"
            );
            if target.starts_with('/') && !target.contains(['#', '\\']) {
                let over_h2 = h2_status(&mut h2, target).await;
                assert_eq!(Some(over_h2), answer, "{target} {rules:?}");
            }
        }
        assert_eq!(h2_status(&mut h2, "/orders/1").await, 200);
        for path in sent_paths(&echo) {
            assert!(
                !path.to_ascii_lowercase().starts_with("/users"),
                "{path} {rules:?}"
            );
            let plain = path
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'/');
            assert!(plain && !path.contains("//"), "{path} {rules:?}");
        }
        echo.record().clear();
    }
}

/// The paths of the request lines the upstream was sent.
fn sent_paths(echo: &Echo) -> Vec<String> {
    let raw = String::from_utf8(echo.record().raw().concat()).unwrap();
    let lines = raw.lines().filter(|line| line.ends_with(" HTTP/1.1"));
    let paths = lines.filter_map(|line| line.split(' ').nth(1));
    paths.map(str::to_owned).collect()
}

#[tokio::test]
async fn routes_see_the_same_path_as_rules() {
    let (orders, users) = (Echo::start().await.unwrap(), Echo::start().await.unwrap());
    let gateway = Gateway::builder()
        .site(
            Site::new("localhost")
                .route("/orders", "orders")
                .route("/orders/users", "users"),
        )
        .upstream_at("orders", &orders.url(), "")
        .upstream_at("users", &users.url(), "")
        .allow("anyone")
        .spawn()
        .await;
    for (target, expected) in [
        ("/orders/1", (1, 0)),
        ("/orders/users", (1, 1)),
        ("/orders/%75sers/1", (1, 2)),
        ("/orders/usersx", (2, 2)),
    ] {
        assert_eq!(status(&gateway, target).await, 200, "{target}");
        let seen = (
            orders.record().request_count(),
            users.record().request_count(),
        );
        assert_eq!(seen, expected, "{target}");
    }
    assert_eq!(status(&gateway, "/elsewhere").await, 404);
    gateway.wait_for_refusal("NO_ROUTE").await;
}
