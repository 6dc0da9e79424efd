//! A minimal proxy on Pingora, which is a library: a program of one's own, named by `--peer-binary pingora=PATH`.
//!
//! It is told by its environment: `CERTS` is a folder with `ecdsa.crt` and the like, `ORIGIN` an address, and it
//! listens on `BASE` + 1 (ECDSA), + 2 (RSA) and + 3 (ECDSA, client certificate required).

use super::super::kind::{Ability, Kind, Launch, Stage, path_text};
use super::super::scenario::{Clients, ServerKey};

pub(super) const KIND: Kind = Kind {
    name: "pingora",
    programs: &[],
    ask: &[],
    abilities: |_| vec![Ability::Http2, Ability::Mlkem, Ability::Tls12],
    on: "a minimal proxy on the library: no log, no authorization",
    launch,
};

fn launch(stage: &Stage<'_>) -> Launch {
    let above = match (stage.clients, stage.server) {
        (Clients::Certified, _) => 3,
        (Clients::Anybody, ServerKey::Rsa) => 2,
        (Clients::Anybody, _) => 1,
    };
    let base = stage.listen.port().saturating_sub(above);
    Launch {
        environment: vec![
            ("BASE", base.to_string()),
            ("CERTS", path_text(stage.certificates.folder())),
            ("ORIGIN", stage.origin.to_string()),
        ],
        ..Launch::default()
    }
}
