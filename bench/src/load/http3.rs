//! HTTP/3: one QUIC connection whose streams take turns, opened anew when it ends.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use h3::client::SendRequest;
use h3_quinn::OpenStreams;
use http::Request;
use quinn::crypto::rustls::QuicClientConfig;
use rustls::ClientConfig;

use super::failure::Failure;
use super::shared::Shared;
use super::worker::Worker;

/// A connection that is shared by its streams. Each has a socket of its own, as clients do.
#[derive(Debug, Default)]
pub(super) struct Link(Shared<Open>);

#[derive(Clone)]
struct Open {
    sender: SendRequest<OpenStreams, Bytes>,
    request: Request<()>,
    // The socket lives as long as this.
    _endpoint: quinn::Endpoint,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open").finish_non_exhaustive()
    }
}

impl Link {
    /// Opens it where it is not.
    pub(super) async fn open(&self, worker: &Worker) -> Result<(), Failure> {
        self.get(worker).await.map(drop)
    }

    /// A request and its whole answer.
    pub(super) async fn exchange(&self, worker: &Worker) -> Result<(), Failure> {
        let (number, open) = self.get(worker).await?;
        match ask(open, worker).await {
            Ok(status) if status >= 400 => Err(Failure::Status(status)),
            Ok(_) => Ok(()),
            Err(failure) => {
                self.0.forget(number);
                Err(failure)
            }
        }
    }

    async fn get(&self, worker: &Worker) -> Result<(u64, Open), Failure> {
        self.0.get(async || connect(worker).await).await
    }
}

async fn connect(worker: &Worker) -> Result<Open, Failure> {
    let hello = worker.clients().next();
    let target = worker.plan().target.address();
    let any: SocketAddr = match target {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let endpoint = quinn::Endpoint::client(any).map_err(|_| Failure::Connect)?;
    let config = quic_config(hello.config)?;
    let name = hello.name.to_str().into_owned();
    let connecting = endpoint.connect_with(config, target, &name);
    let connecting = connecting.map_err(|_| Failure::Connect)?;
    let quic = connecting.await.map_err(|error| failure_of_quic(&error))?;
    let opened = h3::client::new(h3_quinn::Connection::new(quic)).await;
    let (mut driver, sender) = opened.map_err(|_| Failure::Http)?;
    tokio::task::spawn_local(async move {
        // How it ends, the streams on it are told.
        let _ = std::future::poll_fn(|cx| driver.poll_close(cx)).await;
    });
    Ok(Open {
        sender,
        request: worker.uri_request(hello.name_index),
        _endpoint: endpoint,
    })
}

/// Initial packets are always AES-128-GCM (RFC 9001, section 5.2), whatever suite the plan offers.
fn quic_config(config: Arc<ClientConfig>) -> Result<quinn::ClientConfig, Failure> {
    let initial = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let initial = initial.tls13().and_then(|suite| suite.quic_suite());
    let initial = initial.ok_or(Failure::Protocol)?;
    let crypto = QuicClientConfig::with_initial(config, initial).map_err(|_| Failure::Protocol)?;
    Ok(quinn::ClientConfig::new(Arc::new(crypto)))
}

async fn ask(open: Open, worker: &Worker) -> Result<u16, Failure> {
    let mut sender = open.sender.clone();
    let mut stream = sender.send_request(open.request.clone()).await;
    let stream = stream.as_mut().map_err(|error| failure(error))?;
    stream.finish().await.map_err(|error| failure(&error))?;
    let answer = stream
        .recv_response()
        .await
        .map_err(|error| failure(&error))?;
    while let Some(piece) = stream.recv_data().await.map_err(|error| failure(&error))? {
        worker.bytes().add(piece.remaining());
    }
    Ok(answer.status().as_u16())
}

fn failure_of_quic(error: &quinn::ConnectionError) -> Failure {
    use quinn::ConnectionError;
    match error {
        ConnectionError::ConnectionClosed(close) => failure_of_code(u64::from(close.error_code)),
        ConnectionError::TransportError(error) => failure_of_code(u64::from(error.code)),
        ConnectionError::TimedOut => Failure::Timeout,
        ConnectionError::Reset => Failure::Reset,
        ConnectionError::ApplicationClosed(_) => Failure::Eof,
        _ => Failure::Http,
    }
}

/// Codes from 0x100 are alerts of TLS (RFC 9001, section 4.8).
fn failure_of_code(code: u64) -> Failure {
    match code.checked_sub(0x100).map(u8::try_from) {
        Some(Ok(alert)) => Failure::Tls(rustls::Error::AlertReceived(alert.into())),
        _ => Failure::Http,
    }
}

/// What h3 says of a stream is mostly what became of its connection.
fn failure(error: &h3::error::StreamError) -> Failure {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<quinn::ConnectionError>() {
            return failure_of_quic(error);
        }
        cause = error.source();
    }
    Failure::Http
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_are_told_from_other_codes() {
        let required = failure_of_code(0x100 + 116);
        assert_eq!(required.kind(), "alert:certificate_required");
        assert_eq!(failure_of_code(0x0a).kind(), "http");
    }
}
