//! HTTP/2 frame by frame, for clients that keep to no rule of it.
//!
//! Builders make bytes, [`Frames`] sends them over TLS and reads what comes back; nothing is checked on the way out.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::{Client, Gateway, RawTls};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
pub(crate) const WITH_PRIORITY: u8 = 32;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long the gateway may take to say something.
const PATIENCE: Duration = Duration::from_secs(8);

/// A frame as it came.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The error code of a RST_STREAM or GOAWAY.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        let code = self.payload.get(at..at + 4);
        code.map_or(u32::MAX, |code| {
            u32::from_be_bytes(code.try_into().unwrap())
        })
    }

    /// Whether it ends its stream.
    pub(crate) fn ends_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }
}

/// A frame, whatever it says.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// SETTINGS of these identifiers and values.
pub(crate) fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (id, value) in pairs {
        payload.extend(id.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    frame(SETTINGS, 0, 0, payload)
}

pub(crate) fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, increment.to_be_bytes())
}

pub(crate) fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, code.to_be_bytes())
}

/// A header block of literals that enter no table.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "one byte of length");
            bytes.push(u8::try_from(text.len()).unwrap());
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

/// The pseudo-header fields of a request, and more fields.
pub(crate) fn request(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [
        (":method", method),
        (":scheme", "https"),
        (":path", path),
        (":authority", "localhost"),
    ];
    block(&[&pseudo[..], more].concat())
}

/// A whole GET.
pub(crate) fn get(stream: u32, path: &str) -> Vec<u8> {
    let flags = END_STREAM | END_HEADERS;
    frame(HEADERS, flags, stream, request("GET", path, &[]))
}

/// The head of a POST.
pub(crate) fn post(stream: u32, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, request("POST", path, more))
}

/// A connection to the gateway.
#[derive(Debug)]
pub(crate) struct Frames {
    stream: TlsStream<TcpStream>,
    /// The client's own port, to find it in the logs.
    pub(crate) port: u16,
}

impl Frames {
    /// The TLS handshake, and nothing else.
    pub(crate) async fn bare(gateway: &Gateway) -> Self {
        Self::of(&Client::new().h2(), gateway).await
    }

    /// The TLS handshake of a client.
    pub(crate) async fn of(client: &Client, gateway: &Gateway) -> Self {
        let raw = RawTls::connect(client, gateway.address()).await.unwrap();
        let port = raw.port;
        Self {
            stream: raw.into_stream(),
            port,
        }
    }

    /// A connection whose SETTINGS were exchanged. These go with the preface.
    pub(crate) async fn open(gateway: &Gateway, pairs: &[(u16, u32)]) -> Self {
        let mut frames = Self::bare(gateway).await;
        frames.begin(pairs).await;
        frames
    }

    /// Exchanges SETTINGS; those of the gateway.
    pub(crate) async fn begin(&mut self, pairs: &[(u16, u32)]) -> Frame {
        let sent = [PREFACE, &settings(pairs)].concat();
        self.send(sent).await.unwrap();
        let first = self.next().await.unwrap();
        assert_eq!(first.kind, SETTINGS, "{first:?}");
        self.send(frame(SETTINGS, ACK, 0, [])).await.unwrap();
        self.until("the acknowledgement", |frame| {
            frame.kind == SETTINGS && frame.flags & ACK != 0
        })
        .await;
        first
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let sent = async {
            self.stream.write_all(bytes.as_ref()).await?;
            self.stream.flush().await
        };
        timeout(PATIENCE, sent).await?
    }

    /// The next frame; `None` at the end of the connection, or where nothing comes in time.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        timeout(PATIENCE, self.read()).await.ok()?.ok()
    }

    /// Reads until a frame of this kind has come.
    pub(crate) async fn until(&mut self, what: &str, is: impl Fn(&Frame) -> bool) -> Frame {
        loop {
            match self.next().await {
                Some(frame) if is(&frame) => return frame,
                Some(_) => {}
                None => panic!("the connection ended before {what}"),
            }
        }
    }

    /// The stream, for a flood.
    pub(crate) fn into_stream(self) -> TlsStream<TcpStream> {
        self.stream
    }

    /// Whether the gateway ends the connection, whatever it says before.
    pub(crate) async fn ends(&mut self) -> bool {
        let read = async { while self.read().await.is_ok() {} };
        timeout(PATIENCE, read).await.is_ok()
    }

    async fn read(&mut self) -> io::Result<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.stream.read_exact(&mut payload).await?;
        Ok(Frame {
            kind,
            flags,
            stream: u32::from_be_bytes(stream) & 0x7fff_ffff,
            payload,
        })
    }
}
