//! Sites to go to, and clients that offer there what they were given elsewhere.

use std::fs;
use std::net::SocketAddr;

use portcullis_bench::echo::Echo;
use portcullis_bench::pki::{Ca, public_key_of, write_file};
use rustls::HandshakeKind;

use crate::harness::{Client, Gateway, Refused, Response, Site, client_ca, server_ca};

/// The name every certificate here is for, so that a client may go anywhere.
pub(super) const ANY: &str = "any.test";

/// Modes that keep sessions in different places.
pub(super) const MODES: [&str; 2] = ["tickets", "stateful"];

/// Two open sites, and two that demand certificates, of different CAs; two listeners.
pub(super) async fn gateway(echo: &Echo, mode: &str, default_site: &str) -> Gateway {
    let partners = Ca::root("Portcullis test partners").unwrap();
    let listener = format!("default_site = '{default_site}'");
    let gateway = Gateway::builder()
        .listener("main", &listener)
        .listener("other", &listener)
        .site(Site::new("open.test").client_cert("ignore", None))
        .site(Site::new("*.wild.test").client_cert("ignore", None))
        .site(Site::new("mtls.test").client_cert("require", Some(client_ca())))
        .site(Site::new("*.mtls.test").client_cert("require", Some(&partners)))
        .upstream(echo)
        .allow("anyone")
        .extra_toml(&format!("[resumption]\nmode = '{mode}'\ntickets = 8\n"))
        .spawn()
        .await;
    let hosts = [ANY, "open.test", "*.wild.test", "mtls.test", "*.mtls.test"];
    for site in 0..4 {
        let file = gateway.folder().join(format!("site{site}-p256.pem"));
        let public_key = public_key_of(&fs::read_to_string(&file).unwrap()).unwrap();
        let chain = server_ca().server_chain(&hosts, &public_key).unwrap();
        write_file(&file, &chain).unwrap();
    }
    gateway.reload().await.unwrap();
    gateway
}

/// A client over each version and protocol, with names for them.
pub(super) fn ways(describe: impl Fn(Client) -> Client) -> [(&'static str, Client); 4] {
    let client = || describe(Client::new().never_forgets().server_name(None, ANY));
    [
        ("1.2", client().tls12()),
        ("1.3", client().tls13()),
        ("1.2/h2", client().tls12().h2()),
        ("1.3/h2", client().tls13().h2()),
    ]
}

/// Asks `host` under a server name: the handshake as the client sees it, and the answer.
pub(super) async fn ask(
    client: &Client,
    address: SocketAddr,
    (server_name, host): (Option<&str>, &str),
) -> (Option<HandshakeKind>, Result<Response, Refused>) {
    let client = client.elsewhere(server_name, host);
    let mut connection = match client.connect(address).await {
        Ok(connection) => connection,
        Err(refused) => return (None, Err(refused)),
    };
    (Some(connection.tls.kind), connection.get("/asked").await)
}

/// It is served there, after this kind of handshake.
pub(super) async fn assert_served(
    client: &Client,
    address: SocketAddr,
    (server_name, host): (Option<&str>, &str),
    wanted: HandshakeKind,
) -> Response {
    let (kind, answer) = ask(client, address, (server_name, host)).await;
    let answer = answer.unwrap_or_else(|refused| panic!("{server_name:?}: {refused:?}"));
    assert_eq!(answer.status, 200, "{server_name:?}");
    assert_eq!(kind, Some(wanted), "{server_name:?}");
    answer
}

/// It offers a session there, and is refused for this reason all the same.
pub(super) async fn assert_kept_out(
    gateway: &Gateway,
    client: &Client,
    (listener, server_name, host): (&str, Option<&str>, &str),
    reason: &str,
) {
    let before = client.sessions().offered();
    let (kind, answer) = ask(client, gateway.addr(listener), (server_name, host)).await;
    assert_eq!(client.sessions().offered(), before + 1, "{server_name:?}");
    assert_ne!(kind, Some(HandshakeKind::Resumed), "{server_name:?}");
    let refused = answer.expect_err(host);
    let line = gateway.refusal_of(refused.port).await;
    assert_eq!(line["reason"], reason, "{server_name:?}: {line}");
    // Not broken off: told by its alert.
    assert!(refused.alert.is_some(), "{server_name:?}: {refused:?}");
}

pub(super) const OPEN: (Option<&str>, &str) = (Some("open.test"), "open.test");
pub(super) const MTLS: (Option<&str>, &str) = (Some("mtls.test"), "mtls.test");
