//! rpxy.

use super::super::kind::{Ability, Kind, Launch, Stage};

pub(super) const KIND: Kind = Kind {
    name: "rpxy",
    programs: &["rpxy"],
    ask: &["--version"],
    abilities: |_| {
        vec![
            Ability::Http2,
            Ability::Http3,
            Ability::Mlkem,
            Ability::Tls12,
        ]
    },
    on: "errors only, no authorization; SNI and Host are not compared",
    launch,
};

fn launch(stage: &Stage<'_>) -> Launch {
    let clients = stage.if_certified(format!(", client_ca_cert_path = {:?}", stage.ca()));
    let config = format!(
        r#"listen_port_tls = {port}
listen_address_v4 = '{host}'
tcp_listen_backlog = 4096
max_concurrent_streams = 256
max_clients = 20000
[apps.a]
server_name = 'localhost'
reverse_proxy = [{{ upstream = [{{ location = '{origin}', tls = false }}] }}]
tls = {{ tls_cert_path = {chain:?}, tls_cert_key_path = {key:?}{clients} }}
[experimental]
ignore_sni_consistency = true
[experimental.h3]
alt_svc_max_age = 3600
request_max_body_size = 65536
max_concurrent_connections = 10000
max_concurrent_bidistream = 256
max_concurrent_unistream = 256
max_idle_timeout = 60
"#,
        port = stage.listen.port(),
        host = stage.listen.ip(),
        origin = stage.origin,
        chain = stage.chain(),
        key = stage.key(),
    );
    Launch {
        files: vec![("rpxy.toml", config)],
        arguments: vec!["--config".to_owned(), stage.own("rpxy.toml")],
        environment: vec![("RUST_LOG", "error".to_owned())],
    }
}
