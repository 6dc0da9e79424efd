//! What gateway and signer say to each other: one question and one answer at a time, each a frame.
//!
//! A frame is a length of four bytes, little endian, and as many bytes of postcard. Both ends are the same
//! program, so there is no version; a frame that is not understood ends the connection.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::error::{ErrorClass, HsmError};
use crate::key::KeyInfo;
use crate::link::{Description, FoundKey, FoundSecret};
use crate::secret::Generation;
use crate::sign::Mechanism;

/// No answer is longer: a list of some thousand keys.
const MAX_FRAME: usize = 4 << 20;

/// Enough for a question and most answers.
const BUFFER: usize = 4096;

/// Enough for what is asked and answered to sign or derive.
const FRAME: usize = 512;

/// What the gateway asks.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Ask {
    Describe,
    /// The URI of a private key.
    Find(String),
    List,
    /// The URI of a certificate.
    Chain(String),
    /// A key that is going to sign, and the number it is called by from now on.
    Know {
        number: u64,
        uri: String,
        spki: Vec<u8>,
    },
    Sign {
        number: u64,
        mechanism: Mechanism,
        data: Vec<u8>,
    },
    /// The URI of a secret key.
    FindSecret(String),
    /// A secret that is going to derive, and the number it is called by from now on.
    KnowSecret {
        number: u64,
        uri: String,
        check: [u8; 32],
    },
    /// The context; what stands before it is put there by the signer, so that no HMAC of the asker's choice
    /// can be had.
    Derive {
        number: u64,
        context: Vec<u8>,
    },
    /// The URI of a secret key.
    Generation(String),
    /// The process ends; whoever runs it starts it again.
    Restart,
}

/// What the signer answers. It may be a secret, so it cannot be printed.
#[derive(Serialize, Deserialize)]
pub(super) enum Reply {
    /// The first frame of a connection: its session is open.
    Opened,
    Described(Description),
    Found(FoundKey),
    Keys(Vec<KeyInfo>),
    Chain(Vec<Vec<u8>>),
    Known,
    Signature(Vec<u8>),
    FoundSecret(FoundSecret),
    Derived(Vec<u8>),
    Generation(Generation),
    /// The session is closed, and the connection with it.
    Failed {
        class: ErrorClass,
        message: String,
    },
}

/// A connection, as frames.
pub(super) struct Frames<S> {
    stream: S,
    buffer: Vec<u8>,
    filled: usize,
}

impl Reply {
    pub(super) fn failed(error: &HsmError) -> Self {
        Reply::Failed {
            class: error.class(),
            message: error.to_string(),
        }
    }
}

impl<S> Frames<S>
where
    for<'a> &'a UnixStream: Read + Write,
    S: AsRef<UnixStream>,
{
    pub(super) fn new(stream: S) -> Self {
        Frames {
            stream,
            buffer: vec![0; BUFFER],
            filled: 0,
        }
    }

    pub(super) fn stream(&self) -> &S {
        &self.stream
    }

    /// Sends one message with one system call.
    pub(super) fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        // Room from the start, for a vector that grows leaves copies of what may be secret behind.
        let mut frame = Vec::with_capacity(FRAME);
        frame.extend([0; 4]);
        let frame = postcard::to_extend(message, frame).map_err(io::Error::other)?;
        let mut frame = Zeroizing::new(frame);
        let len = u32::try_from(frame.len() - 4).map_err(io::Error::other)?;
        frame[..4].copy_from_slice(&len.to_le_bytes());
        self.stream.as_ref().write_all(&frame)
    }

    /// The next message; `None` at the end of the connection. Blocks.
    pub(super) fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        loop {
            if let Some(len) = self.length()? {
                if self.filled >= 4 + len {
                    let message = postcard::from_bytes(&self.buffer[4..4 + len]);
                    self.buffer[..4 + len].zeroize();
                    self.buffer.copy_within(4 + len..self.filled, 0);
                    self.filled -= 4 + len;
                    return message.map(Some).map_err(io::Error::other);
                }
                if self.buffer.len() < 4 + len {
                    self.buffer.resize(4 + len, 0);
                }
            }
            let read = self.stream.as_ref().read(&mut self.buffer[self.filled..])?;
            if read == 0 {
                return match self.filled {
                    0 => Ok(None),
                    _ => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
            self.filled += read;
        }
    }

    /// Length of the frame that has begun, if that much of it is there.
    fn length(&self) -> io::Result<Option<usize>> {
        let Some(head) = self.buffer[..self.filled].first_chunk::<4>() else {
            return Ok(None);
        };
        match u32::from_le_bytes(*head) as usize {
            len if len <= MAX_FRAME => Ok(Some(len)),
            len => Err(io::Error::other(format!("a frame of {len} bytes"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use super::{Ask, Frames, Reply};
    use crate::sign::Mechanism;

    #[test]
    fn frames_that_came_together_are_told_apart_and_long_ones_are_whole() {
        let (one, other) = UnixStream::pair().unwrap();
        let (mut one, mut other) = (Frames::new(Arc::new(one)), Frames::new(Arc::new(other)));
        let data = vec![7; 3000];
        for number in 0..3 {
            let (mechanism, data) = (Mechanism::Ecdsa, data.clone());
            one.send(&Ask::Sign {
                number,
                mechanism,
                data,
            })
            .unwrap();
        }
        for expected in 0..3 {
            let Some(Ask::Sign { number, data, .. }) = other.receive().unwrap() else {
                panic!("a signature is asked for");
            };
            assert_eq!((number, data.len()), (expected, 3000));
        }
        other.send(&Reply::Opened).unwrap();
        assert!(matches!(one.receive().unwrap(), Some(Reply::Opened)));
        drop(other);
        assert!(one.receive::<Reply>().unwrap().is_none());
    }

    #[test]
    fn what_is_no_frame_ends_the_connection() {
        for garbage in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            &[1, 0, 0, 0, 99],
            &[9, 0, 0, 0, 1],
        ] {
            let (one, other) = UnixStream::pair().unwrap();
            (&one).write_all(garbage).unwrap();
            drop(one);
            assert!(Frames::new(Arc::new(other)).receive::<Ask>().is_err());
        }
    }
}
