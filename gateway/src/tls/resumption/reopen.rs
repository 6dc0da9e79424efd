//! An offered session, opened, and everything that may have changed since asked again.

use rustls_pki_types::UnixTime;
use zeroize::Zeroizing;

use super::SiteResumption;
use super::exchange::{Answer, Carried, Means, seconds};
use super::state::Session;
use super::stats::Declined;
use crate::ticket_keys::OpenError;
use crate::tls::client_hello::Reader;
use crate::trust::{Forgotten, Met, Shown};

impl SiteResumption {
    /// Opens what was offered, and asks everything again.
    pub(super) fn reopen(
        &self,
        (offered, taken): (&[u8], Option<&[u8]>),
        means: Means,
        (server_name, tls13): (Option<&str>, bool),
        now: i64,
    ) -> Result<(Answer, Carried, Shown), Declined> {
        let opened;
        let kept;
        let state: &[u8] = match (means, taken) {
            (Means::Tickets, _) => {
                opened = self.open(offered)?;
                &opened
            }
            (Means::Store, Some(sealed)) => {
                opened = self.open(sealed)?;
                &opened
            }
            (Means::Store, None) => {
                kept = self.sessions.get(offered).ok_or(Declined::StoreMiss)?;
                if kept.binding != self.binding {
                    return Err(Declined::Scope);
                }
                if kept.era != self.keys.era() {
                    return Err(Declined::UnknownKey);
                }
                &kept.state
            }
        };
        let (session, rest) = Session::read(state).ok_or(Declined::Malformed)?;
        let mut reader = Reader(rest);
        let authenticated = reader.array().map(i64::from_be_bytes);
        let authenticated = authenticated.ok_or(Declined::Malformed)?;
        if (session.version == rustls::ProtocolVersion::TLSv1_3) != tls13 {
            return Err(Declined::Parameters);
        }
        let same_name = match (session.server_name, server_name) {
            (Some(then), Some(now)) => then.eq_ignore_ascii_case(now.as_bytes()),
            (then, now) => then.is_none() && now.is_none(),
        };
        if !same_name {
            return Err(Declined::ServerName);
        }
        self.check_age(&session, authenticated, now)?;
        let (shown, met, as_before) = self.recognize(reader.0, now)?;
        let client = match as_before {
            true => Some(reader.0.to_vec()),
            false => self.write_again(&shown, &met),
        };
        let carried = Carried {
            authenticated,
            not_after: met.not_after.unwrap_or(i64::MAX),
            client: client.ok_or(Declined::Malformed)?,
        };
        let answer = Answer {
            offered: offered.to_vec(),
            session: session.to_rustls(),
        };
        Ok((answer, carried, shown))
    }

    fn open(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Declined> {
        let opened = self.keys.ring().open(&self.binding, sealed);
        opened.map(Zeroizing::new).map_err(|error| match error {
            OpenError::Malformed => Declined::Malformed,
            OpenError::UnknownKey => Declined::UnknownKey,
            OpenError::Bound => Declined::Scope,
        })
    }

    fn check_age(
        &self,
        session: &Session<'_>,
        authenticated: i64,
        now: i64,
    ) -> Result<(), Declined> {
        let created = i64::try_from(session.created).unwrap_or(i64::MAX);
        let age = now.saturating_sub(created);
        if age > seconds(self.settings.lifetime) || age < -self.clock_skew {
            return Err(Declined::Expired);
        }
        if now.saturating_sub(authenticated) > seconds(self.settings.max_lineage) {
            return Err(Declined::Lineage);
        }
        Ok(())
    }

    /// Who the client was, and whether it would be let in now: validity, anchors, revocation, the deny list.
    /// And whether the proof is still the same.
    fn recognize(&self, written: &[u8], now: i64) -> Result<(Shown, Met, bool), Declined> {
        let shown = self.demand.read_client(written).map_err(|why| match why {
            Forgotten::Malformed => Declined::Malformed,
            Forgotten::UnknownIntermediate => Declined::UnknownIntermediate,
        })?;
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(
            u64::try_from(now).unwrap_or(0),
        ));
        let before = shown.proof();
        let met = self.demand.met_by(&shown, now);
        let met = met.map_err(|refused| Declined::ClientCert(refused.reason))?;
        let as_before = match (&before, &met.proof) {
            (Some(before), Some(now)) => now.is_same(before),
            (before, now) => before.is_none() && now.is_none(),
        };
        Ok((shown, met, as_before))
    }

    /// What goes into the next ticket about a client whose chain had to be verified again.
    fn write_again(&self, shown: &Shown, met: &Met) -> Option<Vec<u8>> {
        let chain: Vec<&[u8]> = shown.chain().iter().map(AsRef::as_ref).collect();
        let mut written = Vec::new();
        self.demand
            .write_client(&chain, met.proof.as_ref(), &mut written)?;
        Some(written)
    }
}
