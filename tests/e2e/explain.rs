//! `portcullis explain` says what the gateway does: the same codes, the same alerts, the same statuses.

use std::path::Path;

use portcullis::explain::{Asked, Decision, explain};
use portcullis::reason::Reason;
use portcullis::snapshot::{Rules, Standing};
use portcullis_bench::echo::Echo;
use portcullis_bench::pki::{self, Flaw, Leaf, List, write_file};
use portcullis_config::Config;
use rustls_pki_types::UnixTime;
use serde_json::Value;
use tokio::process::Command;

use crate::harness::tools::{Said, run};
use crate::harness::{
    CLIENT_CA_NAME, Client, Gateway, GatewayBuilder, SHIM, Site, client_ca, client_leaf,
};
use crate::refusals_client_cert::MATRIX;

/// A gateway whose state is in its own folder, where the file finds it too.
fn builder() -> GatewayBuilder {
    Gateway::builder().top("state_dir = '.'")
}

/// A gateway that requires certificates of the bundle `clients`, with these keys.
fn gateway(echo_url: &str, toml: &str) -> GatewayBuilder {
    builder()
        .trust("clients", client_ca(), toml)
        .demand("require", "clients")
        .upstream_at("echo", echo_url, "")
        .role("name = 'orders'\nspiffe = 'spiffe://test.portcullis/orders'")
        .rule("name = 'read'\nroles = ['orders']\nmethods = ['GET']\npaths = ['/orders/{id}']")
        .rule("name = 'trial'\nroles = ['anyone']\nfrom = ['127.0.0.0/8']\naction = 'deny'\nshadow = true")
        .rule("name = 'no secrets'\nroles = ['anyone']\npaths = ['/orders/secret']\naction = 'deny'")
}

async fn said(folder: &Path, words: &[&str]) -> Said {
    let mut command = Command::new(SHIM);
    command.arg("explain").args(words).current_dir(folder);
    run(command, "").await
}

/// What is said about a case, as JSON; it must end as the decision demands.
async fn told(folder: &Path, words: &[&str]) -> Value {
    let always = ["--json", "--config", "portcullis.toml"];
    let said = said(folder, &[words, &always].concat()).await;
    let value: Value =
        serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    let expected = match value["report"]["verdict"]["decision"].as_str() {
        Some("served") => 0,
        _ => 4,
    };
    assert_eq!(said.status.code(), Some(expected), "{said:?}");
    value
}

/// What the running gateway and the file say; they must agree.
pub(crate) async fn agreed(gateway: &Gateway, words: &[&str]) -> Value {
    // One time for both: the report holds it.
    let at = match words.contains(&"--at") {
        true => Vec::new(),
        false => vec!["--at".to_owned(), rfc3339(UnixTime::now().as_secs())],
    };
    let at: Vec<&str> = at.iter().map(String::as_str).collect();
    let words = [words, &at[..]].concat();
    let running = told(gateway.folder(), &words).await;
    let offline = told(gateway.folder(), &[&words[..], &["--offline"]].concat()).await;
    let source = |value: &Value| value["source"].as_str().unwrap().to_owned();
    assert!(source(&running).starts_with("the running gateway on "));
    assert!(source(&offline).starts_with("the file portcullis.toml (as asked)"));
    assert_eq!(running["report"], offline["report"]);
    running["report"].clone()
}

fn rfc3339(seconds: u64) -> String {
    portcullis::revocation::date(seconds.try_into().unwrap())
}

fn reason(report: &Value) -> &str {
    report["verdict"]["reason"].as_str().unwrap_or_default()
}

/// The step of this name, which must be there.
fn step<'a>(report: &'a Value, name: &str) -> &'a Value {
    let steps = report["steps"].as_array().unwrap();
    let found = steps.iter().find(|step| step["name"] == name);
    found.unwrap_or_else(|| panic!("no step {name}: {report:#}"))
}

fn forged(flaw: Flaw) -> Leaf {
    flaw.forge(&pki::Client::new("mallory"), client_ca(), CLIENT_CA_NAME)
        .unwrap()
}

