//! Message bodies: from the bytes after a head to data, trailers and an end.
//!
//! Data is split off the read buffer, never copied. The decoder takes exactly what belongs to the
//! body; what is left in the buffer at its end is the next message (or, after a response, a reason
//! not to use the connection again).

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http_body::SizeHint;

use super::{BodyError, Framing, HeadError, HeadLimits, HeadScan};
use super::{chunk, trailers};

/// One step of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded {
    /// Some bytes, never none.
    Data(Bytes),
    /// The trailer fields, once, where there are any (RFC 9110 section 6.5). [`Decoded::End`]
    /// follows.
    Trailers(HeaderMap),
    /// The body is complete, now and on every later call.
    End,
    /// Nothing can be said before more bytes arrive.
    NeedMore,
}

/// Reads one body. Make a new one for each message.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    trailer_limits: HeadLimits,
    extension_budget: usize,
}

#[derive(Debug)]
enum State {
    /// Content-Length: bytes left, never zero.
    Length(u64),
    UntilClose,
    ChunkLine,
    /// Bytes left of the chunk, never zero.
    ChunkData(u64),
    ChunkEnd,
    Trailers(HeadScan),
    End,
}

impl BodyDecoder {
    /// A decoder for a body of this framing whose trailers, if any, obey these limits.
    pub fn new(framing: Framing, trailer_limits: &HeadLimits) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::End,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkLine,
            Framing::UntilClose => State::UntilClose,
        };
        // A trailer section has no request line, so the limit on its target must never be what is
        // hit.
        let trailer_limits = HeadLimits {
            target: usize::MAX,
            ..*trailer_limits
        };
        Self {
            state,
            trailer_limits,
            extension_budget: chunk::EXTENSION_BUDGET,
        }
    }

    /// Takes the next step out of `buf`.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Decoded, BodyError> {
        loop {
            match &mut self.state {
                State::End => return Ok(Decoded::End),
                State::UntilClose if buf.is_empty() => return Ok(Decoded::NeedMore),
                State::UntilClose => return Ok(Decoded::Data(buf.split().freeze())),
                State::Length(left) => {
                    let data = take(buf, left);
                    if *left == 0 {
                        self.state = State::End;
                    }
                    return Ok(data);
                }
                State::ChunkData(left) => {
                    let data = take(buf, left);
                    if *left == 0 {
                        self.state = State::ChunkEnd;
                    }
                    return Ok(data);
                }
                State::ChunkLine => match self.chunk_line(buf)? {
                    Some(next) => self.state = next,
                    None => return Ok(Decoded::NeedMore),
                },
                State::ChunkEnd => match take_line_end(buf)? {
                    true => self.state = State::ChunkLine,
                    false => return Ok(Decoded::NeedMore),
                },
                State::Trailers(scan) => {
                    let Some(map) = take_trailers(buf, scan, &self.trailer_limits)? else {
                        return Ok(Decoded::NeedMore);
                    };
                    self.state = State::End;
                    if !map.is_empty() {
                        return Ok(Decoded::Trailers(map));
                    }
                }
            }
        }
    }

    /// The connection ended. Fine for a body that ends this way or was complete (RFC 9112 section
    /// 8).
    pub fn eof(&mut self) -> Result<(), BodyError> {
        match self.state {
            State::UntilClose | State::End => {
                self.state = State::End;
                Ok(())
            }
            _ => Err(BodyError::Truncated),
        }
    }

    /// Whether the body is complete. The last [`Decoded::Data`] of a Content-Length body already
    /// says so.
    pub fn is_end(&self) -> bool {
        matches!(self.state, State::End)
    }

    /// How much is still to come.
    pub fn size_hint(&self) -> SizeHint {
        match self.state {
            State::Length(left) => SizeHint::with_exact(left),
            State::End => SizeHint::with_exact(0),
            State::ChunkData(left) => {
                let mut hint = SizeHint::new();
                hint.set_lower(left);
                hint
            }
            _ => SizeHint::new(),
        }
    }

    fn chunk_line(&mut self, buf: &mut BytesMut) -> Result<Option<State>, BodyError> {
        let Some(line) = chunk::parse(buf)? else {
            return Ok(None);
        };
        self.extension_budget = self
            .extension_budget
            .checked_sub(line.extensions_len)
            .ok_or(BodyError::ChunkExtensionTooLarge)?;
        buf.advance(line.line_len);
        Ok(Some(match line.size {
            0 => State::Trailers(HeadScan::default()),
            size => State::ChunkData(size),
        }))
    }
}

fn take(buf: &mut BytesMut, left: &mut u64) -> Decoded {
    if buf.is_empty() {
        return Decoded::NeedMore;
    }
    let len = usize::try_from(*left).unwrap_or(usize::MAX).min(buf.len());
    *left -= len as u64;
    Decoded::Data(buf.split_to(len).freeze())
}

/// The CR LF behind the data of a chunk; false when it is not there yet.
fn take_line_end(buf: &mut BytesMut) -> Result<bool, BodyError> {
    match **buf {
        [b'\r', b'\n', ..] => {
            buf.advance(2);
            Ok(true)
        }
        [] | [b'\r'] => Ok(false),
        _ => Err(BodyError::LineEnding),
    }
}

/// The trailer section and the empty line behind it.
fn take_trailers(
    buf: &mut BytesMut,
    scan: &mut HeadScan,
    limits: &HeadLimits,
) -> Result<Option<HeaderMap>, BodyError> {
    if matches!(**buf, [] | [b'\r', ..]) {
        return Ok(take_line_end(buf)?.then(HeaderMap::new));
    }
    let end = scan.find_end(buf, limits).map_err(|error| match error {
        HeadError::LineEnding => BodyError::LineEnding,
        _ => BodyError::TrailersTooLarge,
    })?;
    let Some(end) = end else {
        return Ok(None);
    };
    let section = buf.split_to(end).freeze();
    trailers::parse(&section, limits).map(Some)
}
