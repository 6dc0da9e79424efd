//! What the echo upstream answers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use aws_lc_rs::digest;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::{Frame, Incoming, SizeHint};
use serde_json::{Value, json};

/// Longest `/slow/MS`.
const MAX_DELAY: Duration = Duration::from_secs(60);

/// Bytes of one piece of `/bytes/N`.
const PIECE: usize = 16 * 1024;

static PIECE_BYTES: [u8; PIECE] = [b'x'; PIECE];

type Body = BoxBody<Bytes, hyper::Error>;

/// The answer to one request; see the table of [`super`].
pub(super) async fn answer(request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let mut segments = path.trim_start_matches('/').splitn(2, '/');
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok());
    match (segments.next().unwrap_or_default(), segments.next()) {
        ("status", code) => Ok(bare(status(code))),
        ("bytes", count) => Ok(match number(count) {
            Some(count) => bytes(count),
            None => bare(StatusCode::BAD_REQUEST),
        }),
        ("slow", delay) => {
            let delay = Duration::from_millis(number(delay).unwrap_or_default());
            tokio::time::sleep(delay.min(MAX_DELAY)).await;
            Ok(describe(&request))
        }
        ("upload", None) => upload(request).await,
        ("trailers", None) => Ok(trailers(request.version())),
        _ => Ok(match *request.method() {
            Method::POST | Method::PUT | Method::PATCH => echo(request),
            _ => describe(&request),
        }),
    }
}

fn status(code: Option<&str>) -> StatusCode {
    code.and_then(|code| code.parse::<StatusCode>().ok())
        // Interim and switching statuses are no final answers; hyper would refuse to send them.
        .filter(|status| !status.is_informational())
        .unwrap_or(StatusCode::BAD_REQUEST)
}

fn bare(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Empty::new().map_err(never).boxed());
    *response.status_mut() = status;
    response
}

fn bytes(count: u64) -> Response<Body> {
    Response::new(Pieces { left: count }.map_err(never).boxed())
}

fn describe(request: &Request<Incoming>) -> Response<Body> {
    let headers: Vec<Value> = request
        .headers()
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    let target = request.uri().path_and_query();
    answer_json(&json!({
        "method": request.method().as_str(),
        "path": target.map_or("", |target| target.as_str()),
        "authority": request.uri().authority().map(|authority| authority.as_str()),
        "version": format!("{:?}", request.version()),
        "headers": headers,
    }))
}

fn echo(request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let mut response = Response::new(body.boxed());
    for name in [
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::TRAILER,
    ] {
        if let Some(value) = parts.headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

async fn upload(request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    let mut body = request.into_body();
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut count = 0;
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            count += data.len();
            hash.update(&data);
        }
    }
    let hash: String = hash
        .finish()
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(answer_json(&json!({ "bytes": count, "sha256": hash })))
}

fn trailers(version: Version) -> Response<Body> {
    let fields = async {
        let field = ("x-echo-trailer".parse(), "end".parse());
        let (Ok(name), Ok(value)) = field else {
            return None;
        };
        Some(Ok(HeaderMap::from_iter([(name, value)])))
    };
    let body = Full::new(Bytes::from_static(b"a body with a trailer\n"));
    let mut response = Response::new(body.map_err(never).with_trailers(fields).boxed());
    // hyper sends HTTP/1.1 trailers only where they are announced.
    let announced = HeaderValue::from_static("x-echo-trailer");
    response.headers_mut().insert(header::TRAILER, announced);
    // The length is known, but a body with a Content-Length cannot have trailers.
    if version == Version::HTTP_11 {
        let chunked = HeaderValue::from_static("chunked");
        response
            .headers_mut()
            .insert(header::TRANSFER_ENCODING, chunked);
    }
    response
}

fn answer_json(value: &Value) -> Response<Body> {
    let text = Bytes::from(format!("{value:#}\n"));
    let mut response = Response::new(Full::new(text).map_err(never).boxed());
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// A body of this many bytes, made as they are sent.
struct Pieces {
    left: u64,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let len = usize::try_from(self.left).unwrap_or(PIECE).min(PIECE);
        self.left -= len as u64;
        let piece = Bytes::from_static(&PIECE_BYTES[..len]);
        Poll::Ready((len > 0).then(|| Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

fn never(never: Infallible) -> hyper::Error {
    match never {}
}
