//! stunnel: TLS in front of plain TCP, a thread for each connection.

use super::super::kind::{Ability, Kind, Launch, Stage};

pub(super) const KIND: Kind = Kind {
    name: "stunnel",
    programs: &["stunnel4", "stunnel"],
    ask: &["-version"],
    abilities: |_| vec![Ability::Tls12, Ability::Token],
    on: "errors only, no HTTP: TLS to TCP, a thread and a connection to the origin for each of a \
         client",
    launch,
};

fn launch(stage: &Stage<'_>) -> Launch {
    let clients = stage.if_certified(format!(
        "CAfile = {}\nverifyChain = yes\nrequireCert = yes\n",
        stage.ca()
    ));
    let (engine, key, environment) = match stage.token {
        Some(token) => (
            "engine = pkcs11\n",
            format!("engineId = pkcs11\nkey = {}\n", token.uri_with_pin()),
            token.environment(),
        ),
        None => ("", format!("key = {}\n", stage.key()), Vec::new()),
    };
    let config = format!(
        "{engine}foreground = yes
debug = 3
pid =
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
sslVersionMin = TLSv1.2
ciphers = ECDHE+AESGCM
curves = X25519:P-256
[bench]
accept = {listen}
connect = {origin}
cert = {chain}
{key}TIMEOUTidle = 3600
{clients}",
        listen = stage.listen,
        origin = stage.origin,
        chain = stage.chain(),
    );
    Launch {
        files: vec![("stunnel.conf", config)],
        arguments: vec![stage.own("stunnel.conf")],
        environment,
    }
}