#[test]
fn the_verdict_on_each_flaw_is_the_verifiers_own() {
    let folder = tempfile::tempdir().unwrap();
    gateway("http://127.0.0.1:1", "").write(folder.path());
    let (config, _) = Config::load(&folder.path().join("portcullis.toml")).unwrap();
    let standing = Standing::open(&config).unwrap();
    let rules = Rules::build(&config, &standing, None).unwrap();
    let now = UnixTime::now();
    for flaw in Flaw::ALL {
        let leaf = forged(flaw);
        let verified = rules.sites[0]
            .handshake
            .verify(&leaf.chain_der().unwrap(), now);
        let asked = Asked {
            chain: Some(leaf.chain_pem()),
            ..Asked::default()
        };
        let report = explain(&rules, &asked.check(now).unwrap()).unwrap();
        let expected = verified.err().map(|refused| refused.reason.code());
        assert_eq!(report.verdict.reason.as_deref(), expected, "{flaw:?}");
        let failed = report.steps.iter().filter(|step| step.reason.is_some());
        let failed: Vec<_> = failed.map(|step| step.reason.as_deref()).collect();
        assert_eq!(failed, expected.map(Some).into_iter().collect::<Vec<_>>());
        let served = report.verdict.decision == Decision::Served;
        assert_eq!(served, expected.is_none(), "{flaw:?}");
    }
}

#[tokio::test]
async fn each_wrong_certificate_is_explained_with_the_code_and_alert_of_the_refusal() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo.url(), "").spawn().await;
    for (flaw, alert, code) in MATRIX {
        let leaf = forged(flaw);
        leaf.write(gateway.folder(), "client").unwrap();
        let client = Client::new().certificate(&leaf);
        let refused = client.get(&gateway, "/orders/1").await.unwrap_err();
        let line = gateway.refusal_of(refused.port).await;
        let report = agreed(&gateway, &["--cert", "client.pem"]).await;
        assert_eq!((reason(&report), &line["reason"]), (code, &code.into()));
        let plain = |text: &str| text.to_ascii_lowercase().replace(['_', ' '], "");
        let sees = report["verdict"]["client_sees"].as_str().unwrap();
        assert_eq!(plain(sees), plain(&format!("the TLS alert {alert:?}")));
        assert!(!report["verdict"]["cure"].as_str().unwrap().is_empty());
    }
    let report = agreed(&gateway, &["--cert", "none"]).await;
    assert_eq!(reason(&report), "CLIENT_CERT_MISSING");
    assert_eq!(report["client"], "without certificate");
}

#[tokio::test]
async fn a_served_request_is_walked_from_the_name_to_the_upstream_with_its_lines() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo.url(), "").spawn().await;
    let leaf = client_leaf("orders");
    leaf.write(gateway.folder(), "orders").unwrap();
    let words = ["--cert", "orders.pem", "--path", "/%6frders/1?a=b"];
    let report = agreed(&gateway, &words).await;
    assert_eq!(report["verdict"]["decision"], "served", "{report:#}");
    assert_eq!(report["client"], "spiffe://test.portcullis/orders");
    let client = Client::new().certificate(&leaf);
    let served = client.get(&gateway, "/%6frders/1?a=b").await.unwrap();
    assert_eq!(served.status, 200);
    assert_eq!(
        step(&report, "path")["detail"],
        "/orders/1 (sent as /%6frders/1)"
    );
    assert_eq!(step(&report, "rules")["detail"], "allowed by `read`");
    assert_eq!(
        step(&report, "shadow")["detail"],
        "`trial`, on trial, would deny this"
    );
    let anchor = step(&report, "chain to a trust anchor")["detail"].as_str();
    assert!(anchor.unwrap().contains(CLIENT_CA_NAME), "{report:#}");
    let toml = std::fs::read_to_string(gateway.folder().join("portcullis.toml")).unwrap();
    let lines: Vec<_> = toml.lines().collect();
    for (name, written) in [
        ("server name", "hosts = [\"localhost\"]"),
        ("client certificate", "client_cert = { mode = 'require'"),
        ("validity", "[trust.clients]"),
        ("chain to a trust anchor", "anchors = 'clients.pem'"),
        ("role", "[[role]]"),
        ("rules", "[[rule]]"),
        ("upstream", "endpoint = "),
    ] {
        let place = step(&report, name)["place"].as_str().unwrap();
        let line = place.strip_prefix("portcullis.toml:").unwrap();
        let line = lines[line.parse::<usize>().unwrap() - 1];
        assert!(line.starts_with(written), "{name}: {place}: {line}");
    }
}

