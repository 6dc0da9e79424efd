//! HTTP/1.1: requests with at most a short body, as many in a row as a client likes to send.
//!
//! The body is not looked at. Some gateways send an empty one in chunks with every request they got over HTTP/3.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{CONTENT, bytes_of};

/// The longest request, body included, and what may be buffered of a pipeline.
pub(super) const MOST_BUFFERED: usize = 16 * 1024;

/// The whole answer to `/1k` fits one write.
const ONE_WRITE: u64 = 16 * 1024;

/// Answers until the client closes or asks for what cannot be answered.
pub(super) async fn serve(mut stream: TcpStream, mut received: Vec<u8>) -> io::Result<()> {
    let mut answers = Vec::with_capacity(4 * 1024);
    let mut used = 0;
    loop {
        while let Some(length) = request_length(&received[used..])? {
            let request = &received[used..used + length];
            used += length;
            let target = target_of(request).ok_or(io::ErrorKind::InvalidData)?;
            answer(&mut stream, &mut answers, bytes_of(target)).await?;
        }
        if !answers.is_empty() {
            stream.write_all(&answers).await?;
            answers.clear();
        }
        received.drain(..used);
        used = 0;
        if received.len() >= MOST_BUFFERED {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if stream.read_buf(&mut received).await? == 0 {
            return Ok(());
        }
    }
}

/// Short answers are collected and sent together; a long one is sent from the content itself.
async fn answer(
    stream: &mut TcpStream,
    answers: &mut Vec<u8>,
    length: Option<u64>,
) -> io::Result<()> {
    let Some(length) = length else {
        answers.extend_from_slice(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
        return Ok(());
    };
    answers.extend_from_slice(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: ",
    );
    answers.extend_from_slice(length.to_string().as_bytes());
    answers.extend_from_slice(b"\r\n\r\n");
    if length <= ONE_WRITE {
        answers.extend_from_slice(&CONTENT[..length as usize]);
        return Ok(());
    }
    stream.write_all(answers).await?;
    answers.clear();
    let mut rest = length;
    while rest > 0 {
        let piece = rest.min(CONTENT.len() as u64);
        stream.write_all(&CONTENT[..piece as usize]).await?;
        rest -= piece;
    }
    Ok(())
}

/// The length of the first request, body included; none if it is not whole yet.
fn request_length(received: &[u8]) -> io::Result<Option<usize>> {
    let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let (head, body) = received.split_at(end + 4);
    let length = match field(head, b"transfer-encoding") {
        Some(_) => chunks_length(body)?,
        None => {
            let told = field(head, b"content-length").unwrap_or(b"0");
            let told = std::str::from_utf8(told).ok();
            let length: usize = told
                .and_then(|told| told.trim().parse().ok())
                .ok_or(io::ErrorKind::InvalidData)?;
            (length <= body.len()).then_some(length)
        }
    };
    Ok(length.map(|length| head.len() + length))
}

/// The length of all chunks with the end of the last; none if they are not all there yet.
fn chunks_length(body: &[u8]) -> io::Result<Option<usize>> {
    let mut at = 0;
    loop {
        let rest = body.get(at..).unwrap_or_default();
        let Some(line) = rest.windows(2).position(|two| two == b"\r\n") else {
            return Ok(None);
        };
        let size = std::str::from_utf8(&rest[..line]).ok();
        let size = size.and_then(|size| u16::from_str_radix(size.trim(), 16).ok());
        let size = usize::from(size.ok_or(io::ErrorKind::InvalidData)?);
        // The content of a chunk, nothing in the last one, and a line end.
        at += line + 2 + size + 2;
        if size == 0 {
            return Ok((at <= body.len()).then_some(at));
        }
    }
}

/// The value of a header field.
fn field<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let (found, value) = line.split_at_checked(name.len())?;
        let value = value.strip_prefix(b":")?;
        found.eq_ignore_ascii_case(name).then_some(value)
    })
}

/// The path of a request line, without its query.
fn target_of(head: &[u8]) -> Option<&str> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    let (_method, target) = (words.next()?, words.next()?);
    target.split('?').next()
}
