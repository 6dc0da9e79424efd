//! `portcullis policy test`: expected decisions in a pipeline, without token and socket.

use std::path::Path;

use tokio::process::Command;

use crate::harness::tools::{Said, run};
use crate::harness::{Gateway, GatewayBuilder, SHIM, client_ca, client_leaf};

/// A configuration whose token is nowhere: it must not be opened.
fn configuration() -> GatewayBuilder {
    Gateway::builder()
        .client_cert("accept", client_ca())
        .module(Path::new("/nowhere/libnone.so"))
        .extra_toml("[upstream.echo]\nendpoint = 'http://127.0.0.1:1'\n")
        .role("name = 'orders'\nspiffe = 'spiffe://test.portcullis/orders'")
        .role("name = 'payments'\nmatch = 'all'\nsubject = { O = 'Acme' }\npolicies = '1.2.3'\nuri = 'urn:x:1'")
        .rule("name = 'read'\nroles = ['orders']\nmethods = ['GET']\npaths = ['/orders/{id}']")
        .rule("name = 'pay'\nroles = ['payments', 'orders']\npaths = ['/pay/**']\nfrom = ['10.0.0.0/8']\nheaders = { name = 'x-env', values = 'prod' }")
        .rule("name = 'public'\nroles = ['anyone']\npaths = ['/public/**']")
        .rule("name = 'no secrets'\nroles = ['anyone']\npaths = ['/public/secret']\naction = 'deny'")
}

async fn test(cases: &str) -> Said {
    let folder = tempfile::tempdir().unwrap();
    configuration().write(folder.path());
    client_leaf("orders")
        .write(folder.path(), "orders")
        .unwrap();
    std::fs::write(folder.path().join("cases.toml"), cases).unwrap();
    let mut command = Command::new(SHIM);
    command.args([
        "policy",
        "test",
        "cases.toml",
        "--config",
        "portcullis.toml",
    ]);
    command.current_dir(folder.path());
    run(command, "").await
}

const RIGHT: &str = r#"
[[case]]
name = "orders are read"
as = { spiffe = "spiffe://test.portcullis/orders" }
host = "localhost"
path = "/orders/1?expand=all"
expect = "allow"
rule = "read"
[[case]]
as = { cert = "orders.pem" }
host = "LOCALHOST."
method = "GET"
path = "/%6frders/1"
expect = "allow"
[[case]]
as = { cert = "orders.pem" }
host = "localhost"
method = "PUT"
path = "/orders/1"
expect = "deny"
[[case]]
as = "nobody"
host = "localhost"
path = "/orders/1"
expect = "deny"
[[case]]
as = "nobody"
host = "localhost"
path = "/public/secret"
expect = "deny"
rule = "no secrets"
[[case]]
as = "nobody"
host = "localhost"
path = "/public/../orders/1"
expect = "deny"
[[case]]
as = { subject = { O = "Acme", OU = ["a", "b"] }, policies = ["1.2.3"], uri = ["urn:x:1", "urn:y"] }
host = "localhost"
method = "POST"
path = "/pay/1"
from = "10.1.2.3"
headers = { x-env = ["prod", "prod"] }
expect = "allow"
rule = "pay"
[[case]]
as = { spiffe = "spiffe://test.portcullis/orders" }
host = "localhost"
path = "/pay"
from = "10.1.2.3"
headers = { X-Env = "prod" }
expect = "allow"
rule = "pay"
"#;

#[tokio::test]
async fn decisions_as_expected_end_with_success_and_no_token() {
    let said = test(RIGHT).await;
    assert_eq!(said.status.code(), Some(0), "{said:?}");
    assert_eq!(said.stdout, "8 cases, 8 as expected, 0 not\n");
    assert_eq!(said.stderr, "");
}

#[tokio::test]
async fn a_decision_that_differs_is_told_with_its_rule_and_line() {
    let wrong = RIGHT
        .replacen("expect = \"allow\"", "expect = \"deny\"", 1)
        .replacen("rule = \"no secrets\"", "rule = \"public\"", 1)
        .replacen(
            "from = \"10.1.2.3\"\nheaders = { X-Env",
            "headers = { X-Env",
            1,
        );
    let said = test(&wrong).await;
    assert_eq!(said.status.code(), Some(4), "{said:?}");
    let expected = "FAILED orders are read (cases.toml:2): expected deny by `read`, but it is allowed by `read` (with the roles orders)\n\
        FAILED case 5 (cases.toml:26): expected deny by `public`, but it is denied by `no secrets` (without any role)\n\
        FAILED case 8 (cases.toml:46): expected allow by `pay`, but it is denied: no rule allows it (with the roles orders)\n\
        8 cases, 5 as expected, 3 not\n";
    assert_eq!(said.stdout, expected);
}

#[tokio::test]
async fn a_broken_file_is_refused_with_the_line() {
    let case = "[[case]]\nas = \"nobody\"\nhost = \"localhost\"\npath = \"/\"\nexpect = \"deny\"\n";
    for (text, error) in [
        ("", "error: cases.toml: there is no [[case]]"),
        ("[[case]\n", "error: cases.toml:1: "),
        (
            &case.replace("host", "hots"),
            "error: cases.toml:3: unknown field `hots`",
        ),
        (
            &case.replace("\"deny\"", "\"maybe\""),
            "error: cases.toml:5: unknown variant `maybe`",
        ),
        (
            &case.replace("\"nobody\"", "\"somebody\""),
            "error: cases.toml:1: `as` is \"nobody\" or a table",
        ),
        (
            &case.replace("\"nobody\"", "{ spifee = \"x\" }"),
            "error: cases.toml:1: `as`: unknown field `spifee`",
        ),
        (
            &case.replace("\"nobody\"", "{ cert = \"none.pem\" }"),
            "error: cases.toml:1: none.pem: ",
        ),
        (
            &case.replace("localhost", "elsewhere"),
            "error: cases.toml:1: no site has the host `elsewhere`",
        ),
        (
            &format!("{case}rule = \"reed\"\n"),
            "error: cases.toml:1: no rule is called `reed`",
        ),
        (
            &format!("{case}from = \"10.0.0.0/8\"\n"),
            "error: cases.toml:1: `from` is one address",
        ),
        (
            &format!("{case}headers = {{ \"a b\" = \"\" }}\n"),
            "error: cases.toml:1: `a b` is no name",
        ),
    ] {
        let said = test(text).await;
        assert_eq!(said.status.code(), Some(3), "{text}: {said:?}");
        assert!(said.stderr.starts_with(error), "{text}: {said:?}");
    }
}
