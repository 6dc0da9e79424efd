//! Redis as an operator may run it: one server, with TLS, a Cluster, Sentinels. On 127.0.0.1, gone with the test.
//!
//! The gateway's own tests take this file in as well, so it names nothing of its neighbours. Ports are taken
//! free ones; a server that is started again keeps its own.
#![allow(
    dead_code,
    clippy::allow_attributes,
    clippy::print_stderr,
    reason = "says what is skipped; each of the crates that take this file in uses another part of it"
)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

const SERVER: &str = "redis-server";
const DEADLINE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(5);

/// Whether the package is there; says so when it is not.
pub(crate) fn is_missing(test: &str) -> bool {
    let found = Command::new(SERVER).arg("--version").output().is_ok();
    if !found {
        eprintln!("SKIPPED {test}: no {SERVER} (apt install redis-server)");
    }
    !found
}

/// One process: a server or a Sentinel.
pub(crate) struct Redis {
    folder: PathBuf,
    arguments: Vec<String>,
    pub(crate) port: u16,
    tls: bool,
    password: Option<String>,
    child: Child,
}

impl Redis {
    /// A plain server that keeps nothing on disk; `extra` are lines of its configuration.
    pub(crate) async fn start(folder: &Path, extra: &[&str]) -> Self {
        let port = free_port();
        let port_line = format!("port {port}");
        let lines = [&[port_line.as_str()], extra].concat();
        Self::start_with(folder, port, &lines).await
    }

    /// A server that speaks TLS only, and wants a certificate of `ca.pem`; the folder has `server.pem` and
    /// `server.key` as well.
    pub(crate) async fn start_tls(folder: &Path, pems: &Path) -> Self {
        let port = free_port();
        let file = |name: &str| pems.join(name).display().to_string();
        let lines = [
            "port 0".to_owned(),
            format!("tls-port {port}"),
            format!("tls-ca-cert-file {}", file("ca.pem")),
            format!("tls-cert-file {}", file("server.pem")),
            format!("tls-key-file {}", file("server.key")),
        ];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        Self::start_with(folder, port, &lines).await
    }

    async fn start_with(folder: &Path, port: u16, lines: &[&str]) -> Self {
        let folder = folder.join(port.to_string());
        std::fs::create_dir_all(&folder).unwrap();
        let conf = folder.join("redis.conf");
        let common = format!(
            "bind 127.0.0.1\nsave \"\"\nappendonly no\ndir {}\n{}\n",
            folder.display(),
            lines.join("\n")
        );
        std::fs::write(&conf, common).unwrap();
        let mut arguments = vec![conf.display().to_string()];
        if lines.iter().any(|line| line.starts_with("sentinel ")) {
            arguments.push("--sentinel".to_owned());
        }
        let mut started = Self {
            child: spawn(&arguments),
            tls: lines.iter().any(|line| line.starts_with("tls-port")),
            password: lines
                .iter()
                .find_map(|line| line.strip_prefix("requirepass ").map(str::to_owned)),
            folder,
            arguments,
            port,
        };
        started.listens().await;
        started
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls { "rediss" } else { "redis" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again at the same port, empty.
    pub(crate) async fn start_again(&mut self) {
        self.kill();
        self.child = spawn(&self.arguments);
        self.listens().await;
    }

    /// Takes connections and does not answer, or goes on.
    pub(crate) fn freeze(&self, frozen: Frozen) {
        let signal = match frozen {
            Frozen::Yes => "-STOP",
            Frozen::No => "-CONT",
        };
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status();
        assert!(sent.unwrap().success());
    }

    /// What `redis-cli` says.
    pub(crate) fn cli(&self, words: &[&str]) -> String {
        let port = self.port.to_string();
        let login = self.password.as_deref();
        let login = login.map_or(Vec::new(), |word| vec!["--no-auth-warning", "-a", word]);
        cli(&[&["-p", &port], login.as_slice(), words].concat())
    }

    async fn listens(&mut self) {
        let end = Instant::now() + DEADLINE;
        loop {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "{}: {}", self.port, self.log());
            if self.answers().await {
                return;
            }
            assert!(Instant::now() < end, "{}: {}", self.port, self.log());
            sleep(LOOK).await;
        }
    }

    async fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)).await else {
            return false;
        };
        if self.tls {
            return true;
        }
        let mut answer = [0; 5];
        let asked = async {
            stream.write_all(b"PING\r\n").await?;
            stream.read_exact(&mut answer).await
        };
        // A server that wants a password is there too.
        let asked = timeout(Duration::from_secs(1), asked).await;
        matches!(asked, Ok(Ok(_))) && matches!(&answer, b"+PONG" | b"-NOAU")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether a process stands still.
