//! Requests over HTTP/3, with the certificates, names and sessions of a [`Client`].

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use h3::client::{RequestStream, SendRequest};
use h3_quinn::{BidiStream, OpenStreams};
use http::{Method, Request};
use quinn::crypto::rustls::QuicClientConfig;
use rustls::AlertDescription;
use tokio::task::JoinHandle;

use super::{Client, Gateway, Refused, Response, within};

/// A connection to the gateway. Clones share it.
#[derive(Clone)]
pub(crate) struct H3 {
    pub(crate) quic: quinn::Connection,
    pub(crate) endpoint: quinn::Endpoint,
    pub(crate) sender: SendRequest<OpenStreams, Bytes>,
    pub(crate) port: u16,
    host: String,
    _driver: Arc<Driver>,
}

struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A request in progress.
pub(crate) type Stream = RequestStream<BidiStream<Bytes>, Bytes>;

impl Client {
    /// The same client, for HTTP/3.
    pub(crate) fn over_h3(self) -> Self {
        self.tls13().alpn(&["h3"])
    }

    /// Connects to the first listener over UDP and asks once.
    pub(crate) async fn get_h3(&self, gateway: &Gateway, path: &str) -> Result<Response, Refused> {
        self.h3(gateway.address()).await?.get(path).await
    }

    /// Connects over UDP. A server that refuses the client's certificate says so afterwards.
    pub(crate) async fn h3(&self, address: SocketAddr) -> Result<H3, Refused> {
        let endpoint = quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let port = endpoint.local_addr().unwrap().port();
        let crypto = QuicClientConfig::try_from(Arc::clone(self.shared_config())).unwrap();
        let config = quinn::ClientConfig::new(Arc::new(crypto));
        let name = self.server_name.clone().unwrap_or(address.ip().to_string());
        let connecting = endpoint.connect_with(config, address, &name).unwrap();
        let quic = within("a handshake over UDP", connecting).await;
        let quic = quic.map_err(|error| refused(&error, port))?;
        let inner = h3_quinn::Connection::new(quic.clone());
        let opened = within("settings", h3::client::new(inner)).await;
        let (mut driver, sender) = match opened {
            Ok(opened) => opened,
            Err(error) => return Err(why(&quic, &error, port)),
        };
        let driver = tokio::spawn(async move {
            // How it ends, the streams on it are told.
            let _ = std::future::poll_fn(|cx| driver.poll_close(cx)).await;
        });
        Ok(H3 {
            quic,
            endpoint,
            sender,
            port,
            host: self.host.clone(),
            _driver: Arc::new(Driver(driver)),
        })
    }
}

impl H3 {
    /// GET.
    pub(crate) async fn get(&self, path: &str) -> Result<Response, Refused> {
        self.send(self.request(Method::GET, path), Bytes::new())
            .await
    }

    /// A request to be.
    pub(crate) fn request(&self, method: Method, path: &str) -> Request<()> {
        let uri = format!("https://{}{path}", self.host);
        let request = Request::builder().method(method).uri(uri);
        request.body(()).unwrap()
    }

    /// Any request with its body, and the whole answer.
    pub(crate) async fn send(
        &self,
        request: Request<()>,
        body: Bytes,
    ) -> Result<Response, Refused> {
        let mut stream = self.begin(request).await?;
        if !body.is_empty() {
            let sent = within("room for a body", stream.send_data(body)).await;
            sent.map_err(|error| why(&self.quic, &error, self.port))?;
        }
        let ended = within("the end of a request", stream.finish()).await;
        ended.map_err(|error| why(&self.quic, &error, self.port))?;
        self.answer(&mut stream).await
    }

    /// Sends a head.
    pub(crate) async fn begin(&self, request: Request<()>) -> Result<Stream, Refused> {
        let mut sender = self.sender.clone();
        let stream = within("a stream", sender.send_request(request)).await;
        stream.map_err(|error| why(&self.quic, &error, self.port))
    }

    /// The whole answer.
    pub(crate) async fn answer(&self, stream: &mut Stream) -> Result<Response, Refused> {
        let fail = |error: h3::error::StreamError| why(&self.quic, &error, self.port);
        let head = within("an answer", stream.recv_response())
            .await
            .map_err(fail)?;
        let mut body = Vec::new();
        while let Some(mut piece) = within("an answer", stream.recv_data())
            .await
            .map_err(fail)?
        {
            body.extend_from_slice(&piece.copy_to_bytes(piece.remaining()));
        }
        let (parts, ()) = head.into_parts();
        Ok(Response {
            status: parts.status,
            headers: parts.headers,
            body: body.into(),
            port: self.port,
        })
    }
}

fn why(quic: &quinn::Connection, error: &dyn std::error::Error, port: u16) -> Refused {
    match quic.close_reason() {
        Some(reason) => {
            let refused = refused(&reason, port);
            let error = format!("{error} ({error:?}); {}", refused.error);
            Refused { error, ..refused }
        }
        None => Refused {
            alert: None,
            port,
            error: format!("{error} ({error:?})"),
        },
    }
}

/// Codes from 0x100 are alerts of TLS (RFC 9001, section 4.8).
fn refused(error: &quinn::ConnectionError, port: u16) -> Refused {
    let code = match error {
        quinn::ConnectionError::ConnectionClosed(close) => u64::from(close.error_code),
        _ => 0,
    };
    let alert = code
        .checked_sub(0x100)
        .and_then(|alert| u8::try_from(alert).ok());
    Refused {
        alert: alert.map(AlertDescription::from),
        port,
        error: format!("{error:?}"),
    }
}
