//! The TLS side of a QUIC handshake: from CRYPTO bytes to an accepted client, or a refusal.
//!
//! The same decisions as over TCP, in the same order: the ClientHello is gathered within `limits.client_hello` and
//! parsed by rustls, the site chosen by its server name, the session it offers looked at, the token asked whether it
//! takes work; only then rustls begins. [`QuicHandshake::read`] may sign: whoever calls it does so in a
//! `portcullis_hsm::step`. There is no early data over QUIC.

mod hello;

use std::sync::{Arc, Mutex, PoisonError};

use rustls::quic::{KeyChange, ServerConnection, Version};
use rustls::{AlertDescription, Error};

use self::hello::{framed, is_whole, parse};
use super::acceptor::{HandshakeRefused, Resolve};
use super::client_cert::{clear_verdict, take_proof};
use super::client_hello::Offer;
use super::negotiated::Negotiated;
use super::refusal::{reason_of_hsm, refusal_of};
use super::resumption::{Fetched, Outcome, Prepared};
use crate::reason::Reason;
use crate::trust::{Proof, Refused, Shown};

/// What is spoken inside (RFC 9114, section 3.1).
const ALPN: &[u8] = b"h3";

/// The sites a handshake may be for.
pub type QuicSites = Arc<dyn Resolve<Site = usize> + Send + Sync>;

/// What a handshake came to; `None` while it goes on.
pub type QuicVerdict = Arc<Mutex<Option<Result<QuicAccepted, HandshakeRefused<usize>>>>>;

/// A handshake that is complete.
#[derive(Debug)]
pub struct QuicAccepted {
    /// The site chosen by the server name.
    pub site: usize,
    /// What the client showed, in this handshake or in the one it resumes.
    pub shown: Shown,
    /// What became of the session that was offered, if one was.
    pub resumption: Outcome,
    /// What was agreed on.
    pub negotiated: Negotiated,
}

/// A handshake in progress.
pub struct QuicHandshake {
    sites: QuicSites,
    version: Version,
    /// Our transport parameters, for rustls.
    parameters: Vec<u8>,
    hello_bytes: usize,
    stage: Stage,
    verdict: QuicVerdict,
}

enum Stage {
    /// The ClientHello is not whole yet.
    Hello(Vec<u8>),
    Running(Box<Running>),
    Refused,
}

/// rustls is at work.
struct Running {
    connection: ServerConnection,
    site: usize,
    server_name: Option<String>,
    /// Taken when the handshake is complete. Never contended: quinn-proto wants its sessions `Sync`.
    prepared: Mutex<Option<Prepared>>,
    proof: Option<Proof>,
}

/// Why a handshake ends here.
struct Failure {
    reason: Reason,
    alert: AlertDescription,
    detail: String,
}

impl Failure {
    fn new(reason: Reason, alert: AlertDescription, detail: impl ToString) -> Self {
        let detail = detail.to_string();
        Self {
            reason,
            alert,
            detail,
        }
    }

    /// From an error of rustls and the alert it wants sent. The same as over TCP.
    fn tls(error: &Error, alert: Option<AlertDescription>) -> Self {
        let Refused { reason, detail } = refusal_of(error);
        let alert = match (reason, error) {
            (Reason::HsmUnavailable | Reason::HsmBusy, _) => AlertDescription::InternalError,
            (_, Error::General(_)) => AlertDescription::HandshakeFailure,
            _ => alert.unwrap_or(AlertDescription::InternalError),
        };
        Self::new(reason, alert, detail)
    }
}

impl QuicHandshake {
    /// Nothing was received yet.
    pub fn new(
        sites: QuicSites,
        (version, parameters): (Version, Vec<u8>),
        hello_bytes: usize,
        verdict: QuicVerdict,
    ) -> Self {
        Self {
            sites,
            version,
            parameters,
            hello_bytes,
            stage: Stage::Hello(Vec::new()),
            verdict,
        }
    }