#[derive(Clone, Copy)]
pub(crate) enum Frozen {
    /// It was sent SIGSTOP.
    Yes,
    /// It goes on.
    No,
}

/// Three masters of a Cluster.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Redis>,
}

impl Cluster {
    /// Starts the nodes, and waits until each says that all slots are served.
    pub(crate) async fn start(folder: &Path) -> Self {
        let mut nodes = Vec::new();
        for _ in 0..3 {
            let bus = format!("cluster-port {}", free_port());
            let lines = [
                "cluster-enabled yes",
                "cluster-node-timeout 1000",
                "cluster-require-full-coverage no",
                &bus,
            ];
            nodes.push(Redis::start(folder, &lines).await);
        }
        let hosts: Vec<String> = nodes
            .iter()
            .map(|node| format!("127.0.0.1:{}", node.port))
            .collect();
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let made = [
            &["--cluster", "create"],
            hosts.as_slice(),
            &["--cluster-yes"],
        ]
        .concat();
        let made = tokio::task::spawn_blocking({
            let words: Vec<String> = made.iter().map(|word| (*word).to_owned()).collect();
            move || cli(&words.iter().map(String::as_str).collect::<Vec<_>>())
        });
        let said = made.await.unwrap();
        let cluster = Self { nodes };
        until(&format!("a working cluster: {said}"), async || {
            let ok = |node: &Redis| node.cli(&["cluster", "info"]).contains("cluster_state:ok");
            cluster.nodes.iter().all(ok).then_some(())
        })
        .await;
        cluster
    }

    /// The addresses of its nodes.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Redis::url).collect()
    }
}

/// A master, a replica, and a Sentinel that decides alone.
pub(crate) struct Watched {
    pub(crate) master: Redis,
    pub(crate) replica: Redis,
    pub(crate) sentinel: Redis,
}

impl Watched {
    /// The name of the master.
    pub(crate) const NAME: &str = "tickets";

    /// Starts them, and waits until the Sentinel knows the replica. A password is one for all of them.
    pub(crate) async fn start(folder: &Path, password: Option<&str>) -> Self {
        let name = Self::NAME;
        let login = |keys: [&str; 2]| -> Vec<String> {
            let lines = keys
                .iter()
                .map(|key| password.map(|word| format!("{key} {word}")));
            lines.flatten().collect()
        };
        let logins = login(["requirepass", "masterauth"]);
        let mut lines: Vec<&str> = logins.iter().map(String::as_str).collect();
        let master = Redis::start(folder, &lines).await;
        let of = format!("replicaof 127.0.0.1 {}", master.port);
        lines.extend([of.as_str(), "repl-diskless-sync-delay 0"]);
        let replica = Redis::start(folder, &lines).await;
        until("a replica in sync", async || {
            let synced = replica.cli(&["info", "replication"]);
            synced.contains("master_link_status:up").then_some(())
        })
        .await;
        let mut lines = vec![
            format!("sentinel monitor {name} 127.0.0.1 {} 1", master.port),
            format!("sentinel down-after-milliseconds {name} 300"),
            format!("sentinel failover-timeout {name} 2000"),
        ];
        lines.extend(login([
            "requirepass",
            &format!("sentinel auth-pass {name}"),
        ]));
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let sentinel = Redis::start(folder, &lines).await;
        // What it knows of a replica it looks at every ten seconds, so it is asked only whether it knows one.
        until("a Sentinel that knows the replica", async || {
            let known = sentinel.cli(&["sentinel", "replicas", name]);
            known.contains(&replica.port.to_string()).then_some(())
        })
        .await;
        Self {
            master,
            replica,
            sentinel,
        }
    }
}

/// Asks until there is an answer, or the end of the test.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < end, "not within {DEADLINE:?}: {what}");
        sleep(LOOK).await;
    }
}

fn spawn(arguments: &[String]) -> Child {
    let log = Path::new(&arguments[0]).with_file_name("log");
    let log = std::fs::File::create(log).unwrap();
    Command::new(SERVER)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn cli(words: &[&str]) -> String {
    let ran = Command::new("redis-cli").args(words).output().unwrap();
    let out = String::from_utf8_lossy(&ran.stdout).replace('\r', "");
    format!("{out}{}", String::from_utf8_lossy(&ran.stderr))
}

/// A port that nobody listens at now.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}
