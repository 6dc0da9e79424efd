//! Names that have other addresses in time, as a hosts file of the gateway's own tells them.

use std::fs;
use std::path::Path;
use std::process::Command;

use tokio::net::TcpListener;

use crate::harness::{Client, Gateway, GatewayBuilder, until};

/// Runs the gateway with this file as /etc/hosts, in a mount namespace of its own.
fn with_hosts(gateway: GatewayBuilder, hosts: &Path) -> GatewayBuilder {
    let script = format!("mount --bind {} /etc/hosts && exec \"$@\"", hosts.display());
    gateway.under(&["unshare", "-rm", "sh", "-c", &script, "sh"])
}

/// Whether this machine lets us.
fn may_mount(hosts: &Path) -> bool {
    let script = format!("mount --bind {} /etc/hosts", hosts.display());
    let done = Command::new("unshare")
        .args(["-rm", "sh", "-c", &script])
        .output();
    done.is_ok_and(|done| done.status.success())
}

/// Writes into the file that is mounted: another file in its place would not be seen.
fn write(hosts: &Path, addresses: &[&str]) {
    let lines: String = addresses
        .iter()
        .map(|it| format!("{it} service.test\n"))
        .collect();
    fs::write(hosts, lines).unwrap();
}

/// Answers every connection with its own address.
async fn serve(listener: TcpListener) {
    let name: &'static str = listener.local_addr().unwrap().ip().to_string().leak();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(answer(stream, name));
    }
}

async fn answer(mut stream: tokio::net::TcpStream, name: &str) -> std::io::Result<()> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (mut head, length) = (Vec::new(), name.len());
    loop {
        head.push(stream.read_u8().await?);
        if head.ends_with(b"\r\n\r\n") {
            head.clear();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{name}");
            stream.write_all(answer.as_bytes()).await?;
        }
    }
}

#[tokio::test]
async fn a_name_that_gets_other_addresses_leads_to_them_and_one_that_is_lost_stays() {
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts");
    write(&hosts, &["127.0.0.1"]);
    if !may_mount(&hosts) {
        eprintln!(
            "SKIPPED upstream_dns: no mount namespace (apt install util-linux; as root, or with user namespaces)"
        );
        return;
    }
    let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = first.local_addr().unwrap().port();
    tokio::spawn(serve(first));
    for host in ["127.0.0.2", "127.0.0.3", "::1"] {
        tokio::spawn(serve(TcpListener::bind((host, port)).await.unwrap()));
    }
    let gateway = Gateway::builder().extra_toml(&format!(
        "[upstream.echo]\nendpoint = 'http://service.test:{port}'\ndns = {{ every = '100ms' }}\n"
    ));
    let gateway = with_hosts(gateway, &hosts).allow("anyone").spawn().await;
    let mut client = Client::new().connect(gateway.address()).await.unwrap();
    for addresses in [
        vec!["127.0.0.1"],
        vec!["127.0.0.2", "127.0.0.3"],
        vec!["127.0.0.3", "::1"],
        vec!["127.0.0.1"],
    ] {
        write(&hosts, &addresses);
        until("everybody answers, and nobody else", async || {
            let mut seen = Vec::new();
            for _ in 0..addresses.len() {
                let answer = client.get("/").await.unwrap();
                assert_eq!(answer.status, 200, "{addresses:?}");
                seen.push(String::from_utf8_lossy(&answer.body).into_owned());
            }
            seen.sort_unstable();
            (seen == addresses).then_some(())
        })
        .await;
    }
    write(&hosts, &[]);
    until("it is not found", async || {
        gateway
            .process_log()
            .contains("cannot be looked up")
            .then_some(())
    })
    .await;
    assert_eq!(client.get("/").await.unwrap().body, "127.0.0.1");
    let up = format!(
        "portcullis_upstream_endpoint_up{{upstream=\"echo\",endpoint=\"127.0.0.1:{port}\"}}"
    );
    assert_eq!(gateway.metric(&up).await, 1.0);
}
