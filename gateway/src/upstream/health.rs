//! Asks one endpoint whether it is well, over a connection of its own.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::pin;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, TE, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use portcullis_config::{HealthProbe, UpstreamProtocol};
use tokio::time::{Instant, timeout_at};

use super::connect::connect;
use super::endpoint::Endpoint;
use super::http2::LocalExecutor;
use super::stream::Stream;
use super::target::Target;

/// An answer of the health service of gRPC has a few bytes.
const GRPC_ANSWER: usize = 4096;
/// Who asks, for the logs of the service.
const ASKER: &str = "portcullis-health";

/// Why an endpoint does not count as well.
#[derive(Debug)]
pub(super) enum Unwell {
    /// No answer in time.
    Late,
    /// No connection.
    Connect(io::Error),
    /// The connection ended, or what came was no HTTP.
    Http(hyper::Error),
    /// An answer that is not 2xx.
    Status(StatusCode),
    /// Not SERVING, or something else that is told in words.
    Other(&'static str),
}

impl fmt::Display for Unwell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late => f.write_str("no answer in time"),
            Self::Connect(error) => write!(f, "connect: {error}"),
            Self::Http(error) => write!(f, "http: {error}"),
            Self::Status(status) => write!(f, "status {}", status.as_u16()),
            Self::Other(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Unwell {}

impl From<hyper::Error> for Unwell {
    fn from(error: hyper::Error) -> Self {
        Self::Http(error)
    }
}

/// Asks an endpoint of an upstream that has health checks.
pub(super) async fn ask(target: &Target, endpoint: &Endpoint) -> Result<(), Unwell> {
    let Some(health) = &target.settings.health else {
        return Ok(());
    };
    let end = Instant::now() + health.timeout;
    let answer = async {
        let tls = target.tls.as_ref().map(ArcSwap::load_full);
        let opened = connect(endpoint, tls.as_deref(), end).await;
        let (stream, _) = opened.map_err(Unwell::Connect)?;
        let host = endpoint.label();
        match (&health.probe, target.settings.protocol) {
            (HealthProbe::Tcp, _) => Ok(()),
            (HealthProbe::Http(path), UpstreamProtocol::Http1) => get(stream, &host, path).await,
            (HealthProbe::Http(path), UpstreamProtocol::Http2) => get_h2(stream, &host, path).await,
            (HealthProbe::Http(_), UpstreamProtocol::Tcp) => Err(Unwell::Other(NO_REQUEST)),
            (HealthProbe::Grpc(service), _) => check(stream, &host, service).await,
        }
    };
    timeout_at(end, answer).await.map_err(|_| Unwell::Late)?
}

async fn get(stream: Stream, host: &str, path: &str) -> Result<(), Unwell> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path)
        .header(HOST, host)
        .header(CONNECTION, "close")
        .header(USER_AGENT, ASKER)
        .body(Full::<Bytes>::default());
    let request = request.map_err(|_| Unwell::Other(NO_REQUEST))?;
    let answer = driven(connection, sender.send_request(request)).await?;
    well(answer.status())
}

async fn get_h2(stream: Stream, host: &str, path: &str) -> Result<(), Unwell> {
    let scheme = stream.scheme();
    let (mut sender, connection) = http2::handshake(LocalExecutor, TokioIo::new(stream)).await?;
    let request = Request::get(format!("{scheme}://{host}{path}"))
        .header(USER_AGENT, ASKER)
        .body(Full::<Bytes>::default());
    let request = request.map_err(|_| Unwell::Other(NO_REQUEST))?;
    let answer = driven(connection, sender.send_request(request)).await?;
    well(answer.status())
}

/// The path was checked with the configuration.
const NO_REQUEST: &str = "the path makes no request";

fn well(status: StatusCode) -> Result<(), Unwell> {
    match status.is_success() {
        true => Ok(()),
        false => Err(Unwell::Status(status)),
    }
}

/// `grpc.health.v1.Health/Check`.
async fn check(stream: Stream, host: &str, service: &str) -> Result<(), Unwell> {
    let scheme = stream.scheme();
    let (mut sender, connection) = http2::handshake(LocalExecutor, TokioIo::new(stream)).await?;
    let request = Request::post(format!("{scheme}://{host}/grpc.health.v1.Health/Check"))
        .header(USER_AGENT, ASKER)
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .body(Full::<Bytes>::from(question(service)));
    let request = request.map_err(|_| Unwell::Other("the address makes no request"))?;
    let whole = async { serving(sender.send_request(request).await?).await };
    driven(connection, whole).await
}

/// `HealthCheckRequest { service = 1 }`, behind the five bytes of a gRPC message.
fn question(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        varint(&mut message, service.len());
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(0).to_be_bytes());
    framed.extend_from_slice(&message);
    framed.into()
}

fn varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Whether an answer is `HealthCheckResponse { status = 1: SERVING }` with the gRPC status OK.
async fn serving(answer: http::Response<Incoming>) -> Result<(), Unwell> {
    well(answer.status())?;
    let told = |headers: &http::HeaderMap| headers.get("grpc-status").map(|it| it == "0");
    let in_head = told(answer.headers());
    let body = Limited::new(answer.into_body(), GRPC_ANSWER)
        .collect()
        .await;
    let body = body.map_err(|_| Unwell::Other("the answer is broken or too long"))?;
    let in_trailers = body.trailers().and_then(told);
    match in_trailers.or(in_head) {
        Some(true) => {}
        Some(false) => return Err(Unwell::Other("the service is not known, or refuses")),
        None => return Err(Unwell::Other("there is no grpc-status")),
    }
    // A message that is not compressed, with field 1 as a varint; fields of later versions may follow.
    match body.to_bytes().get(..7) {
        Some([0, _, _, _, _, 0x08, 1]) => Ok(()),
        _ => Err(Unwell::Other("not serving")),
    }
}

/// What comes of `whole`, while the connection is driven beside it.
async fn driven<T>(
    connection: impl Future<Output = hyper::Result<()>>,
    whole: impl Future<Output = T>,
) -> T {
    let mut whole = pin!(whole);
    tokio::select! {
        biased;
        done = &mut whole => return done,
        _ = connection => {}
    }
    // It has ended, and has told what it had to tell.
    whole.await
}
