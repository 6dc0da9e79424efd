//! A WebSocket in a stream of HTTP/2 (RFC 8441): an extended CONNECT becomes an HTTP/1.1 Upgrade to the service.
//!
//! Promises: everything that is decided about a request is decided about the GET that it becomes, so one rule holds for both
//! protocols; the client is told 200 only where the service has switched and knows our key; any other CONNECT stays what it is,
//! which is refused.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::proxy::carry::carry;
use crate::proxy::client::Client;
use crate::proxy::response::AnswerBody;
use crate::proxy::upgrade::{Extended, pass_on};
use crate::proxy::worker::Worker;
use crate::reason::Reason;
use crate::upstream::UpstreamError;

/// What is hashed behind a key (RFC 6455, section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A stream that asks for a WebSocket.
pub(super) struct Ask {
    stream: OnUpgrade,
    key: HeaderValue,
}

impl Ask {
    /// Makes the GET of a WebSocket handshake of an extended CONNECT for one. Anything else stays as it is.
    pub(super) fn of(parts: &mut Parts, worker: &Worker) -> Option<Self> {
        let protocol = parts.extensions.get::<Protocol>()?;
        if parts.method != Method::CONNECT || protocol.as_str() != "websocket" {
            return None;
        }
        let stream = parts.extensions.remove::<OnUpgrade>()?;
        let id = worker.ids.request_id();
        let nonce = digest(&SHA1_FOR_LEGACY_USE_ONLY, id.as_bytes());
        let key = HeaderValue::try_from(STANDARD.encode(&nonce.as_ref()[..16])).ok()?;
        parts.method = Method::GET;
        pass_on(&mut parts.headers);
        parts.headers.insert(header::SEC_WEBSOCKET_KEY, key.clone());
        parts.extensions.insert(Extended);
        Some(Self { stream, key })
    }

    /// What the client is told. Where the service has switched, bytes are carried from here on.
    pub(super) fn answer(
        self,
        response: Response<AnswerBody>,
        client: Rc<Client>,
        worker: Rc<Worker>,
    ) -> Response<Streamed> {
        let (mut head, body) = response.into_parts();
        let switched = head.status == StatusCode::SWITCHING_PROTOCOLS;
        if !switched && !head.status.is_success() {
            return Response::from_parts(head, Streamed::Answer(body));
        }
        // To the client a 2xx is the switch itself.
        if !switched || !self.is_accepted(&head.headers) {
            let detail = "the service did not switch to a WebSocket";
            let refused = body.into_refusal(Reason::UpstreamProtocol, detail);
            return refused.map(Streamed::Answer);
        }
        for name in [
            header::CONNECTION,
            header::UPGRADE,
            header::SEC_WEBSOCKET_ACCEPT,
        ] {
            head.headers.remove(name);
        }
        head.status = StatusCode::OK;
        if let Some((mut switched, mut recorder)) = body.into_switched() {
            recorder.record().status = head.status.as_u16();
            tokio::task::spawn_local(async move {
                let Ok(stream) = self.stream.await else {
                    return; // The client is gone.
                };
                let first = (BytesMut::new(), std::mem::take(&mut switched.early));
                let stream = TokioIo::new(stream);
                carry(stream, first, (switched, recorder), &client, &worker).await;
            });
        }
        Response::from_parts(head, Streamed::Switched)
    }

    /// Whether the service has read our key (RFC 6455, section 4.2.2).
    fn is_accepted(&self, headers: &HeaderMap) -> bool {
        let text = [self.key.as_bytes(), GUID.as_bytes()].concat();
        let expected = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &text));
        let given = headers.get(header::SEC_WEBSOCKET_ACCEPT);
        given.is_some_and(|given| given.as_bytes() == expected.as_bytes())
    }
}

/// The body of an answer, or the stream that another task has taken over.
pub(super) enum Streamed {
    Answer(AnswerBody),
    Switched,
}

impl Body for Streamed {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        match self.get_mut() {
            Self::Answer(body) => Pin::new(body).poll_frame(cx),
            Self::Switched => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Answer(body) => body.is_end_stream(),
            Self::Switched => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Answer(body) => body.size_hint(),
            Self::Switched => SizeHint::with_exact(0),
        }
    }
}
