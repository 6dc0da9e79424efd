//! Sessions that gateways share, so that one that carried early data is used up for all of them.
//!
//! A session lies in Redis sealed like a ticket. Whoever takes it away may accept early data; who does not get an answer
//! in time may not, and resumes, if the session is kept here, after the usual round trip.

use std::sync::Arc;
use std::time::Duration;

use rustls::ProtocolVersion;

use super::SiteResumption;
use super::exchange::State;
use crate::fleet::Store;
use crate::identity::hex;
use crate::tls::client_hello::Offer;

/// How long nobody puts a session back that was asked for with early data. rustls believes a ticket's age that is wrong
/// by at most a minute, to either side, so that the same hello comes with acceptable early data for two.
const REFUSED_FOR: Duration = Duration::from_secs(180);

/// What the fleet said about an offered session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fetched {
    /// Nobody was asked.
    Nothing,
    /// It was taken away for this handshake: as it was sealed.
    Taken(Vec<u8>),
    /// It is not there: used, or never was.
    Absent,
    /// There was no answer in time.
    Unreachable,
}

impl SiteResumption {
    /// Takes the first session that is offered away from the fleet.
    pub(in crate::tls) async fn fetch(&self, offer: &Offer) -> Fetched {
        let (Some(store), Some(id)) = (&self.store, offer.psks.first()) else {
            return Fetched::Nothing;
        };
        // Others are not ids of sessions.
        if id.len() != 32 {
            return Fetched::Nothing;
        }
        let key = self.key_of(id);
        if !offer.early_data && self.sessions.has(id) {
            // It is used up here, and then for all.
            forget(store, key);
            return Fetched::Nothing;
        }
        let taken = match offer.early_data {
            // What is not there yet must not be there for a replay: this client sends its request again.
            true => store.take_for_good(&key, REFUSED_FOR).await,
            false => store.take(&key).await,
        };
        match taken {
            Ok(Some(sealed)) => Fetched::Taken(sealed),
            Ok(None) => Fetched::Absent,
            Err(error) => {
                tracing::debug!(%error, "a session was not fetched in time");
                // Early data is refused now, and should not be accepted a moment later.
                forget(store, key);
                Fetched::Unreachable
            }
        }
    }

    /// Tells the fleet about a session. Where that fails this gateway alone has it.
    pub(super) fn publish(&self, id: &[u8], state: &State) {
        let Some(store) = self.store.clone() else {
            return;
        };
        // Others are never asked for. And a key that can be derived again opens no recorded traffic of TLS 1.3 but
        // early data, of TLS 1.2 all.
        if state.version != ProtocolVersion::TLSv1_3 {
            return;
        }
        let ring = self.keys.ring();
        let sealed = ring
            .seals()
            .and_then(|key| key.seal(&self.binding, &state.bytes));
        let Some(sealed) = sealed else { return };
        let key = self.key_of(id);
        let left = Duration::from_secs(u64::try_from(state.left).unwrap_or(1));
        // Bounded by the store, which takes so many commands at a time and no more.
        tokio::spawn(async move {
            if let Err(error) = store.set_if_absent(&key, &sealed, left).await {
                tracing::debug!(%error, "a session is not shared");
            }
        });
    }

    fn key_of(&self, id: &[u8]) -> String {
        format!("session:{}{}", hex(&self.binding[..8]), hex(id))
    }
}

fn forget(store: &Arc<Store>, key: String) {
    let store = Arc::clone(store);
    tokio::spawn(async move {
        if let Err(error) = store.take_for_good(&key, REFUSED_FOR).await {
            tracing::debug!(%error, "a used session is still shared");
        }
    });
}

#[cfg(test)]
mod tests;
