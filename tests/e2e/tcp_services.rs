//! Real services and their real clients, which show a certificate to the gateway and nothing to the service.
#![expect(clippy::print_stderr, reason = "says what is skipped")]

use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};

use portcullis_bench::pki::write_file;
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::harness::redis::{Redis, is_missing};
use crate::harness::tools::{Said, installed, run};
use crate::harness::{Gateway, Site, client_ca, client_leaf, server_ca, until};

/// A client's files: whom it trusts, its certificate, its key.
struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_file(&folder.path().join("root.pem"), server_ca().root_pem()).unwrap();
        client_leaf("app").write(folder.path(), "app").unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

/// Says so where one of these programs is missing.
async fn all_there(test: &str, programs: &[(&str, &str)]) -> bool {
    for (program, package) in programs {
        if !installed(program).await {
            eprintln!("SKIPPED {test}: no {program} (apt install {package})");
            return false;
        }
    }
    true
}

/// A gateway in front of a service, for clients with a certificate.
async fn in_front_of(port: u16) -> Gateway {
    Gateway::builder()
        .client_cert("require", client_ca())
        .tcp(([127, 0, 0, 1], port).into(), "")
        .role("name = 'apps'\ncommon_name = ['app']")
        .rule("roles = ['apps']\nhosts = ['localhost']")
        .spawn()
        .await
}

/// A process that is ended when this is dropped.
struct Service(Child);

