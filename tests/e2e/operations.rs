//! What operators do to a running gateway: reload, drain, rotate logs, ask.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::Method;
use portcullis_bench::echo::Echo;
use rustix::process::Signal;

use crate::harness::tools::run;
use crate::harness::{Client, Gateway, until};

#[tokio::test]
async fn a_broken_configuration_is_refused_and_the_old_one_serves_on() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::open_to_all(&echo).await;
    gateway.rewrite_config(|text| text.replace("hosts =", "hots ="));
    let refused = gateway.reload().await.unwrap_err();
    assert!(refused.contains("portcullis.toml:"), "{refused}");
    assert!(refused.contains("did you mean `hosts`"), "{refused}");
    assert_eq!(Client::new().get(&gateway, "/").await.unwrap().status, 200);
    let failed = gateway.metric("portcullis_reloads_failed_total").await;
    assert_eq!(failed, 1.0);
}

#[tokio::test]
async fn a_missing_or_empty_trust_bundle_is_refused_with_its_line() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::open_to_all(&echo).await;
    let demand = "bind = '127.0.0.1:0'\nclient_cert = { mode = 'require', trust = 'gone.pem' }\n";
    gateway.rewrite_config(|text| {
        // The last bind is the listener's; the first is the admin's.
        let at = text.rfind("bind = '127.0.0.1:0'\n").unwrap();
        let end = at + "bind = '127.0.0.1:0'\n".len();
        format!("{}{demand}{}", &text[..at], &text[end..])
    });
    let missing = gateway.reload().await.unwrap_err();
    assert!(
        missing.contains("gone.pem") && missing.contains("portcullis.toml:"),
        "{missing}"
    );
    std::fs::write(gateway.folder().join("gone.pem"), "").unwrap();
    let empty = gateway.reload().await.unwrap_err();
    assert!(empty.contains("gone.pem"), "{empty}");
    assert_eq!(Client::new().get(&gateway, "/").await.unwrap().status, 200);
}

#[tokio::test]
async fn what_only_a_restart_changes_is_refused_with_these_words() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::open_to_all(&echo).await;
    gateway.rewrite_config(|text| text.replace("workers = 2", "workers = 1"));
    let refused = gateway.reload().await.unwrap_err();
    assert!(refused.contains("restart"), "{refused}");
}

#[tokio::test]
async fn a_reload_reaches_standing_connections_at_their_next_request() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::open_to_all(&echo).await;
    let mut http1 = Client::new().connect(gateway.address()).await.unwrap();
    let mut http2 = Client::new().h2().connect(gateway.address()).await.unwrap();
    assert_eq!(http1.get("/secret").await.unwrap().status, 200);
    assert_eq!(http2.get("/secret").await.unwrap().status, 200);
    let deny =
        "[[rule]]\nname = 'closed'\nroles = ['anyone']\npaths = ['/secret']\naction = 'deny'\n";
    gateway.rewrite_config(|text| text + deny);
    gateway.reload().await.unwrap();
    assert_eq!(http1.get("/secret").await.unwrap().status, 403);
    assert_eq!(http2.get("/secret").await.unwrap().status, 403);
    assert_eq!(http1.get("/other").await.unwrap().status, 200);
    let line = gateway
        .wait_for_access(|line| line["http.response.status_code"] == 403)
        .await;
    assert_eq!(line["reason"], "DENIED_BY_RULE");
    assert_eq!(line["rule"], "closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_reloads_under_load_fail_no_request() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::open_to_all(&echo).await;
    let load = Load::start(&gateway);
    for _ in 0..100 {
        gateway.reload().await.unwrap();
    }
    let (answered, failures) = load.stop().await;
    assert!(failures.is_empty(), "{failures:?}");
    assert!(answered > 100, "only {answered} requests");
    assert_eq!(gateway.metric("portcullis_config_generation").await, 101.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_fails_no_request_that_had_begun() {
    let echo = Echo::start().await.unwrap();
    let mut gateway = Gateway::open_to_all(&echo).await;
    let load = Load::start(&gateway);
    let mut slow = Client::new().h2().connect(gateway.address()).await.unwrap();
    let slow = tokio::spawn(async move { slow.get("/slow/700").await.map(|answer| answer.status) });
    until(
        "the slow request is on its way and load flows",
        async || {
            let requests = echo.record().requests();
            let slow = requests
                .iter()
                .any(|request| request.uri.path() == "/slow/700");
            (slow && requests.len() > 50).then_some(())
        },
    )
    .await;
    assert!(gateway.terminate().await.success());
    let (answered, failures) = load.stop().await;
    assert!(failures.is_empty(), "{failures:?}");
    assert!(answered > 20, "only {answered} requests");
    assert_eq!(slow.await.unwrap().unwrap(), 200);
}

#[tokio::test]
async fn draining_is_told_to_probes_and_idle_clients_may_ask_once_more() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::open_to_all(&echo).await;
    let mut client = Client::new().connect(gateway.address()).await.unwrap();
    assert_eq!(client.get("/").await.unwrap().status, 200);
    gateway.signal(Signal::TERM);
    until("not ready", async || {
        (gateway.probe("/readyz").await.0 == 503).then_some(())
    })
    .await;
    let last = client.get("/").await.unwrap();
    assert_eq!(last.status, 200);
    assert_eq!(last.headers["connection"], "close");
}

#[tokio::test]
async fn listeners_come_and_go_with_reloads() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::builder()
        .listener("main", "")
        .listener("redirect", "protocol = 'redirect'\nredirect_port = 8443")
        .upstream(&echo)
        .allow("anyone")
        .spawn()
        .await;
    let plain = gateway.addr("redirect");
    let mut command = tokio::process::Command::new("curl");
    command.args(["-s", "-i", &format!("http://{plain}/a?b")]);
    let said = run(command, "").await.stdout;
    assert!(said.starts_with("HTTP/1.1 308 "), "{said}");
    assert!(
        said.contains("location: https://127.0.0.1:8443/a?b\r\n"),
        "{said}"
    );
    gateway.rewrite_config(|text| {
        let at = text.find("[[listener]]\nname = 'redirect'").unwrap();
        let end = at + text[at..].find("redirect_port = 8443\n").unwrap() + 21;
        format!("{}{}", &text[..at], &text[end..])
    });
    gateway.reload().await.unwrap();
    until("the removed listener is closed", async || {
        tokio::net::TcpStream::connect(plain)
            .await
            .is_err()
            .then_some(())
    })
    .await;
    assert_eq!(Client::new().get(&gateway, "/").await.unwrap().status, 200);
}

