//! A connection whose TLS does not end here, from its ClientHello to its end.
//!
//! Promises: what the client sent arrives byte for byte, the ClientHello included; nobody is verified, so that only rules
//! about anyone, hosts and addresses decide; who is refused is told by an alert (RFC 8446, section 6), for TLS has not begun.

use std::rc::Rc;
use std::sync::Arc;

use rustls::AlertDescription;

use super::header::Told;
use super::recorder::Recorder;
use super::{Begun, carry, open};
use crate::policy::{ConnectionFacts as Facts, Permit};
use crate::proxy::admission::Stopped;
use crate::proxy::worker::Worker;
use crate::reason::Reason;
use crate::snapshot::{Snapshot, normalize_host};
use crate::telemetry::access_log::ConnectionFacts;
use crate::tls::{HandedOn, turn_away};
use crate::upstream::Target;

/// Serves a connection that is handed on, to its end.
pub async fn serve(handed_on: HandedOn, facts: ConnectionFacts, worker: Rc<Worker>) {
    let HandedOn {
        mut tcp,
        hello,
        server_name,
    } = handed_on;
    let (facts, name) = (Rc::new(facts), normalize_host(&server_name));
    let mut recorder = Recorder::new(&worker, &facts, Some(&name));
    let begun = Box::pin(begin((&facts, &name), tcp.local_addr().ok(), &mut recorder)).await;
    let begun = match begun {
        Ok(begun) => begun,
        Err(stopped) => {
            recorder.refuse(&stopped);
            let alert = match stopped.reason {
                Reason::NotAuthorized | Reason::DeniedByRule => AlertDescription::AccessDenied,
                _ => AlertDescription::InternalError,
            };
            // Boxed: who is carried has no room for it.
            return Box::pin(turn_away(tcp, alert)).await;
        }
    };
    let mut seen = 0;
    let forbidden = || {
        let snapshot = worker.snapshot();
        if std::mem::replace(&mut seen, snapshot.generation) == snapshot.generation {
            return None;
        }
        let decided = decide(&snapshot, &facts, &name);
        decided.err().map(|stopped| stopped.reason)
    };
    carry(&mut tcp, begun, hello, &mut recorder, forbidden).await;
}

/// Decides, and connects to the upstream.
async fn begin(
    (facts, name): (&ConnectionFacts, &str),
    local: Option<std::net::SocketAddr>,
    recorder: &mut Recorder,
) -> Result<Box<Begun>, Stopped> {
    let worker = recorder.worker();
    let (permit, target) = decide(&worker.snapshot(), facts, name)?;
    recorder.note(&permit, &target);
    let told = Told {
        source: facts.client,
        destination: local,
        id: recorder.id(),
        server_name: Some(name),
        tls: None,
    };
    let header = told.header(&target.settings)?;
    let upstream = open(&worker, permit, &target, &facts.identity).await?;
    Ok(Box::new(Begun {
        upstream,
        header,
        _resting: None,
    }))
}

/// The name must belong to a passthrough of the listener, and a rule allow whoever comes from there.
fn decide(
    snapshot: &Snapshot,
    facts: &ConnectionFacts,
    name: &str,
) -> Result<(Permit, Arc<Target>), Stopped> {
    let rules = &snapshot.rules;
    let listener = rules.listener(&facts.listener);
    let names = listener.and_then(|listener| listener.names.as_ref());
    let passthrough = names.and_then(|names| names.passthrough_of(name));
    // It was one when the ClientHello came: a reload has taken it away.
    let passthrough = passthrough.ok_or(Stopped::from(Reason::UnknownServerName))?;
    let roles = rules.policy.roles_of(&facts.identity);
    let asked = Facts {
        host: Some(name),
        source: facts.client.ip(),
    };
    let permit = rules.policy.decide_connection(&roles, &asked)?;
    let upstream = rules.passthroughs[passthrough].upstream;
    Ok((permit, Arc::clone(&snapshot.targets[upstream])))
}
