//! The gateway from outside: a real process, real sockets, real keys, real clients.
//!
//! One file per capability. Each test starts what it needs with the builders of `harness`, on ports of its
//! own, so all of them run side by side.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where what it relies on does not hold"
)]

mod harness;

mod admission;
mod authorization;
mod certificate_matrix;
mod client_cert;
mod client_cert_modes;
mod crl;
mod crl_sources;
mod deny_list;
mod early_data;
mod explain;
mod explain_tcp;
mod fleet_changes;
mod fleet_early_data;
mod fleet_redis;
mod forwarded_headers;
mod full_handshakes;
mod identity_headers;
mod identity_spoofing;
mod identity_tokens;
mod istio_import;
mod known_intermediates;
mod load_tool;
mod ocsp;
mod ocsp_patience;
mod passthrough;
mod path_confusion;
mod policy_test;
mod rate_limits;
mod refusals_client_cert;
mod refusals_handshake;
mod refusals_request;
mod resumption;
mod resumption_clients;
mod resumption_crossing;
mod resumption_outage;
mod resumption_rechecks;
mod resumption_survives;
mod revocation_reaches;
mod roles_of_subjects;
mod rollout;
mod server_names;
mod sidecar;
mod standing_requests;
mod ticket_keys;
mod ticket_keys_hsm;
mod tls_policy;
mod trust_bundles;

mod clients;
#[cfg(feature = "exams")]
mod exams;
mod framing;
mod grpc;
mod h2_floods;
mod h2_spec;
mod hsm_cli;
mod hsm_faults;
mod hsm_groups;
mod hsm_isolation;
mod hsm_keys;
mod hsm_pins;
mod hsm_recovery;
mod http1;
mod http2;
mod http3;
mod http3_paths;
mod http3_refusals;
mod http3_streams;
mod lasting_connections;
mod operations;
mod proxy_protocol;
mod proxy_protocol_out;
mod streaming;
mod tcp;
mod tcp_ends;
mod tcp_services;
mod upstream_balance;
mod upstream_dns;
mod upstream_health;
mod upstream_retries;
mod upstream_tls;
mod upstreams;
mod websocket;
