//! Caddy, on one thread of Go.

use serde_json::json;

use super::super::kind::{Ability, Kind, Launch, Stage};

pub(super) const KIND: Kind = Kind {
    name: "caddy",
    programs: &["caddy"],
    ask: &["version"],
    abilities: |_| {
        vec![
            Ability::Http2,
            Ability::Http3,
            Ability::Mlkem,
            Ability::Tls12,
        ]
    },
    on: "errors only, no authorization; GOMAXPROCS=1",
    launch,
};

/// Ten minutes, in Go's unit.
const IDLE_NANOSECONDS: u64 = 600_000_000_000;

fn launch(stage: &Stage<'_>) -> Launch {
    let mut policy = json!({"curves": ["x25519mlkem768", "x25519", "secp256r1"]});
    let ca = stage.if_certified(stage.ca());
    let protocols = if ca.is_empty() {
        vec!["h1", "h2", "h3"]
    } else {
        policy["client_authentication"] = json!({
            "mode": "require_and_verify",
            "ca": {"provider": "file", "pem_files": [ca]},
        });
        vec!["h1", "h2"]
    };
    let proxy = json!({
        "handler": "reverse_proxy",
        "upstreams": [{"dial": stage.origin.to_string()}],
        "transport": {"protocol": "http", "keep_alive": {"max_idle_conns_per_host": 256}},
    });
    let server = json!({
        "listen": [stage.listen.to_string()],
        "protocols": protocols,
        "idle_timeout": IDLE_NANOSECONDS,
        "automatic_https": {"disable": true},
        "tls_connection_policies": [policy],
        "routes": [{"handle": [proxy]}],
    });
    let config = json!({
        "admin": {"disabled": true, "config": {"persist": false}},
        "logging": {"logs": {"default": {"level": "ERROR"}}},
        "apps": {
            "http": {"servers": {"bench": server}},
            "tls": {"certificates": {"load_files": [{"certificate": stage.chain(), "key": stage.key()}]}},
        },
    });
    let own = stage.own("");
    Launch {
        files: vec![("caddy.json", config.to_string())],
        arguments: vec![
            "run".to_owned(),
            "--config".to_owned(),
            stage.own("caddy.json"),
        ],
        environment: vec![
            ("GOMAXPROCS", "1".to_owned()),
            ("HOME", own.clone()),
            ("XDG_DATA_HOME", own.clone()),
            ("XDG_CONFIG_HOME", own),
        ],
    }
}
