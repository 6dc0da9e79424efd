//! From a TCP connection to an established TLS stream, or a refusal.
//!
//! `read ClientHello → choose the site → first step (signs) → further flights → done`. The step in which
//! rustls signs runs as a `portcullis_hsm::step` when the site's key lives in a token, also after a
//! HelloRetryRequest, where it comes one flight later.

mod failure;

use std::io;
use std::sync::Arc;

use portcullis_hsm::step;
use rustls::server::{Accepted as Hello, Acceptor};
use rustls::{AlertDescription, Error, HandshakeKind, ProtocolVersion, ServerConnection};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

pub use self::failure::turn_away;
use self::failure::{Failure, refuse};
use super::client_cert::{clear_verdict, take_proof};
use super::client_hello::Offer;
use super::refusal::replaces_alert;
use super::resumption::{Outcome, Prepared};
use super::server_config::SiteTls;
use super::socket::{Copied, with_socket};
use super::stream::TlsStream;
use crate::reason::Reason;
use crate::trust::Shown;
use crate::turns::Turns;

/// Room for a ClientHello with a hybrid key share.
const HELLO: usize = 2048;

/// Bounds on a handshake.
#[derive(Debug, Clone, Copy)]
pub struct AcceptSettings {
    /// When the ClientHello must be complete.
    pub client_hello_by: Instant,
    /// When the handshake must be complete.
    pub handshake_by: Instant,
    /// Bytes of the ClientHello.
    pub client_hello_bytes: usize,
}

/// Finds the site for a server name.
pub trait Resolve {
    /// What the caller calls a site.
    type Site;
    /// `server_name` is as sent: any case, possibly with a trailing dot.
    fn resolve(&self, server_name: Option<&str>) -> Result<(Self::Site, Arc<SiteTls>), Reason>;
    /// Whether TLS for this name, as sent, does not end here.
    fn hands_on(&self, server_name: &str) -> bool;
}

/// A connection whose ClientHello was read.
#[derive(Debug)]
pub enum Arrived<S> {
    /// TLS ends here.
    Accepted(Accepted<S>),
    /// It does not.
    HandedOn(HandedOn),
}

/// A connection that is handed on as it came.
#[derive(Debug)]
pub struct HandedOn {
    /// The connection, unanswered.
    pub tcp: TcpStream,
    /// All that was read of it: the ClientHello, and what came along with it.
    pub hello: Vec<u8>,
    /// The server name, as sent.
    pub server_name: String,
}

/// An established connection.
#[derive(Debug)]
pub struct Accepted<S> {
    /// The stream.
    pub stream: TlsStream,
    /// The site chosen by the server name.
    pub site: S,
    /// What the client showed, in this handshake or in the one it resumes.
    pub shown: Shown,
    /// What became of the session that was offered, if one was.
    pub resumption: Outcome,
}

/// A handshake that came to nothing.
#[derive(Debug)]
pub struct HandshakeRefused<S> {
    /// Why.
    pub reason: Reason,
    /// The site, if the ClientHello got that far.
    pub site: Option<S>,
    /// The server name the client asked for.
    pub server_name: Option<String>,
    /// For the operator.
    pub detail: String,
}

