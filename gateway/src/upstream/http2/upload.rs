//! A request body on its way to an HTTP/2 upstream.
//!
//! hyper sends it in a task of its own, keeps its errors to itself, and goes on after the answer is complete.
//! So the body is shared: the exchange learns why it failed and whom it waits for, and ends it with itself.
//! A body that is cut off ends in an error, never in END_STREAM.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::patience::Patience;
use crate::upstream::body::{ClientBodyError, RequestBody};
use crate::upstream::error::UpstreamError;

/// The exchange's end of the upload. The body is cut off when this is dropped.
#[derive(Debug)]
pub(in crate::upstream) struct Upload(Rc<Shared>);

/// The end for hyper's task.
#[derive(Debug)]
pub(in crate::upstream) struct SentBody(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    /// `None` once it was cut off.
    body: RefCell<Option<RequestBody>>,
    failed: Cell<Option<ClientBodyError>>,
    turn: Cell<Turn>,
    waits: RefCell<Waits>,
    /// hyper's task while it waits for the client.
    sender: RefCell<Option<Waker>>,
}

/// Whom the request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// For more of the body; the body has its own timeout.
    Client,
    /// For room in the upstream's windows.
    Upstream,
    /// All of it was sent.
    Over,
}

#[derive(Debug)]
struct Waits {
    /// `body_timeout`: the upstream takes no byte.
    stall: Patience,
    /// `response_timeout`: it took all of them.
    answer: Patience,
}

impl Upload {
    /// The body may stand still for `stall`, and the answer may take `patience`. Says when the wait begins.
    pub(super) fn new(
        body: RequestBody,
        stall: Duration,
        patience: Duration,
    ) -> (Self, SentBody, Instant) {
        let turn = match &body {
            RequestBody::Empty => Turn::Over,
            RequestBody::Stream(_) => Turn::Upstream,
        };
        let answer = Patience::new(patience);
        let begun = answer.since();
        let shared = Rc::new(Shared {
            body: RefCell::new(Some(body)),
            failed: Cell::new(None),
            turn: Cell::new(turn),
            waits: RefCell::new(Waits {
                stall: Patience::new(stall),
                answer,
            }),
            sender: RefCell::new(None),
        });
        (Self(Rc::clone(&shared)), SentBody(shared), begun)
    }

    /// The body of a request that was not sent.
    pub(super) fn take_back(&self) -> RequestBody {
        self.0.body.take().unwrap_or(RequestBody::Empty)
    }

    /// What an error of the stream means: where the client's body failed, that is the cause.
    pub(in crate::upstream) fn blame(&self, error: hyper::Error) -> UpstreamError {
        match self.0.failed.get() {
            Some(client) => UpstreamError::Client(client),
            None => UpstreamError::Http2(error),
        }
    }

    /// Ready when the upstream has neither taken the body nor answered for too long.
    pub(super) fn poll_expired(&self, cx: &mut Context<'_>) -> Poll<()> {
        let turn = self.0.turn.get();
        let mut waits = self.0.waits.borrow_mut();
        let Waits { stall, answer } = &mut *waits;
        if turn != Turn::Over {
            answer.progress();
        }
        if turn == Turn::Client {
            stall.progress();
        }
        // Both timers run until the body is sent: nothing else wakes this task when the turn passes on.
        let unanswered = answer.poll_expired(cx);
        match turn {
            Turn::Over => unanswered,
            Turn::Client | Turn::Upstream => stall.poll_expired(cx),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // Taken first, dropped last: the client's connection may end with it.
        let _body = self.0.body.take();
        if let Some(sender) = self.0.sender.take() {
            sender.wake();
        }
    }
}

impl Body for SentBody {
    type Data = Bytes;
    type Error = ClientBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientBodyError>>> {
        let shared = &self.0;
        let mut body = shared.body.borrow_mut();
        let Some(body) = &mut *body else {
            return Poll::Ready(Some(Err(ClientBodyError::Closed)));
        };
        let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else {
            shared.turn.set(Turn::Client);
            shared.sender.replace(Some(cx.waker().clone()));
            return Poll::Pending;
        };
        shared.turn.set(Turn::Upstream);
        shared.waits.borrow_mut().stall.progress();
        if let Some(Err(error)) = &frame {
            shared.failed.set(Some(*error));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let body = self.0.body.borrow();
        body.as_ref().is_some_and(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.0.body.borrow();
        body.as_ref()
            .map(|body| body.size_hint())
            .unwrap_or_default()
    }
}

impl Drop for SentBody {
    /// hyper has sent the last byte, or given up.
    fn drop(&mut self) {
        self.0.turn.set(Turn::Over);
        self.0.waits.borrow_mut().answer.progress();
    }
}