#[tokio::test]
async fn a_refused_request_is_explained_with_the_status_and_code_of_the_gateway() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo.url(), "").spawn().await;
    let leaf = client_leaf("orders");
    leaf.write(gateway.folder(), "orders").unwrap();
    let client = Client::new().certificate(&leaf);
    for (path, status, code) in [
        ("/other", 403, "NOT_AUTHORIZED"),
        ("/orders/secret", 403, "DENIED_BY_RULE"),
        ("/orders/a%2fb", 400, "PATH_AMBIGUOUS"),
        ("/orders/../x", 400, "PATH_AMBIGUOUS"),
    ] {
        let report = agreed(&gateway, &["--cert", "orders.pem", "--path", path]).await;
        assert_eq!(reason(&report), code, "{path}");
        let sees = report["verdict"]["client_sees"].as_str().unwrap();
        assert!(sees.starts_with(&format!("a bare {status} ")), "{sees}");
        let answer = client.get(&gateway, path).await.unwrap();
        assert_eq!(answer.status, status, "{path}");
        gateway.wait_for_refusal(code).await;
    }
    let other = [
        "--cert",
        "orders.pem",
        "--sni",
        "localhost",
        "--host",
        "other.test",
    ];
    let report = agreed(&gateway, &other).await;
    assert_eq!(reason(&report), "MISDIRECTED");
    let unknown = agreed(&gateway, &["--cert", "orders.pem", "--sni", "other.test"]).await;
    assert_eq!(reason(&unknown), "UNKNOWN_SERVER_NAME");
    let sees = &unknown["verdict"]["client_sees"];
    assert_eq!(sees, "the TLS alert unrecognized_name");
}

#[tokio::test]
async fn a_revoked_certificate_is_explained_with_its_list_and_the_list_with_its_age() {
    let echo = Echo::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clients.crl");
    let list = List::new(1)
        .revoke(0x4711_u64)
        .signed_by(client_ca())
        .unwrap();
    std::fs::write(&file, list).unwrap();
    let crl = format!("crl = {{ files = '{}' }}", file.display());
    let gateway = gateway(&echo.url(), &crl).spawn().await;
    let leaf = |serial| {
        let client = pki::Client::new("orders").serial(serial);
        client.issued_by(client_ca()).unwrap()
    };
    let (bad, good) = (leaf(0x4711), leaf(0x4712));
    bad.write(gateway.folder(), "bad").unwrap();
    good.write(gateway.folder(), "good").unwrap();
    let client = Client::new().certificate(&bad);
    let refused = client.get(&gateway, "/orders/1").await.unwrap_err();
    let line = gateway.refusal_of(refused.port).await;
    let report = agreed(&gateway, &["--cert", "bad.pem"]).await;
    assert_eq!(reason(&report), "CLIENT_CERT_REVOKED_CRL");
    assert_eq!(line["reason"], reason(&report));
    let check = step(&report, "CRL");
    assert_eq!(check["outcome"], "fail");
    assert_eq!(step(&report, "OCSP")["outcome"], "not_reached");
    let of_list = |report: &Value| {
        let origin = file.display().to_string();
        let detail = step(report, &origin)["detail"].as_str().unwrap();
        detail.to_owned()
    };
    let detail = of_list(&report);
    assert!(detail.starts_with("revoked since "), "{detail}");
    assert!(
        detail.contains(", made 60 min ago, next update "),
        "{detail}"
    );
    assert!(detail.ends_with(", current, 1 entries"), "{detail}");
    let report = agreed(&gateway, &["--cert", "good.pem"]).await;
    assert_eq!(report["verdict"]["decision"], "served");
    assert!(of_list(&report).starts_with("not listed; "));
    // In two hours the list is past its nextUpdate.
    let later = rfc3339(UnixTime::now().as_secs() + 7_200);
    let report = agreed(&gateway, &["--cert", "good.pem", "--at", &later]).await;
    assert_eq!(reason(&report), "CLIENT_CERT_CRL_STALE");
    assert!(of_list(&report).contains(", stale, "));
    // Explaining counts nothing: nobody but the one client was refused.
    assert_eq!(gateway.refusals().len(), 1);
}