impl Service {
    async fn start(mut command: Process, address: SocketAddr) -> Self {
        let silent = command.stdin(Stdio::null()).stdout(Stdio::null());
        let service = Self(silent.stderr(Stdio::null()).spawn().unwrap());
        until("the service listens", async || {
            TcpStream::connect(address).await.ok()
        })
        .await;
        service
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test]
async fn redis_behind_client_certificates() {
    if is_missing("redis_behind_client_certificates") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let redis = Redis::start(folder.path(), &[]).await;
    let gateway = in_front_of(redis.port).await;
    let files = Files::new();
    let port = gateway.address().port().to_string();
    let ask = async |certificate: &[&str], words: &[&str]| -> Said {
        let mut command = Command::new("redis-cli");
        command.args([
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "--tls",
            "--sni",
            "localhost",
        ]);
        command.args(["--cacert", &files.path("root.pem")]);
        command.args(certificate).args(words);
        run(command, "").await
    };
    let (cert, key) = (files.path("app.pem"), files.path("app.key"));
    let own = ["--cert", &cert, "--key", &key];
    let nobody = ask(&[], &["PING"]).await;
    assert!(!nobody.stdout.contains("PONG"), "{nobody:?}");
    let value = "x".repeat(100_000);
    assert_eq!(ask(&own, &["SET", "a", &value]).await.stdout.trim(), "OK");
    assert_eq!(ask(&own, &["GET", "a"]).await.stdout.trim(), value);
    let line = gateway
        .wait_for_access(|line| line["server.bytes"].as_u64() > Some(100_000))
        .await;
    assert_eq!(line["tls.client.verified"], true);
}

#[tokio::test]
async fn mqtt_by_its_protocol_beside_http() {
    let programs = [
        ("mosquitto", "mosquitto"),
        ("mosquitto_pub", "mosquitto-clients"),
    ];
    if !all_there("mqtt_by_its_protocol_beside_http", &programs).await {
        return;
    }
    let files = Files::new();
    let address = free_address();
    let conf = format!(
        "listener {} 127.0.0.1\nallow_anonymous true\n",
        address.port()
    );
    write_file(&files.folder.path().join("mosquitto.conf"), &conf).unwrap();
    let mut command = Process::new("mosquitto");
    command.args(["-c", &files.path("mosquitto.conf")]);
    let _broker = Service::start(command, address).await;
    let tcp = format!(
        "upstream = 'http://127.0.0.1:9'\ntcp = [{{ alpn = ['mqtt'], upstream = 'tcp://{address}' }}]"
    );
    let gateway = Gateway::builder()
        .client_cert("require", client_ca())
        .site(Site::new("localhost").nowhere().line(&tcp))
        .allow("verified")
        .spawn()
        .await;
    let port = gateway.address().port().to_string();
    let ask = async |program: &str, words: &[&str]| -> Said {
        let mut command = Command::new(program);
        command.args([
            "-h",
            "localhost",
            "-p",
            &port,
            "--tls-alpn",
            "mqtt",
            "-q",
            "1",
        ]);
        command.args(["--cafile", &files.path("root.pem"), "-t", "orders"]);
        command.args([
            "--cert",
            &files.path("app.pem"),
            "--key",
            &files.path("app.key"),
        ]);
        command.args(words);
        run(command, "").await
    };
    let sent = ask("mosquitto_pub", &["-r", "-m", "a message"]).await;
    assert!(sent.status.success(), "{sent:?}");
    let read = ask("mosquitto_sub", &["-C", "1"]).await;
    assert_eq!(read.stdout.trim(), "a message", "{read:?}");
    let line = gateway.wait_for_access(|_| true).await;
    assert_eq!(line["network.protocol.name"], "mqtt");
}

/// A PostgreSQL of its own, which does not run as root.
async fn postgres(folder: &Path) -> (Service, SocketAddr) {
    const NOBODY: u32 = 65_534;
    let root = rustix::process::geteuid().is_root();
    let data = folder.join("data").display().to_string();
    let words = |program: &str| -> Vec<String> {
        let drop = [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
        ];
        let drop = drop.iter().filter(|_| root).map(|word| (*word).to_owned());
        drop.chain([program.to_owned(), "-D".to_owned(), data.clone()])
            .collect()
    };
    if root {
        chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let initdb = words("initdb");
    let mut command = Command::new(&initdb[0]);
    command
        .args(&initdb[1..])
        .args(["-A", "trust", "-U", "postgres", "-N"]);
    let said = run(command, "").await;
    assert!(said.status.success(), "{said:?}");
    let address = free_address();
    let server = words("postgres");
    let mut command = Process::new(&server[0]);
    command
        .args(&server[1..])
        .args(["-h", "127.0.0.1", "-p", &address.port().to_string()]);
    command.args(["-k", &folder.display().to_string()]);
    (Service::start(command, address).await, address)
}

#[tokio::test]
async fn postgresql_over_tls_that_ends_at_the_gateway() {
    let programs = [
        ("initdb", "postgresql"),
        ("postgres", "postgresql"),
        ("psql", "postgresql-client"),
        ("stunnel", "stunnel4"),
    ];
    if !all_there("postgresql_over_tls_that_ends_at_the_gateway", &programs).await {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (_database, address) = postgres(folder.path()).await;
    let gateway = in_front_of(address.port()).await;
    // A client before version 17 asks for TLS in the protocol of the database; stunnel begins with it.
    let files = Files::new();
    let near = free_address();
    let conf = format!(
        "foreground = yes\npid =\n[pg]\nclient = yes\naccept = {near}\nconnect = {}\nsni = localhost\nCAfile = {}\n\
         verifyChain = yes\ncheckHost = localhost\ncert = {}\nkey = {}\n",
        gateway.address(),
        files.path("root.pem"),
        files.path("app.pem"),
        files.path("app.key"),
    );
    let path: PathBuf = files.folder.path().join("stunnel.conf");
    write_file(&path, &conf).unwrap();
    let mut command = Process::new("stunnel");
    command.arg(&path);
    let _stunnel = Service::start(command, near).await;
    let target = format!(
        "host=127.0.0.1 port={} user=postgres sslmode=disable",
        near.port()
    );
    let mut command = Command::new("psql");
    command.args([
        &target,
        "-tAc",
        "select count(*), sum(x) from generate_series(1, 100000) x",
    ]);
    let said = run(command, "").await;
    assert_eq!(said.stdout.trim(), "100000|5000050000", "{said:?}");
    let line = gateway
        .wait_for_access(|line| line["complete"] == true)
        .await;
    assert_eq!(line["tls.client.subject"], "CN=app");
}