/// Performs a handshake, its heavy steps in `turns`, unless the connection is to be handed on. Alerts have been sent and the
/// socket is closed when this returns an error.
pub async fn accept<R: Resolve>(
    mut tcp: TcpStream,
    resolver: &R,
    (settings, turns): (AcceptSettings, &Turns),
) -> Result<Arrived<R::Site>, HandshakeRefused<R::Site>> {
    let (hello, records) = match read_client_hello(&mut tcp, settings).await {
        Ok(read) => read,
        Err(failure) => return Err(refuse(tcp, failure, None, None).await),
    };
    let server_name = hello.client_hello().server_name().map(str::to_owned);
    if let Some(name) = server_name
        .as_deref()
        .filter(|name| resolver.hands_on(name))
    {
        return Ok(Arrived::HandedOn(HandedOn {
            tcp,
            hello: records,
            server_name: name.to_owned(),
        }));
    }
    let (site, tls) = match resolver.resolve(server_name.as_deref()) {
        Ok(found) => found,
        Err(reason) => {
            let failure = Failure::told(reason, AlertDescription::UnrecognisedName, "");
            return Err(refuse(tcp, failure, None, server_name).await);
        }
    };
    let offer = tls.resumes().then(|| Offer::read(&records)).flatten();
    drop(records);
    let fetched = tls.fetch(offer.as_ref()).await;
    let prepared = tls.prepare((offer.as_ref(), fetched), server_name.as_deref());
    // Only full handshakes sign: a client that returns is served also while the token is away.
    if !prepared.is_returning()
        && let Err(error) = tls.admit()
    {
        return Err(refuse(tcp, Failure::admission(&error), Some(site), server_name).await);
    }
    let light = prepared.is_returning() && offer.is_some_and(|offer| !offer.tls13);
    let finished = finish(&mut tcp, hello, (&tls, prepared), (turns, light));
    let finished = timeout_at(settings.handshake_by, finished).await;
    match finished.unwrap_or_else(|_| Err(Failure::bare(Reason::HandshakeTimeout, ""))) {
        Ok(Finished {
            connection,
            shown,
            resumption,
        }) => Ok(Arrived::Accepted(Accepted {
            stream: match connection.is_handshaking() {
                false => TlsStream::new(tcp, connection),
                true => TlsStream::with_early_data(tcp, connection, settings.handshake_by),
            },
            site,
            shown,
            resumption,
        })),
        Err(failure) => Err(refuse(tcp, failure, Some(site), server_name).await),
    }
}

/// A handshake that is complete, or goes on while early data is served.
struct Finished {
    connection: Box<ServerConnection>,
    shown: Shown,
    resumption: Outcome,
}

async fn read_client_hello(
    tcp: &mut TcpStream,
    settings: AcceptSettings,
) -> Result<(Hello, Vec<u8>), Failure> {
    let mut acceptor = Acceptor::default();
    let mut records = Vec::with_capacity(HELLO);
    let read_all = async {
        loop {
            let read = with_socket(tcp, Interest::READABLE, |mut socket| {
                let mut copied = Copied(&mut socket, &mut records);
                acceptor.read_tls(&mut copied)
            })
            .await;
            if read.map_err(|error| Failure::io(&error))? == 0 {
                let detail = "closed before a ClientHello";
                return Err(Failure::bare(Reason::HandshakeClosed, detail));
            }
            let total = records.len();
            match acceptor.accept() {
                Ok(Some(hello)) => return Ok((hello, std::mem::take(&mut records))),
                Ok(None) if total > settings.client_hello_bytes => {
                    let alert = AlertDescription::DecodeError;
                    let detail = format!("{total} bytes");
                    return Err(Failure::told(Reason::ClientHelloTooLarge, alert, detail));
                }
                Ok(None) => {}
                Err((error, mut alert)) => {
                    let mut queued = Vec::new();
                    let _ = alert.write_all(&mut queued); // A Vec takes everything.
                    let queued = replaces_alert(&error, None).map_or(queued, Vec::from);
                    let mut failure = Failure::tls(&error, queued);
                    failure.reason = match failure.reason {
                        Reason::HandshakeProtocol => Reason::NotTls,
                        Reason::HandshakeTooLarge => Reason::ClientHelloTooLarge,
                        reason => reason,
                    };
                    return Err(failure);
                }
            }
        }
    };
    match timeout_at(settings.client_hello_by, read_all).await {
        Ok(result) => result,
        Err(_) => Err(Failure::bare(Reason::ClientHelloTimeout, "")),
    }
}