#[tokio::test]
async fn the_past_and_the_future_are_explained_too() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo.url(), "").spawn().await;
    client_leaf("orders")
        .write(gateway.folder(), "orders")
        .unwrap();
    for (at, code) in [
        ("2001-01-01T00:00:00Z", "CLIENT_CERT_NOT_YET_VALID"),
        ("2999-12-31T23:59:59+02:00", "CLIENT_CERT_EXPIRED"),
    ] {
        let report = agreed(&gateway, &["--cert", "orders.pem", "--at", at]).await;
        assert_eq!(reason(&report), code);
        let check = step(&report, "validity");
        assert_eq!(check["outcome"], "fail");
    }
}

#[tokio::test]
async fn a_denied_client_is_explained_by_the_list_of_the_running_gateway() {
    let echo = Echo::start().await.unwrap();
    let gateway = gateway(&echo.url(), "").spawn().await;
    client_leaf("orders")
        .write(gateway.folder(), "orders")
        .unwrap();
    gateway
        .ask(&["deny", "add", "spiffe://test.portcullis/orders"])
        .await;
    let report = agreed(&gateway, &["--cert", "orders.pem"]).await;
    assert_eq!(reason(&report), "CLIENT_CERT_DENIED");
    assert_eq!(step(&report, "deny list")["outcome"], "fail");
}

#[tokio::test]
async fn a_route_with_a_demand_of_its_own_is_explained_bundle_by_bundle() {
    let echo = Echo::start().await.unwrap();
    let partners = pki::Ca::root("Portcullis test partners").unwrap();
    let gateway = builder()
        .trust("clients", client_ca(), "")
        .trust("partners", &partners, "")
        .site(
            Site::new("localhost")
                .line("client_cert = { mode = 'accept', trust = 'clients' }")
                .demanding("/partners", "{ mode = 'require', trust = 'partners' }"),
        )
        .upstream(&echo)
        .allow("anyone")
        .spawn()
        .await;
    let (own, partner) = (
        client_leaf("orders"),
        pki::Client::new("p").issued_by(&partners).unwrap(),
    );
    own.write(gateway.folder(), "own").unwrap();
    partner.write(gateway.folder(), "partner").unwrap();
    for (cert, path, expected) in [
        ("own.pem", "/", ""),
        ("own.pem", "/partners", "CLIENT_CERT_UNKNOWN_CA"),
        ("partner.pem", "/partners", ""),
        ("partner.pem", "/", "CLIENT_CERT_UNKNOWN_CA"),
        ("none", "/", ""),
        ("none", "/partners", "CLIENT_CERT_REQUIRED"),
    ] {
        let report = agreed(&gateway, &["--cert", cert, "--path", path]).await;
        assert_eq!(reason(&report), expected, "{cert} {path}");
        let client = match cert {
            "own.pem" => Client::new().certificate(&own),
            "partner.pem" => Client::new().certificate(&partner),
            _ => Client::new(),
        };
        let status = client.get(&gateway, path).await.unwrap().status;
        let refused = report["verdict"]["decision"] == "refused";
        assert_eq!(status, if refused { 403 } else { 200 }, "{cert} {path}");
    }
}

