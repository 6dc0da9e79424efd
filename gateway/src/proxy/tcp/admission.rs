//! Every check a connection passes before anything is sent anywhere: what a request is asked, as far as there is none.
//!
//! host of the site → the site's demand, met now → policy → permit → TCP route.

use std::rc::Rc;
use std::sync::Arc;

use rustls_pki_types::UnixTime;

use crate::policy::{ConnectionFacts, Permit};
use crate::proxy::admission::{SETTLE_MAX, Stopped};
use crate::proxy::client::{Caller, Client, View};
use crate::proxy::worker::Worker;
use crate::reason::Reason;
use crate::snapshot::normalize_host;
use crate::tls::TlsStream;
use crate::upstream::Target;

/// What the client asked for in its handshake; nothing where there was none.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Lower case, without trailing dot; `None` where it sent none.
    pub(super) server_name: Option<Box<str>>,
    /// The protocol that was chosen.
    pub(super) alpn: Option<Box<[u8]>>,
    /// Data came before the handshake was complete.
    early: bool,
}

/// What the checks of a connection yield.
pub(super) struct Admitted<'a> {
    pub(super) caller: &'a Caller,
    pub(super) permit: Permit,
    pub(super) target: Arc<Target>,
}

impl Asked {
    pub(super) fn of(stream: &TlsStream) -> Self {
        let tls = stream.tls();
        Self {
            server_name: tls.server_name().map(|name| normalize_host(name).into()),
            alpn: tls.alpn_protocol().map(Into::into),
            early: stream.early_data().is_some(),
        }
    }
}

/// Every check of a connection.
pub(super) fn admit<'a>(
    view: &'a View,
    client: &Client,
    asked: &Asked,
) -> Result<Admitted<'a>, Stopped> {
    if let Some(reason) = client.dismissed_for() {
        return Err(reason.into());
    }
    if asked.early {
        // Configurations say so; one that was reloaded meanwhile may have said otherwise.
        return Err(Reason::TooEarly.into());
    }
    let (Some(listener), Some(site)) = (view.listener, view.rules()) else {
        return Err(Reason::Misdirected.into());
    };
    let names = view.snapshot.rules.listeners[listener].names.as_ref();
    let names = names.ok_or(Stopped::from(Reason::Misdirected))?;
    // A name that no site has is the client's own invention, and nothing that a rule means.
    let host = match asked.server_name.as_deref() {
        Some(name) => match names.site_of(name) {
            owner if owner == view.site => Some(name),
            None => None,
            Some(_) => return Err(Reason::Misdirected.into()),
        },
        None => None,
    };
    // A TCP route asks what its site asks.
    let caller = view.caller(client, 0)?;
    let now = i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX);
    if caller.not_after.is_some_and(|end| end < now) {
        return Err(Reason::ClientCertExpired.into());
    }
    if caller.pending.get() {
        return Err(Stopped {
            pending: Some(0),
            ..Reason::ClientCertOcspUnavailable.into()
        });
    }
    let facts = ConnectionFacts {
        host,
        source: client.facts.client.ip(),
    };
    let policy = &view.snapshot.rules.policy;
    let permit = policy.decide_connection(&caller.roles, &facts)?;
    // Only who may ask learns that there is nothing.
    let route = site.settings.tcp_route(asked.alpn.as_deref());
    let route = route.ok_or(Stopped::from(Reason::NoRoute))?;
    Ok(Admitted {
        caller,
        permit,
        target: Arc::clone(&view.snapshot.targets[route.upstream]),
    })
}

/// Waits for the OCSP answers that the site wants. What changed meanwhile counts: the view is the one of afterwards.
pub(super) async fn settled_view(
    worker: &Worker,
    client: &Client,
    asked: &Asked,
) -> Result<Rc<View>, Stopped> {
    for _ in 0..SETTLE_MAX {
        let view = client.view(worker);
        let Err(Stopped {
            pending: Some(demand),
            ..
        }) = admit(&view, client, asked)
        else {
            return Ok(view);
        };
        let settled = client.settle(&view, demand).await;
        settled.map_err(|refused| Stopped::from(&refused))?;
    }
    Ok(client.view(worker))
}
