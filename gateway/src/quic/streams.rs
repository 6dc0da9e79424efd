//! The streams of a connection as h3 wants them.
//!
//! A stream that is dropped before its end is reset, never finished: half an answer must not look like a whole one.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::error::Code;
use h3::quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId as H3Id, WriteBuf};
use quinn_proto::{ConnectionError, Dir, StreamId};

use super::guard::Guard;
use super::link::{Link, Lost, StreamLost};

/// Bytes of a frame of the control stream.
const CONTROL_FRAME: u64 = 16 * 1024;
/// How much longer than `limits.header_bytes` a head may claim to be and still be told so by a status.
const HEAD_SLACK: u64 = 4;

/// All streams of a connection.
#[derive(Debug, Clone)]
pub struct Streams(pub Rc<Link>);

/// Both directions of a request.
#[derive(Debug)]
pub struct Bidi<B: Buf> {
    send: Send<B>,
    receive: Receive,
}

/// What we send.
pub struct Send<B: Buf> {
    link: Rc<Link>,
    id: StreamId,
    writing: Option<WriteBuf<B>>,
    over: bool,
}

/// What we receive.
#[derive(Debug)]
pub struct Receive {
    link: Rc<Link>,
    id: StreamId,
    guard: Guard,
    over: bool,
}

impl Streams {
    fn bidi<B: Buf>(&self, id: StreamId) -> Bidi<B> {
        let limit = HEAD_SLACK.saturating_mul(self.0.header_bytes() as u64);
        Bidi {
            send: self.send(id),
            receive: Receive {
                link: Rc::clone(&self.0),
                id,
                guard: Guard::request(limit),
                over: false,
            },
        }
    }

    fn send<B: Buf>(&self, id: StreamId) -> Send<B> {
        Send {
            link: Rc::clone(&self.0),
            id,
            writing: None,
            over: false,
        }
    }
}

impl<B: Buf> quic::Connection<B> for Streams {
    type RecvStream = Receive;
    type OpenStreams = Self;

    fn poll_accept_recv(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Receive, ConnectionErrorIncoming>> {
        let id = ready!(self.0.poll_accept(Dir::Uni, cx)).map_err(|lost| told(&lost))?;
        Poll::Ready(Ok(Receive {
            link: Rc::clone(&self.0),
            id,
            guard: Guard::unidirectional(CONTROL_FRAME),
            over: false,
        }))
    }

    fn poll_accept_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Bidi<B>, ConnectionErrorIncoming>> {
        let id = ready!(self.0.poll_accept(Dir::Bi, cx)).map_err(|lost| told(&lost))?;
        Poll::Ready(Ok(self.bidi(id)))
    }

    fn opener(&self) -> Self {
        self.clone()
    }
}

impl<B: Buf> quic::OpenStreams<B> for Streams {
    type BidiStream = Bidi<B>;
    type SendStream = Send<B>;

    fn poll_open_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Bidi<B>, StreamErrorIncoming>> {
        let id = ready!(self.0.poll_open(Dir::Bi, cx)).map_err(stream_told)?;
        Poll::Ready(Ok(self.bidi(id)))
    }

    fn poll_open_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Send<B>, StreamErrorIncoming>> {
        let id = ready!(self.0.poll_open(Dir::Uni, cx)).map_err(stream_told)?;
        Poll::Ready(Ok(self.send(id)))
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.0.close(code.value(), reason);
    }
}

impl<B: Buf> quic::SendStream<B> for Send<B> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        while let Some(data) = self.writing.as_mut().filter(|data| data.has_remaining()) {
            let written = ready!(self.link.poll_write(self.id, data.chunk(), cx));
            data.advance(written.map_err(lost_stream)?);
        }
        self.writing = None;
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<B>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        if self.writing.is_some() {
            let connection_error =
                ConnectionErrorIncoming::InternalError("data before there was room".to_owned());
            return Err(StreamErrorIncoming::ConnectionErrorIncoming { connection_error });
        }
        self.writing = Some(data.into());
        Ok(())
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        ready!(self.poll_ready(cx))?;
        self.over = true;
        Poll::Ready(self.link.finish(self.id).map_err(lost_stream))
    }

    fn reset(&mut self, reset_code: u64) {
        self.over = true;
        self.link.reset(self.id, reset_code);
    }

    fn send_id(&self) -> H3Id {
        h3_id(self.id)
    }
}

