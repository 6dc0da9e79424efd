//! HTTP/1.1: requests without a body, as many in a row as a client likes to send.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{CONTENT, bytes_of};

/// The longest head, and what may be buffered of a pipeline.
pub(super) const MOST_BUFFERED: usize = 16 * 1024;

/// The whole answer to `/1k` fits one write.
const ONE_WRITE: u64 = 16 * 1024;

/// Answers until the client closes or asks for what cannot be answered.
pub(super) async fn serve(mut stream: TcpStream, mut received: Vec<u8>) -> io::Result<()> {
    let mut answers = Vec::with_capacity(4 * 1024);
    let mut used = 0;
    loop {
        while let Some(length) = head_length(&received[used..]) {
            let head = &received[used..used + length];
            used += length;
            let target = target_of(head).ok_or(io::ErrorKind::InvalidData)?;
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

/// The length of the first head with its empty line; none if it is not whole yet.
fn head_length(received: &[u8]) -> Option<usize> {
    let end = received.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(end + 4)
}

/// The path of a request line, without its query.
fn target_of(head: &[u8]) -> Option<&str> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    let (_method, target) = (words.next()?, words.next()?);
    target.split('?').next()
}
