//! What is measured of every peer: the same load, on equal certificates, groups and suites.
//!
//! Only what the client offers chooses; peers are set up alike for all scenarios.

use std::time::Duration;

use anyhow::Context as _;

use crate::load::{
    Group, Identity, Mixed, Mode, Pace, Plan, Protocol, Suite, Target, TlsPlan, Trust, Version,
};

use super::kind::Ability;

/// Connections of a flood.
const FLOOD: usize = 32;

/// At most so many handshakes at a time where they arrive at a fixed rate.
const WAITING: usize = 512;

/// Handshakes a second where not everything is asked of the server.
const PARTIAL: f64 = 2_000.0;

/// The kind of key the server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerKey {
    /// ECDSA on P-256.
    Ecdsa,
    /// RSA with 2,048 bits.
    Rsa,
    /// ECDSA on P-256, in a token behind a delay.
    Token,
}

/// Whether clients must show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clients {
    /// Nobody is asked.
    Anybody,
    /// Everybody must have one.
    Certified,
}

/// How a scenario is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounds {
    /// All peers stay up, and take turns.
    Interleaved,
    /// A new process for each round: memory that was used once is not given back.
    Afresh,
}

/// The load itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    Flood,
    Partial,
    Request,
    Keepalive(Protocol),
    Bulk,
    Mixed,
    Idle,
    Token,
}

/// One scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scenario {
    /// Its name, as on the command line.
    pub name: &'static str,
    /// What it is, for people.
    pub about: &'static str,
    /// What a peer must be able to do.
    pub needs: &'static [Ability],
    /// The server's key.
    pub server: ServerKey,
    /// What is asked of clients.
    pub clients: Clients,
    load: Load,
    version: Version,
    group: Group,
    suite: Suite,
    resumed: Resumed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resumed {
    Nothing,
    Everything,
}

/// Full TLS 1.3 handshakes; the others are told apart from it.
const BASE: Scenario = Scenario {
    name: "hs13_p256",
    about: "full TLS 1.3 handshake, P-256, X25519",
    needs: &[],
    server: ServerKey::Ecdsa,
    clients: Clients::Anybody,
    load: Load::Flood,
    version: Version::Tls13,
    group: Group::X25519,
    suite: Suite::Aes128,
    resumed: Resumed::Nothing,
};

/// Every scenario, in the order in which they are run.
pub const ALL: [Scenario; 20] = [
    BASE,
    Scenario {
        name: "hs13_p256_a256",
        about: "the same with AES-256-GCM",
        suite: Suite::Aes256,
        ..BASE
    },
    Scenario {
        name: "hs13_mlkem",
        about: "the same with X25519MLKEM768",
        needs: &[Ability::Mlkem],
        group: Group::Mlkem,
        ..BASE
    },
    Scenario {
        name: "hs12_p256",
        about: "full TLS 1.2 handshake, P-256, X25519",
        needs: &[Ability::Tls12],
        version: Version::Tls12,
        ..BASE
    },
    Scenario {
        name: "hs13_rsa",
        about: "full TLS 1.3 handshake, RSA-2048, X25519",
        server: ServerKey::Rsa,
        ..BASE
    },
    Scenario {
        name: "hs13_partial",
        about: "full TLS 1.3 handshakes at 2,000 a second, nothing to batch",
        load: Load::Partial,
        ..BASE
    },
    Scenario {
        name: "hs13_resumed",
        about: "resumed TLS 1.3 handshake",
        resumed: Resumed::Everything,
        ..BASE
    },
    Scenario {
        name: "hs12_resumed",
        about: "resumed TLS 1.2 handshake",
        needs: &[Ability::Tls12],
        version: Version::Tls12,
        resumed: Resumed::Everything,
        ..BASE
    },
    Scenario {
        name: "hs13_mtls",
        about: "full TLS 1.3 handshake with a client certificate",
        clients: Clients::Certified,
        ..BASE
    },
    Scenario {
        name: "short_full",
        about: "new connection and one request, full handshake",
        load: Load::Request,
        ..BASE
    },
    Scenario {
        name: "short_resumed",
        about: "new connection and one request, resumed",
        load: Load::Request,
        resumed: Resumed::Everything,
        ..BASE
    },
    Scenario {
        name: "short_mtls_resumed",
        about: "new connection with a client certificate and one request, resumed",
        load: Load::Request,
        clients: Clients::Certified,
        resumed: Resumed::Everything,
        ..BASE
    },
    Scenario {
        name: "h1_keepalive",
        about: "keep-alive HTTP/1.1, 1 KiB, 64 connections",
        load: Load::Keepalive(Protocol::Http1),
        ..BASE
    },
    Scenario {
        name: "h2_64x10",
        about: "HTTP/2, 1 KiB, 64 connections of 10 streams",
        needs: &[Ability::Http2],
        load: Load::Keepalive(Protocol::Http2),
        ..BASE
    },
    Scenario {
        name: "h3_32x8",
        about: "HTTP/3, 1 KiB, 32 connections of 8 streams",
        needs: &[Ability::Http3],
        load: Load::Keepalive(Protocol::Http3),
        ..BASE
    },
    Scenario {
        name: "bulk_aes128",
        about: "answers of 10 MiB, AES-128-GCM, 4 connections",
        load: Load::Bulk,
        ..BASE
    },
    Scenario {
        name: "bulk_aes256",
        about: "answers of 10 MiB, AES-256-GCM, 4 connections",
        load: Load::Bulk,
        suite: Suite::Aes256,
        ..BASE
    },
    Scenario {
        name: "mixed",
        about: "an unrelated connection while 2,000 handshakes a second arrive",
        load: Load::Mixed,
        ..BASE
    },
    Scenario {
        name: "idle_mem",
        about: "memory of an idle keep-alive connection, 5,000 open",
        load: Load::Idle,
        ..BASE
    },
    Scenario {
        name: "hsm",
        about: "key in SoftHSM, 2 ms a signature, 16 engines, 64 clients and an unrelated connection",
        needs: &[Ability::Token],
        server: ServerKey::Token,
        load: Load::Token,
        ..BASE
    },
];

