//! Sōzu, with one worker.

use super::super::kind::{Ability, Kind, Launch, Stage};

pub(super) const KIND: Kind = Kind {
    name: "sozu",
    programs: &["sozu"],
    ask: &["--version"],
    abilities: |_| vec![Ability::Http2, Ability::Mlkem, Ability::Tls12],
    on: "errors only, no authorization; one worker",
    launch,
};

fn launch(stage: &Stage<'_>) -> Launch {
    let clients = stage.if_certified(format!(
        "client_auth = \"required\"\nclient_ca_certificates = [{:?}]\n",
        stage.ca()
    ));
    let config = format!(
        r#"command_socket = {socket:?}
saved_state = {state:?}
pid_file_path = {pid:?}
log_level = "error"
log_target = "stdout"
max_connections = 9000
min_buffers = 100
max_buffers = 40000
buffer_size = 32768
worker_count = 1
worker_automatic_restart = false
handle_process_affinity = false
activate_listeners = true
ctl_command_timeout = 1000

[[listeners]]
protocol = "https"
address = "{listen}"
tls_versions = ["TLS_V12", "TLS_V13"]
front_timeout = 3600
back_timeout = 3600
request_timeout = 600
{clients}
[clusters]
[clusters.o]
protocol = "http"
frontends = [{{ address = "{listen}", hostname = "localhost", certificate = {chain:?}, key = {key:?}, certificate_chain = {empty:?} }}]
backends = [{{ address = "{origin}" }}]
"#,
        socket = stage.own("sozu.sock"),
        state = stage.own("state"),
        pid = stage.own("pid"),
        listen = stage.listen,
        chain = stage.chain(),
        key = stage.key(),
        empty = stage.certificates.file("empty", "crt"),
        origin = stage.origin,
    );
    Launch {
        files: vec![("sozu.toml", config)],
        arguments: vec!["start".to_owned(), "-c".to_owned(), stage.own("sozu.toml")],
        ..Launch::default()
    }
}