/// Everything after the ClientHello.
async fn finish(
    tcp: &mut TcpStream,
    hello: Hello,
    (tls, prepared): (&SiteTls, Prepared),
    (turns, light): (&Turns, bool),
) -> Result<Finished, Failure> {
    let config = Arc::clone(&prepared.config);
    // A TLS 1.2 session at hand: no key is agreed and nothing signed.
    let turn = turns.turn_if(!light).await;
    // As a step also where a session is at hand: where its suite does not fit after all, rustls signs.
    let first = move || hello.into_connection(config).map(Box::new);
    let started = run_step(tls.remote_key, first).await;
    drop(turn);
    let mut connection = started.map_err(|(error, mut alert)| {
        let mut queued = Vec::new();
        let _ = alert.write_all(&mut queued); // A Vec takes everything.
        Failure::tls(&error, queued)
    })?;
    let (mut read_more, mut proof) = (false, None);
    loop {
        // The last of our flights waits in the stream for what follows it.
        if connection.is_handshaking() {
            write_all(tcp, &mut connection)
                .await
                .map_err(|error| Failure::io(&error))?;
        }
        // Early data is served as soon as what came along with the hello is decrypted.
        let early = read_more && connection.early_data().is_some();
        if early || !connection.is_handshaking() {
            break;
        }
        // First what came in one piece with the ClientHello: rustls holds it already.
        if read_more {
            let read = with_socket(tcp, Interest::READABLE, |mut socket| {
                connection.read_tls(&mut socket)
            });
            if read.await.map_err(|error| Failure::io(&error))? == 0 {
                let detail = "closed during the handshake";
                return Err(Failure::bare(Reason::HandshakeClosed, detail));
            }
        }
        read_more = true;
        // After a HelloRetryRequest the second ClientHello is answered, and signed, here.
        let kind = connection.handshake_kind();
        let retried = kind == Some(HandshakeKind::FullWithHelloRetryRequest);
        prepared.follow(kind, proof.as_ref());
        // Who resumes, and a TLS 1.3 client without a certificate, has sent its Finished and nothing that costs more.
        let verifies = tls.asks_for_certificate() || !is_tls13(&connection);
        let resumed = kind == Some(HandshakeKind::Resumed);
        let turn = turns.turn_if(retried || (verifies && !resumed)).await;
        let process = move || {
            clear_verdict();
            let result = connection.process_new_packets().map(drop);
            // The flight with the client's certificate is verified in here; the next step is another client's.
            let proof = result.is_ok().then(take_proof).flatten();
            (connection, result, proof)
        };
        let (back, result, proven) = run_step(tls.remote_key && retried, process).await;
        drop(turn);
        connection = back;
        proof = proof.or(proven);
        if let Err(error) = result {
            return Err(failed(&error, &mut connection));
        }
    }
    let (returning, resumption) = prepared.conclude(connection.handshake_kind());
    let shown = match returning {
        Some(shown) => Ok(shown),
        None => {
            let chain = connection.peer_certificates().unwrap_or_default().to_vec();
            Shown::new(chain, proof)
        }
    };
    Ok(Finished {
        connection,
        shown: shown.map_err(|refused| Failure::bare(refused.reason, refused.detail))?,
        resumption,
    })
}

fn is_tls13(connection: &ServerConnection) -> bool {
    connection.protocol_version() == Some(ProtocolVersion::TLSv1_3)
}

async fn run_step<T: 'static>(signs_remotely: bool, work: impl FnOnce() -> T + 'static) -> T {
    if signs_remotely {
        step::run(work).await
    } else {
        work()
    }
}

fn failed(error: &Error, connection: &mut ServerConnection) -> Failure {
    let queued = match replaces_alert(error, connection.protocol_version()) {
        Some(alert) => alert.to_vec(),
        None => queued(connection),
    };
    Failure::tls(error, queued)
}

fn queued(connection: &mut ServerConnection) -> Vec<u8> {
    let mut queued = Vec::new();
    while connection.wants_write() {
        if connection.write_tls(&mut queued).is_err() {
            break; // A Vec takes everything.
        }
    }
    queued
}

async fn write_all(tcp: &mut TcpStream, connection: &mut ServerConnection) -> io::Result<()> {
    while connection.wants_write() {
        with_socket(tcp, Interest::WRITABLE, |mut socket| {
            connection.write_tls(&mut socket)
        })
        .await?;
    }
    Ok(())
}
