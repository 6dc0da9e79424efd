//! Hitch: TLS in front of plain TCP, without HTTP.

use super::super::kind::{Ability, Kind, Launch, Stage, is_root};

pub(super) const KIND: Kind = Kind {
    name: "hitch",
    programs: &["hitch"],
    ask: &["--version"],
    abilities: |_| vec![Ability::Tls12],
    on: "no log, no HTTP: TLS to TCP, a connection to the origin for each of a client; one worker",
    launch,
};

fn launch(stage: &Stage<'_>) -> Launch {
    let clients = stage.if_certified(format!(
        "client-verify = required\n  client-verify-ca = {:?}\n",
        stage.ca()
    ));
    let user = if is_root() {
        "user = \"nobody\"\ngroup = \"nogroup\"\n"
    } else {
        ""
    };
    let (host, port) = (stage.listen.ip(), stage.listen.port());
    let config = format!(
        "frontend = {{
  host = \"{host}\"
  port = \"{port}\"
  pem-file = {pem:?}
  {clients}
}}
backend = \"[{origin_host}]:{origin_port}\"
workers = 1
backlog = 4096
{user}alpn-protos = \"http/1.1\"
tls-protos = TLSv1.2 TLSv1.3
ciphers = \"ECDHE+AESGCM\"
ecdh-curve = \"X25519:prime256v1\"
ocsp-dir = \"\"
",
        pem = stage.both(),
        origin_host = stage.origin.ip(),
        origin_port = stage.origin.port(),
    );
    Launch {
        files: vec![("hitch.conf", config)],
        arguments: vec![format!("--config={}", stage.own("hitch.conf"))],
        ..Launch::default()
    }
}