impl<B: Buf> Drop for Send<B> {
    fn drop(&mut self) {
        if !self.over {
            self.link.reset(self.id, Code::H3_INTERNAL_ERROR.value());
        }
    }
}

impl<B: Buf> std::fmt::Debug for Send<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Send").field(&self.id).finish()
    }
}

impl quic::RecvStream for Receive {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        let read = ready!(self.link.poll_read(self.id, cx));
        match read {
            Ok(Some(bytes)) if !self.guard.allows(&bytes) => {
                let error_code = Code::H3_EXCESSIVE_LOAD.value();
                self.stop_sending(error_code);
                Poll::Ready(Err(StreamErrorIncoming::StreamTerminated { error_code }))
            }
            Ok(read) => {
                self.over |= read.is_none();
                Poll::Ready(Ok(read))
            }
            Err(lost) => {
                self.over = true;
                Poll::Ready(Err(lost_stream(lost)))
            }
        }
    }

    fn stop_sending(&mut self, error_code: u64) {
        self.over = true;
        self.link.stop(self.id, error_code);
    }

    fn recv_id(&self) -> H3Id {
        h3_id(self.id)
    }
}

impl Drop for Receive {
    fn drop(&mut self) {
        if !self.over {
            self.link.stop(self.id, Code::H3_NO_ERROR.value());
        }
    }
}

impl<B: Buf> quic::BidiStream<B> for Bidi<B> {
    type SendStream = Send<B>;
    type RecvStream = Receive;

    fn split(self) -> (Send<B>, Receive) {
        (self.send, self.receive)
    }
}

impl<B: Buf> quic::SendStream<B> for Bidi<B> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<B>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.send.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_finish(cx)
    }

    fn reset(&mut self, reset_code: u64) {
        self.send.reset(reset_code);
    }

    fn send_id(&self) -> H3Id {
        self.send.send_id()
    }
}

impl<B: Buf> quic::RecvStream for Bidi<B> {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.receive.poll_data(cx)
    }

    fn stop_sending(&mut self, error_code: u64) {
        self.receive.stop_sending(error_code);
    }

    fn recv_id(&self) -> H3Id {
        self.receive.recv_id()
    }
}

fn h3_id(id: StreamId) -> H3Id {
    match H3Id::try_from(u64::from(id)) {
        Ok(id) => id,
        Err(_) => unreachable!("quinn-proto counts streams within 62 bits"),
    }
}

fn told(lost: &Lost) -> ConnectionErrorIncoming {
    match lost {
        ConnectionError::ApplicationClosed(close) => ConnectionErrorIncoming::ApplicationClose {
            error_code: close.error_code.into(),
        },
        ConnectionError::TimedOut => ConnectionErrorIncoming::Timeout,
        other => ConnectionErrorIncoming::Undefined(Arc::new(other.clone())),
    }
}

fn stream_told(lost: Lost) -> StreamErrorIncoming {
    StreamErrorIncoming::ConnectionErrorIncoming {
        connection_error: told(&lost),
    }
}

fn lost_stream(lost: StreamLost) -> StreamErrorIncoming {
    match lost {
        StreamLost::Connection(lost) => stream_told(lost),
        StreamLost::Given(error_code) => StreamErrorIncoming::StreamTerminated { error_code },
        StreamLost::Over => StreamErrorIncoming::Unknown("the stream has ended".into()),
    }
}
