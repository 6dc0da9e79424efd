//! An answer on its way to an HTTP/1 client.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode, Version, header};
use http_body::{Body, Frame};
use tokio::io::{AsyncRead, AsyncWrite};

use super::SharedIo;
use super::io::Io;
use crate::http1::{ConnectionHeader, Framing, encode};
use crate::patience::Patience;
use crate::proxy::response::AnswerBody;
use crate::proxy::worker::Worker;
use crate::upstream::UpstreamError;

/// What the answer must know of its request.
pub(super) struct After {
    pub(super) method: Method,
    pub(super) version: Version,
    pub(super) keep_alive: bool,
}

/// How a connection stands after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Another request may follow.
    KeepAlive,
    /// The answer is complete, the connection ends.
    Close,
    /// The answer was cut off.
    Abort,
}

/// Writes an answer.
pub(super) async fn respond<S>(
    io: &SharedIo<S>,
    response: Response<AnswerBody>,
    after: &After,
    worker: &Worker,
    stall: Duration,
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (head, body) = response.into_parts();
    let framing = framing(&head.headers, head.status, &body, after);
    // A body nobody will read ends the connection with this answer; one that is still on its way upstream
    // may yet be read to its end.
    let unread = body.is_end_stream() && io.borrow().decoder.is_some();
    let keep_alive = after.keep_alive
        && framing != Framing::UntilClose
        && !unread
        && !worker.draining.is_draining();
    let connection = if keep_alive {
        ConnectionHeader::KeepAlive
    } else {
        ConnectionHeader::Close
    };
    {
        let mut io = io.borrow_mut();
        io.answering = true;
        io.write.clear();
        encode::response_head(
            &mut io.write,
            head.status,
            &head.headers,
            framing,
            (connection, after.version),
        );
    }
    let mut writer = Writer {
        io,
        patience: Patience::new(stall),
        framing,
        body: Some(body),
    };
    match writer.answer().await {
        Ok(()) if keep_alive && io.borrow().decoder.is_none() => End::KeepAlive,
        Ok(()) => End::Close,
        Err(_) => End::Abort,
    }
}

/// Answers a request that could not be read with a bare status.
pub(super) async fn respond_bare<S>(io: &SharedIo<S>, status: StatusCode, worker: &Worker)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut headers = HeaderMap::new();
    crate::proxy::headers::prepare_response(&mut headers);
    {
        let mut io = io.borrow_mut();
        io.write.clear();
        let ends = (ConnectionHeader::Close, Version::HTTP_11);
        encode::response_head(&mut io.write, status, &headers, Framing::Length(0), ends);
    }
    let patience = Patience::new(worker.snapshot().timeouts.write);
    let mut writer = Writer {
        io,
        patience,
        framing: Framing::Length(0),
        body: None,
    };
    let _ = writer.write(&[], &[]).await; // The connection is closed either way.
    let _ = writer.flush().await;
}

/// How the client will know where the answer ends (RFC 9112, section 6.3).
fn framing(headers: &HeaderMap, status: StatusCode, body: &AnswerBody, after: &After) -> Framing {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let bodyless = after.method == Method::HEAD || status == StatusCode::NOT_MODIFIED;
    if bodyless {
        return announced.map_or(Framing::None, Framing::Length);
    }
    if status == StatusCode::NO_CONTENT || status.is_informational() {
        return Framing::None;
    }
    match body.size_hint().exact() {
        Some(length) => Framing::Length(length),
        None => Framing::Chunked.for_client(after.version),
    }
}

struct Writer<'a, S> {
    io: &'a SharedIo<S>,
    patience: Patience,
    framing: Framing,
    body: Option<AnswerBody>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Writer<'_, S> {
    /// Writes the head, which waits in the write buffer, and the body behind it. The head leaves with the
    /// first piece of the body where that is there already: one record, one system call.
    async fn answer(&mut self) -> Result<(), UpstreamError> {
        let mut trailers = None;
        loop {
            let frame = match poll_fn(|cx| Poll::Ready(self.poll_frame(cx))).await {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    // Nothing to write for now: what was written so far must not wait.
                    self.write(&[], &[]).await.map_err(UpstreamError::Closed)?;
                    self.flush().await.map_err(UpstreamError::Closed)?;
                    poll_fn(|cx| self.poll_frame(cx)).await
                }
            };
            match frame {
                None => break,
                Some(frame) => match frame?.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => self.data(&data).await.map_err(UpstreamError::Closed)?,
                    Err(frame) => trailers = Frame::into_trailers(frame).ok(),
                },
            }
        }
        if self.framing == Framing::Chunked {
            encode::last_chunk_with_trailers(&mut self.io.borrow_mut().write, trailers.as_ref());
        }
        self.write(&[], &[]).await.map_err(UpstreamError::Closed)?;
        self.flush().await.map_err(UpstreamError::Closed)
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    async fn data(&mut self, data: &Bytes) -> io::Result<()> {
        if self.framing != Framing::Chunked {
            return self.write(data, &[]).await;
        }
        encode::chunk_header(&mut self.io.borrow_mut().write, data.len());
        self.write(data, b"\r\n").await
    }

    /// Writes the write buffer, then `data`, then `end`, and empties the buffer.
    async fn write(&mut self, data: &[u8], end: &[u8]) -> io::Result<()> {
        let mut written = 0;
        self.patience.progress();
        poll_fn(|cx| {
            loop {
                let wrote = {
                    let mut io = self.io.borrow_mut();
                    if written == io.write.len() + data.len() + end.len() {
                        io.write.clear();
                        return Poll::Ready(Ok(()));
                    }
                    poll_write_parts(&mut io, [data, end], written, cx)
                };
                match wrote {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(count)) => {
                        written += count;
                        self.patience.progress();
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return self.poll_client(cx),
                }
            }
        })
        .await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.patience.progress();
        poll_fn(|cx| {
            let flushed = Pin::new(&mut self.io.borrow_mut().stream).poll_flush(cx);
            match flushed {
                Poll::Pending => self.poll_client(cx),
                ready => ready,
            }
        })
        .await
    }

    /// The client takes its time: meanwhile the request's body goes on. Ready when it took too long.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(body) = &mut self.body {
            body.poll_upload(cx);
        }
        let expired = self.patience.poll_expired(cx);
        expired.map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// One vectored write of the write buffer and two more parts, without their first `skip` bytes.
fn poll_write_parts<S: AsyncWrite + Unpin>(
    io: &mut Io<S>,
    [data, end]: [&[u8]; 2],
    mut skip: usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut rest = |part: &'_ [u8]| {
        let gone = skip.min(part.len());
        skip -= gone;
        gone
    };
    let (first, second, third) = (rest(&io.write), rest(data), rest(end));
    let slices = [
        IoSlice::new(&io.write[first..]),
        IoSlice::new(&data[second..]),
        IoSlice::new(&end[third..]),
    ];
    Pin::new(&mut io.stream).poll_write_vectored(cx, &slices)
}