#[tokio::test]
async fn the_access_log_is_opened_anew_on_sigusr1() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::open_to_all(&echo).await;
    Client::new().get(&gateway, "/before").await.unwrap();
    gateway
        .wait_for_access(|line| line["url.path"] == "/before")
        .await;
    let (old, new) = (
        gateway.folder().join("access.log"),
        gateway.folder().join("access.log.1"),
    );
    std::fs::rename(&old, &new).unwrap();
    gateway.signal(Signal::USR1);
    until("a new file", async || old.exists().then_some(())).await;
    Client::new()
        .get(&gateway, "/after?secret=1")
        .await
        .unwrap();
    let line = gateway
        .wait_for_access(|line| line["url.path"] == "/after")
        .await;
    assert_eq!(line["tls.resumed"], false);
    assert_eq!(line["tls.protocol.version"], "1.3");
    assert!(
        !line.to_string().contains("secret"),
        "queries stay out of the log"
    );
}

#[tokio::test]
async fn changes_go_through_a_socket_for_the_owner_alone_and_probes_are_read_only() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::open_to_all(&echo).await;
    let socket = std::fs::metadata(gateway.folder().join("admin.sock")).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    let mut command = tokio::process::Command::new("curl");
    let url = format!("http://{}/metrics", gateway.admin());
    command.args([
        "-s",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "-X",
        "POST",
        &url,
    ]);
    assert_eq!(run(command, "").await.stdout, "405");
    assert_eq!(gateway.probe("/livez").await.0, 200);
    assert!(gateway.metric("portcullis_aes_gcm_bytes_per_second").await > 0.0);
}

#[tokio::test]
async fn masked_cpu_features_are_warned_about_at_start() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::builder()
        .env("OPENSSL_ia32cap", "")
        .upstream(&echo)
        .spawn()
        .await;
    let log = gateway.process_log();
    assert!(
        log.contains("WARN") && log.contains("OPENSSL_ia32cap"),
        "{log}"
    );
}

/// Clients that ask without a pause: some keep their connection, some make a new one for each request.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<Option<String>>>,
}

impl Load {
    fn start(gateway: &Gateway) -> Self {
        let (stop, answered) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let address = gateway.address();
        let (end, count) = (Arc::clone(&stop), Arc::clone(&answered));
        let task =
            move |index| tokio::spawn(ask(index, address, Arc::clone(&end), Arc::clone(&count)));
        let tasks = (0..6).map(task).collect();
        Self {
            stop,
            answered,
            tasks,
        }
    }

    async fn stop(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let mut failures = Vec::new();
        for task in self.tasks {
            failures.extend(task.await.unwrap());
        }
        (self.answered.load(Ordering::Relaxed), failures)
    }
}

/// One client; the failure that ended it, if one did.
async fn ask(
    index: usize,
    address: std::net::SocketAddr,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
) -> Option<String> {
    while !stop.load(Ordering::Relaxed) {
        // No connection is no request that had begun.
        let mut connection = Client::new().connect(address).await.ok()?;
        loop {
            let answer = match connection.request(Method::GET, "/load").await {
                Ok(answer) if answer.status == 200 => answer,
                other => return Some(format!("client {index}: {other:?}")),
            };
            answered.fetch_add(1, Ordering::Relaxed);
            let closes = answer
                .headers
                .get("connection")
                .is_some_and(|value| value == "close");
            // The odd ones make a new connection for each request.
            if index % 2 == 1 || closes || stop.load(Ordering::Relaxed) {
                break;
            }
        }
    }
    None
}
