//! Requests over an established connection, HTTP/1.1 or HTTP/2, as ALPN chose.

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConnection, HandshakeKind, NamedGroup, ProtocolVersion, SupportedCipherSuite};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

use super::{Refused, within};

/// A connection to the gateway.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: Sender,
    driver: Option<JoinHandle<hyper::Result<()>>>,
    host: String,
    /// What the handshake came to.
    pub(crate) tls: Facts,
}

/// What a handshake came to.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// The client's own port, to find it in the logs.
    pub(crate) port: u16,
    pub(crate) version: ProtocolVersion,
    pub(crate) suite: SupportedCipherSuite,
    pub(crate) group: NamedGroup,
    pub(crate) kind: HandshakeKind,
}

/// An answer, complete.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The client's own port, to find it in the logs.
    pub(crate) port: u16,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    pub(super) async fn new(stream: TlsStream<TcpStream>, host: &str) -> Result<Self, Refused> {
        let tls = Facts::of(&stream);
        let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let stream = TokioIo::new(stream);
        let refused = |error: hyper::Error| Refused::new(&error, tls.port);
        let (sender, driver) = if h2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), stream)
                .await
                .map_err(refused)?;
            (Sender::Http2(sender), tokio::spawn(connection))
        } else {
            let (sender, connection) = http1::handshake(stream).await.map_err(refused)?;
            (Sender::Http1(sender), tokio::spawn(connection))
        };
        Ok(Self {
            sender,
            driver: Some(driver),
            host: host.to_owned(),
            tls,
        })
    }

    /// GET.
    pub(crate) async fn get(&mut self, path: &str) -> Result<Response, Refused> {
        self.request(Method::GET, path).await
    }

    /// Any method, without a body.
    pub(crate) async fn request(
        &mut self,
        method: Method,
        path: &str,
    ) -> Result<Response, Refused> {
        let request = Request::builder().method(method).uri(path);
        self.send(request.body(Full::default()).unwrap()).await
    }

    /// Any request; the authority is the client's host where the request names none.
    pub(crate) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response, Refused> {
        let response = self.begin(request).await?;
        let (head, body) = response.into_parts();
        let body = within("the whole answer", body.collect()).await;
        let body = body.map_err(|error| Refused::new(&error, self.tls.port))?;
        Ok(Response {
            status: head.status,
            headers: head.headers,
            body: body.to_bytes(),
            port: self.tls.port,
        })
    }

    /// Any request, up to the head of its answer.
    pub(crate) async fn begin(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<http::Response<Incoming>, Refused> {
        // A busy machine may not have begun to drive a fresh connection yet.
        let ready = match &mut self.sender {
            Sender::Http1(sender) => within("a ready connection", sender.ready()).await,
            Sender::Http2(sender) => within("a ready connection", sender.ready()).await,
        };
        let sent = match (ready, &mut self.sender) {
            (Err(error), _) => Err(error),
            (Ok(()), Sender::Http1(sender)) => {
                let request = with_host(request, &self.host);
                within("an answer", sender.send_request(request)).await
            }
            (Ok(()), Sender::Http2(sender)) => {
                let request = with_authority(request, &self.host);
                within("an answer", sender.send_request(request)).await
            }
        };
        match sent {
            Ok(response) => Ok(response),
            Err(error) => Err(self.why(error).await),
        }
    }

    /// Whether the connection has ended, in whatever way.
    pub(crate) fn has_ended(&self) -> bool {
        self.driver.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// An alert that came before the request was written ends the driver, and the request is only cancelled.
    async fn why(&mut self, error: hyper::Error) -> Refused {
        let refused = Refused::new(&error, self.tls.port);
        if refused.alert.is_some() {
            return refused;
        }
        let Some(driver) = self.driver.take() else {
            return refused;
        };
        match within("the end of a connection", driver).await {
            Ok(Err(error)) => Refused::new(&error, self.tls.port),
            _ => refused,
        }
    }
}

impl Facts {
    fn of(stream: &TlsStream<TcpStream>) -> Self {
        let (tcp, tls): (&TcpStream, &ClientConnection) = stream.get_ref();
        Self {
            port: tcp.local_addr().unwrap().port(),
            version: tls.protocol_version().unwrap(),
            suite: tls.negotiated_cipher_suite().unwrap(),
            // A TLS 1.2 resumption exchanges no keys.
            group: tls
                .negotiated_key_exchange_group()
                .map_or(NamedGroup::Unknown(0), |group| group.name()),
            kind: tls.handshake_kind().unwrap(),
        }
    }
}

impl Response {
    /// The body as JSON, which the echo upstream answers a GET with.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// What the upstream was sent under this header name, as the echo tells.
    pub(crate) fn upstream_saw(&self, name: &str) -> Vec<String> {
        let json = self.json();
        let fields = json["headers"].as_array().unwrap().iter();
        fields
            .filter(|field| field[0] == name)
            .map(|field| field[1].as_str().unwrap().to_owned())
            .collect()
    }
}

fn with_host(mut request: Request<Full<Bytes>>, host: &str) -> Request<Full<Bytes>> {
    if !request.headers().contains_key(HOST) {
        let host = request
            .uri()
            .authority()
            .map_or(host, |given| given.as_str());
        let host = host.parse().unwrap();
        request.headers_mut().insert(HOST, host);
    }
    request
}

fn with_authority(mut request: Request<Full<Bytes>>, host: &str) -> Request<Full<Bytes>> {
    if request.uri().authority().is_none() {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some("https".parse().unwrap());
        parts.authority = Some(host.parse().unwrap());
        *request.uri_mut() = Uri::from_parts(parts).unwrap();
    }
    request
}
