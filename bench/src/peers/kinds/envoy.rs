//! Envoy, with one worker.

use serde_json::{Value, json};

use super::super::kind::{Ability, Kind, Launch, Stage};

pub(super) const KIND: Kind = Kind {
    name: "envoy",
    programs: &["envoy"],
    ask: &["--version"],
    abilities: |_| {
        vec![
            Ability::Http2,
            Ability::Http3,
            Ability::Mlkem,
            Ability::Tls12,
        ]
    },
    on: "log off, no request ids, no authorization, statistics as ever but for the router's; one \
         worker",
    launch,
};

/// What all its types are called.
const TYPES: &str = "type.googleapis.com/envoy.extensions";

/// Which of the two listeners.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    Tcp,
    Quic,
}

fn launch(stage: &Stage<'_>) -> Launch {
    let config = json!({"static_resources": {
        "listeners": [tcp(stage), quic(stage)],
        "clusters": [cluster(stage)],
    }});
    // Two of them on one machine share memory by this number.
    let base = stage.listen.port().to_string();
    let config_file = stage.own("envoy.json");
    let arguments = [
        "-c",
        &config_file,
        "--concurrency",
        "1",
        "--base-id",
        &base,
        "--disable-hot-restart",
        "--log-level",
        "off",
    ];
    Launch {
        files: vec![("envoy.json", config.to_string())],
        arguments: arguments.map(str::to_owned).to_vec(),
        ..Launch::default()
    }
}

fn tcp(stage: &Stage<'_>) -> Value {
    json!({
        "name": "tcp",
        "address": {"socket_address": {"address": stage.listen.ip(), "port_value": stage.listen.port()}},
        "tcp_backlog_size": 4096,
        "filter_chains": [{
            "filters": [http(Over::Tcp)],
            "transport_socket": {"name": "tls", "typed_config": tls(stage, Over::Tcp)},
        }],
    })
}

fn quic(stage: &Stage<'_>) -> Value {
    json!({
        "name": "quic",
        "address": {"socket_address": {"protocol": "UDP", "address": stage.listen.ip(), "port_value": stage.listen.port()}},
        "udp_listener_config": {"quic_options": {}, "downstream_socket_config": {"prefer_gro": true}},
        "filter_chains": [{
            "filters": [http(Over::Quic)],
            "transport_socket": {"name": "envoy.transport_sockets.quic", "typed_config": {
                "@type": format!("{TYPES}.transport_sockets.quic.v3.QuicDownstreamTransport"),
                "downstream_tls_context": tls(stage, Over::Quic),
            }},
        }],
    })
}

fn tls(stage: &Stage<'_>, over: Over) -> Value {
    let (least, protocols) = match over {
        Over::Tcp => ("TLSv1_2", vec!["h2", "http/1.1"]),
        Over::Quic => ("TLSv1_3", vec!["h3"]),
    };
    let mut tls = json!({"common_tls_context": {
        "tls_params": {
            "tls_minimum_protocol_version": least,
            "tls_maximum_protocol_version": "TLSv1_3",
            "ecdh_curves": ["X25519MLKEM768", "X25519", "P-256"],
        },
        "alpn_protocols": protocols,
        "tls_certificates": [{
            "certificate_chain": {"filename": stage.chain()},
            "private_key": {"filename": stage.key()},
        }],
    }});
    if over == Over::Tcp {
        tls["@type"] = json!(format!(
            "{TYPES}.transport_sockets.tls.v3.DownstreamTlsContext"
        ));
        let ca = stage.if_certified(stage.ca());
        if !ca.is_empty() {
            tls["common_tls_context"]["validation_context"] =
                json!({"trusted_ca": {"filename": ca}});
            tls["require_client_certificate"] = json!(true);
        }
    }
    tls
}

fn http(over: Over) -> Value {
    let mut manager = json!({
        "@type": format!("{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "h",
        "codec_type": "AUTO",
        "generate_request_id": false,
        "route_config": {"virtual_hosts": [{
            "name": "v",
            "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "o"}}],
        }]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
            "@type": format!("{TYPES}.filters.http.router.v3.Router"),
            "dynamic_stats": false,
        }}],
    });
    if over == Over::Quic {
        manager["codec_type"] = json!("HTTP3");
        manager["http3_protocol_options"] = json!({});
    }
    json!({"name": "hcm", "typed_config": manager})
}

fn cluster(stage: &Stage<'_>) -> Value {
    let address = json!({"socket_address": {"address": stage.origin.ip(), "port_value": stage.origin.port()}});
    let bounds = json!({"max_connections": 100_000, "max_pending_requests": 100_000, "max_requests": 100_000});
    json!({
        "name": "o",
        "type": "STATIC",
        "circuit_breakers": {"thresholds": [bounds]},
        "load_assignment": {"cluster_name": "o", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]},
    })
}