#[tokio::test]
async fn every_code_is_explained_in_any_case_and_a_wrong_one_finds_the_right_one() {
    let here = Path::new(".");
    let said_all = said(here, &["--list", "--json"]).await;
    let all: Vec<Value> = serde_json::from_str(&said_all.stdout).unwrap();
    assert_eq!(all.len(), Reason::ALL.len());
    for (told, reason) in all.iter().zip(Reason::ALL) {
        assert_eq!(told["code"], reason.code());
        for key in ["meaning", "cause", "cure"] {
            assert!(told[key].as_str().unwrap().len() > 10, "{reason} {key}");
        }
    }
    let one = said(here, &["client_cert_expired"]).await;
    let expected = "CLIENT_CERT_EXPIRED\nmeaning  a certificate of the client's chain is past its notAfter\ncause    ";
    assert!(one.stdout.starts_with(expected), "{one:?}");
    let wrong = said(here, &["CLIENT_CERT_EXPIERD"]).await;
    assert_eq!(wrong.status.code(), Some(2));
    assert!(
        wrong.stderr.contains("did you mean CLIENT_CERT_EXPIRED?"),
        "{wrong:?}"
    );
}

#[tokio::test]
async fn without_a_gateway_the_file_is_asked_and_what_is_broken_is_told() {
    let folder = tempfile::tempdir().unwrap();
    gateway("http://127.0.0.1:1", "").write(folder.path());
    client_leaf("orders")
        .write(folder.path(), "orders")
        .unwrap();
    let config = ["--config", "portcullis.toml"];
    let ask = async |words: &[&str]| said(folder.path(), &[words, &config].concat()).await;
    let page = ask(&["--cert", "orders.pem", "--path", "/orders/1"]).await;
    assert_eq!(page.status.code(), Some(0), "{page:?}");
    let first = page.stdout.lines().next().unwrap();
    assert!(
        first.starts_with("asked   the file portcullis.toml (no gateway answers on "),
        "{first}"
    );
    assert!(page.stdout.contains("\npass  rules"), "{page:?}");
    assert!(
        page.stdout.contains("\nserved       forwarded to echo\n"),
        "{page:?}"
    );
    for words in [
        &["--cert", "nowhere.pem"][..],
        &["--cert", "portcullis.toml"],
        &["--cert", "none", "--listener", "other"],
        &["--cert", "none", "--path", "/", "--header", "a b: c"],
    ] {
        let broken = ask(words).await;
        assert_eq!(broken.status.code(), Some(3), "{words:?} {broken:?}");
        assert!(!broken.stderr.is_empty());
    }
    assert_eq!(ask(&[]).await.status.code(), Some(2));
    let socket = ask(&["--cert", "none", "--socket", "nowhere.sock"]).await;
    assert_eq!(socket.status.code(), Some(1), "{socket:?}");
    write_file(&folder.path().join("portcullis.toml"), "nonsense = 1").unwrap();
    assert_eq!(ask(&["--cert", "none"]).await.status.code(), Some(3));
}

#[tokio::test]
async fn an_ocsp_answer_is_told_once_it_is_known_and_before_that_who_is_asked() {
    let echo = Echo::start().await.unwrap();
    let ocsp = "ocsp = { mode = 'hard', responder = 'http://127.0.0.1:1/' }";
    let gateway = gateway(&echo.url(), ocsp).spawn().await;
    let leaf = client_leaf("orders");
    leaf.write(gateway.folder(), "orders").unwrap();
    let words = ["--cert", "orders.pem"];
    let report = agreed(&gateway, &words).await;
    let check = step(&report, "OCSP");
    assert_eq!(check["outcome"], "not_asked");
    let asked = "http://127.0.0.1:1/ is asked before the first request";
    assert!(check["detail"].as_str().unwrap().contains(asked), "{check}");
    let detail = report["verdict"]["detail"].as_str().unwrap();
    assert!(detail.contains("OCSP is asked"), "{detail}");
    let client = Client::new().certificate(&leaf);
    let refused = client.get(&gateway, "/orders/1").await;
    assert!(refused.is_err());
    let line = gateway
        .wait_for_refusal("CLIENT_CERT_OCSP_UNAVAILABLE")
        .await;
    // Only the running gateway knows that now.
    let always = ["--json", "--config", "portcullis.toml"];
    let said = said(gateway.folder(), &[&words[..], &always].concat()).await;
    let value: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(line["reason"], reason(&value["report"]), "{value:#}");
    assert_eq!(step(&value["report"], "OCSP")["outcome"], "fail");
}
