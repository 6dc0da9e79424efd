//! HAProxy, of any version and TLS library.

use super::super::kind::{Ability, Kind, Launch, Stage, library_has_mlkem};

pub(super) const KIND: Kind = Kind {
    name: "haproxy",
    programs: &["haproxy"],
    ask: &["-vv"],
    abilities: |told| {
        let mut abilities = vec![Ability::Http2, Ability::Tls12];
        if library_has_mlkem(told) {
            abilities.push(Ability::Mlkem);
        }
        if told.contains("+QUIC") {
            abilities.push(Ability::Http3);
        }
        abilities
    },
    on: "no log, no authorization; session cache of 20,000; one thread",
    launch,
};

fn launch(stage: &Stage<'_>) -> Launch {
    let groups = if stage.can(Ability::Mlkem) {
        "X25519MLKEM768:X25519:P-256"
    } else {
        "X25519:P-256"
    };
    let (listen, pem) = (stage.listen, stage.both());
    let clients = stage.if_certified(format!("verify required ca-file {}", stage.ca()));
    let quic = if stage.can(Ability::Http3) {
        format!("bind quic4@{listen} ssl crt {pem} alpn h3")
    } else {
        String::new()
    };
    let config = format!(
        "global
  nbthread 1
  maxconn 9000
  ssl-default-bind-options ssl-min-ver TLSv1.2
  ssl-default-bind-curves {groups}
  tune.ssl.cachesize 20000
defaults
  mode http
  timeout client 600s
  timeout server 600s
  timeout connect 5s
  timeout http-keep-alive 600s
  option http-keep-alive
  http-reuse always
frontend f
  bind {listen} ssl crt {pem} alpn h2,http/1.1 {clients}
  {quic}
  default_backend o
backend o
  server o1 {origin} pool-max-conn 256
",
        origin = stage.origin,
    );
    Launch {
        files: vec![("haproxy.cfg", config)],
        arguments: vec!["-db".to_owned(), "-f".to_owned(), stage.own("haproxy.cfg")],
        ..Launch::default()
    }
}
