//! What leaves this gateway.

use std::path::PathBuf;

use portcullis_config::{ClientCertMode, Deny, RedisMode, Resumption, ResumptionMode};
use rustls::server::StoresServerSessions;

use super::super::exchange::{Exchange, Means};
use super::super::{Fleet, Resources, ResumptionStats, SessionCache};
use super::*;
use crate::fleet::Settings;
use crate::ticket_keys::{Setup, Source, TicketKeys};
use crate::trust::{Demand, DenyList};

/// A store that is not connected: what it is asked for fails, and is counted.
fn away() -> Arc<Store> {
    Store::new(Settings {
        name: "main".to_owned(),
        urls: Vec::new(),
        mode: RedisMode::Single,
        user: None,
        password: None,
        ca: None::<PathBuf>,
        certificate: None,
        timeout: Duration::from_secs(1),
        connect_timeout: Duration::from_secs(1),
        prefix: String::new(),
    })
}

async fn site(store: &Arc<Store>) -> Arc<SiteResumption> {
    let setup = Setup {
        fleet: "a".to_owned(),
        generation: 0,
        rotate: 100,
        lifetime: 100,
        max_outage: 0,
        clock_skew: 0,
    };
    let keys = Arc::new(TicketKeys::new(Source::random(setup, Vec::new())));
    keys.begin().await.unwrap();
    let resources = Resources {
        keys,
        sessions: Arc::new(SessionCache::new(100, 1 << 20)),
        stats: Arc::new(ResumptionStats::default()),
        stores: vec![Arc::clone(store)],
    };
    let settings = Resumption {
        mode: ResumptionMode::Stateful,
        tickets: 2,
        lifetime: Duration::from_secs(100),
        max_lineage: Duration::from_secs(100),
        early_data: 1024,
        store: Some(0),
    };
    let fleet = Fleet {
        name: "a",
        generation: 0,
        max_size: 4096,
        clock_skew: 0,
    };
    let deny = Arc::new(DenyList::open(&Deny::default(), None).unwrap());
    let demand = Demand::new(ClientCertMode::Ignore, Vec::new(), &deny);
    SiteResumption::new(("site", &settings), &demand, fleet, &resources).unwrap()
}

/// As rustls writes it, without a name, a chain and a protocol.
fn encoded(version: ProtocolVersion) -> Vec<u8> {
    let mut out = vec![0];
    out.extend(u16::from(version).to_be_bytes());
    out.extend([0x13, 1, 2, 7, 8, 1, 0, 0, 0, 0]);
    let now = u64::try_from(crate::ticket_keys::unix_now()).unwrap();
    out.extend(now.to_be_bytes());
    out.extend(5_u32.to_be_bytes());
    out
}

#[tokio::test]
async fn a_session_of_tls_1_2_stays_here_and_one_of_tls_1_3_is_shared() {
    let store = away();
    let site = site(&store).await;
    for (id, version, shared) in [
        ([1; 32], ProtocolVersion::TLSv1_2, 0),
        ([2; 32], ProtocolVersion::TLSv1_3, 1),
    ] {
        let exchange = Exchange::new(&site, (Means::Store, 0), None);
        assert!(exchange.put(id.to_vec(), encoded(version)));
        assert!(site.sessions.has(&id));
        for _ in 0..10 {
            tokio::task::yield_now().await; // The command has a task of its own.
        }
        assert_eq!(store.health().failures, shared, "{version:?}");
    }
}
