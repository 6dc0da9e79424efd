//! nginx, of any version and TLS library.

use super::super::kind::{Ability, Kind, Launch, Stage, Variant, is_root, library_has_mlkem};

pub(super) const KIND: Kind = Kind {
    name: "nginx",
    programs: &["nginx"],
    ask: &["-V"],
    abilities: |told| {
        let mut abilities = vec![Ability::Http2, Ability::Tls12];
        if library_has_mlkem(told) {
            abilities.push(Ability::Mlkem);
        }
        if told.contains("--with-http_v3_module") {
            abilities.push(Ability::Http3);
        }
        // OpenSSL's engines, which its younger relatives do not have.
        if told.contains("OpenSSL") && !told.contains("AWS-LC") && !told.contains("BoringSSL") {
            abilities.push(Ability::Token);
        }
        abilities
    },
    on: "access log off, errors from crit, no authorization; shared session cache; one worker \
         (nginx-16workers: 16)",
    launch,
};

fn launch(stage: &Stage<'_>) -> Launch {
    let workers = match stage.variant {
        Variant::ManyWorkers => 16,
        _ => 1,
    };
    let user = if is_root() { "user root;" } else { "" };
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|name| {
        let folder = stage.own(name);
        format!("{name}_temp_path {folder};")
    });
    let groups = if stage.can(Ability::Mlkem) {
        "X25519MLKEM768:X25519:prime256v1"
    } else {
        "X25519:prime256v1"
    };
    let (engine, environment) = match stage.token {
        Some(token) => (
            "ssl_engine pkcs11; env SOFTHSM2_CONF; env PKCS11_MODULE_PATH; env FAULT_SETTINGS; \
             env FAULT_REAL_MODULE;",
            token.environment(),
        ),
        None => ("", Vec::new()),
    };
    let config = format!(
        r"daemon off; master_process on; worker_processes {workers}; worker_rlimit_nofile 20000;
pid {pid}; error_log {errors} crit; {user} {engine}
events {{ worker_connections 16000; }}
http {{
  access_log off; server_tokens off;
  {temporary}
  keepalive_timeout 600s; keepalive_requests 100000000;
  upstream o {{ server {origin}; keepalive 256; keepalive_requests 100000000; }}
  proxy_http_version 1.1; proxy_set_header Connection ''; proxy_max_temp_file_size 0;
  ssl_protocols TLSv1.2 TLSv1.3; ssl_prefer_server_ciphers off;
  ssl_ecdh_curve {groups};
  ssl_session_cache shared:S:10m; ssl_session_timeout 1h;
  {server}
}}
",
        pid = stage.own("nginx.pid"),
        errors = stage.own("errors"),
        temporary = temporary.join(" "),
        origin = stage.origin,
        server = server(stage),
    );
    Launch {
        files: vec![("nginx.conf", config)],
        arguments: vec!["-c".to_owned(), stage.own("nginx.conf")],
        environment,
    }
}

fn server(stage: &Stage<'_>) -> String {
    let listen = stage.listen;
    // Where HTTP/2 is switched on moved in 1.25.1.
    let (h2_here, h2_there) = if is_older_than_1_25(stage.told) {
        (" http2", "")
    } else {
        ("", "http2 on;")
    };
    let quic = if stage.can(Ability::Http3) {
        format!("listen {listen} quic reuseport; http3 on;")
    } else {
        String::new()
    };
    let key = match stage.token {
        Some(token) => format!("\"engine:pkcs11:{}\"", token.uri_with_pin()),
        None => stage.key(),
    };
    let clients = stage.if_certified(format!(
        "ssl_client_certificate {}; ssl_verify_client on;",
        stage.ca()
    ));
    format!(
        "server {{ listen {listen} ssl{h2_here} backlog=4096; {quic} {h2_there} server_name localhost; \
         ssl_certificate {}; ssl_certificate_key {key}; {clients} \
         location / {{ proxy_pass http://o; }} }}",
        stage.chain()
    )
}

fn is_older_than_1_25(told: &str) -> bool {
    let minor = told.split_once("nginx/1.");
    let minor = minor.and_then(|(_, rest)| rest.split('.').next()?.parse::<u32>().ok());
    minor.is_some_and(|minor| minor < 25)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abilities_follow_what_it_was_built_with() {
        let old = (KIND.abilities)("nginx/1.22.1 running with OpenSSL 3.0.19");
        assert_eq!(old, [Ability::Http2, Ability::Tls12, Ability::Token]);
        let new = (KIND.abilities)("nginx/1.31.4 built with AWS-LC --with-http_v3_module OpenSSL");
        assert!(new.contains(&Ability::Mlkem) && new.contains(&Ability::Http3));
        assert!(!new.contains(&Ability::Token));
    }

    #[test]
    fn the_switch_for_http2_follows_the_version() {
        assert!(is_older_than_1_25("nginx version: nginx/1.22.1"));
        assert!(!is_older_than_1_25("nginx version: nginx/1.25.1"));
        assert!(!is_older_than_1_25("nothing"));
    }
}
