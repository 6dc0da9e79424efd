//! HTTP/1.1 by hand: a request that was written down once, and answers that are read without being kept.

use super::connection::{Connection, Received};
use super::failure::Failure;
use super::{Plan, tally};

/// The longest head of an answer.
const MAX_HEAD: usize = 64 * 1024;
/// The most fields of an answer.
const MAX_FIELDS: usize = 100;

/// The requests of a plan, one for each server name.
pub(super) fn requests(plan: &Plan) -> Vec<Vec<u8>> {
    let names = plan.names();
    let lines = names.iter().map(|name| {
        let authority = plan.target.authority(name);
        let path = plan.target.path();
        format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: portcullis-bench\r\nAccept: */*\r\n\r\n")
            .into_bytes()
    });
    lines.collect()
}

/// Sends a request and reads its answer. Whether the connection is good for another is in `answer`.
pub(super) async fn exchange(
    connection: &mut Connection,
    request: &[u8],
    answer: &mut Answer,
    bytes: &tally::Bytes,
) -> Result<(), Failure> {
    answer.begin();
    connection.send(request).await?;
    loop {
        let mut outcome = Ok(());
        let received = connection
            .receive(&mut |piece| {
                bytes.add(piece.len());
                if outcome.is_ok() {
                    outcome = answer.feed(piece);
                }
            })
            .await?;
        outcome?;
        if received == Received::End {
            answer.end()?;
        }
        match answer.status() {
            Some(status) if status >= 400 => return Err(Failure::Status(status)),
            Some(_) => return Ok(()),
            None => {}
        }
    }
}

/// An answer that is being read. Kept from one to the next, so that none allocates.
#[derive(Debug, Default)]
pub(super) struct Answer {
    head: Vec<u8>,
    state: State,
    status: u16,
    closes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Head,
    /// So many bytes are left.
    Sized(u64),
    /// A chunk of this many bytes is left, its line end included; 0 is before a chunk's size.
    Chunked(u64),
    /// Behind the last chunk.
    Trailers,
    UntilEnd,
    Complete,
}

impl Answer {
    fn begin(&mut self) {
        self.head.clear();
        self.state = State::Head;
        self.closes = false;
    }

    /// The status once all of it has come.
    fn status(&self) -> Option<u16> {
        (self.state == State::Complete).then_some(self.status)
    }

    /// Whether the server goes on to listen after this answer.
    pub(super) fn keeps_alive(&self) -> bool {
        !self.closes
    }

    fn feed(&mut self, mut piece: &[u8]) -> Result<(), Failure> {
        while !piece.is_empty() {
            piece = match self.state {
                State::Head => self.feed_head(piece)?,
                State::Sized(left) => {
                    let taken = left.min(piece.len() as u64);
                    self.state = match left - taken {
                        0 => State::Complete,
                        left => State::Sized(left),
                    };
                    &piece[taken as usize..]
                }
                State::Chunked(0) => self.feed_line(piece)?,
                State::Chunked(left) => {
                    let taken = left.min(piece.len() as u64);
                    self.state = State::Chunked(left - taken);
                    &piece[taken as usize..]
                }
                State::Trailers => self.feed_line(piece)?,
                State::UntilEnd => &[],
                // More than one answer to one request.
                State::Complete => return Err(Failure::Http),
            };
        }
        Ok(())
    }

    /// The server has closed.
    fn end(&mut self) -> Result<(), Failure> {
        match self.state {
            State::UntilEnd => {
                self.state = State::Complete;
                Ok(())
            }
            _ => Err(Failure::Eof),
        }
    }

    /// Most heads come in one piece, which is then read where it is.
    fn feed_head<'a>(&mut self, piece: &'a [u8]) -> Result<&'a [u8], Failure> {
        if self.head.is_empty()
            && let Some(length) = self.read_head(piece)?
        {
            return Ok(&piece[length..]);
        }
        let before = self.head.len();
        self.head.extend_from_slice(piece);
        if self.head.len() > MAX_HEAD {
            return Err(Failure::Http);
        }
        let head = std::mem::take(&mut self.head);
        let length = self.read_head(&head)?;
        self.head = head;
        match length {
            Some(length) => {
                self.head.clear();
                Ok(&piece[length - before..])
            }
            None => Ok(&[]),
        }
    }

    /// Its length where it is complete.
    fn read_head(&mut self, bytes: &[u8]) -> Result<Option<usize>, Failure> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut head = httparse::Response::new(&mut fields);
        let parsed = head.parse(bytes).map_err(|_| Failure::Http)?;
        let httparse::Status::Complete(length) = parsed else {
            return Ok(None);
        };
        self.status = head.code.unwrap_or_default();
        if (100..200).contains(&self.status) {
            // The answer is still to come.
            return Ok(Some(length));
        }
        self.closes = head.version == Some(0);
        self.state = match self.status {
            204 | 304 => State::Complete,
            _ => State::UntilEnd,
        };
        for field in head.headers.iter() {
            self.read_field(field.name, field.value)?;
        }
        self.closes |= self.state == State::UntilEnd;
        Ok(Some(length))
    }

    fn read_field(&mut self, name: &str, value: &[u8]) -> Result<(), Failure> {
        let value = || std::str::from_utf8(value).map_err(|_| Failure::Http);
        if name.eq_ignore_ascii_case("content-length") {
            let length = value()?.trim().parse().map_err(|_| Failure::Http)?;
            if self.state == State::UntilEnd {
                self.state = match length {
                    0 => State::Complete,
                    length => State::Sized(length),
                };
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            if value()?.trim().eq_ignore_ascii_case("chunked") {
                self.state = State::Chunked(0);
            }
        } else if name.eq_ignore_ascii_case("connection") {
            self.closes |= value()?.to_ascii_lowercase().contains("close");
        }
        Ok(())
    }

    /// A chunk's size, or a line behind the last one.
    fn feed_line<'a>(&mut self, piece: &'a [u8]) -> Result<&'a [u8], Failure> {
        let (line, rest) = match piece.iter().position(|byte| *byte == b'\n') {
            Some(at) => (&piece[..=at], &piece[at + 1..]),
            None => (piece, &[][..]),
        };
        self.head.extend_from_slice(line);
        if self.head.len() > MAX_HEAD {
            return Err(Failure::Http);
        }
        if !line.ends_with(b"\n") {
            return Ok(rest);
        }
        self.state = if self.state == State::Trailers {
            match self.head.trim_ascii().is_empty() {
                true => State::Complete,
                false => State::Trailers,
            }
        } else {
            match httparse::parse_chunk_size(&self.head) {
                Ok(httparse::Status::Complete((_, 0))) => State::Trailers,
                // Its bytes are followed by a line end.
                Ok(httparse::Status::Complete((_, size))) => State::Chunked(size.saturating_add(2)),
                _ => return Err(Failure::Http),
            }
        };
        self.head.clear();
        Ok(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The status, after every piece length.
    fn read(bytes: &[u8]) -> Option<u16> {
        let whole = read_in(bytes, bytes.len());
        for length in 1..bytes.len() {
            assert_eq!(read_in(bytes, length), whole, "in pieces of {length}");
        }
        whole
    }

    fn read_in(bytes: &[u8], length: usize) -> Option<u16> {
        let mut answer = Answer::default();
        answer.begin();
        for piece in bytes.chunks(length.max(1)) {
            answer.feed(piece).ok()?;
        }
        answer.status()
    }

    #[test]
    fn what_is_no_answer_or_more_than_one_is_refused() {
        for wrong in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"[..],
            b"SSH-2.0-OpenSSH\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ] {
            let mut answer = Answer::default();
            assert!(answer.feed(wrong).is_err(), "{}", wrong.escape_ascii());
        }
    }

    #[test]
    fn an_answer_that_breaks_off_is_not_one() {
        let mut answer = Answer::default();
        answer
            .feed(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
            .unwrap();
        assert_eq!(answer.status(), None);
        assert!(answer.end().is_err());
    }

    #[test]
    fn every_form_of_body_is_read_in_pieces_of_every_length() {
        let sized = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12345";
        assert_eq!(read(sized), Some(200));
        let empty = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(read(empty), Some(404));
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n1\r\n6\r\n0\r\nX: y\r\n\r\n";
        assert_eq!(read(chunked), Some(200));
        let hints = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
        assert_eq!(read(hints), Some(204));
    }

    #[test]
    fn a_body_that_ends_with_the_connection_or_a_farewell_is_the_last() {
        let mut answer = Answer::default();
        answer.feed(b"HTTP/1.1 200 OK\r\n\r\nabc").unwrap();
        assert_eq!(answer.status(), None);
        answer.end().unwrap();
        assert_eq!((answer.status(), answer.keeps_alive()), (Some(200), false));
        answer.begin();
        let farewell = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        answer.feed(farewell).unwrap();
        assert!(!answer.keeps_alive());
        answer.begin();
        answer
            .feed(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        assert!(answer.keeps_alive());
    }
}
