//! HAProxy as a neighbour of the gateway, ended when it is dropped.
#![expect(clippy::print_stderr, reason = "says what is skipped")]

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

use super::until;

/// A running HAProxy.
#[derive(Debug)]
pub(crate) struct HaProxy {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl HaProxy {
    /// Whether the package is there; says so when it is not.
    pub(crate) fn is_there(test: &str) -> bool {
        let found = Command::new("haproxy").arg("-v").output().is_ok();
        if !found {
            eprintln!("SKIPPED {test}: no haproxy (apt install haproxy)");
        }
        found
    }

    /// Runs one `listen` section; `{}` in it is its own address.
    pub(crate) async fn start(section: &str) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("haproxy.cfg");
        let section = section.replace("{}", &address.to_string());
        let times = "timeout connect 5s\n timeout client 20s\n timeout server 20s";
        std::fs::write(&file, format!("defaults\n {times}\nlisten l\n {section}")).unwrap();
        let child = Command::new("haproxy")
            .args(["-db", "-f"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("HAProxy listens", async || {
            TcpStream::connect(address).await.ok()
        })
        .await;
        Self {
            child,
            address,
            _folder: folder,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