impl Scenario {
    /// The scenario of this name.
    pub fn named(name: &str) -> Option<Self> {
        ALL.into_iter().find(|scenario| scenario.name == name)
    }

    /// How it is repeated.
    pub fn rounds(&self) -> Rounds {
        match self.load {
            Load::Idle => Rounds::Afresh,
            _ => Rounds::Interleaved,
        }
    }

    /// Requests on new connections to a server that is set up for this scenario.
    pub(super) fn first_requests(&self) -> Self {
        Self {
            clients: self.clients,
            load: Load::Request,
            ..BASE
        }
    }

    /// The load on a server at this address.
    pub(super) fn plan(
        &self,
        address: std::net::SocketAddr,
        client: &Identity,
    ) -> anyhow::Result<Plan> {
        let path = match self.load {
            Load::Bulk => "/10m",
            _ => "/1k",
        };
        let url = format!("https://localhost:{}{path}", address.port());
        let target = Target::at(&url, address).context("read the address of the peer")?;
        // What the client saves on the server's certificate it has for more load.
        let mut tls = TlsPlan::new(Trust::Everybody);
        (tls.version, tls.group, tls.suite) = (self.version, self.group, self.suite);
        if self.resumed == Resumed::Everything {
            tls.resume = 1.0;
        }
        if self.clients == Clients::Certified {
            tls.identities = vec![client.clone()];
        }
        let mut plan = Plan::new(self.mode(), target, tls);
        plan.concurrency = FLOOD;
        plan.threads = 1;
        match self.load {
            Load::Partial | Load::Mixed => {
                plan.pace = Pace::Open {
                    per_second: PARTIAL,
                };
                plan.concurrency = WAITING;
            }
            Load::Keepalive(Protocol::Http1) | Load::Token => plan.concurrency = 64,
            Load::Keepalive(Protocol::Http2) => {
                (plan.protocol, plan.concurrency, plan.streams) = (Protocol::Http2, 64, 10);
            }
            Load::Keepalive(Protocol::Http3) => {
                (plan.protocol, plan.concurrency, plan.streams) = (Protocol::Http3, 32, 8);
            }
            Load::Bulk => plan.concurrency = 4,
            Load::Idle => {
                plan.concurrency = 5_000;
                plan.timeout = Duration::from_secs(30);
            }
            Load::Flood | Load::Request => {}
        }
        Ok(plan)
    }

    fn mode(&self) -> Mode {
        match self.load {
            Load::Flood | Load::Partial => Mode::Handshake,
            Load::Request => Mode::Request,
            Load::Keepalive(_) => Mode::Keepalive,
            Load::Bulk => Mode::Bulk,
            Load::Mixed | Load::Token => Mode::Mixed(Mixed::default()),
            Load::Idle => Mode::Idle,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_scenario_is_none_and_every_name_is_its_own() {
        assert_eq!(Scenario::named("hs13"), None);
        for scenario in ALL {
            assert_eq!(Scenario::named(scenario.name), Some(scenario));
        }
    }

    #[test]
    fn every_scenario_can_be_run() {
        let folder = tempfile::tempdir().unwrap();
        let ca = crate::pki::Ca::root("a").unwrap();
        let leaf = crate::pki::Client::new("c").issued_by(&ca).unwrap();
        let files = leaf.write(folder.path(), "c").unwrap();
        let client = Identity::read(&files.chain, &files.key).unwrap();
        for scenario in ALL {
            let plan = scenario
                .plan(([127, 0, 0, 1], 8443).into(), &client)
                .unwrap();
            plan.check().unwrap();
            let shown = plan.tls.identities.len();
            assert_eq!(shown == 1, scenario.clients == Clients::Certified);
        }
    }
}
