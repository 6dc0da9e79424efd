//! What the streams of a connection do: read, write, end, give up.

use std::task::{Context, Poll};

use bytes::Bytes;
use quinn_proto::{FinishError, ReadError, ReadableError, StreamId, VarInt, WriteError};

use super::{Link, StreamLost};

/// Bytes a stream takes out at once.
const READ: usize = 64 * 1024;

impl Link {
    /// The next bytes of a stream; `None` at its end.
    pub(in crate::quic) fn poll_read(
        &self,
        id: StreamId,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamLost>> {
        let mut core = self.core.borrow_mut();
        let mut stream = core.connection.recv_stream(id);
        let mut chunks = match stream.read(true) {
            Ok(chunks) => chunks,
            Err(ReadableError::ClosedStream | ReadableError::IllegalOrderedRead) => {
                return Poll::Ready(Ok(None));
            }
        };
        let read = chunks.next(READ);
        let sends = chunks.finalize().should_transmit();
        drop(core);
        if sends {
            self.touch();
        }
        match read {
            Ok(chunk) => Poll::Ready(Ok(chunk.map(|chunk| chunk.bytes))),
            Err(ReadError::Reset(code)) => Poll::Ready(Err(StreamLost::Given(code.into()))),
            Err(ReadError::Blocked) => {
                if let Some(lost) = self.lost() {
                    return Poll::Ready(Err(StreamLost::Connection(lost)));
                }
                let mut sleepers = self.sleepers.borrow_mut();
                sleepers.reading.insert(id, cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Leaves bytes with a stream, as many as fit.
    pub(in crate::quic) fn poll_write(
        &self,
        id: StreamId,
        bytes: &[u8],
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, StreamLost>> {
        if let Some(lost) = self.lost() {
            return Poll::Ready(Err(StreamLost::Connection(lost)));
        }
        let written = self
            .core
            .borrow_mut()
            .connection
            .send_stream(id)
            .write(bytes);
        match written {
            Ok(written) => {
                self.touch();
                Poll::Ready(Ok(written))
            }
            Err(WriteError::Blocked) => {
                self.touch(); // The client is told that it blocks.
                let mut sleepers = self.sleepers.borrow_mut();
                sleepers.writing.insert(id, cx.waker().clone());
                Poll::Pending
            }
            Err(WriteError::Stopped(code)) => Poll::Ready(Err(StreamLost::Given(code.into()))),
            Err(WriteError::ClosedStream) => Poll::Ready(Err(StreamLost::Over)),
        }
    }

    /// Ends a stream of ours in good order.
    pub(in crate::quic) fn finish(&self, id: StreamId) -> Result<(), StreamLost> {
        if let Some(lost) = self.lost() {
            return Err(StreamLost::Connection(lost));
        }
        let finished = self.core.borrow_mut().connection.send_stream(id).finish();
        match finished {
            Ok(()) => {
                self.sleepers.borrow_mut().unfinished.insert(id);
                self.touch();
                Ok(())
            }
            Err(FinishError::Stopped(code)) => Err(StreamLost::Given(code.into())),
            Err(FinishError::ClosedStream) => Err(StreamLost::Over),
        }
    }

    /// Ends a stream of ours in disorder.
    pub(in crate::quic) fn reset(&self, id: StreamId, code: u64) {
        let code = VarInt::from_u64(code).unwrap_or(VarInt::MAX);
        let mut core = self.core.borrow_mut();
        // It may have ended otherwise meanwhile.
        let _ = core.connection.send_stream(id).reset(code);
        drop(core);
        let mut sleepers = self.sleepers.borrow_mut();
        sleepers.writing.remove(&id);
        sleepers.stopping.remove(&id);
        drop(sleepers);
        self.touch();
    }

    /// Wants nothing more of what the client sends.
    pub(in crate::quic) fn stop(&self, id: StreamId, code: u64) {
        let code = VarInt::from_u64(code).unwrap_or(VarInt::MAX);
        let mut core = self.core.borrow_mut();
        let _ = core.connection.recv_stream(id).stop(code);
        drop(core);
        self.sleepers.borrow_mut().reading.remove(&id);
        self.touch();
    }

    /// Does nothing about a request.
    pub fn reject(&self, id: u64, code: u64) {
        if let Ok(id) = VarInt::from_u64(id).map(StreamId::from) {
            self.stop(id, code);
            self.reset(id, code);
        }
    }

    /// Ready when the client wants no answer any more, or is gone.
    pub fn poll_stopped(&self, id: u64, cx: &mut Context<'_>) -> Poll<()> {
        let Ok(id) = VarInt::from_u64(id).map(StreamId::from) else {
            return Poll::Ready(());
        };
        let stopped = self.core.borrow_mut().connection.send_stream(id).stopped();
        if self.lost.borrow().is_some() || !matches!(stopped, Ok(None)) {
            return Poll::Ready(());
        }
        let mut sleepers = self.sleepers.borrow_mut();
        sleepers.stopping.insert(id, cx.waker().clone());
        Poll::Pending
    }

    /// Forgets who waited for a stream to be stopped.
    pub fn settle(&self, id: u64) {
        if let Ok(id) = VarInt::from_u64(id).map(StreamId::from) {
            self.sleepers.borrow_mut().stopping.remove(&id);
        }
    }
}
