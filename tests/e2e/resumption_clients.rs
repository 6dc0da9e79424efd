//! Other people's clients resume, in both versions, with and without a certificate, by tickets and by kept sessions.

mod programs;

use portcullis_bench::echo::Echo;
use portcullis_bench::pki::{write_file, write_secret};
use serde_json::Value;
use tokio::process::Command;

use crate::harness::tools::{Said, run};
use crate::harness::{Gateway, client_ca, client_leaf, server_ca, until};
use crate::hsm_recovery::cause::skip;
use programs::{installed, pkcs12, program};

/// Versions as the access log names them, and whether a certificate is shown.
const CASES: [(&str, &str); 4] = [
    ("1.2", "without"),
    ("1.2", "with"),
    ("1.3", "without"),
    ("1.3", "with"),
];

const MODES: [&str; 2] = ["both", "stateful"];

/// A gateway that takes certificates, and a client's files in its folder.
async fn gateway(echo: &Echo, mode: &str) -> Gateway {
    let gateway = Gateway::builder()
        .client_cert("accept", client_ca())
        .upstream(echo)
        .allow("anyone")
        .extra_toml(&format!("[resumption]\nmode = '{mode}'\n"))
        .spawn()
        .await;
    let leaf = client_leaf("somebody");
    let folder = gateway.folder();
    write_file(&folder.join("client.pem"), &leaf.chain_pem()).unwrap();
    write_secret(&folder.join("client.key"), leaf.key_pem()).unwrap();
    write_file(&folder.join("roots.pem"), server_ca().root_pem()).unwrap();
    gateway
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

/// How requests to `path` came, by the access log: so many over full handshakes and over resumed ones. All showed the
/// certificate, or none did, in this version.
async fn assert_came(
    gateway: &Gateway,
    (path, version, with): (&str, &str, &str),
    (full, resumed): (usize, usize),
    said: &Said,
) {
    let what = format!("requests to {path}: {said:?}");
    let lines = until(&what, async || {
        let lines = gateway.access_log().into_iter();
        let lines: Vec<Value> = lines.filter(|line| line["url.path"] == path).collect();
        (lines.len() >= full + resumed).then_some(lines)
    })
    .await;
    // Lines of different connections come in any order.
    let came = lines.iter().filter(|line| line["tls.resumed"] == true);
    let came = came.count();
    assert_eq!(
        (lines.len() - came, came),
        (full, resumed),
        "{path}: {said:?}"
    );
    for line in lines {
        assert_eq!(line["tls.protocol.version"], version, "{line}");
        let shown = line["tls.client.subject"].is_string();
        assert_eq!(shown, with == "with", "{line}");
        assert_eq!(line["http.response.status_code"], 200, "{line}");
    }
}

/// The path of a case, for the log.
fn path(name: &str, (version, with): (&str, &str)) -> String {
    format!("/{name}/{version}/{with}")
}

#[tokio::test]
async fn openssl_resumes() {
    let echo = Echo::start().await.unwrap();
    for mode in MODES {
        let gateway = gateway(&echo, mode).await;
        for (version, with) in CASES {
            let path = path("openssl", (version, with));
            let option = format!("-tls{}", version.replace('.', "_"));
            let mut arguments = vec![&*option, "-servername", "localhost", "-ign_eof"];
            let file = |name: &str| gateway.folder().join(name).display().to_string();
            let (cert, key, session) = (file("client.pem"), file("client.key"), file("session"));
            if with == "with" {
                arguments.extend(["-cert", &cert, "-key", &key]);
            }
            let first = [&arguments[..], &["-sess_out", &session]].concat();
            gateway.s_client(&first, &request(&path)).await;
            let second = [&arguments[..], &["-sess_in", &session]].concat();
            let said = gateway.s_client(&second, &request(&path)).await;
            assert!(
                said.stdout.contains("Reused, TLSv"),
                "{mode} {path}: {said:?}"
            );
            assert_came(&gateway, (&path, version, with), (1, 1), &said).await;
        }
    }
}

#[tokio::test]
async fn gnutls_resumes() {
    if !installed("gnutls_resumes", &["gnutls-cli"], "gnutls-bin").await {
        return;
    }
    let echo = Echo::start().await.unwrap();
    for mode in MODES {
        let gateway = gateway(&echo, mode).await;
        let port = gateway.address().port().to_string();
        for (version, with) in CASES {
            let path = path("gnutls", (version, with));
            let priority = format!("NORMAL:-VERS-ALL:+VERS-TLS{version}");
            let mut arguments = vec!["--resume", "--waitresumption", "--x509cafile", "roots.pem"];
            arguments.extend(["--priority", &priority, "--port", &port, "localhost"]);
            if with == "with" {
                arguments.extend([
                    "--x509certfile",
                    "client.pem",
                    "--x509keyfile",
                    "client.key",
                ]);
            }
            let said = program(&gateway, "gnutls-cli", &arguments, &request(&path)).await;
            // It asks over its second connection only.
            assert_came(&gateway, (&path, version, with), (0, 1), &said).await;
        }
    }
}

#[tokio::test]
async fn nss_resumes() {
    let programs = ["tstclnt", "certutil", "pk12util"];
    if !installed("nss_resumes", &programs, "libnss3-tools").await {
        return;
    }
    let echo = Echo::start().await.unwrap();
    for mode in MODES {
        let gateway = gateway(&echo, mode).await;
        pkcs12(&gateway).await;
        // It shows any certificate it has where it is asked for one.
        for with in ["without", "with"] {
            std::fs::create_dir(gateway.folder().join(with)).unwrap();
        }
        for line in [
            "certutil -N -d sql:without --empty-password",
            "certutil -A -n root -t C,, -i roots.pem -d sql:without",
            "certutil -N -d sql:with --empty-password",
            "certutil -A -n root -t C,, -i roots.pem -d sql:with",
            "pk12util -i client.p12 -d sql:with -W secret",
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            let said = program(&gateway, words[0], &words[1..], "").await;
            assert!(said.status.success(), "{line}: {said:?}");
        }
        let port = gateway.address().port().to_string();
        for (version, with) in CASES {
            let path = path("nss", (version, with));
            write_file(&gateway.folder().join("request"), &request(&path)).unwrap();
            let range = format!("tls{version}:tls{version}");
            let store = format!("sql:{with}");
            let mut arguments = vec!["-h", "localhost", "-p", &port, "-d", &store, "-V", &range];
            arguments.extend(["-4", "-u", "-L", "2", "-A", "request"]);
            if with == "with" {
                arguments.extend(["-n", "client"]);
            }
            let said = program(&gateway, "tstclnt", &arguments, "").await;
            assert_came(&gateway, (&path, version, with), (1, 1), &said).await;
        }
    }
}

#[tokio::test]
async fn curl_resumes() {
    let echo = Echo::start().await.unwrap();
    for mode in MODES {
        let gateway = gateway(&echo, mode).await;
        for (version, with) in CASES {
            let path = path("curl", (version, with));
            let url = gateway.url() + &path;
            let option = format!("--tlsv{version}");
            // Two connections of one run: the first is closed when it is asked again.
            let mut arguments = vec![&*option, "--tls-max", version, "-H", "Connection: close"];
            arguments.extend(["--http1.1", "--cacert", "roots.pem", "-sS", &url, &url]);
            if with == "with" {
                arguments.extend(["--cert", "client.pem", "--key", "client.key"]);
            }
            let said = program(&gateway, "curl", &arguments, "").await;
            assert_came(&gateway, (&path, version, with), (1, 1), &said).await;
        }
    }
}

/// A program goes through these cases by itself.
async fn goes_through(gateway: &Gateway, name: &str, cases: &[(&str, &str)], command: &[&str]) {
    let said = program(gateway, command[0], &command[1..], "").await;
    assert!(said.status.success(), "{name}: {said:?}");
    for (version, with) in cases.iter().copied() {
        let path = path(name, (version, with));
        assert_came(gateway, (&path, version, with), (1, 1), &said).await;
    }
}

#[tokio::test]
async fn python_resumes() {
    if !installed("python_resumes", &["python3"], "python3").await {
        return;
    }
    let echo = Echo::start().await.unwrap();
    for mode in MODES {
        let gateway = gateway(&echo, mode).await;
        let port = gateway.address().port().to_string();
        let command = ["python3", "-c", programs::PYTHON, &port];
        goes_through(&gateway, "python", &CASES, &command).await;
    }
}

#[tokio::test]
async fn java_resumes() {
    if !installed("java_resumes", &["java"], "default-jdk-headless").await {
        return;
    }
    let echo = Echo::start().await.unwrap();
    for mode in MODES {
        let gateway = gateway(&echo, mode).await;
        pkcs12(&gateway).await;
        write_file(&gateway.folder().join("Client.java"), programs::JAVA).unwrap();
        let port = gateway.address().port().to_string();
        goes_through(&gateway, "java", &CASES, &["java", "Client.java", &port]).await;
    }
}

#[tokio::test]
async fn go_resumes() {
    if !installed("go_resumes", &["go"], "golang-go").await {
        return;
    }
    let echo = Echo::start().await.unwrap();
    let built = tempfile::tempdir().unwrap();
    write_file(&built.path().join("client.go"), programs::GO).unwrap();
    let mut build = Command::new("go");
    build.args(["build", "-o", "client", "client.go"]);
    build.current_dir(built.path()).env("CGO_ENABLED", "0");
    build
        .env("GOCACHE", built.path().join("cache"))
        .env("GO111MODULE", "off");
    let said = run(build, "").await;
    assert!(said.status.success(), "{said:?}");
    let client = built.path().join("client").display().to_string();
    let mut asked = Command::new("go");
    asked.args(["env", "GOVERSION"]);
    let said = run(asked, "").await; // go1.MINOR...
    let minor = said.stdout.split('.').nth(1);
    let minor: Option<u32> = minor.and_then(|minor| minor.trim().parse().ok());
    let cases = match minor {
        // Before Go 1.21 there is no extended master secret, without which the gateway speaks no TLS 1.2.
        Some(..21) => {
            let reason = "no extended master secret before Go 1.21";
            skip("go_resumes in TLS 1.2", reason, "golang-go");
            &CASES[2..]
        }
        _ => &CASES[..],
    };
    for mode in MODES {
        let gateway = gateway(&echo, mode).await;
        let port = gateway.address().port().to_string();
        let versions = if cases.len() == 4 { "1.2 1.3" } else { "1.3" };
        goes_through(&gateway, "go", cases, &[&client, &port, versions]).await;
    }
}
