//! What a gateway keeps to itself, and what is kept from it: the PIN in its signer's memory alone, no memory
//! for others of the same user, no core, no session keys in a file.

mod memory;

use std::fs;
use std::process::{Child, Command, Stdio};

use portcullis_bench::echo::Echo;
use portcullis_bench::pki::write_secret;
use rustix::process::{Signal, geteuid};

use crate::harness::tools::run;
use crate::harness::{Client, Desk, Gateway, GatewayBuilder, Token, Vault, until};
use crate::hsm_recovery::cause::skip;

/// Not by chance anywhere else in a process.
const PIN: &str = "portcullis-e2e-pin-8d1f6a03";

/// A program runs without the rights that only root has; without them root is a user like others.
const LIKE_ANYBODY: [&str; 3] = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];

#[tokio::test]
async fn the_pin_is_in_the_memory_of_the_signer_and_not_of_its_gateway() {
    if !geteuid().is_root() {
        skip("the memory of processes", "only root may read it", "sudo");
        return;
    }
    let echo = Echo::start().await.unwrap();
    let vault = vault().await;
    let gateway = isolated(&vault, "none").upstream(&echo).spawn().await;
    Client::new().connect(gateway.address()).await.unwrap();
    assert!(
        memory::holds(gateway.pid(), PIN).await,
        "a search that finds nothing proves nothing"
    );
    drop(gateway);
    let gateway = isolated(&vault, "process").upstream(&echo).spawn().await;
    Client::new().connect(gateway.address()).await.unwrap();
    let signer = signer_of(&gateway);
    assert!(memory::holds(signer, PIN).await, "the signer logs in");
    assert!(!memory::holds(gateway.pid(), PIN).await);
    for process in [gateway.pid(), signer] {
        for file in ["environ", "cmdline"] {
            let text = fs::read(format!("/proc/{process}/{file}")).unwrap();
            let text = String::from_utf8_lossy(&text);
            assert!(!text.contains(PIN), "{file}: {text}");
        }
    }
}

#[tokio::test]
async fn nobody_of_the_same_user_reads_the_memory_of_gateway_or_signer() {
    let vault = vault().await;
    let echo = Echo::start().await.unwrap();
    let mut gateway = isolated(&vault, "process").upstream(&echo);
    if geteuid().is_root() {
        gateway = gateway.under(&LIKE_ANYBODY);
    }
    let gateway = gateway.spawn().await;
    let sleeper = Sleeper::start();
    // Who could read no process at all would prove nothing. It takes a moment to give its rights up.
    until("a process like any other can be read", async || {
        may_read(sleeper.0.id()).await.then_some(())
    })
    .await;
    for process in [gateway.pid(), signer_of(&gateway)] {
        assert!(!may_read(process).await, "process {process} is dumpable");
        let limits = fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core"));
        let words: Vec<&str> = core.unwrap().split_whitespace().collect();
        assert_eq!(words[4..6], ["0", "0"], "{limits}");
    }
}

#[tokio::test]
async fn a_signer_ends_with_its_gateway_however_that_ends() {
    let vault = vault().await;
    let echo = Echo::start().await.unwrap();
    let gateway = isolated(&vault, "process").upstream(&echo).spawn().await;
    let signer = signer_of(&gateway);
    gateway.signal(Signal::KILL);
    until("the signer ends", async || {
        let stat = fs::read_to_string(format!("/proc/{signer}/stat"));
        // Whoever inherits orphans here may not collect them.
        stat.map_or(true, |stat| stat.contains(") Z "))
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn session_keys_go_to_no_file_whatever_the_environment_says() {
    let echo = Echo::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
    let gateway = Gateway::builder()
        .env("SSLKEYLOGFILE", &ours)
        .upstream(&echo)
        .allow("anyone")
        .spawn()
        .await;
    for client in [Client::new().tls12(), Client::new().tls13()] {
        assert_eq!(client.get(&gateway, "/").await.unwrap().status, 200);
    }
    assert!(!ours.exists());
    // The variable is the one that others heed.
    let mut command = tokio::process::Command::new("curl");
    command.env("SSLKEYLOGFILE", &theirs);
    command.args(["--silent", "--insecure", &gateway.url()]);
    run(command, "").await;
    assert!(theirs.exists(), "curl writes keys down when it is asked to");
    assert!(!ours.exists());
}

async fn vault() -> Vault {
    let desk = Desk::empty();
    write_secret(&desk.path("pin"), &format!("{PIN}\n")).unwrap();
    desk.done("init --label edge --so-pin file:so-pin").await;
    Vault::in_token_of(desk).await
}

fn isolated(vault: &Vault, isolation: &str) -> GatewayBuilder {
    let lines = format!("sessions = 2\nisolation = '{isolation}'");
    vault
        .steer(Gateway::builder())
        .site(vault.site("main"))
        .extra_toml(&vault.hsm("main", Token::shared().module(), &lines))
        .allow("anyone")
}

/// The process that a gateway started.
fn signer_of(gateway: &Gateway) -> u32 {
    let parent = gateway.pid().to_string();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let children: Vec<u32> = processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|process: &u32| {
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            // PID (NAME) STATE PARENT
            let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
            after_name.split(' ').nth(1) == Some(&parent)
        })
        .collect();
    assert_eq!(children.len(), 1, "one signer: {children:?}");
    children[0]
}

/// Whether another process of this user, without special rights, may look into a process.
async fn may_read(process: u32) -> bool {
    let file = format!("/proc/{process}/environ");
    let mut words = vec!["cat", file.as_str()];
    if geteuid().is_root() {
        words.splice(0..0, LIKE_ANYBODY);
    }
    let mut command = tokio::process::Command::new(words[0]);
    command.args(&words[1..]);
    let said = run(command, "").await;
    let refused = said.stderr.contains("Permission denied");
    assert!(said.status.success() != refused, "{said:?}");
    said.status.success()
}

/// A process like any other of this user.
struct Sleeper(Child);

impl Sleeper {
    fn start() -> Self {
        let mut words = vec!["sleep", "60"];
        if geteuid().is_root() {
            words.splice(0..0, LIKE_ANYBODY);
        }
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill(); // It may have ended.
        let _ = self.0.wait();
    }
}
