//! A WebSocket over HTTP/1.1: the 101, and the stream of the connection from there on.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use http::{Response, Version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::SharedIo;
use super::respond::End;
use crate::http1::{ConnectionHeader, Framing, encode};
use crate::proxy::carry::carry;
use crate::proxy::client::Client;
use crate::proxy::response::AnswerBody;
use crate::proxy::worker::Worker;

/// Sends the 101 and carries bytes until the tunnel ends. Nothing follows on the connection.
pub(super) async fn run<S>(
    io: &SharedIo<S>,
    response: Response<AnswerBody>,
    client: &Client,
    worker: &Rc<Worker>,
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (head, body) = response.into_parts();
    let Some((switched, recorder)) = body.into_switched() else {
        return End::Abort; // A 101 comes with its connection; without one there is nothing to carry.
    };
    let (read, write) = {
        let mut io = io.borrow_mut();
        io.answering = true;
        let mut first = BytesMut::new();
        let goes_on = (ConnectionHeader::KeepAlive, Version::HTTP_11);
        encode::response_head(
            &mut first,
            head.status,
            &head.headers,
            Framing::None,
            goes_on,
        );
        first.extend_from_slice(&switched.early);
        (std::mem::take(&mut io.read), first)
    };
    let stream = Stream(io);
    carry(stream, (read, write), (switched, recorder), client, worker).await;
    End::Abort
}

/// The stream of a connection, borrowed for each poll.
struct Stream<'a, S>(&'a SharedIo<S>);

impl<S: AsyncRead + Unpin> AsyncRead for Stream<'_, S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stream<'_, S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_shutdown(cx)
    }
}
