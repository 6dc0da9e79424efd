//! Portcullis with everything on that it promises.

use std::fmt::Write as _;

use super::super::kind::{Ability, Kind, Launch, Stage, Variant};

pub(super) const KIND: Kind = Kind {
    name: "portcullis",
    programs: &["portcullis"],
    ask: &["--version"],
    abilities: |_| {
        vec![
            Ability::Http2,
            Ability::Http3,
            Ability::Mlkem,
            Ability::Tls12,
            Ability::Token,
        ]
    },
    on: "access log and refusal log to files, metrics, default deny with one rule, strict framing, \
         forwarding headers, request ids, resumption that asks everything again; one worker",
    launch,
};

fn launch(stage: &Stage<'_>) -> Launch {
    let key = match stage.token {
        Some(token) => token.uri(),
        None => format!("file:{}", stage.key()),
    };
    let keys = keys(stage);
    let trust = format!("[trust.bench]\nanchors = [{:?}]\n", stage.ca());
    let trust = stage.if_certified(trust);
    let clients =
        stage.if_certified("client_cert = { mode = \"require\", trust = \"bench\" }\n".to_owned());
    let quic = match stage.can(Ability::Http3) {
        true => "http3 = true\nalt_svc = false\n",
        false => "",
    };
    let config = format!(
        r#"workers = 1
state_dir = {state:?}

{keys}
{trust}
[[listener]]
name = "https"
bind = "{listen}"
default_site = "bench"
{quic}{clients}
[[site]]
name = "bench"
hosts = ["localhost", "127.0.0.1"]
certificate = {{ chain = {chain:?}, key = {key:?} }}

[[site.route]]
path = "/"
upstream = "origin"

[[rule]]
name = "what the origin has"
roles = ["anyone"]
paths = ["/1k", "/10m"]

[upstream.origin]
endpoints = ["http://{origin}"]

[timeouts]
idle = "10m"

[admin]
bind = "{admin}"

[log]
access = {access:?}
refusals = {refusals:?}
"#,
        state = stage.own("state"),
        listen = stage.listen,
        chain = stage.chain(),
        origin = stage.origin,
        admin = stage.admin,
        access = stage.own("access.log"),
        refusals = stage.own("refusals.log"),
    );
    Launch {
        files: vec![("portcullis.toml", config)],
        arguments: vec![
            "run".to_owned(),
            "--config".to_owned(),
            stage.own("portcullis.toml"),
        ],
        environment: stage
            .token
            .map(|token| token.environment())
            .unwrap_or_default(),
    }
}

fn keys(stage: &Stage<'_>) -> String {
    let Some(token) = stage.token else {
        return format!(
            "[keys]\nsoftware = [{:?}]\n",
            format!("file:{}", stage.key())
        );
    };
    let mut table = format!(
        "[hsm.bench]\nmodule = {:?}\ntoken = \"{}\"\npin = {:?}\nsessions = {}\n",
        token.module(),
        token.label(),
        format!("file:{}", token.pin_file()),
        token.engines()
    );
    if stage.variant == Variant::InProcess {
        // Writing into a String cannot fail.
        let _ = writeln!(table, "isolation = \"none\"");
    }
    table
}