    /// Takes CRYPTO bytes. Signs in here, and verifies the client's certificate.
    ///
    /// # Errors
    /// The alert for the client; the verdict says more.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(), AlertDescription> {
        let mut about = (None, None);
        let read = match &mut self.stage {
            Stage::Hello(hello) => {
                hello.extend_from_slice(bytes);
                match is_whole(hello, self.hello_bytes) {
                    Ok(false) => return Ok(()),
                    Ok(true) => {
                        let hello = std::mem::take(hello);
                        self.begin(&hello, &mut about).map(|running| {
                            self.stage = Stage::Running(Box::new(running));
                        })
                    }
                    Err(failure) => Err(failure),
                }
            }
            Stage::Running(running) => {
                about = (Some(running.site), running.server_name.clone());
                running.read(bytes)
            }
            Stage::Refused => return Err(AlertDescription::InternalError),
        };
        let accepted = read.and_then(|()| match &mut self.stage {
            Stage::Running(running) => running.conclude(),
            _ => Ok(None),
        });
        match accepted {
            Ok(None) => Ok(()),
            Ok(Some(accepted)) => {
                self.judge(Ok(accepted));
                Ok(())
            }
            Err(failure) => {
                self.stage = Stage::Refused;
                let (site, server_name) = about;
                self.judge(Err(HandshakeRefused {
                    reason: failure.reason,
                    site,
                    server_name,
                    detail: failure.detail,
                }));
                Err(failure.alert)
            }
        }
    }

    /// The next of our flight, and the keys that follow it.
    pub fn write(&mut self, flight: &mut Vec<u8>) -> Option<KeyChange> {
        match &mut self.stage {
            Stage::Running(running) => running.connection.write_hs(flight),
            _ => None,
        }
    }

    /// The connection, once the ClientHello was accepted.
    pub fn connection(&self) -> Option<&ServerConnection> {
        match &self.stage {
            Stage::Running(running) => Some(&running.connection),
            _ => None,
        }
    }

    fn judge(&self, verdict: Result<QuicAccepted, HandshakeRefused<usize>>) {
        let mut place = self.verdict.lock().unwrap_or_else(PoisonError::into_inner);
        *place = Some(verdict);
    }

    /// A whole ClientHello: chooses the site and lets rustls answer.
    fn begin(
        &self,
        message: &[u8],
        about: &mut (Option<usize>, Option<String>),
    ) -> Result<Running, Failure> {
        let records = framed(message);
        let hello = parse(&records)?;
        let server_name = hello.client_hello().server_name().map(str::to_owned);
        about.1.clone_from(&server_name);
        let found = self.sites.resolve(server_name.as_deref());
        let (site, tls) =
            found.map_err(|reason| Failure::new(reason, AlertDescription::UnrecognisedName, ""))?;
        about.0 = Some(site);
        let offer = tls.resumes().then(|| Offer::read(&records)).flatten();
        // Early data is not accepted here: no session is used up for it.
        let offer = offer.map(|offer| Offer {
            early_data: false,
            ..offer
        });
        let offered = (offer.as_ref(), Fetched::Nothing);
        let mut prepared = tls.prepare(offered, server_name.as_deref());
        // Only full handshakes sign: a client that returns is served also while the token is away.
        if !prepared.is_returning()
            && let Err(error) = tls.admit()
        {
            let reason = reason_of_hsm(&error);
            return Err(Failure::new(reason, AlertDescription::InternalError, error));
        }
        let config = Arc::make_mut(&mut prepared.config);
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.max_early_data_size = 0;
        config.send_half_rtt_data = false;
        let config = Arc::clone(&prepared.config);
        let made = ServerConnection::new(config, self.version, self.parameters.clone());
        let connection = made.map_err(|error| {
            // All that can be wrong with a site's settings: it has no TLS 1.3, and QUIC has nothing else.
            Failure::new(Reason::TlsVersion, AlertDescription::ProtocolVersion, error)
        })?;
        let mut running = Running {
            connection,
            site,
            server_name,
            prepared: Mutex::new(Some(prepared)),
            proof: None,
        };
        clear_verdict();
        let answered = running.connection.read_hs(message);
        answered.map_err(|error| Failure::tls(&error, running.connection.alert()))?;
        Ok(running)
    }
}

impl Running {
    fn read(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if let Some(prepared) = own(&mut self.prepared) {
            prepared.follow(self.connection.handshake_kind(), self.proof.as_ref());
        }
        clear_verdict();
        let read = self.connection.read_hs(bytes);
        read.map_err(|error| Failure::tls(&error, self.connection.alert()))?;
        // The flight with the client's certificate is verified in here; the next step is another client's.
        self.proof = self.proof.take().or_else(take_proof);
        Ok(())
    }

    /// What it came to, when the handshake is complete; once.
    fn conclude(&mut self) -> Result<Option<QuicAccepted>, Failure> {
        if self.connection.is_handshaking() {
            return Ok(None);
        }
        let Some(prepared) = own(&mut self.prepared).take() else {
            return Ok(None);
        };
        let (returning, resumption) = prepared.conclude(self.connection.handshake_kind());
        let shown = match returning {
            Some(shown) => shown,
            None => {
                let chain = self.connection.peer_certificates().unwrap_or_default();
                let shown = Shown::new(chain.to_vec(), self.proof.take());
                shown.map_err(|Refused { reason, detail }| {
                    Failure::new(reason, AlertDescription::BadCertificate, detail)
                })?
            }
        };
        Ok(Some(QuicAccepted {
            site: self.site,
            shown,
            resumption,
            negotiated: Negotiated::of(&self.connection),
        }))
    }
}

impl std::fmt::Debug for QuicHandshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuicHandshake").finish_non_exhaustive()
    }
}

fn own(prepared: &mut Mutex<Option<Prepared>>) -> &mut Option<Prepared> {
    prepared.get_mut().unwrap_or_else(PoisonError::into_inner)
}
